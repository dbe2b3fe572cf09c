"""The page that ``dvc plots`` fills; it draws without a network.

DVC's own page loads Vega from a content delivery network. This one carries it, as the locked
``vl-convert-python`` bundles it, and forbids the browser to fetch anything. It is committed as
``.dvc/plots.html``, so that a fresh clone needs no extra step; ``make plots`` writes it again.
"""

from __future__ import annotations

from pathlib import Path

import vl_convert

from tools.contract import ROOT

PAGE = ROOT / ".dvc" / "plots.html"
#: The newest that reads the specifications of DVC's templates, which are of Vega-Lite 5.
VEGA_LITE = "5.21"

_TEMPLATE = Path(__file__).with_suffix(".html")
_SNIPPET = "window.vegaEmbed = vegaEmbed;"


def plots_page() -> str:
    """Return the page with the places that DVC fills, without those for its own scripts."""
    bundle = vl_convert.javascript_bundle(_SNIPPET, vl_version=VEGA_LITE)
    for taken in ("{refresh_tag}", "{plot_divs}", "{scripts}", "</script"):
        if taken in bundle:
            raise ValueError(f"the bundle holds {taken!r}, which DVC or the browser would take")
    page = _TEMPLATE.read_text(encoding="utf-8")
    for place, text in {
        "@VEGA@": vl_convert.get_vega_version(),
        "@LITE@": VEGA_LITE,
        "@EMBED@": vl_convert.get_vega_embed_version(),
        "@BUNDLE@": bundle,
    }.items():
        page = page.replace(place, text)
    return page
