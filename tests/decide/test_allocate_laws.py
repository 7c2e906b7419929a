"""Allocation over the laws of the catalogue: closed forms, published goldens, scipy."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar

from scaling_lab.decide.allocate import allocate
from scaling_lab.decide.split import least_flops, plan_of, splits
from scaling_lab.engine.fit import fit
from scaling_lab.errors import UsageError
from scaling_lab.laws import LAWS, get_law
from tests.conftest import TRUTH, chinchilla_table


def named(law: str, published: str) -> dict[str, np.ndarray]:
    return {k: np.array([[v]]) for k, v in LAWS[law].published[published].values.items()}


@pytest.mark.parametrize("law", ["data-constrained", "data-constrained-tied"])
def test_the_published_split_of_limited_data(law: str) -> None:
    """The authors' allocation of 1e22 FLOP over 25B unique tokens of C4."""
    p = named(law, "muennighoff2023")
    found = splits(plan_of(get_law(law), {}, {}, 0.0, 25e9), p, np.array([1e22]))
    assert found.params[0] == pytest.approx(7.02616e9, rel=2e-4)
    assert found.tokens[0] == pytest.approx(2.37209e11, rel=2e-4)
    assert found.tokens[0] / 25e9 == pytest.approx(9.48835, rel=2e-4)
    assert found.loss[0] == pytest.approx(2.2221293, abs=1e-7)
    assert not found.held[0]


def test_data_without_a_limit_are_chinchilla_s() -> None:
    p = named("data-constrained-tied", "muennighoff2023")
    free = splits(plan_of(LAWS["data-constrained-tied"], {}, {}, 0.0, 1e14), p, np.array([1e22]))
    base = {name: p[name] for name in ("E", "A", "B", "alpha")}
    want = splits(plan_of(LAWS["chinchilla-tied"], {}, {}), base, np.array([1e22]))
    assert free.loss[0] == pytest.approx(want.loss[0], abs=1e-12)
    assert free.params[0] == pytest.approx(want.params[0], rel=1e-6)


def test_more_unique_tokens_never_hurt_and_need_less_compute() -> None:
    p = named("data-constrained-tied", "muennighoff2023")
    loss, needed, epochs = [], [], []
    for unique in (1e10, 2e10, 5e10, 1e11, 1e12):
        plan = plan_of(LAWS["data-constrained-tied"], {}, {}, 0.0, unique)
        loss.append(splits(plan, p, np.array([1e23])).loss[0])
        budget = least_flops(plan, p, 2.3)
        needed.append(budget[0])
        epochs.append(splits(plan, p, budget).tokens[0] / unique)
    assert all(more < less for less, more in itertools.pairwise(loss))
    assert all(more < less for less, more in itertools.pairwise(needed[:4]))
    # Where the best split stays below both of two limits, the limits say nothing and the budgets are one.
    assert epochs[2] > 1 > epochs[3] > epochs[4]
    assert needed[4] == pytest.approx(needed[3], rel=1e-9)


def test_a_fit_of_repeated_data_asks_for_the_unique_tokens_and_tells_epochs() -> None:
    p = {k: float(v[0, 0]) for k, v in named("data-constrained-tied", "muennighoff2023").items()}
    axes = np.meshgrid(np.geomspace(1e8, 8e9, 4), np.geomspace(4e9, 4e11, 4), [2e9, 2e10, 1e11], indexing="ij")
    x = dict(zip(("params", "tokens", "unique_tokens"), (v.ravel() for v in axes), strict=True))
    x["unique_tokens"] = np.minimum(x["unique_tokens"], x["tokens"])
    table = pd.DataFrame({**x, "loss": LAWS["data-constrained-tied"].predict(x, **p)})
    fitted = fit("data-constrained-tied", table, bootstrap=0)
    with pytest.raises(UsageError, match="give --unique-tokens NUMBER"):
        allocate(fitted, 1e22)
    found = allocate(fitted, 1e22, unique_tokens=25e9)
    assert found.epochs is not None
    assert found.epochs.value == pytest.approx(9.488, rel=1e-2)
    assert "SL403" not in {w.code for w in found.warnings}
    assert found.to_dict()["given"] == {"unique_tokens": 25e9}
    assert allocate(fitted, 1e22, given={"unique_tokens": 25e9}).tokens.value == found.tokens.value


def test_over_training_has_its_ratio_in_closed_form() -> None:
    """dL/dM = 0 at M = (b/a)^(1/(2 eta)), whatever the budget."""
    p = named("overtrain", "gadre2024-redpajama")
    found = splits(plan_of(LAWS["overtrain"], {}, {}), p, np.array([1e20, 1e24]))
    a, b, eta = (float(p[n][0, 0]) for n in ("a", "b", "eta"))
    np.testing.assert_allclose(found.tokens / found.params, (b / a) ** (1 / (2 * eta)), rtol=1e-5)
    np.testing.assert_allclose(6 * found.params * found.tokens, [1e20, 1e24], rtol=1e-9)


def test_average_parameters_split_as_chinchilla_s_and_serve_nobody() -> None:
    table = chinchilla_table().rename(columns={"params": "params_average"})
    found = allocate(fit("avg-params", table, bootstrap=0), 1e21)
    a, b = TRUTH["alpha"], TRUTH["beta"]
    g = (a * TRUTH["A"] / (b * TRUTH["B"])) ** (1 / (a + b))
    assert found.params.value == pytest.approx(g * (1e21 / 6) ** (b / (a + b)), rel=1e-4)
    assert found.size == "params_average"
    assert "SL442" in {w.code for w in found.warnings}
    with pytest.raises(UsageError, match="does not say how large the model is that serves"):
        allocate(fit("avg-params", table, bootstrap=0), 1e21, inference_tokens=1e12)


def sparse_loss(p: Mapping[str, float], log_n: float, s: float, flops: float) -> float:
    n = np.exp(log_n)
    x = {"params": n, "tokens": flops / (6 * n * (1 - s)), "sparsity": s}
    return float(LAWS["moe-sparsity"].predict(x, **p))


def test_a_mixture_of_experts_pays_for_its_active_share() -> None:
    """The published coefficients at sparsity .9, against scipy; with sparsity open more of it is better, to the end."""
    p = named("moe-sparsity", "abnar2025")
    law = LAWS["moe-sparsity"]
    held = splits(plan_of(law, {"sparsity": 0.9}, {}), p, np.array([1e21]))
    values = {k: float(v[0, 0]) for k, v in p.items()}
    best = minimize_scalar(lambda u: sparse_loss(values, u, 0.9, 1e21), bounds=(15, 30), method="bounded")
    assert held.loss[0] == pytest.approx(best.fun, abs=1e-9)
    assert 6 * held.params[0] * 0.1 * held.tokens[0] == pytest.approx(1e21, rel=1e-9)
    ranges = {"sparsity": {"min": 0.0, "max": 0.98}}
    free = splits(plan_of(law, {}, ranges), p, np.array([1e21]))
    each = [
        splits(plan_of(law, {"sparsity": float(s)}, {}), p, np.array([1e21])).loss[0] for s in np.linspace(0, 0.98, 99)
    ]
    assert free.loss[0] <= min(each) + 1e-12
    assert free.loss[0] == pytest.approx(min(each), abs=1e-4)


def test_the_finest_experts_are_best_and_it_is_told() -> None:
    p = named("moe-granularity", "krajewski2024")
    plan = plan_of(LAWS["moe-granularity"], {}, {"granularity": {"min": 1.0, "max": 16.0}})
    found = splits(plan, p, np.array([1e20]))
    assert found.ended["granularity"][0]
    assert found.further["granularity"][0] == pytest.approx(16.0, rel=1e-3)
    # Along the budget the law is Chinchilla's with A = g / G^gamma + a.
    v = {k: float(x[0, 0]) for k, x in p.items()}
    big = v["g"] / 16 ** v["gamma"] + v["a"]
    g = (v["alpha"] * big / (v["beta"] * v["b"])) ** (1 / (v["alpha"] + v["beta"]))
    assert found.params[0] == pytest.approx(g * (1e20 / 6) ** (v["beta"] / (v["alpha"] + v["beta"])), rel=1e-3)


def test_size_and_vocabulary_are_split_together() -> None:
    """Lagrange: each parameter's gain for its cost is one and the same at the optimum."""
    p = named("vocab", "refit-true-tokens")
    plan = plan_of(LAWS["vocab"], {}, {"params_vocab": {"min": 1e6, "max": 1e11}})
    found = splits(plan, p, np.array([1e21]))
    n, v, d = found.params[0], found.further["params_vocab"][0], found.tokens[0]
    assert 6 * (n + v) * d == pytest.approx(1e21, rel=1e-9)
    law, values = LAWS["vocab"], {k: float(x[0, 0]) for k, x in p.items()}

    def gain(name: str) -> float:
        x = {"params_nonvocab": n, "params_vocab": v, "tokens": d}
        up, down = ({**x, name: x[name] * (1 + e)} for e in (1e-4, -1e-4))
        return float(law.predict(up, **values) - law.predict(down, **values)) / (2e-4 * x[name])

    assert gain("params_vocab") == pytest.approx(gain("params_nonvocab"), rel=1e-3)
    assert gain("params_nonvocab") * (n + v) == pytest.approx(gain("tokens") * d, rel=1e-3)
    assert not found.ended["params_vocab"][0]


def test_a_datastore_is_paid_for_by_its_embedding() -> None:
    """Against scipy over the size of the store, with Chinchilla's closed form for the rest of the budget."""
    law = LAWS["datastore"]
    values = {**TRUTH, "kappa": 0.02, "S_0": 1e9}
    p = {name: np.array([[values[name]]]) for name in law.names}
    plan = plan_of(law, {}, {"datastore_tokens": {"min": 0.0, "max": 1.4e12}})
    found = splits(plan, p, np.array([1e21]))
    a, b = TRUTH["alpha"], TRUTH["beta"]
    g = (a * TRUTH["A"] / (b * TRUTH["B"])) ** (1 / (a + b))

    def best(store: float) -> float:
        c = (1e21 - 2 * 177e6 * store) / 6
        rest = (TRUTH["A"] * g**-a + TRUTH["B"] * g**b) * c ** (-a * b / (a + b))
        return TRUTH["E"] + rest - 0.02 * np.log1p(store / 1e9)

    want = minimize_scalar(best, bounds=(0, 1.4e12), method="bounded", options={"xatol": 1e3})
    assert found.loss[0] == pytest.approx(want.fun, abs=1e-9)
    assert found.further["datastore_tokens"][0] == pytest.approx(want.x, rel=2e-3)


def test_laws_without_a_split_say_so() -> None:
    for law in ("hestness-flops", "parallel", "routed", "gemstones"):
        with pytest.raises(UsageError, match="allocate needs one of params and tokens"):
            plan_of(LAWS[law], {}, {})


def test_a_mixture_is_split_for_one_ratio() -> None:
    with pytest.raises(UsageError, match="give --given ratio=NUMBER"):
        plan_of(LAWS["dcpt"], {}, {})
    assert plan_of(LAWS["dcpt"], {"ratio": 0.3}, {}).given == {"ratio": 0.3}


@pytest.mark.parametrize(("flops", "ratio"), [(1e20, 10.8), (1e21, 10.9), (1e22, 14.0)])
def test_farseer_s_rounded_constants_split_as_was_found(flops: float, ratio: float) -> None:
    (row,) = LAWS["farseer"].published
    found = splits(plan_of(LAWS["farseer"], {}, {}), named("farseer", row), np.array([flops]))
    assert found.tokens[0] / found.params[0] == pytest.approx(ratio, rel=0.02)


def test_farseer_s_rounded_constants_have_no_split_of_a_large_budget() -> None:
    (row,) = LAWS["farseer"].published
    found = splits(plan_of(LAWS["farseer"], {}, {}), named("farseer", row), np.array([1e24]))
    assert found.edge[0]


def test_an_input_that_is_best_at_an_end_has_an_open_interval() -> None:
    """Finer experts are always better, so that every draw ends at the finest: how fine is best is not known."""
    p = {k: float(v[0, 0]) for k, v in named("moe-granularity", "krajewski2024").items()}
    axes = np.meshgrid(np.geomspace(1e8, 1e10, 5), np.geomspace(1e9, 1e11, 4), [1.0, 4.0, 16.0], indexing="ij")
    x = dict(zip(("params", "tokens", "granularity"), (v.ravel() for v in axes), strict=True))
    noise = 0.002 * np.random.default_rng(3).standard_normal(60)
    table = pd.DataFrame({**x, "loss": LAWS["moe-granularity"].predict(x, **p) * np.exp(noise)})
    found = allocate(fit("moe-granularity", table, starts=144, bootstrap=40), 1e21, level=0.8)
    fine = found.further["granularity"]
    assert fine.value == pytest.approx(16.0, rel=1e-3)
    assert fine.ci == (fine.value, np.inf)
    assert found.to_dict()["further"]["granularity"]["ci"][1] is None
    (told,) = [w.message for w in found.warnings if w.code == "SL441"]
    assert told.startswith("the best granularity, 16, is an end of the fitted range (1 to 16)")
    held = allocate(fit("moe-granularity", table, starts=144, bootstrap=0), 1e21, given={"granularity": 4.0})
    assert held.loss.value > found.loss.value
    assert held.further == {}
