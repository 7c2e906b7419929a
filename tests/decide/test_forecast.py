"""Forecasts of running curves: the posterior, its intervals, departures, what is refused, and growing files."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal, norm

from scaling_lab.decide.forecast import RunForecast, TooEarly, Waiting, follow, forecast, spikes
from scaling_lab.decide.watch import STRETCHES, Watch
from scaling_lab.engine import continuation
from scaling_lab.engine.continuation import Continuation, Seen, Shapes, shapes_alone
from scaling_lab.engine.curves import fit_curves
from scaling_lab.errors import BadInput, UsageError
from scaling_lab.histories import History
from scaling_lab.laws.curves import CURVE_LAWS, get_curve_law
from scaling_lab.schedules import Schedule
from scaling_lab.tables.growing import Growing

COSINE = "cosine:total=8000,warmup=400,floor=0.1,lr_max=3e-4"
WSD = "wsd:total=8000,warmup=400,floor=0.1,decay=0.2,lr_max=3e-4"
CONSTANT = "constant:total=8000,warmup=400,lr_max=3e-4"
TRUTH = {"L0": 2.78, "A": 0.6, "alpha": 0.45, "B": 520.0, "C": 1.6}
NOISE = 0.001


def planted(spec: str = COSINE, *, noise: float = NOISE, seed: int = 0, every: int = 50) -> pd.DataFrame:
    """A whole run of the multi-power law above with white noise."""
    plan = Schedule.parse(spec)
    history = History(plan.updates(), plan.warmup_steps)
    step = np.arange(plan.warmup_steps + every, plan.total + 1, every, dtype=float)
    loss = np.asarray(get_curve_law("multi-power").predict(history.at(step).x, **TRUTH))
    loss = loss + noise * np.random.default_rng(seed).standard_normal(len(step))
    return pd.DataFrame({"step": step, "lr": plan.at(step), "loss": loss})


def until(frame: pd.DataFrame, step: float) -> pd.DataFrame:
    return frame[frame.step <= step].reset_index(drop=True)


# -------------------------------------------------------------------------------------------------------- the posterior


def test_the_posterior_is_the_one_of_dense_gaussians(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two shapes, one drift and one noise: conditioned by the whole covariance matrix instead of by factors."""
    monkeypatch.setattr(continuation, "DRIFTS", (0.02,))
    monkeypatch.setattr(continuation, "NOISES", ((1.0, 0.5, 0.1),))
    monkeypatch.setattr(continuation, "WITH_RATE", (0.0,))
    monkeypatch.setattr(continuation, "_positive", lambda shapes, best, cov: np.zeros(len(best)))
    plan = Schedule.parse(COSINE)
    history = History(plan.updates(), plan.warmup_steps)
    frame = until(planted(), 3000)
    seen = Seen(frame.step.to_numpy(), frame.loss.to_numpy(), np.ones(len(frame)), 0.002, 0.002)
    targets = np.array([4000.0, 8000.0])
    shapes = Shapes(
        CURVE_LAWS["multi-power"],
        {"alpha": np.array([0.4, 0.55]), "C": np.array([1.0, 2.0])},
        np.array([[2.7, 0.5, 400.0], [2.9, 0.7, 500.0]]),
        np.array([[0.3, 0.2, 100.0], [0.2, 0.3, 150.0]]),
    )
    found = Continuation(history, [shapes]).posterior(seen, targets)
    step = np.concatenate([seen.step, targets])
    u = np.log(step / step[0])
    low, high = np.minimum(u[:, None], u), np.maximum(u[:, None], u)
    drift = 0.02**2 * (low**2 * high / 2 - low**3 / 6)
    drift += 0.001**2 * np.exp(-np.abs(step[:, None] - step) / 300)
    x, n = history.at(step, 128).x, len(seen.step)
    means, variances, logs = [], [], []
    for m in range(2):
        shape = {"alpha": shapes.params["alpha"][m], "C": shapes.params["C"][m]}
        zero = {"L0": 0.0, "A": 0.0, "B": 0.0}
        basis = np.array([np.asarray(shapes.law.predict(x, **(zero | {j: 1.0} | shape))) for j in ("L0", "A", "B")])
        cov = (basis.T * shapes.sd[m] ** 2) @ basis + drift + np.diag([0.002**2] * n + [0.0] * 2)
        mean = shapes.mean[m] @ basis
        gain = np.linalg.solve(cov[:n, :n], cov[:n, n:]).T
        means.append(mean[n:] + gain @ (seen.loss - mean[:n]))
        variances.append(np.diag(cov[n:, n:] - gain @ cov[:n, n:]))
        logs.append(multivariate_normal(mean[:n], cov[:n, :n], allow_singular=True).logpdf(seen.loss))
    weight = np.exp(np.array(logs) - max(logs))
    weight /= weight.sum()
    assert np.array(logs).max() - np.array(logs).min() < 8, "both shapes must count"
    np.testing.assert_allclose(found.weight, weight, rtol=1e-4)
    np.testing.assert_allclose(found.mean, means, rtol=1e-7)
    np.testing.assert_allclose(found.var, variances, rtol=1e-4, atol=1e-10)
    sd = np.sqrt(np.array(variances) + 0.002**2)
    at = found.quantiles(0.05)
    assert (weight @ norm.cdf((at - means) / sd)) == pytest.approx([0.05, 0.05], abs=1e-6)
    assert norm.cdf(found.score(at)) == pytest.approx([0.05, 0.05], abs=1e-6)


def worlds(count: int, spec: str = COSINE) -> list[tuple[History, np.ndarray, np.ndarray]]:
    """Runs drawn from the model itself: prior shapes, a drift of .02 and white noise."""
    plan = Schedule.parse(spec)
    history = History(plan.updates(), plan.warmup_steps)
    step = np.arange(500.0, plan.total + 1, 80)
    rng = np.random.default_rng(5)
    u = np.log(step / 500)
    drift = np.linalg.cholesky(0.02**2 * continuation._drift(u, u) + 1e-14 * np.eye(len(u)))
    made = []
    for _ in range(count):
        law = rng.choice(continuation.ALONE)
        shapes = shapes_alone(str(law), history, float(history.areas[-1]), 3.0)
        m = rng.integers(len(shapes.mean))
        center = np.array([2.7, 0.25 * history.areas[-1] ** shapes.params["alpha"][m], shapes.mean[m, 2]])
        center[2] += min(2.0, max(-1.5, rng.standard_normal())) * shapes.sd[m, 2]
        named = dict(zip(shapes.law.linear, center, strict=True)) | {k: v[m] for k, v in shapes.params.items()}
        loss = np.asarray(shapes.law.predict(history.at(step, 128).x, **named))
        made.append((history, step, loss + drift @ rng.standard_normal(len(u)) + NOISE * rng.standard_normal(len(u))))
    return made


def test_intervals_cover_as_they_say_and_shrink_as_the_run_goes_on() -> None:
    inside, widths = {0.3: 0, 0.6: 0}, {0.3: [], 0.6: []}
    made = worlds(36)
    for history, step, loss in made:
        for share, held in inside.items():
            keep = step <= share * step[-1]
            area = float(history.areas[int(step[keep][-1])])
            level = float(np.median(loss[keep][-5:]))
            model = Continuation(history, [shapes_alone(law, history, area, level) for law in continuation.ALONE])
            found = model.posterior(Seen.of(step[keep], loss[keep], history), step[-1:])
            low, high = (float(found.quantiles(q)[0]) for q in (0.05, 0.95))
            inside[share] = held + (low <= loss[-1] <= high)
            widths[share].append(high - low)
    # 32.4 of 36 on average; 26 has a chance of .002.
    assert all(held >= 26 for held in inside.values()), inside
    assert np.median(widths[0.6]) < 0.5 * np.median(widths[0.3])


def test_runs_of_the_model_itself_are_hardly_ever_told_to_have_left() -> None:
    scores, left = [], 0
    for history, step, loss in worlds(5):
        watch = Watch(
            lambda s, y, h=history: Continuation(
                h, [shapes_alone(law, h, float(h.areas[int(s[-1])]), float(y[-1])) for law in continuation.ALONE]
            )
        )
        left += watch.advance(step, loss, 8000, done=True) is not None
        scores += [stretch.score for stretch in watch.stretches]
    assert left == 0
    assert len(scores) > 4 * 0.8 * STRETCHES
    assert abs(np.mean(scores)) < 0.25
    assert 0.6 < np.std(scores) < 1.2


# ---------------------------------------------------------------------------------------------------------- whole runs


def test_a_planted_run_is_forecast_and_its_past_forecasts_are_shown() -> None:
    frame = planted()
    found = forecast(until(frame, 5000), COSINE, at=[6000, 8000], look_back=True)
    truth = planted(noise=0.0)
    for at in (6000.0, 8000.0):
        i = int(np.flatnonzero(found.step == at)[0])
        true = float(truth.loss[truth.step == at].iloc[0])
        assert found.asked[i]
        assert found.low[i] < true < found.high[i]
        assert abs(found.loss[i] - true) < 0.01
    assert found.end[0] == 8000
    assert found.left is None
    assert not found.done
    assert not found.warnings
    assert len(found.looks) >= 6
    assert sum(look.held for look in found.looks) >= len(found.looks) - 1
    assert np.allclose(found.lr, Schedule.parse(COSINE).at(found.step))
    assert list(found.frame().columns) == ["step", "lr", "loss", "low", "high"]
    assert forecast(frame, COSINE).done


def test_a_fall_that_has_not_come_is_wide_without_a_fit_and_narrow_with_one() -> None:
    early = until(planted(WSD), 5000)
    alone = forecast(early, WSD)
    assert "SL334" in {w.code for w in alone.warnings}
    both = pd.concat(
        [
            planted(spec, seed=i).assign(run_id=f"r{i}")
            for i, spec in enumerate((CONSTANT, COSINE, WSD.replace("0.2", "0.4")))
        ]
    )
    fit = fit_curves("multi-power", both, warmup_steps=400)
    helped = forecast(early, WSD, fit=fit)
    true = float(planted(WSD, noise=0.0).loss.iloc[-1])
    for found in (alone, helped):
        assert found.low[-1] < true < found.high[-1]
    assert helped.high[-1] - helped.low[-1] < 0.5 * (alone.high[-1] - alone.low[-1])
    assert abs(helped.loss[-1] - true) < 0.01
    assert "SL334" not in {w.code for w in helped.warnings}
    assert "multi-power" in helped.laws
    higher = forecast(early.assign(lr=np.nan).drop(columns="lr"), WSD.replace("3e-4", "6e-4"), fit=fit)
    assert "SL335" in {w.code for w in higher.warnings}


def off(kind: str, x: np.ndarray) -> np.ndarray:
    """What is added to the loss at a share x of the run after the departure."""
    if kind == "jump":
        return np.where(x > 0, 0.02, 0.0)
    if kind == "drift":
        return np.where(x > 0, 0.25 * x, 0.0)
    return np.where(x > 0, 0.02 * np.expm1(np.maximum(x, 0) / 0.04), 0.0)


@pytest.mark.parametrize(("kind", "code"), [("jump", "SL332"), ("drift", "SL333"), ("divergence", "SL331")])
def test_departures_are_found_soon_and_named(kind: str, code: str) -> None:
    frame = planted()
    x = (frame.step.to_numpy() - 4400) / 8000
    frame["loss"] += off(kind, x)
    found = forecast(until(frame, 5600), COSINE)
    assert found.left is not None
    assert found.left.kind == kind
    assert code in {w.code for w in found.warnings}
    assert abs(found.left.since - 4400) <= 0.05 * 8000
    assert 4400 < found.left.told <= 4400 + 0.12 * 8000
    true = float(planted(noise=0.0).loss.iloc[-1])
    if kind == "jump":
        # The new level is learned: the end is that of the jumped run.
        assert found.low[-1] < true + 0.02 < found.high[-1]
        assert abs(found.loss[-1] - true - 0.02) < 0.01
    if kind == "divergence":
        assert found.low[-1] < true < found.high[-1]


def test_a_spike_that_comes_back_is_no_departure() -> None:
    frame = planted()
    frame.loc[(frame.step > 4000) & (frame.step <= 4100), "loss"] += 0.4
    found = forecast(until(frame, 5600), COSINE)
    clean = forecast(until(planted(), 5600), COSINE)
    assert found.left is None
    assert found.rows["dropped"]["spike"] == 2
    assert found.loss[-1] == pytest.approx(clean.loss[-1], abs=2e-3)
    assert spikes(frame.step.to_numpy(), frame.loss.to_numpy()).sum() == 2
    assert not spikes(np.arange(4.0), np.ones(4)).any()


def test_noisy_and_smoothed_logs_are_known_for_what_they_are() -> None:
    """A point of a noisy log is in doubt, the mean of many is not; noise that neighbours share narrows nothing."""
    truth = planted(noise=0.0, every=2)
    end = float(truth.loss.iloc[-1])
    noise = np.random.default_rng(3).standard_normal(len(truth))
    noisy = forecast(until(truth.assign(loss=truth.loss + 0.05 * noise), 5000), COSINE)
    assert noisy.left is None
    assert noisy.high[-1] - noisy.low[-1] > 3.2 * 0.05 > 3 * (noisy.between[1] - noisy.between[0])
    assert noisy.between[0] < end < noisy.between[1]
    shared = np.zeros(len(truth))
    for i in range(1, len(truth)):
        shared[i] = 0.95 * shared[i - 1] + 0.005 * np.sqrt(1 - 0.95**2) * noise[i]
    smooth = forecast(until(truth.assign(loss=truth.loss + shared), 5000), COSINE)
    assert smooth.left is None
    assert smooth.between[0] < end < smooth.between[1]
    assert smooth.between[1] - smooth.between[0] > 0.01


def test_gathered_drops_forecast_as_all_of_them() -> None:
    history = History(Schedule.parse(COSINE).updates(), 400)
    step = np.array([1000.0, 4000.0, 8000.0])
    predict = get_curve_law("multi-power").predict
    gathered, every = (np.asarray(predict(history.at(step, k).x, **TRUTH)) for k in (continuation.TOGETHER, 1))
    assert np.abs(gathered - every).max() < 1e-5


def test_losses_that_are_no_numbers(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    frame = until(planted(), 3000).astype(object)
    frame.loc[frame.index[-2:], "loss"] = ["nan", "inf"]
    frame.loc[5, "loss"] = "NaN"
    frame.to_csv(path, index=False)
    found = forecast(path, COSINE)
    assert found.lost == 2950
    assert [w.severity for w in found.warnings if w.code == "SL331"] == ["error"]
    assert found.rows["dropped"]["loss is not a number"] == 3
    assert any("1 loss" in note for note in found.notes)
    frame["loss"] = "nan"
    frame.to_csv(path, index=False)
    with pytest.raises(BadInput, match="no loss is a number"):
        forecast(path, COSINE)


def test_the_gaps_of_a_log_that_evaluates_now_and_then_are_no_divergence(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    frame = until(planted(), 3000).astype(object)
    frame.loc[[at for at in frame.index if at % 3 != 1], "loss"] = "NaN"
    good = np.flatnonzero(frame["loss"] != "NaN")[-1]
    for tail, last, lost in ((2, "NaN", False), (3, "NaN", True), (1, "inf", True)):
        log = frame.iloc[: good + 1 + tail].copy()
        if len(log) < good + 1 + tail:
            more = log.iloc[[-1] * (good + 1 + tail - len(log))].assign(loss="NaN")
            more["step"] = [log["step"].iloc[-1] + 50 * (k + 1) for k in range(len(more))]
            more["lr"] = [Schedule.parse(COSINE).at(step) for step in more["step"]]
            log = pd.concat([log, more], ignore_index=True)
        log.loc[log.index[-1], "loss"] = last
        log.to_csv(path, index=False)
        found = forecast(path, COSINE)
        assert (found.lost == log["step"].iloc[good + 1]) if lost else (found.lost is None)
        assert any(w.code == "SL331" for w in found.warnings) is lost
        assert found.rows["dropped"]["loss is not a number"] == sum(log["loss"].isin(["NaN", "inf"]))


def test_no_public_curve_is_told_to_have_left_and_ends_are_covered(data_dir: Path) -> None:
    """Four of the 18 curves that bench/forecast.py runs in full."""
    table = pd.read_csv(data_dir / "mpl_curves" / "curves.csv")
    plans = {
        "cosine_24000": "cosine:total=24000,warmup=2160,floor=0.1,lr_max=3e-4",
        "wsdcon_9": "two-stage:total=16000,warmup=2160,switch=8000,second=0.3,lr_max=3e-4",
    }
    held = 0
    for model in ("25M", "100M"):
        for name, spec in plans.items():
            curve = table[(table.model == model) & (table.schedule_name == name)].reset_index(drop=True)
            curve = curve[["step", "lr", "loss"]]
            assert forecast(curve, spec).left is None
            last = curve.step.iloc[-1]
            found = forecast(until(curve, 0.6 * last), spec, at=[last])
            i = int(np.flatnonzero(found.asked)[0])
            held += bool(found.low[i] <= curve.loss.iloc[-1] <= found.high[i])
            assert abs(found.loss[i] - curve.loss.iloc[-1]) < 0.02
    assert held >= 3


# ------------------------------------------------------------------------------------------------------------ bad input


def test_bad_curves_are_refused_in_one_line() -> None:
    frame = planted()
    cases = [
        (frame.assign(step=frame.step[::-1].to_numpy()).drop(columns="lr"), COSINE, "comes after step"),
        (frame.drop(columns="lr"), COSINE.replace("8000", "6000"), "beyond the 6000 of its schedule"),
        (frame.assign(lr=0.0), COSINE, "zero at every step"),
        (frame, CONSTANT, "the rate logged at step"),
        (frame.assign(lr=2 * frame.lr), COSINE, "give lr_max=0.0006"),
        (frame.iloc[:1], COSINE, "1 point behind the warm-up"),
        (frame.drop(columns="loss"), COSINE, "no column 'loss'"),
        (pd.concat([frame.assign(run_id="a"), frame.assign(run_id="b")]), COSINE, "holds 2 runs"),
    ]
    for table, spec, said in cases:
        with pytest.raises(BadInput, match=said):
            forecast(table.reset_index(drop=True), spec)
    with pytest.raises(TooEarly):
        forecast(frame.iloc[:3], COSINE)
    for options, said in (
        ({"level": 1.0}, "--level"),
        ({"law": "functional"}, "need --fit"),
        ({"at": [100]}, "behind the last point"),
        ({"at": [9000]}, "behind the last point"),
    ):
        with pytest.raises(UsageError, match=said):
            forecast(until(frame, 4000), COSINE, **options)
    with pytest.raises(BadInput, match="no schedule 'cosin'"):
        forecast(frame, "cosin:total=8000")


def test_an_early_logged_rate_of_one_step_before_is_no_fault() -> None:
    frame = planted(every=400)
    plan = Schedule.parse("wsd:total=8000,warmup=400,floor=0.1,decay=0.002,lr_max=3e-4")
    frame["lr"] = plan.at(np.maximum(frame.step - 1, 0))
    assert not forecast(until(frame, 6000), plan).done


def test_the_time_that_is_left() -> None:
    frame = until(planted(), 4000)
    assert forecast(frame, COSINE).seconds is None
    assert forecast(frame.assign(wall_time=0.5 * frame.step), COSINE).seconds == pytest.approx(2000)
    dates = pd.Timestamp("2026-01-01T00:00:00Z") + pd.to_timedelta(0.5 * frame.step, unit="s")
    assert forecast(frame.assign(wall_time=dates.astype(str)), COSINE).seconds == pytest.approx(2000, rel=1e-3)


# -------------------------------------------------------------------------------------------------------- growing files


def test_a_growing_file_is_read_by_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,loss\n")
    file = Growing(path)
    assert file.look() is None
    with path.open("a") as stream:
        stream.write("1,3.0\n2,2.")
    first = file.look()
    assert first is not None
    assert first.data == b"step,loss\n1,3.0\n"
    with path.open("a") as stream:
        stream.write("5\n")
    second = file.look()
    assert second is not None
    assert second.data.endswith(b"2,2.5\n")
    assert file.restarts == 0
    path.write_text("step,loss\n9,1.0\n")
    third = file.look()
    assert third is not None
    assert third.data == b"step,loss\n9,1.0\n"
    assert file.restarts == 1
    other = tmp_path / "new.csv"
    other.write_text("step,loss\n9,1.0\n10,1.0\n")
    other.replace(path)
    fourth = file.look()
    assert fourth is not None
    assert fourth.data.count(b"\n") == 3
    assert file.restarts == 2
    path.unlink()
    assert file.look() is not None, "gone for a moment"
    with pytest.raises(BadInput, match="no such file"):
        Growing(path).look()
    path.write_bytes(b"\x1f\x8b0000\n00\n")
    with pytest.raises(BadInput, match="can't be followed"):
        Growing(path).look()


def write_slowly(path: Path, frame: pd.DataFrame, stop: threading.Event, pause: float) -> None:
    """Appends the rows in pieces that end in the middle of a line."""
    text = frame.to_csv(index=False)
    cuts = [*range(0, len(text), len(text) // 12), len(text)]
    with path.open("w") as stream:
        for low, high in itertools.pairwise(cuts):
            if stop.is_set():
                return
            stream.write(text[low:high])
            stream.flush()
            time.sleep(pause)


def test_follow_looks_until_the_last_step_and_ends_where_one_look_would(tmp_path: Path) -> None:
    path, frame = tmp_path / "log.csv", planted(every=200)
    path.write_text("")
    stop = threading.Event()
    writer = threading.Thread(target=write_slowly, args=(path, frame, stop, 0.15))
    writer.start()
    try:
        found = list(follow(path, COSINE, every=0.05))
    finally:
        stop.set()
        writer.join()
    looks = [one for one in found if isinstance(one, RunForecast)]
    assert isinstance(found[0], Waiting)
    assert len(looks) >= 2
    assert [one.last[0] for one in looks] == sorted({one.last[0] for one in looks})
    assert looks[-1].done
    assert looks[-1].last[0] == 8000
    whole = forecast(path, COSINE)
    assert [s.score for s in looks[-1].watch.stretches] == pytest.approx([s.score for s in whole.watch.stretches])


def test_follow_says_where_the_file_was_replaced(tmp_path: Path) -> None:
    path, frame = tmp_path / "log.csv", planted(every=200)
    until(frame, 4000).to_csv(path, index=False)
    looks = follow(path, COSINE, every=0.01, sleep=lambda seconds: None)
    first = next(looks)
    assert isinstance(first, RunForecast)
    until(frame, 3000).to_csv(path, index=False)
    said = next(looks)
    assert isinstance(said, Waiting)
    assert "replaced or cut short" in said.why
    again = next(looks)
    assert isinstance(again, RunForecast)
    assert again.last[0] == 3000
    with pytest.raises(UsageError, match="--every"):
        next(follow(path, COSINE, every=0))


def test_a_bad_cell_of_arithmetic_keeps_its_line_behind_a_lost_loss() -> None:
    step = np.arange(1, 401) * 10
    table = pd.DataFrame({"loss": 2 + 3 * step**-0.3, "inverse": 1 / step})
    table.loc[20, "loss"] = np.inf
    table.loc[300, "inverse"] = 0.0
    schedule, mapping = "cosine:total=10000,warmup=0,lr_max=3e-4,floor=0.1", {"step": "1/inverse"}
    with pytest.raises(BadInput, match="line 300, column step"):
        forecast(table, schedule, mapping=mapping)
    found = forecast(table, schedule, mapping=mapping, drop_bad=True)
    assert found.to_dict()["rows"]["dropped"] == {"step impossible": 1, "loss is not a number": 1}
