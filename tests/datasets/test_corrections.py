from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart._utils.errors import HeadstartError
from headstart.datasets.corrected import correct, read_changed, write_changed
from headstart.datasets.corrections import Correction, read_corrections, write_corrections
from headstart.datasets.parameters import SplitParams
from headstart.datasets.splits import split
from tests.conftest import ROOT
from tests.datasets.made import Image, image_id, manifest

PARAMS = SplitParams(validation=0.2, test=0.2, predefined="keep", duplicates="together")
HEADER = "image_id,action,value,note\n"
IMAGES = manifest([Image(n, label) for n, label in enumerate(["ant", "bee"] * 40)])
ONE, TWO, THREE = image_id(0), image_id(1), image_id(2)

ids = st.sampled_from([image_id(n) for n in range(40)])
texts = st.text(max_size=20).map(lambda text: " ".join(text.split()))
rows_ = st.one_of(
    st.builds(Correction, ids, st.just("keep"), st.just(""), texts),
    st.builds(Correction, ids, st.just("relabel"), st.sampled_from(["=bee", "ant", "’é"]), texts),
    st.builds(Correction, ids, st.just("remove"), st.just(""), texts),
)


def written(path: Path, *lines: str) -> Path:
    path.write_text(HEADER + "".join(f"{line}\n" for line in lines))
    return path


@given(st.lists(rows_, unique_by=lambda row: row.image_id, max_size=20), st.randoms())
@settings(max_examples=60, deadline=None)
def test_what_is_written_reads_back_and_does_not_depend_on_the_order(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Correction], random: object
) -> None:
    path = tmp_path_factory.mktemp("corrections") / "corrections.csv"
    write_corrections(path, rows)
    first = path.read_bytes()
    read = read_corrections(path)
    assert {(r.image_id, r.action, r.value) for r in read} == {
        (r.image_id, r.action, r.value) for r in rows
    }
    assert {r.image_id: r.note for r in read} == {r.image_id: r.note for r in rows}
    write_corrections(path, reversed(read))
    assert path.read_bytes() == first


def test_the_project_ships_a_file_that_corrects_nothing() -> None:
    assert (ROOT / "data/corrections.csv").read_text().startswith(HEADER)


def test_no_spreadsheet_runs_a_cell(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    write_corrections(path, [Correction(ONE, "relabel", "=bee", "+1")])
    assert list(csv.reader(path.read_text().splitlines()))[1][2:] == ["'=bee", "'+1"]


def test_a_file_of_a_spreadsheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_bytes(f"\ufeff{HEADER}{ONE},remove,,blurred\n".replace("\n", "\r\n").encode())
    assert read_corrections(path) == [Correction(ONE, "remove", "", "blurred", 2)]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([f"{ONE},relabel,ant,", f"{ONE},relabel,bee,"], "line 2 says 'relabel ant' and line 3"),
        ([f"{ONE},remove,,", f"{ONE},keep,,"], "line 2 says 'remove' and line 3 says 'keep'"),
        ([f"{ONE},same_object,{TWO},", f"{TWO},keep,{ONE},"], "line 2 says 'same_object"),
        ([f"{ONE},delete,,"], "line 2: the action must be one of keep, relabel"),
        (["x,remove,,"], "line 2: image_id must be 64 hexadecimal digits, got 'x'"),
        ([f"{ONE},remove,yes,"], "line 2: remove takes no value, got 'yes'"),
        ([f"{ONE},same_object,{ONE},"], "line 2: the value of same_object must be the id of an"),
        ([f"{ONE},relabel, ,"], "line 2: the value of relabel must be a class, without white"),
        ([f"{ONE},new_class,cat,"], "line 2: new_class names no image"),
        ([f"{ONE},remove"], "line 2: expected 4 cells, got 2"),
    ],
)
def test_lines_that_cannot_be_applied_are_named(
    tmp_path: Path, lines: list[str], said: str
) -> None:
    with pytest.raises(HeadstartError, match="Nothing was corrected") as caught:
        read_corrections(written(tmp_path / "c.csv", *lines))
    assert said in str(caught.value)


def test_one_decision_twice_is_no_contradiction(tmp_path: Path) -> None:
    line = f"{ONE},same_object,{TWO},"
    path = written(tmp_path / "c.csv", line, line, f"{TWO},same_object,{ONE},seen", f"{ONE},keep,,")
    write_corrections(path, read_corrections(path))
    first, second = sorted([ONE, TWO])
    assert f"{first},same_object,{second},seen\n" in path.read_text()
    assert path.read_text().count("same_object") == 1


def test_a_missing_file_is_reported_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(HeadstartError, match="a file with the line `image_id,action,value,note`"):
        read_corrections(tmp_path / "none.csv")
    assert read_corrections(written(tmp_path / "none.csv")) == []


def test_without_corrections_nothing_changes() -> None:
    found = correct(IMAGES, [])
    pd.testing.assert_frame_equal(found.images, IMAGES)
    assert found.changed.empty
    assert found.metrics(IMAGES) == {}
    assert found.notes() == []


def test_labels_are_corrected_and_images_removed(tmp_path: Path) -> None:
    copies = manifest([*[Image(n, "ant") for n in range(20)], Image(0, "bee"), Image(50, "bee")])
    lines = [Correction(ONE, "relabel", "bee", "looks so"), Correction(TWO, "remove")]
    found = correct(copies, lines)
    labels = found.images.groupby("image_id")["label"].unique()
    assert list(labels[ONE]) == ["bee"]
    assert TWO not in labels
    assert len(found.images) == len(copies) - 1
    write_changed(tmp_path / "changed.csv", found.changed)
    changed = read_changed(tmp_path / "changed.csv")
    assert changed[["image_id", "action", "label", "corrected", "note"]].to_numpy().tolist() == [
        [ONE, "relabel", "ant", "bee", "looks so"],
        [TWO, "remove", "ant", "", ""],
    ]


def test_relabeling_moves_no_image_to_another_split() -> None:
    before = split(IMAGES, PARAMS, 42).manifest.set_index("image_id")["split"]
    lines = [Correction(image_id(n), "relabel", "bee") for n in (0, 2)]
    after = split(correct(IMAGES, lines).images, PARAMS, 42).manifest.set_index("image_id")
    assert (after["split"] == before[after.index]).all()
    assert set(after.loc[[ONE, THREE], "label"]) == {"bee"}


def test_the_metrics_say_in_which_split_labels_were_corrected() -> None:
    lines = [Correction(image_id(n), "relabel", "bee") for n in range(0, 20, 2)]
    lines += [Correction("f" * 64, "remove", "", "", 7), Correction(TWO, "keep")]
    found = correct(IMAGES, lines)
    divided = split(found.images, PARAMS, 42).manifest
    metrics = found.metrics(divided)["corrections"]
    of = divided[divided["image_id"].isin([row.image_id for row in lines[:10]])]["split"]
    assert metrics["relabel"] == {
        name: int((of == name).sum()) for name in ("train", "validation", "test")
    }
    assert (metrics["keep"], metrics["remove"], metrics["of_unknown_images"]) == (1, 0, 1)
    assert "ffffffffffff (line 7)" in "".join(found.notes())


@given(st.lists(st.tuples(st.integers(0, 79), st.integers(0, 79)), max_size=12), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_images_of_one_object_share_a_split(pairs: list[tuple[int, int]], seed: int) -> None:
    lines = [Correction(image_id(a), "same_object", image_id(b)) for a, b in pairs if a != b]
    fixed = manifest([Image(n, "ant" if n % 2 else "bee") for n in range(300)])
    of = split(correct(fixed, lines).images, PARAMS, seed).manifest.set_index("image_id")["split"]
    for row in lines:
        assert of[row.image_id] == of[row.value]


def test_a_removed_image_still_connects_and_a_group_of_the_source_gives_the_name() -> None:
    images = manifest([Image(0, "ant", group="walk"), Image(1, "ant"), Image(2, "ant")])
    lines = [
        Correction(ONE, "same_object", TWO),
        Correction(TWO, "same_object", THREE),
        Correction(TWO, "remove"),
    ]
    found = correct(images, lines).images
    assert set(found["group"]) == {"walk"}
    assert list(correct(images.assign(group=""), lines).images["group"]) == [min(ONE, THREE)] * 2


def test_a_class_that_does_not_exist_needs_a_line_of_its_own(tmp_path: Path) -> None:
    line = Correction(ONE, "relabel", "bea", "", 3)
    with pytest.raises(HeadstartError, match=r"'bea' \(line 3\)") as caught:
        correct(IMAGES, [line])
    remedy = str(caught.value).split("`")[1]
    allowed = written(tmp_path / "c.csv", remedy, f"{ONE},relabel,bea,")
    found = correct(IMAGES, read_corrections(allowed))
    assert "bea" in set(found.images["label"])
