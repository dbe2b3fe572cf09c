"""Tools that maintain the project: reference pages, the contract of dvc.yaml, the claims page."""
