"""What an export says of itself: the page beside the files, and the lines at the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stages.artifacts.backbone_record import BackboneRecord
from stages.artifacts.model_folder import ModelRecord
from stages.core.backbones import BACKBONES
from stages.core.tables import plain

_SHOWN = 20
_TITLES = {
    "keras": "Keras file, same pixels",
    "saved_model_pixels": "SavedModel, same pixels",
    "saved_model_bytes": "SavedModel, picture files",
    "rounding": "Keras file, against the evaluated predictions from features rounded to float16",
}
_RANDOM = """
> **WARNING: RANDOM WEIGHTS.** The base of this model was never pretrained (`backbone.weights:
> random`), so nothing was transferred to it. It shows that the files work; do not rely on its
> answers. For real work set `backbone.weights` to pretrained weights and run the pipeline again.
"""


def describe(summary: Mapping[str, Any], refused: Mapping[str, str]) -> str:
    """The metrics in a few lines.

    Parameters
    ----------
    summary : mapping
        The metrics.
    refused : mapping of str to str
        Path of each picture that the SavedModel refused, and why.
    """
    rounded = "rounding" in summary
    against = "the head on unrounded features" if rounded else "the evaluated predictions"
    lines = [f"Exported and reloaded, against {against}:"]
    for name, title in _TITLES.items():
        if name not in summary:
            continue
        found = summary[name]
        count = summary["pictures"] - (len(refused) if name == "saved_model_bytes" else 0)
        lines.append(
            f"  {title}: a probability differs by at most "
            f"{found['probability_differs_at_most']:g}, "
            f"same first guess on {found['same_first_guess']} of {count}"
        )
    return "\n".join([*lines, *_refusals(refused, summary["pictures"])])


def _refusals(refused: Mapping[str, str], pictures: int) -> list[str]:
    if not refused:
        return []
    lines = [f"The SavedModel refuses {len(refused)} of {pictures} pictures that training took:"]
    shown = list(refused.items())[:_SHOWN]
    lines += [f"  {plain(path)}: {plain(reason)}" for path, reason in shown]
    more = len(refused) - len(shown)
    return [*lines, f"  and {more} more"] if more else lines


def labels_text(classes: Sequence[str]) -> str:
    """A class name a line; line breaks within a name become blanks (labels.json is exact)."""
    return "".join(" ".join(name.splitlines()) + "\n" for name in classes)


def _licence(backbone: BackboneRecord) -> str:
    known = BACKBONES.get(backbone.name)
    if known is None or backbone.weights not in {"imagenet", "shipped"}:
        return "not known here; they did not come with the project"
    return known.licence or "not stated by its authors"


def readme(record: ModelRecord, backbone: BackboneRecord, not_covered: Sequence[str]) -> str:
    """How to use what was exported, in five lines each, and what it does not do.

    Parameters
    ----------
    record : ModelRecord
    backbone : BackboneRecord
    not_covered : sequence of str
        Sentences without a full stop: where the SavedModel does otherwise than training.
    """
    size, count = backbone.image_size, len(record.classes)
    limits = "\n".join(f"- {sentence}." for sentence in not_covered)
    warning = _RANDOM if backbone.random_weights else ""
    return f"""# An image classifier
{warning}
{count} classes (`labels.json`, `labels.txt`: in the order of the outputs), on {backbone.name} at
{size} pixels. Every file was loaded again and compared with the evaluated model before it was kept.

License of the base's weights: {_licence(backbone)}.

## `saved_model/`: from a picture's file to its label

Decodes, turns upright, resizes and classifies by itself; needs TensorFlow alone.

```python
import tensorflow as tf
model = tf.saved_model.load("saved_model")
content = tf.constant([open("picture.jpg", "rb").read()])
answer = model.signatures["serving_default"](content=content)
print(answer["label"][0].numpy().decode(), float(answer["probability"][0]))
```

`probabilities` has a row for each picture, `classes` the names of its columns. The signature
`pixels` takes uint8 RGB of shape (n, {size}, {size}, 3) instead. Bytes that are no picture end the
call with an error.

What it does not do as training did:

{limits}

## `model.keras`: from pixels to probabilities

Standard layers alone, preprocessing inside: values from 0 to 255, RGB, resized to {size} × {size}
with an antialiasing bilinear filter (Pillow's `BILINEAR`).

```python
import json, keras, numpy as np
from PIL import Image
model = keras.saving.load_model("model.keras")
picture = Image.open("picture.jpg").convert("RGB").resize(({size}, {size}), Image.BILINEAR)
print(json.load(open("labels.json"))[int(model.predict(np.asarray(picture)[None]).argmax())])
```
"""
