"""Train the small backbone on labels and a teacher's features; a later run resumes the training."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import CorruptFileError
from headstart._utils.files import atomic_file, read_json, write_text
from headstart._utils.progress import progress
from headstart._utils.seeds import derive
from headstart.keras.networks.headstart_small import build_small, write_shipped
from headstart.keras.networks.pretrained import draw
from headstart.keras.runtime import configure, fresh_names, keras, tf
from pretraining.settings import TrainParams, continues, parse_paths, rate_at, read_settings
from pretraining.views import Views, draw_views, targets, whole

#: One row an epoch: what the log holds.
Row = dict[str, float]


@dataclass(frozen=True)
class Images:
    """The images to train on.

    Attributes
    ----------
    pixels : ndarray of shape (n, side, side, 3), uint8
    labels : ndarray of shape (n,), int32
    maps : ndarray of shape (n, cells, cells, d)
        The teacher's targets.
    classes : int
    """

    pixels: npt.NDArray[np.uint8] = field(repr=False)
    labels: npt.NDArray[np.int32] = field(repr=False)
    maps: npt.NDArray[np.floating] = field(repr=False)
    classes: int


def pretrain(
    data: Images,
    params: TrainParams,
    seed: int,
    checkpoint: Path,
    log: Callable[[list[Row]], None],
) -> keras.Model:
    """Train, or resume from a checkpoint.

    Parameters
    ----------
    checkpoint : Path
        Read if it exists, written after every epoch. A run that was interrupted and resumed
        gives the same bits as one that was not.
    log : callable
        Receives the rows of all epochs after each epoch.

    Returns
    -------
    keras.Model
        The headless network with averaged weights, for images of any size.
    """
    configure(params.threads, derive(seed, "pretraining"))
    trainer = Trainer(data, params, seed)
    rows = trainer.restore(checkpoint)
    for epoch in range(len(rows) + 1, params.epochs + 1):
        rows.append(trainer.epoch(epoch))
        trainer.save(checkpoint, rows)
        log(rows)
    return trainer.averaged()


def held_out(labels: npt.NDArray[np.int32], share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Choose the images that only measure: the same share of each class, at least one."""
    chosen = np.zeros(len(labels), bool)
    generator = np.random.Generator(np.random.Philox(key=derive(seed, "held out")))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = max(1, round(share * len(members)))
        chosen[generator.permutation(members)[:count]] = True
    return chosen


class Trainer:
    """The network with its two heads, its optimizer and the running average of its weights."""

    def __init__(self, data: Images, params: TrainParams, seed: int) -> None:
        self.data, self.params, self.seed = data, params, seed
        apart = held_out(data.labels, params.held_out, seed)
        self.learned, self.measured = np.flatnonzero(~apart), np.flatnonzero(apart)
        self.model = _with_heads(data.classes, data.maps.shape[-1], seed)
        self.optimizer = keras.optimizers.AdamW(
            params.learning_rate, weight_decay=params.weight_decay, beta_2=0.99
        )
        self.optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        self.optimizer.build(self.model.trainable_variables)
        self.average = [tf.Variable(np.asarray(weight)) for weight in self.model.weights]
        self._steps = {side: self._step(side) for side in {*params.sizes, *params.last_sizes}}

    def epoch(self, number: int) -> Row:
        """Train on every image once, then measure the average; ``number`` counts from 1."""
        params = self.params
        order = self._generator("order", number).permutation(self.learned)
        steps = len(order) // params.batch or 1
        cooling = number > params.epochs - params.cool_down
        sides = self._generator("sizes", number).choice(
            params.last_sizes if cooling else params.sizes, steps
        )
        views = draw_views(len(self.data.labels), params, self.seed, number)
        sums = np.zeros(3)
        with progress(steps, f"Epoch {number}", "step") as bar:
            for step in range(steps):
                rows = order[step * params.batch : (step + 1) * params.batch]
                done = (number - 1) * steps + step + 1
                self.optimizer.learning_rate.assign(rate_at(done / steps, params))
                # A young average forgets its start sooner.
                share = min(params.averaging, done / (done + 9))
                values = self._steps[int(sides[step])](
                    *self._batch(rows, views), tf.constant(share, tf.float32)
                )
                sums += np.array([float(value) for value in values])
                bar.update()
        label_loss, distance, accuracy = sums / steps
        return {
            "epoch": number,
            "learning_rate": rate_at(number, params),
            "label_loss": float(label_loss),
            "teacher_distance": float(distance),
            "accuracy": float(accuracy),
            **self._measure(),
        }

    def _generator(self, name: str, epoch: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=derive(self.seed, name, epoch)))

    def _batch(self, rows: npt.NDArray[Any], views: Views) -> tuple[Any, ...]:
        boxes = views.boxes[rows]
        arrays = (
            self.data.pixels[rows],
            boxes,
            views.colors[rows],
            views.shifts[rows],
            targets(self.data.maps[rows], boxes),
            self.data.labels[rows],
        )
        return tuple(tf.convert_to_tensor(array) for array in arrays)

    def _step(self, side: int) -> Any:
        params, classes = self.params, self.data.classes
        variables = self.model.trainable_variables

        def step(
            pixels: Any, boxes: Any, colors: Any, shifts: Any, target: Any, labels: Any, share: Any
        ) -> tuple[Any, Any, Any]:
            images = seen(pixels, boxes, colors, shifts, side)
            wanted = tf.one_hot(labels, classes) * (1 - params.label_smoothing)
            wanted += params.label_smoothing / classes
            with tf.GradientTape() as tape:
                logits, imitation = self.model(images, training=True)
                label_loss = tf.reduce_mean(
                    tf.nn.softmax_cross_entropy_with_logits(labels=wanted, logits=logits)
                )
                distance = tf.reduce_mean(1 - cosine(imitation, target))
                loss = label_loss + params.distillation * distance
            self.optimizer.apply(tape.gradient(loss, variables))
            for average, weight in zip(self.average, self.model.weights, strict=True):
                average.assign(share * average + (1 - share) * weight.value)
            return label_loss, distance, _right(logits, labels)

        return tf.function(step)

    def _measure(self) -> Row:
        model = self.averaged_with_heads()
        right, near = [], []
        for start in range(0, len(self.measured), self.params.batch):
            rows = self.measured[start : start + self.params.batch]
            pixels, boxes, colors, shifts, target, labels = self._batch(
                rows, whole(len(self.data.labels))
            )
            images = seen(pixels, boxes, colors, shifts, self.data.pixels.shape[1])
            logits, imitation = model(images, training=False)
            right.append(float(_right(logits, labels)) * len(rows))
            near.append(float(tf.reduce_sum(cosine(imitation, target))))
        total = len(self.measured)
        return {
            "held_out_accuracy": sum(right) / total,
            "held_out_similarity": sum(near) / total,
        }

    def averaged_with_heads(self) -> keras.Model:
        """Return a separate model with the running average of all weights."""
        model = _with_heads(self.data.classes, self.data.maps.shape[-1], self.seed)
        for weight, average in zip(model.weights, self.average, strict=True):
            weight.assign(average)
        return model

    def averaged(self) -> keras.Model:
        """Return the headless part of :meth:`averaged_with_heads`."""
        backbone = build_small(None)
        given = {weight.path: weight for weight in self.averaged_with_heads().weights}
        for weight in backbone.weights:
            weight.assign(given[weight.path])
        return backbone

    def save(self, path: Path, rows: list[Row]) -> None:
        """Write everything that the next epoch depends on."""
        state: dict[str, Any] = {name: np.asarray(each) for name, each in self._variables().items()}
        state["rows"] = np.array([list(row.values()) for row in rows])
        state["recipe"] = np.array(self._recipe())
        with atomic_file(path) as file:
            np.savez(file, **state)

    def restore(self, path: Path) -> list[Row]:
        """Read what :meth:`save` wrote, if it is there; return the rows of the epochs done.

        Raises
        ------
        CorruptFileError
            If the file belongs to another recipe. A longer or shorter run is the same recipe,
            as long as neither has begun its cool-down.
        """
        if not path.is_file():
            return []
        with np.load(path, allow_pickle=False) as archive:
            found = dict(archive)
        rows, recipe = found.pop("rows"), json.loads(str(found.pop("recipe")))
        state = self._variables()
        shapes = {name: tuple(value.shape) for name, value in state.items()}
        if shapes != {name: array.shape for name, array in found.items()} or not continues(
            recipe, json.loads(self._recipe()), len(rows)
        ):
            raise CorruptFileError(
                f"{path} is the checkpoint of another recipe. Delete it to start again."
            )
        for name, variable in state.items():
            variable.assign(found[name])
        found_rows = [dict(zip(COLUMNS, map(float, row), strict=True)) for row in rows]
        return [{**row, "epoch": int(row["epoch"])} for row in found_rows]

    def _recipe(self) -> str:
        given = {"seed": self.seed, "images": len(self.data.labels)}
        return json.dumps({**self.params.model_dump(), **given}, sort_keys=True)

    def _variables(self) -> dict[str, Any]:
        groups = {
            "weight": self.model.weights,
            "optimizer": self.optimizer.variables,
            "average": self.average,
        }
        return {
            f"{group}.{number}": variable
            for group, variables in groups.items()
            for number, variable in enumerate(variables)
        }


#: The names of a row's values, in order.
COLUMNS = (
    "epoch",
    "learning_rate",
    "label_loss",
    "teacher_distance",
    "accuracy",
    "held_out_accuracy",
    "held_out_similarity",
)


def seen(pixels: Any, boxes: Any, colors: Any, shifts: Any, side: int) -> Any:
    """Return the network's input: crops at one size, with other colors, -1 to 1."""
    count = tf.shape(pixels)[0]
    crops = tf.image.crop_and_resize(pixels, boxes, tf.range(count), (side, side))
    flat = tf.reshape(crops / 127.5 - 1.0, (-1, side * side, 3))
    mixed = tf.clip_by_value(flat @ colors + shifts[:, None, :], -1.0, 1.0)
    return tf.reshape(mixed, (-1, side, side, 3))


def cosine(first: Any, second: Any) -> Any:
    """Return the cosine of the angle between the rows of two tensors of shape (n, d)."""
    return tf.reduce_sum(
        tf.math.l2_normalize(first, axis=1) * tf.math.l2_normalize(second, axis=1), axis=1
    )


def _right(logits: Any, labels: Any) -> Any:
    guess = tf.argmax(logits, axis=1, output_type=tf.int32)
    return tf.reduce_mean(tf.cast(guess == labels, tf.float32))


def _with_heads(classes: int, components: int, seed: int) -> keras.Model:
    """Return class logits and an imitation of the teacher, both linear in the pooled features."""
    with fresh_names():
        backbone = build_small(None)
        features = keras.layers.GlobalAveragePooling2D(name="pooling")(backbone.output)
        logits = keras.layers.Dense(classes, name="labels")(features)
        imitation = keras.layers.Dense(components, name="imitation")(features)
        model = keras.Model(backbone.input, [logits, imitation], name="pretraining")
    draw(model, seed)
    return model


def main() -> None:
    """Read the options, the parameters and the arrays, then train."""
    arrays = ("images", "labels", "classes", "targets")
    given = parse_paths("train", __doc__, "params", *arrays, "checkpoint", "weights", "log")
    settings = read_settings(given.params)

    def log(rows: list[Row]) -> None:
        lines = [",".join(repr(row[name]) for name in COLUMNS) for row in rows]
        write_text(given.log, "\n".join([",".join(COLUMNS), *lines]) + "\n")

    data = Images(
        np.load(given.images, allow_pickle=False),
        np.load(given.labels, allow_pickle=False),
        np.load(given.targets, allow_pickle=False),
        len(read_json(given.classes)),
    )
    write_shipped(
        given.weights, pretrain(data, settings.train, settings.seed, given.checkpoint, log)
    )


if __name__ == "__main__":
    main()
