from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart._utils.errors import ImageError, SourceError
from headstart.downloads.client import RetryPolicy
from headstart.sources.source import Assignment
from headstart.sources.table import TableSource
from tests.downloads.server import Request, serving
from tests.images import made as make
from tests.stages.test_download import parameters

COLUMNS = {"label": "kind", "path": "file"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images beside one another, in no class folders."""
    for number in range(6):
        path = tmp_path / "in" / "images" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make.jpeg(seed=number))
    return tmp_path / "in"


def write(folder: Path, rows: Sequence[Sequence[str]], name: str = "labels.csv") -> None:
    separator = "\t" if name.endswith(".tsv") else ","
    text = "\n".join(separator.join(row) for row in rows) + "\n"
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")


def opened(
    folder: Path,
    columns: Mapping[str, str] = COLUMNS,
    policy: RetryPolicy | None = None,
    **options: Any,
) -> TableSource:
    named = {f"{role}_column": column for role, column in columns.items()}
    options = {"source": "table", "table": "labels.csv", **named, **options}
    # Unchecked, since the table may be one that the parameters refuse.
    return TableSource(parameters().model_copy(update=options), folder, policy)


def places(source: TableSource) -> dict[str, Assignment]:
    found = {}
    for entry in source.entries:
        if entry.rejection is None:
            assert isinstance(entry.assignment, Assignment)
            found[entry.path] = entry.assignment
    return found


def refusals(source: TableSource) -> dict[str, str]:
    return {each.path: f"{each.rejection[0]}: {each.rejection[1]}" for each in source.entries
            if each.rejection}  # fmt: skip


def test_classes_splits_and_groups(folder: Path) -> None:
    write(
        folder,
        [
            ("file", "kind", "part", "animal"),
            ("images/0.jpg", "cat", "Training", "a"),
            ("images/1.jpg", "dog", "test", "b"),
            ("./images//2.jpg", "NA", "", ""),
        ],
    )
    source = opened(folder, {"label": "kind", "path": "file", "split": "part", "group": "animal"})
    assert places(source) == {
        "images/0.jpg": Assignment("cat", "train", "a"),
        "images/1.jpg": Assignment("dog", "test", "b"),
        "images/2.jpg": Assignment("NA", "", ""),
    }
    contents = dict(source.contents({"images/1.jpg", "images/2.jpg"}))
    assert contents == {f"images/{n}.jpg": make.jpeg(seed=n) for n in (1, 2)}
    said = source.summary
    assert "3 rows of labels.csv: 3 classes (NA, cat, dog) from the column 'kind'" in said
    assert "from 'part': 1 no split, 1 test, 1 train; 2 groups from 'animal'" in said


def test_the_users_names_of_splits(folder: Path) -> None:
    rows = [("file", "kind", "fold"), ("0.jpg", "cat", "1"), ("1.jpg", "dog", "2"),
            ("2.jpg", "dog", "3")]  # fmt: skip
    write(folder / "images", rows)
    columns = {"label": "kind", "path": "file", "split": "fold"}
    source = opened(folder, columns, table="images/labels.csv", splits={"1": "train", "2": "test"})
    assert [place.predefined_split for place in places(source).values()] == ["train", "test"]
    assert refusals(source) == {
        "images/labels.csv:3": "bad_row: row 3: its split is '3', which `download.splits` does "
        "not name"
    }
    whole = opened(folder, columns, table="images/labels.csv", splits={})
    assert {place.predefined_split for place in places(whole).values()} == {""}


BAD_ROWS = [
    ("images/0.jpg", "", "it has no class"),
    ("", "cat", "it has no path"),
    ("/etc/passwd", "cat", "not relative"),
    ("C:/x.jpg", "cat", "not relative"),
    ("images\\\\0.jpg", "cat", "not relative"),
    ("../secret.jpg", "cat", "leads out"),
    ("images/../../secret.jpg", "cat", "leads out"),
    (".", "cat", "leads out"),
    ("images/0.jpg", "a/b", "cannot be the name of a class"),
]


def test_rows_that_cannot_be_used_are_named(folder: Path) -> None:
    (folder.parent / "secret.jpg").write_bytes(make.jpeg())
    good = [("images/1.jpg", "cat"), ("images/2.jpg", "dog")]
    write(folder, [("file", "kind"), *good, *(row[:2] for row in BAD_ROWS)])
    source = opened(folder)
    assert len(source.entries) == len(good) + len(BAD_ROWS)
    refused = refusals(source)
    assert set(places(source)) == {"images/1.jpg", "images/2.jpg"}
    for number, (_, _, said) in enumerate(BAD_ROWS, start=3):
        assert refused[f"labels.csv:{number}"].startswith(f"bad_row: row {number}: ")
        assert said in refused[f"labels.csv:{number}"]


def test_files_that_are_not_there_or_not_to_be_read(folder: Path) -> None:
    (folder / "link.jpg").symlink_to("/etc/passwd")
    (folder / "aside").symlink_to(folder / "images")
    names = ("images/9.jpg", "link.jpg", "aside/1.jpg", "images")
    write(folder, [("file", "kind"), *((name, "cat") for name in names)])
    assert refusals(opened(folder)) == {
        "images/9.jpg": "absent: row 1: there is no such file",
        "link.jpg": "link: row 2: it is a link that leads out of `download.location`: name a "
        "folder above both there, the folder of the classes in `download.root`, and set "
        "`download.follow_links: true`",
        "aside/1.jpg": "link: row 3: a folder in its path is a link",
        "images": "absent: row 4: there is no such file",
    }


def test_links_that_are_followed(folder: Path) -> None:
    (folder / "aside").symlink_to(folder / "images")
    write(folder, [("file", "kind"), ("aside/1.jpg", "cat")])
    source = opened(folder, follow_links=True)
    assert places(source) == {"aside/1.jpg": Assignment("cat", "")}
    assert dict(source.contents({"aside/1.jpg"})) == {"aside/1.jpg": make.jpeg(seed=1)}


@pytest.mark.parametrize(
    ("path", "cure", "options"),
    [
        ("images/1", "images/1.jpg: set `download.path_suffix: .jpg`", {"path_suffix": ".jpg"}),
        ("1.jpg", "images/1.jpg: set `download.root: images`", {"root": "images"}),
        ("1", "images/1.jpg: set `download.path_suffix: .jpg` and `download.root: images`",
         {"path_suffix": ".jpg", "root": "images"}),
        ("images/1.JPG", "images/1.jpg, whose letters differ in case: correct the table", None),
        ("Images/1.jpg", "images/1.jpg, whose letters differ in case: correct the table", None),
        ("11.jpg", "there is no such file", None),
    ],
)  # fmt: skip
def test_a_file_that_is_near_is_named_with_the_cure(
    folder: Path, path: str, cure: str, options: dict[str, Any] | None
) -> None:
    write(folder, [("file", "kind"), (path, "cat")])
    (said,) = refusals(opened(folder)).values()
    assert said.endswith(cure)
    assert said.startswith("absent: row 1: there is no such file")
    if options is not None:
        assert places(opened(folder, **options)) == {"images/1.jpg": Assignment("cat", "")}


def test_the_ending_is_appended_where_it_lacks(folder: Path) -> None:
    write(folder, [("file", "kind"), ("images/1", "cat"), ("images/2.jpg", "dog")])
    assert set(places(opened(folder, path_suffix=".jpg"))) == {"images/1.jpg", "images/2.jpg"}


def test_paths_from_windows_are_refused_with_the_cure(folder: Path) -> None:
    write(folder, [("file", "kind"), ("images\\1.jpg", "cat"), ("C:\\images\\1.jpg", "cat")])
    one, other = refusals(opened(folder)).values()
    assert one.endswith("its path images\\1.jpg is not relative with / between folders: write "
                        "images/1.jpg")  # fmt: skip
    assert other.endswith("between folders")


def test_numbers_to_predict_are_refused_with_the_reason(folder: Path) -> None:
    paths = [f"images/{n}.jpg" for n in range(6)]
    measured = ["0.25", "1", "-3.5e-2", "4.", "2.75", "3"]
    write(folder, [("file", "kind"), *zip(paths, measured, strict=True)])
    with pytest.raises(
        SourceError, match=r"'kind' holds 6 different numbers.*does not predict numbers"
    ):
        opened(folder)
    # Few versions, whole numbers and words are classes.
    for labels in (["1.5", "2.5"] * 3, [str(n) for n in range(6)], ["0.5", "x"] * 3):
        write(folder, [("file", "kind"), *zip(paths, labels, strict=True)])
        assert len(places(opened(folder))) == 6


@pytest.mark.parametrize(
    ("cell", "said"), [(0.5, "does not predict numbers"), (["cat", "dog"], "none has several")]
)
def test_columns_of_parquet_that_are_no_classes(folder: Path, cell: Any, said: str) -> None:
    pytest.importorskip("pyarrow", reason="pandas writes Parquet with it")
    frame = pd.DataFrame({"file": ["images/0.jpg"], "kind": [cell]})
    frame.to_parquet(folder / "labels.parquet")
    with pytest.raises(SourceError, match=said):
        opened(folder, table="labels.parquet")


def test_an_image_that_stands_twice(folder: Path) -> None:
    rows = [("images/0.jpg", "cat"), ("./images/0.jpg", "cat"), ("images/0.jpg", "dog")]
    write(folder, [("file", "kind"), *rows])
    source = opened(folder)
    assert places(source) == {"images/0.jpg": Assignment("cat", "")}
    refused = refusals(source)
    assert refused["labels.csv:2"] == "bad_row: row 2: it repeats images/0.jpg of row 1"
    assert refused["labels.csv:3"].endswith("of row 1, and contradicts it")


def test_blank_lines_and_quotes_keep_the_numbers(folder: Path) -> None:
    (folder / "labels.csv").write_text(
        '\ufefffile,kind\n"images/0.jpg","cat, black"\n\n"images/9.jpg","a ""dog"""\n',
        encoding="utf-8",
    )
    source = opened(folder)
    assert places(source) == {"images/0.jpg": Assignment("cat, black", "")}
    assert set(refusals(source)) == {"labels.csv:2", "images/9.jpg"}
    assert refusals(source)["images/9.jpg"].startswith("absent: row 3")


def test_a_root(folder: Path) -> None:
    write(folder / "tables", [("file", "kind"), ("0.jpg", "cat"), ("1.jpg", "dog")])
    source = opened(folder, table="tables/labels.csv", root="images")
    assert list(places(source)) == ["images/0.jpg", "images/1.jpg"]
    write(folder, [("file", "kind"), ("images/0.jpg", "cat")])
    assert list(places(opened(folder, root="."))) == ["images/0.jpg"]
    for root in ("..", "nowhere", "/", "images/../.."):
        with pytest.raises(SourceError, match=r"download\.root"):
            opened(folder, root=root if root != "/" else "/etc")


@pytest.mark.parametrize("kind", [".csv", ".tsv", ".parquet"])
def test_every_kind_of_file_says_the_same(folder: Path, kind: str) -> None:
    rows = [("file", "kind"), ("images/0.jpg", "1"), ("images/1.jpg", "22")]
    if kind == ".parquet":
        pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
        table = pd.DataFrame({"file": ["images/0.jpg", "images/1.jpg"], "kind": [1, 22],
                              "weight": [0.5, 1.5]})  # fmt: skip
        table.to_parquet(folder / "labels.parquet")
    else:
        write(folder, rows, f"labels{kind}")
    source = opened(folder, table=f"labels{kind}")
    assert places(source) == {
        "images/0.jpg": Assignment("1", ""),
        "images/1.jpg": Assignment("22", ""),
    }


def test_parquet_with_gaps_categories_and_fractions(folder: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
    table = pd.DataFrame(
        {
            "file": ["images/0.jpg", "images/1.jpg", None],
            "kind": pd.Categorical(["cat", None, "dog"]),
            "score": [0.1, 0.2, 0.3],
            "age": pd.array([3, None, 4], dtype="Int64"),
        }
    )
    table.to_parquet(folder / "labels.parquet")
    source = opened(
        folder, {"label": "kind", "path": "file", "group": "age"}, table="labels.parquet"
    )
    assert places(source) == {"images/0.jpg": Assignment("cat", "", "3")}
    assert set(refusals(source)) == {"labels.parquet:2", "labels.parquet:3"}
    with pytest.raises(SourceError, match="'score' holds double"):
        opened(folder, {"label": "score", "path": "file"}, table="labels.parquet")
    (folder / "labels.parquet").write_bytes(b"PAR1 and no more PAR1")
    with pytest.raises(SourceError, match=r"cannot be read: .* no Parquet file, or it is damaged"):
        opened(folder, table="labels.parquet")


def test_columns_that_are_not_there_come_in_one_message(folder: Path) -> None:
    write(folder, [("file", "kind", "part"), ("images/0.jpg", "cat", "train")])
    with pytest.raises(SourceError) as caught:
        opened(folder, {"label": "kinds", "path": "path", "split": "part"})
    said = str(caught.value)
    assert "lacks 2 of the columns" in said
    assert "`download.label_column` is 'kinds'. Did you mean 'kind'?" in said
    assert "`download.path_column` is 'path'." in said
    assert "Its columns: 'file', 'kind', 'part'." in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read as a table"),
        (b"file,kind\n\xff\xfe,cat\n", "cannot be read as a table"),
        (b"file,kind\nimages/0.jpg,cat,1\n", "cannot be read as a table"),
        (b"file,kind\nimages/0.jpg,cat\nimages/1.jpg,dog,1\n", "cannot be read as a table"),
        (b'file,kind\n"images/0.jpg,cat\n', "cannot be read as a table"),
        ("file,kind\nimages/0.jpg,cat\n".encode("utf-16"), "it is UTF-16, and not UTF-8"),
        (b"file,kind\nimages/0.jpg,c\0at\n", "holds a NUL byte in line 2"),
        (b"x\n" * 700_000 + b"\0", "holds a NUL byte in line 700,001"),
        (b"file,kind,kind\nimages/0.jpg,cat,dog\n", "has 2 columns 'kind'"),
        (b"file;kind\nimages/0.jpg;cat\n", "divided by ';'. Save it with commas"),
        ("file,kind\nimages/0.jpg,\u00c4\n".encode("latin-1"), '"CSV UTF-8"'),
    ],
)
def test_what_is_no_table(folder: Path, content: bytes, said: str) -> None:
    (folder / "labels.csv").write_bytes(content)
    with pytest.raises(SourceError, match=said):
        opened(folder)


def test_what_is_not_there(folder: Path) -> None:
    for table in ("nothing.csv", "../in/labels.csv", "images"):
        with pytest.raises(SourceError, match=r"download\.table"):
            opened(folder, table=table)
    write(folder, [("file", "kind")])
    assert list(opened(folder).entries) == []
    with pytest.raises(SourceError, match="which is not a folder"):
        opened(folder / "labels.csv")


@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), max_size=12))
def test_every_row_is_an_entry(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "rows"
    folder.mkdir(exist_ok=True)
    usable = [row for row in rows if "\0" not in "".join(row)]
    try:
        pd.DataFrame(usable, columns=["file", "kind"]).to_csv(
            folder / "labels.csv", index=False, lineterminator="\n", quoting=csv.QUOTE_ALL
        )
    except UnicodeEncodeError:
        return
    source = opened(folder)
    assert len(source.entries) == len(usable)
    assert len({entry.path for entry in source.entries}) == len(usable)
    assert all(entry.rejection for entry in source.entries)


# Addresses


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


QUICK = RetryPolicy(attempts=3, pause=0.01, connect=5.0, read=5.0, total=20.0)
REMOTE = {"label": "kind", "path": "file", "url": "url", "sha256": "sha"}


@pytest.fixture
def server() -> Iterator[tuple[str, list[Request]]]:
    def behave(request: Request) -> None:
        name = request.path.rpartition("/")[2]
        if name == "gone.jpg":
            request.answer(404)
        elif name == "busy.jpg" and request.number % 2:
            request.answer(503, Retry_After="0")
        elif name == "cut.jpg" and request.number % 2:
            request.answer(200, make.jpeg(seed=7), cut=50)
        elif name == "huge.jpg":
            request.answer(200, b"x" * 200_000)
        elif name == "endless.jpg":
            request.answer(200, b"x" * 200_000, no_length="1")
        elif name == "loop.jpg":
            request.answer(302, Location="/loop.jpg")
        elif name == "down.jpg":
            request.answer(500)
        else:
            request.answer(200, make.jpeg(seed=7))

    with serving(behave) as (url, seen):
        yield url, seen


def remote(folder: Path, url: str, *rows: tuple[str, str, str]) -> TableSource:
    head = ("file", "kind", "url", "sha")
    write(folder, [head, *(("", kind, f"{url}/{name}", sha) for name, kind, sha in rows)])
    return opened(folder, REMOTE, policy=QUICK, max_image_bytes=100_000, max_total_bytes=1_000_000)


def test_an_address_is_recorded_without_its_credentials(
    folder: Path, server: tuple[str, list[Request]]
) -> None:
    url, seen = server
    names = ["a.jpg?sig=abc1", "a.jpg?sig=abc2", "gone.jpg?token=t0p"]
    source = remote(
        folder, url.replace("//", "//jane:hunter2@"), *((name, "cat", "") for name in names)
    )
    assert {request.path for request in seen} == {f"/{name}" for name in names}
    recorded = [f"{entry.path} {entry.rejection} {entry.assignment}" for entry in source.entries]
    assert len(set(recorded)) == 3
    words = ("hunter2", "jane", "abc1", "abc2", "t0p")
    assert not [text for text in recorded for word in words if word in text]


def test_images_by_address(
    folder: Path, server: tuple[str, list[Request]], capsys: pytest.CaptureFixture[str]
) -> None:
    url, seen = server
    digest = hashlib.sha256(make.jpeg(seed=7)).hexdigest()
    rows = [("a.jpg", "cat", digest), ("b.jpg", "dog", ""), ("c.jpg", "dog", digest.upper())]
    source = remote(folder, url, *rows)
    assert places(source) == {f"{url}/{name}": Assignment(kind, "") for name, kind, _ in rows}
    contents = dict(source.contents({entry.path for entry in source.entries}))
    assert set(contents.values()) == {make.jpeg(seed=7)}
    assert {entry.size for entry in source.entries} == {len(make.jpeg(seed=7))}
    assert "Addresses without a sha256: 1 of 3" in capsys.readouterr().out
    before = len(seen)
    assert before <= 3
    remote(folder, url, *rows)
    assert len(seen) == before, "the second run asks no server again"


def test_a_kept_image_that_was_damaged_is_fetched_again(
    folder: Path, server: tuple[str, list[Request]], private_store: Path
) -> None:
    url, seen = server
    digest = hashlib.sha256(make.jpeg(seed=7)).hexdigest()
    remote(folder, url, ("a.jpg", "cat", digest))
    kept = next(path for path in private_store.rglob("*") if path.name == digest)
    kept.write_bytes(b"damaged")
    source = remote(folder, url, ("a.jpg", "cat", digest))
    assert len(seen) == 2
    assert dict(source.contents({f"{url}/a.jpg"})) == {f"{url}/a.jpg": make.jpeg(seed=7)}


def test_what_no_server_delivers_is_rejected(
    folder: Path, server: tuple[str, list[Request]]
) -> None:
    url, _ = server
    names = ("gone.jpg", "huge.jpg", "endless.jpg", "loop.jpg")
    rows = [*((name, "cat", "") for name in names), ("a.jpg", "dog", "0" * 64)]
    refused = refusals(remote(folder, url, *rows))
    assert refused[f"{url}/gone.jpg"].startswith("not_fetched: row 1: the server answered 404")
    assert refused[f"{url}/huge.jpg"].startswith("too_large: row 2")
    assert refused[f"{url}/endless.jpg"].startswith("too_large: row 3")
    assert refused[f"{url}/loop.jpg"].startswith("not_fetched: row 4")
    assert "not the table's" in refused[f"{url}/a.jpg"]


@pytest.mark.parametrize("name", ["busy.jpg", "cut.jpg"])
def test_faults_that_pass(folder: Path, server: tuple[str, list[Request]], name: str) -> None:
    url, seen = server
    source = remote(folder, url, (name, "cat", ""))
    assert dict(source.contents({f"{url}/{name}"})) == {f"{url}/{name}": make.jpeg(seed=7)}
    assert len(seen) == 2


def test_faults_that_do_not_pass_stop_the_run_and_keep_the_rest(
    folder: Path, server: tuple[str, list[Request]]
) -> None:
    url, seen = server
    rows = [("a.jpg", "cat", ""), ("down.jpg", "dog", ""), ("b.jpg", "dog", "")]
    with pytest.raises(SourceError, match="1 of 3 addresses could not be downloaded") as caught:
        remote(folder, url, *rows)
    assert f"{url}/down.jpg: the server answered 500" in str(caught.value)
    before = len(seen)
    with pytest.raises(SourceError):
        remote(folder, url, *rows)
    assert len(seen) == before + QUICK.attempts


def test_rows_with_addresses_that_are_none(folder: Path) -> None:
    head = ("file", "kind", "url", "sha")
    rows = [("", "cat", "ftp://x/1.jpg", ""), ("", "cat", "file:///etc/passwd", ""),
            ("", "cat", "http://127.0.0.1:1/x.jpg", "12"), ("", "cat", "", "")]  # fmt: skip
    write(folder, [head, *rows])
    refused = refusals(opened(folder, REMOTE))
    assert len(refused) == 4
    assert "does not begin with http" in refused["labels.csv:2"]
    assert "64 hexadecimal" in refused["labels.csv:3"]
    assert "neither path nor address" in refused["labels.csv:4"]


def test_a_path_goes_before_an_address(folder: Path) -> None:
    write(folder, [("file", "kind", "url", "sha"),
                   ("images/0.jpg", "cat", "http://127.0.0.1:1/x.jpg", "")])  # fmt: skip
    assert list(places(opened(folder, REMOTE))) == ["images/0.jpg"]


def test_all_together_are_bounded(folder: Path, server: tuple[str, list[Request]]) -> None:
    url, _ = server
    write(folder, [("file", "kind", "url", "sha"), ("", "cat", f"{url}/a.jpg", "")])
    for path in folder.glob("images/*"):
        path.unlink()
    with pytest.raises(SourceError, match="max_total_bytes"):
        opened(folder, REMOTE, max_total_bytes=len(make.jpeg(seed=7)) - 1, policy=QUICK)


def test_a_file_that_cannot_be_read_any_more(folder: Path) -> None:
    write(folder, [("file", "kind"), ("images/0.jpg", "cat")])
    source = opened(folder)
    (folder / "images/0.jpg").unlink()
    (_, fault), = source.contents({"images/0.jpg"})  # fmt: skip
    assert isinstance(fault, ImageError)
