"""What the reader of a fit must be told, each with a stable code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..accounting import six_nd
from ..errors import NotIdentified
from ..laws import Law
from ..laws.base import SETTINGS
from ..quantities import SHARE_PREFIX, quantity
from ..tables import Rows
from . import codes
from .coordinates import Coordinates
from .local import NOTHING, Local, condition, influence, local, mean_error, quantile_ratio
from .result import Noise, Notice
from .solve import Objective
from .uncertainty import BIASED

Floats = NDArray[np.float64]

# An exponent of which a prior lends more of the information than this is said to be borrowed.
BORROWED = 0.5
# Singular values of the scaled derivative matrix below this share of the largest mean: rounding, not information.
RANK = 1e-9

# Thresholds, each calibrated by bench/diagnostics.py; codes.py and docs/warnings.md quote them from here.
ODD_FLOPS = (0.5, 2.0)
LEAST_SIZE = 1000.0
# Guessing evenly among 256,000 tokens costs 12.5 nats; no trained model ends above half of that.
HIGHEST_LOSS = 6.0
ANNEALED, UNANNEALED, FEW_SIDE = 0.2, 0.4, 0.05
ONE_RATIO = 0.05
FEW_VALUES = 4
ONE_SIDE = 0.05
PROFILE_SIZES = 5
PROFILE_WIDTH = 0.05
AGREE = 3
CONDITION = 700.0
REFITTED = 6
INFLUENCE = 1.75
UNSETTLED = 0.05
HELD_OUT = 2.2
# That of a choice of laws beyond this many times the half width of its own intervals, were all errors one and the same:
# at 90 % that is two standard errors of a normal.
SHARED = 1.2


def check_identified(coordinates: Coordinates, rows: Rows) -> None:
    """Raises NotIdentified where no parameters, whatever their values, could be told from these inputs.

    Looks for directions in which the law does not move at any of several places in its start ranges.
    """
    if not coordinates.free:
        return
    places = coordinates.random(7, np.random.default_rng(0))
    kept: tuple[float, Floats] | None = None
    dead = np.ones(len(coordinates.free), dtype=bool)
    for theta in places:
        jac = jacobian(coordinates, rows, theta[None, :])
        if not np.isfinite(jac).all():
            continue
        length = np.linalg.norm(jac, axis=0)
        dead &= length == 0
        if (length == 0).any():
            continue
        _, singular, directions = np.linalg.svd(jac / length, full_matrices=False)
        share = float(singular[-1] / singular[0]) if singular[0] > 0 else 0.0
        weak = np.max(np.abs(directions[singular <= RANK * singular[0]]), axis=0, initial=0.0)
        if kept is None or share > kept[0]:
            kept = (share, weak)
    if kept is None and dead.any():
        names = [p.name for p, gone in zip(coordinates.free, dead, strict=True) if gone]
        raise NotIdentified(
            names, "the law does not move with them while the others are held", "hold them with --fix too"
        )
    if kept is None or kept[0] > RANK:
        return
    names = [p.name for p, w in zip(coordinates.free, kept[1], strict=True) if w > 1e-3]
    why, name = _why(rows)
    raise NotIdentified(names, why, f"add runs at other values of {name}, or hold parameters with --fix name=value")


def _why(rows: Rows) -> tuple[str, str]:
    """What the design lacks, in words, and the input to vary."""
    kinds = {name: np.unique(values) for name, values in rows.x.items()}
    name = min(kinds, key=lambda n: len(kinds[n]))
    if len(kinds[name]) == 1:
        return f"all {rows.used} runs have {name} = {kinds[name][0]:.6g}", name
    if len(kinds[name]) < 4:
        return f"the runs have only {len(kinds[name])} values of {name}", name
    if len(kinds) == 2 and all((v > 0).all() for v in rows.x.values()) and _one_ratio(rows):
        return f"all runs have one ratio of {' to '.join(rows.x)}", name
    return "these inputs do not vary in enough ways", name


def _one_ratio(rows: Rows) -> bool:
    return bool(np.ptp(np.log(np.divide(*rows.x.values()))) < 1e-6)


def jacobian(coordinates: Coordinates, rows: Rows, theta: Floats) -> Floats:
    """Derivatives of log prediction (n, p) at theta (1, p)."""
    with np.errstate(all="ignore"):
        f = coordinates.model(rows.x, theta)
        value = np.broadcast_to(f.value, (1, rows.used))[0]
        columns = [np.broadcast_to(f.grad.get(i, 0.0), (1, rows.used))[0] / value for i in range(theta.shape[1])]
    return np.stack(columns, axis=1)


def check(
    coordinates: Coordinates,
    rows: Rows,
    theta: Floats,
    starts: Mapping[str, Any],
    boot: Mapping[str, Any],
    noise: Noise,
    objective: Objective,
) -> tuple[Notice, ...]:
    """What the reader must know about the table, the design, the optimum, the bootstrap and the drift."""
    found = local(coordinates, rows, theta, objective)
    return (
        *of_table(coordinates.law, rows),
        *_bracket(coordinates, rows, theta),
        *_optimum(starts),
        *_at_bound(coordinates, rows, theta),
        *_weak_direction(coordinates, found, objective.on),
        *_influence(coordinates, rows, theta, found, objective),
        *_bootstrap(coordinates, rows, boot),
        *_drift(noise),
        *_lean(noise, objective.on),
    )


def of_table(law: Law, rows: Rows) -> tuple[Notice, ...]:
    """What the reader must know about the table and the design, whatever the fit finds."""
    return (*_design(rows), *_units(law, rows), *_annealing(rows))


def _warning(code: str, message: str) -> Notice:
    return Notice(code, codes.severity(code), message)


def _design(rows: Rows) -> list[Notice]:
    found, x = [], rows.x
    if "params" in x and "tokens" in x:
        ratio = np.log(x["tokens"] / x["params"])
        if np.std(ratio) < ONE_RATIO:
            found.append(
                _warning(
                    "SL201",
                    f"all runs have about {np.exp(np.mean(ratio)):.3g} tokens per parameter, so the split of the "
                    "loss between model and data rests on the law's form alone; add runs at other ratios",
                )
            )
        if rows.flops is not None:
            share = rows.flops / six_nd(x["params"], x["tokens"])
            odd = (share < ODD_FLOPS[0]) | (share > ODD_FLOPS[1])
            if odd.any():
                found.append(
                    _warning(
                        "SL101",
                        f"flops is not within a factor 2 of 6*params*tokens in {odd.sum()} of {rows.used} rows "
                        f"(first: line {rows.lines[odd][0]}, ratio {share[odd][0]:.3g}); check what params and "
                        "flops count",
                    )
                )
    for name, values in x.items():
        # Sizes read off a figure jitter by less than 1 %: they are one size.
        logs = np.log(values) if quantity(name).domain == "positive" else values
        if name.startswith(SHARE_PREFIX):  # of one source; what counts is how all vary together
            continue
        kinds = len(np.unique(np.round(logs, 2)))
        if kinds < FEW_VALUES:
            found.append(_warning("SL202", f"only {kinds} distinct values of {name}; its exponent rests on few"))
    return found


def _units(law: Law, rows: Rows) -> list[Notice]:
    """Sizes and losses that look as if they were in other units: millions, billions, perplexity."""
    found = []
    for name in ("params", "tokens"):
        if name in rows.x and rows.x[name].min() < LEAST_SIZE:
            low, high, column = rows.x[name].min(), rows.x[name].max(), rows.inputs[name]["column"]
            # Of a quantity that --map computes, the column is its own name, which the table need not have.
            made = column == name and any(note.startswith(f"{name} is taken from") for note in rows.notes)
            shown = "(EXPR)" if made else column if column.isidentifier() else f"`{column}`"
            found.append(
                _warning(
                    "SL103",
                    f"{name} from {low:.4g} to {high:.4g}: if these are millions or billions, give counts, as in "
                    f"--map {name}='{shown}*1e6' (or 1e9)",
                )
            )
    if law.target == "loss" and rows.y.min() > HIGHEST_LOSS:
        found.append(
            _warning(
                "SL105",
                f"the lowest loss is {rows.y.min():.4g} nats/token, more than trained models end at; if it is "
                "perplexity, bits or a sum, give the mean cross-entropy in nats",
            )
        )
    return found


def _optimum(starts: Mapping[str, Any]) -> list[Notice]:
    found = []
    if starts["best"] not in ("converged", "at bound"):
        found.append(
            _warning(
                "SL306",
                f"the best start did not settle ({starts['best']}): a better optimum may exist; see whether another "
                "--seed or --objective moves the answer",
            )
        )
    followed = starts["polished"] + starts.get("audited", 0)
    doubts = []
    if starts.get("lower"):
        doubts.append(
            f"random starts found an optimum {starts['lower']:.2g} of the objective below what the ranked ones "
            "reached; it was taken"
        )
    if starts["at_best"] < AGREE <= followed:
        doubts.append(f"only {starts['at_best']} of {followed} starts that were followed reached the best optimum")
    if doubts:
        found.append(_warning("SL301", f"{', and '.join(doubts)}; raise --starts and see whether it stays"))
    return found


def _drift(noise: Noise) -> list[Notice]:
    if noise.cuts:
        return []
    return [
        _warning(
            "SL307",
            f"the table is too small for an inner backtest: how fast the error grows outside it is assumed "
            f"({noise.drift:g} of the loss for each factor e), not measured",
        )
    ]


def _runs(rows: Rows) -> str:
    return "1 run is" if rows.runs == 1 else f"{rows.runs} runs are"


def _bootstrap(coordinates: Coordinates, rows: Rows, boot: Mapping[str, Any]) -> list[Notice]:
    found = []
    if boot.get("interrupted"):
        found.append(
            _warning(
                "SL309",
                f"the bootstrap was interrupted after {boot['n']} of {boot['asked']} refits: intervals rest on those",
            )
        )
    if boot["resample"] == "residuals":
        found.append(
            _warning(
                "SL308",
                f"{_runs(rows)} too few to resample for {len(coordinates.free)} free parameters: the intervals "
                "come from new losses drawn about the fit, and trust the law's form",
            )
        )
    elif boot["resample"].startswith("none"):
        found.append(
            _warning(
                "SL308",
                f"{_runs(rows)} too few to resample for {len(coordinates.free)} free parameters, and the rows "
                "of a run share its error: no intervals of the parameters; add runs",
            )
        )
    if boot["n"] and boot["failed"] + boot.get("unconverged", 0) > UNSETTLED * boot["n"]:
        found.append(
            _warning(
                "SL305",
                f"of {boot['n']} bootstrap refits {boot['failed']} failed and {boot['unconverged']} did not settle; "
                "the intervals of the parameters are rough",
            )
        )
    if boot["n"] and boot["resample"] == "runs" and rows.runs < 2 * len(coordinates.free) + 2:
        found.append(
            _warning(
                "SL204",
                f"only {rows.runs} runs to resample for {len(coordinates.free)} free parameters; rough intervals",
            )
        )
    return found


def _at_bound(coordinates: Coordinates, rows: Rows, theta: Floats) -> list[Notice]:
    """Terms that the fit has driven to nothing: NOTHING of the loss in every row."""
    out = []
    with np.errstate(all="ignore"):
        f = coordinates.model(rows.x, theta[None, :])
    params = coordinates.to_params(theta[None, :])
    for i, p in enumerate(coordinates.free):
        pull = np.max(np.abs(np.broadcast_to(f.grad.get(i, 0.0), f.value.shape) / f.value), initial=0.0)
        if p.domain != "real" and pull < NOTHING:
            where = f"{p.name} ended at {float(params[p.name][0, 0]):.3g}, its term driven to nothing"
            if p.domain == "between":
                where = f"{p.name} ran to its limit, {float(params[p.name][0, 0]):.3g}"
            out.append(
                _warning("SL302", f"{where}: the data show nothing of it, and a prediction outside them rests on that")
            )
    return out


# --------------------------------------------------------------------------------------------------------- annealing


def _annealing(rows: Rows) -> list[Notice]:
    """A table that mixes annealed ends of runs with rows from before their learning rate fell."""
    if rows.annealing is not None:
        known = rows.annealing[np.isfinite(rows.annealing)]
        low, high = int(np.sum(known <= ANNEALED)), int(np.sum(known >= UNANNEALED))
        if min(low, high) >= max(2, FEW_SIDE * len(known)):
            return [
                _warning(
                    "SL104",
                    f"{low} rows end with the learning rate at {ANNEALED:.0%} of its peak or less, {high} at "
                    f"{UNANNEALED:.0%} or more: annealing lowers a loss by itself, so one law does not hold for both; "
                    "keep one kind with --where",
                )
            ]
    middle = _checkpoints(rows)
    if not middle:
        return []
    return [
        _warning(
            "SL104",
            f"{middle} of {rows.used} rows are earlier checkpoints of a run, and the table does not tell their "
            "learning rate: unless it was constant they are not what a run of that length ends at; keep the last of "
            "each run, or add columns lr and lr_max or schedule",
        )
    ]


def _checkpoints(rows: Rows) -> int:
    """How many rows are followed by a later row of their run and may have had another learning rate than it."""
    tokens = rows.x.get("tokens", rows.flops)
    if not rows.grouped or tokens is None or rows.runs == rows.used:
        return 0
    _, run = np.unique(rows.group.astype(str), return_inverse=True)
    last = np.zeros(int(run.max()) + 1)
    np.maximum.at(last, run, tokens)
    # What is read off a figure jitters; another end of the same run lies further away.
    earlier = tokens < 0.99 * last[run]
    unknown = earlier if rows.annealing is None else earlier & ~np.isfinite(rows.annealing)
    return int(np.sum(unknown))


# ----------------------------------------------------------------------------------------------------------- bracket


def _bracket(coordinates: Coordinates, rows: Rows, theta: Floats) -> list[Notice]:
    """Designs that never saw the loss rise on both sides of the best split of compute."""
    # Rows of a law of learning rate or batch are optima themselves, and split nothing.
    if coordinates.law.target in SETTINGS or not {"params", "tokens"} <= set(rows.x):
        return []
    edges = profile_edges(rows)
    if len(edges) >= 3:
        for side, name in ((-1, "smallest"), (1, "largest")):
            if (at := int(np.sum(edges == side))) > len(edges) / 2:
                return [
                    _warning(
                        "SL203",
                        f"in {at} of {len(edges)} isoFLOP profiles the {name} size has the lowest loss: the best size "
                        f"lies beyond those tried; add {'smaller' if side < 0 else 'larger'} sizes at these budgets",
                    )
                ]
        return []
    offset = off_optimum(coordinates, rows, theta)
    if offset is None:
        return []
    larger = float(np.mean(offset > 0))
    if ONE_SIDE < larger < 1 - ONE_SIDE:
        return []
    over = larger >= 1 - ONE_SIDE
    nearest = float(np.exp(np.quantile(np.abs(offset), ONE_SIDE)))
    return [
        _warning(
            "SL203",
            f"{'almost ' if 0 < larger < 1 else ''}all runs have {'more' if over else 'fewer'} parameters than the "
            f"fitted law's best split of their compute (the nearest {nearest:.3g} times): that split was never "
            f"bracketed; add runs with {'fewer' if over else 'more'} parameters and "
            f"{'more' if over else 'fewer'} tokens",
        )
    ]


def profile_edges(rows: Rows) -> NDArray[np.int64]:
    """Where each isoFLOP profile of PROFILE_SIZES sizes or more has its lowest loss: -1 smallest, 1 largest, else 0."""
    flops = rows.flops if rows.flops is not None else six_nd(rows.x["params"], rows.x["tokens"])
    order = np.argsort(flops, kind="stable")
    log_flops = np.log(flops[order])
    edges = []
    for keep in np.split(order, np.flatnonzero(np.diff(log_flops) > np.log1p(PROFILE_WIDTH)) + 1):
        sizes, index = np.unique(rows.x["params"][keep], return_inverse=True)
        if len(sizes) < PROFILE_SIZES or flops[keep[-1]] / flops[keep[0]] > (1 + PROFILE_WIDTH) ** 2:
            continue
        at = int(np.argmin(np.bincount(index, rows.y[keep]) / np.bincount(index)))
        edges.append(-1 if at == 0 else 1 if at == len(sizes) - 1 else 0)
    return np.array(edges, dtype=np.int64)


def off_optimum(coordinates: Coordinates, rows: Rows, theta: Floats) -> Floats | None:
    """Log of each run's params over the fitted law's best at the run's compute (n,); None for other laws.

    The best is looked up on a grid 1,000 times beyond the sizes that were tried: one that lies further out is taken to
    lie at its end, on the same side of every run.
    """
    if set(rows.x) != {"params", "tokens"}:
        return None
    n, compute = rows.x["params"], six_nd(rows.x["params"], rows.x["tokens"])
    budgets = np.geomspace(compute.min(), compute.max(), 24)
    sizes = np.geomspace(n.min() / 1e3, n.max() * 1e3, 400)
    grid = {"params": np.tile(sizes, len(budgets)), "tokens": (budgets[:, None] / (6 * sizes)).ravel()}
    with np.errstate(all="ignore"):
        loss = np.asarray(coordinates.law.predict(grid, **coordinates.to_params(theta[None, :])))
    loss = np.broadcast_to(loss, (1, grid["params"].size)).reshape(len(budgets), len(sizes))
    if not np.isfinite(loss).any(axis=1).all():
        return None
    best = np.log(sizes[np.argmin(np.where(np.isfinite(loss), loss, np.inf), axis=1)])
    return np.asarray(np.log(n) - np.interp(np.log(compute), np.log(budgets), best))


# --------------------------------------------------------------------------------------------------------- sensitivity


def _weak_direction(coordinates: Coordinates, found: Local | None, on: str) -> list[Notice]:
    # What the runs of a law that needs its priors can't tell apart, those do.
    if found is None or found.jac.shape[1] < 2 or coordinates.law.needs_priors:
        return []
    number, weak = condition(found)
    if number <= CONDITION:
        return []
    alive = [p for p, a in zip(coordinates.free, found.alive, strict=True) if a]
    moves = 0.1 * weak
    felt = float(np.max(np.abs(found.jac @ moves)))
    # What a parameter does to the losses tells whether it takes part, not the size of its own move.
    part = np.abs(moves) * np.linalg.norm(found.jac, axis=0)
    told = [(p, m) for p, m, size in zip(alive, moves, part, strict=True) if size > 0.1 * part.max()]
    together = ", ".join(f"{p.name} {f'{m:+.2g}' if not p.signed else f'{100 * m:+.2g} %'}" for p, m in told)
    share = f"{felt:.2g}" if on == "plain" else f"{100 * felt:.2g} %"
    return [
        _warning(
            "SL303",
            f"the runs hardly tell {', '.join(p.name for p, _ in told)} apart (condition number {number:.3g}): moved "
            f"together ({together}) they change no run's {coordinates.law.target} by more than {share}; predictions "
            "among the runs hold, these parameters and far predictions do not",
        )
    ]


def _influence(
    coordinates: Coordinates, rows: Rows, theta: Floats, found: Local | None, objective: Objective
) -> list[Notice]:
    df = rows.runs - 1 - (int(found.alive.sum()) if found else 0)
    if found is None or df < 2:
        return []
    size = rows.flops if rows.flops is not None else next(iter(rows.x.values()))
    at = int(np.argmax(size))
    edge = {name: values[[at]] for name, values in rows.x.items()}
    strongest = influence(coordinates, rows, theta, found, objective, edge, REFITTED)
    if strongest is None or strongest.times <= INFLUENCE * quantile_ratio(df):
        return []
    _, run = np.unique(rows.group.astype(str), return_inverse=True)
    first = int(np.flatnonzero(run == strongest.run)[0])
    name = f"run {rows.group[first]!r}" if rows.grouped else f"the run of line {rows.lines[first]}"
    if not rows.grouped and rows.runs < rows.used:
        name = f"the {int(np.sum(run == strongest.run))} rows from line {rows.lines[first]} on"
    return [
        _warning(
            "SL304",
            f"without {name} {strongest.what} moves by {strongest.times:.2g} of its standard errors "
            f"({strongest.moved}): look there, and fit without to compare",
        )
    ]


def _lean(noise: Noise, on: str) -> list[Notice]:
    if noise.bias is None or noise.bias_z is None or abs(noise.bias_z) <= BIASED:
        return []
    size = f"{abs(noise.bias):.2%}" if on == "log" else f"{abs(noise.bias):.3g}"
    side = "high" if noise.bias > 0 else "low"
    return [
        _warning(
            "SL402",
            f"fitted to the smaller runs, the law predicts the larger ones too {side} (inner backtests: by {size} in "
            f"the mean, {abs(noise.bias_z):.2g} standard errors): its form leans that way beyond the data",
        )
    ]


def misshapen(message: str) -> Notice:
    """A warning that the fit lacks the shape that the law's authors ask of it."""
    return _warning("SL425", message)


def lent(params: Mapping[str, Mapping[str, float | None]]) -> tuple[Notice, ...]:
    """A warning where most of what is known of an exponent comes from another family's fit."""
    most = {name: share for name, found in params.items() if (share := found["share"] or 0.0) > BORROWED}
    if not most:
        return ()
    shares = ", ".join(f"{name} ({share:.0%})" for name, share in most.items())
    return (_warning("SL315", f"most of what is known of {shares} is borrowed from --prior; the table tells the rest"),)


def _told(error: float, on: str) -> str:
    """An error of log values as a share, one of plain values as it is."""
    return f"{error:.2%}" if on == "log" else f"{error:.3g}"


def beaten(error: float, baselines: Mapping[str, float | None], on: str) -> tuple[Notice, ...]:
    """A warning where something simple did better in the inner backtests than the weighted laws."""
    better = {name: found for name, found in baselines.items() if found is not None and found < error}
    if not better:
        return ()
    name = min(better, key=lambda n: better[n])
    message = (
        f"in the inner backtests {name} did better ({_told(better[name], on)} off) than the weighted laws "
        f"({_told(error, on)}): the "
        "laws that were weighed do not suit these runs; look for two families, recipes or kinds of rows in one table"
    )
    return (_warning("SL316", message),)


def leaning_choice(errors: Floats, half_width: Floats, level: float, on: str) -> tuple[Notice, ...]:
    """A warning where a choice of laws misses held-out rows to one side by more than its intervals (m,) allow for.

    Errors of predictions (m,), on the scale of the residuals, beyond the data share their cause: they are taken for one
    single error.
    """
    mean, allowed = float(np.mean(errors)), SHARED * float(np.mean(half_width))
    if len(errors) < 3 or abs(mean) <= allowed:
        return ()
    message = (
        f"auto predicts the held-out runs too {'high' if mean > 0 else 'low'} by {_told(abs(mean), on)} in the "
        f"mean, more than {SHARED:g} times the half width of its {level:.0%} intervals: what the table shows below the "
        "split does not go on above it"
    )
    return (_warning("SL402", message),)


def leaning(
    coordinates: Coordinates, train: Rows, theta: Floats, test: Rows, objective: Objective, law: str
) -> tuple[Notice, ...]:
    """A warning where a backtest's held-out rows are missed to one side by more than noise and doubt explain."""
    found = mean_error(coordinates, train, theta, test, objective) if test.used >= 3 else None
    if found is None or not abs(found[0]) > HELD_OUT * found[1]:
        return ()
    mean, se = found
    by = f"{abs(mean):.2%}" if objective.on == "log" else f"{abs(mean):.3g}"
    side = "high" if mean > 0 else "low"
    message = (
        f"{law} predicts the held-out runs too {side} by {by} in the mean, {abs(mean) / se:.2g} times what the scatter "
        "of the runs and the doubt of the parameters explain: expect a larger run on the same side"
    )
    return (_warning("SL402", message),)
