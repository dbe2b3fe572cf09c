from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from headstart._utils.errors import HeadstartError
from headstart.audit import tables
from headstart.audit.inspection import Inspection, inspect
from headstart.audit.parameters import AuditParams
from headstart.audit.tables import NEAR, WRONG
from headstart.features import array_rows
from tests.audit.made_features import Clouds, clouds, mislabel

ON = AuditParams(enabled=True, neighbors=10, small_class=20)
WRONG_ROWS = [4, 19, 50, 100]


def audited(folder: Path, made: Clouds, duplicates: Any = (), **changes: Any) -> Inspection:
    features, images = made.write(folder, views=changes.pop("views", 0))
    return inspect(features, images, dict(duplicates), ON.model_copy(update=changes), 42)


def paths(table: pd.DataFrame) -> list[str]:
    return table["path"].tolist()


def test_wrong_labels_come_first_with_the_class_that_they_should_have(tmp_path: Path) -> None:
    made = clouds()
    found = audited(tmp_path, mislabel(made, WRONG_ROWS)).issues
    first = found.head(len(WRONG_ROWS))
    assert set(paths(first)) == {f"{row:05}.png" for row in WRONG_ROWS}
    truth = {f"{row:05}.png": ("=ant", "bee", "cat")[made.labels[row]] for row in WRONG_ROWS}
    assert dict(zip(first["path"], first["suggested"], strict=True)) == truth
    assert set(first["kind"]) == {WRONG}
    assert (found["kind"].iloc[len(WRONG_ROWS) :] == NEAR).all()
    assert found["doubt"].is_monotonic_decreasing
    assert found["expected_precision"].iloc[3] == pytest.approx(first["wrong"].mean(), abs=1e-3)


def test_clean_labels_have_hardly_an_issue(tmp_path: Path) -> None:
    found = audited(tmp_path, clouds(apart=6.0))
    assert not (found.issues["kind"] == WRONG).any()
    assert found.wrong < 1
    assert found.metrics()["label_issues"]["wrong_labels"] == 0


def test_a_test_label_changes_nothing_that_is_said_of_the_other_images(tmp_path: Path) -> None:
    made = mislabel(clouds(), WRONG_ROWS)
    tested = [row for row, split in enumerate(made.splits) if split == "test"]
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    one = audited(tmp_path / "one", made)
    other = audited(tmp_path / "other", mislabel(made, tested))
    kept = [
        found.issues[found.issues["split"] != "test"][["path", "suggested", "doubt", "wrong"]]
        for found in (one, other)
    ]
    first, second = (each.reset_index(drop=True) for each in kept)
    pd.testing.assert_frame_equal(first, second)
    assert (other.issues["split"] == "test").sum() > (one.issues["split"] == "test").sum()
    pd.testing.assert_frame_equal(one.curve, other.curve)
    assert one.accuracy == other.accuracy
    assert one.rate == other.rate


def test_many_images_are_audited_from_a_file_with_the_same_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = mislabel(clouds(), WRONG_ROWS)
    (tmp_path / "memory").mkdir()
    (tmp_path / "file").mkdir()
    one = audited(tmp_path / "memory", made)
    monkeypatch.setattr(array_rows, "RESIDENT_BYTES", 0)
    other = audited(tmp_path / "file", made)
    for name in ("issues", "outliers", "classes", "curve"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    assert one.metrics() == other.metrics()


def test_copies_with_the_same_wrong_label_do_not_vouch_for_each_other(tmp_path: Path) -> None:
    made = clouds(apart=5.0)
    copies = [3, 6, 9, 12, 15, 18]  # one cloud, alike but for a trace
    made.points[copies] = made.points[3] + 0.001 * np.arange(6)[:, None]
    made = mislabel(made, copies)
    ids = made.manifest()["image_id"]
    groups = {ids[row]: ids[3] for row in copies}
    (tmp_path / "alone").mkdir()
    (tmp_path / "grouped").mkdir()
    alone = audited(tmp_path / "alone", made).issues
    grouped = audited(tmp_path / "grouped", made, groups).issues
    wanted = {f"{row:05}.png" for row in copies}
    assert set(paths(grouped[grouped["kind"] == WRONG])) == wanted
    assert not wanted & set(paths(alone[alone["kind"] == WRONG]))


def test_views_of_an_image_are_no_images(tmp_path: Path) -> None:
    made = mislabel(clouds(), WRONG_ROWS)
    (tmp_path / "plain").mkdir()
    (tmp_path / "viewed").mkdir()
    plain = audited(tmp_path / "plain", made)
    viewed = audited(tmp_path / "viewed", made, views=2)
    pd.testing.assert_frame_equal(plain.issues, viewed.issues)
    assert viewed.images == 180


def test_an_image_unlike_all_others_is_an_outlier(tmp_path: Path) -> None:
    made = clouds(width=40, apart=9.0)
    made.points[7, 30:] = 9.0
    found = audited(tmp_path, made).outliers
    assert paths(found)[0] == "00007.png"
    assert found["outlier"].tolist()[:1] == [1]
    assert found["distance"].is_monotonic_decreasing


def test_classes_that_overlap_and_classes_too_small_are_named(tmp_path: Path) -> None:
    made = clouds(apart=7.0)
    bees = made.labels == 1
    made.points[bees, 0], made.points[bees, 1] = made.points[bees, 1].copy(), 1.0
    cats = np.flatnonzero(made.labels == 2)
    kept = np.setdiff1d(np.arange(len(made.labels)), cats[:-12])
    fewer = Clouds(made.points[kept], made.labels[kept], [made.splits[row] for row in kept])
    found = audited(tmp_path, fewer).classes.set_index("label")
    assert found["overlapping"].to_dict() == {"=ant": 1, "bee": 1, "cat": 0}
    assert found.loc["=ant", "overlaps_with"] == "bee"
    assert found["too_small"].to_dict() == {"=ant": 0, "bee": 0, "cat": 1}


def test_test_images_of_another_kind_are_noticed_and_like_ones_are_not(tmp_path: Path) -> None:
    (tmp_path / "like").mkdir()
    (tmp_path / "unlike").mkdir()
    made = clouds(each=100)
    like = audited(tmp_path / "like", made)
    test = np.array(made.splits) == "test"
    made.points[test, 8:] += 1.5
    unlike = audited(tmp_path / "unlike", made)
    assert like.drift is not None
    assert unlike.drift is not None
    assert like.drift.p > 0.01
    assert unlike.drift.p == 0.005
    assert unlike.drift.auroc > 0.8
    assert "not like the others" in unlike.describe()


def test_the_curve_rises_and_its_forecasts_have_bands(tmp_path: Path) -> None:
    found = audited(tmp_path, clouds(each=200, width=60, apart=2.5))
    measured = found.curve[found.curve["kind"] == "measured"]
    forecasts = found.curve[found.curve["kind"] == "forecast"]
    assert measured["accuracy"].iloc[-1] > measured["accuracy"].iloc[0]
    assert forecasts["images"].tolist() == [480, 960, 1920]
    assert (forecasts["low"] <= forecasts["accuracy"]).all()
    assert (forecasts["accuracy"] <= forecasts["high"]).all()
    widths = forecasts["high"] - forecasts["low"]
    assert widths.iloc[-1] > widths.iloc[0]
    assert found.metrics()["learning_curve"]["accuracy_2x"] == forecasts["accuracy"].iloc[1]


def test_hardly_any_images_are_audited_without_a_fault(tmp_path: Path) -> None:
    found = audited(tmp_path, clouds(each=10))
    assert found.images == 30
    assert found.drift is None
    assert found.metrics()["images"] == 30


def test_an_audit_that_is_off_writes_empty_tables(tmp_path: Path) -> None:
    found = audited(tmp_path, clouds(), enabled=False)
    assert found.metrics() == {"images": 0}
    tables.write(tmp_path / "issues.csv", found.issues)
    assert len(tables.read_issues(tmp_path / "issues.csv")) == 0
    assert "Not audited" in found.describe()


def test_features_of_another_run_are_refused(tmp_path: Path) -> None:
    features, images = clouds().write(tmp_path)
    swapped = images.assign(split=images["split"].replace({"test": "validation"}))
    with pytest.raises(HeadstartError, match=r"different runs.*dvc repro"):
        inspect(features, swapped, {}, ON, 42)
