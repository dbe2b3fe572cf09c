"""What is done with an exported model: predictions at the terminal and over HTTP."""
