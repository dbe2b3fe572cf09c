"""A phrase for each kind of result, as it stands beside a claim."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headstart.export.parity import at_most
from tools.claims import text
from tools.claims.items import Claim


def _run(result: Mapping[str, Any], which: str, claim: Claim) -> str:
    score = result[which]
    said = f"{base(result)}: " if result.get("instead_of") else ""
    said += f"{text.share(score, result['test'])} of the test split"
    if result["what"] not in {"head only", "as it is"}:
        said += f", {result['what']}"
    if claim.item == "3.9":
        said += f", loss {text.decimal(score['loss'], 3)}"
    if "binary_accuracy" in score:
        no = text.decimal(score["binary_accuracy_all_negative"], 4)
        said += f"; binary accuracy {text.decimal(score['binary_accuracy'], 4)}, of saying no {no}"
    return said + _holds(claim, score, result)


def _holds(claim: Claim, score: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    if claim.value is None or result.get("instead_of"):
        return ""
    if score["accuracy_low"] <= claim.value <= score["accuracy_high"]:
        return " (the interval holds the claim)"
    side = "below" if claim.value > score["accuracy_high"] else "above"
    return f" (the interval lies {side} the claim)"


def base(result: Mapping[str, Any]) -> str:
    """The backbone's name for people: ``mobilenet_v2 in the place of VGG16``."""
    other = result.get("instead_of")
    return f"{result['backbone']} in the place of {other}" if other else str(result["backbone"])


def _whole(result: Mapping[str, Any], which: str, claim: Claim) -> str:
    del which
    found = result["whole"]
    return (
        f"{result['what']}: {text.share(found, found['n'])}{_holds(claim, found, result)}; without "
        f"the {found['trained_on']} of them that stand in `train/` as well, "
        f"{text.share(result['model'], result['test'])}"
    )


def _export(result: Mapping[str, Any], which: str, claim: Claim) -> str:
    del which, claim
    formats = result["export"]
    same = all(form["pixels"]["same_first_guess_share"] == 1 for form in formats.values())
    apart = max(form["pixels"]["probability_differs_at_most"] for form in formats.values())
    n = next(iter(formats.values()))["pixels"]["images"]
    return (
        f"{'the same first guess of all' if same else '**not the same first guess** of'} {n} test "
        f"images in {len(formats)} formats, each loaded in a fresh process; probabilities differ "
        f"by at most {apart:.0e}"
    )


def _aside(result: Mapping[str, Any], which: str, claim: Claim) -> str:
    del which, claim
    names = ", ".join(f"`{path}` ({reason})" for path, reason in result["rejected"])
    return f"{len(result['rejected'])} of {result['files']:,} files rejected, unnamed: {names}"


def _sides(result: Mapping[str, Any], which: str, claim: Claim) -> str:
    del which, claim
    return "; ".join(f"at {row['size']} {text.share(row, row['n'])}" for row in result["sizes"])


def _sizes(result: Mapping[str, Any], which: str, claim: Claim) -> str:
    del which, claim
    return (
        f"{result['train']:,} images to train, {result['validation']:,} to validate, "
        f"{result['test']:,} to test, {len(result['classes'])} classes"
    )


def _imagenet(result: Mapping[str, Any], which: str, claim: Claim) -> str:
    del which, claim
    told = ", ".join(
        f"{name.lower()}s called one {text.share(score, score['n'])}"
        for name, score in result["species"].items()
    )
    return f"{result['network']}, 1,000 classes, `{result['command']}`: {told}"


def _pair(result: Mapping[str, Any], which: str, claim: Claim) -> str:
    del which, claim
    return f"{result['what']}: {text.brief(result)}"


def _way_a(found: Mapping[str, Any]) -> str:
    run, again = found["way-a"], found["way-a-again"]
    return (
        f"{base(run)}: {run['passes']:,} passes, {run['seconds']:.0f} s from the archive to the "
        f"scores; with another learning rate {again['passes']:,} passes, {again['seconds']:.0f} s"
    )


def _way_b(found: Mapping[str, Any]) -> str:
    way, before = found["ways"]["way_b"], found["ways"]["before_training"]
    return (
        f"{base(found['way-a'])}: {way['passes']:,} passes, {way['seconds']:.0f} s, "
        f"{way['seconds'] / found['way-a']['seconds']:.1f} times those of way A; before training "
        f"the probabilities of {before['images']:,} images differ by at most "
        f"{at_most(before['largest_difference']):.0e}"
    )


#: By what a reference ``ways:…`` names: all results -> phrase.
WAYS = {"a": _way_a, "b": _way_b}
#: By a reference's kind: (result, what it names of it, claim) -> phrase.
PHRASES = {
    "aside": _aside, "export": _export, "imagenet": _imagenet, "pair": _pair, "run": _run,
    "sides": _sides, "sizes": _sizes, "whole": _whole,
}  # fmt: skip
