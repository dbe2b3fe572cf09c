"""Faults in real runs of a tiny project: kills, full and failing disks, damaged files, signals."""
