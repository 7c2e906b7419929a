"""A law of one's own from a Python file: fitted, predicted, allocated and reported like any other."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from scaling_lab.cli import main
from scaling_lab.errors import BadInput, UsageError
from scaling_lab.files import sha256_file
from scaling_lab.laws import LAWS
from scaling_lab.laws.own import law_file

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FILE = EXAMPLES / "my_law.py"
GOOD = FILE.read_text()


@pytest.fixture(autouse=True)
def catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry as it was, after each test."""
    before = dict(LAWS)
    yield
    LAWS.clear()
    LAWS.update(before)


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["scaling-lab", *argv])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_one_file_gets_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    own, saved, table = ("--law-file", f"{FILE}:MY_LAW"), str(tmp_path / "fit.json"), str(EXAMPLES / "runs.csv")
    asked = ("fit", "floor-1.75", table, "--out", saved, "--bootstrap", "30", "--starts", "64", *own)
    assert run(monkeypatch, capsys, *asked)[0] == 0
    found = json.loads(Path(saved).read_text())
    assert found["law"] == "floor-1.75"
    assert found["made_by"]["inputs"][str(FILE)] == sha256_file(FILE)
    code, out, _ = run(monkeypatch, capsys, "predict", saved, "--at", "params=7B,tokens=140B", "--json", *own)
    assert code == 0
    assert 1.75 < json.loads(out)["points"][0]["value"] < 3
    for command in (
        ("allocate", saved, "--flops", "1e23"),
        ("laws", "floor-1.75"),
        ("backtest", table, "--law", "floor-1.75", "--bootstrap", "20", "--starts", "64"),
        ("report", saved, "--out", str(tmp_path / "report.html")),
    ):
        code, out, err = run(monkeypatch, capsys, *command, *own)
        assert code == 0, err
        assert "floor-1.75" in out or (tmp_path / "report.html").exists()


def test_a_fit_without_its_law_file_says_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    saved = tmp_path / "fit.json"
    asked = ("fit", "floor-1.75", str(EXAMPLES / "runs.csv"), "--out", str(saved), "--bootstrap", "0", "--starts", "64")
    assert run(monkeypatch, capsys, *asked, "--law-file", str(FILE))[0] == 0
    del LAWS["floor-1.75"]
    code, out, err = run(monkeypatch, capsys, "predict", str(saved), "--at", "params=7B,tokens=140B")
    assert (code, out) == (1, "")
    assert (
        "is a fit of the law 'floor-1.75', which the catalogue has not; give the file it is in with --law-file" in err
    )


USAGE = {
    "no such file": ("absent.py:MY_LAW", "no file"),
    "no such name": (f"{FILE}:MY_LOW", "has no MY_LOW; did you mean 'MY_LAW'?"),
    "no law": (f"{FILE}:Param", "Param is no Law but a type"),
}


@pytest.mark.parametrize("case", USAGE)
def test_a_wrong_place_is_told(case: str) -> None:
    spec, says = USAGE[case]
    with pytest.raises(UsageError, match=says.replace("?", r"\?")):
        law_file(spec)


FAULTS = {
    "not Python": (GOOD.replace("def chin", "deff chin"), "is not Python", "line 6"),
    "an error": (
        GOOD + "\n1 / 0\n",
        "fails with ZeroDivisionError: division by zero",
        f"line {GOOD.count(chr(10)) + 2}",
    ),
    "a formula of something else": (GOOD.replace('formula="1.75', 'formula="1.57'), "is not what predict computes", ""),
    "a formula of a name it has not": (
        GOOD.replace("A / params**alpha", "A / N**alpha"),
        "name 'N' is not defined",
        "",
    ),
    "a parameter predict does not know": (GOOD.replace('Param("beta"', 'Param("gamma"'), "fails with TypeError", ""),
    "a start range upside down": (GOOD.replace("(1e0, 1e5)", "(1e5, 1e0)"), "from a lower to a higher", ""),
    "a start range out of bounds": (GOOD.replace("(1e0, 1e5)", "(-1.0, 1e5)"), "is not inside its bounds", ""),
    "a name with @": (GOOD.replace("floor-1.75", "floor@1.75"), "needs a name without @", ""),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_faulty_law_is_told_in_one_line(case: str, tmp_path: Path) -> None:
    text, says, line = FAULTS[case]
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        law_file(f"{path}:MY_LAW")
    assert str(caught.value).startswith(str(path))
    assert says in str(caught.value)
    assert line in str(caught.value)


def test_a_name_that_is_taken_is_refused_and_the_same_file_may_come_again(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(GOOD.replace("floor-1.75", "chinchilla"))
    with pytest.raises(UsageError, match="has a law 'chinchilla' already"):
        law_file(str(path))
    assert [law.name for law in law_file(str(FILE))] == ["floor-1.75"]
    assert law_file(str(FILE))[0] is LAWS["floor-1.75"]
