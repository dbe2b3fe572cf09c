"""The feature store, extraction in front of it, and the features folder."""
