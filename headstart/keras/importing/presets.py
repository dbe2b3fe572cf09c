"""What an import knows beforehand: the packages of its environment, and presets of KerasHub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headstart.backbones.registry import Preprocessing

#: The prefix of a source in KerasHub.
KERAS_HUB = "keras_hub:"

#: Everything that the environment holds, installed without looking for dependencies. TensorFlow is
#: the version of Headstart, which reads the result. (tensorflow-text, for texts, is left out.)
PACKAGES = (
    "absl-py==2.5.1",
    "anyio==4.16.0",
    "astunparse==1.6.3",
    "certifi==2026.10.19.post1",
    "charset-normalizer==3.5.3",
    "click==8.5.1",
    "filelock==4.3.1",
    "flatbuffers==25.12.19",
    "fsspec==2026.9.0",
    "gast==0.7.0",
    "google-pasta==0.2.0",
    "grpcio==1.85.3",
    "h11==0.16.0",
    "h5py==3.14.0",
    "hf-xet==1.8.0",
    "httpcore2==2.16.2",
    "httpx2==2.16.2",
    "huggingface-hub==2.4.0",
    "idna==3.20",
    "kagglehub==1.0.2",
    "kagglesdk==0.1.28",
    "keras-hub==0.32.0",
    "keras==3.15.1",
    "markdown-it-py==4.3.0",
    "mdurl==0.1.2",
    "ml-dtypes==0.6.0",
    "namex==0.1.0",
    "numpy==2.4.6",
    "opt-einsum==3.4.0",
    "optree==0.20.0",
    "packaging==26.4",
    "protobuf==7.36.2",
    "pygments==2.21.0",
    "pyyaml==6.0.4",
    "regex==2026.11.19",
    "requests==2.34.2",
    "rich==15.0.0",
    "safetensors==0.8.0",
    "six==1.17.0",
    "tensorflow==2.21.0",
    "termcolor==3.3.0",
    "tokenizers==0.23.3",
    "tqdm==4.70.1",
    "truststore==0.10.5",
    "typing-extensions==4.16.0",
    "urllib3==2.8.0",
    "wrapt==2.5.2",
)


@dataclass(frozen=True)
class Family:
    """Presets of one kind.

    Attributes
    ----------
    preprocessing : Preprocessing
        The scaling of their pixels, where a preset does not state its own.
    license : str
        Of the published weights.
    """

    preprocessing: Preprocessing
    license: str


#: By the start of a preset's name; the longest that fits holds.
FAMILIES = {
    "dinov2": Family("torch", "Apache-2.0"),
    "efficientnet2": Family("tf", "Apache-2.0"),
    "mobilenetv5": Family("unit", "Gemma Terms of Use"),
    "siglip": Family("tf", "Apache-2.0"),
    "vit": Family("tf", "Apache-2.0"),
}

#: Presets whose network can be built without a download, for ``--random-weights``: its class in
#: KerasHub, and the arguments or the configuration of timm that KerasHub holds. ``vit_small`` is no
#: preset; the weights of such a network are on Hugging Face.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "dinov2_small": {
        "class": "DINOV2Backbone",
        "arguments": {
            "patch_size": 14, "num_layers": 12, "hidden_dim": 384, "num_heads": 6,
            "intermediate_dim": 1536, "image_shape": [224, 224, 3],
            "position_embedding_shape": [518, 518, 3],
        },
    },
    "efficientnet2_rw_t_ra2_imagenet": {
        "class": "EfficientNetBackbone",
        "converter": "convert_efficientnet",
        "timm": "efficientnetv2_rw_t",
    },
    "mobilenetv5_300m_enc_gemma3n": {
        "class": "MobileNetV5Backbone",
        "converter": "convert_mobilenetv5",
        "timm": "mobilenetv5_300m_enc",
    },
    "siglip_base_patch16_224": {
        "class": "SigLIPVisionEncoder",
        "arguments": {
            "patch_size": 16, "hidden_dim": 768, "num_layers": 12, "num_heads": 12,
            "intermediate_dim": 3072, "image_shape": [224, 224, 3],
        },
    },
    "vit_base_patch16_224_imagenet": {
        "class": "ViTBackbone",
        "arguments": {
            "image_shape": [224, 224, 3], "patch_size": 16, "num_layers": 12, "num_heads": 12,
            "hidden_dim": 768, "mlp_dim": 3072,
        },
    },
    "vit_small": {
        "class": "ViTBackbone",
        "arguments": {
            "image_shape": [224, 224, 3], "patch_size": 16, "num_layers": 12, "num_heads": 6,
            "hidden_dim": 384, "mlp_dim": 1536,
        },
    },
}  # fmt: skip


def family_of(preset: str) -> Family | None:
    """Return the family of a preset, by the last part of its handle; None if it has none here."""
    name = preset.rstrip("/").split("/")
    found = [
        (len(start), family)
        for start, family in FAMILIES.items()
        for part in name
        if part.lower().replace("-", "_").startswith(start)
    ]
    return max(found, key=lambda each: each[0])[1] if found else None
