"""`headstart serve-model` under many clients at once, and under what it must refuse.

    python -m benchmarks.service --model data/export --images FOLDER

The service is a separate process, the clients are threads of this one: both share the machine's
cores. Every client keeps one connection and sends whole files, one after the other: alone and while
slow clients, a third process, hold connections, in turn.
"""

from __future__ import annotations

import io
import re
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import httpx
import psutil
import typer
from PIL import Image

from benchmarks.checkout import ROOT, start
from benchmarks.slow_clients import slow_clients

_PATIENCE = 60.0


def main(
    images: Annotated[Path, typer.Option(help="folder of JPEG and PNG files")],
    model: Path = Path("data/export"),
    requests: int = 1000,
    clients: int = 16,
    held: Annotated[int, typer.Option(help="connections with slow headers")] = 1000,
    turns: Annotated[
        int, typer.Option(help="measurements with slow clients, each between two")
    ] = 1,
    options: Annotated[list[str] | None, typer.Argument(help="-- options of serve-model")] = None,
) -> None:
    """Start the service, ask it, print, stop it."""
    files = sorted(p for p in images.rglob("*") if p.suffix in {".jpg", ".png"})
    contents = [files[place % len(files)].read_bytes() for place in range(requests)]
    command = [
        sys.executable, "-m", "headstart", "serve-model", f"--model={model.resolve()}",
        "--port=0", *(options or []),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("w") as stream:
            process = subprocess.Popen(command, cwd=ROOT, stderr=stream)
        try:
            url = address(process, log)
            alone, beside = [load(url, contents, clients)], []
            for _ in range(turns):
                with slow_clients(url, held) as rounds:
                    beside.append(load(url, contents, clients))
                print(f"  while {held:,} slow connections were held, at least {min(rounds):,}")
                alone.append(load(url, contents, clients))
            ratio = statistics.median(beside) / statistics.median(alone)
            print(f"p99 beside slow connections: {ratio:.2f} of that without them (medians)")
            refusals(url)
            load(url, contents[:clients], clients)
            resident = psutil.Process(process.pid).memory_info().rss
            print(f"Resident at the end: {resident / 1e6:,.0f} MB")
        finally:
            process.terminate()
            code = process.wait(_PATIENCE)
        written = log.read_bytes()
        lines = written.count(b"\n")
        print(f"The service ended with {code} and logged {lines:,} lines, {len(written):,} bytes.")


def address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Return the service's URL for predictions, once it listens."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and process.poll() is None:
        if found := re.search(r"Serving at (http://\S+) ", log.read_text()):
            return f"{found[1]}/predict"
        time.sleep(0.05)
    raise RuntimeError(log.read_text())


def load(url: str, contents: list[bytes], clients: int) -> float:
    """Send everything by so many clients at once, print how long answers took, return the p99."""

    def client(part: list[bytes]) -> tuple[list[float], list[int]]:
        seconds, statuses = [], []
        with httpx.Client(timeout=_PATIENCE) as connection:
            for content in part:
                begun = time.perf_counter()
                answer = connection.post(
                    url, content=content, headers={"Content-Type": "image/jpeg"}
                )
                seconds.append(time.perf_counter() - begun)
                statuses.append(answer.status_code if "label" in answer.json()["results"][0] else 0)
        return seconds, statuses

    begun = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        parts = list(pool.map(client, (contents[number::clients] for number in range(clients))))
    whole = time.perf_counter() - begun
    seconds = [one for part, _ in parts for one in part]
    failed = sum(status != 200 for _, part in parts for status in part)
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    print(
        f"{len(seconds):,} requests by {clients} clients: {failed} failed, "
        f"{len(seconds) / whole:,.0f} a second, p50 {1000 * cuts[49]:.0f} ms, "
        f"p99 {1000 * cuts[98]:.0f} ms, longest {1000 * max(seconds):.0f} ms"
    )
    return cuts[98]


def refusals(url: str) -> None:
    """Send what must be refused, and print the answers."""
    contents = {"200 MB": bytes(200_000_000), "an HTML file": b"<!doctype html><title>x</title>"}
    for mode, side in (("1", 60_000), ("L", 10_000)):
        stream = io.BytesIO()
        Image.new(mode, (side, side)).save(stream, "PNG")
        content = stream.getvalue()
        contents[f"a PNG of {len(content):,} bytes with {side:,} × {side:,} pixels"] = content
    for name, content in contents.items():
        begun = time.perf_counter()
        answer = httpx.post(
            url, content=content, headers={"Content-Type": "image/png"}, timeout=_PATIENCE
        )
        took = time.perf_counter() - begun
        print(
            f"{name}: {answer.status_code} in {1000 * took:.0f} ms: {answer.json()['error'][:90]}"
        )


if __name__ == "__main__":
    start(main, __doc__)
