"""The choice of laws in words and rows: its members, what they are measured against, how its intervals are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import words

if TYPE_CHECKING:
    from ..engine.backtest import Backtest
    from ..engine.metrics import Metrics
    from ..engine.result import Fit

# The variants as FIT.json names them (engine/blend.py), in plain words.
VARIANTS = {
    "priors": "with priors",
    "priors + discrepancy": "with priors and a discrepancy",
    "plain": "plain",
}


def blended(fit: Fit) -> bool:
    """Whether the fit is a blend of laws, and not one law, chosen or named."""
    return fit.calibration is not None


def rows(fit: Fit) -> list[tuple[str, str, str, str]]:
    """Name, variant, mean error in the inner backtests and weight of each member, largest first, then of their mean."""
    ordered = sorted(fit.blend.members, key=lambda m: -m.weight)
    listed = [(m.label, VARIANTS[m.variant], size(fit, m.error), words.percent(m.weight)) for m in ordered]
    assert fit.calibration is not None
    return [*listed, ("all", "their weighted mean", size(fit, fit.calibration.error), words.percent(1.0))]


def size(fit: Fit, error: float | None) -> str:
    """An error of log values as a share, one of plain values in the target's own unit."""
    return words.percent(error) if fit.objective.on == "log" or error is None else f"{error:.3g}"


def baselines(fit: Fit) -> list[tuple[str, str]]:
    """The name and mean error, in the same inner backtests, of each thing that the choice should beat."""
    return [(name, "not always fitted" if error is None else size(fit, error)) for name, error in fit.baselines.items()]


def why(fit: Fit) -> list[str]:
    """Where the weights come from, and what a discrepancy is where a member has one."""
    from ..engine.auto import POWER

    assert fit.calibration is not None
    along = "compute" if "flops" in fit.points else fit.entry.inputs[0]
    along += " or a further input" if len(fit.entry.inputs) > 2 or "flops" not in fit.points else ""
    cuts = words.plural(fit.calibration.cuts, "inner backtest")
    scale = "log " if fit.objective.on == "log" else ""
    said = [
        f"a weight is the error to the power -{POWER:g}, as a share; the error is of {scale}{words.clean(fit.target)} "
        f"in {cuts}, each fitted below a cut of {along} and scored above it ({fit.calibration.held_out:,} "
        "predictions); these rows alone decided, and only by how they were predicted"
    ]
    if any(member.scales for member in fit.blend.members):
        said.append(
            "a name with ~ has a discrepancy: a smooth curve, found together with the law, of what the law misses near "
            "the rows; it fades away from them"
        )
    return said


def intervals(fit: Fit) -> str:
    """How wide an interval of a choice of laws is, with its own numbers."""
    c = fit.calibration
    if c is None and fit.posterior is None:
        return (
            "the interval of a prediction is that of the plain fit: bootstrap draws, a run's noise and the law's drift"
        )
    if c is None:
        return (
            f"the interval of a prediction is that of {fit.law} with priors and a discrepancy on the same rows, and "
            "wider by how far that lies from the plain fit; those of the parameters are that posterior's too"
        )
    near, far, level = size(fit, c.near), size(fit, c.far), words.percent(c.level)
    return (
        f"a {level} interval reaches sqrt(near² + far² + spread²) to both sides: near {near} at every point, far {far} "
        f"for each factor e (2.72) beyond the rows, and spread {c.spread:.3g} times the members' disagreement; of all "
        "such, the one that scored best over the errors of the same inner backtests, then widened (docs/auto.md)"
    )


def starts(fit: Fit) -> str:
    """How many starts the members were fitted from."""
    account = fit.starts
    laws = len({m["law"] for m in fit.members})
    return (
        f"{words.plural(account['n'], 'start')} about the priors of {words.plural(laws, 'law')}: "
        f"{account['converged']:,} converged, {account['at_best']:,} at the best optimum of their law"
    )


def draws(fit: Fit) -> str:
    """What the intervals of parameters and of a split of compute rest on."""
    account = fit.bootstrap
    if not account["n"]:
        return "no bootstrap: parameters and splits of compute have no intervals; those of predictions need none"
    return (
        f"{words.plural(int(account['n']), 'draw')} for the intervals of parameters and of splits of compute, each of "
        f"one member, as often as its weight says: refits to resampled {account['resample']}, or the posterior where "
        f"there is a discrepancy; {account['failed']} failed"
    )


def alone(fit: Fit) -> list[str]:
    """What to say where auto could not weigh laws and took one; nothing in any other fit."""
    if not fit.members or blended(fit):
        return []
    reason = "the rows bend as no power law does" if fit.posterior is None else "laws could not be weighed"
    return [f"chosen by auto: {fit.law} alone, fitted plainly, for {reason}", intervals(fit)]


def summary(fit: Fit) -> str:
    """The blend in one sentence: how many members, the heaviest, and what the best of the baselines missed by."""
    assert fit.calibration is not None
    law, variant, error, weight = rows(fit)[0]
    known = {name: error for name, error in fit.baselines.items() if error is not None}
    beside = ""
    if known:
        name = min(known, key=lambda n: known[n])
        beside = f"; the best baseline there, {name}, missed by {size(fit, known[name])}"
    return (
        f"auto blends {words.plural(len(fit.members), 'member')}, of which {law} {variant} has the most weight "
        f"({weight}, {error} off in the inner backtests{beside})."
    )


def to_beat(found: Backtest) -> dict[str, Metrics]:
    """The baselines of a backtest that are not among its laws."""
    laws = {scored.law for scored in found.laws}
    same = {"power law in compute": "hestness-flops"}
    return {
        name: figures
        for name, figures in found.baselines.items()
        if same.get(name, name.removeprefix("plain ")) not in laws
    }


def formulas(fit: Fit) -> list[Mapping[str, Any]]:
    """The laws of the members, each once: name, formula and source."""
    laws = {member.law.name: member.law for member in fit.blend.members}
    return [{"law": n, "formula": f"{fit.target} = {law.formula}", "source": law.source} for n, law in laws.items()]
