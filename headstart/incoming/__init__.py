"""New images beside those of the run: which of them to label next, and whether they are alike."""
