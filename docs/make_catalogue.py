"""Writes docs/laws.md from the registry: one place for each fact. usage: python docs/make_catalogue.py"""

from __future__ import annotations

from pathlib import Path

from scaling_lab.laws import LAWS, Law
from scaling_lab.laws.curves import CURVE_LAWS
from scaling_lab.quantities import quantity
from scaling_lab.show.terminal import bounds

FAMILY_TITLES = {
    "size": "Model size, data and compute",
    "experts": "Mixtures of experts",
    "data": "Repeated, filtered and retrieved data",
    "mixture": "Mixtures of sources",
    "vocabulary": "Vocabulary",
    "task": "Downstream tasks",
    "growth": "Growing models",
    "curve": "Loss curves",
    "hyperparameter": "Learning rate and batch size",
}


def section(law: Law) -> str:
    """One law in Markdown."""
    lines = [
        f"## `{law.name}`",
        f"{law.title}. {law.source}.",
        f"```\n{law.target} = {law.formula}\n```",
        "Inputs: " + ", ".join(f"`{n}` ({quantity(n).unit}: {quantity(n).meaning})" for n in law.inputs) + ".",
        "| parameter | unit | bounds | starts | meaning |\n| --- | --- | --- | --- | --- |\n"
        + "\n".join(
            f"| {p.name} | {p.unit} | {bounds(p)} | {p.start[0]:g} to {p.start[1]:g} | {p.meaning} |"
            for p in law.params
        ),
    ]
    if law.published:
        head = " | ".join(law.names)
        rows = [
            f"| {key} | {' | '.join(f'{row.values[n]:.8g}' for n in law.names)} | "
            f"{row.source}{'; ' + row.note if row.note else ''} |"
            for key, row in law.published.items()
        ]
        lines.append(f"| published | {head} | source |\n|{' --- |' * (len(law.names) + 2)}\n" + "\n".join(rows))
    if law.rules:
        lines.append(f"Refused where {', or '.join(rule.says for rule in law.rules)}.")
    if law.delta is not None:
        lines.append(f"Fitted with a Huber width (`--delta`) of {law.delta:g} unless another is given.")
    lines += [text for text in (law.identifiability, law.notes) if text]
    return "\n\n".join(lines)


def page() -> str:
    """The whole catalogue in Markdown."""
    head = (
        "# The laws\n\nMade from the registry by `python docs/make_catalogue.py`; `scaling-lab laws LAW` prints "
        "the same. Losses are in nats per token."
    )
    parts = [head]
    for family, title in FAMILY_TITLES.items():
        laws = [law for law in [*LAWS.values(), *CURVE_LAWS.values()] if law.family == family]
        parts += [f"# {title}", *map(section, laws)] if laws else []
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("laws.md").write_text(page(), encoding="utf-8")
