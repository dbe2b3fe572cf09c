"""Parity of an exported format with the evaluated model: images, comparison, limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import HeadstartError
from headstart._utils.seeds import derive
from headstart.datasets.shards import ShardReader
from headstart.export.formats import FORMATS, FormatName
from headstart.export.parameters import ExportParams

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.floating[Any]]

#: Recorded bounds of a difference. Where rounding decides, below 1e-3, they are far apart.
_BOUNDS = (1e-5, 1e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True)
class Reading:
    """The predictions of an exported format that a fresh process loaded.

    Attributes
    ----------
    outputs : mapping of str to ndarray of shape (n_images, n_classes), float32
        Probabilities by input: ``pixels``, and for the SavedModel ``encoded``, NaN where it refused
        a file.
    refused : mapping of int to str
        Position of each file that it refused, and why.
    """

    outputs: Mapping[str, Floats]
    refused: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Agreement:
    """A comparison of two models' probabilities of the same images.

    Attributes
    ----------
    images : int
    difference : float
        The largest difference of a probability.
    same : int
        Images with the same first guess (the most probable class).
    decided : int
        Images with another first guess, although the expected one led clearly.
    """

    images: int
    difference: float
    same: int
    decided: int

    @property
    def share(self) -> float:
        """Share of the images with the same first guess."""
        return self.same / self.images

    def summary(self) -> dict[str, Any]:
        """Return the values for the metrics: the difference as a bound, independent of the CPU."""
        return {
            "images": self.images,
            "probability_differs_at_most": at_most(self.difference),
            "same_first_guess": self.same,
            "same_first_guess_share": self.share,
        }


def compare(expected: Floats, found: Floats, tie: float = 0.0) -> Agreement:
    """Compare probabilities, both of shape (n_images, n_classes).

    Parameters
    ----------
    tie : float
        A first guess leads clearly if its probability is more than this above the other's.
    """
    wide = np.asarray(expected, np.float64)
    first, other = wide.argmax(axis=1), found.argmax(axis=1)
    rows = np.arange(len(wide))
    lead = wide[rows, first] - wide[rows, other]
    return Agreement(
        images=len(wide),
        difference=float(np.abs(wide - found).max()),
        same=int((first == other).sum()),
        decided=int((lead > tie).sum()),
    )


#: Begins the reason why a SavedModel refuses a file of a format that it does not read.
UNSUPPORTED = "These bytes are no image of a format that this model reads"


def require_some(refused: Mapping[int, str], count: int) -> list[int]:
    """Return the positions of the images that were not refused.

    There are none if all are of formats that the SavedModel does not read, such as WebP. It is then
    compared by its signature ``pixels`` alone.

    Raises
    ------
    HeadstartError
        If there are none for another reason.
    """
    taken = [place for place in range(count) if place not in refused]
    if not taken and not all(UNSUPPORTED in reason for reason in refused.values()):
        reasons = "; ".join(sorted(set(refused.values())))
        raise HeadstartError(
            f"The SavedModel refuses all {count} test images of the comparison: {reasons} "
            "Pillow, which reads the images for training, accepts them. Nothing was "
            "exported. Convert the images to JPEG or PNG and run the pipeline again."
        )
    return taken


def compared(
    expected: Floats, readings: Mapping[FormatName, Reading], params: ExportParams
) -> dict[FormatName, dict[str, Agreement]]:
    """Compare each input of each format with the expected probabilities."""
    tie = 2 * params.max_probability_difference
    found: dict[FormatName, dict[str, Agreement]] = {}
    for name, reading in readings.items():
        taken = require_some(reading.refused, len(expected))
        found[name] = {
            way: compare(expected[taken], output[taken], tie)
            if way == "encoded"
            else compare(expected, output, tie)
            for way, output in reading.outputs.items()
            if way != "encoded" or taken
        }
    return found


def accept(found: Mapping[FormatName, Mapping[str, Agreement]], params: ExportParams) -> None:
    """Refuse an export in which a format does not agree with the evaluated model.

    Raises
    ------
    HeadstartError
        Naming each format and what differs.
    """
    wrong = [sentence for name, ways in found.items() for sentence in faults(name, ways, params)]
    if wrong:
        lines = "\n".join(f"  - {sentence}" for sentence in wrong)
        raise HeadstartError(
            "An exported format is not the evaluated model; nothing was exported.\n"
            f"{lines}\n"
            "If model and predictions come from one run (`dvc repro` ensures it), either the limit "
            "is too strict for this backbone, or the format does not suit it: change the limit, or "
            "remove the format from export.formats."
        )


def faults(name: FormatName, found: Mapping[str, Agreement], params: ExportParams) -> list[str]:
    """Return a sentence for each way in which a format does not agree as it must.

    Parameters
    ----------
    name : str
    found : mapping of str to Agreement
        For each input, ``pixels`` and perhaps ``encoded``.
    params : ExportParams
        The limits.
    """
    wrong = []
    precision, pixels = FORMATS[name].precision, found["pixels"]
    if precision == "float32":
        limit = params.max_probability_difference
        if not pixels.difference <= limit:
            wrong.append(
                f"{name}: on the same pixels a probability differs by {pixels.difference:.3g}; "
                f"export.max_probability_difference is {limit:g}."
            )
        if pixels.decided:
            wrong.append(
                f"{name}: on the same pixels the first guess differs on {pixels.decided} of "
                f"{pixels.images} images; with float32 it must be the same on all."
            )
    else:
        wrong += _too_few(name, pixels, f"min_agreement_{precision}", params)
    if "encoded" in found:
        title = f"{name}, from encoded images"
        wrong += _too_few(title, found["encoded"], "min_agreement_encoded", params)
    return wrong


def _too_few(what: str, found: Agreement, name: str, params: ExportParams) -> list[str]:
    share = getattr(params, name)
    if np.isfinite(found.difference) and found.images - found.same <= spared(share, found.images):
        return []
    sentence = (
        f"{what}: the first guess is the same on {found.same} of {found.images} images; "
        f"export.{name} is {share:g}."
    )
    return [sentence]


def spared(share: float, images: int) -> int:
    """Return how many images may differ if a share must agree.

    One may, unless all must agree: of fewer than 100 images, one is more than 1 %.
    """
    # Rounded, because 1 - 0.99 of 200 is 2.0000000000000018 of them.
    return max(math.floor(round((1 - share) * images, 9)), int(share < 1))


def at_most(difference: float) -> float:
    """Return a bound from a short list: the next is 1e-5, 1e-4, 1e-3, then 2e-3, 5e-3, 1e-2 …

    The exported files hold it, and they are the same on every processor. Rounding in float32, which
    differs by a factor of two or three between processors, gives differences of about 1e-6.
    """
    return next((bound for bound in _BOUNDS if difference <= bound), 1.0)


def choose(count: int, wanted: int) -> list[int]:
    """Return evenly spaced rows: always the same for the same numbers, and from every class."""
    return sorted({round(float(x)) for x in np.linspace(0, count - 1, min(count, wanted))})


def locate(images: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the manifest's rows of some evaluated images, in their order.

    Raises
    ------
    HeadstartError
        If one is not in the manifest.
    """
    by_path = manifest.set_index("path", drop=False)
    unknown = [path for path in images["path"] if path not in by_path.index]
    if unknown:
        raise HeadstartError(
            f"The predictions name {unknown[0]!r}, which the manifest does not list. They come "
            "from different runs. Nothing was exported. Run the pipeline (`dvc repro`)."
        )
    return by_path.loc[images["path"].tolist()]


def load(
    images: Path, rows: pd.DataFrame, size: int, gray16_bits: int | None
) -> tuple[list[bytes], npt.NDArray[np.uint8]]:
    """Return the files of some rows of a manifest, and their pixels, (n, size, size, 3)."""
    from headstart.images.resize import pixels

    places = (rows[name].tolist() for name in ("shard", "offset", "bytes", "image_id"))
    with ShardReader(images) as reader:
        contents = [reader.read(*place) for place in zip(*places, strict=True)]
    decoded = [pixels(content, size, gray16_bits=gray16_bits) for content in contents]
    return contents, np.stack(decoded)


def calibrating(table: pd.DataFrame, wanted: int, seed: int) -> pd.DataFrame:
    """Draw training images by the seed, in the manifest's order; all if there are fewer."""
    training = table[table["split"] == "train"]
    generator = np.random.Generator(np.random.Philox(key=derive(seed, "export", "calibration")))
    return training.iloc[np.sort(generator.permutation(len(training))[:wanted])]
