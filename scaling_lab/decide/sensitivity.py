"""How far a decision moves when the fit behind it is made another way, one choice at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..engine.coordinates import Coordinates
from ..engine.fit import Settings, optimum, width_of
from ..engine.solve import Objective
from ..errors import LabError
from ..laws import Law, get_law
from ..tables import Table, read_content, read_table, table_of
from .allocate import allocate
from .choices import cases
from .leave_out import leave_out_runs, runs_in_turn
from .refits import Aim, Choice, Failed, Source, Work, aim_of, choice_of, distance, ending

if TYPE_CHECKING:
    import os

    import pandas as pd

    from ..engine.result import Fit

Progress = Callable[[str, int, int], None]
SCHEMA = "scaling-lab/sensitivity/1"


@dataclass(frozen=True)
class Sensitivity:
    """The decisions of every choice, worst first, beside that of the fit as it was asked for.

    `at` is the compute (or the inputs) decided for and `how` says where it comes from. `faulty` are answers of a solver
    that did not reach the optimum: shown, and in no range. `notes` say what was not tried and why. `interval` is the
    bootstrap's at `level`, of tokens per parameter (of the loss where nothing is split), where a fit with draws was
    given.
    """

    law: str
    target: str
    at: Mapping[str, float]
    how: str
    base: Choice
    choices: tuple[Choice, ...]
    faulty: tuple[Choice, ...]
    failed: tuple[Failed, ...]
    notes: tuple[str, ...]
    interval: tuple[float, float] | None
    level: float
    seed: int

    @property
    def measure(self) -> str:
        """What choices are ordered by and drawn as: tokens_per_param, or loss where nothing is split."""
        return "loss" if self.base.decision.params is None else "tokens_per_param"

    @property
    def outside(self) -> int | None:
        """How many choices lie outside the bootstrap's interval; None where there is none."""
        if self.interval is None:
            return None
        low, high = self.interval
        return sum(not low <= getattr(c.decision, self.measure) <= high for c in self.choices)

    def shown(self, runs: int = 5) -> tuple[tuple[Choice, ...], tuple[Choice, ...]]:
        """The choices that a page has room for, and the others: all but the runs whose loss moves least."""
        first = {c.name for c in [c for c in self.choices if c.kind == "run"][:runs]}
        apart = [c.kind == "run" and c.name not in first for c in self.choices]
        kept, rest = ([c for c, a in zip(self.choices, apart, strict=True) if a == want] for want in (False, True))
        return tuple(kept), tuple(rest)

    def range(self, name: str) -> tuple[float, float] | None:
        """The lowest and highest params, tokens, tokens_per_param or loss of any choice, the base among them."""
        found = [getattr(c.decision, name) for c in (self.base, *self.choices)]
        return None if found[0] is None else (min(found), max(found))

    def to_dict(self) -> dict[str, Any]:
        """JSON of the whole."""
        names = ("params", "tokens", "tokens_per_param", "loss")
        return {
            "schema": SCHEMA,
            "law": self.law,
            "target": self.target,
            "at": dict(self.at),
            "how": self.how,
            "base": self.base.to_dict(self.base),
            "range": {name: list(ends) for name in names if (ends := self.range(name)) is not None},
            "choices": [choice.to_dict(self.base) for choice in self.choices],
            "faulty": [choice.to_dict(self.base) for choice in self.faulty],
            "failed": [{"choice": f.name, "kind": f.kind, "why": f.why} for f in self.failed],
            "notes": list(self.notes),
            "interval": None
            if self.interval is None
            else {self.measure: list(self.interval), "level": self.level, "choices_outside": self.outside},
            "seed": self.seed,
        }


def sensitivity(
    law: str | Law,
    table: str | os.PathLike[str] | pd.DataFrame | Table,
    *,
    flops: float | None = None,
    objective: Literal["huber", "l2", "l1"] = "huber",
    delta: float | None = None,
    starts: int = 2304,
    fix: Mapping[str, float] | None = None,
    seed: int = 0,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    weights: str | None = None,
    params_column: str | None = None,
    drop_bad: bool = False,
    fit: Fit | None = None,
    level: float = 0.9,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Sensitivity:
    """The compute-optimal params, tokens and loss under every other way to make the fit, one change at a time.

    The arguments are those of `fit`, whose result may be given as `fit`: then the bootstrap's interval at `level`
    stands beside the choices. `flops` is the budget (default: AHEAD times the largest of the table). A law that
    is not one of params and tokens decides nothing: its loss is predicted for AHEAD times the largest inputs. Raises
    what `fit` raises, and LabError where the fit as asked for has no best split.
    """
    entry = get_law(law)
    settings = Settings(
        Objective(objective, width_of(entry, delta), entry.residual),
        starts,
        bootstrap=0,
        fix=fix or {},
        seed=seed,
        workers=workers,
    )
    if not isinstance(table, Table):
        # Read once: stdin can't be read again for another count or without --where.
        table = read_table(table) if _is_frame(table) else table_of(read_content(table))  # type: ignore[arg-type]
    source = Source(entry, table, dict(mapping or {}), where, weights, params_column, drop_bad)
    rows = source.rows()
    coordinates = Coordinates.of(entry, settings.fix, rows.x)
    best = optimum(coordinates, rows, settings)
    aim = aim_of(entry, rows, flops)
    work = Work(source, rows, settings, coordinates, best, aim)
    note = ending(best.account["best"])
    base = choice_of("the fit as asked for", "base", rows.used, coordinates, best.theta, aim.decide, note)
    waiting = [*cases(work)]
    found: list[Choice] = []
    failed: list[Failed] = []
    masks, notes = runs_in_turn(work)
    total = len(waiting) + 1
    for i, case in enumerate(waiting):
        try:
            found.append(case.make())
        except LabError as fault:
            failed.append(Failed(case.name, case.kind, str(fault)))
        if progress:
            progress("sensitivity", i + 1, total)
    several, refused, more = leave_out_runs(work, masks, found)
    if progress:
        progress("sensitivity", total, total)
    faulty = [c for c in found if c.kind == "faulty solver"]
    sound = [c for c in (*found, *several) if c.kind != "faulty solver"]
    return Sensitivity(
        law=entry.name,
        target=entry.target,
        at=aim.at,
        how=aim.how,
        base=base,
        choices=tuple(sorted(sound, key=lambda c: distance(c.decision, base.decision), reverse=True)),
        faulty=tuple(faulty),
        failed=(*failed, *refused),
        notes=(*notes, *more, *work.notes),
        interval=None if fit is None else _interval(fit, aim, level),
        level=level,
        seed=seed,
    )


def _is_frame(table: Any) -> bool:
    return hasattr(table, "columns")


def _interval(fit: Fit, aim: Aim, level: float) -> tuple[float, float] | None:
    """The bootstrap's interval of what is decided, None without draws or where draws have no bound."""
    if len(fit.draws) < 2:
        return None
    if set(fit.entry.inputs) == {"params", "tokens"}:
        ends = allocate(fit, aim.at["flops"], level=level).tokens_per_param.ci
        return (ends[0], ends[1]) if ends and all(map(math.isfinite, ends)) else None
    tail = (1 - level) / 2
    values = fit.at_draws({name: np.array([value]) for name, value in aim.at.items()})[:, 0]
    low, high = np.quantile(values, [tail, 1 - tail])
    return (float(low), float(high)) if math.isfinite(low) and math.isfinite(high) else None
