"""Learning rates, batches and what carries them over, as plain text for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..decide.hparams import times
from ..quantities import format_quantity
from . import words
from .terminal import prose, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..decide.hparams import Answer, Beyond, Hparams, Recommended, Spread
    from ..decide.lr_moves import BatchMove, HorizonMove, LrSweep
    from ..decide.mup import MupTransfer, TensorRule

_SHORT = {
    "tokens_per_param": "tokens/param",
    "flops": "C",
    "tokens": "D",
    "from_tokens": "from tokens",
    "to_tokens": "to tokens",
}


def rate(value: float) -> str:
    """A learning rate to three digits: 9.17e-4, 0.01."""
    return f"{value:.3g}" if value >= 0.01 else f"{value:.2e}".replace("e-0", "e-")


def batch_size(value: float) -> str:
    """A batch in full below a million, else to three digits."""
    return f"{value:,.0f}" if value < 1e6 else format_quantity(value)


def hparams(found: Hparams) -> str:
    """Every rule's rate and batch, where it is outside its range, the spread, and what each was fitted on."""
    length = found.request.sequence
    head = prose(f"peak learning rate and batch for {_asked(found)}")
    body = [
        (
            each.name,
            _lr(each),
            _batch(each.batch),
            _sequences(each.batch, length),
            each.counts or "-",
            beyond(each.outside, unknown=each.rule is not None and each.rule.secondary),
        )
        for each in found.rules
    ]
    heads = ("rule", "peak LR", "batch (tokens)", f"seqs of {length:,.0f}", "N counts", "outside its range")
    about = [(each.name, "; ".join(t for t in (each.fitted, each.note) if t)) for each in found.rules]
    return "\n\n".join(
        [
            head,
            table(heads, body, "lrrrlp"),
            table(("rule", "fitted on; what to know"), about, "lp"),
            prose(*_between(found)),
        ]
    )


def _asked(found: Hparams) -> str:
    """The request in a phrase: 7B parameters, 1.4T tokens, loss 2.2."""
    known = found.request.known
    parts = [words.amount(n, known[n].value) for n in ("params", "tokens") if n in known]
    if "flops" in known:
        parts.append(f"{words.exponent(known['flops'].value, 3)} FLOP ({known['flops'].source})")
    if "loss" in known:
        parts.append(f"a loss of {known['loss'].value:g}")
    if "batch_tokens" in known:
        parts.append(f"a batch of {format_quantity(known['batch_tokens'].value)} tokens")
    return ", ".join(parts) or ", ".join(words.amount(n, k.value) for n, k in known.items())


def _lr(each: Recommended) -> str:
    answer = each.lr
    if answer is None:
        return "-"
    marks = []
    if each.rule is not None and each.rule.mup:
        marks.append("muP base")
    if answer.value is not None and answer.why:
        marks.append(answer.why)
    return _value(answer, rate, marks)


def _batch(answer: Answer | None) -> str:
    if answer is None:
        return "-"
    return _value(answer, format_quantity, ["critical"] if answer.kind == "critical" else [])


def _value(answer: Answer, write: object, marks: Sequence[str]) -> str:
    """The value with its interval and marks, or what it needs, or why there is none."""
    assert callable(write)
    if answer.value is None:
        # The first way to give each; JSON has the others.
        needs = " and ".join(need.partition(",")[0] for need in answer.needs)
        return f"needs {needs}" if needs else answer.why.partition(":")[0]
    ends = f" ({write(answer.ci[0])} to {write(answer.ci[1])})" if answer.ci else ""
    said = f" ({', '.join(marks)})" if marks else ""
    return f"{write(answer.value)}{ends}{said}"


def _sequences(answer: Answer | None, length: float) -> str:
    return "-" if answer is None or answer.value is None else batch_size(answer.value / length)


def beyond(found: Sequence[Beyond], *, unknown: bool = False) -> str:
    """Each quantity outside the range, and by what factor; a dash inside it."""
    if unknown:
        return "range not known"
    parts = []
    for each in found:
        name = "N" if each.name.startswith("params") else _SHORT.get(each.name, each.name.replace("_", " "))
        edge = words.exponent(each.edge) if each.name == "flops" else format_quantity(each.edge)
        factor = times(each.factor).removesuffix(" times")
        parts.append(f"{name} {factor}x {'above' if each.above else 'below'} {edge}")
    return ", ".join(parts) or "-"


def _between(found: Hparams) -> list[str]:
    """The spread, the plateau, and what makes the rules differ."""
    said = [
        _spread("peak learning rates", found.lr_spread, rate),
        _spread("batches", found.batch_spread, lambda value: f"{format_quantity(value)} tokens"),
    ]
    plateau = found.plateau
    lr, batch = (" to ".join(f"{end:g}" for end in ends) for ends in (plateau.lr, plateau.batch))
    said.append(
        f"plateau: within {words.percent(plateau.loss)} of the lowest loss the LR may move {lr} times and the batch "
        f"{batch} times in all, the other at its best ({plateau.source}, its 17 grids)"
    )
    losses = [
        f"{each.name} {words.percent(each.rule.regret[0])} ({words.percent(each.rule.regret[1])})"
        for each in found.rules
        if each.rule is not None and each.rule.regret
    ]
    if losses:
        said.append(
            f"loss above the best cell of those grids, nearest cell to the rule, mean (worst): {', '.join(losses)}"
        )
    return [text for text in said if text]


def _spread(what: str, spread: Spread | None, write: object) -> str:
    assert callable(write)
    if spread is None:
        return ""
    low, high = spread.low, spread.high
    return (
        f"spread of {spread.count} {what}: {write(low[1])} ({low[0]}) to {write(high[1])} ({high[0]}), "
        f"{spread.ratio:.3g} times; none is averaged (muP rates, critical batches and second-hand rules left out)"
    )


# ------------------------------------------------------------------------------------------------------ carried over


def horizon(found: HorizonMove) -> str:
    """The rate at the other horizon, the rule and its range."""
    ends = f" ({words.percent(found.level)} interval {rate(found.ci[0])} to {rate(found.ci[1])})" if found.ci else ""
    return prose(
        f"peak LR {rate(found.lr)} at {format_quantity(found.from_tokens)} tokens becomes {rate(found.value)}{ends} at "
        f"{format_quantity(found.to_tokens)} tokens: {found.value / found.lr:.3g} times",
        f"lr * (from/to)**{found.exponent:.3g}, at the same size and batch; {found.source}",
        f"fitted on {found.fitted}",
        f"outside its range: {beyond(found.outside)}",
        "Step Law's rate rises with tokens instead, because its batch grows with them; at a batch that is already too "
        "large for its tokens the best rate may rise too",
    )


def rescale(found: BatchMove) -> str:
    """The rate at the other batch by each rule."""
    unit = f" {found.unit}" if found.unit else ""
    rows = [
        ("linear", "SGD, batches far below the noise scale", rate(found.linear)),
        ("square root", "Adam, batches far below the noise scale", rate(found.root)),
    ]
    if found.by_noise is not None:
        rows.append(("noise scale", "SGD: lr / (1 + B_noise/B), arXiv:1812.06162", rate(found.by_noise)))
    head = prose(
        f"peak LR {rate(found.lr)} at a batch of {batch_size(found.from_batch)}{unit}, carried to "
        f"{batch_size(found.to_batch)}{unit}"
    )
    known = "" if found.noise_scale is not None else "give --noise-scale for the form that levels off; "
    tail = prose(
        f"{known}for Adam a secondary text has a rate that peaks at a batch of the noise scale (arXiv:2405.14578): not "
        "verified, so no number is given"
    )
    return f"{head}\n\n{table(('rule', 'for', 'peak LR'), rows, 'llr')}\n\n{tail}"


def mup(found: MupTransfer) -> str:
    """The transfer table for each optimizer, attention, branches, and what carries over."""
    from ..decide.mup import CARRIES, DOES_NOT, MUP_SOURCE, OPTIMIZERS

    parts = [
        prose(
            f"muP: from width {found.from_width:g} to {found.to_width:g}, multiplier m = {found.width_multiplier:g}; "
            "factors of the values tuned at the first width"
        )
    ]
    heads = ("", "init std", "LR", *(("LR here",) if found.lr else ()), "multiplier", "coupled decay", "")
    for optimizer in OPTIMIZERS:
        body = [_tensor(rule, found.lr) for rule in found.rules if rule.optimizer == optimizer]
        named = (optimizer.upper() if optimizer == "sgd" else "Adam, AdamW", *heads[1:])
        parts.append(table(named, body, f"l{'r' * (len(heads) - 2)}p"))
    said = ["attention logits are q.k/d of heads of d channels, not q.k/sqrt(d): q.k*sqrt(d_base)/d agrees at the base"]
    if found.attention is not None:
        said[-1] += f", here q.k * {found.attention:.4g}"
    if found.residual is not None:
        said.append(
            f"residual branches x {found.residual:.4g} (1/sqrt(depth)), without which depth does not carry over"
        )
    else:
        said.append("depth does not carry over, unless branches are scaled by 1/sqrt(depth) (--from-depth, --to-depth)")
    said.append(f"carries over: {CARRIES}; does not: {DOES_NOT}")
    return "\n\n".join([*parts, prose(*said, MUP_SOURCE)])


def _tensor(rule: TensorRule, lr: float | None) -> tuple[str, ...]:
    start = "zero" if rule.init_std == 0 else f"x {rule.init_std:.4g}"
    here = (rate(lr * rule.lr),) if lr else ()
    return (
        rule.tensor,
        start,
        f"x {rule.lr:.4g}",
        *here,
        f"x {rule.multiplier:.4g}",
        f"x {rule.weight_decay:.4g}",
        rule.note,
    )


def lr_sweep(found: LrSweep) -> str:
    """The optimum at each size and tokens, those left out, and the fitted law."""
    from . import terminal

    body = [
        (
            format_quantity(each.params),
            format_quantity(each.tokens),
            rate(each.lr_max),
            rate(each.best_tried),
            words.number(each.loss, 5),
            str(each.rates),
        )
        for each in found.optima
    ]
    body += [
        (format_quantity(each["params"]), format_quantity(each["tokens"]), "-", "-", str(each["why"]), "")
        for each in found.left_out
    ]
    heads = ("params", "tokens", "best LR", "best tried", "loss there", "rates")
    batch = "" if found.batch is None else f" at a batch of {batch_size(found.batch)}"
    head = prose(f"best learning rates{batch}: lowest point of a parabola of loss in ln lr")
    return f"{head}\n\n{table(heads, body, 'rrrrlr')}\n\n{terminal.fit(found.fit)}"
