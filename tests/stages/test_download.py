from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from headstart._utils.errors import HeadstartError, SourceError, UnsafeArchiveError
from headstart.datasets.manifests import read_images, read_rejected
from headstart.datasets.parameters import SplitParams
from headstart.datasets.shards import ShardReader
from headstart.datasets.splits import split
from headstart.sources.parameters import DownloadParams
from headstart.stage.run_statistics import RunStatistics
from stages.download import main
from tests.archives.made import HONEST, make_tar, make_zip
from tests.downloads.server import serving
from tests.images import made as make

OUTS = ("images", "images.csv", "rejected.csv", "rejected", "download.json")


def by_class(counts: dict[str, Any]) -> dict[str, int]:
    return {row["label"]: row["images"] for row in counts["classes"]}


def parameters(**changes: Any) -> DownloadParams:
    values: dict[str, Any] = {
        "source": "archive",
        "location": "unused",
        "url": None,
        "endpoint_url": None,
        "anonymous": None,
        "profile": None,
        "sha256": None,
        "encoding": None,
        "name": None,
        "table": None,
        "path_column": None,
        "path_suffix": None,
        "follow_links": None,
        "url_column": None,
        "label_column": None,
        "split_column": None,
        "group_column": None,
        "sha256_column": None,
        "root": None,
        "splits": None,
        "group": None,
        "formats": ["jpeg", "png", "webp", "gif", "bmp"],
        "min_side": 8,
        "max_pixels": 50_000_000,
        "max_image_bytes": 50_000_000,
        "max_total_bytes": 20_000_000_000,
    }
    return DownloadParams(**{**values, **changes})


def run(location: Path, out: Path, **changes: Any) -> dict[str, Any]:
    """Run the stage into a folder; check what must hold always; return the metrics."""
    with RunStatistics.open(out / "run_statistics", "download") as run_statistics:
        main(
            source=location,
            runtime=Path("unread"),
            images=out / "images",
            manifest=out / "images.csv",
            rejected=out / "rejected.csv",
            rejected_images=out / "rejected",
            metrics=out / "download.json",
            run_statistics=run_statistics,
            download=parameters(**changes),
        )
    counts: dict[str, Any] = json.loads((out / "download.json").read_text())
    images = read_images(out / "images.csv")
    aside = read_rejected(out / "rejected.csv")
    assert counts["files"] == counts["kept"] + counts["rejected"]
    assert counts["kept"] == len(images) == sum(by_class(counts).values())
    assert counts["rejected"] == len(aside) == sum(counts["rejected_by_reason"].values())
    assert counts["duplicates"] == len(images) - images["image_id"].nunique()
    assert not set(images["path"]) & set(aside["path"])
    with ShardReader(out / "images") as reader:
        for row in images.to_dict("records"):
            reader.read(row["shard"], row["offset"], row["bytes"], row["image_id"])
    return counts


def everything(out: Path) -> dict[str, str]:
    """sha256 of every output by name; the run statistics is none."""
    found = [path for name in OUTS for path in (out / name, *(out / name).rglob("*"))]
    files = [path for path in sorted(found) if path.is_file()]
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def folder_of(files: Mapping[str, bytes], folder: Path) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


POISON: dict[str, tuple[bytes, str]] = {
    "Pets/cat/empty.jpg": (b"", "empty"),
    "Pets/cat/page.jpg": (b"<html>404</html>", "not_an_image"),
    "Pets/cat/cut.jpg": (make.jpeg(400, 300)[:900], "truncated"),
    "Pets/cat/cut.png": (make.png(400, 300)[:-400], "truncated"),
    "Pets/cat/bomb.gif": (make.gif_header(65535, 65535), "too_large"),
    "Pets/cat/bomb.png": (make.png_header(10_000, 10_000), "too_large"),
    "Pets/cat/icon.png": (make.png(6, 6), "too_small"),
    "Pets/cat/scan.jpg": (make.encoded(make.noise(), "TIFF"), "refused_format"),
    "Pets/cat/vector.jpg": (b"%!PS-Adobe-3.0", "refused_format"),
    "Pets/cat/Thumbs.db": (b"\xd0\xcf\x11\xe0", "not_an_image"),
    "Pets/cat/.DS_Store": (b"\0\0\0\1Bud1", "hidden"),
    "Pets/README.md": (b"# Pets", "no_class"),
    "Pets/loose.jpg": (make.jpeg(seed=77), "no_class"),
}


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
def test_poison_is_counted_and_the_rest_is_kept(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {**HONEST, **{name: content for name, (content, _) in POISON.items()}}
    if kind == "folder":
        location = folder_of(files, tmp_path / "in")
    elif kind == "zip":
        location = make_zip(tmp_path / "in.zip", files, zipfile.ZIP_DEFLATED)
    else:
        location = make_tar(tmp_path / "in.tar.gz", files, "w:gz")
    source = "folder" if kind == "folder" else "archive"
    counts = run(location, tmp_path / "out", source=source)
    aside = read_rejected(tmp_path / "out" / "rejected.csv")
    reasons = dict(zip(aside["path"], aside["reason"], strict=True))
    assert reasons == {name: reason for name, (_, reason) in POISON.items()}
    assert by_class(counts) == {"cat": 3, "dog": 3}
    assert counts["kept"] == len(HONEST)
    assert counts["bytes"] == sum(len(content) for content in HONEST.values())
    said = capsys.readouterr().out
    assert "Recognized class folders in Pets/: 2 classes (cat, dog)" in said
    assert "6 of 19 files kept" in said
    assert "truncated (2)" in said
    assert "Pets/cat/empty.jpg" in said


def test_thumbnails_of_the_system_are_no_images(tmp_path: Path) -> None:
    thumb = make.jpeg(seed=90)
    files = {f"Pets/{label}/@eaDir/0.jpg/SYNOPHOTO_THUMB_M.jpg": thumb for label in ("cat", "dog")}
    files |= {"Pets/$RECYCLE.BIN/S-1-5/1.jpg": thumb, "Pets/lost+found/1.jpg": thumb}
    folder = folder_of({**HONEST, **files}, tmp_path / "in")
    counts = run(folder, tmp_path / "out", source="folder")
    assert by_class(counts) == {"cat": 3, "dog": 3}
    assert counts["rejected_by_reason"] == {"hidden": 4}


def test_the_manifest_says_what_the_images_are(tmp_path: Path) -> None:
    files = {
        **HONEST,
        "Pets/dog/palette.jpg": make.encoded(make.noise().convert("P"), "PNG"),
        "Pets/dog/turned.jpg": make.turned(6),
        "Pets/dog/moving.png": make.animation("WEBP"),
    }
    run(make_zip(tmp_path / "a.zip", files), tmp_path / "out")
    images = read_images(tmp_path / "out" / "images.csv").set_index("path")
    palette, turned = images.loc["Pets/dog/palette.jpg"], images.loc["Pets/dog/turned.jpg"]
    assert palette["format"] == "png"
    assert (turned["width"], turned["height"]) == (30, 40)
    assert images.loc["Pets/dog/moving.png", "format"] == "webp"
    assert palette["image_id"] == hashlib.sha256(files["Pets/dog/palette.jpg"]).hexdigest()
    assert set(images["predefined_split"]) == {""}
    assert set(images["group"]) == {""}


def test_the_same_images_from_any_source_are_the_same_bytes(tmp_path: Path) -> None:
    run(make_zip(tmp_path / "a.zip"), tmp_path / "1")
    backwards = dict(reversed(list(HONEST.items())))
    run(make_tar(tmp_path / "a.tgz", backwards, "w:gz"), tmp_path / "2")
    run(folder_of(HONEST, tmp_path / "in"), tmp_path / "3", source="folder")
    assert everything(tmp_path / "1") == everything(tmp_path / "2") == everything(tmp_path / "3")


def test_predefined_splits_and_copies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = make.jpeg(seed=50)
    files = {
        "d/Training/Apple/1.jpg": make.jpeg(seed=1),
        "d/Training/Apple/2.jpg": same,
        "d/Training/Pear/1.jpg": make.jpeg(seed=2),
        "d/Test/Apple/1.jpg": same,
        "d/Test/Pear/2.jpg": make.jpeg(seed=3),
        "d/Test/Pear/3.jpg": make.jpeg(seed=1),
    }
    counts = run(make_zip(tmp_path / "a.zip", files), tmp_path / "out")
    assert counts["predefined_splits"] == {"train": 3, "test": 3}
    assert counts["duplicates"] == 2
    assert counts["label_conflicts"] == 1
    warned = capsys.readouterr().err
    assert "WARNING" in warned
    assert "d/Test/Pear/3.jpg  =  d/Training/Apple/1.jpg" in warned


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"cat/1.jpg": make.jpeg()}, "fewer than two classes"),
        ({"cat/1.jpg": make.jpeg(), "dog/1.jpg": b"no"}, "usable images of 1 class "),
        ({"train/1.jpg": make.jpeg(), "test/1.jpg": make.jpeg()}, "without class folders"),
    ],
)
@pytest.mark.parametrize("source", ["folder", "archive"])
def test_two_classes_are_needed(
    tmp_path: Path, files: dict[str, bytes], said: str, source: str
) -> None:
    location = (
        folder_of(files, tmp_path / "in")
        if source == "folder"
        else make_zip(tmp_path / "a.zip", files)
    )
    with pytest.raises(SourceError, match=said):
        run(location, tmp_path / "out", source=source)
    written = [path.name for path in (tmp_path / "out").rglob("*")]
    assert written == (["rejected.csv"] if "usable" in said else [])


def failure(location: Path, out: Path, **options: Any) -> tuple[str, Any]:
    """Return the message of a run that fails, and the rejected files that it wrote."""
    with pytest.raises(SourceError) as caught:
        run(location, out, **options)
    assert f"listed in {out / 'rejected.csv'}; nothing else was written" in str(caught.value)
    return str(caught.value), read_rejected(out / "rejected.csv")


STAND_INS = {
    b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n": "`git lfs pull`",
    b"/annex/objects/SHA256E-s1--00.jpg\n": "`git annex get .`",
    b"../.git/annex/objects/aa/bb/SHA256E-s1--00.jpg": "`git annex get .`",
    b"outs:\n- md5: 00\n  path: 1.jpg\n": "`dvc pull`",
    b"\n<!DOCTYPE html><html>": "web page",
}


@pytest.mark.parametrize("content", STAND_INS)
def test_a_stand_in_for_an_image_is_reported_with_the_remedy(
    tmp_path: Path, content: bytes
) -> None:
    files = {f"{label}/{number}.jpg": content for label in ("cat", "dog") for number in range(5)}
    said, rejected = failure(folder_of(files, tmp_path / "in"), tmp_path / "out", source="folder")
    assert said.count(STAND_INS[content]) == 3
    assert "… and 7 more" in said
    assert set(rejected["reason"]) == {"not_an_image"}
    assert len(rejected) == 10
    # Beside images, they are rejected for the same reason.
    folder_of(HONEST, tmp_path / "in" / "Pets" / "..")
    run(tmp_path / "in", tmp_path / "out", source="folder", root="Pets")


def test_the_folder_with_the_classes_is_named(tmp_path: Path) -> None:
    files = {f"Bilder/{name}": content for name, content in HONEST.items()}
    files["Notizen/a"] = files["Notizen/b/c"] = b"no image"
    folder = folder_of(files, tmp_path / "in")
    said, rejected = failure(folder, tmp_path / "out", source="folder")
    assert "usable images of 1 class (Bilder)" in said
    assert "Notizen/a: it begins with b'no image'" in said
    assert "(cat, dog) are the classes, set `download.root: Bilder/Pets`" in said
    assert len(rejected) == 2
    counts = run(folder, tmp_path / "out", source="folder", root="Bilder/Pets")
    assert by_class(counts) == {"cat": 3, "dog": 3}


def test_the_limits_are_named_where_they_are_the_reason(tmp_path: Path) -> None:
    said, _ = failure(make_zip(tmp_path / "a.zip"), tmp_path / "out", min_side=1000)
    assert "the shorter side must have 1000" in said
    assert "`min_side`" in said


def test_a_download_of_hugging_face_is_all_links(tmp_path: Path) -> None:
    # snapshots/REVISION/cat/1.jpg leads to blobs/HASH.
    folder = tmp_path / "datasets--some--pets"
    for number, (name, content) in enumerate(HONEST.items()):
        folder_of({f"blobs/{number}": content}, folder)
        link = folder / "snapshots" / "abc" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(folder / "blobs" / f"{number}")
    snapshot = folder / "snapshots" / "abc"
    said, rejected = failure(snapshot, tmp_path / "out", source="folder")
    assert "it is a link that leads out of `download.location`" in said
    assert set(rejected["reason"]) == {"link"}
    # The cure that it names.
    options = {"source": "folder", "root": "snapshots/abc/Pets"}
    counts = run(folder, tmp_path / "out", follow_links=True, **options)
    assert by_class(counts) == {"cat": 3, "dog": 3}
    assert counts["rejected_by_reason"] == {"no_class": 6}
    # Without it, the links say so.
    said, _ = failure(folder, tmp_path / "out", source="folder")
    assert "`download.follow_links: true` follows it" in said


def test_a_hostile_archive_leaves_everything_as_it_was(tmp_path: Path) -> None:
    run(make_zip(tmp_path / "a.zip"), tmp_path / "out")
    before = everything(tmp_path / "out")
    listed = sorted(path.name for path in tmp_path.rglob("*"))
    evil = make_tar(tmp_path / "a.zip", {**HONEST, "../../evil.jpg": make.jpeg()})
    with pytest.raises(UnsafeArchiveError):
        run(evil, tmp_path / "out")
    assert everything(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.rglob("*")) == listed


def test_a_failure_while_reading_leaves_everything_as_it_was(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tgz", mode="w:gz")
    run(path, tmp_path / "out")
    before = everything(tmp_path / "out")
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(HeadstartError):
        run(path, tmp_path / "out")
    assert everything(tmp_path / "out") == before
    assert not [p for p in (tmp_path / "out").iterdir() if p.name.endswith(".part")]


def test_a_full_disk_is_reported_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(HeadstartError, match=r"of which [01] KB is free"):
        run(make_zip(tmp_path / "a.zip"), tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*"))


def test_from_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    content = make_zip(tmp_path / "a.zip").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    with serving(lambda request: request.serve(content)) as (url, seen):
        for out in ("1", "2"):
            run(tmp_path, tmp_path / out, url=f"{url}/pets.zip", sha256=digest)
    assert len(seen) == 1
    assert everything(tmp_path / "1") == everything(tmp_path / "2")


def test_a_root_and_other_limits(tmp_path: Path) -> None:
    files = {**HONEST, "Other/x/1.jpg": make.jpeg(), "Other/y/1.jpg": make.jpeg(90, 90)}
    path = make_zip(tmp_path / "a.zip", files)
    counts = run(path, tmp_path / "1", root="Other")
    assert by_class(counts) == {"x": 1, "y": 1}
    assert counts["rejected_by_reason"] == {"no_class": 6}
    counts = run(path, tmp_path / "2", root="Pets", max_image_bytes=len(files["Pets/cat/0.jpg"]))
    assert counts["rejected_by_reason"]["no_class"] == 2
    assert counts["rejected_by_reason"]["too_large"] >= 1


def test_the_embedded_digits(tmp_path: Path) -> None:
    counts = run(tmp_path, tmp_path / "out", source="embedded")
    assert counts["kept"] == counts["files"] == 1797
    assert list(by_class(counts)) == list("0123456789")
    images = read_images(tmp_path / "out" / "images.csv")
    assert set(images["width"]) == set(images["height"]) == {8}


def test_the_command_line_needs_no_tensorflow() -> None:
    code = (
        "import sys, stages.download\n"
        "print([name for name in ('tensorflow', 'keras', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


# Tables


def labeled(folder: Path) -> Path:
    """Twelve images of four animals with a table that says which."""
    rows = ["file,kind,animal"]
    for number in range(12):
        path = folder / "images" / f"{number:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make.jpeg(seed=number))
        rows.append(f"images/{path.name},{'cat' if number % 4 < 2 else 'dog'},a{number % 4}")
    rows += ["images/broken.jpg,cat,a0", "images/99.jpg,cat,a0", ",cat,a0"]
    (folder / "images" / "broken.jpg").write_bytes(make.jpeg(400, 300)[:900])
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


TABLE = {
    "source": "table",
    "table": "labels.csv",
    "path_column": "file",
    "label_column": "kind",
    "group_column": "animal",
}


def test_from_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = run(labeled(tmp_path / "in"), tmp_path / "out", **TABLE)
    assert counts["files"] == 15
    assert by_class(counts) == {"cat": 6, "dog": 6}
    assert counts["rejected_by_reason"] == {"absent": 1, "bad_row": 1, "truncated": 1}
    aside = read_rejected(tmp_path / "out" / "rejected.csv").set_index("path")
    assert aside.loc["labels.csv:15", "detail"] == "row 15: it has no path"
    said = capsys.readouterr().out
    assert "Read 15 rows of labels.csv: 2 classes (cat, dog)" in said
    assert "bad_row (1)" in said
    before = everything(tmp_path / "out")
    run(tmp_path / "in", tmp_path / "out", **TABLE)
    assert everything(tmp_path / "out") == before


def test_images_of_one_group_share_a_split(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    rows = ["file,kind,animal"]
    for number in range(120):
        (folder / f"{number:03}.jpg").write_bytes(make.jpeg(seed=number))
        rows.append(f"{number:03}.jpg,{'cat' if number % 30 < 15 else 'dog'},a{number % 30}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    run(folder, tmp_path / "out", **TABLE)
    images = read_images(tmp_path / "out" / "images.csv")
    assert images["group"].nunique() == 30
    params = SplitParams(validation=0.2, test=0.2, predefined="keep", duplicates="together")
    divided = split(images, params, seed=42).manifest
    assert set(divided["split"]) == {"train", "validation", "test"}
    assert (divided.groupby("group")["split"].nunique() == 1).all()
    # Without the groups, frames of one animal would fall on both sides.
    alone = split(images.assign(group=""), params, seed=42).manifest
    assert (alone.groupby(images["group"])["split"].nunique() > 1).any()


def test_the_splits_that_the_user_names(tmp_path: Path) -> None:
    folders = [f"d/{part}/{kind}" for part in ("learn", "judge") for kind in ("cat", "bird")]
    files = {
        f"{folder}/{number}.jpg": make.jpeg(seed=10 * place + number)
        for place, folder in enumerate(folders)
        for number in range(2)
    }
    path = make_zip(tmp_path / "a.zip", files)
    counts = run(path, tmp_path / "1", splits={"learn": "train", "judge": "test"})
    assert counts["predefined_splits"] == {"train": 4, "test": 4}
    assert by_class(counts) == {"bird": 4, "cat": 4}
    assert by_class(run(path, tmp_path / "2", splits={})) == {"judge": 4, "learn": 4}
    with pytest.raises(SourceError, match="either may be the classes"):
        run(path, tmp_path / "4")
    with pytest.raises(SourceError, match=r"`download\.splits` names lern"):
        run(path, tmp_path / "3", splits={"lern": "train", "judge": "test"})


# Real images


@pytest.mark.shared
def test_cats_and_dogs(shared: Path, tmp_path: Path) -> None:
    archive = shared / "datasets" / "cats-dogs.zip"
    counts = run(archive, tmp_path / "1")
    assert (counts["files"], counts["kept"], counts["rejected"]) == (4004, 4000, 4)
    assert by_class(counts) == {"Cat": 2000, "Dog": 2000}
    aside = read_rejected(tmp_path / "1" / "rejected.csv")
    assert dict(zip(aside["path"], aside["reason"], strict=True)) == {
        "PetImages/Cat/666_.jpg": "empty",
        "PetImages/Cat/Thumbs.db": "not_an_image",
        "PetImages/Dog/11702.jpg": "truncated",
        "PetImages/Dog/Thumbs.db": "not_an_image",
    }
    run(archive, tmp_path / "2")
    assert everything(tmp_path / "1") == everything(tmp_path / "2")


@pytest.mark.shared
def test_alien_and_predator(shared: Path, tmp_path: Path) -> None:
    counts = run(shared / "datasets" / "alien-vs-predator.zip", tmp_path / "out")
    assert (counts["kept"], counts["rejected"]) == (894, 0)
    assert counts["predefined_splits"] == {"train": 694, "validation": 200}
    assert by_class(counts) == {"alien": 447, "predator": 447}
    images = read_images(tmp_path / "out" / "images.csv")
    mislabeled = images[images["path"].str.endswith(".jpg") & (images["format"] == "png")]
    assert len(mislabeled) == 5
    assert (images.groupby("image_id")["predefined_split"].nunique() > 1).sum() == 2


@pytest.mark.shared
def test_fruits(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = shared / "datasets" / "fruits360-10.zip"
    counts = run(archive, tmp_path / "1")
    assert set(counts["predefined_splits"]) == {"train", "test"}
    assert len(counts["classes"]) == 10
    assert counts["kept"] == sum(counts["predefined_splits"].values())
    assert "(Test as test, Training as train) over 10 classes" in capsys.readouterr().out
    swapped = run(archive, tmp_path / "2", splits={"Training": "test", "Test": "train"})
    assert swapped["predefined_splits"] == {
        "train": counts["predefined_splits"]["test"],
        "test": counts["predefined_splits"]["train"],
    }
    alone = run(archive, tmp_path / "3", root="fruits-360/Test")
    assert alone["kept"] == counts["predefined_splits"]["test"]
    assert alone["predefined_splits"] == {}
    assert alone["rejected_by_reason"]["no_class"] >= counts["predefined_splits"]["train"]


@pytest.mark.shared
def test_ten_more_images_change_at_most_ten_shards(shared: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared / "datasets" / "fruits360-10.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
        folder = folder_of({name: archive.read(name) for name in names[:-10]}, tmp_path / "in")
        run(folder, tmp_path / "1", source="folder")
        folder_of({name: archive.read(name) for name in names[-10:]}, folder)
    run(folder, tmp_path / "2", source="folder")
    before, after = everything(tmp_path / "1"), everything(tmp_path / "2")
    assert 1 <= sum(before[name] != after[name] for name in before if "/" in name) <= 10
