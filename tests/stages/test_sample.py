from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart._utils.files import sha256_file, sha256_tree
from headstart.datasets import samples as stage
from headstart.datasets.manifests import read_split, write_split
from headstart.datasets.parameters import SampleParams, SplitParams
from headstart.datasets.shards import ShardWriter
from headstart.datasets.splits import split
from headstart.stage.run_statistics import RunStatistics
from stages.sample import main
from tests.datasets.made import Image, manifest

ALL = SampleParams(train_per_class=None, validation_per_class=None)


def divided(classes: int = 3, of_each: int = 120, more: tuple[Image, ...] = ()) -> pd.DataFrame:
    rows = [
        Image(label * of_each + number, f"class{label}")
        for label in range(classes)
        for number in range(of_each)
    ]
    params = SplitParams(validation=0.2, test=0.2, predefined="keep", duplicates="together")
    return split(manifest([*rows, *more]), params, 42).manifest


def limits(train: int | None, validation: int | None) -> SampleParams:
    return SampleParams(train_per_class=train, validation_per_class=validation)


def counts(frame: pd.DataFrame) -> Counter[tuple[str, str]]:
    return Counter(zip(frame["split"], frame["label"], strict=True))


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**63 - 1))
@settings(max_examples=25, deadline=None)
def test_samples_are_nested_have_n_a_class_and_keep_test(
    one: int, two: int, validation: int, seed: int
) -> None:
    whole = divided()
    small, large = (
        stage.draw(whole, limits(number, validation), seed) for number in sorted((one, two))
    )
    assert set(small["path"]) <= set(large["path"])
    for frame, number in ((small, min(one, two)), (large, max(one, two))):
        found, available = counts(frame), counts(whole)
        for (name, label), count in available.items():
            most = {"train": number, "validation": validation, "test": count}[name]
            assert found[name, label] == min(most, count)
        assert frame["path"].is_monotonic_increasing


def test_adding_an_image_changes_one_place_at_most() -> None:
    whole = divided()
    before = set(stage.draw(whole, limits(20, 5), 42)["image_id"])
    for content in range(5_000, 5_020):
        extended = divided(more=(Image(content, "class1"),))
        after = set(stage.draw(extended, limits(20, 5), 42)["image_id"])
        assert len(before - after) <= 1


def test_no_limits_leave_the_manifest_as_it_is() -> None:
    whole = divided()
    pd.testing.assert_frame_equal(stage.draw(whole, ALL, 42), whole)
    assert stage.files(whole, ALL).empty


def test_one_limit_leaves_the_other_split_whole_and_copies_both() -> None:
    whole = divided()
    sampled = stage.draw(whole, limits(5, None), 42)
    assert counts(sampled)["validation", "class0"] == counts(whole)["validation", "class0"]
    assert counts(stage.files(sampled, limits(5, None))) == {
        key: count for key, count in counts(sampled).items() if key[0] != "test"
    }


def test_copies_of_an_image_count_once_and_are_written_once() -> None:
    copies = tuple(Image(number, "class0", path=f"zz/{number}.png") for number in range(120))
    whole = divided(more=copies)
    sampled = stage.draw(whole, limits(10, 10), 42)
    of_class = sampled[(sampled["label"] == "class0") & (sampled["split"] == "train")]
    assert of_class["image_id"].is_unique
    assert len(of_class) == 10
    everything = stage.draw(whole, limits(10, None), 42)
    rows = stage.files(everything, limits(10, None))
    assert rows["file"].is_unique
    assert not rows.duplicated(["split", "label", "image_id"]).any()


@given(st.lists(st.text(max_size=300), unique=True, max_size=12))
def test_folders_are_safe_and_tell_all_classes_apart(labels: list[str]) -> None:
    labels = [*labels, "Cat", "cat", "..", "a/b", "CON.txt", "", "x" * 300, "a\\b", "a_b", "\n"]
    names = stage.folder_names(list(dict.fromkeys(labels)))
    assert len({stage._fold(name) for name in names.values()}) == len(names)
    for name in names.values():
        assert name == Path(name).name
        assert not name.startswith(".")
        assert not re.search(r'[\x00-\x1f/\\:*?"<>|]', name)
        assert 0 < len(name.encode()) <= 255


def test_a_class_cannot_take_the_folder_of_another_by_its_name() -> None:
    spelled = stage.folder_names(["a/b"])["a/b"]
    names = stage.folder_names(["a/b", spelled])
    assert len(set(names.values())) == 2


def test_harmless_names_stay() -> None:
    labels = ["cats", "Apple Red 1", "n01443537", "Äpfel", "日本"]
    assert stage.folder_names(labels) == {label: label for label in labels}


def test_equal_beginnings_of_ids_get_whole_names() -> None:
    whole = divided(1)
    sampled = stage.draw(whole, limits(2, 1), 42)
    train = sampled["split"] == "train"
    ids = ["a" * 16 + letter * 48 for letter in "bc"]
    sampled.loc[train, "image_id"] = ids
    files = stage.files(sampled, limits(2, 1))
    assert sorted(files.loc[files["split"] == "train", "file"]) == [
        f"train/class0/{image_id}.png" for image_id in ids
    ]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """``images/`` with shards, and ``split.csv`` of 60 images in two classes."""
    folder = tmp_path / "images"
    folder.mkdir()
    contents = [b"image %d" % number for number in range(60)]
    with ShardWriter(folder) as writer:
        ids = [writer.add(content, "jpg") for content in contents]
        places = writer.finish()
    table = manifest([Image(number, f"class{number % 2}") for number in range(60)])
    table = table.assign(
        image_id=ids,
        format="jpeg",
        shard=[places[image_id].shard for image_id in ids],
        offset=[places[image_id].offset for image_id in ids],
        bytes=[places[image_id].length for image_id in ids],
    ).astype({"image_id": "str", "format": "str"})
    params = SplitParams(validation=0.2, test=0.2, predefined="keep", duplicates="together")
    write_split(tmp_path / "split.csv", split(table, params, 42).manifest)
    return tmp_path


def run(stored: Path, params: SampleParams) -> pd.DataFrame:
    main(
        split_manifest=stored / "split.csv",
        images=stored / "images",
        manifest=stored / "sample.csv",
        sample_folder=stored / "sample",
        run_statistics=RunStatistics(stored / "run_statistics", "sample"),
        sample=params,
        seed=42,
    )
    return read_split(stored / "sample.csv")


def test_main_copies_the_bytes_into_folders_by_class(
    stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sampled = run(stored, limits(8, 100))
    found = sorted(path for path in (stored / "sample").rglob("*") if path.is_file())
    assert len(found) == int((sampled["split"] != "test").sum())
    for path in found:
        digest = sha256_file(path)
        row = sampled[sampled["image_id"] == digest].iloc[0]
        assert path.relative_to(stored / "sample").as_posix() == (
            f"{row['split']}/{row['label']}/{digest[:16]}.jpg"
        )
    printed = capsys.readouterr().out
    assert re.search(r"class0 +8\n", printed)
    assert re.search(r"validation: class1 has only \d+ of 100; all are used", printed)
    first = sha256_tree(stored / "sample")
    run(stored, limits(8, 100))
    assert sha256_tree(stored / "sample") == first


def test_main_without_limits_leaves_a_note_that_nothing_was_copied(
    stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(stored, limits(3, 3))
    run(stored, ALL)
    # Of an empty folder, every command of DVC would warn.
    [note] = (stored / "sample").iterdir()
    assert note.name == "README.md"
    assert "none is copied here" in note.read_text()
    assert (stored / "sample.csv").read_bytes() == (stored / "split.csv").read_bytes()
    assert "All 60 images are used" in capsys.readouterr().out
