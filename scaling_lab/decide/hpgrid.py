"""Grids of learning rate and batch: read, the best of both at each size and tokens, plateaus, what a rule loses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..accounting import six_nd
from ..engine.codes import severity
from ..engine.result import Fit, Notice
from ..errors import BadInput, UsageError
from ..laws import get_law
from ..laws.hpsurface import HP_SURFACE, optimum_at
from ..laws.hyper import RULES, HyperRule, Setting
from ..quantities import format_quantity
from ..tables import Rows, Table, column_numbers, read_table, rows_for

Floats = NDArray[np.float64]
Method = Literal["near", "best", "quadratic", "akima", "lr-quadratic"]
METHODS: tuple[Method, ...] = ("near", "best", "quadratic", "akima", "lr-quadratic")
# Runs this close to a grid's best are as good as it: Step Law (arXiv:2503.04715) and DeepSeek LLM (arXiv:2401.02954).
NEAR = 0.0025
# Values closer than this are one value, logged with more or fewer digits: 3.45e-4 and 3.453e-4.
SAME = 0.02
# Neighbouring batches of a published grid differ by a factor of 4 at most; sequences and tokens by hundreds.
MIXED = 64.0
# A batch of fewer tokens than one short sequence: sequences, unless a table says how long they are.
LEAST_BATCH = 1024.0
# The cells that a quadratic surface is laid through, of six coefficients; a parabola's along one row.
SURFACE_CELLS, ROW_CELLS = 25, 5
PLATEAUS = (0.0025, 0.005, 0.01)
EDGE = "best at the edge"
# N as a rule for learning rates counts it, the nearest to Step Law's first.
SIZES = ("params_nonvocab", "params_nonembed", "params_nonembed_head", "params")
# Of fewer grids than this whole ones can't be resampled and still tell the fifteen parameters of hp-surface each time;
# the runs of one batch are then resampled together, whose intervals of the optimum were as wide on Step Law's 17 grids.
ENOUGH_GRIDS = 40
# A common setting of those who tune nothing.
CONSTANT = ("constant 3e-4, 0.5M", 3e-4, 5e5)


@dataclass(frozen=True)
class Grid:
    """The runs of one size and tokens: a cell (k,) for each learning rate and batch in tokens, the best of them `at`.

    `lr_levels` and `batch_levels` number each cell's row and column, with values of one level taken as one.
    """

    params: float
    tokens: float
    lr: Floats
    batch: Floats
    loss: Floats
    lr_levels: NDArray[np.int64]
    batch_levels: NDArray[np.int64]

    @property
    def at(self) -> int:
        """The cell of the least loss."""
        return int(np.argmin(self.loss))

    @property
    def excess(self) -> Floats:
        """Each cell's loss above the least, as a share of it (k,)."""
        return self.loss / self.loss.min() - 1

    @property
    def missing(self) -> int:
        """Cells of the full rectangle that were not run, or were left out."""
        return int((self.lr_levels.max() + 1) * (self.batch_levels.max() + 1)) - len(self.loss)

    def at_edge(self, cell: int) -> bool:
        """Whether a cell has the lowest or the highest learning rate, or batch, of several that were tried."""
        levels = (self.lr_levels, self.batch_levels)
        return any(of.max() > 0 and of[cell] in (0, of.max()) for of in levels)

    def named(self) -> str:
        """The grid in words."""
        return f"{format_quantity(self.params)} on {format_quantity(self.tokens)}"


@dataclass(frozen=True)
class Grids:
    """Every grid of a table, smallest first, with what `size` counts and an account of the rows."""

    grids: tuple[Grid, ...]
    size: str
    rows: Mapping[str, Any]
    notes: tuple[str, ...]
    name: str
    sha256: str

    @property
    def one_batch(self) -> bool:
        """Whether no grid has more than one batch, so that nothing tells what batch is best."""
        return all(grid.batch_levels.max() == 0 for grid in self.grids)


@dataclass(frozen=True)
class Optimum:
    """The best learning rate and batch of a grid, and the cells (m,) that a power law is laid through.

    `status` is "used", or why it is not.
    """

    grid: Grid
    lr: float
    batch: float
    lrs: Floats
    batches: Floats
    status: str = "used"

    def to_dict(self) -> dict[str, Any]:
        """JSON of the grid's best, without its cells."""
        return {
            "params": self.grid.params,
            "tokens": self.grid.tokens,
            "cells": len(self.grid.loss),
            "cells_missing": self.grid.missing,
            "best_loss": float(self.grid.loss.min()),
            "best_cell": {"lr_max": float(self.grid.lr[self.grid.at]), "batch_tokens": float(self._best_batch)},
            "lr_max": self.lr,
            "batch_tokens": self.batch,
            "cells_used": len(self.lrs) if self.status == "used" else 0,
            "status": self.status,
        }

    @property
    def _best_batch(self) -> float:
        return float(self.grid.batch[self.grid.at])


# ---------------------------------------------------------------------------------------------------------- reading


def levels(values: Floats, tolerance: float = SAME) -> NDArray[np.int64]:
    """The rank (n,) of each positive value among the distinct ones; neighbours within the tolerance are one."""
    order = np.argsort(values, kind="stable")
    steps = np.diff(np.log(values[order])) > np.log1p(tolerance)
    rank = np.zeros(len(values), dtype=np.int64)
    rank[order] = np.concatenate([[0], np.cumsum(steps)])
    return rank


def size_column(table: Table) -> str:
    """The column of N: the one without the vocabulary where there are several."""
    return next((name for name in SIZES if table.has(name)), "params")


def drop_diverged(
    table: Any,
    drop_above: float,
    *,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    params_column: str | None = None,
) -> Table:
    """The table without runs whose loss is more than `drop_above` (a share) above the best of their size and tokens.

    They are counted by reason. Rows without a size, tokens or a loss stay: what reads them tells of them.
    """
    if not (np.isfinite(drop_above) and drop_above > 0):
        raise UsageError(f"--drop-above {drop_above:g} is not above zero; write it as 25%")
    read = read_table(table, mapping=mapping, where=where, params_column=params_column)
    grid, loss = _grid_of(read, params_column)
    gone = np.zeros(len(grid), dtype=bool)
    for one in np.unique(grid[grid >= 0]):
        member = grid == one
        gone |= member & (loss > (1 + drop_above) * loss[member].min())
    return read.take(~gone, f"more than {100 * drop_above:g} % above its grid's best")


def _grid_of(table: Table, params_column: str | None) -> tuple[NDArray[np.int64], Floats]:
    """The grid (n,) of each row by its size and tokens, -1 where it has none, and the loss (n,)."""
    size = "params" if params_column is not None else size_column(table)
    n, d, loss = (column_numbers(table, name)[0] for name in (size, "tokens", "loss"))
    sound = np.isfinite(n) & np.isfinite(d) & np.isfinite(loss) & (n > 0) & (d > 0) & (loss > 0)
    grid = np.full(len(n), -1)
    if sound.any():
        grid[sound] = levels(n[sound]) * len(n) + levels(d[sound])
    return grid, loss


def grid_table(
    table: Any,
    *,
    drop_above: float | None = None,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    params_column: str | None = None,
) -> Table:
    """The table with batch_tokens, and runs that share what a law gets wrong (of one size, tokens and batch) as one.

    `drop_above` is that of drop_diverged. Raises BadInput where batches are in mixed units, or in sequences of unknown
    length.
    """
    read = read_table(table, mapping=mapping, where=where, params_column=params_column)
    if drop_above is not None:
        read = drop_diverged(read, drop_above, params_column=params_column)
    read = _with_batch(read)
    named, said = _labels(read, *_grid_of(read, params_column))
    size = "params" if params_column is not None else size_column(read)
    if size in read.columns and not read.has("params"):
        # The column keeps its own name, so that a fit says what its N counts.
        counted = f"params are those of {read.columns[size]}"
        read = replace(
            read, columns={**read.columns, "params": read.columns[size]}, notes={**read.notes, "params": counted}
        )
    return replace(
        read,
        made={**read.made, "run_id": named},
        columns={name: column for name, column in read.columns.items() if name != "run_id"},
        notes={**read.notes, "run_id": said},
    )


def _labels(table: Table, grid: NDArray[np.int64], loss: Floats) -> tuple[NDArray[Any], str]:
    """The run (n,) that each row counts as, another one for a cell's further seeds, and that in words."""
    lr, batch = (column_numbers(table, name)[0] for name in ("lr_max", "batch_tokens"))
    whole = len(np.unique(grid[grid >= 0])) >= ENOUGH_GRIDS
    seen: dict[tuple[float, ...], list[float]] = {}
    names = []
    for row, (g, *cell, value) in enumerate(np.column_stack([grid, lr, batch, loss]).tolist()):
        values = seen.setdefault((g, *cell), [])
        if value not in values:
            values.append(value)
        part = f"grid {g:g}" if whole else f"grid {g:g}, batch {cell[1]:g}"
        names.append(f"row {row}" if g < 0 else f"{part}, seed {values.index(value)}")
    said = f"runs of one size{' and tokens' if whole else ', tokens and batch'} are resampled together"
    return np.array(names, dtype=object), said


def _with_batch(table: Table) -> Table:
    """The table with batch_tokens, made of sequences and their length where it lacks it."""
    sequences, length = table.has("batch_sequences"), table.has("seq_len")
    if table.has("batch_tokens"):
        if sequences and length:
            _check_units(table)
        return table
    if not sequences:
        return table  # a missing column is told when it is read
    if not length:
        raise BadInput(
            "batch_sequences are no tokens without the length of a sequence",
            file=table.name,
            column=table.columns.get("batch_sequences", "batch_sequences"),
            fix="give seq_len, or --map batch_tokens='batch_sequences * 2048' with the length that was trained",
        )
    (a, wrong), (b, odd) = column_numbers(table, "batch_sequences"), column_numbers(table, "seq_len")
    return replace(
        table,
        made={**table.made, "batch_tokens": a * b},
        made_faults={**table.made_faults, "batch_tokens": {**wrong, **odd}},
        notes={**table.notes, "batch_tokens": "batch_tokens is taken as batch_sequences * seq_len"},
    )


def _check_units(table: Table) -> None:
    """Raises BadInput where batch_tokens are not batch_sequences * seq_len."""
    tokens, sequences, length = (column_numbers(table, n)[0] for n in ("batch_tokens", "batch_sequences", "seq_len"))
    with np.errstate(all="ignore"):
        apart = np.flatnonzero(np.abs(np.log(tokens / (sequences * length))) > np.log1p(SAME))
    if apart.size:
        row = int(apart[0])
        raise BadInput(
            f"batch_tokens {tokens[row]:g} are not {sequences[row]:g} sequences of {length[row]:g} tokens "
            f"({apart.size} such rows)",
            file=table.name,
            line=int(table.lines[row]),
            column=table.columns.get("batch_tokens", "batch_tokens"),
            fix="one of the three is in another unit: leave it out, or map it with --map",
        )


def read_grids(
    table: Any,
    *,
    drop_above: float | None = None,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    params_column: str | None = None,
    drop_bad: bool = False,
) -> Grids:
    """The grids of a table (a path, a DataFrame or a Table); a cell that was run more than once has its mean log loss.

    Raises BadInput where batches are in mixed units, or no grid has two learning rates.
    """
    if isinstance(table, Grids):
        return table
    read = grid_table(table, drop_above=drop_above, mapping=mapping, where=where, params_column=params_column)
    size = "params" if params_column is not None else size_column(read)
    # Repeats of a cell are told apart by their rows: they are seeds, not one run's checkpoints.
    rows = rows_for(_each_alone(read), (size, "tokens", "lr_max", "batch_tokens"), drop_bad=drop_bad)
    checked = read.has("batch_sequences") and read.has("seq_len")
    found, repeats = _grids(rows, size, checked)
    if not any(grid.lr_levels.max() for grid in found):
        raise BadInput(
            "no size and tokens has runs of two learning rates: nothing tells which is best",
            file=rows.name,
            column="lr_max",
            fix="train a grid of rates (and batches) at each size and tokens",
        )
    notes = [note for note in rows.notes if not note.startswith("runs of one size")]
    if size != "params" and not any(size in note for note in notes):
        notes.append(f"N is {size}")
    if repeats:
        notes.append(f"{repeats} runs repeat a cell: such a cell has its runs' mean log loss")
    account = {"read": rows.read, "used": rows.used, "dropped": dict(rows.dropped)}
    return Grids(found, size, account, tuple(notes), rows.name, rows.sha256)


def _each_alone(table: Table) -> Table:
    return replace(table, made={name: v for name, v in table.made.items() if name != "run_id"})


def _grids(rows: Rows, size: str, checked: bool) -> tuple[tuple[Grid, ...], int]:
    """The grids of rows, smallest first, and how many rows repeat a cell; `checked` is that of _check_batches."""
    if not rows.used:
        raise BadInput("no row is left", file=rows.name, fix="widen --where, or mend the table")
    n, d = levels(rows.x[size]), levels(rows.x["tokens"])
    found, repeats = [], 0
    for i, j in sorted(set(zip(n.tolist(), d.tolist(), strict=True))):
        keep = np.flatnonzero((n == i) & (d == j))
        _check_batches(rows, keep, checked)
        grid = _grid(rows, keep, size)
        repeats += len(keep) - len(grid.loss)
        found.append(grid)
    return tuple(found), repeats


def _grid(rows: Rows, keep: NDArray[np.int64], size: str) -> Grid:
    lr, batch = rows.x["lr_max"][keep], rows.x["batch_tokens"][keep]
    row, column = levels(lr), levels(batch)
    _, index = np.unique(row * len(keep) + column, return_inverse=True)
    count = np.bincount(index)

    def mean(values: Floats) -> Floats:
        # A cell that was run once keeps its number to the last digit.
        middle: Floats = np.exp(np.bincount(index, np.log(values)) / count)
        middle[index[count[index] == 1]] = values[count[index] == 1]
        return middle

    first = np.unique(index, return_index=True)[1]
    return Grid(
        params=float(np.median(rows.x[size][keep])),
        tokens=float(np.median(rows.x["tokens"][keep])),
        lr=mean(lr),
        batch=mean(batch),
        loss=mean(rows.y[keep]),
        lr_levels=row[first],
        batch_levels=column[first],
    )


def _check_batches(rows: Rows, keep: NDArray[np.int64], checked: bool) -> None:
    """Raises BadInput where the batches of a grid jump as from sequences to tokens, or some are far too small.

    Batches that were `checked` against sequences and their length are in tokens, however small.
    """
    if checked:
        return
    values = rows.x["batch_tokens"]
    distinct = np.unique(values[keep])
    for low, high in pairwise(distinct.tolist()):
        if high / low > MIXED:
            row = int(keep[np.flatnonzero(values[keep] == low)[0]])
            raise BadInput(
                f"batch_tokens jump from {low:g} to {high:g} within one size and tokens: some are of another unit, as "
                "sequences",
                file=rows.name,
                line=int(rows.lines[row]),
                column="batch_tokens",
                fix="give all in tokens, or all in batch_sequences with seq_len",
            )
    if distinct[0] < LEAST_BATCH:
        small = keep[values[keep] < LEAST_BATCH]
        raise BadInput(
            f"batch_tokens are {values[small[0]]:g} ({len(small)} of {len(keep)} such rows at its size and tokens), "
            "less than one sequence: they look like sequences",
            file=rows.name,
            line=int(rows.lines[small[0]]),
            column="batch_tokens",
            fix="give batch_sequences and seq_len (beside batch_tokens that truly are so small), or multiply: "
            "--map batch_tokens='COLUMN * 2048'",
        )


# ----------------------------------------------------------------------------------------------------------- optima


def optima(grids: Grids, method: Method = "near", near: float = NEAR, keep_edges: bool = False) -> tuple[Optimum, ...]:
    """The best learning rate and batch of each grid.

    `near`: all cells within a share `near` of the least loss (Step Law), given as their geometric mean. `best`: the
    best cell. `quadratic`: the vertex of a quadratic surface of log loss in log rate and log batch through the 25 best
    cells. `akima`: minima of Akima interpolants over log rate at each batch, then over log batch (Porian et al.
    2024, arXiv:2406.19146). `lr-quadratic`: the vertex of a parabola in log rate at the best cell's batch (Bjorck et
    al. 2024, arXiv:2409.19913). What lies at the edge of what was tried is not used unless `keep_edges`.
    """
    if method not in METHODS:
        raise UsageError(f"no --optima {method!r}; known: {', '.join(METHODS)}")
    if not (np.isfinite(near) and 0 < near < 0.2):
        raise UsageError(f"--near {near:g} is not between 0 and 20 %; write it as 0.25%")
    return tuple(_optimum(grid, method, near, keep_edges) for grid in grids.grids)


def _optimum(grid: Grid, method: Method, near: float, keep_edges: bool) -> Optimum:
    cell = grid.at
    lone = np.array([cell])
    if grid.at_edge(cell) and not keep_edges:
        return Optimum(grid, float(grid.lr[cell]), float(grid.batch[cell]), grid.lr[lone], grid.batch[lone], EDGE)
    if method in ("near", "best"):
        cells = np.flatnonzero(grid.excess < near) if method == "near" else lone
        lrs, batches = grid.lr[cells], grid.batch[cells]
        return Optimum(grid, _middle(lrs), _middle(batches), lrs, batches)
    find = {"quadratic": _vertex, "akima": _akima, "lr-quadratic": _row_vertex}[method]
    found = find(grid)
    if isinstance(found, str):
        return Optimum(grid, float(grid.lr[cell]), float(grid.batch[cell]), grid.lr[lone], grid.batch[lone], found)
    lr, batch = float(np.exp(found[0])), float(np.exp(found[1]))
    ends = ((lr, grid.lr), (batch, grid.batch))
    # A place read back from its logarithm may lie a last digit beyond the cell it is.
    inside = all(tried.min() * (1 - 1e-9) <= value <= tried.max() * (1 + 1e-9) for value, tried in ends)
    status = "used" if inside or keep_edges else "its minimum lies beyond what was tried"
    return Optimum(grid, lr, batch, np.array([lr]), np.array([batch]), status)


def _middle(values: Floats) -> float:
    return float(np.exp(np.mean(np.log(values))))


_Place = tuple[float, float] | str


def _vertex(grid: Grid) -> _Place:
    """The vertex (log rate, log batch) of a quadratic surface through the best cells, or why there is none."""
    best = np.argsort(grid.loss, kind="stable")[:SURFACE_CELLS]
    if grid.batch_levels.max() == 0:
        return _row_vertex(grid)
    place = np.log(np.column_stack([grid.lr[best], grid.batch[best]]))
    middle = place.mean(axis=0)
    x, z = (place - middle).T
    design = np.column_stack([np.ones(len(x)), x, z, x * x, x * z, z * z])
    if len(best) < 7 or np.linalg.matrix_rank(design) < 6:
        return "too few cells for a quadratic surface"
    b = np.linalg.lstsq(design, np.log(grid.loss[best]), rcond=None)[0]
    hessian = np.array([[2 * b[3], b[4]], [b[4], 2 * b[5]]])
    if np.linalg.eigvalsh(hessian)[0] <= 0:
        return "the quadratic surface has no minimum"
    lr, batch = middle - np.linalg.solve(hessian, b[1:3])
    return float(lr), float(batch)


def _row_vertex(grid: Grid) -> _Place:
    """The vertex of a parabola in log rate through the rates round the best one, at the best cell's batch."""
    row = np.flatnonzero(grid.batch_levels == grid.batch_levels[grid.at])
    row = row[np.argsort(grid.lr[row])]
    if len(row) < 3:
        return f"only {len(row)} learning rates at the best batch"
    x, y = np.log(grid.lr[row]), np.log(grid.loss[row])
    at = int(np.argmin(y))
    if at in (0, len(row) - 1):
        return EDGE
    first = int(np.clip(at - ROW_CELLS // 2, 0, max(len(row) - ROW_CELLS, 0)))
    part = slice(first, first + ROW_CELLS)
    a, b, _ = np.polyfit(x[part] - x[at], y[part], 2)
    if a <= 0:
        return "the parabola has no minimum"
    place = float(x[at] - b / (2 * a))
    if not x[part][0] < place < x[part][-1]:
        return "its minimum lies beyond what was tried"
    return place, float(np.log(grid.batch[grid.at]))


def _akima(grid: Grid) -> _Place:
    """The minimum over log rate at each batch with three rates or more, then of those minima over log batch."""
    rows = []
    for level in range(int(grid.batch_levels.max()) + 1):
        row = np.flatnonzero(grid.batch_levels == level)
        if len(row) >= 3:
            place, value = _lowest(np.log(grid.lr[row]), np.log(grid.loss[row]))
            rows.append((float(np.log(_middle(grid.batch[row]))), place, value))
    if not rows:
        return "no batch has three learning rates"
    batch, lr, value = np.array(rows).T
    if len(rows) == 1:
        return float(lr[0]), float(batch[0])
    if len(rows) < 3:
        return f"only {len(rows)} batches have three learning rates"
    best, _ = _lowest(batch, value)
    return float(np.interp(best, batch, lr)), best


def _lowest(x: Floats, y: Floats) -> tuple[float, float]:
    """Where the Akima interpolant through points (k,) is lowest, and its value there."""
    from scipy.interpolate import Akima1DInterpolator

    order = np.argsort(x)
    curve = Akima1DInterpolator(x[order], y[order])
    # A thousandth of the grid's width is far below the half step that its cells are apart.
    dense = np.linspace(x.min(), x.max(), 4001)
    values = curve(dense)
    at = int(np.argmin(values))
    return float(dense[at]), float(values[at])


# --------------------------------------------------------------------------------------------------------- plateaus


@dataclass(frozen=True)
class Plateau:
    """How far the learning rate may move at the best batch, and the batch at the best rate, within a share of the loss.

    Each is highest over lowest; `open` ones reach the edge of what was tried, and are at least so wide.
    """

    within: float
    lr: float
    batch: float
    lr_open: bool
    batch_open: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON of it."""
        return dict(vars(self))


def plateau(grid: Grid, within: float) -> Plateau:
    """The plateau of one grid."""
    row = grid.batch_levels == grid.batch_levels[grid.at]
    column = grid.lr_levels == grid.lr_levels[grid.at]
    flat = grid.excess < within
    lr, lr_open = _width(grid.lr, grid.lr_levels, row & flat)
    batch, batch_open = _width(grid.batch, grid.batch_levels, column & flat)
    return Plateau(within, lr, batch, lr_open, batch_open)


def _width(values: Floats, rank: NDArray[np.int64], keep: NDArray[np.bool_]) -> tuple[float, bool]:
    part = values[keep]
    reached = {int(rank[keep].min()), int(rank[keep].max())}
    return float(part.max() / part.min()), bool(reached & {0, int(rank.max())})


# ----------------------------------------------------------------------------------------------------------- regret

Pick = Callable[[Grid], tuple[float, float]]


@dataclass(frozen=True)
class Regret:
    """What is lost by the cell nearest to a rule's learning rate and batch, above the best cell of each grid (g,).

    `outside` counts the grids in which the rule asks for a rate or batch beyond those tried, where the nearest cell
    flatters it; `losses` are in the loss's unit, `excess` shares of it.
    """

    name: str
    excess: Floats
    losses: Floats
    picks: tuple[tuple[float, float], ...]
    outside: int
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON: mean and largest of both, and the picks."""
        return {
            "name": self.name,
            "mean_excess": float(self.excess.mean()),
            "max_excess": float(self.excess.max()),
            "mean_loss": float(self.losses.mean()),
            "max_loss": float(self.losses.max()),
            "outside": self.outside,
            "picks": [
                {"lr_max": lr, "batch_tokens": batch, "excess": float(e)}
                for (lr, batch), e in zip(self.picks, self.excess, strict=True)
            ],
            "note": self.note,
        }


def regret(name: str, pick: Pick, grids: Sequence[Grid], note: str = "") -> Regret:
    """What the rule loses on each grid."""
    picks = tuple(pick(grid) for grid in grids)
    found = [_nearest(grid, *at) for grid, at in zip(grids, picks, strict=True)]
    excess = np.array([grid.excess[cell] for grid, (cell, _) in zip(grids, found, strict=True)])
    losses = np.array([grid.loss[cell] - grid.loss.min() for grid, (cell, _) in zip(grids, found, strict=True)])
    return Regret(name, excess, losses, picks, sum(beyond for _, beyond in found), note)


def _nearest(grid: Grid, lr: float, batch: float) -> tuple[int, bool]:
    """The cell nearest in log rate and log batch, and whether the place lies beyond those tried."""
    if not (lr > 0 and batch > 0):
        raise BadInput(f"a rule gives a learning rate of {lr:g} and a batch of {batch:g}", fix="it does not hold there")
    away = np.log(grid.lr / lr) ** 2 + np.log(grid.batch / batch) ** 2
    return int(np.argmin(away)), _beyond(lr, grid.lr, grid.lr_levels) or _beyond(batch, grid.batch, grid.batch_levels)


def _beyond(value: float, tried: Floats, rank: NDArray[np.int64]) -> bool:
    """Whether a value lies more than half a step beyond those tried, the step being the last one on that side."""
    if rank.max() == 0:
        return False
    ladder = [float(np.log(tried[rank == i]).mean()) for i in sorted(set(rank.tolist()))]
    low, high = ladder[0] - (ladder[1] - ladder[0]) / 2, ladder[-1] + (ladder[-1] - ladder[-2]) / 2
    return not low <= np.log(value) <= high


def published() -> dict[str, Pick]:
    """The published rules that give a raw learning rate and a batch for a size, tokens and loss, by name."""
    found = {
        rule.title: _rule_pick(rule)
        for rule in RULES.values()
        if not (rule.mup or rule.secondary or rule.relative) and _gives(rule.lr) and _gives(rule.batch)
    }
    return found | {CONSTANT[0]: lambda grid: CONSTANT[1:]}


def _gives(setting: Setting | None) -> bool:
    return setting is not None and (setting.constant is not None or bool(setting.row))


def _rule_pick(rule: HyperRule) -> Pick:
    def pick(grid: Grid) -> tuple[float, float]:
        assert rule.lr is not None
        assert rule.batch is not None
        return _set(rule.lr, grid), _set(rule.batch, grid)

    return pick


def _set(setting: Setting, grid: Grid) -> float:
    """What a rule's law gives at a grid: N as the table counts it, compute as 6*N*D, the loss that of the best cell."""
    if setting.constant is not None:
        return setting.constant
    law = get_law(setting.law)
    at = {"tokens": grid.tokens, "flops": float(six_nd(grid.params, grid.tokens)), "loss": float(grid.loss.min())}
    x = {name: np.array([at.get(name, grid.params)]) for name in law.inputs}
    return float(np.asarray(law.predict(x, **law.published[setting.row].values)).ravel()[0])


def pick_of(fits: Sequence[Fit]) -> Pick:
    """How fits choose: a fit of hp-surface, or one of a law for lr_max and one of a law for batch_tokens."""
    surface = [fit for fit in fits if fit.law == HP_SURFACE.name]
    if surface:
        return lambda grid: _least(surface[0], grid)
    by = {fit.target: fit for fit in fits}
    if not {"lr_max", "batch_tokens"} <= set(by):
        raise UsageError(
            "a rule is a fit of hp-surface, what `fit step-law` writes, or two fits: one of lr_max and one of "
            f"batch_tokens; given: {', '.join(fit.law for fit in fits) or 'none'}"
        )
    return lambda grid: (_of_fit(by["lr_max"], grid), _of_fit(by["batch_tokens"], grid))


def _least(fit: Fit, grid: Grid) -> tuple[float, float]:
    x = {"params": np.array([grid.params]), "tokens": np.array([grid.tokens])}
    lr, batch = optimum_at(x, fit.values)
    return float(np.ravel(lr)[0]), float(np.ravel(batch)[0])


def _of_fit(fit: Fit, grid: Grid) -> float:
    at = {"tokens": grid.tokens, "flops": float(six_nd(grid.params, grid.tokens)), "loss": float(grid.loss.min())}
    return float(fit.at({name: np.array([at.get(name, grid.params)]) for name in fit.entry.inputs})[0])


# ----------------------------------------------------------------------------------------------------------- looking


@dataclass(frozen=True)
class GridReport:
    """A table of grids looked at: the best of each, their plateaus, and what rules lose on them."""

    grids: Grids
    optima: tuple[Optimum, ...]
    plateaus: tuple[tuple[Plateau, ...], ...]
    regrets: tuple[Regret, ...]
    picks: Mapping[str, Pick]
    warnings: tuple[Notice, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `hpgrid --json`."""
        return {
            "schema": "scaling-lab/hpgrid/1",
            "size": self.grids.size,
            "grids": [
                {**best.to_dict(), "plateaus": [p.to_dict() for p in wide]}
                for best, wide in zip(self.optima, self.plateaus, strict=True)
            ],
            "regret": [found.to_dict() for found in self.regrets],
            "rows": dict(self.grids.rows),
            "notes": list(self.grids.notes),
            "warnings": [vars(notice) for notice in self.warnings],
        }


def hpgrid(
    table: Any,
    *,
    fits: Mapping[str, Sequence[Fit]] | None = None,
    within: Sequence[float] = PLATEAUS,
    drop_above: float | None = None,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    params_column: str | None = None,
    drop_bad: bool = False,
) -> GridReport:
    """The grids of a table: best cells, plateaus within shares of the loss, and the regret of every rule.

    `fits` are fits of one's own by name, judged beside the published rules.
    """
    for share in within:
        if not (np.isfinite(share) and 0 < share < 1):
            raise UsageError(f"--within {share:g} is not between 0 and 100 %; write it as 0.25%")
    grids = read_grids(
        table,
        drop_above=drop_above,
        mapping=mapping,
        where=where,
        params_column=params_column,
        drop_bad=drop_bad,
    )
    best = optima(grids, "best")
    picks = {name: pick_of(chosen) for name, chosen in (fits or {}).items()} | published()
    return GridReport(
        grids,
        best,
        tuple(tuple(plateau(grid, share) for share in within) for grid in grids.grids),
        tuple(regret(name, pick, grids.grids, _own(name, fits or {}, grids)) for name, pick in picks.items()),
        picks,
        edge_notices(best),
    )


def _own(name: str, fits: Mapping[str, Sequence[Fit]], grids: Grids) -> str:
    """A note where a fit was made from the table that it is judged on."""
    made = {sha for fit in fits.get(name, ()) for sha in dict(fit.made_by.get("inputs", {})).values()}
    return f"{name} was made from this table, and is judged on its own data" if grids.sha256 in made else ""


def edge_notices(found: Sequence[Optimum]) -> tuple[Notice, ...]:
    """A warning for the grids whose best cell lies at the edge, one for those without a minimum by the method."""
    out = []
    edge = [best.grid for best in found if best.grid.at_edge(best.grid.at)]
    if edge:
        kept = sum(best.status == "used" for best in found if best.grid.at_edge(best.grid.at))
        what = "they are kept, and bound the optimum from one side only" if kept else "they are not used"
        message = (
            f"{len(edge)} of {len(found)} grids ({_some(edge)}) have their best cell at the edge of the learning "
            f"rates or batches tried: {what}; add cells beyond that edge"
        )
        out.append(Notice("SL465", severity("SL465"), message))
    others = [best for best in found if best.status not in ("used", EDGE)]
    if others:
        why = ", ".join(sorted({best.status for best in others}))
        message = (
            f"{len(others)} of {len(found)} grids ({_some([best.grid for best in others])}) have no minimum to use: "
            f"{why}"
        )
        out.append(Notice("SL466", severity("SL466"), message))
    return tuple(out)


def _some(grids: Sequence[Grid]) -> str:
    return ", ".join(grid.named() for grid in grids[:4]) + (", ..." if len(grids) > 4 else "")
