"""Comparisons of two recipes with known multipliers and crossings, by closed forms and scipy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq

from scaling_lab.decide.compare import REACH, Comparison, compare
from scaling_lab.engine.fit import fit
from scaling_lab.engine.result import Fit
from scaling_lab.errors import LabError, UsageError
from scaling_lab.show.compare import comparison
from tests.conftest import TRUTH, chinchilla_table

# Reducible losses at 1e20 FLOP, exponents and floors: A is ahead at small compute, B at large.
ONE, OTHER = (0.50, 0.10, 1.9), (0.55, 0.14, 1.88)


def curve(law: tuple[float, float, float], flops: np.ndarray) -> np.ndarray:
    height, exponent, floor = law
    return height * (flops / 1e20) ** -exponent + floor


def runs(law: tuple[float, float, float], noise: float, seed: int, top: float = 1e22) -> pd.DataFrame:
    flops = np.repeat(np.geomspace(1e18, top, 12), 3)
    loss = curve(law, flops) * np.exp(noise * np.random.default_rng(seed).standard_normal(len(flops)))
    return pd.DataFrame({"flops": flops, "loss": loss, "run_id": [f"r{i}" for i in range(len(flops))]})


def crossing() -> float:
    return float(np.exp(brentq(lambda u: curve(ONE, np.exp(u)) - curve(OTHER, np.exp(u)), np.log(1e18), np.log(1e22))))


@pytest.fixture(scope="module")
def exact() -> tuple[Fit, Fit]:
    one, other = (fit("hestness-flops", runs(law, 0.0, 0), bootstrap=0) for law in (ONE, OTHER))
    return one, other


@pytest.fixture(scope="module")
def noisy() -> tuple[Fit, Fit]:
    one, other = (fit("hestness-flops", runs(law, 0.002, s), bootstrap=400) for s, law in enumerate((ONE, OTHER)))
    return one, other


def test_a_known_crossing_is_found(exact: tuple[Fit, Fit]) -> None:
    found = compare(*exact)
    (only,) = found.crossings
    assert only.flops.value == pytest.approx(crossing(), rel=1e-4)
    assert (only.before, only.after) == ("A", "B")
    assert found.better == ""
    # Without draws there are no intervals, and nothing is called resolved.
    assert only.flops.ci == ()
    assert only.probability is None
    assert not only.resolved
    assert {w.code for w in found.warnings} == {"SL405", "SL443"}
    (mirror,) = compare(*exact[::-1]).crossings
    assert mirror.flops.value == pytest.approx(only.flops.value, rel=1e-9)
    assert (mirror.before, mirror.after) == ("B", "A")


def test_the_multiplier_is_the_inverse_of_the_other_curve(exact: tuple[Fit, Fit]) -> None:
    found = compare(*exact, at=[{"flops": 1e19}, {"flops": 1e21}])
    for place in found.multipliers:
        height, exponent, floor = OTHER
        target = float(curve(ONE, np.array(place.flops)))
        need = 1e20 * ((target - floor) / height) ** (-1 / exponent)
        assert place.loss_a.value == pytest.approx(target, rel=1e-6)
        assert place.factor.value == pytest.approx(need / place.flops, rel=1e-4)
    assert found.multipliers[0].factor.value > 1 > found.multipliers[1].factor.value


def test_intervals_hold_the_truth_and_the_crossing_is_resolved(noisy: tuple[Fit, Fit]) -> None:
    found = compare(*noisy)
    (only,) = found.crossings
    low, high = only.flops.ci
    assert low < crossing() < high
    assert 1e18 < low < high < 1e22
    assert only.resolved
    assert only.probability == 1.0 == found.probability
    for place in found.multipliers:
        low, high = place.factor.ci
        height, exponent, floor = OTHER
        need = 1e20 * ((float(curve(ONE, np.array(place.flops))) - floor) / height) ** (-1 / exponent)
        assert low < need / place.flops < high
    assert found.multipliers[0].better == 1.0
    assert found.multipliers[-1].better == 0.0


def test_intervals_of_the_crossing_hold_it_as_often_as_they_say() -> None:
    """Twelve pairs of tables at 80 %: at least 7 hold the truth (fewer has a chance of 2 % at a true 80 %)."""
    held = 0
    for seed in range(12):
        pair = [
            fit("hestness-flops", runs(law, 0.004, 100 * i + seed), starts=72, bootstrap=60)
            for i, law in enumerate((ONE, OTHER))
        ]
        found = compare(*pair, level=0.8)
        ends = [c.flops.ci for c in found.crossings if c.before == "A"]
        held += any(low <= crossing() <= high for low, high in ends)
    assert held >= 7


def test_an_interval_that_reaches_the_end_is_not_resolved(noisy: tuple[Fit, Fit]) -> None:
    whole = compare(*noisy).crossings[0].flops
    found = compare(*noisy, flops=(1e18, (whole.value + whole.ci[1]) / 2))
    (only,) = found.crossings
    assert only.flops.ci[1] == np.inf
    assert not only.resolved
    assert only.to_dict()["flops"]["ci"][1] is None
    assert 0.2 < only.probability < 0.98
    assert "SL443" in {w.code for w in found.warnings}


def test_curves_that_do_not_cross_name_the_better_one() -> None:
    pair = [fit("hestness-flops", runs(law, 0.002, 3), bootstrap=100) for law in (ONE, (0.6, 0.10, 1.95))]
    found = compare(*pair)
    assert found.crossings == ()
    assert found.better == "A"
    assert found.probability == 0.0
    assert compare(*pair[::-1]).better == "B"
    # A floor above A's loss is never reached.
    last = found.multipliers[-1]
    assert last.factor.value == np.inf or last.factor.value > 1
    far = compare(*pair, at=[{"flops": 1e30}])
    assert far.multipliers[0].factor.value == np.inf
    assert far.to_dict()["multipliers"][0]["multiplier"]["value"] is None
    assert "SL445" in {w.code for w in far.warnings}


def test_a_recipe_against_itself_needs_what_it_needs(noisy: tuple[Fit, Fit]) -> None:
    found = compare(noisy[0], noisy[0])
    assert found.better == ""
    assert "they are level all over the range" in comparison(found)
    for place in found.multipliers:
        assert place.factor.value == pytest.approx(1.0, abs=1e-9)
        assert place.factor.ci[0] < 1 < place.factor.ci[1]


def frontier(p: dict[str, float], flops: float) -> float:
    """Chinchilla's least loss for a budget, in closed form."""
    a, b = p["alpha"], p["beta"]
    g = (a * p["A"] / (b * p["B"])) ** (1 / (a + b))
    return p["E"] + (p["A"] * g**-a + p["B"] * g**b) * (flops / 6) ** (-a * b / (a + b))


def better_data(table: pd.DataFrame, noise: float = 0.0) -> pd.DataFrame:
    """The runs of TRUTH with data worth twice as many tokens."""
    loss = TRUTH["E"] + TRUTH["A"] * table.params ** -TRUTH["alpha"] + TRUTH["B"] * (2 * table.tokens) ** -TRUTH["beta"]
    return table.assign(loss=loss * np.exp(noise * np.random.default_rng(9).standard_normal(len(table))))


def test_laws_of_params_and_tokens_are_compared_along_their_best_splits() -> None:
    table = chinchilla_table()
    pair = [fit("chinchilla", t, starts=288, bootstrap=0) for t in (better_data(table), table)]
    doubled = {**TRUTH, "B": TRUTH["B"] * 2 ** -TRUTH["beta"]}
    found = compare(*pair, at=[{"flops": 1e20}, {"flops": 1e22}])
    for place in found.multipliers:
        assert place.loss_a.value == pytest.approx(frontier(doubled, place.flops), rel=1e-6)
        need = brentq(lambda u, c=place.flops: frontier(TRUTH, c * np.exp(u)) - frontier(doubled, c), -5, 5)
        assert place.factor.value == pytest.approx(np.exp(need), rel=1e-4)
    assert found.better == "A"


def test_a_cap_on_tokens_that_binds_and_a_law_without_a_best_split_are_told() -> None:
    table = chinchilla_table()
    plain = fit("chinchilla", table, starts=288, bootstrap=0)
    held = compare(plain, plain, unique_tokens=1e9)
    assert [n.message for n in held.warnings if n.code == "SL403"] == [
        f"{which}: tokens are held at the 1e+09 unique ones: chinchilla does not model repeated data" for which in "AB"
    ]
    assert "SL403" not in {n.code for n in compare(plain, plain, unique_tokens=1e15).warnings}
    sizeless = fit("chinchilla", table, starts=288, bootstrap=0, fix={"A": 1e-9})
    with pytest.raises(LabError, match=r"chinchilla: .* FLOP have no best split"):
        compare(plain, sizeless)


def test_at_one_model_the_tokens_alone_change() -> None:
    table = chinchilla_table()
    pair = [fit("chinchilla", t, starts=288, bootstrap=0) for t in (better_data(table), table)]
    (place,) = compare(*pair, at=[{"params": 1e9, "tokens": 1e11}]).multipliers
    assert place.flops == pytest.approx(6e20)
    assert place.factor.value == pytest.approx(2.0, rel=1e-4)
    flops_law = fit("hestness-flops", runs(ONE, 0.0, 0), bootstrap=0)
    (mixed,) = compare(flops_law, pair[1], at=[{"params": 1e9, "tokens": 1e11}]).multipliers
    assert mixed.loss_a.value == pytest.approx(float(curve(ONE, np.array(6e20))), rel=1e-6)


def test_a_law_of_compute_meets_one_of_params_and_tokens(noisy: tuple[Fit, Fit]) -> None:
    other = fit("chinchilla", chinchilla_table(0.003), starts=144, bootstrap=50)
    found = compare(noisy[0], other)
    assert isinstance(found, Comparison)
    assert found.flops[0] == 6e16
    codes = {w.code: w.message for w in found.warnings}
    assert codes["SL444"] == (
        "A counts compute as flops, B as 6*params*tokens: what differs between the counts is part of every factor"
    )


def test_a_choice_of_laws_is_compared_by_its_calibrated_intervals() -> None:
    table = chinchilla_table(0.003)
    pair = [fit("auto", t, bootstrap=20) for t in (better_data(table, 0.003), table)]
    assert pair[0].calibration is not None
    found = compare(*pair, at=[{"flops": 1e21}])
    (place,) = found.multipliers
    low, high = place.factor.ci
    assert low < place.factor.value < high
    assert low < 1.5 < high or low < 2 < high
    assert place.loss_a.ci[0] < place.loss_a.value < place.loss_a.ci[1]


def test_what_cannot_be_compared_is_refused(exact: tuple[Fit, Fit]) -> None:
    with pytest.raises(UsageError, match="one fit is of loss, the other of bpb"):
        compare(exact[0], replace(exact[1], target="bpb"))
    with pytest.raises(UsageError, match="is no range between"):
        compare(*exact, flops=(1e22, 1e20))
    with pytest.raises(UsageError, match="a place to compare at is"):
        compare(*exact, at=[{"tokens": 1e9}])
    with pytest.raises(UsageError, match="not a number above zero"):
        compare(*exact, at=[{"flops": -1.0}])
    with pytest.raises(UsageError, match="neither law has such an input"):
        compare(*exact, given={"sparsity": 0.5})
    of_compute = fit("hestness-flops", chinchilla_table().assign(flops=lambda t: 6 * t.params * t.tokens), bootstrap=0)
    with pytest.raises(UsageError, match="both laws are of compute, and neither has tokens"):
        compare(of_compute, of_compute, unique_tokens=1e9)
    with pytest.raises(UsageError, match="--level 2 is not between"):
        compare(*exact, level=2.0)
    with pytest.raises(UsageError, match="allocate needs one of params and tokens"):
        compare(exact[0], fit("hestness", chinchilla_table(), starts=144, bootstrap=0))
    assert REACH == 1e4
