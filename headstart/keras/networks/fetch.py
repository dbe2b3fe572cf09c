"""Files of pretrained weights: found in Keras' folder, or downloaded into it and checked.

Keras' own ``get_file`` tries once, waits for ever, writes over the target as it goes and keeps what
it got.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import requests

from headstart._utils.errors import HeadstartError
from headstart._utils.files import atomic_file
from headstart._utils.progress import progress

#: Seconds before the second, third, … attempt.
PAUSES = (1.0, 3.0, 9.0)
#: Seconds to connect, and between two pieces of the body.
TIMEOUT = (10.0, 60.0)
_CHUNK = 1 << 20


class DownloadError(Exception):
    """A file could not be had, for the reason in its text: for callers that know what it was for.

    ``final``: another attempt would end the same way.
    """

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


class AbsentFileError(HeadstartError):
    """A file is neither in Keras' folder nor to be had.

    Attributes
    ----------
    facts : str
        Goes on after what the file is: why, from where to where, and the way without a network.
    """

    def __init__(self, facts: str) -> None:
        super().__init__(
            f"The pretrained weights {facts} Or take the backbone that comes with the project "
            "(`backbone.name: headstart-small`, `alpha: 1.0`, `weights: shipped`, `image_size: "
            "96`), or set `backbone.weights` to the path of a weights file, or to `random`, which "
            "tries the mechanics and holds no transfer."
        )
        self.facts = facts


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights and its address.

    Attributes
    ----------
    path : Path
        Where it lies on this machine.
    url : str
        Where it comes from.
    """

    path: Path
    url: str


def keras_home() -> Path:
    """Keras' folder: ``$KERAS_HOME``, else ``~/.keras``."""
    given = os.environ.get("KERAS_HOME")
    return Path(given) if given else Path.home() / ".keras"


def find_or_download(
    name: str, url: str, digest: str | None, subfolder: str = "models"
) -> WeightsFile:
    """The file ``name`` in Keras' folder; downloaded if it is not there.

    Parameters
    ----------
    name, url : str
        What the file is called, and its address.
    digest : str or None
        Hex md5 or sha256, told by its length. A file that is there and differs is replaced; one
        without a digest is taken as it is.
    subfolder : str
        Of Keras' folder.

    Raises
    ------
    AbsentFileError
        If it cannot be had: with address, file name, folder and the alternatives.
    """
    target = keras_home() / subfolder / name
    if target.is_file():
        if digest is None or _digest_of(target, digest) == digest:
            return WeightsFile(target, url)
        print(
            f"{target} is not the file that Keras names ({digest} expected): a download that was "
            "cut, perhaps. Replacing it.",
            file=sys.stderr,
        )
    try:
        download(url, target, digest)
    except DownloadError as error:
        raise AbsentFileError(
            f"could not be downloaded: {error}\n"
            f"  from    {url}\n"
            f"  file    {name}\n"
            f"  folder  {target.parent}\n"
            "Nothing was kept. Without a network: fetch that file elsewhere and put it into that "
            "folder (KERAS_HOME moves it), and run again."
        ) from error
    return WeightsFile(target, url)


def download(url: str, target: Path, digest: str | None = None, most: int | None = None) -> None:
    """Fetch one file, a few times if need be; nothing is kept of an attempt that failed.

    Parameters
    ----------
    digest : str or None
        Hex md5 or sha256 that the file must have.
    most : int or None
        Bytes that are accepted; None: any number.

    Raises
    ------
    DownloadError
        If no attempt succeeded; with the last one's reason.
    """
    for pause in (*PAUSES, None):
        try:
            return _download(url, target, digest, most)
        except DownloadError as error:
            if error.final or pause is None:
                raise
            print(f"{error} Trying again in {pause:g} s.", file=sys.stderr)
            time.sleep(pause)
    return None


def _download(url: str, target: Path, digest: str | None, most: int | None) -> None:
    try:
        with (
            requests.get(url, stream=True, timeout=TIMEOUT) as response,
            atomic_file(target) as file,
        ):
            if response.status_code != requests.codes.ok:
                raise DownloadError(
                    f"The server answered {response.status_code} {response.reason}.",
                    # Too many requests and time-outs pass; not found does not.
                    final=400 <= response.status_code < 500
                    and response.status_code not in {408, 425, 429},
                )
            length = int(response.headers.get("Content-Length", 0))
            hasher = hashlib.new(_algorithm(digest or ""))
            received = 0
            with progress(max(length >> 20, 1), f"Downloading {target.name}", "MiB") as bar:
                for piece in response.iter_content(_CHUNK):
                    file.write(piece)
                    hasher.update(piece)
                    bar.update((received + len(piece) >> 20) - (received >> 20))
                    received += len(piece)
                    if most is not None and received > most:
                        raise DownloadError(f"It is larger than {most:,} bytes.", final=True)
            if received < length or not received:
                raise DownloadError(f"The body ended after {received:,} of {length:,} bytes.")
            if digest is not None and hasher.hexdigest() != digest:
                raise DownloadError(
                    f"The file has {hasher.name} {hasher.hexdigest()}, {digest} was expected."
                )
    except requests.RequestException as error:
        raise DownloadError(f"{type(error).__name__}: {error}.") from error
    except OSError as error:
        raise DownloadError(f"It could not be written: {error}.", final=True) from error


def _algorithm(digest: str) -> str:
    return "md5" if len(digest) == 32 else "sha256"


def _digest_of(path: Path, digest: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, _algorithm(digest)).hexdigest()
