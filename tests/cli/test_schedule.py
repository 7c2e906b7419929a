"""The `schedule` commands: what they print, their JSON, their tables and figures, and the one line of each fault."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling_lab.schedules import SCHEDULES, Schedule
from scaling_lab.show.schedules import marks, rate
from tests.cli.test_commands import lab  # noqa: F401  (a fixture)

ROOT = Path(__file__).resolve().parents[2]
LOG = str(ROOT / "examples" / "gradients_l1.csv")
COSINE = "cosine:total=24K,warmup=2160,floor=0.1,lr_max=3e-4"


def test_show_prints_the_rates_in_places_and_the_same_as_json(lab) -> None:  # noqa: F811
    done = lab("schedule", "show", COSINE)
    assert done.code == 0, done.err
    made = Schedule("cosine", 24_000, 3e-4, 2160, 0.1)
    assert f"{made.area():.6g}" in done.out
    assert "24,000 updates, warm-up of 2,160 updates, peak 3e-4, last 3e-5 (10 % of the peak)" in done.out
    row = next(line.split() for line in done.out.splitlines() if line.lstrip().startswith("12,000"))
    assert row[1:4] == ["50", "%", rate(float(made.at(12_000)))]
    assert float(row[4]) == pytest.approx(made.area(12_000), rel=1e-5)
    found = lab("schedule", "show", COSINE, "--json").json
    assert found["schema"] == "scaling-lab/schedules/1"
    (entry,) = found["schedules"]
    assert Schedule.from_dict(entry["schedule"]) == made
    assert entry["area"] == pytest.approx(made.area(), rel=1e-12)
    assert entry["warmup_area"] == pytest.approx(0.324, abs=2e-4)
    assert (entry["last"], entry["idle"]) == (pytest.approx(3e-5), 0)


def test_the_length_may_be_called_steps_as_optimize_calls_it(lab) -> None:  # noqa: F811
    called = [
        lab("schedule", "compare", "linear", "wsd", option, "2000", "--json") for option in ("--total", "--steps")
    ]
    assert [done.code for done in called] == [0, 0]
    assert called[0].json == called[1].json


def test_several_logs_in_place_of_one_table_are_told_how_to_be_joined(lab) -> None:  # noqa: F811
    done = lab("fit", "auto-curve", "one.csv", "two.csv")
    assert done.code == 2
    assert "(two.csv)" in done.err
    assert "scaling-lab ingest" in done.err
    other = lab("laws", "chinchilla", "drift")
    assert other.code == 2
    assert "ingest" not in other.err


def test_show_without_a_name_is_the_catalogue(lab) -> None:  # noqa: F811
    done = lab("schedule", "show")
    assert {line.split()[0] for line in done.out.splitlines() if line.strip()} >= set(SCHEDULES)
    assert {entry["name"] for entry in lab("schedule", "show", "--json").json["schedules"]} == set(SCHEDULES)


def test_the_rates_written_are_a_schedule_to_read(tmp_path: Path, lab) -> None:  # noqa: F811
    out = tmp_path / "lr.csv"
    done = lab("schedule", "show", COSINE, "--out", str(out))
    assert done.code == 0, done.err
    frame = pd.read_csv(out)
    assert list(frame.columns) == ["step", "lr"]
    np.testing.assert_allclose(frame.lr, Schedule.parse(COSINE).updates(), rtol=1e-15)
    assert Schedule.parse(f"file:{out}").updates().tolist() == frame.lr.tolist()
    meta = json.loads((tmp_path / "lr.csv.meta.json").read_text())
    assert meta["schedules"] == [{"label": COSINE, "schedule": str(Schedule.parse(COSINE))}]
    both = tmp_path / "both.csv"
    assert lab("schedule", "show", "cosine", f"file:{out}", "--total", "24K", "--out", str(both)).code == 0
    table = pd.read_csv(both)
    assert list(table.columns) == ["schedule", "step", "lr"]
    assert list(table.schedule.unique()) == ["cosine", f"file:{out}"]
    assert json.loads((tmp_path / "both.csv.meta.json").read_text())["made_by"]["inputs"].keys() == {str(out)}
    done = lab("schedule", "show", f"file:{out}", "--out", str(out))
    assert (done.code, "is one of the files that are read" in done.err) == (2, True)


def test_compare_ranks_and_carries_the_peak_over(tmp_path: Path, lab) -> None:  # noqa: F811
    words = ["schedule", "compare", "constant", "cosine", "linear", "--total", "24K", "--warmup", "0.05"]
    plain = lab(*words)
    assert plain.code == 0, plain.err
    assert [line.split()[0] for line in plain.out.splitlines()[1:4]] == ["constant", "cosine", "linear"]
    assert "bound" not in plain.out
    plot = tmp_path / "ranked.svg"
    ranked = lab(*words, "--bound", "--tuned-lr", "3e-4", "--plot", str(plot))
    assert [line.split()[0] for line in ranked.out.splitlines()[1:4]] == ["linear", "cosine", "constant"]
    assert "bound above the best" in plot.read_text()
    found = lab(*words, "--bound", "--tuned-lr", "3e-4", "--json").json
    assert found["schema"] == "scaling-lab/schedule-bounds/1"
    assert found["first"] == "constant"
    assert [entry["label"] for entry in found["schedules"]] == ["linear", "cosine", "constant"]
    values = [entry["bound"]["value"] for entry in found["schedules"]]
    assert values == sorted(values)
    for entry in found["schedules"]:
        assert entry["lr"] == pytest.approx(3e-4 * entry["peak_ratio"])
        assert entry["schedule"]["warmup_steps"] == 1200
    assert found["schedules"][-1]["peak_ratio"] == 1.0
    assert f"{values[1] / values[0] - 1:.1%}".replace("%", " %") in ranked.out


def test_compare_warns_of_lengths(lab) -> None:  # noqa: F811
    words = ["schedule", "compare", "cosine:total=100", "linear:total=200", "--bound"]
    done = lab(*words)
    assert "SL451" in done.err
    assert lab(*words, "--fail-on", "horizons-differ").code == 4


def test_a_schedule_is_refined_from_a_log(tmp_path: Path, lab) -> None:  # noqa: F811
    runpy.run_path(str(ROOT / "examples" / "make_schedule_table.py"))["main"](tmp_path)
    log = tmp_path / "gradients_l1.csv"
    assert log.read_bytes() == (ROOT / "examples" / "gradients_l1.csv").read_bytes()
    out = tmp_path / "refined.csv"
    words = ["schedule", "show", "--refine", str(log), "--norm-column", "grad_l1", "--total", "5000"]
    done = lab(*words, "--lr-max", "3e-4", "--out", str(out), "--plot", str(tmp_path / "refined.png"))
    assert done.code == 0, done.err
    assert "nearest schedule with a name: poly:total=5000,warmup=" in done.out
    assert (tmp_path / "refined.png").stat().st_size > 5000
    rates = pd.read_csv(out).lr
    assert len(rates) == 5000
    assert rates.max() <= 3e-4
    assert rates.max() == pytest.approx(3e-4, rel=1e-3)
    assert rates.iloc[-1] == 0
    found = lab(*words, "--json").json
    assert found["refined"]["norms"] == 400
    # The norms fall sevenfold over the first hundredths of the run and then rise by a half: a warm-up, and a fall
    # faster than linear.
    assert 0.05 < found["refined"]["warmup"] < 0.25
    assert 1.0 < found["refined"]["exponent"] < 2.0
    assert Schedule.from_dict(found["schedules"][0]["schedule"]).total == 5000


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["show", "cosin", "--total", "9"], 2, "no schedule 'cosin'; did you mean 'cosine'?"),
        (["show", "cosine"], 2, "has no number of steps; write cosine:total=24000"),
        (["show", "cosine:total=9", "--warmup", "9"], 2, "9 warm-up steps leave nothing of 9 steps"),
        (["show", "cosine:total=9,lr=0"], 2, "a learning rate of zero or below trains nothing"),
        (["show", "file:nowhere.csv"], 1, "nowhere.csv: can't be read: No such file"),
        (["show", "--plot", "a.png"], 2, "name a schedule for these options"),
        (["show", "cosine:total=9", "--plot", "a.txt"], 2, "figures are saved as .svg, .png or .pdf"),
        (["show", "cosine:total=9", "--out", "a.txt"], 2, "a table is written as one of"),
        (["show", "cosine:total=9", "--where", "step > 1"], 2, "are for a log; give --refine LOG"),
        (["show", "cosine:total=9", "--refine", "log.csv"], 2, "--refine makes the schedule from the log"),
        (["show", "--refine", LOG, "--norm-column", "grad_l1", "--optimizer", "adm"], 2, "did you mean 'adam'"),
        (["show", "--refine", LOG, "--norm-column", "grad_l1", "--total", "1.5"], 2, "--total 1.5 is not a number"),
        (["show", "--refine", LOG, "--norm-column", "grad_l1", "--smooth", "ema"], 2, "smoothing 'ema'"),
        (["show", "--refine", LOG], 1, "gradients_l1.csv: no column 'grad_norm' of gradient norms"),
        (["show", "--refine", "nowhere.csv"], 1, "nowhere.csv: no such file"),
        (["compare", "cosine:total=9", "--tuned-lr", "1"], 2, "add --bound"),
        (["compare", "cosine:total=9", "cosine:total=9"], 2, "is named twice"),
        (["compare"], 2, "Missing argument"),
        (["show", "cosine:total=9", "--optimizer", "sgd"], 2, "are for a log; give --refine LOG"),
        (["show", "--total", "9"], 2, "name a schedule for these options"),
        (["show", "cosine:total=9", "--total", "12"], 2, "--total 12 is taken by none of the schedules"),
        (["show", "constant:total=9", "--floor", "0.1"], 2, "--floor 0.1 is taken by none of the schedules"),
        (["compare", f"file:{LOG},column=grad_l1", "--lr-max", "1"], 2, "--lr-max 1 is taken by none"),
        (["show", "cosine:total=1"], 2, "the learning rate is zero at every update"),
        (["show", "--refine", LOG, "--norm-column", "grad_l1", "--lr-max", "-1"], 2, "--lr-max -1 is not a rate"),
        (["show", "--refine", LOG, "--norm-column", "grad_l1", "--total", "1e9"], 2, "2 to 1e+08"),
    ],
)
def test_a_fault_is_one_line(words: list[str], code: int, said: str, lab) -> None:  # noqa: F811
    done = lab("schedule", *words)
    assert done.code == code
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not done.out


def test_marks_rise_and_fall_with_the_rates() -> None:
    assert marks(Schedule("linear", 8000).updates(), 8) == "█▇▆▅▄▃▂▁"
    assert marks(Schedule("constant", 3).updates(), 8) == "███"


@pytest.mark.parametrize(
    ("value", "text"), [(3e-4, "3e-4"), (0.0015, "0.0015"), (0.0, "0"), (1.0, "1"), (2.3456e-5, "2.346e-5")]
)
def test_rates_are_written_as_people_do(value: float, text: str) -> None:
    assert rate(value) == text
