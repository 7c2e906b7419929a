"""A report of fits as one HTML page that needs nothing else, and an index page of many."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

import numpy as np

from ..accounting import six_nd
from ..engine.backtest import Backtest, Scored
from ..engine.metrics import metrics
from ..engine.predict import Predictions
from ..engine.result import Fit, Notice
from ..errors import UsageError
from ..files import made_by, plain, write_text
from ..quantities import format_quantity
from . import curves, members, plot, words
from .answer import Allocation, Between, between, complete, held, matching, point_of, same_table, tight, value_of
from .answer import answer as tell
from .answer import question as ask

SCHEMA = "scaling-lab/report/1"
INDEX_SCHEMA = "scaling-lab/report-index/1"
TABLED = 200


@dataclass(frozen=True)
class Entry:
    """A line of the index: what was reported, where the page is, its key numbers, or why there is none."""

    name: str
    law: str = ""
    status: str = "done"
    link: str | None = None
    numbers: Mapping[str, str] = field(default_factory=dict)
    message: str = ""


def write_report(
    path: str | os.PathLike[str],
    fits: Sequence[Fit],
    *,
    backtests: Sequence[Backtest] = (),
    question: str | None = None,
    predictions: Predictions | None = None,
    measured: Mapping[str, Any] | None = None,
    allocation: Allocation | None = None,
    title: str | None = None,
) -> Path:
    """Writes the page whole or not at all; `predictions`, `measured` and `allocation` belong to the first fit."""
    page = html(
        fits,
        backtests=backtests,
        question=question,
        predictions=predictions,
        measured=measured,
        allocation=allocation,
        title=title,
    )
    return write_text(path, page)


def html(
    fits: Sequence[Fit],
    *,
    backtests: Sequence[Backtest] = (),
    question: str | None = None,
    predictions: Predictions | None = None,
    measured: Mapping[str, Any] | None = None,
    allocation: Allocation | None = None,
    title: str | None = None,
) -> str:
    """The page's text; the same arguments give the same text but for its footer (time, host, command)."""
    if not fits:
        raise UsageError("a report needs at least one fit; give a FIT.json")
    measured = complete(predictions, measured)
    asked = question or ask(fits, predictions, allocation)
    sections = [
        _section(fit, i, predictions if i == 0 else None, measured if i == 0 else None) for i, fit in enumerate(fits)
    ]
    answer = tell(fits, backtests, predictions, measured, allocation)
    return _render(
        "report.html.j2",
        title=title or asked,
        question=asked,
        answer=answer,
        warnings=_warnings(fits, predictions, allocation),
        predictions=_prediction_table(predictions, measured),
        allocation=_allocation_table(allocation),
        comparison=_comparison(fits, backtests) if len(fits) > 1 else None,
        sections=sections,
        backtests=[_backtest(found) for found in backtests],
        reproduce=_reproduce(fits),
        record={"schema": SCHEMA, **_record(fits)},
    )


def write_index(path: str | os.PathLike[str], entries: Iterable[Entry], *, title: str = "Scaling-law reports") -> Path:
    """Writes a page that links to several reports, failures first; links are paths beside the page."""
    ordered = sorted(entries, key=lambda e: e.status == "done")
    names = list(dict.fromkeys(name for entry in ordered for name in entry.numbers))
    rows = [
        {
            "name": words.clean(e.name), "law": e.law, "status": e.status, "message": words.clean(e.message),
            # Quoting leaves no way to name a scheme: a link can only lead to a file.
            "link": quote(PurePath(e.link).as_posix()) if e.link else None,
            "numbers": [e.numbers.get(name, "") for name in names],
        }
        for e in ordered
    ]  # fmt: skip
    failed = sum(e.status != "done" for e in ordered)
    head = f"{words.plural(len(ordered) - failed, 'report')} made" + (f", {failed:,} failed" if failed else "")
    record = {"schema": INDEX_SCHEMA, "made_by": plain(made_by())}
    return write_text(path, _render("index.html.j2", title=title, head=head, names=names, rows=rows, record=record))


def _render(name: str, **values: Any) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # File names, run ids and column names come from outside: all is escaped but the figures, which are made here.
    room = Environment(
        loader=PackageLoader("scaling_lab.show", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return room.get_template(name).render(**values)


# ------------------------------------------------------------------------------------------------ what is tabled


def _warnings(
    fits: Sequence[Fit], predictions: Predictions | None, allocation: Allocation | None
) -> list[dict[str, str]]:
    found: list[tuple[str, Notice]] = [(fit.law, notice) for fit in fits for notice in fit.warnings]
    found += [("prediction", notice) for notice in (predictions.warnings if predictions is not None else ())]
    found += [("allocation", notice) for notice in getattr(allocation, "warnings", ())]
    return [{"of": of, "code": n.code, "severity": n.severity, "message": words.clean(n.message)} for of, n in found]


def _prediction_table(found: Predictions | None, measured: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    at = matching(found, measured)
    rows = []
    for i in range(min(len(found.value), TABLED)):
        low, high = float(found.low[i]), float(found.high[i])
        seen = words.fixed(float(measured[found.target]), low, high) if measured is not None and i == at else ""
        rows.append(
            [
                *map(format_quantity, point_of(found, i).values()), words.fixed(float(found.value[i]), low, high),
                words.span(low, high), *([seen] if at is not None else []), words.outside(found.outside[i]),
            ]
        )  # fmt: skip
    heads = [*map(words.label, found.inputs), found.target, tight(f"{words.percent(found.level)}\u00a0interval")]
    more = len(found.value) - len(rows)
    return {
        "heads": [*heads, *(["measured"] if at is not None else []), "where it lies"],
        "rows": rows,
        "more": f"{more:,} further points are left out of this table." if more else "",
    }


def _allocation_table(found: Allocation | None) -> dict[str, Any] | None:
    if found is None:
        return None
    size, data = getattr(found, "size", "params"), getattr(found, "data", "tokens")
    asked: list[tuple[str, Between | None]] = [
        (words.label(size), found.params),
        ("tokens D" if data == "tokens" else words.label(data), found.tokens),
        *((words.label(name), value) for name, value in getattr(found, "further", {}).items()),
        (f"{data} per parameter", getattr(found, "tokens_per_param", None)),
        ("epochs", getattr(found, "epochs", None)),
    ]
    rows = [
        [name, format_quantity(q.value), between(q, format_quantity).strip(" ()") or "-"]
        for name, q in asked
        if q is not None
    ]
    low, high = found.loss.ci or (found.loss.value, found.loss.value)
    target = words.clean(getattr(found, "target", "loss"))
    rows.append([target, words.fixed(found.loss.value, low, high), words.span(low, high)])
    near = getattr(found, "near_optimal_params", None)
    return {
        "flops": words.amount("flops", value_of(found.flops)),
        "level": words.percent(getattr(found, "level", 0.9)),
        "rows": rows,
        "held": held(found),
        "near": " to ".join(map(format_quantity, near)) if near else "",
    }


def _comparison(fits: Sequence[Fit], backtests: Sequence[Backtest]) -> list[dict[str, Any]]:
    rows = []
    for i, fit in enumerate(fits):
        scored = next((s for b in backtests for s in b.laws if s.scores(fit) and same_table(s.fit, fit)), None)
        rows.append(
            {
                "law": fit.law, "id": f"fit-{i}", "formula": fit.entry.formula, "used": f"{fit.rows['used']:,}",
                "table": words.table_name(fit), "free": sum(not e.fixed for e in fit.params.values()),
                "mape": words.percent(fit.metrics.mape), "warnings": len(fit.warnings),
                "held_out": words.percent(scored.metrics.mape) if scored else "-",
                "coverage": words.percent(scored.coverage) if scored else "-",
            }
        )  # fmt: skip
    return rows


def _section(fit: Fit, i: int, predictions: Predictions | None, measured: Mapping[str, Any] | None) -> dict[str, Any]:
    """All that the page says of one fit."""
    where = curves.abscissa(fit)
    return {
        "id": f"fit-{i}",
        "law": fit.law,
        "title": fit.entry.title,
        "formula": f"{fit.target} = {fit.entry.formula}",
        "source": fit.entry.source,
        "about": fit.entry.notes,
        "kind": where.kind,
        "axis": words.label(where.name, fit.inputs.get(where.name)),
        "convention": _convention(fit) if where.kind == "frontier" else "",
        "loss": _figure(plot.loss_against_compute(fit, predictions, measured)),
        "residuals": _figure(plot.residuals(fit)),
        "members": _members(fit),
        "alone": [_sentence(line) for line in members.alone(fit)],
        "params": _parameters(fit),
        "level": words.percent(fit.bootstrap.get("level", 0.95)),
        "published": _published(fit),
        "names": list(fit.entry.names),
        "fitted": [words.number(e.value, 5) for e in fit.params.values()],
        "fitted_error": words.percent(fit.metrics.mape),
        "rows": words.rows(fit.rows),
        "runs": _runs(fit),
        "dropped": [(words.clean(why), f"{n:,}") for why, n in (fit.rows.get("dropped") or {}).items()],
        "inputs": _inputs(fit),
        "notes": [words.clean(note) for note in fit.notes],
        "error": tight(_error(fit)),
        "account": _account(fit),
        "intervals": tight(_intervals(fit)),
    }


def _figure(svg: str) -> Any:
    from markupsafe import Markup

    return Markup(svg)


def _convention(fit: Fit) -> str:
    """A sentence where the table's own compute is not 6ND, which the figure is drawn against."""
    if "flops" not in fit.points:
        return ""
    own = np.asarray(fit.points["flops"], dtype=float)
    share = own / six_nd(np.asarray(fit.points["params"], dtype=float), np.asarray(fit.points["tokens"], dtype=float))
    low, high = np.quantile(share, [0.05, 0.95])
    if low > 0.95 and high < 1.05:
        return ""
    return f"The table's own compute is {low:.2g} to {high:.2g} times 6·N·D (middle 90 % of the rows)."


def _parameters(fit: Fit) -> list[dict[str, str]]:
    rows = []
    for param in fit.entry.params:
        e = fit.params[param.name]
        ci = "held by --fix" if e.fixed else words.ends(e.ci)
        rows.append(
            {
                "name": param.name, "value": words.number(e.value), "se": "-" if e.fixed else words.number(e.se, 3),
                "ci": ci, "unit": e.unit, "meaning": param.meaning,
            }
        )  # fmt: skip
    return rows


def _members(fit: Fit) -> dict[str, Any] | None:
    """What stands in the place of the parameters where the fit is a blend of laws."""
    if not members.blended(fit):
        return None
    return {
        "rows": members.rows(fit),
        "baselines": members.baselines(fit),
        "why": [f"{_sentence(said)}." for said in members.why(fit)],
        "laws": members.formulas(fit),
    }


def _sentence(said: str) -> str:
    return tight(said[0].upper() + said[1:])


def _account(fit: Fit) -> list[str]:
    if members.blended(fit):
        return [words.objective(fit), members.starts(fit), members.draws(fit)]
    return [words.objective(fit), words.starts(fit), words.bootstrap(fit)]


def _published(fit: Fit) -> list[dict[str, Any]]:
    """Published coefficients of the same law beside the fit, with their error on the very same rows."""
    x, y = curves.inputs_of(fit), curves.target_of(fit)
    rows = []
    for key, found in fit.entry.published.items():
        error = "-"
        if set(found.values) == set(fit.entry.names):
            with np.errstate(all="ignore"):
                predicted = np.asarray(fit.entry.predict(x, **found.values), dtype=float)
                error = words.percent(metrics(predicted, y).mape)
        values = [words.number(found.values.get(name), 5) for name in fit.entry.names]
        rows.append({"key": key, "values": values, "error": error, "source": found.source, "note": found.note})
    return rows


def _runs(fit: Fit) -> str:
    runs = fit.rows.get("runs")
    if fit.bootstrap["resample"] == "blocks":
        return "The rows are of one run's curve; blocks of neighbours are resampled."
    if not runs or runs == fit.rows["used"]:
        return "Every row is a run of its own."
    return f"The rows belong to {words.plural(int(runs), 'run')}; rows of one run are resampled together."


def _inputs(fit: Fit) -> list[dict[str, str]]:
    rows = []
    for name, about in fit.inputs.items():
        reach = words.reach(name, about["min"], about["max"]) if "min" in about else "-"
        column = words.clean(about.get("column") or name)
        rows.append({"name": name, "column": column, "counts": words.clean(about.get("counts", "")), "range": reach})
    return rows


def _error(fit: Fit) -> str:
    m, unit = fit.metrics, words.unit_of(fit.target)
    unit = f" {unit}" if unit else ""
    return (
        f"On the rows it was fitted to, the law is {words.percent(m.mape)} off on average (MAE {m.mae:.3g}{unit}, RMSE "
        f"{m.rmse:.3g}{unit}, bias {m.bias:+.2g}{unit}, R² {words.number(m.r2, 4)})."
    )


def _intervals(fit: Fit) -> str:
    """How this fit's intervals are made, with its own numbers."""
    if members.blended(fit) or fit.posterior is not None:
        return f"{_sentence(members.intervals(fit))}."
    log = fit.objective.on == "log"
    sd, drift = (words.percent(v) if log else words.number(v, 3) for v in (fit.noise.sd, fit.noise.drift))
    boot = int(fit.bootstrap.get("n") or 0)
    could = not boot or fit.bootstrap["resample"] in words.REFITS
    missing = "no bootstrap was made" if fit.intervals["method"] == "bootstrap" else "there are no draws"
    missing = missing if could else "the runs are too few to resample"
    doubt = (
        f"the parameters' ({words.refits(fit.bootstrap)})"
        if boot and could
        else f"the parameters' ({len(fit.draws):,} draws by {fit.intervals['method']})"
        if len(fit.draws) > 1
        else f"the parameters' (left out here: {missing}, so intervals are too narrow)"
    )
    rests = f"the largest of {words.plural(fit.noise.cuts, 'inner backtest')}" if fit.noise.cuts else "the default"
    return (
        f"An interval holds three kinds of doubt: {doubt}; the noise of one run (residual spread {sd}); and the law's "
        f"own error outside its data, a standard error of {drift} for each factor e beyond the fitted range ({rests}, "
        "and never less than public tables show). The interval of a parameter holds the first alone."
    )


def _backtest(found: Backtest) -> dict[str, Any]:
    split = found.split
    by = str(split["by"])
    return {
        "figure": _figure(plot.backtest(found)),
        "by": words.clean(by),
        "above": words.amount(by, float(split["test_above"])),
        "table": words.table_name(found.laws[0].fit),
        "level": words.percent(found.laws[0].level),
        "laws": [_scored(scored) for scored in found.laws],
        "baselines": [
            (words.clean(name), words.percent(m.mape), words.number(m.mae, 3), f"{m.bias:+.3g}", words.number(m.r2, 3))
            for name, m in members.to_beat(found).items()
        ],
        "rows": words.rows(found.rows),
        "left_out": [(words.clean(why), f"{n:,}") for why, n in split.get("left_out", {}).items()],
        "failed": [(name, words.clean(why)) for name, why in found.failed.items()],
        "sentence": tight(words.held_out(found.laws[0], by)),
    }


def _scored(scored: Scored) -> dict[str, str]:
    m = scored.metrics
    return {
        "law": words.asked(scored), "train": f"{scored.train:,}", "test": f"{scored.test:,}",
        "mape": words.percent(m.mape), "mae": words.number(m.mae, 3), "bias": f"{m.bias:+.3g}",
        "r2": words.number(m.r2, 3),
        "coverage": words.percent(scored.coverage), "width": words.percent(scored.width),
    }  # fmt: skip


def _reproduce(fits: Sequence[Fit]) -> list[dict[str, Any]]:
    return [
        {
            "law": fit.law,
            "command": words.clean(fit.made_by.get("command", "")),
            "version": words.clean(fit.made_by.get("version", "")),
            "python": words.clean(fit.made_by.get("python", "")),
            "inputs": [(words.clean(n), words.clean(sha)) for n, sha in fit.made_by.get("inputs", {}).items()],
            "seed": fit.seed,
            "objective": words.objective(fit),
        }
        for fit in fits
    ]


def _record(fits: Sequence[Fit]) -> dict[str, Any]:
    """What made this page: the inputs are those of its fits."""
    inputs = {str(name): str(sha) for fit in fits for name, sha in fit.made_by.get("inputs", {}).items()}
    return {"seed": [fit.seed for fit in fits], "made_by": plain(made_by(**inputs))}
