"""The formats of an exported model: written, then loaded again in a process of their own."""
