"""Origin and location of pretrained weights, known without TensorFlow or a request."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from headstart._utils.cache import cache_folder
from headstart.backbones.parameters import BackboneParams, handle_name, is_address
from headstart.backbones.registry import BackboneSpec, known

_STORAGE = "https://storage.googleapis.com"
_KERAS = "tensorflow/keras-applications"
_KERNELS = "weights_tf_dim_ordering_tf_kernels"
#: First part of a name in the table of backbones to where keras.applications has the weights
#: without the classifier; the longest that fits holds.
_FILES = {
    "": f"{_KERAS}/{{name}}/{{name}}_{_KERNELS}_notop.h5",
    "densenet": f"{_KERAS}/densenet/{{name}}_{_KERNELS}_notop.h5",
    "efficientnet_b": "keras-applications/{function}_notop.h5",
    "efficientnet_v2_": f"{_KERAS}/efficientnet_v2/efficientnetv2-{{last}}_notop.h5",
    "mobilenet": f"{_KERAS}/mobilenet/mobilenet_{{tenths}}_{{size}}_tf_no_top.h5",
    "convnext_": f"{_KERAS}/convnext/{{name}}_notop.h5",
    "mobilenet_v3_": f"{_KERAS}/mobilenet_v3/weights_mobilenet_v3_{{last}}_224_{{alpha}}_float"
    "_no_top_v2.h5",
    "nasnet_": f"{_KERAS}/nasnet/NASNet-{{last}}-no-top.h5",
    "mobilenet_v2": f"{_KERAS}/mobilenet_v2/mobilenet_v2_{_KERNELS}_{{alpha}}_{{size}}_no_top.h5",
    "resnet": f"{_KERAS}/resnet/{{function}}_{_KERNELS}_notop.h5",
}
_TENTHS = {1.0: "1_0", 0.75: "7_5", 0.5: "5_0", 0.25: "2_5"}


@dataclass(frozen=True)
class WeightsDownload:
    """Pretrained weights that are not part of this project.

    Attributes
    ----------
    where : str
        Address, for people.
    kept : Path
        File or folder in which they are kept.
    present : bool
        True if they are there already.
    megabytes : float or None
        Rough size; None if it is not known.
    """

    where: str
    kept: Path
    present: bool
    megabytes: float | None


def keras_home() -> Path:
    """Return Keras' folder: ``$KERAS_HOME``, else ``~/.keras``."""
    given = os.environ.get("KERAS_HOME")
    return Path(given) if given else Path.home() / ".keras"


def modules_folder() -> Path:
    """Return the folder of kept modules: ``$TFHUB_CACHE_DIR``, else in the cache of Headstart."""
    given = os.environ.get("TFHUB_CACHE_DIR")
    return Path(given).expanduser().absolute() if given else cache_folder() / "tfhub_modules"


def module_location(handle: str) -> Path:
    """Return the folder of a module with an address; it need not exist."""
    return modules_folder() / hashlib.sha1(handle.encode(), usedforsecurity=False).hexdigest()


def weights_download(params: BackboneParams) -> WeightsDownload | None:
    """Return the download of a backbone's weights; None if they are on this machine or shipped."""
    if params.hub is not None:
        if not is_address(params.hub):
            return None
        kept = module_location(params.hub)
        return WeightsDownload(handle_name(params.hub), kept, kept.is_dir(), None)
    spec = known(params.name)
    if spec is None or params.weights != "imagenet":
        return None
    address = weights_address(spec, params.alpha, params.image_size)
    kept = keras_home() / "models" / kept_name(spec, address)
    return WeightsDownload(address, kept, kept.is_file(), 4 * spec.parameters * params.alpha**2)


def kept_name(spec: BackboneSpec, address: str) -> str:
    """Return the name under which Keras keeps the weights of an address."""
    return (
        f"{spec.name}_no_top.h5" if spec.name.startswith("nasnet_") else address.rpartition("/")[2]
    )


def weights_address(spec: BackboneSpec, alpha: float, image_size: int | None) -> str:
    """Return the address of the ImageNet weights that keras.applications loads."""
    start = max((each for each in _FILES if spec.name.startswith(each)), key=len)
    file = _FILES[start].format(
        name=spec.name,
        function=spec.function.lower(),
        last=spec.name.rpartition("_")[2],
        alpha=float(alpha),
        tenths=_TENTHS.get(alpha, ""),
        size=image_size if image_size in spec.weight_sizes else spec.default_size,
    )
    return f"{_STORAGE}/{file}"
