from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from random import Random

import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from headstart._utils.errors import HeadstartError
from headstart._utils.files import read_json
from headstart._utils.seeds import uniform
from headstart.datasets.corrections import write_corrections
from headstart.datasets.duplicates import write_groups
from headstart.datasets.groups import group_names
from headstart.datasets.manifests import SPLITS, read_split, write_images
from headstart.datasets.parameters import SplitParams
from headstart.datasets.split_limits import limits
from headstart.datasets.splits import split
from headstart.stage.run_statistics import RunStatistics
from stages.split import main
from tests.datasets.made import Image, image_id, manifest

PARAMS = SplitParams(validation=0.1, test=0.1, predefined="keep", duplicates="together")
FRESH = SplitParams(validation=0.1, test=0.1, predefined="ignore", duplicates="together")

images = st.builds(
    Image,
    predefined=st.just(""),
    path=st.none(),
    content=st.integers(0, 400),
    label=st.sampled_from(["ant", "bee", "cat"]),
    group=st.sampled_from(["", "", "", "g1", "g2", "g3"]),
)
plain_images = st.builds(
    Image,
    content=st.integers(0, 10_000),
    label=st.sampled_from(["ant", "bee", "cat"]),
    predefined=st.just(""),
    group=st.just(""),
    path=st.none(),
)
shares = st.floats(0.02, 0.45)
params_ = st.builds(
    SplitParams,
    validation=shares,
    test=shares,
    predefined=st.just("keep"),
    duplicates=st.just("together"),
)


def many(classes: int, of_each: int, start: int = 0, predefined: str = "") -> list[Image]:
    return [
        Image(start + label * of_each + number, f"class{label}", predefined)
        for label in range(classes)
        for number in range(of_each)
    ]


def by_id(frame: pd.DataFrame) -> dict[str, str]:
    """The split of each image, after a check that its copies share it."""
    found = dict(zip(frame["image_id"], frame["split"], strict=True))
    assert (frame["image_id"].map(found) == frame["split"]).all()
    return found


def manifest_of(images: pd.DataFrame, params: SplitParams, seed: int) -> pd.DataFrame:
    return split(images, params, seed).manifest


def divided(rows: list[Image], params: SplitParams = PARAMS, seed: int = 42) -> pd.DataFrame:
    try:
        return manifest_of(manifest(rows), params, seed)
    except HeadstartError:
        assume(False)
        raise


@given(st.lists(images, min_size=30, max_size=120), st.integers(0, 2**63 - 1), params_)
@settings(max_examples=60)
def test_every_class_is_in_every_split_and_copies_and_groups_stay_together(
    rows: list[Image], seed: int, params: SplitParams
) -> None:
    result = divided(rows, params, seed)
    assert list(result["path"]) == list(manifest(rows)["path"])
    by_id(result)
    for _, of_group in result[result["group"] != ""].groupby("group"):
        assert len(set(of_group["split"])) == 1
    for _, of_class in result.groupby("label"):
        assert set(of_class["split"]) == set(SPLITS)


@given(st.lists(images, min_size=30, max_size=120), st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_order_of_the_rows_does_not_matter(rows: list[Image], random: Random) -> None:
    first = divided(rows)
    table = manifest(rows)
    order = list(range(len(table)))
    random.shuffle(order)
    again = manifest_of(table.iloc[order], PARAMS, 42)
    pd.testing.assert_frame_equal(again.sort_values("path").reset_index(drop=True), first)


@given(
    st.lists(plain_images, min_size=1, max_size=150),
    st.lists(plain_images, max_size=60),
    st.integers(0, 1000),
)
@settings(max_examples=50)
def test_adding_renaming_and_relabelling_move_no_other_image(
    rows: list[Image], more: list[Image], seed: int
) -> None:
    names = itertools.cycle(["ant", "bee", "cat"])
    base = [Image(50_000 + number, next(names)) for number in range(180)]
    before = split(manifest(base + rows), PARAMS, seed)
    renamed = [
        image._replace(path=f"elsewhere/{number}.jpg", label="bee")
        for number, image in enumerate(rows)
    ]
    after = split(manifest(more + base + renamed), PARAMS, seed)
    assume(not before.repaired)
    assume(not after.repaired)
    now = by_id(after.manifest)
    assert {key: now[key] for key in by_id(before.manifest)} == by_id(before.manifest)


def test_shares_are_as_asked_in_every_class() -> None:
    params = SplitParams(validation=0.2, test=0.1, predefined="keep", duplicates="together")
    result = manifest_of(manifest(many(5, 2000)), params, 7)
    for _, of_class in result.groupby("label"):
        # Five standard deviations among 2,000.
        assert abs((of_class["split"] == "validation").mean() - 0.2) < 0.045
        assert abs((of_class["split"] == "test").mean() - 0.1) < 0.034


def test_other_seed_gives_another_division() -> None:
    rows = manifest(many(2, 200))
    one, two = (manifest_of(rows, PARAMS, seed) for seed in (1, 2))
    assert (one["split"] != two["split"]).any()


def test_division_is_the_recorded_one() -> None:
    # Would change with the hash, and with it every recorded result.
    result = manifest_of(manifest(many(1, 12)), PARAMS, 42)
    assert " ".join(name[:2] for name in result["split"]) == "va te tr te tr tr tr tr tr tr tr tr"


@pytest.mark.parametrize("count", [3, 4, 7])
def test_small_classes_are_repaired_and_nothing_else_moves(count: int) -> None:
    large = many(2, 300)
    small = [Image(9_000 + number, "rare") for number in range(count)]
    before = by_id(manifest_of(manifest(large), PARAMS, 42))
    division = split(manifest(large + small), PARAMS, 42)
    now = by_id(division.manifest)
    assert {key: now[key] for key in before} == before
    of_rare = division.manifest.loc[division.manifest["label"] == "rare", "split"]
    assert set(of_rare) == set(SPLITS)
    assert set(division.repaired) <= {"rare"}
    if count == 3:
        assert sorted(of_rare) == sorted(SPLITS)
        assert "rare" in division.describe()


def test_repair_takes_the_image_nearest_to_the_empty_split() -> None:
    places = {content: uniform(42, "split", image_id(content)) for content in range(2_000)}
    train = [content for content, u in places.items() if u >= 0.2][:20]
    division = split(manifest([Image(content, "only") for content in train]), PARAMS, 42)
    ordered = sorted(train, key=lambda content: places[content])
    now = by_id(division.manifest)
    assert division.repaired == {"only": {"test": 1, "validation": 1}}
    assert "moved: only: 1 to test and 1 to validation. When you add" in division.describe()
    assert now[image_id(ordered[0])] == "test"
    assert now[image_id(ordered[1])] == "validation"
    assert {now[image_id(content)] for content in ordered[2:]} == {"train"}


singles = st.lists(
    st.integers(0, 10**9).map(lambda content: Image(content, "bee" if content % 3 else "ant")),
    max_size=120,
    unique=True,
)
#: Groups of one class each, with up to four images.
clips = st.lists(
    st.tuples(st.integers(0, 10**9), st.integers(1, 4)),
    min_size=3,
    max_size=60,
    unique_by=lambda each: each[0],
)


def of_clips(found: list[tuple[int, int]], label: str = "ant") -> list[Image]:
    start = {"ant": 10**13, "bee": 10**14}[label]
    return [
        Image(start + name * 8 + n, label, group=f"{label}-{name}")
        for name, count in found
        for n in range(count)
    ]


def by_group(frame: pd.DataFrame, label: str = "ant") -> dict[str, str]:
    """The split of each split group of a class."""
    rows = frame[frame["label"] == label]
    return dict(zip(group_names(rows), rows["split"], strict=True))


def by_the_hash(names: Iterable[str], params: SplitParams, seed: int) -> dict[str, str]:
    """What the hash alone would say."""
    found = {}
    for name in names:
        u = uniform(seed, "split", name)
        test = u < params.test
        found[name] = (
            "test" if test else "validation" if u < params.test + params.validation else "train"
        )
    return found


@given(singles, clips, clips, shares, shares, st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_every_class_is_within_the_limits_and_follows_its_hashes(
    rows: list[Image], ants: list[tuple[int, int]], bees: list[tuple[int, int]],
    validation: float, test: float, seed: int,
) -> None:  # fmt: skip
    params = SplitParams(validation=validation, test=test, predefined="keep", duplicates="together")
    every = [*rows, *of_clips(ants), *of_clips(bees, "bee")]
    assert len(every) == len({row.content for row in every})
    division = split(manifest(every), params, seed)
    for label in ("ant", "bee"):
        now = by_group(division.manifest, label)
        for name, share in (("test", test), ("validation", validation)):
            least, most = limits(share, len(now))
            assert least <= list(now.values()).count(name) <= most
        assert "train" in now.values()
        ordered = sorted(now, key=lambda name: uniform(seed, "split", name))
        splits = [now[name] for name in ordered]
        assert splits == sorted(splits, key=["test", "validation", "train"].index)
        alone = by_the_hash(now, params, seed)
        moved = {name: n for name in SPLITS if (n := sum(now[g] == name != alone[g] for g in now))}
        assert division.repaired.get(label, {}) == moved


@given(singles, clips, clips, st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_images_of_other_classes_never_matter(
    rows: list[Image], ants: list[tuple[int, int]], bees: list[tuple[int, int]], seed: int
) -> None:
    others = [row._replace(label="bee") for row in rows]
    base = [*of_clips(ants), *many(1, 3, 10**12)]
    before = by_group(manifest_of(manifest(base), PARAMS, seed))
    more = [*base, *others, *of_clips(bees, "bee")]
    assert by_group(manifest_of(manifest(more), PARAMS, seed)) == before


@given(
    clips, st.tuples(st.integers(0, 10**9), st.integers(1, 4)), shares, shares, st.integers(0, 99)
)
@settings(max_examples=80, deadline=None)
def test_one_more_group_or_one_less_moves_at_most_three_of_its_class(
    ants: list[tuple[int, int]], new: tuple[int, int], validation: float, test: float, seed: int
) -> None:
    params = SplitParams(validation=validation, test=test, predefined="keep", duplicates="together")
    assume(new[0] not in dict(ants))
    others = many(1, 3, 10**12)
    before = by_group(manifest_of(manifest(of_clips(ants) + others), params, seed))
    after = by_group(manifest_of(manifest(of_clips([*ants, new]) + others), params, seed))
    assert sum(after[name] != before[name] for name in before) <= 3
    within = all(now == by_the_hash(now, params, seed) for now in (before, after))
    if within:
        assert {name: after[name] for name in before} == before


@given(clips, st.data())
@settings(max_examples=40, deadline=None)
def test_more_images_of_a_group_and_new_paths_move_nothing(
    ants: list[tuple[int, int]], data: st.DataObject
) -> None:
    others = many(1, 3, 10**12)
    before = by_group(manifest_of(manifest(of_clips(ants) + others), PARAMS, 42))
    longer = [(name, data.draw(st.integers(1, 6))) for name in dict(ants)]
    renamed = [row._replace(path=f"new/{n}") for n, row in enumerate(of_clips(longer) + others)]
    assert by_group(manifest_of(manifest(renamed), PARAMS, 42)) == before


@pytest.mark.parametrize(("of_each", "low", "high"), [(10, 1, 2), (20, 1, 3), (50, 3, 8)])
def test_small_classes_are_near_the_shares(of_each: int, low: int, high: int) -> None:
    result = manifest_of(manifest(many(100, of_each)), PARAMS, 42)
    for name in ("test", "validation"):
        counts = result[result["split"] == name].groupby("label").size()
        assert len(counts) == 100
        assert (counts.min(), counts.max()) == (low, high)


def test_large_classes_are_divided_by_the_hash_alone() -> None:
    division = split(manifest(many(20, 400)), PARAMS, 42)
    assert not division.repaired
    alone = by_the_hash(division.manifest["image_id"], PARAMS, 42)
    assert by_id(division.manifest) == alone


def test_groups_of_several_classes_are_not_moved_to_meet_the_limits() -> None:
    rows = [Image(n, label, group=f"g{n}") for n in range(40) for label in ("ant", "bee")]
    division = split(manifest(rows), PARAMS, 42)
    now = by_group(division.manifest)
    moved = sum(now[name] != split for name, split in by_the_hash(now, PARAMS, 42).items())
    assert moved == sum(sum(of.values()) for of in division.repaired.values()) <= 2


def test_too_small_classes_are_named_with_counts_and_a_way_out() -> None:
    rows = [*many(1, 50), Image(900, "pair"), Image(901, "pair"), Image(902, "single")]
    # Copies are no additional images.
    rows += [Image(902, "single")] * 5
    with pytest.raises(HeadstartError, match=r"'pair' \(2\), 'single' \(1\).*add images") as told:
        manifest_of(manifest(rows), PARAMS, 42)
    assert "class0" not in str(told.value)


def test_class_of_images_tied_to_other_classes_is_refused_with_the_reason() -> None:
    shared = [Image(content, label) for content in range(3) for label in ("a", "b")]
    rows = [Image(10 + n, "a", group="all") for n in range(9)]
    rows += [Image(30 + n, "b") for n in range(2)] + shared[:2] + rows
    with pytest.raises(HeadstartError, match="'a'"):
        manifest_of(manifest(rows), PARAMS, 42)


def test_no_images_are_refused() -> None:
    with pytest.raises(HeadstartError, match="no images"):
        manifest_of(manifest([]), PARAMS, 42)


def test_images_of_one_group_through_shared_copies_are_one_split_group() -> None:
    rows = [Image(n, "class0", group="left") for n in range(5)]
    rows += [Image(n, "class0", group="right") for n in range(4, 9)] + [Image(8, "class0")]
    result = manifest_of(manifest(rows + many(1, 60, start=100)), PARAMS, 3)
    bound = result[(result["group"] != "") | (result["image_id"] == image_id(8))]
    assert len(set(bound["split"])) == 1


def test_three_predefined_splits_are_kept() -> None:
    rows = [
        *many(2, 20, 0, "train"),
        *many(2, 5, 100, "validation"),
        *many(2, 5, 200, "test"),
        Image(999, "class0"),
    ]
    division = split(manifest(rows), PARAMS, 42)
    result = division.manifest
    stated = result[result["predefined_split"] != ""]
    assert (stated["split"] == stated["predefined_split"]).all()
    # What the source does not place cannot join what it already holds out.
    assert by_id(result)[image_id(999)] == "train"
    assert division.kept == ("train", "validation", "test")


@pytest.mark.parametrize("held_out", ["test", "validation"])
def test_validation_is_cut_from_train_when_one_part_is_held_out(held_out: str) -> None:
    rows = [*many(2, 200, 0, "train"), *many(2, 50, 1000, held_out)]
    params = SplitParams(validation=0.2, test=0.3, predefined="keep", duplicates="together")
    division = split(manifest(rows), params, 42)
    result = division.manifest
    assert (result.loc[result["predefined_split"] == held_out, "split"] == "test").all()
    from_train = result.loc[result["predefined_split"] == "train", "split"]
    assert set(from_train) == {"train", "validation"}
    assert abs((from_train == "validation").mean() - 0.2) < 0.1
    said = division.describe()
    assert ("called validation" in said) == (held_out == "validation")


def test_train_alone_is_divided_in_three() -> None:
    result = manifest_of(manifest(many(2, 200, 0, "train")), PARAMS, 42)
    unsaid = manifest_of(manifest(many(2, 200)), PARAMS, 42)
    assert list(result["split"]) == list(unsaid["split"])


def test_ignore_divides_again() -> None:
    rows = [*many(2, 100, 0, "train"), *many(2, 100, 1000, "test")]
    result = manifest_of(manifest(rows), FRESH, 42)
    bare = manifest_of(manifest([row._replace(predefined="") for row in rows]), FRESH, 42)
    assert by_id(result) == by_id(bare)


@pytest.mark.parametrize("splits", [("train", "test"), ("train", "validation", "test")])
def test_images_in_two_predefined_splits_leave_what_is_held_out(splits: tuple[str, ...]) -> None:
    rows = [row for n, name in enumerate(splits) for row in many(2, 50, 1000 * n, name)]
    rows += [Image(0, "class0", "test"), Image(1000, "class1", "train")]
    division = split(manifest(rows), PARAMS, 42)
    now = by_id(division.manifest)
    assert now[image_id(0)] == now[image_id(1000)] == "train"
    assert division.leaked == 2
    assert "Images in more than one predefined split: 2;" in division.describe()


@pytest.mark.parametrize("held_out", ["test", "validation"])
@pytest.mark.parametrize("group", ["", "one"])
def test_predefined_split_wholly_inside_of_train_stops_and_names_the_parameter(
    held_out: str, group: str
) -> None:
    rows = many(2, 30, 0, "train")
    if group:  # other images of the same objects
        rows = [row._replace(group=f"{row.content // 3}") for row in rows]
        inside = [row._replace(content=row.content + 500, predefined=held_out) for row in rows[:9]]
    else:
        inside = [row._replace(predefined=held_out) for row in (*rows[:10], *rows[30:40])]
    images = manifest([*rows, *inside])
    said = rf"left of the predefined split {held_out}(.|\n)*`split.predefined: ignore`"
    with pytest.raises(HeadstartError, match=said):
        manifest_of(images, PARAMS, 42)
    # The cure.
    counts = split(
        images,
        SplitParams(validation=0.3, test=0.3, predefined="ignore", duplicates="together"),
        42,
    ).counts()
    assert all(all(of.values()) for of in counts.values())


def test_class_without_predefined_test_images_is_reported_and_kept_out() -> None:
    rows = [*many(2, 50, 0, "train"), *many(1, 50, 1000, "test")]
    division = split(manifest(rows), PARAMS, 42)
    assert division.absent == {"test": ["class1"]}
    assert "No image in the predefined test of: class1." in division.describe()


def test_class_that_is_only_in_the_predefined_test_is_refused() -> None:
    rows = [*many(1, 50, 0, "train"), *many(2, 50, 1000, "test")]
    with pytest.raises(HeadstartError, match=r"'class1' \(0\).*`split.predefined: ignore`"):
        manifest_of(manifest(rows), PARAMS, 42)


def test_copies_under_two_labels_share_a_split_and_are_reported() -> None:
    rows = [*many(2, 100), Image(0, "class1")]
    division = split(manifest(rows), PARAMS, 42)
    by_id(division.manifest)
    assert division.two_labels == 1
    assert "Images under more than one label, byte for byte: 1;" in division.describe()


def test_labels_that_a_terminal_would_obey_are_printed_harmlessly() -> None:
    rows = [Image(n, "\x1b[2J") for n in range(3)] + many(1, 50)
    assert "\x1b" not in split(manifest(rows), PARAMS, 42).describe()


def test_many_classes_are_shown_in_few_lines() -> None:
    lines = split(manifest(many(50, 40)), PARAMS, 42).describe().splitlines()
    assert len(lines) < 30
    assert any("31 more classes" in line for line in lines)


def test_main_writes_manifest_and_metrics_that_add_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images.csv"
    write_images(images, manifest([*many(2, 100, 0, "train"), *many(2, 20, 500, "test")]))
    out, measured = tmp_path / "split.csv", tmp_path / "split.json"
    lines, changed = tmp_path / "corrections.csv", tmp_path / "corrected.csv"
    write_corrections(lines, [])
    for _ in range(2):
        write_groups(groups := tmp_path / "groups.csv", {})
        statistics = RunStatistics(tmp_path, "split")
        main(images, groups, lines, out, changed, measured, PARAMS, 42, statistics)
    result, numbers = read_split(out), read_json(measured)
    assert numbers["images"]["test"] == 40
    assert sum(numbers["images"].values()) == len(result) == 240
    assert numbers["predefined_kept"] == ["test"]
    assert {row["label"]: row["train"] for row in numbers["classes"]} == dict(
        result.loc[result["split"] == "train", "label"].value_counts()
    )
    assert "class1" in capsys.readouterr().out
