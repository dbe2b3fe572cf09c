"""Facts of a plan that need the stages' code: images, features, speed, downloads, disk space."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart._utils.disk import amount, free_space
from headstart._utils.errors import HeadstartError
from headstart._utils.machine import cores
from headstart.pipeline.durations import Work
from headstart.pipeline.estimate import STILL, Missing, Passes, UnknownError, Wanted, manifest
from headstart.pipeline.plan import Fate, Planned, module, options

if TYPE_CHECKING:
    import pandas as pd

    from headstart.features.rates import Rate
    from headstart.sources.preview import Preview

#: Bytes per second of a slow line, for the time of a download.
_LINE = 3e6


@dataclass(frozen=True)
class Download:
    """Something that the next run needs from a server, and whether the cache has it."""

    what: str
    where: str
    kept: str
    present: bool

    def __str__(self) -> str:
        if self.present:
            return f"Download: nothing; {self.what} from {self.where} is in the cache, {self.kept}."
        return f"Download: {self.what} from {self.where}, to {self.kept}."


@dataclass(frozen=True)
class Room:
    """The most bytes that the next run writes to a folder, and the free bytes there."""

    what: str
    needed: int
    free: int

    def __str__(self) -> str:
        short = " That is not enough." if self.needed > self.free else ""
        needed, free = amount(self.needed), amount(self.free)
        return f"Disk: up to {needed} for {self.what}; {free} is free.{short}"


class Costs:
    """Functions that :mod:`headstart.pipeline.estimate` asks, and facts for the other estimates.

    Each function raises ``UnknownError`` if the answer is not known yet.

    Parameters
    ----------
    parameters : Parameters
        All sections of params.yaml.
    planned : sequence of Planned
    """

    def __init__(self, parameters: Any, planned: Sequence[Planned]) -> None:
        self._parameters = parameters
        self._planned = {module(entry.stage): entry for entry in planned}
        self._images = manifest(planned)

    def wanted(self, images: Path | None) -> Wanted:
        """Return the store's keys of the images in use, and of their recorded views."""
        from headstart.features.estimate import store_keys

        keys = store_keys(self._used, self._parameters)
        return Wanted(*keys, exact=images is not None or self._preview.exact)

    def per_split(self, images: Path | None) -> dict[str, int]:
        """Return the number of images in use by split."""
        from headstart.datasets.manifests import SPLITS

        del images
        counts = self._used["split"].value_counts()
        return {name: int(counts.get(name, 0)) for name in SPLITS}

    def missing(self, backbone: Path | None, wanted: Wanted) -> Missing:
        """Return how many features the stores lack, and the seconds per forward pass."""
        from headstart.features.estimate import missing_before_conversion, missing_features

        if backbone is None:
            keys = wanted.images, wanted.views
            return Missing(*missing_before_conversion(*keys, self._parameters), self._each)
        if self._parameters.extract_features.engine == "keras":
            raise UnknownError(
                "the cached features depend on the device, which only TensorFlow knows"
            )
        try:
            count, each = missing_features(backbone, wanted.images, wanted.views, self._parameters)
        except HeadstartError as error:
            raise UnknownError(str(error)) from error
        return Missing(count, count, self._each if each is None else each)

    @property
    def network_changed(self) -> bool:
        """True if the next run uses another backbone than the last one."""
        entry = self._planned.get("stages.backbone")
        return entry is not None and any(each.startswith("backbone.") for each in entry.reasons)

    def work(self, passes: Passes) -> Work:
        """Return what the run has to do."""
        params, weights = self._parameters, self._weights
        absent = 0.0 if weights is None or weights.present else weights.megabytes or 0.0
        return Work(
            passes,
            files=self._files,
            images=passes.of or self._files,
            seconds_each=passes.seconds_each,
            factor=3.0 if self._rate is None else self._rate.factor,
            head_epochs=params.train_head.epochs,
            tuning_epochs=params.fine_tune.epochs,
            formats=len(params.export.formats),
            download_seconds=absent * 1e6 / _LINE,
        )

    def speed(self, passes: Passes) -> str | None:
        """Return where the seconds of a pass come from, as a sentence; None without passes."""
        if not passes.needed or self._rate is None or passes.seconds_each is None:
            return None
        return f"Speed: {1000 * passes.seconds_each:.1f} ms per pass, {self._rate.source}."

    def load(self) -> float:
        """Return the processes per core that run on this machine now; 0.0 if unknown."""
        try:
            return os.getloadavg()[0] / cores()
        except (OSError, AttributeError):
            return 0.0

    def downloads(self) -> list[Download]:
        """Return what the stages that will run need from servers."""
        found = []
        if self._moves("stages.download") and (fetch := self._fetch) is not None:
            found.append(Download(fetch.what, fetch.where, str(fetch.kept), fetch.present))
        weights = self._weights
        if weights is not None:
            size = "" if weights.megabytes is None else f" (about {weights.megabytes:.0f} MB)"
            kept = str(weights.kept)
            found.append(
                Download(f"the file of weights{size}", weights.where, kept, weights.present)
            )
        return found

    def room(self, passes: Passes) -> list[Room]:
        """Return the disk space that the stages to run need, in the project and in the cache."""
        from headstart.backbones.registry import known
        from headstart.features.store import store_folder

        params = self._parameters
        spec = known(params.backbone.name)
        network = 0 if spec is None else int(4e6 * spec.parameters * params.backbone.alpha**2)
        width = 0 if spec is None else int(4 * spec.width * params.backbone.alpha)
        sizes = {
            "stages.download": self._source_bytes,
            "stages.backbone": 2 * network,
            "stages.extract_features": width * ((passes.of or 0) + passes.views),
            "stages.fine_tune": 2 * network if params.fine_tune.epochs else 0,
            "stages.export": network * len(params.export.formats),
        }
        written = sum(size for name, size in sizes.items() if self._moves(name))
        cached = width * (passes.needed or 0)
        # DVC keeps a copy of every output.
        needs = [
            ("the project and DVC's copy of it", 2 * written, Path.cwd()),
            ("the feature store", cached, store_folder()),
        ]
        return [Room(what, size, free_space(folder)) for what, size, folder in needs if size]

    def _moves(self, name: str) -> bool:
        entry = self._planned.get(name)
        return entry is not None and entry.fate not in {Fate.UNCHANGED, Fate.RESTORE}

    @cached_property
    def _location(self) -> Path:
        download = self._planned.get("stages.download")
        given = {} if download is None else options(download.stage)
        return Path(given.get("source", self._parameters.download.location))

    @cached_property
    def _fetch(self) -> Any:
        from headstart.sources.parameters import fetch_of

        try:
            return fetch_of(self._parameters.download, self._location)
        except HeadstartError:
            return None  # the preview reports it

    @cached_property
    def _weights(self) -> Any:
        from headstart.backbones.downloads import weights_download

        moves = self._moves("stages.backbone")
        return weights_download(self._parameters.backbone) if moves else None

    @cached_property
    def _rate(self) -> Rate | None:
        from headstart.features.rates import expected_rate

        return expected_rate(self._parameters.backbone)

    @property
    def _each(self) -> float | None:
        return None if self._rate is None else self._rate.seconds

    @cached_property
    def _known(self) -> pd.DataFrame | None:
        """The image manifest as it is now; None if there is none, or it is not readable."""
        from headstart.datasets.manifests import read_images

        split = self._planned.get("stages.split")
        file = Path(options(split.stage)["images"]) if split is not None else None
        if file is None or not file.is_file():
            return None
        try:
            return read_images(file)
        except HeadstartError:
            return None

    @cached_property
    def _preview(self) -> Preview:
        from headstart.sources.preview import UnseenError, preview

        try:
            return preview(self._parameters.download, self._location, self._known)
        except UnseenError as error:
            raise UnknownError(str(error), error.most) from error
        except (HeadstartError, OSError) as error:
            raise UnknownError(f"the images cannot be listed: {error}") from error

    @cached_property
    def _used(self) -> pd.DataFrame:
        """The images that remain in use after splitting and sampling."""
        from headstart.datasets.manifests import read_images, read_split
        from headstart.features.estimate import images_in_use

        sample = self._planned.get("stages.sample")
        try:
            if sample is not None and sample.fate is Fate.UNCHANGED:
                return read_split(Path(options(sample.stage)["manifest"]))
            images = self._preview.images if self._images is None else read_images(self._images)
            return images_in_use(self._corrected(images), self._parameters, self._duplicates)
        except HeadstartError as error:
            raise UnknownError(f"the images cannot be split: {error}") from error

    def _corrected(self, images: pd.DataFrame) -> pd.DataFrame:
        """Apply the corrections, as the stage `split` does."""
        from headstart.datasets.corrected import correct
        from headstart.datasets.corrections import read_corrections

        split = self._planned.get("stages.split")
        name = options(split.stage).get("corrections") if split is not None else None
        return images if name is None else correct(images, read_corrections(Path(name))).images

    @property
    def _duplicates(self) -> dict[str, str]:
        """The groups of near duplicates of the last search; those of new images are not known."""
        from headstart.datasets.duplicates import read_groups

        split = self._planned.get("stages.split")
        name = options(split.stage).get("duplicate_groups") if split is not None else None
        return read_groups(Path(name)) if name is not None and Path(name).is_file() else {}

    @cached_property
    def _files(self) -> int:
        """The number of images; 0 if nothing runs, because a million take a minute to divide."""
        if all(entry.fate in STILL for entry in self._planned.values()):
            return 0
        try:
            return len(self._preview.images) if self._images is None else len(self._used)
        except UnknownError as error:
            return error.most or 0

    @property
    def _source_bytes(self) -> int:
        try:
            return self._preview.bytes if self._moves("stages.download") else 0
        except UnknownError:
            return 0
