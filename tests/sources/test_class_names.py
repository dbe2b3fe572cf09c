"""Class names that look alike: warned of, with what to do; white space at the ends is no class."""

from __future__ import annotations

from pathlib import Path

import pytest

from headstart.sources.class_names import combinations, look_alikes, spelling_note
from headstart.sources.layout import recognize
from headstart.sources.source import Assignment, label_of
from tests.images import made as make
from tests.stages.test_download import by_class, folder_of, run

TABLE = {"source": "table", "table": "labels.csv", "path_column": "file", "label_column": "label"}


@pytest.mark.parametrize(
    ("one", "other"),
    [("Cat", "cat"), ("ice cream", "ice\xa0cream"), ("cat", "c\u200bat"), ("cat", "cat\ufeff"),
     ("1", "001"), ("class1", "class01"), ("ice cream", "ice_cream"), ("ice-cream", "ice  cream"),
     ("cat", "\uff43\uff41\uff54"), ("STRASSE", "stra\xdfe"), ("cat", "c\u0430t"),
     ("Oxo", "\u041e\u0445\u043e"), ("kappa", "\u03ba\u03b1pp\u03b1")],
)  # fmt: skip
def test_names_that_look_alike(one: str, other: str) -> None:
    (said,) = look_alikes({one: 12, other: 1, "dog": 3})
    assert said.startswith("1 group of class names look alike")
    assert "(12 images)" in said
    assert "(1 image)" in said
    assert said.isascii()
    assert "give them one name in the source" in said


@pytest.mark.parametrize(
    "names",
    [("cat", "dog"), ("1", "10", "100"), ("C", "C++", "C#"), ("0", "00a"), ("1.5", "15"),
     ("\u043a\u043e\u0442", "\u043f\u0451\u0441"), ("\u03b3\u03ac\u03c4\u03b1", "dog")],
)  # fmt: skip
def test_names_that_do_not(names: tuple[str, ...]) -> None:
    assert not look_alikes(dict.fromkeys(names, 1))


@pytest.mark.parametrize("name", ["??", "?pfel", "\ufffdl"])
def test_characters_that_stand_for_lost_letters(name: str) -> None:
    (said,) = look_alikes({name: 2, "cat": 3})
    assert f"letters that a program could not write: {name!a} (2 images)" in said


@pytest.mark.parametrize("name", ["NaN", "nan", "None", "null", "NULL", "N/A", "<NA>", "undefined"])
def test_texts_for_a_missing_label(name: str) -> None:
    (said,) = look_alikes({name: 2, "cat": 3})
    assert f"may stand for a missing label: {name!r} (2 images)" in said


@pytest.mark.parametrize(
    ("labels", "combined"),
    [
        (["cat", "dog", "cat|dog"], ["cat|dog"]),
        (["cat|dog", "cat|bird"], ["cat|bird", "cat|dog"]),
        (["cat", "dog", "cat dog", "cat, dog"], ["cat dog", "cat, dog"]),
        (["['cat', 'dog']", "['cat']"], ["['cat', 'dog']", "['cat']"]),
        (["guinea pig", "pig", "golden retriever", "labrador retriever"], []),
        (["C++", "C", "black & white", "Doe, John", "a|b"], []),
    ],
)
def test_several_labels_in_one(labels: list[str], combined: list[str]) -> None:
    assert combinations(labels) == combined
    said = [text for text in look_alikes(dict.fromkeys(labels, 2)) if "several labels" in text]
    assert len(said) == bool(combined)
    assert all("one class, and none has several" in text for text in said)


def test_white_space_and_composition_are_noted() -> None:
    assert label_of(" cat\xa0") == "cat"
    said = spelling_note({"cat ", "cat", "dog", "caf\xe9", "cafe\u0301", "tea"})
    assert "'cat' and 'cat ' as 'cat'" in said
    assert "'cafe\\u0301' and 'caf\\xe9' as 'caf\xe9'" in said
    assert "tea" not in said
    assert not spelling_note({"cat", "cafe\u0301"})
    layout = recognize(["cat /1.jpg", "cat/2.jpg", "dog/1.jpg"], None, "x")
    assert layout.assign("cat /1.jpg") == Assignment("cat", "")
    assert "'cat ' as 'cat'" in layout.describe()


def test_a_table_with_white_space_around_its_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {f"{number}.jpg": make.jpeg(seed=number) for number in range(6)}
    labels = ("cat", "dog", "cat ", " dog", "Cat", "nan")
    rows = [f"{path},{label}\n" for path, label in zip(files, labels, strict=True)]
    folder = folder_of({**files, "labels.csv": "".join(["file,label\n", *rows]).encode()}, tmp_path)
    counts = run(folder, tmp_path / "out", **TABLE)
    assert by_class(counts) == {"Cat": 1, "cat": 2, "dog": 2, "nan": 1}
    got = capsys.readouterr()
    assert "'cat' and 'cat ' as 'cat', ' dog' and 'dog' as 'dog'" in got.out
    assert "WARNING: 1 group of class names look alike" in got.err
    assert "'Cat' (1 image) and 'cat' (2 images)" in got.err
    assert "WARNING: Classes whose names may stand for a missing label: 'nan' (1 image)" in got.err
    # The remedies: one name, and an empty cell.
    mended = [row.replace("Cat", "cat").replace("nan", "") for row in rows]
    (folder / "labels.csv").write_text("".join(["file,label\n", *mended]))
    counts = run(folder, tmp_path / "out", **TABLE)
    assert by_class(counts) == {"cat": 3, "dog": 2}
    assert counts["rejected_by_reason"] == {"bad_row": 1}
    assert "WARNING" not in capsys.readouterr().err
