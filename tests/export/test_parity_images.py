from __future__ import annotations

import pandas as pd
import pytest

from headstart._utils.errors import HeadstartError
from headstart.export.parity_images import calibrating, choose, locate


@pytest.mark.parametrize(("count", "wanted"), [(12, 200), (1000, 200), (7, 1), (1, 5)])
def test_the_choice_of_images_is_fixed_and_spread(count: int, wanted: int) -> None:
    chosen = choose(count, wanted)
    assert chosen == choose(count, wanted)
    assert len(chosen) == min(count, wanted)
    assert len(set(chosen)) == len(chosen)
    assert chosen[0] == 0
    assert chosen[-1] == (count - 1 if wanted > 1 else 0)


def table(count: int = 100) -> pd.DataFrame:
    splits = ["train", "train", "validation", "test"]
    return pd.DataFrame(
        {
            "path": [f"{n:03}.png" for n in range(count)],
            "split": [splits[n % 4] for n in range(count)],
        }
    )


def test_calibration_draws_training_images_by_the_seed() -> None:
    drawn = calibrating(table(), 20, seed=7)
    assert len(drawn) == 20
    assert set(drawn["split"]) == {"train"}
    assert drawn["path"].is_monotonic_increasing
    assert drawn.equals(calibrating(table(), 20, seed=7))
    assert not drawn.equals(calibrating(table(), 20, seed=8))
    assert len(calibrating(table(), 1000, seed=7)) == 50


def test_images_of_another_run_are_refused() -> None:
    found = locate(pd.DataFrame({"path": ["007.png", "003.png"]}), table())
    assert found["path"].tolist() == ["007.png", "003.png"]
    with pytest.raises(HeadstartError, match=r"'other.png', which the manifest does not list"):
        locate(pd.DataFrame({"path": ["other.png"]}), table())
