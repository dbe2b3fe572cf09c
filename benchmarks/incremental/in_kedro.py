"""A Kedro pipeline with an IncrementalDataset, which loads what sorts behind its checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import work
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline, node
from kedro.runner import SequentialRunner
from kedro_datasets.partitions import IncrementalDataset, PartitionedDataset
from kedro_datasets.pickle import PickleDataset
from kedro_datasets.text import TextDataset


def extract(images: Mapping[str, Any]) -> dict[str, Any]:
    """Return the features of the images that are loaded."""
    return {name: work.features(name) for name in images}


def join(features: Mapping[str, Callable[[], Any]]) -> None:
    """Write the features of all images that ever were loaded."""
    work.save({name: load() for name, load in features.items()})


class Named(TextDataset):
    """An image that the node opens itself."""

    def load(self) -> str:
        """Return nothing: the node is given the name."""
        return ""


def main() -> None:
    """Run the pipeline once."""
    catalog = DataCatalog(
        {
            "images": IncrementalDataset(
                path="images", dataset=Named, checkpoint={"filepath": "checkpoint"}
            ),
            "features": PartitionedDataset(path="features", dataset=PickleDataset),
        }
    )
    steps = Pipeline(
        [node(extract, "images", "features", confirms="images"), node(join, "features", None)]
    )
    # A run without new partitions is an error there.
    if _any_new(catalog["images"]):
        SequentialRunner().run(steps, catalog)


def _any_new(images: Any) -> bool:
    from kedro.io import DatasetError

    try:
        return bool(images.load())
    except DatasetError:
        return False


if __name__ == "__main__":
    main()
