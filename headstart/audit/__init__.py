"""Checks of the data itself: images that show the same photograph."""
