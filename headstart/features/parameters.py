"""The section ``extract_features``: running the frozen backbone over the images."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from headstart._utils.errors import UnfitError
from headstart.images.augmentation_parameters import AugmentParams
from headstart.stage.sections import Section

#: The address of a Dask scheduler.
ADDRESS = re.compile(r"(tcp|tls)://[^\s/]+:[0-9]{1,5}")


class ExtractFeaturesParams(Section):
    """Engine and number format of the recorded features, and the cached augmented views.

    ``cluster`` says where they are computed, which decides no bytes: it is excluded from all that
    is recorded of the section, and no stage of dvc.yaml depends on it.
    """

    engine: Literal["litert", "keras"]
    dtype: Literal["float32", "float16"]
    views: Annotated[int, Field(ge=0, le=1000)]
    augment: AugmentParams
    cluster: Annotated[str | None, Field(exclude=True)]

    @field_validator("cluster")
    @classmethod
    def _is_an_address(cls, cluster: str | None, info: ValidationInfo) -> str | None:
        if cluster not in {None, "local"} and not ADDRESS.fullmatch(str(cluster)):
            raise UnfitError(
                "null, local, or the address of a Dask scheduler such as tcp://127.0.0.1:8786"
            )
        if cluster is not None and info.data.get("engine") == "keras":
            raise UnfitError("null with `engine: keras`", "Only LiteRT runs on a cluster.")
        return cluster

    @field_validator("augment")
    @classmethod
    def _changes_the_views(cls, augment: AugmentParams, info: ValidationInfo) -> AugmentParams:
        if info.data.get("views") and not augment.active:
            raise UnfitError(
                f"a section that changes something with `views: {info.data['views']}`",
                "Otherwise every view is the image as it is.",
            )
        return augment
