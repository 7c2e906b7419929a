"""Learning-rate schedules: values at their joints, areas in closed form, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from scaling_lab.errors import BadInput
from scaling_lab.schedules import SCHEDULES, learning_rates, update_rates


def test_cosine_golden() -> None:
    # ½·2e-4·(1 + cos(π(s − 500)/19500)) after 500 steps of warm-up, to 0 at 20000
    steps = np.array([0, 250, 500, 5000, 10250, 20000])
    rates = learning_rates("cosine", steps, 20_000, lr_max=2e-4, warmup_steps=500)
    after = 1e-4 * (1 + np.cos(np.pi * (np.array([5000, 10250, 20000]) - 500) / 19500))
    np.testing.assert_allclose(rates, [0, 1e-4, 2e-4, *after], rtol=0, atol=1e-18)
    assert rates[4] == pytest.approx(1e-4)


def test_cosine_with_a_floor_ends_on_it() -> None:
    rates = learning_rates("cosine", [10, 55, 100], 100, lr_max=1.0, warmup_steps=10, floor=0.1)
    np.testing.assert_allclose(rates, [1.0, 0.55, 0.1])


@pytest.mark.parametrize(("name", "middle"), [("wsd", 0.5), ("wsd-cosine", 0.5), ("wsd-sqrt", 1 - np.sqrt(0.5))])
def test_wsd_is_flat_then_decays(name: str, middle: float) -> None:
    rates = learning_rates(name, [5, 10, 80, 90, 100], 100, lr_max=2.0, decay=0.2)
    np.testing.assert_allclose(rates, [2.0, 2.0, 2.0, 2 * middle, 0.0], atol=1e-12)


def test_wsd_decays_over_a_share_of_what_follows_the_warmup() -> None:
    rates = learning_rates("wsd", [20, 80, 90, 100], 100, warmup_steps=20, decay=0.25, floor=0.2)
    np.testing.assert_allclose(rates, [1.0, 1.0, 0.6, 0.2])


FALLING = ("constant", "linear", "cosine", "cosine-power", "poly", "rex", *(n for n in SCHEDULES if n[:3] == "wsd"))


@pytest.mark.parametrize("name", sorted({*FALLING} - {"wsd-exp"}))
@pytest.mark.parametrize("total", [7, 100, 1001])
def test_a_falling_schedule_rises_to_its_peak_and_falls_from_it(name: str, total: int) -> None:
    rates = learning_rates(name, np.arange(total + 1), total, lr_max=3.0, warmup_steps=5)
    assert rates[0] == 0
    assert rates[5] == rates.max() == 3.0
    assert (np.diff(rates[:6]) > 0).all()
    assert (np.diff(rates[5:]) <= 1e-15).all()
    assert (rates >= 0).all()


@pytest.mark.parametrize(("name", "area"), [("constant", 1), ("linear", 1 / 2), ("cosine", 1 / 2), ("wsd-sqrt", 1 / 3)])
def test_areas_in_closed_form(name: str, area: float) -> None:
    steps = np.arange(200_001)
    rates = learning_rates(name, steps, 200_000, decay=1.0)
    assert rates.mean() == pytest.approx(area, abs=1e-5)


def test_updates_take_the_steps_one_to_total() -> None:
    rates = update_rates("linear", 4, lr_max=1.0, warmup_steps=2)
    np.testing.assert_allclose(rates, [0.5, 1.0, 0.5, 0.0])


def test_shape_of_the_steps_is_kept() -> None:
    assert learning_rates("cosine", 3, 10).shape == ()
    assert learning_rates("cosine", np.zeros((2, 3)), 10).shape == (2, 3)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"warmup_steps": 100}, "leave nothing of 100 steps"),
        ({"floor": 1.5}, "floor = 1.5"),
        ({"schedule": "wsd", "decay": 0.0}, "decay = 0"),
        ({"steps": [101]}, "outside 0 … 100"),
    ],
)
def test_what_cant_be_a_schedule_is_refused(settings: dict, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        learning_rates(**{"schedule": "cosine", "steps": [1], "total": 100, **settings})
