"""The public API: estimators for scikit-learn, exported models, and the results of a run."""
