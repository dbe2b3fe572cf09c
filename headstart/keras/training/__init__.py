"""Training in Keras: a head on features, and the top of a backbone."""
