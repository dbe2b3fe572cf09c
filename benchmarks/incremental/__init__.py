"""Adding images to a data set: what each orchestrator computes again, in one run."""
