"""Where pictures come from: embedded, a folder, an archive."""
