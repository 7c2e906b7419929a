"""What the reader of a fit must be told, each with a stable code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..accounting import six_nd
from ..errors import NotIdentified
from ..laws import Law
from ..tables import Rows
from .coordinates import Coordinates
from .result import Noise, Notice

Floats = NDArray[np.float64]

# Singular values of the scaled derivative matrix below this share of the largest mean: rounding, not information.
RANK = 1e-9


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
    if len(kinds) == 2 and np.ptp(np.log(np.divide(*rows.x.values()))) < 1e-6:
        return f"all runs have one ratio of {' to '.join(rows.x)}", name
    return "these inputs do not vary in enough ways", name


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
) -> tuple[Notice, ...]:
    """What the reader must know about the design, the optimum, the bootstrap and the drift."""
    return (
        *_design(rows),
        *_units(coordinates.law, rows),
        *_optimum(starts),
        *_at_bound(coordinates, rows, theta),
        *_bootstrap(coordinates, rows, boot),
        *_drift(noise),
    )


def _warning(code: str, message: str) -> Notice:
    return Notice(code, "warning", message)


def _design(rows: Rows) -> list[Notice]:
    found, x = [], rows.x
    if "params" in x and "tokens" in x:
        ratio = np.log(x["tokens"] / x["params"])
        if np.std(ratio) < 0.05:
            found.append(
                _warning(
                    "SL201",
                    f"all runs have about {np.exp(np.mean(ratio)):.3g} tokens per parameter, so the split of the "
                    "loss between model and data rests on the law's form alone; add runs at other ratios",
                )
            )
        if rows.flops is not None:
            share = rows.flops / six_nd(x["params"], x["tokens"])
            odd = (share < 0.5) | (share > 2.0)
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
        kinds = len(np.unique(np.round(np.log(values), 2)))
        if kinds < 4:
            found.append(_warning("SL202", f"only {kinds} distinct values of {name}; its exponent rests on few"))
    return found


def _units(law: Law, rows: Rows) -> list[Notice]:
    """Sizes and losses that look as if they were in other units: millions, billions, perplexity."""
    found = []
    for name in ("params", "tokens"):
        if name in rows.x and rows.x[name].min() < 1000:
            low, high, column = rows.x[name].min(), rows.x[name].max(), rows.inputs[name]["column"]
            found.append(
                _warning(
                    "SL103",
                    f"{name} from {low:.4g} to {high:.4g}: if these are millions or billions, give counts, as in "
                    f"--map {name}='{column}*1e6'",
                )
            )
    # Guessing evenly among 256,000 tokens costs 12.5 nats; no trained model ends above half of that.
    if law.target == "loss" and rows.y.min() > 6:
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
    if starts["best"] != "converged":
        found.append(
            _warning(
                "SL306",
                f"the best start did not settle ({starts['best']}): a better optimum may exist; see whether another "
                "--seed or --objective moves the answer",
            )
        )
    if starts["at_best"] >= 3 or starts["polished"] < 3:
        return found
    return [
        *found,
        _warning(
            "SL301",
            f"only {starts['at_best']} of {starts['polished']} polished starts reached the best optimum; raise "
            "--starts and see whether it stays",
        ),
    ]


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


def _bootstrap(coordinates: Coordinates, rows: Rows, boot: Mapping[str, Any]) -> list[Notice]:
    found = []
    if boot["resample"] == "residuals":
        found.append(
            _warning(
                "SL308",
                f"{rows.runs} runs are too few to resample for {len(coordinates.free)} free parameters: the intervals "
                "come from new losses drawn about the fit, and trust the law's form",
            )
        )
    elif boot["resample"].startswith("none"):
        found.append(
            _warning(
                "SL308",
                f"{rows.runs} runs are too few to resample for {len(coordinates.free)} free parameters, and the rows "
                "of a run share its error: no intervals of the parameters; add runs",
            )
        )
    if boot["n"] and boot["failed"] + boot.get("unconverged", 0) > 0.05 * boot["n"]:
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
    """Terms that the fit has driven to nothing: less than a millionth of the loss in every row."""
    out = []
    with np.errstate(all="ignore"):
        f = coordinates.model(rows.x, theta[None, :])
    params = coordinates.to_params(theta[None, :])
    for i, p in enumerate(coordinates.free):
        pull = np.max(np.abs(np.broadcast_to(f.grad.get(i, 0.0), f.value.shape) / f.value), initial=0.0)
        if p.domain != "real" and pull < 1e-6:
            out.append(
                _warning(
                    "SL302",
                    f"{p.name} was driven to nothing (it ended at {float(params[p.name][0, 0]):.3g}): "
                    "the data show nothing of it, and a prediction outside them rests on that",
                )
            )
    return out
