"""Where images come from: embedded, folder, archive, table, TensorFlow Datasets, Kaggle,
object storage.
"""
