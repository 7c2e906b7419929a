"""A fit made in one way, and the decision that follows from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..accounting import six_nd
from ..engine.coordinates import Coordinates
from ..engine.fit import Optimum, Settings, law_rows, optimum
from ..engine.solve import AT_BOUND, CONVERGED, STATUS_NAMES, Objective
from ..engine.uncertainty import extent
from ..errors import LabError, UsageError
from ..laws import Law
from ..tables import Rows, Table, read_table
from .allocate import MOST, best_split, golden_section

Floats = NDArray[np.float64]
Decide = Callable[[Law, Mapping[str, Floats]], "Decision"]
# Where nothing is asked, the decision is for this many times the largest compute (or input) of the table.
AHEAD = 10.0
# The flops column stands for a price of N and D where powers of both describe it this well (standard deviation of log).
PRICE_SPREAD = 0.1
# A refit takes this many starts, and all that were asked for where fewer than three agree on the optimum.
LEAN_STARTS, LEAN_POLISH, AGREE = 400, (12, 4), 3
# Quantities that grow with a run: a point ahead of the data is ahead in these and typical in the others.
GROWING = ("params", "tokens", "flops", "characters", "unique_tokens", "step")


@dataclass(frozen=True)
class Decision:
    """The best params and tokens of a budget and their loss; of a law without such a split the loss alone."""

    loss: float
    params: float | None = None
    tokens: float | None = None

    @property
    def tokens_per_param(self) -> float | None:
        """Training tokens for each parameter."""
        return None if self.params is None or self.tokens is None else self.tokens / self.params


@dataclass(frozen=True)
class Choice:
    """One way to make the fit and the decision that follows from it.

    `kind` groups choices (objective, solver, count, flops, low compute, high loss, run, put back, form, rungs).
    `values` are the law's parameters. `note` says what must be known of the number.
    """

    name: str
    kind: str
    rows: int
    decision: Decision
    law: str
    values: Mapping[str, float]
    note: str = ""

    def to_dict(self, base: Choice) -> dict[str, Any]:
        """JSON of the choice and of its change against the base: ratios of sizes, difference of the loss."""
        d, b = self.decision, base.decision
        out: dict[str, Any] = {"choice": self.name, "kind": self.kind, "rows": self.rows, "law": self.law}
        change: dict[str, float] = {"loss": d.loss - b.loss}
        for name in ("params", "tokens", "tokens_per_param"):
            value, before = getattr(d, name), getattr(b, name)
            if value is not None and before is not None:
                out[name], change[name] = value, value / before
        return out | {"loss": d.loss, "change": change, "values": dict(self.values), "note": self.note}


@dataclass(frozen=True)
class Failed:
    """A choice that gives no decision, and why."""

    name: str
    kind: str
    why: str


def distance(one: Decision, base: Decision) -> tuple[float, float]:
    """How far a decision lies from the base: log ratio of tokens per parameter, then log ratio of the loss."""
    loss = abs(math.log(one.loss / base.loss)) if one.loss > 0 and base.loss > 0 else abs(one.loss - base.loss)
    ratio, before = one.tokens_per_param, base.tokens_per_param
    return (0.0 if ratio is None or before is None else abs(math.log(ratio / before)), loss)


# -------------------------------------------------------------------------------------------------- what is decided


@dataclass(frozen=True)
class Aim:
    """What is decided for: `decide` maps a law and its parameters, each (1, 1), to a decision or raises LabError."""

    at: Mapping[str, float]
    how: str
    decide: Decide


def aim_of(law: Law, rows: Rows, flops: float | None) -> Aim:
    if flops is not None and not (math.isfinite(flops) and 0 < flops <= MOST):
        raise UsageError(f"--flops {flops:g} is not a number above zero and up to {MOST:g}")
    if set(law.inputs) == {"params", "tokens"}:
        largest = float(extent(rows.x)["flops"].max())
        budget = AHEAD * largest if flops is None else flops
        how = f"{AHEAD:g} times the largest 6*params*tokens of the table" if flops is None else "as asked"
        return Aim({"flops": budget}, how, lambda law, named: _split(law, named, budget))
    if flops is not None and law.inputs != ("flops",):
        raise UsageError(
            f"{law.name} is a law of {', '.join(law.inputs)}: it splits no --flops; leave the option out, and its loss "
            f"is predicted for {AHEAD:g} times the largest inputs"
        )
    at = {n: float(AHEAD * v.max() if n in GROWING else np.median(v)) for n, v in rows.x.items()}
    grown, typical = (", ".join(n for n in at if (n in GROWING) == grows) for grows in (True, False))
    how = f"{AHEAD:g} times the largest {grown} of the table" if grown else ""
    if typical:
        how += f"{'; ' if how else ''}the median of {typical}"
    if flops is not None:
        at, how = {"flops": flops}, "as asked"
    return Aim(at, how, lambda law, named: _prediction(law, named, at))


def _split(law: Law, named: Mapping[str, Floats], budget: float) -> Decision:
    params, tokens, loss = best_split(law, named, np.array([budget]))
    return Decision(float(loss[0]), float(params[0]), float(tokens[0]))


def _prediction(law: Law, named: Mapping[str, Floats], at: Mapping[str, float]) -> Decision:
    with np.errstate(all="ignore"):
        loss = float(np.asarray(law.predict({n: np.array([v]) for n, v in at.items()}, **named))[0, 0])
    if not math.isfinite(loss):
        raise LabError(f"{law.name} predicts no finite {law.target} there")
    return Decision(loss)


def priced(rows: Rows, budget: float) -> Decide:
    """Decides with training priced as the table's flops price it: k * N^a * D^b through its rows (least squares).

    Raises LabError where no such price describes them.
    """
    assert rows.flops is not None
    n, d = np.log(rows.x["params"]), np.log(rows.x["tokens"])
    columns = np.column_stack([np.ones_like(n), n - n.mean(), d - d.mean()])
    # The ratio to 6*N*D is regressed: where the design can't tell a from b, the shortest answer shares them evenly.
    share = np.log(rows.flops / six_nd(rows.x["params"], rows.x["tokens"]))
    (k, a, b), *_ = np.linalg.lstsq(columns, share, rcond=1e-6)
    spread = float(np.std(share - columns @ np.array([k, a, b])))
    if spread > PRICE_SPREAD:
        raise LabError(
            f"the table's flops are no product of powers of params and tokens (they stray by {100 * spread:.2g} %)"
        )
    if b <= -1 or a <= -1:
        raise LabError("the table's flops fall with params or tokens")
    constant = k - a * n.mean() - b * d.mean() + math.log(6.0)

    def decide(law: Law, named: Mapping[str, Floats]) -> Decision:
        def tokens_at(log_n: Floats) -> Floats:
            return np.exp((math.log(budget) - constant - (1 + a) * log_n) / (1 + b))

        def loss_at(log_n: Floats) -> Floats:
            x = {"params": np.exp(log_n), "tokens": tokens_at(log_n)}
            with np.errstate(over="ignore"):
                return np.asarray(law.predict(x, **named))

        # From one parameter to one token, as allocate searches.
        grid = np.linspace(0.0, (math.log(budget) - constant) / (1 + a), 201)[None, :]
        at = int(np.argmin(loss_at(grid)[0]))
        if at in (0, grid.shape[1] - 1):
            raise LabError(f"{law.name}: the loss has no minimum along {budget:.4g} FLOP as the table counts them")
        log_n = golden_section(loss_at, grid[:, [at - 1]], grid[:, [at + 1]])
        params, tokens = np.exp(log_n[0, 0]), tokens_at(log_n)[0, 0]
        return Decision(float(loss_at(log_n)[0, 0]), float(params), float(tokens))

    return decide


# ------------------------------------------------------------------------------------------------------------ refits


@dataclass(frozen=True)
class Source:
    """The table as given and how the fit was asked to read it."""

    law: Law
    table: Table
    mapping: Mapping[str, str]
    where: str | None
    weights: str | None
    params_column: str | None
    drop_bad: bool

    @property
    def place(self) -> str:
        """What the number of a row counts: lines of a file, rows of a frame."""
        return "row" if self.table.name == "DataFrame" else "line"

    def read(self, *, where: bool = True, params: str | None = None) -> Table:
        """The table with its columns named, N from another column than asked for, with or without --where."""
        return read_table(
            self.table,
            mapping=self.mapping,
            where=self.where if where else None,
            params_column=params or self.params_column,
        )

    def rows(self) -> Rows:
        """The rows that the law can be fitted to."""
        return law_rows(self.law, self.read(), weights=self.weights, drop_bad=self.drop_bad)

    def every_row(self, params: str | None = None) -> Rows:
        """The rows of the whole table that can be used at all: the impossible ones among the others are left out."""
        return law_rows(self.law, self.read(where=False, params=params), weights=self.weights, drop_bad=True)


@dataclass(frozen=True)
class Work:
    """What every choice starts from."""

    source: Source
    rows: Rows
    settings: Settings
    coordinates: Coordinates
    best: Optimum
    aim: Aim
    notes: list[str] = field(default_factory=list)

    @property
    def law(self) -> Law:
        return self.source.law

    def refit(
        self,
        name: str,
        kind: str,
        rows: Rows | None = None,
        objective: Objective | None = None,
        law: Law | None = None,
        decide: Decide | None = None,
        note: str = "",
    ) -> Choice:
        """The choice that differs from the base in what is given."""
        rows = self.rows if rows is None else rows
        coordinates = Coordinates.of(law or self.law, self.settings.fix, rows.x)
        settings = self.settings if objective is None else replace(self.settings, objective=objective)
        best = lean_optimum(coordinates, rows, settings)
        notes = "; ".join(part for part in (note, ending(best.account["best"])) if part)
        return choice_of(name, kind, rows.used, coordinates, best.theta, decide or self.aim.decide, notes)


@dataclass(frozen=True)
class Case:
    """A choice that is still to be made; `make` raises LabError where there is no answer."""

    name: str
    kind: str
    make: Callable[[], Choice]


def lean_optimum(coordinates: Coordinates, rows: Rows, settings: Settings) -> Optimum:
    """The optimum from few starts, and from all that were asked for where those few do not agree on it."""
    fewer = replace(settings, starts=min(settings.starts, LEAN_STARTS), polish=LEAN_POLISH, audit=0)
    best = optimum(coordinates, rows, fewer)
    if best.account["at_best"] >= AGREE and best.account["best"] in _SETTLED:
        return best
    return optimum(coordinates, rows, settings)


_SETTLED = (STATUS_NAMES[CONVERGED], STATUS_NAMES[AT_BOUND])


def ending(status: str) -> str:
    """What must be known of how a refit ended, by the name of its status; empty where it converged."""
    if status == STATUS_NAMES[AT_BOUND]:
        return "a parameter ran to its bound"
    return "" if status in _SETTLED else f"the refit did not settle ({status})"


def choice_of(
    name: str,
    kind: str,
    rows: int,
    coordinates: Coordinates,
    theta: Floats,
    decide: Decide,
    note: str = "",
) -> Choice:
    named = coordinates.to_params(theta[None, :])
    law = coordinates.law
    values = {key: float(value[0, 0]) for key, value in named.items()}
    return Choice(name, kind, rows, decide(law, named), law.name, values, note)


def residuals(work: Work, theta: Floats) -> Floats:
    """The residuals (n,) of all rows at theta (p,)."""
    objective = work.settings.objective
    with np.errstate(all="ignore"):
        predicted = np.asarray(
            work.law.predict(dict(work.rows.x), **work.coordinates.to_params(theta[None, :])), dtype=float
        )
    return np.broadcast_to(objective.residual(predicted, objective.scale(work.rows.y)), (1, work.rows.used))[0]
