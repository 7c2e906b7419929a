"""Figures as SVG text: loss against compute, residuals, backtests, profiles. The only importer of matplotlib."""

from __future__ import annotations

import hashlib
import io
import os
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib import patheffects, ticker
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.tri import Triangulation
from numpy.typing import NDArray

from ..engine.predict import Predictions, interval
from ..engine.result import Fit
from ..engine.uncertainty import extent
from ..errors import UsageError
from ..files import write_bytes
from ..quantities import format_quantity, quantity
from . import curves, words
from .answer import Allocation, value_of

if TYPE_CHECKING:
    from ..decide.compare import Comparison, Drawn
    from ..decide.critical import CriticalBatch, Level
    from ..decide.extrapolate import Extrapolation
    from ..decide.forecast import RunForecast
    from ..decide.gains import Gain, Losses
    from ..decide.hparams import Hparams, RuleCurve
    from ..decide.hpgrid import GridReport
    from ..decide.isoflop import IsoFlop, Profile
    from ..decide.noise import NoiseScale
    from ..decide.optimize import Optimum, Shares
    from ..decide.pools import PoolChoice, SetCurve
    from ..decide.refits import Choice
    from ..decide.retention import Retention
    from ..decide.schedules import Listing
    from ..decide.sensitivity import Sensitivity
    from ..decide.tasks import Emergence, TaskCurve
    from ..decide.trajectory import Trajectory
    from ..decide.vocab import Answer, Vocabulary
    from ..engine.backtest import Backtest, Scored

Floats = NDArray[np.float64]
Axes = Any  # matplotlib is not typed here

# Okabe and Ito's palette, told apart in every common colour blindness and in grey: https://jfly.uni-koeln.de/color/
BLUE, VERMILLION, GREEN, BLACK, GREY = "#0072B2", "#D55E00", "#009E73", "#111111", "#8a8a8a"
# Viridis without its palest end, which white paper swallows.
SIZES = LinearSegmentedColormap.from_list("sizes", matplotlib.colormaps["viridis"](np.linspace(0.0, 0.88, 256)))
# Beyond this many marks in a panel they become one image: a vector mark takes about 200 bytes.
VECTOR_MARKS = 400
LEVEL = 0.9
WIDTH = 7.2
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.5,
    "axes.labelsize": 10.5,
    "legend.fontsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.edgecolor": "#555555",
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    # Names of columns and laws are text, never markup.
    "text.parse_math": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@dataclass(frozen=True)
class Drawing:
    """A figure with the title and description that a screen reader speaks."""

    figure: Figure
    title: str
    description: str


# ------------------------------------------------------------------------------------------------ what others call


def loss_against_compute(
    fit: Fit, predictions: Predictions | None = None, measured: Mapping[str, Any] | None = None
) -> str:
    """SVG: the runs, the fitted curves, the frontier with its interval, and predictions beside a measurement."""
    return svg(draw_loss(fit, predictions, measured))


def residuals(fit: Fit) -> str:
    """SVG: predicted minus measured against each input and compute."""
    return svg(draw_residuals(fit))


def backtest(found: Backtest) -> str:
    """SVG: held-out runs beside their predictions for the best law, and the errors of every law."""
    return svg(draw_backtest(found))


def profiles(found: IsoFlop) -> str:
    """SVG: loss against size at each compute budget, with the minima that were used (filled) and not used (hollow)."""
    return svg(draw_profiles(found))


def allocations(found: Sequence[Allocation]) -> str:
    """SVG: the compute-optimal params and tokens against compute with their intervals."""
    return svg(draw_allocations(found))


def sensitivity(found: Sensitivity) -> str:
    """SVG: how far each other way to make the fit moves the decision, worst first."""
    return svg(draw_sensitivity(found))


def svg(drawing: Drawing) -> str:
    """The drawing as an SVG element: same figure, same bytes; ids of its own, so that a page can hold many."""
    text = _render(drawing.figure, "svg").decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    # The figure's style rule would reach every element of the page that holds it.
    text = text.replace("*{stroke-linejoin: round; stroke-linecap: butt}", "")
    text = re.sub(r"<defs>\s*<style[^>]*>\s*</style>\s*</defs>", "", text)
    text = text.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, Arial")
    mark = f"f{hashlib.sha256((drawing.title + text).encode()).hexdigest()[:10]}"
    text = re.sub(r'\bid="', f'id="{mark}-', text)
    text = text.replace("url(#", f"url(#{mark}-").replace('href="#', f'href="#{mark}-')
    spoken = (
        f'<title id="{mark}-title">{escape(drawing.title)}</title>'
        f'<desc id="{mark}-desc">{escape(drawing.description)}</desc>'
    )
    head, rest = text.split(">", 1)
    head += (
        ' role="img" style="stroke-linejoin: round; stroke-linecap: butt; background: white"'
        f' aria-labelledby="{mark}-title" aria-describedby="{mark}-desc"'
    )
    return f"{head}>{spoken}{rest}"


def check_kind(path: str | os.PathLike[str] | None) -> None:
    """Raises UsageError before long work starts, where no figure is saved under such an ending; None passes."""
    if path is not None and Path(path).suffix.lower() not in (".svg", ".png", ".pdf"):
        raise UsageError(f"{os.fspath(path)}: figures are saved as .svg, .png or .pdf")


def save(drawing: Drawing | str, path: str | os.PathLike[str]) -> Path:
    """Writes a drawing as .svg, .png or .pdf by the path's ending (SVG text as .svg only), whole or not at all."""
    kind = Path(path).suffix.lower().lstrip(".")
    if isinstance(drawing, str):
        if kind != "svg":
            raise UsageError(f"{os.fspath(path)}: SVG text is saved as .svg; give the drawing itself for .{kind}")
        return write_bytes(path, f"{drawing}\n".encode())
    check_kind(path)
    if kind == "svg":
        return write_bytes(path, f"{svg(drawing)}\n".encode())
    return write_bytes(path, _render(drawing.figure, kind))


# --------------------------------------------------------------------------------------------------- style and axes


@contextmanager
def _style() -> Iterator[None]:
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # A column may be named in a script that the font lacks; the SVG names further fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _render(figure: Figure, kind: str) -> bytes:
    """The figure's bytes without dates or random ids."""
    buffer = io.BytesIO()
    metadata: dict[str, Any] = {
        "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
        "png": {"Software": None},
    }[kind]
    with _style(), matplotlib.rc_context({"svg.hashsalt": "scaling-lab"}):
        figure.savefig(buffer, format=kind, metadata=metadata, dpi=200)
    return buffer.getvalue()


def _ticks(low: float, high: float) -> list[float]:
    """Places for about five labels on a log axis."""
    first, last = int(np.ceil(np.log10(low) - 1e-9)), int(np.floor(np.log10(high) + 1e-9))
    if last - first >= 2:
        step = 1 + (last - first) // 7
        return [10.0**e for e in range(first, last + 1, step)]
    for multiples in ((1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        found = [m * 10.0**e for e in range(first - 1, last + 2) for m in multiples if low <= m * 10.0**e <= high]
        if len(found) >= 4 or (multiples == (1, 3) and len(found) == 3 and last - first == 1):
            return found
    even = ticker.MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(t) for t in even if low <= t <= high and t > 0]


def _apart(places: Sequence[float], share: float) -> list[float]:
    """Places of which none is nearer to the one before than a share of the log axis that they span."""
    kept: list[float] = []
    gap = share * np.log(places[-1] / places[0]) if len(places) > 1 else 0.0
    for place in places:
        if not kept or np.log(place / kept[-1]) >= gap:
            kept.append(place)
    return kept


def _log_axis(axis: Any, low: float, high: float, write: Callable[[float], str], apart: float = 0.0) -> None:
    """A log axis from low to high with few, plainly written labels, none nearer than a share `apart` of the axis."""
    if axis.axis_name == "x":
        axis.axes.set(xscale="log", xlim=(low, high))
    else:
        axis.axes.set(yscale="log", ylim=(low, high))
    places = _apart(_ticks(low, high), apart)
    axis.set_major_locator(ticker.FixedLocator(places))
    axis.set_major_formatter(ticker.FixedFormatter([write(p) for p in places]))
    axis.set_minor_locator(ticker.NullLocator())


def _input_axis(axis: Any, name: str, *values: Floats | float, apart: float = 0.0) -> None:
    """The x axis of an input with some room about all values: log for sizes, linear for shares and signed numbers."""
    if quantity(name).domain == "positive":
        _log_axis(axis, *_margins(*values), _writer(name), apart)
        return
    axis.axes.set(xscale="linear", xlim=_room(*values))
    axis.set_major_locator(ticker.MaxNLocator(5))


def _room(*values: Floats | float, share: float = 0.045) -> tuple[float, float]:
    """Ends of a linear axis that holds all values with some room."""
    flat = np.concatenate([np.atleast_1d(np.asarray(v, dtype=float)).ravel() for v in values])
    low, high = float(flat.min()), float(flat.max())
    room = share * (high - low) or 0.1 * max(abs(high), 0.1)
    return low - room, high + room


def _writer(name: str) -> Callable[[float], str]:
    """How ticks of a quantity are written: 10²⁰ for compute, 7B for counts."""
    if name == "flops":
        return words.scientific
    return lambda value: format_quantity(value) if value >= 1e3 else f"{value:.4g}"


def _margins(*values: Floats | float, share: float = 0.045) -> tuple[float, float]:
    """Ends of a log axis that holds all positive values with some room."""
    flat = np.concatenate([np.atleast_1d(np.asarray(v, dtype=float)).ravel() for v in values])
    flat = flat[np.isfinite(flat) & (flat > 0)]
    low, high = float(flat.min()), float(flat.max())
    room = (high / low) ** share if high > low * 1.001 else 1.5
    return low / room, high * room


def _target_axis(axes: Axes, target: str, *values: Floats) -> None:
    """The y axis of the target: log for sizes above zero, else linear."""
    unit = words.unit_of(target)
    axes.set_ylabel(f"{words.clean(target)} ({unit})" if unit else words.clean(target))
    flat = np.concatenate([np.asarray(v, dtype=float).ravel() for v in values])
    if quantity(target).domain == "positive" and (flat[np.isfinite(flat)] > 0).all():
        _log_axis(axes.yaxis, *_margins(flat), lambda value: f"{value:.4g}")


def _dots(axes: Axes, x: Floats, y: Floats, **style: Any) -> Any:
    """Marks without lines; one image where they are many."""
    style = {"rasterized": len(x) > VECTOR_MARKS, "marker": "o", **style}
    if len(x) > VECTOR_MARKS and style["marker"] == "o":
        # A cloud shows where it is thick only if each mark is small and pale.
        style |= {"markersize": 2.6, "markeredgewidth": 0, "alpha": 0.35}
    return axes.plot(x, y, linestyle="none", **style)[0]


def _legend(figure: Figure, axes: Axes, columns: int = 3) -> None:
    """The legend under the axes, where it can't cover a point."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        legend = figure.legend(handles, labels, loc="outside lower center", ncols=min(columns, len(handles)))
        for handle in legend.legend_handles:
            if isinstance(handle, Line2D) and handle.get_marker() == "o":
                handle.set(markersize=max(4.0, handle.get_markersize()), alpha=0.8)


def _empty(width: float = WIDTH, height: float = 4.9) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


# --------------------------------------------------------------------------------------------- loss against compute


def draw_loss(fit: Fit, predictions: Predictions | None = None, measured: Mapping[str, Any] | None = None) -> Drawing:
    """The runs against compute (or a law's only input), the fit, its interval, predictions and a measured run."""
    where = curves.abscissa(fit)
    x, y = where.of(fit.points), curves.target_of(fit)
    assert x is not None
    asked = where.of(predictions.inputs) if predictions is not None else None
    seen = where.of({k: v for k, v in measured.items() if k != fit.target}) if measured is not None else None
    reach = [x, *(v for v in (asked, seen) if v is not None)]
    level = predictions.level if predictions is not None else LEVEL
    with _style():
        figure = _empty()
        axes = figure.subplots()
        heights = [y]
        if where.kind == "frontier":
            heights += _sizes(figure, axes, fit, x, y, predictions)
            heights += _band(axes, fit, "best size for the compute", level, _along_frontier(fit, _margins(*reach)))
        elif where.kind == "curve":
            _dots(axes, x, y, color=BLUE, markersize=4.5, alpha=0.75, label="runs fitted")
            if quantity(where.name).domain == "positive":
                along = np.geomspace(*_margins(*reach), 160)
            else:
                along = np.linspace(min(map(np.min, reach)), max(map(np.max, reach)), 160)
            heights += _band(axes, fit, f"{fit.law}, fitted", level, (along, {where.name: along}))
        else:
            heights += _pairs(axes, fit, x, y)
        heights += _asked(axes, predictions, asked) + _seen(axes, fit, measured, seen)
        _input_axis(axes.xaxis, where.name, *reach)
        made = " as 6·N·D (FLOP)" if where.kind == "frontier" else ""
        label = words.label(where.name, fit.inputs.get(where.name))
        axes.set_xlabel(label.replace(" (FLOP)", made) if made else label)
        _shade_beyond(axes, x, reach)
        _target_axis(axes, fit.target, *heights)
        _legend(figure, axes)
    return Drawing(figure, f"{fit.target} against {words.label(where.name)}", _describe_loss(fit, x, y, predictions))


def _describe_loss(fit: Fit, x: Floats, y: Floats, predictions: Predictions | None) -> str:
    text = (
        f"{len(y)} runs, {fit.target} from {y.min():.4g} to {y.max():.4g}, along the axis from {x.min():.3g} to "
        f"{x.max():.3g}, with the fitted law {fit.law}."
    )
    if predictions is not None and len(predictions.value) <= 5:
        text += "".join(f" Predicted: {words.prediction(predictions, i)}." for i in range(len(predictions.value)))
    return text


def _along_frontier(fit: Fit, ends: tuple[float, float]) -> tuple[Floats, dict[str, Floats]] | None:
    flops = np.geomspace(*ends, 120)
    best = curves.frontier(fit, flops)
    return None if best is None else (flops, best)


def _band(
    axes: Axes, fit: Fit, label: str, level: float, path: tuple[Floats, dict[str, Floats]] | None
) -> list[Floats]:
    """A line and its interval for a new run along a path of inputs; returns the heights drawn."""
    if path is None:
        return []
    at, x = path
    low, high = interval(fit, x, level)
    value = fit.at(x)
    axes.fill_between(
        at, low, high, color="#bdbdbd", alpha=0.6, linewidth=0, label=f"{100 * level:g} % interval, new run"
    )
    axes.plot(at, value, color=BLACK, linewidth=1.8, zorder=2.3, label=label)
    return [value, low, high]


def _sizes(figure: Figure, axes: Axes, fit: Fit, x: Floats, y: Floats, predictions: Predictions | None) -> list[Floats]:
    """Runs coloured by size and the law's curve for each of a few sizes; returns the heights drawn."""
    params = np.asarray(fit.points["params"], dtype=float)
    ends = _margins(params, share=0.0) if np.ptp(params) > 0 else (params[0] / 2, params[0] * 2)
    norm = LogNorm(*ends)
    many = len(x) > VECTOR_MARKS
    style = {"s": 7, "alpha": 0.5, "zorder": 2.1} if many else {"s": 20, "alpha": 0.85, "zorder": 2.5}
    dots = axes.scatter(x, y, c=params, cmap=SIZES, norm=norm, linewidths=0, rasterized=many, **style)
    _size_bar(figure, axes, dots, ends, f"{words.label('params', fit.inputs.get('params'))}, runs and fitted curves")
    # Within a cloud a white rim parts a curve from the dots of its own colour.
    rim = [patheffects.Stroke(linewidth=2.6, foreground="white"), patheffects.Normal()] if many else None
    heights: list[Floats] = []
    for group in curves.size_classes(params):
        flops = np.geomspace(*_margins(x[group.rows], share=0.1), 60)
        color = SIZES(norm(group.params))
        heights.append(_curve(axes, fit, group.params, flops, color=color, linewidth=1.4, path_effects=rim))
    if predictions is not None:
        for size in np.unique(predictions.inputs["params"])[:3]:
            far = 6.0 * size * predictions.inputs["tokens"][predictions.inputs["params"] == size]
            # From a fifth of the run's data on: how the asked model would come down to its prediction.
            flops = np.geomspace(far.min() / 5, far.max(), 60)
            _curve(axes, fit, size, flops, color=VERMILLION, linewidth=1.4, linestyle="--")
    return [h[h <= y.max()] for h in heights]


def _size_bar(figure: Figure, axes: Axes, dots: Any, ends: tuple[float, float], label: str) -> None:
    bar = figure.colorbar(dots, ax=axes, pad=0.02, aspect=28)
    for solids in bar.ax.collections:
        solids.set(alpha=1, rasterized=True)
    bar.outline.set_visible(False)
    bar.set_label(label)
    places = _ticks(*ends)
    bar.set_ticks(places, labels=[_writer("params")(p) for p in places])
    bar.ax.minorticks_off()


def _curve(axes: Axes, fit: Fit, params: float, flops: Floats, **style: Any) -> Floats:
    value = fit.at({"params": np.full_like(flops, params), "tokens": flops / (6.0 * params)})
    axes.plot(flops, value, zorder=2.2, **style)
    return value


def _pairs(axes: Axes, fit: Fit, x: Floats, y: Floats) -> list[Floats]:
    """Runs and what the law says of each, for a law that is no curve in one variable."""
    fitted = fit.at(curves.inputs_of(fit))
    _dots(axes, x, y, color=BLUE, markersize=4.5, alpha=0.75, label="runs fitted")
    _dots(axes, x, fitted, color=BLACK, marker="_", markersize=8, label=f"{fit.law} at each run")
    return [fitted]


def _asked(axes: Axes, predictions: Predictions | None, at: Floats | None) -> list[Floats]:
    """Predictions with their intervals; returns the heights drawn."""
    if predictions is None or at is None:
        return []
    _bars(axes, at, predictions.value, predictions.low, predictions.high, color=VERMILLION, linewidth=2.0)
    label = f"prediction, {100 * predictions.level:g} % interval"
    _dots(axes, at, predictions.value, color=VERMILLION, marker="D", markersize=9.5, zorder=5, label=label)
    return [predictions.value, predictions.low, predictions.high]


def _seen(axes: Axes, fit: Fit, measured: Mapping[str, Any] | None, at: Floats | None) -> list[Floats]:
    """The measured run that was kept out of the fit; returns the height drawn."""
    if measured is None or at is None or fit.target not in measured:
        return []
    value = np.atleast_1d(np.asarray(measured[fit.target], dtype=float))
    # A white star is seen on top of its prediction's diamond, and the diamond round it.
    style = {"marker": "*", "markersize": 11, "markeredgecolor": BLACK, "markeredgewidth": 1.0}
    _dots(axes, at, value, color="white", zorder=6, label="measured, not in the fit", **style)
    return [value]


def _bars(axes: Axes, x: Floats, value: Floats, low: Floats, high: Floats, **style: Any) -> None:
    """Vertical intervals."""
    many = len(x) > VECTOR_MARKS
    if many:
        style |= {"linewidth": 0.6, "alpha": 0.3}
    axes.vlines(x, low, high, zorder=4.5, rasterized=many, **style)


def _shade_beyond(axes: Axes, x: Floats, reach: Sequence[Floats]) -> None:
    """Greys the part of the axis that no fitted run reaches, where something is drawn there."""
    if max(float(np.max(v)) for v in reach) > x.max() * 1.001:
        axes.axvspan(x.max(), axes.get_xlim()[1], color="#f0f0f0", zorder=0, label="beyond the largest run fitted")


# -------------------------------------------------------------------------------------------------------- residuals


def draw_residuals(fit: Fit) -> Drawing:
    """Predicted minus measured against each input and compute, with their spread and a running median."""
    x = curves.inputs_of(fit)
    if "flops" in fit.points:
        x["flops"] = np.asarray(fit.points["flops"], dtype=float)
    error = curves.relative(fit, fit.at(curves.inputs_of(fit)), curves.target_of(fit))
    unit = "%" if fit.objective.on == "log" else words.unit_of(fit.target)
    width = (100.0 if fit.objective.on == "log" else 1.0) * 1.645 * fit.noise.sd
    # Outliers are drawn at the edge: their true place would press all others onto the zero line.
    edge = max(2.5 * width, 1.15 * float(np.quantile(np.abs(error), 0.98)), 1e-12)
    with _style():
        columns = min(3, len(x))
        lines = -(-len(x) // columns)
        figure = _empty(WIDTH, 0.7 + 2.6 * lines)
        panels = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
        for axes, (name, values) in zip(panels, x.items(), strict=False):
            _residual_panel(axes, values, error, edge, width)
            _input_axis(axes.xaxis, name, values, apart=0.2 if columns == 3 else 0.0)
            axes.tick_params(axis="x", labelsize=9)
            axes.set_xlabel(words.label(name, fit.inputs.get(name)).replace("training compute C", "compute C"))
        for axes in panels[len(x) :]:
            axes.remove()
        for axes in panels[::columns]:
            axes.set_ylabel(f"predicted − measured{f' ({unit})' if unit else ''}")
        for axes in panels[: len(x)]:
            axes.tick_params(axis="y", length=3.5 if axes in panels[::columns] else 0)
        _legend(figure, panels[0], 4)
    beyond = int(np.sum(np.abs(error) > edge))
    text = (
        f"Errors of {len(error)} rows against {', '.join(x)}: the middle 90 % lie within "
        f"{np.quantile(error, 0.05):.2g} and {np.quantile(error, 0.95):.2g} {unit}; "
        f"{beyond} lie beyond the axis and are drawn at its edge."
    )
    return Drawing(figure, f"Errors of {fit.law} on the rows it was fitted to", text)


def _residual_panel(axes: Axes, x: Floats, error: Floats, edge: float, width: float) -> None:
    axes.axhspan(-width, width, color="#e9e9e9", linewidth=0, zorder=0, label="90 % spread of the errors")
    axes.axhline(0.0, color=BLACK, linewidth=1.0)
    inside = np.abs(error) <= edge
    _dots(axes, x[inside], error[inside], color=BLUE, markersize=3.6, alpha=0.6, markeredgewidth=0, label="rows")
    for sign, marker in ((1, "^"), (-1, "v")):
        out = sign * error > edge
        if out.any():
            height = np.full(out.sum(), sign * edge)
            label = "beyond the axis" if sign == 1 or not (error > edge).any() else None
            _dots(axes, x[out], height, color=VERMILLION, marker=marker, markersize=5.5, clip_on=False, label=label)
    at, middle = curves.running_median(x, error)
    if len(at):
        axes.plot(at, middle, color=BLACK, linewidth=1.6, marker="s", markersize=3.5, label="running median")
    axes.set_ylim(-edge, edge)


# --------------------------------------------------------------------------------------------------------- backtest


def draw_backtest(found: Backtest, most: int = 6) -> Drawing:
    """The best law's predictions beside the held-out runs, then each law's errors with its intervals."""
    laws = found.laws[:most]
    best, by = laws[0], str(found.split["by"])
    name = _axis_of(best, by)
    with _style():
        lines = -(-len(laws) // 2)
        figure = _empty(WIDTH, 3.9 + 2.3 * lines)
        grid = figure.add_gridspec(lines + 1, 2, height_ratios=[3.6, *[2.3] * lines])
        top = figure.add_subplot(grid[0, :])
        _held_out(top, best, name, float(found.split["test_above"]) if name == by else None)
        for i, scored in enumerate(laws):
            place = grid[1 + i // 2, i % 2] if len(laws) > 1 else grid[1, :]
            axes = figure.add_subplot(place)
            own = _axis_of(scored, by)
            _error_panel(axes, scored, own)
            if own != name:
                axes.set_xlabel(words.label(own, scored.fit.inputs.get(own)))
            if i % 2 == 0:
                axes.set_ylabel("predicted − measured (%)" if _relative(scored) else "predicted − measured")
        _dots(
            top, np.empty(0), np.empty(0), label="outside its interval", color=VERMILLION, marker="X", markeredgewidth=0
        )
        _legend(figure, top)
    text = " ".join(words.held_out(scored, by) for scored in laws)
    return Drawing(figure, "Held-out runs beside their predictions", text)


def _axis_of(scored: Scored, by: str) -> str:
    """What a law's rows are drawn against: what the table was split by where they carry it, else their first input."""
    carried = extent(scored.x).keys() & extent(scored.fit.points).keys()
    return by if by in carried else "flops" if "flops" in carried else scored.fit.entry.inputs[0]


def _along(scored: Scored, name: str) -> Floats:
    """The held-out rows' places (m,) on the axis."""
    return np.asarray(extent(scored.x)[name], dtype=float)


def _relative(scored: Scored) -> bool:
    return scored.fit.objective.on == "log"


def _held_out(axes: Axes, scored: Scored, name: str, edge: float | None) -> None:
    before, at = np.asarray(extent(scored.fit.points)[name], dtype=float), _along(scored, name)
    known = curves.target_of(scored.fit)
    _dots(axes, before, known, color="#b5b5b5", markersize=4, markeredgewidth=0, label="fitted")
    label = f"{words.percent(scored.level)} interval of {words.asked(scored)}"
    axes.vlines([], [], [], color=BLUE, linewidth=1.6, label=label)
    _bars(axes, at, scored.predicted, scored.low, scored.high, color=BLUE, linewidth=1.6, alpha=0.55)
    _dots(
        axes, at, scored.measured, color=BLACK, markersize=3.8, markeredgewidth=0, zorder=5, label="held out, measured"
    )
    _input_axis(axes.xaxis, name, before, at)
    axes.set_xlabel(words.label(name, scored.fit.inputs.get(name)))
    _target_axis(axes, scored.fit.target, known, scored.measured, scored.low, scored.high)
    if edge is not None:
        axes.axvline(edge, color=GREY, linewidth=1.0, linestyle=":", label="split")
    head = f"{words.asked(scored)}: {scored.train:,} rows fitted, {scored.test:,} held out"
    axes.set_title(head, fontsize=10.5, loc="left")


def _errors(scored: Scored) -> tuple[Floats, Floats, Floats]:
    """Predicted minus measured and the interval's ends about the measurement: in percent of it, or in the unit."""
    if _relative(scored):
        low, mid, high = (100 * (v / scored.measured - 1) for v in (scored.low, scored.predicted, scored.high))
        return mid, low, high
    return scored.predicted - scored.measured, scored.low - scored.measured, scored.high - scored.measured


def _error_edge(scored: Scored) -> float:
    """Half the height of a law's error panel: each has its own, for one law's wide bars would flatten all others."""
    return 1.15 * float(max(np.quantile(np.abs(part), 0.98) for part in _errors(scored))) or 1.0


def _error_panel(axes: Axes, scored: Scored, name: str) -> None:
    error, low, high = _errors(scored)
    at, edge = _along(scored, name), _error_edge(scored)
    out = (low > 0) | (high < 0)
    _bars(axes, at, error, low, high, color=BLUE, linewidth=1.2, alpha=0.35)
    axes.axhline(0.0, color=BLACK, linewidth=0.9)
    shown = np.clip(error, -edge, edge)
    _dots(axes, at[~out], shown[~out], color=BLACK, markersize=3.6, markeredgewidth=0, zorder=5)
    size = 5.5 if out.sum() <= VECTOR_MARKS else 3.0
    _dots(axes, at[out], shown[out], color=VERMILLION, marker="X", markersize=size, markeredgewidth=0, zorder=6)
    _input_axis(axes.xaxis, name, at)
    axes.tick_params(axis="x", labelsize=9)
    axes.set_ylim(-edge, edge)
    head = f"{words.asked(scored)}: error {words.percent(scored.metrics.mape)}, {words.percent(scored.coverage)} inside"
    axes.set_title(head, fontsize=9.5, loc="left")


# -------------------------------------------------------------------------------------------- profiles, allocations


def draw_profiles(found: IsoFlop) -> Drawing:
    """Loss against size for each compute budget with the minima read from them."""
    flops = np.array([p.flops for p in found.profiles], dtype=float)
    ends = _margins(flops, share=0.0) if len(np.unique(flops)) > 1 else (flops[0] / 2, flops[0] * 2)
    norm = LogNorm(*ends)
    used = [p for p in found.profiles if p.status == "used"]
    with _style():
        figure = _empty()
        axes = figure.subplots()
        for profile in sorted(found.profiles, key=lambda p: p.flops):
            color = SIZES(norm(profile.flops))
            order = np.argsort(profile.params)
            x, y = np.asarray(profile.params)[order], np.asarray(profile.loss)[order]
            axes.plot(x, y, color=color, linewidth=1.2, marker="o", markersize=3.6, markeredgewidth=0)
            axes.annotate(
                words.scientific(profile.flops, 2),
                (x[-1], y[-1]), xytext=(8, 0), textcoords="offset points", fontsize=8.5, color="#333333", va="center",
            )  # fmt: skip
        _minima(axes, used, "white", BLACK, f"minimum by {words.clean(found.method)}", filled=True)
        rest = [p for p in found.profiles if p.status != "used" and p.minimum_params is not None]
        _minima(axes, rest, "white", BLACK, "minimum not used", filled=False)
        sizes, losses = (
            np.concatenate([np.asarray(getattr(p, k)) for p in found.profiles]) for k in ("params", "loss")
        )
        low, high = _margins(sizes)
        _log_axis(axes.xaxis, low, high * (high / low) ** 0.08, _writer("params"))
        axes.set_xlabel(words.label("params"))
        _target_axis(axes, "loss", losses)
        _legend(figure, axes)
    text = f"{len(flops)} compute budgets from {flops.min():.3g} to {flops.max():.3g} FLOP; {len(used)} minima used."
    return Drawing(figure, "Loss against model size at fixed compute", text)


def _minima(axes: Axes, found: Sequence[Profile], back: str, front: str, label: str, *, filled: bool) -> None:
    if not found:
        return
    x, y = (np.array([getattr(p, k) for p in found], dtype=float) for k in ("minimum_params", "minimum_loss"))
    fill = VERMILLION if filled else back
    style = {"markerfacecolor": fill, "markeredgecolor": back if filled else front, "markeredgewidth": 1.1}
    _dots(axes, x, y, marker="D", markersize=7.5, zorder=5, label=label, **style)


def draw_allocations(found: Sequence[Allocation]) -> Drawing:
    """The compute-optimal params and tokens against compute, with their intervals."""
    ordered = sorted(found, key=lambda a: value_of(a.flops))
    flops = np.array([value_of(a.flops) for a in ordered])
    with _style():
        figure = _empty(WIDTH, 3.4)
        for axes, name, color in zip(figure.subplots(1, 2), ("params", "tokens"), (BLUE, GREEN), strict=True):
            pairs = [getattr(a, name) for a in ordered]
            value = np.array([p.value for p in pairs], dtype=float)
            ends = np.array([p.ci or (np.nan, np.nan) for p in pairs], dtype=float)
            axes.fill_between(flops, ends[:, 0], ends[:, 1], color=color, alpha=0.25, linewidth=0, label="interval")
            axes.plot(flops, value, color=color, linewidth=1.8, marker="o", markersize=3.5, label="best")
            _log_axis(axes.xaxis, *_margins(flops), _writer("flops"))
            _log_axis(axes.yaxis, *_margins(value, ends), _writer(name))
            axes.set_xlabel(words.label("flops"))
            axes.set_ylabel(f"best {words.label(name)}")
    text = (
        f"From {flops[0]:.3g} to {flops[-1]:.3g} FLOP: {words.amounts({'params': ordered[0].params.value})} to "
        f"{words.amounts({'params': ordered[-1].params.value})}."
    )
    return Drawing(figure, "Compute-optimal size and data against compute", text)


# ------------------------------------------------------------------------------------------------------ sensitivity

# What a choice is about, its colour and the kinds of choices that it holds.
_ABOUT = (
    ("how it is fitted", VERMILLION, ("objective", "solver", "form")),
    ("what is counted", GREEN, ("count", "flops")),
    ("which rows", BLUE, ()),
)
# Beyond this many the bars are too thin to read; the table has them all.
MOST_BARS = 28


def draw_sensitivity(found: Sensitivity) -> Drawing:
    """A bar for each choice from the decision as asked for to its own, worst on top: D/N, or the loss alone."""
    shown = found.shown()[0][:MOST_BARS]
    base = getattr(found.base.decision, found.measure)
    values = np.array([getattr(c.decision, found.measure) for c in shown], dtype=float)
    with _style():
        figure = _empty(WIDTH, 1.5 + 0.29 * len(shown))
        axes = figure.subplots()
        for label, color, _ in _ABOUT:
            at = [i for i, c in enumerate(shown) if _about(c) == label]
            if at:
                axes.barh(at, values[at] - base, left=base, height=0.62, color=color, label=label, zorder=2)
        if found.interval is not None:
            label = f"bootstrap's {words.percent(found.level)} interval"
            axes.axvspan(*found.interval, color="#ececec", linewidth=0, zorder=0, label=label)
        axes.axvline(base, color=BLACK, linewidth=1.2, zorder=3, label="as asked")
        _decision_axis(axes, found, np.array([base, *values, *(found.interval or ())]))
        for i, value in enumerate(values):
            side = 1 if value >= base else -1
            axes.annotate(
                f"{value:.4g}", (value, i), xytext=(3 * side, 0), textcoords="offset points", va="center",
                ha="left" if side > 0 else "right", fontsize=8.5, color="#333333", zorder=4,
            )  # fmt: skip
        axes.set_yticks(range(len(shown)), [_folded(c.name) for c in shown], fontsize=8)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        _legend(figure, axes, 5)
    low, high = values.min(initial=base), values.max(initial=base)
    text = f"As asked {base:.4g}; over the {len(shown)} choices drawn {low:.4g} to {high:.4g}, worst first: "
    text += "; ".join(f"{words.clean(c.name)} {v:.4g}" for c, v in zip(shown[:5], values, strict=False))
    return Drawing(figure, f"Sensitivity of {found.law} to how it was fitted", f"{text}.")


def _about(choice: Choice) -> str:
    return next((label for label, _, kinds in _ABOUT if choice.kind in kinds), _ABOUT[-1][0])


def _folded(name: str) -> str:
    """A choice's name on two lines at most."""
    lines = textwrap.wrap(words.clean(name), 46)
    return "\n".join(lines if len(lines) <= 2 else [lines[0], f"{lines[1][:44]} …"])


def _decision_axis(axes: Axes, found: Sensitivity, values: Floats) -> None:
    place = ", ".join(words.amount(name, value) for name, value in found.at.items())
    if found.measure == "loss":
        unit = words.unit_of(found.target)
        axes.set_xlabel(f"{words.clean(found.target)}{f' ({unit})' if unit else ''} at {place}")
        axes.margins(x=0.14)
        return
    _log_axis(axes.xaxis, *_margins(values, share=0.14), lambda value: f"{value:.4g}")
    axes.set_xlabel(f"compute-optimal tokens per parameter at {place}")


# ------------------------------------------------------------------------------------------------------------ pools


def draw_pools(found: PoolChoice, drawn: Sequence[SetCurve]) -> Drawing:
    """The error against samples of the best one, two, three, ... pools, and where each looser set overtakes."""
    with _style():
        figure = _empty(WIDTH, 4.4)
        axes = figure.subplots()
        for i, each in enumerate(drawn):
            color = SIZES(i / max(len(drawn) - 1, 1))
            axes.fill_between(each.samples, each.low, each.high, color=color, alpha=0.18, linewidth=0)
            axes.plot(each.samples, each.error, color=color, linewidth=1.8, label=words.clean(", ".join(each.names)))
        ends = float(drawn[0].samples[0]), float(drawn[0].samples[-1])
        inside = [(c, d) for c, d in zip(found.crossings, drawn, strict=False) if ends[0] < c.samples.value < ends[1]]
        at = np.array([c.samples.value for c, _ in inside])
        height = np.array([float(np.interp(np.log(c.samples.value), np.log(d.samples), d.error)) for c, d in inside])
        style = {"marker": "D", "markersize": 7, "color": VERMILLION, "markeredgecolor": "white", "zorder": 5}
        _dots(axes, at, height, label="the next pool joins" if inside else None, **style)
        _log_axis(axes.xaxis, *_margins(*ends), _writer("samples"))
        axes.set_xlabel(words.label("samples"))
        axes.set_ylabel(words.clean(found.target))
        _legend(figure, axes)
    text = (
        f"{len(drawn)} sets of pools from {format_quantity(ends[0])} to {format_quantity(ends[1])} samples; bands are "
        f"{words.percent(found.level)} intervals of the law."
    )
    return Drawing(figure, "Error against samples for the best pools", text)


# ------------------------------------------------------------------------------------------------------- vocabulary


def draw_vocabulary(found: Vocabulary) -> Drawing:
    """Loss against vocabulary for each size with the measured minima, and below the best one asked for."""
    sizes = np.array([p.params_nonvocab for p in found.profiles])
    tried = [p.vocab_size for p in found.profiles]
    ends = [np.array([a.vocab_size, *(e for e in a.ci if np.isfinite(e))]) for a in found.answers]
    # An interval that reaches down to no vocabulary leaves the figure on its left.
    places = np.concatenate([*tried, *(e[e >= 1.0] for e in ends)])
    known = np.concatenate([*tried, [a.vocab_size for a in found.answers if a.vocab_size >= 1.0]])
    low, high = _margins(np.clip(places, known.min() / 4, known.max() * 4))
    with _style():
        figure = _empty(WIDTH, 5.6 if found.profiles else 2.6)
        panels = figure.subplots(
            2 if found.profiles else 1, 1, squeeze=False, sharex=True, height_ratios=[3, 1.3][-1 - bool(tried) :]
        )[:, 0]
        if found.profiles:
            norm = LogNorm(*_margins(sizes))
            for profile in found.profiles:
                _vocabulary_profile(panels[0], profile, SIZES(norm(profile.params_nonvocab)))
            panels[0].set_ylabel("loss above the lowest\nof the size (nats/token)")
            _legend(figure, panels[0], columns=4)
        for i, answer in enumerate(found.answers):
            _answer(panels[-1], answer, i, low, high)
        panels[-1].set(ylim=(len(found.answers) - 0.4, -0.6))
        panels[-1].set_yticks(range(len(found.answers)), [words.clean(a.approach) for a in found.answers])
        panels[-1].grid(axis="y", visible=False)
        _log_axis(panels[-1].xaxis, low, high, _writer("vocab_size"))
        asked = f"{format_quantity(found.params_nonvocab)} params, {words.scientific(found.flops)} FLOP"
        panels[-1].set_title(f"best for {asked}", fontsize=10.5, loc="left")
        panels[-1].set_xlabel("vocabulary (tokens)")
    text = (
        f"{len(found.profiles)} sizes; best vocabulary for {asked} by {len(found.answers)} approaches, with "
        f"{words.percent(found.level)} intervals of resampled runs."
    )
    return Drawing(figure, "Loss against vocabulary, and the best vocabulary by each approach", text)


def _vocabulary_profile(axes: Axes, profile: Any, color: Any) -> None:
    above = np.asarray(profile.loss) - float(np.min(profile.loss))
    label = f"{format_quantity(profile.params_nonvocab)} params"
    axes.plot(profile.vocab_size, above, color=color, linewidth=1.2, marker="o", markersize=3.6, label=label)
    if profile.minimum is not None:
        height = float(np.interp(np.log(profile.minimum), np.log(profile.vocab_size), above))
        axes.plot(profile.minimum, height, marker="D", markersize=7, color=color, markeredgecolor=BLACK, zorder=5)


def _answer(axes: Axes, answer: Answer, row: int, low: float, high: float) -> None:
    color = (BLUE, VERMILLION, GREEN, GREY)[row % 4]
    if answer.ci:
        axes.plot(np.clip(answer.ci, low, high), [row, row], color=color, linewidth=2.2, alpha=0.55)
        for end, edge, mark in ((answer.ci[0], low, "<"), (answer.ci[1], high, ">")):
            if not low <= end <= high:
                axes.plot(edge, row, marker=mark, color=color, markersize=6, clip_on=False)
    axes.plot(answer.vocab_size, row, marker="D", markersize=7, color=color, markeredgecolor="white", zorder=5)


# ------------------------------------------------------------------------------------------------------ task scores


def draw_emergence(found: Emergence) -> Drawing:
    """Scores by scale, and beside them F = log(-log pass rate) with the task law's lines, where there is a test."""
    tested = [curve for curve in found.tasks if curve.curvature is not None]
    with _style():
        figure = _empty(WIDTH, 4.0)
        panels = figure.subplots(1, 2 if tested else 1, squeeze=False)[0]
        for i, curve in enumerate(found.tasks):
            color = SIZES(i / max(len(found.tasks) - 1, 1))
            panels[0].plot(curve.scale, curve.score, color=color, linewidth=1.2, label=words.clean(curve.task))
            _dots(panels[0], curve.scale, curve.score, color=color, markersize=4)
            if curve.curvature is not None:
                _task_line(panels[1], curve, color)
        if found.chance > 0:
            panels[0].axhline(found.chance, color=GREY, linestyle="--", linewidth=1, label="guessing")
        for axes in panels:
            _input_axis(axes.xaxis, found.by, *(curve.scale for curve in found.tasks))
            axes.set_xlabel(words.label(found.by))
        panels[0].set_ylabel(words.clean(found.score))
        if tested:
            panels[1].set_ylabel("F = log(-log pass rate)")
        _legend(figure, panels[0], 4)
    said = "; ".join(f"{words.clean(c.task)}: {c.curvature.verdict}" for c in tested if c.curvature is not None)
    text = f"{len(found.tasks)} tasks by {found.by}; {f'the task law is a line of F: {said}' if said else 'no test'}."
    return Drawing(figure, f"{found.score} by {found.by}", text)


def _task_line(axes: Axes, curve: TaskCurve, color: Any) -> None:
    assert curve.curvature is not None
    inside = (curve.score > 0) & (curve.score < 1)
    _dots(axes, curve.scale[inside], np.log(-np.log(curve.score[inside])), color=color, markersize=4)
    ends = np.array([curve.scale.min(), curve.scale.max()])
    axes.plot(ends, curve.curvature.log_c - curve.curvature.alpha * np.log(ends), color=color, linewidth=1.2)


# -------------------------------------------------------------------------------------------------------- comparison


def draw_comparison(found: Comparison) -> Drawing:
    """Both recipes' loss against compute with their intervals and runs, and where they cross."""
    with _style():
        figure = _empty(WIDTH, 4.2)
        axes = figure.subplots()
        seen = [found.grid]
        for drawn, color, mark in zip(found.drawn, (BLUE, VERMILLION), ("o", "^"), strict=True):
            _draw_recipe(axes, found, drawn, color, mark)
            seen.append(drawn.run_flops)
        for i, crossing in enumerate(found.crossings):
            low, high = crossing.flops.ci or (crossing.flops.value, crossing.flops.value)
            ends = (max(low, found.flops[0]), min(high, found.flops[1]))
            label = f"crossing and its {words.percent(found.level)} interval" if i == 0 else "_"
            axes.axvspan(*ends, color="#ececec", linewidth=0, zorder=0, label=label)
            axes.axvline(crossing.flops.value, color=BLACK, linewidth=1.1, linestyle="--", zorder=1)
        _log_axis(axes.xaxis, *_margins(*seen), _writer("flops"))
        axes.set_xlabel(words.label("flops"))
        _target_axis(axes, found.target, *(d.value for d in found.drawn), *(d.run_target for d in found.drawn))
        _legend(figure, axes, 3)
    places = ", ".join(f"{c.flops.value:.3g} FLOP" for c in found.crossings)
    places = places or f"nowhere; {found.better or 'neither'} is ahead"
    text = f"A ({found.laws[0]}) and B ({found.laws[1]}) from {found.flops[0]:.3g} to {found.flops[1]:.3g} FLOP"
    return Drawing(figure, "Two recipes against compute", f"{text} cross at: {places}.")


def _draw_recipe(axes: Axes, found: Comparison, drawn: Drawn, color: str, mark: str) -> None:
    law = found.laws[0] if drawn.name == "A" else found.laws[1]
    axes.fill_between(found.grid, drawn.low, drawn.high, color=color, alpha=0.2, linewidth=0)
    axes.plot(found.grid, drawn.value, color=color, linewidth=1.8, label=f"{drawn.name}: {words.clean(law)}")
    _dots(axes, drawn.run_flops, drawn.run_target, color=color, marker=mark, markersize=3.5, alpha=0.6)


# ----------------------------------------------------------------------------------------------------------- hparams

# Okabe and Ito's palette in an order in which neighbours in the catalogue of rules are told apart.
_RULE_COLORS = (BLUE, VERMILLION, GREEN, "#CC79A7", "#E69F00", "#56B4E9", BLACK)


def draw_hparams(found: Hparams, curves: Sequence[RuleCurve]) -> Drawing:
    """Peak learning rate and batch of every rule along tokens: thick inside its range, thin and dashed beyond."""
    panels = [
        ("peak learning rate", "lr", lambda value: f"{value:.3g}"),
        ("batch (tokens)", "batch", _writer("batch_tokens")),
    ]
    panels = [panel for panel in panels if any(np.isfinite(getattr(c, panel[1])).any() for c in curves)]
    at = found.request.known["tokens"].value
    with _style():
        figure = _empty(WIDTH, 1.3 + 2.9 * len(panels))
        drawn = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (label, which, write) in zip(drawn, panels, strict=True):
            for i, curve in enumerate(curves):
                _rule_curve(axes, curve, getattr(curve, which), _RULE_COLORS[i % len(_RULE_COLORS)])
            values = [getattr(c, which) for c in curves]
            _log_axis(axes.yaxis, *_margins(*values), write)
            axes.set_ylabel(label)
            axes.axvline(at, color=GREY, linewidth=1, zorder=0)
        _log_axis(drawn[-1].xaxis, float(curves[0].tokens[0]), float(curves[0].tokens[-1]), _writer("tokens"))
        drawn[-1].set_xlabel(words.label("tokens"))
        handles = [
            Line2D([], [], color=_RULE_COLORS[i % len(_RULE_COLORS)], linewidth=2, label=_rule_label(curve))
            for i, curve in enumerate(curves)
        ]
        handles += [Line2D([], [], color=GREY, linewidth=1.1, linestyle="--", label="outside the rule's range")]
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
    text = (
        f"{len(curves)} rules from {format_quantity(float(curves[0].tokens[0]))} to "
        f"{format_quantity(float(curves[0].tokens[-1]))} tokens; the line stands at the {format_quantity(at)} asked "
        "for. Rules of the loss have no curve, for it is not known along the tokens."
    )
    return Drawing(figure, "Peak learning rate and batch by each rule", text)


def _rule_curve(axes: Axes, curve: RuleCurve, values: Floats, color: str) -> None:
    axes.plot(curve.tokens, values, color=color, linewidth=1.1, linestyle="--")
    if curve.rule is None or not curve.rule.secondary:
        axes.plot(curve.tokens, np.where(curve.inside, values, np.nan), color=color, linewidth=2.4)


def _rule_label(curve: RuleCurve) -> str:
    if curve.rule is None:
        return words.clean(curve.name)
    kind = " (muP base)" if curve.rule.mup else " (second-hand)" if curve.rule.secondary else ""
    return f"{curve.name}{kind}"


# ------------------------------------------------------------------------------------------------------------ hpgrid

# Loss above a grid's best at which its bowl is drawn; what lies above the last is one colour.
BOWL = (0.0, 0.0025, 0.005, 0.01, 0.02, 0.05)
MOST_GRIDS = 4


def draw_hpgrid(found: GridReport) -> Drawing:
    """The bowl of loss over learning rate and batch of up to four grids: cells, best, plateau, and each rule's pick."""
    kept = _evenly(len(found.grids.grids), MOST_GRIDS)
    wide = [i for i in kept if found.grids.grids[i].batch_levels.max() > 0]
    shown = wide or kept
    columns = min(len(shown), 2)
    lines = -(-len(shown) // columns)
    with _style():
        figure = _empty(WIDTH, 1.2 + 3.0 * lines)
        panels = np.atleast_1d(np.asarray(figure.subplots(lines, columns, squeeze=False))).ravel()
        for axes, i in zip(panels, shown, strict=False):
            _bowl(axes, found, i)
        for axes in panels[len(shown) :]:
            axes.set_axis_off()
        _legend(figure, panels[0], 3)
    names = ", ".join(found.grids.grids[i].named() for i in shown)
    rules = "; ".join(f"{one.name} loses {words.percent(float(one.excess.mean()))} on average" for one in found.regrets)
    text = f"Loss over peak learning rate and batch in tokens at {names}. {rules}."
    return Drawing(figure, "Loss over learning rate and batch", text)


def _evenly(count: int, most: int) -> list[int]:
    """At most `most` of `count` places, the first and the last among them, evenly."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))})


def _bowl(axes: Axes, found: GridReport, i: int) -> None:
    """One grid's panel."""
    grid = found.grids.grids[i]
    # Triangles need cells that do not lie on one line.
    if min(grid.batch_levels.max(), grid.lr_levels.max()) > 0 and len(grid.loss) > 3:
        _shades(axes, grid.lr, grid.batch, grid.excess)
    axes.grid(visible=False)
    _dots(axes, grid.lr, grid.batch, color="#444444", markersize=1.8, markeredgewidth=0, alpha=0.5, zorder=2,
          label="runs")  # fmt: skip
    best = np.array([grid.at])
    _dots(axes, grid.lr[best], grid.batch[best], marker="*", markersize=13, color="white", markeredgecolor=BLACK,
          zorder=6, label="best run")  # fmt: skip
    for k, one in enumerate(found.regrets):
        mark, color = _PICKS[k % len(_PICKS)]
        lr, batch = (np.array([v]) for v in one.picks[i])
        _dots(axes, lr, batch, marker=mark, markersize=6.5, color=color, markeredgecolor="white", zorder=5,
              label=words.clean(one.name))  # fmt: skip
    picks = np.array([one.picks[i] for one in found.regrets]).reshape(-1, 2)
    _log_axis(axes.xaxis, *_margins(grid.lr, picks[:, 0]), _short_rate, apart=0.16)
    _log_axis(axes.yaxis, *_margins(grid.batch, picks[:, 1]), _writer("batch_tokens"))
    size = words.clean(f"{format_quantity(grid.params)} parameters, {format_quantity(grid.tokens)} tokens")
    axes.set_title(size, fontsize=10)
    axes.set_xlabel("peak learning rate")
    axes.set_ylabel("batch, tokens")


# Marks of the rules, told apart by shape as well as by colour.
_PICKS = (
    ("D", VERMILLION), ("s", GREEN), ("^", "#CC79A7"), ("v", "#E69F00"), ("P", "#56B4E9"), ("X", GREY),
    ("p", "#F0E442"), ("h", BLACK),
)  # fmt: skip


def _shades(axes: Axes, x: Floats, y: Floats, excess: Floats) -> None:
    """The bowl of loss over two log axes, and the line of its plateau."""
    # Triangles are laid over the logarithms, where the cells stand evenly.
    placed = Triangulation(x, y, Triangulation(np.log(x), np.log(y)).triangles)
    shades = matplotlib.colormaps["Blues_r"](np.linspace(0.15, 0.95, len(BOWL)))
    axes.tricontourf(placed, excess, levels=BOWL, colors=[*shades[:-1], "#f4f4f4"], extend="max")
    if excess.max() > BOWL[1]:
        axes.tricontour(placed, excess, levels=[BOWL[1]], colors=[BLACK], linewidths=1.2)
    shares = ", ".join(f"{100 * share:g}" for share in BOWL[2:])
    axes.plot([], [], color=BLACK, linewidth=1.2, label=f"{words.percent(BOWL[1])} above best; shades {shares} %")


def _short_rate(value: float) -> str:
    """A learning rate as people write it: 3e-4, 1.5e-3."""
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


# --------------------------------------------------------------------------------------------------------- schedules

_LINES = (BLUE, VERMILLION, GREEN, "#CC79A7", "#E69F00", "#56B4E9", BLACK, GREY)
_DASHES = ("-", "--", "-.", ":")
# Places along a line: more than a page has points.
_PLACES = 2000


def draw_schedules(listing: Listing) -> Drawing:
    """The rates against the steps, and beside them, where they are ranked, how far each bound is above the best."""
    first = {entry.label: i for i, entry in enumerate(listing.each)}
    peak = max(entry.schedule.lr_max for entry in listing.each)
    longest = max(entry.schedule.total for entry in listing.each)
    with _style():
        figure = _empty(WIDTH, 4.0 + 0.12 * len(listing.each))
        panels = figure.subplots(
            1, 2 if listing.ranked else 1, squeeze=False, width_ratios=[2.4, 1][: 1 + listing.ranked]
        )
        axes = panels[0][0]
        for entry in listing.each:
            total, i = entry.schedule.total, first[entry.label]
            steps = np.unique(np.round(np.linspace(0, total, min(_PLACES, total) + 1)))
            style = {"color": _LINES[i % len(_LINES)], "linestyle": _DASHES[i // len(_LINES) % len(_DASHES)]}
            axes.plot(steps, entry.schedule.at(steps), linewidth=1.8, label=words.clean(entry.label), **style)
        axes.set(xlim=(0, longest), ylim=(0, 1.04 * peak))
        axes.xaxis.set_major_locator(ticker.MaxNLocator(5))
        axes.xaxis.set_major_formatter(lambda value, _: format_quantity(value) if value >= 1e3 else f"{value:g}")
        axes.yaxis.set_major_formatter(lambda value, _: _plain_rate(value))
        axes.set_xlabel("step")
        axes.set_ylabel("rate over the peak" if peak == 1 else "learning rate")
        if listing.ranked:
            _draw_bounds(panels[0][1], listing)
        if len(listing.each) > 1:
            _legend(figure, axes, 2)
    text = "; ".join(f"{entry.label}: peak {entry.schedule.lr_max:g}" for entry in listing.each)
    return Drawing(figure, "Learning rate against steps", f"{text}.")


def _plain_rate(value: float) -> str:
    text = f"{value:.3g}" if value == 0 or abs(value) >= 1e-2 else f"{value:.1e}"
    return text.replace("e-0", "e-").replace(".0e", "e")


def _draw_bounds(axes: Axes, listing: Listing) -> None:
    best = listing.each[0].bound
    assert best is not None
    above = [100 * (entry.bound.value / best.value - 1) for entry in listing.each if entry.bound is not None]
    places = np.arange(len(above))
    axes.barh(places, above, color=[_LINES[i % len(_LINES)] for i in range(len(above))], height=0.6)
    for place, value in zip(places, above, strict=True):
        axes.annotate(
            f"{value:.2g} %", (value, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9
        )
    axes.set(xlim=(0, 1.35 * max(*above, 1e-9)), ylim=(len(above) - 0.4, -0.6), yticks=[])
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("bound above the best (%)")


# ------------------------------------------------------------------------------------------------- batches and steps


def draw_critical(found: CriticalBatch) -> Drawing:
    """Steps against batch at every loss with its hyperbola, or tokens with its parabola; each level's batch marked."""
    shown = [level for level in found.levels if len(level.batches)]
    by_tokens = found.method == "optimum"
    with _style():
        figure = _empty(WIDTH, 4.6)
        axes = figure.subplots()
        heights = []
        for i, level in enumerate(shown):
            color = SIZES(i / max(len(shown) - 1, 1))
            y = level.steps * level.batches if by_tokens else level.steps
            name = f"loss {level.loss:.3g}" + (f", {format_quantity(level.params)}" if level.params else "")
            _dots(axes, level.batches, y, color=color, label=words.clean(name))
            heights.append(y)
            if level.status == "used":
                heights.append(_critical_curve(axes, level, color, by_tokens=by_tokens))
        batches = np.concatenate([level.batches for level in shown])
        inside = [v.batch.value for v in found.used if v.batch and v.batch.value < 30 * batches.max()]
        _log_axis(axes.xaxis, *_margins(batches, np.array(inside)), _writer("batch_tokens"))
        _log_axis(axes.yaxis, *_margins(*heights), _writer("tokens"))
        axes.set_xlabel("batch (tokens)")
        axes.set_ylabel("tokens to the loss" if by_tokens else "steps to the loss")
        _legend(figure, axes, 4)
    marks = "the batch of fewest tokens" if by_tokens else "the critical batch, at twice the least steps"
    text = f"{len(shown)} levels over batches of {format_quantity(batches.min())} to {format_quantity(batches.max())}."
    return Drawing(figure, "Batch sizes and what they take to a loss", f"{text} Diamonds mark {marks}.")


def _critical_curve(axes: Axes, level: Level, color: Any, *, by_tokens: bool) -> Floats:
    """A level's fitted curve with a diamond at its batch; the heights drawn."""
    style = {"marker": "D", "markersize": 7, "color": color, "markeredgecolor": "white", "zorder": 5}
    assert level.batch is not None
    at = level.batch.value
    ends = level.batches.min(), max(level.batches.max(), min(at, 30 * level.batches.max()))
    x = np.geomspace(*ends, 121)
    if by_tokens:
        whole = np.polyfit(np.log(level.batches), np.log(level.steps * level.batches), 2)
        y, mark = np.exp(np.polyval(whole, np.log(x))), float(np.exp(np.polyval(whole, np.log(at))))
    else:
        assert level.hyperbola is not None
        least = level.hyperbola.min_steps.value
        y, mark = least * (1 + at / x), 2 * least
    axes.plot(x, y, color=color, linewidth=1.5)
    if ends[0] <= at <= ends[1]:
        _dots(axes, np.array([at]), np.array([mark]), **style)
    return y


def draw_noise(found: NoiseScale) -> Drawing:
    """The noise scale along the training: moving averages, and each part's with its interval."""
    with _style():
        figure = _empty(WIDTH, 4.0)
        axes = figure.subplots()
        label = f"moving averages, half-life {found.half_life:.3g} rows"
        axes.plot(found.step, found.smoothed, color=GREY, linewidth=1.1, label=label)
        told = [p for p in (found.parts if len(found.parts) > 1 else (found.whole,)) if p.scale is not None]
        known = [found.smoothed, *(np.array([p.scale.value, *p.scale.ci]) for p in told if p.scale)]
        for i, part in enumerate(told):
            assert part.scale is not None
            low, high = part.scale.ci
            name = f"parts of the log with {words.percent(found.level)} intervals" if i == 0 else "_"
            top = high if np.isfinite(high) else 1e3 * part.scale.value
            axes.fill_between([part.first, part.last], low, top, color=BLUE, alpha=0.18, linewidth=0)
            axes.plot([part.first, part.last], [part.scale.value] * 2, color=BLUE, linewidth=2.0, label=name)
        for name, batch, dash in (("small", found.small, ":"), ("big", found.big, "--")):
            axes.axhline(batch, color=VERMILLION, linewidth=1.0, linestyle=dash, label=f"{name} batch")
        _log_axis(axes.yaxis, *_margins(*known, found.small, found.big), _writer("tokens"))
        axes.set_xlim(*_room(found.step))
        axes.set_xlabel("step")
        axes.set_ylabel("noise scale (unit of the batches)")
        _legend(figure, axes, 2)
    text = f"From {len(found.step)} logged steps; {found.skipped} of the moving averages give no noise scale."
    return Drawing(figure, "Gradient noise scale along the training", text)


def draw_trajectory(found: Trajectory) -> Drawing:
    """Loss against steps at the batch asked with its interval, at other batches, and the target."""
    drawn = found.drawn
    with _style():
        figure = _empty(WIDTH, 4.4)
        axes = figure.subplots()
        others = sorted(drawn["others"].items())
        for i, (batch, loss) in enumerate(others):
            color = SIZES(i / max(len(others) - 1, 1))
            name = f"{format_quantity(batch)} tokens a step"
            axes.plot(drawn["steps"], loss, color=color, linewidth=1.0, linestyle="--", label=name)
        axes.fill_between(drawn["steps"], drawn["low"], drawn["high"], color=BLUE, alpha=0.2, linewidth=0)
        name = f"{format_quantity(found.batch_tokens)} tokens a step, as asked"
        axes.plot(drawn["steps"], drawn["loss"], color=BLUE, linewidth=2.2, label=name)
        axes.axhline(found.floor.value, color=BLACK, linewidth=1.0, linestyle=":", label="loss after endless steps")
        if found.goal is not None:
            style = {"marker": "D", "markersize": 7, "color": VERMILLION, "markeredgecolor": "white", "zorder": 5}
            at = np.array([found.goal.steps.value])
            _dots(axes, at, np.array([found.goal.loss]), label=f"loss {found.goal.loss:g}", **style)
        _log_axis(axes.xaxis, *_margins(drawn["steps"], share=0.01), _writer("tokens"))
        _target_axis(axes, "loss", *drawn["others"].values(), drawn["loss"], np.array([found.floor.value]))
        axes.set_xlabel("steps")
        _legend(figure, axes, 3)
    text = f"{format_quantity(found.params)} parameters at {len(others) + 1} batch sizes; {words.clean(found.source)}."
    return Drawing(figure, "Loss along a training at any batch size", text)


def draw_retention(found: Retention) -> Drawing:
    """What is left of the gain against the steps since, the fitted line, and the mean of the probes at each time."""
    with _style():
        figure = _empty(WIDTH, 4.2)
        axes = figure.subplots()
        times = np.unique(found.t)
        means = np.array([found.share[found.t == time].mean() for time in times])
        _dots(axes, found.t, found.share, color=GREY, alpha=0.4, markersize=2.6, markeredgewidth=0, label="probes")
        _dots(axes, times, means, color=BLUE, markersize=4.5, label="their mean")
        x = np.geomspace(times[0], times[-1], 61)
        line = found.level_at_one.value - found.decay.value * np.log10(x)
        axes.plot(x, line, color=VERMILLION, linewidth=1.8, label="R_0 - a log10(t)")
        axes.axhline(0.0, color=BLACK, linewidth=0.8)
        _log_axis(axes.xaxis, *_margins(times), _writer("tokens"))
        axes.set_xlabel("steps since the best reading")
        axes.set_ylabel("share of the gain that is left")
        _legend(figure, axes, 3)
    text = f"{len(found.t)} points of {found.probes} probes; {found.decay.value:.3g} is lost for each tenfold time."
    return Drawing(figure, "What is left of what was learnt", text)


# ----------------------------------------------------------------------------------- learning curves without a schedule


def draw_extrapolation(found: Extrapolation) -> Drawing:
    """The curve, what is ahead with its interval, each family's own line, and where the run could have been stopped."""
    curve, last = found.curve, float(found.curve.x[-1])
    asked = np.array([a.at for a in found.ahead])
    end = max([last, *asked])
    with _style():
        figure = _empty(WIDTH, 4.4)
        axes = figure.subplots()
        grid = np.unique(np.concatenate([np.geomspace(found.window[0], end, 160), [last]]))
        value, low, high = found.band(grid)
        beyond = grid >= last
        label = f"{words.percent(found.level)} interval"
        axes.fill_between(grid[beyond], low[beyond], high[beyond], color=BLUE, alpha=0.2, linewidth=0, label=label)
        for i, family in enumerate(found.families):
            color, width = SIZES(i / max(len(found.families) - 1, 1)), 0.6 + 1.6 * family.weight
            name = f"{words.clean(family.name)}, {words.percent(family.weight)}" if family.weight >= 0.05 else "_"
            own = family.at(grid[beyond])
            axes.plot(grid[beyond], own, color=color, linewidth=width, linestyle="--", label=name)
        _dots(axes, curve.x, curve.loss, color=GREY, markersize=2.6, markeredgewidth=0, label="logged")
        axes.plot(grid, value, color=BLUE, linewidth=2.0, label="families together")
        for a in found.ahead:
            ends = [[a.value - a.interval[0]], [a.interval[1] - a.value]]
            axes.errorbar([a.at], [a.value], yerr=ends, color=VERMILLION, fmt="D", markersize=5, capsize=3, zorder=6)
        axes.axvline(found.window[0], color=GREY, linewidth=0.9, linestyle=":", label="fitted from here")
        if found.stop is not None and found.stop.stop is not None:
            axes.axvline(found.stop.stop, color=GREEN, linewidth=1.2, linestyle="-.", label="could have been stopped")
        # What was left out is shown as far as the losses of the window reach up.
        _log_axis(axes.xaxis, *_margins(0.7 * found.window[0], end, share=0.02), _writer("tokens"))
        inside = curve.loss[curve.x >= found.window[0]]
        room = _room(inside, low[beyond], high[beyond])
        axes.set_ylim(*room)
        axes.set_ylabel("loss (nats/token)")
        axes.set_xlabel(words.label(curve.input))
        _legend(figure, axes, 3)
    said = "; ".join(f"{a.value:.4f} at {curve.place(a.at)}" for a in found.ahead)
    text = f"{len(curve)} points to {curve.place(last)}; families together say {said or 'nothing further'}."
    return Drawing(figure, "A loss further along its curve", text)


# ---------------------------------------------------------------------------------------------------------- forecast

# Points of a curve at most: more lie on each other.
CURVE_POINTS = 2000


def draw_forecast(found: RunForecast) -> Drawing:
    """The curve so far, the forecast with its interval, where it left, and the learning rate below."""
    step, loss = found.curve
    thin = np.unique(np.linspace(0, len(step) - 1, min(len(step), CURVE_POINTS)).astype(int))
    with _style():
        figure = _empty(WIDTH, 5.4)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.4, 1))
        above.plot(step[thin], loss[thin], color=BLACK, linewidth=1.0, label="measured")
        above.fill_between(found.step, found.low, found.high, color=BLUE, alpha=0.3, linewidth=0,
                           label=f"{words.percent(found.level)} interval")  # fmt: skip
        above.plot(found.step, found.loss, color=BLUE, linewidth=1.3, label="forecast")
        if found.looks:
            _looks_back(above, found)
        if found.left is not None:
            above.axvline(found.left.since, color=VERMILLION, linestyle="--", label=f"{found.left.kind} begins")
        # What a run does in its first steps would flatten all the rest.
        begun = step >= min(0.15 * found.schedule.total, 0.5 * step[-1])
        late = loss[begun]
        looked = [v for look in found.looks for v in (look.low, look.high)]
        above.set_ylim(*_room(late, found.low, found.high, np.array(looked)))
        unit = words.unit_of(found.target)
        above.set_ylabel(f"{words.clean(found.target)} ({unit})" if unit else words.clean(found.target))
        every = np.unique(np.linspace(0, found.schedule.total, CURVE_POINTS).astype(int))
        rate = found.schedule.at(every)
        below.plot(every, rate, color=GREY, linewidth=1.4)
        below.set_ylim(0, 1.08 * float(rate.max()))
        below.set_ylabel("learning rate")
        below.set_xlabel("step")
        below.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
        for axes in (above, below):
            axes.axvline(step[-1], color=GREY, linewidth=0.8, linestyle=":")
        _legend(figure, above, 4)
    end, value, low, high = found.end
    text = (
        f"Measured up to step {step[-1]:,.0f}; {found.target} forecast at step {end:,.0f}: "
        f"{words.fixed(value, low, high)} ({words.span(low, high)})."
    )
    return Drawing(figure, f"Forecast of {words.clean(found.run)}", text)


def _looks_back(axes: Axes, found: RunForecast) -> None:
    """What earlier points would have forecast for the last one, at the step from which."""
    at = np.array([look.step for look in found.looks])
    value, low, high = (np.array([getattr(look, name) for look in found.looks]) for name in ("loss", "low", "high"))
    _bars(axes, at, value, low, high, color=GREEN, label="forecast of the last point, from here")


# ---------------------------------------------------------------------------------------------------------- optimize

# As many families are drawn as stay apart.
_DRAWN = 5


def draw_optimum(found: Optimum) -> Drawing:
    """The best schedules, and beside them what each wins: by the law, and as it is likely to come true."""
    shown = [*found.best[:_DRAWN], *(best for best in (found.free, found.steep) if best is not None)]
    with _style():
        figure = _empty(WIDTH, 4.6)
        left, right = figure.subplots(1, 2, width_ratios=[1.7, 1])
        steps = np.unique(np.round(np.linspace(0, found.total, _PLACES)))
        left.plot(steps, found.against.at(steps), color=GREY, linewidth=1.6, label=f"{found.against.name} (reference)")
        for i, best in enumerate(shown):
            free = best.gap is not None
            style = {"color": BLACK if free else _LINES[i], "linestyle": ":" if best is found.steep else "-"}
            left.plot(steps, best.schedule.at(steps), linewidth=1.7, label=best.family, **style)
            _gain_bar(right, i, best.gain, BLACK if free else _LINES[i])
        _step_axes(left, found.total, found.peak)
        right.axvline(0.0, color=GREY, linewidth=0.9)
        right.set(ylim=(len(shown) - 0.5, -0.5), yticks=range(len(shown)), xlabel="gain (nats/token)")
        right.set_yticklabels([best.family for best in shown])
        right.plot([], [], marker="o", linestyle="none", markerfacecolor="white", color=BLACK, label="by the law")
        right.plot([], [], marker="o", color=BLACK, label=f"likely, {words.percent(found.level)} interval")
        _both_legends(figure, left, right)
    best = found.best[0]
    text = (
        f"Lowest: {best.schedule}, loss {best.loss:.4f}; its gain is {best.gain.raw:.4f} nats by the law and likely "
        f"{best.gain.expected:.4f} ({best.gain.low:.4f} to {best.gain.high:.4f})."
    )
    return Drawing(figure, f"Best schedules of {found.total:,} steps", text)


def _gain_bar(axes: Axes, place: int, gain: Gain, color: str) -> None:
    axes.plot([gain.low, gain.high], [place, place], color=color, linewidth=2.0)
    axes.plot([gain.expected], [place], marker="o", color=color)
    axes.plot([gain.raw], [place], marker="o", color=color, markerfacecolor="white")


def _step_axes(axes: Axes, total: float, peak: float) -> None:
    axes.set(xlim=(0, total), ylim=(0, 1.04 * peak), xlabel="step", ylabel="learning rate")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda value, _: format_quantity(value) if value >= 1e3 else f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: _plain_rate(value))


def _both_legends(figure: Figure, *panels: Axes) -> None:
    """One legend under several panels."""
    parts = [axes.get_legend_handles_labels() for axes in panels]
    handles, labels = ([item for part in parts for item in part[i]] for i in (0, 1))
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(handles)))


def draw_schedule_losses(found: Losses, paths: Sequence[tuple[Floats, Floats]]) -> Drawing:
    """The rates of schedules, the losses under them by the law, and what each wins over the first."""
    with _style():
        figure = _empty(WIDTH, 5.6)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1.5])
        for i, (entry, (steps, losses)) in enumerate(zip(found.each, paths, strict=True)):
            style = {"color": _LINES[i % len(_LINES)], "linestyle": _DASHES[i // len(_LINES) % len(_DASHES)]}
            every = np.unique(np.round(np.linspace(0, entry.schedule.total, _PLACES)))
            above.plot(every, entry.schedule.at(every), linewidth=1.6, **style)
            below.plot(steps, losses, linewidth=1.6, label=words.clean(entry.label), **style)
            _bars(
                below, *(np.array([v]) for v in (entry.step, entry.loss, entry.low, entry.high)), color=style["color"]
            )
        longest = max(entry.schedule.total for entry in found.each)
        _step_axes(above, longest, max(entry.schedule.lr_max for entry in found.each))
        above.set_xlabel("")
        # The end is what is compared: what comes before would flatten it.
        late = [losses[steps >= 0.4 * entry.step] for entry, (steps, losses) in zip(found.each, paths, strict=True)]
        low, high = (np.array([getattr(entry, end) for entry in found.each]) for end in ("low", "high"))
        below.set(ylim=_room(*late, low, high), xlim=(0, 1.02 * longest), xlabel="step", ylabel="loss (nats/token)")
        _legend(figure, below, 2)
    text = "; ".join(f"{entry.label}: {entry.loss:.4f} at step {entry.step:,}" for entry in found.each)
    return Drawing(figure, f"Losses by {found.law}", f"{text}.")


def draw_shares(found: Shares) -> Drawing:
    """The loss against the share that anneals for each length, and the best share against the length."""
    with _style():
        figure = _empty(WIDTH, 4.2)
        left, right = figure.subplots(1, 2)
        colors = SIZES(np.linspace(0.0, 1.0, len(found.each)))
        for one, color in zip(found.each, colors, strict=True):
            left.plot(100 * one.shares, 1e3 * (one.losses - one.loss), color=color, linewidth=1.6)
            left.plot([100 * one.share], [0.0], marker="o", color=color, label=f"{format_quantity(one.total)} steps")
        widest = max(one.high for one in found.each)
        inside = [1e3 * float(np.interp(min(1.0, 2 * widest), one.shares, one.losses - one.loss)) for one in found.each]
        left.set(xlim=(0, 100 * min(1.0, 2 * widest)), ylim=(-0.03 * max(inside), max(inside)))
        left.set(xlabel="share that anneals (%)", ylabel="loss above the best (millinats)")
        totals = np.array([one.total for one in found.each], dtype=float)
        low, best, high = (
            100 * np.array([getattr(one, end) for one in found.each]) for end in ("low", "share", "high")
        )
        right.fill_between(totals, low, high, color=BLUE, alpha=0.2, linewidth=0)
        right.plot(totals, best, color=BLUE, marker="o")
        _log_axis(right.xaxis, *_margins(totals, share=0.08), format_quantity)
        right.set(ylim=(0, 1.05 * float(high.max())), xlabel="steps", ylabel="best share, and as good by seeds (%)")
        _legend(figure, left, 4)
    text = "; ".join(f"{one.total:,} steps: {words.percent(one.share)}" for one in found.each)
    return Drawing(figure, "Best share to anneal in", f"{text}.")
