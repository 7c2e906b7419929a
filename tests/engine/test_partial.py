"""The end of an unfinished run from its own curve: planted schedules, which run is which, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling_lab import fit, predict, predict_partial
from scaling_lab.engine.partial import LEAST_RUNS, Curve
from scaling_lab.engine.result import Fit
from scaling_lab.errors import BadInput, UsageError
from tests.conftest import TRUTH

TARGET = {"params": 1.2e9, "tokens": 6e10}
SIZES, RATIOS = (5e7, 1e8, 2e8, 4e8), (10.0, 20.0, 50.0)


def curve(
    run: str, params: float, tokens: float, offset: float = 0.0, noise: float = 0.0, seed: int = 0
) -> pd.DataFrame:
    """A run under a cosine to a tenth: the planted law's loss, plus what the learning rate keeps it above."""
    share = np.geomspace(0.005, 1.0, 80)
    lr = np.where(share < 0.01, share / 0.01, 0.1 + 0.45 * (1 + np.cos(np.pi * np.maximum(share - 0.01, 0) / 0.99)))
    law = TRUTH["E"] + TRUTH["A"] * params ** -TRUTH["alpha"] + TRUTH["B"] * (share * tokens) ** -TRUTH["beta"]
    # Luck and data of the run move all of its curve.
    loss = law * (1 + 0.03 * (lr - 0.1)) * np.exp(offset + noise * np.random.default_rng(seed).standard_normal(80))
    return pd.DataFrame(
        {"run_id": run, "params": params, "tokens": share * tokens, "loss": loss, "lr": lr, "lr_max": 1.0}
    )


def world(noise: float = 0.003, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame, float]:
    """Curves of twelve finished runs, the target's whole curve, and its final loss; runs scatter by `noise`."""
    rng = np.random.default_rng(seed)
    parts = [
        curve(f"{n:g}-{r:g}", n, r * n, noise * rng.standard_normal(), 2e-4, 100 * seed + i)
        for i, (n, r) in enumerate((n, r) for n in SIZES for r in RATIOS)
    ]
    target = curve("big", TARGET["params"], TARGET["tokens"], noise * rng.standard_normal(), 2e-4, 100 * seed + 50)
    return pd.concat(parts, ignore_index=True), target, float(target.loss.iloc[-1])


def seen(target: pd.DataFrame, share: float) -> pd.DataFrame:
    return target[target.tokens <= share * TARGET["tokens"]]


def law_of(finished: pd.DataFrame, **options: object) -> Fit:
    ends = finished.groupby("run_id", sort=False).last().reset_index()
    return fit("chinchilla", ends[["run_id", "params", "tokens", "loss"]], bootstrap=40, starts=100, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def planted() -> tuple[Fit, pd.DataFrame, pd.DataFrame, float]:
    finished, target, end = world()
    return law_of(finished), finished, target, end


def test_both_parts_hold_the_truth_and_the_curve_of_more_tokens_knows_more(planted: tuple) -> None:
    found, finished, target, end = planted
    widths = []
    for share in (0.1, 0.3, 0.7):
        p = predict_partial(found, TARGET, pd.concat([finished, seen(target, share)]))
        assert p.run_id == "big"
        assert p.fraction == pytest.approx(share, rel=0.07)
        assert p.run.interval[0] < end < p.run.interval[1]
        assert p.combined.low[0] < end < p.combined.high[0]
        assert p.law.weight + p.run.weight == pytest.approx(1.0)
        widths.append(p.run.interval[1] - p.run.interval[0])
    assert widths[0] > widths[1] > widths[2]
    assert p.run.value == pytest.approx(end, rel=2e-3)
    law = predict(found, TARGET)
    assert p.law.value == law.value[0]
    assert p.law.interval == (law.low[0], law.high[0])


def test_a_lucky_run_shows_in_its_curve_and_not_in_the_law(planted: tuple) -> None:
    """A target 1 % below the law: most of it is found from 30 % of its curve, none of it by the law."""
    found, finished, _, _ = planted
    target = curve("big", TARGET["params"], TARGET["tokens"], -0.01)
    p = predict_partial(found, TARGET, pd.concat([finished, seen(target, 0.3)]))
    end = float(target.loss.iloc[-1])
    assert abs(np.log(p.run.value / end)) < 0.003 < 0.007 < abs(np.log(p.law.value / end))
    assert abs(np.log(p.combined.value[0] / end)) < abs(np.log(p.law.value / end))


def test_a_mid_training_loss_is_not_taken_for_a_final_one(planted: tuple) -> None:
    """The planted schedule keeps the loss 2 % up at 30 %: a law shifted by that residual would end 2 % too high."""
    found, finished, target, end = planted
    part = seen(target, 0.3)
    p = predict_partial(found, TARGET, pd.concat([finished, part]))
    at = {"params": TARGET["params"], "tokens": float(part.tokens.iloc[-1])}
    shifted = p.law.value * part.loss.iloc[-1] / predict(found, at).value[0]
    assert np.log(shifted / end) > 0.015
    assert abs(np.log(p.run.value / end)) < 0.004


def test_intervals_cover_over_planted_worlds() -> None:
    """12 worlds: 90 % intervals of the curve alone and of both hold at least 10 (fewer is chance in 1 of 39)."""
    hits = []
    for seed in range(1, 13):
        finished, target, end = world(0.004, seed)
        p = predict_partial(law_of(finished), TARGET, pd.concat([finished, seen(target, 0.3)]))
        hits.append([p.run.interval[0] < end < p.run.interval[1], p.combined.low[0] < end < p.combined.high[0]])
    assert (np.sum(hits, axis=0) >= 10).all(), np.sum(hits, axis=0)


def test_disagreement_widens_and_is_said(planted: tuple) -> None:
    found, finished, _, _ = planted
    target = curve("big", TARGET["params"], TARGET["tokens"], 0.3)
    p = predict_partial(found, TARGET, pd.concat([finished, seen(target, 0.5)]))
    assert p.widened > 2
    assert "SL413" in [w.code for w in p.warnings]
    half = np.log(p.combined.high[0] / p.combined.low[0]) / 2
    assert half > np.log(p.run.value / p.law.value) * min(p.law.weight, p.run.weight)


def test_the_unfinished_run_is_found_among_finished_ones_of_its_size() -> None:
    finished, target, _ = world()
    like = curve("short", TARGET["params"], TARGET["tokens"] / 5)
    finished = pd.concat([finished, like])
    # The fit's own rows say that `short` is finished; a fit that doesn't know it can't tell.
    assert predict_partial(law_of(finished), TARGET, pd.concat([finished, seen(target, 0.3)])).run_id == "big"
    blind = law_of(finished[finished.run_id != "short"])
    with pytest.raises(BadInput, match=r"2 runs have 1\.2B parameters and fewer than 60B tokens: 'short', 'big'"):
        predict_partial(blind, TARGET, pd.concat([finished, seen(target, 0.3)]))
    p = predict_partial(blind, TARGET, pd.concat([finished, seen(target, 0.3)]), run="big")
    assert len(p.finished) == 13


def test_curves_without_params_take_them_from_the_fit(planted: tuple) -> None:
    found, finished, target, _ = planted
    table = pd.concat([finished, seen(target, 0.3)])
    with_params, without = (
        predict_partial(found, TARGET, table),
        predict_partial(found, TARGET, table.drop(columns="params")),
    )
    assert without.combined.value[0] == with_params.combined.value[0]
    stranger = pd.concat([table, curve("stranger", 5e7, 1e9)]).drop(columns="params")
    with pytest.raises(BadInput, match="no column 'params'"):
        predict_partial(found, TARGET, stranger)


def test_a_fit_that_knows_the_run_is_warned_of(planted: tuple) -> None:
    _, finished, target, _ = planted
    part = seen(target, 0.3)
    p = predict_partial(law_of(pd.concat([finished, part])), TARGET, pd.concat([finished, part]), run="big")
    assert "SL410" in [w.code for w in p.warnings]


def test_other_schedules_and_warm_up_are_left_out_and_counted(planted: tuple) -> None:
    found, finished, target, _ = planted
    flat = curve("flat", 1e8, 3e9).assign(lr=1.0)
    late = curve("late", 1e8, 4e9)
    late["lr"] = np.minimum(1.0, late.tokens / 2e9)
    p = predict_partial(found, TARGET, pd.concat([finished, flat, late, seen(target, 0.7)]))
    assert set(p.left_out) == {"flat", "late"}
    assert set(p.left_out.values()) == {"another learning rate, as a share of its peak, at that fraction"}
    p = predict_partial(found, TARGET, pd.concat([finished, flat, late, seen(target, 0.3)]))
    assert p.left_out["late"] == "in its warm-up at that fraction"
    assert "SL411" in [w.code for w in p.warnings]
    named = pd.concat(
        [finished.assign(schedule="cosine"), flat.assign(schedule="wsd"), seen(target, 0.3).assign(schedule="cosine")]
    )
    assert predict_partial(found, TARGET, named).left_out == {"flat": "schedule 'wsd', not 'cosine'"}


def test_a_curve_cut_short_is_no_finished_run(planted: tuple) -> None:
    found, finished, target, _ = planted
    cut = finished[(finished.run_id != "5e+07-10") | (finished.tokens < 4e8)]
    p = predict_partial(found, TARGET, pd.concat([cut, seen(target, 0.3)]))
    assert "before its run did" in p.left_out["5e+07-10"]


def test_training_losses_are_smoothed_and_it_is_said(planted: tuple) -> None:
    found, finished, target, end = planted
    dense = np.geomspace(0.005, 1, 4000)
    rng = np.random.default_rng(3)

    def noisy(run: pd.DataFrame) -> pd.DataFrame:
        tokens = dense[dense <= run.tokens.iloc[-1] / whole[run.run_id.iloc[0]]] * whole[run.run_id.iloc[0]]
        loss = np.exp(
            np.interp(np.log(tokens), np.log(run.tokens), np.log(run.loss)) + 0.01 * rng.standard_normal(len(tokens))
        )
        return pd.DataFrame(
            {"run_id": run.run_id.iloc[0], "params": run.params.iloc[0], "tokens": tokens, "train_loss": loss}
        )

    whole = {**finished.groupby("run_id").tokens.max().to_dict(), "big": TARGET["tokens"]}
    runs = [noisy(run) for _, run in pd.concat([finished, seen(target, 0.3)]).groupby("run_id", sort=False)]
    p = predict_partial(found, TARGET, pd.concat(runs))
    assert "SL416" in [w.code for w in p.warnings]
    assert p.run.value == pytest.approx(end, rel=0.01)
    assert p.run.interval[0] < end < p.run.interval[1]


def test_reruns_count_as_one_pair(planted: tuple) -> None:
    """Three seeds of one setting say nothing of another one."""
    found, _, target, _ = planted
    seeds = pd.concat([curve(f"s{i}", 1e8, 2e9, noise=1e-3, seed=i) for i in range(4)])
    with pytest.raises(BadInput, match="the finished runs have 1 pairs of params and tokens"):
        predict_partial(found, TARGET, pd.concat([seeds, seen(target, 0.3)]))


def test_few_finished_runs_are_warned_of_and_fewer_refused(planted: tuple) -> None:
    found, finished, target, _ = planted
    ids = list(finished.run_id.unique())
    few = finished[finished.run_id.isin(ids[:LEAST_RUNS])]
    p = predict_partial(found, TARGET, pd.concat([few, seen(target, 0.3)]))
    assert {"SL412", "SL414"} <= {w.code for w in p.warnings}
    assert p.gap.freedom <= 2
    with pytest.raises(BadInput, match="2 finished runs can be compared with the target, and at least 3 are needed"):
        predict_partial(found, TARGET, pd.concat([finished[finished.run_id.isin(ids[:2])], seen(target, 0.3)]))


@pytest.mark.parametrize(
    ("change", "at", "options", "error", "says"),
    [
        (lambda t: t, {"params": 1.2e9}, {}, UsageError, "needs a point with params and tokens"),
        (lambda t: t, {"params": 3e9, "tokens": 6e10}, {}, BadInput, "no unfinished run has 3B parameters"),
        (lambda t: t, TARGET, {"run": "bog"}, UsageError, "did you mean 'big'"),
        (lambda t: t, TARGET, {"run": "1e+08-20"}, UsageError, "has 100M parameters, and the point 1.2B"),
        (lambda t: t, {"params": 1.2e9, "tokens": 1e10}, {"run": "big"}, BadInput, "no fewer than the 10B"),
        (lambda t: t, {"params": 1.2e9, "tokens": 2e12}, {}, BadInput, "less than 2%"),
        (lambda t: t.assign(lr=np.where(t.run_id == "big", t.tokens / 1e12, 1)), TARGET, {}, BadInput, "its warm-up"),
        (lambda t: t.drop(columns="run_id"), TARGET, {}, BadInput, "no column 'run_id'"),
        (lambda t: t.drop(columns="tokens"), TARGET, {}, BadInput, "no column 'tokens'"),
        (lambda t: t[::-1], TARGET, {}, BadInput, r"tokens of run 'big' go from"),
        (lambda t: t.assign(params=np.where(t.lr < 0.2, 2, 1) * t.params), TARGET, {}, BadInput, "params of .* change"),
        (lambda t: t.assign(unit=np.where(t.lr < 0.2, "bits", "nats")), TARGET, {}, BadInput, "several units: nats"),
        (lambda t: t.assign(split=np.where(t.lr < 0.2, "c4", "pile")), TARGET, {}, BadInput, "several evaluations"),
        (lambda t: t.assign(loss=t.loss * 1.02), TARGET, {}, BadInput, "differ by 2.0%"),
        (lambda t: t.assign(loss=np.where(t.run_id == "big", -1.0, t.loss)), TARGET, {}, BadInput, "-1 is not above"),
        (lambda t: t.rename(columns={"params": "params_nonembed"}), TARGET, {"mapping": {"params": "params_nonembed"}},
         BadInput, "params count non-embedding parameters here, and total in the fit"),
    ],
)  # fmt: skip
def test_what_can_not_be_is_refused_in_one_line(
    planted: tuple, change: object, at: dict, options: dict, error: type[Exception], says: str
) -> None:
    found, finished, target, _ = planted
    table = change(pd.concat([finished, seen(target, 0.3)], ignore_index=True))  # type: ignore[operator]
    with pytest.raises(error, match=says) as fault:
        predict_partial(found, at, table, **options)
    assert "\n" not in str(fault.value)


def test_a_duplicate_row_is_left_out_and_a_contradiction_refused(planted: tuple) -> None:
    found, finished, target, _ = planted
    table = pd.concat([finished, seen(target, 0.3)], ignore_index=True)
    twice = pd.concat([table, table.iloc[[5]]], ignore_index=True)
    assert (
        predict_partial(found, TARGET, twice).combined.value[0]
        == predict_partial(found, TARGET, table).combined.value[0]
    )
    other = pd.concat([table, table.iloc[[5]].assign(loss=9.0)], ignore_index=True)
    with pytest.raises(BadInput, match="stands at line 5 too, with another loss"):
        predict_partial(found, TARGET, other)


def test_rows_before_the_first_step_are_no_part_of_a_run(planted: tuple) -> None:
    found, finished, target, _ = planted
    table = pd.concat([finished, seen(target, 0.3)], ignore_index=True)
    begin = table.groupby("run_id", sort=False).first().reset_index().assign(tokens=0.0, loss=11.0)
    more = pd.concat([begin, table], ignore_index=True)
    assert (
        predict_partial(found, TARGET, more).combined.value[0]
        == predict_partial(found, TARGET, table).combined.value[0]
    )


def test_a_curve_is_read_between_its_measurements() -> None:
    run = Curve("a", 1e8, np.array([1e9, 1.2e9, 4e9]), np.log([4.0, 3.8, 3.0]), np.full(3, np.nan), 1)
    assert run.at(1.2e9, 0.0) == np.log(3.8)
    between = np.interp(np.log(1.1e9), np.log([1e9, 1.2e9]), np.log([4.0, 3.8]))
    assert run.at(1.1e9, 0.0) == pytest.approx(between)
    # Too far from any measurement, before the first, after the last: nothing is made up.
    assert np.isnan([run.at(t, 0.0) for t in (2e9, 5e8, 5e9)]).all()


@pytest.mark.data
def test_olmo_ladder_at_thirty_per_cent(data_dir: Path) -> None:
    """Six 1B runs from 30 % of their curves: a third less error than the law's, and 90 % intervals miss at most one."""
    table = pd.read_csv(data_dir / "olmo_ladder/curves.csv.gz").sort_values(["run_id", "tokens"])
    table = table.rename(columns={"params_nonembed_with_head": "params", "loss_c4_en": "loss"})
    table = table[["run_id", "size", "params", "tokens", "loss", "lr", "lr_max"]]
    small = table[table["size"] != "1B"]
    ends = small.groupby("run_id").last().reset_index()[["run_id", "params", "tokens", "loss"]]
    found = fit("chinchilla", ends, bootstrap=100, starts=400)
    law, both, hits = [], [], []
    for run, part in table[table["size"] == "1B"].groupby("run_id"):
        end = part.iloc[-1]
        known = pd.concat([small, part[part.tokens <= 0.3 * end.tokens]])
        p = predict_partial(found, {"params": end.params, "tokens": end.tokens}, known, run=str(run))
        law.append(abs(np.log(p.law.value / end.loss)))
        both.append(abs(np.log(p.combined.value[0] / end.loss)))
        hits.append(p.combined.low[0] < end.loss < p.combined.high[0])
    assert np.mean(both) < 0.67 * np.mean(law)
    assert sum(hits) >= 5
