"""The cure for a damaged file of a run: the stage that writes it, from dvc.lock."""

from __future__ import annotations

from pathlib import Path

from headstart._utils.errors import CorruptFileError, HeadstartError
from headstart.stage.recorded_inputs import recorded_outputs

_KNOWN = ("dvc repro", "headstart doctor", "dvc checkout")


def with_cure(error: HeadstartError, root: Path = Path()) -> str:
    """Return the message of an error; of a damaged file without a cure, with the cure.

    Parameters
    ----------
    error : HeadstartError
    root : Path
        The project's folder.
    """
    message = str(error)
    if not isinstance(error, CorruptFileError) or any(words in message for words in _KNOWN):
        return message
    try:
        outputs = recorded_outputs(root / "dvc.lock")
    except HeadstartError:
        outputs = {}
    named = [path for path in outputs if path in message]
    if not named:
        return message
    stage, _ = outputs[max(named, key=len)]
    return (
        f"{message.rstrip()} The stage `{stage}` writes it: `dvc repro --force --single-item "
        f"{stage}` writes it again. If that does not help, `headstart doctor --remove` removes "
        "damaged objects from DVC's cache."
    )
