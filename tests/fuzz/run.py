"""Runs a case as its user would, and holds what comes out against what is promised of every fit and of every fault."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd

from scaling_lab.cli import main
from scaling_lab.decide.allocate import allocate
from scaling_lab.engine.fit import fit
from scaling_lab.engine.predict import predict
from scaling_lab.engine.result import Fit
from scaling_lab.errors import LabError
from scaling_lab.files import plain

from .tables import Case


@dataclass(frozen=True)
class Outcome:
    """How a case ended: `fit`, or the class of its error; and its seconds of processor time and of wall time."""

    end: str
    cpu: float
    wall: float
    line: str = ""


class Broken(AssertionError):
    """A promise that was not kept; the message says which."""


def _hold(kept: bool, promise: str) -> None:
    if not kept:
        raise Broken(promise)


# ------------------------------------------------------------------------------------------------- the command line


@dataclass(frozen=True)
class Done:
    """What a command printed and how it ended; `fault` is the class of what ended it."""

    code: int
    out: str
    err: str
    fault: str


@contextlib.contextmanager
def _streams() -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    """stdout and stderr as they are at a pipe: strict UTF-8, and escapes for what that can't write."""
    out, err = io.BytesIO(), io.BytesIO()
    wide = io.TextIOWrapper(out, "utf-8", "strict", write_through=True)
    told = io.TextIOWrapper(err, "utf-8", "backslashreplace", write_through=True)
    with contextlib.redirect_stdout(wide), contextlib.redirect_stderr(told):
        yield out, err
    # A wrapper that is thrown away closes the bytes below it.
    wide.detach()
    told.detach()


def lab(*words: str) -> Done:
    """One command in this process; an exception that the command line does not make a line of comes out as it is."""
    code, fault = 0, ""
    with mock.patch.object(sys, "argv", ["scaling-lab", *words]), _streams() as (out, err):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
            fault = type(end.__context__).__name__ if end.__context__ else ""
    return Done(code, out.getvalue().decode(), err.getvalue().decode(), fault)


def check_fault(done: Done) -> None:
    """A fault is one line, says error, and exits 1 or 2."""
    _hold(done.code in (1, 2), f"exit code {done.code}")
    _hold(not done.out, f"stdout of a fault: {done.out[:200]!r}")
    last = done.err.rstrip("\n").split("\n")
    _hold(len(last) == 1 and done.err.endswith("\n"), f"a fault of {len(last)} lines: {done.err[:500]!r}")
    _hold(last[0].startswith("error: ") and len(last[0]) > 12, f"a fault that says nothing: {done.err[:200]!r}")
    _hold(len(last[0]) < 1500, f"a fault of {len(last[0])} letters: {done.err[:200]!r}")
    _hold(all(c.isprintable() for c in last[0]), f"letters that move a terminal: {done.err[:300]!r}")


def strict_json(text: str) -> Any:
    """What a JSON text says; NaN and Infinity, which JSON lacks, are a promise broken."""

    def refuse(constant: str) -> None:
        raise Broken(f"{constant} in JSON")

    return json.loads(text, parse_constant=refuse)


# ------------------------------------------------------------------------------------------------------ every fit


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def check_fit(found: Fit, contents: Mapping[str, Any]) -> None:
    """What every fit promises: sound numbers, ordered intervals, an account of its rows, finite predictions."""
    strict_json(json.dumps(plain(contents)))
    for name, estimate in contents["params"].items():
        _hold(_finite(estimate["value"]), f"{name} is {estimate['value']}")
        _hold(estimate["se"] is None or estimate["se"] >= 0, f"the standard error of {name} is {estimate['se']}")
        if estimate["ci"] is not None:
            low, high = estimate["ci"]
            ordered = (low is None or low <= estimate["value"]) and (high is None or estimate["value"] <= high)
            _hold(ordered, f"{name} = {estimate['value']} lies outside its interval {low} to {high}")
    rows = contents["rows"]
    _hold(rows["read"] == rows["used"] + sum(rows["dropped"].values()), f"rows do not add up: {rows}")
    _hold(_finite(contents["objective"]["value"]), f"the objective is {contents['objective']['value']}")
    for value in contents["metrics"].values():
        _hold(value is None or _finite(value), f"metrics {contents['metrics']}")
    check_predictions(found)
    check_allocation(found)


def inside(found: Fit) -> dict[str, float]:
    """One of the fitted points."""
    middle = len(found.points[found.target]) // 2
    return {name: float(found.points[name][middle]) for name in found.entry.inputs}


def check_predictions(found: Fit) -> None:
    """At a fitted point the value is finite and lies in its interval."""
    asked = predict(found, [inside(found)], 0.8)
    low, value, high = float(asked.low[0]), float(asked.value[0]), float(asked.high[0])
    _hold(all(map(math.isfinite, (low, value, high))), f"predicted {low}, {value}, {high} at {inside(found)}")
    _hold(low <= value <= high, f"predicted {value} outside {low} to {high} at {inside(found)}")
    _hold(not asked.outside[0], f"a fitted point is outside: {asked.outside[0]}")
    strict_json(json.dumps(asked.to_dict()))


def check_allocation(found: Fit) -> None:
    """A split of ten times the table's compute is finite and lies in its interval, or a line says there is none."""
    try:
        split = allocate(found, 10 * float(found.inputs["flops"]["max"]) if "flops" in found.inputs else 1e22)
    except LabError:
        return
    check_answer(strict_json(json.dumps(plain(split.to_dict()))))


# ---------------------------------------------------------------------------------------------------------- a case


def run_case(case: Case, folder: Path) -> Outcome:
    """How the case ends; raises Broken where a promise is not kept, and whatever the code lets through."""
    cpu, wall = time.process_time(), time.monotonic()
    end, line = _of_frame(case) if isinstance(case.table, pd.DataFrame) else _of_file(case, folder)
    return Outcome(end, time.process_time() - cpu, time.monotonic() - wall, line)


def _of_file(case: Case, folder: Path) -> tuple[str, str]:
    assert isinstance(case.table, bytes)
    for old in folder.iterdir():
        old.unlink()
    table, out = folder / case.name, folder / "fit.json"
    table.write_bytes(case.table)
    words = ["fit", *case.words(str(table)), "--out", str(out), *([] if case.human else ["--json"])]
    done = lab(*words)
    left = sorted(os.listdir(folder))
    if done.code:
        check_fault(done)
        _hold(left == [case.name], f"left behind by a fault: {left}")
        return done.fault, done.err
    _hold(left == sorted([case.name, "fit.json"]), f"left behind: {left}")
    contents = strict_json(out.read_text(encoding="utf-8"))
    if not case.human:
        _hold(strict_json(done.out) == contents, "stdout and FIT.json differ")
    found = Fit.load(out)
    _hold(plain(found.to_dict()) == contents, "FIT.json is another after being read")
    check_fit(found, contents)
    _check_points_of(case, table, out)
    return "fit", ""


def _check_points_of(case: Case, table: Path, out: Path) -> None:
    """The table's own rows as points to predict: finite numbers, or one line."""
    done = lab("predict", str(out), "--table", str(table), *([] if case.human else ["--json"]))
    if done.code:
        check_fault(done)
    elif not case.human:
        check_answer(strict_json(done.out))


def check_answer(answer: Mapping[str, Any]) -> None:
    """Every value of predict or allocate is a number, with an interval about it; an end that is null is open."""
    parts = [(p["value"], p["interval"]) for p in answer.get("points", ())]
    parts += [(answer[n]["value"], answer[n]["ci"]) for n in ("params", "tokens", "loss") if n in answer]
    _hold(bool(parts), f"an answer without a value: {str(answer)[:200]}")
    for value, interval in parts:
        low, high = interval or (None, None)
        _hold(_finite(value), f"the value {value}")
        ordered = (low is None or low <= value) and (high is None or value <= high)
        _hold(ordered, f"{value} outside {low} to {high}")


def _of_frame(case: Case) -> tuple[str, str]:
    """The same by the Python function, which takes a DataFrame; options that are no numbers end as usage errors."""
    given: dict[str, Any] = {"fix": {}, "mapping": {}}
    for name, text in case.options:
        try:
            if name in ("starts", "bootstrap", "seed"):
                given[name] = max(int(text), 0)
            elif name == "delta":
                given[name] = float(text)
            elif name == "fix":
                parameter, _, value = text.partition("=")
                given["fix"][parameter] = float(value)
            elif name == "map":
                canonical, _, expression = text.partition("=")
                given["mapping"][canonical] = expression
            elif name == "drop-bad-rows":
                given["drop_bad"] = True
            else:
                given[name.replace("-", "_")] = text
        except ValueError:
            return "not asked", ""
    before = case.table.copy(deep=True)
    try:
        found = fit(case.law, case.table, **given)
    except LabError as fault:
        _hold(fault.exit_code in (1, 2), f"exit code {fault.exit_code}")
        _hold(len(str(fault)) > 5, f"a fault that says nothing: {fault!r}")
        return type(fault).__name__, str(fault)
    finally:
        pd.testing.assert_frame_equal(before, case.table)
    text = json.dumps(plain(found.to_dict()), allow_nan=False)
    loaded = Fit.from_dict(json.loads(text))
    _hold(plain(loaded.to_dict()) == json.loads(text), "a fit is another after being read")
    check_fit(loaded, json.loads(text))
    return "fit", ""
