"""Tokens seen at each step: as logged or as the batch says, never guessed."""

from __future__ import annotations

import numpy as np

from ..errors import BadInput, UsageError
from .clean import Curve
from .log import Floats, Issue


def tokens_of(curve: Curve, batch_tokens: float | None) -> tuple[Floats, str, list[Issue]]:
    """The tokens at each row (n,), NaN where unknown, what they were taken from, and what is odd about them.

    Logged tokens come first, then samples * seq_len, then step * batch_tokens (the log's or the user's), then
    step * batch_sequences * seq_len; with none of these raises BadInput.
    """
    samples, steps = curve.values.get("samples"), curve.values.get("step")
    if _any(curve, "tokens"):
        return _filled(curve, curve.values["tokens"])
    if samples is not None and _any(curve, "samples") and _any(curve, "seq_len"):
        return samples * _steady(curve, "seq_len"), "samples*seq_len", []
    if steps is not None and _any(curve, "batch_tokens"):
        size = _steady(curve, "batch_tokens")
        if batch_tokens is not None and batch_tokens != size:
            raise UsageError(
                f"run {curve.run_id!r} logs batch_tokens {size:g}, --batch-tokens says {batch_tokens:g}; leave the "
                f"option out, or overrule the log with --map batch_tokens={batch_tokens:g}"
            )
        return steps * size, "step*batch_tokens", []
    if steps is not None and batch_tokens is not None:
        return steps * batch_tokens, "step*--batch-tokens", []
    if steps is not None and _any(curve, "batch_sequences") and _any(curve, "seq_len"):
        size = _steady(curve, "batch_sequences") * _steady(curve, "seq_len")
        return steps * size, "step*batch_sequences*seq_len", []
    raise BadInput(
        f"run {curve.run_id!r} logs no tokens, and nothing to count them from",
        file=curve.log.sources[0],
        fix="give the tokens of one step with --batch-tokens N, or --map tokens=COLUMN",
    )


def _any(curve: Curve, name: str) -> bool:
    return curve.constant(name) is not None


def _steady(curve: Curve, name: str) -> float:
    """A quantity that does not change in the run; raises BadInput where it does."""
    row = curve.changes(name)
    if row is not None:
        at = int(curve.rows[row])
        raise BadInput(
            f"{name} changes within run {curve.run_id!r}, so tokens can't be counted from it",
            file=curve.log.sources[curve.log.files[at]],
            line=int(curve.log.lines[at]),
            fix="log the tokens and name them with --map tokens=COLUMN",
        )
    value = curve.constant(name)
    assert value is not None
    return value


def _filled(curve: Curve, logged: Floats) -> tuple[Floats, str, list[Issue]]:
    """Logged tokens; a row without them gets the count that its step implies, where tokens rise evenly with steps."""
    issues = _back(curve, logged)
    known = np.flatnonzero(~np.isnan(logged))
    gaps = len(logged) - len(known)
    steps = curve.values.get("step")
    if not gaps or steps is None or len(known) < 2:
        return logged, "logged", issues
    x, y = steps[known], logged[known]
    slope = (y[-1] - y[0]) / (x[-1] - x[0])
    line = y[0] + slope * (steps - x[0])
    # Batches are whole tokens: counts that rise evenly agree to rounding, and any other log is left as it is.
    if slope <= 0 or np.abs(line[known] - y).max() > 1e-9 * y[-1]:
        return logged, "logged", issues
    message = f"{gaps} row{'s' if gaps > 1 else ''} without tokens: counted from the step, as all others agree to"
    return (
        np.where(np.isnan(logged), np.rint(line), logged),
        "logged",
        [*issues, Issue(curve.run_id, "tokens-filled", "info", message, curve.log.sources[0])],
    )


def _back(curve: Curve, logged: Floats) -> list[Issue]:
    """An issue where tokens fall as steps rise: a counter that starts anew when a run is resumed."""
    known = np.flatnonzero(~np.isnan(logged))
    falls = known[1 + np.flatnonzero(np.diff(logged[known]) < 0)]
    if not falls.size:
        return []
    row = int(falls[0])
    message = f"tokens fall to {logged[row]:g} while steps rise: the counter may have started anew at a resume"
    return [Issue(curve.run_id, "tokens-fall", "warning", message, curve.place(row))]
