"""From bytes to pixels with Pillow: the same for extraction, training and prediction."""
