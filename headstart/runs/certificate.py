"""The certificate of a reproduction, for programs (JSON) and for people (Markdown)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from headstart._utils.files import write_text
from headstart._utils.tables import counted, leaves
from headstart.runs.verdict import FileVerdict, Kind, Verdict

#: Where certificates are kept, below the project's folder; ignored by git, as all of data.
CERTIFICATES = Path("data/certificates")
_SHOWN = 60  # files that are named in the text; the JSON has all
_ALIKE = 8  # of those, files of one folder that are bit-exact


@dataclass(frozen=True)
class StageRun:
    """The run of a stage: ``how`` is "ran", or the origin of its restored outputs."""

    name: str
    how: str
    seconds: float


@dataclass(frozen=True)
class Difference:
    """A fact of the environment that changed; "" if it was not recorded."""

    name: str
    then: str
    now: str


@dataclass(frozen=True)
class Certificate:
    """Everything that a reproduction certifies.

    Attributes
    ----------
    revision, commit, subject, committed : str
        The requested revision, and the commit that it names.
    made : str
        When this was written, ISO 8601 in UTC.
    command : str
    verdict, required : Verdict
    files : sequence of FileVerdict
    stages : sequence of StageRun
    then, now : mapping or None
        The environments; None: not known.
    differences : sequence of Difference
        Facts in which the two differ.
    changed : sequence of str
        Parameters that were set, as ``key=value``.
    warm : bool
        Whether recorded features were used.
    notes : sequence of str
        Further notes for a reader.
    seconds : float
        From the first stage to the last.
    """

    revision: str
    commit: str
    subject: str
    committed: str
    made: str
    command: str
    verdict: Verdict
    required: Verdict
    files: Sequence[FileVerdict]
    stages: Sequence[StageRun]
    then: Mapping[str, Any] | None
    now: Mapping[str, Any] | None
    differences: Sequence[Difference] = ()
    changed: Sequence[str] = ()
    warm: bool = False
    notes: Sequence[str] = ()
    seconds: float = 0.0
    tolerance: str = "Numbers are equal if they differ by at most 1e-5 + 1e-4 × the recorded one"

    @property
    def reached(self) -> bool:
        """Return whether the verdict is the required one, or better."""
        return self.verdict.reaches(self.required)

    def line(self) -> str:
        """Return the verdict in a sentence or two."""
        files = [entry for entry in self.files if entry.kind in {Kind.OUTPUT, Kind.METRIC}]
        counts = Counter(entry.verdict for entry in files)
        kinds = ", ".join(f"{counts[kind]:,} {kind}" for kind in Verdict if counts[kind])
        missed = "" if self.reached else f", where {self.required} was required"
        differing = (entry.path for entry in self.files if entry.verdict is Verdict.DIFFERENT)
        named = list(dict.fromkeys(differing))
        more = f" and {len(named) - 3:,} more" if len(named) > 3 else ""
        which = f" Different: {', '.join(named[:3])}{more}." if named else ""
        what = (
            ": the scores are equal, other files are not" if self.verdict is Verdict.METRIC else ""
        )
        number = counted(len(files), "output file")
        return f"{self.verdict}{missed}{what} ({number}: {kinds}).{which}"


def as_json(certificate: Certificate) -> str:
    """Return the whole certificate as canonical JSON."""
    values = {"format": 1, "reached": certificate.reached, **asdict(certificate)}
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_markdown(certificate: Certificate) -> str:
    """Return one page: the verdict, what differs, how it was made, and on what."""
    order = [Verdict.DIFFERENT, Verdict.NUMERICAL]
    files = certificate.files
    exact = [entry for entry in files if entry.verdict is Verdict.BIT_EXACT]
    groups = groupby(exact, lambda entry: (str(Path(entry.path).parent), _origin(entry)))
    return rendered(
        "certificate.md",
        c=certificate,
        differing=sorted(
            (entry for entry in files if entry.verdict is not Verdict.BIT_EXACT),
            key=lambda entry: order.index(entry.verdict),
        ),
        exact=[(folder, list(entries)) for (folder, _), entries in groups],
        facts=flat(certificate.now or {}),
        shown=_SHOWN,
        alike=_ALIKE,
    )


def rendered(template: str, **values: Any) -> str:
    """Return a text made from one of the room's templates."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    pages = Environment(
        loader=PackageLoader("headstart.runs"), undefined=StrictUndefined,
        autoescape=select_autoescape(), keep_trailing_newline=True,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    pages.filters |= {"cell": _cell, "origin": _origin, "reason": _reason}
    return pages.get_template(template).render(values)


def _origin(entry: FileVerdict) -> str:
    kind = "" if entry.kind is Kind.OUTPUT else f" ({entry.kind})"
    return f"{_cell(entry.stage)}{kind}{', restored' if entry.restored else ''}"


def _reason(entry: FileVerdict) -> str:
    if entry.largest is None:
        return entry.why
    return f"largest difference {entry.largest:.3g}{'; ' if entry.why else ''}{entry.why}"


def differences(
    then: Mapping[str, Any] | None, now: Mapping[str, Any] | None
) -> tuple[Difference, ...]:
    """Return the facts in which two environments differ; none if one is not known."""
    if then is None or now is None:
        return ()
    one, two = flat(then), flat(now)
    return tuple(
        Difference(name, one.get(name, ""), two.get(name, ""))
        for name in dict.fromkeys([*one, *two])
        if one.get(name, "") != two.get(name, "")
    )


def flat(values: Mapping[str, Any]) -> dict[str, str]:
    """Return nested values by dotted names, lists as words."""
    return {
        name: " ".join(map(str, value if isinstance(value, list) else [value]))
        for name, value in leaves(values).items()
    }


def write(certificate: Certificate, folder: Path) -> tuple[Path, Path]:
    """Write ``certificate.json`` and ``certificate.md``; return where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "certificate.json", folder / "certificate.md"
    for path, text in zip(paths, (as_json(certificate), as_markdown(certificate)), strict=True):
        write_text(path, text)
    return paths


def _cell(text: str) -> str:
    """Return a text as a table cell: on one line, without markup or control characters."""
    line = " ".join(text.split())
    for sign, shown in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|")):
        line = line.replace(sign, shown)
    return line
