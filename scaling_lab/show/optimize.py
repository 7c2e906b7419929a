"""The best schedules, losses under schedules and the share to anneal in, as plain text for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..decide.gains import LAW_SD, PUBLISHED, PUBLISHED_SHARES, SEED_SD
from ..quantities import format_quantity
from . import words
from .schedules import rate
from .terminal import prose, table

if TYPE_CHECKING:
    from ..decide.curve_cost import CurveCost
    from ..decide.gains import Bias, Gain, Losses
    from ..decide.optimize import Best, Optimum, Shares


def losses(found: Losses) -> str:
    """The loss of each schedule and how much lower it is than the first's, with the bias of such differences."""
    level = words.percent(found.level)
    steps = {entry.step for entry in found.each}
    body = [
        (
            entry.label,
            *([f"{entry.step:,}"] if len(steps) > 1 else []),
            f"{entry.loss:.4f}",
            words.span(entry.low, entry.high),
            *_gain(entry.gain),
        )
        for entry in found.each
    ]
    apart = len(steps) > 1
    heads = (
        "schedule",
        *["at step"] * apart,
        "loss",
        f"{level} interval",
        "by the law",
        "likely gain",
        f"{level} interval",
    )
    place = "the last steps" if apart else f"step {found.each[0].step:,}"
    head = prose(f"losses at {place} by {found.law}; gains are over {found.first}, in nats/token")
    return f"{head}\n\n{table(heads, body, 'l' + 'r' * apart + 'rlrrl')}\n\n{bias(found.bias)}"


def _gain(gain: Gain | None) -> tuple[str, str, str]:
    if gain is None:
        return ("-", "-", "-")
    return (f"{gain.raw:.4f}", f"{gain.expected:.4f}", f"{gain.low:.4f} to {gain.high:.4f}")


def bias(found: Bias) -> str:
    """What is known of how much of predicted differences comes true."""
    low, high = 1 / max(PUBLISHED_SHARES), 1 / min(PUBLISHED_SHARES)
    lines = [
        "known bias: laws of loss curves overstate what one schedule wins over another. Published predictions were "
        f"{low:.1f} to {high:.1f} times what was measured ({len(PUBLISHED)} sizes, arXiv:2503.12811)"
    ]
    if found.measured is not None:
        counted = found.counted
        # A fit that never saw one of the two curves predicts the difference at a step that both have.
        said = "; ".join(
            f"{pair.run} less {pair.against} at step {pair.step:,}: predicted {pair.predicted:.4f}, measured "
            f"{pair.measured:.4f}"
            for pair in counted
        )
        times = f", {1 / found.measured:.2g} times what was measured" if found.measured > 0 else ""
        came = f"{words.percent(found.measured)} of the predicted came true{times}"
        lines.append(f"here, each schedule left out in turn: {said}; {came}")
        if any(not pair.alike for pair in counted):
            lines.append("those are of a rate that falls against one that does not, which is easier to foretell")
    else:
        lines.append("here no pair of curves tells it: the published predictions alone are used")
    lines += [f"left out in vain: {why}" for why in found.unused]
    lines.append(
        f"likely gains are {found.share:.2f} of those by the law; intervals hold the spread of that share (sd "
        f"{found.sd:.2f}), the law's parameters, and how wrong laws are of small differences too (sd {LAW_SD:g} nats)"
    )
    return prose(*lines)


def optimum(found: Optimum) -> str:
    """The best member of each family and the free form, with the bias of what they win."""
    head = prose(
        f"best schedules of {found.total:,} steps by {found.law}; gains are over {found.against}, which ends at "
        f"{found.against_loss:.4f}",
        "; ".join(found.constraints),
    )
    body = [_row(best) for best in found.best]
    body += [_row(best) for best in (found.free, found.steep) if best is not None]
    level = words.percent(found.level)
    heads = ("schedule", "decays in", "last / peak", "loss", "gain by the law", "likely gain", f"{level} interval")
    parts = [head, table(heads, body, "lrrrrrl")]
    parts.append(prose(f"{found.best[0].schedule} is the best of the families", *_about_free(found)))
    return "\n\n".join([*parts, bias(found.bias)])


def _row(best: Best) -> tuple[str, ...]:
    made = best.schedule
    decays = f"{words.percent(made.decay)}" if made.decay else "-"
    own = ", ".join(f"{key} {value:.3g}" for key, value in made.settings)
    ends = f" ({', '.join(best.edges)} at an end)" if best.edges else ""
    label = f"{best.family}{f' ({own})' if own else ''}{ends}"
    return (label, decays, f"{best.last_rate:.3g}", f"{best.loss:.4f}", *_gain(best.gain))


def _about_free(found: Optimum) -> list[str]:
    free = found.free
    if free is None or free.off is None or free.gap is None:
        return []
    lines = [
        f"{free.like} is nearest to the free form, {words.percent(free.off)} of the peak off (root mean square); the "
        f"free form wins {found.best[0].loss - free.loss:.4f} nats more than the best family by the law, and no small "
        f"change of it wins more than {free.gap:.1g}"
    ]
    if found.steep is not None:
        lines.append(
            f"a staircase of sudden falls ends {free.loss - found.steep.loss:.4f} nats lower still by the law, which "
            "credits a fall by the rate after it"
        )
    return lines


def shares(found: Shares) -> str:
    """The best share to anneal in at each length, with the losses of no annealing and of a cosine."""
    head = prose(
        f"best share of the steps after the warm-up to anneal in, by {found.law}: {found.family}, peak "
        f"{rate(found.peak)}, down to {words.percent(found.floor)} of it, warm-up of {found.warmup_steps:,} steps"
    )
    body = [
        (
            format_quantity(one.total),
            words.percent(one.share),
            f"{one.decay_steps:,}",
            f"{words.percent(one.low)} to {words.percent(one.high)}",
            f"{one.loss:.4f}",
            f"{one.cosine:.4f}",
            f"{one.constant:.4f}",
        )
        for one in found.each
    ]
    heads = ("steps", "best share", "in steps", f"within {SEED_SD:g} nats", "loss", "cosine", "constant")
    lines = []
    if found.crossover is not None:
        lines.append(f"from {found.crossover:,} steps on the cosine ends below the constant rate")
    else:
        first = found.each[0]
        below = "below" if first.cosine < first.constant else "above"
        lines.append(f"the cosine ends {below} the constant rate at all of these lengths")
    return f"{head}\n\n{table(heads, body, 'rrrlrrr')}\n\n{prose(*lines)}\n\n{bias(found.bias)}"


def cost(found: CurveCost) -> str:
    """The steps of the three ways to place points, side by side."""
    lengths = f"{format_quantity(found.horizons[0])} to {format_quantity(found.horizons[-1])} steps"
    count = len(found.horizons)
    head = prose(f"to know the loss at {words.plural(count, 'length')} of a run, {lengths}")
    each = " and ".join(format_quantity(value) for value in found.fitted)
    body = [
        ("a cosine run for each", format_quantity(found.runs), "100 %"),
        (
            f"one constant run, a decay of {words.percent(found.decay)} for each",
            format_quantity(found.reuse),
            words.percent(found.reuse / found.runs),
        ),
        (
            f"curves of {each} steps, fitted by a law",
            format_quantity(found.curves),
            words.percent(found.curves / found.runs),
        ),
    ]
    return f"{head}\n\n{table(('way', 'steps', 'of the first'), body, 'lrr')}"
