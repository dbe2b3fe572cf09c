"""Export formats, their comparison with the evaluated model, records, model card and README."""
