"""Rules for learning rate and batch: printed constants, goldens of the papers' tables, and what each rule refers to."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import least_squares

from scaling_lab.engine.fit import fit
from scaling_lab.engine.predict import predict
from scaling_lab.errors import UsageError
from scaling_lab.laws import LAWS, get_law
from scaling_lab.laws.hyper import BJORCK_HORIZON, PLATEAU, RULES, deepseek_flops_per_token, get_rule
from scaling_lab.quantities import QUANTITIES
from tests.laws.worlds import WORLDS


def at(law: str, row: str, **x: float) -> float:
    entry = LAWS[law]
    return float(np.asarray(entry.predict({n: np.array([v]) for n, v in x.items()}, **entry.published[row].values))[0])


@pytest.mark.parametrize(
    ("n", "d", "lr", "batch"),
    [(1e9, 1e11, 1.6325e-3, 1.1077e6), (7e9, 1.4e12, 9.166e-4, 4.999e6), (3e8, 6e9, 1.624e-3, 2.222e5)],
)
def test_goldens_of_step_law(n: float, d: float, lr: float, batch: float) -> None:
    assert at("hp:step-law", "li2025", params_nonvocab=n, tokens=d) == pytest.approx(lr, rel=4e-4)
    assert at("hp:step-law-batch", "li2025", tokens=d) == pytest.approx(batch, rel=2e-4)


@pytest.mark.parametrize(
    ("law", "row", "x", "value"),
    [
        ("hp:deepseek", "deepseek2024", {"flops": 6e20}, 7.8815e-4),
        ("hp:deepseek-batch", "deepseek2024", {"flops": 6e20}, 1.8277e6),
        ("hp:deepseek", "deepseek2024", {"flops": 6 * 7e9 * 1.4e12}, 4.443e-4),
        ("hp:deepseek-batch", "deepseek2024", {"flops": 6 * 7e9 * 1.4e12}, 8.189e6),
        ("hp:kaplan", "kaplan2020", {"params_nonembed": 1e9}, 3.4810e-4),
        ("hp:porian", "porian2024", {"params_nonembed_head": 1e9}, 2.1291e-3),
        ("hp:porian-batch", "porian2024", {"params_nonembed_head": 1e9}, 1.6086e6),
        ("hp:minicpm-batch", "minicpm2024", {"loss": 3.0}, 1.275e6),
        ("hp:minicpm-batch", "minicpm2024", {"loss": 2.5}, 3.978e6),
        ("hp:minicpm-batch", "minicpm2024", {"loss": 2.2}, 8.832e6),
        ("hp:kaplan-batch", "kaplan2020", {"loss": 3.0}, 1.069e6),
        ("hp:kaplan-batch", "kaplan2020", {"loss": 2.5}, 2.547e6),
        ("hp:kaplan-batch", "kaplan2020", {"loss": 2.2}, 4.682e6),
        ("hp:power", "measured", {"batch_sequences": 1024.0, "tokens": 1e11}, 0.011563),
        ("hp:power", "measured", {"batch_sequences": 1024.0, "tokens": 1e12}, 0.003573),
        ("hp:power", "measured", {"batch_sequences": 1024.0, "tokens": 1e13}, 0.001104),
        ("hp:power", "schedule", {"batch_sequences": 1024.0, "tokens": 1e11}, 0.010054),
        ("hp:power", "schedule", {"batch_sequences": 1024.0, "tokens": 1e12}, 0.003107),
    ],
)
def test_goldens_of_the_table_of_rules(law: str, row: str, x: dict[str, float], value: float) -> None:
    assert at(law, row, **x) == pytest.approx(value, rel=3e-4)


def test_kaplans_two_rows_are_one_law() -> None:
    """2.1e8 * L**-4.8 is 2e8 * L**(-1/.21) with other rounding: within a few percent over all losses of interest."""
    for loss in (1.8, 2.2, 3.0, 5.0):
        first, second = (at("hp:kaplan-batch", row, loss=loss) for row in ("kaplan2020", "kaplan2020-4.8"))
        assert first == pytest.approx(second, rel=0.06)
    # The batch doubles for each 13 % that the loss falls.
    assert at("hp:kaplan-batch", "kaplan2020", loss=2 * 0.87) / at(
        "hp:kaplan-batch", "kaplan2020", loss=2.0
    ) == pytest.approx(2, rel=0.04)


def test_kaplans_rate_ends_where_it_reaches_zero() -> None:
    law = LAWS["hp:kaplan"]
    values = law.published["kaplan2020"].values
    last = math.exp(values["intercept"] / values["fall"])
    assert last == pytest.approx(1.21e10, rel=0.01)
    assert law.cautions is not None
    assert law.cautions({"params_nonembed": np.array([1e9])}, values) == []
    assert "zero at N = 1.21e+10" in law.cautions({"params_nonembed": np.array([1e9, 2e10])}, values)[0]


def test_the_power_scheduler_leaves_its_cap_where_the_paper_says() -> None:
    """At a batch of 1,024 sequences and a = 4 the cap of .02 ends at 2.60e10 tokens."""
    row = LAWS["hp:power"].published["schedule"].values
    setting = RULES["hp:power"].lr
    assert setting is not None
    assert setting.most == 0.02
    assert (setting.most / (1024 * row["a"])) ** (1 / row["b"]) == pytest.approx(2.60e10, rel=2e-3)


def test_deepseeks_flops_for_each_token() -> None:
    """8 layers, width 512, sequences of 4,096: M = 352,321,536; 6N/M is .43 without the vocabulary."""
    assert deepseek_flops_per_token(512, 8, 4096) == 352_321_536
    without_vocabulary = 12 * 8 * 512**2
    assert 6 * without_vocabulary / 352_321_536 == pytest.approx(0.43, abs=0.005)


@pytest.mark.parametrize(("flops", "m", "tokens"), [(1e20, 5.251267e9, 1.904530e10), (1e24, 6.568469e11, 1.522607e12)])
def test_goldens_of_deepseeks_split_of_compute(flops: float, m: float, tokens: float) -> None:
    """The exponents of M and tokens add up to one and their scales' product to 1.0001, so M is what is left."""
    found = at("deepseek-tokens", "second-hand", flops=flops)
    assert found == pytest.approx(tokens, rel=1e-6)
    assert flops / found == pytest.approx(m, rel=3e-4)


def test_bjorcks_exponents() -> None:
    assert BJORCK_HORIZON.exponent == 0.32
    assert not LAWS["hp:bjorck"].published
    assert RULES["hp:bjorck"].relative


def test_what_was_read_second_hand_is_never_published() -> None:
    for name in ("hp:moonlight", "hp:moonlight-batch", "hp:meituan", "hp:meituan-batch"):
        assert not LAWS[name].published
    assert RULES["hp:moonlight"].secondary


def test_every_rule_refers_to_laws_and_rows_that_there_are() -> None:
    for rule in RULES.values():
        assert rule.source
        assert rule.fitted
        assert rule.counts in ("", *QUANTITIES)
        for setting, target in ((rule.lr, "lr_max"), (rule.batch, "batch_tokens")):
            if setting is None or setting.constant is not None:
                continue
            law = LAWS[setting.law]
            assert law.target == target
            assert law.family == "hyperparameter"
            assert setting.row in ("", *law.published)
            assert not (setting.row and setting.read)
            assert not setting.read or (set(setting.read) == set(law.names) and rule.secondary)
            sizes = [name for name in law.inputs if QUANTITIES[name].counts]
            assert sizes == ([rule.counts] if sizes else [])
        for name in rule.within:
            assert name in QUANTITIES


def test_rules_are_found_by_either_name_and_a_typo_names_the_nearest() -> None:
    assert get_rule("hp:openai") is RULES["hp:kaplan"]
    assert get_rule("microsoft") is RULES["hp:bjorck"]
    assert get_law("hp:openai") is LAWS["hp:kaplan"]
    with pytest.raises(UsageError, match="did you mean 'hp:step-law'"):
        get_rule("hp:steplaw")


# ------------------------------------------------------------------------------------------------- measured grids


@pytest.fixture(scope="module")
def grids(data_dir: Path) -> pd.DataFrame:
    """Step Law's released dense grids, the learning rate on its grid of powers of sqrt(2) as `step`."""
    frame = pd.read_csv(data_dir / "steplaw_dense" / "points.csv")
    return frame.assign(step=np.round(2 * np.log2(frame.lr_max)) / 2)


def regret(grids: pd.DataFrame, lr: object, batch: object) -> tuple[float, float]:
    """Mean and largest loss in excess of the best, of the cell nearest in ln lr and ln batch."""
    assert callable(lr)
    assert callable(batch)
    found = []
    for (n, d), cells in grids.groupby(["params_nonembed", "tokens"]):
        best = cells.loss.min()
        way = np.log(cells.lr_max / lr(n, d, best)) ** 2 + np.log(cells.batch_tokens / batch(n, d, best)) ** 2
        found.append(cells.loss[way.idxmin()] / best - 1)
    return float(np.mean(found)), float(np.max(found))


def test_the_regret_that_each_rule_is_shown_with(grids: pd.DataFrame) -> None:
    rules = {
        "hp:step-law": (
            lambda n, d, _: at("hp:step-law", "li2025", params_nonvocab=n, tokens=d),
            lambda _n, d, _: at("hp:step-law-batch", "li2025", tokens=d),
        ),
        "hp:deepseek": (
            lambda n, d, _: at("hp:deepseek", "deepseek2024", flops=6 * n * d),
            lambda n, d, _: at("hp:deepseek-batch", "deepseek2024", flops=6 * n * d),
        ),
        "hp:porian": (
            lambda n, _d, _: at("hp:porian", "porian2024", params_nonembed_head=n),
            lambda n, _d, _: at("hp:porian-batch", "porian2024", params_nonembed_head=n),
        ),
        "hp:kaplan": (
            lambda n, _d, _: at("hp:kaplan", "kaplan2020", params_nonembed=n),
            lambda _n, _d, loss: at("hp:kaplan-batch", "kaplan2020", loss=loss),
        ),
    }
    for name, (lr, batch) in rules.items():
        shown = RULES[name].regret
        assert shown is not None
        assert regret(grids, lr, batch) == pytest.approx(shown, rel=0.03), name
    assert {name for name, rule in RULES.items() if rule.regret} == set(rules)


def test_the_plateau_that_is_shown(grids: pd.DataFrame) -> None:
    """Highest over lowest rate (at the best batch) and batch (at the best rate) within .25 % of each grid's best."""
    rates, batches = [], []
    for _, cells in grids.groupby(["params_nonembed", "tokens"]):
        best = cells.loc[cells.loss.idxmin()]
        near = cells[cells.loss <= best.loss * (1 + PLATEAU.loss)]
        rates.append(2 ** np.ptp(near.step[near.batch_tokens == best.batch_tokens]))
        of_batch = near.batch_tokens[near.step == best.step]
        batches.append(of_batch.max() / of_batch.min())
    assert (min(rates), max(rates)) == pytest.approx(PLATEAU.lr, rel=0.02)
    # In one grid no batch but the best lies within it.
    assert sorted(batches)[0] == 1
    assert (sorted(batches)[1], max(batches)) == pytest.approx(PLATEAU.batch, rel=0.03)


def test_a_fit_of_every_rule_is_where_scipys_is() -> None:
    """Least squares of the log target, 20 starts of scipy's, on the world of each law with 5 % of noise."""
    rng = np.random.default_rng(4)
    for name in ("hp:step-law", "hp:bjorck", "hp:deepseek", "hp:porian-batch", "hp:minicpm-batch", "hp:power"):
        world, law = WORLDS[name], LAWS[name]
        table = world.table(noise=0.05)
        found = fit(name, table, objective="l2", bootstrap=0)
        x = {n: table[n].to_numpy(float) for n in law.inputs}
        y = np.log(table[law.target].to_numpy(float))

        def residual(theta: np.ndarray, law=law, x=x, y=y) -> np.ndarray:  # type: ignore[no-untyped-def]
            values = {n: np.exp(v) if i == 0 else v for i, (n, v) in enumerate(zip(law.names, theta, strict=True))}
            return np.log(law.predict(x, **values)) - y

        costs = []
        for _ in range(20):
            start = [rng.uniform(np.log(p.start[0]), np.log(p.start[1])) if p.signed else rng.uniform(*p.start)
                     for p in law.params]  # fmt: skip
            costs.append(least_squares(residual, start, x_scale="jac", xtol=1e-14, ftol=1e-14, gtol=1e-14).cost)
        planted = 0.5 * np.sum((np.log(law.predict(x, **world.params)) - y) ** 2)
        assert found.value <= min(costs) * (1 + 1e-9)
        assert found.value <= planted
        assert found.value == pytest.approx(min(costs), rel=1e-6), name


def test_kaplans_law_is_a_line_in_the_logarithm() -> None:
    """Its fit is numpy's straight line, exactly."""
    table = WORLDS["hp:kaplan"].table(noise=2e-6)
    found = fit("hp:kaplan", table, objective="l2", bootstrap=0)
    slope, intercept = np.polyfit(np.log(table.params_nonembed), table.lr_max, 1)
    assert found.values["fall"] == pytest.approx(-slope, rel=1e-6)
    assert found.values["intercept"] == pytest.approx(intercept, rel=1e-6)
    point = predict(found, {"params_nonembed": 2e10})
    assert "SL408" in {n.code for n in point.warnings}
