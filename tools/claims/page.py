"""docs/claims.md from docs/claims.json: the same record gives the same page, byte for byte."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tools.claims import text
from tools.claims.items import CLAIMS, Claim
from tools.claims.phrases import PHRASES, WAYS
from tools.claims.runs import PAIRS
from tools.claims.sections import basis, recipes, ways

TITLE = """# The tutorials' claims, checked

Written by `make claims` from [claims.json](claims.json), never by hand. It runs the recipes in a
copy of the project, as a user would, on the images and weights of a folder (`SHARED`), and reads
what the runs wrote. In brackets is the 95 % interval (Wilson's; of a difference Newcombe's for
pairs, and p is McNemar's). The numbers of the items are those of
[tutorial-items.md](tutorial-items.md).

**measured**: what is claimed was measured (1.8 and 1.9 lay two ways over one another on one
backbone,
which any backbone can be). **in its place**: another backbone or other images took the place of
what was not at hand, so it is no check of the claim. **not measured**: neither.
"""


def render(record: Mapping[str, Any]) -> str:
    """The whole page, Markdown.

    Parameters
    ----------
    record : mapping
        The content of claims.json.
    """
    found = results(record["groups"])
    rows = [(claim.item, claim.says, here(claim, found), state(claim, found)) for claim in CLAIMS]
    lines = [TITLE, *text.table(("", "the tutorial", "here", ""), rows)]
    lines += ["", "## What was not measured", "", *unmeasured(record["groups"])]
    lines += ["", *recipes(found, lacking(record["groups"])), *ways(found), *basis(record, found)]
    return "\n".join(lines) + "\n"


def results(groups: Mapping[str, Any]) -> dict[str, Any]:
    """Results of all groups by name; those of a group that was never measured are absent."""
    return {
        name: {**result, "commit": group["commit"]}
        for group in groups.values()
        for name, result in group["results"].items()
        if "lacks" not in result
    }


def lacking(groups: Mapping[str, Any]) -> dict[str, str]:
    """What each run that could not be made lacked, as a sentence."""
    return {
        name: result["lacks"]
        for group in groups.values()
        for name, result in group["results"].items()
        if "lacks" in result
    }


def state(claim: Claim, found: Mapping[str, Any]) -> str:
    """``measured``, ``in its place`` or ``not measured``."""
    if not claim.lacks and shown(claim, claim.shows, found):
        return "measured"
    if claim.expected is not None and claim.item in found:
        return "measured"
    return "in its place" if shown(claim, claim.instead, found) else "not measured"


def here(claim: Claim, found: Mapping[str, Any]) -> str:
    """What was measured of a claim, in words."""
    if claim.expected is not None:
        if claim.item not in found:
            return "not measured"
        own = {key: found[claim.item][key] for key in claim.expected}
        return f"{text.numbers(own)}{'' if agrees(claim, own) else ': **not as claimed**'}"
    own_words = shown(claim, () if claim.lacks else claim.shows, found)
    if own_words:
        return "; ".join(own_words)
    others = shown(claim, claim.instead, found)
    return "; ".join(["not measured", *others])


def agrees(claim: Claim, own: Mapping[str, Any]) -> bool:
    """Whether numbers are those that are claimed, as far as these go."""
    expected = claim.expected or {}
    return all(
        round(own[key], 4) == value if isinstance(value, float) else own[key] == value
        for key, value in expected.items()
    )


def shown(claim: Claim, references: tuple[str, ...], found: Mapping[str, Any]) -> list[str]:
    """A phrase for each reference whose result is there."""
    said = []
    for reference in references:
        kind, _, rest = reference.partition(":")
        name, _, which = rest.partition("/")
        if kind == "ways" and "ways" in found:
            said.append(WAYS[name](found))
        elif name in found:
            said.append(PHRASES[kind](found[name], which, claim))
    return said


def unmeasured(groups: Mapping[str, Any]) -> list[str]:
    """Of the claims that were not checked: why, and how to do it elsewhere."""
    found, lacks = results(groups), lacking(groups)
    items: dict[tuple[str, str], list[str]] = {}
    for claim in CLAIMS:
        if state(claim, found) != "measured":
            items.setdefault((_why(claim, lacks), claim.how or _AGAIN), []).append(claim.item)
    rows = [("; ".join(own), why, how) for (why, how), own in items.items()]
    return text.table(("", "why", "how to measure it"), rows)


_AGAIN = "`make claims` with a folder that has it."
#: Results that are made of others.
_RESTS_ON = {
    **{pair.name: (pair.first[0], pair.second[0]) for pairs in PAIRS.values() for pair in pairs},
    "a": ("way-a",),
    "b": ("way-a",),
}


def _why(claim: Claim, lacks: Mapping[str, str]) -> str:
    if claim.lacks:
        return claim.lacks
    names = [reference.partition(":")[2].partition("/")[0] for reference in claim.shows]
    runs = [run for name in names for run in _RESTS_ON.get(name, (name,))]
    told = dict.fromkeys(lacks[run] for run in runs if run in lacks)
    return "; ".join(told) or "it has not been run yet"
