"""Archives of strangers: listed and checked as a whole before a member is read."""
