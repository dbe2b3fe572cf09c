"""A Metaflow flow: a branch per class; a run starts from its beginning."""

from __future__ import annotations

from typing import Any

import work
from metaflow import FlowSpec, step


class Extract(FlowSpec):
    """Compute the features of all images."""

    @step
    def start(self) -> None:
        """List the classes."""
        self.labels = sorted({name.partition("/")[0] for name in work.names()})
        self.next(self.extract, foreach="labels")

    @step
    def extract(self) -> None:
        """Compute the features of a class."""
        mine = [name for name in work.names() if name.startswith(f"{self.input}/")]
        self.rows = {name: work.features(name) for name in mine}
        self.next(self.join)

    @step
    def join(self, inputs: Any) -> None:
        """Write the features of all classes."""
        work.save({name: row for each in inputs for name, row in each.rows.items()})
        self.next(self.end)

    @step
    def end(self) -> None:
        """End."""


if __name__ == "__main__":
    Extract()
