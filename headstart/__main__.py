"""``python -m headstart``: the command."""

from headstart.cli.app import app

app(prog_name="headstart")
