"""Chinchilla's approaches 2 and 1: minima of isoFLOP profiles, the envelope of curves, and power laws through both."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..engine.codes import severity
from ..engine.result import Notice
from ..errors import BadInput, NotEnoughData, UsageError
from ..tables import Rows, Table, read_table, rows_for

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Method = Literal["akima", "parabola"]
AT_EDGE = "minimum at the edge"
METHODS: tuple[Method, ...] = ("akima", "parabola")


@dataclass(frozen=True)
class PowerLaw:
    """quantity = coefficient * flops**exponent through n points, with Student t intervals of the fitted line.

    The intervals hold the scatter of the points about the line; they say nothing of a bias that all points share. An
    envelope's come from resampled curves instead, and are None without them.
    """

    exponent: float
    ci: tuple[float, float] | None
    coefficient: float
    r2: float | None
    n: int
    level: float

    def at(self, flops: float) -> float:
        """The law's value at a budget."""
        return float(self.coefficient * flops**self.exponent)


@dataclass(frozen=True)
class Profile:
    """Losses of one budget by model size (sorted), and the minimum of the chosen method.

    `status` is "used", or why there is no minimum to use; an edge minimum keeps its place but is not used.
    """

    flops: float
    params: Floats
    tokens: Floats
    loss: Floats
    minimum_params: float | None
    minimum_tokens: float | None
    minimum_loss: float | None
    status: str


@dataclass(frozen=True)
class IsoFlop:
    """Every profile, and the power laws of the optimal params and tokens by the chosen method and by the others."""

    method: Method
    profiles: tuple[Profile, ...]
    params: PowerLaw
    tokens: PowerLaw
    others: Mapping[str, Mapping[str, PowerLaw] | str]
    rows: Mapping[str, Any]
    notes: tuple[str, ...]

    @property
    def warnings(self) -> tuple[Notice, ...]:
        """A warning where budgets have their minimum at the edge of the sizes that were tried."""
        edge = [p for p in self.profiles if p.status == AT_EDGE]
        if not edge:
            return ()
        budgets = ", ".join(f"{p.flops:.3g}" for p in edge[:5]) + (", ..." if len(edge) > 5 else "")
        message = (
            f"{len(edge)} of {len(self.profiles)} budgets ({budgets} FLOP) have their minimum at the edge of the sizes "
            "tried and are not used: the power law rests on the others; add sizes beyond that edge"
        )
        return (Notice("SL203", severity("SL203"), message),)

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `isoflop --json`."""
        return {
            "schema": "scaling-lab/isoflop/1",
            "method": self.method,
            "params": asdict(self.params),
            "tokens": asdict(self.tokens),
            "others": {
                name: laws if isinstance(laws, str) else {k: asdict(v) for k, v in laws.items()}
                for name, laws in self.others.items()
            },
            "profiles": [asdict(profile) for profile in self.profiles],
            "rows": dict(self.rows),
            "notes": list(self.notes),
            "warnings": [asdict(notice) for notice in self.warnings],
        }


@dataclass(frozen=True)
class Envelope:
    """The lowest loss of any curve at each compute, which size and tokens gave it, and the power laws through them.

    Arrays are (m,) over log-spaced compute; `used` marks those whose winner is neither the smallest nor the largest
    size, where the envelope would be an artefact of the sizes that were trained.
    """

    flops: Floats
    params: Floats
    tokens: Floats
    loss: Floats
    used: NDArray[np.bool_]
    params_law: PowerLaw
    tokens_law: PowerLaw
    rows: Mapping[str, Any]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `envelope --json`."""
        return {
            "schema": "scaling-lab/envelope/1",
            "params": asdict(self.params_law),
            "tokens": asdict(self.tokens_law),
            "points": {k: getattr(self, k) for k in ("flops", "params", "tokens", "loss", "used")},
            "rows": dict(self.rows),
            "notes": list(self.notes),
        }


def power_law(flops: Floats, values: Floats, level: float = 0.95) -> PowerLaw:
    """The least-squares line through log value against log flops, with a Student t interval of its slope."""
    from scipy.stats import t

    x, y = np.log(flops), np.log(values)
    if len(x) < 3 or np.ptp(x) == 0:
        raise NotEnoughData(len(x), 3, "a power law with an interval")
    slope, intercept = np.polyfit(x - x.mean(), y, 1)
    rest = y - (intercept + slope * (x - x.mean()))
    error = np.sqrt(np.sum(rest**2) / (len(x) - 2) / np.sum((x - x.mean()) ** 2))
    half = float(t.ppf((1 + level) / 2, len(x) - 2) * error)
    total = float(np.sum((y - y.mean()) ** 2))
    return PowerLaw(
        exponent=float(slope),
        ci=(float(slope) - half, float(slope) + half),
        coefficient=float(np.exp(intercept - slope * x.mean())),
        r2=1 - float(np.sum(rest**2)) / total if total > 0 else None,
        n=len(x),
        level=level,
    )


# ------------------------------------------------------------------------------------------------------ isoflop


def isoflop(
    table: str | os.PathLike[str] | pd.DataFrame | Table,
    *,
    method: Method = "akima",
    tolerance: float = 0.05,
    budgets: Sequence[float] | None = None,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    params_column: str | None = None,
    drop_bad: bool = False,
    level: float = 0.95,
) -> IsoFlop:
    """The optimal size and tokens of each budget and the power laws through them (approach 2).

    Rows form a profile where their compute agrees within `tolerance` (relative), or is that near one of `budgets`.
    Akima interpolates log loss over log N; the parabola is fitted to the five sizes round the lowest loss. Minima at
    the edge of a profile are reported, not used.
    """
    if method not in METHODS:
        raise UsageError(f"no method {method!r}; known: {', '.join(METHODS)}")
    if not 0 < tolerance < 1:
        raise UsageError(f"--tolerance {tolerance:g} is not between 0 and 1")
    read = read_table(table, mapping=mapping, where=where, params_column=params_column)
    rows = rows_for(read, ("params", "tokens", "flops"), drop_bad=drop_bad)
    groups, scattered = _budgets(rows, tolerance, budgets)
    if not groups:
        raise BadInput("no row lies near a budget", file=rows.name, fix="widen --tolerance or name other --budgets")
    found = {m: tuple(_profile(rows, keep, m) for keep in groups) for m in METHODS}
    laws: dict[str, Mapping[str, PowerLaw] | str] = {}
    for m in METHODS:
        try:
            laws[m] = _laws(found[m], level)
        except NotEnoughData as fault:
            laws[m] = str(fault)
    mine = laws.pop(method)
    if isinstance(mine, str):
        reasons = ", ".join(sorted({p.status for p in found[method] if p.status != "used"}))
        raise BadInput(
            f"{sum(p.status == 'used' for p in found[method])} of {len(groups)} profiles have a minimum to use"
            f"{f' ({reasons})' if reasons else ''}, and a power law with an interval needs 3",
            file=rows.name,
            fix="add sizes round the minimum of each budget, or name the budgets with --budgets"
            if reasons
            else "add budgets, or name those that rows do not show with --budgets",
        )
    notes = [*rows.notes]
    if scattered:
        notes.append(f"{scattered} rows lie near none of the budgets")
    dropped = {**rows.dropped, **({"near no budget": scattered} if scattered else {})}
    account = {"read": rows.read, "used": rows.used - scattered, "dropped": dropped}
    return IsoFlop(method, found[method], mine["params"], mine["tokens"], laws, account, tuple(notes))


def _check_budgets(budgets: Sequence[float], tolerance: float) -> None:
    """Raises UsageError where a budget is no compute, or a row could be near two of them."""
    for budget in budgets:
        if not (np.isfinite(budget) and budget > 0):
            raise UsageError(f"--budgets {budget:g} is not a number above zero")
    if not budgets:
        raise UsageError("--budgets names none; write them as 6e18,1e19")
    for low, high in pairwise(sorted(budgets)):
        if high / low <= (1 + tolerance) ** 2:
            raise UsageError(
                f"--budgets {low:g} and {high:g} overlap, as rows within {tolerance:g} of either count; name one of "
                "them, or lower --tolerance"
            )


def _budgets(rows: Rows, tolerance: float, budgets: Sequence[float] | None) -> tuple[list[NDArray[np.int64]], int]:
    """The rows of each budget, and how many rows belong to none; raises BadInput where gaps do not tell them apart."""
    flops = rows.x["flops"]
    if budgets is not None:
        _check_budgets(budgets, tolerance)
        near = [np.flatnonzero(np.abs(np.log(flops / b)) <= np.log1p(tolerance)) for b in sorted(budgets)]
        near = [keep for keep in near if keep.size]
        return near, len(flops) - len(np.unique(np.concatenate(near or [np.array([], dtype=int)])))
    order = np.argsort(flops, kind="stable")
    breaks = np.flatnonzero(np.diff(np.log(flops[order])) > np.log1p(tolerance)) + 1
    groups = list(np.split(order, breaks))
    for keep in groups:
        low, high = float(flops[keep[0]]), float(flops[keep[-1]])
        if high / low > (1 + tolerance) ** 2:
            raise BadInput(
                f"{len(keep)} rows from {low:.3g} to {high:.3g} FLOP lie too close together to tell budgets apart",
                file=rows.name,
                fix="name the budgets with --budgets, or lower --tolerance",
            )
    return groups, 0


def _profile(rows: Rows, keep: NDArray[np.int64], method: Method) -> Profile:
    """One budget's profile; sizes trained more than once enter with their mean log loss."""
    sizes, index = np.unique(rows.x["params"][keep], return_inverse=True)
    count = np.bincount(index)
    log_loss = np.bincount(index, np.log(rows.y[keep])) / count
    log_tokens = np.bincount(index, np.log(rows.x["tokens"][keep])) / count
    log_n = np.log(sizes)
    minimum, status = (_akima if method == "akima" else _parabola)(log_n, log_loss)
    place = None if minimum is None else float(np.exp(minimum[0]))
    return Profile(
        flops=float(np.exp(np.mean(np.log(rows.x["flops"][keep])))),
        params=sizes,
        tokens=np.exp(log_tokens),
        loss=np.exp(log_loss),
        minimum_params=place,
        minimum_tokens=None if minimum is None else float(np.exp(np.interp(minimum[0], log_n, log_tokens))),
        minimum_loss=None if minimum is None else float(np.exp(minimum[1])),
        status=status,
    )


_Minimum = tuple[tuple[float, float] | None, str]


def _akima(log_n: Floats, log_loss: Floats) -> _Minimum:
    """The minimum of the Akima interpolant: a dense scan, then a bounded search beside its lowest point."""
    from scipy.interpolate import Akima1DInterpolator
    from scipy.optimize import minimize_scalar

    if len(log_n) < 3:
        return None, f"only {len(log_n)} size{'s' if len(log_n) != 1 else ''}"
    curve = Akima1DInterpolator(log_n, log_loss)
    steps = [np.linspace(a, b, 25, endpoint=False) for a, b in pairwise(log_n)]
    dense = np.append(np.concatenate(steps), log_n[-1])
    at = int(np.argmin(curve(dense)))
    if at in (0, len(dense) - 1):
        return (float(dense[at]), float(curve(dense[at]))), AT_EDGE
    best = minimize_scalar(curve, bounds=(dense[at - 1], dense[at + 1]), method="bounded", options={"xatol": 1e-10})
    return (float(best.x), float(best.fun)), "used"


def _parabola(log_n: Floats, log_loss: Floats) -> _Minimum:
    """The minimum of a parabola through the five sizes round the lowest loss."""
    at = int(np.argmin(log_loss))
    if len(log_n) < 3:
        return None, f"only {len(log_n)} size{'s' if len(log_n) != 1 else ''}"
    if at in (0, len(log_n) - 1):
        return (float(log_n[at]), float(log_loss[at])), AT_EDGE
    first = int(np.clip(at - 2, 0, max(len(log_n) - 5, 0)))
    x, y = log_n[first : first + 5], log_loss[first : first + 5]
    a, b, c = np.polyfit(x - log_n[at], y, 2)
    if a <= 0:
        return None, "the parabola has no minimum"
    place = float(log_n[at] - b / (2 * a))
    if not x[0] < place < x[-1]:
        return (place, float(c - b * b / (4 * a))), AT_EDGE
    return (place, float(c - b * b / (4 * a))), "used"


def _laws(profiles: Sequence[Profile], level: float) -> dict[str, PowerLaw]:
    used = [p for p in profiles if p.status == "used"]
    flops = np.array([p.flops for p in used])
    return {
        "params": power_law(flops, np.array([p.minimum_params for p in used], dtype=float), level),
        "tokens": power_law(flops, np.array([p.minimum_tokens for p in used], dtype=float), level),
    }


# ----------------------------------------------------------------------------------------------------- envelope


def envelope(
    table: str | os.PathLike[str] | pd.DataFrame | Table,
    *,
    points: int = 1500,
    bootstrap: int = 200,
    seed: int = 0,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    params_column: str | None = None,
    drop_bad: bool = False,
    level: float = 0.95,
) -> Envelope:
    """The lowest loss at each compute over a curves table, and the power laws of its params and tokens (approach 1).

    A curve is a run where the table has run_id, else all rows of one size. Between its rows log loss and log tokens are
    linear in log compute. Intervals come from resampling whole curves, for neighbouring points share their curve;
    there are none with fewer than two resamples.
    """
    if points < 3:
        raise UsageError(f"--points {points}: an envelope needs at least 3 places along compute")
    if bootstrap < 0:
        raise UsageError(f"--bootstrap {bootstrap} is below zero; 0 is for none")
    read = read_table(table, mapping=mapping, where=where, params_column=params_column)
    rows = rows_for(read, ("params", "tokens", "flops"), drop_bad=drop_bad)
    notes = list(rows.notes)
    if not rows.grouped:
        notes.append("no run_id: rows of one size are taken as one curve")
    keys = rows.group.astype(str) if rows.grouped else rows.x["params"].astype(str)
    curves = [_curve(rows, np.flatnonzero(keys == key)) for key in dict.fromkeys(keys.tolist())]
    curves = [curve for curve in curves if len(curve[0]) >= 2]
    if len(curves) < 3:
        raise NotEnoughData(len(curves), 3, "an envelope of curves with two rows each", " (curves, not rows)")
    grid = np.linspace(min(c[0][0] for c in curves), max(c[0][-1] for c in curves), points)
    stack = np.array([_on_grid(curve, grid) for curve in curves])
    winner, used = _winners(stack)
    params_law, tokens_law = _envelope_laws(grid, stack, winner, used, level)
    rng = np.random.default_rng([seed, 3])
    slopes = []
    for _ in range(bootstrap):
        part = stack[rng.integers(0, len(stack), len(stack))]
        try:
            slopes.append([law.exponent for law in _envelope_laws(grid, part, *_winners(part), level)])
        except NotEnoughData:
            continue
    if len(slopes) < 2:
        notes.append("fewer than two resamples of the curves had an envelope: the exponents have no intervals")
    elif len(slopes) < bootstrap / 2:
        notes.append(f"only {len(slopes)} of {bootstrap} resamples of the curves had an envelope: rough intervals")
    # Neighbouring points share their curve: the line's own Student t interval would be many times too narrow.
    laws = [replace(law, ci=None) for law in (params_law, tokens_law)]
    if len(slopes) > 1:
        low, high = np.quantile(np.array(slopes), [(1 - level) / 2, (1 + level) / 2], axis=0)
        laws = [_with_interval(law, low[i], high[i]) for i, law in enumerate(laws)]
    best = stack[winner, :, np.arange(points)]
    return Envelope(
        flops=np.exp(grid),
        params=best[:, 1],
        tokens=np.exp(best[:, 2]),
        loss=np.exp(best[:, 0]),
        used=used,
        params_law=laws[0],
        tokens_law=laws[1],
        rows={"read": rows.read, "used": rows.used, "dropped": dict(rows.dropped), "curves": len(curves)},
        notes=tuple(notes),
    )


_Curve = tuple[Floats, Floats, Floats, float]


def _curve(rows: Rows, keep: NDArray[np.int64]) -> _Curve:
    """Log compute (rising), log loss, log tokens and the size of one curve."""
    flops, first = np.unique(rows.x["flops"][keep], return_index=True)
    keep = keep[first]
    sizes = np.unique(rows.x["params"][keep])
    if len(sizes) > 1:
        raise BadInput(
            f"run {rows.group[keep[0]]!r} has {len(sizes)} model sizes", file=rows.name, line=int(rows.lines[keep[0]])
        )
    return np.log(flops), np.log(rows.y[keep]), np.log(rows.x["tokens"][keep]), float(sizes[0])


def _on_grid(curve: _Curve, grid: Floats) -> Floats:
    """Log loss, size and log tokens (3, m) of a curve; the loss is infinite where the curve does not reach."""
    log_c, log_loss, log_tokens, size = curve
    inside = (grid >= log_c[0]) & (grid <= log_c[-1])
    return np.array(
        [
            np.where(inside, np.interp(grid, log_c, log_loss), np.inf),
            np.full(len(grid), size),
            np.interp(grid, log_c, log_tokens),
        ]
    )


def _winners(stack: Floats) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The curve of lowest loss at each compute, and where it is neither of the smallest nor of the largest size."""
    winner = np.argmin(stack[:, 0], axis=0)
    reached = np.isfinite(stack[winner, 0, np.arange(stack.shape[2])])
    size = stack[winner, 1, 0]
    return winner, reached & (size > stack[:, 1, 0].min()) & (size < stack[:, 1, 0].max())


def _envelope_laws(
    grid: Floats, stack: Floats, winner: NDArray[np.int64], used: NDArray[np.bool_], level: float
) -> tuple[PowerLaw, PowerLaw]:
    at = np.flatnonzero(used)
    sizes = stack[winner[at], 1, at]
    if len(np.unique(sizes)) < 2:
        raise NotEnoughData(
            len(np.unique(sizes)), 2, "an envelope", " (sizes that win between the smallest and the largest)"
        )
    flops = np.exp(grid[at])
    return power_law(flops, sizes, level), power_law(flops, np.exp(stack[winner[at], 2, at]), level)


def _with_interval(law: PowerLaw, low: float, high: float) -> PowerLaw:
    ends = (min(float(low), law.exponent), max(float(high), law.exponent))
    return replace(law, ci=ends)
