"""The page of a run: one self-contained file that makes no network requests.

Class and file names can hold any text, so the template engine escapes every value. A content
security policy names the page's own style and script by hash and forbids everything else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from headstart._utils.files import write_text
from headstart._utils.tables import spelled
from headstart.report.images import data_address

_SPACE = "\N{NO-BREAK SPACE}"  # a number and its unit stay together


def write(path: Path, content: Mapping[str, Any], figures: Path) -> None:
    """Render the page.

    Parameters
    ----------
    path : Path
        The HTML file.
    content : mapping
        Values for the template.
    figures : Path
        Folder of ``NAME-light.png`` and ``NAME-dark.png``; embedded in the page.
    """
    environment = _environment()
    style, script = (_source(environment, name) for name in ("report.css", "report.js"))
    drawn = {
        name: {
            "light": data_address(light.read_bytes(), "png"),
            "dark": data_address(light.with_name(f"{name}-dark.png").read_bytes(), "png"),
            "size": _size(light),
        }
        for light in sorted(figures.glob("*-light.png"))
        for name in [light.stem.removesuffix("-light")]
    }
    text = environment.get_template("report.html").render(
        **content,
        figures=drawn,
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        style_hash=_hash(style),
        script_hash=_hash(script),
    )
    write_text(path, text)


def _size(file: Path) -> tuple[int, int]:
    """Return the size of a PNG on the page: half of its own, from its header."""
    head = file.read_bytes()[16:24]
    return int.from_bytes(head[:4], "big") // 2, int.from_bytes(head[4:], "big") // 2


def _hash(text: str) -> str:
    """Return the hash by which a content security policy names an inline style or script."""
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")


def _source(environment: Environment, name: str) -> str:
    """Return a template's own text: style and script are inlined unchanged."""
    return environment.loader.get_source(environment, name)[0] if environment.loader else ""


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("headstart.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(
        percent=percent, points=points, chance=chance, number=number, size=size, time=duration,
        energy=energy, value=shown, breakable=breakable,
    )  # fmt: skip
    return made


def percent(share: float | None, digits: int = 1) -> str:
    """Return ``0.9942`` as ``99.4 %``, and None as a dash."""
    if share is None:
        return "–"
    return f"{100 * share:.{digits}f}{_SPACE}%".replace("-", "\N{MINUS SIGN}")


def points(change: float) -> str:
    """Return a change of a share in percentage points, with its sign."""
    return f"{100 * change:+.1f}{_SPACE}points".replace("-", "\N{MINUS SIGN}")


def chance(probability: float) -> str:
    """Return a probability of one image, never rounded up to certainty."""
    if 0.9995 <= probability < 1:
        return f"> 99.9{_SPACE}%"
    return percent(probability)


def number(value: float | None, spec: str = ",") -> str:
    """Return a number by a format specification, and None as a dash."""
    return "–" if value is None else format(value, spec).replace("-", "\N{MINUS SIGN}")


def size(count: int) -> str:
    """Return a number of bytes with a readable unit."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= scale:
            return f"{count / scale:,.1f}{_SPACE}{unit}"
    return f"{count}{_SPACE}bytes"


def duration(seconds: float) -> str:
    """Return seconds with readable units."""
    if seconds < 120:
        return f"{seconds:.1f}{_SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes}{_SPACE}min {rest:02}{_SPACE}s"
    return f"{minutes // 60}{_SPACE}h {minutes % 60:02}{_SPACE}min"


def energy(wh: float) -> str:
    """Return watt-hours to two digits: they are an estimate."""
    if wh >= 1000:
        return f"{wh / 1000:,.2g}{_SPACE}kWh"
    return f"{wh:.2g}{_SPACE}Wh" if wh >= 0.01 else f"{1000 * wh:.2g}{_SPACE}mWh"


def shown(value: object) -> str:
    """Return a parameter as it is written in params.yaml."""
    if isinstance(value, (list, tuple)):
        return ", ".join(shown(item) for item in value) or "none"
    return f"{value:g}" if isinstance(value, float) else spelled(value)


def breakable(name: str) -> Markup:
    """Return a name with possible line breaks after underscores."""
    return Markup("_<wbr>").join(name.split("_"))
