"""The choice of laws: weights from inner backtests alone, a blend that can be worked out by hand, honest intervals."""

from __future__ import annotations

import copy
import json
import tracemalloc
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scaling_lab.decide.allocate import allocate
from scaling_lab.engine import auto, discrepancy
from scaling_lab.engine.backtest import backtest, laws_of
from scaling_lab.engine.blend import PLAIN, PRIORS
from scaling_lab.engine.coordinates import Coordinates
from scaling_lab.engine.discrepancy import LEAST_NOISE
from scaling_lab.engine.fit import Settings, fit, law_rows
from scaling_lab.engine.predict import predict
from scaling_lab.engine.result import Fit
from scaling_lab.errors import BadInput, NotIdentified, UsageError
from scaling_lab.laws import LAWS, get_law
from scaling_lab.tables import read_table
from tests.conftest import TRUTH, chinchilla_table

FEW = {"bootstrap": 40}
FAR = {"params": np.array([3e9, 1e10, 1e11]), "tokens": np.array([3e11, 1e12, 1e13])}


def truth(x: Mapping[str, Any]) -> Any:
    return TRUTH["E"] + TRUTH["A"] * x["params"] ** -TRUTH["alpha"] + TRUTH["B"] * x["tokens"] ** -TRUTH["beta"]


def checkpoints() -> pd.DataFrame:
    """Ten runs of six rows each, the rows of a run sharing its error."""
    frame = pd.concat(
        [
            pd.DataFrame({"run_id": f"run{i}", "params": n, "tokens": np.geomspace(2e9, d, 6)})
            for i, (n, d) in enumerate(zip(np.geomspace(1e7, 3e9, 10), np.geomspace(2e10, 3e11, 10), strict=True))
        ],
        ignore_index=True,
    )
    rng = np.random.default_rng(1)
    shared = np.repeat(0.004 * rng.standard_normal(10), 6)
    frame["loss"] = truth(frame) * np.exp(shared + 0.001 * rng.standard_normal(60))
    return frame


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return chinchilla_table(0.004)


@pytest.fixture(scope="module")
def chosen(table: pd.DataFrame) -> Fit:
    return fit("auto", table, **FEW)


@pytest.fixture(scope="module")
def grouped() -> Fit:
    return fit("auto", checkpoints(), **FEW)


def contents(found: Fit) -> dict[str, Any]:
    """FIT.json without what made it."""
    plain = json.loads(json.dumps(found.to_dict(), default=lambda v: v.tolist()))
    plain.pop("made_by")
    return plain


# ----------------------------------------------------------------------------------------------- weights and members


def test_weights_are_the_inverse_squares_of_the_inner_errors(chosen: Fit) -> None:
    errors = np.array([m["inner_error"] for m in chosen.members])
    weights = np.array([m["weight"] for m in chosen.members])
    assert len(weights) == 6
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(weights, errors**-2.0 / np.sum(errors**-2.0), rtol=1e-12)
    assert [chosen.values[f"{m.label}.weight"] for m in chosen.blend.members] == weights.tolist()


def test_an_inner_error_is_that_of_fits_below_cuts_of_compute(chosen: Fit, table: pd.DataFrame) -> None:
    law = get_law("chinchilla")
    flops = 6 * table.params * table.tokens
    errors = []
    for cut in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        edge = np.quantile(flops, cut)
        below, above = table[flops <= edge], table[flops > edge]
        rows = law_rows(law, read_table(below))
        params = auto.most_probable(Coordinates.of(law, {}, rows.x), rows, Settings(**FEW)).params
        found = law.predict({k: above[k].to_numpy() for k in law.inputs}, **params)
        errors.append(np.mean(np.abs(np.log(found) - np.log(above.loss.to_numpy()))))
    member = next(m for m in chosen.members if m["law"] == "chinchilla" and m["variant"] == PRIORS)
    assert member["inner_error"] == pytest.approx(np.mean(errors), rel=1e-9)
    assert chosen.calibration is not None
    assert chosen.calibration.cuts == 7


def test_baselines_are_measured_in_the_same_backtests(chosen: Fit, table: pd.DataFrame) -> None:
    assert list(chosen.baselines) == ["plain chinchilla", "power law in compute", "last point"]
    flops = (6 * table.params * table.tokens).to_numpy()
    loss = np.log(table.loss.to_numpy())
    errors = []
    for cut in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        below = flops <= np.quantile(flops, cut)
        errors.append(np.mean(np.abs(loss[~below] - loss[below][np.argmax(flops[below])])))
    assert chosen.baselines["last point"] == pytest.approx(np.mean(errors), rel=1e-9)
    best = min(m["inner_error"] for m in chosen.members)
    assert best < chosen.baselines["power law in compute"] < chosen.baselines["last point"]


def by_hand(found: Fit, x: Mapping[str, Any]) -> Any:
    """The blend's prediction from what FIT.json says alone: laws, and Gaussian processes about them."""
    seen = {name: np.asarray(found.points[name], dtype=float) for name in (*found.entry.inputs, found.target, "flops")}
    weights = (seen["flops"] / seen["flops"].max()) ** 0.3
    weights = weights / weights.mean()
    run = np.asarray(found.points["run_id"])
    log = np.zeros(len(x["params"]))
    for m in found.members:
        label = m["law"] + ("~" if "discrepancy" in m else "")
        own = {p: found.values[f"{label}.{p}"] for p in LAWS[m["law"]].names}
        one = np.log(LAWS[m["law"]].predict(x, **own))
        if "discrepancy" in m:
            s = m["discrepancy"]

            def process(a: Mapping[str, Any], b: Mapping[str, Any], s: Mapping[str, Any] = s) -> Any:
                far = [(np.subtract.outer(np.log(a[k]), np.log(b[k])) / s["lengths"][k]) ** 2 for k in s["lengths"]]
                return s["size"] ** 2 * np.exp(-0.5 * sum(far))

            rows = process(seen, seen) + s["run"] ** 2 * (run[:, None] == run) + np.diag(s["noise"] ** 2 / weights)
            residual = np.log(seen["loss"]) - np.log(LAWS[m["law"]].predict(seen, **own))
            one = one + process(x, seen) @ np.linalg.solve(rows, residual)
        log = log + m["weight"] * one
    return np.exp(log)


@pytest.mark.parametrize("which", ["chosen", "grouped"])
def test_a_prediction_is_what_fit_json_says_it_is(which: str, request: pytest.FixtureRequest) -> None:
    found: Fit = request.getfixturevalue(which)
    n, d = np.geomspace(1e7, 1e11, 7), np.geomspace(5e9, 1e13, 7)
    x = {"params": n, "tokens": d}
    said = predict(found, [{"params": a, "tokens": b} for a, b in zip(n, d, strict=True)]).value
    np.testing.assert_allclose(said, by_hand(found, x), rtol=1e-9)
    # In the rows the processes pull towards the measurements, so that this is no test of the laws alone.
    rows = {name: np.asarray(found.points[name]) for name in found.entry.inputs}
    np.testing.assert_allclose(found.at(rows), by_hand(found, rows), rtol=1e-9)
    bare = np.exp(
        sum(
            m.weight * np.log(m.law.predict(rows, **{p: found.values[f"{m.label}.{p}"] for p in m.law.names}))
            for m in found.blend.members
        )
    )
    assert np.max(np.abs(found.at(rows) / bare - 1)) > 1e-4


def test_points_asked_together_or_apart_predict_the_same(chosen: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    together = chosen.at(FAR)
    apart = [float(chosen.at({k: v[[i]] for k, v in FAR.items()})[0]) for i in range(3)]
    np.testing.assert_allclose(together, apart, rtol=1e-12)
    draws = chosen.at_draws(FAR)
    assert draws.shape == (len(chosen.draws), 3)
    monkeypatch.setattr("scaling_lab.engine.blend.BLOCK", 1)
    np.testing.assert_allclose(chosen.at(FAR), together, rtol=1e-12)
    np.testing.assert_allclose(chosen.at_draws(FAR), draws, rtol=1e-12)
    # Inputs of a shape (B, m), as a search for the best split asks them: one row of parameters for all, or one each.
    x = {name: np.stack([v, 2 * v]) for name, v in FAR.items()}
    one = {name: np.array([[value]]) for name, value in chosen.values.items()}
    each = {name: np.array([[value], [value]]) for name, value in chosen.values.items()}
    expected = np.stack([together, chosen.at({name: 2 * v for name, v in FAR.items()})])
    np.testing.assert_allclose(chosen.entry.predict(x, **one), expected, rtol=1e-12)
    np.testing.assert_allclose(chosen.entry.predict(x, **each), expected, rtol=1e-12)


def test_each_draw_is_one_member_as_often_as_its_weight_says(chosen: Fit) -> None:
    names = chosen.entry.names
    picked = [chosen.draws[:, names.index(f"{m.label}.weight")] for m in chosen.blend.members]
    assert np.all(np.sum(picked, axis=0) == 1.0)
    shares = np.sum(picked, axis=1)
    np.testing.assert_allclose(shares, [40 * m["weight"] for m in chosen.members], atol=1.0)
    assert chosen.bootstrap["n"] == 40
    assert chosen.bootstrap["failed"] == 0


def test_the_marginal_likelihood_has_the_slope_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = []
    real = discrepancy.minimize

    def spy(cost: Any, start: Any, **options: Any) -> Any:
        costs.append((cost, start))
        return real(cost, start, **options)

    monkeypatch.setattr(discrepancy, "minimize", spy)
    law = get_law("chinchilla")
    rows = law_rows(law, read_table(checkpoints()))
    auto.fit_variants(law, rows, Settings(**FEW))
    rng = np.random.default_rng(0)
    for cost, start in costs:
        assert len(start) == 5  # size, two lengths, noise, what a run's rows share
        for at in (start, start + 0.7 * rng.standard_normal(len(start))):
            slope = cost(at)[1]
            # Flat priors beside a small noise cost the likelihood digits: a shorter step would measure those.
            numeric = [(cost(at + step)[0] - cost(at - step)[0]) / 2e-3 for step in 1e-3 * np.eye(len(at))]
            np.testing.assert_allclose(slope, numeric, rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------------------------------- the same numbers, honestly


def test_saved_and_read_back_it_says_the_same_to_the_last_bit(chosen: Fit, tmp_path: Path) -> None:
    back = Fit.load(chosen.save(tmp_path / "auto.json"))
    assert contents(back) == contents(chosen)
    for one, other in ((predict(chosen, FAR_POINTS), predict(back, FAR_POINTS)),):
        assert one.value.tolist() == other.value.tolist()
        assert one.low.tolist() == other.low.tolist()
        assert one.high.tolist() == other.high.tolist()
    assert allocate(chosen, 1e23).to_dict() == allocate(back, 1e23).to_dict()


FAR_POINTS = [{"params": float(n), "tokens": float(d)} for n, d in zip(FAR["params"], FAR["tokens"], strict=True)]


def test_seed_and_workers(chosen: Fit, table: pd.DataFrame) -> None:
    assert contents(fit("auto", table, workers=2, **FEW)) == contents(chosen)
    other = fit("auto", table, seed=1, **FEW)
    assert other.draws.tolist() != chosen.draws.tolist()
    # Starts differ, the optimum does not.
    np.testing.assert_allclose(other.at(FAR), chosen.at(FAR), rtol=1e-6)


def test_nothing_held_out_is_ever_looked_at(table: pd.DataFrame) -> None:
    settings = Settings(**FEW)
    garbage = table.copy()
    beyond = 6 * garbage.params * garbage.tokens > 3e20
    garbage.loc[beyond, "loss"] = 40.0
    fits = [backtest(t, ["auto"], test_above=3e20, settings=settings).laws[0] for t in (table, garbage)]
    assert fits[0].asked == fits[0].law == "auto"
    assert contents(fits[0].fit) == contents(fits[1].fit)
    assert fits[0].predicted.tolist() == fits[1].predicted.tolist()
    assert fits[1].metrics.mape > 0.5 > 0.01 > fits[0].metrics.mape


def test_a_planted_law_is_predicted_within_its_interval_far_outside(chosen: Fit) -> None:
    found = predict(chosen, FAR_POINTS)
    assert np.all((found.low <= truth(FAR)) & (truth(FAR) <= found.high))
    # Compute 1.0, 11 and 1100 times that of the largest run: each interval is wider than the one before.
    width = (found.high - found.low) / found.value
    assert np.all(np.diff(width) > 0)
    assert width[0] < 0.02 < width[2] < 0.3
    wider = predict(chosen, FAR_POINTS, level=0.99)
    assert np.all(wider.high - wider.low > found.high - found.low)


def test_a_budget_is_split_nearly_as_the_planted_law_splits_it(chosen: Fit, table: pd.DataFrame) -> None:
    named = fit("chinchilla", table, starts=144, bootstrap=0)
    split, plain = allocate(chosen, 1e22), allocate(named, 1e22)
    assert split.params.value == pytest.approx(plain.params.value, rel=0.2)
    low, high = split.params.ci
    n = np.geomspace(1e8, 1e12, 20001)
    best = float(n[np.argmin(truth({"params": n, "tokens": 1e22 / (6 * n)}))])
    assert low < best < high
    assert [w.code for w in split.warnings if w.severity == "warning"] == ["SL407"]  # forty draws are few


def test_without_draws_predictions_are_as_wide_and_a_split_says_that_it_has_no_interval(
    chosen: Fit, table: pd.DataFrame
) -> None:
    bare = fit("auto", table, bootstrap=0)
    one, other = predict(bare, FAR_POINTS), predict(chosen, FAR_POINTS)
    assert one.low.tolist() == other.low.tolist()
    assert "SL405" not in {w.code for w in one.warnings}
    split = allocate(bare, 1e22)
    assert split.params.ci == ()
    assert split.loss.ci == pytest.approx(allocate(chosen, 1e22).loss.ci, rel=1e-12)
    said = next(w for w in split.warnings if w.code == "SL405")
    assert "the split has no intervals" in said.message


# ------------------------------------------------------------------------------------------------- tables of all kinds


def test_too_few_rows_are_fitted_plainly_and_say_so(table: pd.DataFrame) -> None:
    few = table.sort_values("tokens").iloc[[0, 2, 4, 6, 9, 11, 20, 28, 29]]
    found = fit("auto", few, **FEW)
    named = fit("chinchilla-tied", few, **FEW)
    assert found.law == "chinchilla-tied"
    assert found.values == named.values
    assert found.members == ({"law": "chinchilla-tied", "variant": PLAIN, "weight": 1.0, "inner_error": None},)
    assert found.calibration is None
    said = next(w for w in found.warnings if w.code == "SL314")
    assert said.severity == "warning"
    assert "9 rows are too few for an inner backtest" in said.message
    interval = predict(found, FAR_POINTS)
    assert np.all(interval.low < interval.value)
    assert np.all(interval.value < interval.high)


def test_a_table_of_one_input_has_the_laws_of_one(table: pd.DataFrame) -> None:
    found = fit("auto", table[["tokens", "loss"]], **FEW)
    assert found.law == "auto"
    assert {m["law"] for m in found.members} == {"hestness"}
    assert list(found.baselines) == ["plain hestness", "last point"]
    assert predict(found, {"tokens": 1e12}).value[0] < table.loss.max()


def test_columns_that_no_law_takes_are_named(table: pd.DataFrame) -> None:
    with pytest.raises(BadInput, match=r"auto needs columns .*params, tokens, loss"):
        fit("auto", table[["loss"]])


def test_few_rows_without_noise_have_a_runs_noise_in_their_intervals() -> None:
    table = chinchilla_table(0.0).iloc[[0, 5, 9, 13, 17, 20, 23]]
    found = fit("auto", table.assign(loss=3.0), **FEW)
    assert found.calibration is None
    asked = predict(found, table[["params", "tokens"]].to_dict("records"))
    assert (np.log(asked.high / asked.low) / 2 >= 1.6448 * LEAST_NOISE).all()


@pytest.mark.parametrize("held", ["params", "tokens"])
def test_runs_of_one_size_identify_nothing(table: pd.DataFrame, held: str) -> None:
    with pytest.raises(NotIdentified) as caught:
        fit("auto", table[table[held] == table[held].iloc[0]])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"fix": {"alpha": 0.5}}, "--fix holds a parameter of one law"),
        ({"intervals": "profile"}, "--intervals profile is of one law's parameters"),
        ({"resample": "rows"}, "--resample rows: auto draws whole runs"),
    ],
)
def test_settings_of_one_law_are_refused(table: pd.DataFrame, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        fit("auto", table, **settings)


def test_checkpoints_of_a_run_stay_together(grouped: Fit) -> None:
    rows = law_rows(get_law("chinchilla"), read_table(checkpoints()))
    cuts = auto.inner_cuts(rows)
    assert len(cuts) >= 3
    for below, above in cuts:
        assert rows.flops is not None
        assert rows.flops[below].max() < rows.flops[above].min()
        run = rows.group.astype(str)
        # A run whose last row lies above gives no row to the fit below.
        assert not set(run[below]) & set(run[above])
    shared = [m["discrepancy"]["run"] for m in grouped.members if "discrepancy" in m]
    assert all(0.001 < sd < 0.02 for sd in shared)
    assert grouped.rows["runs"] == 10
    # A resample of ten runs leaves some out whole: refits differ by more than sixty independent rows would let them.
    names = grouped.entry.names
    drawn = grouped.draws[grouped.draws[:, names.index("chinchilla.weight")] == 1.0, names.index("chinchilla.E")]
    assert np.std(drawn) > 0.002


def test_a_long_table_is_weighed_on_an_even_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "MOST_INNER", 400)
    monkeypatch.setattr(auto, "DRAWN_BLOCK", 5 * 1000)
    rng = np.random.default_rng(0)
    long = pd.DataFrame({"params": 10 ** rng.uniform(7, 9.5, 1000), "tokens": 10 ** rng.uniform(9, 11.5, 1000)})
    long["loss"] = truth(long) * np.exp(0.004 * rng.standard_normal(1000))
    found = fit("auto", long, **FEW)
    assert "the inner backtests are made on 400 of 1,000 rows, taken evenly along compute" in found.notes
    assert found.rows["used"] == 1000
    assert len(found.draws) == 40
    np.testing.assert_allclose(found.at(FAR), truth(FAR), rtol=0.01)
    # The blocks that draws are made in change nothing but what is held at a time.
    monkeypatch.setattr(auto, "DRAWN_BLOCK", 10**9)
    np.testing.assert_allclose(fit("auto", long, **FEW).draws, found.draws, rtol=1e-6)


def test_many_points_are_predicted_in_bounded_memory(chosen: Fit) -> None:
    x = {"params": np.geomspace(1e7, 1e10, 200_000), "tokens": np.geomspace(1e9, 1e12, 200_000)}
    found = chosen.at(x)
    tracemalloc.start()
    try:
        assert chosen.at(x).tolist() == found.tolist()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Each array of 200,000 points and 30 rows would take 48 MB, and a prediction needs several at once.
    assert peak < 80e6


def test_names_of_laws_are_taken_once(table: pd.DataFrame) -> None:
    read = read_table(table)
    assert [law.name for law in laws_of(["auto", "chinchilla", "auto", "chinchilla"], read)] == ["auto", "chinchilla"]
    every = [law.name for law in laws_of(["all"], read)]
    assert "auto" not in every
    assert "chinchilla" in every
    assert [law.name for law in laws_of(["all", "auto", "chinchilla"], read)] == [*every, "auto"]


# --------------------------------------------------------------------------------------------------------- FIT.json


def put(*path: Any) -> Any:
    """A change of one place of FIT.json: path..., value."""

    def change(found: dict[str, Any]) -> None:
        place: Any = found
        for step in path[:-2]:
            place = place[step]
        place[path[-2]] = path[-1]

    return change


def drop(*path: Any) -> Any:
    def change(found: dict[str, Any]) -> None:
        place: Any = found
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return change


def heavier(found: dict[str, Any]) -> None:
    found["members"][0]["weight"] += 0.1
    found["members"][1]["weight"] -= 0.1


def below_zero(found: dict[str, Any]) -> None:
    found["members"][0]["weight"] += 1.0
    found["members"][1]["weight"] -= 1.0


DAMAGED = {
    "a member is missing": (lambda found: found["members"].pop(), "the members' weights add up to"),
    "weights that add up to more": (put("members", 0, "weight", 0.9), "the members' weights add up to"),
    "a weight below zero": (below_zero, "a member's weight is -"),
    "a weight that is not the parameter": (heavier, "is not the weight of its member"),
    "a negative length": (put("members", 1, "discrepancy", "lengths", "params", -1.0), "lengths.params is -1"),
    "a length of another input": (put("members", 1, "discrepancy", "lengths", {"params": 1.0}), "lengths are not of"),
    "a negative noise of runs": (put("members", 1, "discrepancy", "run", -0.1), "discrepancy.run is -0.1"),
    "no noise": (drop("members", 1, "discrepancy", "noise"), "no 'noise'"),
    "no discrepancy": (drop("members", 1, "discrepancy"), "is not as its variant says"),
    "a law that nobody knows": (put("members", 0, "law", "mine"), "no law named 'mine'"),
    "a variant that nobody knows": (put("members", 0, "variant", "best"), "a member's variant is 'best'"),
    "a plain member": (put("members", 0, "variant", "plain"), "chinchilla of auto is plain"),
    "another law": (put("law", "chinchilla"), "the members are those of auto"),
    "no members": (drop("members"), "no 'members'"),
    "members of nothing": (put("members", []), "members is empty"),
    "a member twice": (lambda found: found["members"].__setitem__(0, found["members"][2]), "add up to"),
    "no calibration": (put("calibration", None), "calibration is null"),
    "a calibration below zero": (put("calibration", "far", -0.1), "calibration.far is -0.1"),
    "a calibration that is nan": (put("calibration", "near", float("nan")), "calibration.near is nan"),
    "no runs": (drop("points", "run_id"), "no 'run_id'"),
    "a baseline of text": (put("baselines", "last point", "low"), "baselines['last point'] is 'low'"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_choice_is_refused_in_one_line(chosen: Fit, case: str, tmp_path: Path) -> None:
    change, says = DAMAGED[case]
    damaged = copy.deepcopy(contents(chosen) | {"made_by": {}})
    change(damaged)
    path = tmp_path / "auto.json"
    path.write_text(json.dumps(damaged))
    with pytest.raises(BadInput) as caught:
        Fit.load(path)
    assert caught.value.exit_code == 1
    message = str(caught.value)
    assert message.startswith(f"{path}: the fit is incomplete or damaged (")
    assert says in message
    assert "\n" not in message


def test_the_calibration_is_read_as_it_was_written(chosen: Fit, tmp_path: Path) -> None:
    assert chosen.calibration is not None
    on_disk = json.loads(chosen.save(tmp_path / "auto.json").read_text())
    assert on_disk["calibration"] == asdict(chosen.calibration)
    assert on_disk["members"] == list(chosen.members)
    assert on_disk["baselines"] == dict(chosen.baselines)


def test_a_choice_that_misses_to_one_side_is_told() -> None:
    table = chinchilla_table(0.004, 7)
    compute = table.params * table.tokens
    bent = table.assign(loss=table.loss * np.where(compute > compute.quantile(0.6), 0.93, 1.0))
    codes = {}
    for name, runs in (("sound", table), ("bent", bent)):
        scored = backtest(runs, "auto", test_fraction=0.4, settings=Settings(bootstrap=0)).laws[0]
        codes[name] = {notice.code for notice in scored.warnings}
    assert "SL402" in codes["bent"]
    assert "SL402" not in codes["sound"]


def test_few_rows_have_draws_of_the_posterior_about_the_plain_fit() -> None:
    few = chinchilla_table(0.005, 3).iloc[[0, 4, 8, 13, 17, 22, 26]]
    found = fit("auto", few, bootstrap=400)
    assert found.members[0]["variant"] == "plain"
    assert found.bootstrap["resample"] == "posterior"
    assert "SL308" not in {w.code for w in found.warnings}
    split = allocate(found, 1e23)
    n_low, n_high = split.params.ci
    truth = allocate(fit("chinchilla", chinchilla_table(), bootstrap=0), 1e23).params.value
    assert n_low < truth < n_high
    assert found.draws.shape == (400, 4)


# --------------------------------------------------------------------------------------- the rest of the catalogue


VOCAB_TRUTH = {"E": 5.5, "A1": 1.9, "A2": 0.5, "B": 1.4, "alpha": 0.44, "alpha2": 0.6}


@pytest.fixture(scope="module")
def signed() -> tuple[pd.DataFrame, Fit]:
    """Runs of the law of vocabulary, whose target is below zero, and the choice made of them."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "params_nonvocab": 10 ** rng.uniform(7.3, 9.3, 30),
            "params_vocab": 10 ** rng.uniform(6.3, 8.3, 30),
            "tokens": 10 ** rng.uniform(8.5, 10.8, 30),
        }
    )
    frame["flops"] = 6 * (frame.params_nonvocab + frame.params_vocab) * frame.tokens
    frame["loss_unigram_norm"] = get_law("vocab").predict(frame, **VOCAB_TRUTH) + 0.01 * rng.standard_normal(30)
    return frame, fit("auto", frame, **FEW)


def test_a_target_below_zero_is_blended_as_it_is(signed: tuple[pd.DataFrame, Fit], tmp_path: Path) -> None:
    _, found = signed
    assert {m["law"] for m in found.members} == {"vocab", "vocab-drift"}
    assert found.objective.on == "plain"
    far = {"params_nonvocab": np.array([4e9]), "params_vocab": np.array([3e8]), "tokens": np.array([2e11])}
    expected = get_law("vocab").predict(far, **VOCAB_TRUTH)
    said = predict(found, {name: float(v[0]) for name, v in far.items()})
    assert said.low[0] < expected[0] < said.high[0]
    assert said.value[0] == pytest.approx((said.low[0] + said.high[0]) / 2)  # plain intervals are even about the value
    assert 0.01 < said.high[0] - said.low[0] < 0.3
    # By hand, from what FIT.json says alone.
    seen = {name: np.asarray(found.points[name], dtype=float) for name in (*far, found.target, "flops")}
    weights = (seen["flops"] / seen["flops"].max()) ** 0.3
    total = np.zeros(1)
    for m in found.members:
        law, s = get_law(m["law"]), m.get("discrepancy")
        own = {p: found.values[f"{m['law']}{'~' if s else ''}.{p}"] for p in law.names}
        one = law.predict(far, **own)
        if s:

            def process(a: Mapping[str, Any], b: Mapping[str, Any], s: Mapping[str, Any] = s) -> Any:
                apart = [(np.subtract.outer(np.log(a[k]), np.log(b[k])) / s["lengths"][k]) ** 2 for k in s["lengths"]]
                return s["size"] ** 2 * np.exp(-0.5 * sum(apart))

            rows = process(seen, seen) + np.diag(s["noise"] ** 2 * weights.mean() / weights)
            one = one + process(far, seen) @ np.linalg.solve(rows, seen[found.target] - law.predict(seen, **own))
        total = total + m["weight"] * one
    np.testing.assert_allclose(said.value, total, rtol=1e-9)
    back = Fit.load(found.save(tmp_path / "auto.json"))
    assert contents(back) == contents(found)
    assert predict(back, {name: float(v[0]) for name, v in far.items()}).value.tolist() == said.value.tolist()


def test_errors_of_a_plain_target_are_told_in_its_unit(signed: tuple[pd.DataFrame, Fit]) -> None:
    from scaling_lab.show import members

    _, found = signed
    assert "%" not in "".join(row[2] for row in members.rows(found))
    assert "%" not in "".join(error for _, error in members.baselines(found))
    assert "power law in compute" not in found.baselines


def repeated(seed: int = 0, noise: float = 0.004) -> pd.DataFrame:
    law = get_law("data-constrained")
    cells = [(n, d, d / e) for n in (2e7, 1e8, 5e8, 2e9) for d in (1e9, 8e9, 6e10) for e in (1.0, 4.0, 16.0, 64.0)]
    frame = pd.DataFrame(cells, columns=["params", "tokens", "unique_tokens"])
    values = {"E": 1.87, "A": 521.0, "B": 1488.0, "alpha": 0.353, "beta": 0.353, "R_D": 15.4, "R_N": 5.3}
    loss = law.predict({name: frame[name].to_numpy() for name in frame}, **values)
    return frame.assign(loss=loss * np.exp(noise * np.random.default_rng(seed).standard_normal(len(frame))))


@pytest.fixture
def few_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three inner backtests where there would be thirteen."""
    monkeypatch.setattr(auto, "CUTS", (0.5,))
    monkeypatch.setattr(auto, "FURTHER_CUTS", (0.6,))


@pytest.mark.usefixtures("few_cuts")
def test_laws_of_fewer_inputs_stand_by_and_leave_where_the_wider_one_does_better() -> None:
    frame = repeated()
    laws = auto.choice(read_table(frame))
    assert [law.name for law in laws] == [
        "data-constrained", "data-constrained-tied", "chinchilla", "chinchilla-tied"
    ]  # fmt: skip
    found = fit("auto", frame, **FEW)
    assert {m["law"] for m in found.members} == {"data-constrained", "data-constrained-tied"}
    assert any("laws of more inputs did better" in note for note in found.notes)
    assert found.entry.inputs == ("params", "tokens", "unique_tokens")
    assert all(set(m["discrepancy"]["lengths"]) == set(found.entry.inputs) for m in found.members if "discrepancy" in m)


@pytest.mark.usefixtures("few_cuts")
def test_members_may_take_different_inputs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(auto, "_needed", lambda usable, errors: list(usable))
    found = fit("auto", repeated(), **FEW)
    assert {m["law"] for m in found.members} >= {"data-constrained", "chinchilla"}
    back = Fit.load(found.save(tmp_path / "auto.json"))
    at = {"params": 4e9, "tokens": 1e11, "unique_tokens": 2e10}
    assert predict(back, at).value.tolist() == predict(found, at).value.tolist()
    # A process about the narrower law is over the wider one's inputs: it knows of repetition what its law does not.
    near = {"params": 5e8, "tokens": 8e9, "unique_tokens": 8e9 / 64}
    fresh = {**near, "unique_tokens": 8e9}
    member = next(m for m in found.blend.members if m.label == "chinchilla~")
    own = {p: np.array([[found.values[f"chinchilla~.{p}"]]]) for p in member.law.names}
    one, other = (
        float(found.blend.scaled_member(member, {k: np.array([v]) for k, v in x.items()}, own)[0, 0])
        for x in (near, fresh)
    )
    assert one > other + 0.01


def test_columns_that_tell_nothing_change_nothing(table: pd.DataFrame, chosen: Fit) -> None:
    beside = table.assign(
        unique_tokens=np.where(np.arange(len(table)) % 3 == 0, table.tokens, np.nan),  # some cells are empty
        sparsity=0.5,
        width=np.arange(len(table)) + 64.0,
    )
    found = fit("auto", beside, **FEW)
    assert found.members == chosen.members
    assert {w.code for w in found.warnings} - {w.code for w in chosen.warnings} == {"SL317"}
    told = next(w.message for w in found.warnings if w.code == "SL317")
    assert told.startswith("runs differ in unique_tokens in ")


@pytest.mark.parametrize("unique", [4e8, np.array([np.nan, 4e8])])
def test_one_corpus_passed_over_more_and_less_often_is_told(table: pd.DataFrame, unique: float | np.ndarray) -> None:
    """One number of unique tokens does not vary, and the passes over it do; an empty cell is a run of another kind."""
    beside = table.assign(unique_tokens=np.resize(unique, len(table)))
    read = read_table(beside)
    (told,) = auto.left_out(read, auto.choice(read))
    assert told.code == "SL317"
    fresh = read_table(table.assign(unique_tokens=table.tokens, sparsity=np.nan))
    assert auto.left_out(fresh, auto.choice(fresh)) == ()


def test_a_design_that_no_weighed_law_knows_is_told(table: pd.DataFrame) -> None:
    mixed = table.assign(w_code=np.linspace(0.1, 0.6, len(table)), w_web=np.linspace(0.9, 0.4, len(table)))
    read = read_table(mixed)
    laws = auto.choice(read)
    assert {"chinchilla", "chinchilla-tied", "drift"} <= {law.name for law in laws}
    (told,) = auto.left_out(read, laws)
    assert told.code == "SL317"
    assert "w_code, w_web" in told.message
    assert auto.left_out(read_table(table), laws) == ()


EXAMPLES = np.geomspace(100, 3000, 16)


def test_a_bend_that_the_rows_show_is_taken_and_none_where_there_is_none(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    law = get_law("bnsl1@examples")
    values = {"a": 0.4, "b": 2.3, "c_0": 0.05, "c_1": 4.0, "d_1": 700.0, "f_1": 0.1}
    bent = pd.DataFrame({"examples": EXAMPLES, "loss": law.predict({"examples": EXAMPLES}, **values)})
    bent["loss"] *= np.exp(0.003 * rng.standard_normal(16))
    found = fit("auto", bent, **FEW)
    assert found.law == "bnsl1@examples"
    assert "SL318" in {w.code for w in found.warnings}
    assert [m["variant"] for m in found.members] == [PLAIN]
    back = Fit.load(found.save(tmp_path / "bent.json"))
    assert predict(back, {"examples": 5000.0}).value.tolist() == predict(found, {"examples": 5000.0}).value.tolist()
    straight = bent.assign(loss=(0.4 + 5 * EXAMPLES**-0.3) * np.exp(0.003 * rng.standard_normal(16)))
    found = fit("auto", straight, **FEW)
    assert {m["law"] for m in found.members} == {"hestness@examples"}
    assert "SL318" not in {w.code for w in found.warnings}


def test_aicc_counts_runs_and_not_their_rows() -> None:
    law = get_law("hestness@examples")
    frame = pd.DataFrame({"examples": EXAMPLES, "loss": 0.4 + 5 * EXAMPLES**-0.3})
    frame["loss"] *= np.exp(0.01 * np.random.default_rng(1).standard_normal(16))
    once = auto._information(law, law_rows(law, read_table(frame)), Settings(**FEW))
    params = {"alpha": 5.0, "beta": -0.3, "gamma": 0.4}
    true = np.log(law.predict({"examples": EXAMPLES}, **params)) - np.log(frame.loss)
    # Least squares does no worse than the truth; with k = 4 the correction is 2k + 2k(k + 1) / (n - k - 1).
    assert once <= 16 * np.log(np.mean(true**2)) + 8 + 40 / 11
    assert once > 16 * np.log(np.mean(true**2) / 4) + 8 + 40 / 11
    four = frame.assign(run_id=np.repeat(["a", "b", "c", "d"], 4))
    assert auto._information(law, law_rows(law, read_table(four)), Settings(**FEW)) == np.inf


def test_mixtures_are_held_out_in_turn() -> None:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(3), 24)
    frame = pd.DataFrame(shares, columns=["w_a", "w_b", "w_c"])
    frame["loss"] = (1.5 + np.exp(0.5 - frame.w_a + 0.5 * frame.w_b)) * np.exp(0.003 * rng.standard_normal(24))
    laws = auto.choice(read_table(frame))
    rows = law_rows(laws[0], read_table(frame))
    cuts = auto.inner_cuts(rows)
    assert len(cuts) == auto.FOLDS
    np.testing.assert_array_equal(np.sum([above for _, above in cuts], axis=0), np.ones(24))
    assert all(not np.any(below & above) for below, above in cuts)
    found = fit("auto", frame, **FEW)
    assert all(m["law"].startswith("mixing-") for m in found.members)
    assert found.calibration is not None
    assert found.calibration.error < 0.01


def test_cuts_go_along_every_input_that_compute_does_not_hold() -> None:
    rows = law_rows(get_law("data-constrained"), read_table(repeated()))
    sizes = [size for size, _ in auto.directions(rows)]
    assert len(sizes) == 3
    np.testing.assert_allclose(sizes[1], rows.x["unique_tokens"])
    np.testing.assert_allclose(sizes[2], rows.x["tokens"] / rows.x["unique_tokens"])
    plain = law_rows(get_law("chinchilla"), read_table(chinchilla_table(0.004)))
    assert len(auto.directions(plain)) == 1


def test_the_process_knows_sizes_by_logarithm_and_shares_by_square_root() -> None:
    np.testing.assert_allclose(discrepancy.coordinate("params", [1e6, 1e9]), np.log([1e6, 1e9]))
    np.testing.assert_allclose(discrepancy.coordinate("w_code", [0.0, 0.25]), [0.0, 2.0])
    np.testing.assert_allclose(discrepancy.coordinate("datastore_tokens", [0.0, np.e - 1]), [0.0, 1.0])
    assert discrepancy.target_unit("log", np.array([1.0, 5.0])) == 1.0
    assert discrepancy.target_unit("plain", np.array([-1.0, 1.0])) == pytest.approx(5.0)
    assert discrepancy.target_unit("plain", np.array([2.0, 2.0])) == 1.0
