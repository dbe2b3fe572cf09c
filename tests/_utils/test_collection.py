"""The search for cyclic garbage is put off, and goes on afterwards."""

from __future__ import annotations

import gc

import pytest

from headstart._utils.collection import uncollected


@pytest.mark.parametrize("enabled", [True, False])
def test_the_block_leaves_the_collector_as_it_was(enabled: bool) -> None:
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(KeyError), uncollected():
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()
