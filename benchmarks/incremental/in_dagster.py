"""A Dagster asset with a dynamic partition per image: a run materializes the new partitions."""

import os
import pickle
from pathlib import Path

import work
from dagster import (
    AssetExecutionContext,
    BackfillPolicy,
    DagsterInstance,
    DynamicPartitionsDefinition,
    asset,
    materialize,
)

PARTITIONS = DynamicPartitionsDefinition(name="images")
KEPT = Path("kept")


@asset(partitions_def=PARTITIONS, backfill_policy=BackfillPolicy.single_run())
def features(context: AssetExecutionContext) -> None:
    """Compute the features of the partitions of this run."""
    for key in context.partition_keys:
        target = KEPT / f"{key.replace('/', '-')}.pickle"
        target.write_bytes(pickle.dumps((key, work.features(key))))


def main() -> None:
    """Add the partitions that are new, and materialize them in one run."""
    Path(os.environ["DAGSTER_HOME"]).mkdir(exist_ok=True)
    KEPT.mkdir(exist_ok=True)
    with DagsterInstance.get() as instance:
        known = set(instance.get_dynamic_partitions("images"))
        new = [name for name in work.names() if name not in known]
        if new:
            instance.add_dynamic_partitions("images", new)
            tags = {
                "dagster/asset_partition_range_start": new[0],
                "dagster/asset_partition_range_end": new[-1],
            }
            materialize([features], instance=instance, tags=tags)
    rows = (pickle.loads(path.read_bytes()) for path in KEPT.iterdir())  # noqa: S301 - our own
    work.save(dict(rows))


if __name__ == "__main__":
    main()
