"""A frozen backbone as a transformer of scikit-learn, in front of the feature store."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin

from headstart._utils.errors import CorruptFileError
from headstart._utils.files import sha256_bytes
from headstart.api import backbones
from headstart.api.checks import ArgumentError, section
from headstart.api.images import Images
from headstart.backbones.parameters import BackboneParams
from headstart.backbones.record import BackboneRecord
from headstart.features.extraction import extract, open_store
from headstart.features.forward_passes import Image
from headstart.keras.networks.engine import engine as running


class FeatureExtractor(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """Turn images into the features of a frozen, pretrained backbone.

    Every feature is kept in the feature store, which the pipeline uses as well: an image goes
    through a backbone once, and is read from the store from then on. Nothing is learned in
    ``fit``; ``transform`` can be called at once.

    Parameters
    ----------
    backbone : str, default="headstart-small"
        Name of the backbone; ``headstart backbones`` lists them. The weights of the default come
        with the package, those of the others are downloaded once.
    hub : str, optional
        A module of TensorFlow Hub instead: its address, folder or ``.tar.gz`` file.
    image_size : int, optional
        Images are resized to a square with sides of this many pixels. Default: the size that the
        weights were trained on.
    alpha : float, default=1.0
        Width multiplier.
    weights : str, optional
        ``imagenet``, ``shipped``, ``random`` or the path of a weights file. Default: the weights
        that the backbone was published with.
    cut : str, optional
        The layer whose output is used as the features. Default: the last one.
    pooling : {"avg", "max", "none"}, default="avg"
        Reduction of the map of activations to a vector. ``none`` keeps the map, flattened.
    gray16_bits : int, optional
        White of 16-bit gray images is ``2**gray16_bits - 1``: 12 for a camera of 12 bits, whose
        images are nearly black otherwise. Default: 16 bits.
    engine : {"litert", "keras"}, default="litert"
        ``keras`` is slower on a CPU. It runs on GPUs, and runs backbones that do not convert to
        LiteRT.
    random_state : int, default=0
        Seed of the weights with ``weights="random"``; ignored otherwise.

    Attributes
    ----------
    passes_ : Passes
        Counts of the last ``transform``: ``images`` requested, forward passes ``done``, distinct
        images ``cached``, and ``seconds``.

    Examples
    --------
    >>> import headstart as hs
    >>> from sklearn.datasets import load_sample_images
    >>> photos = load_sample_images().images    # file paths work as well
    >>> extractor = hs.FeatureExtractor()
    >>> X = extractor.transform(photos)
    >>> X.shape, X.dtype
    ((2, 576), dtype('float32'))
    >>> extractor.passes_.done, extractor.passes_.cached
    (2, 0)
    >>> X = extractor.transform(photos)         # read from the store
    >>> extractor.passes_.done, extractor.passes_.cached
    (0, 2)
    """

    def __init__(
        self,
        backbone: str = "headstart-small",
        *,
        hub: str | None = None,
        image_size: int | None = None,
        alpha: float = 1.0,
        weights: str | None = None,
        cut: str | None = None,
        pooling: Literal["avg", "max", "none"] = "avg",
        gray16_bits: int | None = None,
        engine: Literal["litert", "keras"] = "litert",
        random_state: int = 0,
    ) -> None:
        self.backbone = backbone
        self.hub = hub
        self.image_size = image_size
        self.alpha = alpha
        self.weights = weights
        self.cut = cut
        self.pooling = pooling
        self.gray16_bits = gray16_bits
        self.engine = engine
        self.random_state = random_state

    def fit(self, X: Any = None, y: Any = None) -> Self:  # noqa: ARG002
        """Check the parameters; nothing is learned and no image is read.

        Parameters
        ----------
        X, y : ignored

        Returns
        -------
        FeatureExtractor
            Itself.

        Examples
        --------
        >>> import headstart as hs
        >>> hs.FeatureExtractor("mobilenet_v2").fit()
        FeatureExtractor(backbone='mobilenet_v2')
        >>> hs.FeatureExtractor("mobilnet_v2").fit()
        Traceback (most recent call last):
        ...
        headstart.api.checks.ArgumentError: ...
        """
        self._params()
        return self

    def transform(self, X: Any) -> npt.NDArray[np.float32]:
        """Return the features of images.

        Parameters
        ----------
        X : sequence, ndarray, Series or DataFrame
            Paths, encoded images (bytes), or uint8 pixels: an array of shape (n_images, height,
            width, channels), or a sequence of arrays of shape (height, width) or (height, width,
            1, 3 or 4). Of a data frame, the column ``path``.

        Returns
        -------
        ndarray of shape (n_images, n_features), float32
            In the order of ``X``; a data frame after ``set_output(transform="pandas")``.

        Raises
        ------
        RejectedImagesError
            If an image cannot be used. In that case, no image went through the backbone.

        Examples
        --------
        >>> import headstart as hs
        >>> import numpy as np
        >>> pixels = np.zeros((3, 64, 64, 3), np.uint8)
        >>> extractor = hs.FeatureExtractor().set_output(transform="pandas")
        >>> extractor.transform(pixels).iloc[:, :2]
           headstart-small_0  headstart-small_1
        0 ...
        >>> extractor.passes_.done                  # the same image three times: one pass
        1
        """
        images = Images(X)
        folder, record = self._prepared()
        ids = [each or "" for each in images.identify()]
        engine = running(folder, record)
        with open_store(record, engine) as store:
            first = {image_id: position for position, image_id in enumerate(ids) if image_id}
            images.inspect([first[image_id] for image_id in store.missing(first)])
            images.require_usable()
            asked = [
                Image(image_id, images.name(position), partial(_read, images, position, image_id))
                for position, image_id in enumerate(ids)
            ]
            self.passes_ = extract(asked, engine, store, f"Features by {record.name}")
            found = store.array(ids)
            return found.reshape(len(ids), math.prod(found.shape[1:]))

    def rejected(self, X: Any) -> pd.DataFrame:
        """Decode every image, and return those that :meth:`transform` would reject.

        Parameters
        ----------
        X : as in :meth:`transform`

        Returns
        -------
        DataFrame
            The columns ``path``, ``reason`` and ``detail``; the index is the position in ``X``.

        Examples
        --------
        >>> import headstart as hs
        >>> hs.FeatureExtractor().rejected(["there-is-no-such-file.jpg"])["reason"]
        0    unreadable
        Name: reason, dtype: str
        """
        images = Images(X)
        images.inspect(range(len(images)))
        return images.faults()

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:  # noqa: ARG002
        """Return the names of the features: the backbone's name and a number.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of shape (n_features,), object

        Examples
        --------
        >>> import headstart as hs
        >>> hs.FeatureExtractor().get_feature_names_out()[:2].tolist()
        ['headstart-small_0', 'headstart-small_1']
        """
        _, record = self._prepared()
        return np.array([f"{record.name}_{i}" for i in range(_width(record))], dtype=object)

    def _params(self) -> BackboneParams:
        if self.engine not in {"litert", "keras"}:
            raise ArgumentError(
                f"The `engine` parameter must be 'litert' or 'keras'. Got {self.engine!r} instead."
            )
        own = backbones.defaults(self.backbone, self.hub, self.weights, self.image_size)
        values = {
            **own,
            "hub": self.hub,
            "alpha": self.alpha,
            "cut": self.cut,
            "pooling": self.pooling,
            "gray16_bits": self.gray16_bits,
        }
        return section(BackboneParams, "FeatureExtractor", values, {"name": "backbone"})

    def _prepared(self) -> tuple[Path, BackboneRecord]:
        return backbones.obtain(self._params(), self.engine, self.random_state)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _read(images: Images, position: int, image_id: str) -> bytes:
    """Return the bytes of an image, if they are still those that were identified."""
    content = images.read(position)
    if sha256_bytes(content) != image_id:
        raise CorruptFileError(f"{images.name(position)} was changed while it was read.")
    return content


def _width(record: BackboneRecord) -> int:
    return int(np.prod(record.feature_shape))
