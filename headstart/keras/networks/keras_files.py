"""The files that Keras publishes: weights and class names, in Keras' folder or downloaded into it.

TensorFlow is not imported. Keras' own ``get_file`` tries once, waits forever, overwrites the target
while it downloads, and keeps whatever it got.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from headstart._utils.errors import HeadstartError
from headstart._utils.files import sha256_bytes, sha256_file
from headstart._utils.locks import exclusive_lock, lock_folder
from headstart._utils.names import without_credentials
from headstart.backbones.downloads import keras_home
from headstart.downloads.client import DownloadError, RetryPolicy
from headstart.downloads.file import download_file, file_digest

#: A complete file with another checksum is downloaded again, too.
POLICY = RetryPolicy(mismatches=3)

#: Name, address and MD5 of the class names, as keras.applications has them.
CLASS_INDEX = "imagenet_class_index.json"
CLASS_INDEX_URL = f"https://storage.googleapis.com/download.tensorflow.org/data/{CLASS_INDEX}"
CLASS_INDEX_MD5 = "c2c37ea517e94d9795004a39431a14cb"
#: Outputs of a network with its ImageNet classifier.
CLASS_COUNT = 1000


class MissingFileError(HeadstartError):
    """A file is neither in Keras' folder nor could it be downloaded.

    Attributes
    ----------
    facts : str
        Continues a sentence that begins with what the file is: the reason, the addresses, and what
        to do without a network.
    """

    def __init__(self, facts: str) -> None:
        super().__init__(
            f"The pretrained weights {facts} Or use the backbone that comes with the project "
            "(`backbone.name: headstart-small`, `alpha: 1.0`, `weights: shipped`, `image_size: "
            "96`), or set `backbone.weights` to the path of a weights file, or to `random`, which "
            "runs the pipeline without any pretraining."
        )
        self.facts = facts


@dataclass(frozen=True)
class KerasFile:
    """A published file.

    Attributes
    ----------
    path : Path
        Location on this machine.
    url : str
        Address that it comes from.
    """

    path: Path
    url: str


def find_or_download(
    name: str, url: str, digest: str | None, subfolder: str = "models"
) -> KerasFile:
    """Return the file ``name`` in Keras' folder; download it if it is absent.

    Parameters
    ----------
    name, url : str
        File name and address.
    digest : str or None
        Hex MD5 or SHA-256, recognized by its length. A present file that differs is replaced;
        without a digest, a present file is taken as it is.
    subfolder : str
        Of Keras' folder.

    Raises
    ------
    MissingFileError
        If it cannot be obtained: with address, file name, folder and the alternatives.
    """
    file = KerasFile(keras_home() / subfolder / name, url)
    if _is_there(file.path, digest):
        return file
    lock = lock_folder() / f"keras-{sha256_bytes(str(file.path.absolute()).encode())[:16]}.lock"
    with exclusive_lock(lock, f"Process {{holder}} is downloading {name}. Waiting for it."):
        if not _is_there(file.path, digest):  # another process may have downloaded it meanwhile
            _download(file, digest)
    return file


def _is_there(path: Path, digest: str | None) -> bool:
    return path.is_file() and (digest is None or file_digest(path, digest) == digest)


def _download(file: KerasFile, digest: str | None) -> None:
    if file.path.is_file():
        print(
            f"{file.path} is not the file that Keras names (checksum {digest} expected). It may be "
            "a download that was interrupted. Replacing it.",
            file=sys.stderr,
        )
    try:
        download_file(file.url, file.path, digest=digest, policy=POLICY, keep_partial=False)
    except DownloadError as error:
        advice = f" {error.advice}" if error.advice else ""
        raise MissingFileError(
            f"could not be downloaded: {error}.{advice}\n"
            f"  from    {without_credentials(file.url)}\n"
            f"  file    {file.path.name}\n"
            f"  folder  {file.path.parent}\n"
            "Nothing was kept. Without a network: download that file elsewhere, put it into that "
            f"folder (KERAS_HOME moves it), and run again.{_other_size(file.path)}"
        ) from error


#: The image size in the name of a file, as MobileNet and MobileNetV2 have it.
_SIZE = re.compile(r"(?<=_)\d{2,3}(?=_(?:tf_)?no_top\.h5$)")


def _other_size(path: Path) -> str:
    """Return how to use the largest file of the same network that was trained at another size.

    A network without its classifier takes images of any size; Keras just publishes weights that
    were trained at a few.
    """
    size = _SIZE.search(path.name)
    if size is None:
        return ""
    start, end = path.name[: size.start()], path.name[size.end() :]
    found = [
        (int(middle), other)
        for other in sorted(path.parent.glob("*.h5"))
        if other.name.startswith(start)
        and other.name.endswith(end)
        and (middle := other.name.removeprefix(start).removesuffix(end)).isdecimal()
    ]
    if not found:
        return ""
    trained, other = max(found)
    return (
        f" Or use the file at hand that was trained at {trained} pixels, which works at "
        f"{size.group()}, too: `backbone.weights: {other}`, "
        f"`backbone.weights_sha256: {sha256_file(other)}`."
    )


@dataclass(frozen=True, slots=True)
class ImageNetClass:
    """One of ImageNet's classes.

    Attributes
    ----------
    synset : str
        Its identifier in WordNet, such as ``n02123045``; unique.
    name : str
        Its first word there, such as ``tabby`` or ``tiger_cat``. Two names belong to two classes
        each: ``crane`` (the bird and the machine) and ``maillot``.
    """

    synset: str
    name: str


def read_classes() -> tuple[ImageNetClass, ...]:
    """Return the classes in the order of a network's outputs; download the file if it is absent.

    Raises
    ------
    HeadstartError
        If the file cannot be obtained.
    """
    try:
        path = find_or_download(CLASS_INDEX, CLASS_INDEX_URL, CLASS_INDEX_MD5).path
    except MissingFileError as error:
        raise HeadstartError(f"The names of ImageNet's classes {error.facts}") from error
    entries = json.loads(path.read_bytes())  # Its MD5 was just compared.
    return tuple(ImageNetClass(*entries[str(index)]) for index in range(CLASS_COUNT))
