"""The whole service, by a real client over a real connection."""

from __future__ import annotations

import base64
import json
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from tests.images.made import encoded, png_header
from tests.serving import models
from tests.serving.process import PATIENCE, Running, client, running

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.shared(tmp_path_factory)


@pytest.fixture(scope="module")
def service(colors: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(colors, tmp_path_factory.mktemp("service"), "--name=colors") as running_service:
        yield running_service


@pytest.fixture
def http(service: Running) -> Iterator[httpx.Client]:
    with client(service) as opened:
        yield opened
        assert opened.get("/healthz").json() == {"status": "ok"}, service.log


def error(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    return str(answer.json()["error"])


def test_files_of_a_form_are_classified_in_order(http: httpx.Client) -> None:
    names = ["red", "blue", "green"]
    files = [("any", (f"{name}.png", models.colored(name))) for name in names]
    answer = http.post("/predict", files=files, params={"top": 2}).json()
    assert answer["model"] == "colors"
    assert [one["file"] for one in answer["results"]] == [f"{name}.png" for name in names]
    assert [one["label"] for one in answer["results"]] == names
    first = answer["results"][0]
    assert len(first["top"]) == 2
    assert first["top"][0] == {"label": "red", "probability": first["probability"]}


@pytest.mark.parametrize("kind", ["image/jpeg", "application/octet-stream"])
def test_a_bare_body_is_an_image(http: httpx.Client, kind: str) -> None:
    answer = http.post(
        "/predict", content=models.colored("blue", "JPEG"), headers={"content-type": kind}
    )
    assert answer.json()["results"][0]["label"] == "blue"


def test_a_threshold_makes_unsure(http: httpx.Client) -> None:
    answer = http.post("/predict", files={"f": models.colored("red")}, params={"threshold": 0.9999})
    assert answer.json()["results"][0]["label"] is None
    assert error(http.post("/predict", params={"top": "many"}), 422).startswith("Expected top")


def test_one_broken_file_spoils_no_other(http: httpx.Client) -> None:
    files = [("f", ("bad.png", b"no image")), ("f", ("red.png", models.colored("red")))]
    bad, good = http.post("/predict", files=files).json()["results"]
    assert bad["reason"] == "not_an_image"
    assert good["label"] == "red"


def post(service: Running, files: list[tuple[str, bytes]], answers: list[httpx.Response]) -> None:
    with client(service) as opened:
        answers.append(opened.post("/predict", files=files))


def rows(document: Mapping[str, object], http: httpx.Client) -> httpx.Response:
    return http.post("/v1/models/colors:predict", json=document)


def test_tensorflow_servings_form(http: httpx.Client) -> None:
    b64 = {"b64": base64.b64encode(models.colored("green")).decode()}
    by_row = rows({"instances": [b64, {"content": b64}]}, http).json()["predictions"]
    assert [row["label"] for row in by_row] == ["green", "green"]
    assert by_row[0]["classes"] == list(models.CLASSES)
    by_column = rows({"inputs": {"content": [b64]}}, http).json()["outputs"]
    assert by_column["label"] == ["green"]
    array = np.full((models.SIZE, models.SIZE, 3), models.COLORS["blue"], np.uint8).tolist()
    answer = rows({"signature_name": "pixels", "instances": [array]}, http).json()
    assert answer["predictions"][0]["label"] == "blue"
    versioned = http.post("/v1/models/colors/versions/1:predict", json={"instances": [b64]})
    assert versioned.json()["predictions"] == by_row[:1]
    assert "image 0: not_an_image" in error(rows({"instances": [{"b64": "AAAA"}]}, http), 400)
    assert "base64" in error(rows({"instances": ["text"]}, http), 400)


def test_the_model_is_described(http: httpx.Client) -> None:
    status = http.get("/v1/models/colors").json()["model_version_status"][0]
    assert (status["version"], status["state"]) == ("1", "AVAILABLE")
    assert http.get("/v1/models/colors/metadata").json()["model_spec"]["name"] == "colors"
    assert http.get("/model").json()["classes"] == list(models.CLASSES)
    assert "no model 'other'" in error(http.get("/v1/models/other"), 404)
    assert "no model 'other'" in error(http.post("/v1/models/other:predict", json={}), 404)


def test_a_missing_page_is_a_json_error(http: httpx.Client) -> None:
    error(http.get("/docs"), 404)
    error(http.get("/predict"), 405)


def test_a_body_of_200_megabytes_is_refused(http: httpx.Client) -> None:
    def body(megabytes: int = 200) -> Iterator[bytes]:
        for _ in range(megabytes):
            yield bytes(MEGABYTE)

    headers = {"content-type": "image/png"}
    told = http.post(
        "/predict", content=body(), headers={**headers, "content-length": str(200 * MEGABYTE)}
    )
    assert "200,000,000 bytes" in error(told, 413)
    untold = http.post("/predict", content=body(), headers=headers)
    assert "more than" in error(untold, 413)
    form = http.post("/predict", files={"f": bytes(40 * MEGABYTE)})
    assert "at most" in error(form, 413)
    assert "at most" in error(http.post("/v1/models/colors:predict", content=body(40)), 413)


def test_memory_stays_when_large_bodies_come(service: Running, http: httpx.Client) -> None:
    status = Path(f"/proc/{service.process.pid}/status")
    if not status.exists():
        pytest.skip("only Linux says how much memory a process has taken")
    with ThreadPoolExecutor(8) as pool:
        posts = [pool.submit(http.post, "/predict", files={"f": bytes(60 * MEGABYTE)})] * 8
        assert {post.result().status_code for post in posts} == {413}
    peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    assert int(peak.split()[1]) < 600_000  # kB


def test_a_file_that_is_not_an_image_is_refused(http: httpx.Client) -> None:
    page = b"<!doctype html><html><script>alert(1)</script></html>"
    for name, kind in (("x.html", "text/html"), ("x.png", "image/png")):
        assert "not_an_image" in error(http.post("/predict", files={"f": (name, page, kind)}), 415)
    headers = {"content-type": "text/html"}
    assert "multipart" in error(http.post("/predict", content=page, headers=headers), 415)


def bomb() -> bytes:
    """A PNG of less than a megabyte, whole and valid, that becomes gigabytes of pixels."""
    return encoded(Image.new("1", (30_000, 30_000)), "PNG", compress_level=1)


def test_bombs_and_enormous_images_are_refused_before_they_are_decoded(
    http: httpx.Client,
) -> None:
    packed = bomb()
    assert len(packed) < MEGABYTE
    for content in (packed, png_header(10_000, 10_000), png_header(8_000, 8_000)):
        answer = http.post("/predict", files={"f": ("x.png", content)})
        assert error(answer, 413).startswith("too_large")
        document = {"instances": [{"b64": base64.b64encode(content).decode()}]}
        assert "too_large" in error(rows(document, http), 400)


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "image/png", 422),
        (models.colored("red")[:200], "image/png", 422),
        (b"", "multipart/form-data", 400),
        (b"--x\r\n\r\n", "multipart/form-data; boundary=x", 400),
        (b"nonsense", "multipart/form-data; boundary=x", 400),
        (b"a=b", "application/x-www-form-urlencoded", 415),
        (b"{}", "application/json", 415),
    ],
)
def test_broken_requests_get_their_status(
    http: httpx.Client, content: bytes, kind: str, status: int
) -> None:
    error(http.post("/predict", content=content, headers={"content-type": kind}), status)


def test_a_form_without_a_file_and_with_too_many(http: httpx.Client) -> None:
    empty = http.post("/predict", files={"note": (None, "text")})
    assert "no file" in error(empty, 422)
    files = [("f", (f"{number}.png", b"x")) for number in range(65)]
    assert "more than 64" in error(http.post("/predict", files=files), 413)
    files += [("f", (f"{number}.png", b"x")) for number in range(65)]
    error(http.post("/predict", files=files), 400)


def test_many_clients_at_once_get_their_own_answers(service: Running) -> None:
    images = {name: models.colored(name, "JPEG", side=60) for name in models.COLORS}
    order = [list(models.COLORS)[number % 3] for number in range(240)]

    def ask(names: list[str]) -> list[str]:
        with client(service) as opened:
            answers = [opened.post("/predict", files={"f": images[name]}) for name in names]
        return [answer.json()["results"][0]["label"] for answer in answers]

    with ThreadPoolExecutor(16) as pool:
        parts = [order[number::16] for number in range(16)]
        assert list(pool.map(ask, parts)) == parts


def test_metrics_count_outcomes(http: httpx.Client) -> None:
    def counted() -> dict[tuple[str, str], float]:
        found = {}
        for family in text_string_to_metric_families(http.get("/metrics").text):
            for sample in family.samples:
                kinds = ("outcome", "status", "label", "le")
                label = next((sample.labels[kind] for kind in kinds if kind in sample.labels), "")
                route = sample.labels.get("route", "")
                found[sample.name, f"{route} {label}".strip()] = sample.value
        return found

    before = counted()
    http.post("/predict", files={"f": models.colored("red")})
    http.post("/predict", files={"f": b"x"})
    http.get("/no/such/route")
    after = counted()

    def more(name: str, label: str) -> float:
        return after[name, label] - before.get((name, label), 0)

    assert more("headstart_images_total", "classified") == 1
    assert more("headstart_images_total", "not_an_image") == 1
    assert more("headstart_predicted_total", "red") == 1
    assert more("headstart_confidence_count", "") == 1
    assert more("headstart_confidence_bucket", "1.0") == 1
    assert more("headstart_brightness_count", "") == 1
    assert more("headstart_brightness_bucket", "0.1") == 0
    assert more("headstart_brightness_bucket", "0.9") == 1
    assert more("headstart_requests_total", "/predict 200") == 1
    assert more("headstart_requests_total", "/predict 415") == 1
    assert more("headstart_requests_total", "none 404") == 1
    assert after["headstart_images_held", ""] == 0
    assert not any("no/such" in label for _, label in after)


@pytest.mark.parametrize(
    "how", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_full_service_refuses_and_a_stopped_one_finishes_its_requests(
    colors: Path, tmp_path: Path, how: signal.Signals
) -> None:
    # A batch that waits for more than there is room for: a while in which the service is full.
    options = ["--max-waiting=2", "--max-images=2", "--max-batch=4", "--max-wait=6"]
    with running(colors, tmp_path, *options) as service:
        answers: list[httpx.Response] = []
        files = [("f", models.colored("red"))] * 2
        asking = threading.Thread(target=post, args=(service, files, answers))
        asking.start()
        with client(service) as opened:
            while "headstart_images_held 2.0" not in opened.get("/metrics").text:
                assert asking.is_alive()
            refused = opened.post("/predict", files=files[:1])
        assert service.stop(how) == 0
        asking.join(PATIENCE)
        assert "Try again" in error(refused, 503)
        assert refused.headers["retry-after"] == "1"
        assert [one["label"] for one in answers[0].json()["results"]] == ["red", "red"]
        assert "Traceback" not in service.log


def test_names_and_pages_of_others_are_kept_out(http: httpx.Client) -> None:
    evil = {"host": "evil.example"}
    assert "evil.example" in error(http.get("/healthz", headers=evil), 421)
    foreign = {"origin": "http://evil.example"}
    files = {"f": models.colored("red")}
    assert "evil.example" in error(http.post("/predict", headers=foreign, files=files), 403)
    assert "access-control-allow-origin" not in http.options("/predict", headers=foreign).headers


@pytest.mark.slow
def test_a_page_that_is_allowed_gets_its_answer(colors: Path, tmp_path: Path) -> None:
    page = "https://pages.example"
    with running(colors, tmp_path, f"--allow-origin={page}") as service, client(service) as opened:
        asks = {"origin": page, "access-control-request-method": "POST"}
        allowed = opened.options("/predict", headers=asks).headers
        assert allowed["access-control-allow-origin"] == page
        files = {"f": models.colored("red")}
        answer = opened.post("/predict", headers={"origin": page}, files=files)
        assert answer.headers["access-control-allow-origin"] == page
        assert answer.json()["results"][0]["label"] == "red"


def test_a_bad_request_line_ends_one_connection_and_nothing_else(
    service: Running, http: httpx.Client
) -> None:
    where = urlsplit(service.address)
    with socket.create_connection((where.hostname or "", where.port or 0), PATIENCE) as raw:
        raw.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 400")


def test_json_is_bounded_in_depth(http: httpx.Client) -> None:
    deep = b'{"instances": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    assert "not JSON" in error(http.post("/v1/models/colors:predict", content=deep), 400)
    assert json.loads(http.get("/healthz").text)


@pytest.mark.parametrize(
    ("charset", "name", "status"),
    [("utf-7", b"+2AA-", 415), ("undefined", b"\xe9", 400), ("no-such", b"\xe9", 415)],
)
def test_a_client_may_not_choose_an_encoding_that_breaks_the_answer(
    http: httpx.Client, charset: str, name: bytes, status: int
) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="f"; filename="' + name + b'"\r\n\r\n'
    kind = f"multipart/form-data; charset={charset}; boundary=x"
    body = head + b"no image\r\n--x--\r\n"
    error(http.post("/predict", content=body, headers={"content-type": kind}), status)
