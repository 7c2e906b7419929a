"""What a scaling law is: a frozen record round one pure function, and the one registry of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import UsageError, nearest
from ..quantities import QUANTITIES

Domain = Literal["positive", "negative", "real"]


@dataclass(frozen=True)
class Param:
    """A law's parameter.

    `start` is the range that starts are drawn from (not a bound). `domain` is the bound: a positive parameter is
    fitted through its logarithm, a negative one through the logarithm of its size, a real one as it is. A parameter
    with a `reference` is no freedom of the law but the place where it is centred: it is held at the geometric mean of
    that input, unless a value is given.
    """

    name: str
    unit: str
    start: tuple[float, float]
    meaning: str
    domain: Domain = "positive"
    reference: str = ""

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Lowest and highest possible value, None where there is none."""
        return (0.0 if self.domain == "positive" else None, 0.0 if self.domain == "negative" else None)


@dataclass(frozen=True)
class Prior:
    """What is known of a parameter before a table is read: about normal in the coordinate it is searched in.

    That is the logarithm of its size, or a real parameter itself. `center` is a value of the parameter, or its share
    of the lowest target where `of_lowest`; `sd` is in the coordinate.
    """

    center: float
    sd: float
    of_lowest: bool = False


@dataclass(frozen=True)
class Published:
    """Coefficients that a paper printed, with the place they were read in."""

    values: Mapping[str, float]
    source: str
    note: str = ""


@dataclass(frozen=True)
class Power:
    """A term `coefficient * factor**exponent` of a law, or `coefficient / factor**exponent` where `sign` is -1.

    `factor` is an input; a term without one is its coefficient alone.
    """

    coefficient: str
    factor: str = ""
    exponent: str = ""
    sign: Literal[1, -1] = 1


@dataclass(frozen=True)
class Law:
    """A law of `target` in `inputs`.

    `predict(x, **params)` takes arrays (n,) by input name and parameters (B, 1) by name, and returns (B, n). It is
    written in operators and numpy ufuncs only, so that derivatives follow (engine/dual.py). `formula` is the same in
    text. `linear` names the parameters that enter linearly and not below zero when the others are held. `powers`, for a
    law that is a plain sum of powers, are its terms: with them it is fitted several times faster. A law with `priors`
    is a candidate of `auto`; a fit of the law itself does not use them.
    """

    name: str
    title: str
    source: str
    inputs: tuple[str, ...]
    params: tuple[Param, ...]
    formula: str
    predict: Callable[..., Any]
    target: str = "loss"
    residual: Literal["log", "plain"] = "log"
    linear: tuple[str, ...] = ()
    powers: tuple[Power, ...] = ()
    published: Mapping[str, Published] = field(default_factory=dict)
    priors: Mapping[str, Prior] = field(default_factory=dict)
    notes: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters' names in the order of the registry."""
        return tuple(param.name for param in self.params)

    def param(self, name: str) -> Param:
        """The parameter of that name; raises UsageError naming the nearest."""
        for param in self.params:
            if param.name == name:
                return param
        raise UsageError(f"{self.name} has no parameter {name!r}; {nearest(name, self.names)}")


LAWS: dict[str, Law] = {}


def register(law: Law) -> Law:
    """Puts a law into the registry and returns it; a name that is taken is a bug."""
    if law.name in LAWS:
        raise ValueError(f"two laws are named {law.name}")
    LAWS[law.name] = law
    return law


def get_law(name: str | Law) -> Law:
    """The law of that name or alias; raises UsageError naming the nearest."""
    if isinstance(name, Law):
        return name
    known = {alias: law for law in LAWS.values() for alias in (law.name, *law.aliases)}
    if name not in known:
        raise UsageError(f"no law named {name!r}; {nearest(name, known)}")
    return known[name]


def catalogue(laws: Iterable[Law]) -> dict[str, Any]:
    """The JSON of `scaling-lab laws --json`."""
    return {
        "schema": "scaling-lab/laws/1",
        "laws": [
            {
                "name": law.name,
                "aliases": list(law.aliases),
                "title": law.title,
                "source": law.source,
                "formula": law.formula,
                "target": law.target,
                "inputs": {name: QUANTITIES[name].unit for name in law.inputs},
                "params": {
                    p.name: {"unit": p.unit, "bounds": list(p.bounds), "start": list(p.start), "meaning": p.meaning}
                    for p in law.params
                },
                "published": {
                    name: {"values": dict(row.values), "source": row.source, "note": row.note}
                    for name, row in law.published.items()
                },
                "notes": law.notes,
            }
            for law in laws
        ],
    }
