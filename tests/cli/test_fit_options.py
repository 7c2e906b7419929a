"""Options of fit that reach the engine: weights, ways to resample, an interrupt half way."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from scaling_lab.engine import bootstrap
from scaling_lab.engine.result import Fit
from tests.cli.test_commands import lab, table  # noqa: F401  (fixtures)


def test_weights_move_the_fit_as_copies_of_rows_do(lab, table: Path) -> None:  # noqa: F811
    frame = pd.read_csv(table).assign(count=1.0)
    frame.loc[frame.tokens > 1e10, "count"] = 2.0
    frame.to_csv("weighed.csv", index=False)
    pd.concat([frame, frame[frame["count"] == 2.0].assign(run_id=lambda t: t.run_id + "-again")]).to_csv(
        "copied.csv", index=False
    )
    weighed = lab("fit", "chinchilla", "weighed.csv", "--weights", "count", "--bootstrap", 0, "--json").json
    copied = lab("fit", "chinchilla", "copied.csv", "--bootstrap", 0, "--json").json
    assert weighed["objective"]["value"] == pytest.approx(copied["objective"]["value"], rel=1e-9)
    for name, estimate in weighed["params"].items():
        assert estimate["value"] == pytest.approx(copied["params"][name]["value"], rel=1e-5)
    plain = lab("fit", "chinchilla", "weighed.csv", "--bootstrap", 0, "--json").json
    assert abs(plain["params"]["alpha"]["value"] / weighed["params"]["alpha"]["value"] - 1) > 1e-6


def test_weights_reach_a_backtest(lab, table: Path) -> None:  # noqa: F811
    asked = ("backtest", table, "--law", "chinchilla", "--bootstrap", 0, "--json")
    plain, weighed = lab(*asked).json, lab(*asked, "--weights", "tokens**-1").json
    assert plain["laws"][0]["mape"] != weighed["laws"][0]["mape"]


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ("count", "0 is not above zero"),
        ("count - 1", "is not above zero"),
        ("nowhere", "no column 'nowhere'"),
        ("flops**0.3", "no column 'flops' in weighed.csv; write 6*params*tokens"),
        ("tokens **", "--weights"),
    ],
)
def test_bad_weights_are_one_clear_line(lab, table: Path, weights: str, says: str) -> None:  # noqa: F811
    frame = pd.read_csv(table).assign(count=1.0)
    frame.loc[3, "count"] = 0.0
    frame.to_csv("weighed.csv", index=False)
    done = lab("fit", "chinchilla", "weighed.csv", "--weights", weights, "--bootstrap", 0)
    assert done.code in (1, 2)
    assert done.out == ""
    assert done.err.count("\n") == 1
    assert says in done.err


def test_an_interrupted_bootstrap_is_saved_said_and_ends_in_130(
    lab,  # noqa: F811
    table: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refit, calls = bootstrap._refit, []

    def stopped(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return refit(*arguments)

    monkeypatch.setattr(bootstrap, "_refit", stopped)
    done = lab("fit", "chinchilla", table, "--bootstrap", 3000, "--out", "fit.json", "--json")
    assert done.code == 130
    saved = Fit.load("fit.json")
    kept = saved.bootstrap["n"]
    assert 20 <= kept < 3000
    assert f"error: interrupted after {kept} of 3000 bootstrap refits, which are kept" in done.err
    assert "SL309" in done.err
    assert json.loads(done.out)["bootstrap"]["interrupted"] is True


def test_an_interrupt_before_any_refit_leaves_the_old_file_alone(
    lab,  # noqa: F811
    table: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stopped(*arguments):
        raise KeyboardInterrupt

    Path("fit.json").write_text("the fit of yesterday")
    monkeypatch.setattr(bootstrap, "_refit", stopped)
    done = lab("fit", "chinchilla", table, "--bootstrap", 3000, "--out", "fit.json")
    assert done.code == 130
    assert done.err == "error: interrupted; no result was written\n"
    assert done.out == ""
    assert Path("fit.json").read_text() == "the fit of yesterday"


@pytest.mark.parametrize("resample", ["rows", "wild", "parametric"])
def test_other_ways_to_resample_are_named_in_the_fit(lab, table: Path, resample: str) -> None:  # noqa: F811
    done = lab("fit", "chinchilla", table, "--resample", resample, "--bootstrap", 40, "--json")
    assert done.json["bootstrap"]["resample"] == resample


def test_converged_is_a_flag_of_the_fit_and_its_starts_say_why(lab, table: Path) -> None:  # noqa: F811
    found = lab("fit", "chinchilla", table, "--bootstrap", 0, "--json").json
    assert found["converged"] is True
    starts = found["starts"]
    assert starts["audited"] == 100
    assert sum(starts["statuses"].values()) == starts["polished"] + starts["audited"]
    assert starts["basins"][0]["starts"] >= 3
    assert starts["basins"][0]["objective"] == pytest.approx(found["objective"]["value"], rel=1e-6)
    assert "100 random ones followed" in lab("fit", "chinchilla", table, "--bootstrap", 0).out
