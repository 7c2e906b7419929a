"""Laws of tasks: published curves and predictions, independent solvers, and tables that they can't hold of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import curve_fit, least_squares

from scaling_lab.decide.tasks import checkpoints
from scaling_lab.engine.chain import chain
from scaling_lab.engine.fit import fit
from scaling_lab.errors import BadInput, NotEnoughData
from scaling_lab.laws import LAWS
from scaling_lab.laws.tasks import DIP


def law(name: str, x: dict[str, np.ndarray], **params: float) -> np.ndarray:
    return np.asarray(LAWS[name].predict(x, **params))


# ------------------------------------------------------------------------------------------------------------ goldens


def test_gadre_loss_of_the_printed_optimum() -> None:
    """C4 at N = 6.88941056e9 and 20 tokens a parameter: 2.279898 (arXiv:2403.08540, refit coefficients)."""
    a, b, eta = 141.277272, 189.515549, 0.121236124
    n = np.array([6.88941056e9])
    got = law(
        "chinchilla-tied", {"params": n, "tokens": 20 * n}, E=1.50826063, A=a / 6**eta, B=b / 6**eta, alpha=2 * eta
    )
    assert got == pytest.approx([2.279898], abs=2e-6)


def gadre(data_dir: Path, corpus: str) -> pd.DataFrame:
    frame = pd.read_csv(data_dir / "gadre/models.csv").query(f"train_data == '{corpus}'")
    return frame.rename(columns={"params_total": "params", "loss_c4_val": "loss", "err_avg_17": "error"})


@pytest.mark.data
@pytest.mark.parametrize(
    ("corpus", "want"),
    [
        ("rpj", {(1.4e9, 640): (2.519826, 0.492496), (6.9e9, 20): (2.442745, 0.471856)}),
        ("c4_original", {(6.9e9, 20): (2.279898, 0.478921), (1.4e9, 80): (2.509448, 0.538008)}),
    ],
)
def test_both_steps_give_the_paper_s_predictions(data_dir: Path, corpus: str, want: dict) -> None:
    """Loss and average error of the paper's larger runs, from its 5 and 6 points by least squares (section 11.4)."""
    table = gadre(data_dir, corpus)
    small = table.params < 4.2e8
    five = table[(small & (table.token_multiplier == 20)) | ((table.params < 2e7) & (table.token_multiplier == 320))]
    six = pd.concat([five, table[(table.params > 1.3e9) & (table.params < 2e9) & (table.token_multiplier == 20)]])
    assert (len(five), len(six)) == (5, 6)
    plain = replace(LAWS["chinchilla-tied"], residual="plain")
    loss = fit(plain, five, objective="l2", bootstrap=0)
    error = fit("err-loss", six, objective="l2", bootstrap=0)
    for (size, multiplier), golden in want.items():
        row = table[(abs(table.params / size - 1) < 0.05) & (table.token_multiplier == multiplier)].iloc[0]
        found = chain(loss, error, {"params": row.params, "tokens": row.tokens})
        assert (found.first.value[0], found.value[0]) == pytest.approx(golden, abs=3e-6)
    if corpus == "c4_original":  # coefficients as printed, to their digits
        assert error.params["eps"].value == pytest.approx(0.850, abs=5e-4)
        assert error.params["k"].value == pytest.approx(2.08, abs=5e-3)
        assert error.params["gamma"].value == pytest.approx(0.756, abs=5e-4)


@pytest.mark.data
def test_the_ladder_s_second_step_is_scipy_s_and_the_known_one(data_dir: Path) -> None:
    """HellaSwag of the 190M to 760M checkpoints: a, k, L0 = -.739, 12.94, .766 with b at its bound 1 (section 11.3)."""
    frame = pd.read_csv(data_dir / "olmo_ladder/curves.csv.gz").query("size != '1B'")
    frame = frame.rename(columns={"bpb_hellaswag_val": "bpb", "acc_hellaswag_val": "accuracy"})
    made = checkpoints(frame[["run_id", "step", "bpb", "accuracy"]], ["bpb", "accuracy"])
    found = fit("ladder", made, objective="l2", fix={"b": 1.0}, bootstrap=0)

    def sigmoid(x: np.ndarray, a: float, k: float, l0: float, b: float) -> np.ndarray:
        return a / (1 + np.exp(-k * (x - l0))) + b

    x, y = np.append(made.bpb, 0.0), np.append(made.accuracy, 1.0)
    start, bounds = [y.min() - 1, 3, 0.9, y.max()], ([-1, 0, 0, 0], [0, np.inf, np.inf, 1])
    scipy, _ = curve_fit(sigmoid, x, y, p0=start, bounds=bounds, max_nfev=100_000)
    got = [found.params[name].value for name in ("a", "k", "L_0", "b")]
    assert got == pytest.approx(scipy, rel=2e-3)
    assert got[:3] == pytest.approx([-0.739, 12.94, 0.766], rel=5e-3)


# ------------------------------------------------------------------------------------------------ independent solvers


def starts(rng: np.random.Generator, low: list[float], high: list[float], count: int = 100) -> np.ndarray:
    return rng.uniform(low, high, (count, len(low)))


def test_err_loss_is_no_worse_than_scipy() -> None:
    rng = np.random.default_rng(0)
    loss = np.linspace(2.2, 5.5, 12)
    error = 0.85 - 2.1 * np.exp(-0.75 * loss) + 0.01 * rng.standard_normal(12)
    found = fit("err-loss", pd.DataFrame({"loss": loss, "error": error}), objective="l2", bootstrap=0)
    best = min(
        least_squares(lambda p: p[0] - p[1] * np.exp(-p[2] * loss) - error, start).cost
        for start in starts(rng, [0.3, 0.1, 0.05], [1.2, 10.0, 3.0])
    )
    assert found.value <= best * (1 + 1e-9)


def test_loss_to_loss_is_no_worse_than_scipy() -> None:
    rng = np.random.default_rng(1)
    x = np.linspace(1.8, 5.0, 25)
    y = (0.8 + 1.1 * (x - 1.5) ** 1.3) * np.exp(0.003 * rng.standard_normal(25))
    found = fit("loss-to-loss", pd.DataFrame({"source_loss": x, "loss": y}), objective="l2", bootstrap=0)

    def residual(p: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(p[0] + p[1] * np.maximum(x - p[2], 1e-9) ** p[3], 1e-9)) - np.log(y)

    best = min(least_squares(residual, s).cost for s in starts(rng, [0.1, 0.1, 0.1, 0.3], [2.0, 5.0, 1.7, 3.0]))
    assert found.value <= best * (1 + 1e-6)


def test_the_task_law_is_no_worse_than_scipy() -> None:
    rng = np.random.default_rng(2)
    n = np.geomspace(3e7, 2.4e9, 9)
    rate = np.exp(-2300 * n**-0.31 + 0.03 * rng.standard_normal(9))
    found = fit("task-law", pd.DataFrame({"params": n, "pass_rate": rate}), objective="l2", bootstrap=0)

    def residual(p: np.ndarray) -> np.ndarray:
        return -np.exp(p[0]) * n ** -p[1] - np.log(rate)

    best = min(least_squares(residual, s).cost for s in starts(rng, [0.0, 0.05], [12.0, 0.8]))
    assert found.value <= best * (1 + 1e-9)


def test_bleu_log_is_no_worse_than_scipy() -> None:
    rng = np.random.default_rng(3)
    d = np.geomspace(1e9, 1e12, 10)
    bleu = np.log(2e-3 * d**0.5) ** 1.9 * np.exp(0.005 * rng.standard_normal(10))
    table = pd.DataFrame({"pretrain_tokens": d, "bleu": np.sort(bleu)})
    found = fit("bleu-log", table, objective="huber", delta=0.1, bootstrap=0)

    def residual(p: np.ndarray) -> np.ndarray:
        return p[2] * np.log(np.maximum(p[0] + p[1] * np.log(d), 1e-9)) - np.log(table.bleu)

    best = min(least_squares(residual, s).cost for s in starts(rng, [-10.0, 0.1, 0.5], [5.0, 1.5, 3.0]))
    assert found.value <= best * (1 + 1e-6)


# ---------------------------------------------------------------------------------------------------------- refusals


def test_the_log_law_is_refused_where_bleu_falls_with_pre_training() -> None:
    d = np.geomspace(1e9, 1e12, 8)
    rising = np.log(2e-3 * d**0.5) ** 1.9
    falling = rising.copy()
    falling[-2:] -= 6.0
    with pytest.raises(BadInput, match=r"bleu falls from .* not aligned"):
        fit("bleu-log", pd.DataFrame({"pretrain_tokens": d, "bleu": falling}), bootstrap=0)
    wobbling = rising + np.where(np.arange(8) == 3, -(rising[3] - rising[2]) - 0.9 * DIP, 0.0)
    assert fit("bleu-log", pd.DataFrame({"pretrain_tokens": d, "bleu": wobbling}), bootstrap=0).metrics.n == 8
    with pytest.raises(NotEnoughData):
        fit("bleu-log", pd.DataFrame({"pretrain_tokens": d[:2], "bleu": rising[:2]}), bootstrap=0)


def test_scores_in_percent_and_missing_losses_are_told() -> None:
    loss, accuracy = np.linspace(2, 4, 8), np.linspace(63.2, 30, 8)
    for rates, wrong in (([0.2, 1.3, 6.0], "1.3"), ([0.0, 0.2, 0.3], "0")):
        with pytest.raises(BadInput, match=f" {wrong} is not above 0 and at most 1"):
            fit("task-law", pd.DataFrame({"params": [1e8, 1e9, 1e10], "pass_rate": rates}))
    with pytest.raises(BadInput, match=r"63.2 is not between 0 and 1; if it is in percent, give --map accuracy="):
        fit("ladder", pd.DataFrame({"bpb": loss, "accuracy": accuracy}), bootstrap=0)
    with pytest.raises(BadInput, match="no column 'loss'"):
        fit("err-loss", pd.DataFrame({"error": accuracy / 100}), bootstrap=0)
    with pytest.raises(BadInput, match="no column 'bpb'"):
        fit("ladder", pd.DataFrame({"loss": loss, "accuracy": accuracy / 100}), bootstrap=0)
    with pytest.raises(BadInput, match="0 is not above 0 and at most 1"):
        fit("task-law", pd.DataFrame({"params": [1e8, 2e8, 4e8], "pass_rate": [0.0, 0.1, 0.2]}), bootstrap=0)


def test_a_share_beyond_its_limits_is_told() -> None:
    loss = np.linspace(2.5, 4.5, 12)
    table = pd.DataFrame({"loss": loss, "error": 0.85 - 2.1 * np.exp(-0.75 * loss)})
    found = fit("err-loss", table, objective="l2", bootstrap=0)
    assert not list(found.entry.cautions({"loss": np.array([2.0])}, found.values))
    told = found.entry.cautions({"loss": np.array([0.2])}, found.values)
    assert "lies between 0 and 1" in told[0]
