from __future__ import annotations

from pathlib import Path

import pytest

from headstart.pipeline import estimate
from headstart.pipeline.estimate import Missing, Passes, Tuning, UnknownError, Wanted
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


def wanted_images(images: Path | None) -> Wanted:
    assert images == Path("images.csv")
    return Wanted(IDS)


def missing(folder: Path | None, wanted: Wanted) -> Missing:
    assert folder == Path("data/backbone")
    assert wanted.images == IDS
    count = 12 + len(wanted.views)
    return Missing(count, count, 0.5)


def unknown(*_: object) -> Missing:
    raise UnknownError("nobody knows")


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


def test_a_source_that_is_read_again_is_previewed(tmp_path: Path) -> None:
    plan = planned(tmp_path, download=Fate.RUN, split=Fate.MAY, extract_features=Fate.MAY)

    def preview(images: Path | None) -> Wanted:
        assert images is None
        return Wanted(IDS, exact=exact)

    exact = True
    found = estimate.passes(plan, preview, missing)
    assert str(found) == "Passes: 12 of 1,200 images need one through the backbone."
    exact = False
    found = estimate.passes(plan, preview, lambda *_: Missing(10, 12))
    assert str(found) == (
        "Passes: up to 12 of 1,200 images need one through the backbone "
        "(some files may turn out to be unusable)."
    )


@pytest.mark.parametrize(
    ("most", "said"),
    [
        (None, "Passes: unknown (until it has been fetched)."),
        (500, "Passes: up to 500 of 500 images need one through the backbone (until it has"),
    ],
)
def test_a_source_that_is_not_fetched_leaves_it_unknown(
    most: int | None, said: str, tmp_path: Path
) -> None:
    def refuse(images: Path | None) -> Wanted:
        raise UnknownError("until it has been fetched", most)

    plan = planned(tmp_path, download=Fate.RUN, split=Fate.MAY, extract_features=Fate.MAY)
    assert str(estimate.passes(plan, refuse, missing)).startswith(said)


def test_unknown_images_leave_the_estimate_unknown(tmp_path: Path) -> None:
    def refuse(images: Path | None) -> Wanted:
        raise UnknownError(f"{images} cannot be divided")

    found = estimate.passes(planned(tmp_path, extract_features=Fate.RUN), refuse, missing)
    assert str(found) == "Passes: unknown (images.csv cannot be divided)."


@pytest.mark.parametrize(
    ("least", "said"),
    [(1_200, "1,200 of 1,200 images need"), (0, "up to 1,200 of"), (7, "7 to 1,200 of 1,200")],
)
def test_a_backbone_to_be_made_is_asked_without_its_folder(
    least: int, said: str, tmp_path: Path
) -> None:
    plan = planned(tmp_path, backbone=Fate.RUN, extract_features=Fate.MAY)

    def bounds(folder: Path | None, wanted: Wanted) -> Missing:
        assert folder is None
        return Missing(least, len(wanted.images), 0.02)

    found = estimate.passes(plan, wanted_images, bounds)
    assert (found.needed, found.at_most, found.seconds_each) == (1_200, least < 1_200, 0.02)
    assert said in str(found)


def test_a_store_that_cannot_be_asked_gives_an_upper_bound(tmp_path: Path) -> None:
    found = estimate.passes(planned(tmp_path, extract_features=Fate.RUN), wanted_images, unknown)
    assert found.at_most
    assert "nobody knows" in str(found)


@pytest.mark.parametrize(
    ("needed", "said"),
    [(0, "none of 1,200 images needs one"), (1, "1 of 1,200 images needs one")],
)
def test_small_numbers_agree_with_their_nouns(needed: int, said: str) -> None:
    assert said in str(Passes(needed, 1_200))


def counts(images: Path | None) -> dict[str, int]:
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
    def refuse(images: Path | None) -> dict[str, int]:
        raise UnknownError("until it has been fetched")

    plan = planned(tmp_path, download=Fate.RUN, fine_tune=Fate.MAY)
    found = estimate.tuning(plan, 3, refuse, augmented=False)
    assert "unknown how many images" in str(found)
    assert "until it has been fetched" in str(found)
