"""The plan in claims.yaml: the tutorials' claims, the runs that measure them, and comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

_PLAN: dict[str, Any] = YAML(typ="safe").load(Path(__file__).with_name("claims.yaml"))


@dataclass(frozen=True)
class Claim:
    """An item of a tutorial that names a number, a shape or a score.

    Attributes
    ----------
    item, says : str
        Its number in docs/tutorial-items.md, and the claim.
    shows, instead : sequence of str
        The results that measure it, and those that stand in its place where it cannot be measured:
        ``kind:name``, with a macro of page.md.j2 for each kind.
    value : float or None
        The accuracy that is claimed.
    expected : mapping or None
        Numbers and shapes that are claimed, as ``tools.claims.in_keras counts`` prints them.
    lacks, how : str
        Why none of our archives can measure it, and how to measure it elsewhere.
    """

    item: str
    says: str
    shows: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()
    value: float | None = None
    expected: Mapping[str, Any] | None = None
    lacks: str = ""
    how: str = ""


@dataclass(frozen=True)
class Run:
    """A recipe, as a user would run it.

    Attributes
    ----------
    name, recipe : str
    what : str
        The difference from other runs of the recipe, for the page.
    archive, weights : str
        File names in ``datasets`` and ``keras/models`` of the shared folder.
    settings : mapping of str to str
        ``--set`` KEY=VALUE.
    by_path : bool
        Give the weights as a file: Keras has another one for this size, which is not available.
    module : bool
        Make a module in TensorFlow Hub's format from these weights and use it as the backbone.
    instead_of : str
        The backbone whose place another takes here; "": none.
    export : bool
        Run all stages, not only up to the evaluation.
    classified, seen : str
        Folder of the archive, over class folders, whose images the exported model classifies; and
        the folder with the training images, for finding copies.
    sizes : sequence of int
        Other sides in pixels at which the trained model is measured.
    """

    name: str
    recipe: str
    what: str
    archive: str
    weights: str
    settings: Mapping[str, str] = field(default_factory=dict)
    by_path: bool = False
    module: bool = False
    instead_of: str = ""
    export: bool = False
    classified: str = ""
    seen: str = ""
    sizes: tuple[int, ...] = ()

    def lacks(self, shared: Path) -> str:
        """Return what the shared folder does not have, as a sentence; "" if it has everything."""
        return lacking(shared, {"archive": self.archive, "file of weights": self.weights})

    def command(self) -> str:
        """Return the command that sets params.yaml, with SHARED for the folder."""
        words = [f"headstart recipe {self.recipe}"]
        given = self.all_settings("SHARED", "MODULE", "SHA256")
        return " ".join([*words, *(f"--set {key}={value}" for key, value in given.items())])

    def all_settings(self, shared: str, module: str, sha256: str) -> dict[str, str]:
        """Return every KEY=VALUE; ``sha256`` is that of the module, or else of the weights."""
        own = {"download.location": f"{shared}/datasets/{self.archive}", **self.settings}
        if self.module:
            return {**own, "backbone.hub": module, "backbone.weights_sha256": sha256}
        if self.by_path:
            own["backbone.weights"] = f"{shared}/keras/models/{self.weights}"
            own["backbone.weights_sha256"] = sha256
        return own


@dataclass(frozen=True)
class Pair:
    """Two models on the same images: each a run's name, and its ``head`` or final ``model``."""

    name: str
    what: str
    first: tuple[str, str]
    second: tuple[str, str]


def lacking(shared: Path, files: Mapping[str, str]) -> str:
    """Return a sentence about the first file that the shared folder lacks; "" if it has all."""
    for what, name in files.items():
        folder = "datasets" if what == "archive" else "keras/models"
        if not (shared / folder / name).is_file():
            return f"the {what} `{name}` is not in `SHARED/{folder}`"
    return ""


def _run(entry: Mapping[str, Any]) -> Run:
    archive, weights = _PLAN["archives"][entry["archive"]], _PLAN["weights"][entry["weights"]]
    return Run(**{**entry, "archive": archive, "weights": weights})


#: By group, in the order in which they are measured.
RUNS = {group: tuple(map(_run, runs)) for group, runs in _PLAN["runs"].items()}
PAIRS = {group: tuple(Pair(**pair) for pair in pairs) for group, pairs in _PLAN["pairs"].items()}
CLAIMS = tuple(Claim(**claim) for claim in _PLAN["claims"])
