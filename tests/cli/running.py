"""The command line, run in the process of the tests."""

from __future__ import annotations

import json

from typer.testing import CliRunner, Result

from headstart.cli.app import app


def run(*words: str, code: int = 0) -> str:
    """Run ``headstart WORD…``, which must end with this code; return all that it said."""
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def first_guesses(result: Result) -> dict[str, str]:
    """File to label, of what was printed as JSON lines."""
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return {line["file"]: line["label"] for line in lines}
