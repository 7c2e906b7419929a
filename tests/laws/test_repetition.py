"""Repeated data: what the paper and its notebook print, the better minimum that they miss, and splits of a budget."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.special import huber

from scaling_lab.decide.allocate import allocate
from scaling_lab.engine.fit import fit
from scaling_lab.engine.predict import predict
from scaling_lab.errors import BadInput
from scaling_lab.laws import LAWS
from tests.laws.worlds.repetition import REPEATED, TIED

LAW = LAWS["data-constrained"]
INPUTS = list(LAW.inputs)
# The notebook keeps logarithms; the entry has the coefficients to seven digits.
BASE = {
    "E": np.exp(0.6254804),
    "A": np.exp(6.255414),
    "B": np.exp(7.3049974),
    "alpha": 0.3526596,
    "beta": 0.3526596,
}
PUBLISHED = BASE | {"R_D": 15.387756, "R_N": 5.309743}


@pytest.fixture(scope="module")
def c4(data_dir: Path) -> pd.DataFrame:
    """The 182 runs of the published fit."""
    frame = pd.read_csv(data_dir / "datablations_c4" / "runs.csv").query("in_182_fit == 1")
    return frame.rename(columns={"params_total": "params"})


def inputs(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    return {name: frame[name].to_numpy(float) for name in INPUTS}


def objective(frame: pd.DataFrame, **params: float) -> float:
    """The Huber sum of a table, written apart from the engine."""
    return float(np.sum(huber(1e-3, np.log(LAW.predict(inputs(frame), **params)) - np.log(frame.loss.to_numpy()))))


def r2(frame: pd.DataFrame, **params: float) -> float:
    off = LAW.predict(inputs(frame), **params) - frame.loss.to_numpy()
    return float(1 - off @ off / np.sum((frame.loss - frame.loss.mean()) ** 2))


def test_golden_losses_of_the_notebook() -> None:
    x = {"params": np.array([6.34e9, 8.67e9]), "tokens": np.array([242e9, 178e9]), "unique_tokens": np.full(2, 25e9)}
    want = (2.2256440889984477, 2.2269634075087867)
    np.testing.assert_allclose(LAW.predict(x, **PUBLISHED), want, rtol=1e-14)
    for name in ("data-constrained", "data-constrained-tied"):
        law = LAWS[name]
        np.testing.assert_allclose(law.predict(x, **law.published["muennighoff2023"].values), want, rtol=1e-7)


def test_its_limits_are_chinchilla_and_a_share_of_the_unique_tokens() -> None:
    x = {"params": np.array([1e9, 2e9]), "tokens": np.array([2e10, 4e12]), "unique_tokens": np.array([2e10, 2e10])}
    endless = LAW.predict(x, **PUBLISHED | {"R_D": 1e12, "R_N": 1e12})
    np.testing.assert_allclose(endless, LAWS["chinchilla"].predict(x, **BASE), rtol=1e-9)
    # No excess parameters here: the optimal size for 2e10 unique tokens is .05099 of them.
    small = {**x, "params": np.full(2, 0.0509 * 2e10), "tokens": np.array([2e10, 1e18])}
    term = LAW.predict(small, **PUBLISHED) - BASE["E"] - BASE["A"] * small["params"] ** -BASE["alpha"]
    np.testing.assert_allclose(
        (term / BASE["B"]) ** (-1 / BASE["beta"]), 2e10 * np.array([1, 1 + 15.387756]), rtol=1e-9
    )


def test_the_optimal_size_of_unique_tokens_is_their_published_share() -> None:
    """A model just above .05099 of its unique tokens is worth less with a smaller R_N; one just below is not."""
    for share, matters in ((0.05098, False), (0.0511, True)):
        x = {"params": np.array([share * 1e10]), "tokens": np.array([1e10]), "unique_tokens": np.array([1e10])}
        one, other = (LAW.predict(x, **PUBLISHED | {"R_N": value})[0] for value in (1e-3, 1e3))
        assert bool(one > other) == matters


def test_best_epochs_for_a_budget_and_a_limit_of_unique_tokens() -> None:
    """1e22 FLOP on 25B unique tokens: 2.37209e11 tokens, 9.48835 epochs, 7.02616e9 params, a loss of 2.2221293."""

    def loss(log_n: float) -> float:
        n = float(np.exp(log_n))
        x = {"params": np.array([n]), "tokens": np.array([1e22 / (6 * n)]), "unique_tokens": np.array([25e9])}
        return float(LAW.predict(x, **PUBLISHED)[0])

    plain = minimize_scalar(loss, bounds=(np.log(1e9), np.log(1e11)), method="bounded", options={"xatol": 1e-10})
    assert np.exp(plain.x) == pytest.approx(7.02616e9, rel=1e-5)
    assert plain.fun == pytest.approx(2.2221293, abs=5e-8)
    # The same by `allocate`, of a fit that is held at the published coefficients.
    table = pd.DataFrame({**REPEATED, "loss": LAW.predict(dict(REPEATED), **PUBLISHED)})
    found = allocate(fit(LAW, table, fix=PUBLISHED, bootstrap=0), 1e22, unique_tokens=25e9)
    assert found.params.value == pytest.approx(7.02616e9, rel=1e-5)
    assert found.tokens.value == pytest.approx(2.37209e11, rel=1e-5)
    assert found.loss.value == pytest.approx(2.2221293, abs=5e-8)
    assert found.epochs is not None
    assert found.epochs.value == pytest.approx(9.48835, rel=1e-5)


def test_the_published_pair_is_not_the_minimum_of_its_own_182_runs(c4: pd.DataFrame) -> None:
    assert len(c4) == 182
    assert objective(c4, **PUBLISHED) == pytest.approx(0.01582594, abs=5e-9)
    assert r2(c4, **PUBLISHED) == pytest.approx(0.7722, abs=5e-5)
    found = fit(LAW, c4, fix=BASE, bootstrap=0)
    assert found.values["R_D"] == pytest.approx(95.37, abs=5e-3)
    assert found.values["R_N"] == pytest.approx(1.706, abs=5e-4)
    assert found.value == pytest.approx(0.01580466, abs=5e-9)
    assert found.metrics.r2 == pytest.approx(0.7910, abs=5e-5)
    basins = [basin["params"]["R_D"] for basin in found.starts["basins"]]
    assert any(abs(r_d - 15.37) < 0.01 for r_d in basins), "the published valley is one of those that were found"


def test_the_two_step_fit_is_no_higher_than_scipy_from_a_hundred_starts(c4: pd.DataFrame) -> None:
    starts = np.random.default_rng(0).uniform(np.log([1, 0.3]), np.log([300, 100]), (100, 2))
    ends = [
        minimize(
            lambda t: 1e6 * objective(c4, **BASE, R_D=float(np.exp(t[0])), R_N=float(np.exp(t[1]))),
            start,
            method="Nelder-Mead",
        ).fun
        / 1e6
        for start in starts
    ]
    found = fit("data-constrained-tied", c4, fix={k: v for k, v in BASE.items() if k != "beta"}, bootstrap=0)
    assert found.value <= min(ends) * (1 + 1e-6)


def test_how_well_each_half_of_the_decay_does_alone(c4: pd.DataFrame) -> None:
    never = 1e9
    assert r2(c4, **BASE, R_D=never, R_N=never) == pytest.approx(0.4452, abs=5e-5)
    data_only = fit(LAW, c4, fix=BASE | {"R_N": never}, bootstrap=0)
    assert data_only.values["R_D"] == pytest.approx(2.916, abs=2e-3)
    assert data_only.metrics.r2 == pytest.approx(0.735, abs=6e-4)


def test_the_profile_leaves_r_d_open_by_more_than_a_factor_of_several(c4: pd.DataFrame) -> None:
    found = fit(LAW, c4, fix=BASE, bootstrap=0, intervals="profile")
    ci = found.params["R_D"].ci
    assert ci is not None
    assert ci[0] < 10.0
    assert ci[1] > 200.0


def test_all_seven_free_are_no_higher_than_scipy(c4: pd.DataFrame) -> None:
    found = fit(LAW, c4, bootstrap=0)
    assert found.value < objective(c4, **PUBLISHED)
    low, high = (np.log([p.start[i] for p in LAW.params]) for i in (0, 1))
    for start in np.random.default_rng(0).uniform(low, high, (6, 7)):

        def value(t: np.ndarray) -> float:
            with np.errstate(all="ignore"):
                got = 1e3 * objective(c4, **dict(zip(LAW.names, np.exp(np.clip(t, -50, 50)), strict=True)))
            return got if np.isfinite(got) else 1e9

        ended = minimize(value, start, method="Nelder-Mead", options={"maxiter": 3000, "adaptive": True})
        assert found.value <= ended.fun / 1e3 * (1 + 1e-6)


@pytest.mark.parametrize(
    ("train", "test", "counts", "mae"),
    [("flops <= 3e20", "flops > 3e20", (132, 50), 0.2355), ("epochs <= 40", "epochs > 40", (120, 62), 0.3244)],
)
def test_extrapolation_of_the_published_base_is_the_reference(
    c4: pd.DataFrame, train: str, test: str, counts: tuple[int, int], mae: float
) -> None:
    small, large = c4.query(train), c4.query(test)
    assert (len(small), len(large)) == counts
    found = fit(LAW, small, fix=BASE, bootstrap=0)
    assert np.mean(np.abs(found.at(inputs(large)) - large.loss)) == pytest.approx(mae, abs=5e-5)


def test_more_unique_tokens_than_tokens_are_refused_but_for_rounding() -> None:
    once = pd.DataFrame({**REPEATED, "loss": LAWS["data-constrained-tied"].predict(dict(REPEATED), **TIED)})
    wrong = once.assign(unique_tokens=once.unique_tokens.where(once.index != 3, once.tokens * 1.01))
    with pytest.raises(BadInput, match="line 3: unique_tokens are more than the tokens seen"):
        fit("data-constrained-tied", wrong, bootstrap=0)
    found = fit("data-constrained-tied", wrong, bootstrap=0, drop_bad=True)
    assert found.rows["used"] == len(once) - 1
    with pytest.raises(BadInput, match="unique_tokens are more than the tokens seen"):
        predict(found, {"params": 1e9, "tokens": 1e10, "unique_tokens": 1.1e10})
    # 1.00 and 1.005 of one corpus are the same to three digits, and then there is one pass.
    point = {"params": 1e9, "tokens": 1e10, "unique_tokens": 1.004e10}
    near, exact = predict(found, point), predict(found, point | {"unique_tokens": 1e10})
    assert near.value[0] == exact.value[0]
