from __future__ import annotations

import json
from pathlib import Path

import pytest

from headstart.pipeline import estimate
from headstart.pipeline.estimate import Passes, Tuning, UnknownError, Wanted
from headstart.pipeline.graph import Stage
from headstart.pipeline.plan import Fate, Planned

IDS = [str(number) for number in range(1_200)]
CHAIN = (
    ("download", "--images data/images"),
    ("split", "--images images.csv"),
    ("sample", "--images data/images"),
    ("backbone", "--backbone-folder data/backbone"),
    ("extract_features", "--backbone-folder data/backbone"),
    ("train_head", "--model data/head"),
    ("fine_tune", "--head data/head"),
    ("evaluate", "--model data/model"),
)
PARENTS = {"split": ("download",), "extract_features": ("sample", "backbone")}


def planned(run_statistics: Path, **fates: Fate) -> tuple[Planned, ...]:
    """The chain, under names of another project, with the given fates by module."""
    return tuple(
        Planned(
            Stage(
                name=f"my-{name}",
                desc="",
                cmd=(f"python -m stages.{name} {options} --run-statistics {run_statistics}",),
                deps=(),
                outs=(),
                metrics=(),
                plots=(),
                params=(),
                meta={},
                parents=tuple(f"my-{parent}" for parent in PARENTS.get(name, ())),
            ),
            fates.get(name, Fate.UNCHANGED),
        )
        for name, options in CHAIN
    )


def wanted_images(images: Path) -> Wanted:
    assert images == Path("images.csv")
    return Wanted(IDS)


def missing(folder: Path, wanted: Wanted) -> tuple[int, float | None]:
    assert folder == Path("data/backbone")
    assert wanted.images == IDS
    return 12 + len(wanted.views), 0.5


def unknown(*_: object) -> tuple[int, float | None]:
    raise UnknownError("nobody knows")


def write(run_statistics: Path, stage: str, **counters: float) -> None:
    run_statistics.mkdir(exist_ok=True)
    (run_statistics / f"{stage}.json").write_text(json.dumps({"stage": stage, **counters}))


@pytest.mark.parametrize("fate", [Fate.UNCHANGED, Fate.RESTORE])
def test_features_that_stand_cost_nothing(fate: Fate, tmp_path: Path) -> None:
    found = estimate.passes(planned(tmp_path, extract_features=fate), wanted_images, missing)
    assert found.needed == 0
    assert str(found) == "Passes: none (the features are there)."


@pytest.mark.parametrize("fate", [Fate.RUN, Fate.MAY])
def test_what_the_store_lacks_needs_a_pass(fate: Fate, tmp_path: Path) -> None:
    plan = planned(tmp_path, extract_features=fate, split=Fate.RUN)
    found = estimate.passes(plan, wanted_images, missing)
    assert found == Passes(12, 1_200, seconds_each=0.5)
    assert str(found) == "Passes: 12 of 1,200 images need one through the backbone."


def test_views_are_counted_beside_the_images(tmp_path: Path) -> None:
    plan = planned(tmp_path, extract_features=Fate.RUN)
    found = estimate.passes(plan, lambda _: Wanted(IDS, [f"{n}+" for n in range(2_000)]), missing)
    assert found == Passes(2_012, 1_200, 2_000, seconds_each=0.5)
    assert str(found) == (
        "Passes: 2,012 of 3,200 (1,200 images and 2,000 views of training images) need one "
        "through the backbone."
    )
    plan = planned(tmp_path, backbone=Fate.RUN, extract_features=Fate.MAY)
    bound = estimate.passes(plan, lambda _: Wanted(IDS, ["a", "b"]), missing)
    assert (bound.needed, bound.of, bound.views, bound.at_most) == (1_202, 1_200, 2, True)


def test_a_source_that_is_read_again_leaves_it_unknown(tmp_path: Path) -> None:
    plan = planned(tmp_path, download=Fate.RUN, split=Fate.MAY, extract_features=Fate.MAY)
    found = estimate.passes(plan, wanted_images, missing)
    assert found.needed is None
    assert str(found) == "Passes: unknown (until my-download has run)."


def test_images_that_cannot_be_told_leave_it_unknown(tmp_path: Path) -> None:
    def refuse(images: Path) -> Wanted:
        raise UnknownError(f"{images} cannot be divided")

    found = estimate.passes(planned(tmp_path, extract_features=Fate.RUN), refuse, missing)
    assert str(found) == "Passes: unknown (images.csv cannot be divided)."


def test_another_backbone_gives_an_upper_bound_at_the_last_speed(tmp_path: Path) -> None:
    write(tmp_path, "extract_features", seconds=30, seconds_per_pass=0.02)
    plan = planned(tmp_path, backbone=Fate.RUN, extract_features=Fate.MAY)
    found = estimate.passes(plan, wanted_images, missing)
    assert (found.needed, found.of, found.at_most, found.seconds_each) == (1_200, 1_200, True, 0.02)
    assert str(found).startswith("Passes: up to 1,200 of 1,200 images need one")


def test_a_store_that_cannot_be_asked_gives_an_upper_bound(tmp_path: Path) -> None:
    found = estimate.passes(planned(tmp_path, extract_features=Fate.RUN), wanted_images, unknown)
    assert found.at_most
    assert "nobody knows" in str(found)


@pytest.mark.parametrize(
    ("needed", "said"),
    [(0, "none of 1,200 images needs one"), (1, "1 of 1,200 images needs one")],
)
def test_small_numbers_are_said_well(needed: int, said: str) -> None:
    assert said in str(Passes(needed, 1_200))


def test_time_of_an_extraction_is_its_passes_and_the_rest_of_its_last_run(tmp_path: Path) -> None:
    write(tmp_path, "extract_features", seconds=100.0, extraction_seconds=90.0)
    *_, extraction, _, _, _ = planned(tmp_path, extract_features=Fate.RUN)
    assert estimate.seconds(extraction, Passes(12, 1_200, seconds_each=0.5)) == 16.0
    assert estimate.seconds(extraction, Passes(None)) is None
    assert estimate.seconds(extraction, Passes(12, 1_200)) is None


def test_time_is_that_of_the_last_runs(tmp_path: Path) -> None:
    write(tmp_path, "split", seconds=2.5)
    write(tmp_path, "train_head", seconds=70.0)
    plan = planned(tmp_path, split=Fate.RUN, sample=Fate.MAY, train_head=Fate.MAY)
    each = {entry.stage.name: estimate.seconds(entry, Passes(0)) for entry in plan}
    assert each["my-download"] == 0.0
    assert each["my-sample"] is None
    total = estimate.total(plan, each)
    assert (total.least, total.most, total.unknown) == (2.5, 72.5, ("my-sample",))
    assert str(total) == (
        "Time: between 2 s and 1 min 12 s, estimated from earlier runs, not counting my-sample "
        "(no earlier run)."
    )


def counts(images: Path) -> dict[str, int]:
    assert images == Path("images.csv")
    return {"train": 1_000, "validation": 150, "test": 50}


@pytest.mark.parametrize(
    ("fates", "augmented", "images", "views"),
    [
        ({"fine_tune": Fate.RUN, "evaluate": Fate.MAY}, False, 1_200, 0),
        ({"fine_tune": Fate.MAY, "evaluate": Fate.MAY}, True, 200, 3_000),
        ({"evaluate": Fate.RUN}, True, 50, 0),
    ],
)
def test_fine_tuning_may_need_passes_of_its_own(
    fates: dict[str, Fate], augmented: bool, images: int, views: int, tmp_path: Path
) -> None:
    found = estimate.tuning(planned(tmp_path, **fates), 3, counts, augmented=augmented)
    assert found == Tuning(images, views)
    assert f"up to {images:,} images" in str(found)
    assert ("augmented views" in str(found)) is bool(views)


def test_fine_tuning_that_is_off_or_stands_needs_none(tmp_path: Path) -> None:
    moving = planned(tmp_path, fine_tune=Fate.RUN, evaluate=Fate.MAY)
    assert estimate.tuning(moving, 0, counts, augmented=False) is None
    assert estimate.tuning(planned(tmp_path), 3, counts, augmented=False) is None


def test_fine_tuning_on_images_that_nobody_knows_is_unknown(tmp_path: Path) -> None:
    plan = planned(tmp_path, download=Fate.RUN, fine_tune=Fate.MAY)
    found = estimate.tuning(plan, 3, counts, augmented=False)
    assert "unknown how many images" in str(found)
    assert "until my-download has run" in str(found)


@pytest.mark.parametrize(("epochs", "changed"), [(0, True), (5, True), (20, False)])
def test_time_of_other_epochs_tells_nothing(epochs: int, changed: bool, tmp_path: Path) -> None:
    write(tmp_path, "fine_tune", seconds=90.0, epochs=7, epochs_asked=20)
    write(tmp_path, "evaluate", seconds=4.0)
    write(tmp_path, "train_head", seconds=3.0)
    plan = planned(tmp_path, train_head=Fate.RUN, fine_tune=Fate.RUN, evaluate=Fate.RUN)
    assert estimate.epochs_changed(plan, epochs) is changed
    each = [estimate.seconds(entry, Passes(0), epochs_changed=changed) for entry in plan[-3:]]
    assert each == ([3.0, None, None] if changed else [3.0, 90.0, 4.0])


@pytest.mark.parametrize("content", ["", "[]", "{", "null"])
def test_broken_statistics_are_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "split.json").write_text(content)
    assert estimate.run_statistics(planned(tmp_path)[1].stage) == {}


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (3_600, "1 h 0 min"), (61, "1 min 1 s")],
)
def test_clock(seconds: float, said: str) -> None:
    assert estimate.clock(seconds) == said
