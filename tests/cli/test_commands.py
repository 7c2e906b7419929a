"""The command line as a script sees it: JSON, exit codes, one clear line for every fault."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling_lab.cli import main
from scaling_lab.quantities import format_quantity
from tests.conftest import chinchilla_table
from tests.laws.worlds import WORLDS


class Done:
    """What a command printed and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> dict:
        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} in JSON")

        return json.loads(self.out, parse_constant=refuse)


@pytest.fixture
def lab(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Runs a command in-process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["scaling-lab", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return Done(int(end.value.code or 0), out, err)

    return run


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "runs.csv"
    chinchilla_table(0.003).to_csv(path, index=False)
    return path


def test_the_whole_line_from_a_table_to_a_report(lab, table: Path, tmp_path: Path) -> None:
    fitted = lab("fit", "chinchilla", table, "--bootstrap", 60, "--out", "fit.json", "--json")
    assert fitted.code == 0
    on_disk = json.loads((tmp_path / "fit.json").read_text())
    assert on_disk["params"] == fitted.json["params"]
    promised = "schema law target params objective starts bootstrap draws metrics inputs rows warnings seed made_by"
    assert set(promised.split()) <= set(on_disk)
    assert on_disk["made_by"]["inputs"]
    assert "runs.csv" in on_disk["made_by"]["command"]
    asked = lab("predict", "fit.json", "--at", "params=7B,tokens=1.4T", "--at", "params=1e9,tokens=2e10", "--json").json
    assert [p["inputs"]["params"] for p in asked["points"]] == [7e9, 1e9]
    assert asked["points"][0]["outside"]["flops"] > 1
    split = lab("allocate", "fit.json", "--flops", "1e23", "--json").json
    assert split["schema"] == "scaling-lab/allocate/1"
    assert 6 * split["params"]["value"] * split["tokens"]["value"] == pytest.approx(1e23)
    scored = lab("backtest", table, "--law", "chinchilla", "--law", "kaplan-nd", "--test-above", "1e21", "--json").json
    assert scored["laws"][0]["mape"] <= scored["laws"][1]["mape"]
    page = lab("report", "fit.json", "--at", "params=7B,tokens=1.4T", "--flops", "1e23", "--out", "page.html")
    assert page.code == 0
    assert "report: page.html" in page.out
    assert (tmp_path / "page.html").read_text().lower().startswith("<!doctype html>")


def test_human_text_goes_to_stdout_and_warnings_to_stderr(lab, table: Path) -> None:
    done = lab("fit", "chinchilla", table, "--bootstrap", 20, "--map", "params=params")
    assert "alpha" in done.out
    assert "note:" not in done.out
    assert "note: params is taken from 'params' as asked" in done.err


def test_isoflop_and_envelope_print_both_methods(lab, data_dir: Path, tmp_path: Path) -> None:
    path = data_dir / "porian_rw" / "isoflop_nonembed_plus_head.csv"
    where = "config_id == 'tuned-short-const'"
    column = ("--params-column", "params_nonembed_plus_head")
    done = lab("isoflop", path, "--where", where, *column, "--plot", "iso.svg")
    assert done.code == 0
    assert "akima" in done.out
    assert "parabola" in done.out
    assert "<svg" in (tmp_path / "iso.svg").read_text()
    assert json.loads((tmp_path / "iso.svg.meta.json").read_text())["made_by"]["inputs"]
    found = lab("isoflop", path, "--where", where, *column, "--json").json
    assert found["params"]["exponent"] == pytest.approx(0.497, abs=1e-3)
    found = lab("envelope", path, "--where", where, *column, "--bootstrap", 20, "--json").json
    assert 0.3 < found["params"]["exponent"] < 0.7


def test_laws_are_listed_and_explained(lab) -> None:
    assert "chinchilla-tied" in lab("laws").out
    one = lab("laws", "chinchilla").out
    for part in ("E + A / params**alpha + B / tokens**beta", "nats/token", "1.69", "2404.10102", "above 0"):
        assert part in one, part
    assert len(lab("laws", "--json").json["laws"]) >= 4


BAD = {
    "no such file": (("fit", "chinchilla", "rusn.csv"), 1, "rusn.csv: no such file; did you mean 'runs.csv'"),
    "no such column": (("fit", "chinchilla", "runs.csv", "--map", "loss=los"), 2, "did you mean 'loss'"),
    "unknown law": (("fit", "chinchila", "runs.csv"), 2, "did you mean 'chinchilla'"),
    "unknown option": (("fit", "chinchilla", "runs.csv", "--bootstrp", "3"), 2, "--bootstrp"),
    "no arguments": (("fit",), 2, "Missing argument 'LAW'"),
    "a number that is none": (("allocate", "fit.json", "--flops", "lots"), 2, "'lots' is not a number"),
    "a point without tokens": (("predict", "fit.json", "--at", "params=7B"), 2, "tokens is missing"),
    "a point that is no assignment": (("predict", "fit.json", "--at", "7B"), 2, "is not NAME=NUMBER"),
    "no points": (("predict", "fit.json"), 2, "--at params=7B,tokens=1.4T or with --table"),
    "no fit": (("predict", "missing.json", "--at", "params=7B,tokens=1T"), 1, "missing.json: no such file"),
    "unwritable out": (("fit", "chinchilla", "runs.csv", "--out", "/proc/nope/fit.json"), 1, "can't be written"),
    "out is a folder": (("fit", "chinchilla", "runs.csv", "--out", "."), 1, "is a folder"),
    "bad condition": (("fit", "chinchilla", "runs.csv", "--where", "tokns > 1"), 2, "did you mean 'tokens'"),
    "empty selection": (("fit", "chinchilla", "runs.csv", "--where", "tokens > 1e30"), 1, "leaves no row of 30"),
    "fixed nonsense": (("fit", "chinchilla", "runs.csv", "--fix", "alfa=1"), 2, "did you mean 'alpha'"),
    "two splits": (
        ("backtest", "runs.csv", "--law", "chinchilla", "--test-above", "1e20", "--test-fraction", ".2"),
        2,
        "both",
    ),
    "unknown method": (("isoflop", "runs.csv", "--method", "cubic"), 2, "no method 'cubic'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_fault_is_one_clear_line(lab, table: Path, case: str) -> None:
    if "fit.json" in BAD[case][0]:
        assert lab("fit", "chinchilla", table, "--bootstrap", 0, "--out", "fit.json").code == 0
    words, code, says = BAD[case]
    done = lab(*words)
    assert done.code == code, done.err
    lines = done.err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert says in lines[0]
    assert done.out == ""
    assert not list(Path().glob(".*"))


def test_fail_on_ends_with_4_after_the_results_are_written(lab, table: Path, tmp_path: Path) -> None:
    fitted = ("fit", "chinchilla", table, "--bootstrap", 0, "--out", "fit.json")
    assert lab(*fitted, "--fail-on", "warning").code == 0
    asked = ("predict", "fit.json", "--at", "params=7B,tokens=1.4T", "--json")
    done = lab(*asked, "--fail-on", "SL405,SL301")
    assert done.code == 4
    assert done.json["points"]
    assert "--fail-on SL405,SL301: SL405 came up" in done.err
    assert lab(*asked, "--fail-on", "SL301").code == 0
    assert lab(*asked, "--fail-on", "warning").code == 4
    assert lab(*asked, "--fail-on", "warnings").code == 2


def test_debug_shows_the_traceback(lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from scaling_lab.errors import BadInput

    monkeypatch.setenv("SCALING_LAB_DEBUG", "")
    monkeypatch.setattr(sys, "argv", ["scaling-lab", "--debug", "fit", "chinchilla", "nope.csv"])
    with pytest.raises(BadInput):
        main()


def test_stdin_is_a_table(tmp_path: Path) -> None:
    text = chinchilla_table().to_csv(index=False)
    command = [sys.executable, "-m", "scaling_lab", "fit", "chinchilla", "-", "--bootstrap", "0", "--json"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["params"]["E"]["value"] == pytest.approx(1.8, abs=1e-6)


# The command in a process of its own that presses Ctrl-C as soon as three blocks of refits are done.
INTERRUPTED = """
import os, signal, sys
from scaling_lab.cli import main
from scaling_lab.engine import bootstrap

refit, blocks = bootstrap._refit, []

def count(*given):
    found = refit(*given)
    blocks.append(found)
    if len(blocks) == 3:
        os.kill(os.getpid(), signal.SIGINT)
    return found

bootstrap._refit = count
main()
"""


def test_ctrl_c_in_a_long_fit_saves_what_is_done(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "fit.json"
    out.write_text("the fit of yesterday")
    words = ["fit", "chinchilla", str(table), "--bootstrap", "2000000", "--out", str(out)]
    command = [sys.executable, "-c", INTERRUPTED, *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=200)
    printed, said = done.stdout, done.stderr
    assert done.returncode == 130, said
    kept = json.loads(out.read_text())["bootstrap"]
    assert kept["interrupted"] is True
    assert f"error: interrupted after {kept['n']} of 2000000 bootstrap refits, which are kept" in said
    assert f"{kept['n']:,} bootstrap refits" in printed
    assert {p.name for p in tmp_path.iterdir()} == {"runs.csv", "fit.json"}


def test_a_reader_that_leaves_is_no_fault(table: Path) -> None:
    command = f"{sys.executable} -m scaling_lab laws chinchilla | head -n 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("chinchilla")


def test_help_starts_quickly_enough_to_be_asked_for() -> None:
    done = subprocess.run([sys.executable, "-m", "scaling_lab", "--help"], capture_output=True, text=True, check=True)
    for command in ("demo", "laws", "fit", "predict", "backtest", "allocate", "isoflop", "envelope", "report", "proxy"):
        assert command in done.stdout


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Runs of one ratio of tokens to params, which a fit is warned of (SL201)."""
    n = np.geomspace(1e7, 1e9, 9)
    ladder = pd.DataFrame({"params": n, "tokens": 20 * n * np.linspace(0.98, 1.02, 9)})
    ladder["loss"] = 1.8 + 400 * ladder.params**-0.34 + 1500 * ladder.tokens**-0.36
    path = tmp_path / "ladder.csv"
    ladder.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("word", ["SL3O1", "", "warning,errors"])
def test_a_condition_is_checked_before_the_work(lab, table: Path, tmp_path: Path, word: str) -> None:
    for words in (
        ("fit", "chinchilla", table, "--out", "fit.json"),
        ("predict", "none.json", "--at", "params=7B,tokens=1T"),
        ("allocate", "none.json", "--flops", "1e22"),
        ("backtest", "none.csv", "--law", "chinchilla"),
    ):
        done = lab(*words, "--fail-on", word)
        assert done.code == 2
        assert "is neither warning, error nor a code such as SL301" in done.err
        assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "fit.json").exists()


def test_what_a_fit_was_warned_of_is_said_with_all_that_is_made_from_it(lab, few: Path) -> None:
    fitted = lab("fit", "chinchilla", few, "--bootstrap", 10, "--out", "fit.json")
    assert "warning SL201: " in fitted.err
    for words in (
        ("predict", "fit.json", "--at", "params=7B,tokens=1.4T"),
        ("allocate", "fit.json", "--flops", "1e22"),
        ("report", "fit.json"),
    ):
        assert "warning SL201: " in lab(*words).err
    assert lab("predict", "fit.json", "--at", "params=7B,tokens=1.4T", "--fail-on", "SL201").code == 4


def test_a_backtest_says_what_its_fits_were_warned_of(lab, few: Path) -> None:
    done = lab("backtest", few, "--law", "chinchilla", "--bootstrap", 10, "--map", "loss=loss")
    assert "warning SL201: chinchilla: " in done.err
    assert "note: loss is taken from 'loss' as asked" in done.err


def test_a_report_says_what_its_allocation_is_warned_of(lab, table: Path) -> None:
    lab("fit", "chinchilla", table, "--bootstrap", 0, "--out", "fit.json")
    done = lab("report", "fit.json", "--flops", "1e26", "--at", "params=7B,tokens=1.4T")
    assert [line.split(":")[0] for line in done.err.splitlines()].count("warning SL405") == 1
    assert "warning SL401" in done.err
    done = lab("report", "fit.json", "--flops", "0", "--out", "none.html")
    assert done.code == 2
    assert "--flops 0 is not a number above zero" in done.err


def test_points_of_a_table_are_mapped_and_selected(lab, table: Path) -> None:
    lab("fit", "chinchilla", table, "--starts", 144, "--bootstrap", 20, "--out", "fit.json")
    Path("points.csv").write_text("millions,seen\n1000,2e10\n2000,4e10\n,4e10\n")
    words = ("predict", "fit.json", "--table", "points.csv", "--map", "params=millions * 1e6", "--map", "tokens=seen")
    bad = lab(*words)
    assert bad.code == 1
    assert "points.csv, line 4, column params: nan is not a number above zero; mend the point, or select" in bad.err
    found = lab(*words, "--where", "millions > 1500", "--json").json
    assert [point["inputs"] for point in found["points"]] == [{"params": 2e9, "tokens": 4e10}]
    want = lab("predict", "fit.json", "--at", "params=2B,tokens=40B", "--json").json
    assert found["points"][0]["value"] == want["points"][0]["value"]
    for option in (("--map", "tokens=seen"), ("--where", "tokens > 1")):
        done = lab("predict", "fit.json", "--at", "params=2B,tokens=40B", *option)
        assert done.code == 2
        assert "--map and --where are about the curves of --partial, or about --table" in done.err


def test_a_report_s_split_holds_what_is_given_as_allocate_s_does(lab, tmp_path: Path) -> None:
    WORLDS["moe-granularity"].table(noise=0.002).to_csv("fine.csv", index=False)
    lab("fit", "moe-granularity", "fine.csv", "--starts", 144, "--bootstrap", 20, "--out", "fine.json")
    held = ("--flops", "1e21", "--given", "granularity=4")
    split = lab("allocate", "fine.json", *held, "--json").json
    assert lab("report", "fine.json", *held, "--out", "held.html").code == 0
    page = Path("held.html").read_text()
    assert "best split of 1e21 FLOP, with granularity = 4" in page
    assert format_quantity(split["params"]["value"]) in page
    assert lab("report", "fine.json", "--flops", "1e21", "--out", "open.html").code == 0
    free = lab("allocate", "fine.json", "--flops", "1e21", "--json").json["further"]["granularity"]["value"]
    assert f'granularity</th><td class="n">{format_quantity(free)}<' in Path("open.html").read_text()
    for words, says in (
        (("--given", "granularity=4"), "give --flops too"),
        (("--unique-tokens", "1e9"), "give --flops too"),
        (("--test-above", "1e20"), "give --backtest TABLE too"),
        (("--where", "params > 1"), "give --backtest TABLE too"),
        (("--level", "7"), "--level 7 is not between 0 and 1"),
        (("--flops", "1e21", "--given", "sparsity=.5"), "the further inputs of moe-granularity are granularity"),
    ):
        done = lab("report", "fine.json", *words, "--out", "none.html")
        assert (done.code, Path("none.html").exists()) == (2, False)
        assert says in done.err


def test_no_result_overwrites_what_it_is_made_from(lab, table: Path, tmp_path: Path) -> None:
    lab("fit", "chinchilla", table, "--bootstrap", 0, "--out", "fit.json")
    for words in (
        ("fit", "chinchilla", "runs.csv", "--out", f"../{tmp_path.name}/runs.csv"),
        ("report", "fit.json", "--out", "fit.json"),
        ("isoflop", "runs.csv", "--plot", "runs.csv"),
    ):
        before = (tmp_path / words[-1]).read_bytes()
        done = lab(*words)
        assert done.code == 2
        assert "is one of the files that are read; choose another path" in done.err
        assert (tmp_path / words[-1]).read_bytes() == before


def test_a_law_named_twice_is_scored_once_and_all_is_all(lab, table: Path) -> None:
    words = ("backtest", table, "--bootstrap", 0, "--starts", 64, "--json")
    once = lab(*words, "--law", "hestness", "--law", "hestness-tokens", "--law", "hestness").json
    assert [row["law"] for row in once["laws"]] == ["hestness"]
    every = lab(*words, "--law", "chinchilla", "--law", "all").json
    assert len(every["laws"]) + len(every["failed"]) > 3


@pytest.mark.parametrize("text", ["abc", ",", "", "1e18,,1e19"])
def test_budgets_that_are_no_numbers_are_refused_in_one_line(lab, table: Path, text: str) -> None:
    done = lab("isoflop", table, "--budgets", text)
    assert done.code == 2
    assert done.err.strip().splitlines() == [
        f"error: --budgets {text!r} is not a list of numbers, as in --budgets 6e18,1e19"
    ]


def test_an_envelope_without_resamples_prints_no_interval(lab, tmp_path: Path) -> None:
    n, d = (v.ravel() for v in np.meshgrid(np.geomspace(1e7, 3e9, 8), np.geomspace(2e8, 3e11, 40)))
    loss = 1.8 + 400 * n**-0.34 + 1500 * d**-0.36
    pd.DataFrame({"run_id": n, "params": n, "tokens": d, "loss": loss}).to_csv(tmp_path / "curves.csv", index=False)
    found = lab("envelope", "curves.csv", "--bootstrap", 0, "--json").json
    assert found["params"]["ci"] is None
    assert lab("envelope", "curves.csv", "--bootstrap", "-5").code == 2
    assert lab("envelope", "curves.csv", "--points", "0").code == 2


def test_what_a_first_time_user_stumbles_over(lab, table: Path, tmp_path: Path) -> None:
    runs = chinchilla_table(0.003)
    spaced = runs.rename(columns={"params": "Model Size", "tokens": "Tokens-Seen", "loss": "Val Loss"})
    spaced.to_csv("spaced.csv", index=False)
    assert lab("fit", "chinchilla", "spaced.csv", "--bootstrap", 0).code == 0
    assert lab("fit", "chinchilla", table, "--bootstrap", 100, "--out", "fit.json").code == 0
    runs.assign(size=runs.params / 1e6).drop(columns="params").to_csv("millions.csv", index=False)
    made = ("--map", "params=size*1e6", "--out", "page.html")
    assert lab("report", "fit.json", "--backtest", "millions.csv", *made).code == 0
    assert "did you mean 'params'" in lab("predict", "fit.json", "--at", "parms=7B,tokens=1T").err
    assert "is not a FIT.json" in lab("predict", table, "--at", "params=7B,tokens=1T").err
    every = lab("backtest", table, "--bootstrap", 20, "--starts", 200, "--json").json
    assert {"chinchilla", "hestness-flops"} <= {law["law"] for law in every["laws"]}


def test_sizes_in_millions_and_perplexities_are_remarked_on(lab) -> None:
    runs = chinchilla_table(0.003)
    runs.assign(params=runs.params / 1e6).to_csv("millions.csv", index=False)
    done = lab("fit", "chinchilla", "millions.csv", "--bootstrap", 0)
    assert "SL103" in done.err
    assert "--map params='params*1e6'" in done.err
    runs.assign(loss=runs.loss * 6).to_csv("large.csv", index=False)
    assert "SL105" in lab("fit", "chinchilla", "large.csv", "--bootstrap", 0).err


def test_texts_that_no_terminal_or_file_can_hold(lab, table: Path, tmp_path: Path) -> None:
    """A file name that is not UTF-8, and a column name that would move the terminal."""
    odd = tmp_path / "runs-\udcff.csv"
    odd.write_bytes(table.read_bytes())
    assert lab("fit", "chinchilla", odd, "--bootstrap", 0, "--starts", 16, "--out", "fit.json").code == 0
    assert lab("predict", "fit.json", "--at", "params=1e8,tokens=1e10", "--json").code == 0
    named = list(json.loads((tmp_path / "fit.json").read_text())["made_by"]["inputs"])
    assert named == [str(odd)]
    done = lab("fit", "chinchilla", table, "--map", "loss=\x1b[31m(\ufeff")
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.err.rstrip("\n").isprintable()
    done = lab("fit", "chinchilla", table, "--map", f"loss={'x' * 5000}")
    assert len(done.err) < 1000
    assert done.err.startswith("error: --map loss=xxx")
    assert done.err.rstrip().endswith("known: loss, params, run_id, tokens")
