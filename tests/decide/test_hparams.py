"""hparams: what every rule says of a request, a rate carried to other tokens and batches, and the muP table."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling_lab.decide.allocate import allocate
from scaling_lab.decide.hparams import PLATEAU, Hparams, Recommended, along_tokens, hparams
from scaling_lab.decide.lr_moves import horizon, lr_sweep, read_batch, rescale, vertex
from scaling_lab.decide.mup import mup
from scaling_lab.engine.fit import fit
from scaling_lab.errors import BadInput, NotEnoughData, UsageError
from scaling_lab.laws.hyper import RULES
from scaling_lab.show.curves import abscissa
from tests.laws.worlds import WORLDS


def rule(found: Hparams, name: str) -> Recommended:
    return next(each for each in found.rules if each.name == name)


def codes(found: Hparams) -> set[str]:
    return {notice.code for notice in found.warnings}


# ------------------------------------------------------------------------------------------------------- the rules


def test_every_rule_of_a_request_with_all_that_they_ask() -> None:
    """The golden values at 1B on 100B tokens, compute by 6ND."""
    found = hparams(1e9, 1e11, loss=2.5, batch_tokens=2**20)
    rates = {each.name: each.lr.value for each in found.rules if each.lr}
    golden = {
        "hp:step-law": 1.6325e-3,
        "hp:deepseek": 7.8815e-4,
        "hp:porian": 2.1291e-3,
        "hp:kaplan": 3.4810e-4,
        "hp:moonlight": 8.307e-4,
        "hp:minicpm": 0.01,
        "hp:power": 4.6 * 256 * 1e11**-0.51,
        "hp:bjorck": None,
        "hp:meituan": None,
    }
    assert rates.keys() == golden.keys()
    for name, value in golden.items():
        assert rates[name] == (None if value is None else pytest.approx(value, rel=1e-4)), name
    batches = {each.name: each.batch.value for each in found.rules if each.batch and each.batch.value}
    want = {
        "hp:step-law": 1.1077e6,
        "hp:deepseek": 1.8277e6,
        "hp:porian": 1.6086e6,
        "hp:moonlight": 2.576e6,
        "hp:kaplan": 2.547e6,
        "hp:minicpm": 3.978e6,
    }
    assert batches == {name: pytest.approx(value, rel=2e-4) for name, value in want.items()}
    critical = rule(found, "hp:kaplan").batch
    assert critical is not None
    assert critical.kind == "critical"


def test_the_spread_leaves_out_what_does_not_compare() -> None:
    found = hparams(1e9, 1e11, loss=2.5)
    assert found.lr_spread is not None
    assert found.batch_spread is not None
    assert (found.lr_spread.low[0], found.lr_spread.high[0]) == ("hp:kaplan", "hp:porian")
    assert found.lr_spread.count == 4
    assert found.lr_spread.ratio == pytest.approx(2.1291e-3 / 3.4810e-4, rel=1e-4)
    # Kaplan's critical batch and Moonlight's second-hand one stay out; MiniCPM's batch is one for any parametrisation.
    assert (found.batch_spread.low[0], found.batch_spread.high[0]) == ("hp:step-law", "hp:minicpm")
    assert found.batch_spread.count == 4
    assert "SL457" in codes(found)
    assert "SL457" not in codes(hparams(1e9, 1e11, laws=["hp:step-law", "hp:porian"]))
    assert hparams(1e9, 1e11, laws=["hp:step-law"]).lr_spread is None


def test_what_a_rule_needs_is_said_and_never_guessed() -> None:
    found = hparams(1e9, 1e11)
    for name, which, option in (
        ("hp:minicpm", "batch", "--loss"),
        ("hp:kaplan", "batch", "--loss"),
        ("hp:power", "lr", "--batch-tokens"),
    ):
        answer = getattr(rule(found, name), which)
        assert answer.value is None
        assert answer.needs == (option,)
    assert "needs a fit" in rule(found, "hp:meituan").lr.why  # type: ignore[union-attr]
    assert "relative" in rule(found, "hp:bjorck").lr.why  # type: ignore[union-attr]
    alone = hparams(loss=3.0)
    assert rule(alone, "hp:step-law").lr.needs == ("--params, or --params-count nonvocab=NUMBER", "--tokens")  # type: ignore[union-attr]
    assert rule(alone, "hp:minicpm").batch.value == pytest.approx(1.275e6, rel=3e-4)  # type: ignore[union-attr]
    assert rule(hparams(flops=6e20), "hp:deepseek").lr.value == pytest.approx(7.8815e-4, rel=1e-4)  # type: ignore[union-attr]


def test_kaplans_rate_is_none_beyond_where_it_reaches_zero() -> None:
    answer = rule(hparams(7e10, 1e12), "hp:kaplan").lr
    assert answer is not None
    assert answer.value is None
    assert "which is none" in answer.why


def test_the_power_schedulers_rate_is_held_at_its_cap() -> None:
    answer = rule(hparams(1e8, 1e9, batch_tokens=1024 * 4096), "hp:power").lr
    assert answer is not None
    assert answer.value == 0.02
    assert f"{4.6 * 1024 * 1e9**-0.51:.3g}" in answer.why


# -------------------------------------------------------------------------------------------- conventions and units


def test_each_count_of_the_size_goes_to_its_rule() -> None:
    found = hparams(
        1.1e9, 1e11, counts={"nonvocab": 1e9, "nonembed-head": 1.05e9, "nonembed": 0.98e9}, laws=list(RULES)[:4]
    )
    assert rule(found, "hp:step-law").lr.value == pytest.approx(1.6325e-3, rel=1e-4)  # type: ignore[union-attr]
    assert rule(found, "hp:porian").lr.value == pytest.approx(3.7 * 1.05e9**-0.36)  # type: ignore[union-attr]
    assert rule(found, "hp:kaplan").lr.value == pytest.approx(3.239e-3 - 1.395e-4 * math.log(0.98e9))  # type: ignore[union-attr]
    # Compute still stands in for DeepSeek's; no count of N does.
    told = next(n.message for n in found.warnings if n.code == "SL455")
    assert "6*params*tokens" in told
    assert "non-" not in told


def test_what_stands_in_for_a_count_contradicts_none() -> None:
    found = hparams(1.05e9, 2e10, counts={"nonembed-head": 1e9})
    assert found.request.known["params_nonembed"].stands_in
    assert rule(found, "hp:porian").lr.value == pytest.approx(3.7 * 1e9**-0.36)  # type: ignore[union-attr]


def test_counts_follow_from_the_vocabulary() -> None:
    found = hparams(1e9, 1e11, vocab_size=50_000, width=2000, tied=False, flops=6e20)
    known = found.request.known
    assert known["params_nonvocab"].value == 1e9 - 2e8
    assert known["params_nonembed"].value == 1e9 - 2e8
    assert known["params_nonembed_head"].value == 1e9 - 1e8
    tied = hparams(1e9, 1e11, vocab_size=50_000, width=2000, flops=6e20).request.known
    assert tied["params_nonvocab"].value == 1e9 - 1e8
    assert tied["params_nonembed_head"].value == 1e9
    assert "SL455" not in codes(found)


def test_deepseeks_compute_follows_from_the_shape() -> None:
    found = hparams(1e9, 1e11, width=512, depth=8, seq_len=4096)
    assert found.request.known["flops"].value == 352_321_536 * 1e11
    assert not found.request.known["flops"].stands_in


def test_the_batch_counts_the_same_in_tokens_and_in_sequences() -> None:
    by_tokens = hparams(1e8, 1e10, batch_tokens=512 * 2048)
    by_sequences = hparams(1e8, 1e10, batch_sequences=512, seq_len=2048)
    rates = [rule(found, "hp:power").lr.value for found in (by_tokens, by_sequences)]  # type: ignore[union-attr]
    # The Power scheduler's sequences have 4,096 tokens: 256 of them.
    assert rates[0] == rates[1] == pytest.approx(4.6 * 256 * 1e10**-0.51)
    shown = hparams(1e9, 1e11, seq_len=4096).to_dict()["rules"][0]["batch_tokens"]
    assert shown["sequences"] == pytest.approx(shown["value"] / 4096)
    assert hparams(1e9, 1e11).to_dict()["rules"][0]["batch_tokens"]["sequences"] == pytest.approx(shown["value"] / 2048)
    agreeing = hparams(1e8, 1e10, batch_tokens=2**20, batch_sequences=512, seq_len=2048)
    assert agreeing.request.known["batch_tokens"].value == 2**20


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"params": 0.0}, "--params 0 is not a number above zero"),
        ({"params": 1e9, "tokens": 0.0}, "--tokens 0 is not a number above zero"),
        ({"params": 1e9, "tokens": 1e10, "loss": -2.0}, "--loss -2 is not a number above zero"),
        ({"params": 1e9, "tokens": math.inf}, "--tokens inf"),
        ({"params": 1e9, "batch_sequences": 512.0}, "give --seq-len"),
        ({"batch_tokens": 1e6, "batch_sequences": 512.0, "seq_len": 4096.0}, "give one of the two"),
        ({"params": 1e9, "laws": ["hp:deepsek"]}, "did you mean 'hp:deepseek'"),
        ({"params": 1e9, "counts": {"nonvoc": 1e9}}, "did you mean 'nonvocab'"),
        ({"params": 1e9, "counts": {"total": 1e9}}, "one number"),
        ({"params": 1e9, "vocab_size": 5e4}, "give --params and --width"),
        ({"params": 1e8, "vocab_size": 5e4, "width": 4096.0}, "no fewer than"),
        ({"params": 1e9, "tokens": 1e10, "depth": 12.0}, "give --width and --seq-len"),
        ({"params": 1e9, "tokens": 1e10, "width": 1024.0}, "--width says nothing alone"),
        ({"params": 1e9, "tokens": 1e10, "width": 1024.0, "seq_len": 2048.0}, "--width says nothing alone"),
        ({"params": 1e9, "tokens": 1e10, "tied": False}, "--untied is for the matrices of --vocab-size"),
        ({"params": 1e9, "flops": 1e20, "depth": 8.0}, "both say the compute"),
        (
            {"params": 1e9, "counts": {"nonvocab": 1.2e9}},
            r"1.2B parameters \(nonvocab\) are more than the 1B \(total\)",
        ),
        ({"counts": {"nonembed": 9e8, "nonembed-head": 8e8}}, r"\(nonembed\) are more than the 800M \(nonembed-head\)"),
        ({"params": 1e9, "tokens": 1e9, "batch_tokens": 2e9}, "a batch of 2B tokens is more than all 1B"),
        ({}, "give what is to be trained"),
        ({"params": 1e300, "tokens": 1e300}, "beyond every number"),
        ({"params": 1e-3, "tokens": 1e9}, "--params 0.001 counts less than one"),
        ({"params": 1e9, "level": 2.0}, "--level 2 is not between 0 and 1"),
    ],
)
def test_a_request_that_makes_no_sense(given: dict[str, float], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        hparams(**given)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ outside the range


@pytest.mark.parametrize("factor", [1.0, 1.5, 10.0, 1e3])
def test_by_what_factor_a_request_lies_outside_a_range(factor: float) -> None:
    above = {b.name: b for b in rule(hparams(1073741824 * factor, 1e11 * factor), "hp:step-law").outside}
    below = {b.name: b for b in rule(hparams(214663680 / factor, 4e9 / factor), "hp:step-law").outside}
    if factor == 1:
        assert above == below == {}
        return
    for found, up in ((above, True), (below, False)):
        assert [b.factor for b in found.values()] == pytest.approx([factor, factor])
        assert set(found) == {"params_nonvocab", "tokens"}
        assert all(b.above is up for b in found.values())


def test_porians_rule_is_of_twenty_tokens_for_each_parameter() -> None:
    assert rule(hparams(1e8, 2e9), "hp:porian").outside == ()
    beyond = rule(hparams(1e8, 1e9), "hp:porian").outside
    assert [(b.name, b.factor, b.above) for b in beyond] == [("tokens_per_param", 2.0, False)]
    found = hparams(1e8, 1e9)
    assert "SL456" in codes(found)
    assert "SL456" not in codes(hparams(1e8, 2e9, laws=["hp:porian"]))


def test_a_batch_far_from_the_rules_own_is_told() -> None:
    own = 0.58 * 1e11**0.571
    for factor, told in ((1.0, False), (PLATEAU.batch[1] * 0.99, False), (PLATEAU.batch[1] * 1.01, True)):
        for batch in (own * factor, own / factor):
            found = hparams(1e9, 1e11, laws=["hp:step-law"], batch_tokens=batch)
            assert ("SL458" in codes(found)) is told


# -------------------------------------------------------------------------------------------------- fits of one's own


@pytest.fixture(scope="module")
def own() -> tuple[pd.DataFrame, pd.DataFrame]:
    return tuple(WORLDS[name].table(noise=0.05) for name in ("hp:step-law", "hp:step-law-batch"))  # type: ignore[return-value]


def test_fits_of_ones_own_stand_beside_with_intervals(own: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    fits = [fit(name, table, objective="l2", bootstrap=100) for name, table in zip(
        ("hp:step-law", "hp:step-law-batch"), own, strict=True)]  # fmt: skip
    found = hparams(1e9, 1e11, fits=fits)
    mine = rule(found, "your hp:step-law")
    assert mine.lr is not None
    assert mine.batch is not None
    assert mine.lr.value == pytest.approx(1.6325e-3, rel=0.03)
    assert mine.batch.value == pytest.approx(1.1077e6, rel=0.03)
    assert mine.lr.ci[0] < mine.lr.value < mine.lr.ci[1]
    assert not mine.comparable("lr")
    far = rule(hparams(1e12, 1e11, fits=fits), "your hp:step-law").outside
    assert [(b.name, b.above) for b in far] == [("params_nonvocab", True)]
    assert far[0].factor == pytest.approx(1e12 / 4e9)
    assert rule(hparams(tokens=1e11, fits=fits), "your hp:step-law").lr.needs  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="two fits of hp:step-law"):
        hparams(1e9, 1e11, fits=[fits[0], fits[0]])


def test_a_fit_takes_the_count_that_it_was_made_from(own: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table = own[0].rename(columns={"params_nonvocab": "params_nonembed"})
    mapped = fit("hp:step-law", table, objective="l2", bootstrap=0, mapping={"params_nonvocab": "params_nonembed"})
    found = hparams(5e9, 1e11, counts={"nonembed": 1e9}, fits=[mapped])
    assert rule(found, "your hp:step-law").lr.value == pytest.approx(1.6325e-3, rel=0.03)  # type: ignore[union-attr]
    assert rule(found, "your hp:step-law").counts == "non-embedding"


def test_a_fit_of_a_loss_is_no_rule() -> None:
    table = WORLDS["kaplan-n"].table(noise=0.001)
    with pytest.raises(UsageError, match="takes fits of lr_max or batch_tokens"):
        hparams(1e9, 1e11, fits=[fit("kaplan-n", table, bootstrap=0)])


def test_a_rate_is_no_loss_to_split_compute_for() -> None:
    """allocate refuses it, and its figure has no frontier."""
    found = fit("hp:bjorck", WORLDS["hp:bjorck"].table(noise=0.02), objective="l2", bootstrap=0)
    assert "SL203" not in {n.code for n in found.warnings}
    assert abscissa(found).kind == "scatter"
    with pytest.raises(UsageError, match="a setting and no loss"):
        allocate(found, flops=1e21)


def test_curves_along_tokens_go_through_the_answers() -> None:
    found = hparams(4e8, 2e10, batch_tokens=5e5, loss=2.4)
    curves = along_tokens(found)
    assert {c.name for c in curves} == {e.name for e in found.rules} - {"hp:bjorck", "hp:meituan"}
    for curve in curves:
        answer = rule(found, curve.name)
        at = np.argmin(np.abs(np.log(curve.tokens / 2e10)))
        assert curve.tokens[at] == pytest.approx(2e10)
        if answer.lr is not None and answer.lr.value is not None:
            assert curve.lr[at] == pytest.approx(answer.lr.value)
        # The loss is not known along the tokens, so what needs it has no curve.
        assert np.isfinite(curve.batch).any() == (
            curve.name in ("hp:step-law", "hp:deepseek", "hp:porian", "hp:moonlight")
        )
    step = next(c for c in curves if c.name == "hp:step-law")
    np.testing.assert_array_equal(step.inside, (step.tokens > 4e9 * 0.999) & (step.tokens < 1e11 * 1.001))
    deepseek = next(c for c in curves if c.name == "hp:deepseek")
    np.testing.assert_allclose(deepseek.lr, 0.3118 * (6 * 4e8 * deepseek.tokens) ** -0.125)
    with pytest.raises(UsageError, match="give --tokens"):
        along_tokens(hparams(4e8))


# ------------------------------------------------------------------------------------------------------ carried over


def test_the_horizon_rule() -> None:
    found = horizon(3e-4, 1e11, 1e12)
    assert found.value == pytest.approx(3e-4 * 10**-0.32)
    assert horizon(found.value, 1e12, 1e11).value == pytest.approx(3e-4)
    assert [(b.name, b.factor) for b in found.outside] == [("to_tokens", 1.25)]
    assert {n.code for n in found.warnings} == {"SL459"}
    assert horizon(3e-4, 2.5e10, 8e11, params=1e9, batch_tokens=5e5).warnings == ()
    assert "a batch of 4M" in horizon(3e-4, 5e10, 1e11, batch_tokens=4e6).warnings[0].message
    with pytest.raises(UsageError, match="--to-tokens 0"):
        horizon(3e-4, 1e11, 0)


def test_the_horizon_by_a_fit_of_ones_own() -> None:
    mine = fit("hp:bjorck", WORLDS["hp:bjorck"].table(noise=0.02), objective="l2", bootstrap=200)
    found = horizon(3e-4, 1e10, 1e11, own=mine)
    assert found.exponent == pytest.approx(0.32, abs=0.02)
    assert found.value == pytest.approx(3e-4 * 10**-found.exponent)
    # The interval is that of the exponent's draws: a tenfold horizon moves by ln 10 of it.
    low, high = np.quantile(mine.draws[:, 2], [0.05, 0.95])
    assert found.ci == pytest.approx((3e-4 * 10**low, 3e-4 * 10**high))
    assert found.warnings == ()
    with pytest.raises(UsageError, match="leave --batch-tokens out"):
        horizon(3e-4, 1e10, 1e11, own=mine, batch_tokens=5e5)
    with pytest.raises(UsageError, match="a horizon rule is one of hp:bjorck"):
        horizon(3e-4, 1e10, 1e11, own=fit("hp:deepseek", WORLDS["hp:deepseek"].table(), bootstrap=0))


def test_the_batch_rules() -> None:
    found = rescale(3e-4, 256, 1024)
    assert (found.linear, found.root) == (pytest.approx(1.2e-3), pytest.approx(6e-4))
    assert found.by_noise is None
    # Far below the noise scale its form is the linear rule; far above, the rate no longer moves.
    assert rescale(3e-4, 256, 1024, noise_scale=1e9).by_noise == pytest.approx(1.2e-3, rel=1e-5)
    above = rescale(3e-4, 256, 1024, noise_scale=1e-3)
    assert above.by_noise == pytest.approx(3e-4, rel=1e-5)
    assert {n.code for n in above.warnings} == {"SL460"}
    # eta(B) = eta_max / (1 + B_noise / B): at B = B_noise half of the most.
    half = rescale(1.0, 1000, 1e12, noise_scale=1000)
    assert half.by_noise == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("512", 512, ""),
        ("4M", 4e6, ""),
        ("512seq", 512, "sequences"),
        ("1,024 sequences", 1024, "sequences"),
        ("4Mtokens", 4e6, "tokens"),
        ("0.5M tok", 5e5, "tokens"),
        ("2T", 2e12, ""),
    ],
)
def test_batches_are_read_with_their_unit(text: str, value: float, unit: str) -> None:
    assert read_batch(text, "--from-batch") == (value, unit)


@pytest.mark.parametrize(
    ("start", "end", "noise", "says"),
    [
        ("512seq", "4Mtok", None, "different units"),
        ("512seq", "1024", None, "--to-batch in no unit said"),
        ("512seq", "1024seq", "4M", "different units"),
        ("0", "1024", None, "--from-batch 0 is not a number above zero"),
        ("many", "1024", None, "is no batch"),
    ],
)
def test_batches_of_mixed_units_are_refused(start: str, end: str, noise: str | None, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        rescale(3e-4, start, end, noise_scale=noise)


# ------------------------------------------------------------------------------------------------- a sweep of rates


def bowls(noise: float = 0.0, batch: float | None = 2**19) -> pd.DataFrame:
    """Losses whose best rate is 600 N^-.23 D^-.32, over a grid of rates a factor of two apart."""
    rng, rows = np.random.default_rng(2), []
    for n in (1e8, 4e8, 1.6e9):
        for d in (1e10, 4e10, 1.6e11):
            best = 600 * n**-0.23 * d**-0.32
            for rate in 1e-3 * 2.0 ** np.arange(-5, 5):
                loss = 2.5 + 0.02 * np.log(rate / best) ** 2 + noise * rng.standard_normal()
                rows.append((n, d, rate, loss))
    frame = pd.DataFrame(rows, columns=["params", "tokens", "lr_max", "loss"])
    return frame if batch is None else frame.assign(batch_tokens=batch)


def test_a_sweep_gives_back_the_planted_rule() -> None:
    found = lr_sweep(bowls(), draws=2)
    assert len(found.optima) == 9
    assert found.left_out == ()
    assert found.batch == 2**19
    assert "all at one batch, batch_tokens = 524,288" in found.fit.notes
    values = found.fit.values
    assert (values["alpha"], values["beta"]) == (pytest.approx(-0.23, abs=1e-7), pytest.approx(-0.32, abs=1e-7))
    assert values["scale"] == pytest.approx(600, rel=1e-5)
    for each in found.optima:
        assert each.lr_max == pytest.approx(600 * each.params**-0.23 * each.tokens**-0.32, rel=1e-9)
        assert each.loss == pytest.approx(2.5)


def test_the_fit_of_a_sweep_is_numpys_least_squares() -> None:
    found = lr_sweep(bowls(0.002), draws=1000)
    lr, n, d = (np.log([getattr(e, name) for e in found.optima]) for name in ("lr_max", "params", "tokens"))
    design = np.column_stack([np.ones_like(n), n, d])
    line, *_ = np.linalg.lstsq(design, lr, rcond=None)
    assert [np.log(found.fit.values["scale"]), found.fit.values["alpha"], found.fit.values["beta"]] == pytest.approx(
        line.tolist(), rel=1e-6
    )
    assert found.fit.params["beta"].ci is not None
    assert found.fit.params["beta"].ci[0] < -0.32 < found.fit.params["beta"].ci[1]
    assert horizon(3e-4, 2e10, 8e10, own=found.fit).ci


def test_intervals_of_a_few_optima_cover_as_often_as_they_say() -> None:
    """Four optima with 10 % of noise leave one degree of freedom; the 90 % interval must still hold the exponent."""
    rng, held = np.random.default_rng(5), 0
    for _ in range(60):
        rows = []
        for n in (1e8, 1e9):
            for d in (5e9, 2e10):
                best = 600 * n**-0.23 * d**-0.32 * np.exp(0.1 * rng.standard_normal())
                rows += [(n, d, best * 2.0**i, 2.5 + 0.02 * (i * np.log(2)) ** 2) for i in range(-2, 3)]
        table = pd.DataFrame(rows, columns=["params", "tokens", "lr_max", "loss"]).assign(batch_tokens=2**19)
        found = horizon(1.0, 5e9, 2e10, own=lr_sweep(table, draws=400).fit)
        held += found.ci[0] < 0.25**0.32 < found.ci[1]
    assert 0.78 <= held / 60 <= 0.98


def test_the_vertex_of_a_parabola() -> None:
    rates = np.array([1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3])
    found = vertex(rates, 3 + 0.1 * np.log(rates / 3e-4) ** 2)
    assert found == (pytest.approx(3e-4), pytest.approx(3.0), 4e-4, 5)
    # One rate written with fewer digits is one rate.
    again = np.append(rates, 4.001e-4)
    assert vertex(again, 3 + 0.1 * np.log(again / 3e-4) ** 2)[3] == 5
    assert vertex(rates[:2], rates[:2]) == "2 learning rates, where a parabola takes three"
    assert vertex(rates, -rates) == "the highest rate tried is the best"
    assert vertex(rates, rates) == "the lowest rate tried is the best"


def test_sizes_without_an_optimum_are_left_out_and_told() -> None:
    table = bowls()
    cut = table[~((table.params == 1e8) & (table.tokens == 1e10) & (table.lr_max > 2.5e-3))]
    found = lr_sweep(cut, draws=2)
    assert [each["why"] for each in found.left_out] == ["the highest rate tried is the best"]
    assert "SL461" in {n.code for n in found.warnings}
    with pytest.raises(NotEnoughData, match="2 learning rates"):
        lr_sweep(table[table.lr_max.between(0.9e-3, 2.1e-3)], draws=2)


def test_a_sweep_is_of_one_batch() -> None:
    two = pd.concat([bowls(), bowls(batch=2**20)])
    with pytest.raises(BadInput, match=r'rows are of 2 batches .* --where "batch_tokens == 524288"'):
        lr_sweep(two, draws=2)
    assert len(lr_sweep(two, where="batch_tokens == 524288", draws=2).optima) == 9
    assert "SL462" in {n.code for n in lr_sweep(bowls(batch=None), draws=2).warnings}


def test_a_sweep_of_measured_runs(data_dir: Path) -> None:
    """At 128 sequences Step Law's grids have the best rate fall with the tokens, at 512 rise: the batch matters."""
    table = str(data_dir / "steplaw_dense" / "points.csv")
    beta = {}
    for batch in (128, 512):
        found = lr_sweep(table, params_column="params_nonembed", where=f"batch_sequences == {batch}", draws=200)
        assert len(found.optima) >= 16
        assert found.fit.inputs["params"]["counts"] == "non-embedding"
        beta[batch] = found.fit.params["beta"]
    assert beta[128].value == pytest.approx(-0.156, abs=0.005)
    assert beta[512].value == pytest.approx(0.183, abs=0.005)
    assert beta[128].ci is not None
    assert beta[512].ci is not None
    assert beta[128].ci[1] < 0 < beta[512].ci[0]


# --------------------------------------------------------------------------------------------------------------- muP


def test_the_table_by_hand() -> None:
    """m = 16: hidden matrices start at 1/4 of the spread and learn 1/16 as fast under Adam."""
    found = mup(256, 4096, from_head_width=64, to_head_width=128, from_depth=8, to_depth=32, lr=0.01)
    table = {(r.optimizer, r.tensor): (r.init_std, r.lr, r.multiplier, r.weight_decay) for r in found.rules}
    assert table == {
        ("adam", "embedding"): (1, 1, 1, 1),
        ("adam", "biases, norms"): (1, 1, 1, 1),
        ("adam", "hidden matrices"): (1 / 4, 1 / 16, 1, 16),
        ("adam", "query projection"): (0, 1 / 16, 1, 16),
        ("adam", "output"): (1, 1, 1 / 16, 1),
        ("sgd", "embedding"): (1, 16, 1, 1 / 16),
        ("sgd", "biases, norms"): (1, 16, 1, 1 / 16),
        ("sgd", "hidden matrices"): (1 / 4, 1, 1, 1),
        ("sgd", "query projection"): (0, 1, 1, 1),
        ("sgd", "output"): (1, 16, 1 / 16, 1 / 16),
    }
    assert found.attention == math.sqrt(64) / 128
    assert found.residual == 0.5
    rows = {(r["optimizer"], r["tensor"]): r["lr_value"] for r in found.to_dict()["tensors"]}
    assert rows["adam", "hidden matrices"] == pytest.approx(0.01 / 16)
    # Coupled decay: lr x decay of a tensor stays what it was.
    assert all(r.lr * r.weight_decay == 1 for r in found.rules)
    assert all(r.init_std in (0, 1) and r.lr == r.multiplier == 1 for r in mup(512, 512).rules)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"from_width": 0, "to_width": 4096}, "--from-width 0 is not a number above zero"),
        ({"from_width": 256, "to_width": -1}, "--to-width -1 is not a number above zero"),
        ({"from_width": 256, "to_width": 512, "from_depth": 8}, "give --from-depth and --to-depth, both"),
        ({"from_width": 256, "to_width": 512, "lr": 0}, "--lr 0"),
    ],
)
def test_widths_that_are_none(given: dict[str, float], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        mup(**given)


def moved(width: int, base: int, optimizer: str, parametrisation: str, seed: int, steps: int = 4) -> np.ndarray:
    """Mean size of how far the hidden layers and the output of an MLP have moved after a few steps, at one width.

    `mup` scales spreads, rates and multipliers by the table of `mup(base, width)`; `standard` starts spreads at
    1/sqrt(fan-in) and has one rate and no multiplier.
    """
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 12)), rng.standard_normal((64, 3))
    table = {r.tensor: r for r in mup(base, width).rules if r.optimizer == optimizer}
    hidden, output = table["hidden matrices"], table["output"]
    start = np.random.default_rng([width, seed])
    weights = [
        start.standard_normal((12, width)) / np.sqrt(12),
        start.standard_normal((width, width)) / np.sqrt(base) * hidden.init_std,
        # Small, so that the first outputs, which shrink with the width, hardly count.
        0.1 * start.standard_normal((width, 3)) / np.sqrt(base) * output.init_std,
    ]
    rates = np.array([table["embedding"].lr, hidden.lr, output.lr])
    multiplier = output.multiplier
    if parametrisation == "standard":
        weights[2] *= np.sqrt(base / width)
        rates, multiplier = np.ones(3), 1.0
    rates = rates * (0.02 if optimizer == "adam" else 0.05)
    m, v, begun = [0.0] * 3, [0.0] * 3, None
    for step in range(1, steps + 2):
        pre1 = x @ weights[0]
        h1 = np.maximum(pre1, 0)
        pre2 = h1 @ weights[1]
        h2 = np.maximum(pre2, 0)
        out = h2 @ weights[2] * multiplier
        seen = (pre1, pre2, out)
        begun = begun or seen
        back = (out - y) / len(x)
        d2 = (back @ weights[2].T) * multiplier * (pre2 > 0)
        d1 = (d2 @ weights[1].T) * (pre1 > 0)
        for i, gradient in enumerate((x.T @ d1, h1.T @ d2, h2.T @ back * multiplier)):
            m[i], v[i] = 0.9 * m[i] + 0.1 * gradient, 0.999 * v[i] + 0.001 * gradient**2
            scale = np.sqrt(v[i] / (1 - 0.999**step)) + 1e-12
            go = m[i] / (1 - 0.9**step) / scale if optimizer == "adam" else gradient
            weights[i] = weights[i] - rates[i] * go
    assert begun is not None
    return np.array([np.abs(now - then).mean() for now, then in zip(seen, begun, strict=True)])


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_what_moves_under_the_table_moves_alike_at_every_width(optimizer: str) -> None:
    """The coordinate check: slope of log mean |change| over log width is about 0 with the table, and not without it."""
    widths = np.array([64, 128, 256, 512])
    slopes = {}
    for kind in ("mup", "standard"):
        found = np.log([np.mean([moved(int(w), 64, optimizer, kind, s) for s in range(5)], axis=0) for w in widths])
        slopes[kind] = np.polyfit(np.log(widths), found, 1)[0]
    assert np.abs(slopes["mup"]).max() < 0.1
    assert np.abs(slopes["standard"]).max() > 0.5
