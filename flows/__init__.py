"""Prefect's side: flows derived from DVC's own graph. Never imports a stage."""
