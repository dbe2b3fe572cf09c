"""What a person is told when a flow cannot do what was asked."""

from __future__ import annotations


class FlowError(Exception):
    """The message is for the person at the terminal; ``exit_code`` is the command's."""

    exit_code = 1
