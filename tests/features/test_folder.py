"""The features folder: round trips, the same bytes, and an error that names what differs."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headstart._utils.errors import CorruptFileError, HeadstartError
from headstart.backbones.record import BackboneSummary
from headstart.datasets.manifests import SPLITS
from headstart.features.folder import read_features, row_table, write_features
from headstart.features.npy import npy_bytes, write_npy
from headstart.features.store import fingerprint

BACKBONE = BackboneSummary(
    name="mobilenet_v2", alpha=0.35, weights="random", image_size=64, cut=None, pooling="avg",
    random_weights=True,
)  # fmt: skip
CLASSES = ["NA", 'a, "b"', "ä"]


def table(count: int, labels: list[str] | None = None) -> pd.DataFrame:
    names = labels or [CLASSES[index % 3] for index in range(count)]
    return row_table(
        pd.DataFrame({"image_id": [f"{index:064x}" for index in range(count)], "label": names})
    )


def write(
    folder: Path,
    shape: tuple[int, ...] = (4,),
    dtype: str = "float32",
    count: int = 5,
    classes: list[str] | None = None,
    views: int = 0,
) -> None:
    record = {"view": "seeded"} if views else None
    tables = {
        split: row_table(table(count + offset), views if split == "train" else 0)
        for offset, split in enumerate(SPLITS)
    }
    write_features(
        folder,
        {"engine": "litert"},
        shape,
        [
            (split, rows, lambda part: iter(vectors(len(part), shape)))
            for split, rows in tables.items()
        ],
        backbone=BACKBONE,
        classes=tuple(classes or CLASSES),
        dtype=dtype,
        views=views,
        views_record=record,
    )


def vectors(count: int, shape: tuple[int, ...]) -> np.ndarray:
    size = count * int(np.prod(shape))
    return (np.arange(size, dtype=np.float32) / 7).reshape(count, *shape)


@pytest.mark.parametrize("shape", [(4,), (2, 3, 5)])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_it_comes_back_as_it_was_written(
    shape: tuple[int, ...], dtype: str, tmp_path: Path
) -> None:
    write(tmp_path / "features", shape, dtype)
    features = read_features(tmp_path / "features")
    header = features.header
    assert header.feature_shape == shape
    assert header.classes == tuple(CLASSES)
    assert header.dtype == dtype
    assert header.backbone == BACKBONE
    for offset, split in enumerate(SPLITS):
        array = features.array(split)
        assert array.dtype == np.dtype(dtype)
        assert array.tobytes() == vectors(5 + offset, shape).astype(dtype).tobytes()
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
        pd.testing.assert_frame_equal(features.rows(split), table(5 + offset))


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40
)
@given(
    labels=st.lists(
        # A folder's name holds no NUL, and a table could not.
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
        min_size=1,
        max_size=6,
    )
)
def test_labels_of_any_text_come_back(labels: list[str], tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path) as fresh:
        write_features(
            Path(fresh) / "features",
            {},
            (1,),
            [
                (name, table(len(labels), labels), lambda rows: np.ones((len(rows), 1)))
                for name in SPLITS
            ],
            backbone=BACKBONE,
            classes=tuple(sorted(set(labels))),
            dtype="float32",
        )
        features = read_features(Path(fresh) / "features")
        assert list(features.rows("test")["label"]) == labels
        assert features.header.classes == tuple(sorted(set(labels)))


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40
)
@given(
    array=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=1, max_dims=4, max_side=4),
        elements=st.floats(-1000, 1000, width=32),
    ),
    dtype=st.sampled_from(["float32", "float16"]),
)
def test_a_streamed_array_is_the_file_that_numpy_would_write(
    array: np.ndarray, dtype: str, tmp_path: Path
) -> None:
    streamed, whole = tmp_path / "streamed.npy", tmp_path / "whole.npy"
    write_npy(streamed, len(array), array.shape[1:], dtype, iter(array))
    np.save(whole, array.astype(dtype), allow_pickle=False)
    assert streamed.read_bytes() == whole.read_bytes()
    assert npy_bytes(array.shape, dtype) == streamed.stat().st_size


def test_views_stand_after_the_training_images_alone(tmp_path: Path) -> None:
    write(tmp_path / "features", views=2)
    features = read_features(tmp_path / "features")
    assert features.header.view_count == 2
    assert features.array("train").shape == (15, 4)
    rows = features.rows("train")
    assert list(rows["view"]) == [0] * 5 + [1] * 5 + [2] * 5
    assert list(rows["image_id"]) == list(table(5)["image_id"]) * 3
    pd.testing.assert_frame_equal(features.images("train"), table(5)[["image_id", "label"]])
    for split in ("validation", "test"):
        assert (features.rows(split)["view"] == 0).all()


def test_without_views_nothing_speaks_of_them(tmp_path: Path) -> None:
    write(tmp_path / "features")
    assert "views" not in json.loads((tmp_path / "features/features.json").read_text())
    assert read_features(tmp_path / "features").header.view_count == 0


@pytest.mark.parametrize(
    "views",
    [
        None,
        {"count": 1, "fingerprint": fingerprint({}), "fingerprint_record": {}},
        {"count": 0, "fingerprint": fingerprint({}), "fingerprint_record": {}},
        {"count": 2, "fingerprint": fingerprint({"a": 1}), "fingerprint_record": {}},
        {"count": 2},
    ],
)
def test_other_views_than_the_header_says_are_refused(views: Any, tmp_path: Path) -> None:
    write(tmp_path / "features", views=2)
    path = tmp_path / "features/features.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "views": views}))
    with pytest.raises(CorruptFileError, match=r"view"):
        read_features(tmp_path / "features")


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(
        ["features.json", *(f"{split}.{kind}" for split in SPLITS for kind in ("npy", "csv"))]
    )
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_writer_that_fails_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "features")
    before = (tmp_path / "features" / "features.json").read_bytes()

    def broken(_: pd.DataFrame) -> Iterator[np.ndarray]:
        yield np.zeros(4)
        raise HeadstartError("in the middle")

    with pytest.raises(HeadstartError, match="in the middle"):
        write_features(
            tmp_path / "features", {}, (4,), [("train", table(2), broken)],
            backbone=BACKBONE, classes=tuple(CLASSES), dtype="float32",
        )  # fmt: skip
    assert (tmp_path / "features" / "features.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["features"]


def test_a_split_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HeadstartError, match="train split has no images"):
        write(tmp_path / "features", count=0)
    assert not (tmp_path / "features").exists()


def test_a_split_that_is_forgotten_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train"):
        write_features(
            tmp_path / "features", {}, (4,), [],
            backbone=BACKBONE, classes=tuple(CLASSES), dtype="float32",
        )  # fmt: skip
    assert not (tmp_path / "features").exists()


def test_what_does_not_fit_float16_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HeadstartError, match=r"row 1.*float16.*set extract_features\.dtype"):
        write_npy(tmp_path / "a.npy", 2, (1,), "float16", [np.zeros(1), np.full(1, 1e6)])
    with pytest.raises(HeadstartError, match="row 0"):
        write_npy(tmp_path / "a.npy", 1, (1,), "float32", [np.full(1, np.nan)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", [1, 3])
def test_as_many_rows_as_promised(given: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zip"):
        write_npy(tmp_path / "a.npy", 2, (1,), "float32", [np.zeros(1)] * given)
    assert list(tmp_path.iterdir()) == []


def header(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "features.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return apply


def flip(name: str, place: int = -1) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[place] ^= 1
        (folder / name).write_bytes(content)

    return apply


def cut(name: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:-3])

    return apply


def as_maps(content: dict[str, Any]) -> None:
    for offset, split in enumerate(SPLITS):
        content["splits"][split]["shape"] = [5 + offset, 2, 2]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flip("validation.npy"), r"validation\.npy: expected sha256"),
        (flip("validation.npy", 3), r"validation\.npy: expected sha256"),
        (flip("test.csv", 0), r"test\.csv: expected sha256"),
        (cut("train.npy"), r"train\.npy: expected 208 bytes, got 205"),
        (cut("train.csv"), r"train\.csv: expected sha256"),
        (lambda folder: (folder / "test.npy").unlink(), r"test\.npy is missing"),
        (lambda folder: (folder / "features.json").unlink(), r"features\.json cannot be read"),
        (lambda folder: (folder / "features.json").write_bytes(b"\x80{"), "not a valid record"),
        (lambda folder: (folder / "features.json").write_text("[]"), "not a valid record"),
        (header(lambda h: h.pop("classes")), r"not a valid record.*classes"),
        (header(lambda h: h["backbone"].pop("cut")), r"not a valid record.*cut"),
        (header(lambda h: h["splits"].pop("test")), r"not a valid record.*test"),
        (header(lambda h: h.update(surprise=1)), "surprise"),
        (header(lambda h: h.update(format=2)), "format: Input should be 1"),
        (header(lambda h: h.update(dtype="float64")), "dtype: Input should be 'float32'"),
        (header(lambda h: h.update(dtype="float16")), r"train\.npy: expected 168 bytes"),
        (header(lambda h: h["backbone"].update(random_weights="no")), "valid boolean"),
        (header(lambda h: h.update(classes=["b", "a"])), "not sorted"),
        (header(lambda h: h.update(classes=["NA", "ä"])), r"train\.csv: the labels"),
        (header(lambda h: h["fingerprint_record"].update(engine="keras")), "fingerprint"),
        (header(lambda h: h["splits"]["test"].update(shape=[14, 2])), "different feature shapes"),
        (header(lambda h: h["splits"]["test"].update(shape=[0, 4])), r"test\.shape\.0: .* greater"),
        (
            header(as_maps),
            r"train\.npy: expected shape and dtype \(5, 2, 2\), float32.*got \(5, 4\)",
        ),
    ],
)  # fmt: skip
def test_what_differs_is_named(damage: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    write(tmp_path / "features")
    damage(tmp_path / "features")
    with pytest.raises(CorruptFileError, match=words):
        read_features(tmp_path / "features")
