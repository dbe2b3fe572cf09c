"""``corrections.csv``: what people decided about images, one line per decision, kept by git.

``keep``: the label is right; with another image as its value, the two are right as they are.
``relabel``: the image is of the class in ``value``. ``remove``: it is not used. ``same_object``: it
shows the same object as the image in ``value``. ``new_class``: corrections may use the class in
``value``, which no image of the source has; such a line names no image.

The file is written sorted. It is read in any order and as spreadsheets save it, because people edit
it, too.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from headstart._utils.csv_text import csv_text, original
from headstart._utils.errors import HeadstartError
from headstart._utils.files import write_text
from headstart._utils.tables import plain

COLUMNS = ("image_id", "action", "value", "note")
ACTIONS = ("keep", "relabel", "remove", "same_object", "new_class")
_MOST_BYTES = 64_000_000
_MOST_FAULTS = 10
_MOST_NAME = 1000
_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, order=True)
class Correction:
    """A line of the file.

    Attributes
    ----------
    image_id : str
        "" for ``new_class``.
    action : str
        One of :data:`ACTIONS`.
    value : str
        A class, another image's id, or "".
    note : str
        For people.
    line : int
        Where it stands in the file; 0 if it was not read from one.
    """

    image_id: str
    action: str
    value: str = ""
    note: str = ""
    line: int = 0

    @property
    def pair(self) -> tuple[str, str] | None:
        """The two images that it speaks of, in order; None if it speaks of one."""
        if not self.value or self.action not in {"keep", "same_object"}:
            return None
        return min(self.image_id, self.value), max(self.image_id, self.value)


def read_corrections(path: Path) -> list[Correction]:
    """Read and check the file.

    Raises
    ------
    HeadstartError
        Naming every faulty line, and lines that contradict each other.
    """
    rows = list(_rows(path))
    faults = [f"line {row.line}: {fault}" for row in rows if (fault := _fault(row))]
    faults += contradictions(rows)
    if faults:
        raise _refused(path, faults)
    return rows


def write_corrections(path: Path, rows: Iterable[Correction]) -> None:
    """Write the file: sorted, each decision once, the smaller image of a pair first."""
    found: dict[tuple[str, str, str], str] = {}
    for row in sorted(rows, key=lambda row: (row.image_id, row.action, row.value, row.line)):
        first, second = row.pair or (row.image_id, row.value)
        key = (first, row.action, second)
        found[key] = found.get(key) or " ".join(row.note.split())
    lines = sorted((*key, note) for key, note in found.items())
    write_text(path, csv_text(pd.DataFrame(lines, columns=list(COLUMNS), dtype="str")))


def contradictions(rows: Sequence[Correction]) -> list[str]:
    """Return a sentence for each image or pair that lines decide differently."""
    said: defaultdict[tuple[str, ...], list[Correction]] = defaultdict(list)
    for row in rows:
        if row.action != "new_class":
            said[row.pair or (row.image_id,)].append(row)
    found = []
    for key, lines in said.items():
        decisions = {(row.action, "" if row.pair else row.value): row for row in lines}
        if len(decisions) > 1 and len(key) <= 2:
            stated = " and ".join(
                f"line {row.line} says {plain(f'{row.action} {row.value}'.strip())!r}"
                for row in sorted(decisions.values(), key=lambda row: row.line)
            )
            found.append(f"{stated} of {' and '.join(each[:12] for each in key)}")
    return found


def class_fault(name: str) -> str:
    """Return why a text is no name of a class; "" if it is one."""
    if not name.strip() or name != name.strip():
        return "must be a class, without white space around it"
    if len(name) > _MOST_NAME or any(unicodedata.category(each) in {"Cc", "Cs"} for each in name):
        return f"must be a class: up to {_MOST_NAME:,} characters, none of them a control character"
    return ""


def _rows(path: Path) -> Iterator[Correction]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise HeadstartError(
                f"{path} has more than {_MOST_BYTES:,} bytes. It was not read. Relabel so many "
                "images in the source instead."
            )
        text = path.read_bytes().decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = next(reader, [])
        if header != list(COLUMNS):
            raise _refused(path, [f"the first line must be `{','.join(COLUMNS)}`, got {header}"])
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(COLUMNS):
                fault = f"line {reader.line_num}: expected {len(COLUMNS)} cells, got {len(cells)}"
                raise _refused(path, [fault])
            image_id, action, value, note = map(original, cells)
            yield Correction(image_id, action, value, note, reader.line_num)
    except FileNotFoundError:
        raise HeadstartError(
            f"{path} is missing. Nothing was corrected. `git checkout -- {path}` restores it; a "
            f"file with the line `{','.join(COLUMNS)}` alone corrects nothing."
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise _refused(path, [f"it is no CSV file in UTF-8 ({error})"]) from None


def _is_other(row: Correction) -> str:
    if _ID.fullmatch(row.value) and row.value != row.image_id:
        return ""
    return f"the value of {row.action} must be the id of another image, got {plain(row.value)!r}"


def _is_class(row: Correction) -> str:
    fault = class_fault(row.value)
    return fault and f"the value of {row.action} {fault}, got {plain(row.value)!r}"


def _is_empty(row: Correction) -> str:
    return f"{row.action} takes no value, got {plain(row.value)!r}" if row.value else ""


_VALUES: Mapping[str, Callable[[Correction], str]] = {
    "keep": lambda row: row.value and _is_other(row),
    "relabel": _is_class,
    "remove": _is_empty,
    "same_object": _is_other,
    "new_class": _is_class,
}


def _fault(row: Correction) -> str:
    if row.action not in _VALUES:
        return f"the action must be one of {', '.join(ACTIONS)}, got {plain(row.action)!r}"
    if row.action == "new_class":
        if row.image_id:
            return "new_class names no image: leave image_id empty"
    elif not _ID.fullmatch(row.image_id):
        return f"image_id must be 64 hexadecimal digits, got {plain(row.image_id)!r}"
    return _VALUES[row.action](row)


def _refused(path: Path, faults: Sequence[str]) -> HeadstartError:
    shown = "".join(f"\n  {fault}" for fault in faults[:_MOST_FAULTS])
    more = len(faults) - _MOST_FAULTS
    rest = f"\n  and {more:,} more" if more > 0 else ""
    return HeadstartError(
        f"{path} cannot be applied:{shown}{rest}\nNothing was corrected. Correct these lines, or "
        f"take the committed file with `git checkout -- {path}`; then run again."
    )
