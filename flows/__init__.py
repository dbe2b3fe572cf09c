"""Prefect's flows and nothing else: what they stand on is in ``headstart.runs``."""
