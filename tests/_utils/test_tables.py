from __future__ import annotations

from headstart._utils.tables import leaves


def test_mappings_become_dotted_names_and_lists_stay() -> None:
    nested = {"a": 1, "b": {"c": [1, {"d": 2}], "e": {"f": None}}, "g": {}}
    assert leaves(nested) == {"a": 1, "b.c": [1, {"d": 2}], "b.e.f": None}
