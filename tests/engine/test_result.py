"""FIT.json read back: what was written returns whole, and what was damaged is refused in one line that names it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scaling_lab.engine.fit import fit
from scaling_lab.engine.result import Fit, too_few_draws
from scaling_lab.errors import BadInput
from scaling_lab.files import to_json
from tests.conftest import chinchilla_table

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def fitted() -> Fit:
    return fit("chinchilla", chinchilla_table(0.003), starts=144, bootstrap=20)


@pytest.fixture(scope="module")
def contents(fitted: Fit) -> dict[str, Any]:
    return json.loads(to_json(fitted.to_dict()))


@pytest.mark.parametrize("law", ["chinchilla", "kaplan-nd", "drift", "hestness"])
@pytest.mark.parametrize("bootstrap", [0, 6])
def test_what_was_written_returns_whole(law: str, bootstrap: int, tmp_path: Path) -> None:
    first = fit(law, chinchilla_table(0.003), starts=64, bootstrap=bootstrap)
    again = Fit.load(first.save(tmp_path / "fit.json"))
    assert to_json(again.to_dict()) == to_json(first.to_dict())


def test_a_fit_of_a_law_that_the_catalogue_has_not_asks_for_its_file(contents: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "fit.json"
    path.write_text(json.dumps(contents | {"law": "foo"}))
    with pytest.raises(
        BadInput, match=r"fit\.json: is a fit of the law 'foo', which the catalogue has not; give .*--law-file"
    ):
        Fit.load(path)


def test_a_held_parameter_at_zero_returns_too(tmp_path: Path) -> None:
    first = fit("hestness", chinchilla_table(), starts=64, bootstrap=6, fix={"gamma": 0.0})
    assert Fit.load(first.save(tmp_path / "fit.json")).values["gamma"] == 0


def put(*path: Any) -> Change:
    """Sets the value that stands last at the path before it."""

    def change(found: dict[str, Any]) -> None:
        *way, last, value = path
        for step in way:
            found = found[step]
        found[last] = value

    return change


def drop(*path: Any) -> Change:
    def change(found: dict[str, Any]) -> None:
        for step in path[:-1]:
            found = found[step]
        del found[path[-1]]

    return change


def six_columns(found: dict[str, Any]) -> None:
    found["draws"]["values"] = [[*row, 1.0] for row in found["draws"]["values"]]


DAMAGED: dict[str, tuple[Change, str]] = {
    "draws in another order": (put("draws", "names", ["A", "E", "B", "alpha", "beta"]), "draws.names are"),
    "draws with six columns": (six_columns, "a row of draws.values has 6 numbers"),
    "no draws": (put("draws", "values", []), "draws.values has 0 rows"),
    "another number of draws": (put("draws", "n", 7), "draws.n is 7"),
    "a draw that is null": (put("draws", "values", 3, 0, None), "a draw of E is null"),
    "a draw that is nan": (put("draws", "values", 3, 0, float("nan")), "a draw of E is nan"),
    "a draw below zero": (put("draws", "values", 3, 1, -4.0), "a draw of A is -4"),
    "another law": (put("law", "hestness"), "params are"),
    "a law with fewer parameters": (put("law", "chinchilla-tied"), "chinchilla-tied has E, A, B, alpha"),
    "a law that is no text": (put("law", ["chinchilla"]), "no law named"),
    "an unknown target": (put("target", "accuracy"), "target 'accuracy'"),
    "a floor below zero": (put("params", "E", "value", -5), "params.E.value is -5"),
    "a value that is null": (put("params", "E", "value", None), "params.E.value is null"),
    "a value that is nan": (put("params", "E", "value", float("nan")), "params.E.value is nan"),
    "an interval with one end": (put("params", "E", "ci", [1.0]), "params.E.ci has 1 ends"),
    "negative drift": (put("noise", "drift", -1), "noise.drift is -1"),
    "drift that is null": (put("noise", "drift", None), "noise.drift is null"),
    "drift that is text": (put("noise", "drift", "large"), "noise.drift is 'large'"),
    "drift that is nan": (put("noise", "drift", float("nan")), "noise.drift is nan"),
    "an unknown scale": (put("objective", "on", "foo"), "objective.on is 'foo'"),
    "an unknown objective": (put("objective", "name", "foo"), "objective.name is 'foo'"),
    "no inputs": (put("inputs", {}), "inputs are []"),
    "an input with null": (put("inputs", "params", "min", None), "inputs.params.min is null"),
    "an input with text": (put("inputs", "params", "min", "1e6"), "inputs.params.min is '1e6'"),
    "an input up to zero": (put("inputs", "tokens", "max", 0), "inputs.tokens.max is 0"),
    "a range upside down": (put("inputs", "tokens", "max", 1.0), "down to 1"),
    "a shorter column": (put("points", "tokens", [1e9]), "points has columns of"),
    "no measurements": (drop("points", "loss"), "points has no loss"),
    "no sizes": (drop("points", "params"), "points has no params"),
    "no points": (put("points", {k: [] for k in ("params", "tokens", "loss")}), "points has columns of"),
    "points of text": (put("points", "loss", 0, "low"), "a value of points.loss is 'low'"),
    "compute that is null": (put("points", "flops", None), "points.flops is null"),
    "a compute that is null": (put("points", "flops", 0, None), "a value of points.flops is null"),
    "a seed of text": (put("seed", "x"), "seed is 'x'"),
    "a seed below zero": (put("seed", -1), "seed is -1"),
    "no starts": (put("starts", None), "starts is null"),
    "no rows": (put("rows", None), "rows is null"),
    "no record": (put("made_by", None), "made_by is null"),
    "no level": (drop("bootstrap", "level"), "no 'level'"),
    "no draws at all": (drop("draws"), "no 'draws'"),
    "a list for an object": (put("params", []), "params is []"),
    "a huge whole number": (put("noise", "sd", 10**400), "int too large"),
    "a standard error below zero": (put("params", "E", "se", -0.1), "params.E.se is -0.1, below zero"),
    "metrics of other rows": (put("metrics", "n", 0), "metrics.n is 0, where rows.used is 30"),
    "a size of no measurement": (put("points", "tokens", 0, 1e200), "1e+200, no size that a measurement has"),
    "noise of another kind": (put("noise", "more", 1), "more"),
    "a warning of text": (put("warnings", ["SL201"]), "a warning is 'SL201'"),
    "a severity unheard of": (
        put("warnings", [{"code": "SL201", "severity": "loud", "message": ""}]),
        "severity of a warning is 'loud'",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_fit_is_refused_in_one_line(contents: dict[str, Any], case: str, tmp_path: Path) -> None:
    change, says = DAMAGED[case]
    damaged = copy.deepcopy(contents)
    change(damaged)
    path = tmp_path / "fit.json"
    path.write_text(json.dumps(damaged))
    with pytest.raises(BadInput) as caught:
        Fit.load(path)
    assert caught.value.exit_code == 1
    message = str(caught.value)
    assert message.startswith(f"{path}: the fit is incomplete or damaged (")
    assert message.endswith("); fit again")
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_endless_nesting_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "fit.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"fit\.json: the fit is incomplete or damaged \(values are nested"):
        Fit.load(path)


@pytest.mark.parametrize("flops", [0.0, float("inf"), float("nan")])
def test_a_compute_that_is_no_number_is_refused(fitted: Fit, flops: float) -> None:
    with pytest.raises(BadInput, match=r"flops = .* is not a finite number above zero"):
        fitted.outside({"params": 1e9, "tokens": 1e9, "flops": flops})


def test_how_far_outside_is_finite_at_absurd_sizes(fitted: Fit) -> None:
    found = fitted.outside({"params": 1e-150, "tokens": 1e300})
    assert all(np.isfinite(factor) for factor in found.values())
    assert set(found) == {"params", "tokens"}


def test_few_draws_for_a_level_are_warned_of(fitted: Fit) -> None:
    many = replace(fitted, draws=np.repeat(fitted.optimum_row(), 1000, axis=0))
    assert too_few_draws(many, 0.9) == too_few_draws(many, 0.99) == ()
    assert [n.code for n in too_few_draws(many, 0.999)] == ["SL407"]
    assert [n.code for n in too_few_draws(fitted, 0.9)] == ["SL407"]
    assert too_few_draws(replace(fitted, draws=fitted.optimum_row()), 0.9) == ()
