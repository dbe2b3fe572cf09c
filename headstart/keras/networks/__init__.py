"""Backbones in Keras: built, loaded from any source, and converted to LiteRT."""
