"""How the small backbone's weights were made, and how to make them again."""
