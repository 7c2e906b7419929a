"""What it costs to know the loss at several lengths of a run: a run for each, decays branched off one, or one curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError

COST_SCHEMA = "scaling-lab/schedule-cost/1"
# One curve of half the longest run told all points of it, within a few tenths of a percent: arXiv:2408.11029.
FITTED = 0.5


@dataclass(frozen=True)
class CurveCost:
    """Steps that it takes to place a point at each of `horizons` (n,) steps, in three ways.

    `runs`: a cosine of each length. `reuse`: one constant run as long as the longest, and a decay of `decay` of its
    length for every point, the longest's own within it. `curves`: only the curves of `fitted` steps that a law is
    fitted to.
    """

    horizons: tuple[float, ...]
    decay: float
    fitted: tuple[float, ...]

    @property
    def runs(self) -> float:
        """Steps of a run for each point."""
        return sum(self.horizons)

    @property
    def reuse(self) -> float:
        """Steps of one trunk with a decay for each point."""
        *others, longest = sorted(self.horizons)
        return longest + self.decay * sum(others)

    @property
    def curves(self) -> float:
        """Steps of the curves that a law is fitted to."""
        return sum(self.fitted)

    def to_dict(self) -> dict[str, Any]:
        """JSON of it; shares are of a run for each point."""
        return {
            "schema": COST_SCHEMA,
            "points": len(self.horizons),
            "horizons": list(self.horizons),
            "decay": self.decay,
            "fitted": list(self.fitted),
            "steps": {"runs": self.runs, "reuse": self.reuse, "curves": self.curves},
            "shares": {"reuse": self.reuse / self.runs, "curves": self.curves / self.runs},
        }


def schedule_cost(horizons: Sequence[float], *, decay: float = 0.2, fitted: Sequence[float] | None = None) -> CurveCost:
    """The cost in steps of a point at each horizon; `fitted` is one curve of half the longest unless given.

    Raises UsageError for lengths below one step, for one named twice, and for a decay that is no share.
    """
    if not horizons or min(horizons) < 1 or len(set(horizons)) < len(horizons):
        raise UsageError("lengths of runs are numbers of steps from 1 up, each named once, as 10K,20K,50K")
    if not 0 < decay <= 1:
        raise UsageError(f"--decay {decay:g} is not a share of the steps, above 0 and up to 1")
    chosen = (FITTED * max(horizons),) if fitted is None else tuple(fitted)
    if not chosen or min(chosen) < 1:
        raise UsageError("--fitted names lengths of curves from 1 step up, as 50K")
    return CurveCost(tuple(sorted(horizons)), decay, chosen)
