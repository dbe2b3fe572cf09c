"""One reader and one writer for each file format that a stage leaves behind."""
