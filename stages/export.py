"""Keras file and SavedModel from picture bytes to labels, reloaded and compared.

Both forms are loaded again as a stranger would load them and compared with the evaluated
predictions on the same test pictures; what does not agree is not written. Their bytes depend on the
model alone.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.artifacts.backbone_record import BackboneRecord, read_backbone
from stages.artifacts.labels import write_labels
from stages.artifacts.manifest import read_split
from stages.artifacts.model_folder import ModelRecord, read_head, read_model
from stages.artifacts.passes import refresh_table
from stages.artifacts.predictions import read_predictions
from stages.artifacts.shards import ShardReader
from stages.core import cli
from stages.core.cli import In, Out, Runtime
from stages.core.errors import HeadstartError
from stages.core.files import atomic_folder, write_json, write_text
from stages.core.journal import Journal
from stages.core.params.export import ExportParams

if TYPE_CHECKING:
    import pandas as pd

KERAS_FILE = "model.keras"
SAVED_MODEL = "saved_model"
#: What the text of a difference that must not depend on the CPU's last bits begins with.
_LEAST_POWER = -7


def main(
    images: In,
    manifest: In,
    backbone_folder: In,
    model: In,
    predictions: In,
    runtime: Runtime,  # noqa: ARG001 - checked by the command line
    export_folder: Out,
    metrics: Out,
    journal: Journal,
    export: ExportParams,
) -> None:
    """Build, write, reload, compare."""
    record, backbone = read_model(model), read_backbone(backbone_folder)
    evaluated = read_predictions(predictions, record.classes)
    chosen = choose(len(evaluated.rows), export.parity_pictures)
    rows = locate(evaluated.rows.iloc[chosen], read_split(manifest))
    with ShardReader(images) as reader:
        contents = [
            reader.read(*place)
            for place in zip(
                *(rows[name].tolist() for name in ("shard", "offset", "bytes", "image_id")),
                strict=True,
            )
        ]
    weights_folder = model if record.kind == "fine_tuned" else backbone_folder
    with atomic_folder(export_folder) as folder:
        outputs = write_and_run(folder, record, backbone, weights_folder, model, contents, journal)
        compared = {
            name: compare(evaluated.model[chosen], found) for name, found in outputs.items()
        }
        journal.note(differences={name: exact for name, (exact, _) in compared.items()})
        accept(compared, export.max_probability_difference)
        write_labels(folder / "labels.json", record.classes)
        write_text(folder / "labels.txt", labels_text(record.classes))
        write_text(folder / "README.md", readme(record, backbone))
    summary = summarize(compared, len(contents), export, record)
    write_json(metrics, summary)
    print(describe(summary))
    refresh_table(journal)


def choose(count: int, wanted: int) -> list[int]:
    """Evenly spaced rows: the same ones for the same numbers, and from every class."""
    return sorted({round(float(x)) for x in np.linspace(0, count - 1, min(count, wanted))})


def locate(pictures: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """The manifest's rows of some evaluated pictures, in their order.

    Raises
    ------
    HeadstartError
        If one is not in the manifest.
    """
    by_path = manifest.set_index("path", drop=False)
    unknown = [path for path in pictures["path"] if path not in by_path.index]
    if unknown:
        raise HeadstartError(
            f"The predictions speak of {unknown[0]!r}, which the manifest does not list. They come "
            "from different runs. Nothing was exported. Run the pipeline (`dvc repro`)."
        )
    return by_path.loc[pictures["path"].tolist()]


def write_and_run(
    folder: Path,
    record: ModelRecord,
    backbone: BackboneRecord,
    weights_folder: Path,
    head_folder: Path,
    contents: list[bytes],
    journal: Journal,
) -> dict[str, Any]:
    """Write both forms, load them again, and return what each says of the pictures.

    Returns
    -------
    dict of str to ndarray of shape (n_pictures, n_classes), float32
        ``keras`` and ``saved_model_pixels`` on our pixels, ``saved_model_bytes`` on the files.
    """
    from stages.engine.extraction import cores
    from stages.imaging.pixels import pixels
    from stages.nets.tf import configure  # isort: skip - before anything else of TensorFlow
    from stages.nets import model_io

    configure(cores())
    clock = _Clock()
    built = model_io.classifier(
        backbone, weights_folder, record.head, read_head(head_folder, record)
    )
    clock("building")
    model_io.save_saved_model(built, record.classes, folder / SAVED_MODEL)
    clock("saved_model")
    model_io.save_keras(built, folder / KERAS_FILE)
    clock("keras_file")
    batch = np.stack([pixels(content, backbone.image_size) for content in contents])
    clock("decoding")
    served = model_io.load_saved_model(folder / SAVED_MODEL)
    clock("loading_saved_model")
    outputs = {
        "saved_model_pixels": model_io.run_pixels(served, batch),
        "saved_model_bytes": model_io.run_bytes(served, contents)[1],
    }
    clock("running_saved_model")
    loaded = model_io.load_keras(folder / KERAS_FILE)
    clock("loading_keras_file")
    outputs["keras"] = model_io.run_keras(loaded, batch)
    clock("running_keras_file")
    journal.note(parts_seconds=clock.seconds)
    return outputs


class _Clock:
    """Seconds of each part, for the journal."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def __call__(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now


def compare(expected: Any, found: Any) -> tuple[float, int]:
    """Largest difference of a probability, and on how many pictures the first guess is the same."""
    difference = float(np.abs(np.asarray(expected, np.float64) - found).max())
    agree = int((expected.argmax(axis=1) == found.argmax(axis=1)).sum())
    return difference, agree


def accept(compared: dict[str, tuple[float, int]], limit: float) -> None:
    """Refuse an export that does not say on the same pixels what was evaluated.

    Raises
    ------
    HeadstartError
        Naming the form and the difference.
    """
    for name in ("keras", "saved_model_pixels"):
        difference = compared[name][0]
        if not difference <= limit:
            raise HeadstartError(
                f"The exported form `{name}` is not the evaluated model: on the same pixels a "
                f"probability differs by {difference:.3g}; export.max_probability_difference is "
                f"{limit:g}. Nothing was exported. If model and predictions are of one run, the "
                "limit is below what float32 gives for this base: 0.0001 is usual."
            )


def summarize(
    compared: dict[str, tuple[float, int]], count: int, params: ExportParams, record: ModelRecord
) -> dict[str, Any]:
    """The metrics: differences as bounds, since their last digits belong to the CPU."""
    forms = {
        name: {
            "probability_differs_at_most": at_most(difference),
            "same_first_guess": agree,
            "same_first_guess_share": agree / count,
        }
        for name, (difference, agree) in compared.items()
    }
    return {
        **forms,
        "kind": record.kind,
        "pictures": count,
        "probability_difference_accepted": params.max_probability_difference,
    }


def at_most(difference: float) -> float:
    """The next 1, 2 or 5 times a power of ten, at least 1e-7."""
    for power in range(_LEAST_POWER, 1):
        for digit in (1, 2, 5):
            bound = float(f"{digit}e{power}")
            if difference <= bound:
                return min(bound, 1.0)
    return 1.0


def describe(summary: dict[str, Any]) -> str:
    """The metrics in a few lines for the terminal."""
    names = {
        "keras": "Keras file, same pixels",
        "saved_model_pixels": "SavedModel, same pixels",
        "saved_model_bytes": "SavedModel, picture files",
    }
    lines = [
        f"  {title}: a probability differs by at most "
        f"{summary[name]['probability_differs_at_most']:g}, "
        f"same first guess on {summary[name]['same_first_guess']} of {summary['pictures']}"
        for name, title in names.items()
    ]
    return "\n".join(["Exported and reloaded, against the evaluated predictions:", *lines])


def labels_text(classes: tuple[str, ...]) -> str:
    """A class name a line; line breaks within a name become blanks (labels.json is exact)."""
    return "".join(" ".join(name.splitlines()) + "\n" for name in classes)


def readme(record: ModelRecord, backbone: BackboneRecord) -> str:
    """How to use what was exported, in five lines each, and what it does not do."""
    from stages.nets.inputs import NOT_COVERED

    size, count = backbone.image_size, len(record.classes)
    limits = "\n".join(f"- {sentence}." for sentence in NOT_COVERED)
    return f"""# An image classifier

{count} classes (`labels.json`, `labels.txt`: in the order of the outputs), on {backbone.name} at
{size} pixels. Every file was loaded again and compared with the evaluated model before it was kept.

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


if __name__ == "__main__":
    cli.run(main)
