"""The images of a run: manifests, shards, splits and samples."""
