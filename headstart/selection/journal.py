"""The journal of a sweep: a line for each finished trial, so that no head is trained twice.

It lies in the cache folder. Its name stands for everything but the trial that decides a result: the
features, the seed, the code that trains.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from pydantic import ValidationError

import headstart
from headstart._utils.cache import cache_folder
from headstart._utils.errors import HeadstartError
from headstart._utils.files import sha256_bytes, sha256_file
from headstart.features.header import FeaturesHeader
from headstart.features.store import canonical
from headstart.selection.trials import Result

_PACKAGES = ("numpy",)
_DIGITS = 16
#: Of the lines: raised with a field that a result must have.
_FORM = 2


class Journal:
    """The results of earlier trials on the same features.

    Parameters
    ----------
    header : FeaturesHeader
    seed : int
        Of params.yaml.
    """

    def __init__(self, header: FeaturesHeader, seed: int) -> None:
        facts = {
            "form": _FORM,
            "features": header.model_dump(mode="json"),
            "seed": seed,
            "code": _code(),
            "packages": {name: metadata.version(name) for name in _PACKAGES},
        }
        name = sha256_bytes(canonical(facts).encode())[:_DIGITS]
        self.path = cache_folder() / "sweeps" / f"{name}.jsonl"

    def read(self) -> dict[str, Result]:
        """Return the results by the identity of their trial; damaged lines do not count."""
        if not self.path.is_file():
            return {}
        found = {}
        for line in self.path.read_bytes().splitlines():
            digest, _, text = line.partition(b" ")
            if digest.decode("ascii", "replace") != sha256_bytes(text)[:_DIGITS]:
                continue
            try:
                result = Result.model_validate_json(text)
            except ValidationError:
                continue
            found[result.identity] = result
        return found

    def add(self, result: Result) -> None:
        """Write a result down, at once.

        Raises
        ------
        HeadstartError
            If it cannot be written.
        """
        text = result.model_dump_json().encode()
        line = sha256_bytes(text)[:_DIGITS].encode() + b" " + text + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                # A line that a killed process did not finish ends here.
                file.write(b"\n" + line if file.tell() else line)
        except OSError as error:
            raise HeadstartError(
                f"The journal {self.path} cannot be written: {error.strerror}. The trials in it "
                "are kept. Make room, or name another cache folder in the environment variable "
                "HEADSTART_CACHE; then run again."
            ) from error


def _code() -> str:
    """Return a hash of the modules that train a head: other code, another journal."""
    root = Path(headstart.__path__[0])
    return sha256_bytes("".join(map(sha256_file, sorted(root.glob("training/*.py")))).encode())
