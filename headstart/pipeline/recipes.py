"""Recipes: a few values for a purpose, laid over params.yaml without losing its comments."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import RoundTripRepresenter

from headstart._utils.errors import ParameterError
from headstart._utils.files import write_text
from headstart._utils.names import did_you_mean
from headstart._utils.tables import leaves, spelled
from headstart.stage.parameters import BROKEN, check_bounds, read_params
from headstart.stage.parameters import read_text as read_text_of


def names(folder: Path) -> list[str]:
    """Return the recipes of a folder, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def read_text(folder: Path, name: str) -> str:
    """Return the text of a recipe.

    Raises
    ------
    ParameterError
        With the nearest name if there is no such recipe.
    """
    known = names(folder)
    if name not in known:
        raise ParameterError(
            f"There is no recipe `{name}`.{did_you_mean(name, known)} "
            f"Known are: {', '.join(known) or 'none'}."
        )
    return (folder / f"{name}.yaml").read_text(encoding="utf-8")


def header(text: str) -> str:
    """Return the comment at the top of a recipe, without its ``#``."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    return "\n".join(lines)


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Return ``["split.test=0.2"]`` as nested sections; values are YAML, later ones win.

    Raises
    ------
    ParameterError
        If an entry has no ``=``, a value is not YAML, or a key is given a value and keys below it.
    """
    nested: dict[str, Any] = {}
    for entry in assignments:
        key, equals, text = entry.partition("=")
        if not equals or not key:
            raise ParameterError(f"A value is set as section.key=value. Got {entry!r} instead.")
        value = _value(key, text)
        node = nested
        *sections, last = key.split(".")
        for depth, section in enumerate(sections, start=1):
            node = node.setdefault(section, {})
            if not isinstance(node, dict):
                raise _two_values(".".join(sections[:depth]), key)
        if isinstance(node.get(last, value), dict) != isinstance(value, dict):
            below = node[last] if isinstance(node[last], dict) else value
            raise _two_values(key, f"{key}.{next(iter(below), '…')}")
        node[last] = {**node.get(last, {}), **value} if isinstance(value, dict) else value
    return nested


def _value(key: str, text: str) -> Any:
    try:
        check_bounds(text, f"The value of `{key}`")
        return YAML(typ="safe").load(text)
    except (YAMLError, *BROKEN) as error:
        problem = getattr(error, "problem", None) or str(error)
        if text.lstrip()[:1] in {"[", "{"}:
            right = f"A list is written as --set '{key}=[1, 2]'."
        else:
            quoted = json.dumps(text, ensure_ascii=False)
            right = f"A text is written in quotes, both kinds: --set '{key}={quoted}'."
        raise ParameterError(
            f"The value of `{key}` is not valid YAML: {problem}. Got {text!r}. {right}"
        ) from None


def _two_values(key: str, below: str) -> ParameterError:
    return ParameterError(
        f"`--set` gives `{key}` a value of its own, and sets `{below}`, which is a part of it. "
        f"Keep one of the two; a section is set key by key, as in --set {below}=VALUE."
    )


class _Representer(RoundTripRepresenter):
    """Writes null as people do; ruamel would leave the place empty.

    A class of its own, because representers belong to the class, and DVC writes dvc.lock by
    ruamel's.
    """

    def represent_none(self, _data: None) -> Any:
        """Return the node of a null."""
        return self.represent_scalar("tag:yaml.org,2002:null", "null")


_Representer.add_representer(type(None), _Representer.represent_none)


def overlay(params_text: str, *layers: Mapping[str, Any]) -> str:
    """Return the parameter file with the values of ``layers``; later ones win, comments stay."""
    yaml = YAML(typ="rt")
    yaml.width = 4096  # Never fold a long path.
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.Representer = _Representer
    document = yaml.load(params_text)
    for layer in layers:
        _lay(document, layer)
    target = io.StringIO()
    yaml.dump(document, target)
    return target.getvalue()


def _lay(target: CommentedMap, layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), CommentedMap):
            _lay(target[key], value)
        elif isinstance(value, list):
            target[key] = _list(value, target.get(key))
        else:
            target[key] = value


def _list(values: list[Any], old: Any) -> CommentedSeq:
    """Return a list in the place of an old one, with the comment that follows the old one."""
    if not isinstance(old, CommentedSeq):
        return CommentedSeq(values)
    if old == values:
        return old
    new = CommentedSeq(values)
    following = old.ca.items.get(len(old) - 1)
    if following and values:
        new.ca.items[len(values) - 1] = following
    return new


def apply(params: Path, layers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Write the overlaid file in place, once the result is known to be valid.

    Returns
    -------
    list of str
        A line for each value that changed: ``key: old -> new``.

    Raises
    ------
    ParameterError
        If the result would be refused; the file is then as it was.
    """
    text = overlay(read_text_of(params), *_without_former_source(layers), *layers)
    trial = params.with_name(f".{params.name}.trial")
    try:
        trial.write_text(text, encoding="utf-8")
        read_params(trial)
    except ParameterError as error:
        raise ParameterError(str(error).replace(trial.name, f"the new {params.name}")) from None
    finally:
        trial.unlink(missing_ok=True)
    before, after = (leaves(YAML(typ="safe").load(t)) for t in (params.read_text("utf-8"), text))
    write_text(params, text)
    return [
        f"{key}: {spelled(before.get(key))} -> {spelled(value)}"
        for key, value in after.items()
        if before.get(key) != value
    ]


def _without_former_source(layers: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return a layer that clears the former source of images, where a layer names a source.

    Otherwise a recipe for a folder would be refused because of the Kaggle name that stood there.
    """
    from headstart.sources.parameters import SPECIFIC

    sections = [layer.get("download") for layer in layers]
    named = any(isinstance(section, Mapping) and "source" in section for section in sections)
    return [{"download": dict.fromkeys(SPECIFIC)}] if named else []


def load(text: str) -> Mapping[str, Any]:
    """Return the values of a recipe.

    Raises
    ------
    ParameterError
        If the text is no YAML mapping.
    """
    try:
        values = YAML(typ="safe").load(text)
    except (YAMLError, *BROKEN) as error:
        raise ParameterError(f"The recipe is not valid YAML: {error}.") from None
    if not isinstance(values, Mapping):
        raise ParameterError("A recipe must hold sections of parameters.")
    return values
