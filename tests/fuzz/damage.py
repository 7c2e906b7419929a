"""FIT.json as bad disks, hands and programs leave it: values, names and bytes changed at random."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from scaling_lab.engine.fit import fit
from tests.conftest import chinchilla_table

from .run import check_answer, check_fault, lab, strict_json

# What may stand where another value was. The text is put in as JSON, so that NaN and 1e999 can stand there too.
VALUES = (
    "null", "true", "false", "0", "-1", "1", "2", "0.5", "-0.5", "1e308", "-1e308", "1e-308", "5e-324", "1e999", "NaN",
    "-Infinity", "1" * 400, '"x"', '""', '"1"', '"\\ud800"', '"\\u001b[31m"', "[]", "{}", "[1]", "[null, null]",
    '{"value": 1}', "1e16", "1e-16", "3", "1e30", "1e-30", "700", "-700", '"auto"', '"chinchilla"', '"hestness"',
)  # fmt: skip


@dataclass(frozen=True)
class Damaged:
    """The bytes of a FIT.json, what was done to them, and what is then asked of it."""

    content: bytes
    story: str
    words: tuple[str, ...]
    seed: str = ""

    def __repr__(self) -> str:
        return f"Damaged(seed {self.seed}, {self.story}: {' '.join(self.words)})"


def sound_fits() -> dict[str, str]:
    """The text of a sound FIT.json of every kind: with draws, without, by profile, with a prior, of auto."""
    table = chinchilla_table(0.003)
    chinchilla = fit("chinchilla", table, starts=4, bootstrap=6)
    found = {
        "chinchilla": chinchilla,
        "hestness": fit("hestness", table, starts=4, bootstrap=0),
        "kaplan-nd": fit("kaplan-nd", table[::3], starts=4, bootstrap=3),
        "profile": fit("chinchilla-tied", table[::2], starts=4, bootstrap=4, intervals="profile"),
        "prior": fit("chinchilla", table[::3], starts=4, bootstrap=3, prior=chinchilla),
        "auto": fit("auto", table[::2], starts=4, bootstrap=3),
    }
    return {name: json.dumps(strict_json(_text(one))) for name, one in found.items()}


def _text(one: Any) -> str:
    from scaling_lab.files import to_json

    return to_json(one.to_dict())


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    # Of a long list, the ends: draws and points are hundreds of like numbers.
    for key, item in items:
        if not isinstance(key, int) or key < 2:
            yield from _places(item, (*path, key))


def _within(found: Any, path: Sequence[Any]) -> Any:
    for key in path:
        found = found[key]
    return found


def _change(rng: random.Random, found: Any, tokens: dict[str, str]) -> str:
    """Changes one value somewhere, drops or renames it, and says so; new values stand as tokens until all is text."""
    places = [path for path in _places(found) if path]
    path = rng.choice(places)
    parent, key = _within(found, path[:-1]), path[-1]
    kind = rng.choice(("set",) * 8 + ("scale",) * 4 + ("drop", "rename", "repeat"))
    if kind == "scale" and isinstance(parent[key], (int, float)) and not isinstance(parent[key], bool):
        parent[key] = parent[key] * rng.choice((-1, 0, 2, 1e3, 1e-3, 1e9, 1e-9, 1e200, 1e-200))
    elif kind == "drop":
        del parent[key]
    elif kind == "rename" and isinstance(parent, dict):
        parent[rng.choice(("x", "loss", "params", "E", ""))] = parent.pop(key)
    elif kind == "repeat" and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(parent[key]))
    else:
        kind = rng.choice(VALUES)
        tokens[f"@{len(tokens)}@"] = kind
        parent[key] = f"@{len(tokens) - 1}@"
    return f"{'.'.join(map(str, path))}: {kind}"


def damaged_of(fits: Mapping[str, str], rng: random.Random) -> Damaged:
    """One sound fit with one to three changes in its values, and rarely in its bytes."""
    which = rng.choice(list(fits))
    found, tokens, story = json.loads(fits[which]), {}, [which]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        story.append(_change(rng, found, tokens))
    text = json.dumps(found)
    for token, value in tokens.items():
        text = text.replace(json.dumps(token), value)
    content = text.encode()
    if rng.random() < 0.1:
        at = rng.randrange(len(content))
        bad = rng.choice((b"", b"\x00", b'"', b"\xff", b"}", b"9", b"-"))
        content = content[:at] if rng.random() < 0.3 else content[:at] + bad + content[at + 1 :]
        story.append(f"byte {at}: {bad!r}")
    point = rng.choice(("params=1e8,tokens=1e10", "params=1e8", "tokens=1e10", "params=1e30,tokens=1", "flops=1e21"))
    words: tuple[str, ...] = ("predict", f"--at={point}")
    if which not in ("hestness",) and "=1e8," not in point and rng.random() < 0.7:
        words = ("predict", "--at=params=1e8,tokens=1e10")
    if rng.random() < 0.5:
        asked = rng.choice(("--flops=1e21", "--flops=1e21", "--flops=1e10", "--target-loss=2.5", "--target-loss=1e-9"))
        words = ("allocate", asked)
    if rng.random() < 0.2:
        words = (*words, rng.choice(("--level=0.5", "--level=0.999", "--level=nan", "--level=1")))
    if rng.random() < 0.7:
        words = (*words, "--json")
    return Damaged(content, "; ".join(story), words)


def damaged(fits: Mapping[str, str], salt: str = "") -> st.SearchStrategy[Damaged]:
    """Random damaged fits, each from one seed of hypothesis's (see tables.cases)."""

    def make(rng: random.Random) -> Damaged:
        text = f"{salt}{rng.random()}"
        return replace(damaged_of(fits, random.Random(text)), seed=text)

    return st.randoms(use_true_random=True).map(make)


def run_damaged(case: Damaged, folder: Path) -> str:
    """`answer`, or the class of the fault; raises run.Broken where an answer is none."""
    path = folder / "damaged.json"
    path.write_bytes(case.content)
    done = lab(case.words[0], str(path), *case.words[1:])
    if done.code:
        check_fault(done)
        return done.fault
    if "--json" in case.words:
        check_answer(strict_json(done.out))
    return "answer"
