"""predict --partial as a script sees it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from scaling_lab.cli import main
from tests.engine.test_partial import TARGET, law_of, seen, world

Lab = Callable[..., tuple[int, str, str]]
GIVEN = ("--at", "params=1.2B,tokens=60B", "--partial", "curves.csv", "--map", "loss=val_ce")
AT = f"params={TARGET['params']:g},tokens={TARGET['tokens']:g}"


@pytest.fixture
def lab(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Lab:
    """Runs a command in-process, in a folder with a fit and curves of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    finished, target, _ = world()
    law_of(finished).save("FIT.json")
    pd.concat([finished, seen(target, 0.3)]).rename(columns={"loss": "val_ce"}).to_csv("curves.csv", index=False)

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["scaling-lab", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


def test_the_point_gains_partial_and_its_value_is_the_combined_one(lab: Lab) -> None:
    code, out, _ = lab("predict", "FIT.json", "--at", AT, "--partial", "curves.csv", "--map", "loss=val_ce", "--json")
    assert code == 0
    (point,) = json.loads(out)["points"]
    part = point["partial"]
    assert part["run_id"] == "big"
    assert len(part["finished"]) == 12
    law, run = part["law"], part["run"]
    assert min(law["value"], run["value"]) < point["value"] < max(law["value"], run["value"])
    assert point["interval"][0] < point["value"] < point["interval"][1]
    _, plain, _ = lab("predict", "FIT.json", "--at", AT, "--json")
    assert json.loads(plain)["points"][0]["value"] == law["value"]
    assert "partial" not in json.loads(plain)["points"][0]


def test_the_terminal_shows_law_curve_and_both(lab: Lab) -> None:
    code, out, err = lab("predict", "FIT.json", "--at", AT, "--partial", "curves.csv", "--map", "loss=val_ce")
    assert code == 0
    for words in ("the law", "its own curve", "both", "run 'big' has seen", "12 finished runs"):
        assert words in out
    assert "info SL414" in err


def test_levels_nest(lab: Lab) -> None:
    ends = []
    for level in (0.5, 0.9):
        words = ("--partial", "curves.csv", "--map", "loss=val_ce", "--level", level, "--json")
        ends.append(json.loads(lab("predict", "FIT.json", "--at", AT, *words)[1])["points"][0]["interval"])
    assert ends[1][0] < ends[0][0] < ends[0][1] < ends[1][1]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--at", AT, "--at", AT, "--partial", "curves.csv"), 2, "--partial is about one run"),
        (("--table", "curves.csv", "--partial", "curves.csv"), 2, "--partial is about one run"),
        (("--at", AT, "--partial-run", "big"), 2, "is about the curves of --partial"),
        (("--at", AT, "--where", "tokens > 1"), 2, "are about the curves of --partial"),
        (("--at", AT, "--partial", "nowhere.csv"), 1, "nowhere.csv: no such file"),
        (("--at", AT, "--partial", "curves.csv"), 1, "no column 'loss'"),
        (("--at", "params=1.2B", "--partial", "curves.csv"), 2, "needs a point with params and tokens"),
        ((*GIVEN, "--where", "run_id != 'big'"), 1, "no unfinished run"),
    ],
)  # fmt: skip
def test_faults_are_one_line(lab: Lab, words: tuple[str, ...], code: int, says: str) -> None:
    ended, out, err = lab("predict", "FIT.json", *words)
    assert ended == code
    assert out == ""
    assert says in err
    assert len(err.strip().splitlines()) == 1
