"""Files that stand for an image that is elsewhere, and how to get the image."""

from __future__ import annotations

import re
from collections.abc import Mapping

from headstart._utils.errors import ImageError

_MOST = 4096  # bytes of a pointer; pages are longer, and known by their start

#: The start of a file to what it is, and what to do. To recognize another kind, add a row.
STAND_INS: Mapping[re.Pattern[bytes], str] = {
    re.compile(rb"version https://git-lfs\.github\.com/spec/"): (
        "it is a Git LFS pointer, not the image: run `git lfs pull` in the repository that it is "
        "from"
    ),
    re.compile(rb"(\.\./)*\.?git/annex/objects/|/annex/objects/"): (
        "it is a git-annex pointer, not the image: run `git annex get .` in the repository that it "
        "is from"
    ),
    re.compile(rb"(md5: [0-9a-f]{32}\n.*)?outs:\n- md5: ", re.DOTALL): (
        "it is a DVC pointer, not the image: run `dvc pull` in the repository that it is from"
    ),
    re.compile(rb"\s*<(!doctype html|html)\b", re.IGNORECASE): (
        "it is a web page, saved in place of the image: download the image again, perhaps after "
        "signing in"
    ),
}


def check_stand_in(content: bytes) -> None:
    """Raise an ImageError if a file only stands for an image."""
    start = content[:_MOST]
    for pattern, text in STAND_INS.items():
        if pattern.match(start):
            raise ImageError("not_an_image", text)
