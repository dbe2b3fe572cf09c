"""DVC's graph, the plan of the next run, the records in dvc.lock and git, and recipes."""
