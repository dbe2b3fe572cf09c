"""The only place that imports TensorFlow and Keras."""
