"""Install Headstart into .venv: ``python3 -m tools.install [--dev]``. Standard library only.

The packages come from the hashed locks. uv installs them, itself pinned and hashed in
requirements-dev.lock; where it fails, pip does.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tools.preflight import DEV, ROOT, RUN, check, megabytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
#: By whether the tools for development are wanted: the lock, and the file that marks it installed.
LOCKS = {False: "requirements.lock", True: "requirements-dev.lock"}
STAMPS = {False: ".locked", True: ".locked-dev"}
_HEARTBEAT = 5  # seconds
_BARE = ["--no-deps", "--require-hashes"]


def main(words: Sequence[str]) -> None:
    """Check the machine, then install."""
    if [word for word in words if word != "--dev"]:
        sys.exit("Usage: python3 -m tools.install [--dev]")
    dev = "--dev" in words
    size = DEV if dev else RUN
    check(size)
    start = time.monotonic()
    _say(
        f"Installing {size.packages} packages into .venv: about {size.download_mb:,} MB to "
        f"download, {size.disk_mb:,} MB on disk, {size.minutes} minutes."
    )
    if not dev:
        _say("(`make dev` adds the tests, browser, Kaggle, TFDS, Parquet and ONNX.)")
    if not PYTHON.exists():
        _step("1/4", "Making .venv", [sys.executable, "-m", "venv", str(VENV)])
    uv = _fetch_uv()
    _packages(ROOT / LOCKS[dev], uv=uv)
    _step("4/4", "Adding headstart itself", [*_pip(), "--no-deps", "--no-build-isolation", "-q",
                                              "--editable", str(ROOT)])  # fmt: skip
    for each in {False, dev}:
        (VENV / STAMPS[each]).touch()
    _say(f"Installed in {time.monotonic() - start:.0f} s: {megabytes(VENV):,} MB in .venv.")


def _pip() -> list[str]:
    return [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check"]


def _fetch_uv() -> bool:
    """Install uv with pip; return whether that worked."""
    pinned = VENV / "uv.txt"
    pinned.write_text(entry(ROOT / LOCKS[True], "uv"), encoding="utf-8")
    words = [*_pip(), "-q", *_BARE, "-r", str(pinned)]
    return _step("2/4", "Fetching uv, the installer", words, required=False)


def entry(lock: Path, package: str) -> str:
    """Return the lines of a package in a lock: its version and hashes."""
    text = lock.read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(package)}==.*(?:\n +--hash=.*)*", text, re.MULTILINE)
    if found is None:
        sys.exit(f"{lock.name} does not name {package}. Restore it: `git checkout {lock.name}`.")
    return found[0].rstrip("\\ ") + "\n"


def _packages(lock: Path, *, uv: bool) -> None:
    if uv:
        words = [str(BIN / "uv"), "pip", "install", "--python", str(PYTHON), *_BARE,
                 "--compile-bytecode", "-r", str(lock)]  # fmt: skip
        if _step("3/4", f"Installing {lock.name} with uv", words, required=False):
            return
        _say("uv could not install them; pip, which has its own settings, tries.")
    words = [*_pip(), *_BARE, "--progress-bar", "off", "-r", str(lock)]
    _step("3/4", f"Installing {lock.name} with pip", words)


def _step(number: str, what: str, words: Sequence[str], *, required: bool = True) -> bool:
    """Run a command, reporting progress; return whether it worked, or exit if it is required."""
    _say(f"[{number}] {what} …")
    with _heartbeat():
        code = subprocess.run(words, cwd=ROOT, env=_environment(), check=False).returncode
    if code and required:
        sys.exit(
            f"{what} failed with exit code {code}; the lines above say why. What was downloaded is "
            "kept: without a network, connect, then run this again."
        )
    return code == 0


def _environment() -> Mapping[str, str]:
    """Return the variables of a step: uv takes the package index and certificates of pip."""
    variables = dict(os.environ)
    for ours, pips in (("UV_DEFAULT_INDEX", "PIP_INDEX_URL"), ("SSL_CERT_FILE", "PIP_CERT")):
        if os.environ.get(pips):
            variables.setdefault(ours, os.environ[pips])
    return variables


@contextmanager
def _heartbeat() -> Iterator[None]:
    """Print a line every few seconds; on a terminal, the installers show bars of their own."""
    ended = threading.Event()
    start = time.monotonic()

    def beat() -> None:
        while not ended.wait(_HEARTBEAT):
            _say(f"      … {time.monotonic() - start:.0f} s, {megabytes(VENV):,} MB in .venv")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
