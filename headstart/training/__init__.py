"""Heads in NumPy, activations of frozen layers, histories, and model folders."""
