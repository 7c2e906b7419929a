"""Peak learning rate and batch size for a model and its tokens, by each published rule and by fits of one's own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..accounting import six_nd, tokens_per_param
from ..engine.predict import interval, predict
from ..engine.result import Fit, Notice
from ..errors import UsageError, nearest
from ..laws import LAWS
from ..laws.hpsurface import HP_SURFACE
from ..laws.hyper import (
    PLATEAU,
    POWER_SEQUENCE,
    RULES,
    HyperRule,
    Plateau,
    Setting,
    deepseek_flops_per_token,
    get_rule,
)
from ..quantities import QUANTITIES, format_quantity, quantity
from .steplaw import optimum_of

Floats = NDArray[np.float64]
SCHEMA = "scaling-lab/hparams/1"
# Tokens of the sequences that a batch is also counted in, where --seq-len says nothing: those of Step Law.
SEQUENCE = 2048
TARGETS = {"lr_max": "lr", "batch_tokens": "batch"}

# The counts of N that --params-count takes, by what they are called there.
COUNTS = {
    "total": "params",
    "nonvocab": "params_nonvocab",
    "nonembed": "params_nonembed",
    "nonembed-head": "params_nonembed_head",
}
# What gives a quantity that a rule asks for and that was not given.
_GIVE = {
    "params": "--params",
    "tokens": "--tokens",
    "loss": "--loss",
    "flops": "--flops, or --params and --tokens",
    "batch_sequences": "--batch-tokens",
    **{column: f"--params, or --params-count {word}=NUMBER" for word, column in COUNTS.items() if word != "total"},
}


@dataclass(frozen=True)
class Known:
    """A quantity of the request: its value, what it was taken from, and whether that only stands in for it."""

    value: float
    source: str
    stands_in: bool = False


@dataclass(frozen=True)
class Request:
    """What is to be trained: the quantities given, and those that follow from them, by column."""

    known: Mapping[str, Known]
    seq_len: float | None = None
    flops_per_token: float | None = None

    @property
    def sequence(self) -> float:
        """Tokens of the sequences that batches are shown in."""
        return self.seq_len or SEQUENCE

    def for_fits(self) -> Request:
        """The request with its batch in the sequences of one's own table, which only --seq-len says the length of."""
        known = {name: each for name, each in self.known.items() if name != "batch_sequences"}
        if self.seq_len is not None and "batch_tokens" in known:
            batch = known["batch_tokens"]
            known["batch_sequences"] = Known(batch.value / self.seq_len, f"{batch.source} / --seq-len")
        return replace(self, known=known)

    def values(self, names: Sequence[str]) -> dict[str, float]:
        """The values of those of the names that are known."""
        return {name: self.known[name].value for name in names if name in self.known}

    def at_tokens(self, tokens: float) -> Request:
        """The same model and batch on another number of tokens; no loss is known there."""
        known = {name: each for name, each in self.known.items() if name != "loss"}
        known["tokens"] = Known(tokens, "the figure's axis")
        if self.flops_per_token is not None:
            known["flops"] = replace(known["flops"], value=self.flops_per_token * tokens)
        return replace(self, known=known)


@dataclass(frozen=True)
class Answer:
    """A rule's learning rate, or its batch in tokens; no value where it `needs` what was not given, or says `why` not.

    `ci` is the interval of a fit's own value, empty for a published one. A `critical` batch is no optimum.
    """

    law: str
    value: float | None = None
    ci: tuple[float, ...] = ()
    needs: tuple[str, ...] = ()
    why: str = ""
    kind: Literal["optimal", "critical"] = "optimal"

    def to_dict(self) -> dict[str, Any]:
        """JSON of the answer."""
        return {**vars(self), "ci": list(self.ci) or None, "needs": list(self.needs)}


@dataclass(frozen=True)
class Beyond:
    """By what factor a quantity lies beyond an edge of the range that a rule was fitted on."""

    name: str
    factor: float
    edge: float
    above: bool


def beyond(name: str, value: float, low: float | None, high: float | None) -> tuple[Beyond, ...]:
    """The edge of a range (None: open) that a value lies beyond; none inside it."""
    if high is not None and value > high * (1 + 1e-9):
        return (Beyond(name, value / high, high, above=True),)
    if low is not None and value < low * (1 - 1e-9):
        return (Beyond(name, low / value, low, above=False),)
    return ()


@dataclass(frozen=True)
class Recommended:
    """What one rule says, with its conventions (`counts`: what its N is); `rule` is None for fits of one's own.

    `taken` are the quantities of the request that it was computed from, `outside` those beyond its range.
    """

    name: str
    title: str
    source: str
    lr: Answer | None
    batch: Answer | None
    taken: Mapping[str, Known]
    outside: tuple[Beyond, ...]
    counts: str = ""
    fitted: str = ""
    note: str = ""
    rule: HyperRule | None = None

    def comparable(self, which: str) -> bool:
        """Whether its `lr` or `batch` enters the spread: published, read in a primary text, no base rate of muP."""
        return self.rule is not None and not (self.rule.secondary or (which == "lr" and self.rule.mup))

    def to_dict(self, seq_len: float) -> dict[str, Any]:
        """JSON of the rule; batches in tokens and in sequences of `seq_len` tokens."""
        batch = self.batch.to_dict() if self.batch else None
        if batch is not None:
            batch["unit"] = "tokens"
            batch["sequences"] = None if batch["value"] is None else batch["value"] / seq_len
        return {
            "rule": self.name,
            "title": self.title,
            "source": self.source,
            "origin": "fit" if self.rule is None else "published",
            "lr": self.lr.to_dict() if self.lr else None,
            "batch_tokens": batch,
            "counts": self.counts or None,
            "taken": {name: vars(each) for name, each in self.taken.items()},
            "outside": {each.name: each.factor for each in self.outside},
            "fitted": self.fitted,
            "note": self.note,
            "in_spread": {which: self.comparable(which) for which in ("lr", "batch")},
            **_standing(self.rule),
        }


def _standing(rule: HyperRule | None) -> dict[str, Any]:
    """What a script needs of a published rule beyond its numbers."""
    if rule is None:
        return {"mup": None, "secondary": False, "relative": False, "regret": None}
    regret = dict(zip(("mean", "max"), rule.regret, strict=True)) if rule.regret else None
    return {"mup": rule.mup, "secondary": rule.secondary, "relative": rule.relative, "regret": regret}


@dataclass(frozen=True)
class Spread:
    """The lowest and the highest of the comparable rules' values, by rule."""

    low: tuple[str, float]
    high: tuple[str, float]
    count: int

    @property
    def ratio(self) -> float:
        """Highest over lowest."""
        return self.high[1] / self.low[1]

    def to_dict(self) -> dict[str, Any]:
        """JSON of the spread."""
        ends = {end: dict(zip(("rule", "value"), getattr(self, end), strict=True)) for end in ("low", "high")}
        return {**ends, "ratio": self.ratio, "rules": self.count}


@dataclass(frozen=True)
class Hparams:
    """What every rule says of a request, and how far they are apart."""

    request: Request
    rules: tuple[Recommended, ...]
    lr_spread: Spread | None
    batch_spread: Spread | None
    level: float
    warnings: tuple[Notice, ...] = ()
    plateau: Plateau = PLATEAU

    def to_dict(self) -> dict[str, Any]:
        """JSON of the whole."""
        known = {name: vars(each) for name, each in self.request.known.items()}
        return {
            "schema": SCHEMA,
            "request": {**known, "seq_len": self.request.sequence},
            "rules": [each.to_dict(self.request.sequence) for each in self.rules],
            "spread": {
                "lr": self.lr_spread.to_dict() if self.lr_spread else None,
                "batch_tokens": self.batch_spread.to_dict() if self.batch_spread else None,
            },
            "plateau": vars(self.plateau),
            "level": self.level,
            "warnings": [vars(notice) for notice in self.warnings],
        }


def hparams(
    params: float | None = None,
    tokens: float | None = None,
    *,
    laws: Sequence[str] = (),
    counts: Mapping[str, float] | None = None,
    vocab_size: float | None = None,
    width: float | None = None,
    depth: float | None = None,
    tied: bool = True,
    seq_len: float | None = None,
    batch_tokens: float | None = None,
    batch_sequences: float | None = None,
    loss: float | None = None,
    flops: float | None = None,
    fits: Sequence[Fit] = (),
    level: float = 0.9,
) -> Hparams:
    """Peak learning rate and batch by each rule of `laws` (default: all), and by fits of `lr_max` or `batch_tokens`.

    `params` counts everything; other counts come by `counts` (total, nonvocab, nonembed, nonembed-head), or follow from
    `vocab_size` and `width`. A rule that needs what was not given says so. Nothing is averaged. Raises UsageError where
    a number is none, or the batch is given in two units that disagree.
    """
    if not 0 < level < 1:
        raise UsageError(f"--level {level:g} is not between 0 and 1")
    chosen = list(dict.fromkeys(get_rule(name).name for name in laws)) or list(RULES)
    request = requested(
        params,
        tokens,
        counts=counts or {},
        vocab_size=vocab_size,
        width=width,
        depth=depth,
        tied=tied,
        seq_len=seq_len,
        batch_tokens=batch_tokens,
        batch_sequences=batch_sequences,
        loss=loss,
        flops=flops,
    )
    own, told = _of_fits(fits, request.for_fits(), level)
    rules = (*(recommend(RULES[name], request) for name in chosen), *own)
    spreads = [spread(rules, which) for which in ("lr", "batch")]
    notices = (*told, *_warnings(rules, request, spreads[0]))
    return Hparams(request, rules, spreads[0], spreads[1], level, notices)


# ---------------------------------------------------------------------------------------------------------- the request


def requested(
    params: float | None,
    tokens: float | None,
    *,
    counts: Mapping[str, float],
    vocab_size: float | None,
    width: float | None,
    depth: float | None,
    tied: bool,
    seq_len: float | None,
    batch_tokens: float | None,
    batch_sequences: float | None,
    loss: float | None,
    flops: float | None,
) -> Request:
    """The request with all that follows from what was given; raises UsageError where a number is none."""
    given = {
        "--params": params,
        "--tokens": tokens,
        "--vocab-size": vocab_size,
        "--width": width,
        "--depth": depth,
        "--seq-len": seq_len,
        "--batch-tokens": batch_tokens,
        "--batch-sequences": batch_sequences,
        "--loss": loss,
        "--flops": flops,
        **{f"--params-count {name}": value for name, value in counts.items()},
    }
    for option, value in given.items():
        if value is not None and not (math.isfinite(value) and value > 0):
            raise UsageError(f"{option} {value:g} is not a number above zero")
        if value is not None and value < 1 and option != "--loss":
            raise UsageError(f"{option} {value:g} counts less than one")
    _check_shape(vocab_size, width, depth, tied, flops)
    known = _sizes(params, counts, vocab_size, width, tied)
    _check_counts(known)
    if tokens is not None:
        known["tokens"] = Known(tokens, "--tokens")
    if loss is not None:
        known["loss"] = Known(loss, "--loss")
    batch = _batch(batch_tokens, batch_sequences, seq_len)
    if batch is not None:
        if tokens is not None and batch.value > tokens:
            raise UsageError(
                f"a batch of {format_quantity(batch.value)} tokens is more than all {format_quantity(tokens)}"
            )
        known["batch_tokens"] = batch
        known["batch_sequences"] = Known(batch.value / POWER_SEQUENCE, f"{batch.source}, sequences of 4,096 tokens")
    compute = _compute(known, flops, width, depth, seq_len)
    if compute is not None:
        known["flops"] = compute
    if not known:
        raise UsageError("give what is to be trained: --params 7B --tokens 1.4T (or --loss, --flops for some rules)")
    per_token = known["flops"].value / tokens if tokens is not None and "flops" in known else None
    return Request(known, seq_len, per_token)


def _check_shape(
    vocab_size: float | None, width: float | None, depth: float | None, tied: bool, flops: float | None
) -> None:
    """Refuses what would be left unused."""
    if width is not None and vocab_size is None and depth is None:
        raise UsageError("--width says nothing alone: give --vocab-size for other counts, or --depth and --seq-len")
    if not tied and vocab_size is None:
        raise UsageError("--untied is for the matrices of --vocab-size: give that and --width with it")
    if depth is not None and flops is not None:
        raise UsageError("--depth and --flops both say the compute; give one of them")


def _check_counts(known: Mapping[str, Known]) -> None:
    """Refuses a part of the parameters that is larger than the whole."""
    words = {column: word for word, column in COUNTS.items()}
    said = {name: each.value for name, each in known.items() if not each.stands_in}
    wholes = [(part, "params") for part in COUNTS.values() if part != "params"]
    for part, whole in (*wholes, ("params_nonembed", "params_nonembed_head")):
        if part in said and whole in said and said[part] > said[whole] * (1 + 1e-9):
            raise UsageError(
                f"{format_quantity(said[part])} parameters ({words[part]}) are more than the "
                f"{format_quantity(said[whole])} ({words[whole]}) that they are part of"
            )


def _sizes(
    params: float | None, counts: Mapping[str, float], vocab_size: float | None, width: float | None, tied: bool
) -> dict[str, Known]:
    """Every count of N: as given, or from all parameters less the vocabulary matrices, or all standing in for it.

    Assumes: no learned positions, so that what is no vocabulary is no embedding either.
    """
    known: dict[str, Known] = {}
    for name, value in counts.items():
        column = COUNTS.get(name, name)
        if column not in COUNTS.values():
            raise UsageError(f"--params-count {name}: no such count; {nearest(name, COUNTS)}")
        known[column] = Known(value, f"--params-count {name}")
    if params is not None:
        if "params" in known:
            raise UsageError("--params and --params-count total are one number; give one of them")
        known["params"] = Known(params, "--params")
    if vocab_size is not None and (width is None or "params" not in known):
        raise UsageError("--vocab-size takes the vocabulary matrices off --params: give --params and --width with it")
    if "params" not in known:
        return known
    total = known["params"].value
    if vocab_size is None or width is None:
        for column in COUNTS.values():
            known.setdefault(column, Known(total, known["params"].source, stands_in=True))
        return known
    matrix = vocab_size * width
    body = total - matrix * (1 if tied else 2)
    if body <= 0:
        raise UsageError(
            f"a vocabulary of {vocab_size:g} at width {width:g} has {format_quantity(total - body)} parameters, no "
            f"fewer than the {format_quantity(total)} of --params"
        )
    how = f"--params less {'one matrix' if tied else 'two matrices'} of {vocab_size:g} x {width:g}"
    known.setdefault("params_nonvocab", Known(body, how))
    known.setdefault("params_nonembed", Known(body, how))
    known.setdefault("params_nonembed_head", Known(body + matrix, f"{how}, with the head"))
    return known


def _batch(tokens: float | None, sequences: float | None, seq_len: float | None) -> Known | None:
    """The batch in tokens; raises UsageError where its two units disagree, or the sequences have no length."""
    if sequences is None:
        return None if tokens is None else Known(tokens, "--batch-tokens")
    if seq_len is None:
        raise UsageError("--batch-sequences counts sequences: give --seq-len, how many tokens each has")
    product = sequences * seq_len
    if tokens is not None and not math.isclose(tokens, product, rel_tol=1e-6):
        raise UsageError(
            f"--batch-tokens {tokens:g} is not --batch-sequences {sequences:g} of --seq-len {seq_len:g} tokens, "
            f"{product:g}: give one of the two"
        )
    return Known(product, "--batch-sequences x --seq-len")


def _compute(
    known: Mapping[str, Known], flops: float | None, width: float | None, depth: float | None, seq_len: float | None
) -> Known | None:
    """Training compute: as given, DeepSeek's M * tokens where the shape is, or 6 * params * tokens standing in."""
    if flops is not None:
        return Known(flops, "--flops")
    if "tokens" not in known:
        return None
    tokens = known["tokens"].value
    if width is not None and depth is not None and seq_len is not None:
        m = deepseek_flops_per_token(width, depth, seq_len)
        return Known(m * tokens, "(72*depth*width^2 + 12*depth*width*seq_len) * tokens")
    if depth is not None:
        raise UsageError("--depth is for the compute that DeepSeek counts: give --width and --seq-len with it")
    if "params" not in known:
        return None
    compute = float(six_nd(known["params"].value, tokens))
    if not math.isfinite(compute):
        raise UsageError("6*params*tokens is beyond every number; give smaller --params or --tokens")
    return Known(compute, "6*params*tokens", stands_in=True)


# ---------------------------------------------------------------------------------------------------------- one rule


def recommend(rule: HyperRule, request: Request) -> Recommended:
    """What one published rule says of a request."""
    lr, batch = (_answer(rule, setting, request) if setting else None for setting in (rule.lr, rule.batch))
    inputs = [name for answer in (lr, batch) if answer and answer.law for name in LAWS[answer.law].inputs]
    taken = {name: request.known[name] for name in dict.fromkeys(inputs) if name in request.known}
    return Recommended(
        name=rule.name,
        title=rule.title,
        source=rule.source,
        lr=lr,
        batch=batch,
        taken=taken,
        outside=outside(rule, request),
        counts=QUANTITIES[rule.counts].counts if rule.counts else "",
        fitted=rule.fitted,
        note=rule.note,
        rule=rule,
    )


def _answer(rule: HyperRule, setting: Setting, request: Request) -> Answer:
    """A rule's value by its law's coefficients; the first thing that stands against one is said instead."""
    if setting.constant is not None:
        return Answer("", setting.constant, kind=setting.kind)
    law = LAWS[setting.law]
    if rule.relative:
        return Answer(law.name, why="relative: give --lr, --from-tokens and --to-tokens")
    values = dict(setting.read or (law.published[setting.row].values if setting.row else {}))
    if not values:
        return Answer(
            law.name,
            why=f"needs a fit: the authors give no constants; fit {law.name}, give it with --fit",
            kind=setting.kind,
        )
    lacking = [name for name in law.inputs if name not in request.known]
    if lacking:
        return Answer(law.name, needs=needed(lacking, request), kind=setting.kind)
    value = float(law.predict({n: np.array([v]) for n, v in request.values(law.inputs).items()}, **values)[0])
    if not (math.isfinite(value) and value > 0):
        return Answer(law.name, why=f"the law gives {value:.2g} there, which is none", kind=setting.kind)
    if setting.most is not None and value > setting.most:
        return Answer(law.name, setting.most, why=f"held there; the law says {value:.3g}", kind=setting.kind)
    return Answer(law.name, value, kind=setting.kind)


def needed(lacking: Sequence[str], request: Request) -> tuple[str, ...]:
    """The options that would give the inputs that the request lacks."""
    length = ["--seq-len"] if "batch_sequences" in lacking and "batch_tokens" in request.known else []
    return (*(_GIVE.get(name, name) for name in lacking if not (length and name == "batch_sequences")), *length)


def outside(rule: HyperRule, request: Request) -> tuple[Beyond, ...]:
    """Where the request lies outside the range that a rule was fitted on, of what is known of it.

    Tokens for each parameter are those of the count that the rule takes.
    """
    found: list[Beyond] = []
    for name, (low, high) in rule.within.items():
        value = request.values([name]).get(name)
        if name == "tokens_per_param":
            size, data = (request.values([column]).get(column) for column in (rule.counts, "tokens"))
            value = float(tokens_per_param(size, data)) if size is not None and data is not None else None
        found += () if value is None else beyond(name, value, low, high)
    return tuple(found)


# ---------------------------------------------------------------------------------------------- fits of one's own


def _of_fits(fits: Sequence[Fit], request: Request, level: float) -> tuple[tuple[Recommended, ...], tuple[Notice, ...]]:
    """What fits of one's own say, and what they are to be told with."""
    laws = [fit.law for fit in fits]
    for fit in fits:
        if fit.target not in TARGETS and fit.law != HP_SURFACE.name:
            raise UsageError(
                f"the fit of {fit.law} is of {fit.target}; --fit takes fits of {' or '.join(TARGETS)}, as hp:step-law, "
                f"or of {HP_SURFACE.name}"
            )
        if laws.count(fit.law) > 1:
            raise UsageError(f"two fits of {fit.law} are given with --fit; give one")
    found, notices = [], []
    for base in dict.fromkeys(name.removesuffix("-batch") for name in laws):
        of_base = [fit for fit in fits if fit.law.removesuffix("-batch") == base]
        own, told = (_bottom if base == HP_SURFACE.name else partial(_row, base))(of_base, request, level)
        found.append(own)
        notices += told
    return tuple(found), tuple(notices)


def _row(base: str, fits: Sequence[Fit], request: Request, level: float) -> tuple[Recommended, list[Notice]]:
    """What the fits of one rule's two laws say, as one row."""
    answers: dict[str, Answer] = {}
    taken: dict[str, Known] = {}
    outside: dict[str, Beyond] = {}
    notices, rows = [], []
    for fit in fits:
        point = _point(fit, request)
        answers[TARGETS[fit.target]], told, edges = _own(fit, point, request, level)
        taken |= point
        outside |= {each.name: each for each in edges}
        notices += [Notice(n.code, n.severity, f"your fit of {fit.law}: {n.message}") for n in told]
        tables = " and ".join(PurePath(name).name for name in fit.made_by.get("inputs", {}))
        rows.append(f"{fit.target} on {fit.rows['used']} rows of {tables or 'your table'}")
    sizes = [fit.inputs[n].get("counts") for fit in fits for n in fit.entry.inputs if quantity(n).counts]
    own = Recommended(
        name=f"your {base}",
        title=f"your fit of {base}",
        source=fits[0].entry.source,
        lr=answers.get("lr"),
        batch=answers.get("batch"),
        taken=taken,
        outside=tuple(outside.values()),
        counts=str(sizes[0]) if sizes else "",
        fitted="; ".join(rows),
        note=f"in brackets {100 * level:g} % intervals of the law itself, without the scatter of measured optima",
    )
    return own, notices


def _bottom(fits: Sequence[Fit], request: Request, level: float) -> tuple[Recommended, list[Notice]]:
    """Where the fitted surface of the loss over rate and batch is lowest at the request's size and tokens."""
    (fit,) = fits
    point = {name: known for name, known in _point(fit, request).items() if name in ("params", "tokens")}
    lacking = [_column(fit, name) for name in ("params", "tokens") if name not in point]
    answers = [Answer(fit.law, needs=needed(lacking, request))] * 2
    notices: list[Notice] = []
    outside: tuple[Beyond, ...] = ()
    if not lacking:
        at = {name: known.value for name, known in point.items()}
        best = optimum_of(fit, at["params"], at["tokens"], level)
        answers = [Answer(fit.law, each.value, each.ci) for each in (best.lr_max, best.batch_tokens)]
        notices = [Notice(n.code, n.severity, f"your fit of {fit.law}: {n.message}") for n in best.warnings]
        outside = _outside_fit(fit, at)
    tables = " and ".join(PurePath(name).name for name in fit.made_by.get("inputs", {}))
    own = Recommended(
        name=f"your {fit.law}",
        title=f"your fit of {fit.law}",
        source=fit.entry.source,
        lr=answers[0],
        batch=answers[1],
        taken=point,
        outside=outside,
        counts=str(fit.inputs["params"].get("counts") or ""),
        fitted=f"{fit.rows['used']} rows of {tables or 'your table'}",
    )
    return own, notices


def _point(fit: Fit, request: Request) -> dict[str, Known]:
    """The inputs of a fit that the request has; a size as the column counts it that the fit was made from."""
    columns = {name: _column(fit, name) for name in fit.entry.inputs}
    return {name: request.known[column] for name, column in columns.items() if column in request.known}


def _column(fit: Fit, name: str) -> str:
    """The quantity that an input of a fit stands for: of a size, the count that the fitted column has."""
    column = str(fit.inputs[name].get("column"))
    return column if quantity(name).counts and column in COUNTS.values() else name


def _own(
    fit: Fit, point: Mapping[str, Known], request: Request, level: float
) -> tuple[Answer, tuple[Notice, ...], tuple[Beyond, ...]]:
    """A fit's value with its interval, its warnings, and how far the request lies beyond its rows.

    The interval is the law's own, for what is asked is where the optimum lies, and not where a further grid would be
    read to have it (`predict` says that).
    """
    if len(point) < len(fit.entry.inputs):
        lacking = [_column(fit, name) for name in fit.entry.inputs if name not in point]
        return Answer(fit.law, needs=needed(lacking, request)), (), ()
    at = {name: known.value for name, known in point.items()}
    found, edges = predict(fit, [at], level), _outside_fit(fit, at)
    low, high = interval(fit, {name: np.array([v]) for name, v in at.items()}, level, noise=False)
    value, ends = float(found.value[0]), (float(low[0]), float(high[0]))
    if value <= 0:
        return Answer(fit.law, why=f"the fit gives {value:.2g} there, which is none"), found.warnings, edges
    return Answer(fit.law, value, ends), found.warnings, edges


def _outside_fit(fit: Fit, at: Mapping[str, float]) -> tuple[Beyond, ...]:
    """Where a point lies outside the rows of a fit."""
    found = []
    for name, factor in fit.outside(at).items():
        above = at[name] > fit.inputs[name]["max"]
        found.append(Beyond(name, factor, float(fit.inputs[name]["max" if above else "min"]), above))
    return tuple(found)


# ------------------------------------------------------------------------------------------------- between the rules


def spread(rules: Sequence[Recommended], which: str) -> Spread | None:
    """Lowest and highest of the comparable rules' optima of `lr` or `batch`; None where fewer than two have one."""
    answers = [(each.name, getattr(each, which)) for each in rules if each.comparable(which)]
    values = [(name, a.value) for name, a in answers if a is not None and a.value is not None and a.kind == "optimal"]
    if len(values) < 2:
        return None
    return Spread(min(values, key=lambda v: v[1]), max(values, key=lambda v: v[1]), len(values))


def _warnings(rules: Sequence[Recommended], request: Request, lr: Spread | None) -> tuple[Notice, ...]:
    return (*_stand_ins(rules), *_out_of_range(rules), *_apart(lr), *_other_batch(rules, request))


def _valued(rules: Sequence[Recommended]) -> list[Recommended]:
    """The rules that gave a learning rate or a batch."""
    return [e for e in rules if any(a is not None and a.value is not None for a in (e.lr, e.batch))]


def _stand_ins(rules: Sequence[Recommended]) -> tuple[Notice, ...]:
    """A warning where all parameters, or 6ND, stand in for what a rule counts."""
    taken: dict[str, list[str]] = {}
    for each in _valued(rules):
        for name, known in each.taken.items():
            if known.stands_in:
                taken.setdefault(f"{known.source} for {QUANTITIES[name].counts or name}", []).append(each.name)
    if not taken:
        return ()
    parts = "; ".join(f"{what} ({', '.join(names)})" for what, names in taken.items())
    fix = "give --params-count, or --vocab-size and --width; --flops for compute"
    return (Notice("SL455", "info", f"taken for what the rules count: {parts}. {fix}"),)


def _out_of_range(rules: Sequence[Recommended]) -> tuple[Notice, ...]:
    found = [each for each in _valued(rules) if each.outside and each.rule is not None]
    if not found:
        return ()
    parts = ", ".join(f"{e.name} (by up to {times(max(b.factor for b in e.outside))})" for e in found)
    return (Notice("SL456", "warning", f"outside the range that the rule was fitted on: {parts}"),)


def times(factor: float) -> str:
    """A factor as people say it: 6.12 times, 2,940 times."""
    return f"{factor:,.0f} times" if 100 <= factor < 1e7 else f"{factor:.3g} times"


def _apart(lr: Spread | None) -> tuple[Notice, ...]:
    widest = PLATEAU.lr[1]
    if lr is None or lr.ratio <= widest:
        return ()
    message = (
        f"the rules' peak learning rates lie {lr.ratio:.3g} times apart ({lr.low[0]} to {lr.high[0]}), more than the "
        f"{widest:g} times within which nothing much is lost; their batches, schedules and ranges differ, so none is "
        "averaged: take the rule whose recipe is yours, and try a few rates about it"
    )
    return (Notice("SL457", "warning", message),)


def _other_batch(rules: Sequence[Recommended], request: Request) -> tuple[Notice, ...]:
    """A warning where the batch to be trained with is not the one that a rule's learning rate goes with."""
    batch = request.known.get("batch_tokens")
    if batch is None:
        return ()
    found = []
    for each in rules:
        own = each.batch.value if each.batch and each.batch.kind == "optimal" else None
        if own is not None and each.comparable("lr") and each.lr is not None and each.lr.value is not None:
            factor = max(own / batch.value, batch.value / own)
            if factor > PLATEAU.batch[1]:
                found.append(f"{each.name} ({format_quantity(own)} tokens, {factor:.3g} times)")
    if not found:
        return ()
    message = (
        f"the batch of {format_quantity(batch.value)} tokens is far from the one that a rule's learning rate goes "
        f"with: {', '.join(found)}; carry the rate over with --lr, --from-batch and --to-batch"
    )
    return (Notice("SL458", "warning", message),)


# -------------------------------------------------------------------------------------------------------- for a figure


@dataclass(frozen=True)
class RuleCurve:
    """A rule's learning rate and batch along tokens (n,), NaN where it has none, and where it is in its range (n,)."""

    name: str
    tokens: Floats
    lr: Floats
    batch: Floats
    inside: NDArray[np.bool_]
    rule: HyperRule | None


def along_tokens(found: Hparams, fits: Sequence[Fit] = (), points: int = 61) -> tuple[RuleCurve, ...]:
    """Every rule that has a value there, over tokens from a thirtieth to thirty times those asked for.

    Raises UsageError where no tokens were given.
    """
    if "tokens" not in found.request.known:
        raise UsageError("the figure is drawn along tokens: give --tokens")
    at = found.request.known["tokens"].value
    tokens = np.geomspace(at / 30, at * 30, points)
    requests = [found.request.at_tokens(float(t)) for t in tokens]
    rows: dict[str, list[Recommended]] = {e.name: [] for e in found.rules}
    for request in requests:
        for each in found.rules:
            if each.rule is not None:
                rows[each.name].append(recommend(each.rule, request))
        for own in _of_fits(fits, request.for_fits(), found.level)[0]:
            rows[own.name].append(own)
    curves = [
        RuleCurve(
            each.name,
            tokens,
            np.array([_value(row.lr) for row in rows[each.name]]),
            np.array([_value(row.batch) for row in rows[each.name]]),
            np.array([not row.outside for row in rows[each.name]]),
            each.rule,
        )
        for each in found.rules
        if rows[each.name]
    ]
    return tuple(c for c in curves if np.isfinite(c.lr).any() or np.isfinite(c.batch).any())


def _value(answer: Answer | None) -> float:
    return math.nan if answer is None or answer.value is None else answer.value
