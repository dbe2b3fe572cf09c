"""The page beside an exported model: how to call each form of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headstart.export.formats import FORMATS, FormatName
from headstart.export.record import ExportedModel
from headstart.export.summary import comparisons

RANDOM = """
> **WARNING: RANDOM WEIGHTS.** The backbone of this model was never pretrained (`backbone.weights:
> random`), so nothing was transferred to it. It shows that the files work; do not rely on its
> answers. For real work set `backbone.weights` to pretrained weights and run the pipeline again.
"""

_SAVED_MODEL = """## `saved_model/`: from an image's file to its label

Decodes, turns upright, resizes and classifies by itself; needs TensorFlow alone.

```python
import tensorflow as tf

model = tf.saved_model.load("saved_model")
content = tf.constant([open("image.jpg", "rb").read()])
answer = model.signatures["serving_default"](content=content)
print(answer["label"][0].numpy().decode(), float(answer["probability"][0]))
```

`probabilities` has a row for each image, `classes` the names of its columns. The signature
`pixels` takes uint8 RGB of shape (n, {size}, {size}, 3) instead. Bytes that are no image end the
call with an error. TensorFlow Serving serves this folder as it is.

What it does not do as training did:

{limits}
"""
_PIXELS = """## The other formats: from pixels to probabilities

They take RGB pixels from 0 to 255 of an image resized to {size} × {size}; what the backbone wants
of them is done inside. The first lines of each example, and its last:

```python
import json

import numpy as np
from PIL import Image, ImageOps

labels = json.load(open("labels.json", encoding="utf-8"))
image = ImageOps.exif_transpose(Image.open("image.jpg")).convert("RGB")
pixels = np.asarray(image.resize(({size}, {size}), Image.Resampling.BILINEAR))[None]


def show(probabilities):
    print(labels[int(np.argmax(probabilities))], float(np.max(probabilities)))
```
"""
_KERAS = """### `{path}`: {title}

Standard layers alone, so that it loads in safe mode without any code of the project. A batch of any
size, uint8 or float32.

```python
import keras

model = keras.models.load_model("{path}")
show(model.predict(pixels, verbose=0)[0])
```
"""
_LITERT = """### `{path}`: {title}

For telephones and small machines, without TensorFlow (`pip install ai-edge-litert`). One image at
a time, uint8 in, float32 out.{more}

```python
from ai_edge_litert.interpreter import Interpreter

network = Interpreter(model_path="{path}")
network.allocate_tensors()
network.set_tensor(network.get_input_details()[0]["index"], pixels)
network.invoke()
show(network.get_tensor(network.get_output_details()[0]["index"])[0])
```
"""
_MORE = {
    "tflite_float16": " The weights are rounded to float16, which halves the file.",
    "tflite_int8": (
        " Weights and activations are int8, calibrated on training images; the last operation is "
        "float32."
    ),
}
_ONNX = """### `{path}`: {title}

For ONNX Runtime (`pip install onnxruntime`) and whatever else reads ONNX. A batch of any size,
uint8.

```python
import onnxruntime

session = onnxruntime.InferenceSession("{path}", providers=["CPUExecutionProvider"])
show(session.run(["probabilities"], {{"pixels": pixels}})[0][0])
```
"""
_TEMPLATES = {"keras": _KERAS, "litert": _LITERT, "onnxruntime": _ONNX}


def readme(model: ExportedModel, summary: Mapping[str, Any], not_covered: Sequence[str]) -> str:
    """The page, in Markdown: what was compared, and a few lines of Python for each form.

    Parameters
    ----------
    model : ExportedModel
    summary : mapping
        The metrics.
    not_covered : sequence of str
        Sentences without a full stop: where the SavedModel does otherwise than training.
    """
    size, backbone = model.image_size, model.backbone
    limits = "\n".join(f"- {sentence}." for sentence in not_covered)
    parts = [
        f"""# An image classifier
{RANDOM if backbone.random_weights else ""}
{len(model.classes)} classes (`labels.json`, `labels.txt`: in the order of the outputs), on
{backbone.name} at {size} pixels. What it was made of, how well it does and what it is not for:
`MODEL_CARD.md`. License of the backbone's weights: {model.license}.

Every form was loaded again in a fresh process and compared with the evaluated model on
{summary["images"]} test images before it was kept:

{parity_table(summary)}

`headstart predict --model FOLDER IMAGE…` uses it from the command line; `model.json` lists the
formats, with the sha256 of each file, for programs.
"""
    ]
    names: list[FormatName] = [name for name in FORMATS if name in model.formats]
    if "saved_model" in names:
        parts.append(_SAVED_MODEL.format(size=size, limits=limits))
    others = [name for name in names if name != "saved_model"]
    if others:
        parts.append(_PIXELS.format(size=size))
    for name in others:
        form = FORMATS[name]
        parts.append(
            _TEMPLATES[form.library].format(
                path=form.path, title=form.title, more=_MORE.get(name, "")
            )
        )
    return "\n".join(parts)


def parity_table(summary: Mapping[str, Any]) -> str:
    """The comparisons as a Markdown table."""
    lines = [
        "| form | MB | a probability differs by at most | same first guess |",
        "|---|---:|---:|---:|",
    ]
    lines += [
        f"| {title} | {size} | {found['probability_differs_at_most']:g} "
        f"| {found['same_first_guess']} of {found['images']} |"
        for title, size, found in comparisons(summary)
    ]
    return "\n".join(lines)
