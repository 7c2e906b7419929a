"""Golden values of the laws of batch size and of steps, and fits beside an independent solver."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import least_squares

from scaling_lab.engine.fit import fit
from scaling_lab.laws import LAWS, get_law
from scaling_lab.laws.batch import ZHANG_SEQUENCE


def at(law: str, published: str, **x: float) -> float:
    entry = get_law(law)
    found = entry.predict({k: np.array([v]) for k, v in x.items()}, **entry.published[published].values)
    return float(np.asarray(found).ravel()[0])


def test_kaplan_critical_batch_at_two_losses() -> None:
    """Recomputed from eq. 5.3 with B* = 2e8 and alpha_B = .21."""
    assert at("bcrit-loss", "kaplan2020", loss=3.0) == pytest.approx(1.06911e6, rel=5e-6)
    assert at("bcrit-loss", "kaplan2020", loss=2.5) == pytest.approx(2.54729e6, rel=5e-6)
    # "B_crit doubles for every 13 % decrease in loss."
    assert at("bcrit-loss", "kaplan2020", loss=0.87 * 3.0) / 1.06911e6 == pytest.approx(2.0, rel=0.05)


def test_zhang_law_of_tokens_is_that_of_sizes_at_twenty_tokens_each() -> None:
    law = LAWS["cbs-tokens"].published["zhang2024"].values
    assert law["c"] / ZHANG_SEQUENCE == pytest.approx(22.917, abs=5e-4)
    for n in (85e6, 1.2e9):
        by_size = at("cbs-params", "zhang2024", params=n)
        assert at("cbs-tokens", "zhang2024", tokens=20 * n) == pytest.approx(by_size, rel=1e-12)
    # 604M: 93.1968 * 604**.46828 sequences.
    assert at("cbs-params", "zhang2024", params=604e6) / ZHANG_SEQUENCE == pytest.approx(93.1968 * 604**0.46828)


def test_minicpm_batch_and_kaplan_batch_are_of_one_size_only() -> None:
    assert at("minicpm-batch", "minicpm", loss=2.5) == pytest.approx(1.21e9 / 2.5**6.24)
    # At 3 nats one says 1.27M tokens and the other 1.07M: of one size, though of two kinds.
    assert at("minicpm-batch", "minicpm", loss=3.0) == pytest.approx(1.275e6, rel=1e-3)


def test_minicpm_measurement_is_chinchilla_with_billions_for_units() -> None:
    """N_opt / D_opt = K2 * (C / 6)**eta gives 192 tokens for each parameter only with N and D in billions."""
    eta, k2 = -0.10, 0.01

    def ratio(flops: float) -> float:
        return 1 / (k2 * (flops / 6 / 1e18) ** eta)

    assert ratio(1e21) == pytest.approx(167, abs=0.5)
    assert ratio(5e21) == pytest.approx(196, abs=0.5)
    assert ratio(4.07e21) == pytest.approx(192, abs=0.5)
    # The same from the law of counts: coefficients in billions are those in counts over 1e9**exponent.
    law, alpha, beta, c_n = LAWS["chinchilla"], 0.29, 0.23, 0.1
    eta = (beta - alpha) / (alpha + beta)
    c_d = alpha * c_n / (beta * k2 ** ((alpha + beta) / 2))
    flops = 4e21
    n = np.geomspace(1e7, 1e11, 400_001)
    x = {"params": n, "tokens": flops / 6 / n}
    loss = law.predict(x, E=0.3, A=c_n * 1e9**alpha, B=c_d * 1e9**beta, alpha=alpha, beta=beta)
    best = int(np.argmin(loss))
    assert n[best] / x["tokens"][best] == pytest.approx(k2 * (flops / 6 / 1e18) ** eta, rel=1e-3)


@pytest.mark.parametrize("name", ["bcrit-loss", "kaplan-steps"])
def test_a_fit_is_no_worse_than_the_best_of_many_scipy_starts(name: str) -> None:
    law, rng = LAWS[name], np.random.default_rng(4)
    truth = law.published["kaplan2020"].values
    if name == "bcrit-loss":
        x = {"loss": np.linspace(2.3, 5.0, 14)}
    else:
        n, s = np.meshgrid(np.geomspace(1e6, 1e9, 5), np.geomspace(1e3, 2e5, 7))
        x = {"params_nonembed": n.ravel(), "min_steps": s.ravel()}
    y = law.predict(x, **truth) * np.exp(0.01 * rng.standard_normal(len(next(iter(x.values())))))
    found = fit(name, pd.DataFrame({**x, law.target: y}), bootstrap=0, objective="l2")

    def residual(theta: np.ndarray) -> np.ndarray:
        return np.log(law.predict(x, **dict(zip(law.names, np.exp(theta), strict=True))) / y)

    ranges = np.log([p.start for p in law.params])
    # Far starts overflow: they are no optimum.
    with np.errstate(over="ignore"):
        starts = [rng.uniform(*ranges.T) for _ in range(300)]
        ranked = sorted(starts, key=lambda t: np.nan_to_num(np.sum(residual(t) ** 2), nan=np.inf))[:100]
        best = min(least_squares(residual, t, x_scale="jac").cost for t in ranked)
    assert found.value <= best * (1 + 1e-7)
    assert found.value <= 0.5 * np.sum(np.log(law.predict(x, **truth) / y) ** 2)


def test_retention_by_least_squares_is_the_line_of_ols() -> None:
    rng = np.random.default_rng(0)
    t = np.geomspace(1, 3000, 40)
    share = 0.95 - 0.21 * np.log10(t) + 0.05 * rng.standard_normal(40)
    found = fit("retention", pd.DataFrame({"steps_since": t, "retention": share}), objective="l2", bootstrap=0)
    slope, intercept = np.polyfit(np.log10(t), share, 1)
    assert found.values["a"] == pytest.approx(-slope, rel=1e-6)
    assert found.values["R_0"] == pytest.approx(intercept, rel=1e-6)
