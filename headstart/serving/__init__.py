"""What is done with a trained model: predictions at the terminal and over HTTP."""
