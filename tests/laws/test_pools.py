"""Pools of data and datastores against sums written out, scipy, and the truth that was planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import least_squares, minimize

from scaling_lab.accounting import six_nd
from scaling_lab.decide.allocate import allocate
from scaling_lab.engine.fit import fit
from scaling_lab.engine.predict import predict
from scaling_lab.errors import BadInput
from scaling_lab.laws import LAWS, get_law
from scaling_lab.laws.pools import PASSES
from scaling_lab.laws.retrieval import datastore_flops
from tests.laws.worlds.pools import ALONE, POOLS, SIZE, STORES

THREE = get_law("qqt@w_x,w_y,w_z")
VALUES = {"a": 1.3, "d": 0.12, "b_x": -0.09, "b_y": -0.07, "b_z": -0.05, "tau_x": 2.0, "tau_y": 4.5, "tau_z": 9.0}


def inputs(passes: np.ndarray, **shares: float) -> dict[str, np.ndarray]:
    n = len(passes)
    return {
        "samples": SIZE * passes,
        "unique_samples": np.full(n, SIZE),
        **{f"w_{name}": np.full(n, shares.get(name, 0.0)) for name in "xyz"},
    }


def by_epochs(pools: str, epochs: int) -> float:
    """The error after whole passes over equal pools, as the paper writes it."""
    p = len(pools)
    seen = SIZE * np.arange(1, epochs + 1)
    powers = [
        sum(VALUES[f"b_{i}"] * (0.5 ** (1 / (p * VALUES[f"tau_{i}"]))) ** k for i in pools) / p for k in range(epochs)
    ]
    y = VALUES["a"] * seen[0] ** powers[0]
    for k in range(1, epochs):
        y *= (seen[k] / seen[k - 1]) ** powers[k]
    return float(y + VALUES["d"])


@pytest.mark.parametrize("pools", ["x", "z", "xy", "xyz"])
def test_whole_passes_over_equal_pools_are_the_papers_product(pools: str) -> None:
    passes = np.array([1.0, 2.0, 3.0, 7.0, 30.0, 256.0])
    got = THREE.predict(inputs(passes, **dict.fromkeys(pools, 1 / len(pools))), **VALUES)
    np.testing.assert_allclose(got, [by_epochs(pools, int(k)) for k in passes], rtol=1e-12)


def test_a_pass_that_is_not_completed_counts_by_what_was_seen_of_it() -> None:
    """Inside a pass the error is a power of the samples, and passes join without a jump."""
    for k in (0, 1, 4):
        inside = np.log(THREE.predict(inputs(np.geomspace(max(k, 0.2), k + 1.0, 7), x=1.0), **VALUES) - VALUES["d"])
        slope = np.diff(inside) / np.diff(np.log(np.geomspace(max(k, 0.2), k + 1.0, 7)))
        np.testing.assert_allclose(slope, VALUES["b_x"] * 0.5 ** (k / VALUES["tau_x"]), rtol=1e-9)


def test_unequal_shares_stretch_each_half_life_by_their_own_share() -> None:
    """A pool of share w is seen w times a pass: at w = 1/4 its utility halves after 4 tau passes."""
    x = inputs(np.array([40.0, 41.0]), x=0.25, z=0.75)
    gap = np.diff(np.log(THREE.predict(x, **VALUES) - VALUES["d"]))[0] / np.log(41 / 40)
    want = sum(w * VALUES[f"b_{i}"] * 0.5 ** (40 * w / VALUES[f"tau_{i}"]) for i, w in (("x", 0.25), ("z", 0.75)))
    assert gap == pytest.approx(want, rel=1e-9)


def test_shares_that_do_not_sum_to_one_and_endless_passes_are_refused() -> None:
    table = pd.DataFrame({**ALONE, "error": get_law("qqt@w_strict,w_loose").predict(dict(ALONE), **POOLS)})
    for shares, ok in ((0.003, True), (0.02, False)):
        wrong = table.assign(w_loose=table.w_loose.where(table.index != 2, table.w_loose - shares))
        wrong["w_loose"] = wrong.w_loose.clip(lower=0.0)
        if ok:
            assert fit("qqt", wrong, bootstrap=0).rows["used"] == len(table)
        else:
            with pytest.raises(BadInput, match=r"do not sum to 1 \(to 0\.005\)"):
                fit("qqt", wrong, bootstrap=0)
    found = fit("qqt", table, bootstrap=0)
    point = {"samples": (PASSES + 1) * SIZE, "unique_samples": SIZE, "w_strict": 1.0, "w_loose": 0.0}
    with pytest.raises(BadInput, match="samples are more than 256 times unique_samples"):
        predict(found, point)
    with pytest.raises(BadInput, match="shares of sources"):
        fit("qqt", table.drop(columns="w_loose"), bootstrap=0)


@pytest.fixture(scope="module")
def noisy() -> pd.DataFrame:
    """Two pools, each alone, with noise of .2 %."""
    y = get_law("qqt@w_strict,w_loose").predict(dict(ALONE), **POOLS)
    return pd.DataFrame({**ALONE, "error": y * np.exp(0.002 * np.random.default_rng(3).standard_normal(len(y)))})


def test_utility_and_half_life_come_back_and_agree_with_scipy(noisy: pd.DataFrame) -> None:
    found = fit("qqt", noisy, objective="l2", bootstrap=200)
    for name, want in POOLS.items():
        estimate = found.params[name]
        assert estimate.se is not None
        assert abs(estimate.value - want) < 4 * estimate.se, name
    names = found.entry.names
    signs = np.array([np.sign(POOLS[name]) for name in names])

    def residuals(t: np.ndarray) -> np.ndarray:
        params = dict(zip(names, signs * np.exp(t), strict=True))
        return np.asarray(np.log(found.entry.predict(dict(ALONE), **params)) - np.log(noisy.error.to_numpy()))

    rng = np.random.default_rng(0)
    begun = np.log([abs(POOLS[name]) for name in names])
    ends = [least_squares(residuals, begun + 0.5 * rng.standard_normal(len(names)), x_scale="jac") for _ in range(6)]
    best = min(ends, key=lambda end: end.cost)
    assert found.value <= best.cost * (1 + 1e-9)
    np.testing.assert_allclose(list(found.values.values()), signs * np.exp(best.x), rtol=2e-4)


def test_mixtures_that_were_never_trained_rank_as_the_truth_does(noisy: pd.DataFrame) -> None:
    found = fit("qqt", noisy, bootstrap=0)
    strict = np.array([1.0, 0.5, 0.0])
    for passes in (0.5, 2.0, 6.0, 20.0, 40.0):
        x = {
            "samples": np.full(3, passes * SIZE),
            "unique_samples": np.full(3, SIZE),
            "w_strict": strict,
            "w_loose": 1 - strict,
        }
        truth = found.entry.predict(x, **POOLS)
        np.testing.assert_allclose(found.at(x), truth, rtol=5e-3)
        assert list(np.argsort(found.at(x))) == list(np.argsort(truth))


def test_the_cost_of_a_datastore_is_that_of_embedding_it_once() -> None:
    """3.5e20 FLOP for 1e12 tokens, by a retriever of 177M parameters."""
    assert datastore_flops({"datastore_tokens": 1e12}) == pytest.approx(3.54e20)


def test_a_budget_is_split_between_training_and_a_datastore_as_scipy_does() -> None:
    truth = {"E": 1.8, "A": 400.0, "B": 1500.0, "alpha": 0.34, "beta": 0.36, "kappa": 0.03, "S_0": 3e9}
    law = LAWS["datastore"]
    found = fit(law, pd.DataFrame({**STORES, "loss": law.predict(dict(STORES), **truth)}), bootstrap=0)
    flops = 3e20

    def loss(t: np.ndarray) -> float:
        n, s = np.exp(t)
        d = (flops - datastore_flops({"datastore_tokens": s})) / (6 * n)
        if d <= 0:
            return 1e3
        x = {"params": np.array([n]), "tokens": np.array([d]), "datastore_tokens": np.array([s])}
        return float(law.predict(x, **truth)[0])

    plain = minimize(loss, np.log([1e9, 3e10]), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14})
    got = allocate(found, flops)
    assert got.loss.value == pytest.approx(plain.fun, abs=1e-9)
    assert got.params.value == pytest.approx(np.exp(plain.x[0]), rel=1e-3)
    store = got.further["datastore_tokens"].value
    assert store == pytest.approx(np.exp(plain.x[1]), rel=1e-3)
    spent = six_nd(got.params.value, got.tokens.value) + datastore_flops({"datastore_tokens": store})
    assert float(spent) == pytest.approx(flops, rel=1e-9)


def test_without_a_datastore_the_law_is_chinchilla() -> None:
    values = {"E": 1.8, "A": 400.0, "B": 1500.0, "alpha": 0.34, "beta": 0.36}
    x = {"params": np.array([1e8, 1e10]), "tokens": np.array([1e10, 1e12]), "datastore_tokens": np.zeros(2)}
    np.testing.assert_allclose(
        LAWS["datastore"].predict(x, **values, kappa=0.02, S_0=1e9), LAWS["chinchilla"].predict(x, **values), rtol=1e-14
    )
