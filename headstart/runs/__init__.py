"""The code of Prefect's flows: child processes, task states, reproduction, certificates."""
