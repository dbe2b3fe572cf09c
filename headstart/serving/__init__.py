"""An exported model in use: predictions at the terminal and over HTTP."""
