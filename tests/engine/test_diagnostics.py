"""Warnings that come up where they should, stay away where they should, and say what the registry says of them."""

from __future__ import annotations

import ast
import json
import math
import re
import runpy
import string
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling_lab.decide.isoflop import isoflop
from scaling_lab.engine import codes, diagnostics
from scaling_lab.engine.backtest import backtest
from scaling_lab.engine.coordinates import Coordinates
from scaling_lab.engine.fit import Settings, fit, fit_rows, law_rows, optimum
from scaling_lab.engine.local import condition, cost_of_robustness, influence, local, mean_error, one_step
from scaling_lab.engine.result import Fit, Noise
from scaling_lab.engine.solve import Objective
from scaling_lab.engine.uncertainty import measure_noise
from scaling_lab.errors import BadInput, UsageError
from scaling_lab.files import to_json
from scaling_lab.laws import Law, Param, get_law
from scaling_lab.tables import Rows, read_table
from tests.conftest import TRUTH, chinchilla_table

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "scaling_lab"
QUICK = Settings(starts=144, polish=(6, 2), bootstrap=0, audit=0)


def loss(n: np.ndarray, d: np.ndarray) -> np.ndarray:
    return TRUTH["E"] + TRUTH["A"] * n ** -TRUTH["alpha"] + TRUTH["B"] * d ** -TRUTH["beta"]


def runs(n: np.ndarray, d: np.ndarray, noise: float = 0.004, seed: int = 0) -> pd.DataFrame:
    """Runs of TRUTH with log-normal noise."""
    z = np.random.default_rng(seed).standard_normal(len(n))
    return pd.DataFrame({"params": n, "tokens": d, "loss": loss(n, d) * np.exp(noise * z)})


def scattered(count: int = 40, noise: float = 0.004, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return runs(10 ** rng.uniform(7, 9.5, count), 10 ** rng.uniform(9, 11, count), noise, seed + 1000)


def rows_of(table: pd.DataFrame, law: str = "chinchilla") -> Rows:
    return law_rows(get_law(law), read_table(table))


def fitted(table: pd.DataFrame, law: str = "chinchilla", objective: str = "huber") -> Fit:
    entry = get_law(law)
    settings = replace(QUICK, objective=Objective(objective))  # type: ignore[arg-type]
    return fit_rows(entry, law_rows(entry, read_table(table)), settings)


def found_codes(table: pd.DataFrame, law: str = "chinchilla", objective: str = "huber") -> dict[str, str]:
    return {notice.code: notice.message for notice in fitted(table, law, objective).warnings}


# ---------------------------------------------------------------------------------------------------------- registry


def raised() -> set[tuple[str, str | None]]:
    """(code, severity) of every notice that the package makes; severity None where it comes from the registry."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        if path.name == "codes.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            words = [a.value if isinstance(a, ast.Constant) else None for a in node.args]
            words += [k.value.value for k in node.keywords if k.arg == "code" and isinstance(k.value, ast.Constant)]
            if words and isinstance(words[0], str) and re.fullmatch(r"SL\d{3}", words[0]):
                name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                told = words[1] if name == "Notice" and len(words) > 1 else None
                found.add((words[0], told if isinstance(told, str) else None))
    return found


def test_every_code_that_is_raised_is_in_the_registry_with_its_severity_and_the_other_way_round() -> None:
    made = raised()
    assert {code for code, _ in made} == set(codes.CODES)
    assert [(c, s) for c, s in made if s is not None and codes.CODES[c].severity != s] == []


def test_a_code_stands_nowhere_else_in_the_package_but_where_it_is_raised_or_told_of() -> None:
    said = set()
    for path in PACKAGE.rglob("*.py"):
        said |= set(re.findall(r"SL\d{3}\b", path.read_text(encoding="utf-8")))
    assert said == set(codes.CODES)


def test_names_are_kebab_words_of_their_own_and_texts_are_whole() -> None:
    assert len(codes.NAMES) == len(codes.CODES)
    for entry in codes.CODES.values():
        assert re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", entry.name), entry.name
        assert not re.search(r"[{}]", entry.looked_at())
        assert entry.looked_at().endswith(".")
        assert entry.reason.endswith(".")
        assert entry.fixes
        assert entry.severity in ("info", "warning", "error")


def test_thresholds_are_quoted_from_where_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics, "CONDITION", 12345.0)
    assert "above 12345." in codes.get_code("ill-conditioned").looked_at()
    fields = {f for c in codes.CODES.values() for _, f, _, _ in string.Formatter().parse(c.evidence) if f}
    assert len(fields) >= 15


def test_an_unknown_code_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'SL3055'; did you mean 'SL3\d\d'"):
        codes.get_code("SL3055")


def test_the_page_of_warnings_is_the_registry() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_warnings.py"))["page"]()
    assert (ROOT / "docs" / "warnings.md").read_text(encoding="utf-8") == made, "run python docs/make_warnings.py"


def test_the_rates_are_of_codes_that_exist() -> None:
    measured = json.loads((ROOT / "bench" / "results" / "diagnostics.json").read_text(encoding="utf-8"))
    for row in measured["rates"]:
        code, name = row["code"].split()
        assert codes.CODES[code].name == name
        assert row["false_alarms"] <= 0.05, row
        assert row["misses"] is None or row["misses"] <= 0.1, row


# ----------------------------------------------------------------------------------------------------- local picture


@pytest.mark.parametrize("name", ["huber", "l2", "l1"])
def test_the_price_of_robustness_is_that_of_normal_errors(name: str) -> None:
    objective = Objective(name, 0.003)  # type: ignore[arg-type]
    z = np.linspace(-9, 9, 400_001) * 0.004
    density = np.exp(-0.5 * (z / 0.004) ** 2) / (0.004 * math.sqrt(2 * math.pi)) * (z[1] - z[0])
    width = objective.width if name == "huber" else 0.0
    slope, price = cost_of_robustness(0.004, objective)
    if name == "l2":
        assert (slope, price) == (1.0, 1.0)
    elif name == "l1":
        assert price == pytest.approx(math.pi / 2, rel=1e-3)
    else:
        psi = np.clip(z, -width, width)
        inside = float(density[np.abs(z) < width].sum())
        assert slope == pytest.approx(inside, rel=1e-3)
        assert price == pytest.approx(float((psi**2) @ density) / inside**2 / 0.004**2, rel=1e-3)


@pytest.mark.parametrize("name", ["huber", "l2"])
def test_standard_errors_are_those_of_repeated_tables(name: str) -> None:
    law, settings = get_law("chinchilla-tied"), replace(QUICK, objective=Objective(name))  # type: ignore[arg-type]
    coordinates = Coordinates(law, {})
    base = scattered(60, 0.0)
    ended, told = [], []
    for seed in range(40):
        z = np.random.default_rng(seed).standard_normal(60)
        rows = law_rows(law, read_table(base.assign(loss=base.loss * np.exp(0.005 * z))))
        theta = optimum(coordinates, rows, settings).theta
        found = local(coordinates, rows, theta, settings.objective)
        assert found is not None
        assert found.covariance is not None
        ended.append(theta)
        told.append(np.sqrt(np.diag(found.covariance)))
    # 40 tables tell a standard deviation to 11 %.
    assert np.median(told, axis=0) == pytest.approx(np.std(ended, axis=0, ddof=1), rel=0.35)


def test_checkpoints_that_share_an_error_count_for_less() -> None:
    rng = np.random.default_rng(0)
    n, d = (v.ravel() for v in np.meshgrid(np.geomspace(1e7, 3e9, 8), np.geomspace(1e9, 1e11, 6)))
    shared = np.tile(0.005 * rng.standard_normal(8), 6)
    table = pd.DataFrame({"params": n, "tokens": d, "loss": loss(n, d) * np.exp(shared)})
    objective, c = Objective("l2"), Coordinates(get_law("chinchilla"), {})
    pictures = []
    for frame in (table, table.assign(run_id=[f"r{x:.3g}" for x in n])):
        rows = rows_of(frame)
        theta = optimum(c, rows, replace(QUICK, objective=objective)).theta
        found = local(c, rows, theta, objective)
        assert found is not None
        assert found.covariance is not None
        pictures.append(found.covariance[4, 4])
    assert pictures[1] > 1.5 * pictures[0]


def test_one_step_ranks_runs_as_refits_do() -> None:
    """Least squares: leaving each run out by one Newton step against the real refits."""
    objective, c, rows = Objective("l2"), Coordinates(get_law("chinchilla-tied"), {}), rows_of(scattered(24))
    settings = replace(QUICK, objective=objective)
    theta = optimum(c, rows, settings).theta
    found = local(c, rows, theta, objective)
    assert found is not None
    run, shifts = one_step(rows, found, objective)
    real = np.array([optimum(c, rows.take(run != g), settings).theta - theta for g in range(rows.runs)])
    for i in range(len(theta)):
        assert np.corrcoef(shifts[:, i], real[:, i])[0, 1] > 0.97
        top = np.argmax(np.abs(real[:, i]))
        assert shifts[top, i] == pytest.approx(real[top, i], rel=0.25)


def test_the_influence_told_is_that_of_a_refit() -> None:
    table = scattered(24)
    table.loc[3, "loss"] *= 1.06
    objective, c, rows = Objective("l2"), Coordinates(get_law("chinchilla"), {}), rows_of(table)
    settings = replace(QUICK, objective=objective)
    theta = optimum(c, rows, settings).theta
    found = local(c, rows, theta, objective)
    assert found is not None
    edge = {name: values[[int(np.argmax(rows.flops))]] for name, values in rows.x.items()}
    strongest = influence(c, rows, theta, found, objective, edge, 6)
    assert strongest is not None
    _, run = np.unique(rows.group.astype(str), return_inverse=True)
    keep = run != strongest.run
    assert int(np.flatnonzero(~keep)[0]) == 3
    without = optimum(c, rows.take(keep), settings).theta
    again = local(c, rows.take(keep), without, objective)
    assert again is not None
    assert again.covariance is not None
    names = [p.name for p in c.free]
    if strongest.what in names:
        i = names.index(strongest.what)
        assert strongest.times == pytest.approx(
            abs(without[i] - theta[i]) / math.sqrt(again.covariance[i, i]), rel=1e-3
        )
    assert strongest.times > diagnostics.INFLUENCE


def test_the_error_of_held_out_runs_is_within_its_standard_error_where_the_law_holds() -> None:
    c, objective = Coordinates(get_law("chinchilla"), {}), Objective()
    z = []
    for seed in range(25):
        rows = rows_of(scattered(40, seed=seed))
        assert rows.flops is not None
        small = rows.flops <= np.quantile(rows.flops, 0.7)
        theta = optimum(c, rows.take(small), QUICK).theta
        found = mean_error(c, rows.take(small), theta, rows.take(~small), objective)
        assert found is not None
        z.append(found[0] / found[1])
    assert 0.5 < np.sqrt(np.mean(np.square(z))) < 1.4


# --------------------------------------------------------------------------------------------------------- annealing


def test_the_share_of_the_peak_rate_comes_from_whichever_columns_tell_it() -> None:
    table = chinchilla_table().head(6)
    assert rows_of(table).annealing is None
    with_peak = rows_of(table.assign(lr=[1e-4, 1e-3, 2e-3, None, 0.0, "x"], lr_max=1e-3))
    assert with_peak.annealing == pytest.approx([0.1, 1.0, np.nan, np.nan, 0.0, np.nan], nan_ok=True)
    by_run = rows_of(table.assign(lr=[1e-3, 5e-4, 1e-4, 3e-4, 3e-4, 3e-4], run_id=list("aaabbb")))
    assert by_run.annealing == pytest.approx([1.0, 0.5, 0.1, np.nan, np.nan, np.nan], nan_ok=True)
    named = rows_of(table.assign(schedule=["constant", "cosine", "Constant", "", "wsd", "cosine"]))
    assert named.annealing == pytest.approx([1.0, np.nan, 1.0, np.nan, np.nan, np.nan], nan_ok=True)
    assert with_peak.take(np.array([1, 4])).annealing == pytest.approx([1.0, 0.0])
    # A setting that is the same in all rows, without a peak, tells nothing.
    assert rows_of(table.assign(lr=3e-4)).annealing is None


def test_finished_runs_beside_checkpoints_of_the_middle_are_told_of() -> None:
    table = scattered(30)
    annealed = table.assign(lr_max=1e-3, lr=np.linspace(0, 1.5e-4, 30))
    assert "SL104" not in found_codes(annealed)
    mixed = annealed.assign(lr=np.where(np.arange(30) % 3 == 0, 7e-4, 1e-4))
    assert "20 rows end with the learning rate at 20% of its peak or less, 10 at" in found_codes(mixed)["SL104"]
    assert "SL104" not in found_codes(mixed[mixed.lr == 1e-4])
    assert "SL104" not in found_codes(mixed[mixed.lr == 7e-4])
    one = annealed.assign(lr=np.where(np.arange(30) == 0, 7e-4, 1e-4))
    assert "SL104" not in found_codes(one)


def test_checkpoints_of_a_run_are_told_of_unless_their_rate_was_constant() -> None:
    table = chinchilla_table(0.004)
    table["run_id"] = [f"size {n:.4g}" for n in table.params]
    assert "24 of 30 rows are earlier checkpoints" in found_codes(table)["SL104"]
    assert "SL104" not in found_codes(table.assign(schedule="constant"))
    assert "SL104" not in found_codes(chinchilla_table(0.004))


# ------------------------------------------------------------------------------------------------ design and optimum


def budgets(shift: float) -> pd.DataFrame:
    """Five isoFLOP profiles, each 4 times to either side of `shift` times the best size."""
    c = np.repeat(np.geomspace(1e18, 1e21, 5), 8)
    p = TRUTH
    g = (p["alpha"] * p["A"] / (p["beta"] * p["B"])) ** (1 / (p["alpha"] + p["beta"]))
    n = shift * g * (c / 6) ** (p["beta"] / (p["alpha"] + p["beta"])) * np.tile(np.geomspace(0.25, 4, 8), 5)
    return runs(n, c / 6 / n)


@pytest.mark.parametrize(("shift", "says"), [(9.0, "the smallest size has"), (1 / 9, "the largest size has")])
def test_profiles_that_never_turn_are_told_of(shift: float, says: str) -> None:
    assert f"in 5 of 5 isoFLOP profiles {says} the lowest loss" in found_codes(budgets(shift))["SL203"]
    assert "SL203" not in found_codes(budgets(1.0))


def test_isoflop_says_which_budgets_have_their_minimum_at_the_edge() -> None:
    table = budgets(1.0)
    assert isoflop(table).warnings == ()
    first = 6 * table.params * table.tokens < 2e18
    best = table[first].loss.idxmin()
    cut = isoflop(table[~(first & (table.params < table.params[best] * 1.01))])
    assert [w.code for w in cut.warnings] == ["SL203"]
    assert cut.warnings[0].message.startswith("1 of 5 budgets (1e+18 FLOP) have their minimum at the edge")
    assert cut.to_dict()["warnings"][0]["severity"] == "warning"


@pytest.mark.parametrize(("ratios", "says"), [((200, 2000), "fewer parameters"), ((0.02, 1), "more parameters")])
def test_runs_all_on_one_side_of_the_best_ratio_are_told_of(ratios: tuple[float, float], says: str) -> None:
    rng = np.random.default_rng(0)
    n = np.geomspace(1e7, 1e9, 36)
    ratio = np.exp(rng.uniform(*np.log(ratios), 36))
    assert f"all runs have {says} than" in found_codes(runs(n, n * ratio))["SL203"]
    assert "SL203" not in found_codes(runs(n, n * np.exp(rng.uniform(np.log(3), np.log(300), 36))))
    assert "SL203" not in found_codes(runs(n, n * ratio), "hestness-flops")


def test_sizes_too_close_together_name_what_they_do_not_tell() -> None:
    n, d = (v.ravel() for v in np.meshgrid(np.geomspace(1e8, 1.8e8, 6), np.geomspace(1e9, 1e11, 6)))
    message = found_codes(runs(n, d))["SL303"]
    assert re.match(r"the runs hardly tell (E, )?A, alpha apart \(condition number \d", message)
    told = float(re.search(r"change no run's loss by more than ([\d.e-]+) %", message)[1])  # type: ignore[index]
    assert 0 < told < 0.5
    assert "SL303" not in found_codes(scattered(40))


def test_the_weak_direction_moves_no_row() -> None:
    n, d = (v.ravel() for v in np.meshgrid(np.geomspace(1e8, 1.8e8, 6), np.geomspace(1e9, 1e11, 6)))
    rows, c = rows_of(runs(n, d)), Coordinates(get_law("chinchilla"), {})
    theta = optimum(c, rows, QUICK).theta
    found = local(c, rows, theta, Objective())
    assert found is not None
    number, weak = condition(found)
    assert np.max(np.abs(weak)) == pytest.approx(1.0)
    j = found.jac / np.linalg.norm(found.jac, axis=0)
    assert number == pytest.approx(np.linalg.cond(j), rel=1e-6)
    step = np.zeros(5)
    step[found.alive] = 0.01 * weak
    law = get_law("chinchilla")
    before, after = (law.predict(dict(rows.x), **c.to_params((theta + s)[None, :]))[0] for s in (0, step))
    assert np.max(np.abs(np.log(after / before))) < 1e-3


def test_a_run_that_moves_the_answer_is_named() -> None:
    table = scattered(30, seed=2)
    at = int(np.argmax(table.params * table.tokens))
    assert "SL304" not in found_codes(table, objective="l2")
    table.loc[at, "loss"] *= 1.07
    assert f"without the run of line {at} " in found_codes(table, objective="l2")["SL304"]
    named = table.assign(run_id=[f"run{i}" for i in range(30)])
    assert f"without run 'run{at}' " in found_codes(named, objective="l2")["SL304"]


def test_a_law_that_bends_is_told_of_in_the_fit_and_in_its_backtest() -> None:
    table = scattered(80, 0.003)
    compute = table.params * table.tokens
    beyond = np.log(np.maximum(compute / compute.median(), 1))
    bent = table.assign(loss=table.loss * np.exp(0.03 * beyond))
    assert "predicts the larger ones too low (inner backtests" in found_codes(bent)["SL402"]
    straight = fitted(table)
    assert "SL402" not in {w.code for w in straight.warnings}
    assert straight.noise.bias is not None
    scored = backtest(bent, "chinchilla", test_above=6 * compute.median(), settings=QUICK).laws[0]
    assert [w.code for w in scored.held_out] == ["SL402"]
    assert "too low by" in scored.held_out[0].message
    assert "SL402" in {w["code"] for w in scored.to_dict()["warnings"]}
    assert backtest(table, "chinchilla", settings=QUICK).laws[0].held_out == ()


@pytest.mark.data
def test_the_points_that_a_replication_left_out_are_what_is_named(data_dir: Path, epoch: pd.DataFrame) -> None:
    every = pd.read_csv(data_dir / "epoch_chinchilla" / "points.csv")
    left_out = set(np.flatnonzero(every.excluded_by_epoch).tolist())
    named = re.match(r"without the run of line (\d+) ", found_codes(every)["SL304"])
    assert named is not None
    assert int(named[1]) in left_out
    assert not {"SL304", "SL402", "SL303", "SL203"} & set(found_codes(epoch))


@pytest.mark.data
def test_a_ladder_of_four_sizes_and_checkpoints_of_it_are_told_of(data_dir: Path) -> None:
    names = {"params_nonembed_with_head": "params", "loss_c4_en": "loss"}
    final = pd.read_csv(data_dir / "olmo_ladder" / "final.csv").rename(columns=names)
    found = found_codes(final)
    assert "SL303" in found
    assert "SL104" not in found
    curves = pd.read_csv(data_dir / "olmo_ladder" / "curves.csv.gz").rename(columns=names)
    rows = rows_of(curves[curves.loss.notna()].iloc[::10])
    assert [n.code for n in diagnostics._annealing(rows)] == ["SL104"]


# ----------------------------------------------------------------------------------------------- never in the way


def test_files_from_before_the_bias_are_read_and_damaged_ones_refused() -> None:
    found = fitted(scattered(30))
    held = json.loads(to_json(found.to_dict()))
    assert Fit.from_dict(held).noise == found.noise
    old = {**held, "noise": {k: held["noise"][k] for k in ("sd", "drift", "cuts")}}
    assert Fit.from_dict(old).noise == Noise(found.noise.sd, found.noise.drift, found.noise.cuts)
    with pytest.raises(BadInput, match=r"noise\.bias_z is 'much'"):
        Fit.from_dict({**held, "noise": {**held["noise"], "bias_z": "much"}})


def test_a_refit_that_ran_away_tells_neither_drift_nor_bias() -> None:
    rows = rows_of(chinchilla_table(0.01))
    law = get_law("chinchilla")
    away = np.array([[1.8, np.inf, 1500.0, 400.0, 0.36]])
    c = Coordinates(law, {})
    noise = measure_noise(
        law,
        rows,
        np.full(30, 0.01),
        5,
        lambda part: away,
        lambda inside, params, outside: mean_error(c, inside, c.from_array(params)[0], outside, Objective()),
    )
    assert noise.sd > 0
    assert (noise.cuts, noise.bias, noise.bias_z) == (0, None, None)


def test_diagnostics_never_fail_and_never_write_nan() -> None:
    tables = {
        "exact": chinchilla_table(),
        "few": scattered(6),
        "one run": chinchilla_table(0.01).assign(run_id="a"),
        "two runs": chinchilla_table(0.01).assign(run_id=["a", "b"] * 15),
        "huge": scattered(20).assign(params=lambda t: t.params * 1e30),
        "odd rates": scattered(20).assign(lr="fast", lr_max=-1.0, schedule=None),
    }
    refuse = lambda constant: pytest.fail(f"{constant} in JSON")  # noqa: E731
    for name, table in tables.items():
        for law, objective in (("chinchilla", "l2"), ("chinchilla-tied", "l1"), ("hestness", "huber")):
            if "run" in name and law == "hestness":
                continue  # refused: rows of one run and size have different losses
            found = fitted(table, law, objective)
            json.loads(to_json(found.to_dict()), parse_constant=refuse)
            text = " ".join(w.message for w in found.warnings)
            assert not re.search(r"\b(nan|inf)\b", text), (name, law, text)


def test_held_parameters_and_plain_targets_are_looked_at_too() -> None:
    table = scattered(30)
    every = fit("chinchilla", table, fix=TRUTH, bootstrap=0)
    assert not {"SL303", "SL304", "SL402"} & {w.code for w in every.warnings}
    plain = Law(
        name="line",
        title="a line",
        source="none",
        inputs=("params",),
        params=(Param("a", "", (-5, 5), "height", "real"), Param("b", "", (-2, 2), "slope", "real")),
        formula="a + b * log(params)",
        predict=lambda x, a, b: a + b * np.log(x["params"]),
        residual="plain",
    )
    c, objective = Coordinates(plain, {}), Objective("huber", 1e-3, "plain")
    rows = law_rows(plain, read_table(table.assign(loss=np.log(table.params) - 10)))
    settings = replace(QUICK, objective=objective)
    best = optimum(c, rows, settings)
    account = dict(best.account)
    notices = diagnostics.check(
        c, rows, best.theta, account, {"resample": "runs", "n": 0}, Noise(0.01, 0.01, 3, 0.02, 5.0), objective
    )
    assert {"SL402"} <= {n.code for n in notices}
    assert "by 0.02 in the mean" in next(n.message for n in notices if n.code == "SL402")


def test_looking_costs_little() -> None:
    rows, c, objective = rows_of(scattered(240)), Coordinates(get_law("chinchilla"), {}), Objective()
    best = optimum(c, rows, QUICK)
    took = []
    for _ in range(7):
        begun = time.perf_counter()
        diagnostics.check(
            c, rows, best.theta, dict(best.account), {"resample": "runs", "n": 0}, Noise(0.01, 0.01, 3), objective
        )
        took.append(time.perf_counter() - begun)
    # 50 ms on a quiet core; the least of seven, with room for a busy machine.
    assert min(took) < 0.1


@pytest.mark.parametrize(
    ("mapping", "hint"),
    [
        ({"params": "size (M)"}, "--map params='`size (M)`*1e6' (or 1e9)"),
        ({"params": "`size (M)` * 1"}, "--map params='(EXPR)*1e6' (or 1e9)"),
    ],
)
def test_sizes_in_millions_name_a_column_that_is_there(mapping: dict[str, str], hint: str) -> None:
    table = chinchilla_table(0.003)
    table = table.assign(params=table.params / 1e6).rename(columns={"params": "size (M)"})
    said = [str(w) for w in fit("chinchilla", table, mapping=mapping, bootstrap=0, starts=144).warnings]
    assert any(hint in w for w in said), said
