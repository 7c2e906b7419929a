"""explain, and codes by their names in --fail-on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scaling_lab.cli import main
from scaling_lab.engine import diagnostics
from scaling_lab.engine.codes import CODES
from tests.conftest import chinchilla_table

Lab = Callable[..., tuple[int, str, str]]


@pytest.fixture
def lab(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Lab:
    """Runs a command in-process, in a folder of its own; gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["scaling-lab", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


def test_a_code_is_explained_by_its_number_and_by_its_name_in_either_case(lab: Lab) -> None:
    pages = {lab("explain", word)[1] for word in ("SL201", "sl201", "collinear-design", "Collinear-Design")}
    assert len(pages) == 1
    page = pages.pop()
    assert page.startswith("SL201 collinear-design (warning): all runs have about one ratio")
    assert f"below {diagnostics.ONE_RATIO:g}" in page
    for head in ("why it matters", "looked at", "what to do\n  - "):
        assert head in page


def test_several_codes_are_explained_in_the_order_asked_each_once(lab: Lab) -> None:
    _, out, _ = lab("explain", "SL303", "few-sizes", "ill-conditioned")
    heads = [line.split()[0] for line in out.splitlines() if line.startswith("SL")]
    assert heads == ["SL303", "SL202"]


def test_without_a_code_all_are_listed(lab: Lab) -> None:
    code, out, _ = lab("explain")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if line.startswith("SL")] == list(CODES)


@pytest.mark.parametrize(
    ("word", "hint"),
    [("SL2011", "did you mean 'SL201'?"), ("not-braketed", "did you mean 'not-bracketed'?"), ("xyz", "lists them")],
)
def test_an_unknown_code_names_the_nearest(lab: Lab, word: str, hint: str) -> None:
    code, out, err = lab("explain", "SL201", word)
    assert code == 2
    assert out == ""
    assert hint in err
    assert len(err.strip().splitlines()) == 1


def test_json_has_every_field(lab: Lab) -> None:
    found = json.loads(lab("explain", "SL104", "--json")[1])
    assert found["schema"] == "scaling-lab/codes/1"
    (entry,) = found["codes"]
    assert list(entry) == ["code", "severity", "name", "title", "reason", "evidence", "fixes"]
    assert (entry["code"], entry["severity"], entry["name"]) == ("SL104", "warning", "mixed-annealing")
    assert len(json.loads(lab("explain", "--json")[1])["codes"]) == len(CODES)


def test_conditions_may_be_names_and_unknown_codes_are_refused_before_the_work(lab: Lab) -> None:
    runs = chinchilla_table(0.003)
    runs[runs.params < 5e7].to_csv("few.csv", index=False)
    fit = ("fit", "chinchilla", "few.csv", "--bootstrap", 0, "--starts", 100, "--fix", "alpha=0.34")
    assert lab(*fit)[0] == 0
    code, _, err = lab(*fit, "--fail-on", "at-bound,Few-Sizes")
    assert code == 4
    assert "SL202 came up" in err
    assert lab(*fit, "--fail-on", "extrapolation")[0] == 0
    for word, hint in (("SL999", "such as SL301"), ("few-size", "did you mean 'few-sizes'?")):
        code, _, err = lab("fit", "chinchilla", "none.csv", "--fail-on", word)
        assert code == 2
        assert f"--fail-on '{word}' is neither warning, error nor a code" in err
        assert hint in err


def test_the_registry_loads_nothing_heavy() -> None:
    heavy = ("numpy", "pandas", "scipy", "torch", "matplotlib")
    code = f"import sys, scaling_lab.engine.codes; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
