"""Sweeps: order and records, kill and signals, the lock, the corpus, failures, status, tables, and the command line."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="the trainer needs torch: pip install 'scaling-lab[proxy]'")

from scaling_lab.cli.proxy import app
from scaling_lab.errors import BadInput, FinishedWithFailures, LabError, MissingExtra, Stopped
from scaling_lab.proxy.cost import estimate_cost
from scaling_lab.proxy.export import CURVE_COLUMNS, RUN_COLUMNS, export_sweep
from scaling_lab.proxy.folder import FAILURE, LOCK, RECORD, lock_folder, status_json
from scaling_lab.proxy.plan import Sweep, read_sweep
from scaling_lab.proxy.sweep import Watcher, run_sweep


def records(sweep: Sweep) -> dict[str, Any]:
    found = {}
    for plan in sweep.plans:
        path = sweep.out / plan.run_id / RECORD
        if path.exists():
            found[plan.run_id] = {key: part for key, part in json.loads(path.read_text()).items() if key != "made_by"}
    return found


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def start(sweep: Sweep, **more: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "scaling_lab", "proxy", "run", str(sweep.file), "--out", str(sweep.out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, f"ended early: {process.communicate()}"
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_a_sweep_finishes_and_running_it_again_trains_nothing(write_sweep: Callable[..., Path], tmp_path: Path) -> None:
    sweep = read_sweep(write_sweep(), out=tmp_path / "out")
    trained: list[tuple[str, bool]] = []
    watcher = Watcher(finished=lambda plan, record, new: trained.append((plan.run_id, new)))
    run_sweep(sweep, watcher=watcher)
    assert trained == [(plan.run_id, True) for plan in sweep.plans]
    first = records(sweep)
    trained.clear()
    run_sweep(sweep, watcher=watcher)
    assert trained == [(plan.run_id, False) for plan in sweep.plans]
    assert records(sweep) == first
    assert len(first) == 4


def test_runs_of_one_data_seed_start_from_the_same_tokens(write_sweep: Callable[..., Path], tmp_path: Path) -> None:
    """A shorter run sees the start of a longer one's stream, so the first held-out point differs by schedule alone."""
    sweep = read_sweep(write_sweep(more="", tokens="[640, 1280]"), out=tmp_path / "out")
    assert {plan.data_seed for plan in sweep.plans} == {0}
    assert {plan.seed for plan in read_sweep(write_sweep(more="seeds = [0, 5]")).plans} == {0, 5}


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_or_stopped_in_the_middle_resumes_to_the_same_numbers(
    write_sweep: Callable[..., Path], tmp_path: Path, kill: signal.Signals
) -> None:
    file = write_sweep(tokens="[12800]", checkpoint_seconds=0.0)
    whole, broken = read_sweep(file, out=tmp_path / "whole"), read_sweep(file, out=tmp_path / "broken")
    process = start(broken)
    second = broken.out / broken.plans[1].run_id
    wait_for((second / "checkpoint.pt").exists, process)
    process.send_signal(kill)
    out, err = process.communicate(timeout=60)
    assert not (second / RECORD).exists()
    if kill == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 75
        assert err.startswith("error: stopped in run")
        assert err.rstrip().endswith("the same command resumes")
        assert err.count("\n") == 1
        assert "1 of 2 runs done" in out
    assert status_json(broken)["runs"] == {
        "total": 2, "done": 1, "running": 0, "failed": 0, "waiting": 1, "diverged": 0
    }  # fmt: skip
    assert 0 < status_json(broken)["flops"]["spent"] < broken.flops
    run_sweep(broken)
    run_sweep(whole)
    assert records(broken) == records(whole)
    assert [path.name for path in second.iterdir()] == [RECORD]


def test_a_second_process_is_refused_while_the_first_lives(write_sweep: Callable[..., Path], tmp_path: Path) -> None:
    sweep = read_sweep(write_sweep(tokens="['2M']"), out=tmp_path / "out")
    process = start(sweep)
    try:
        wait_for(lambda: status_json(sweep)["runs"]["running"] == 1, process)
        with pytest.raises(BadInput, match=rf"another process \(pid {process.pid} on .*\) trains this sweep"):
            run_sweep(sweep)
    finally:
        process.kill()
        process.communicate()
    assert (sweep.out / LOCK).exists()  # left behind by the kill, held by nobody
    with lock_folder(sweep.out):
        pass
    assert status_json(sweep)["runs"]["running"] == 0


def test_a_look_at_the_status_does_not_keep_a_trainer_out(tmp_path: Path) -> None:
    (tmp_path / LOCK).touch()
    looker = os.open(tmp_path / LOCK, os.O_RDONLY)
    fcntl.flock(looker, fcntl.LOCK_SH)
    with pytest.raises(BadInput, match="unknown pid"), lock_folder(tmp_path):
        pass
    os.close(looker)
    with lock_folder(tmp_path):
        pass


def test_another_corpus_is_refused(write_sweep: Callable[..., Path], tmp_path: Path) -> None:
    sweep = read_sweep(write_sweep(), out=tmp_path / "out")
    run_sweep(sweep)
    (tmp_path / "corpus" / "file00.txt").write_text("something else")
    with pytest.raises(BadInput, match=r"were trained on corpus corpus [0-9a-f]{12} \(Python .*use that Python"):
        run_sweep(sweep)
    run_sweep(read_sweep(sweep.file, out=tmp_path / "elsewhere"))


def test_a_failed_run_does_not_stop_the_sweep_and_is_tried_again(
    write_sweep: Callable[..., Path], tmp_path: Path
) -> None:
    sweep = read_sweep(write_sweep(more="[[run]]\nwidth = 8\ndepth = 1\nheads = 2\ntokens = 640\nseed = 1\n"
                                        "validation_sequences = 100000"), out=tmp_path / "out")  # fmt: skip
    sweep = Sweep(**{**vars(sweep), "plans": sweep.plans[-1:] + sweep.plans[:-1]})
    with pytest.raises(FinishedWithFailures, match=r"1 of 5 runs failed \(.*\); .*run again") as caught:
        run_sweep(sweep)
    assert caught.value.exit_code == 5
    status = status_json(sweep)
    assert (status["runs"]["done"], status["runs"]["failed"]) == (4, 1)
    assert "fewer than validation_sequences" in status["each"][0]["reason"]
    assert "Traceback" in json.loads((sweep.out / sweep.plans[0].run_id / FAILURE).read_text())["traceback"]
    with pytest.raises(FinishedWithFailures):
        run_sweep(sweep)


def test_a_diverged_run_counts_as_done_and_has_a_row(write_sweep: Callable[..., Path], tmp_path: Path) -> None:
    more = "[[run]]\nwidth = 8\ndepth = 1\nheads = 2\ntokens = 640\nlr = 1e30\ngrad_clip = 1e30\nwarmup = 0"
    sweep = read_sweep(write_sweep(more=more), out=tmp_path / "out")
    run_sweep(sweep)
    assert status_json(sweep)["runs"] == {
        "total": 5, "done": 5, "running": 0, "failed": 0, "waiting": 0, "diverged": 1
    }  # fmt: skip
    export_sweep(sweep, tmp_path / "runs.csv", tmp_path / "curves.csv")
    rows = read_csv(tmp_path / "runs.csv")
    assert [(row["status"], row["loss"] == "") for row in rows] == [("done", False)] * 4 + [("diverged", True)]


def test_tables_have_the_canonical_columns(write_sweep: Callable[..., Path], tmp_path: Path) -> None:
    sweep = read_sweep(write_sweep(more="role = 'held-out'"), out=tmp_path / "out")
    with pytest.raises(BadInput, match=r"no run has finished; scaling-lab proxy run"):
        export_sweep(sweep, tmp_path / "runs.csv", tmp_path / "curves.csv")
    run_sweep(sweep)
    shutil.rmtree(sweep.out / sweep.plans[3].run_id)
    written = export_sweep(sweep, tmp_path / "t" / "runs.csv", tmp_path / "t" / "curves.csv")
    assert written.unfinished == (sweep.plans[3].run_id,)
    rows = read_csv(tmp_path / "t" / "runs.csv")
    points = read_csv(tmp_path / "t" / "curves.csv")
    assert tuple(rows[0]) == RUN_COLUMNS
    assert tuple(points[0]) == CURVE_COLUMNS
    assert (len(rows), len(points)) == (written.runs, written.points)
    for row, plan in zip(rows, sweep.plans, strict=False):
        assert row["run_id"] == plan.run_id
        assert int(row["params"]) == int(row["params_nonembed"]) + int(row["params_vocab"])
        assert int(row["flops"]) == 6 * int(row["params"]) * int(row["tokens"])
        last = [point for point in points if point["run_id"] == plan.run_id][-1]
        assert (last["loss"], last["tokens"]) == (row["loss"], row["tokens"])
        assert (row["role"], row["status"], row["vocab_size"], row["seq_len"]) == ("held-out", "done", "256", "16")
        assert float(row["lr_max"]) == plan.lr
    meta = json.loads((tmp_path / "t" / "runs.csv.meta.json").read_text())
    assert (meta["schema"], meta["flops_convention"], meta["rows"]) == ("scaling-lab/runs/1", "6nd", 3)
    assert set(meta["made_by"]["inputs"]) == {"sweep", "corpus"}


def test_cost_takes_the_rate_of_finished_runs(write_sweep: Callable[..., Path], tmp_path: Path) -> None:
    sweep = read_sweep(write_sweep(), out=tmp_path / "out")
    assert not estimate_cost(sweep).measured
    run_sweep(sweep)
    cost = estimate_cost(sweep)
    assert cost.measured
    found = cost.to_json()
    assert found["flops"] == pytest.approx(sum(run["flops"] for run in found["runs"]))
    assert len(list(cost.table())) == 1 + 4 + 1


def test_torch_missing_is_one_line(
    write_sweep: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "scaling_lab.proxy.train")
    monkeypatch.setitem(sys.modules, "torch", None)
    sweep = read_sweep(write_sweep(), out=tmp_path / "out")
    with pytest.raises(
        MissingExtra, match=r"needs torch, which is not installed; run: pip install 'scaling-lab\[proxy\]'"
    ):
        run_sweep(sweep)


def test_a_folder_that_cant_be_written_is_one_line(write_sweep: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInput, match="folder can't be written"):
        run_sweep(read_sweep(write_sweep(), out=tmp_path / "file" / "out"))


def test_stopped_between_signals_has_exit_code_75() -> None:
    assert Stopped("x").exit_code == 75


def test_command_line(write_sweep: Callable[..., Path], tmp_path: Path) -> None:
    file, out = str(write_sweep()), ["--out", str(tmp_path / "out")]
    runner = CliRunner()

    def call(*arguments: str) -> str:
        done = runner.invoke(app, [*arguments], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    planned = json.loads(call("plan", file, *out, "--json"))
    assert (planned["schema"], len(planned["runs"])) == ("scaling-lab/sweep-plan/1", 4)
    assert "4 runs" in call("plan", file, *out)
    before = json.loads(call("status", file, *out, "--json"))
    assert before["schema"] == "scaling-lab/sweep/1"
    assert before["runs"]["waiting"] == 4
    assert before["flops"] == {"planned": planned["flops"], "spent": 0}
    said = call("run", file, *out)
    assert said.count(" loss ") == 4
    assert "4 of 4 runs done" in said
    after = json.loads(call("run", file, *out, "--json"))
    assert after["runs"]["done"] == 4
    assert after["flops"]["spent"] == after["flops"]["planned"]
    assert call("status", file, *out).count("done") == 5
    tables = ["--runs", str(tmp_path / "r.csv"), "--curves", str(tmp_path / "c.csv")]
    assert json.loads(call("export", file, *out, *tables, "--json"))["runs"] == 4
    assert "4 runs" in call("export", file, *out, *tables)


def test_command_line_faults_are_lab_errors(write_sweep: Callable[..., Path], tmp_path: Path) -> None:
    for arguments in (["plan", "missing.toml"], ["status", "missing.toml"], ["run", "missing.toml"]):
        done = CliRunner().invoke(app, arguments)
        assert isinstance(done.exception, LabError)
    done = CliRunner().invoke(app, ["run", str(write_sweep()), "--out", str(tmp_path / "o"), "--device", "tpu"])
    assert isinstance(done.exception, BadInput)


def test_half_a_file_that_a_kill_left_is_cleared_away(write_sweep: Callable[..., Path], tmp_path: Path) -> None:
    sweep = read_sweep(write_sweep(tokens="[3200]"), out=tmp_path / "out")
    folder = sweep.out / sweep.plans[0].run_id
    folder.mkdir(parents=True)
    (folder / ".checkpoint.pt.abc123").write_bytes(b"half")
    run_sweep(sweep)
    assert [path.name for path in folder.iterdir()] == [RECORD]
