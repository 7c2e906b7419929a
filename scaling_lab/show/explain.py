"""Codes of warnings as plain text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from ..engine.codes import Code
from .terminal import table, width


def code_list(codes: Iterable[Code]) -> str:
    """A row for each code."""
    rows = [(c.code, c.severity, c.name, c.title) for c in codes]
    return (
        table(("code", "severity", "name", "what it says"), rows, "lllp") + "\n\n`scaling-lab explain CODE` says more"
    )


def code_page(code: Code) -> str:
    """One code in full: what it says, why it matters, what was looked at, what to do."""

    def part(head: str, text: str, mark: str = "  ") -> str:
        folded = textwrap.wrap(
            text, width() - 2, initial_indent=mark, subsequent_indent="    " if "-" in mark else "  "
        )
        return "\n".join([*([head] if head else []), *folded])

    return "\n".join(
        [
            f"{code.code} {code.name} ({code.severity}): {code.title}",
            part("why it matters", code.reason),
            part("looked at", code.looked_at()),
            "what to do",
            *(part("", fix, "  - ") for fix in code.fixes),
        ]
    )
