"""docs/claims.md from docs/claims.json: the same record gives the same page, byte for byte."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from headstart.export.parity import at_most
from tools.claims.plan import CLAIMS, PAIRS, RUNS, Claim

_FOUR_DIGITS = 400  # fewer images than this do not carry a fourth digit
#: Commits with the former defaults of the head and of fine-tuning, whose results the page marks.
_FORMER = frozenset({"7d18b53", "78e87c4"})
_AGAIN = "`make claims` with a folder that has it."
_ALL_PAIRS = [pair for pairs in PAIRS.values() for pair in pairs]
#: Results that are made from the runs of others.
_RESTS_ON = {pair.name: (pair.first[0], pair.second[0]) for pair in _ALL_PAIRS} | {
    "ways": ("way-a",)
}


def render(record: Mapping[str, Any]) -> str:
    """Return the page, Markdown, from the content of claims.json."""
    order = list(RUNS)
    groups = sorted(
        record["groups"].items(), key=lambda each: order.index(each[0]) if each[0] in order else -1
    )
    page = Page(record["groups"])
    runs = [run for group in RUNS.values() for run in group]
    recipes = dict.fromkeys(run.recipe for run in runs if run.name in page.found | page.lacks)
    return page.environment.get_template("page.md.j2").render(
        page=page,
        found=page.found,
        lacks=page.lacks,
        claims=CLAIMS,
        pairs=_ALL_PAIRS,
        recipes={recipe: [run for run in runs if run.recipe == recipe] for recipe in recipes},
        groups=groups,
        former=sorted({group["commit"] for _, group in groups} & _FORMER),
        machines=dict.fromkeys(str(page.phrases.machine(group["machine"])) for _, group in groups),
        files=_files(page.found, record["origins"]),
    )


class Page:
    """The claims beside the results of all groups.

    Attributes
    ----------
    found : dict
        Results by name; those of a group that was never measured are absent.
    lacks : dict of str to str
        A sentence for each run that could not be made: the file that is missing.
    """

    def __init__(self, groups: Mapping[str, Any]) -> None:
        results = [(g["commit"], *item) for g in groups.values() for item in g["results"].items()]
        self.found = {
            name: {**result, "commit": commit}
            for commit, name, result in results
            if "lacks" not in result
        }
        self.lacks = {name: result["lacks"] for _, name, result in results if "lacks" in result}
        self.environment = jinja2.Environment(  # noqa: S701 - Markdown, not HTML
            loader=jinja2.FileSystemLoader(Path(__file__).parent),
            undefined=jinja2.ChainableUndefined,
            keep_trailing_newline=True,
        )
        self.environment.filters.update(FILTERS)
        phrases = self.environment.get_template("phrases.j2")
        self.phrases: Any = phrases.make_module({"found": self.found})

    def state(self, claim: Claim) -> str:
        """Return ``measured``, ``substitute`` or ``not measured``."""
        if not claim.lacks and self._shown(claim, claim.shows):
            return "measured"
        if claim.expected is not None and claim.item in self.found:
            return "measured"
        return "substitute" if self._shown(claim, claim.instead) else "not measured"

    def here(self, claim: Claim) -> str:
        """Return what was measured of a claim, in words."""
        if claim.expected is not None:
            if claim.item not in self.found:
                return "not measured"
            own = {key: self.found[claim.item][key] for key in claim.expected}
            return (
                f"{self.phrases.numbers(own)}{'' if agrees(claim, own) else ': **not as claimed**'}"
            )
        words = self._shown(claim, () if claim.lacks else claim.shows)
        return "; ".join(words or ["not measured", *self._shown(claim, claim.instead)])

    def unmeasured(self) -> dict[tuple[str, str], list[str]]:
        """Return the items of the claims that were not checked, by why and how to check them."""
        items: dict[tuple[str, str], list[str]] = {}
        for claim in CLAIMS:
            if self.state(claim) != "measured":
                items.setdefault((self._why(claim), claim.how or _AGAIN), []).append(claim.item)
        return items

    def _shown(self, claim: Claim, references: Sequence[str]) -> list[str]:
        """Return a phrase, written by the macro of its kind, for each result that exists."""
        phrases = []
        for reference in references:
            kind, name, which = _parts(reference)
            if name in self.found:
                phrases.append(str(getattr(self.phrases, kind)(self.found[name], which, claim)))
        return phrases

    def _why(self, claim: Claim) -> str:
        if claim.lacks:
            return claim.lacks
        names = [_parts(reference)[1] for reference in claim.shows]
        runs = [run for name in names for run in _RESTS_ON.get(name, (name,))]
        reasons = dict.fromkeys(self.lacks[run] for run in runs if run in self.lacks)
        return "; ".join(reasons) or "it has not been run yet"


def agrees(claim: Claim, own: Mapping[str, Any]) -> bool:
    """Return True if numbers are those that are claimed, to the claimed digits."""
    return all(
        round(own[key], 4) == value if isinstance(value, float) else own[key] == value
        for key, value in (claim.expected or {}).items()
    )


def _parts(reference: str) -> tuple[str, str, str]:
    kind, _, rest = reference.partition(":")
    name, _, which = rest.partition("/")
    return kind, name, which


def _files(found: Mapping[str, Any], origins: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    files = {}
    for result in found.values():
        if "weights" in result:
            digest = result["weights"]["sha256"]
            origin = origins.get(digest, "its origin is not known")
            files[result["weights"]["file"]] = (digest, origin)
        if "archive" in result:
            size = f"{result['files']:,} files, {len(result['classes'])} classes"
            files[result["archive"]["file"]] = (result["archive"]["sha256"], size)
    return files


def _decimal(value: float, digits: int) -> str:
    """Return a share without its leading zero: ``.924``."""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def _accuracy(score: Mapping[str, Any], n: int) -> str:
    return _decimal(score["accuracy"], 4 if n >= _FOUR_DIGITS else 3)


def _interval(score: Mapping[str, Any]) -> str:
    return f"{_decimal(score['accuracy_low'], 3)} to {_decimal(score['accuracy_high'], 3)}"


def share(score: Mapping[str, Any], n: int) -> str:
    """Return ``183 of 198 right, .924 (.879 to .954)``."""
    return f"{score['right']:,} of {n:,} right, {_accuracy(score, n)} ({_interval(score)})"


def signed(value: float) -> str:
    """Return a difference with its sign and four digits; a zero has no sign."""
    near = round(value, 4) or 0.0  # no -.0000
    return f"{'+' if near > 0 else ''}{_decimal(near, 4)}"


def _wrap(words: str, bullet: str = "") -> str:
    return textwrap.fill(
        " ".join(words.split()), 100, initial_indent=bullet, subsequent_indent=" " * len(bullet),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


FILTERS: Mapping[str, Callable[..., str | float]] = {
    "accuracy": _accuracy, "at_most": at_most, "decimal": _decimal, "interval": _interval,
    "rounded": "{:.0f}".format, "scientific": "{:.0e}".format, "share": share, "signed": signed,
    "thousands": "{:,}".format, "wrap": _wrap,
}  # fmt: skip
