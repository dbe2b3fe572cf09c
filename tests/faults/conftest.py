from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import tally
from tests.faults.project import Project, make


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Ran once; every test leaves it with the outputs of that run."""
    if sys.platform == "win32":
        pytest.skip("there is neither a fork nor SIGKILL")
    # A shell that starts tests in the background has them, and all that they start, ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    kept = os.environ.get("HEADSTART_FAULTS_FOLDER")  # to be used again by the next call
    folder = Path(kept) if kept else tmp_path_factory.mktemp("faults")
    found = Project(folder) if (folder / "clean.json").is_file() else make(folder)
    yield found
    found.close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave these tests to those who ask for the marker: they take an hour."""
    if "faults" not in str(config.option.markexpr):
        left = [item for item in items if item.get_closest_marker("faults")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in tally.lines():
        terminalreporter.write_line(line)
