"""Results as plain text for a terminal: aligned tables that fold on narrow ones, without colour or drawing marks."""

from __future__ import annotations

import math
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..quantities import SHARE_PREFIX, format_quantity, quantity
from . import members, words

if TYPE_CHECKING:
    from ..decide.allocate import Allocation, Quantile
    from ..decide.isoflop import Envelope, IsoFlop, PowerLaw
    from ..decide.refits import Choice
    from ..decide.sensitivity import Sensitivity
    from ..engine.backtest import Backtest
    from ..engine.partial import PartialPrediction
    from ..engine.predict import Predictions
    from ..engine.result import Fit, Notice
    from ..laws import Law, Param

# A column of prose is folded down to this width before a table is turned into records.
LEAST_PROSE = 24


def width() -> int:
    """The columns to write for: $COLUMNS, else the terminal's, else 120 where stdout is a file or a pipe."""
    if os.environ.get("COLUMNS", "").isdigit() or sys.stdout.isatty():
        return max(20, shutil.get_terminal_size().columns)
    return 120


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], align: str, columns: int | None = None) -> str:
    """An aligned table; `align` has l, r or p (prose, may be folded) for each column.

    Where it is wider than `columns` (default: the terminal), prose is folded, and if that is not enough each row
    becomes a record of `header: cell` lines.
    """
    columns = columns or width()
    cells = [[words.clean(cell) for cell in row] for row in rows]
    wide = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    over = sum(wide) + 2 * (len(wide) - 1) - columns
    if over > 0 and "p" in align:
        at = align.index("p")
        fold = max(LEAST_PROSE, wide[at] - over)
        over -= wide[at] - fold
        wide[at] = fold
    if over > 0:
        return _records(headers, cells, columns, named=align[0] != "l")
    return "\n".join(line for row in [list(headers), *cells] for line in _folded(row, wide, align))


def _folded(row: Sequence[str], wide: Sequence[int], align: str) -> list[str]:
    parts = [textwrap.wrap(c, w) or [""] if a == "p" else [c] for c, w, a in zip(row, wide, align, strict=True)]
    lines = []
    for i in range(max(map(len, parts))):
        line = [p[i] if i < len(p) else "" for p in parts]
        done = [c.rjust(w) if a == "r" else c.ljust(w) for c, w, a in zip(line, wide, align, strict=True)]
        lines.append("  ".join(done).rstrip())
    return lines


def _records(headers: Sequence[str], cells: Sequence[Sequence[str]], columns: int, *, named: bool) -> str:
    blocks = []
    for row in cells:
        # A number says nothing without the name of its column; a law or a parameter does.
        lines = [f"{headers[0]}: {row[0]}" if named else row[0]]
        for header, cell in zip(headers[1:], row[1:], strict=True):
            if cell:
                lines += textwrap.wrap(f"{header}: {cell}", columns, initial_indent="  ", subsequent_indent="    ")
        blocks.append("\n".join(lines))
    return "\n".join(blocks)


def prose(*sentences: str) -> str:
    """Sentences, each folded to the terminal's width with what follows its first line set in."""
    columns = width()
    return "\n".join(
        "\n".join(textwrap.wrap(words.clean(s), columns, subsequent_indent="  ", break_long_words=False))
        for s in sentences
    )


# --------------------------------------------------------------------------------------------------------------- fit


def fit(found: Fit) -> str:
    """A fit in full: rows, parameters, how well it fits, what the intervals rest on."""
    m = found.metrics
    unit = words.unit_of(found.target)
    noise = words.percent(found.noise.sd) if found.objective.on == "log" else words.number(found.noise.sd, 3)
    head = f"{found.law}: {found.target} = {found.entry.formula}"
    error = (
        f"error on these rows: {words.percent(m.mape)} on average (MAE {m.mae:.3g}, RMSE {m.rmse:.3g}"
        f"{f' {unit}' if unit else ''}, R2 {words.number(m.r2, 4)}); spread of the residuals {noise}"
    )
    top = prose(head, *members.alone(found), words.rows(found.rows), *inputs(found))
    if members.blended(found):
        end = prose(members.intervals(found), error, members.starts(found), members.draws(found), _IN_FILE)
        return f"{top}\n\n{chosen(found)}\n\n{end}"
    end = prose(error, *words.lent(found), words.objective(found), words.starts(found), words.bootstrap(found))
    return f"{top}\n\n{parameters(found)}\n\n{end}"


_IN_FILE = "the parameters of every member, with their intervals, are in FIT.json (--out) and in --json"


def chosen(found: Fit) -> str:
    """The members of a blend, best first, the baselines they were measured against, and where the weights come from."""
    heads = ("law", "variant", "error held out", "weight")
    beside = members.baselines(found)
    other = f"\n\n{table(('to beat', 'error held out'), beside, 'lr')}" if beside else ""
    return f"{table(heads, members.rows(found), 'lprr')}{other}\n\n{prose(*members.why(found))}"


def inputs(found: Fit) -> list[str]:
    """A line for each input: its column, what it counts, its range."""
    from ..accounting import DERIVED

    lines = []
    for name, about in found.inputs.items():
        column = about.get("column") or name
        made = name in DERIVED and column == DERIVED[name][1]
        source = "" if column == name else f" as {column}" if made else f" from column {column!r}"
        counts = f", counting {about['counts']}" if about.get("counts") else ""
        reach = f": {words.reach(name, about['min'], about['max'])}" if "min" in about else ""
        lines.append(f"{name}{source}{counts}{reach}")
    return lines


def parameters(found: Fit) -> str:
    """The parameter table: value, standard error, interval, unit, meaning."""
    level = words.percent(found.bootstrap.get("level", 0.95))
    rows = []
    for param in found.entry.params:
        e = found.params[param.name]
        ci = "held by --fix" if e.fixed else words.ends(e.ci)
        se = "-" if e.fixed else words.number(e.se, 3)
        rows.append((param.name, words.number(e.value), se, ci, e.unit, param.meaning))
    return table(("parameter", "value", "se", f"{level} interval", "unit", "meaning"), rows, "lrrllp")


def rows(account: Mapping[str, Any]) -> str:
    """How many rows were used, and what became of the others."""
    return words.rows(account)


def starts(found: Fit) -> str:
    """Two lines: the starts, and the bootstrap."""
    return prose(words.starts(found), words.bootstrap(found))


def notices(found: Iterable[Notice]) -> str:
    """A line for each notice: warning SL201: what it says."""
    return "\n".join(f"{n.severity} {n.code}: {words.clean(n.message)}" for n in found)


# ------------------------------------------------------------------------------------------------ predict, backtest


def predictions(found: Predictions) -> str:
    """A row for each point: inputs, the prediction, its interval, how far outside the data."""
    names = list(found.inputs)
    interval = f"{words.percent(found.level)} interval"
    body = []
    for i in range(len(found.value)):
        low, high = float(found.low[i]), float(found.high[i])
        where = [format_quantity(float(found.inputs[name][i])) for name in names]
        value = words.fixed(float(found.value[i]), low, high)
        body.append((*where, value, words.span(low, high), _beyond(found.outside[i])))
    return table((*names, found.target, interval, "beyond the data"), body, "r" * (len(names) + 1) + "ll")


def _beyond(factors: Mapping[str, float]) -> str:
    ordered = sorted(factors.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {factor:.3g}x" for name, factor in ordered) or "inside"


def partial(found: PartialPrediction) -> str:
    """The prediction that uses the run's own curve, and what the law and the curve say of it, each alone."""
    level = f"{words.percent(found.combined.level)} interval"
    both = (float(found.combined.value[0]), (float(found.combined.low[0]), float(found.combined.high[0])), "")
    parts = [("the law", found.law), ("its own curve", found.run)]
    lines = [(name, p.value, p.interval, words.percent(p.weight)) for name, p in parts] + [("both", *both)]
    body = [(name, words.fixed(value, *ends), words.span(*ends), weight) for name, value, ends, weight in lines]
    seen = (
        f"run {found.run_id!r} has seen {format_quantity(found.tokens_seen)} tokens, "
        f"{words.percent(found.fraction)} of the point's; its loss there is {words.number(found.loss_seen, 5)}"
    )
    forms = [form for form in found.gap.forms if form.weight >= 0.05] or list(found.gap.forms[:1])
    rest = (
        f"the rest is learnt from {words.plural(len(found.finished), 'finished run')}: "
        f"{words.percent(1 - math.exp(found.gap.value))} less, with an error of {words.percent(found.gap.sd)}, by "
        + ", ".join(f"{form.name} (weight {words.percent(form.weight)})" for form in forms)
    )
    shown = table(("by", found.combined.target, level, "weight"), body, "lrlr")
    return f"{predictions(found.combined)}\n\n{shown}\n\n{prose(seen, rest)}"


def backtest(found: Backtest) -> str:
    """The laws side by side on the held-out rows, best first, with the split and what was left out."""
    from ..engine.metrics import band

    split = found.split
    edge = words.exponent(split["test_above"], 4)
    head = [
        f"fitted below {split['by']} = {edge}, scored above; {words.rows(found.rows)}",
        *(f"left out: {n:,} {why}" for why, n in split.get("left_out", {}).items()),
    ]
    level = words.percent(found.laws[0].level)
    headers = ("law", "train", "test", "MAPE", "band", "MAE", "bias", "R2", "rank", f"in {level} interval", "width")
    body = [
        (
            words.asked(s), f"{s.train:,}", f"{s.test:,}", words.percent(s.metrics.mape), band(s.metrics.mape),
            words.number(s.metrics.mae, 3), f"{s.metrics.bias:+.3g}", words.number(s.metrics.r2, 3),
            words.number(s.metrics.spearman, 3), words.percent(s.coverage), words.percent(s.width),
        )
        for s in found.laws
    ]  # fmt: skip
    failed = [f"not fitted: {name}: {why}" for name, why in found.failed.items()]
    beside = [(n, words.percent(m.mape), words.number(m.mae, 3)) for n, m in members.to_beat(found).items()]
    foot = f"\n\n{table(('to beat', 'MAPE', 'MAE'), beside, 'lrr')}" if beside else ""
    foot += f"\n\n{prose(*failed)}" if failed else ""
    return f"{prose(*head)}\n\n{table(headers, body, 'lrrrlrrrrrr')}{foot}"


# ------------------------------------------------------------------------------------------------------------ decide


def allocation(found: Allocation, *, rules: bool = False) -> str:
    """The best split of a budget with intervals, the sizes that do nearly as well, and what `rules` of thumb would."""
    from ..decide.allocate import NEAR

    level = f"{words.percent(found.level)} interval"
    further = list(found.further.items()) + ([("epochs", found.epochs)] if found.epochs else [])
    body = [
        (label, format_quantity(q.value), _ends(q))
        for label, q in (
            (_SIZES.get(found.size, found.size), found.params),
            (found.data, found.tokens),
            *further,
            (f"{found.data} per parameter", found.tokens_per_param),
        )
    ]
    if found.target_loss is not None:
        body.insert(0, ("compute (FLOP)", words.exponent(found.flops.value), _ends(found.flops)))
    low, high = found.loss.ci
    body.append((words.clean(found.target), words.fixed(found.loss.value, low, high), words.span(low, high)))
    served = f" with {format_quantity(found.inference_tokens)} tokens served" if found.inference_tokens else ""
    held = "".join(f", {name} held at {format_quantity(value)}" for name, value in found.given.items())
    aim = (
        f"{words.exponent(found.flops.value, 4)} FLOP"
        if found.target_loss is None
        else f"a {words.clean(found.target)} of {found.target_loss:g}"
    )
    small, large = found.near_optimal_params
    sizes = f"{format_quantity(small)} to {format_quantity(large)}"
    near = f"sizes from {sizes} parameters lose less than {words.percent(NEAR)}"
    head = prose(f"best split by {found.law} for {aim}{served}{held}")
    thumb = [
        f"by rule of thumb, {r.name}: {format_quantity(r.params)} parameters on {format_quantity(r.tokens)} tokens, "
        f"{words.clean(found.target)} {words.fixed(r.loss, low, high)}"
        for r in (found.references if rules else ())
    ]
    best = f"{near} of the {words.clean(found.target)}; the best one lies {words.outside(found.outside)}"
    return f"{head}\n\n{table(('', 'best', level), body, 'lrl')}\n\n{prose(best, *thumb)}"


# Which parameters a split is of, where it is not all of them by the law's own word.
_SIZES = {
    "params": "parameters",
    "params_average": "average parameters",
    "params_nonvocab": "non-vocabulary parameters",
}


def _ends(q: Quantile) -> str:
    if not q.ci:
        return "-"
    low, high = (format_quantity(e) if math.isfinite(e) else "no bound" for e in q.ci)
    return f"{low} to {high}"


def isoflop(found: IsoFlop) -> str:
    """The minimum of each budget, and the power laws through them by each method."""
    body = []
    for p in found.profiles:
        best = (_count(p.minimum_params), _count(p.minimum_tokens), words.number(p.minimum_loss, 5))
        body.append((words.exponent(p.flops), len(p.params), *best, p.status))
    heads = ("budget (FLOP)", "runs", f"best params by {found.method}", "tokens", "loss", "minimum")
    minima = table(heads, body, "rrrrrp")
    methods = [(f"params by {found.method}", found.params), (f"tokens by {found.method}", found.tokens)]
    failed = []
    for method, laws in found.others.items():
        if isinstance(laws, str):
            failed.append(f"{method}: {laws}")
        else:
            methods += [(f"{name} by {method}", law) for name, law in laws.items()]
    foot = f"\n\n{prose(*failed)}" if failed else ""
    return f"{prose(words.rows(found.rows))}\n\n{minima}\n\n{_power_laws(methods)}{foot}"


def envelope(found: Envelope) -> str:
    """The power laws through the envelope's sizes and tokens, and how much of it was used."""
    used = f"{int(found.used.sum()):,} of {len(found.used):,} places along compute used; at the others the smallest"
    head = prose(words.rows(found.rows), f"{used} or the largest size wins, which says nothing of the best size")
    return f"{head}\n\n{_power_laws([('params', found.params_law), ('tokens', found.tokens_law)])}"


def _power_laws(found: Sequence[tuple[str, PowerLaw]]) -> str:
    body = [
        (
            label, f"{p.exponent:.4f}", f"{p.ci[0]:.4f} to {p.ci[1]:.4f}" if p.ci else "-", f"{p.coefficient:.4g}",
            words.number(p.r2, 4), p.n,
        )
        for label, p in found
    ]  # fmt: skip
    level = words.percent(found[0][1].level)
    return table(("best", "exponent of compute", f"{level} interval", "coefficient", "R2", "points"), body, "lrlrrr")


def _count(value: float | None) -> str:
    return "-" if value is None else format_quantity(value)


def sensitivity(found: Sensitivity) -> str:
    """The range of the decision over every other way to make the fit, then those ways, worst first."""
    shown, rest = found.shown()
    tail = [*_others(found, rest), *(_faulty(found, choice) for choice in found.faulty)]
    tail += [f"{choice.name}: {choice.note}" for choice in shown if choice.note not in ("", found.base.note)]
    tail += [f"no answer {choice.name}: {choice.why}" for choice in found.failed]
    head = prose(*_decided(found), *_ranges(found))
    return "\n\n".join([head, _choices(found, [found.base, *shown]), *([prose(*tail, *found.notes)] if tail else [])])


def _decided(found: Sensitivity) -> list[str]:
    place = ", ".join(words.amount(name, value) for name, value in found.at.items())
    count = words.plural(len(found.choices), "other choice")
    lines = [f"sensitivity of the decision at {place} ({found.how}): {count}, each changed alone"]
    if found.base.note:
        lines.append(f"the fit as asked for: {found.base.note}")
    return lines


_DECIDED = {"params": "parameters", "tokens": "tokens", "tokens_per_param": "tokens per parameter", "loss": "loss"}


def _ranges(found: Sensitivity) -> list[str]:
    """A line for each quantity decided, with its range and, where known, the bootstrap's interval."""
    lines = []
    for name, label in _DECIDED.items():
        ends = found.range(name)
        if ends is None:
            continue
        write = _loss if name == "loss" else format_quantity
        label = words.clean(found.target) if name == "loss" else label
        line = f"{label}: {write(ends[0])} to {write(ends[1])}, {write(getattr(found.base.decision, name))} as asked"
        if name == found.measure and found.interval is not None:
            low, high = (write(end) for end in found.interval)
            line += (
                f"; the bootstrap's {words.percent(found.level)} interval is {low} to {high}, and {found.outside:,} of "
                f"{words.plural(len(found.choices), 'choice')} {'lies' if found.outside == 1 else 'lie'} outside it"
            )
        lines.append(line)
    return lines


def _loss(value: float) -> str:
    return words.number(value, 5)


def _choices(found: Sensitivity, shown: Sequence[Choice]) -> str:
    base = found.base.decision
    body: list[tuple[str, ...]] = []
    loss = words.clean(found.target)
    for choice in shown:
        d = choice.decision
        end = (_loss(d.loss), "" if choice is found.base else f"{round(d.loss - base.loss, 4) + 0.0:+.4f}")
        if d.params is None or d.tokens is None or d.tokens_per_param is None or base.tokens_per_param is None:
            body.append((choice.name, f"{choice.rows:,}", *end))
            continue
        times = "" if choice is found.base else f"x {d.tokens_per_param / base.tokens_per_param:.3g}"
        split = (format_quantity(d.params), format_quantity(d.tokens), format_quantity(d.tokens_per_param), times)
        body.append((choice.name, f"{choice.rows:,}", *split, *end))
    if base.params is None:
        return table(("choice", "rows", loss, "change"), body, "prrr")
    return table(("choice", "rows", "params", "tokens", "D/N", "change", loss, "change"), body, "prrrrrrr")


def _others(found: Sensitivity, rest: Sequence[Choice]) -> list[str]:
    """A line for the runs left out that the table has no room for."""
    if not rest:
        return []
    values = [getattr(choice.decision, found.measure) for choice in rest]
    write = _loss if found.measure == "loss" else format_quantity
    unsettled = sum(bool(choice.note) for choice in rest)
    more = f"; {unsettled:,} of these refits did not settle" if unsettled else ""
    runs = f"each of the other {len(rest):,} runs" if len(rest) > 1 else "the other run"
    measure = words.clean(found.target) if found.measure == "loss" else _DECIDED[found.measure]
    return [f"without {runs}: {measure} {write(min(values))} to {write(max(values))}{more}"]


def _faulty(found: Sensitivity, choice: Choice) -> str:
    value = getattr(choice.decision, found.measure)
    measure = words.clean(found.target) if found.measure == "loss" else _DECIDED[found.measure]
    write = _loss if found.measure == "loss" else format_quantity
    return f"in no range, for it is no optimum: {choice.name}: {measure} {write(value)} ({choice.note})"


# -------------------------------------------------------------------------------------------------------------- laws


def laws(found: Iterable[Law]) -> str:
    """The catalogue: name, inputs and title of each law, family by family."""
    from ..laws.base import FAMILIES

    rows, family = [], ""
    for law in sorted(found, key=lambda law: FAMILIES.index(law.family)):
        if law.family != family:
            rows.append((f"[{law.family}]", "", ""))
        rows.append((law.name, _inputs(law), law.title))
        family = law.family
    return table(("law", "inputs", "title"), rows, "llp")


def _inputs(law: Law) -> str:
    """What a law takes, in words: a law of shares takes as many as a table has."""
    shares = any(name.startswith(SHARE_PREFIX) for name in law.inputs) and law.shares
    own = [name for name in law.inputs if not (shares and name.startswith(SHARE_PREFIX))]
    return ", ".join([*own, *([f"{SHARE_PREFIX}NAME, ..."] if shares else [])])


def bounds(param: Param) -> str:
    """What a parameter may be, in words."""
    low, high = param.limits
    return {"positive": "above 0", "negative": "below 0", "real": "none", "between": f"{low:g} to {high:g}"}[
        param.domain
    ]


def law(found: Law) -> str:
    """One law in full: formula, source, inputs, parameters, published coefficients, notes."""
    also = f" (also {', '.join(found.aliases)})" if found.aliases else ""
    head = prose(f"{found.name}{also}: {found.title}", f"{found.target} = {found.formula}", f"source: {found.source}")
    known = [quantity(name) for name in found.inputs]
    what = prose(*(f"{q.name} ({q.unit}): {q.meaning}" for q in known))
    params = table(
        ("parameter", "unit", "bounds", "start range", "meaning"),
        [(p.name, p.unit, bounds(p), f"{p.start[0]:g} to {p.start[1]:g}", p.meaning) for p in found.params],
        "llllp",
    )
    blocks = [head, what, params]
    if found.published:
        names = [p.name for p in found.params]
        rows = [(key, *(f"{row.values.get(n, math.nan):g}" for n in names)) for key, row in found.published.items()]
        blocks.append(table(("published", *names), rows, "l" + "r" * len(names)))
        blocks.append(
            prose(*(f"{k}: {r.source}{f' ({r.note})' if r.note else ''}" for k, r in found.published.items()))
        )
    if found.rules:
        blocks.append(prose(f"Refused where {', or '.join(rule.says for rule in found.rules)}."))
    if found.delta is not None:
        blocks.append(prose(f"Fitted with a Huber width (--delta) of {found.delta:g} unless another is given."))
    blocks += [prose(text) for text in (found.identifiability, found.notes) if text]
    if found.over is not None:
        of = f"{SHARE_PREFIX}code,{SHARE_PREFIX}web" if found.shares else "flops"
        blocks.append(prose(f"Of other inputs: {found.name}@{of}."))
    return "\n\n".join(blocks)
