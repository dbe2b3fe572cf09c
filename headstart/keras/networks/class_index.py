"""The names of ImageNet's 1000 classes, from the file that Keras decodes by; without TensorFlow."""

from __future__ import annotations

import json
from dataclasses import dataclass

from headstart._utils.errors import HeadstartError
from headstart.keras.networks.fetch import AbsentFileError, find_or_download

#: Name, address and md5 as keras.applications has them.
FILE = "imagenet_class_index.json"
URL = f"https://storage.googleapis.com/download.tensorflow.org/data/{FILE}"
MD5 = "c2c37ea517e94d9795004a39431a14cb"
#: Outputs of a whole network.
COUNT = 1000


@dataclass(frozen=True, slots=True)
class ImageNetClass:
    """One of the classes.

    Attributes
    ----------
    synset : str
        Its number in WordNet, such as ``n02123045``: no two classes have the same.
    name : str
        Its first word there, such as ``tabby`` or ``tiger_cat``. Two names are of two classes each:
        ``crane`` (the bird, the machine) and ``maillot``.
    """

    synset: str
    name: str


def read_classes() -> tuple[ImageNetClass, ...]:
    """The classes in the order of a network's outputs; the file is downloaded if it is not there.

    Raises
    ------
    HeadstartError
        If the file cannot be had.
    """
    try:
        path = find_or_download(FILE, URL, MD5).path
    except AbsentFileError as error:
        raise HeadstartError(f"The names of ImageNet's classes {error.facts}") from error
    entries = json.loads(path.read_bytes())  # Compared with its md5 just now.
    return tuple(ImageNetClass(*entries[str(place)]) for place in range(COUNT))
