"""`headstart plan`: the stages that the next run would run, with passes and seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart._utils.errors import HeadstartError
from headstart._utils.tables import columns
from headstart.cli.front import command, read_parameters

if TYPE_CHECKING:
    import pandas as pd

    from headstart.pipeline.estimate import Wanted
    from headstart.pipeline.plan import Planned


@command(
    epilog="Example: set backbone.image_size to 96 in params.yaml, then `headstart plan`.",
    needs="project",
)
def plan(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Show what the next run would do, and why, without running it.

    The plan lists the stages that `dvc repro` would run, the number of images that would go through
    the backbone, and the estimated time.
    """
    import json

    parameters = read_parameters()  # Before DVC, whose messages about faults are vague.

    from headstart.pipeline import estimate

    planned = planned_run(Path.cwd())
    costs = Costs(parameters)
    passes = estimate.passes(planned, costs.wanted, costs.missing)
    epochs, augmented = parameters.fine_tune.epochs, parameters.fine_tune.augment.active
    tuning = estimate.tuning(planned, epochs, costs.per_split, augmented=augmented)
    changed = estimate.epochs_changed(planned, epochs)
    seconds = {
        entry.stage.name: estimate.seconds(entry, passes, epochs_changed=changed)
        for entry in planned
    }
    total = estimate.total(planned, seconds)
    if not as_json:
        lines = [str(line) for line in (passes, tuning, total) if line is not None]
        typer.echo(f"{_table(planned, seconds)}\n\n" + "\n".join(lines))
        return
    stages = [
        {
            "name": entry.stage.name,
            "fate": entry.fate,
            "reasons": entry.reasons,
            "seconds": seconds[entry.stage.name],
        }
        for entry in planned
    ]
    answer = {
        "stages": stages,
        "passes": asdict(passes),
        "fine_tuning": None if tuning is None else asdict(tuning),
        "seconds": asdict(total),
    }
    typer.echo(json.dumps(answer, indent=2))


def planned_run(root: Path) -> tuple[Planned, ...]:
    """Return the plan of a project's stages."""
    from headstart.pipeline import graph
    from headstart.pipeline.plan import changes
    from headstart.pipeline.plan import plan as decide

    return decide(graph.stages(root), changes(root))


class Costs:
    """Functions that :mod:`headstart.pipeline.estimate` asks about images and features.

    Each raises ``UnknownError`` if the answer is not known yet.

    Parameters
    ----------
    parameters : Parameters
        All sections of params.yaml.
    """

    def __init__(self, parameters: Any) -> None:
        self._parameters = parameters
        self._used = cache(self._images_in_use)  # Several ask for it, and it takes a while.

    def wanted(self, images: Path) -> Wanted:
        """Return the store's keys of the images in use, and of their recorded views."""
        from headstart.features.estimate import store_keys
        from headstart.pipeline.estimate import Wanted

        return Wanted(*store_keys(self._used(images), self._parameters))

    def per_split(self, images: Path) -> dict[str, int]:
        """Return the number of images in use by split."""
        from headstart.datasets.manifests import SPLITS

        counts = self._used(images)["split"].value_counts()
        return {name: int(counts.get(name, 0)) for name in SPLITS}

    def missing(self, backbone: Path, wanted: Wanted) -> tuple[int, float | None]:
        """Return how many features the stores lack, and the seconds per forward pass."""
        from headstart.features.estimate import missing_features
        from headstart.pipeline.estimate import UnknownError

        if self._parameters.extract_features.engine == "keras":
            raise UnknownError(
                "the cached features depend on the device, which only TensorFlow knows"
            )
        try:
            return missing_features(backbone, wanted.images, wanted.views, self._parameters)
        except HeadstartError as error:
            raise UnknownError(str(error)) from error

    def _images_in_use(self, images: Path) -> pd.DataFrame:
        from headstart.features.estimate import images_in_use
        from headstart.pipeline.estimate import UnknownError

        try:
            return images_in_use(images, self._parameters)
        except HeadstartError as error:
            raise UnknownError(f"the images cannot be split: {error}") from error


def _table(planned: Sequence[Planned], seconds: Mapping[str, float | None]) -> str:
    rows = [("stage", "in the next run", "seconds", "why")]
    for entry in planned:
        took = seconds[entry.stage.name]
        shown = "" if not entry.reasons else "?" if took is None else f"{took:.1f}"
        reasons = list(entry.reasons) or [""]
        if len(reasons) > 4:
            reasons = [*reasons[:3], f"and {len(reasons) - 3} more"]
        rows.append((entry.stage.name, entry.fate, shown, reasons[0]))
        rows += [("", "", "", reason) for reason in reasons[1:]]
    return columns(rows, "llrl")
