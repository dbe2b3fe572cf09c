"""Choose a backbone and a head by measurement on a project's own images."""
