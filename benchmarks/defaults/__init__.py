"""What the defaults of the head and of fine-tuning rest on, measured."""
