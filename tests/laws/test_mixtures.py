"""Published figures of mixture laws: critical ratios, predicted domain losses, and the mixing law on two domains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import least_squares, minimize_scalar

from scaling_lab.engine.fit import fit
from scaling_lab.errors import BadInput
from scaling_lab.laws import LAWS, get_law


def test_critical_ratios_of_the_published_rows() -> None:
    """At 100 units of 0.2B tokens: 29.76, 34.89, 41.43 and 47.83 %."""
    law = LAWS["cmr"]
    want = {"460M": 0.2976, "940M": 0.3489, "1.6B": 0.4143, "3.1B": 0.4783}
    for size, ratio in want.items():
        found = law.predict({"tokens": np.array([2e10])}, **law.published[f"gu2024-{size}"].values)
        assert found[0] == pytest.approx(ratio, abs=5e-5)


@pytest.mark.parametrize(
    ("losses", "measured", "papers"),
    [
        ((1.4628, 1.4844, 1.5122, 1.5387), 1.5561, 1.5566),
        ((1.3723, 1.3910, 1.4155, 1.4385), 1.4538, 1.4546),
        ((1.3242, 1.3416, 1.3643, 1.3854), 1.3994, 1.3999),
        ((1.2585, 1.2750, 1.2965, 1.3170), 1.3305, 1.3303),
    ],
)
def test_domain_loss_at_a_quarter_comes_from_the_larger_shares(
    losses: tuple[float, ...], measured: float, papers: float
) -> None:
    """Gu et al. 2024: the law through shares 1, 3/4, 1/2 and 1/3 predicts 1/4; least squares agrees with scipy."""
    ratio = np.array([1.0, 0.75, 0.5, 1 / 3])
    found = fit("cmr-loss", pd.DataFrame({"ratio": ratio, "loss": losses}), objective="l2", bootstrap=0)
    got = float(found.at({"ratio": np.array([0.25])})[0])
    assert got == pytest.approx(measured, abs=0.001)
    assert got == pytest.approx(papers, abs=0.001)

    def residuals(p: np.ndarray) -> np.ndarray:
        return np.log(p[0] * ratio ** p[1] + p[2]) - np.log(losses)

    begun = [(-0.4, 0.2, 1.9), (0.3, -0.2, 1.2), (-1.0, 0.05, 2.4)]
    best = min((least_squares(residuals, b, xtol=1e-15, ftol=1e-15, gtol=1e-15) for b in begun), key=lambda s: s.cost)
    assert found.value <= best.cost * (1 + 1e-6) + 1e-15


@pytest.mark.data
@pytest.mark.parametrize(
    ("model", "column", "share", "golden"),
    [
        ("70M", "loss_Github", "w1", (1.11002, 0.50531, -1.6434)),
        ("70M", "loss_Pile_CC", "w2", (3.41775, 0.53258, -2.5028)),
        ("160M", "loss_Github", "w1", (0.90515, 0.45852, -1.6110)),
        ("160M", "loss_Pile_CC", "w2", (3.09326, 0.54613, -2.7370)),
    ],
)
def test_two_domains_have_the_recomputed_coefficients(
    data_dir: Path, model: str, column: str, share: str, golden: tuple[float, float, float]
) -> None:
    """The floor of best correlation between the share and log(loss - floor), and the line there; our fit is below."""
    frame = pd.read_csv(data_dir / "mixinglaws" / "mix2.csv").query("model == @model and step == 30000")
    w, y = frame[share].to_numpy(), frame[column].to_numpy()

    def loose(c: float) -> float:
        return -abs(float(np.corrcoef(w, np.log(y - c))[0, 1]))

    scan = np.linspace(y.min() - 2.0, y.min() - 1e-3, 4000)
    at = scan[np.argmin([loose(c) for c in scan])]
    c = minimize_scalar(loose, bounds=(at - 1e-3, at + 1e-3), method="bounded", options={"xatol": 1e-10}).x
    t, log_k = np.polyfit(w, np.log(y - c), 1)
    np.testing.assert_allclose((c, np.exp(log_k), t), golden, atol=6e-4)
    other = "w2" if share == "w1" else "w1"
    law = get_law("mixing-exp@w_own,w_other")
    x = {"w_own": w, "w_other": frame[other].to_numpy()}
    golden_loss = law.predict(x, c=golden[0], k=golden[1], t_own=golden[2], t_other=0.0)
    assert np.max(np.abs(golden_loss - y)) <= 0.0047
    table = pd.DataFrame({**x, "loss": y})
    theirs = 0.5 * float(np.sum((np.log(golden_loss) - np.log(y)) ** 2))
    alone = replace(law, priors={}, needs_priors=False)
    assert fit(alone, table, objective="l2", bootstrap=0, fix={"t_other": 0.0}).value <= theirs
    # Five rows and three parameters: the prior on the slope is felt, and moves no loss by more than noise.
    held = fit("mixing-exp", table, objective="l2", bootstrap=0, fix={"t_other": 0.0})
    assert np.max(np.abs(held.at(x) - y)) <= 0.006


@pytest.mark.data
def test_run_999_is_refused_for_its_sum_and_rounded_shares_are_not(data_dir: Path) -> None:
    frame = pd.read_csv(data_dir / "mixinglaws" / "redpajama.csv")
    odd = frame[frame.run_id.str.endswith("_999")].iloc[0]
    frame = frame[(frame.model == odd.model) & (frame.step == odd.step)]
    mapping = {f"w_{i}": f"w{i}" for i in range(1, 8)} | {"loss": "loss_Github"}
    with pytest.raises(BadInput, match="do not sum to 1"):
        fit("mixing-linear", frame, mapping=mapping, bootstrap=0)
    found = fit("mixing-linear", frame, mapping=mapping, bootstrap=0, drop_bad=True)
    assert sum(found.rows["dropped"].values()) >= 1
    rounded = pd.read_csv(data_dir / "regmix" / "runs.csv").query("model == '1M'").head(100)
    assert fit("mixing-linear", rounded, mapping={"loss": "loss_pile_cc"}, bootstrap=0).rows["used"] == 100
