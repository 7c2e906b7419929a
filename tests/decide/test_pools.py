"""The best pools for a budget of samples: as the planted truth ranks them, with intervals, and told where uncertain."""

from __future__ import annotations

import json
import runpy
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq

from scaling_lab.cli import main
from scaling_lab.decide.pools import curves, pools
from scaling_lab.engine.fit import fit
from scaling_lab.engine.result import Fit
from scaling_lab.errors import UsageError
from tests.conftest import ROOT, chinchilla_table

EXAMPLE = runpy.run_path(str(ROOT / "examples" / "make_data_tables.py"))
SIZE = EXAMPLE["POOL"]
UTILITY = EXAMPLE["UTILITY"]
BUDGETS = [SIZE, 64e6, 128e6, 300e6]


def truth(chosen: tuple[str, ...], samples: float) -> float:
    """The planted error of equal shares of some pools, pass by pass."""
    out, done, passes = EXAMPLE["SCALE"], 0.0, 0
    while done < samples:
        upto = min(samples, done + SIZE)
        power = np.mean([UTILITY[p][0] * 0.5 ** (passes / (len(chosen) * UTILITY[p][1])) for p in chosen])
        out *= (upto / done if done else upto) ** power
        done, passes = upto, passes + 1
    return float(out + EXAMPLE["FLOOR"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's tables and a fit of its pools."""
    place = tmp_path_factory.mktemp("pools")
    EXAMPLE["main"](place)
    fit("qqt", place / "pools.csv", bootstrap=200).save(place / "fit.json")
    return place


@pytest.fixture(scope="module")
def found(folder: Path) -> Fit:
    return Fit.load(folder / "fit.json")


def test_the_best_set_of_each_budget_is_that_of_the_truth_without_joint_training(found: Fit) -> None:
    got = pools(found, BUDGETS)
    every = [chosen for k in (1, 2, 3) for chosen in combinations(("top", "middle", "rest"), k)]
    assert [pool.name for pool in got.pools] == ["top", "middle", "rest"]
    for budget in got.budgets:
        assert len(budget.sets) == 7
        assert budget.sets[0].names == min(every, key=lambda chosen: truth(chosen, budget.samples))
        assert [s.error.value for s in budget.sets] == sorted(s.error.value for s in budget.sets)
        for each in budget.sets:
            assert each.error.value == pytest.approx(truth(each.names, budget.samples), rel=3e-3)
            low, high = each.error.ci
            assert low <= each.error.value <= high
            # A new run has its own noise on top of the law's doubt.
            assert each.interval[1] - each.interval[0] >= high - low
            assert each.passes == pytest.approx(budget.samples / SIZE / len(each.names))
        assert sum(s.best_in or 0 for s in budget.sets) == pytest.approx(1.0)


def test_the_tables_of_the_examples_are_what_their_script_makes(folder: Path) -> None:
    for name in ("pools", "repeated", "stores"):
        assert (folder / f"{name}.csv").read_bytes() == (ROOT / "examples" / f"{name}.csv").read_bytes()


def test_utilities_and_half_lives_have_intervals_that_hold_the_truth(found: Fit) -> None:
    for pool in pools(found, BUDGETS).pools:
        for estimate, want in zip((pool.utility, pool.half_life), UTILITY[pool.name], strict=True):
            assert estimate.se is not None
            assert abs(estimate.value - want) < 4 * estimate.se


def test_looser_sets_overtake_where_the_truth_says(found: Fit) -> None:
    got = pools(found, BUDGETS)
    assert [(c.tighter, c.looser) for c in got.crossings] == [
        (("top",), ("top", "middle")),
        (("top", "middle"), ("top", "middle", "rest")),
    ]
    for crossing, ends in zip(got.crossings, ((SIZE, 10 * SIZE), (5 * SIZE, 100 * SIZE)), strict=True):
        want = brentq(lambda n, c=crossing: truth(c.looser, n) - truth(c.tighter, n), *ends)
        low, high = crossing.samples.ci
        assert low <= want <= high
        assert crossing.samples.value == pytest.approx(want, rel=0.15)
        assert low < crossing.samples.value < high


def test_curves_reach_from_the_rows_to_the_budgets_and_agree_with_the_sets(found: Fit) -> None:
    got = pools(found, [600e6])
    drawn = curves(found, got)
    assert [each.names for each in drawn] == [("top",), ("top", "middle"), ("top", "middle", "rest")]
    by_name = {s.names: s.error.value for s in got.budgets[0].sets}
    for each in drawn:
        assert each.samples[0] == pytest.approx(found.inputs["samples"]["min"])
        assert each.samples[-1] == pytest.approx(600e6)
        assert each.error[-1] == pytest.approx(by_name[each.names], rel=1e-12)
        assert np.all((each.low <= each.error) & (each.error <= each.high))


def test_what_is_uncertain_is_told(found: Fit, folder: Path) -> None:
    codes = {notice.code for notice in pools(found, [SIZE]).warnings}
    assert codes == {"SL422"}
    # 24 passes over a pool were made at most; and where two sets cross, neither is certain.
    assert "SL423" in {notice.code for notice in pools(found, [1200e6]).warnings}
    crossing = pools(found, [SIZE]).crossings[0].samples.value
    assert "SL424" in {notice.code for notice in pools(found, [crossing]).warnings}
    table = pd.read_csv(folder / "pools.csv")
    mixed = table.iloc[[5, 20]].assign(run_id=["m1", "m2"], w_top=0.5, w_middle=0.5, w_rest=0.0)
    mixed["error"] = [truth(("top", "middle"), n) for n in mixed.samples]
    again = fit("qqt", pd.concat([table, mixed]), bootstrap=0)
    told = {notice.code for notice in pools(again, [SIZE]).warnings}
    assert "SL422" not in told
    assert "SL405" in told, "without a bootstrap the intervals leave out the parameters' doubt"


def test_many_pools_are_tried_by_utility_alone() -> None:
    rng = np.random.default_rng(0)
    names = [f"p{i}" for i in range(9)]
    rows = []
    for i, name in enumerate(names):
        for passes in (0.2, 1.0, 4.0, 12.0):
            out = 1.2 * (min(passes, 1.0) * SIZE) ** (-0.09 + 0.005 * i)
            for k in range(1, int(passes)):
                out *= ((k + 1) / k) ** ((-0.09 + 0.005 * i) * 0.5 ** (k / 4.0))
            share = {f"w_{other}": float(other == name) for other in names}
            error = (out + 0.1) * np.exp(1e-4 * rng.standard_normal())
            rows.append({"samples": passes * SIZE, "unique_samples": SIZE, "error": error, **share})
    got = pools(fit("qqt", pd.DataFrame(rows), bootstrap=0, starts=60), [SIZE])
    assert [pool.name for pool in got.pools] == names
    assert sorted(len(s.names) for s in got.budgets[0].sets) == list(range(1, 10))
    assert got.budgets[0].sets[0].names == ("p0",)


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["scaling-lab", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def test_the_command_prints_what_the_function_finds(
    folder: Path, found: Fit, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = ("pools", folder / "fit.json", "--samples", "64M,128M")
    code, out, _ = run(capsys, monkeypatch, *words, "--json", "--plot", tmp_path / "pools.svg")
    assert code == 0
    assert json.loads(out) == json.loads(json.dumps(pools(found, [64e6, 128e6]).to_dict()))
    picture = (tmp_path / "pools.svg").read_text()
    assert "top, middle, rest" in picture
    assert (tmp_path / "pools.svg.meta.json").is_file()
    code, out, err = run(capsys, monkeypatch, *words)
    assert code == 0
    assert "overtakes top beyond" in out
    assert "SL422" in err
    assert run(capsys, monkeypatch, *words, "--fail-on", "untested-mixture")[0] == 4


@pytest.mark.parametrize(
    ("samples", "more", "says"),
    [
        ("9T", (), "256 times the size of a pool"),
        ("-5", (), "not between 0 and"),
        ("many", (), "--samples 'many' is not a list of numbers"),
        ("64M", ("--unique-samples", "0"), "--unique-samples 0 is not a number above zero"),
        ("64M", ("--level", "1"), "--level 1 is not between 0 and 1"),
    ],
)
def test_impossible_questions_are_refused_in_one_line(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    samples: str,
    more: tuple[str, ...],
    says: str,
) -> None:
    code, out, err = run(capsys, monkeypatch, "pools", folder / "fit.json", f"--samples={samples}", *more)
    assert code == 2
    assert not out
    assert err.startswith("error: ")
    assert says in err
    assert err.count("\n") == 1


def test_a_fit_of_another_law_and_pools_of_many_sizes_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="pools needs a fit of qqt, and this is one of chinchilla"):
        pools(fit("chinchilla", chinchilla_table(), bootstrap=0), [1e6])
    table = pd.read_csv(folder / "pools.csv")
    sizes = fit("qqt", table.assign(unique_samples=table.unique_samples * (1 + (table.w_top == 1))), bootstrap=0)
    with pytest.raises(UsageError, match=r"12\.8M to 25\.6M samples: say with --unique-samples"):
        pools(sizes, [1e7])
    assert pools(sizes, [1e7], unique_samples=SIZE).unique_samples == SIZE
