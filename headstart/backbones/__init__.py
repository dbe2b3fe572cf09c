"""The table of backbones, the conversion record, weights files, and LiteRT."""
