"""hparams: peak learning rate and batch by every rule, and what carries them to other tokens, batches and widths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from .common import (
    DropBadOption,
    FailOnOption,
    JsonOption,
    LevelOption,
    MapOption,
    ParamsColumnOption,
    SeedOption,
    WhereOption,
    check_apart,
    fail_on,
    named_numbers,
    number_option,
    own_warnings,
    pairs,
    show,
    show_json,
    warn,
)

if TYPE_CHECKING:
    from ..decide.hparams import Hparams
    from ..engine.result import Fit, Notice

# What each question is asked with, and what it may take besides; the first that is asked with something is meant.
_QUESTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "--mup": (("mup",), ("from_width", "to_width", "from_depth", "to_depth", "from_head_width", "to_head_width", "lr")),
    "--lr-sweep": (("lr_sweep",), ("out", "map_", "where", "params_column", "drop_bad", "draws", "seed")),
    "--from-tokens": (("from_tokens", "to_tokens"), ("lr", "params", "batch_tokens", "fit", "level")),
    "--from-batch": (("from_batch", "to_batch", "noise_scale"), ("lr",)),
    "--params": (
        (),
        (
            *("params", "tokens", "law", "params_count", "vocab_size", "width", "depth", "untied", "seq_len"),
            *("batch_tokens", "batch_sequences", "loss", "flops", "fit", "level", "plot"),
        ),
    ),
}


def hparams(
    params: Annotated[float | None, number_option("--params", help="Size of the model, everything counted.")] = None,
    tokens: Annotated[float | None, number_option("--tokens", help="Training tokens.")] = None,
    law: Annotated[
        list[str] | None, typer.Option("--law", metavar="RULE", help="Only these rules, as hp:step-law (repeat).")
    ] = None,
    params_count: Annotated[
        list[str] | None,
        typer.Option(
            "--params-count",
            metavar="COUNT=NUMBER",
            help="Another count of N: nonvocab=6.6B, nonembed=…, nonembed-head=…, total=….",
        ),
    ] = None,
    vocab_size: Annotated[
        float | None, number_option("--vocab-size", help="With --width: other counts follow.")
    ] = None,
    width: Annotated[float | None, number_option("--width", help="Model width, for --vocab-size and compute.")] = None,
    depth: Annotated[float | None, number_option("--depth", help="Layers, for compute as DeepSeek counts it.")] = None,
    untied: Annotated[bool, typer.Option("--untied", help="The head is a matrix of its own.")] = False,
    seq_len: Annotated[float | None, number_option("--seq-len", help="Tokens in a sequence.")] = None,
    batch_tokens: Annotated[
        float | None, number_option("--batch-tokens", help="Batch trained with, in tokens.")
    ] = None,
    batch_sequences: Annotated[
        float | None, number_option("--batch-sequences", help="Or in sequences of --seq-len tokens.")
    ] = None,
    loss: Annotated[float | None, number_option("--loss", help="Loss aimed at, for rules of the loss.")] = None,
    flops: Annotated[float | None, number_option("--flops", help="Training compute, instead of 6*N*D.")] = None,
    fit: Annotated[
        list[str] | None, typer.Option("--fit", metavar="FIT.json", help="A fit of a rule of your own (repeat).")
    ] = None,
    lr: Annotated[float | None, number_option("--lr", help="Your learning rate, to be carried over.")] = None,
    from_tokens: Annotated[float | None, number_option("--from-tokens", help="Tokens it is good for.")] = None,
    to_tokens: Annotated[float | None, number_option("--to-tokens", help="Tokens of the next run.")] = None,
    from_batch: Annotated[
        str | None, typer.Option("--from-batch", metavar="4M|512seq", help="Batch it is good for.")
    ] = None,
    to_batch: Annotated[str | None, typer.Option("--to-batch", metavar="4M|512seq", help="Batch of the next.")] = None,
    noise_scale: Annotated[
        str | None, typer.Option("--noise-scale", metavar="4M|512seq", help="Gradient noise scale, where known.")
    ] = None,
    mup: Annotated[bool, typer.Option("--mup", help="The muP table from one width to another.")] = False,
    from_width: Annotated[float | None, number_option("--from-width", help="Width tuned at.")] = None,
    to_width: Annotated[float | None, number_option("--to-width", help="Width trained at.")] = None,
    from_depth: Annotated[float | None, number_option("--from-depth", help="Layers tuned at.")] = None,
    to_depth: Annotated[float | None, number_option("--to-depth", help="Layers trained at.")] = None,
    from_head_width: Annotated[float | None, number_option("--from-head-width", help="Channels of a head.")] = None,
    to_head_width: Annotated[float | None, number_option("--to-head-width", help="The same, trained at.")] = None,
    lr_sweep: Annotated[
        str | None,
        typer.Option("--lr-sweep", metavar="TABLE", help="Runs at one batch over learning rates: fits hp:bjorck."),
    ] = None,
    out: Annotated[str | None, typer.Option(metavar="FIT.json", help="Save the fit of --lr-sweep.")] = None,
    map_: MapOption = None,
    where: WhereOption = None,
    params_column: ParamsColumnOption = None,
    drop_bad: DropBadOption = False,
    draws: Annotated[int, typer.Option("--draws", min=2, help="Draws of the fit of --lr-sweep.")] = 1000,
    seed: SeedOption = 0,
    level: LevelOption = 0.9,
    plot: Annotated[
        str | None, typer.Option(metavar="FILE.svg|png|pdf", help="Draw every rule against the tokens.")
    ] = None,
    fail: FailOnOption = None,
    json: JsonOption = False,
) -> None:
    """Say the peak learning rate and batch by each published rule and your own fits, or carry yours over."""
    given = {name: value for name, value in locals().items() if name not in ("fail", "json")}
    question = _question(given)
    asked = {name: given[name] for name in (*_QUESTIONS[question][0], *_QUESTIONS[question][1])}
    found, text, notices = _ANSWERS[question](**asked)
    warn(notices)
    if json:
        show_json(found.to_dict())
    else:
        show(text)
    fail_on(fail, notices)


_DEFAULTS: dict[str, Any] = {"draws": 1000, "seed": 0, "level": 0.9}


def _question(given: Mapping[str, Any]) -> str:
    """Which of the questions is asked; raises UsageError where an option belongs to another."""
    used = {
        name
        for name, value in given.items()
        if value is not None and value is not False and value != _DEFAULTS.get(name)
    }
    asked = [name for name, (own, _) in _QUESTIONS.items() if used & set(own)]
    question = asked[0] if asked else "--params"
    stray = sorted(used - {*_QUESTIONS[question][0], *_QUESTIONS[question][1]})
    if stray:
        option = f"--{stray[0].rstrip('_').replace('_', '-')}"
        if question == "--params":
            raise UsageError(
                f"{option} is no part of this question; see scaling-lab hparams --help ({_needs(stray[0])})"
            )
        raise UsageError(f"{option} does not go with {question}; ask for the two one after the other")
    return question


def _needs(name: str) -> str:
    """The questions that an option is for."""
    return "it goes with " + " or ".join(q for q, (own, other) in _QUESTIONS.items() if name in (*own, *other))


def _required(**given: Any) -> None:
    for name, value in given.items():
        if value is None:
            raise UsageError(f"give --{name.replace('_', '-')} too")


def _recommend(
    law: list[str] | None,
    params_count: list[str] | None,
    untied: bool,
    fit: list[str] | None,
    plot: str | None,
    level: float,
    **given: Any,
) -> tuple[Hparams, str, Iterable[Notice]]:
    from ..decide.hparams import hparams as run
    from ..files import check_writable
    from ..show import hparams as text

    check_writable(plot)
    check_apart("--plot", plot, *(fit or ()))
    fits = _loaded(fit)
    counts = named_numbers(params_count, "--params-count", "nonvocab=6.6B")
    found = run(laws=law or (), counts=counts, tied=not untied, fits=fits, level=level, **given)
    if plot:
        _draw(found, fits, fit or [], plot)
    return found, text.hparams(found), found.warnings


def _draw(found: Hparams, fits: list[Fit], paths: list[str], plot: str) -> None:
    from ..decide.hparams import along_tokens
    from ..files import sha256_file, write_meta
    from ..show import plot as draw

    draw.save(draw.draw_hparams(found, along_tokens(found, fits)), plot)
    write_meta(plot, "scaling-lab/plot/1", {path: sha256_file(path) for path in paths})


def _loaded(paths: Iterable[str] | None) -> list[Fit]:
    """The fits, what each was warned of told."""
    from ..decide.steplaw import fits_of

    fits = [fit for path in paths or () for fit in fits_of(path)]
    for each in fits:
        warn(own_warnings(each), of=f"your fit of {each.law}")
    return fits


def _horizon(fit: list[str] | None, **given: Any) -> tuple[Any, str, Iterable[Notice]]:
    from ..decide.lr_moves import horizon
    from ..show import hparams as text

    _required(lr=given["lr"], from_tokens=given["from_tokens"], to_tokens=given["to_tokens"])
    if fit and len(fit) > 1:
        raise UsageError("a horizon rule is one fit of hp:bjorck; give one --fit")
    found = horizon(own=next(iter(_loaded(fit)), None), **given)
    return found, text.horizon(found), found.warnings


def _rescale(**given: Any) -> tuple[Any, str, Iterable[Notice]]:
    from ..decide.lr_moves import rescale
    from ..show import hparams as text

    _required(**{name: given[name] for name in ("lr", "from_batch", "to_batch")})
    found = rescale(**given)
    return found, text.rescale(found), found.warnings


def _mup(mup: bool, **given: Any) -> tuple[Any, str, Iterable[Notice]]:
    from ..decide.mup import mup as run
    from ..show import hparams as text

    _required(from_width=given["from_width"], to_width=given["to_width"])
    found = run(**given)
    return found, text.mup(found), ()


def _sweep(lr_sweep: str, out: str | None, map_: list[str] | None, **given: Any) -> tuple[Any, str, Iterable[Notice]]:
    from ..decide.lr_moves import lr_sweep as run
    from ..files import check_writable
    from ..show import hparams as text

    check_writable(out)
    check_apart("--out", out, lr_sweep)
    found = run(lr_sweep, mapping=pairs(map_), **given)
    warn((), found.fit.notes)
    if out:
        found.fit.save(out)
    saved = f"\nsaved to {out}" if out else ""
    return found, f"{text.lr_sweep(found)}{saved}", found.warnings


_ANSWERS: dict[str, Any] = {
    "--mup": _mup,
    "--lr-sweep": _sweep,
    "--from-tokens": _horizon,
    "--from-batch": _rescale,
    "--params": _recommend,
}
