"""The proof of a reproduction, for programs (JSON) and for people (Markdown)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from headstart._utils.files import write_text
from headstart._utils.tables import leaves
from headstart.runs.verdict import FileVerdict, Kind, Verdict

_SHOWN = 60  # files that are named in the text; the JSON has all
_ALIKE = 8  # of those, files of one folder that are bit-exact


@dataclass(frozen=True)
class StageRun:
    """What became of a stage: ``how`` is "ran", or where its outputs were brought from."""

    name: str
    how: str
    seconds: float


@dataclass(frozen=True)
class Difference:
    """A fact of the environment that is not what it was; "" if there was none."""

    name: str
    then: str
    now: str


@dataclass(frozen=True)
class Certificate:
    """Everything that is certified.

    Attributes
    ----------
    revision, commit, subject, committed : str
        What was asked for, and the commit that it is.
    made : str
        When this was written, ISO 8601 in UTC.
    command : str
    verdict, required : Verdict
    files : sequence of FileVerdict
    stages : sequence of StageRun
    then, now : mapping or None
        The environments; None: not known.
    differences : sequence of Difference
        In what the two differ.
    changed : sequence of str
        Parameters that were set, as ``key=value``.
    warm : bool
        Whether recorded features were used.
    notes : sequence of str
        What else a reader should know.
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
    tolerance: str = field(
        default="Numbers are equal if they differ by at most 1e-5 + 1e-4 × the recorded one"
    )

    @property
    def reached(self) -> bool:
        """Whether the verdict is the one that was asked for, or better."""
        return self.verdict.reaches(self.required)

    def line(self) -> str:
        """The verdict in a sentence or two."""
        files = [entry for entry in self.files if entry.kind in {Kind.OUTPUT, Kind.METRIC}]
        counts = Counter(entry.verdict for entry in files)
        said = ", ".join(f"{counts[kind]:,} {kind}" for kind in Verdict if counts[kind])
        asked = "" if self.reached else f", where {self.required} was asked for"
        amiss = (entry.path for entry in self.files if entry.verdict is Verdict.DIFFERENT)
        named = list(dict.fromkeys(amiss))
        more = f" and {len(named) - 3:,} more" if len(named) > 3 else ""
        which = f" Different: {', '.join(named[:3])}{more}." if named else ""
        what = ": the scores are equal, not all else is" if self.verdict is Verdict.METRIC else ""
        return f"{self.verdict}{asked}{what} ({len(files):,} output files: {said}).{which}"


def as_json(certificate: Certificate) -> str:
    """The whole of it."""
    values = {"format": 1, "reached": certificate.reached, **asdict(certificate)}
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_markdown(certificate: Certificate) -> str:
    """One page: the verdict, what differs, how it was made, and on what."""
    c = certificate
    lines = [
        f"# {c.verdict}: commit {c.commit[:12]}",
        "",
        f"{_text(c.line())}",
        "",
        "| | |",
        "|---|---|",
        f"| commit | `{c.commit}` {_text(c.subject)} |",
        f"| committed | {c.committed} |",
        f"| run again | {c.made}, {c.seconds:,.1f} s |",
        f"| asked for | {c.required}: {'reached' if c.reached else 'NOT reached'} |",
        f"| command | `{_text(c.command)}` |",
        f"| recorded features | {'used (warm)' if c.warm else 'not used (cold)'} |",
    ]
    if c.changed:
        lines.append(f"| **parameters changed** | {_text(', '.join(c.changed))} |")
    lines += _notes(c) + _files(c) + _stages(c) + _environment(c)
    return "\n".join(lines) + "\n"


def _notes(c: Certificate) -> list[str]:
    return ["", "## Notes", "", *(f"- {_text(note)}" for note in c.notes)] if c.notes else []


def _files(c: Certificate) -> list[str]:
    amiss = [entry for entry in c.files if entry.verdict is not Verdict.BIT_EXACT]
    order = [Verdict.DIFFERENT, Verdict.NUMERICAL]
    amiss.sort(key=lambda entry: order.index(entry.verdict))
    lines: list[str] = []
    if amiss:
        lines += ["", "## What is not bit-exact", ""]
        lines += ["| verdict | file | of | recorded | now | why |", "|---|---|---|---|---|---|"]
        for entry in amiss[:_SHOWN]:
            why = entry.why
            if entry.largest is not None:
                why = f"largest difference {entry.largest:.3g}{'; ' if why else ''}{why}"
            cells = (f"`{_text(entry.path)}`", _of(entry), f"`{entry.recorded}`", f"`{entry.got}`")
            lines.append(f"| {entry.verdict} | {' | '.join(cells)} | {_text(why)} |")
        if len(amiss) > _SHOWN:
            lines.append(f"\nand {len(amiss) - _SHOWN:,} more, in the JSON.")
        lines += [
            "",
            f"({c.tolerance[0].upper()}{c.tolerance[1:]}; whole numbers must be the same.)",
        ]
    exact = [entry for entry in c.files if entry.verdict is Verdict.BIT_EXACT]
    if exact:
        lines += ["", "## What is bit-exact", "", "| file | of | md5 |", "|---|---|---|"]
    for (folder, _), group in groupby(
        exact, lambda entry: (str(Path(entry.path).parent), _of(entry))
    ):
        together = list(group)
        lines += [f"| `{_text(e.path)}` | {_of(e)} | `{e.got}` |" for e in together[:_ALIKE]]
        if len(together) > _ALIKE:
            more = f"`{_text(folder)}`: {len(together) - _ALIKE:,} more"
            lines.append(f"| {more} | {_of(together[0])} | in the JSON |")
    return lines


def _of(entry: FileVerdict) -> str:
    kind = "" if entry.kind is Kind.OUTPUT else f" ({entry.kind})"
    return f"{_text(entry.stage)}{kind}{', restored' if entry.restored else ''}"


def _stages(c: Certificate) -> list[str]:
    rows = [f"| {_text(run.name)} | {_text(run.how)} | {run.seconds:.1f} |" for run in c.stages]
    return ["", "## Stages", "", "| stage | | seconds |", "|---|---|---|", *rows]


def _environment(c: Certificate) -> list[str]:
    lines = ["", "## Environment", ""]
    if c.then is None or c.now is None:
        which = "the commit's run" if c.then is None else "this run"
        return [*lines, f"What {which} was made on is not recorded."]
    if not c.differences:
        return [*lines, "The same as the recorded one:", "", *_facts(c.now)]
    lines += ["What differs:", "", "| | then | now |", "|---|---|---|"]
    lines += [
        f"| **{_text(d.name)}** | {_text(d.then or 'none')} | {_text(d.now or 'none')} |"
        for d in c.differences
    ]
    return [*lines, "", "Now:", "", *_facts(c.now)]


def _facts(environment: Mapping[str, Any]) -> list[str]:
    rows = [f"| {_text(name)} | {_text(value)} |" for name, value in flat(environment).items()]
    return ["| | |", "|---|---|", *rows]


def differences(
    then: Mapping[str, Any] | None, now: Mapping[str, Any] | None
) -> tuple[Difference, ...]:
    """In what two environments differ; nothing if one is not known."""
    if then is None or now is None:
        return ()
    one, two = flat(then), flat(now)
    return tuple(
        Difference(name, one.get(name, ""), two.get(name, ""))
        for name in dict.fromkeys([*one, *two])
        if one.get(name, "") != two.get(name, "")
    )


def flat(values: Mapping[str, Any]) -> dict[str, str]:
    """By dotted names; lists as words."""
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


def _text(text: str) -> str:
    """On one line of a table, and nothing that a viewer would obey."""
    line = " ".join(text.split())
    for sign, shown in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|")):
        line = line.replace(sign, shown)
    return line
