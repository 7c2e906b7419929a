"""Learning-rate schedules: values at their joints, areas in closed form, logged rates, and what is refused."""

from __future__ import annotations

import gzip
import json
import math
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from scaling_lab.errors import BadInput
from scaling_lab.schedules import SCHEDULES, Schedule, left_out

FALLING = ("constant", "linear", "cosine", "cosine-power", "poly", "rex", *(n for n in SCHEDULES if n[:3] == "wsd"))


def learning_rates(
    schedule: str,
    steps: ArrayLike,
    total: int,
    *,
    lr_max: float = 1.0,
    warmup_steps: int = 0,
    floor: float = 0.0,
    decay: float = 0.2,
    **settings: object,
) -> np.ndarray:
    """The rates at `steps` of a schedule in one call."""
    return Schedule(schedule, total, lr_max, warmup_steps, floor, decay, settings).at(steps)


def any_schedule(name: str, total: int = 1000, warmup: int = 20, **fields: object) -> Schedule:
    """A schedule of each name that has what it needs: a floor, a batch, no warm-up where it brings its own."""
    settings = {"batch": 64, "seq_len": 128} if name == "power" else {}
    made = {"lr_max": 3e-3, "warmup_steps": 0 if name == "cyclic" else warmup, "floor": 0.1, "settings": settings}
    return Schedule(name, total, **(made | fields))  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------- values at the joints


def test_cosine_golden() -> None:
    # ½·2e-4·(1 + cos(π(s − 500)/19500)) after 500 steps of warm-up, to 0 at 20000
    steps = np.array([0, 250, 500, 5000, 10250, 20000])
    rates = learning_rates("cosine", steps, 20_000, lr_max=2e-4, warmup_steps=500)
    after = 1e-4 * (1 + np.cos(np.pi * (np.array([5000, 10250, 20000]) - 500) / 19500))
    np.testing.assert_allclose(rates, [0, 1e-4, 2e-4, *after], rtol=0, atol=1e-18)
    assert rates[4] == pytest.approx(1e-4)


def test_cosine_with_a_floor_ends_on_it() -> None:
    rates = learning_rates("cosine", [10, 55, 100], 100, lr_max=1.0, warmup_steps=10, floor=0.1)
    np.testing.assert_allclose(rates, [1.0, 0.55, 0.1])


HALF = math.sqrt(0.5)
# (name, settings, floor, values at x = 0, ½ and 1): curves.md §15.
GOLDEN = [
    ("constant", {}, 0.0, (1, 1, 1)),
    ("linear", {}, 0.0, (1, 0.5, 0)),
    ("linear", {}, 0.1, (1, 0.55, 0.1)),
    ("cosine", {}, 0.2, (1, 0.6, 0.2)),
    ("cosine-power", {"p0": 10}, 0.0, (1, (10**1.5 - 10) / 90, 0)),
    ("cosine-power", {"p0": 2}, 0.1, (1, 0.1 + 0.9 * (2**1.5 - 2) / 2, 0.1)),
    ("cosine-power", {"p0": 1}, 0.0, (1, 0.5, 0)),
    ("poly", {"q": 3}, 0.0, (1, 0.125, 0)),
    ("exp", {}, 0.01, (1, 0.1, 0.01)),
    ("rex", {"d": 0.5}, 0.0, (1, 0.5 / 0.75, 0)),
    ("rex", {"d": 0.9}, 0.0, (1, 0.5 / 0.55, 0)),
    ("wsd", {}, 0.0, (1, 0.5, 0)),
    ("wsd-cosine", {}, 0.0, (1, 0.5, 0)),
    ("wsd-sqrt", {}, 0.0, (1, 1 - HALF, 0)),
    ("wsd-square", {}, 0.0, (1, 0.75, 0)),
    ("wsd-exp", {}, 0.01, (1, 0.1, 0.01)),
    ("wsd-mirror-cosine", {}, 0.0, (1, 0.5, 0)),
    ("wsd-power", {"q": 1.5}, 0.0, (1, 0.5**1.5, 0)),
]


@pytest.mark.parametrize(("name", "settings", "floor", "values"), GOLDEN)
def test_values_at_the_ends_and_the_middle(name: str, settings: dict, floor: float, values: tuple) -> None:
    schedule = Schedule(name, 100, 2.0, 20, floor, 1.0, settings)
    np.testing.assert_allclose(schedule.at([20, 60, 100]), 2 * np.array(values), rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(schedule.at([0, 5, 10, 15]), [0, 0.5, 1, 1.5], rtol=1e-15)


# The integral of each shape over 0 … 1 (floor m): curves.md §15, and by hand.
AREAS = [
    ("linear", {}, 0.0, 1 / 2),
    ("cosine", {}, 0.0, 1 / 2),
    ("poly", {"q": 2}, 0.0, 1 / 3),
    ("exp", {}, 0.1, (0.1 - 1) / math.log(0.1)),
    ("wsd", {}, 0.0, 1 / 2),
    ("wsd-cosine", {}, 0.0, 1 / 2),
    ("wsd-sqrt", {}, 0.0, 1 / 3),
    ("wsd-square", {}, 0.0, 2 / 3),
    ("wsd-exp", {}, 0.1, (0.1 - 1) / math.log(0.1)),
    ("wsd-mirror-cosine", {}, 0.0, 1 / 2),
    ("wsd-power", {"q": 1.5}, 0.0, 1 / 2.5),
    ("rex", {"d": 0.5}, 0.0, 1 / 0.5 + (1 - 0.5) / 0.25 * math.log(0.5)),
    ("rex", {"d": 0.9}, 0.0, 1 / 0.9 + (1 - 0.9) / 0.81 * math.log(0.1)),
    ("sgdr", {"cycles": 3, "mult": 2}, 0.1, 0.55),
    ("cyclic", {"cycles": 5}, 0.1, 0.55),
    ("multistep", {}, 0.0, 0.8 + 0.1 * math.sqrt(0.1) + 0.1 * 0.1),
    ("multistep-30-60-90", {}, 0.0, 0.3 + 0.3 * 0.1 + 0.3 * 0.01 + 0.1 * 0.001),
    ("two-stage", {"switch": 0.25, "second": 0.4}, 0.0, 0.25 + 0.75 * 0.4),
]


@pytest.mark.parametrize(("name", "settings", "floor", "integral"), AREAS)
def test_areas_in_closed_form(name: str, settings: dict, floor: float, integral: float) -> None:
    total = 200_000
    schedule = Schedule(name, total, 3.0, 0, floor, 1.0, settings)
    # A sum over 1 … T and the integral differ by half the fall of one step.
    assert schedule.area() / (3.0 * total) == pytest.approx(integral, abs=1.5e-5)
    assert schedule.area() == pytest.approx(schedule.updates().sum(), rel=1e-14)
    assert schedule.area(1000) == pytest.approx(schedule.updates()[:1000].sum(), rel=1e-14)


def test_the_area_of_linear_and_warm_up_to_the_last_digit() -> None:
    # Sums of 1/W … 1 and of (n − 1)/n … 0, times the peak
    assert Schedule("linear", 100).area() == pytest.approx(49.5, rel=1e-14)
    assert Schedule("constant", 100, 2.0, 10).area() == pytest.approx(2 * (5.5 + 90), rel=1e-14)


@pytest.mark.parametrize(("name", "middle"), [("wsd", 0.5), ("wsd-cosine", 0.5), ("wsd-sqrt", 1 - np.sqrt(0.5))])
def test_wsd_is_flat_then_decays(name: str, middle: float) -> None:
    rates = learning_rates(name, [5, 10, 80, 90, 100], 100, lr_max=2.0, decay=0.2)
    np.testing.assert_allclose(rates, [2.0, 2.0, 2.0, 2 * middle, 0.0], atol=1e-12)


def test_wsd_decays_over_a_share_of_what_follows_the_warmup() -> None:
    rates = learning_rates("wsd", [20, 80, 90, 100], 100, warmup_steps=20, decay=0.25, floor=0.2)
    np.testing.assert_allclose(rates, [1.0, 1.0, 0.6, 0.2])


@pytest.mark.parametrize("name", sorted({*FALLING} - {"wsd-exp"}))
@pytest.mark.parametrize("total", [7, 100, 1001])
def test_a_falling_schedule_rises_to_its_peak_and_falls_from_it(name: str, total: int) -> None:
    rates = learning_rates(name, np.arange(total + 1), total, lr_max=3.0, warmup_steps=5)
    assert rates[0] == 0
    assert rates[5] == rates.max() == 3.0
    assert (np.diff(rates[:6]) > 0).all()
    assert (np.diff(rates[5:]) <= 1e-15).all()
    assert (rates >= 0).all()


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_stays_between_zero_and_its_peak(name: str) -> None:
    for total in (100, 1000):
        schedule = any_schedule(name, total)
        rates = schedule.at(np.arange(total + 1))
        assert np.isfinite(rates).all()
        assert rates.min() >= 0
        assert rates.max() <= 3e-3 * (1 + 1e-12)
        assert rates.max() >= 0.9 * 3e-3
        if "floor" in SCHEDULES[name].uses and name != "power":
            assert rates[-1] == pytest.approx(0.1 * 3e-3, rel=1e-12)
            assert rates[60:].min() >= 0.1 * 3e-3 * (1 - 1e-12) or name == "rewarm"


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_a_value(name: str) -> None:
    schedule = any_schedule(name)
    again = Schedule.from_dict(json.loads(json.dumps(schedule.to_dict())))
    assert again == schedule == Schedule.parse(str(schedule))
    assert hash(again) == hash(schedule)
    assert schedule != any_schedule(name, 1001)
    assert schedule.updates().shape == (1000,)
    np.testing.assert_array_equal(schedule.updates(), schedule.at(np.arange(1001))[1:])


def test_a_hundred_thousand_steps_take_milliseconds() -> None:
    for name in SCHEDULES:
        schedule, took = any_schedule(name, 100_000), []
        for _ in range(5):
            began = time.perf_counter()
            schedule.updates()
            took.append(time.perf_counter() - began)
        assert min(took) < 0.03, name


def test_the_page_lists_every_schedule_with_its_settings() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "schedules.md").read_text(encoding="utf-8")
    listed = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert set(listed) == set(SCHEDULES)
    for name, kind in SCHEDULES.items():
        for word in (kind.formula, *kind.uses, *kind.settings):
            assert word in listed[name], (name, word)
        for setting in kind.settings.values():
            if isinstance(setting.default, float):
                assert f"= {setting.default:g}" in listed[name], name


# ------------------------------------------------------------------------------------------------ schedules one by one


def test_updates_take_the_steps_one_to_total() -> None:
    rates = Schedule("linear", 4, warmup_steps=2).updates()
    np.testing.assert_allclose(rates, [0.5, 1.0, 0.5, 0.0])


def test_shape_of_the_steps_is_kept() -> None:
    assert learning_rates("cosine", 3, 10).shape == ()
    assert learning_rates("cosine", np.zeros((2, 3)), 10).shape == (2, 3)
    assert learning_rates("cosine", [], 10).shape == (0,)


def test_a_warm_up_may_begin_above_zero() -> None:
    # Hägele et al.: s/W + (1 − s/W)/100
    schedule = Schedule("constant", 1000, 2.0, 10, warmup_from=0.01)
    share = np.arange(11) / 10
    np.testing.assert_allclose(schedule.at(np.arange(11)), 2 * (share + (1 - share) / 100), rtol=1e-15)
    assert Schedule.parse("constant:total=1000,lr_max=2,warmup=10,warmup_from=0.01") == schedule


@pytest.mark.parametrize("three", [0, 1])
@pytest.mark.parametrize("way", ["cos", "linear"])
@pytest.mark.parametrize("total", [20, 1003])
def test_onecycle_is_that_of_torch(three: int, way: str, total: int) -> None:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, total_steps=total, anneal_strategy=way, three_phase=bool(three), cycle_momentum=False
    )
    rates = []
    for n in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if n < total - 1:
            theirs.step()
    ours = Schedule("onecycle", total, 0.1, settings={"three_phase": three, "linear": float(way == "linear")})
    np.testing.assert_allclose(ours.updates(), rates, rtol=1e-10)


def test_onecycle_takes_a_warm_up_as_its_rise() -> None:
    schedule = Schedule("onecycle", 100, 2.0, 40)
    assert schedule.at(40) == schedule.updates().max() == 2.0
    assert schedule.updates()[0] == pytest.approx(2.0 / 25)
    assert schedule.updates()[-1] == pytest.approx(2.0 / 25 / 1e4)


@pytest.mark.parametrize(
    ("a", "tokens", "rate"),
    [(4.6, 1e11, 0.011563), (4.6, 1e12, 0.003573), (4.6, 1e13, 0.001104), (4, 1e11, 0.010054), (4, 1e12, 0.003107)],
)
def test_the_power_scheduler_golden(a: float, tokens: float, rate: float) -> None:
    settings = {"a": a, "b": -0.51, "batch": 1024, "seq_len": 1}
    schedule = Schedule("power", 10**10, 0.02, 0, 0.0, 0.0, settings)
    assert schedule.at(tokens / 1024) == pytest.approx(rate, abs=5.1e-7)


def test_the_power_scheduler_leaves_its_cap_and_falls_as_a_power() -> None:
    schedule = Schedule("power", 10**8, 0.02, 0, 0.0, 0.0, {"batch": 1024, "seq_len": 4096})
    cap = 2.60e10 / (1024 * 4096)  # n_c = (η_max/(β·a))^(1/b)
    np.testing.assert_array_equal(schedule.at([1, cap * 0.99]), 0.02)
    assert 0.99 * 0.02 < schedule.at(cap * 1.01) < 0.02
    first, second = schedule.at([1e6, 1e7])
    assert math.log10(second / first) == pytest.approx(-0.51, rel=1e-12)
    warm = Schedule("power", 10**6, 0.02, 10_000, 0.0, 0.1, {"batch": 1024, "shape": "sqrt"})
    # (n/n_w)·η(n_w) before, f·η(N − N_decay) at the end
    top = 1024 * 4 * (10_000 * 1024 * 4096) ** -0.51
    np.testing.assert_allclose(warm.at([2500, 10_000]), [top / 4, top], rtol=1e-12)
    start = 10**6 - 0.1 * 990_000
    held = 1024 * 4 * (start * 1024 * 4096) ** -0.51
    np.testing.assert_allclose(warm.at([start, start + 49_500, 1e6]), [held, held * (1 - HALF), 0], atol=1e-15)


def test_minicpm_halves_every_half_life() -> None:
    schedule = Schedule("minicpm", 100_000, 0.01, 1000, decay=0.2, settings={"half_life": 5000})
    start = 100_000 - 0.2 * 99_000
    np.testing.assert_allclose(schedule.at([start, start + 5000, start + 10_000]), [0.01, 0.005, 0.0025], rtol=1e-12)


def test_steps_drop_at_their_step() -> None:
    deepseek = Schedule.parse("8-1-1:total=1000")
    np.testing.assert_allclose(deepseek.at([799, 800, 899, 900, 1000]), [1, 0.1**0.5, 0.1**0.5, 0.1, 0.1])
    tenths = Schedule("multistep-30-60-90", 100)
    np.testing.assert_allclose(tenths.at([29, 30, 59, 60, 89, 90]), [1, 0.1, 0.1, 0.01, 0.01, 0.001])
    stages = Schedule.parse("two-stage:total=16000,switch=8000,second=0.3,lr_max=3e-4")
    np.testing.assert_allclose(stages.at([7999, 8000, 16000]), [3e-4, 9e-5, 9e-5])


def test_invsqrt_falls_as_the_root() -> None:
    schedule = Schedule("invsqrt", 4000, 1.0, 100)
    np.testing.assert_allclose(schedule.at([50, 100, 400, 2500]), [0.5, 1, 0.5, 0.2])
    np.testing.assert_allclose(Schedule.parse("invsqrt:total=4000,scale=100").at([50, 400]), [1, 0.5])


def test_infinite_goes_down_waits_and_anneals() -> None:
    settings = {"cooldown": 0.4, "plateau": 0.3}
    steps = [100, 300, 500, 700, 900, 1000, 1100]
    line = Schedule("infinite-linear", 1100, 1.0, 100, 0.03, 0.2, settings)
    np.testing.assert_allclose(line.at(steps), [1, 0.65, 0.3, 0.3, 0.3, 0.3 * 0.1**0.5, 0.03], rtol=1e-12)
    cosine = Schedule("infinite", 1100, 1.0, 100, 0.03, 0.2, settings)
    np.testing.assert_allclose(cosine.at(steps)[:4], [1, 0.65, 0.3, 0.3], rtol=1e-12)
    root = Schedule("infinite-invsqrt", 1100, 1.0, 100, 0.03, 0.2, settings)
    half = (1 / math.sqrt(6) - 1) / (1 / math.sqrt(11) - 1)  # h(½)/h(1), α = 10
    np.testing.assert_allclose(root.at(steps)[:4], [1, 1 - 0.7 * half, 0.3, 0.3], rtol=1e-12)


def test_rewarm_starts_again_at_the_new_data() -> None:
    schedule = Schedule.parse("rewarm:total=1000,warmup=100,floor=0.1,switch=500,rewarm=50,peak=0.6")
    np.testing.assert_allclose(
        schedule.at([100, 300, 500, 501, 525, 550, 775, 1000]), [1, 0.55, 0.1, 0.012, 0.3, 0.6, 0.35, 0.1], rtol=1e-12
    )


def test_cycles_end_on_their_floor() -> None:
    schedule = Schedule("sgdr", 700, floor=0.1, settings={"cycles": 3, "mult": 2})
    np.testing.assert_allclose(schedule.at([0, 50, 100, 200, 300, 500, 700]), [1, 0.55, 0.1, 0.55, 0.1, 0.55, 0.1])
    assert schedule.at(101) > 0.99
    wave = Schedule("cyclic", 400, floor=0.2, settings={"cycles": 2})
    np.testing.assert_allclose(wave.at([0, 50, 100, 200, 300, 400]), [0.2, 0.6, 1, 0.2, 1, 0.2], rtol=1e-12)


@pytest.mark.parametrize(("name", "warmup"), [("sgdr", 0), ("sgdr", 30), ("cyclic", 0)])
def test_the_last_step_of_every_cycle_is_on_the_floor(name: str, warmup: int) -> None:
    for cycles in range(1, 60):
        # Sums of 1/cycles are no whole steps in floating point: 0.1 eight times is less than 0.8.
        schedule = Schedule(name, warmup + 10 * cycles, 1.0, warmup, 0.1, settings={"cycles": cycles})
        ends = warmup + 10 * np.arange(1, cycles + 1)
        np.testing.assert_allclose(schedule.at(ends), 0.1, rtol=1e-12)
        before = 0.1 + 0.9 * (0.5 * (1 - math.cos(0.1 * math.pi)) if name == "sgdr" else 0.2)
        np.testing.assert_allclose(schedule.at(ends - 1), before, rtol=1e-9)


def test_cycles_of_a_run_of_any_length_stay_in_their_range() -> None:
    for total in (10**7 + 1, 10**12 + 7, 10**15):
        schedule = Schedule("cyclic", total, settings={"cycles": 33})
        rates = schedule.at([0, 1, total // 3, total // 2, total - 1, total])
        assert (rates >= 0).all()
        assert rates[-1] == 0


def test_a_half_life_need_not_be_whole() -> None:
    schedule = Schedule("minicpm", 100, decay=0.5, settings={"half_life": 2.5})
    np.testing.assert_allclose(schedule.at([50, 55, 60]), [1, 0.25, 0.0625], rtol=1e-12)


# ----------------------------------------------------------------------------------------------------- logged schedules


def mpl(row: pd.Series) -> Schedule:
    """A schedule of mpl_curves from its row of schedules.csv."""
    kind = {"wsd_exponential": "wsd-exp", "wsd_linear": "wsd", "two_stage": "two-stage"}.get(row.schedule, row.schedule)
    end = row.lr_min / row.lr_max
    settings = {"switch": row.decay_start_step, "second": end} if kind == "two-stage" else {}
    decay = (row.total_steps - row.decay_start_step) / (row.total_steps - row.warmup_steps)
    return Schedule(kind, row.total_steps, row.lr_max, row.warmup_steps, end, decay, settings)


def test_the_nine_schedules_of_mpl_curves_are_those_of_the_logs(data_dir: Path) -> None:
    folder = data_dir / "mpl_curves"
    curves = pd.read_csv(folder / "curves.csv")
    listed = pd.read_csv(folder / "schedules.csv")
    assert len(listed) == 9
    for _, row in listed.iterrows():
        schedule = mpl(row)
        for model in ("25M", "100M"):
            logged = curves[(curves.schedule_name == row.schedule_name) & (curves.model == model)]
            np.testing.assert_allclose(schedule.at(logged.step), logged.lr, rtol=1e-12)
            # The warm-up area that the paper adds, ½·η_max·W, to within half a step.
            assert schedule.area(2160) == pytest.approx(0.324, abs=0.51 * 3e-4)


def test_a_log_is_a_schedule_between_its_points(tmp_path: Path) -> None:
    (tmp_path / "lr.csv").write_text("step,learning_rate,loss\n1,0.1,9\n11,1.1,8\n21,0.1,7\n")
    line = Schedule.parse(f"file:{tmp_path / 'lr.csv'}")
    assert (line.total, line.lr_max, line.name) == (21, 1.1, "file")
    np.testing.assert_allclose(line.updates()[[0, 1, 5, 10, 15, 20]], [0.1, 0.2, 0.6, 1.1, 0.6, 0.1])
    held = Schedule.parse(f"file:{tmp_path / 'lr.csv'},between=constant")
    np.testing.assert_allclose(held.updates()[[0, 9, 10, 19, 20]], [0.1, 0.1, 1.1, 1.1, 0.1])
    assert Schedule.from_dict(json.loads(json.dumps(held.to_dict()))) == held != line
    assert hash(held) != hash(line)


def test_a_log_that_begins_after_the_warm_up_needs_it_named() -> None:
    steps, rates = [20, 30, 40], [0.4, 0.4, 0.2]
    with pytest.raises(BadInput, match="first logged step is 20, so the rates before it are missing"):
        Schedule.logged(steps, rates)
    with pytest.raises(BadInput, match="a warm-up of at most 20 steps"):
        Schedule.logged(steps, rates, warmup_steps=21)
    for between in ("linear", "constant"):
        schedule = Schedule.logged(steps, rates, warmup_steps=16, between=between)
        np.testing.assert_allclose(schedule.at([0, 4, 16, 18, 20, 30]), [0, 0.1, 0.4, 0.4, 0.4, 0.4])
    assert Schedule.logged(steps, rates, warmup_steps=20).at(10) == pytest.approx(0.2)


def test_rates_of_every_update_are_a_schedule() -> None:
    rates = [0.0, 0.5, 1.0, 0.25]
    schedule = Schedule("file", 4, rates=rates)
    np.testing.assert_array_equal(schedule.updates(), rates)
    assert (schedule.lr_max, schedule.floor) == (1.0, 0.25)
    whole = Schedule("file", 3, rates=rates)
    np.testing.assert_array_equal(whole.at([0, 1, 2, 3]), rates)


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"warmup_steps": 100}, "leave nothing of 100 steps"),
        ({"total": 50, "warmup_steps": 80}, "80 warm-up steps leave nothing of 50 steps"),
        ({"floor": 1.5}, "floor = 1.5"),
        ({"floor": math.nan}, "floor = nan is not a finite number"),
        ({"schedule": "wsd", "decay": 0.0}, "decay = 0"),
        ({"steps": [101]}, "outside 0 … 100"),
        ({"steps": [math.nan]}, "outside 0 … 100"),
        ({"lr_max": 0.0}, "a learning rate of zero"),
        ({"lr_max": -1.0}, "lr_max = -1"),
        ({"lr_max": 1e-320}, "lr_max = 9.99989e-321 is no learning rate of any run"),
        ({"lr_max": 1e308}, "must lie in 1e-100 … 1e.100"),
        ({"lr_max": math.nan}, "lr_max = nan"),
        ({"total": 0}, "total = 0 is not a whole number of steps"),
        ({"total": 10.5}, "total = 10.5 is not a whole number"),
        ({"p0": 10}, "cosine has no setting 'p0'; it has none"),
        ({"schedule": "exp"}, "never reaches 0; give a floor"),
        ({"schedule": "invsqrt"}, "has no warm-up"),
        ({"schedule": "power"}, "power needs batch, sequences in a batch"),
        ({"schedule": "cyclic", "warmup_steps": 5}, "rises from its floor by itself"),
        ({"schedule": "sgdr", "cycles": 2.5}, "cycles = 2.5 is not a whole number"),
        ({"schedule": "sgdr", "cycles": 200}, "a cycle of 200 would be shorter than two steps"),
        ({"schedule": "sgdr", "cycles": 50, "mult": 1000}, "a cycle of 50 would be shorter than two steps"),
        ({"schedule": "minicpm", "half_life": 1e-4}, "a half-life of 0.0001 of 100 steps is less than one"),
        ({"schedule": "invsqrt", "scale": 1e-4}, "has no warm-up"),
        ({"schedule": "rex", "d": 1.0}, "rex: d = 1 must be finite and lie in 0 … 0.999"),
        ({"schedule": "two-stage", "switch": 200}, "switch at step 200 is not between"),
        ({"schedule": "multistep", "at": (0.5, 0.4)}, "must rise from the warm-up's end"),
        ({"schedule": "multistep", "at": (0.5,)}, "1 places \\(at\\) for 2 shares \\(to\\)"),
        ({"schedule": "infinite", "floor": 0.1, "cooldown": 0.9}, "cooldown 0.9 and decay 0.2 are more than all"),
        ({"schedule": "infinite", "floor": 0.5}, "lies above plateau"),
        ({"schedule": "rewarm", "switch": 100}, "must rise and end before step 100"),
        ({"schedule": "power", "batch": 8, "shape": "sqr"}, "did you mean 'sqrt'"),
        ({"schedule": "onecycle", "linear": 0.5}, "onecycle: linear = 0.5 is neither 0 nor 1"),
        ({"schedule": "onecycle", "total": 3}, "leaves no room for its phases"),
    ],
)
def test_what_cant_be_a_schedule_is_refused(fields: dict, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        learning_rates(**{"schedule": "cosine", "steps": [1], "total": 100, **fields})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cosin:total=10", "did you mean 'cosine'"),
        ("cosine", "has no number of steps; write cosine:total=24000"),
        ("cosine:total=24K,flor=.1", "cosine has no setting 'flor'; did you mean 'floor'"),
        ("constant:total=10,floor=.1", "constant has no setting 'floor'"),
        ("cosine:total=24K,floor=nan", "floor = 'nan' is not a finite number"),
        ("cosine:total=24K,floor", "'floor' is not NAME=VALUE"),
        ("cosine:total=24K,steps=3", "gives total twice"),
        ("wsd:total=100,decay_steps=200", "decay_steps = 200 must lie above 0 and up to 100"),
        ("wsd:total=100,decay_steps=20,decay=.1", "both decay and decay_steps"),
        ("two-stage:total=100,second=1/2", "one number, not several"),
        ("cosine:total=100,warmup=sqrt", "warmup = 'sqrt' is not a number"),
        ("wsd:total=100,decay_steps=x", "decay_steps = 'x' is not a number"),
        ("wsd:total=100,decay_steps=1/2", "is not a number"),
        ("wsd:total=9000,decay_steps=1e-300", "of the steps is less than any step"),
        ("wsd:total=9000,decay=4000", "it is a share of the steps; a spec takes steps as decay_steps"),
        ("cosine:total=100,warmup=0.001", "warmup = 0.001 of 100 steps is less than one"),
        ("two-stage:total=100,switch=0", "the switch at step 0 is not between the warm-up's end and step 100"),
        ("two-stage:total=100,switch=0.001", "the switch at step 0 is not between"),
        ("poly:total=100,q=0", "poly: q = 0 must be finite and lie above 0 and up to 100"),
        ("cosine:total=0", "total = 0 is not a whole number of steps"),
        ("two-stage:total=100,switch=50.5", "switch = 50.5 is neither a whole step nor, below 1, a share"),
        ("multistep:total=100,at=10.5/20,to=1/1", "at = 10.5/20 is neither a whole step"),
        ("multistep:total=5", "the steps 4/4, must rise from the warm-up's end, step 0, to step 5"),
        ("onecycle:total=100,warmup_from=0.5", "onecycle brings its own rise; leave warmup_from out"),
        ("cosine:total=100,warmup_from=0.5", "cosine has no warm-up; leave warmup_from out"),
        ("cosine:total=1", "the learning rate is zero at every update"),
        ("two-stage:total=9,switch=1,second=0", "the learning rate is zero at every update"),
        ("cyclic:total=4,cycles=4", "shorter than two steps"),
        ("file:", "names no file"),
        ("file:nowhere.csv", "nowhere.csv: can't be read: No such file"),
    ],
)
def test_a_spec_that_says_nothing_clear_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Schedule.parse(text)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the file is empty"),
        ("step,lr\n", "has a header and no rows"),
        (
            "step,loss\n1,2\n",
            "no columns are 'lr' among step, loss; say which it is, as file:lr.csv,step=NAME,column=NAME",
        ),
        ("step,lr\n1,x\n", "line 2, column lr: 'x' is not a number"),
        ("step,lr\n1,0.1\n2,nan\n", "line 3, column lr: 'nan' is not a number"),
        ("step,lr\n1\n", "line 2, column lr: '' is not a number"),
        ("step,lr\n5,0.1\n4,0.1\n", "line 3, column step: step 4 after 5"),
        ("step,lr\n1,0\n2,0\n", "learning rate is zero at every step"),
        ("step,lr\n1,0.1\n2,-1\n", "negative or no finite number"),
        ("step,lr\n2,0.1\n3,0.1\n", "rates before it are missing"),
    ],
)
def test_a_log_that_cant_be_a_schedule_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "lr.csv").write_text(content)
    with pytest.raises(BadInput, match=said):
        Schedule.parse(f"file:{tmp_path / 'lr.csv'}")


def test_a_log_shorter_than_asked_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lr.csv").write_text("step\tlr\n1\t0.1\n20\t0.1\n")
    assert Schedule.parse(f"file:{tmp_path / 'lr.csv'},total=20").total == 20
    with pytest.raises(BadInput, match="its last step is 20, but total = 30"):
        Schedule.parse(f"file:{tmp_path / 'lr.csv'},total=30")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("lr.csv.gz", gzip.compress(b"step,lr\n1,0.1\n2,0.1\n", mtime=0)[:-9], "gzip data is damaged or cut short"),
        ("lr.csv.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\3" + b"\xff" * 40, "gzip data is damaged or cut short"),
        ("lr.csv.gz", b"step,lr\n1,0.1\n", "gzip data is damaged or cut short"),
        ("lr.csv", "step,lr\n1,0.1\n".encode("utf-16"), "not a CSV file of UTF-8 text"),
        ("lr.csv", b'step,lr\n1,"' + b"x" * 200_000 + b'"\n', "not a CSV file of UTF-8 text"),
        ("lr.csv", b"step,lr\ninf,0.1\n", "'inf' is not a number"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=said):
        Schedule.parse(f"file:{tmp_path / name}")


def test_a_file_may_call_its_columns_as_it_likes(tmp_path: Path) -> None:
    (tmp_path / "lr.csv").write_bytes(b"\xef\xbb\xbfGlobal_Step,train/LR_peak,lr\r\n1,0.1,9\r\n2,0.2,9\r\n")
    made = Schedule.parse(f"file:{tmp_path / 'lr.csv'},step=Global_Step,column=train/LR_peak")
    assert made.updates().tolist() == [0.1, 0.2]


def test_what_a_spec_leaves_to_its_caller() -> None:
    assert left_out("cosine") == {"total", "lr_max", "warmup", "floor"}
    assert left_out("8-1-1:steps=10,lr=1") == {"warmup"}
    assert left_out("file:a,b.csv,column=x/y") == {"warmup"}


def test_tokens_are_no_steps() -> None:
    with pytest.raises(BadInput, match="total counts steps, not tokens"):
        Schedule.parse("cosine:total=1.4T").updates()


VALUES = st.one_of(st.floats(), st.integers(-10, 10**6), st.sampled_from(["1/2", "", "x", "24K", "1e-300", "0.3/0.6"]))


@st.composite
def specs(draw: st.DrawFn) -> str:
    """A spec with settings that its schedule has, and now and then a name or a setting that there is not."""
    name = draw(st.sampled_from([*SCHEDULES, "fil", ""]))
    kind = SCHEDULES.get(name, SCHEDULES["wsd"])
    own = [*kind.uses, *kind.settings] * 2
    known = st.sampled_from([*own, "warmup", "warmup_from", "decay_steps", "lr_max", "total", "file"])
    pairs = draw(st.lists(st.tuples(known, VALUES), max_size=4))
    return f"{name}:{','.join(f'{key}={value}' for key, value in pairs)}"


@given(specs(), st.sampled_from([-1, 0, 1, 2, 3, 7, 100, 4999]))
@settings(max_examples=500, deadline=None)
def test_a_spec_is_a_finite_schedule_or_one_clear_line(text: str, total: int) -> None:
    try:
        made = Schedule.parse(text, total=total)
        rates = made.at([0, made.warmup_steps, made.total // 2, made.total])
    except BadInput as fault:
        said = str(fault)
        assert len(said.splitlines()) == 1
    else:
        assert np.isfinite(rates).all()
        assert (rates >= 0).all()
        assert Schedule.parse(str(made)) == made
        if "floor" in SCHEDULES[made.name].uses and made.name != "power":
            assert rates[-1] == pytest.approx(made.floor * made.lr_max, rel=1e-9)


def test_rates_with_a_missing_end_are_refused() -> None:
    with pytest.raises(BadInput, match="3 rates are not one for each of 5 updates"):
        Schedule("file", 5, rates=[1, 1, 1])
    with pytest.raises(BadInput, match="leave an end of 1 … 5"):
        Schedule("file", 5, knots=(1, 4), rates=(1, 1))
    with pytest.raises(BadInput, match="is a formula and takes no rates"):
        Schedule("cosine", 3, rates=[1, 1, 1])
    with pytest.raises(BadInput, match="color: not the fields of a schedule"):
        Schedule.from_dict({"name": "cosine", "total": 3, "color": 1})


def test_a_spec_takes_what_it_leaves_out_from_the_caller() -> None:
    made = Schedule.parse("wsd-sqrt:decay_steps=4000", total=24_000, lr_max=3e-4, warmup_steps=2160, floor=0.1)
    assert made == Schedule("wsd-sqrt", 24_000, 3e-4, 2160, 0.1, 4000 / 21_840)
    assert Schedule.parse("WSD_Sqrt:steps=24K,warmup=0.09,lr=3e-4").warmup_steps == 2160
    assert Schedule.parse("constant", total=10, floor=0.1) == Schedule("constant", 10)
