"""Import a backbone: describe a file, or take one from KerasHub in an environment of its own."""
