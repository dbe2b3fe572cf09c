"""A user's own project around the installed library: create it, compare it with a newer version."""
