"""A curve's extrapolation as plain text for a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..quantities import format_quantity
from . import words
from .terminal import prose, table

if TYPE_CHECKING:
    from ..decide.extrapolate import Extrapolation
    from ..decide.stopping import Stopping


def extrapolation(found: Extrapolation) -> str:
    """The losses asked with their intervals, every family's own, and when the run could have been stopped."""
    curve = found.curve
    first, last = (curve.place(end) for end in found.window)
    how = f"; smoothed by {found.smoothing}" if found.smoothing.kind != "none" else ""
    head = prose(
        f"{words.clean(curve.name)}: fitted from {first} to {last}{how}",
        words.rows({"read": curve.read, "used": len(curve), "dropped": curve.dropped}),
    )
    parts = [head]
    if found.ahead:
        parts += [_ahead(found), _families(found)]
    if found.stop is not None:
        parts.append(stop(found.stop, curve.input))
    return "\n\n".join(parts)


def _ahead(found: Extrapolation) -> str:
    level = words.percent(found.level)
    body = [
        (
            found.curve.place(a.at),
            f"{a.factor:.3g}",
            words.fixed(a.value, *a.interval),
            words.span(*a.interval),
            *(f"{100 * part:.2g} %" for part in (a.families, a.drift, a.noise)),
        )
        for a in found.ahead
    ]
    heads = ("at", "times as far", "loss", f"{level} interval", "families", "drift", "noise")
    return table(heads, body, "lrrlrrr")


def _families(found: Extrapolation) -> str:
    body = [
        (
            f.name,
            words.percent(f.weight),
            f"{f.validation:.2g}" if math.isfinite(f.validation) else "-",
            f"{f.drift:.2g}",
            *(f"{value:.4f}" for value in f.values),
        )
        for f in found.families
    ]
    heads = ("family", "weight", "error held out", "drift", *(found.curve.place(a.at) for a in found.ahead))
    said = prose(
        "weights by the error of log loss over the last fifth of the curve, predicted from what came before; drift is "
        "the error for each factor e beyond the data",
        *(f"{name} is not weighed: {why}" for name, why in found.left_out.items() if "bend" in why),
    )
    return f"{table(heads, body, 'lrrr' + 'r' * len(found.ahead))}\n\n{said}"


def stop(found: Stopping, along: str) -> str:
    """Where the sequence of trends came to rest, and what it then predicted."""
    place = f"{along} {format_quantity(found.target)}"
    about = f"trends c + a/{along}^alpha through the growing curve, {len(found.levels)} levels"
    if found.stop is None or found.converged is None or found.predicted is None:
        moved = [abs(lv.change) for lv in found.levels if math.isfinite(lv.change)][-3:]
        far = f"; the last predictions of {place} moved by {max(moved):.2g} nats" if moved else ""
        return prose(f"{about}: not at rest within {found.epsilon:g} nats{far}: go on")
    said = [
        f"{about}: predictions of {place} moved by no more than {found.epsilon:g} nats a level from {along} "
        f"{format_quantity(found.converged)} on: it could have been stopped at {along} {format_quantity(found.stop)}, "
        f"where they said {found.predicted:.4f}",
    ]
    if found.later is not None:
        said.append(f"later levels went up to {found.later:.2g} nats from that")
    if found.measured is not None:
        error = found.predicted - found.measured
        said.append(f"the loss there came to {found.measured:.4f}: the prediction was off by {error:+.2g} nats")
    said.append("the threshold bounds how far predictions move, not how wrong they are")
    return prose(*said)
