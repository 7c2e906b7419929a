"""Broken power laws: the addition task of their paper, scipy, other inputs, what is said past the last break."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import least_squares

from scaling_lab.engine.fit import fit
from scaling_lab.engine.predict import predict
from scaling_lab.errors import UsageError
from scaling_lab.laws import LAWS, get_law


@pytest.fixture(scope="module")
def addition(data_dir: Path) -> pd.DataFrame:
    points = pd.read_csv(data_dir / "bnsl_addition" / "points.csv")
    return points.rename(columns={"train_examples": "examples"})


def rmsle(measured: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.log(predicted / measured) ** 2)))


def test_golden_predictions_of_the_published_row(addition: pd.DataFrame) -> None:
    law = get_law("bnsl1@examples")
    x = {"examples": addition.examples.to_numpy(float)}
    got = law.predict(x, **law.published["caballero2022-addition"].values)
    # The coefficients are rounded to four digits, and one of them is a power of 1/.0592.
    np.testing.assert_allclose(got[-3:], (0.7602, 0.6375, 0.5626), atol=7e-4)
    assert rmsle(addition.loss.to_numpy()[:14], got[:14]) == pytest.approx(0.000598, abs=6e-5)
    assert rmsle(addition.loss.to_numpy()[14:], got[14:]) == pytest.approx(0.0109, abs=5e-4)


def test_fourteen_points_give_the_published_law_and_beat_it(addition: pd.DataFrame) -> None:
    train, test = addition[:14], addition[14:]
    law = get_law("bnsl1@examples")
    found = fit(law, train[["examples", "loss"]], objective="l2", bootstrap=0)
    x, y = {"examples": train.examples.to_numpy(float)}, train.loss.to_numpy()
    published = law.published["caballero2022-addition"].values
    assert rmsle(y, found.at(x)) <= rmsle(y, law.predict(x, **published))
    assert found.starts["at_best"] >= 20
    for name, value in published.items():
        assert found.values[name] == pytest.approx(value, rel=0.01), name
    at = found.at({"examples": test.examples.to_numpy(float)})
    assert float(np.mean(np.abs(at - test.loss))) == pytest.approx(0.0061, abs=6e-5)

    def residual(t: np.ndarray) -> np.ndarray:
        # The residuals of log loss in coordinates of its own: log of a, b, d_1 and f_1.
        values = dict(zip(law.names, (np.exp(t[0]), np.exp(t[1]), t[2], t[3], np.exp(t[4]), np.exp(t[5])), strict=True))
        return np.asarray(np.log(law.predict(x, **values) / y))

    start = [published[n] for n in law.names]
    start = [np.log(start[0]), np.log(start[1]), start[2], start[3], np.log(start[4]), np.log(start[5])]
    theirs = least_squares(residual, start, xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=5000)
    assert found.value <= theirs.cost * (1 + 1e-6)
    assert found.value == pytest.approx(theirs.cost, rel=1e-4)


def test_a_power_law_misses_the_break_as_the_reference_does(addition: pd.DataFrame) -> None:
    table = addition.rename(columns={"examples": "tokens"})
    found = fit("hestness", table[["tokens", "loss"]][:14], objective="l2", bootstrap=0)
    error = found.at({"tokens": table.tokens.to_numpy(float)[14:]}) - table.loss[14:]
    assert float(np.mean(np.abs(error))) == pytest.approx(0.7883, abs=6e-5)


def test_a_break_is_what_its_limits_are() -> None:
    """Before it and after it the law is a power law, with the exponents c_0 and c_0 + c_1."""
    named = {"a": 0.0, "b": 5.0, "c_0": 0.1, "c_1": 0.4, "d_1": 1e6, "f_1": 0.1}
    x = np.array([1e0, 1e1, 1e11, 1e12])
    y = LAWS["bnsl1"].predict({"tokens": x}, **named)
    assert np.log(y[1] / y[0]) / np.log(10) == pytest.approx(-0.1, rel=1e-9)
    assert np.log(y[3] / y[2]) / np.log(10) == pytest.approx(-0.5, rel=1e-9)
    sharp = LAWS["bnsl1"].predict({"tokens": x}, **{**named, "f_1": 1e-3})
    assert np.isfinite(sharp).all()


def test_a_break_that_does_nothing_leaves_the_law_of_one_fewer() -> None:
    named = {"a": 0.5, "b": 5.0, "c_0": 0.1, "c_1": 0.4, "d_1": 1e6, "f_1": 0.2}
    x = {"tokens": np.geomspace(1e3, 1e12, 20)}
    one = LAWS["bnsl1"].predict(x, **named)
    two = LAWS["bnsl2"].predict(x, **named, c_2=0.0, g_2=50.0, f_2=0.3)
    three = LAWS["bnsl3"].predict(x, **named, c_2=0.0, g_2=50.0, f_2=0.3, c_3=0.0, g_3=9.0, f_3=0.1)
    np.testing.assert_allclose(two, one, rtol=1e-14)
    np.testing.assert_allclose(three, one, rtol=1e-14)


def test_points_past_the_last_break_are_warned_of(addition: pd.DataFrame) -> None:
    found = fit("bnsl1@examples", addition[["examples", "loss"]], bootstrap=0)
    codes = {w.code: w.message for w in predict(found, [{"examples": 864.0}, {"examples": 200.0}]).warnings}
    assert "1 point lies past the last break, at examples = 61" in codes["SL408"]
    assert "SL408" not in {w.code for w in predict(found, [{"examples": 200.0}]).warnings}
    law = LAWS["bnsl3"]
    named = dict.fromkeys(law.names, 1.0) | {"d_1": 1e6, "g_2": 9.0, "g_3": 4.0}
    assert law.cautions is not None
    assert not law.cautions({"tokens": np.array([4.9e7])}, named)
    assert "tokens = 50M" in law.cautions({"tokens": np.array([5.1e7])}, named)[0]


def test_it_is_a_law_of_any_one_input() -> None:
    assert get_law("bnsl2@flops") is get_law("bnsl2@flops")
    assert get_law("bnsl2@flops").inputs == ("flops",)
    with pytest.raises(UsageError, match="loss is what bnsl1 is a law of, and not an input"):
        get_law("bnsl1@loss")
    with pytest.raises(UsageError, match="ONE_INPUT"):
        get_law("bnsl1@params,tokens")
