"""Read params.yaml and report all its faults in one message.

It is read with ruamel.yaml, as DVC does: PyYAML would make ``1e-3`` a string and ``no`` False.
"""

from __future__ import annotations

import difflib
import importlib
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError, create_model
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    ScalarEvent,
)

import headstart
from headstart._utils.errors import ParameterError, UnfitError, upgrade_hint
from headstart._utils.names import without_credentials
from headstart._utils.tables import counted, spelled
from headstart.stage.sections import Section, Seed

#: Raised by ruamel in addition to its own errors, for a date such as 2020-99-99, a number of 5,000
#: digits, endlessly nested brackets, or ``!!omap 1``.
BROKEN = (ValueError, RecursionError, AttributeError)


@cache
def sections() -> Mapping[str, type[Section]]:
    """Return the section classes by name: ``SplitParams`` configures the section ``split``.

    They are found in the modules ``parameters`` of the library's rooms. These are imported by name,
    so that a stage statically imports only its own sections, and DVC re-runs it only for those.
    """
    found: dict[str, type[Section]] = {}
    rooms = {file.parent.name for file in Path(headstart.__path__[0]).glob("*/parameters.py")}
    for room in sorted(rooms - {"stage"}):
        module = importlib.import_module(f"headstart.{room}.parameters")
        for name, kind in vars(module).items():
            if (
                isinstance(kind, type)
                and issubclass(kind, Section)
                and kind.__module__ == module.__name__
                and name.endswith("Params")
            ):
                found[re.sub(r"(?<!^)(?=[A-Z])", "_", name.removesuffix("Params")).lower()] = kind
    return found


@cache
def params_model() -> type[BaseModel]:
    """Return the model of the whole file: ``seed`` and a field for each section."""
    fields: dict[str, Any] = {name: (kind, ...) for name, kind in sections().items()}
    return create_model("Params", __base__=Section, seed=(Seed, ...), **fields)


def read_params(path: Path) -> Any:
    """Read, check and return the whole file as a frozen record with a field for each section.

    Raises
    ------
    ParameterError
        With one line for every fault: expectation, value, line, nearest known key.
    """
    document = _parse(path)
    model = params_model()
    try:
        params = model.model_validate(_plain(document))
    except ValidationError as error:
        # A set: pydantic reports one fault for each branch of a union.
        faults = error.errors()
        lines = {_sentence(fault, document, model, path.name) for fault in faults}
        lacking = any(fault["type"] == "missing" for fault in faults)
        hint = f"\n{upgrade_hint(path.parent)}" if lacking else ""
        raise _faulty(path.name, lines, hint) from None
    if beside := set(_faults_beside(params, document, path.name)):
        raise _faulty(path.name, beside)
    return params


def _faulty(file: str, lines: set[tuple[int, str]], hint: str = "") -> ParameterError:
    """Return the error about faults, each with its line and sentence, and what to do."""
    message = f"{file} has {counted(len(lines), 'fault')}; nothing was run.\n"
    shown = sorted(lines)[:_FAULTS_SHOWN]
    message += "\n".join(f"  - {text}" for _, text in shown)
    if len(lines) > len(shown):
        message += f"\n  - and {counted(len(lines) - len(shown), 'further fault')}"
    return ParameterError(message + hint)


def _faults_beside(params: Any, document: CommentedMap, file: str) -> Iterator[tuple[int, str]]:
    """Yield line and sentence of every value that does not fit another section."""
    for name in sections():
        for key, sentence in getattr(params, name).faults_beside(params):
            line = _line_of(document, (name, key))
            yield line, f"{sentence} {_place(file, line)}"


def _place(file: str, line: int) -> str:
    return f"({file} line {line})" if line else f"({file})"


#: Bounds of a parameter file, far above what one needs: 200 keys in 12 KB.
_MAX_BYTES = 128 << 10
_MAX_VALUES = 2000
_MAX_DEPTH = 12
_FAULTS_SHOWN = 50


def read_text(path: Path) -> str:
    """Return the text of a parameter file, within bounds on its size, depth and values.

    Raises
    ------
    ParameterError
        If it is absent or not UTF-8, or larger, deeper or with more values than any parameter file
        needs, aliases counted as often as they are used.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ParameterError(
                f"{path} is larger than {_MAX_BYTES >> 10} KB, which no parameter file needs. "
                "Nothing was run. Restore it (`git checkout` brings the committed one back)."
            )
        text = content.decode("utf-8").replace("\r\n", "\n")
    except FileNotFoundError:
        raise ParameterError(
            f"There is no parameter file at {path}. Run from the project's folder, or name the "
            "file with --params."
        ) from None
    except UnicodeDecodeError as error:
        raise ParameterError(f"{path} is not UTF-8 text: {error}.") from None
    with suppress(YAMLError, *BROKEN):  # the loader says what is wrong, and where
        check_bounds(text, path.name)
    return text


def check_bounds(text: str, name: str) -> None:
    """Refuse YAML with too many values or levels, before it is built.

    Ten lines of aliases make a billion values.

    Raises
    ------
    ParameterError
    """
    sizes: dict[str, int] = {}  # values below each anchor
    open_: list[tuple[str | None, int]] = []  # anchors of the open lists and sections, and counts
    count = 0
    for event in YAML(typ="safe").parse(text):
        anchor = getattr(event, "anchor", None)
        if isinstance(event, AliasEvent):
            count += sizes.get(anchor or "", _MAX_VALUES + 1)  # an alias inside of itself
        elif isinstance(event, CollectionStartEvent):
            open_.append((anchor, count))
            count += 1
        elif isinstance(event, CollectionEndEvent):
            opened, before = open_.pop()
            if opened:
                sizes[opened] = count - before
        elif isinstance(event, ScalarEvent):
            count += 1
            if anchor:
                sizes[anchor] = 1
        if count > _MAX_VALUES or len(open_) > _MAX_DEPTH:
            most = f"{_MAX_DEPTH} levels" if len(open_) > _MAX_DEPTH else f"{_MAX_VALUES:,} values"
            raise ParameterError(
                f"{name} holds more than {most} (aliases counted as often as they are used), which "
                "no parameter file needs. Nothing was run. Restore it (`git checkout` brings the "
                "committed one back)."
            )


def _parse(path: Path) -> CommentedMap:
    text = read_text(path)
    try:
        document = YAML(typ="rt").load(io.StringIO(text))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ParameterError(
            f"{path.name} is not valid YAML: {error.problem} (line {line})."
        ) from None
    except YAMLError as error:
        raise ParameterError(f"{path.name} is not valid YAML: {error}.") from None
    except BROKEN as error:
        raise ParameterError(f"{path.name} holds a value that YAML cannot read: {error}.") from None
    if not isinstance(document, CommentedMap):
        raise ParameterError(f"{path.name} must hold sections of parameters, one key each.")
    return document


def _plain(value: Any) -> Any:
    """Convert round-trip YAML types to the plain Python types that strict validation needs."""
    if isinstance(value, CommentedMap):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, CommentedSeq):
        return [_plain(item) for item in value]
    for plain in (bool, int, float, str):
        if isinstance(value, plain):
            return plain(value)
    return value


def _sentence(
    fault: Any, document: CommentedMap, model: type[BaseModel], file: str
) -> tuple[int, str]:
    """Return the line of a fault in the file, 0 if it has none, and the sentence about it."""
    place = tuple(fault["loc"])
    if fault["type"] in _UNION_MEMBER or any(part in _BRANCHES for part in place[1:]):
        place = tuple(part for part in place if part not in _BRANCHES)
    line = _line_of(document, place)
    where = _place(file, line)
    name = ".".join(map(str, place))
    schema = _schema_at(model, place)
    expected = _describe(schema, _schema(model)) if schema else "known"
    if fault["type"] == "extra_forbidden":
        known = _schema_at(model, place[:-1]).get("properties", {})
        near = difflib.get_close_matches(str(place[-1]), known, n=1)
        hint = f" Did you mean `{'.'.join([*map(str, place[:-1]), near[0]])}`?" if near else ""
        return line, f"The `{name}` parameter is unknown.{hint} {where}"
    if fault["type"] == "missing":
        return line, f"The `{name}` parameter is missing: it must be {expected}. {where}"
    got = fault["input"]
    shown = without_credentials(repr(got)) if isinstance(got, str) else spelled(got)
    # The only errors that the sections raise themselves are UnfitErrors.
    unfit = fault["ctx"]["error"] if fault["type"] == "value_error" else UnfitError(expected)
    return line, f"{unfit.sentence(name, shown)} {where}"


# Pydantic appends the branch of a union that it tried to the place of an error.
_BRANCHES = frozenset(
    {"int", "str", "float", "bool", "constrained-int", "constrained-str", "none", "one", "several"}
)
_UNION_MEMBER = frozenset({"none_required"})


def _line_of(document: Any, place: tuple[Any, ...]) -> int:
    """Return the 1-based line of the deepest part of ``place`` in the file; 0 if there is none."""
    line = 0
    node = document
    for part in place:
        if isinstance(node, CommentedMap) and part in node:
            if part in (node.lc.data or {}):  # A key merged by `<<` has no line of its own.
                line = node.lc.key(part)[0] + 1
        elif isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
            line = node.lc.item(part)[0] + 1
        else:
            return line
        node = node[part]
    return line


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return TypeAdapter(model).json_schema()


def _schema_at(model: type[BaseModel], place: tuple[Any, ...]) -> dict[str, Any]:
    root = _schema(model)
    schema: dict[str, Any] = root
    for part in place:
        schema = _resolve(schema, root)
        if isinstance(part, int) and "oneOf" in schema:  # a value, or a list of several
            schema = _resolve(schema["oneOf"][-1], root)
        inside = {"items": schema.get("items", {}), **schema.get("properties", {})}
        schema = inside.get("items" if isinstance(part, int) else part, {})
    return _resolve(schema, root)


def _resolve(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
    return schema


_BOUNDS = (("exclusiveMinimum", ">"), ("minimum", "≥"), ("exclusiveMaximum", "<"), ("maximum", "≤"))
_PATTERNS = {
    r"^[0-9a-f]{64}$": "a sha256 of 64 hexadecimal digits",
    r"^https?://": "an http:// or https:// address",
}
_TYPES = {
    "integer": "an integer",
    "number": "a number",
    "string": "a text",
    "boolean": "true or false",
    "null": "null",
    "object": "a section",
}


def _describe(schema: dict[str, Any], root: dict[str, Any]) -> str:
    """Describe a JSON schema in words: ``an integer ≥ 1 or null``."""
    schema = _resolve(schema, root)
    if "expected" in schema:
        return str(schema["expected"])
    if branches := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(_describe(branch, root) for branch in branches)
    if "enum" in schema:
        return "one of " + ", ".join(str(value) for value in schema["enum"])
    if schema.get("type") == "array":
        least, most = schema.get("minItems"), schema.get("maxItems")
        if least and most:
            size = f" of {least} to {most} entries"
        else:
            size = f" with at least {least} entry" if least else ""
            size += f" with at most {most} entries" if most is not None else ""
        return f"a list{size}, each {_describe(schema['items'], root)}"
    words = _PATTERNS.get(schema.get("pattern", "")) or _TYPES.get(
        schema.get("type", ""), "a value"
    )
    if schema.get("minLength"):
        words += " that is not empty"
    bounds = [f"{sign} {_number(schema[key])}" for key, sign in _BOUNDS if key in schema]
    return f"{words} {' and '.join(bounds)}" if bounds else words


def _number(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
