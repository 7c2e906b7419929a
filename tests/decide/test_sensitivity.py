"""The decision's sensitivity: what moves the published answer, planted outliers, refits that agree with plain fits."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling_lab import sensitivity
from scaling_lab.cli import main
from scaling_lab.decide import leave_out
from scaling_lab.decide.allocate import allocate, best_split
from scaling_lab.decide.sensitivity import Sensitivity
from scaling_lab.engine.fit import fit
from scaling_lab.errors import LabError, UsageError
from scaling_lab.laws import get_law
from scaling_lab.show import plot, terminal
from tests.conftest import TRUTH, chinchilla_table

GOPHER = 5.76e23
KINDS = {"objective", "solver", "flops", "low compute", "high loss", "run", "put back", "form", "rungs", "count"}


def ratio(choice) -> float:
    assert choice.decision.tokens_per_param is not None
    return choice.decision.tokens_per_param


def named(found: Sensitivity, name: str):
    (choice,) = [c for c in (*found.choices, *found.faulty) if c.name == name]
    return choice


@pytest.fixture(scope="module")
def noisy() -> pd.DataFrame:
    """Thirty runs, one of which (run7) ended 6 % too high, with compute of its own and two counts of parameters."""
    frame = chinchilla_table(0.003)
    frame.loc[7, "loss"] *= 1.06
    frame["params_nonembed"] = frame.params * (1 - 0.9 * (frame.params / 1e7) ** -0.3)
    frame["flops"] = 4 * frame.params**1.02 * frame.tokens
    return frame


@pytest.fixture(scope="module")
def found(noisy: pd.DataFrame) -> Sensitivity:
    return sensitivity("chinchilla", noisy, objective="l2", where="run_id != 'run29'", flops=1e23, starts=400)


@pytest.mark.data
def test_the_five_excluded_points_alone_move_the_published_answer(data_dir: Path) -> None:
    points = data_dir / "epoch_chinchilla" / "points.csv"
    seen: list[tuple[str, int, int]] = []
    found = sensitivity(
        "chinchilla",
        points,
        where="excluded_by_epoch == 0",
        flops=GOPHER,
        progress=lambda task, done, total: seen.append((task, done, total)),
    )
    assert ratio(found.base) == pytest.approx(17.9, abs=0.05)
    worst = found.choices[0]
    assert (worst.kind, worst.rows) == ("put back", 245)
    assert worst.name == "with the 5 rows that --where left out"
    assert ratio(worst) == pytest.approx(6.8, abs=0.05)
    assert worst.decision.loss == pytest.approx(2.0102, abs=1e-4)
    # None of the five does it alone, and no other of the 240 moves it by as much as an eighth.
    alone = [c for c in found.choices if c.kind == "put back" and c.rows == 241]
    assert len(alone) == 5
    assert min(map(ratio, alone)) > 13
    runs = [c for c in found.choices if c.kind == "run"]
    assert len(runs) == 240
    assert 15.5 < min(map(ratio, runs)) < max(map(ratio, runs)) < 20
    assert ratio(named(found, "mean over the rows, not the sum; solver run to its end")) == pytest.approx(
        ratio(found.base), rel=1e-5
    )
    (early,) = found.faulty
    assert abs(np.log(ratio(early) / ratio(found.base))) > 0.5
    assert not found.failed
    assert seen[-1][1] == seen[-1][2]


@pytest.mark.data
def test_the_same_points_are_found_from_the_full_table(data_dir: Path) -> None:
    found = sensitivity("chinchilla", data_dir / "epoch_chinchilla" / "points.csv", flops=GOPHER)
    assert ratio(found.base) == pytest.approx(6.8, abs=0.05)
    high = [named(found, f"without the {k} rows of highest loss") for k in (2, 3, 4, 5)]
    assert ratio(high[-1]) == pytest.approx(17.9, abs=0.05)
    assert all(a < b for a, b in zip(map(ratio, high), map(ratio, high[1:]), strict=False))
    assert not [c for c in found.choices if c.kind == "put back"]


def test_a_planted_outlier_tops_the_runs(found: Sensitivity) -> None:
    runs = [c for c in found.choices if c.kind == "run"]
    assert runs[0].name == "without run run7"
    assert len(runs) == 29
    # What it hides is the truth that the table was made with.
    truth, _, _ = best_split(get_law("chinchilla"), {k: np.array([[v]]) for k, v in TRUTH.items()}, np.array([1e23]))
    assert abs(np.log(runs[0].decision.params / truth[0])) < abs(np.log(found.base.decision.params / truth[0]))


def test_every_kind_of_choice_is_made_and_worst_come_first(found: Sensitivity) -> None:
    assert {c.kind for c in found.choices} == KINDS
    far = [abs(np.log(ratio(c) / ratio(found.base))) for c in found.choices]
    assert far == sorted(far, reverse=True)
    low, high = found.range("tokens_per_param")
    assert low == min(map(ratio, (found.base, *found.choices)))
    assert high == max(map(ratio, (found.base, *found.choices)))
    names = [c.name for c in found.choices]
    assert len(names) == len(set(names))


def test_each_choice_is_the_fit_that_its_name_says(found: Sensitivity, noisy: pd.DataFrame) -> None:
    """Independent fits and allocations, with the whole grid of starts."""
    used = noisy[noisy.run_id != "run29"].reset_index(drop=True)
    frames = {
        "without run run7": (used[used.run_id != "run7"], {"objective": "l2"}),
        "without run run0": (used[used.run_id != "run0"], {"objective": "l2"}),
        "with the row that --where left out": (noisy, {"objective": "l2"}),
        "objective Huber of delta 0.001": (used, {"objective": "huber"}),
        "without the 2 rows of lowest compute": (used.drop(used.flops.nsmallest(2).index), {"objective": "l2"}),
        "without the 3 rows (10 %) of highest loss": (None, {}),
        "without the 3 rows of highest loss": (used.drop(used.loss.nlargest(3).index), {"objective": "l2"}),
        "without the smallest 2 sizes (params up to 31.3M)": (used[used.params > 4e7], {"objective": "l2"}),
        "N counted as params_nonembed (not params)": (used.assign(params=used.params_nonembed), {"objective": "l2"}),
    }
    for name, (frame, options) in frames.items():
        if frame is None:
            assert name not in [c.name for c in found.choices]
            continue
        plain = allocate(fit("chinchilla", frame, bootstrap=0, **options), 1e23)
        choice = named(found, name)
        assert choice.rows == len(frame)
        assert choice.decision.params == pytest.approx(plain.params.value, rel=1e-4), name
        assert choice.decision.loss == pytest.approx(plain.loss.value, rel=1e-6), name
    tied = allocate(fit("chinchilla-tied", used, bootstrap=0, objective="l2"), 1e23)
    assert named(found, "law chinchilla-tied: alpha = beta").decision.params == pytest.approx(
        tied.params.value, rel=1e-4
    )


def test_accounted_flops_spend_the_budget_as_the_table_counts_it() -> None:
    frame = chinchilla_table(0.003)
    frame["flops"] = 4.2 * frame.params**1.03 * frame.tokens
    found = sensitivity("chinchilla", frame, flops=1e23, starts=400)
    d = named(found, "compute as column flops counts it, not 6*params*tokens").decision
    assert 4.2 * d.params**1.03 * d.tokens == pytest.approx(1e23, rel=1e-6)
    # The best of the sizes along that budget, by a plain scan of the same law.
    law, values = get_law("chinchilla"), {k: np.array([[v]]) for k, v in found.base.values.items()}
    n = np.geomspace(d.params / 3, d.params * 3, 60_001)
    loss = law.predict({"params": n, "tokens": 1e23 / (4.2 * n**1.03)}, **values)[0]
    assert n[np.argmin(loss)] == pytest.approx(d.params, rel=1e-3)
    assert d.loss == pytest.approx(loss.min(), rel=1e-9)


def test_flops_that_no_price_describes_are_a_failed_choice() -> None:
    frame = chinchilla_table(0.003)
    frame["flops"] = 6 * frame.params * frame.tokens * np.exp(np.random.default_rng(0).normal(0, 0.5, len(frame)))
    found = sensitivity("chinchilla", frame, flops=1e23, starts=144)
    (failed,) = found.failed
    assert failed.kind == "flops"
    assert "no product of powers" in failed.why


def test_what_can_not_be_fitted_is_listed_with_the_reason() -> None:
    """Three sizes: without the smallest, two are left, which can't tell the size's term; without two, five rows."""
    frame = chinchilla_table(0.003)
    frame = frame[frame.params < 2e8]
    found = sensitivity("chinchilla", frame, flops=1e22, starts=144)
    why = {f.name.partition(" (")[0]: f.why for f in found.failed}
    assert "needs at least 6 rows" in why["without the smallest 2 sizes"]
    assert "can't be told" in why["without the smallest size"]
    text = terminal.sensitivity(found)
    for failed in found.failed:
        assert failed.name.partition(" (")[0] in text
    assert "no answer without the smallest 2 sizes" in text
    assert [f["why"] for f in found.to_dict()["failed"]] == [f.why for f in found.failed]


def test_a_batch_of_many_runs_agrees_with_refits_of_each(noisy: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few runs are refitted one by one, many as one batch with a few confirmed: both must say the same."""
    options = {"objective": "l2", "flops": 1e23, "starts": 400}
    one = sensitivity("chinchilla", noisy, **options)
    monkeypatch.setattr(leave_out, "ALL", 0)
    monkeypatch.setattr(leave_out, "CONFIRMED", (1, 1))
    batch = sensitivity("chinchilla", noisy, **options)
    for choice in (c for c in one.choices if c.kind == "run"):
        assert ratio(named(batch, choice.name)) == pytest.approx(ratio(choice), rel=1e-5)


def test_of_many_runs_the_influential_are_left_out(noisy: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leave_out, "MOST_RUNS", 20)
    found = sensitivity("chinchilla", noisy, objective="l2", flops=1e23, starts=400)
    runs = [c for c in found.choices if c.kind == "run"]
    assert len(runs) == 20
    assert runs[0].name == "without run run7"
    assert any("of 30 runs the 20" in note for note in found.notes)


def test_a_law_without_a_split_says_its_loss() -> None:
    frame = chinchilla_table(0.003)
    found = sensitivity("hestness", frame[["run_id", "tokens", "loss"]], starts=144)
    assert dict(found.at) == {"tokens": pytest.approx(10 * frame.tokens.max())}
    assert found.measure == "loss"
    assert found.base.decision.params is None
    assert found.range("params") is None
    plain = fit("hestness", frame, bootstrap=0, starts=144)
    assert found.base.decision.loss == pytest.approx(plain.at({"tokens": np.array([3e12])})[0], rel=1e-6)
    assert found.choices[0].decision.loss in found.range("loss")
    text = terminal.sensitivity(found)
    assert "tokens per parameter" not in text
    assert "D/N" not in text
    with pytest.raises(UsageError, match="splits no --flops"):
        sensitivity("hestness", frame, flops=1e23)


def test_the_default_budget_is_said() -> None:
    frame = chinchilla_table(0.003)
    found = sensitivity("chinchilla-tied", frame, starts=144)
    assert found.at["flops"] == pytest.approx(10 * 6 * 3e9 * 3e11)
    assert found.how == "10 times the largest 6*params*tokens of the table"
    assert found.how in terminal.sensitivity(found)
    assert named(found, "law chinchilla: alpha and beta apart").law == "chinchilla"


def test_rows_that_outnumber_the_used_are_not_put_back() -> None:
    found = sensitivity("chinchilla-tied", chinchilla_table(0.003), where="params > 5e8", starts=144, flops=1e23)
    assert found.base.rows == 10
    assert not [c for c in found.choices if c.kind == "put back"]
    assert any("are not put back" in note for note in found.notes)


def test_a_fit_without_a_best_split_is_an_error() -> None:
    with pytest.raises(LabError, match="no best split"):
        sensitivity("chinchilla", chinchilla_table(0.003), flops=5.0, starts=144)


@pytest.mark.parametrize("flops", [0.0, -1.0, np.inf, np.nan, 1e60])
def test_budgets_that_are_none(flops: float) -> None:
    with pytest.raises(UsageError, match="--flops"):
        sensitivity("chinchilla", chinchilla_table(0.003), flops=flops)


# --------------------------------------------------------------------------------------------------- command and figure


def lab(capsys, monkeypatch, *words: object) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["scaling-lab", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


FIT = ("fit", "chinchilla", "runs.csv", "--bootstrap", 60, "--starts", 400, "--objective", "l2")


@pytest.fixture
def folder(tmp_path: Path, noisy: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> Path:
    noisy.to_csv(tmp_path / "runs.csv", index=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def test_the_command_prints_text_json_and_a_figure(folder: Path, capsys, monkeypatch) -> None:
    # Fifteen runs, put back or not, are enough for the text.
    code, out, _ = lab(capsys, monkeypatch, *FIT, "--where", "params > 1e8", "--flops", "1e23", "--sensitivity")
    assert code == 0
    fitted, _, after = out.partition("sensitivity of the decision at 1e23 FLOP (as asked)")
    assert "alpha" in fitted
    assert "bootstrap's 90 % interval" in after
    lines = [line for line in after.splitlines() if line.startswith(("the fit as asked", "with", "law", "objective"))]
    assert lines[0].startswith("the fit as asked for")
    assert any(line.startswith("without run run") for line in lines)
    where = ("--where", "run_id != 'run29'", "--flops", "1e23")
    code, out, _ = lab(capsys, monkeypatch, *FIT, *where, "--json", "--out", "fit.json", "--sensitivity-plot", "s.svg")
    assert code == 0
    printed = json.loads(out)
    moved = printed["sensitivity"]
    assert moved["schema"] == "scaling-lab/sensitivity/1"
    assert moved["at"] == {"flops": 1e23}
    assert moved["base"]["params"] == pytest.approx(
        moved["choices"][0]["params"] / moved["choices"][0]["change"]["params"]
    )
    ends = moved["interval"]["tokens_per_param"]
    assert ends[0] < moved["base"]["tokens_per_param"] < ends[1]
    outside = [c for c in moved["choices"] if not ends[0] <= c["tokens_per_param"] <= ends[1]]
    assert moved["interval"]["choices_outside"] == len(outside)
    saved = json.loads((folder / "fit.json").read_text())
    assert "sensitivity" not in saved
    assert saved["params"] == printed["params"]
    assert moved["base"]["values"]["alpha"] == pytest.approx(saved["params"]["alpha"]["value"], rel=1e-9)
    assert "<svg" in (folder / "s.svg").read_text()
    assert json.loads((folder / "s.svg.meta.json").read_text())["made_by"]["inputs"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--flops", "1e23"), "--flops is what --sensitivity decides for"),
        (("--sensitivity", "--flops", "lots"), "not a number"),
        (("--sensitivity-plot", "runs.csv"), "is one of the files that are read"),
        (("--sensitivity-plot", "s.jpg"), "saved as .svg, .png or .pdf"),
        (("--sensitivity", "--flops", "1e60"), "up to 1e+40"),
    ],
)
def test_bad_command_lines_end_in_a_line(words: tuple[str, ...], said: str, folder: Path, capsys, monkeypatch) -> None:
    code, out, err = lab(capsys, monkeypatch, *FIT, *words)
    assert (code, out) == (2, "")
    assert said in err
    assert sorted(p.name for p in folder.iterdir()) == ["runs.csv"]


def test_auto_has_no_sensitivity_of_its_own(folder: Path, capsys, monkeypatch) -> None:
    code, _, err = lab(capsys, monkeypatch, "fit", "auto", "runs.csv", "--sensitivity")
    assert code == 2
    assert "refits one law" in err


def test_stdin_is_read_once(folder: Path, capsys, monkeypatch) -> None:
    with (folder / "runs.csv").open() as handle:
        monkeypatch.setattr(sys, "stdin", handle)
        words = ("fit", "hestness", "-", "--bootstrap", 0, "--starts", 100, "--where", "run_id != 'run7'")
        code, out, err = lab(capsys, monkeypatch, *words, "--sensitivity", "--json")
    assert code == 0, err
    assert any(c["kind"] == "put back" for c in json.loads(out)["sensitivity"]["choices"])


def test_the_figure_has_a_bar_for_each_choice_shown(found: Sensitivity, tmp_path: Path) -> None:
    drawing = plot.draw_sensitivity(found)
    (axes,) = drawing.figure.axes
    shown = found.shown()[0][: plot.MOST_BARS]
    bars = [patch for patch in axes.patches if patch.get_height() == pytest.approx(0.62)]
    assert len(bars) == len(shown)
    ends = sorted(patch.get_x() + patch.get_width() for patch in bars)
    assert ends == pytest.approx(sorted(map(ratio, shown)))
    assert plot.sensitivity(found).startswith("<svg")
    for name in ("s.png", "s.pdf"):
        assert plot.save(drawing, tmp_path / name).stat().st_size > 5000
    alone = plot.draw_sensitivity(sensitivity("hestness", chinchilla_table(0.003), starts=144))
    assert "loss (nats/token) at" in alone.figure.axes[0].get_xlabel()
