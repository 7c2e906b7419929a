"""Laws of vocabulary: the paper's coefficients come back with its slip of units only, and what true tokens give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import huber

from scaling_lab import unigram_normalised_loss
from scaling_lab.accounting import flops_vocabulary, tokens_per_character, unigram_loss, width_of
from scaling_lab.engine.fit import fit
from scaling_lab.errors import BadInput
from scaling_lab.laws import LAWS
from tests.laws.worlds import WORLDS

VOCAB, PUBLISHED = LAWS["vocab"], LAWS["vocab-published"]


@pytest.fixture(scope="module")
def points(data_dir: Path) -> pd.DataFrame:
    """The 1,200 checkpoints."""
    return pd.read_csv(data_dir / "vocab" / "points.csv")


@pytest.fixture(scope="module")
def used(points: pd.DataFrame) -> pd.DataFrame:
    """Those that the paper's third approach is fitted to."""
    return points.query("flops >= 2.18e17")


def off(law: str, frame: pd.DataFrame, values: dict[str, float]) -> np.ndarray:
    x = {name: frame[name].to_numpy(float) for name in LAWS[law].inputs}
    return np.asarray(LAWS[law].predict(x, **values)) - frame.loss_unigram_norm.to_numpy()


def test_tokens_for_each_character() -> None:
    got = tokens_per_character([4096, 16384, 32768, 65536, 96256])
    np.testing.assert_allclose(got, (0.331821, 0.272333, 0.251803, 0.237415, 0.232083), atol=5e-7)
    assert tokens_per_character(1e6) == tokens_per_character(200_000)  # never measured beyond
    with pytest.raises(BadInput, match="vocab_size = 0 is no vocabulary"):
        tokens_per_character([32000, 0])


def test_widths_and_flops_of_the_table_are_the_papers(points: pd.DataFrame) -> None:
    assert [width_of(n) for n in (5e7, 5.1e7, 2.87e9, 7e9, 7e10, 3e11, 2e12)] == [
        512,
        768,
        3200,
        4096,
        8192,
        16384,
        24576,
    ]
    assert (points.width == [width_of(n) for n in points.params_nonvocab]).all()
    flops = flops_vocabulary(points.params_nonvocab, points.vocab_size, points.width, points.characters)
    np.testing.assert_allclose(flops, points.flops, rtol=1e-9)
    with pytest.raises(BadInput, match="params_nonvocab = 0 is no size"):
        width_of(0.0)


def test_the_published_coefficients_hold_with_the_slip_of_units_only(used: pd.DataFrame) -> None:
    tao = dict(PUBLISHED.published["tao2024"].values)
    assert len(used) == 1054
    slipped = off("vocab-published", used, tao)
    assert np.sum(huber(1e-3, slipped)) == pytest.approx(0.0622917, abs=5e-8)
    assert np.sqrt(np.mean(slipped**2)) == pytest.approx(0.0908, abs=5e-5)
    assert 1 - np.sum(slipped**2) / np.sum((used.loss_unigram_norm - used.loss_unigram_norm.mean()) ** 2) == (
        pytest.approx(0.9716, abs=5e-5)
    )
    assert np.sqrt(np.mean(off("vocab", used, tao) ** 2)) == pytest.approx(0.530, abs=5e-4)
    found = fit("vocab-published", used, bootstrap=0)
    assert found.value == pytest.approx(0.0622914, abs=5e-8)


def test_the_fit_on_true_tokens_and_no_scipy_start_ends_lower(used: pd.DataFrame) -> None:
    found = fit("vocab", used, bootstrap=0)
    golden = {"E": 5.5366, "A1": 1.9041, "A2": 0.1210, "B": 1.3309, "alpha": 0.4402, "alpha2": 1.0}
    for name, want in golden.items():
        assert found.values[name] == pytest.approx(want, rel=5e-4), name
        assert VOCAB.published["refit-true-tokens"].values[name] == pytest.approx(found.values[name], rel=1e-6), name
    told = {notice.code: notice.message for notice in found.warnings}
    assert "alpha2 ran to its limit, 1" in told["SL302"]
    lowest = min(lower_by_scipy(used, "huber", start) for start in range(6))
    assert found.value <= lowest * (1 + 1e-9)


def test_least_squares_on_true_tokens(used: pd.DataFrame) -> None:
    found = fit("vocab", used, objective="l2", bootstrap=0)
    assert found.metrics.rmse == pytest.approx(0.0864, abs=5e-5)
    lowest = min(lower_by_scipy(used, "l2", start) for start in range(4))
    assert found.value <= lowest * (1 + 1e-9)


def lower_by_scipy(frame: pd.DataFrame, objective: str, seed: int) -> float:
    """The objective where L-BFGS-B ends from a random start, exponents within the law's limits."""
    rng = np.random.default_rng(seed)
    loss = frame.loss_unigram_norm.to_numpy()
    n, v, d = (
        np.log(frame[k].to_numpy() / u) for k, u in (("params_nonvocab", 1e6), ("params_vocab", 1e6), ("tokens", 1e9))
    )

    def value(p: np.ndarray) -> float:
        e, a1, a2, b = np.exp(p[:4])
        r = a1 * np.exp(-p[4] * n) + a2 * np.exp(-p[5] * v) + b * np.exp(-p[4] * d) - e - loss
        return float(np.sum(huber(1e-3, r)) if objective == "huber" else 0.5 * r @ r)

    start = [*np.log(rng.uniform(0.3, 6.0, 4)), *rng.uniform(0.2, 0.9, 2)]
    bounds = [(-8, 5)] * 4 + [(0.1, 1.0)] * 2
    scale = 1e4 if objective == "huber" else 1.0  # L-BFGS-B stops early on small sums
    for method in ("L-BFGS-B", "Nelder-Mead", "L-BFGS-B"):
        found = minimize(lambda p: scale * value(p), start, method=method, bounds=bounds, options={"maxiter": 600})
        start = found.x
    return float(found.fun) / scale


def test_unigram_normalised_loss_of_token_counts() -> None:
    counts = [50, 25, 25, 0]
    assert unigram_loss(counts) == pytest.approx(1.5 * np.log(2))
    # A model that knows no more than the counts gains nothing; one that is certain gains all of the entropy.
    np.testing.assert_allclose(
        unigram_normalised_loss([1.5 * np.log(2), 0.0], counts), [0.0, -1.5 * np.log(2)], atol=1e-15
    )
    logs = np.log([0.5, 0.25, 0.25])[[0, 0, 1, 2]]  # word by word, the definition itself
    words = np.log([0.6, 0.3, 0.2])[[0, 0, 1, 2]]
    assert unigram_normalised_loss(-words.mean(), counts) == pytest.approx(-np.mean(words - logs))
    assert unigram_loss([1, 1], model=[1, 3]) == pytest.approx(-0.5 * np.log(0.25 * 0.75))
    with pytest.raises(BadInput, match="token 3 is in the text but not in the unigram model's"):
        unigram_loss([1, 1, 1, 1], model=counts)
    with pytest.raises(BadInput, match="zero or above"):
        unigram_loss([1, -1])
    with pytest.raises(BadInput, match="shapes"):
        unigram_loss([1, 2], model=[1, 2, 3])


def test_the_loss_is_below_zero_and_is_fitted_as_it_is() -> None:
    table = WORLDS["vocab"].table(noise=0.003)
    found = fit("vocab", table, bootstrap=0)
    assert found.objective.on == "plain"
    assert (table.loss_unigram_norm < 0).any()
    # A law of log loss asks for a loss above zero, and says where it is not.
    with pytest.raises(BadInput, match=r"line \d+, column loss: -\d.*below zero has no logarithm.*loss_unigram_norm"):
        fit("chinchilla", table.assign(params=table.params_nonvocab, loss=table.loss_unigram_norm), bootstrap=0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"params_vocab": 0.0}, "params_vocab.*above zero"),
        ({"params_nonvocab": 33.2}, "fewer than 1,000 parameters are no count"),
        ({"tokens": -1.0}, "tokens.*above zero"),
    ],
)
def test_impossible_inputs_are_refused_with_their_line(change: dict[str, float], says: str) -> None:
    table = WORLDS["vocab"].table(noise=0.003)
    for name, value in change.items():
        table.loc[4, name] = value
    with pytest.raises(BadInput, match=f"line 4.*{says}"):
        fit("vocab", table, bootstrap=0)
    assert fit("vocab", table, bootstrap=0, drop_bad=True).rows["used"] == len(table) - 1


def test_a_missing_vocabulary_is_named() -> None:
    with pytest.raises(BadInput, match="params_vocab"):
        fit("vocab", WORLDS["vocab"].table().drop(columns="params_vocab"), bootstrap=0)
