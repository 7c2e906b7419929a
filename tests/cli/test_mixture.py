"""The `mixture` command: what it prints, its JSON, and the one line of each fault."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scaling_lab.engine.fit import fit
from tests.cli.test_commands import lab  # noqa: F401  (a fixture)
from tests.decide.test_mixture import CODE, PROSE, extra, regression_table, shares_table


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("mixtures")
    for name, params in (("code", CODE), ("prose", PROSE)):
        fit("mixing-exp", shares_table(params), bootstrap=40, starts=200).save(place / f"{name}.json")
    regression_table(60).to_csv(place / "table.csv", index=False)
    return place


def test_it_prints_the_shares_and_the_same_as_json(folder: Path, lab) -> None:  # noqa: F811
    words = ["mixture", str(folder / "code.json"), str(folder / "prose.json"), "--weights", "1,3"]
    done = lab(*words)
    assert done.code == 0, done.err
    assert "best mixture by mixing-exp" in done.out
    done = lab(*[*words, "--json", "--bounds", "code=0.2..0.3"])
    assert done.code == 0, done.err
    found = done.json
    assert found["schema"] == "scaling-lab/mixture/1"
    assert found["weights"] == [0.25, 0.75]
    assert 0.2 <= found["shares"]["w_code"]["value"] <= 0.3
    assert sum(share["value"] for share in found["shares"].values()) == pytest.approx(1.0)


def test_it_draws_what_it_found_and_caps_another_fit(folder: Path, lab) -> None:  # noqa: F811
    plot = folder / "best.svg"
    cap = f"{folder / 'prose.json'}:0.05"
    done = lab(*["mixture", str(folder / "code.json"), "--cap", cap, "--plot", str(plot)])
    assert done.code == 0, done.err
    assert "at most" in done.out
    assert "share of the mixture" in plot.read_text()


@extra
def test_a_regression_names_the_method_it_took(folder: Path, lab) -> None:  # noqa: F811
    words = ["mixture", "--regress", str(folder / "table.csv"), "--method", "ridge", "--simulated", "2000", "--json"]
    done = lab(*words)
    assert done.code == 0, done.err
    found = done.json
    assert found["method"] == "ridge"
    assert set(found["inner_mae"]) == {"ridge"}
    done = lab(*words, "--small", str(folder / "table.csv"))
    assert done.code == 0, done.err
    assert done.json["inner_mae"]["ridge"] != found["inner_mae"]["ridge"]


@pytest.mark.parametrize(
    ("method", "package"),
    [("auto", "lightgbm"), ("trees", "lightgbm"), ("process", "scikit-learn"), ("ridge", "scikit-learn")],
)
def test_without_the_extra_a_regression_says_what_to_install(
    folder: Path,
    method: str,
    package: str,
    lab,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [m for m in sys.modules if m.split(".")[0] in ("sklearn", "lightgbm")]:
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("sklearn", "sklearn.linear_model", "sklearn.gaussian_process", "lightgbm"):
        monkeypatch.setitem(sys.modules, name, None)
    done = lab("mixture", "--regress", str(folder / "table.csv"), "--method", method)
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert f"needs {package}, which is not installed; run: pip install 'scaling-lab[mixture]'" in done.err
    # Laws of mixtures need neither.
    assert lab("mixture", str(folder / "code.json")).code == 0


def test_trees_that_lack_a_system_library_are_one_line(folder: Path, lab, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    class Broken:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "lightgbm":
                raise OSError("libgomp.so.1: cannot open shared object file")

    for name in [m for m in sys.modules if m.split(".")[0] == "lightgbm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    done = lab("mixture", "--regress", str(folder / "table.csv"), "--method", "trees")
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert "libgomp.so.1" in done.err
    assert "--method ridge" in done.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "give FIT.json files of mixture laws, or --regress TABLE"),
        (["code.json", "--bounds", "code=0.3"], "is not NAME=LOW..HIGH"),
        (["code.json", "--cap", "prose.json"], "is not FIT.json:RISE[:LOSS]"),
        (["code.json", "--flops", "1e20"], "are for laws of a ratio"),
        (["code.json", "--weights", "1,2"], "2 weights for 1 fits"),
        (["--regress", "table.csv", "--method", "tree"], "no regression by 'tree'"),
        (["code.json", "--small", "table.csv"], "are for --regress"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_2(folder: Path, words: list[str], says: str, lab) -> None:  # noqa: F811
    here = [str(folder / word) if word.endswith((".json", ".csv")) else word for word in words]
    done = lab("mixture", *here)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert says in done.err
