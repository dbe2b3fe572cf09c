"""Images and pages made from artifacts. No TensorFlow."""
