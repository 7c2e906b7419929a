"""Every law of the registry: what is printed is what is computed, and derivatives are true."""

from __future__ import annotations

import numpy as np
import pytest

from scaling_lab.engine.coordinates import Coordinates
from scaling_lab.errors import UsageError
from scaling_lab.laws import LAWS, Law, catalogue, get_law
from scaling_lab.quantities import QUANTITIES

EVERY = pytest.mark.parametrize("law", LAWS.values(), ids=list(LAWS))


def some_inputs(law: Law, n: int = 12) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    ranges = {"params": (7, 10.5), "tokens": (8.5, 12), "flops": (17, 23)}
    return {name: 10 ** rng.uniform(*ranges[name], n) for name in law.inputs}


def some_params(law: Law, count: int = 5) -> np.ndarray:
    return Coordinates(law, {}).random(count, np.random.default_rng(3))


@EVERY
def test_the_printed_formula_is_the_computed_one(law: Law) -> None:
    x, theta = some_inputs(law), some_params(law)
    params = Coordinates(law, {}).to_params(theta)
    printed = eval(law.formula, {"__builtins__": {}, "exp": np.exp, "log": np.log}, {**x, **params})
    np.testing.assert_allclose(printed, law.predict(x, **params), rtol=1e-13)


@EVERY
def test_shapes_and_finiteness(law: Law) -> None:
    x, theta = some_inputs(law), some_params(law)
    out = law.predict(x, **Coordinates(law, {}).to_params(theta))
    assert out.shape == (5, 12)
    assert np.isfinite(out).all()


@EVERY
def test_first_and_second_derivatives_are_those_of_finite_differences(law: Law) -> None:
    x, coordinates = some_inputs(law), Coordinates(law, {})
    theta = some_params(law, 3)
    found = coordinates.model(x, theta)
    h = 1e-5

    def value(t: np.ndarray) -> np.ndarray:
        return np.asarray(law.predict(x, **coordinates.to_params(t)))

    def first(t: np.ndarray, i: int) -> np.ndarray:
        return np.broadcast_to(coordinates.model(x, t).grad[i], found.value.shape)

    for i in range(theta.shape[1]):
        step = np.zeros_like(theta)
        step[:, i] = h
        size = np.abs(found.value)
        numeric = (value(theta + step) - value(theta - step)) / (2 * h)
        np.testing.assert_allclose(first(theta, i) / size, numeric / size, atol=2e-6)
        for j in range(theta.shape[1]):
            numeric = (first(theta + step, j) - first(theta - step, j)) / (2 * h)
            key = (min(i, j), max(i, j))
            exact = np.broadcast_to(found.hess.get(key, 0.0), found.value.shape)
            np.testing.assert_allclose(exact / size, numeric / size, atol=2e-4, rtol=1e-5)


@EVERY
def test_the_entry_is_complete(law: Law) -> None:
    assert law.source
    assert law.title
    assert set(law.linear) <= set(law.names)
    for name in (*law.inputs, law.target):
        assert QUANTITIES[name].unit
    for p in law.params:
        assert p.meaning
        assert p.start[0] < p.start[1]
        low, high = p.bounds
        assert low is None or p.start[0] >= low
        assert high is None or p.start[1] <= high
    for row in law.published.values():
        assert set(row.values) == set(law.names)
        assert row.source
        assert np.isfinite(law.predict(some_inputs(law), **row.values)).all()


@EVERY
def test_declared_linear_parameters_are_linear(law: Law) -> None:
    x, coordinates = some_inputs(law), Coordinates(law, {})
    params = coordinates.to_params(some_params(law))
    base = law.predict(x, **{**params, **{n: 0.0 * params[n] for n in law.linear}})
    parts = [
        law.predict(x, **{**params, **{m: 0.0 * params[m] for m in law.linear if m != n}}) - base for n in law.linear
    ]
    if law.linear:
        np.testing.assert_allclose(base + sum(parts), law.predict(x, **params), rtol=1e-12)


def test_golden_losses_of_published_coefficients() -> None:
    """Values recomputed by others from the printed coefficients (70B on 1.4T, 280B on 300B tokens; Kaplan)."""
    law = LAWS["chinchilla"]
    x = {"params": np.array([70e9, 280e9]), "tokens": np.array([1.4e12, 300e9])}
    golden = {
        "hoffmann2022": (1.936645, 1.993258),
        "hoffmann2022-unrounded": (1.920846, 1.967243),
        "besiroglu2024": (1.973882, 1.999608),
    }
    for name, want in golden.items():
        np.testing.assert_allclose(law.predict(x, **law.published[name].values), want, atol=6e-7)
    kaplan = LAWS["kaplan-nd"]
    x = {"params": np.array([1e9, 1.5e9, 1e8]), "tokens": np.array([1e10, 2.29e10, 1e9])}
    got = kaplan.predict(x, **kaplan.published["kaplan2020"].values)
    np.testing.assert_allclose(got, (2.419652, 2.310304, 2.956734), atol=6e-7)


def test_a_law_is_found_by_name_or_alias_and_a_typo_names_the_nearest() -> None:
    assert get_law("hestness-tokens") is LAWS["hestness"]
    with pytest.raises(UsageError, match="did you mean 'chinchilla'"):
        get_law("chinchila")
    with pytest.raises(UsageError, match="did you mean 'alpha'"):
        LAWS["chinchilla"].param("alhpa")


def test_the_catalogue_has_what_scripts_rely_on() -> None:
    got = catalogue(LAWS.values())
    assert got["schema"] == "scaling-lab/laws/1"
    assert {"hestness", "kaplan-nd", "chinchilla", "chinchilla-tied"} <= {law["name"] for law in got["laws"]}
    for law in got["laws"]:
        assert {"name", "title", "source", "inputs", "params", "formula", "published"} <= set(law)
