from __future__ import annotations

import json
from pathlib import Path

import pytest

from headstart.pipeline import durations
from headstart.pipeline.durations import Span, Work
from headstart.pipeline.estimate import Passes
from headstart.pipeline.plan import Fate, Planned
from tests.pipeline.test_estimate import planned

NOTHING = Work(Passes(0))
INSTANT = Span(0.0, 0.0, 0.0)


def write(run_statistics: Path, stage: str, **counters: float) -> None:
    run_statistics.mkdir(exist_ok=True)
    (run_statistics / f"{stage}.json").write_text(json.dumps({"stage": stage, **counters}))


def entry(folder: Path, name: str, fate: Fate = Fate.RUN) -> Planned:
    return next(each for each in planned(folder, **{name: fate}) if each.stage.name == f"my-{name}")


def span(folder: Path, name: str, work: Work = NOTHING, *, network_changed: bool = False) -> Span:
    found = durations.seconds(entry(folder, name), work, network_changed=network_changed)
    assert found is not None
    return found


def test_a_stage_takes_about_as_long_as_last_time(tmp_path: Path) -> None:
    write(tmp_path, "train_head", seconds=70.0)
    found = span(tmp_path, "train_head")
    assert found.least < found.about == 70.0 < found.most
    assert durations.seconds(entry(tmp_path, "train_head", Fate.RESTORE), NOTHING) == INSTANT


def test_a_source_that_has_grown_takes_longer(tmp_path: Path) -> None:
    write(tmp_path, "download", seconds=10.0, files=100)
    assert span(tmp_path, "download", Work(Passes(0), files=400)).about == 40.0
    assert span(tmp_path, "download").about == 10.0


def test_the_extraction_takes_its_passes_and_the_start_of_its_last_run(tmp_path: Path) -> None:
    write(tmp_path, "extract_features", seconds=100.0, extraction_seconds=94.0)
    work = Work(Passes(12, 1_200), seconds_each=0.5, factor=2.0)
    found = span(tmp_path, "extract_features", work)
    assert found.about == 12.0
    assert found.least < 9.0
    assert found.most > 18.0
    bound = span(tmp_path, "extract_features", Work(Passes(12, at_most=True), seconds_each=0.5))
    assert bound.least < found.least
    unknown = durations.seconds(entry(tmp_path, "extract_features"), Work(Passes(None)))
    assert unknown is None


def test_a_first_run_takes_what_is_typical_within_a_wider_range(tmp_path: Path) -> None:
    first = span(tmp_path, "backbone", Work(Passes(0), seconds_each=0.05))
    assert first.most / first.about > 3.0
    assert first.about > span(tmp_path, "backbone", Work(Passes(0), seconds_each=0.001)).about
    slow = Work(Passes(0), seconds_each=0.001, download_seconds=100.0)
    assert span(tmp_path, "backbone", slow).about > 100.0


def test_another_network_makes_the_range_hold_both(tmp_path: Path) -> None:
    write(tmp_path, "backbone", seconds=500.0)
    work = Work(Passes(0), seconds_each=0.001)
    again, other = (
        span(tmp_path, "backbone", work, network_changed=changed) for changed in (False, True)
    )
    assert again.about == 500.0
    assert other.about < 30.0
    assert (other.least < again.least, other.most) == (True, again.most)
    write(tmp_path, "split", seconds=500.0)
    assert span(tmp_path, "split", work, network_changed=True).about == 500.0


@pytest.mark.parametrize(("epochs", "changed"), [(0, True), (5, True), (20, False)])
def test_time_of_other_epochs_tells_nothing(epochs: int, changed: bool, tmp_path: Path) -> None:
    write(tmp_path, "fine_tune", seconds=900.0, epochs=7, epochs_asked=20)
    write(tmp_path, "evaluate", seconds=400.0)
    work = Work(Passes(0), tuning_epochs=epochs)
    assert (span(tmp_path, "fine_tune", work).about != 900.0) is changed
    assert (span(tmp_path, "evaluate", work).about != 400.0) is changed


def test_the_total_counts_what_may_run_by_its_reason(tmp_path: Path) -> None:
    write(tmp_path, "split", seconds=2.5)
    write(tmp_path, "train_head", seconds=70.0)
    plan = [
        Planned(each.stage, each.fate, reasons=("split.test: 0.1 → 0.2",) * (each.fate == Fate.RUN))
        for each in planned(tmp_path, split=Fate.RUN, sample=Fate.MAY, train_head=Fate.MAY)
    ]
    each = {item.stage.name: durations.seconds(item, NOTHING) for item in plan}
    found = durations.total(plan, each)
    assert found.first == ("my-sample",)
    assert found.again
    assert 40.0 < found.least < found.about < found.most
    assert "based on earlier runs here and typical times of my-sample" in str(found)
    coded = [Planned(each.stage, each.fate, ("headstart/datasets changed",)) for each in plan]
    for item in coded:
        object.__setattr__(item.stage, "deps", ("headstart/datasets",))
    assert durations.total(coded, each).least < 5.0
    busy = durations.total(plan, each, load=100.0)
    assert busy.most == pytest.approx(found.about * 101, rel=0.01)
    assert "busy" in str(busy)


def test_nothing_to_do_takes_no_time(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    each = {item.stage.name: durations.seconds(item, NOTHING) for item in plan}
    assert str(durations.total(plan, each)) == "Time: none."


@pytest.mark.parametrize("content", ["", "[]", "{", "null"])
def test_broken_statistics_are_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "split.json").write_text(content)
    assert durations.run_statistics(planned(tmp_path)[1].stage) == {}


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (3_600, "1 h 0 min"), (61, "1 min 1 s")],
)
def test_clock(seconds: float, said: str) -> None:
    assert durations.clock(seconds) == said
