"""Writes docs/warnings.md from the registry of codes and the rates that bench/diagnostics.py measured.

usage: python docs/make_warnings.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scaling_lab.engine.codes import CODES, Code

ROOT = Path(__file__).resolve().parents[1]
HEAD = """# Warnings and their codes

Made from the registry by `python docs/make_warnings.py`; `scaling-lab explain CODE` prints the same.

Codes and names are stable: scripts may look for codes in the `warnings` of any JSON, and `--fail-on SL301,at-bound` (or
`warning`, or `error`) of `fit`, `predict`, `backtest`, `allocate` and `isoflop` ends with exit code 4 where one came
up, after the results are written. `predict`, `allocate` and `report` repeat the warnings that the fit carries, and
`--fail-on` counts them; `backtest` prints those of each law's training fit.

Some designs are refused instead: a table in which no values of some parameters could be told apart (all runs at one
size, for instance) ends in `error: … can't be told from this table`, naming the parameters.
"""


def section(code: Code) -> str:
    """One code in Markdown."""
    return "\n\n".join(
        [
            f"## {code.code} {code.name}",
            f"{code.severity.capitalize()}: {code.title}.",
            code.reason,
            f"Looked at: {code.looked_at()}",
            "\n".join(f"- {fix}" for fix in code.fixes),
        ]
    )


def rates(found: dict[str, Any]) -> str:
    """The table of false alarms and misses."""
    lines = [
        "| code | false alarms | of sound tables | misses | of faulty tables | what was planted |",
        f"|{' --- |' * 6}",
    ]
    for row in found["rates"]:
        alarms, misses = (_share(row[k]) for k in ("false_alarms", "misses"))
        planted = row["planted"] + (f" ({row['refused']} refused, which counts as told)" if row["refused"] else "")
        lines.append(f"| {row['code']} | {alarms} | {row['sound']} | {misses} | {row['faulty'] or '-'} | {planted} |")
    return "\n".join(lines)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def page() -> str:
    """The whole page in Markdown."""
    measured = json.loads((ROOT / "bench" / "results" / "diagnostics.json").read_text(encoding="utf-8"))
    listed = "\n".join(
        ["| code | severity | name | what it says |", f"|{' --- |' * 4}"]
        + [f"| {c.code} | {c.severity} | {c.name} | {c.title} |" for c in CODES.values()]
    )
    how = (
        "## How often they are right\n\nMeasured by `python bench/diagnostics.py` on synthetic tables with planted "
        f"laws. {measured['sound_designs']} {measured['faulty_designs']}"
    )
    return "\n\n".join([HEAD.strip(), listed, *map(section, CODES.values()), how, rates(measured)]) + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "warnings.md").write_text(page(), encoding="utf-8")
