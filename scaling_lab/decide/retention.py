"""How well a fact is learnt when it is trained on, and how fast it is forgotten, from a log of probes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..engine.result import Notice
from ..errors import BadInput, UsageError
from ..tables import Rows, Table, read_table, rows_for
from .allocate import Quantile, quantile_of
from .critical import usable

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
SCHEMA = "scaling-lab/retention/1"
# Chang et al. 2024, arXiv:2406.11813 and its code: steps after an injection in which the best log probability is looked
# for, and how many interquartile ranges beyond the quartiles a value is an outlier.
WINDOW, FENCE = 50.0, 2.0
# Probes below which quartiles or a bootstrap say nothing, and resamples of probes.
FEW, RESAMPLES = 5, 2000


@dataclass(frozen=True)
class Retention:
    """Gains of log probability in nats at each injection, and R(t) = R_0 - a log10(t) of what is left after the last.

    `effectivity` has the mean gain of the first, second, ... injection. `decay` is a, the share lost for each tenfold
    time; `forgotten` the steps after which nothing is left. `t` and `share` (n,) are the points that were fitted, of
    `probe` (n,). `left_out` counts probes and points by reason.
    """

    effectivity: tuple[Quantile, ...]
    level_at_one: Quantile
    decay: Quantile
    forgotten: Quantile
    se: float
    probe: NDArray[Any]
    t: Floats
    share: Floats
    probes: int
    left_out: Mapping[str, int]
    level: float
    seed: int
    rows: Mapping[str, Any]
    notes: tuple[str, ...]
    warnings: tuple[Notice, ...]
    sha256: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `retention --json`."""
        return {
            "schema": SCHEMA,
            "law": "retention",
            "effectivity": [gain.to_dict() for gain in self.effectivity],
            "params": {"R_0": self.level_at_one.to_dict(), "a": self.decay.to_dict()},
            "se_ols": self.se,
            "forgotten": _open(self.forgotten),
            "probes": self.probes,
            "points": len(self.t),
            "left_out": dict(self.left_out),
            "level": self.level,
            "seed": self.seed,
            "rows": dict(self.rows),
            "notes": list(self.notes),
            "warnings": [vars(notice) for notice in self.warnings],
        }

    def table(self) -> pd.DataFrame:
        """The points as a table that `fit retention` takes."""
        import pandas as pd

        return pd.DataFrame({"run_id": self.probe, "steps_since": self.t, "retention": self.share})


def _open(found: Quantile) -> dict[str, Any]:
    return found.to_dict() | {"value": found.value if np.isfinite(found.value) else None}


@dataclass(frozen=True)
class _Probe:
    """One probe: the gain at each injection (nan where it was not read), and what is left (m,) at t (m,)."""

    name: str
    gains: list[float]
    t: Floats
    share: Floats
    lost: str


def retention(
    table: str | os.PathLike[str] | pd.DataFrame | Table,
    *,
    window: float = WINDOW,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    drop_bad: bool = False,
    level: float = 0.9,
    seed: int = 0,
) -> Retention:
    """Effectivity of each injection and the forgetting curve after the last.

    From columns probe, step, injection and logprob. A row with injection 1 is read just before its text is trained on,
    at that step. The best log probability within `window` steps is what was learnt: its rise over the row of the
    injection is the effectivity, and what is left of its rise over the first injection's row, R(t), is fitted by least
    squares on log10 of the steps since. Values beyond 2 interquartile ranges of the quartiles of their injection or
    time are left out and counted. Intervals resample probes, whose points are not independent.
    """
    if not 0 < level < 1:
        raise UsageError(f"--level {level:g} is not between 0 and 1")
    if not (np.isfinite(window) and window > 0):
        raise UsageError(f"--window {window:g} is not a number of steps above zero")
    read = read_table(table, mapping=mapping, where=where)
    if read.has("probe") and not read.has("run_id"):
        read = read_table(read, mapping={"run_id": "probe"})
    rows = usable(rows_for(read, ("step", "injection"), "logprob", positive_target=False, drop_bad=drop_bad))
    notes = tuple(note for note in rows.notes if note != "run_id is taken from 'probe' as asked")
    if not rows.grouped:
        raise BadInput("no column says which rows are one probe", file=rows.name, fix="give --map probe=COLUMN")
    probes = [_probe(rows, name, window) for name in dict.fromkeys(rows.group.tolist())]
    left_out = Counter(p.lost for p in probes if p.lost)
    gains = _effectivity(probes, left_out, level, seed)
    kept, points = _points([p for p in probes if not p.lost], left_out)
    if len(np.unique(points[1])) < 2:
        raise BadInput(
            f"{len(kept)} probes have {len(np.unique(points[1]))} times after their last injection"
            + (f" ({', '.join(f'{n} {why}' for why, n in left_out.items())})" if left_out else ""),
            file=rows.name,
            fix="log the probes soon after each injection (or widen --window) and at two times or more after the last",
        )
    lines, se = _lines(*points, len(kept), seed)
    lines = lines[0] + _wider(len(kept), level) * (lines - lines[0])
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        zero = np.where(lines[:, 1] > 0, 10 ** (lines[:, 0] / lines[:, 1]), np.inf)
    account = {"read": rows.read, "used": rows.used, "dropped": dict(rows.dropped)}
    forgotten = quantile_of(zero, level)
    return Retention(
        effectivity=gains,
        level_at_one=quantile_of(lines[:, 0], level),
        decay=quantile_of(lines[:, 1], level),
        forgotten=forgotten,
        se=se,
        probe=np.array(kept, dtype=object)[points[0]],
        t=points[1],
        share=points[2],
        probes=len(kept),
        left_out=dict(left_out),
        level=level,
        seed=seed,
        rows=account,
        notes=notes,
        warnings=(*_beyond(forgotten, points[1]), *_few(len(kept))),
        sha256={rows.name: rows.sha256},
    )


def _probe(rows: Rows, name: Any, window: float) -> _Probe:
    own = rows.take(rows.group == name)
    own = own.take(np.argsort(own.x["step"], kind="stable"))
    step, flag, value = own.x["step"], own.x["injection"], own.y
    odd = np.flatnonzero((flag != 0) & (flag != 1))
    if odd.size:
        raise BadInput(
            f"injection is {flag[odd[0]]:g}, and says 1 or 0 (trained on at this step or not)",
            file=rows.name,
            line=int(own.lines[odd[0]]),
            column="injection",
        )
    at = np.flatnonzero(flag == 1)
    empty = np.empty(0)
    if not at.size:
        return _Probe(str(name), [], empty, empty, "probes without an injection")
    gains, best = [], -1
    for i, here in enumerate(at.tolist()):
        # The next injection's row is read before it, and still belongs to this one.
        last = step[at[i + 1]] if i + 1 < len(at) else np.inf
        after = np.flatnonzero((step > step[here]) & (step <= min(step[here] + window, last)))
        best = int(after[np.argmax(value[after])]) if after.size else -1
        gains.append(float(value[best] - value[here]) if best >= 0 else np.nan)
    if best < 0:
        return _Probe(str(name), gains, empty, empty, "probes not read within the window of their last injection")
    rise = value[best] - value[at[0]]
    if rise <= 0:
        return _Probe(str(name), gains, empty, empty, "probes that gained nothing")
    later = np.arange(best + 1, len(step))
    return _Probe(str(name), gains, step[later] - step[best], (value[later] - value[at[0]]) / rise, "")


def _outliers(values: Floats) -> NDArray[np.bool_]:
    """Which of values (n,) lie FENCE interquartile ranges beyond their quartiles; none of fewer than FEW."""
    if len(values) < FEW:
        return np.zeros(len(values), dtype=bool)
    low, high = np.quantile(values, [0.25, 0.75])
    # Equal values differ by rounding, which is no distance.
    room = FENCE * (high - low) + 1e-9 * np.max(np.abs(values))
    return np.asarray((values < low - room) | (values > high + room))


def _effectivity(probes: list[_Probe], left_out: Counter[str], level: float, seed: int) -> tuple[Quantile, ...]:
    """The mean gain of the first, second, ... injection over probes, with resampled probes for its interval."""
    found = []
    for i in range(max((len(p.gains) for p in probes), default=0)):
        every = np.array([p.gains[i] for p in probes if len(p.gains) > i and np.isfinite(p.gains[i])])
        if not every.size:
            found.append(Quantile(float("nan"), ()))
            continue
        out = _outliers(every)
        left_out.update({"gains beyond 2 IQR": int(out.sum())} if out.any() else {})
        kept = every[~out]
        again = np.random.default_rng([seed, i]).choice(kept, (RESAMPLES if len(kept) >= FEW else 0, len(kept)))
        every = np.append(kept.mean(), again.mean(axis=1))
        found.append(quantile_of(every[0] + _wider(len(kept), level) * (every - every[0]), level))
    return tuple(found)


def _wider(count: int, level: float) -> float:
    """By what factor resamples of few probes spread too little: by n / (n - 1), and as Student's t is wider."""
    from scipy.stats import norm, t

    at = (1 + level) / 2
    return float(t.ppf(at, count - 1) / norm.ppf(at) * np.sqrt(count / (count - 1))) if count > 1 else 1.0


def _points(probes: list[_Probe], left_out: Counter[str]) -> tuple[list[str], tuple[NDArray[np.int64], Floats, Floats]]:
    """The names of the probes, and probe (n,), t (n,) and share (n,) of the points that are no outliers then."""
    which = np.concatenate([np.full(len(p.t), i) for i, p in enumerate(probes)] or [np.empty(0)]).astype(np.int64)
    t = np.concatenate([p.t for p in probes] or [np.empty(0)])
    share = np.concatenate([p.share for p in probes] or [np.empty(0)])
    out = np.zeros(len(t), dtype=bool)
    for time in np.unique(t):
        out[t == time] = _outliers(share[t == time])
    if out.any():
        left_out["points beyond 2 IQR"] += int(out.sum())
    return [p.name for p in probes], (which[~out], t[~out], share[~out])


def _lines(which: NDArray[np.int64], t: Floats, share: Floats, count: int, seed: int) -> tuple[Floats, float]:
    """R_0 and a (1 + k, 2) of all probes, then of resampled ones; and the standard error of a by least squares."""
    x = np.log10(t)
    columns = np.stack([np.ones_like(x), x, x * x, share, x * share])
    sums = np.stack([np.bincount(which, column, count) for column in columns], axis=1)
    draws = RESAMPLES if count >= FEW else 0
    picks = np.random.default_rng([seed, 99]).multinomial(count, np.full(count, 1 / count), draws)
    n, sx, sxx, sy, sxy = np.concatenate([sums.sum(axis=0)[None, :], picks @ sums]).T
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (n * sxy - sx * sy) / (n * sxx - sx * sx)
    level = (sy - slope * sx) / n
    rest = share - (level[0] + slope[0] * x)
    se = float(np.sqrt(rest @ rest / max(len(x) - 2, 1) / np.sum((x - x.mean()) ** 2)))
    return np.stack([level, -slope], axis=1), se


def _beyond(forgotten: Quantile, t: Floats) -> tuple[Notice, ...]:
    """A warning where the line meets zero later than anything was read."""
    if forgotten.value <= t.max():
        return ()
    when = "never" if not np.isfinite(forgotten.value) else f"{forgotten.value:.3g} steps after it was learnt"
    message = (
        f"the fact is forgotten {when}, and the last probe was read after {t.max():.4g} steps: the line may bend before"
    )
    return (Notice("SL483", "warning", message),)


def _few(count: int) -> tuple[Notice, ...]:
    if count >= FEW:
        return ()
    message = f"{count} probes are too few to resample or to tell outliers among: there are no intervals; add probes"
    return (Notice("SL484", "warning", message),)
