"""noise, cbs, trajectory and retention on the command line, on the tables of examples/."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import ROOT

from .test_commands import lab  # noqa: F401  (a fixture)

EXAMPLES = ROOT / "examples"


def example(name: str) -> str:
    return str(EXAMPLES / f"{name}.csv")


def test_cbs_prints_a_row_for_each_loss_and_writes_a_table_for_fit(lab, tmp_path: Path) -> None:  # noqa: F811
    out, plot = tmp_path / "cbs.csv", tmp_path / "cbs.svg"
    done = lab("cbs", example("reached"), "--out", str(out), "--plot", str(plot))
    assert done.code == 0
    assert "B_star" in done.out
    assert "SL475" in done.err
    assert plot.read_text().startswith("<svg")
    assert Path(f"{plot}.meta.json").exists()
    table = pd.read_csv(out)
    assert list(table.columns) == ["loss", "critical_batch_tokens"]
    fitted = lab("fit", "bcrit-loss", str(out), "--objective", "l2", "--bootstrap", "0", "--json").json
    # examples/make_batch_tables.py plants 1.8e8 and .21, with 4 % of noise on the steps.
    assert fitted["params"]["alpha_B"]["value"] == pytest.approx(0.21, rel=0.06)
    assert fitted["params"]["B_star"]["value"] == pytest.approx(1.8e8, rel=0.3)
    printed = lab("cbs", example("reached"), "--json").json
    assert printed["schema"] == "scaling-lab/cbs/1"
    assert [level["status"] for level in printed["levels"]] == ["used"] * 4
    low, high = printed["levels"][0]["batch"]["ci"]
    assert low < 1.8e8 * 4.0 ** (-1 / 0.21) < high


def test_cbs_by_other_methods(lab) -> None:  # noqa: F811
    over = lab("cbs", example("reached"), "--linear-from", "32768", "--overhead", "0.2", "--json").json
    for level in over["levels"]:
        assert level["overhead"]["value"] == pytest.approx(1.2 * 32768 + 0.2 * level["batch"]["value"])
    assert "fewest tokens" in lab("cbs", example("reached"), "--method", "optimum").out
    branched = lab("cbs", example("branches"), "--method", "branched")
    assert branched.code == 0
    assert "SL479" in branched.err
    assert lab("cbs", example("branches"), "--method", "branched", "--fail-on", "SL479").code == 4
    wrong = lab("cbs", example("branches"), "--method", "branched", "--levels", "3")
    assert wrong.code == 2
    curves = lab("cbs", example("small_runs"), "--where", "params_nonembed == 3e6", "--levels", "6,5.5,5", "--json")
    assert curves.json["rows"]["dropped"]["in the warm-up"] == 12
    assert "SL476" in curves.err
    assert "is not a list of numbers" in lab("cbs", example("reached"), "--levels", "a,b").err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--method", "branched", "--linear-from", "131072"), "--linear-from is of the other methods"),
        (("--method", "branched", "--level", "0.5", "--huber", "0.1"), "--huber, --level are of the other methods"),
        (("--tolerance", "0.1", "--start-batch", "1M"), "--tolerance, --start-batch are of --method branched"),
        (("--overhead", "0.5"), "--overhead is of --linear-from"),
    ],
)
def test_cbs_refuses_options_that_its_method_does_not_heed(lab, options, says: str) -> None:  # noqa: F811
    table = example("branches" if "branched" in options else "reached")
    done = lab("cbs", table, *options)
    assert done.code == 2
    assert says in done.err


def test_noise_prints_parts_and_draws(lab, tmp_path: Path) -> None:  # noqa: F811
    plot = tmp_path / "noise.png"
    sizes = ("--small-batch", "16", "--big-batch", "512")
    done = lab("noise", example("gradients"), *sizes, "--plot", str(plot))
    assert done.code == 0
    assert "SL475" in done.err
    assert plot.stat().st_size > 10_000
    found = lab("noise", example("gradients"), *sizes, "--json").json
    assert found["schema"] == "scaling-lab/noise/1"
    first = found["parts"][0]
    # The script's mean |G|^2 over steps 10 to 800 is 1.2 * mean(1 / (1 + s / 500)), its noise 900.
    truth = 900 / (1.2 * sum(1 / (1 + s / 500) for s in range(10, 801, 10)) / 80)
    assert first["scale"]["ci"][0] < truth < first["scale"]["ci"][1]
    same = lab("noise", example("gradients"), "--small-batch", "512", "--big-batch", "512")
    assert same.code == 2
    assert "not smaller than --big-batch" in same.err


def test_trajectory_estimates_and_then_predicts(lab, tmp_path: Path) -> None:  # noqa: F811
    fit, plot = tmp_path / "fit.json", tmp_path / "trajectory.svg"
    made = lab("trajectory", "--estimate", example("small_runs"), "--out", str(fit))
    assert made.code == 0
    assert "alpha_N" in made.out
    assert "20 (in the warm-up)" in made.out
    asked = ("--params", "200M", "--batch", "1M", "--target-loss", "3")
    done = lab("trajectory", str(fit), *asked, "--plot", str(plot))
    assert done.code == 0
    assert "times the least steps" in done.out
    assert plot.exists()
    found = lab("trajectory", str(fit), *asked, "--json").json
    assert found["schema"] == "scaling-lab/trajectory/1"
    goal = found["goal"]
    assert goal["min_steps"]["ci"][0] < goal["min_steps"]["value"] < goal["min_steps"]["ci"][1]
    # Planted: (1.2e14 / N)**.075.
    assert found["min_loss"]["ci"][0] < (1.2e14 / 2e8) ** 0.075 < found["min_loss"]["ci"][1]
    again = lab("trajectory", "--estimate", example("small_runs"), "--method", "recipe", "--json").json
    assert again["schema"] == "scaling-lab/trajectory-fit/1"
    assert again["method"] == "recipe"


def test_trajectory_by_published_constants_and_wrong_questions(lab, tmp_path: Path) -> None:  # noqa: F811
    paper = ("trajectory", "--published", "kaplan2020")
    done = lab(*paper, "--params", "1B", "--batch", "524288", "--steps", "250000", "--json")
    assert done.json["moments"][0]["loss"]["value"] == pytest.approx(2.45460, abs=1e-5)
    assert lab(*paper, "--params", "1B").code == 2
    assert lab("trajectory", "--params", "1B", "--batch", "1M").code == 2
    assert "never reaches" in lab(*paper, "--params", "1M", "--batch", "1M", "--target-loss", "2").err
    assert lab(*paper, "--params", "1M", "--batch", "1M", "--target-loss", "2").code == 1
    unheeded = lab(*paper, "--params", "1B", "--batch", "1M", "--out", "x.json", "--method", "joint", "--seed", "1")
    assert unheeded.code == 2
    assert "--out, --method, --seed are of --estimate" in unheeded.err
    early = (*paper, "--params", "1B", "--batch", "524288", "--unique-tokens", "1B")
    assert "stop no earlier than after" in " ".join(lab(*early).out.split())
    assert lab(*early, "--json").json["early_stop"]["unique_tokens"] == 1e9
    mixed = lab("trajectory", "--estimate", example("small_runs"), "--params", "1B")
    assert mixed.code == 2
    missing = lab("trajectory", str(tmp_path / "none.json"), "--params", "1B", "--batch", "1M")
    assert missing.code == 1
    assert "no such file" in missing.err


def test_retention_prints_gains_and_the_curve_and_writes_points_for_fit(lab, tmp_path: Path) -> None:  # noqa: F811
    out, plot = tmp_path / "left.csv", tmp_path / "left.svg"
    done = lab("retention", example("probes"), "--out", str(out), "--plot", str(plot))
    assert done.code == 0
    assert "share lost for each tenfold time" in done.out
    assert plot.exists()
    found = lab("retention", example("probes"), "--json").json
    assert found["params"]["a"]["ci"][0] < 0.17 < found["params"]["a"]["ci"][1]
    assert len(found["effectivity"]) == 3
    fitted = lab("fit", "retention", str(out), "--objective", "l2", "--bootstrap", "0", "--json").json
    assert fitted["params"]["a"]["value"] == pytest.approx(found["params"]["a"]["value"], rel=1e-5)
