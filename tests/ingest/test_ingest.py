"""Logs as runs leave them: resumed, split, cut short, diverged, out of order; one table of runs and one of curves."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from scaling_lab.cli.ingest import ingest as command
from scaling_lab.errors import BadInput, LabError, UsageError
from scaling_lab.files import sha256_file
from scaling_lab.ingest import Ingested, ingest
from scaling_lab.ingest.log import Options
from scaling_lab.ingest.paths import distinct_names, expand
from scaling_lab.tables import read_table, rows_for

Write = Callable[..., Path]


def curve(steps: Mapping[int, float], lr: float | None = None, batch: int = 1000) -> str:
    """A log of losses by step, with tokens."""
    rows = [f"{s},{s * batch},{loss}" + (f",{lr}" if lr is not None else "") for s, loss in steps.items()]
    return "step,tokens,loss" + (",lr" if lr is not None else "") + "\n" + "\n".join(rows) + "\n"


FALLING = {10: 5.0, 20: 4.0, 30: 3.5, 40: 3.25}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A function that writes a file below the test's folder and returns its path."""

    def write_file(content: str | bytes, name: str = "run.csv") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


def only(found: Ingested) -> dict[str, Any]:
    """The row of the only run."""
    assert len(found.runs) == 1, found.runs
    return dict(found.runs.iloc[0])


def codes(found: Ingested) -> list[str]:
    """The codes of the issues but for the one that most of these small logs have."""
    return [issue.code for issue in found.issues if issue.code != "no-params"]


# ------------------------------------------------------------------------------------------------------------- formats


def test_one_run_a_file(write: Write) -> None:
    found = ingest([write(curve(FALLING, lr=1e-3), "small.csv")], params=7e6)
    assert only(found) == {
        "run_id": "small",
        "params": 7_000_000,
        "tokens": 40_000,
        "loss": 3.25,
        "step": 40,
        "lr_max": 1e-3,
        "lr_over_max": 1.0,
        "source": found.runs.source[0],
        "status": "unknown",
        "endpoint": "last",
        "points": 4,
        "tokens_from": "logged",
    }
    assert found.curves.columns.tolist() == ["run_id", "step", "tokens", "lr", "loss", "params"]
    assert found.curves.step.tolist() == [10, 20, 30, 40]
    assert found.issues == ()


def test_a_long_table_holds_many_runs(write: Write) -> None:
    """Runs that take turns, as when several write one log."""
    text = "run_id,step,tokens,loss,N\n" + "".join(
        f"{r},{s},{s * 100},{5 - s / 100},{n}\n" for s in (1, 2, 3) for r, n in (("b", "1B"), ("a", "7B"))
    )
    found = ingest([write(text)])
    assert found.runs.run_id.tolist() == ["b", "a"]
    assert found.runs.params.tolist() == [1e9, 7e9]
    assert found.curves.groupby("run_id").step.apply(list).to_dict() == {"a": [1, 2, 3], "b": [1, 2, 3]}
    assert found.notes == ("params is taken from column 'N'",)


@pytest.mark.parametrize("name", ["r.tsv", "r.jsonl", "r.parquet", "r.csv.gz", "r.jsonl.gz"])
def test_every_format_of_table(name: str, write: Write) -> None:
    frame = pd.DataFrame({"_step": [1, 2], "train/tokens": [10, 20], "val/loss": [3.5, 3.25]})
    path = write(b"", name)
    if name.endswith(".parquet"):
        frame.to_parquet(path)
    elif "jsonl" in name:
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False, sep="\t" if name.endswith(".tsv") else ",")
    row = only(ingest([path]))
    assert (row["run_id"], row["tokens"], row["loss"]) == ("r", 20, 3.25)


def test_rows_of_different_keys_are_merged_by_step(write: Write) -> None:
    """Loggers write what was logged together: training rows, and validation rows in between."""
    text = "step,train_loss,val_loss,lr,tokens\n10,5.5,,0.1,100\n20,5.0,,0.1,200\n20,,4.9,,\n30,4.5,,0.05,300\n"
    found = ingest([write(text)])
    assert (only(found)["loss"], only(found)["step"], only(found)["points"]) == (4.9, 20, 1)
    assert found.curves.to_dict("list")["train_loss"] == [5.5, 5.0, 4.5]
    assert found.curves.loss.isna().tolist() == [True, False, True]
    assert codes(found) == []
    lines = [{"step": 10, "loss": 5.5, "t": {"tokens": 100}}, {"step": 10, "val_loss": 4.9}]
    row = only(ingest([write("\n".join(map(json.dumps, lines)), "run.jsonl")], mapping={"tokens": "t/tokens"}))
    assert (row["loss"], row["tokens"]) == (4.9, 100), "loss beside val_loss is the training loss"


def test_loss_beside_an_empty_validation_column_is_the_loss(write: Write) -> None:
    found = ingest([write("step,tokens,loss,val_loss\n1,10,5,\n2,20,4,\n")])
    assert only(found)["loss"] == 4
    assert "train_loss" not in found.curves


def test_map_and_where(write: Write) -> None:
    text = "it,split,nll,size\n1,train,5,7B\n1,val,5.5,7B\n2,train,4,7B\n2,val,4.5,7B\n"
    mapping = {"step": "it", "loss": "nll * 2", "params": "size", "tokens": "it * 512K"}
    row = only(ingest([write(text)], mapping=mapping, where="split == 'val'"))
    assert (row["loss"], row["tokens"], row["params"]) == (9, 1_024_000, 7e9)


def test_where_counts_and_passes_over_files_without_such_rows(write: Write) -> None:
    a, b = write(curve(FALLING), "a.csv"), write(curve({1: 6.0}), "b.csv")
    found = ingest([a, b], where="step >= 20")
    assert found.runs.run_id.tolist() == ["a"]
    assert found.dropped == {"--where": 2}
    assert found.read == 5
    assert codes(found) == ["no-rows"]


def test_shares_and_asked_columns_reach_the_tables(write: Write) -> None:
    text = (
        "step,tokens,loss,w_web,w_code,mmlu,schedule,seed,note\n1,10,5,.75,.25,.3,wsd,3,x\n2,20,4,.75,.25,.4,wsd,3,y\n"
    )
    found = ingest([write(text)], mapping={"accuracy": "mmlu"})
    row = only(found)
    assert (row["w_web"], row["w_code"], row["accuracy"], row["schedule"], row["seed"]) == (0.75, 0.25, 0.4, "wsd", 3)
    assert "columns not taken: note" in found.notes


# ------------------------------------------------------------------------------------------------------------- tokens


@pytest.mark.parametrize(
    ("text", "how", "batch_tokens", "origin"),
    [
        ("step,tokens,loss\n10,5000,3\n", {}, None, "logged"),
        ("step,tokens,loss,batch_tokens,samples,seq_len\n10,5000,3,1,1,1\n", {}, None, "logged"),
        ("step,consumed_samples,loss,seq_len\n10,50,3,100\n", {}, None, "samples*seq_len"),
        ("step,consumed samples,loss\n10,50,3\n", {"seq_len": "100"}, None, "samples*seq_len"),
        ("samples,loss,seq_len\n50,3,100\n", {}, None, "samples*seq_len"),
        ("step,loss,batch_tokens\n10,3,500\n", {}, None, "step*batch_tokens"),
        ("step,loss,batch_tokens\n10,3,500\n", {}, 500.0, "step*batch_tokens"),
        ("step,loss\n10,3\n", {"batch_tokens": "500"}, None, "step*batch_tokens"),
        ("step,loss\n10,3\n", {}, 500.0, "step*--batch-tokens"),
        ("step,loss,batch_sequences,seq_len\n10,3,5,100\n", {}, None, "step*batch_sequences*seq_len"),
    ],
)
def test_tokens(text: str, how: dict[str, str], batch_tokens: float | None, origin: str, write: Write) -> None:
    row = only(ingest([write(text)], mapping=how, batch_tokens=batch_tokens))
    assert (row["tokens"], row["tokens_from"]) == (5000, origin)


def test_tokens_are_never_guessed(write: Write) -> None:
    with pytest.raises(BadInput, match="--batch-tokens"):
        ingest([write("step,loss\n10,3\n")])
    with pytest.raises(BadInput, match=r"line 3: batch_tokens changes within run 'run'.*--map tokens=COLUMN"):
        ingest([write("step,loss,batch_tokens\n10,3,500\n20,2,1000\n")])
    with pytest.raises(UsageError, match="--batch-tokens says 7"):
        ingest([write("step,loss,batch_tokens\n10,3,500\n")], batch_tokens=7)


def test_a_row_without_tokens_takes_the_count_that_all_others_agree_to(write: Write) -> None:
    found = ingest([write("step,tokens,loss,val_loss\n1,200,5,\n2,300,4,\n3,,,3.9\n4,500,3,\n")])
    assert only(found)["tokens"] == 400
    assert codes(found) == ["tokens-filled"]
    uneven = ingest([write("step,tokens,loss,val_loss\n1,200,5,\n2,310,4,\n3,,,3.9\n4,500,3,\n")])
    assert uneven.curves.tokens.isna().tolist() == [False, False, True, False]
    assert only(uneven)["tokens"] == 310, "the last count logged by then"


def test_a_counter_that_starts_anew_is_reported(write: Write) -> None:
    found = ingest([write("step,tokens,loss\n1,100,5\n2,200,4\n3,100,3\n")])
    assert codes(found) == ["tokens-fall"]
    assert found.issues[0].location.endswith("run.csv:4")


# ------------------------------------------------------------------------------------------------- resumes and splits


def test_a_resume_keeps_the_later_row_of_each_step(write: Write) -> None:
    path = write(curve(FALLING) + "20,20000,4.5\n30,30000,3.75\n50,50000,3\n")
    found = ingest([path])
    assert found.curves.step.tolist() == [10, 20, 30, 40, 50]
    assert found.curves.loss.tolist() == [5.0, 4.5, 3.75, 3.25, 3.0]
    assert only(found)["points"] == 5
    [issue] = [i for i in found.issues if i.code == "resume"]
    assert issue.location == f"{path}:6"
    assert issue.severity == "warning"
    assert "goes back from 40 to 20" in issue.message
    assert "2 losses of the same step replaced" in issue.message


@pytest.mark.parametrize("first", [0, 1])
def test_steps_that_begin_again_are_another_run(first: int, write: Write) -> None:
    path = write(curve({0: 9.0, **FALLING}) + curve({first: 9.5, 10: 6.0}).split("\n", 1)[1])
    found = ingest([path])
    assert found.runs.run_id.tolist() == ["run", "run#2"]
    assert found.runs.loss.tolist() == [3.25, 6.0]
    assert found.runs.step.tolist() == [40, 10]
    [issue] = [i for i in found.issues if i.code == "new-run"]
    assert (issue.run_id, issue.location) == ("run#2", f"{path}:7")


def test_a_split_run_may_be_resumed(write: Write) -> None:
    found = ingest([write(curve(FALLING) + "1,1000,9\n20,20000,5\n30,30000,4\n20,20000,4.9\n0,0,9\n5,5000,8\n")])
    assert found.runs.run_id.tolist() == ["run", "run#2", "run#3"]
    assert codes(found) == ["new-run", "new-run", "resume"]
    assert found.curves[found.curves.run_id == "run#2"].loss.tolist() == [9, 4.9, 4]


def test_an_evaluation_before_the_first_step_opens_no_run(write: Write) -> None:
    found = ingest([write("step,tokens,loss,val_loss\n0,0,,9\n0,0,9.1,\n1,10,9,\n0,0,,9\n2,20,8,8.1\n")])
    assert len(found.runs) == 1
    assert codes(found) == ["resume"]


def test_rows_out_of_order_are_no_loss(write: Write) -> None:
    """A logger that flushes its evaluation late goes back, and repeats nothing."""
    found = ingest([write("step,tokens,loss,val_loss\n9,90,5,\n10,100,4,\n9,90,,4.9\n20,200,3,\n19,190,,2.9\n")])
    assert found.curves.step.tolist() == [9, 10, 19, 20]
    [issue] = [i for i in found.issues if i.code == "resume"]
    assert (issue.severity, "and 1 more time:" in issue.message) == ("info", True)


def test_a_step_that_stands_twice(write: Write) -> None:
    found = ingest([write("step,tokens,loss\n1,10,5\n2,20,4\n2,20,3.9\n")])
    assert found.curves.loss.tolist() == [5, 3.9]
    assert codes(found) == ["repeated-step"]


def test_a_run_in_two_files_is_one_run(write: Write) -> None:
    head = "run_id,step,tokens,loss\n"
    a = write(head + "x,10,100,5\nx,20,200,4\n", "log/part-2.csv")
    b = write(head + "x,20,200,4.1\nx,30,300,3\n", "log/part-10.csv")
    found = ingest([a.parent])
    assert only(found)["source"] == f"{a};{b}"
    assert found.curves.loss.tolist() == [5, 4.1, 3]
    again = write(head + "x,10,100,5.5\nx,20,200,4.5\n", "log/part-11.csv")
    found = ingest([a.parent])
    assert found.runs.run_id.tolist() == ["x", "x#2"], "a file that starts where the run did holds another run"
    assert found.runs.source.tolist() == [f"{a};{b};{again}"] * 2


def test_pieces_may_lack_columns(write: Write) -> None:
    a = write("run_id,step,tokens,loss,N\nx,10,100,5,7B\n", "a.csv")
    b = write("run_id,step,loss,lr\nx,20,4,0.1\n", "b.csv")
    found = ingest([a, b])
    assert only(found)["params"] == 7e9
    assert found.curves.tokens.isna().tolist() == [False, True]


def test_several_runs_under_no_name_are_refused(write: Write) -> None:
    """Read as one run that was resumed, each would overwrite the one before."""
    rows = [f"{m},{s},{step},{step * 10},{5 - step / 100}\n" for m, s in ("ax", "bx", "by") for step in (100, 200)]
    path = write("model,schedule,step,tokens,loss\n" + "".join(rows))
    with pytest.raises(
        BadInput, match=r"line 4: steps go back to 100 where model, schedule change.*run_id=model\+schedule"
    ):
        ingest([path])
    found = ingest([path], mapping={"run_id": "model+schedule"})
    assert found.runs.run_id.tolist() == ["a-x", "b-x", "b-y"]
    sizes = write("N,step,tokens,loss\n1e7,1,10,5\n1e8,2,10,4\n")
    with pytest.raises(
        BadInput, match=r"line 3: params changes within run 'run', from 1e\+07 to 1e\+08.*run_id=COLUMN"
    ):
        ingest([sizes])


# ------------------------------------------------------------------------------------------- live and diverged runs


@pytest.mark.parametrize("tail", ["50", "50,5", "50,50000,", "50,50000,3e-", "50,50000,-", '"50', "50,50000\n"])
def test_a_line_cut_short_is_left_out_and_counted(tail: str, write: Write) -> None:
    text = curve(FALLING) + tail
    if tail == "50,50000,":
        text = "step,tokens,loss,lr\n" + "".join(f"{s},{s * 1000},{v},0.1\n" for s, v in FALLING.items()) + tail
    path = write(text)
    found = ingest([path])
    row = only(found)
    assert (row["step"], row["points"], row["status"]) == (40, 4, "running")
    assert found.dropped == {"line cut short": 1}
    assert found.read == 5
    [issue] = [i for i in found.issues if i.code == "cut-line"]
    assert (issue.severity, issue.location) == ("info", f"{path}:6")
    assert found.inputs == {str(path): sha256_file(path)}, "the digest is the file's own"


def test_tokens_cut_in_mid_number_are_seen_by_their_fall(write: Write) -> None:
    path = write("step,loss,tokens\n10,5,10000\n20,4,20000\n30,3,300")
    found = ingest([path])
    assert (only(found)["step"], only(found)["tokens"]) == (20, 20_000)
    assert codes(found) == ["tokens-fall", "cut-line"]


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n\n"])
def test_a_whole_last_line_is_kept(end: str, write: Write) -> None:
    found = ingest([write(curve(FALLING).rstrip("\n") + end)])
    assert only(found)["step"] == 40
    assert codes(found) == []


def test_a_cut_line_of_json(write: Write) -> None:
    text = '{"step": 1, "tokens": 10, "loss": 5}\n{"step": 2, "tokens": 20, "loss": 4}\n{"step": 3, "tok'
    found = ingest([write(text, "run.jsonl")])
    assert (only(found)["step"], only(found)["status"]) == (2, "running")
    with pytest.raises(BadInput, match="line 2: not JSON"):
        ingest([write(text.replace("20,", "20,,"), "run.jsonl")])


def test_a_letter_cut_in_two(write: Write) -> None:
    found = ingest([write("step,tokens,loss,note\n1,10,5,é\n2,20,4,é".encode()[:-1])])
    assert only(found)["step"] == 1


def test_a_run_that_has_only_begun(write: Write) -> None:
    whole = write(curve(FALLING), "logs/a.csv")
    for name, text in (("b", "step,tokens,loss\n"), ("c", ""), ("d", "step,tokens,loss\n10,1")):
        write(text, f"logs/{name}.csv")
    found = ingest([whole.parent])
    assert found.runs.run_id.tolist() == ["a"]
    assert codes(found) == ["no-rows", "no-rows", "cut-line", "no-rows"]
    with pytest.raises(BadInput, match=r"no run in 1 file \(.*the table has no rows"):
        ingest([write("step,tokens,loss\n", "e.csv")])


@pytest.mark.parametrize("lost", ["nan", "NaN", "inf", "-inf", "1e999"])
def test_a_diverged_run_stays_with_an_empty_loss(lost: str, write: Write) -> None:
    path = write(curve(FALLING) + f"50,50000,{lost}\n60,60000,{lost}\n")
    found = ingest([path], endpoint="min", params=1e7)
    row = only(found)
    assert (row["status"], row["step"], row["tokens"], row["points"]) == ("diverged", 60, 60_000, 4)
    assert math.isnan(row["loss"])
    assert found.curves.loss.isna().sum() == 2
    [issue] = found.issues
    assert "2 of 6 values of loss are not finite" in issue.message
    assert issue.location == f"{path}:6"


def test_a_run_that_recovers_has_not_diverged(write: Write) -> None:
    found = ingest([write(curve({10: 5.0, 20: math.nan, 30: 4.0}))])
    assert (only(found)["status"], only(found)["loss"], only(found)["points"]) == ("unknown", 4, 2)
    assert codes(found) == ["nonfinite-loss"]


def test_training_that_diverges_after_the_last_evaluation(write: Write) -> None:
    found = ingest([write("step,tokens,loss,val_loss\n1,10,5,5.5\n2,20,nan,\n")])
    assert only(found)["status"] == "diverged"
    assert codes(found) == ["diverged"]


def test_a_diverged_run_is_counted_by_fit_and_not_used(write: Write, tmp_path: Path) -> None:
    runs = {f"r{i}": {10 * i: 5.0 / i} for i in (1, 2, 3)} | {"bad": {10: math.nan}}
    for name, steps in runs.items():
        write(curve(steps), f"logs/{name}.csv")
    ingest([tmp_path / "logs"], params=1e7).write(tmp_path / "runs.csv")
    rows = rows_for(read_table(tmp_path / "runs.csv"), ("params", "tokens"))
    assert (rows.read, rows.used, dict(rows.dropped)) == (4, 3, {"loss missing": 1})


def test_a_status_that_was_logged_is_kept(write: Write) -> None:
    found = ingest([write("run_id,step,tokens,loss,status\na,1,10,5,\na,2,20,4,finished\nb,1,10,5,crashed\n")])
    assert found.runs.status.tolist() == ["finished", "crashed"]


# ----------------------------------------------------------------------------------------------------------- endpoints


def test_endpoints(write: Write) -> None:
    steps = {10: 5.0, 20: 3.0, 30: 4.0, 40: 3.5}
    text = curve(steps, lr=1e-3).replace("40,40000,3.5,0.001", "40,40000,3.5,0.0001")
    expected = {
        "last": (3.5, 40, 0.1),
        "min": (3.0, 20, 1.0),
        "mean-last-2": (3.75, 40, 0.1),
        "mean-last-4": (3.875, 40, 0.1),
    }
    for endpoint, (loss, step, share) in expected.items():
        row = only(ingest([write(text)], endpoint=endpoint))
        assert (row["loss"], row["step"], row["tokens"], row["endpoint"]) == (loss, step, step * 1000, endpoint)
        assert row["lr_over_max"] == pytest.approx(share)
    found = ingest([write(text)], endpoint="mean-last-5")
    assert math.isnan(only(found)["loss"])
    assert codes(found) == ["few-points"]


@pytest.mark.parametrize(
    "endpoint", ["first", "mean-last-0", "mean-last-", "mean-last--1", "mean-last-2.5", "Last", ""]
)
def test_no_such_endpoint(endpoint: str, write: Write) -> None:
    with pytest.raises(UsageError, match="last, min and mean-last-K"):
        ingest([write(curve(FALLING))], endpoint=endpoint)


def test_counters_are_those_at_the_endpoint(write: Write) -> None:
    text = "step,tokens,loss,flops,epochs,lr_max\n1,10,5,1e20,0.5,2e-3\n2,20,3,2e20,1,2e-3\n3,30,4,3e20,1.5,2e-3\n"
    row = only(ingest([write(text)], endpoint="min"))
    assert (row["flops"], row["epochs"], row["lr_max"]) == (2e20, 1, 2e-3)


# ------------------------------------------------------------------------------------------------------ params and ids


def test_params_are_a_column_or_given_and_never_guessed(write: Write) -> None:
    plain = write(curve(FALLING), "model-7B.csv")
    found = ingest([plain])
    assert "params" not in found.runs
    assert [i.code for i in found.issues] == ["no-params"]
    assert "--params N" in found.issues[0].message
    assert only(ingest([plain], params=7e9))["params"] == 7e9
    logged = write("step,tokens,loss,N\n1,10,5,7B\n")
    assert only(ingest([logged], params=7e9))["params"] == 7e9
    with pytest.raises(UsageError, match=r"logs params 7e\+09, --params says 1e\+09"):
        ingest([logged], params=1e9)
    other = write("step,tokens,loss,params_nonembed\n1,10,5,7B\n", "other.csv")
    assert codes(ingest([other])) == []


def test_names_are_made_unique_by_folder(write: Write, tmp_path: Path) -> None:
    for name in ("x/a/metrics.csv", "x/b/metrics.csv", "x/b/other.csv", "y/b/metrics.csv"):
        write(curve(FALLING), name)
    found = ingest([tmp_path])
    assert found.runs.run_id.tolist() == ["a/metrics", "x/b/metrics", "other", "y/b/metrics"]
    assert distinct_names(["a/m.csv", "a/m.jsonl", "n.csv.gz"]) == {
        "a/m.csv": "a/m.csv",
        "a/m.jsonl": "a/m.jsonl",
        "n.csv.gz": "n",
    }


def test_folders_and_globs(write: Write, tmp_path: Path) -> None:
    for name in ("run-2.csv", "run-10.csv", "deep/er/run-3.csv", ".hidden.csv", "runs.csv.meta.json", "notes.txt"):
        write(curve(FALLING), name)
    write("a,b\n1,2\n", "table.csv")
    found = ingest([tmp_path])
    assert found.runs.run_id.tolist() == ["run-3", "run-2", "run-10"]
    assert codes(found) == ["not-a-log"]
    assert ingest([f"{tmp_path}/run-*.csv", tmp_path / "run-2.csv"]).runs.run_id.tolist() == ["run-2", "run-10"]
    assert ingest([f"{tmp_path}/**/*.csv"]).runs.run_id.tolist()[:1] == ["run-3"]
    assert ingest([tmp_path], exclude=[tmp_path / "deep/er/run-3.csv"]).runs.run_id.tolist() == ["run-2", "run-10"]
    with pytest.raises(BadInput, match="no column of losses"):
        ingest([tmp_path / "table.csv"])
    with pytest.raises(BadInput, match=r"no such file; did you mean .*run-2\.csv"):
        ingest([tmp_path / "run2.csv"])
    with pytest.raises(BadInput, match="no log there"):
        ingest([write("", "empty/x.txt").parent])
    assert only(ingest([write(curve(FALLING), "log.txt")]))["run_id"] == "log", "a file that is asked for is read"


def test_a_file_is_read_once(write: Write) -> None:
    path = write(curve(FALLING))
    assert len(expand([str(path), str(path), str(path.parent)], lambda p: p.suffix == ".csv")) == 1


# -------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("row", "column", "says"),
    [
        ("50,many,3", "tokens", "'many' is not a finite number"),
        ("50,nan,3", "tokens", "'nan' is not a finite number"),
        ("50,50000,x", "loss", "'x' is not a finite number"),
        ("50,50000,0", "loss", "0 is not above zero"),
        ("50,-1,3", "tokens", "-1 is below zero"),
        ("-1,50000,3", "step", "-1 is below zero"),
    ],
)
def test_a_bad_row_is_named_or_counted(row: str, column: str, says: str, write: Write) -> None:
    path = write(curve(FALLING) + row + "\n60,60000,3\n")
    with pytest.raises(BadInput) as caught:
        ingest([path])
    assert (caught.value.file, caught.value.line, caught.value.column) == (str(path), 6, column)
    assert says in str(caught.value)
    found = ingest([path], drop_bad=True)
    assert found.dropped == {f"{column} impossible": 1}
    assert only(found)["points"] == 5
    [issue] = [i for i in found.issues if i.code == "bad-row"]
    assert issue.location == f"{path}:6"


def test_a_row_without_a_step_is_counted(write: Write) -> None:
    found = ingest([write("step,tokens,loss\n1,10,5\n,,4\n2,20,3\n")])
    assert found.dropped == {"step missing": 1}
    assert only(found)["points"] == 2


def test_an_unreadable_file_stops_or_is_counted(write: Write) -> None:
    good = write(curve(FALLING), "logs/a.csv")
    write(b"\x00\x01" * 40, "logs/b.csv")
    write(gzip.compress(curve(FALLING).encode())[:-9], "logs/c.csv.gz")
    with pytest.raises(BadInput, match=r"b\.csv: is binary"):
        ingest([good.parent])
    found = ingest([good.parent], drop_bad=True)
    assert found.dropped == {"file unreadable": 2}
    assert codes(found) == ["unreadable", "unreadable"]
    assert len(found.runs) == 1


def test_what_is_no_log(write: Write) -> None:
    with pytest.raises(BadInput, match=r"no column of losses; it has nll_loss: name it with --map loss=COLUMN"):
        ingest([write("step,tokens,nll_loss\n1,10,5\n")])
    with pytest.raises(
        BadInput, match=r"no column of steps or tokens; it has time, loss: name it with --map step=COLUMN"
    ):
        ingest([write("time,loss\n1,5\n")])


# ------------------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".tsv", ".parquet"])
def test_tables_are_written_with_their_record(ending: str, write: Write, tmp_path: Path) -> None:
    log = write(curve(FALLING, lr=1e-3) + "50,50000,nan,1e-3\n10,10000,5.5,1e-3\n", "r.csv")
    found = ingest([log], params=7e6)
    out, curves = tmp_path / f"out/runs{ending}", tmp_path / f"out/curves{ending}"
    found.write(out, curves)
    first = out.read_bytes()
    found.write(out, curves)
    assert out.read_bytes() == first, "the same table gives the same bytes"
    for path, frame in ((out, found.runs), (curves, found.curves)):
        back = read_table(path)
        assert list(back.frame.columns) == list(frame.columns)
        assert len(back.frame) == len(frame)
    assert rows_for(read_table(curves), ("params", "tokens")).used == 4
    meta = json.loads((tmp_path / f"out/runs{ending}.meta.json").read_text())
    assert meta["schema"] == "scaling-lab/runs/1"
    assert meta["made_by"]["inputs"] == {str(log): sha256_file(log)}
    assert meta["sha256"] == sha256_file(out)
    assert meta["issues"] == {"resume": 1, "diverged": 1}
    assert json.loads((tmp_path / f"out/curves{ending}.meta.json").read_text())["schema"] == "scaling-lab/curves/1"


def test_a_plain_csv_is_what_people_expect(write: Write, tmp_path: Path) -> None:
    ingest([write("step,tokens,loss,lr,N\n0,0,9,0,7B\n1,1400000000000,3.25,1e-3,7B\n")]).write(tmp_path / "o.csv")
    assert (tmp_path / "o.csv").read_text().splitlines() == [
        "run_id,params,tokens,loss,step,lr_max,lr_over_max,source,status,endpoint,points,tokens_from",
        f"run,7000000000,1400000000000,3.25,1,0.001,1.0,{tmp_path}/run.csv,unknown,last,2,logged",
    ]


def test_outputs_are_checked_first(write: Write, tmp_path: Path) -> None:
    found = ingest([write(curve(FALLING))])
    with pytest.raises(UsageError, match=r"one of \.csv"):
        found.write(tmp_path / "runs.xlsx")
    with pytest.raises(UsageError, match="same file"):
        found.write(tmp_path / "a.csv", tmp_path / "a.csv")
    with pytest.raises(BadInput, match="can't be written"):
        found.write("/proc/none/a.csv")
    assert not list(tmp_path.glob("*.meta.json"))


# -------------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A function that runs the command in the test's folder."""
    app = typer.Typer()
    app.command()(command)
    app.command("other")(lambda: None)
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    return lambda *arguments, stdin=None: runner.invoke(app, ["ingest", *map(str, arguments)], input=stdin)


def test_command(run: Callable[..., Any], write: Write, tmp_path: Path) -> None:
    write(curve(FALLING, lr=1e-3), "logs/a.csv")
    write(curve({1: 9.0, 2: math.nan}, lr=1e-3) + "3,3", "logs/b.csv")
    done = run("logs", "--out", "runs.csv", "--curves", "curves.csv.gz", "--params", "7M", "--endpoint", "min")
    assert done.exit_code == 0, done.output
    assert "runs.csv: 2 runs of 2 files (1 unknown, 1 diverged)" in done.stdout
    assert "learning rate at the endpoint: 1 to 1 of its peak" in done.stdout
    assert "rows: 7 read; left out: 1 line cut short" in done.stdout
    assert "warning diverged: b: 1 of 2 values" in done.stderr
    assert pd.read_csv(tmp_path / "runs.csv").params.tolist() == [7e6, 7e6]
    assert len(pd.read_csv(tmp_path / "curves.csv.gz")) == 6


def test_command_json(run: Callable[..., Any], write: Write, tmp_path: Path) -> None:
    write("it,nll\n1,5\n2,4\n", "a.csv")
    asked = ("a.csv", "--out", "runs.parquet", "--map", "loss=nll", "--map", "step=it", "--batch-tokens", "512K")
    done = run(*asked, "--where", "it > 1", "--json")
    found = json.loads(done.stdout)
    assert found["schema"] == "scaling-lab/ingest/1"
    assert (found["runs"], found["points"], found["rows"]) == (1, 1, {"read": 2, "dropped": {"--where": 1}})
    assert found["tokens_from"] == {"step*--batch-tokens": 1}
    assert found["issue_counts"] == {"no-params": 1}
    assert found["issues"][0]["severity"] == "warning"
    assert pd.read_parquet(tmp_path / "runs.parquet").tokens.tolist() == [1_024_000]
    again = run(*asked, "--where", "it > 1", "--json")
    assert again.stdout == done.stdout


def test_command_does_not_read_what_it_wrote(run: Callable[..., Any], write: Write) -> None:
    write(curve(FALLING), "a.csv")
    for _ in range(2):
        done = run(".", "--out", "runs.csv", "--curves", "curves.csv", "--json")
        assert json.loads(done.stdout)["runs"] == 1
    done = run("a.csv", "--out", "a.csv")
    assert isinstance(done.exception, BadInput)


def test_command_reads_stdin(run: Callable[..., Any]) -> None:
    done = run("-", "--out", "runs.csv", "--json", stdin=curve(FALLING))
    assert json.loads(done.stdout)["runs"] == 1
    assert Path("runs.csv").read_text().splitlines()[1].startswith("stdin,")


def test_command_counts_many_issues(run: Callable[..., Any], write: Write) -> None:
    for number in range(25):
        write(curve({1: 9.0, 2: math.nan}), f"logs/{number}.csv")
    done = run("logs", "--out", "runs.csv", "--params", "1e7")
    assert done.stderr.count("warning diverged") == 20
    assert "5 more issues (all: 25 diverged); --json lists them" in done.stderr


def test_a_failed_command_leaves_nothing(run: Callable[..., Any], write: Write, tmp_path: Path) -> None:
    write("step,loss\n1,5\n", "a.csv")
    done = run("a.csv", "--out", "runs.csv", "--curves", "curves.csv")
    assert isinstance(done.exception, BadInput)
    assert "--batch-tokens" in str(done.exception)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv"]
    assert isinstance(run("a.csv", "--out", "runs.txt").exception, UsageError)


# --------------------------------------------------------------------------------------------------------- random logs

LINE = st.tuples(
    st.sampled_from(["0", "1", "2", "5", "9", "10", "", "x", "-3", "1e3"]),
    st.sampled_from(["0", "10", "500", "", "7B", "nan"]),
    st.sampled_from(["3", "2.5", "nan", "inf", "", "0", "y"]),
    st.sampled_from(["", "a", "b", "a,b", '"']),
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(
    lines=st.lists(LINE, max_size=12),
    header=st.sampled_from(
        ["step,tokens,loss,run_id", "step,tokens,val_loss,loss", "N,samples,loss,run_id", "a,b,c,d"]
    ),
    cut=st.integers(0, 6),
    options=st.sampled_from([Options(), Options({"seq_len": "8"}, None, True), Options({}, "step > 1", True)]),
    endpoint=st.sampled_from(["last", "min", "mean-last-2"]),
    batch_tokens=st.sampled_from([None, 100.0]),
)
def test_any_log_is_tables_or_one_fault(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[tuple[str, ...]],
    header: str,
    cut: int,
    options: Options,
    endpoint: str,
    batch_tokens: float | None,
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    text = header + "\n" + "".join(",".join(line) + "\n" for line in lines)
    path.write_text(text[: len(text) - cut])
    try:
        found = ingest(
            [path],
            endpoint=endpoint,
            mapping=options.mapping,
            where=options.where,
            drop_bad=options.drop_bad,
            batch_tokens=batch_tokens,
        )
    except LabError:
        return
    assert found.runs.run_id.is_unique
    assert found.runs.points.sum() == found.curves.loss.notna().sum()
    finite = found.runs.loss.dropna()
    assert np.isfinite(finite.astype(float)).all()
    clock = "step" if "step" in found.curves else "tokens"
    for _, part in found.curves.groupby("run_id"):
        assert part[clock].dropna().is_monotonic_increasing
    json.dumps(found.to_dict(), allow_nan=False)


# ------------------------------------------------------------------------------------------------------- public curves


@pytest.mark.data
def test_public_curves(data_dir: Path) -> None:
    found = ingest(
        [data_dir / "mpl_curves" / "curves.csv"], mapping={"run_id": "model+schedule_name"}, batch_tokens=524_288
    )
    assert (len(found.runs), len(found.curves), found.dropped) == (18, 4162, {})
    shares = found.runs.set_index("run_id").lr_over_max
    assert shares["25M-constant_24000"] == 1
    assert shares["25M-cosine_24000"] == pytest.approx(0.1, rel=1e-3)
    ladder = ingest([data_dir / "olmo_ladder" / "curves.csv.gz"], mapping={"loss": "loss_c4_en"})
    assert (len(ladder.runs), len(ladder.curves)) == (24, 2459)
    final = pd.read_csv(data_dir / "olmo_ladder" / "final.csv").set_index("run_id")
    np.testing.assert_allclose(ladder.runs.set_index("run_id").loss, final.loss_c4_en[ladder.runs.run_id])
