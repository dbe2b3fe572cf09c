"""What is shown of a run: which tables and images, and what it costs when nobody listens."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from headstart.pipeline.graph import Stage
from headstart.runs import artifacts
from headstart.runs.artifacts import Board
from headstart.runs.progress import Progress

PNG = b"\x89PNG\r\n\x1a\n and pixels"


def stage(**written: tuple[str, ...]) -> Stage:
    fields: dict[str, Any] = dict.fromkeys(
        ("cmd", "deps", "outs", "metrics", "plots", "params", "parents"), ()
    )
    return Stage(**{"name": "evaluate@all", "desc": "", "meta": {}, **fields, **written})


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []

    def take(kind: str) -> Any:
        def publish(*values: Any, **named: Any) -> str:
            found.append((kind, {"values": values, **named}))
            return "id"

        return publish

    for kind in ("create_image", "create_table", "create_progress", "update_progress"):
        monkeypatch.setattr(artifacts, f"{kind}_artifact", take(kind))
    return found


def test_tables_of_a_document(tmp_path: Path) -> None:
    document = {
        "accuracy": 0.5,
        "model": {"loss": float("nan"), "per_class": [{"label": "a", "f1": 1}]},
        "stages": {"one": {"seconds": 1}, "two": {"seconds": 2}},
        "classes": ["a", "b"],
        "odd": [{"a": 1}, {"b": 2}],
        "none": [],
    }
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(document))
    assert list(artifacts.tables(path)) == [
        (
            (),
            [
                {"name": "accuracy", "value": 0.5},
                {"name": "model.loss", "value": "nan"},
                {"name": "classes", "value": "a, b"},
            ],
        ),
        (("model", "per_class"), [{"label": "a", "f1": 1}]),
        (("stages",), [{"name": "one", "seconds": 1}, {"name": "two", "seconds": 2}]),
    ]


@pytest.mark.parametrize("content", ["", "[1]", "no json", "{}", "1"])
def test_what_is_no_table_is_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(content)
    assert list(artifacts.tables(path)) == []
    assert list(artifacts.tables(tmp_path / "absent.json")) == []


def test_images_are_found_among_what_is_written(tmp_path: Path) -> None:
    for name in ("one.png", "figures/b.png", "figures/a.png", "figures/deep/c.png", "other.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(PNG)
    (tmp_path / "figures/link.png").symlink_to("/etc/passwd")
    many = tmp_path / "many"
    many.mkdir()
    for number in range(100):
        (many / f"{number}.png").touch()
    found = artifacts.images(
        tmp_path, stage(outs=("figures", "many", "absent"), plots=("one.png", "other.txt"))
    )
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "figures/a.png", "figures/b.png", "one.png",
    ]  # fmt: skip


def test_keys_are_what_prefect_takes() -> None:
    assert artifacts.key("Evaluate@all / per_class") == "evaluate-all-per-class"
    assert artifacts.key("…") == "artifact"


def test_a_stage_is_shown_within_bounds(
    tmp_path: Path, published: list[tuple[str, dict[str, Any]]]
) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps({"rows": [{"a": 1}] * 1_000}))
    (tmp_path / "good.png").write_bytes(PNG)
    (tmp_path / "large.png").write_bytes(PNG + bytes(2_000_000))
    (tmp_path / "fake.png").write_bytes(b"<script>")
    board = Board(pytest.fail)
    plots = ("good.png", "large.png", "fake.png")
    board.stage(tmp_path, stage(metrics=("metrics.json",), plots=plots))
    board.close(30)
    kinds = [(kind, named["key"]) for kind, named in published]
    assert kinds == [
        ("create_table", "evaluate-all-rows"),
        ("create_image", "evaluate-all-good"),
        ("create_table", "evaluate-all-large"),
    ]
    assert len(published[0][1]["values"][0]) == 500
    assert "the first 500 of 1,000 rows" in published[0][1]["description"]
    assert published[1][1]["values"][0].startswith("data:image/png;base64,")
    assert "too large" in published[2][1]["description"]


def test_progress_that_is_late_is_left_out(published: list[tuple[str, dict[str, Any]]]) -> None:
    board = Board(pytest.fail)
    busy = threading.Event()
    board._do(lambda: busy.wait(30))  # the server takes its time
    show = board.progress("train@a")
    for percent in range(100):
        show(Progress(percent, "Epoch 1 of 2"))
    busy.set()
    board.close(30)
    assert [kind for kind, _ in published] == ["create_progress"]
    assert published[0][1]["values"] == (99,)
    assert published[0][1]["key"] == "train-a-progress"


def test_a_server_that_is_gone_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    warned: list[str] = []

    def refuse(*_: object, **__: object) -> None:
        calls.append(1)
        raise httpx.ConnectError("nobody there")

    monkeypatch.setattr(artifacts, "create_table_artifact", refuse)
    board = Board(warned.append)
    for number in range(5):
        board.table(f"table {number}", [{"a": 1}], "a table")
    board.close(30)
    assert len(calls) == len(warned) == 1
    assert "nobody there" in warned[0]
    assert "The stages continue" in warned[0]


def test_what_is_refused_does_not_stand_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []
    names: list[str] = []

    def choose(*_: object, key: str, **__: object) -> None:
        if key == "bad":
            raise ValueError("no such table")
        names.append(key)

    monkeypatch.setattr(artifacts, "create_table_artifact", choose)
    board = Board(warned.append)
    board.table("bad", [{"a": 1}], "")
    board.table("good", [{"a": 1}], "")
    board.close(30)
    assert names == ["good"]
    assert len(warned) == 1


def test_closing_does_not_wait_for_ever_and_may_have_nothing_to_do() -> None:
    Board(pytest.fail).close(0.1)
    never = threading.Event()
    board = Board(pytest.fail)
    board._do(lambda: never.wait(60))
    board.close(0.1)
    never.set()
