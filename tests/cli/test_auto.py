"""`auto` as a user sees it: what is printed, what is written, and one clear line for what it can't do."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.test_commands import lab, table
from tests.conftest import chinchilla_table

__all__ = ["lab", "table"]

FIT = ("--bootstrap", 120)


@pytest.fixture
def fitted(lab, table: Path) -> dict:
    """The blend of the planted table, in auto.json."""
    done = lab("fit", "auto", table, *FIT, "--out", "auto.json", "--json")
    assert done.code == 0, done.err
    return done.json


def test_a_choice_of_laws_shows_its_members_and_what_they_beat(lab, table: Path) -> None:
    done = lab("fit", "auto", table, *FIT, "--out", "auto.json")
    assert done.code == 0, done.err
    found = json.loads(Path("auto.json").read_text())
    weights = [float(w) for w in re.findall(r"with priors.* (\S+) %$", done.out, flags=re.MULTILINE)]
    assert weights == sorted(weights, reverse=True)
    assert weights == pytest.approx(sorted((100 * m["weight"] for m in found["members"]), reverse=True), abs=0.06)
    for part in (
        "chinchilla~ ",
        "with priors and a discrepancy",
        "plain chinchilla ",
        "power law in compute",
        "last point",
        "a weight is the error to the power -2",
        f"in {found['calibration']['cuts']} inner backtests",
        "interval reaches sqrt(near² + far² + spread²)",
        "error on these rows:",
        "120 draws for the intervals of parameters and of splits of compute",
        "the parameters of every member, with their intervals, are in FIT.json",
        "saved to auto.json",
    ):
        assert part in done.out.replace("\n  ", " "), part
    # The parameters of six fits are no answer to anything.
    assert "chinchilla~.alpha" not in done.out
    assert "held by --fix" not in done.out


def test_fit_json_of_a_choice_carries_the_contract(fitted: dict) -> None:
    assert fitted["law"] == "auto"
    assert sum(m["weight"] for m in fitted["members"]) == pytest.approx(1.0)
    assert {"law", "variant", "weight", "inner_error"} <= set(fitted["members"][0])
    assert set(fitted["baselines"]) == {"plain chinchilla", "power law in compute", "last point"}
    assert fitted["calibration"]["level"] == 0.9


def test_all_that_takes_a_fit_takes_a_choice(lab, fitted: dict) -> None:
    point = lab("predict", "auto.json", "--at", "params=7B,tokens=1.4T", "--json").json["points"][0]
    assert point["interval"][0] < point["value"] < point["interval"][1]
    split = lab("allocate", "auto.json", "--flops", "1e23", "--json").json
    assert split["params"]["ci"][0] < split["params"]["value"] < split["params"]["ci"][1]
    assert 6 * split["params"]["value"] * split["tokens"]["value"] == pytest.approx(1e23)
    least = lab("allocate", "auto.json", "--target-loss", split["loss"]["value"], "--json").json
    assert least["flops"] == pytest.approx(1e23, rel=1e-6)
    assert lab("laws").code == 0


def test_a_report_of_a_choice_has_members_in_the_place_of_parameters(lab, fitted: dict, table: Path) -> None:
    words = ("--at", "params=7B,tokens=1.4T", "--flops", "1e23", "--backtest", table, "--test-above", "1e21")
    assert lab("report", "auto.json", *words, "--out", "page.html").code == 0
    page = re.sub(r"<svg.*?</svg>", "", Path("page.html").read_text(), flags=re.DOTALL)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page)).replace("\u00a0", " ")
    for part in (
        "auto predicts a loss of",
        "auto blends 6 members, of which",
        "The laws it is made of, and their weights",
        "loss = E + A / params**alpha + B / tokens**beta",
        "What a prediction should beat, on the same rows:",
        "A 90 % interval reaches sqrt(near² + far² + spread²) to both sides",
        "120 draws for the intervals of parameters and of splits of compute",
    ):
        assert part in text, part
    assert "standard error" not in text
    assert "Published coefficients" not in text
    heaviest = max(fitted["members"], key=lambda m: m["weight"])
    assert f"{100 * heaviest['weight']:.1f} %" in text


def test_a_backtest_of_a_choice_says_what_it_should_beat(lab, table: Path) -> None:
    split = ("--test-above", "1e21", "--bootstrap", 100, "--starts", 64)
    done = lab("backtest", table, "--law", "auto", "--law", "auto", *split)
    assert done.code == 0, done.err
    assert len(re.findall(r"^auto ", done.out, flags=re.MULTILINE)) == 1
    for name in ("plain chinchilla", "power law in compute", "last point"):
        assert re.search(rf"^{name} +[\d.]+ % +[\d.]+$", done.out, flags=re.MULTILINE), name
    both = lab("backtest", table, "--law", "auto", "--law", "chinchilla", *split)
    assert re.search(r"^auto ", both.out, flags=re.MULTILINE)
    assert re.search(r"^chinchilla ", both.out, flags=re.MULTILINE)
    assert "plain chinchilla" not in both.out
    assert "last point" in both.out
    found = lab("backtest", table, "--law", "auto", "--law", "chinchilla", *split, "--json").json
    assert {row["law"] for row in found["laws"]} == {"auto", "chinchilla"}
    plain, same = (found["baselines"]["plain chinchilla"], next(r for r in found["laws"] if r["law"] == "chinchilla"))
    assert plain["mape"] == pytest.approx(same["mape"], rel=1e-3)


def test_every_law_and_the_choice(lab, table: Path) -> None:
    words = ("backtest", table, "--bootstrap", 0, "--starts", 64, "--test-above", "1e21", "--json")
    every = [row["law"] for row in lab(*words, "--law", "all").json["laws"]]
    assert "auto" not in every
    both = [row["law"] for row in lab(*words, "--law", "auto", "--law", "all").json["laws"]]
    assert sorted(both) == sorted([*every, "auto"])


def test_few_rows_are_one_law_and_a_line(lab, tmp_path: Path) -> None:
    chinchilla_table(0.003).sort_values("tokens").iloc[[0, 2, 4, 6, 9, 11, 20, 28, 29]].to_csv("few.csv", index=False)
    done = lab("fit", "auto", "few.csv", *FIT, "--out", "few.json")
    assert done.code == 0
    assert "chosen by auto: chinchilla-tied alone, fitted plainly" in done.out
    assert re.search(r"^alpha ", done.out, flags=re.MULTILINE)
    assert "warning SL314: 9 rows are too few" in done.err
    assert lab("report", "few.json").code == 0
    assert "chosen by auto: chinchilla-tied alone" in Path("report.html").read_text().replace("Chosen", "chosen")
    assert lab("fit", "auto", "few.csv", *FIT, "--fail-on", "SL314").code == 4


BAD = {
    "no law": (("laws", "auto"), 2, "auto is no law but the choice among chinchilla"),
    "a parameter held": (("fit", "auto", "runs.csv", "--fix", "alpha=0.5"), 2, "--fix holds a parameter of one law"),
    "intervals of parameters": (("fit", "auto", "runs.csv", "--intervals", "profile"), 2, "is of one law's parameters"),
    "another device": (
        ("fit", "auto", "runs.csv", "--device", "cuda"),
        2,
        "--device cuda solves the refits of one law",
    ),
    "rows drawn": (("fit", "auto", "runs.csv", "--resample", "rows"), 2, "--resample rows: auto draws whole runs"),
    "sensitivity": (("fit", "auto", "runs.csv", "--sensitivity"), 2, "--sensitivity refits one law"),
    "one size": (("fit", "auto", "runs.csv", "--where", "params < 1.1e7"), 1, "params"),
    "no columns": (("fit", "auto", "runs.csv", "--map", "loss=none"), 2, "no column 'none'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_fault_is_one_clear_line(lab, table: Path, case: str) -> None:
    words, code, says = BAD[case]
    done = lab(*words)
    assert done.code == code, done.err
    lines = [line for line in done.err.strip().splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert says in lines[0]
    assert done.out == ""


def test_a_damaged_choice_is_one_clear_line(lab, fitted: dict) -> None:
    damaged = dict(fitted, members=fitted["members"][1:])
    Path("auto.json").write_text(json.dumps(damaged))
    for words in (("predict", "auto.json", "--at", "params=7B,tokens=1.4T"), ("report", "auto.json")):
        done = lab(*words)
        assert done.code == 1
        assert done.err.startswith("error: auto.json: the fit is incomplete or damaged (the members' weights add up to")
        assert len(done.err.strip().splitlines()) == 1


JOBS = """
[defaults]
bootstrap = 60
starts = 64
predict = ["params=7B,tokens=1.4T"]
flops = 1e23

[[job]]
name = "alone"
table = "runs.csv"
laws = "auto"

[[job]]
name = "mixed"
table = "runs.csv"
laws = ["auto", "chinchilla", "auto"]

[[job]]
name = "few"
table = "few.csv"
laws = ["auto", "chinchilla-tied"]
backtest = false
"""


def test_jobs_of_a_choice(lab, table: Path) -> None:
    chinchilla_table(0.003).sort_values("tokens").iloc[[0, 2, 4, 6, 9, 11, 20, 28, 29]].to_csv("few.csv", index=False)
    Path("jobs.toml").write_text(JOBS)
    done = lab("batch", "jobs.toml", "--out", "results", "--json")
    assert done.code == 0, done.err
    alone, mixed, few = done.json["jobs"]
    assert [law["law"] for law in alone["laws"]] == ["auto"]
    assert alone["best"] == "auto"
    assert alone["laws"][0]["mape"] < 0.02
    assert sorted(law["law"] for law in mixed["laws"]) == ["auto", "chinchilla"]
    assert [law["law"] for law in few["laws"]] == ["chinchilla-tied"]
    assert "it came to chinchilla-tied" in few["failed_laws"]["auto"]
    for job in (alone, mixed):
        assert json.loads(Path("results", job["files"]["fit-auto"]).read_text())["members"]
        assert Path("results", job["files"]["report"]).exists()
    split = json.loads(Path("results", alone["files"]["allocate"]).read_text())
    assert split["law"] == "auto"


def test_jobs_that_hold_a_parameter_of_a_choice_are_refused_before_any_work(lab, table: Path) -> None:
    Path("jobs.toml").write_text('[[job]]\nname = "a"\ntable = "runs.csv"\nlaws = ["auto"]\nfix = { alpha = 0.5 }\n')
    done = lab("batch", "jobs.toml", "--out", "results")
    assert done.code == 1
    assert "jobs.toml, line 2" in done.err
    assert "--fix holds a parameter of one law" in done.err
    assert not Path("results").exists()
