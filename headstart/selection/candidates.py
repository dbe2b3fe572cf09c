"""Backbones to compare, as they are written on a command line: ``mobilenet_v2@alpha=0.35``.

The keys after the ``@`` are those of the section ``backbone`` in params.yaml. A key that is left
out has the value that the backbone was published with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from headstart._utils.errors import ParameterError, UnfitError
from headstart._utils.names import did_you_mean
from headstart.api import backbones
from headstart.api.checks import section
from headstart.backbones.network_record import fit_record, read_network_record
from headstart.backbones.parameters import BackboneParams, handle_name
from headstart.backbones.registry import FILE, is_path, known

#: The word for the backbone of params.yaml.
CURRENT = "current"
_OPTIONS = tuple(key for key in BackboneParams.model_fields if key != "name")
#: A comma ends a value only where another key follows: addresses may hold commas.
_COMMA = re.compile(r",(?=[a-z0-9_]+=)")


@dataclass(frozen=True)
class Candidate:
    """A backbone to compare.

    Attributes
    ----------
    word : str
        As the user wrote it.
    params : BackboneParams
        The section that would stand in params.yaml.
    """

    word: str
    params: BackboneParams

    @property
    def label(self) -> str:
        """A short name for people: the options that differ from the defaults, files by name."""
        params, spec = self.params, known(self.params.name)
        if params.hub is not None:
            return f"{params.name}@hub={handle_name(params.hub)}"
        if params.name == FILE:
            return f"{params.name}@weights={Path(params.weights).stem}"
        size = None if spec is None else spec.default_size
        usual = {"alpha": 1.0, "image_size": size, "cut": None, "pooling": "avg"}
        options = [
            f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
            for key, default in usual.items()
            if (value := getattr(params, key)) != default
        ]
        if params.weights not in {"imagenet", "shipped"}:
            name = Path(params.weights).name if is_path(params.weights) else params.weights
            options.append(f"weights={name}")
        return f"{params.name}@{','.join(options)}" if options else params.name

    @property
    def license(self) -> str:
        """The license of the weights, as far as it is known."""
        if self.params.weights == "random":
            return "none needed"
        if self.params.name == FILE:
            return read_network_record(Path(self.params.weights))[0].license
        spec = known(self.params.name)
        if self.params.hub is not None or spec is None:
            return "the module's"
        if is_path(self.params.weights):
            return "the file's"
        return spec.license or "not stated"


def candidates(words: Sequence[str], current: BackboneParams) -> list[Candidate]:
    """Return the backbones that words name, each once.

    Parameters
    ----------
    words : sequence of str
        ``NAME`` or ``NAME@KEY=VALUE,…``; ``current`` is the backbone of params.yaml.
    current : BackboneParams
        The section of params.yaml. Its ``gray16_bits`` is of the images, and holds for all.

    Raises
    ------
    ParameterError
        With the nearest name or key, or the expected value.
    """
    found: dict[str, Candidate] = {}
    for word in words:
        params = current if word == CURRENT else _parsed(word, current.gray16_bits)
        # (The vector of a file needs no pooling: its section refuses any.)
        if params.pooling == "none" and not _gives_vector(params.name, params.weights):
            raise ParameterError(
                f"{word}: backbones are compared by their pooled features. Add `pooling=avg`: "
                f"`{params.name}@pooling=avg`. Nothing was computed."
            )
        found.setdefault(params.model_dump_json(), Candidate(word, params))
    return list(found.values())


def _parsed(word: str, gray16_bits: int | None) -> BackboneParams:
    name, at, text = word.partition("@")
    given: dict[str, Any] = {}
    for entry in _COMMA.split(text) if at else ():
        key, equals, value = entry.partition("=")
        if not equals or key not in _OPTIONS:
            hint = did_you_mean(key, _OPTIONS)
            raise ParameterError(
                f"{word!r}: options are written as NAME@KEY=VALUE,KEY=VALUE with the keys of the "
                f"section `backbone`: {', '.join(_OPTIONS)}. Got {entry!r}.{hint} Nothing was "
                "computed."
            )
        given[key] = _value(key, value)
    hub, weights, size = (given.get(key) for key in ("hub", "weights", "image_size"))
    own = backbones.defaults(name, hub, weights, size)
    usual = {"hub": None, "alpha": 1.0, "cut": None, "pooling": "avg", "gray16_bits": gray16_bits}
    if weights is not None and _gives_vector(name, weights):
        usual["pooling"] = "none"
    return section(BackboneParams, word, {**usual, **own, **given})


def _gives_vector(name: str, weights: str) -> bool:
    """Return whether a backbone is a file whose record says that it gives a vector."""
    try:
        return name == FILE and len(fit_record(Path(weights)).feature_shape) == 1
    except UnfitError:  # The check of the section says so.
        return False


def _value(key: str, text: str) -> Any:
    try:
        value = YAML(typ="safe").load(text)
    except (YAMLError, ValueError):
        value = text
    wants_number = key in {"alpha", "image_size", "gray16_bits"}
    if key == "alpha" and type(value) is int:
        return float(value)
    return value if wants_number or value is None else text
