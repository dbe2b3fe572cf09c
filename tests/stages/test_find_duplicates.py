from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from headstart._utils.errors import CorruptFileError
from headstart._utils.files import read_json
from headstart.audit.parameters import FindDuplicatesParams
from headstart.datasets.duplicates import read_groups, read_pairs
from headstart.datasets.manifests import IMAGES, frame, write_images
from headstart.datasets.shards import ShardWriter
from headstart.stage.run_statistics import RunStatistics
from stages.find_duplicates import main
from tests.audit.made import encoded, photograph

ON = FindDuplicatesParams(enabled=True, similarity=0.9)
RUNTIME = Path("runtime.txt")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Shards and a manifest: 12 photographs, two copies, one image that is too small."""
    images = {f"{'ab'[n % 2]}/{n:02}.jpg": (photograph(n), "train") for n in range(12)}
    images["a/copy.jpg"] = (photograph(0).resize((80, 60)), "test")
    images["b/=mirror.jpg"] = (photograph(2).transpose(Image.Transpose.FLIP_LEFT_RIGHT), "train")
    images["a/tiny.jpg"] = (photograph(0).resize((20, 16)), "train")
    folder = tmp_path / "images"
    folder.mkdir()
    with ShardWriter(folder) as writer:
        ids = {path: writer.add(encoded(image), "jpg") for path, (image, _) in images.items()}
        places = writer.finish()
    rows = [
        {
            "image_id": ids[path],
            "path": path,
            "label": path[0],
            "predefined_split": split,
            "width": image.width,
            "height": image.height,
            "format": "jpeg",
            "bytes": places[ids[path]].length,
            "group": "",
            "shard": places[ids[path]].shard,
            "offset": places[ids[path]].offset,
        }
        for path, (image, split) in images.items()
    ]
    write_images(tmp_path / "images.csv", frame(rows, IMAGES))
    return tmp_path


def run(project: Path, params: FindDuplicatesParams = ON) -> None:
    main(
        project / "images",
        project / "images.csv",
        RUNTIME,
        project / "duplicates.csv",
        project / "groups.csv",
        project / "metrics.json",
        params,
        RunStatistics(project, "find_duplicates"),
    )


def test_pairs_groups_and_counts_are_written(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(project)
    pairs, groups = read_pairs(project / "duplicates.csv"), read_groups(project / "groups.csv")
    found = {
        frozenset((row.path, row.other_path)): (row.kind, row.conflict, row.leak)
        for row in pairs.itertuples()
    }
    assert found == {
        frozenset(("a/00.jpg", "a/copy.jpg")): ("same", 0, 1),
        frozenset(("a/02.jpg", "b/=mirror.jpg")): ("mirrored", 1, 0),
    }
    assert len(groups) == 4
    assert set(groups.values()) == set(pairs["group"])
    metrics = read_json(project / "metrics.json")
    assert metrics.pop("by_kind")["mirrored"] == 1
    assert metrics == {
        "images_compared": 14,
        "images_too_small": 1,
        "pairs": 2,
        "groups": 2,
        "images_in_groups": 4,
        "pairs_across_classes": 1,
        "pairs_across_predefined_splits": 1,
    }
    said = capsys.readouterr().out
    assert "14 images compared, 0 forward passes: 2 pairs" in said
    assert "Pairs across predefined splits: 1" in said
    assert "too small to compare" in said


def test_two_runs_write_the_same_bytes(project: Path) -> None:
    run(project)
    first = (project / "duplicates.csv").read_bytes()
    run(project)
    assert (project / "duplicates.csv").read_bytes() == first


def test_switched_off_it_reads_no_image_and_finds_nothing(project: Path) -> None:
    for shard in (project / "images").iterdir():
        shard.unlink()
    run(project, FindDuplicatesParams(enabled=False, similarity=0.9))
    assert read_groups(project / "groups.csv") == {}
    assert read_pairs(project / "duplicates.csv").empty


def test_a_damaged_table_of_groups_is_refused(project: Path) -> None:
    run(project)
    path = project / "groups.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    with pytest.raises(CorruptFileError, match=r"in two rows.*--force find_duplicates"):
        read_groups(path)
