"""Utilities that every room may import and that import no room: files, locks, errors, seeds."""
