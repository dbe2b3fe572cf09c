"""Review what a run found: a local page that writes corrections."""
