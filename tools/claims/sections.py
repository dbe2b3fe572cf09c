"""The parts of docs/claims.md below its table: every run, both ways, and what it all rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headstart.export.parity import at_most
from tools.claims import text
from tools.claims.runs import PAIRS, RUNS, Run

_COLUMNS = ("run", "base", "trained on", "right", "accuracy", "95 %", "loss", "passes", "seconds")
_ALIGN = "llrrrrrrr"
_RUNS = """
Right are those of the test split, which chose nothing. Passes are those that the run added: what an
earlier run of the same group recorded costs none. Seconds are those of `dvc repro` as a whole, up
to the evaluation (with all exports where a whole folder was classified), on a machine that had
other work: they are no comparison.
"""
_WAYS = """
The dense classifier of `vgg16-features` ({learn:,} numbers that learn) on {base} at {size} in the
place of VGG16, from the same first weights, on the same {train:,} images to train and
{validation:,} to validate, for {epochs} epochs. A is `dvc repro evaluate` with an empty store, from
the archive to the scores, and converts the backbone as well. B is one process of Keras with Keras'
loader, from class folders to the classes of the test images. Both in one run, one after the
other.
"""
_BEFORE = """
**Before training** both are the same model: of {images:,} images, on the same pixels, no
probability differs by more than {largest:.0e}, and the first guess is the same for {same:,}. (The
probabilities reach from {lowest:.2f} to {highest:.2f}. A's features come from LiteRT, B runs in
Keras.)
"""
_AFTER = """
After training, A minus B: {difference}. Each draws its batches in an order of its own, and Keras'
loader resizes otherwise.
"""
_WITH = """
`make claims SHARED=FOLDER` measures all groups, `python -m tools.claims --shared FOLDER --only
GROUP` one. All share one feature store, empty at first. A `+` behind a commit: with changes that
were not committed.
"""


def recipes(found: Mapping[str, Any], lacks: Mapping[str, str]) -> list[str]:
    """A table of runs for each recipe, how to make them again, and their comparisons."""
    lines = ["## Every run", "", *text.wrapped(_RUNS)]
    runs = [run for group in RUNS.values() for run in group]
    for recipe in dict.fromkeys(run.recipe for run in runs):
        own = [run for run in runs if run.recipe == recipe]
        rows = [row for run in own if run.name in found for row in _rows(found[run.name])]
        told = [line for run in own for line in _told(run, found, lacks)]
        told += [
            f"{pair.what}: {text.difference(found[pair.name])}."
            for pair in (pair for pairs in PAIRS.values() for pair in pairs)
            if pair.name in found and pair.second[0] in {run.name for run in own}
        ]
        if rows or told:
            lines += ["", f"### {recipe}", ""]
            lines += [*text.table(_COLUMNS, rows, _ALIGN), ""] if rows else []
            lines += [part for line in told for part in text.wrapped(line, "- ")]
    return [*lines, ""]


def _rows(result: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The head alone where something was tuned above it, the final model, the whole folder."""
    what = result["what"]
    if result["kind"] == "fine_tuned":
        yield _row(result, result["head"], f"{what}: its head before", result["test"])
    yield _row(result, result["model"], what, result["test"])
    if "whole" in result:
        whole = result["whole"]
        yield _row(result, whole, f"{what}: with {whole['trained_on']} trained on", whole["n"])


def _row(result: Mapping[str, Any], score: Mapping[str, Any], what: str, n: int) -> tuple[str, ...]:
    final = score is result["model"]
    return (
        what, f"{result['backbone']} at {result['image_size']}", f"{result['train']:,}",
        f"{score['right']:,} of {n:,}", text.accuracy(score, n), text.interval(score),
        text.decimal(score["loss"], 4) if "loss" in score else "",
        f"{result['passes']:,}" if final else "",
        f"{result['seconds']:.0f}" if final else "",
    )  # fmt: skip


def _told(run: Run, found: Mapping[str, Any], lacks: Mapping[str, str]) -> Iterator[str]:
    """What a run was of, and how to do it again; or what it lacked."""
    if run.name in lacks:
        yield f"{run.what}: not measured, {lacks[run.name]}."
    if run.name not in found:
        return
    result = found[run.name]
    aside = f", {len(result['rejected'])} rejected" if result["rejected"] else ""
    copies = f", {result['copies']} of them copies of others" if result["copies"] else ""
    tuned = result["kind"] == "fine_tuned"
    chosen = f" Chosen because {result['chosen_because']}." if tuned else ""
    given = ", by path: Keras' own file for this size was not at hand" if run.by_path else ""
    given = ", made a module here" if run.module else given
    yield (
        f"{run.what}: `{result['command']}`. {result['files']:,} files of `{run.archive}`{copies}"
        f"{aside}; {result['train']:,} to train, {result['validation']:,} to choose, "
        f"{result['test']:,} to judge. Weights: `{run.weights}`{given}.{chosen} Code of "
        f"{result['commit']}."
    )


def ways(found: Mapping[str, Any]) -> list[str]:
    """Way A beside way B."""
    if "ways" not in found:
        return []
    a, again, b = found["way-a"], found["way-a-again"], found["ways"]["way_b"]
    before, after = found["ways"]["before_training"], found["ways"]["pair"]
    rows = [
        (what, f"{way['passes']:,}", f"{way['seconds']:.1f}",
         text.decimal(way["seconds"] / b["seconds"], 2), text.share(score, n))
        for what, way, score, n in (
            (f"B: the backbone inside of `fit`, {b['epochs']} epochs", b, b, b["n"]),
            ("A: features once, then the same epochs on them", a, a["model"], a["test"]),
            ("A again, with another learning rate", again, again["model"], again["test"]),
        )
    ]  # fmt: skip
    about = _WAYS.format(
        learn=b["trainable"], base=a["backbone"], size=a["image_size"], train=a["train"],
        validation=a["validation"], epochs=b["epochs"],
    )  # fmt: skip
    told = _BEFORE.format(
        images=before["images"], largest=at_most(before["largest_difference"]),
        same=before["same_first_guess"], lowest=before["lowest"], highest=before["highest"],
    )  # fmt: skip
    return [
        "## Way A and way B", "", *text.wrapped(about), "",
        *text.table(("", "passes", "seconds", "of B's", "right"), rows, "lrrrl"), "",
        *text.wrapped(told), "", *text.wrapped(_AFTER.format(difference=text.difference(after))),
        "",
    ]  # fmt: skip


def basis(record: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Commits, seconds and machines of the groups; archives and weights."""
    groups = [(name, record["groups"][name]) for name in text.ordered(record["groups"])]
    rows = [(name, group["commit"], f"{group['seconds']:.0f}") for name, group in groups]
    machines = dict.fromkeys(_machine(group["machine"]) for _, group in groups)
    return [
        "## With what", "", *text.wrapped(_WITH), "",
        *text.table(("group", "code", "seconds"), rows, "llr"), "",
        *[line for machine in machines for line in text.wrapped(machine)], "",
        *text.table(("file", "sha256 begins", "what it is"), _files(record, found)),
    ]  # fmt: skip


def _machine(machine: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"{machine['cores']} cores ({machine['cpu']}), {machine['system']}, Python "
        f"{machine['python']}, {packages}."
    )


def _files(record: Mapping[str, Any], found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    rows = {}
    for result in found.values():
        if "weights" in result:
            weights = result["weights"]
            told = record["origins"].get(weights["sha256"], "nothing is told of its origin")
            rows[weights["file"]] = (f"`{weights['file']}`", weights["sha256"], told)
        if "archive" in result:
            archive = result["archive"]
            size = f"{result['files']:,} files, {len(result['classes'])} classes"
            rows[archive["file"]] = (f"`{archive['file']}`", archive["sha256"], size)
    return sorted(rows.values())
