"""The graph of the tests of runs, whose project DVC has run."""

from tests.runs.conftest import graph, ran_graph

__all__ = ["graph", "ran_graph"]
