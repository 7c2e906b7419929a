"""What the reader of a fit must be told, each with a stable code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..accounting import six_nd
from ..errors import NotIdentified
from ..tables import Rows
from .coordinates import Coordinates
from .result import Notice

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
    for theta in places:
        jac = _scaled_jacobian(coordinates, rows, theta[None, :])
        if jac is None:
            continue
        _, singular, directions = np.linalg.svd(jac, full_matrices=False)
        share = float(singular[-1] / singular[0]) if singular[0] > 0 else 0.0
        weak = np.max(np.abs(directions[singular <= RANK * singular[0]]), axis=0, initial=0.0)
        if kept is None or share > kept[0]:
            kept = (share, weak)
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


def _scaled_jacobian(coordinates: Coordinates, rows: Rows, theta: Floats) -> Floats | None:
    """Derivatives of log prediction (n, p) with columns of length one; None where they are not finite."""
    with np.errstate(all="ignore"):
        f = coordinates.model(rows.x, theta)
        p = theta.shape[1]
        jac = np.stack([np.broadcast_to(f.grad.get(i, 0.0), (1, rows.used))[0] for i in range(p)], axis=1)
        jac = jac / np.broadcast_to(f.value, (1, rows.used))[0][:, None]
        length = np.linalg.norm(jac, axis=0)
    if not np.isfinite(jac).all() or (length == 0).any():
        return None
    return jac / length


def check(
    coordinates: Coordinates, rows: Rows, theta: Floats, starts: Mapping[str, int], boot: Mapping[str, Any]
) -> tuple[Notice, ...]:
    """What the reader must know about the design, the optimum and the bootstrap."""
    return (*_design(rows), *_optimum(starts), *_at_bound(coordinates, rows, theta), *_bootstrap(rows, boot))


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


def _optimum(starts: Mapping[str, int]) -> list[Notice]:
    if starts["at_best"] >= 3 or starts["polished"] < 3:
        return []
    return [
        _warning(
            "SL301",
            f"only {starts['at_best']} of {starts['polished']} polished starts reached the best optimum; raise "
            "--starts and see whether it stays",
        )
    ]


def _bootstrap(rows: Rows, boot: Mapping[str, Any]) -> list[Notice]:
    found = []
    if boot["n"] and boot["failed"] + boot.get("unconverged", 0) > 0.05 * boot["n"]:
        found.append(
            _warning(
                "SL305",
                f"of {boot['n']} bootstrap refits {boot['failed']} failed and {boot['unconverged']} did not settle; "
                "the intervals of the parameters are rough",
            )
        )
    if boot["n"] and boot["resample"] == "runs" and rows.runs < 8:
        found.append(_warning("SL204", f"only {rows.runs} runs to resample; the bootstrap intervals are rough"))
    return found


def _at_bound(coordinates: Coordinates, rows: Rows, theta: Floats) -> list[Notice]:
    """Terms that the fit has driven to nothing: less than a millionth of the loss in every row."""
    out = []
    with np.errstate(all="ignore"):
        f = coordinates.model(rows.x, theta[None, :])
    for i, p in enumerate(coordinates.free):
        pull = np.max(np.abs(np.broadcast_to(f.grad.get(i, 0.0), f.value.shape) / f.value), initial=0.0)
        if p.domain != "real" and pull < 1e-6:
            out.append(
                _warning(
                    "SL302",
                    f"{p.name} ended at its bound ({float(coordinates.to_params(theta[None, :])[p.name][0, 0]):.3g}): "
                    "the data show nothing of it, and a prediction outside them rests on that",
                )
            )
    return out
