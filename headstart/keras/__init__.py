"""The only room that imports TensorFlow, Keras and tensorflow_hub."""
