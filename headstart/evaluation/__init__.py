"""Metrics, intervals, comparisons of models, recorded predictions, and the release gate."""
