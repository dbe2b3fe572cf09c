"""JSON files that describe other files: strict models with a format number."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headstart._utils.errors import CorruptFileError, faults_text
from headstart._utils.files import write_json

_MAX_BYTES = 64 << 20

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Record(BaseModel):
    """A part of a record: no unknown keys, no coercion, immutable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Facts(BaseModel):
    """A part of a JSON file of which we read some fields; the others are kept as they are."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)


R = TypeVar("R", bound=Record)


def write_record(path: Path, record: Record) -> None:
    """Write a record as canonical JSON."""
    write_json(path, record.model_dump(mode="json"))


def read_record(path: Path, kind: type[R], cure: str) -> R:
    """Read a record.

    Parameters
    ----------
    path : Path
    kind : type
        Class of the record.
    cure : str
        The remedy for a damaged file, as a sentence.

    Raises
    ------
    CorruptFileError
        Naming each field that is absent, unknown or of another type.
    """
    record: R = _read(path, kind, cure)
    if "format" not in record.model_fields_set:  # it has a default for those who write
        raise CorruptFileError(f"{path} does not state its format. {cure}")
    return record


def read_facts(path: Path, kind: type[BaseModel], cure: str) -> dict[str, Any]:
    """Read a JSON file of a known shape as plain values.

    Parameters
    ----------
    path : Path
    kind : type
        Its shape.
    cure : str
        The remedy for a damaged file, as a sentence.

    Raises
    ------
    CorruptFileError
        Naming each field that is absent, unknown or of another type.
    """
    facts: BaseModel = _read(path, kind, cure)
    return facts.model_dump()


def _read(path: Path, kind: type[BaseModel], cure: str) -> Any:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CorruptFileError(f"{path} is larger than any record. {cure}")
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CorruptFileError(f"{path} cannot be read: {error}. {cure}") from error
    except ValidationError as error:
        faults = faults_text(error)
        raise CorruptFileError(f"{path} is not a valid record: {faults}. {cure}") from None
