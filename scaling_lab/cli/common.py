"""What every command shares: options, JSON on stdout, warnings and bars on stderr."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..engine.codes import CODES, NAMES, find
from ..errors import BadInput, ConditionMet, UsageError, nearest
from ..quantities import ALIASES, parse_assignments, parse_number

if TYPE_CHECKING:
    from ..engine.result import Fit, Notice


def _number(text: str) -> float:
    try:
        return parse_number(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number; write it as 7e9, 7B or 1.4T") from None


def numbers(text: str, option: str) -> list[float]:
    """The numbers of 6e18,1e19 texts."""
    try:
        return [parse_number(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} {text!r} is not a list of numbers, as in {option} 6e18,1e19") from None


def _condition(text: str | None) -> str | None:
    """The words of --fail-on, checked before any work is done."""
    for word in text.split(",") if text is not None else ():
        if word.strip() not in ("warning", "error") and find(word) is None:
            close = nearest(word.strip(), [*CODES, *NAMES])
            hint = f"; {close}" if "did you" in close else ""
            raise UsageError(f"--fail-on {word.strip()!r} is neither warning, error nor a code such as SL301{hint}")
    return text


def number_option(*names: str, help: str) -> Any:
    """A typer option that reads 7e9, 7B, 1.4T."""
    return typer.Option(*names, parser=_number, metavar="NUMBER", help=help)


TableArgument = Annotated[
    str, typer.Argument(metavar="TABLE", help="CSV, TSV, JSONL or Parquet (.gz too); - is stdin.")
]
FitArgument = Annotated[str, typer.Argument(metavar="FIT.json", help="A fit that `scaling-lab fit --out` wrote.")]
MapOption = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="NAME=COLUMN", help="Take a quantity from a column or arithmetic over columns."),
]
WhereOption = Annotated[
    str | None, typer.Option("--where", metavar="CONDITION", help='Rows to use, e.g. "tokens > 1e9".')
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        "--weights", metavar="EXPR", help='How much each row counts, over columns, e.g. "(params*tokens)**0.3".'
    ),
]
ParamsColumnOption = Annotated[
    str | None, typer.Option("--params-column", metavar="COLUMN", help="The count that a law's N is taken from.")
]
DropBadOption = Annotated[
    bool, typer.Option("--drop-bad-rows", help="Leave out rows with impossible values, counted by reason.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of starts and resamples.")]
FailOnOption = Annotated[
    str | None,
    typer.Option(
        "--fail-on",
        metavar="warning|error|CODE,...",
        callback=_condition,
        help="Exit 4 where such a warning came up.",
    ),
]


def _load_laws(files: list[str] | None) -> list[str] | None:
    """Registers the laws of --law-file before any other argument is looked at."""
    if files:
        from ..laws.own import law_file

        for spec in files:
            law_file(spec)
    return files


LawFileOption = Annotated[
    list[str] | None,
    typer.Option(
        "--law-file",
        metavar="FILE.py:NAME",
        callback=_load_laws,
        is_eager=True,
        help="Add a law of your own to the catalogue: a Python file (which is run), and the Law in it.",
    ),
]
GivenOption = Annotated[
    list[str] | None,
    typer.Option("--given", metavar="NAME=NUMBER", help="Hold a further input of the law, e.g. sparsity=0.9."),
]
UniqueTokensOption = Annotated[
    float | None,
    number_option("--unique-tokens", help="Tokens that exist: none is repeated, unless the law models that."),
]
LevelOption = Annotated[float, typer.Option("--level", help="Probability that an interval aims at.")]


def with_law_files(command: Callable[..., None]) -> Callable[..., None]:
    """The command with --law-file, whose laws are registered before the command sees its arguments."""
    signature = inspect.signature(command, eval_str=True)
    option = inspect.Parameter("law_file", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=LawFileOption)

    @functools.wraps(command)
    def wrapped(*args: Any, law_file: list[str] | None = None, **kwargs: Any) -> None:
        command(*args, **kwargs)

    wrapped.__signature__ = signature.replace(  # type: ignore[attr-defined]  # what typer reads
        parameters=[*signature.parameters.values(), option]
    )
    wrapped.__annotations__ = {name: p.annotation for name, p in signature.parameters.items()} | {
        "law_file": LawFileOption
    }
    return wrapped


def pairs(texts: Iterable[str] | None, option: str = "--map") -> dict[str, str]:
    """{canonical name: column} of NAME=COLUMN texts."""
    found: dict[str, str] = {}
    for text in texts or ():
        name, equals, column = text.partition("=")
        if not equals or not name.strip() or not column.strip():
            raise UsageError(f"{option} {text!r} is not NAME=COLUMN, as in {option} loss=val/loss")
        found[ALIASES.get(name.strip(), name.strip())] = column.strip()
    return found


def fixed(texts: Iterable[str] | None) -> dict[str, float]:
    """{parameter: value} of --fix alpha=0.5 texts."""
    return named_numbers(texts, "--fix", "alpha=0.5")


def values(texts: Iterable[str] | None, option: str) -> dict[str, float]:
    """{canonical name: value} of NAME=NUMBER texts, each name once."""
    return {ALIASES.get(name, name): value for name, value in named_numbers(texts, option, "sparsity=0.9").items()}


def named_numbers(texts: Iterable[str] | None, option: str, example: str) -> dict[str, float]:
    """{name: value} of NAME=NUMBER texts, each name once."""
    found: dict[str, float] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{option} {text!r} is not NAME=NUMBER, as in {option} {example}")
        if name.strip() in found:
            raise UsageError(f"{option} {name.strip()} is given twice; give it once")
        try:
            found[name.strip()] = parse_number(value)
        except ValueError:
            raise UsageError(f"{option} {text!r}: {value!r} is not a number") from None
    return found


def points(texts: Iterable[str]) -> list[dict[str, float]]:
    """The points of --at params=7B,tokens=1.4T texts."""
    try:
        return [parse_assignments(text) for text in texts]
    except BadInput as fault:
        raise UsageError(f"--at {fault}") from None


def show(text: str) -> None:
    """Prints to stdout."""
    typer.echo(text)


def show_json(value: Any) -> None:
    """Prints one JSON object to stdout."""
    from ..files import to_json

    typer.echo(to_json(value))


def warn(notices: Iterable[Notice], notes: Iterable[str] = (), of: str = "") -> None:
    """Prints what the reader must know to stderr, a line each; `of` says which result a notice is about."""
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    about = f"{of}: " if of else ""
    for notice in notices:
        typer.echo(f"{notice.severity} {notice.code}: {about}{notice.message}", err=True)


def own_warnings(fit: Fit) -> list[Notice]:
    """What a fit was warned of when it was made, which all that is computed from it inherits."""
    return [notice for notice in fit.warnings if notice.severity in ("warning", "error")]


def check_apart(option: str, out: str | None, *inputs: str | None) -> None:
    """Raises UsageError where a result would overwrite one of the files it is made from."""
    taken = {Path(path).resolve() for path in inputs if path is not None and path != "-"}
    if out is not None and Path(out).resolve() in taken:
        raise UsageError(f"{option} {out} is one of the files that are read; choose another path")


def fail_on(condition: str | None, notices: Iterable[Notice]) -> None:
    """Raises ConditionMet where a notice is as bad as `condition`, or has one of its codes or names."""
    if not condition:
        return
    wanted = {entry.code if (entry := find(word)) else word.strip() for word in condition.split(",")}
    if "warning" in wanted:
        wanted.add("error")
    met = sorted({n.code for n in notices if n.code in wanted or n.severity in wanted})
    if met:
        raise ConditionMet(f"--fail-on {condition}: {', '.join(met)} came up; the results are written")


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None] | None]:
    """A callback (task, done, total) that moves a bar on stderr; None where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def move(task: str, done: int, total: int) -> None:
            if task not in tasks:
                tasks[task] = bar.add_task(task, total=total)
            bar.update(tasks[task], completed=done, total=total)

        yield move
