"""A data set that TensorFlow Datasets has prepared, read in place and without TensorFlow.

Nothing is downloaded or prepared here: TFDS' own downloader neither resumes nor is bounded. The
images are the encoded files that were prepared, so that an image's id is that of the original
file; arrays are written as PNG without compression, whose bytes follow from the pixels alone.
The splits are recognized by their names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headstart._utils.errors import ImageError, SourceError
from headstart._utils.names import name_fault, shown
from headstart._utils.tables import counted, listed
from headstart.images.png import canonical_png
from headstart.sources.class_names import spelling_note
from headstart.sources.folder_names import split_of
from headstart.sources.parameters import DownloadParams
from headstart.sources.source import Assignment, Entry, label_of
from headstart.sources.tfds_prepared import (
    chosen,
    find_prepared,
    opened,
    partly,
    read_records,
    without_nested,
)

_MOST_EXAMPLES = 2_000_000


class TfdsSource:
    """The examples of a prepared data set, as ``SPLIT/NUMBER`` in their order.

    Parameters
    ----------
    params : DownloadParams
        ``name`` is ``NAME:VERSION`` or ``NAME/CONFIG:VERSION``. ``splits`` leads from splits of the
        data set to ours (None: the usual names; empty: not divided). The limits are those of an
        example and of all of them.
    location : Path
        The first place to look: a folder of prepared data sets, or the data set's own.

    Raises
    ------
    SourceError
        If it is not prepared, or does not consist of images with classes.
    """

    def __init__(self, params: DownloadParams, location: Path) -> None:
        name = params.name or ""
        self._max_bytes = params.max_image_bytes
        self._spellings: set[str] = set()
        self.origin = f"The data set {name}"
        self._folder = find_prepared(name, location)
        self._info = opened(self._folder).info
        self._check_files(params.max_total_bytes)
        self._image, self._label, self._group = chosen(self._info, params.columns, name)
        splits = self._meanings(params.splits, name)
        self.entries = [
            entry for split, meaning in splits.items() for entry in self._list(split, meaning)
        ]
        self.summary = self._described(name, splits)
        print(f"Read from {self._folder}", flush=True)

    def contents(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes | ImageError]]:
        """Yield the image of each wanted example, in the order of the data set."""
        for split in sorted({path.rpartition("/")[0] for path in wanted}):
            for path, example in self._examples(split, {self._image}):
                if path in wanted:
                    image = example[self._image]
                    yield (
                        path,
                        image
                        if isinstance(image, bytes)
                        else canonical_png(np.asarray(image, np.uint8)),
                    )

    def _meanings(self, splits: Mapping[str, str] | None, name: str) -> dict[str, str | None]:
        """Return our split for each of the data set's; "" for none, None if unknown."""
        own = sorted(self._info.splits)
        if absent := sorted(set(splits or {}) - set(own)):
            raise SourceError(
                f"`download.splits` names {', '.join(absent)}; {name} has the splits "
                f"{', '.join(own)}. Nothing was written."
            )
        if splits is None:
            return {split: split_of(split) for split in own}
        return {split: splits.get(split) if splits else "" for split in own}

    def _list(self, split: str, meaning: str | None) -> Iterator[Entry]:
        """Yield the entries of a split: this reads their labels and measures their images."""
        if meaning is None:
            for number in range(self._info.splits[split].num_examples):
                detail = (
                    f"its split is {split!r}, which is none of train, validation and test; "
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
            assignment = self._assignment(meaning, example)
            if isinstance(assignment, Assignment):
                yield Entry(path, size, assignment=assignment)
            else:
                yield Entry(path, size, assignment)

    def _assignment(self, meaning: str, example: Mapping[str, Any]) -> Assignment | tuple[str, str]:
        feature, value = self._info.features[self._label], example[self._label]
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
        self._spellings.add(label)
        return Assignment(label_of(label), meaning, group)

    def _examples(self, split: str, names: set[str]) -> Iterator[tuple[str, Any]]:
        """Yield path and decoded features of each example; None for one that is too large."""
        info = self._info
        features, decoders = partly(info.features, names)
        files = [Path(path) for path in info.splits[split].filepaths]
        number = 0
        for record in read_records(files, info.file_format.value, 2 * self._max_bytes):
            path = _path(split, number)
            number += 1
            if record is None:
                yield path, None
                continue
            try:
                few = without_nested(record, names)
                example = features.deserialize_example_np(few, decoders=decoders)
            except Exception as error:  # a damaged record can raise anything
                raise SourceError(
                    f"{self._folder}: example {number - 1} of {split} cannot be read: "
                    f"{error}. Prepare the data set again."
                ) from error
            yield path, example
        stated = info.splits[split].num_examples
        if number != stated:
            raise SourceError(
                f"{self._folder}: {split} holds {number:,} examples, and dataset_info.json "
                f"says {stated:,}. It was not prepared to the end, or damaged. Prepare it again."
            )

    def _check_files(self, most: int) -> None:
        """Check the files and numbers of the description, which is untrusted."""
        splits = self._info.splits.values()
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

    def _described(self, name: str, splits: Mapping[str, str | None]) -> str:
        """Return splits and classes in a sentence."""
        counts = Counter(each.path.rpartition("/")[0] for each in self.entries if each.assignment)
        labels = sorted({each.assignment.label for each in self.entries if each.assignment})
        parts = ", ".join(
            f"{counts[split]:,} of {split}"
            + (f" as {meaning}" if meaning not in {split, ""} else "")
            for split, meaning in splits.items()
            if meaning is not None
        )
        left = ", ".join(split for split, meaning in splits.items() if meaning is None)
        said = (
            f"Read {name}: {parts}; {counted(len(labels), 'class', 'classes')} ({listed(labels)}) "
            f"from {self._label!r}."
        )
        if left:
            said += f" Left out: {left} (`download.splits` says what it is)."
        return f"{said}{spelling_note(self._spellings)}"


def _path(split: str, number: int) -> str:
    return f"{split}/{number:08}"
