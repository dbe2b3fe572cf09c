"""The command line, run in the process of the tests."""

from __future__ import annotations

from typer.testing import CliRunner

import headstart


def run(*words: str, code: int = 0) -> str:
    """Run ``headstart WORD…``, which must end with this code; return all that it said."""
    result = CliRunner().invoke(headstart.app, list(words))
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output
