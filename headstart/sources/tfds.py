"""A data set that TensorFlow Datasets has prepared, read in place and without TensorFlow.

Nothing is downloaded or prepared here: TFDS' own downloader neither resumes nor is bounded. The
images are the encoded files that were prepared, so that an image's id is that of the original
file; arrays are written as PNG without compression, whose bytes follow from the pixels alone.
The splits are recognized by their names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headstart._utils.errors import ImageError, SourceError
from headstart._utils.names import name_fault, shown
from headstart.images.png import canonical_png
from headstart.sources.layout import split_of
from headstart.sources.source import Assignment, Entry, label_of
from headstart.sources.tfds_prepared import (
    Features,
    chosen,
    find_prepared,
    opened,
    partly,
    read_records,
)

_MOST_EXAMPLES = 2_000_000


@dataclass
class _Split:
    """One split of the data set, with the assignments of its examples."""

    name: str
    meaning: str | None
    assignments: dict[str, Assignment] = field(default_factory=dict)


class TfdsSource:
    """The examples of a prepared data set, as ``SPLIT/NUMBER`` in their order.

    Parameters
    ----------
    name : str
        ``NAME:VERSION`` or ``NAME/CONFIG:VERSION``.
    location : Path
        The first place to look: a folder of prepared data sets, or the data set's own.
    features : Features
    splits : mapping of str to str, or None
        Split of the data set to ours; None: the usual names. Empty: not divided.
    max_bytes, max_total_bytes : int
        Bounds on an example and on all of them.

    Raises
    ------
    SourceError
        If it is not prepared, or does not consist of images with classes.
    """

    def __init__(
        self,
        name: str,
        location: Path,
        features: Features,
        splits: Mapping[str, str] | None,
        max_bytes: int,
        max_total_bytes: int,
    ) -> None:
        self._name, self._max_bytes = name, max_bytes
        self.origin = f"The data set {name}"
        self._folder = find_prepared(name, location)
        self._builder = opened(self._folder)
        self._check_files(max_total_bytes)
        self._image, self._label, self._group = chosen(self._builder.info, features, name)
        self._splits = self._divided(splits)
        self.assignments = _ExampleAssignments(name, self._label, self._splits)
        self.entries = [entry for split in self._splits for entry in self._list(split)]
        print(f"Read from {self._folder}", flush=True)

    def contents(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes | ImageError]]:
        """Yield the image of each wanted example, in the order of the data set."""
        for split in self._splits:
            if not any(path in wanted for path in split.assignments):
                continue
            for path, example in self._examples(split, {self._image}):
                if path in wanted:
                    yield path, _encoded(example[self._image])

    def _divided(self, splits: Mapping[str, str] | None) -> list[_Split]:
        """Return the data set's splits, each with its meaning."""
        own = sorted(self._builder.info.splits)
        absent = sorted(set(splits or {}) - set(own))
        if absent:
            raise SourceError(
                f"`download.splits` names {', '.join(absent)}; {self._name} has the splits "
                f"{', '.join(own)}. Nothing was written."
            )
        if splits is None:
            return [_Split(name, split_of(name)) for name in own]
        return [_Split(name, splits.get(name) if splits else "") for name in own]

    def _list(self, split: _Split) -> Iterator[Entry]:
        """Yield the entries of a split: this reads their labels and measures their images."""
        if split.meaning is None:
            for number in range(self._builder.info.splits[split.name].num_examples):
                detail = (
                    f"its split is {split.name!r}, which is none of train, validation and test; "
                    "`download.splits` says what it is"
                )
                yield Entry(_path(split, number), 0, ("no_class", detail))
            return
        names = {self._image, self._label} | ({self._group} if self._group else set())
        for path, example in self._examples(split, names):
            if example is None:
                detail = f"its record has more than {self._max_bytes:,} bytes"
                yield Entry(path, 0, ("too_large", detail))
                continue
            image = example[self._image]
            size = len(image) if isinstance(image, bytes) else int(image.nbytes)
            assignment = self._assignment(split, example)
            if isinstance(assignment, Assignment):
                split.assignments[path] = assignment
                yield Entry(path, size)
            else:
                yield Entry(path, size, assignment)

    def _assignment(
        self, split: _Split, example: Mapping[str, Any]
    ) -> Assignment | tuple[str, str]:
        feature, value = self._builder.info.features[self._label], example[self._label]
        if isinstance(value, bytes):
            label = value.decode("utf-8", "surrogateescape")
        elif hasattr(feature, "int2str"):
            if not 0 <= int(value) < feature.num_classes:
                return "no_class", f"its {self._label} is {int(value)}: it has no class"
            label = feature.int2str(int(value))
        else:
            label = str(int(value))
        group = ""
        if self._group:
            value = example[self._group]
            group = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
            if fault := name_fault(group):
                return "bad_name", f"its group {shown(group)!r}: {fault}"
        return Assignment(label_of(label), split.meaning or "", group)

    def _examples(self, split: _Split, names: set[str]) -> Iterator[tuple[str, Any]]:
        """Yield path and decoded features of each example; None for one that is too large."""
        info = self._builder.info
        features, decoders = partly(info.features, names)
        files = [Path(path) for path in info.splits[split.name].filepaths]
        number = 0
        for record in read_records(files, info.file_format.value, 2 * self._max_bytes):
            path = _path(split, number)
            number += 1
            if record is None:
                yield path, None
                continue
            try:
                example = features.deserialize_example_np(record, decoders=decoders)
            except Exception as error:  # a damaged record can raise anything
                raise SourceError(
                    f"{self._folder}: example {number - 1} of {split.name} cannot be read: "
                    f"{error}. Prepare the data set anew."
                ) from error
            yield path, example
        stated = info.splits[split.name].num_examples
        if number != stated:
            raise SourceError(
                f"{self._folder}: {split.name} holds {number:,} examples, and dataset_info.json "
                f"says {stated:,}. It was not prepared to the end, or damaged. Prepare it anew."
            )

    def _check_files(self, most: int) -> None:
        """Check the files and numbers of the description, which a stranger wrote."""
        splits = self._builder.info.splits.values()
        files = [Path(path) for split in splits for path in split.filepaths]
        outside = next((path for path in files if path.parent != self._folder), None)
        if outside is not None:
            raise SourceError(f"{self._folder} names {outside}, which is outside of it.")
        examples = sum(split.num_examples for split in splits)
        if examples > _MOST_EXAMPLES:
            raise SourceError(
                f"{self._folder} says that it holds {examples:,} examples; at most "
                f"{_MOST_EXAMPLES:,} are read. Nothing was written."
            )
        total = sum(path.stat().st_size for path in files if path.is_file())
        if total > most:
            raise SourceError(
                f"{self._folder} holds {total:,} bytes; `download.max_total_bytes` allows "
                f"{most:,}. Nothing was written. Raise it if you want the images."
            )


@dataclass(frozen=True)
class _ExampleAssignments:
    """The assignments of the examples."""

    name: str
    label: str
    splits: Sequence[_Split]

    def assign(self, path: str) -> Assignment | tuple[str, str]:
        """Return the assignment of an example."""
        name = path.rpartition("/")[0]
        return next(split for split in self.splits if split.name == name).assignments[path]

    def describe(self) -> str:
        """Return splits and classes in a sentence."""
        counts: Counter[str] = Counter()
        for split in self.splits:
            counts.update(each.label for each in split.assignments.values())
        labels = sorted(counts)
        named = ", ".join(labels[:8]) + (", …" if len(labels) > 8 else "")
        parts = ", ".join(
            f"{len(split.assignments):,} of {split.name}"
            + (f" as {split.meaning}" if split.meaning not in {split.name, ""} else "")
            for split in self.splits
            if split.meaning is not None
        )
        left = ", ".join(split.name for split in self.splits if split.meaning is None)
        said = f"Read {self.name}: {parts}; {len(labels)} classes ({named}) from {self.label!r}."
        return f"{said} Left out: {left} (`download.splits` says what it is)." if left else said


def _encoded(image: Any) -> bytes | ImageError:
    if isinstance(image, bytes):
        return image
    return canonical_png(np.asarray(image, np.uint8))


def _path(split: _Split, number: int) -> str:
    return f"{split.name}/{number:08}"
