"""The requests of a review, and what they write."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from PIL import Image

from headstart.datasets.corrected import correct
from headstart.datasets.corrections import (
    Correction,
    contradictions,
    read_corrections,
    write_corrections,
)
from headstart.datasets.manifests import read_images
from headstart.review.app import build
from tests.review import made
from tests.review.made import EVIL


class Client:
    """Requests to a review in this process."""

    def __init__(self, folder: Path) -> None:
        self.app = build(made.review(folder))

    def get(self, path: str) -> httpx.Response:
        return self.ask("GET", path)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self.ask("POST", path, **more)

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1"
            ) as client:
                return await client.request(method, path, **more)

        return asyncio.run(asked())


class Reviewed:
    """A review that is being served to a client, and its file."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.table = folder, made.make(folder)
        self.file = folder / "data/corrections.csv"
        self.client = Client(folder)

    def queue(self, name: str) -> list[dict[str, Any]]:
        found = self.client.get("/findings").json()["queues"]
        items: list[dict[str, Any]] = next(q["items"] for q in found if q["name"] == name)
        return items

    def decide(self, place: str, action: str, image: int, value: str = "", **more: Any) -> Any:
        body = {"place": place, "action": action, "image": self.table["image_id"][image]}
        return self.client.post("/decide", json={**body, "value": value, **more})

    def rows(self) -> list[tuple[str, str, str]]:
        return [(row.image_id, row.action, row.value) for row in read_corrections(self.file)]

    def again(self) -> None:
        """Start again on the same files."""
        self.client = Client(self.folder)


@pytest.fixture
def reviewed(tmp_path: Path) -> Reviewed:
    return Reviewed(tmp_path)


def test_findings_are_listed_the_most_doubtful_first(reviewed: Reviewed) -> None:
    found = reviewed.client.get("/findings").json()
    assert [(queue["name"], queue["open"]) for queue in found["queues"]] == [
        ("duplicates", 2), ("label_issues", 2), ("mistakes", 2), ("rejected", 1),
    ]  # fmt: skip
    assert found["classes"] == sorted(made.LABELS)
    assert reviewed.queue("duplicates")[0]["about"].endswith("similarity 0.91")
    assert [each["images"][0]["path"] for each in reviewed.queue("mistakes")] == [
        "bee/03.jpg", "bee/07.jpg",
    ]  # fmt: skip
    assert "better than they are" in found["queues"][2]["warning"]
    assert reviewed.queue("rejected")[0]["about"] == "truncated: it ends too early"


def test_files_that_do_not_exist_are_left_out(reviewed: Reviewed) -> None:
    for path in ("audit/duplicates.csv", "audit/label_issues.csv", "reports/predictions.csv",
                 "manifests/split.csv"):  # fmt: skip
        (reviewed.folder / "data" / path).unlink()
    reviewed.again()
    assert [queue["name"] for queue in reviewed.client.get("/findings").json()["queues"]] == [
        "rejected"
    ]


def test_a_decision_is_a_line_and_is_not_asked_for_again(reviewed: Reviewed) -> None:
    pair, other = reviewed.queue("duplicates")
    one, two = sorted(reviewed.table["image_id"][:2])
    assert reviewed.decide(pair["place"], "same_object", 0).json()["item"]["decision"]
    issue = reviewed.queue("label_issues")[0]
    answer = reviewed.decide(issue["place"], "relabel", 2, issue["suggested"]).json()["item"]
    assert answer["images"][0]["corrected"] == "bee"
    assert reviewed.decide(other["place"], "remove", 4).status_code == 200
    ids = reviewed.table["image_id"]
    assert set(reviewed.rows()) == {
        (one, "same_object", two), (ids[2], "relabel", "bee"), (ids[4], "remove", ""),
    }  # fmt: skip
    reviewed.again()
    assert reviewed.queue("duplicates") == []
    assert len(reviewed.queue("label_issues")) == 1


def test_another_decision_replaces_the_first_and_undo_brings_it_back(reviewed: Reviewed) -> None:
    place = reviewed.queue("label_issues")[0]["place"]
    image = reviewed.table["image_id"][2]
    empty = reviewed.file.read_bytes()
    reviewed.decide(place, "keep", 2)
    reviewed.decide(place, "remove", 2)
    assert reviewed.rows() == [(image, "remove", "")]
    assert reviewed.client.post("/undo", json={}).json()["item"]["decision"] == "keep"
    assert reviewed.rows() == [(image, "keep", "")]
    assert reviewed.client.post("/undo", json={}).json()["item"]["decision"] == ""
    assert reviewed.file.read_bytes() == empty
    assert reviewed.client.post("/undo", json={}).status_code == 409


def test_a_pair_whose_labels_agree_after_a_relabel_is_decided(reviewed: Reviewed) -> None:
    place = reviewed.queue("duplicates")[0]["place"]
    assert reviewed.decide(place, "relabel", 0, "bee").json()["item"]["decision"] == "relabel"
    assert len(reviewed.queue("duplicates")) == 1


def test_lines_of_others_are_kept(reviewed: Reviewed) -> None:
    other = Correction(reviewed.table["image_id"][9], "remove", "", "by hand")
    place = reviewed.queue("label_issues")[0]["place"]
    reviewed.decide(place, "keep", 2)
    write_corrections(reviewed.file, [*read_corrections(reviewed.file), other])
    reviewed.decide(reviewed.queue("mistakes")[0]["place"], "keep", 3)
    reviewed.client.post("/undo", json={})
    reviewed.client.post("/undo", json={})
    assert reviewed.rows() == [(other.image_id, "remove", "")]
    assert read_corrections(reviewed.file)[0].note == "by hand"


def test_a_new_class_has_to_be_allowed(reviewed: Reviewed) -> None:
    place = reviewed.queue("label_issues")[0]["place"]
    refused = reviewed.decide(place, "relabel", 2, "wasp")
    assert refused.status_code == 409
    assert refused.json()["error"] == "There is no class 'wasp' yet."
    assert reviewed.rows() == []
    assert "wasp" in reviewed.decide(place, "relabel", 2, "wasp", new=True).json()["classes"]
    images = read_images(reviewed.folder / "data/manifests/images.csv")
    assert "wasp" in set(correct(images, read_corrections(reviewed.file)).images["label"])
    reviewed.client.post("/undo", json={})
    assert reviewed.rows() == []


def test_what_a_review_writes_is_applied(reviewed: Reviewed) -> None:
    issue = reviewed.queue("label_issues")[0]
    reviewed.decide(reviewed.queue("mistakes")[0]["place"], "relabel", 3, EVIL)
    reviewed.decide(issue["place"], "remove", 2)
    rows = read_corrections(reviewed.file)
    assert contradictions(rows) == []
    found = correct(read_images(reviewed.folder / "data/manifests/images.csv"), rows)
    assert isinstance(found.changed, pd.DataFrame)
    assert found.changed[["action", "corrected", "note"]].to_numpy().tolist() == [
        ["relabel", EVIL, "mistake on the test split"],
        ["remove", "", "label issue (wrong label)"],
    ]


@pytest.mark.parametrize(
    ("place", "action", "image", "value", "status"),
    [
        ("label_issues/none", "keep", 2, "", 404),
        ("label_issues/{2}", "destroy", 2, "", 422),
        ("label_issues/{2}", "keep", 3, "", 409),
        ("label_issues/{2}", "same_object", 2, "", 409),
        ("label_issues/{2}", "relabel", 2, " ", 409),
        ("label_issues/{2}", "relabel", 2, "a\nb", 409),
        ("rejected/bee/broken.jpg", "remove", 2, "", 409),
    ],
)
def test_what_does_not_fit_is_refused_and_writes_nothing(
    reviewed: Reviewed, place: str, action: str, image: int, value: str, status: int
) -> None:
    before = reviewed.file.read_bytes()
    place = place.replace("{2}", reviewed.table["image_id"][2])
    assert reviewed.decide(place, action, image, value, new=True).status_code == status
    assert reviewed.file.read_bytes() == before


def test_a_file_that_was_broken_meanwhile_is_not_overwritten(reviewed: Reviewed) -> None:
    place = reviewed.queue("label_issues")[0]["place"]
    reviewed.file.write_text("mine")
    answer = reviewed.decide(place, "keep", 2)
    assert answer.status_code == 409
    assert "the first line must be" in answer.json()["error"]
    assert reviewed.file.read_text() == "mine"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"content-type": "text/plain"}, 415),
    ],
)
def test_pages_of_other_origins_cannot_decide(
    reviewed: Reviewed, headers: dict[str, str], status: int
) -> None:
    answer = reviewed.client.post(
        "/undo", content="{}", headers={"content-type": "application/json", **headers}
    )
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("body", "status"), [(b"[]", 400), (b"{", 400), (b"[" * 9000, 400), (b" " * 20_000, 413)]
)
def test_bodies_are_bounded_and_checked(reviewed: Reviewed, body: bytes, status: int) -> None:
    headers = {"content-type": "application/json"}
    assert reviewed.client.post("/decide", content=body, headers=headers).status_code == status


def test_images_are_thumbnails_from_the_shards(reviewed: Reviewed) -> None:
    answer = reviewed.client.get(f"/images/{reviewed.table['image_id'][0]}")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert Image.open(io.BytesIO(answer.content)).size == (90, 60)
    assert reviewed.client.get(f"/images/{'0' * 64}").status_code == 404
    assert reviewed.client.get("/rejected?path=../../etc/passwd").status_code == 404
