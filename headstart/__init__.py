"""Transfer learning on a folder of labeled images, as a declared and reproducible pipeline."""
