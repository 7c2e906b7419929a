"""emergence, checkpoints and predict --then on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import chinchilla_table
from tests.decide.test_tasks import counts_table, curves

from .test_commands import lab  # noqa: F401  (a fixture)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    table = chinchilla_table(0.004, 0)
    noise = 0.004 * np.random.default_rng(1).standard_normal(len(table))
    table.assign(error=0.85 - 2.1 * np.exp(-0.75 * table.loss) + noise).to_csv(folder / "runs.csv", index=False)
    return folder


def test_predict_goes_through_two_fits(lab, runs: Path) -> None:  # noqa: F811
    first, second = str(runs / "loss.json"), str(runs / "error.json")
    assert lab("fit", "chinchilla", str(runs / "runs.csv"), "--bootstrap", "60", "--out", first).code == 0
    fitted = lab("fit", "err-loss", str(runs / "runs.csv"), "--objective", "l2", "--bootstrap", "60", "--out", second)
    assert fitted.code == 0
    at = ("--at", "params=7B,tokens=1.4T")
    point = lab("predict", first, "--then", second, *at, "--json").json["points"][0]
    assert point["target"] == "error"
    assert point["via"]["target"] == "loss"
    assert point["interval"][0] < point["value"] < point["interval"][1]
    alone = lab("predict", second, "--at", f"loss={point['via']['value']}", "--json").json["points"][0]
    assert alone["value"] == pytest.approx(point["value"])
    assert alone["interval"][1] - alone["interval"][0] < point["interval"][1] - point["interval"][0]
    text = lab("predict", first, "--then", second, *at)
    assert "were the loss exact" in text.out
    assert "beyond the data" in text.out
    assert lab("predict", first, "--then", second, *at, "--fail-on", "SL435").code == 4


def test_options_of_two_steps_that_do_not_go_together(lab, runs: Path) -> None:  # noqa: F811
    first, second = str(runs / "loss.json"), str(runs / "error.json")
    if not Path(first).exists():
        lab("fit", "chinchilla", str(runs / "runs.csv"), "--bootstrap", "0", "--out", first)
        lab("fit", "err-loss", str(runs / "runs.csv"), "--bootstrap", "0", "--out", second)
    at = ("--at", "params=7B,tokens=1.4T")
    assert "give --then" in lab("predict", first, *at, "--feeds", "bpb").err
    both = lab("predict", first, "--then", second, *at, "--partial", str(runs / "runs.csv"))
    assert both.code == 2
    assert "give one of the two" in both.err
    wrong = lab("predict", second, "--then", first, "--at", "loss=3")
    assert wrong.code == 2
    assert "takes params, tokens" in wrong.err
    missing = lab("predict", first, "--then", str(runs / "none.json"), *at)
    assert missing.code == 1
    assert "no such file" in missing.err


def test_emergence_in_text_json_and_picture(lab, tmp_path: Path) -> None:  # noqa: F811
    table = str(tmp_path / "scores.csv")
    counts_table({"steady": 0.0, "late": -0.2}).to_csv(table, index=False)
    picture = tmp_path / "scores.svg"
    text = lab("emergence", table, "--fixed-draws", "--plot", str(picture))
    assert text.code == 0
    assert "accelerated emergence" in " ".join(text.out.split())
    assert "SL437" in text.err
    assert "<svg" in picture.read_text()
    assert (tmp_path / "scores.svg.meta.json").exists()
    found = lab("emergence", table, "--fixed-draws", "--json").json
    assert found["schema"] == "scaling-lab/emergence/1"
    assert [task["curvature"]["verdict"] for task in found["tasks"]] == ["line", "concave"]
    assert lab("emergence", table, "--fixed-draws", "--fail-on", "censored-pass-rates").code == 4


def test_emergence_of_accuracies_has_metrics_and_no_test(lab, tmp_path: Path) -> None:  # noqa: F811
    table = str(tmp_path / "scores.csv")
    pd.DataFrame({"params": np.geomspace(1e8, 1e10, 6), "acc": [25, 26, 25, 27, 40, 70]}).to_csv(table, index=False)
    percent = lab("emergence", table)
    assert percent.code == 1
    assert "in percent? give --map accuracy='acc / 100'" in percent.err
    text = lab("emergence", table, "--map", "accuracy=acc / 100", "--chance", "0.25", "--plot", str(tmp_path / "a.png"))
    assert text.code == 0
    assert "no test: a guess is right" in " ".join(text.out.split())
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    refused = lab("emergence", table, "--plot", table)
    assert refused.code == 2


def test_counts_that_can_t_be_are_named_by_their_line(lab, tmp_path: Path) -> None:  # noqa: F811
    table = tmp_path / "answers.csv"
    for line in ("4e8,100,101", "4e8,100,1.5", "4e8,0,0"):
        table.write_text(f"params,draws,successes\n1e8,100,3\n2e8,100,5\n{line}\n")
        done = lab("emergence", str(table))
        assert done.code == 1
        assert f"{table}, line 4: " in done.err
        assert "is no count; give whole numbers" in done.err
    table.write_text("params,draws,successes\n1e8,100,3\n2e8,100,5\n")
    few = lab("emergence", str(table))
    assert "2 usable rows, but a curve of scores needs at least 3 rows" in few.err
    assert "--fix" not in few.err


def test_checkpoints_are_written_with_what_was_done(lab, tmp_path: Path) -> None:  # noqa: F811
    source, out = str(tmp_path / "curves.csv"), tmp_path / "ready.csv"
    curves().to_csv(source, index=False)
    done = lab("checkpoints", source, "--columns", "bpb,accuracy", "--out", str(out))
    assert done.code == 0
    assert "3 of 27 rows left out" in done.out
    assert len(pd.read_csv(out)) == 24
    assert '"moving_average": 5' in (tmp_path / "ready.csv.meta.json").read_text()
    last = lab("checkpoints", source, "--columns", "bpb", "--final", "5", "--out", str(out), "--json").json
    assert last["rows"] == 2
    assert last["mean_of_last"] == 5
    missing = lab("checkpoints", source, "--columns", "nothing", "--out", str(out))
    assert missing.code == 1
    assert f"{source}: no column 'nothing'" in missing.err
    assert lab("checkpoints", source, "--columns", "bpb", "--out", str(tmp_path / "ready.parquet")).code == 0
    assert len(pd.read_parquet(tmp_path / "ready.parquet")) == 24
    assert lab("checkpoints", source, "--columns", "bpb", "--out", str(tmp_path / "ready.xlsx")).code == 2
    assert lab("checkpoints", source, "--columns", "bpb", "--out", source).code == 2
