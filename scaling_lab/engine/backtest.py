"""Fit on the small runs, predict the large: how wrong each law is where it matters."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..accounting import six_nd
from ..errors import BadInput, LabError, UsageError
from ..laws import Law
from ..quantities import ALIASES, quantity
from ..tables import Rows, Table, column_numbers, read_table
from .auto import LEVEL, auto_rows, baselines, choice, left_out
from .blend import NAME
from .coordinates import Coordinates
from .diagnostics import leaning, leaning_choice
from .fit import Progress, Settings, fit_rows, fitting_laws, has_input, law_of, law_rows
from .metrics import Metrics, band, coverage, interval_score, metrics
from .predict import interval, predict
from .result import Fit, Notice
from .solve import Objective

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
SCHEMA = "scaling-lab/backtest/1"


@dataclass(frozen=True)
class Scored:
    """One law on one split: its training fit, the held-out figures, and its predictions (m,) beside measurements.

    `asked` is the law that was asked for: `auto` may come to a plain one.
    """

    asked: str
    law: str
    train: int
    test: int
    metrics: Metrics
    coverage: float
    level: float
    width: float
    fit: Fit
    x: Mapping[str, Floats]
    measured: Floats
    predicted: Floats
    low: Floats
    high: Floats
    held_out: tuple[Notice, ...] = ()

    def scores(self, fit: Fit) -> bool:
        """Whether what was asked for here made the fit; `auto` may come to one law here and to a blend there."""
        return self.asked == fit.law or (self.asked == NAME and bool(fit.members))

    @property
    def warnings(self) -> tuple[Notice, ...]:
        """What the training fit was warned of, and what its held-out runs show."""
        return (*self.fit.warnings, *self.held_out)

    def to_dict(self) -> dict[str, Any]:
        """The contract's entry for a law."""
        figures = {name: value for name, value in asdict(self.metrics).items() if name != "n"}
        return {
            "law": self.law,
            "train": self.train,
            "test": self.test,
            **figures,
            "band": band(self.metrics.mape),
            "interval_score": interval_score(self.measured, self.low, self.high, self.level),
            "coverage": self.coverage,
            "level": self.level,
            "width": self.width,
            "warnings": [asdict(notice) for notice in self.warnings],
        }


@dataclass(frozen=True)
class Backtest:
    """Laws side by side on one split, best mean relative error first; `failed` are laws that could not be fitted.

    `baselines` are what a prediction should beat, by name: the plain law, a power law in compute, the last point.
    """

    split: Mapping[str, Any]
    laws: tuple[Scored, ...]
    failed: Mapping[str, str]
    rows: Mapping[str, Any]
    baselines: Mapping[str, Metrics]

    def to_dict(self) -> dict[str, Any]:
        """The contract's JSON."""
        return {
            "schema": SCHEMA,
            "split": dict(self.split),
            "laws": [scored.to_dict() for scored in self.laws],
            "failed": dict(self.failed),
            "rows": dict(self.rows),
            "baselines": {name: asdict(found) for name, found in self.baselines.items()},
        }


def backtest(
    table: str | os.PathLike[str] | pd.DataFrame | Table,
    laws: Sequence[str | Law] | str,
    *,
    by: str | None = None,
    test_above: float | None = None,
    test_fraction: float | None = None,
    level: float = 0.9,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    weights: str | None = None,
    params_column: str | None = None,
    drop_bad: bool = False,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Backtest:
    """Each law fitted below a value of `by` and scored above it.

    `laws="all"` is every law whose inputs are there, `usual` those of them that `auto` weighs,
    and a power law in compute; `auto` is the choice of laws, made below the split alone.

    `by` is compute where the table or the law knows it, else the first size that the first law takes; where it takes
    none, runs are held out by `chance`, which says nothing of extrapolation.

    Without `settings` each law has its own Huber width, where it has one.

    Without a split the quarter of the rows with the largest `by` is held out. A run whose rows lie on both sides is
    used on neither: checkpoints of a test run would tell the fit about it.
    """
    read = read_table(table, mapping=mapping, where=where, params_column=params_column)
    settings = settings or Settings(bootstrap=400, own_width=True)
    chosen = laws_of([laws] if isinstance(laws, str) else laws, read)
    by = size_of(read, chosen[0]) if by is None else ALIASES.get(by, by)
    if test_above is not None and test_fraction is not None:
        raise UsageError("--test-above and --test-fraction both set the split; give one")
    if test_fraction is not None and not 0 < test_fraction < 1:
        raise UsageError(f"--test-fraction {test_fraction:g} is not between 0 and 1")
    scored: list[Scored] = []
    failed: dict[str, str] = {}
    split: dict[str, Any] = {}
    rows: Rows | None = None
    simple: dict[str, Metrics] = {}
    for done, law in enumerate(chosen):
        rows = law_rows(law, read, weights=weights, drop_bad=drop_bad)
        train, test, split = split_rows(rows, measure(read, rows, by), by, test_above, test_fraction)
        own = replace(settings, objective=settings.objective_of(law))
        try:
            scored.append(_score(law, read, rows.take(train), rows.take(test), own, level))
            simple |= _score_baselines(law, read, rows.take(train), rows.take(test), own, simple)
        except LabError as fault:
            if len(chosen) == 1:
                raise
            failed[law.name] = str(fault)
        if progress:
            progress("backtest", done + 1, len(chosen))
    if not scored:
        raise BadInput(f"no law could be fitted below the split: {'; '.join(failed.values())}", file=read.name)
    assert rows is not None
    account = {"read": rows.read, "used": rows.used, "dropped": dict(rows.dropped)}
    return Backtest(split, tuple(sorted(scored, key=lambda s: s.metrics.mape)), failed, account, simple)


# Every law whose inputs a table has (a minute or two), and those that `auto` weighs with a power law in compute.
ALL, USUAL = "all", "usual"


def laws_of(laws: Sequence[str | Law], table: Table) -> list[Law]:
    """The laws of names, each once: `all` is every law whose inputs the table has, and `auto` stands as a law so named.

    Raises UsageError for an unknown name, BadInput where the table has the inputs of none.
    """
    found: list[Law] = []
    for law in laws:
        if law in (ALL, USUAL):
            every = fitting_laws(table)
            if law == USUAL and any(other.priors for other in every):
                every = [*choice(table), *(other for other in every if other.name == "hestness-flops")]
            if not every:
                raise BadInput("no law's inputs are all in this table", file=table.name, fix="name columns with --map")
            found += every
        elif law == NAME:
            # What stands for auto carries the inputs, the target and the name; its members are chosen on training rows.
            found.append(replace(choice(table)[0], name=NAME))
        else:
            found.append(law_of(law, table))
    return [law for i, law in enumerate(found) if law not in found[:i]]


# Of runs that have no size, as mixtures of one size have none, those held out are drawn.
CHANCE = "chance"


def size_of(table: Table, law: Law) -> str:
    """What says how large a run is: compute, else the first input of the law that is a size, else chance."""
    if has_input(table, "flops"):
        return "flops"
    return next((name for name in law.inputs if quantity(name).domain == "positive"), CHANCE)


def measure(table: Table, rows: Rows, by: str) -> Floats:
    """The splitting variable of each row (n,); compute is 6 * params * tokens where the table has none."""
    if by in rows.x:
        return rows.x[by]
    if by == CHANCE and not table.has(CHANCE):
        _, run = np.unique(rows.group.astype(str), return_inverse=True)
        order = np.random.default_rng(0).permutation(int(run.max()) + 1)
        return np.asarray((order[run] + 0.5) / len(order))
    if by == "flops":
        if rows.flops is None and table.has("params") and table.has("tokens"):
            both = six_nd(column_numbers(table, "params")[0], column_numbers(table, "tokens")[0])
            return np.asarray(both[np.isin(table.lines, rows.lines)])
        if rows.flops is not None:
            return rows.flops
    values, _ = column_numbers(table, by)
    kept = values[np.isin(table.lines, rows.lines)]
    if not np.isfinite(kept).all():
        raise BadInput("is empty in some rows, so they can't be split by it", file=table.name, column=by)
    return kept


def split_rows(
    rows: Rows, size: Floats, by: str, above: float | None, fraction: float | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
    """The rows (n,) to fit, those to predict, and the split as JSON; a run on both sides is in neither."""
    if above is None:
        above = float(np.quantile(size, 1 - (fraction or 0.25)))
    test = size > above
    crossing = np.zeros(rows.used, dtype=bool)
    if rows.grouped:
        tested = set(rows.group[test].tolist())
        crossing = ~test & np.array([g in tested for g in rows.group.tolist()])
    train = ~test & ~crossing
    if not test.any() or not train.any():
        side = "above" if not test.any() else "below"
        raise BadInput(
            f"no row has {by} {side} {above:g} ({by} goes from {size.min():g} to {size.max():g})",
            file=rows.name,
            fix="choose another --test-above or --test-fraction",
        )
    split = {"by": by, "test_above": above, "train": int(train.sum()), "test": int(test.sum())}
    if crossing.any():
        split["left_out"] = {"checkpoints of test runs": int(crossing.sum())}
    return train, test, split


def _score_baselines(
    law: Law, read: Table, train: Rows, test: Rows, settings: Settings, known: Mapping[str, Metrics]
) -> dict[str, Metrics]:
    """Figures of what the law should beat; those that can't be fitted are left out, and the plain law comes once."""
    first = choice(read)[0] if law.name == NAME else law
    if any(name.startswith("plain") for name in known):
        return {}
    found = baselines(first, train, test, settings)
    back = np.exp if settings.objective.on == "log" else np.asarray
    return {name: metrics(back(scaled), test.y) for name, scaled in found.items() if np.isfinite(scaled).all()}


def _score(law: Law, table: Table, train: Rows, test: Rows, settings: Settings, level: float) -> Scored:
    if law.name == NAME:
        laws = choice(table)
        fit = auto_rows(laws, train, settings, notices=left_out(table, laws))
    else:
        fit = fit_rows(law, train, settings)
    points = [{name: float(test.x[name][i]) for name in fit.entry.inputs} for i in range(test.used)]
    found = predict(fit, points, level)
    return Scored(
        asked=law.name,
        law=fit.law,
        train=train.used,
        test=test.used,
        metrics=metrics(found.value, test.y),
        coverage=coverage(test.y, found.low, found.high),
        level=level,
        width=float(np.mean((found.high - found.low) / np.abs(test.y))),
        fit=fit,
        x={**test.x, **({} if test.flops is None else {"flops": test.flops})},
        measured=test.y,
        predicted=found.value,
        low=found.low,
        high=found.high,
        held_out=_leaning_choice(fit, test) if fit.law == NAME else _leaning(fit, train, test, settings),
    )


def _leaning_choice(fit: Fit, test: Rows) -> tuple[Notice, ...]:
    low, high = interval(fit, {name: test.x[name] for name in fit.entry.inputs}, LEVEL)
    scale = fit.objective.scale
    return leaning_choice(
        scale(fit.at(test.x)) - scale(test.y), (scale(high) - scale(low)) / 2, LEVEL, fit.objective.on
    )


def _leaning(fit: Fit, train: Rows, test: Rows, settings: Settings) -> tuple[Notice, ...]:
    coordinates = Coordinates.of(fit.entry, settings.fix, train.x)
    return leaning(coordinates, train, coordinates.from_array(fit.optimum_row())[0], test, settings.objective, fit.law)


__all__ = ["Backtest", "Objective", "Scored", "backtest", "fitting_laws"]
