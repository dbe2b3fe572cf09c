from __future__ import annotations

from typing import Any

import pytest

from headstart.pipeline.graph import Stage
from headstart.pipeline.plan import Changes, Fate, ParamChange, module, options, plan


def stage(name: str, *parents: str) -> Stage:
    return Stage(
        name=name,
        desc="",
        cmd=(f"python -m stages.{name}",),
        deps=tuple(f"data/{parent}.csv" for parent in parents),
        outs=(f"data/{name}.csv",),
        metrics=(),
        plots=(),
        params=(),
        meta={},
        parents=parents,
    )


CHAIN = (stage("a"), stage("b", "a"), stage("c", "b"), stage("side"))


def fates(**changes: Changes) -> str:
    """One letter a stage of the chain: Run, restOre, May, Unchanged."""
    letters = {Fate.RUN: "R", Fate.RESTORE: "O", Fate.MAY: "M", Fate.UNCHANGED: "U"}
    return "".join(letters[planned.fate] for planned in plan(CHAIN, changes))


def lost(name: str, **more: Any) -> Changes:
    return Changes(outs={f"data/{name}.csv": "deleted"}, **more)


def test_nothing_changed_runs_nothing() -> None:
    assert fates() == "UUUU"
    assert all(planned.reasons == () for planned in plan(CHAIN, {}))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (Changes(never_run=True), "never run"),
        (Changes(command=True), "its command changed"),
        (Changes(always=True), "runs every time"),
        (Changes(params=(ParamChange("a.x", "1", "2"),)), "a.x: 1 → 2"),
        (Changes(params=(ParamChange("a.x", None, "2"),)), "a.x: 2 (new)"),
        (Changes(params=(ParamChange("a.x", "1", None),)), "a.x: was 1, was removed"),
        (Changes(deps={"raw": "modified"}), "raw changed"),
        (Changes(deps={"raw": "deleted"}), "raw is missing"),
        (Changes(outs={"data/a.csv": "deleted"}), "data/a.csv is missing"),
        (Changes(outs={"data/a.csv": "modified"}), "data/a.csv was changed"),
        (Changes(outs={"data/a.csv": "not in cache"}), "data/a.csv is not in DVC's cache"),
    ],
)
def test_a_change_runs_its_stage_and_may_run_the_later_ones(change: Changes, reason: str) -> None:
    assert fates(a=change) == "RMMU"
    first, second, third, _ = plan(CHAIN, {"a": change})
    assert first.reasons == (reason,)
    assert second.reasons == ("a will run",)
    assert third.reasons == ("b may run",)


def test_a_first_run_runs_everything() -> None:
    new = Changes(never_run=True)
    assert fates(a=new, b=new, c=new, side=new) == "RRRR"


def test_results_of_an_earlier_run_with_the_same_inputs_are_restored() -> None:
    change = Changes(params=(ParamChange("a.x", "1", "2"),), known=True)
    assert fates(a=change) == "OMMU"
    # What the stage before makes is not known yet, so neither is whether DVC has its result.
    assert fates(a=Changes(never_run=True), b=change) == "RRMU"


def test_lost_files_come_back_from_the_cache_and_change_nothing_after_them() -> None:
    everything = {
        "a": lost("a", in_cache=True),
        "b": lost("b", in_cache=True, deps={"data/a.csv": "deleted"}),
        "c": Changes(deps={"data/b.csv": "deleted"}),
    }
    assert fates(**everything) == "OOUU"
    assert fates(**{**everything, "b": lost("b", deps={"data/a.csv": "deleted"})}) == "ORMU"


def test_a_file_that_was_edited_by_hand_is_made_again_before_it_is_read() -> None:
    edited = Changes(outs={"data/a.csv": "modified"}, in_cache=True)
    assert fates(a=edited, b=Changes(deps={"data/a.csv": "modified"})) == "OUUU"


def test_a_file_of_a_stage_that_stands_still_is_a_change() -> None:
    # Stage a ran alone before, and b has not seen its new result.
    assert fates(b=Changes(deps={"data/a.csv": "modified"})) == "URMU"


def test_lost_results_behind_a_stage_that_will_run() -> None:
    first = Changes(never_run=True)
    assert fates(a=first, b=lost("b", in_cache=True)) == "RMMU"
    assert fates(a=first, b=lost("b")) == "RRMU"
    assert plan(CHAIN, {"a": first, "b": lost("b", in_cache=True)})[1].reasons == (
        "data/b.csv is missing",
        "a will run",
    )


def test_options_are_those_of_the_command() -> None:
    split = Stage(
        **{
            **vars(stage("split")),
            "cmd": ('python -m stages.split --images "my data/i.csv" --rejected b.csv',),
        }
    )
    assert options(split) == {"images": "my data/i.csv", "rejected": "b.csv"}
    assert module(split) == "stages.split"
    assert module(Stage(**{**vars(split), "cmd": ("cp a b",)})) == ""
