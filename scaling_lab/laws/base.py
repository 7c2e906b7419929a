"""What a scaling law is: a frozen record round one pure function, and the one registry of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from ..errors import BadInput, UsageError, nearest
from ..quantities import SHARE_PREFIX, quantity

Domain = Literal["positive", "negative", "real", "between"]
Family = Literal["size", "data", "mixture", "vocabulary", "experts", "task", "growth", "curve", "hyperparameter", "own"]
FAMILIES: tuple[Family, ...] = get_args(Family)
# Targets that are settings of a run, each row the best one of a place: no compute is split for them.
SETTINGS = ("lr_max", "batch_tokens")


@dataclass(frozen=True)
class Param:
    """A law's parameter.

    `start` is the range that starts are drawn from (not a bound). `domain` is the bound: a positive parameter is
    fitted through its logarithm, a negative one through the logarithm of its size, a real one as it is, one between
    two `limits` through the logistic function. A parameter with a `reference` is no freedom of the law but the place
    where it is centred: it is held at the geometric mean of that input, unless a value is given. One that lies `along`
    an input is a place on it: its starts are drawn from the range of the table's values.
    """

    name: str
    unit: str
    start: tuple[float, float]
    meaning: str
    domain: Domain = "positive"
    reference: str = ""
    limits: tuple[float, float] = (0.0, 1.0)
    along: str = ""

    @property
    def signed(self) -> bool:
        """Whether it keeps one sign and is searched through the logarithm of its size."""
        return self.domain in ("positive", "negative")

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Lowest and highest possible value, None where there is none."""
        if self.domain == "between":
            return self.limits
        return (0.0 if self.domain == "positive" else None, 0.0 if self.domain == "negative" else None)


@dataclass(frozen=True)
class Prior:
    """What is known of a parameter before a table is read: about normal in the coordinate it is searched in.

    That is the logarithm of its size, the logit of its place between its limits, or a real parameter itself. `center`
    is a value of the parameter, its share of the lowest target where `of_lowest`, or its product with the peak learning
    rate where `per_peak`, as what a drop is worth in the end is known; `sd` is in the coordinate.
    """

    center: float
    sd: float
    of_lowest: bool = False
    per_peak: bool = False


@dataclass(frozen=True)
class Published:
    """Coefficients that a paper printed, with the place they were read in."""

    values: Mapping[str, float]
    source: str
    note: str = ""


@dataclass(frozen=True)
class Power:
    """A term `coefficient * factor**exponent` of a law, or `coefficient / factor**exponent` where `sign` is -1.

    `factor` is an input, or maps inputs (n,) by name to what stands there; it is counted in `unit`. A term without one
    is its coefficient alone, taken away where `minus`.
    """

    coefficient: str
    factor: str | Callable[[Mapping[str, Any]], Any] = ""
    exponent: str = ""
    sign: Literal[1, -1] = 1
    unit: float = 1.0
    minus: bool = False

    def __post_init__(self) -> None:
        if self.minus and self.factor:
            raise ValueError(f"{self.coefficient}: only a constant is taken away from a sum of powers")

    def base(self, x: Mapping[str, Any]) -> Any:
        """What is raised to the power, (n,), at inputs (n,)."""
        return (self.factor(x) if callable(self.factor) else x[self.factor]) / self.unit


@dataclass(frozen=True)
class ExpOfSum:
    """A law that is `floor + height * exp(sum of slope * input)`: two positive parameters, and (slope, input) pairs."""

    floor: str
    height: str
    slopes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class WeightedSum:
    """A law that is a sum of `weight * product of inputs`: the (weight, inputs) of each term."""

    terms: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Bowls:
    """A law that is a floor and two bowls (Varian's LINEX): the names of its fifteen parameters, and its logarithms.

    E, A, alpha, B, beta, lr_0, lr_n, lr_d, batch_0, batch_d, C_lr, skew_lr, tilt, C_batch, skew_batch make up
    E + A e^(-alpha n) + B e^(-beta d) + bowl(C_lr, skew_lr, u) + bowl(C_batch, skew_batch, v), where
    v = batch - log batch_0 - batch_d d, u = lr - log lr_0 - lr_n n - lr_d d + tilt v and
    bowl(C, s, w) = C (e^(s w) - 1 - s w) / s². `logs` maps inputs (n,) by name to n, d, lr and batch (n,). lr_n,
    lr_d, batch_d, the skews and tilt are real, the others positive.
    """

    names: tuple[str, ...]
    logs: Callable[[Mapping[str, Any]], tuple[Any, Any, Any, Any]]


@dataclass(frozen=True)
class Rule:
    """What holds of the inputs of every row and every point, and how one is told for which it doesn't.

    `holds` maps inputs (n,) by name to (n,) truths.
    """

    holds: Callable[[Mapping[str, Any]], Any]
    says: str


@dataclass(frozen=True)
class Budget:
    """How compute is spent on a law's inputs, so that a budget can be split over them.

    A point names `size`, `data` and the `further` inputs; `inputs` maps it to the law's own, where they are others.
    Training costs per_token(point) FLOP for each of `data`, and fixed(point) besides; serving costs per_served(point)
    for each token (None: the law does not say what is served). Those two are affine in the size, and `fixed` does not
    depend on it. Of the further inputs those in `free` are optimised within the fitted range where no value is given;
    the others must be given. `unique` is the input that says how many distinct tokens there are, for a law that models
    repeated ones; `says` is the cost in words and `note` what else a reader of a split must know.
    """

    size: str = "params"
    data: str = "tokens"
    per_token: Callable[[Mapping[str, Any]], Any] = lambda x: 6.0 * x["params"]
    per_served: Callable[[Mapping[str, Any]], Any] | None = lambda x: 2.0 * x["params"]
    fixed: Callable[[Mapping[str, Any]], Any] | None = None
    inputs: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    further: tuple[str, ...] = ()
    free: tuple[str, ...] = ()
    unique: str = ""
    says: str = "6*params*tokens"
    note: str = ""


@dataclass(frozen=True)
class Law:
    """A law of `target` in `inputs`.

    `predict(x, **params)` takes arrays (n,) by input name and parameters (B, 1) by name, and returns (B, n). It is
    written in operators and numpy ufuncs only, so that derivatives follow (engine/dual.py). `formula` is the same in
    text. `linear` names the parameters that enter linearly and not below zero when the others are held. `powers`, for a
    law that is a plain sum of powers, are its terms: with them it is fitted several times faster. A law with `priors`
    is a candidate of `auto`; a fit of the law itself uses them only where it `needs_priors`, being no law without.

    `over` makes the law of other inputs: of any one input, or, where `shares`, of the shares w_NAME that a table has.
    `files` are those that a law of one's own came from, by path with their sha256. `rules` are what its inputs must
    keep to. `identifiability` says which tables can't tell its parameters apart, and
    `cautions` maps inputs (n,) and parameters by name to what a reader of predictions there must know, `shape` those of
    a fit to what they lack of the shape that the law's authors ask of it. `form` says that a law is a plain sum of
    inputs, the exponential of one, or two bowls over a floor: with it it is fitted many times faster.
    `delta` is the width of the Huber objective that it is fitted with where none is asked for, the usual 1e-3 if None.
    `budget` is how compute is spent on the inputs; a law of one size and tokens without it costs 6 times their product.
    `misfit` maps inputs (n,) by name and the target (n,) to why the law can't hold of such a table, empty where it may.
    `begin` maps the same to further places (k,) by parameter that a fit begins at, where random ones hardly come near.
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
    family: Family = "own"
    identifiability: str = ""
    needs_priors: bool = False
    rules: tuple[Rule, ...] = ()
    over: Callable[[tuple[str, ...]], Law] | None = None
    shares: bool = False
    files: Mapping[str, str] = field(default_factory=dict)
    cautions: Callable[[Mapping[str, Any], Mapping[str, float]], Sequence[str]] | None = None
    shape: Callable[[Mapping[str, Any], Mapping[str, float]], Sequence[str]] | None = None
    form: ExpOfSum | WeightedSum | Bowls | None = None
    delta: float | None = None
    budget: Budget | None = None
    misfit: Callable[[Mapping[str, Any], Any], str] | None = None
    begin: Callable[[Mapping[str, Any], Any], Mapping[str, Any]] | None = None

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
    """The law of that name or alias, or NAME@INPUT,… for one that can be of other inputs.

    Raises UsageError naming the nearest.
    """
    if isinstance(name, Law):
        return name
    known = {alias: law for law in LAWS.values() for alias in (law.name, *law.aliases)}
    if name in known:
        return known[name]
    base, at, inputs = name.partition("@")
    law = known.get(base) if at else None
    if law is None:
        raise UsageError(f"no law named {name!r}; {nearest(name, known)}")
    chosen = tuple(inputs.split(","))
    if law.over is None:
        raise UsageError(f"{law.name} is a law of {', '.join(law.inputs)} and no others: leave {at}{inputs} out")
    strange = [i for i in chosen if not i or (law.shares and not i.startswith(SHARE_PREFIX))]
    if strange or len(set(chosen)) < len(chosen) or (len(chosen) > 1) != law.shares:
        want = f"{SHARE_PREFIX}NAME,{SHARE_PREFIX}NAME,…" if law.shares else "ONE_INPUT"
        raise UsageError(f"{name!r} names no inputs of {law.name}; write {law.name}@{want}")
    if law.target in chosen:
        raise UsageError(f"{name!r}: {law.target} is what {law.name} is a law of, and not an input; name another")
    return law.over(chosen)


def law_for(name: str | Law, columns: Iterable[str], table: str | None = None) -> Law:
    """The law of that name as it stands for a table with these columns: over all of its shares, where it is of shares.

    Raises BadInput where a law of shares finds fewer than two.
    """
    law = get_law(name)
    if not law.shares or "@" in law.name:
        return law
    found = tuple(column for column in columns if column.startswith(SHARE_PREFIX))
    if len(found) < 2:
        raise BadInput(
            f"{law.name} is a law of the shares of sources, {SHARE_PREFIX}NAME, and there are {len(found)}",
            file=table,
            fix=f"name the columns with --map {SHARE_PREFIX}code=COLUMN, two or more",
        )
    assert law.over is not None
    return law.over(found)


def broken_rules(law: Law, x: Mapping[str, Any]) -> dict[int, str]:
    """{row: what the inputs x (n,) of the row break}, by the law's rules."""
    found: dict[int, str] = {}
    for rule in law.rules:
        for row in np.flatnonzero(~np.asarray(rule.holds(x))).tolist():
            found.setdefault(row, rule.says)
    return found


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
                "family": law.family,
                "target": law.target,
                "inputs": {name: quantity(name).unit for name in law.inputs},
                "params": {
                    p.name: {"unit": p.unit, "bounds": list(p.bounds), "start": list(p.start), "meaning": p.meaning}
                    for p in law.params
                },
                "published": {
                    name: {"values": dict(row.values), "source": row.source, "note": row.note}
                    for name, row in law.published.items()
                },
                "delta": law.delta,
                "rules": [rule.says for rule in law.rules],
                "identifiability": law.identifiability,
                "notes": law.notes,
            }
            for law in laws
        ],
    }
