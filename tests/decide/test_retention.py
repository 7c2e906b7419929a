"""What is left of a planted fact, and how the reading of probes goes wrong."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scaling_lab.decide.retention import retention
from scaling_lab.engine.fit import fit
from scaling_lab.errors import BadInput

AFTER = (20, 50, 100, 300, 1000, 3000)


def probes(count: int = 12, noise: float = 0.0, seed: int = 0, slopes: float = 0.0) -> pd.DataFrame:
    """Probes injected at steps 100 and 200; best 10 steps later; R = 0.9 - 0.2 log10(t) of the whole gain after."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        base, decay = -8.0 + rng.standard_normal(), 0.2 + slopes * rng.standard_normal()
        for step, injection, gain in ((100, 1, 0.0), (105, 0, 0.5), (110, 0, 1.0), (200, 1, 0.7), (210, 0, 2.0)):
            rows.append((f"p{i}", step, injection, base + gain))
        for t in AFTER:
            left = 2.0 * (0.9 - decay * np.log10(t)) + noise * rng.standard_normal()
            rows.append((f"p{i}", 210 + t, 0, base + left))
    return pd.DataFrame(rows, columns=["probe", "step", "injection", "logprob"])


def test_planted_gains_and_forgetting_come_back() -> None:
    found = retention(probes())
    assert [gain.value for gain in found.effectivity] == pytest.approx([1.0, 1.3])
    assert found.level_at_one.value == pytest.approx(0.9)
    assert found.decay.value == pytest.approx(0.2)
    assert found.forgotten.value == pytest.approx(10**4.5)
    assert "SL483" in {notice.code for notice in found.warnings}
    assert found.probes == 12
    assert len(found.t) == 12 * len(AFTER)


def test_the_table_goes_into_fit_and_gives_the_same_line_as_ols() -> None:
    found = retention(probes(noise=0.1))
    table = found.table()
    slope, level = np.polyfit(np.log10(table.steps_since), table.retention, 1)
    assert found.decay.value == pytest.approx(-slope)
    assert found.level_at_one.value == pytest.approx(level)
    fitted = fit("retention", table, objective="l2", bootstrap=0)
    assert fitted.values["a"] == pytest.approx(found.decay.value, rel=1e-6)
    # The standard error of the line by its textbook formula.
    _, cov = np.polyfit(np.log10(table.steps_since), table.retention, 1, cov=True)
    assert found.se == pytest.approx(cov[0, 0] ** 0.5, rel=1e-9)


def test_intervals_resample_probes_and_cover() -> None:
    for count in (6, 30):
        held = 0
        for seed in range(150):
            found = retention(probes(count, noise=0.05, seed=seed, slopes=0.03), seed=seed)
            held += found.decay.ci[0] <= 0.2 <= found.decay.ci[1]
        # 150 draws of .9 have a standard deviation of .024.
        assert 0.83 < held / 150 < 0.97, count


def test_outliers_are_left_out_and_counted() -> None:
    table = probes(noise=0.02)
    at = table.index[(table.probe == "p3") & (table.step == 510)][0]
    table.loc[at, "logprob"] += 5.0
    found = retention(table)
    assert found.left_out["points beyond 2 IQR"] >= 1
    assert not np.any((found.probe == "p3") & (found.t == 300))
    assert np.any((found.probe == "p3") & (found.t == 100))
    assert found.decay.value == pytest.approx(0.2, abs=0.01)


def test_probes_that_tell_nothing_are_counted() -> None:
    table = probes()
    never = pd.DataFrame({"probe": "n", "step": [100, 200], "injection": 0, "logprob": -5.0})
    late = pd.DataFrame({"probe": "l", "step": [100, 300], "injection": [1, 0], "logprob": [-5.0, -4.0]})
    worse = pd.DataFrame({"probe": "w", "step": [100, 110, 400], "injection": [1, 0, 0], "logprob": [-5.0, -6, -6]})
    found = retention(pd.concat([table, never, late, worse]))
    assert found.probes == 12
    assert found.left_out["probes without an injection"] == 1
    assert found.left_out["probes not read within the window of their last injection"] == 1
    assert found.left_out["probes that gained nothing"] == 1
    wide = retention(pd.concat([table, late]), window=250)
    assert "probes not read within the window of their last injection" not in wide.left_out


def test_few_probes_have_no_intervals_and_bad_columns_are_named() -> None:
    few = retention(probes(3))
    assert few.decay.ci == ()
    assert "SL484" in {notice.code for notice in few.warnings}
    with pytest.raises(BadInput, match="injection is 2, and says 1 or 0"):
        retention(probes().assign(injection=2))
    with pytest.raises(BadInput, match="probe=COLUMN"):
        retention(probes().drop(columns="probe"))
    with pytest.raises(BadInput, match="two times or more"):
        retention(probes()[lambda t: t.step <= 230])
