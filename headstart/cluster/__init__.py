"""Forward passes by the workers of a Dask cluster; this process alone writes the feature store."""
