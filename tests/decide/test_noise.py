"""The noise scale of a gradient that is known: a quadratic's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scaling_lab.decide.noise import noise_scale, two_batch
from scaling_lab.errors import BadInput, NotEnoughData, UsageError

SMALL, BIG = 8, 128


def quadratic(steps: int, seed: int, size: float = 0.3) -> tuple[pd.DataFrame, float, float]:
    """Norms of the gradient of a quadratic at one place, its examples' scatter Sigma = M M'; |G|^2 and tr(Sigma)."""
    rng = np.random.default_rng(seed)
    gradient, root = size * rng.standard_normal(30), 0.5 * rng.standard_normal((30, 30))
    ranks = gradient + rng.standard_normal((steps, BIG // SMALL, 30)) @ root.T / np.sqrt(SMALL)
    small = np.sum(ranks**2, axis=2).mean(axis=1)
    big = np.sum(ranks.mean(axis=1) ** 2, axis=1)
    frame = pd.DataFrame({"step": np.arange(steps), "grad_sq_small": small, "grad_sq_big": big})
    return frame, float(gradient @ gradient), float(np.sum(root**2))


def test_both_estimates_are_unbiased() -> None:
    frame, gradient, trace = quadratic(20_000, 0)
    g, s = two_batch(frame.grad_sq_small, frame.grad_sq_big, SMALL, BIG)
    assert g.mean() == pytest.approx(gradient, abs=4 * g.std() / 20_000**0.5)
    assert s.mean() == pytest.approx(trace, abs=4 * s.std() / 20_000**0.5)
    # Their own definitions: E|G_B|^2 = |G|^2 + tr(Sigma) / B.
    exact = two_batch(gradient + trace / SMALL, gradient + trace / BIG, SMALL, BIG)
    np.testing.assert_allclose(exact, (gradient, trace))


def test_the_interval_covers_the_true_noise_scale() -> None:
    held = 0
    for seed in range(150):
        frame, gradient, trace = quadratic(400, seed)
        scale = noise_scale(frame, SMALL, BIG, level=0.9).whole.scale
        assert scale is not None
        held += scale.ci[0] <= trace / gradient <= scale.ci[1]
    assert 0.83 < held / 150 < 0.97


def test_estimates_below_zero_stay_in_the_mean_for_without_them_it_is_biased() -> None:
    frame, gradient, trace = quadratic(20_000, 1, size=0.1)
    found = noise_scale(frame, SMALL, BIG, level=0.99)
    assert found.whole.scale is not None
    assert found.whole.negative > 4_000
    assert found.whole.scale.ci[0] < trace / gradient < found.whole.scale.ci[1]
    g, s = two_batch(frame.grad_sq_small, frame.grad_sq_big, SMALL, BIG)
    # Leaving single estimates out gives a third of the true scale here, and a clip at zero half of it.
    assert s.mean() / g[g > 0].mean() < 0.4 * trace / gradient
    assert s.mean() / np.maximum(g, 0).mean() < 0.6 * trace / gradient


def test_quotients_at_or_below_zero_are_skipped_and_counted() -> None:
    frame, *_ = quadratic(400, 2, size=0.01)
    found = noise_scale(frame, SMALL, BIG, half_life=3)
    assert found.skipped == int(np.sum(~np.isfinite(found.smoothed))) > 0
    assert (found.smoothed[np.isfinite(found.smoothed)] > 0).all()
    assert "SL478" in {notice.code for notice in found.warnings}
    lost = [part for part in found.parts if part.scale is None or np.isinf(part.scale.ci[1])]
    assert lost


def test_moving_averages_are_those_of_pandas() -> None:
    frame, *_ = quadratic(200, 3)
    found = noise_scale(frame, SMALL, BIG, half_life=10)
    g, s = two_batch(frame.grad_sq_small, frame.grad_sq_big, SMALL, BIG)
    top, bottom = (pd.Series(v).ewm(halflife=10, adjust=True).mean().to_numpy() for v in (s, g))
    told = (top > 0) & (bottom > 0)
    np.testing.assert_allclose(found.smoothed[told], (top / bottom)[told], rtol=1e-10)
    assert np.isnan(found.smoothed[~told]).all()


def test_bad_logs_say_what_is_wrong() -> None:
    frame, *_ = quadratic(100, 4)
    with pytest.raises(UsageError, match="not smaller than --big-batch"):
        noise_scale(frame, 128, 128)
    with pytest.raises(UsageError, match="--small-batch 0 is not"):
        noise_scale(frame, 0, 128)
    with pytest.raises(BadInput, match="grad_sq_big"):
        noise_scale(frame.drop(columns="grad_sq_big"), SMALL, BIG)
    with pytest.raises(NotEnoughData):
        noise_scale(frame[:10], SMALL, BIG)
    with pytest.raises(BadInput, match="the log is of 2 runs"):
        noise_scale(frame.assign(run_id=["a", "b"] * 50), SMALL, BIG)
    twice = pd.concat([frame, frame.assign(grad_sq_big=2 * frame.grad_sq_big)])
    with pytest.raises(BadInput, match="line 100, column step: step 0 stands twice"):
        noise_scale(twice, SMALL, BIG)
    mixed, plain = (noise_scale(f, SMALL, BIG) for f in (frame.sample(frac=1.0, random_state=0), frame))
    np.testing.assert_allclose(mixed.smoothed, plain.smoothed, rtol=1e-12)
