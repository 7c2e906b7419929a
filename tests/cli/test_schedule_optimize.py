"""`schedule compare --fit`, `optimize` and `cost`: what they print, their JSON, tables and figures, their faults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from scaling_lab import annealing_shares, optimize_schedule, schedule_cost, schedule_losses
from scaling_lab.engine.curves import CurveFit, fit_curves
from scaling_lab.schedules import Schedule
from tests.cli.test_commands import lab  # noqa: F401  (a fixture)

ROOT = Path(__file__).resolve().parents[2]
TABLE = str(ROOT / "examples" / "loss_curves.csv")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """FIT.json of the three synthetic curves."""
    path = tmp_path_factory.mktemp("fit") / "curves.json"
    fit_curves("multi-power", TABLE, warmup_steps=400).save(path)
    return str(path)


def test_compare_prints_no_gain_without_the_bias(fitted: str, tmp_path: Path, lab: Any) -> None:  # noqa: F811
    specs = ["cosine:floor=0.1", "wsd-sqrt:decay=0.2,floor=0.1"]
    words = ["schedule", "compare", *specs, "--total", "8K", "--fit", fitted]
    plot = tmp_path / "losses.svg"
    done = lab(*words, "--plot", str(plot))
    assert done.code == 0, done.err
    found = schedule_losses(CurveFit.load(fitted), specs, total=8000)
    first, second = found.each
    assert first.gain is None
    assert second.gain is not None
    for number in (second.loss, second.gain.raw, second.gain.expected):
        assert f"{number:.4f}" in done.out
    assert f"{second.gain.low:.4f} to {second.gain.high:.4f}" in done.out
    assert "known bias" in done.out
    assert "1.4 to 2.4" in done.out
    assert "cosine less two-stage" in done.out
    assert "Losses by multi-power" in plot.read_text()
    meta = json.loads((tmp_path / "losses.svg.meta.json").read_text())
    assert fitted in meta["made_by"]["inputs"]
    told = lab(*words, "--json").json
    assert told["schema"] == "scaling-lab/schedule-losses/1"
    assert told["first"] == specs[0]
    assert told["schedules"][0]["gain"] is None
    assert told["schedules"][1]["gain"]["raw"] == pytest.approx(second.gain.raw, rel=1e-9)
    assert {"share", "sd", "pairs", "published_shares"} <= set(told["bias"])
    # The peak and the warm-up are those of the fitted curves.
    assert Schedule.from_dict(told["schedules"][0]["schedule"]) == Schedule("cosine", 8000, 3e-4, 400, 0.1)


def test_compare_at_a_step_tells_which(fitted: str, lab: Any) -> None:  # noqa: F811
    done = lab("schedule", "compare", "cosine", "constant", "--total", "8K", "--fit", fitted, "--at-step", "6000")
    assert done.code == 0, done.err
    assert "losses at step 6,000" in done.out
    mixed = lab("schedule", "compare", "cosine:total=6K", "cosine:total=8K", "--fit", fitted, "--level", "0.5")
    assert mixed.code == 0, mixed.err
    assert "at step" in mixed.out
    assert "50 % interval" in mixed.out


def test_optimize_ranks_families_and_writes_the_best(fitted: str, tmp_path: Path, lab: Any) -> None:  # noqa: F811
    out, plot = tmp_path / "best.csv", tmp_path / "best.svg"
    words = ["schedule", "optimize", fitted, "--steps", "8K", "--family", "wsd-sqrt", "--family", "cosine"]
    done = lab(*words, "--out", str(out), "--plot", str(plot))
    assert done.code == 0, done.err
    found = optimize_schedule(CurveFit.load(fitted), 8000, families=["wsd-sqrt", "cosine"])
    assert [best.family for best in found.best] == ["wsd-sqrt", "cosine"]
    assert str(found.best[0].schedule) in done.out
    assert f"{found.best[0].gain.expected:.4f}" in done.out
    assert "known bias" in done.out
    assert "can't choose it" in done.err
    frame = pd.read_csv(out)
    assert list(frame.columns) == ["step", "lr"]
    assert frame.lr.tolist() == pytest.approx(found.best[0].schedule.updates().tolist(), rel=1e-12)
    meta = json.loads((tmp_path / "best.csv.meta.json").read_text())
    assert meta["schedules"] == [{"label": "wsd-sqrt", "schedule": str(found.best[0].schedule)}]
    assert "Best schedules of 8,000 steps" in plot.read_text()
    # What was written is a schedule to compare; its rise is its warm-up.
    again = lab("schedule", "compare", "--fit", fitted, "cosine:floor=0.1", f"file:{out}", "--total", "8K", "--json")
    assert again.code == 0, again.err
    assert "first 400 steps rise" in again.err
    assert again.json["schedules"][1]["loss"] == pytest.approx(found.best[0].loss, abs=1e-7)
    free = tmp_path / "free.csv"
    told = lab(*words, "--out", str(free), "--take", "free", "--json").json
    assert told["schema"] == "scaling-lab/schedule-optimum/1"
    assert told["free"]["loss"] <= told["families"][0]["loss"] + 1e-6
    rates = pd.read_csv(free).lr.to_numpy()[399:]
    assert (rates[1:] <= rates[:-1] + 1e-18).all()
    assert "no least length of the decay" in told["constraints"]


def test_fractions_are_of_lengths(fitted: str, tmp_path: Path, lab: Any) -> None:  # noqa: F811
    plot = tmp_path / "shares.png"
    words = ["schedule", "optimize", fitted, "--fractions", "6K,12K,24K", "--family", "wsd-sqrt"]
    done = lab(*words, "--plot", str(plot))
    assert done.code == 0, done.err
    found = annealing_shares(CurveFit.load(fitted), [6000, 12_000, 24_000], family="wsd-sqrt")
    assert found.crossover is not None
    assert f"from {found.crossover:,} steps on the cosine ends below" in done.out
    for one in found.each:
        assert f"{one.loss:.4f}" in done.out
    assert plot.read_bytes().startswith(b"\x89PNG")
    told = lab(*words, "--json").json
    assert told["schema"] == "scaling-lab/annealing-shares/1"
    assert [share["total"] for share in told["shares"]] == [6000, 12_000, 24_000]


def test_cost_is_of_points(lab: Any) -> None:  # noqa: F811
    done = lab("schedule", "cost", "--points", "100", "--longest", "100K")
    assert done.code == 0, done.err
    assert "5.05M" in done.out
    assert "21.6 %" in done.out
    assert "0.99 %" in done.out
    told = lab("schedule", "cost", "10K,20K,40K", "--decay", "0.1", "--fitted", "20K,5K", "--json").json
    assert told["steps"] == {"runs": 70_000, "reuse": 43_000, "curves": 25_000}
    assert told["shares"]["reuse"] == schedule_cost([1e4, 2e4, 4e4], decay=0.1).reuse / 70_000


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["optimize", "FIT"], 2, "give --steps"),
        (["optimize", "FIT", "--steps", "8K", "--peak", "1e-3"], 2, "above 0.0003"),
        (["optimize", "FIT", "--steps", "8K", "--family", "wsdd"], 2, "did you mean 'wsd'"),
        (
            ["optimize", "FIT", "--steps", "8K", "--family", "cosine", "--no-free", "--take", "free"],
            2,
            "was not searched",
        ),
        (["optimize", "FIT", "--steps", "8K", "--against", "cosine:total=9K"], 2, "has 9000 steps"),
        (["optimize", "FIT", "--steps", "8K", "--against", "cosin"], 2, "did you mean 'cosine'"),
        (["optimize", "FIT", "--steps", "8000.5"], 2, "whole number"),
        (["optimize", "FIT", "--steps", "8K", "--level", "1.5"], 2, "not between 0 and 1"),
        (["optimize", "FIT", "--steps", "8K", "--out", "FIT"], 2, "a table is written as one of"),
        (["optimize", "FIT", "--steps", "8K", "--plot", "best.bmp"], 2, "best.bmp"),
        (["optimize", "FIT", "--fractions", "8K,16K", "--steps", "8K"], 2, "no --steps"),
        (["optimize", "FIT", "--fractions", "8K", "--family", "wsd", "--family", "rex"], 2, "second one"),
        (["optimize", "missing.json", "--steps", "8K"], 1, "no such file"),
        (["compare", "cosine", "--total", "8K", "--at-step", "5"], 2, "give --fit"),
        (["compare", "cosine", "--total", "8K", "--fit", "FIT", "--bound"], 2, "give one of them"),
        (["compare", "cosine", "--fit", "FIT"], 2, "has no number of steps"),
        (["compare", "cosine:total=8K,lr_max=1", "--fit", "FIT"], 2, "above 0.0003"),
        (["compare", "file:missing.csv", "--fit", "FIT"], 1, "missing.csv"),
        (["cost"], 2, "give lengths"),
        (["cost", "10K", "--points", "3"], 2, "give lengths"),
        (["cost", "10K,x"], 2, "not a list of numbers"),
    ],
)
def test_faults_are_one_line(words: list[str], code: int, said: str, fitted: str, lab: Any) -> None:  # noqa: F811
    done = lab("schedule", *(fitted if word == "FIT" else word for word in words))
    assert (done.code, said in done.err) == (code, True), done.err
    assert done.out == ""
    assert sum(line.startswith("error:") for line in done.err.splitlines()) == 1


def test_fail_on_and_a_fit_of_another_kind(fitted: str, tmp_path: Path, lab: Any) -> None:  # noqa: F811
    words = ["schedule", "compare", "cosine", "wsd", "--total", "30K", "--fit", fitted]
    assert lab(*words).code == 0
    assert lab(*words, "--fail-on", "SL342").code == 4
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"schema": "scaling-lab/fit/1", "law": "chinchilla"}))
    done = lab("schedule", "compare", "cosine", "--total", "8K", "--fit", str(other))
    assert (done.code, "not a fit of loss curves" in done.err) == (1, True)
