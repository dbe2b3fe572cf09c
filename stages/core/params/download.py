"""``download``: where the pictures come from, and what is accepted as a picture."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.core.params.base import PositiveInt, Section

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
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
    max_pixels: PositiveInt
    max_picture_bytes: PositiveInt
    max_total_bytes: PositiveInt

    @model_validator(mode="after")
    def _source_has_what_it_needs(self) -> DownloadParams:
        if self.url is not None and self.source != "archive":
            raise ValueError(f"`url` is for `source: archive`; set it to null with {self.source}")
        if self.sha256 is not None and self.source != "archive":
            raise ValueError(
                f"`sha256` is for `source: archive`; set it to null with {self.source}"
            )
        if self.url is not None and self.sha256 is None:
            raise ValueError(
                "`sha256` must be given with a `url`: what a server sends may change, and the "
                "commit would not say what it was trained on (`sha256sum FILE` prints it)"
            )
        return self
