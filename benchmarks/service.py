"""`headstart serve-model` under many clients at once, and under what it must refuse.

    python -m benchmarks.service --model data/export --images FOLDER

The service is a process of its own, the clients are threads of this one: both share the machine's
cores. Every client keeps one connection and sends whole files, one after the other.
"""

from __future__ import annotations

import http.client
import io
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image

from benchmarks.checkout import ROOT, parser

_PATIENCE = 60.0


def main() -> None:
    """Start the service, ask it, print, stop it."""
    built = parser(__doc__)
    built.add_argument("--model", type=Path, default=Path("data/export"))
    built.add_argument("--images", type=Path, required=True, help="folder of JPEG files")
    built.add_argument("--requests", type=int, default=1000)
    built.add_argument("--clients", type=int, default=16)
    built.add_argument("options", nargs="*", help="after --: further options of serve-model")
    options = built.parse_args()
    files = sorted(p for p in options.images.rglob("*") if p.suffix in {".jpg", ".png"})
    contents = [files[place % len(files)].read_bytes() for place in range(options.requests)]
    command = [
        sys.executable, "-m", "headstart", "serve-model", f"--model={options.model.resolve()}",
        "--port=0", *options.options,
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("w") as stream:
            process = subprocess.Popen(command, cwd=ROOT, stderr=stream)
        try:
            where = address(process, log)
            load(where, contents, options.clients)
            refusals(where)
            load(where, contents[: options.clients], options.clients)
        finally:
            process.terminate()
            code = process.wait(_PATIENCE)
        print(f"The service ended with {code}.")


def address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Where the service listens, once it does."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and process.poll() is None:
        if found := re.search(r"Serving at http://(\S+) ", log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise RuntimeError(log.read_text())


def load(where: str, contents: list[bytes], clients: int) -> None:
    """Send everything by so many clients at once, and print how long answers took."""
    place = urlsplit(f"//{where}")

    def client(part: list[bytes]) -> tuple[list[float], list[int]]:
        seconds, statuses = [], []
        connection = http.client.HTTPConnection(place.hostname or "", place.port, _PATIENCE)
        for content in part:
            start = time.perf_counter()
            connection.request("POST", "/predict", content, {"Content-Type": "image/jpeg"})
            answer = connection.getresponse()
            body = answer.read()
            seconds.append(time.perf_counter() - start)
            statuses.append(answer.status if "label" in json.loads(body)["results"][0] else 0)
        connection.close()
        return seconds, statuses

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        parts = list(pool.map(client, (contents[number::clients] for number in range(clients))))
    whole = time.perf_counter() - start
    seconds = [one for part, _ in parts for one in part]
    failed = sum(status != 200 for _, part in parts for status in part)
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    print(
        f"{len(seconds):,} requests by {clients} clients: {failed} failed, "
        f"{len(seconds) / whole:,.0f} a second, p50 {1000 * cuts[49]:.0f} ms, "
        f"p99 {1000 * cuts[98]:.0f} ms, longest {1000 * max(seconds):.0f} ms"
    )


def refusals(where: str) -> None:
    """Send what must be refused, and print the answers."""
    bomb = io.BytesIO()
    Image.new("1", (60_000, 60_000)).save(bomb, "PNG")
    large = io.BytesIO()
    Image.new("L", (10_000, 10_000)).save(large, "PNG")
    for name, content in {
        "200 MB": bytes(200_000_000),
        "an HTML file": b"<!doctype html><title>x</title>",
        f"a PNG of {len(bomb.getvalue()):,} bytes with 60,000 × 60,000 pixels": bomb.getvalue(),
        f"a PNG of {len(large.getvalue()):,} bytes with 10,000 × 10,000 pixels": large.getvalue(),
    }.items():
        place = urlsplit(f"//{where}")
        connection = http.client.HTTPConnection(place.hostname or "", place.port, _PATIENCE)
        start = time.perf_counter()
        connection.request("POST", "/predict", content, {"Content-Type": "image/png"})
        answer = connection.getresponse()
        said = json.loads(answer.read())["error"]
        took = time.perf_counter() - start
        print(f"{name}: {answer.status} in {1000 * took:.0f} ms: {said[:90]}")
        connection.close()


if __name__ == "__main__":
    main()
