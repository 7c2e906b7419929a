"""Runs thousands of random bad tables and damaged fits, and writes docs/soak.md: how each ended, and what broke.

SOAK is how many tables (5000; two fits are damaged for every five tables), SOAK_SEED the seed of all (random),
SOAK_MINUTES when to begin nothing new (never), SOAK_WORKERS how many processes (one a core).
"""

from __future__ import annotations

import datetime
import os
import platform
import secrets
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import hypothesis
import numpy as np
import pandas as pd
from hypothesis import HealthCheck, Phase, given, seed, settings

from scaling_lab import __version__

from .damage import damaged, run_damaged, sound_fits
from .run import Broken, run_case
from .tables import cases

PAGE = Path(__file__).resolve().parents[2] / "docs" / "soak.md"
BLOCK = 125
# Seconds of wall time after which a case counts as one that hangs.
HANGS = 120
# Seconds of processor time from which a case is told of.
SLOW = 5.0


@dataclass
class Told:
    """What a block of cases, or all of them, came to."""

    ends: Counter[str] = field(default_factory=Counter)
    slow: list[tuple[float, float, str]] = field(default_factory=list)
    broken: dict[str, tuple[int, str]] = field(default_factory=dict)
    late: int = 0

    def add(self, other: Told) -> None:
        self.ends += other.ends
        self.late += other.late
        self.slow = sorted([*self.slow, *other.slow], reverse=True)[:5]
        for what, (count, where) in other.broken.items():
            before = self.broken.get(what, (0, where))
            self.broken[what] = (before[0] + count, before[1])


def _hangs(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"more than {HANGS} s")


def _what(fault: BaseException) -> str:
    """One line for all faults of one place."""
    if isinstance(fault, Broken):
        return f"Broken: {str(fault)[:60]}"
    own = [f for f in traceback.extract_tb(fault.__traceback__) if "scaling_lab" in f.filename]
    place = f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
    return f"{type(fault).__name__}{place}: {str(fault)[:80]}"


def block(kind: str, number: int, count: int, fits: dict[str, str]) -> Told:
    """`count` cases of one kind from one seed; a fault is counted, and the rest goes on."""
    warnings.simplefilter("error")
    signal.signal(signal.SIGALRM, _hangs)
    told = Told()
    strategy = cases(f"{number}:") if kind == "tables" else damaged(fits, f"{number}:")
    with tempfile.TemporaryDirectory() as folder:
        run: Callable[[Any], str] = lambda case: run_damaged(case, Path(folder))  # noqa: E731
        if kind == "tables":
            run = lambda case: run_case(case, Path(folder)).end  # noqa: E731

        @seed(number)
        @settings(
            max_examples=count,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def every(case: Any) -> None:
            cpu, wall = time.process_time(), time.monotonic()
            signal.alarm(HANGS)
            try:
                told.ends[run(case)] += 1
            except Exception as fault:
                told.ends["broken"] += 1
                before = told.broken.get(_what(fault), (0, ""))[0]
                told.broken[_what(fault)] = (before + 1, repr(case)[:1500])
            finally:
                signal.alarm(0)
            cpu, wall = time.process_time() - cpu, time.monotonic() - wall
            told.late += cpu > SLOW
            text = " ".join(case.words("TABLE")) if kind == "tables" else " ".join(case.words)
            told.slow = sorted([*told.slow, (cpu, wall, f"{case.story}: {text}")], reverse=True)[:5]

        every()
    return told


def _page(told: dict[str, Told], asked: dict[str, int], number: int, blocks: int, seconds: float) -> str:
    lines = [
        "# Soak: bad tables and damaged fits",
        "",
        "Made by `make soak` (tests/fuzz/soak.py); tests/fuzz has what a case is and what it must keep. A case ends in",
        "a sound fit (or an answer), or in one line that says what is wrong, with exit code 1 or 2 and no file left",
        "behind. Anything else (a traceback, a Python warning, NaN in JSON, an interval that leaves out its value) is",
        "*broken*. `not asked` are options that only the command line can read, drawn for a DataFrame.",
        "",
        f"{datetime.date.today().isoformat()}, scaling-lab {__version__}, Python {platform.python_version()}, numpy "
        f"{np.__version__}, pandas {pd.__version__}, hypothesis {hypothesis.__version__}; {seconds / 60:.1f} minutes.",
        f"Seeds {number} to {number + blocks - 1}, a block of at most {BLOCK} cases each.",
    ]
    for kind, found in told.items():
        total = sum(found.ends.values())
        lines += ["", f"## {total:,} {kind} (of {asked[kind]:,} asked for)", ""]
        lines += ["| ended as | cases | share |", "| --- | ---: | ---: |"]
        lines += [f"| {end} | {count:,} | {count / total:.1%} |" for end, count in found.ends.most_common()]
        late = f"{found.late} took more than {SLOW:g} s of processor time. "
        lines += ["", f"{late}The slowest, in seconds of processor and of wall time (a machine with other work):", ""]
        lines += [f"- {cpu:.1f} ({wall:.1f}): `{_code(text)}`" for cpu, wall, text in found.slow]
        lines += ["", f"Broken: {len(found.broken) or 'none'}."]
        for what, (count, where) in found.broken.items():
            lines.append(f"- {count} times `{_code(what)}`, first: `{_code(where)[:600]}`")
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    return ascii(text)[1:-1].replace("`", "'").replace("|", "/")


def main() -> int:
    """Runs all blocks and writes the page; 1 where a promise was broken."""
    count = int(os.environ.get("SOAK", "5000"))
    number = int(os.environ.get("SOAK_SEED", str(secrets.randbelow(10**6) * 1000)))
    until = time.monotonic() + 60 * float(os.environ.get("SOAK_MINUTES", "inf"))
    begun, fits = time.monotonic(), sound_fits()
    asked = {"tables": count, "damaged fits": count * 2 // 5}
    told = {kind: Told() for kind in asked}
    work = [(kind, min(BLOCK, asked[kind] - at)) for kind in asked for at in range(0, asked[kind], BLOCK)]
    work.sort(key=lambda one: one[0] == "tables")
    with ProcessPoolExecutor(int(os.environ.get("SOAK_WORKERS", os.cpu_count() or 1))) as pool:
        waiting = {pool.submit(block, kind, number + i, size, fits): kind for i, (kind, size) in enumerate(work)}
        for done in as_completed(waiting):
            if done.cancelled():
                continue
            kind = waiting[done]
            new = done.result()
            told[kind].add(new)
            for what, (_, where) in new.broken.items():
                print(f"broken: {what}\n    {_code(where)[:600]}", flush=True)
            print(f"{kind}: {sum(told[kind].ends.values())} of {asked[kind]}, {dict(told[kind].ends)}", flush=True)
            if time.monotonic() > until:
                for other in waiting:
                    other.cancel()
    PAGE.write_text(_page(told, asked, number, len(work), time.monotonic() - begun))
    print(f"written to {PAGE}")
    return int(any(found.broken for found in told.values()))


if __name__ == "__main__":
    sys.exit(main())
