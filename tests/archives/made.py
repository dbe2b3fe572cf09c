"""Archives for tests, honest and hostile."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.images import made as make

#: Two classes of three images, below a single folder.
HONEST: Mapping[str, bytes] = {
    f"Pets/{label}/{number}.jpg": make.jpeg(seed=number + 10 * (label == "dog"))
    for label in ("cat", "dog")
    for number in range(3)
}


def make_zip(
    path: Path, files: Mapping[str, bytes] = HONEST, method: int = zipfile.ZIP_STORED
) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            # Set afterwards: the constructor would clean the name.
            member = zipfile.ZipInfo("x", (1980, 1, 1, 0, 0, 0))
            member.filename = name
            member.compress_type = method
            archive.writestr(member, content)
    return path


def make_tar(
    path: Path,
    files: Mapping[str, bytes] = HONEST,
    mode: str = "w",
    more: Iterable[tuple[tarfile.TarInfo, bytes]] = (),
) -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member, content in more:
            archive.addfile(member, io.BytesIO(content))
    return path
