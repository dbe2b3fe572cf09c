"""Object storage: the only room that imports fsspec and its file systems (s3fs, gcsfs, adlfs)."""
