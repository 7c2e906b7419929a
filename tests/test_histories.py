"""What a run's learning rates come to: areas, drops and their sums, against plain loops over every update."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from scaling_lab.errors import BadInput
from scaling_lab.histories import History, Points
from scaling_lab.laws.curves import CURVE_LAWS
from scaling_lab.schedules import Schedule

SPECS = (
    "cosine:total=9000,warmup=600,floor=0.1,lr_max=3e-4",
    "cosine:total=30000,warmup=500,floor=0,lr_max=3e-4",
    "wsd:total=9000,warmup=200,floor=0,lr_max=3e-4,decay=0.3",
    "wsd-exp:total=24000,warmup=2160,floor=0.1,lr_max=3e-4,decay=0.16",
    "wsd-sqrt:total=12000,warmup=100,lr_max=3e-4",
    "sgdr:total=12000,lr_max=3e-4",
    "two-stage:total=9000,warmup=600,switch=5000,second=0.3,lr_max=3e-4",
)
PARAMS = {
    "multi-power": {"L0": 2.8, "A": 0.6, "alpha": 0.45, "B": 520.0, "C": 1.6},
    "multi-power-free": {"L0": 2.8, "A": 0.6, "alpha": 0.45, "B": 520.0, "C": 1.6, "beta": 0.4, "gamma": 0.65},
    "multi-power-worth": {"L0": 2.8, "A": 0.6, "alpha": 0.45, "B": 520.0, "C": 1.6, "tilt": 0.2, "fade": 0.15},
    "annealing": {"L0": 2.8, "A": 0.6, "alpha": 0.45, "C": 0.8, "momentum": 0.998},
    "functional": {"L0": 2.8, "A": 0.6, "alpha": 0.45, "B": 300.0, "c3": 0.5, "C": 50.0, "gamma": 0.4},
}


def history(spec: str, warmup: str = "area") -> History:
    plan = Schedule.parse(spec)
    return History(plan.updates(), plan.warmup_steps, warmup)  # type: ignore[arg-type]


@pytest.mark.parametrize("warmup", ["area", "included"])
@pytest.mark.parametrize("spec", SPECS)
def test_gathered_drops_answer_as_the_sum_over_all_updates(spec: str, warmup: str) -> None:
    run = history(spec, warmup)
    steps = np.unique(np.round(np.linspace(run.warmup_steps + 20, run.steps, 40)))
    exact, coarse = run.at(steps, 1), run.at(steps, 128)
    # More points than are summed alone, so that the pieces are used.
    many = np.unique(np.concatenate([steps, np.arange(run.warmup_steps + 20, run.steps, 40)]))
    fine = run.at(many)[np.isin(many, steps)]
    assert len(fine.pairs.drop) < len(exact.pairs.drop) or len(exact.pairs.drop) < 100 * len(steps)
    for name, params in PARAMS.items():
        told = CURVE_LAWS[name].predict(exact.x, **params)
        assert np.abs(CURVE_LAWS[name].predict(fine.x, **params) - told).max() < 1e-6, name
        assert np.abs(CURVE_LAWS[name].predict(coarse.x, **params) - told).max() < 2e-5, name


def test_a_piecewise_constant_schedule_is_summed_exactly() -> None:
    run = history("multistep:total=60000,lr_max=3e-4,warmup=100")
    steps = np.arange(200, 60001, 50)
    for name, params in PARAMS.items():
        law = CURVE_LAWS[name]
        both = law.predict(run.at(steps).x, **params), law.predict(run.at(steps, 1).x, **params)
        np.testing.assert_allclose(*both, rtol=1e-14)


@pytest.mark.parametrize("warmup", ["area", "flat", "included"])
def test_pairs_are_those_of_a_plain_double_loop(warmup: str) -> None:
    lr = np.concatenate([np.linspace(0.1, 1, 10), np.ones(20), np.linspace(1, 0, 15), np.full(5, 0.4)]) * 1e-3
    run = History(lr, 10, warmup)  # type: ignore[arg-type]
    counted = lr.copy()
    if warmup == "area":
        counted[:10] = 1e-3 * (np.arange(10) + 0.5) / 10
    if warmup == "flat":
        counted[:10] = 1e-3
    points = run.at([12, 30, 41, 50], 1)
    for i, step in enumerate((12, 30, 41, 50)):
        pairs = points[i : i + 1].pairs
        assert points.area[i] == pytest.approx(counted[:step].sum(), rel=1e-12)
        expected = []
        for k in range(1, step + 1):
            before = lr[k - 2] if k > 1 else 0.0
            if warmup != "included" and k <= 10:
                continue
            if before != lr[k - 1]:
                expected.append(
                    (before - lr[k - 1], lr[k - 1], 0.5 * (before + lr[k - 1]) / 1e-3, counted[k - 1 : step].sum(),
                     step - k + 1, counted[:k - 1].sum() + lr[k - 1])
                )  # fmt: skip
        found = np.column_stack([getattr(pairs, f.name) for f in fields(pairs)])
        # The first is a drop of nothing.
        assert found[0, 0] == 0.0
        np.testing.assert_allclose(found[1:], np.array(expected).reshape(-1, 6), rtol=1e-9, atol=1e-15)


def test_goldens_of_the_annealing_law_s_sums() -> None:
    # arXiv:2408.11029's released example: 500 steps of warm-up counted as run at the peak, sums from step 0.
    s = np.arange(20001)
    lr = np.where(s <= 500, 2e-4, 1e-4 * (1 + np.cos(np.pi * (s - 500) / 19500)))
    run = History(lr)
    points = run.at(np.array([1000, 10000, 20000]) + 1, 1)
    np.testing.assert_allclose(points.area, [0.2001458, 1.6703529, 2.0501], rtol=1e-6)
    kept = (1 - 0.999**points.pairs.steps) / (1 - 0.999)
    np.testing.assert_allclose(points.total(points.pairs.drop * kept), [4.8082e-5, 0.0803998, 0.1974738], rtol=2e-5)
    # The closed form is the recursion of momentum.
    short = 1.5e-4 * (1 + np.cos(np.pi * np.arange(1001) / 1000))
    m, s2, fell = 0.0, 0.0, np.diff(short)
    for change in fell:
        m = 0.99 * m - change
        s2 += m
    points = History(short).at([1001], 1)
    closed = points.total(points.pairs.drop * (1 - 0.99**points.pairs.steps) / (1 - 0.99))
    assert closed[0] == pytest.approx(s2, rel=1e-12)
    assert s2 == pytest.approx(0.0286714, rel=1e-5)
    assert points.area[0] - short[0] == pytest.approx(0.14985, rel=1e-6)


def test_points_join_and_index() -> None:
    runs = [history(spec) for spec in SPECS[:3]]
    parts = [run.at(np.linspace(700, 8000, 9)) for run in runs]
    joined = Points.join(parts)
    law, params = CURVE_LAWS["multi-power"], PARAMS["multi-power"]
    each = np.concatenate([law.predict(part.x, **params) for part in parts])
    np.testing.assert_allclose(law.predict(joined.x, **params), each, rtol=1e-14)
    kept = np.array([1, 4, 5, 20])
    np.testing.assert_allclose(law.predict(joined[kept].x, **params), each[kept], rtol=1e-14)


def test_rates_of_zero_and_rises_are_no_trouble() -> None:
    lr = np.concatenate(
        [np.full(500, 1e-3), np.linspace(1e-3, 0, 200), np.zeros(100), np.linspace(0, 8e-4, 50), np.full(500, 8e-4)]
    )
    run = History(lr)
    for name, params in PARAMS.items():
        points = run.at(np.arange(400, 1351, 50))
        loss = CURVE_LAWS[name].predict(points.x, **params)
        assert np.isfinite(loss).all(), name
        # A rise takes back in the end what the fall gave.
        gained = params["L0"] + params["A"] * points.area ** -params["alpha"] - loss
        assert gained[-1] < gained[8], name
        assert gained[8] > gained[3] > 0, name


@pytest.mark.parametrize(
    ("lr", "warmup", "says"),
    [
        (np.array([]), 0, "one learning rate"),
        (np.array([1.0, np.nan]), 0, "numbers of zero"),
        (np.array([1.0, -1.0]), 0, "numbers of zero"),
        (np.zeros(5), 0, "zero all along"),
        (np.ones(5), 5, "leave nothing"),
    ],
)
def test_what_is_no_history_is_refused(lr: np.ndarray, warmup: int, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        History(lr, warmup)


def test_steps_outside_a_schedule_are_refused() -> None:
    run = History(np.ones(100), 10)
    with pytest.raises(BadInput, match="within the schedule"):
        run.at([101])
    with pytest.raises(BadInput, match="warm-up"):
        run.at([5])
