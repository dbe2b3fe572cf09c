"""Prefect's flows and nothing else: their code is in ``headstart.runs``."""
