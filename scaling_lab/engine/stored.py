"""What a FIT.json must hold before a Fit is made of it: each check raises ValueError with what is wrong, and where."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..domains import allowed
from ..errors import UsageError
from ..laws import Law, Param, get_law
from ..quantities import DOMAINS, quantity
from ..tables.rows import HUGE
from .blend import DISCREPANCY, NAME, PLAIN, PRIORS, Blend, members_of

LARGEST = 6.0 * HUGE**2
SEVERITIES = ("info", "warning", "error")
METHODS = ("bootstrap", "profile", "covariance", "emcee")


def check_fit(found: Mapping[str, Any]) -> Law:
    """The law of the contents of FIT.json, all of which were found sound; raises ValueError where one is not."""
    law = _law(found)
    if found["target"] != law.target:
        raise ValueError(f"target {found['target']!r}, where {law.name} is a law of {law.target}")
    _params(_mapping(found, "params"), law)
    _draws(_mapping(found, "draws"), law)
    _objective(_mapping(found, "objective"))
    _accounts(found)
    _noise(_mapping(found, "noise"))
    _inputs(_mapping(found, "inputs"), law)
    _points(_mapping(found, "points"), law)
    _words(found)
    _prior(found)
    return law


def _law(found: Mapping[str, Any]) -> Law:
    name = found["law"]
    if "members" in found:
        _members(_list(found["members"], "members"))
        _baselines(_mapping(found, "baselines"))
        if found["calibration"] is not None:
            _calibration(_mapping(found, "calibration"))
    if name == NAME:
        return _blend(found)
    law = _known(name)
    if "members" in found and ([m["variant"] for m in found["members"]] != [PLAIN] or found["calibration"] is not None):
        raise ValueError(f"the members are those of auto, where the law is {name}")
    if found.get("posterior") is not None:
        _posterior(_mapping(found, "posterior"), law)
        _seen(_mapping(found, "points"))
    return law


def _known(name: Any) -> Law:
    """The law of that very name; raises ValueError."""
    try:
        law = get_law(name) if isinstance(name, str) else None
    except UsageError as fault:
        raise ValueError(f"{fault}; one of your own comes with --law-file") from None
    if law is None or law.name != name:
        raise ValueError(f"no law named {name!r}")
    return law


def _blend(found: Mapping[str, Any]) -> Law:
    members = members_of(found["members"])
    if found["calibration"] is None:
        raise ValueError("calibration is null, which the intervals of auto are made from")
    if len({member.label for member in members}) < len(members):
        raise ValueError("a law is twice among the members in one variant")
    if len({(member.law.target, member.law.residual) for member in members}) > 1:
        raise ValueError("the members predict different targets")
    inputs = Blend(members, None).inputs
    for member in members:
        if member.variant == PLAIN:
            raise ValueError(f"the member {member.law.name} of auto is plain")
        if member.scales is not None and set(member.scales.lengths) != set(inputs):
            raise ValueError(f"discrepancy.lengths are not of {', '.join(inputs)}")
        name = f"{member.label}.weight"
        if abs(_number(found["params"][name]["value"], f"params.{name}.value") - member.weight) > 1e-12:
            raise ValueError(f"params.{name} is not the weight of its member")
    if any(member.scales for member in members):
        _seen(_mapping(found, "points"))
    return Blend(members, None).law


def _seen(points: Mapping[str, Any]) -> None:
    """What a process about a law needs of the rows beside inputs and target."""
    for weight in _list(points.get("weight", []), "points.weight"):
        _positive(weight, "a value of points.weight")
    _list(points["run_id"], "points.run_id")


def _members(found: Sequence[Any]) -> None:
    if not found:
        raise ValueError("members is empty")
    total = 0.0
    for entry in found:
        if not isinstance(entry, Mapping):
            raise ValueError(f"a member is {_short(entry)}, not an object")
        _known(entry["law"])
        _one_of(entry["variant"], (PRIORS, DISCREPANCY, PLAIN), "a member's variant")
        total += _not_below_zero(entry["weight"], "a member's weight")
        if entry["inner_error"] is not None and _not_below_zero(entry["inner_error"], "a member's inner_error") > 0:
            _moderate(entry["inner_error"], "a member's inner_error")
        if (entry["variant"] == DISCREPANCY) != ("discrepancy" in entry):
            raise ValueError("a member's discrepancy is not as its variant says")
        if "discrepancy" in entry:
            _scales(_mapping(entry, "discrepancy"), "discrepancy")
    if abs(total - 1) > 1e-6:
        raise ValueError(f"the members' weights add up to {total:g}")


def _scales(found: Mapping[str, Any], where: str) -> None:
    for name in ("size", "noise"):
        _moderate(_positive(found[name], f"{where}.{name}"), f"{where}.{name}")
    for name, value in _mapping(found, "lengths").items():
        _moderate(_positive(value, f"{where}.lengths.{name}"), f"{where}.lengths.{name}")
    if _not_below_zero(found["run"], f"{where}.run") > 0:
        _moderate(found["run"], f"{where}.run")


def _posterior(found: Mapping[str, Any], law: Law) -> None:
    """Of a plain fit that auto came to: coordinates, their covariance, and scales."""
    _scales(_mapping(found, "scales"), "posterior.scales")
    if set(found["scales"]["lengths"]) != set(law.inputs):
        raise ValueError(f"posterior.scales.lengths are not of {', '.join(law.inputs)}")
    free = len([p for p in law.params if not p.reference])
    theta, covariance = _list(found["theta"], "posterior.theta"), _list(found["covariance"], "posterior.covariance")
    if len(theta) != free or [len(_list(row, "a row of posterior.covariance")) for row in covariance] != [free] * free:
        raise ValueError(f"posterior.theta and its covariance are not of {free} parameters")
    for value in (*theta, *(cell for row in covariance for cell in row)):
        _number(value, "a value of posterior")


def _baselines(found: Mapping[str, Any]) -> None:
    for name, error in found.items():
        if error is not None and _not_below_zero(error, f"baselines[{name!r}]") > 0:
            _moderate(error, f"baselines[{name!r}]")


def _calibration(found: Mapping[str, Any]) -> None:
    for name in ("near", "far", "spread", "error"):
        if _not_below_zero(found[name], f"calibration.{name}") > 0:
            _moderate(found[name], f"calibration.{name}")
    _share(found["level"], "calibration.level")
    if found["level"] < 0.5:
        raise ValueError(f"calibration.level is {found['level']:g}, which half widths are not measured at")
    for name in ("cuts", "held_out"):
        _count(found[name], f"calibration.{name}")


# ------------------------------------------------------------------------------------------------- kinds of values


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{where} is {_short(value)}, not a finite number")
    return float(value)


def _positive(value: Any, where: str) -> float:
    if not _number(value, where) > 0:
        raise ValueError(f"{where} is {_short(value)}, not above zero")
    return float(value)


def _size(value: Any, where: str) -> float:
    """A size as a table may hold it, or the compute that two of them come to."""
    if not 1 / LARGEST < _positive(value, where) < LARGEST:
        raise ValueError(f"{where} is {value:g}, no size that a measurement has")
    return float(value)


def _input(name: str) -> Callable[[Any, str], float]:
    """How a value of an input is checked."""
    domain = quantity(name).domain
    if domain == "positive":
        return _size

    def check(value: Any, where: str) -> float:
        if not allowed(domain, np.array([_number(value, where)])).all():
            raise ValueError(f"{where} is {value:g}, which is not {DOMAINS[domain]}")
        return float(value)

    return check


def _not_below_zero(value: Any, where: str) -> float:
    if _number(value, where) < 0:
        raise ValueError(f"{where} is {value:g}, below zero")
    return float(value)


def _moderate(value: float, where: str) -> None:
    """Of sizes in log loss and lengths in factors e: far beyond these, squares leave the range of numbers."""
    if not 1e-30 <= value <= 1e30:
        raise ValueError(f"{where} is {value:g}, which it can't be")


def _share(value: Any, where: str) -> None:
    if not 0 < _number(value, where) < 1:
        raise ValueError(f"{where} is {_short(value)}, not between 0 and 1")


def _count(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{where} is {_short(value)}, not a count")


def _text(value: Any, where: str) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{where} is {_short(value)}, not a text")


def _one_of(value: Any, known: Sequence[str], where: str) -> None:
    if value not in known:
        raise ValueError(f"{where} is {_short(value)}, not one of {', '.join(known)}")


def _mapping(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    if not isinstance(found[name], Mapping):
        raise ValueError(f"{name} is {_short(found[name])}, not an object")
    return found[name]


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{where} is {_short(value)}, not a list")
    return value


def _short(value: Any) -> str:
    return "null" if value is None else text if len(text := repr(value)) <= 40 else f"{text[:37]}..."


# ------------------------------------------------------------------------------------------------ parts of the file


def _names(found: Sequence[Any], law: Law, where: str) -> None:
    if list(found) != list(law.names):
        raise ValueError(f"{where} are {_short(list(found))}, where {law.name} has {', '.join(law.names)}")


def _allowed(value: Any, param: Param, where: str) -> None:
    low, high = param.bounds
    _number(value, where)
    if (low is not None and value < low) or (high is not None and value > high):
        raise ValueError(f"{where} is {value:g}, which no {param.name} can be")


def _params(found: Mapping[str, Any], law: Law) -> None:
    if sorted(found) != sorted(law.names):
        raise ValueError(f"params are {_short(list(found))}, where {law.name} has {', '.join(law.names)}")
    for param in law.params:
        estimate, where = _mapping(found, param.name), f"params.{param.name}"
        _allowed(estimate["value"], param, f"{where}.value")
        if estimate["se"] is not None:
            _not_below_zero(estimate["se"], f"{where}.se")
        if estimate["ci"] is not None:
            # null is an end that the data leave open.
            ends = [end is None or _number(end, f"{where}.ci") for end in _list(estimate["ci"], f"{where}.ci")]
            if len(ends) != 2:
                raise ValueError(f"{where}.ci has {len(ends)} ends")
        _text(estimate["unit"], f"{where}.unit")


def _draws(found: Mapping[str, Any], law: Law) -> None:
    _names(_list(found["names"], "draws.names"), law, "draws.names")
    rows = _list(found["values"], "draws.values")
    if not rows or found["n"] != len(rows):
        raise ValueError(f"draws.values has {len(rows)} rows and draws.n is {_short(found['n'])}")
    for row in rows:
        if len(_list(row, "a row of draws.values")) != len(law.names):
            raise ValueError(f"a row of draws.values has {len(row)} numbers, where {law.name} has {len(law.names)}")
        for value, param in zip(row, law.params, strict=True):
            _allowed(value, param, f"a draw of {param.name}")


def _objective(found: Mapping[str, Any]) -> None:
    _one_of(found["name"], ("huber", "l2", "l1"), "objective.name")
    _one_of(found["on"], ("log", "plain"), "objective.on")
    _positive(found["delta"], "objective.delta")
    _number(found["value"], "objective.value")


def _accounts(found: Mapping[str, Any]) -> None:
    """Starts, bootstrap, rows and metrics."""
    counts = {"starts": ("n", "converged", "at_best"), "bootstrap": ("n", "failed"), "rows": ("read", "used")}
    for part, names in counts.items():
        for name in names:
            _count(_mapping(found, part)[name], f"{part}.{name}")
    for name in ("polished", "audited"):
        if name in found["starts"]:
            _count(found["starts"][name], f"starts.{name}")
    if not isinstance(found.get("converged"), bool | None):
        raise ValueError(f"converged is {_short(found['converged'])}, not true or false")
    _text(found["bootstrap"]["resample"], "bootstrap.resample")
    if "intervals" in found:
        _one_of(_mapping(found, "intervals")["method"], METHODS, "intervals.method")
    _share(found["bootstrap"]["level"], "bootstrap.level")
    for why, count in _mapping(found["rows"], "dropped").items():
        _count(count, f"rows.dropped[{why!r}]")
    for name, value in _mapping(found, "metrics").items():
        if name not in ("r2", "spearman") or value is not None:
            _number(value, f"metrics.{name}")
    if found["metrics"]["n"] != found["rows"]["used"]:
        raise ValueError(f"metrics.n is {_short(found['metrics']['n'])}, where rows.used is {found['rows']['used']}")


def _noise(found: Mapping[str, Any]) -> None:
    for name in ("sd", "drift"):
        if _number(found[name], f"noise.{name}") < 0:
            raise ValueError(f"noise.{name} is {found[name]:g}, below zero")
    _count(found["cuts"], "noise.cuts")
    for name in ("bias", "bias_z"):
        if found.get(name) is not None:
            _number(found[name], f"noise.{name}")


def _inputs(found: Mapping[str, Any], law: Law) -> None:
    """The law's own inputs, each with its range, and compute where it is known."""
    if set(found) - {"flops"} != set(law.inputs) - {"flops"} or not set(law.inputs) <= set(found):
        raise ValueError(f"inputs are {_short(list(found))}, where {law.name} takes {', '.join(law.inputs)}")
    for name in found:
        about = _mapping(found, name)
        low, high = (_input(name)(about[end], f"inputs.{name}.{end}") for end in ("min", "max"))
        if low > high:
            raise ValueError(f"inputs.{name} runs from {low:g} down to {high:g}")


def _points(found: Mapping[str, Any], law: Law) -> None:
    missing = [name for name in (*law.inputs, law.target) if name not in found]
    if missing:
        raise ValueError(f"points has no {missing[0]}")
    lengths = {name: len(_list(values, f"points.{name}")) for name, values in found.items()}
    if len(set(lengths.values())) > 1 or not lengths[law.target]:
        raise ValueError(f"points has columns of {_short(lengths)} rows")
    kinds: dict[str, Callable[[Any, str], Any]] = {name: _input(name) for name in ("flops", *law.inputs)}
    kinds |= {"run_id": _text, law.target: _positive if law.residual == "log" else _number}
    for name, values in found.items():
        for value in values:
            kinds.get(name, _number)(value, f"a value of points.{name}")


def _prior(found: Mapping[str, Any]) -> None:
    """What another family's fit lent, where one did."""
    if "prior" not in found:
        return
    prior = _mapping(found, "prior")
    _text(_mapping(prior, "source")["law"], "prior.source.law")
    for name, lent in _mapping(prior, "params").items():
        for part in ("borrowed", "sd", "value", "share"):
            _number(lent[part], f"prior.params.{name}.{part}")
        if lent["alone"] is not None:
            _number(lent["alone"], f"prior.params.{name}.alone")


def _words(found: Mapping[str, Any]) -> None:
    """Warnings, notes, seed and the record of what made it."""
    for notice in _list(found["warnings"], "warnings"):
        if not isinstance(notice, Mapping):
            raise ValueError(f"a warning is {_short(notice)}, not an object")
        _text(notice["code"], "the code of a warning")
        _text(notice["message"], "the message of a warning")
        _one_of(notice["severity"], SEVERITIES, "the severity of a warning")
    for note in _list(found["notes"], "notes"):
        _text(note, "a note")
    _count(found["seed"], "seed")
    # A fit made in a notebook may carry no record.
    record = _mapping(found, "made_by")
    if "inputs" in record:
        for name, sha in _mapping(record, "inputs").items():
            _text(sha, f"made_by.inputs[{name!r}]")
