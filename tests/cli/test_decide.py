"""compare and allocate from the command line."""

from __future__ import annotations

import runpy
from pathlib import Path

import pandas as pd

from tests.cli.test_commands import lab  # noqa: F401  (a fixture)
from tests.conftest import chinchilla_table
from tests.decide.test_compare import ONE, OTHER, runs


def fits(lab) -> None:  # noqa: F811
    for name, law, seed in (("a", ONE, 0), ("b", OTHER, 1)):
        runs(law, 0.002, seed).to_csv(f"{name}.csv", index=False)
        lab("fit", "hestness-flops", f"{name}.csv", "--starts", 144, "--bootstrap", 60, "--out", f"{name}.json")


def test_compare_prints_multipliers_and_the_crossing(lab) -> None:  # noqa: F811
    fits(lab)
    text = lab("compare", "a.json", "b.json", "--plot", "c.svg").out
    assert "they cross at 3." in text
    assert "A is ahead below, B above" in text
    assert Path("c.svg").read_text().startswith("<svg")
    assert Path("c.svg.meta.json").exists()
    found = lab("compare", "a.json", "b.json", "--flops", "1e18..1e20", "--at", "flops=1e19", "--json").json
    assert found["schema"] == "scaling-lab/compare/1"
    assert found["better"] == "A"
    assert found["multipliers"][0]["multiplier"]["value"] > 1
    for flops, said in (("1e20", "is not LOW..HIGH"), ("1e22..1e20", "is no range")):
        wrong = lab("compare", "a.json", "b.json", "--flops", flops)
        assert wrong.code == 2
        assert said in wrong.err


def test_allocate_holds_further_inputs_and_shows_rules(lab) -> None:  # noqa: F811
    chinchilla_table().to_csv("t.csv", index=False)
    lab("fit", "chinchilla", "t.csv", "--starts", 144, "--bootstrap", 0, "--out", "t.json")
    assert "20 tokens per parameter (Chinchilla)" in lab("allocate", "t.json", "--flops", "1e21", "--rules").out
    assert "rule of thumb" not in lab("allocate", "t.json", "--flops", "1e21").out
    faults = {"sparsity=0.5": "the further inputs of chinchilla are none", "x": "is not NAME=NUMBER"}
    for given, said in faults.items():
        wrong = lab("allocate", "t.json", "--flops", "1e21", "--given", given)
        assert wrong.code == 2
        assert said in wrong.err
    frame = pd.read_csv("t.csv").assign(loss=2.5)
    frame.to_csv("flat.csv", index=False)
    lab("fit", "chinchilla-tied", "flat.csv", "--starts", 144, "--bootstrap", 0, "--out", "flat.json")
    refused = lab("allocate", "flat.json", "--flops", "1e21")
    assert refused.code == 1
    assert "have one loss, 2.5" in refused.err


def test_the_example_tables_are_what_their_script_makes(tmp_path: Path) -> None:
    examples = Path(__file__).resolve().parents[2] / "examples"
    runpy.run_path(str(examples / "make_decision_tables.py"))["main"](tmp_path)
    made = sorted(tmp_path.glob("*.csv"))
    assert len(made) == 6
    for path in made:
        assert path.read_bytes() == (examples / path.name).read_bytes(), path.name
