"""The convergence bound against its goldens and its double sum, and refined schedules against planted ones."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import median_filter
from scipy.optimize import differential_evolution, minimize_scalar

from scaling_lab.decide.schedules import (
    bound,
    fit_poly,
    list_schedules,
    rank_schedules,
    refine_log,
    refined,
    refined_shares,
    transfer_lr,
)
from scaling_lab.errors import BadInput, UsageError
from scaling_lab.schedules import SCHEDULES, Schedule

# Base schedules on s = 0 … T − 1 with T = 400 and D = G = 1: γ*, bound. curves.md §14, recomputed there.
GOLDEN = [
    ("constant", {}, 0.01818, 0.13754),
    ("linear", {}, 0.04956, 0.10063),
    ("cosine", {}, 0.04824, 0.10339),
    ("wsd", {"decay": 0.2}, 0.02537, 0.10932),
    ("wsd-sqrt", {"decay": 0.2}, 0.02685, 0.10729),
]


@pytest.mark.parametrize(("name", "fields", "scale", "value"), GOLDEN)
def test_bounds_golden(name: str, fields: dict, scale: float, value: float) -> None:
    found = bound(Schedule(name, 400, **fields).at(np.arange(400)))
    assert found.scale == pytest.approx(scale, abs=5.1e-6)
    assert found.value == pytest.approx(value, abs=5.1e-6)
    assert (found.updates, found.idle) == (400, 0)


def double_sum(eta: np.ndarray, norms: np.ndarray, distance: float) -> float:
    """The bound as it is printed, term by term."""
    total = eta.sum()
    value = distance**2 / (2 * total) + (eta**2 * norms**2).sum() / (2 * total)
    for k in range(len(eta) - 1):
        inner = (eta[k:] ** 2 * norms[k:] ** 2).sum() / eta[k:].sum()
        value += 0.5 * eta[k] / eta[k + 1 :].sum() * inner
    return value


def test_the_bound_is_its_double_sum_and_least_at_its_scale() -> None:
    rng = np.random.default_rng(0)
    eta, norms = rng.uniform(0.1, 1, 60), rng.uniform(0.5, 2, 60)
    found = bound(eta, norms, 3.0)
    for scale in (0.3, 1.0, 2.5):
        assert found.at(scale) == pytest.approx(double_sum(scale * eta, norms, 3.0), rel=1e-12)
    least = minimize_scalar(
        lambda log: double_sum(np.exp(log) * eta, norms, 3.0), bounds=(-5, 5), options={"xatol": 1e-10}
    )
    assert found.scale == pytest.approx(np.exp(least.x), rel=1e-6)
    assert found.value == pytest.approx(least.fun, rel=1e-12)


def test_an_update_at_zero_changes_no_bound() -> None:
    eta = np.array([0.0, 1.0, 0.5, 0.0, 0.25, 0.0, 0.0])
    found, same = bound(eta), bound(eta[eta > 0])
    assert (found.value, found.scale) == (same.value, same.scale)
    assert (found.updates, found.idle) == (3, 4)


def test_a_hundred_thousand_updates_take_milliseconds() -> None:
    schedule, took = Schedule("cosine", 100_000), []
    for _ in range(5):
        began = time.perf_counter()
        bound(schedule)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.05


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_has_a_finite_bound(name: str) -> None:
    settings = {"batch": 64, "seq_len": 128} if name == "power" else {}
    made = Schedule(name, 2000, 3e-3, 0 if name == "cyclic" else 100, 0.1, settings=settings)
    assert 0 < bound(made).value < 1
    assert np.isfinite(bound(made).scale)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([0.0, 0.0],), "not all of them zero"),
        (([1.0, np.nan],), "numbers from zero up"),
        (([1.0, 1.0], [1.0]), "1 gradient norms are not one for each of 2"),
        (([1.0, 1.0], [1.0, 0.0]), "gradient norm is zero"),
        (([1.0, 1.0], None, -1.0), "distance of -1"),
    ],
)
def test_what_has_no_bound_is_refused(arguments: tuple, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        bound(*arguments)


# -------------------------------------------------------------------------------------------------------------- ranking


def test_the_ranking_is_by_the_bound_and_names_the_peaks() -> None:
    found = rank_schedules(["constant", "wsd", "wsd-sqrt", "cosine", "linear"], total=400, tuned_lr=1e-3)
    assert [entry.label for entry in found.each] == ["linear", "cosine", "wsd-sqrt", "wsd", "constant"]
    by_name = {entry.label: entry for entry in found.each}
    assert by_name["constant"].peak_ratio == 1.0
    assert by_name["constant"].lr == 1e-3
    # γ* of the golden table, whose schedules are one update longer
    assert by_name["linear"].peak_ratio == pytest.approx(0.04956 / 0.01818, rel=0.01)
    assert by_name["linear"].lr == pytest.approx(1e-3 * by_name["linear"].peak_ratio)
    assert not found.warnings


def test_the_peak_that_a_schedule_wants_does_not_hang_on_the_one_it_was_written_with() -> None:
    one, other = (rank_schedules(["cosine", f"wsd:lr_max={peak}"], total=500) for peak in (1, 0.01))
    assert one.each[1].peak_ratio == pytest.approx(other.each[1].peak_ratio, rel=1e-12)
    assert one.each[1].bound.value == pytest.approx(other.each[1].bound.value, rel=1e-12)


def test_a_peak_that_is_not_the_schedule_s_own_has_a_higher_bound() -> None:
    found = rank_schedules(["linear:lr_max=1e-3", "wsd:lr_max=1e-3", "cosine"], total=400, tuned_lr=1e-3)
    by_name = {entry.label.partition(":")[0]: entry for entry in found.each}
    assert by_name["linear"].kept == pytest.approx(by_name["linear"].bound.value, rel=1e-12)
    wsd, ratio = by_name["wsd"], by_name["wsd"].peak_ratio
    # Of a function a/γ + bγ: its value at a multiple r of the best γ is (r + 1/r)/2 times its least.
    assert wsd.kept == pytest.approx(wsd.bound.value * (ratio + 1 / ratio) / 2, rel=1e-12)
    assert by_name["cosine"].kept is None


def test_a_peak_is_carried_over_to_another_horizon() -> None:
    # Of a linear decay the bound's best peak falls as 1/√T.
    short, long = Schedule("linear", 1000, 0.5), Schedule("linear", 100_000)
    assert transfer_lr(1e-3, short, long) == pytest.approx(1e-3 / 10, rel=0.1)
    assert transfer_lr(1e-3, short, short) == pytest.approx(1e-3, rel=1e-14)
    with pytest.raises(BadInput, match="lr = 0: the tuned peak"):
        transfer_lr(0.0, short, long)


def test_what_a_ranking_warns_of(tmp_path: Path) -> None:
    (tmp_path / "lr.csv").write_text("step,lr\n0,1\n1,1\n50,1\n51,0\n100,0\n")
    found = rank_schedules(["cosine:total=200", f"file:{tmp_path / 'lr.csv'}"])
    assert {w.code for w in found.warnings} == {"SL450", "SL451"}
    assert "50 of file:" in found.warnings[0].message
    assert list(found.inputs) == [str(tmp_path / "lr.csv")]
    assert not list_schedules(["cosine:total=200"]).warnings


def test_what_can_t_be_listed_is_refused() -> None:
    with pytest.raises(UsageError, match="name a schedule"):
        list_schedules([])
    with pytest.raises(UsageError, match="cosine is named twice"):
        list_schedules(["cosine", "cosine"], total=10)
    with pytest.raises(UsageError, match="--tuned-lr -1"):
        rank_schedules(["cosine"], total=10, tuned_lr=-1.0)


# ----------------------------------------------------------------------------------------------------------- refinement


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("smooth", ["none", "median:10%"])
@pytest.mark.parametrize("total", [500, 1234])
def test_equal_norms_give_the_linear_decay(optimizer: str, smooth: str, total: int) -> None:
    found = refined(np.full(500, 7.0), optimizer=optimizer, smooth=smooth, total=total, lr_max=3e-4)
    steps = np.arange(total + 1)
    np.testing.assert_allclose(found.schedule.at(steps), Schedule("linear", total, 3e-4).at(steps), atol=1e-15)
    assert found.warmup == pytest.approx(0.0, abs=1e-3)
    assert found.exponent == pytest.approx(1.0, abs=1e-3)
    assert found.off < 1e-4


@pytest.mark.parametrize(("optimizer", "power"), [("adam", 1.0), ("sgd", 2.0)])
def test_shares_are_the_closed_form(optimizer: str, power: float) -> None:
    norms = np.random.default_rng(1).uniform(0.5, 3, 30)
    weights = norms**-power
    rates = np.array([weights[t] * weights[t + 1 :].sum() for t in range(30)])
    shares = refined_shares(norms, optimizer)
    np.testing.assert_allclose(shares[1:] / shares[1:].max(), rates / rates.max(), rtol=1e-12, atol=1e-16)
    assert shares[-1] == 0
    np.testing.assert_allclose(refined_shares(1e-200 * norms, optimizer), shares, rtol=1e-12)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_planted_schedule_comes_back_from_its_norms(optimizer: str) -> None:
    total, power = 2000, {"adam": 1.0, "sgd": 2.0}[optimizer]
    planted = Schedule("poly", total, 1.0, 600, settings={"q": 1.3})
    target, weights = planted.updates(), np.zeros(total)
    weights[-1] = left = 1.0
    for t in range(total - 2, -1, -1):  # η_t = w_t · Σ_{p > t} w_p, solved for w from the end
        weights[t] = target[t] / left
        left += weights[t]
    found = refined(weights ** (-1 / power), optimizer=optimizer, smooth="none")
    np.testing.assert_allclose(found.schedule.updates(), target / target.max(), rtol=1e-9, atol=1e-12)
    assert found.warmup == pytest.approx(0.3, abs=1e-3)
    assert found.exponent == pytest.approx(1.3, abs=2e-3)
    again = Schedule.parse(found.spec)
    assert np.abs(again.updates() - target).max() < 0.01


def test_the_fitted_warm_up_and_exponent_are_the_best_that_another_search_finds() -> None:
    rng = np.random.default_rng(3)
    x = np.arange(1, 501) / 500
    y = np.where(x < 0.22, x / 0.22, ((1 - x) / 0.78) ** 0.8) + 0.05 * rng.standard_normal(500)

    def cost(p: np.ndarray) -> float:
        shape = np.where(x < p[0], x / p[0], (np.maximum(0, 1 - x) / (1 - p[0])) ** p[1])
        return float(((shape - y) ** 2).sum())

    theirs = differential_evolution(cost, [(1e-6, 0.95), (0.05, 20)], seed=0, tol=1e-10)
    warmup, exponent, off = fit_poly(np.concatenate([[0.0], y]))
    assert 500 * off**2 <= theirs.fun * (1 + 1e-6)
    assert warmup == pytest.approx(theirs.x[0], abs=2e-3)
    assert exponent == pytest.approx(theirs.x[1], abs=2e-3)


def test_norms_are_smoothed_by_the_median_of_a_tenth_mirrored_at_the_end() -> None:
    norms = np.exp(np.random.default_rng(0).standard_normal(300))
    width = 2 * (30 // 2) + 1
    by_hand = median_filter(np.pad(norms, (0, 2 * width), mode="reflect"), size=width, mode="nearest")[:300]
    found = refined(norms, smooth="median:10%")
    want = refined_shares(by_hand)
    np.testing.assert_allclose(found.schedule.at(np.arange(301)), want / want.max(), rtol=1e-12, atol=1e-15)
    assert found.smooth == "median:10%"


def test_falling_norms_ask_for_a_warm_up_and_rising_ones_for_a_faster_fall() -> None:
    t = np.linspace(0, 1, 2000)
    falling = refined(1 + 9 * np.exp(-t / 0.05))
    assert falling.warmup > 0.1
    rising = refined(1 + 3 * t)
    assert rising.exponent > 1.3


def test_many_norms_are_brought_to_ten_thousand_places() -> None:
    t = np.linspace(0, 1, 60_000)
    slow = refined(1 + t, total=500, smooth="none")
    few = refined(1 + np.linspace(0, 1, 6000), total=500, smooth="none")
    assert slow.norms == 60_000
    np.testing.assert_allclose(slow.schedule.updates(), few.schedule.updates(), atol=1e-3)


@pytest.mark.parametrize(
    ("norms", "options", "said"),
    [
        ([1.0], {}, "1 gradient norms make no schedule"),
        ([1.0, 0.0], {}, "zero, negative or no finite"),
        ([1.0, np.inf], {}, "zero, negative or no finite"),
        ([1.0, 2.0], {"optimizer": "adm"}, "did you mean 'adam'"),
        ([1.0, 2.0], {"steps": [2, 1]}, "not one for each, rising"),
        ([1.0, 2.0], {"steps": [1, 2], "total": 1}, "--total 1 is not a number of updates"),
        ([1.0, 2.0], {"total": 2.5}, "--total 2.5 is not"),
    ],
)
def test_norms_that_make_no_schedule_are_refused(norms: list, options: dict, said: str) -> None:
    with pytest.raises((BadInput, UsageError), match=said):
        refined(norms, **options)


@pytest.mark.parametrize("smooth", ["median:0%", "median:60%", "median:5", "median:x%", "mean:5"])
def test_a_smoothing_that_is_none_is_refused(smooth: str) -> None:
    with pytest.raises(UsageError, match="smoothing"):
        refined(np.ones(50), smooth=smooth)


def log_of(norms: np.ndarray, **columns: object) -> pd.DataFrame:
    return pd.DataFrame({"step": np.arange(1, len(norms) + 1), "grad_l1": norms, **columns})


def test_a_log_is_refined_by_its_steps() -> None:
    frame = log_of(np.full(200, 3.0))
    frame["step"] *= 10
    found = refine_log(frame, "grad_l1")
    assert found.schedule.total == 2000
    assert not found.warnings
    assert not found.notes
    frame.loc[[4, 5, 6], "grad_l1"] = np.nan
    holed = refine_log(frame, "grad_l1", total=500, lr_max=2.0)
    assert holed.notes == ("3 of 200 rows have no grad_l1 and are left out",)
    np.testing.assert_allclose(holed.schedule.updates(), Schedule("linear", 500, 2.0).updates(), atol=1e-14)


def test_what_a_log_leaves_in_doubt_is_said() -> None:
    frame = log_of(np.ones(50)).rename(columns={"grad_l1": "grad_norm"})
    frame["step"] += 10
    assert {w.code for w in refine_log(frame, "grad_norm").warnings} == {"SL452", "SL453", "SL454"}
    assert "SL454" not in {w.code for w in refine_log(frame, "grad_norm", optimizer="sgd").warnings}
    unstepped = frame.drop(columns="step")
    assert "no column step" in refine_log(unstepped, "grad_norm").notes[0]


def test_a_log_that_can_t_be_refined_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,grad_norm\n1,1.5\n2,-2\n3,1\n")
    with pytest.raises(BadInput, match=r"log.csv, line 3, column grad_norm: '-2' is no gradient norm above zero"):
        refine_log(str(path), "grad_norm")
    assert refine_log(str(path), "grad_norm", where="grad_norm > 0").norms == 2
    with pytest.raises(BadInput, match="no column 'grad_nrm' of gradient norms; did you mean 'grad_norm'"):
        refine_log(str(path), "grad_nrm")
    path.write_text("step,grad_norm\n1,1.5\n3,2\n2,1\n")
    with pytest.raises(BadInput, match="line 4, column step: steps are not numbers that rise"):
        refine_log(str(path), "grad_norm")
    path.write_text("step,grad_norm\n1,oops\n2,1\n")
    with pytest.raises(BadInput, match="line 2, column grad_norm: 'oops' is no gradient norm"):
        refine_log(str(path), "grad_norm")


# ---------------------------------------------------------------------------------------------------------- the edges


def test_a_long_refined_schedule_is_the_same_at_fewer_knots() -> None:
    norms = np.exp(np.random.default_rng(0).normal(size=900) * 0.2)
    short, long = refined(norms, total=100_000), refined(norms, total=3_000_000)
    assert len(long.schedule.knots) == len(short.schedule.knots) == 100_001
    steps = np.arange(0, 100_001)
    np.testing.assert_allclose(long.schedule.at(30 * steps), short.schedule.at(steps), atol=1e-12)
    assert (long.warmup, long.exponent) == pytest.approx((short.warmup, short.exponent), rel=1e-9)


def test_peaks_at_the_ends_of_what_a_rate_can_be_are_ranked() -> None:
    ends = rank_schedules(["linear:total=10,lr_max=1e100", "linear:total=9,lr_max=1e-100"], tuned_lr=1e100)
    assert all(
        math.isfinite(e.bound.value) and e.kept is not None and math.isfinite(e.kept) for e in ends.each if e.bound
    )
    with pytest.raises(UsageError, match=r"--tuned-lr 1e.300 is not a rate"):
        rank_schedules(["linear:total=10"], tuned_lr=1e300)


def test_a_default_that_no_spec_takes_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--floor 0\.1 is taken by none of the schedules"):
        list_schedules(["constant", "8-1-1"], total=10, floor=0.1)
    with pytest.raises(UsageError, match="--total 20 is taken by none"):
        list_schedules(["cosine:steps=10"], total=20)
    listed = list_schedules(["cosine:total=10", "constant"], total=20, floor=0.1, decay=0.3)
    assert [(e.schedule.total, e.schedule.floor) for e in listed.each] == [(10, 0.1), (20, 0.0)]
