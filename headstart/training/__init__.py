"""Extraction without TensorFlow: a converted backbone on LiteRT, in front of the feature store."""
