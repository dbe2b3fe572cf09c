"""The strict base class of the sections of params.yaml, and common types."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Discriminator, Field, GetCoreSchemaHandler, Tag

from headstart._utils.records import Record


class Section(Record):
    """A section of params.yaml: no unknown keys, no coercion, immutable."""

    def faults_beside(self, params: Any) -> Iterator[tuple[str, str]]:  # noqa: ARG002 - for sections that compare
        """Yield the keys whose values do not fit another section, each with a sentence about it.

        Parameters
        ----------
        params : record
            All sections, each of which is right by itself.
        """
        return iter(())


@dataclass(frozen=True)
class OneOf:
    """Restrict a text to the keys of a table, as ``Literal`` would: ``Annotated[str, OneOf(T)]``.

    Parameters
    ----------
    names : collection of str
    """

    names: Collection[str]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        """Return the schema of the literal, with its errors and its description."""
        return handler.generate_schema(Literal[tuple(self.names)])


PositiveInt = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
#: Beyond these, a typing error would fill the memory or run forever.
Epochs = Annotated[int, Field(ge=1, le=10_000)]
BatchSize = Annotated[int, Field(ge=1, le=65_536)]
Units = Annotated[int, Field(ge=1, le=65_536)]
Threads = Annotated[int, Field(ge=1, le=1024)]
Steps = Annotated[int, Field(ge=1, le=1_000_000)]
Share = Annotated[float, Field(gt=0, lt=1)]
Portion = Annotated[float, Field(ge=0, le=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]


#: Bits that white has in 16-bit gray images of a camera of fewer; the network gets the upper 8.
Gray16Bits = Annotated[int, Field(ge=8, le=15)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]

T = TypeVar("T")


def _branch(value: Any) -> Literal["one", "several"]:
    return "several" if isinstance(value, list) else "one"


#: A value, or a list of a few that are tried in turn. An error names the fault of the branch that
#: was meant.
Several = Annotated[
    Annotated[T, Tag("one")]
    | Annotated[list[T], Field(min_length=1, max_length=8), Tag("several")],
    Discriminator(_branch),
]


def as_list(value: Any) -> list[Any]:
    """Return the values of a :data:`Several`."""
    return value if isinstance(value, list) else [value]
