"""What a law asks of a table: inputs that are there, rows that keep to its rules, shares under names of one kind."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from scaling_lab.engine.fit import fit, fitting_laws
from scaling_lab.engine.predict import predict
from scaling_lab.engine.result import Fit
from scaling_lab.errors import BadInput, UsageError
from scaling_lab.files import to_json
from scaling_lab.laws import LAWS, Law, Param, Prior, Rule, get_law, law_for
from scaling_lab.tables import read_table
from tests.conftest import chinchilla_table

SHARES = ("w_code", "w_web")


@cache
def over(inputs: tuple[str, ...]) -> Law:
    """A straight line in shares, of which `test-shares` is the one of two."""
    slopes = tuple(Param(f"k_{name.removeprefix('w_')}", "", (-1.0, 1.0), "slope", "real") for name in inputs)

    def line(x: dict[str, np.ndarray], level: np.ndarray, **k: np.ndarray) -> np.ndarray:
        return level + sum(k[slope.name] * x[name] for slope, name in zip(slopes, inputs, strict=True))

    return Law(
        name="test-shares" + ("" if inputs == SHARES else "@" + ",".join(inputs)),
        title="a line in shares",
        source="these tests",
        inputs=inputs,
        params=(Param("level", "nats/token", (1.0, 4.0), "where all slopes are zero"), *slopes),
        formula="level + " + " + ".join(f"{s.name} * {n}" for s, n in zip(slopes, inputs, strict=True)),
        predict=line,
        rules=(Rule(lambda x: abs(sum(x[n] for n in inputs) - 1) < 1e-3, "the shares do not sum to 1 within 0.001"),),
        over=over,
        shares=True,
        needs_priors=True,
        priors={slope.name: Prior(0.0, 1.0) for slope in slopes},
    )


@pytest.fixture
def shares(monkeypatch: pytest.MonkeyPatch) -> Law:
    monkeypatch.setitem(LAWS, "test-shares", over(SHARES))
    return LAWS["test-shares"]


def mixtures(*names: str, n: int = 30) -> pd.DataFrame:
    w = np.random.default_rng(0).dirichlet(np.ones(len(names)), n)
    loss = 2.0 + 0.3 * w[:, 0] - 0.2 * w[:, 1]
    return pd.DataFrame({**dict(zip(names, w.T, strict=True)), "loss": loss})


def test_a_missing_input_is_told_with_the_laws_that_would_work() -> None:
    table = chinchilla_table().drop(columns="tokens")
    with pytest.raises(BadInput, match=r"no column 'tokens'.* or take a law of what the table has: .*hestness-params"):
        fit("chinchilla", table)
    names = [law.name for law in fitting_laws(read_table(table))]
    assert "hestness-params" in names
    assert "chinchilla" not in names


def test_a_law_of_shares_takes_those_of_the_table(shares: Law) -> None:
    table = mixtures("w_code", "w_web", "w_books")
    found = fit("test-shares", table, bootstrap=20)
    assert found.law == "test-shares@w_code,w_web,w_books"
    np.testing.assert_allclose(found.at({n: table[n].to_numpy() for n in found.entry.inputs}), table.loss, atol=2e-3)
    again = Fit.from_dict(json.loads(to_json(found.to_dict())))
    assert again.entry is get_law(found.law)
    assert [law.name for law in fitting_laws(read_table(table))].count(found.law) == 1


def test_shares_may_be_zero_but_not_negative_and_must_keep_to_the_rule(shares: Law) -> None:
    table = mixtures("w_code", "w_web")
    table.loc[3, ["w_code", "w_web"]] = [0.0, 1.0]
    assert fit("test-shares", table, bootstrap=0).metrics.n == 30
    off = table.assign(w_code=table.w_code.where(table.index != 5, 0.9 * table.w_code))
    with pytest.raises(BadInput, match=r"line 5: the shares do not sum to 1 within 0\.001; mend it"):
        fit("test-shares", off, bootstrap=0)
    kept = fit("test-shares", off, bootstrap=0, drop_bad=True)
    assert kept.rows["dropped"] == {"the shares do not sum to 1 within 0.001": 1}
    below = table.assign(w_code=table.w_code.where(table.index != 5, -0.1))
    with pytest.raises(BadInput, match=r"line 5, column w_code: -0\.1 is not between 0 and 1"):
        fit("test-shares", below, bootstrap=0)


def test_a_point_keeps_to_the_rule_too_and_lies_outside_by_widths_of_its_range(shares: Law) -> None:
    table = mixtures("w_code", "w_web")
    table = table[table.w_code.between(0.2, 0.7)].reset_index(drop=True)
    found = fit("test-shares", table, bootstrap=20)
    with pytest.raises(BadInput, match="the shares do not sum to 1"):
        predict(found, {"w_code": 0.5, "w_web": 0.1})
    with pytest.raises(BadInput, match=r"w_code = 1\.5 is not a number between 0 and 1"):
        predict(found, {"w_code": 1.5, "w_web": 0.1})
    low, high = table.w_code.min(), table.w_code.max()
    told = predict(found, {"w_code": 1.0, "w_web": 0.0}).outside[0]
    assert told["w_code"] == pytest.approx(np.exp((1.0 - high) / (high - low)))


def test_too_few_shares_and_strange_inputs_are_refused(shares: Law) -> None:
    with pytest.raises(BadInput, match="there are 1"):
        law_for("test-shares", ["w_code", "loss"], "runs.csv")
    for name, says in {
        "test-shares@tokens,w_web": "names no inputs",
        "test-shares@w_a": "names no inputs",
        "test-shares@w_a,w_a": "names no inputs",
        "chinchilla@flops": "is a law of params, tokens and no others",
        "chinchila@flops": "no law named",
    }.items():
        with pytest.raises(UsageError, match=says):
            get_law(name)


def test_a_parameter_between_limits_agrees_with_scipys_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    law = Law(
        name="test-between",
        title="a power with an exponent between limits",
        source="these tests",
        inputs=("tokens",),
        params=(
            Param("A", "", (1.0, 1e4), "size"),
            Param("beta", "", (0.1, 0.28), "exponent", "between", limits=(0.05, 0.3)),
        ),
        formula="A * tokens**-beta",
        predict=lambda x, A, beta: A * x["tokens"] ** -beta,
    )
    monkeypatch.setitem(LAWS, law.name, law)
    d = np.geomspace(1e8, 1e11, 20)
    noise = np.exp(0.01 * np.random.default_rng(1).standard_normal(20))
    for exponent, inside in ((0.2, True), (0.4, False)):
        loss = 50 * d**-exponent * noise
        found = fit(law, pd.DataFrame({"tokens": d, "loss": loss}), bootstrap=50, objective="l2")

        def squares(t: np.ndarray, measured: np.ndarray = loss) -> float:
            return 0.5 * float(np.sum((t[0] - t[1] * np.log(d) - np.log(measured)) ** 2))

        other = minimize(squares, [np.log(50), 0.2], bounds=[(None, None), (0.05, 0.3)], options={"ftol": 1e-15})
        assert found.value <= other.fun * (1 + 1e-6)
        assert found.values["beta"] == pytest.approx(other.x[1], abs=1e-4)
        assert (found.values["beta"] < 0.2999) is inside
        assert all(0.05 <= b <= 0.3 for b in found.draws[:, 1])


def test_draws_of_a_law_with_priors_of_its_own_hold_their_doubt(shares: Law) -> None:
    """What a table hardly tells rests on the prior, and is as doubtful as that is."""
    w = np.linspace(0.495, 0.505, 24)
    loss = (2.0 + 0.3 * w - 0.2 * (1 - w)) * np.exp(0.01 * np.random.default_rng(2).standard_normal(24))
    found = fit("test-shares", pd.DataFrame({"w_code": w, "w_web": 1 - w, "loss": loss}), bootstrap=400)
    # The posterior of a straight line with slopes N(0, 1), by its formula.
    design = np.column_stack([np.ones(24), w, 1 - w])
    covariance = np.linalg.inv(design.T @ design / 0.0205**2 + np.diag([0.0, 1.0, 1.0]))
    apart = np.array([0.0, 1.0, -1.0])
    spread = np.std(found.draws[:, 1] - found.draws[:, 2])
    assert spread == pytest.approx(np.sqrt(apart @ covariance @ apart), rel=0.2)
    assert spread > 0.7
    low, high = (predict(found, {"w_code": v, "w_web": 1 - v}, level=0.9) for v in (0.5, 1.0))
    assert high.high[0] - high.low[0] > 5 * (low.high[0] - low.low[0])
    with pytest.raises(UsageError, match="keeps priors of its own"):
        fit("test-shares", mixtures("w_code", "w_web"), prior=fit("chinchilla", chinchilla_table(), bootstrap=0))
