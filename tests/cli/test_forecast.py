"""forecast from the command line: whole, followed, interrupted, and its files."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from scaling_lab.cli.forecast import seconds
from scaling_lab.errors import UsageError
from scaling_lab.show.forecast import duration
from tests.cli.test_commands import lab  # noqa: F401  (a fixture)
from tests.decide.test_forecast import COSINE, planted, until

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PLAN = "cosine:total=16000,warmup=400,floor=0.1,lr_max=3e-4"


def test_a_forecast_in_words_json_table_and_figure(lab) -> None:  # noqa: F811
    shutil.copy(EXAMPLES / "running.csv", "running.csv")
    done = lab("forecast", "running.csv", "--schedule", PLAN, "--at-step", "12K", "--look-back",
               "--out", "rest.csv", "--plot", "rest.svg")  # fmt: skip
    assert done.code == 0
    assert "step 9,600 of 16,000" in done.out
    assert "12,000" in done.out
    assert "what would have been forecast for step 9,600" in done.out
    assert "the rest takes 45 min" in done.out
    assert "the run follows its forecasts" in done.out
    rest = pd.read_csv("rest.csv")
    assert rest.step.iloc[-1] == 16000
    assert (rest.low < rest.loss).all()
    assert (rest.loss < rest.high).all()
    assert json.loads(Path("rest.csv.meta.json").read_text())["schema"] == "scaling-lab/forecast/1"
    assert Path("rest.svg").read_text().startswith("<svg")
    found = lab("forecast", "running.csv", "--schedule", PLAN, "--law", "annealing", "--json").json
    assert found["schema"] == "scaling-lab/forecast/1"
    assert found["laws"] == {"annealing": pytest.approx(1.0)}
    assert found["end"]["interval"][0] < found["end"]["value"] < found["end"]["interval"][1]
    assert found["left"] is None
    assert found["points"][-1]["step"] == 16000


def test_a_fit_of_other_runs_helps(lab) -> None:  # noqa: F811
    for name in ("running.csv", "loss_curves.csv"):
        shutil.copy(EXAMPLES / name, name)
    assert lab("fit", "multi-power", "loss_curves.csv", "--warmup-steps", "400", "--out", "fit.json").code == 0
    with_fit = lab("forecast", "running.csv", "--schedule", PLAN, "--fit", "fit.json", "--json").json
    assert with_fit["known"] == "the fit of multi-power to 3 other runs"
    wrong = lab("forecast", "running.csv", "--schedule", PLAN, "--fit", "fit.json", "--law", "annealing")
    assert wrong.code == 2
    assert "leave --law out" in wrong.err


def test_a_run_that_leaves_ends_with_4_where_asked(lab) -> None:  # noqa: F811
    frame = planted()
    frame.loc[frame.step > 4400, "loss"] += 0.02
    until(frame, 5600).to_csv("run.csv", index=False)
    done = lab("forecast", "run.csv", "--schedule", COSINE, "--fail-on", "run-jumped", "--out", "rest.csv")
    assert done.code == 4
    assert "warning SL332: the loss has jumped" in done.err
    assert Path("rest.csv").exists()
    frame.to_csv("run.csv", index=False)
    followed = lab("forecast", "run.csv", "--schedule", COSINE, "--follow", "--fail-on", "SL332", "--json")
    assert followed.code == 4
    assert json.loads(followed.out)["left"]["kind"] == "jump"


def test_a_finished_file_is_followed_to_its_end_at_once(lab) -> None:  # noqa: F811
    planted().to_csv("run.csv", index=False)
    done = lab("forecast", "run.csv", "--schedule", COSINE, "--follow", "--every", "1h")
    assert done.code == 0
    assert done.out.count("\n") == 1
    assert done.out.startswith("step 8,000 of 8,000  loss ")
    assert done.out.rstrip().endswith("done")


def test_what_is_refused(lab) -> None:  # noqa: F811
    planted().to_csv("run.csv", index=False)
    for arguments, code, said in (
        (("run.csv",), 2, "--schedule"),
        (("-", "--schedule", COSINE, "--follow"), 2, "stdin"),
        (("run.csv", "--schedule", COSINE, "--follow", "--every", "soon"), 2, "write it as 5s"),
        (("run.csv", "--schedule", COSINE, "--at-step", "x"), 2, "is not a number"),
        (("run.csv", "--schedule", COSINE, "--follow", "--at-step", "7000"), 2, "leave it out with --follow"),
        (("run.csv", "--schedule", COSINE, "--plot", "x.gif"), 2, ".svg, .png or .pdf"),
        (("run.csv", "--schedule", COSINE, "--out", "run.csv"), 2, "one of the files that are read"),
        (("run.csv", "--schedule", "cosine:total=4000,lr_max=3e-4,warmup=400"), 1, "line "),
        (("none.csv", "--schedule", COSINE, "--follow"), 1, "no such file"),
    ):
        wrong = lab("forecast", *arguments)
        assert wrong.code == code, (arguments, wrong.err)
        assert said in wrong.err
    assert [seconds(text) for text in ("5s", "0.5", "2min", "1 h", "3m")] == [5, 0.5, 120, 3600, 180]
    for text in ("-1s", "0", "1x", "inf"):
        with pytest.raises(UsageError):
            seconds(text)
    assert [duration(s) for s in (45, 720, 12000, 187200)] == ["45 s", "12 min", "3 h 20 min", "2 d 4 h"]


def test_ctrl_c_says_what_was_last_known(tmp_path: Path) -> None:
    until(planted(), 4000).to_csv(tmp_path / "run.csv", index=False)
    command = [sys.executable, "-m", "scaling_lab", "forecast", "run.csv", "--schedule", COSINE, "--follow",
               "--every", "0.2s", "--out", "rest.csv"]  # fmt: skip
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as running:
        assert running.stdout is not None
        first = running.stdout.readline()
        time.sleep(0.3)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert first.startswith("step 4,000 of 8,000")
    assert running.returncode == 130
    assert "interrupted; last known: step 4,000 of 8,000" in err
    assert (tmp_path / "rest.csv").exists()


def test_the_example_curves_are_what_their_script_makes(tmp_path: Path) -> None:
    runpy.run_path(str(EXAMPLES / "make_curve_tables.py"))["main"](tmp_path)
    made = sorted(tmp_path.glob("*.csv"))
    assert [path.name for path in made] == ["loss_curves.csv", "running.csv"]
    for path in made:
        assert path.read_bytes() == (EXAMPLES / path.name).read_bytes(), path.name
