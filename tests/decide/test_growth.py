"""Growth by stacking: the paper's goldens and table, the cost of the small model, the speed-up by its definition."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scaling_lab.decide.growth import growth, speedup
from scaling_lab.engine.fit import fit
from scaling_lab.engine.predict import predict
from scaling_lab.errors import UsageError
from scaling_lab.laws import LAWS
from tests.cli.test_commands import lab  # noqa: F401  (a fixture)
from tests.laws.worlds import WORLDS

GSTACK = LAWS["gstack"]


@pytest.mark.parametrize(
    ("params", "flops", "tokens"), [(1.1e9, 8e20, 1.0647e10), (3e9, 3.5e21, 1.5076e10), (7e9, 7e21, 2.4985e10)]
)
def test_goldens_of_the_timing_law(params: float, flops: float, tokens: float) -> None:
    x = {"params": np.array([params]), "flops": np.array([flops])}
    assert GSTACK.predict(x, **GSTACK.published["du2024"].values)[0] == pytest.approx(tokens, rel=1e-4)
    assert growth(params, flops=flops).growth_tokens.value == pytest.approx(tokens, rel=1e-4)


@pytest.mark.parametrize(
    ("params", "tokens", "small"),
    [(8e9, 15e12, 6.58e9), (7e9, 2e12, 11.11e9), (13e9, 2e12, 15.84e9), (70e9, 2e12, 42.48e9)],
)
def test_the_authors_own_table(params: float, tokens: float, small: float) -> None:
    found = growth(params, tokens)
    assert found.growth_tokens.value == pytest.approx(small, abs=0.006e9)
    assert found.factor == 4
    assert ("SL447" in {w.code for w in found.warnings}) == (params > 7e9)


def test_the_small_model_costs_what_the_paper_says() -> None:
    """With a factor of 4, 10B tokens of the small model cost as much as 2.5B of the large one."""
    found = growth(1.1e9, flops=8e20)
    assert found.worth_tokens == pytest.approx(found.growth_tokens.value / 4)
    assert found.small_flops == pytest.approx(6 * 1.1e9 * found.worth_tokens)
    assert found.small_params == 1.1e9 / 4
    assert found.tokens == pytest.approx(8e20 / 6.6e9)
    assert found.warnings == ()


def test_more_tokens_than_there_are_is_held_and_told() -> None:
    found = growth(7e9, 5e9)
    assert found.growth_tokens.value == 5e9
    assert found.share == 1.0
    assert found.asked > 5e9
    assert [w.code for w in found.warnings] == ["SL446"]
    assert GSTACK.cautions is not None
    x = {"params": np.array([7e9]), "flops": np.array([6 * 7e9 * 5e9])}
    assert "more than the 5e+09" in GSTACK.cautions(x, GSTACK.published["du2024"].values)[0]


def test_other_factors_are_told() -> None:
    assert "a growth factor of 8" in growth(3e9, 1e12, factor=8).warnings[0].message
    assert "timing for a growth factor of 2" in growth(3e9, 1e12, factor=2).warnings[0].message


def test_a_fit_of_one_s_own_gives_an_interval() -> None:
    found = fit("gstack", WORLDS["gstack"].table(noise=0.1), bootstrap=200)
    own, published = growth(3e9, flops=3.5e21, fit=found), growth(3e9, flops=3.5e21)
    low, high = own.growth_tokens.ci
    assert low < published.growth_tokens.value < high
    assert predict(found, {"params": 3e9, "flops": 3.5e21}).value[0] == pytest.approx(own.growth_tokens.value)
    assert own.source == "your fit of gstack"
    assert "SL401" not in {notice.code for notice in own.warnings}
    far = growth(3e13, flops=3.5e29, fit=found)
    assert "SL401" in {notice.code for notice in far.warnings}
    assert "SL407" in {notice.code for notice in growth(3e9, flops=3.5e21, fit=found, level=0.99).warnings}


def test_what_makes_no_sense_is_refused() -> None:
    for fault, said in (
        (lambda: growth(1e9), "give --tokens or --flops"),
        (lambda: growth(1e9, 1e10, 1e20), "give --tokens or --flops"),
        (lambda: growth(-1e9, 1e10), "--params -1e"),
        (lambda: growth(1e9, 1e10, factor=1), "is no growth"),
        (lambda: growth(1e9, 1e10, level=5), "--level 5 is not between 0 and 1"),
    ):
        with pytest.raises(UsageError, match=said):
            fault()


def runs(scale: float, noise: float, seed: int) -> pd.DataFrame:
    """Runs of L = 20 (scale C)^-.05: one that trains as if it had `scale` times the compute."""
    flops = np.repeat(np.geomspace(1e19, 1e22, 8), 3)
    loss = 20 * (scale * flops) ** -0.05 * np.exp(noise * np.random.default_rng(seed).standard_normal(24))
    return pd.DataFrame({"flops": flops, "loss": loss, "run_id": [f"r{i}" for i in range(24)]})


def test_the_speed_up_is_the_ratio_of_compute_at_equal_loss_less_one() -> None:
    scratch, grown = (fit("kaplan-c", runs(s, 0.0, 0), bootstrap=0) for s in (1.0, 1.546))
    found = speedup(scratch, grown)
    assert len(found.speedups) == 5
    for gained in found.speedups:
        assert gained.value == pytest.approx(0.546, rel=1e-4)
        assert gained.ci == ()
    place = {"flops": 1e21}
    (counted,) = speedup(scratch, grown, at=[place], small_flops=1e20).speedups
    assert counted.value == pytest.approx(1.546e21 / 1.1e21 - 1, rel=1e-4)


def test_the_interval_of_the_speed_up_holds_the_truth() -> None:
    scratch, grown = (fit("kaplan-c", runs(s, 0.001, i), bootstrap=200) for i, s in enumerate((1.0, 1.546)))
    found = speedup(scratch, grown)
    for gained in found.speedups:
        low, high = gained.ci
        assert low < 0.546 < high
    # Inside both tables; at the last place scratch needs more compute than any of its runs had.
    low, high = found.speedups[2].ci
    assert high - low < 0.2
    assert found.to_dict()["schema"] == "scaling-lab/speedup/1"
    with pytest.raises(UsageError, match="--small-flops -1 is below zero"):
        speedup(scratch, grown, small_flops=-1)


def test_the_command(lab) -> None:  # noqa: F811
    text = lab("growth", "--params", "7B", "--tokens", "2T").out
    assert "11.1B" in text
    assert "0.56 %" in text
    found = lab("growth", "--params", "7B", "--tokens", "2T", "--json").json
    assert found["growth_tokens"]["value"] == pytest.approx(11.11e9, abs=0.006e9)
    for name, scale in (("scratch", 1.0), ("grown", 1.546)):
        runs(scale, 0.001, 0).to_csv(f"{name}.csv", index=False)
        lab("fit", "kaplan-c", f"{name}.csv", "--starts", 72, "--bootstrap", 40, "--out", f"{name}.json")
    assert "54.6 %" in lab("growth", "--scratch", "scratch.json", "--grown", "grown.json").out
    # 40 draws are too few for 90 %, and the fit's own warnings count for --fail-on as those of the answer do.
    runs(1.0, 0.001, 0).head(6).to_csv("few.csv", index=False)
    lab("fit", "kaplan-c", "few.csv", "--starts", 72, "--bootstrap", 40, "--out", "few.json")
    stopped = lab("growth", "--scratch", "few.json", "--grown", "grown.json", "--fail-on", "SL202")
    assert "warning SL202: scratch: " in stopped.err
    assert stopped.code == 4
    faults = {
        ("--scratch", "a", "--grown", "b", "--params", "0"): "ask for a speed-up",
        ("--scratch", "scratch.json"): "a speed-up needs both",
        ("--tokens", "2T"): "give --params",
        ("--params", "7B", "--tokens", "2T", "--at", "flops=1"): "are of a speed-up",
        ("--scratch", "a", "--grown", "b", "--params", "7B"): "ask for a speed-up",
    }
    for given, said in faults.items():
        wrong = lab("growth", *given)
        assert wrong.code == 2
        assert said in wrong.err
