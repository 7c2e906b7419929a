"""Laws of mixture-of-experts models: golden values, the public routed runs, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import least_squares, minimize

from scaling_lab.decide.allocate import allocate
from scaling_lab.engine.fit import fit
from scaling_lab.engine.predict import predict
from scaling_lab.errors import BadInput
from scaling_lab.laws import LAWS
from scaling_lab.laws.experts import effective_params, saturated


def s_base() -> dict[str, float]:
    return dict(LAWS["routed"].published["clark2022-s-base"].values)


def test_golden_losses_of_routed_models() -> None:
    x = {"params_active": np.array([1.3e8, 1.3e8, 1.3e9, 1.3e9]), "experts": np.array([1.0, 64, 1, 512])}
    got = LAWS["routed"].predict(x, **s_base())
    np.testing.assert_allclose(got, (2.687430, 2.388538, 2.237357, 1.982337), atol=6e-7)
    ends = {name: s_base()[name] for name in ("E_start", "E_max")}
    np.testing.assert_allclose(saturated(np.array([64.0, 512]), **ends), (53.7687, 194.942), rtol=2e-6)
    assert saturated(1.0, **ends) == pytest.approx(ends["E_start"], rel=1e-12)


def test_golden_effective_parameters() -> None:
    named = {name: value for name, value in s_base().items() if name != "d"}
    got = effective_params(np.array([1.3e8, 1.3e9]), np.array([64, 512]), **named)
    np.testing.assert_allclose(got, (5.7175e8, 5.9457e9), rtol=2e-5)
    # A dense model of that size has the routed model's loss.
    law = LAWS["routed"]
    dense = law.predict({"params_active": got, "experts": np.ones(2)}, **s_base())
    routed = law.predict({"params_active": np.array([1.3e8, 1.3e9]), "experts": np.array([64, 512])}, **s_base())
    np.testing.assert_allclose(dense, routed, rtol=1e-12)
    with pytest.raises(BadInput, match="experts is less than 1"):
        effective_params(1e8, 0, **named)


def test_golden_losses_of_sparsity_and_granularity() -> None:
    law = LAWS["moe-sparsity"]
    x = {"params": np.full(2, 1e9), "tokens": np.full(2, 2e10), "sparsity": np.array([0.0, 0.9])}
    np.testing.assert_allclose(law.predict(x, **law.published["abnar2025"].values), (2.565681, 2.701872), atol=6e-7)
    law = LAWS["moe-granularity"]
    x = {"params": np.full(2, 1e9), "tokens": np.full(2, 2e10), "granularity": np.array([1.0, 16])}
    np.testing.assert_allclose(law.predict(x, **law.published["krajewski2024"].values), (3.276133, 3.121193), atol=6e-7)


@pytest.fixture(scope="module")
def routed(data_dir: Path) -> pd.DataFrame:
    final = pd.read_csv(data_dir / "routed_moe" / "final.csv")
    main = final.query("k == 1 and routing_frequency == 0.5 and flop_increase == 1 and seed == 42")
    columns = {"params_dense": "params_active", "loss_validation": "loss"}
    return main.rename(columns=columns)[["params_active", "experts", "loss"]].reset_index(drop=True)


def test_the_routed_runs_give_the_notes_refit_of_clarks_law(routed: pd.DataFrame) -> None:
    assert len(routed) == 58
    found = fit("routed", routed, objective="l2", bootstrap=0)
    want = {"a": -0.08303, "b": -0.11804, "c": 0.009925, "d": 1.11358, "E_start": 2.075, "E_max": 238.7}
    for name, value in want.items():
        assert found.values[name] == pytest.approx(value, rel=6e-4), name
    x = {name: routed[name].to_numpy(float) for name in ("params_active", "experts")}
    log10 = np.log10(found.at(x) / routed.loss)
    assert np.sqrt(np.mean(log10**2)) == pytest.approx(0.00323, abs=6e-6)
    published = np.log10(LAWS["routed"].predict(x, **s_base()) / routed.loss)
    assert np.sqrt(np.mean(published**2)) == pytest.approx(0.00369, abs=6e-6)


def test_the_law_with_a_floor_agrees_with_scipy_and_the_notes(routed: pd.DataFrame) -> None:
    found = fit("routed-floor", routed, objective="l2", bootstrap=0)
    n, e, y = (routed[name].to_numpy(float) for name in ("params_active", "experts", "loss"))

    def residual(t: np.ndarray) -> np.ndarray:
        return np.asarray(np.log((t[0] + np.exp(t[1]) * n ** -t[2] * e ** -t[3]) / y))

    theirs = least_squares(residual, [1.0, 3.0, 0.2, 0.1], xtol=1e-15, ftol=1e-15, gtol=1e-15)
    assert found.value <= theirs.cost * (1 + 1e-9)
    got = [found.values["E_0"], np.log(found.values["A"]), found.values["a"], found.values["b"]]
    np.testing.assert_allclose(got, theirs.x, rtol=1e-5)
    np.testing.assert_allclose(np.round(got, 4), (1.4717, np.round(np.log(33.72), 4), 0.1786, 0.0707), atol=1.1e-4)


def test_extrapolations_by_experts_and_by_size_are_those_of_the_reference(routed: pd.DataFrame) -> None:
    for law, by, cut, want in (
        ("routed", "experts", 64, 0.0225),
        ("routed", "params_active", 1.4e8, 0.0655),
        ("routed-floor", "params_active", 1.4e8, 0.0318),
    ):
        train, test = routed[routed[by] <= cut], routed[routed[by] > cut]
        found = fit(law, train, objective="l2", bootstrap=0)
        at = {name: test[name].to_numpy(float) for name in ("params_active", "experts")}
        error = float(np.mean(np.abs(found.at(at) - test.loss)))
        # Better than the best procedure of the reference for the law with a floor, and that of Clark's law exactly.
        assert error < want if law == "routed-floor" else error == pytest.approx(want, abs=6e-5)


def test_no_expert_and_a_sparsity_of_one_are_refused(routed: pd.DataFrame) -> None:
    table = routed.astype(float)
    table.loc[3, "experts"] = 0.5
    with pytest.raises(BadInput, match=r"experts is less than 1: a dense model has one.*--drop-bad-rows"):
        fit("routed", table, bootstrap=0)
    table.loc[3, "experts"] = 0.0
    with pytest.raises(BadInput, match="experts"):
        fit("routed-floor", table, bootstrap=0)
    kept = fit("routed-floor", routed, bootstrap=0)
    with pytest.raises(BadInput, match="experts is less than 1"):
        predict(kept, {"params_active": 1e9, "experts": 0.5})
    n, d, s = (v.ravel() for v in np.meshgrid([1e8, 1e9, 1e10], [1e9, 1e10, 1e11], [0.0, 0.5, 1.0]))
    sparse = pd.DataFrame({"params": n, "tokens": d, "sparsity": s, "loss": 3.0 - 0.01 * np.arange(27)})
    with pytest.raises(BadInput, match="sparsity is 1: no expert would be active"):
        fit("moe-sparsity", sparse, bootstrap=0)


def test_a_budget_is_split_over_size_tokens_and_sparsity() -> None:
    """Against scipy over all three, sparsity within the fitted range."""
    law = LAWS["moe-sparsity"]
    named = dict(law.published["abnar2025"].values)
    grid = np.meshgrid(np.geomspace(1e8, 3e10, 7), np.geomspace(1e9, 1e12, 6), [0.0, 0.5, 0.8, 0.9, 0.95])
    n, d, s = (v.ravel() for v in grid)
    x = {"params": n, "tokens": d, "sparsity": s}
    found = fit("moe-sparsity", pd.DataFrame({**x, "loss": law.predict(x, **named)}), bootstrap=0)
    split = allocate(found, 1e21)

    def loss(at: np.ndarray) -> float:
        tokens = 1e21 / (6 * np.exp(at[0]) * (1 - at[1]))
        return float(law.predict({"params": np.exp(at[0]), "tokens": tokens, "sparsity": at[1]}, **named))

    best = minimize(loss, [22.0, 0.7], bounds=[(18, 28), (0.0, 0.95)], method="L-BFGS-B", options={"ftol": 1e-15})
    assert split.loss.value == pytest.approx(best.fun, rel=1e-6)
    assert split.params.value == pytest.approx(float(np.exp(best.x[0])), rel=0.02)
    assert allocate(found, 1e21, given={"sparsity": 0.5}).loss.value > split.loss.value
