"""Do two models say the same? What is compared of an exported form, and what is accepted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import HeadstartError
from headstart.export.formats import FORMATS, FormatName
from headstart.export.parameters import ExportParams

Floats = npt.NDArray[np.floating[Any]]

#: What the text of a difference that must not depend on the CPU's last bits begins with.
_LEAST_POWER = -7


class Answers(Protocol):
    """What a form said of the images when it was loaded again."""

    @property
    def outputs(self) -> Mapping[str, Floats]:
        """Probabilities by the way in: ``pixels``, perhaps ``encoded``."""

    @property
    def refused(self) -> Mapping[int, str]:
        """Position of each encoded image that was refused, and why."""


@dataclass(frozen=True)
class Agreement:
    """How two models' probabilities of the same images compare.

    Attributes
    ----------
    images : int
    difference : float
        The largest of a probability.
    same : int
        Images of which the first guess is the same.
    decided : int
        Images of which it is another, although the expected one led clearly.
    """

    images: int
    difference: float
    same: int
    decided: int

    @property
    def share(self) -> float:
        """Of the images, those of which the first guess is the same."""
        return self.same / self.images

    def summary(self) -> dict[str, Any]:
        """For the metrics: the difference as a bound, since its last digits belong to the CPU."""
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
        A guess leads clearly if its probability is more than this above the other's.
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


def require_some(refused: Mapping[int, str], count: int) -> list[int]:
    """Positions of the images that were not refused.

    Raises
    ------
    HeadstartError
        If there are none, so that nothing is known of the way from files.
    """
    taken = [place for place in range(count) if place not in refused]
    if not taken:
        reasons = "; ".join(sorted(set(refused.values())))
        raise HeadstartError(
            f"The SavedModel refuses all {count} test images that it was to be compared on: "
            f"{reasons} Pillow, which training reads images with, takes them. Nothing was "
            "exported. Convert the images to JPEG or PNG and run the pipeline again."
        )
    return taken


def compared(
    expected: Floats, readings: Mapping[FormatName, Answers], params: ExportParams
) -> dict[FormatName, dict[str, Agreement]]:
    """Each way into each form against the expected probabilities."""
    tie = 2 * params.max_probability_difference
    found: dict[FormatName, dict[str, Agreement]] = {}
    for name, reading in readings.items():
        taken = require_some(reading.refused, len(expected))
        found[name] = {
            way: compare(expected[taken], output[taken], tie)
            if way == "encoded"
            else compare(expected, output, tie)
            for way, output in reading.outputs.items()
        }
    return found


def accept(found: Mapping[FormatName, Mapping[str, Agreement]], params: ExportParams) -> None:
    """Refuse an export of which a form does not say what was evaluated.

    Raises
    ------
    HeadstartError
        Naming each form and what differs.
    """
    said = [sentence for name, ways in found.items() for sentence in faults(name, ways, params)]
    if said:
        lines = "\n".join(f"  - {sentence}" for sentence in said)
        raise HeadstartError(
            "An exported form is not the evaluated model; nothing was exported.\n"
            f"{lines}\n"
            "If model and predictions are of one run (`dvc repro` sees to it), the limit is below "
            "what this form gives for this backbone, or the form does not suit it: change "
            "the limit, or take the format out of export.formats."
        )


def faults(form: FormatName, found: Mapping[str, Agreement], params: ExportParams) -> list[str]:
    """Sentences: where a form does not agree with the evaluated model as it must.

    Parameters
    ----------
    form : str
    found : mapping of str to Agreement
        For each way in, ``pixels`` and perhaps ``encoded``.
    params : ExportParams
        The limits.
    """
    said = []
    precision = FORMATS[form].precision
    pixels = found["pixels"]
    if precision == "float32":
        limit = params.max_probability_difference
        if not pixels.difference <= limit:
            said.append(
                f"{form}: on the same pixels a probability differs by {pixels.difference:.3g}; "
                f"export.max_probability_difference is {limit:g}."
            )
        if pixels.decided:
            said.append(
                f"{form}: on the same pixels the first guess is another on {pixels.decided} of "
                f"{pixels.images} images; with float32 it must be the same on all."
            )
    else:
        said += _too_few(form, pixels, f"min_agreement_{precision}", params)
    if "encoded" in found:
        said += _too_few(
            f"{form}, from encoded images", found["encoded"], "min_agreement_encoded", params
        )
    return said


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
    """How many images may differ if a share must agree.

    One may, unless all must agree: of fewer than 100 images a single one is more than 1 %.
    """
    # Rounded, because 1 - 0.99 of 200 is 2.0000000000000018 of them.
    return max(math.floor(round((1 - share) * images, 9)), int(share < 1))


def at_most(difference: float) -> float:
    """The next 1, 2 or 5 times a power of ten, at least 1e-7."""
    for power in range(_LEAST_POWER, 1):
        for digit in (1, 2, 5):
            bound = float(f"{digit}e{power}")
            if difference <= bound:
                return min(bound, 1.0)
    return 1.0
