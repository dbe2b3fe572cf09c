"""``download``: where the pictures come from, and what is accepted as a picture."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from stages.core.errors import UnfitError
from stages.core.params.base import PositiveInt, Section, Sha256

# Beyond it Pillow sees a decompression bomb, whatever we would accept.
_MOST_PIXELS = 89_478_485
PictureFormat = Literal["jpeg", "png", "webp", "gif", "bmp", "tiff"]


class DownloadParams(Section):
    """Source and bounds of the pictures.

    ``location`` always names something that exists, because dvc.yaml watches it: that is how a
    picture added to a folder is noticed. The embedded source and a URL leave it unread.
    """

    source: Literal["embedded", "folder", "archive"]
    location: Annotated[str, Field(min_length=1)]
    url: Annotated[str, Field(pattern=r"^https?://")] | None
    sha256: Sha256 | None
    root: str | None
    formats: Annotated[list[PictureFormat], Field(min_length=1)]
    min_side: PositiveInt
    max_pixels: Annotated[
        PositiveInt,
        Field(
            le=_MOST_PIXELS,
            json_schema_extra={
                "expected": f"an integer from 1 to {_MOST_PIXELS} (Pillow opens nothing larger)"
            },
        ),
    ]
    max_picture_bytes: PositiveInt
    max_total_bytes: PositiveInt

    @field_validator("url", "sha256")
    @classmethod
    def _is_for_archives(cls, value: str | None, info: ValidationInfo) -> str | None:
        source = info.data.get("source", "archive")
        if value is not None and source != "archive":
            raise UnfitError(
                f"null with `source: {source}`", f"`{info.field_name}` is for `source: archive`."
            )
        return value

    @field_validator("sha256")
    @classmethod
    def _comes_with_an_address(cls, sha256: str | None, info: ValidationInfo) -> str | None:
        if sha256 is None and info.data.get("url") is not None:
            raise UnfitError(
                "a sha256 of 64 hexadecimal digits with a `url`",
                "What a server sends may change, and the commit would not say what it was trained "
                "on (`sha256sum FILE` prints it).",
            )
        return sha256
