"""Several laws as one: the weighted mean of their predictions, each with what its process says it misses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.special import stdtrit

from ..laws import Law, Param, get_law
from .discrepancy import Scales, Seen
from .solve import one_blas_thread

Floats = NDArray[np.float64]

NAME = "auto"
PRIORS, DISCREPANCY, PLAIN = "priors", "priors + discrepancy", "plain"
# Far fewer inner backtests than a normal's tails need: an interval at another level than the calibrated one grows as
# Student's t with this many degrees of freedom.
TAILS = 5
# Numbers in an array of covariances of points with rows.
BLOCK = 1_000_000


@dataclass(frozen=True)
class Member:
    """A law of the blend in one variant: its share, and its mean error in the inner backtests, if any.

    `scales` are those of its process, None in a variant without one.
    """

    law: Law
    variant: str
    weight: float
    error: float | None
    scales: Scales | None = None

    @property
    def label(self) -> str:
        """What the member's parameters are named after."""
        return f"{self.law.name}~" if self.scales else self.law.name

    def to_dict(self) -> dict[str, Any]:
        """As FIT.json lists it."""
        found = {"law": self.law.name, "variant": self.variant, "weight": self.weight, "inner_error": self.error}
        return found | ({"discrepancy": self.scales.to_dict()} if self.scales else {})


@dataclass(frozen=True)
class Calibration:
    """Half widths of intervals at `level`, on the scale of the residuals, as the inner backtests demand them.

    A point at a distance of d factors e from the rows, where the members' spread is s, has the half width
    sqrt(near² + (far * d)² + (spread * s)²). `cuts` inner backtests with `held_out` predictions in all were made, and
    `error` is the mean absolute error of the members' weighted mean in them (the weights have seen it).
    """

    near: float
    far: float
    spread: float
    level: float
    cuts: int
    held_out: int
    error: float

    def half_width(self, distance: Floats, spread: Floats, level: float) -> Floats:
        """Of points (n,) at their distances and spreads (n,)."""
        size = np.sqrt(self.near**2 + (self.far * distance) ** 2 + (self.spread * spread) ** 2)
        ratio = float(stdtrit(TAILS, (1 + level) / 2) / stdtrit(TAILS, (1 + self.level) / 2))
        return np.asarray(ratio * size)


@dataclass(frozen=True)
class Blend:
    """The members, and the rows that their processes have seen (None where no member has one).

    All predict one target on one scale of residuals, from some or all of the blend's inputs, which are those of the
    members together. A process is over all of them, whatever its law takes.
    """

    members: tuple[Member, ...]
    seen: Seen | None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Those of the members together, the widest law's first."""
        return inputs_of([member.law for member in self.members])

    @classmethod
    def of(cls, members: tuple[Member, ...], points: Mapping[str, Any]) -> Blend:
        """The members, and of a fit's points what their processes see."""
        if not any(member.scales for member in members):
            return cls(members, None)
        return cls(members, Seen.of_points(members[0].law, points, cls(members, None).inputs))

    @property
    def on(self) -> str:
        """The scale of the members' residuals: log or plain."""
        return self.members[0].law.residual

    @cached_property
    def law(self) -> Law:
        """The blend as a law, whose parameters are all members' own and their weights."""
        params, first = [], self.members[0].law
        for member in self.members:
            for p in member.law.params:
                params.append(Param(f"{member.label}.{p.name}", p.unit, p.start, p.meaning, p.domain))
            params.append(
                Param(f"{member.label}.weight", "", (0.0, 1.0), f"share of {member.law.name}, {member.variant}", "real")
            )
        return Law(
            name=NAME,
            title="Several laws, weighted by inner backtests",
            source="This project: docs/auto.md",
            inputs=self.inputs,
            params=tuple(params),
            formula=self._formula(),
            predict=self._predict,
            target=first.target,
            residual=first.residual,
            rules=tuple(dict.fromkeys(rule for member in self.members for rule in member.law.rules)),
            notes="Members, their weights and why: docs/auto.md. A name with ~ has a discrepancy process.",
        )

    def _formula(self) -> str:
        if self.on == "plain":
            return " + ".join(f"{m.weight:.3f} * ({m.label})" for m in self.members)
        return "exp(" + " + ".join(f"{m.weight:.3f} * log({m.label})" for m in self.members) + ")"

    def _predict(self, x: Mapping[str, Any], **params: Any) -> Any:
        total: Any = 0.0
        for member in self.members:
            weight = np.asarray(params[f"{member.label}.weight"], dtype=float)
            total = total + self._share(member, x, weight, params)
        return np.exp(total) if self.on == "log" else total

    def _share(self, member: Member, x: Mapping[str, Any], weight: Floats, params: Mapping[str, Any]) -> Any:
        """The member's weighted prediction, scaled; worked out only for the draws (B, 1) that give it a weight."""
        own = {p.name: np.asarray(params[f"{member.label}.{p.name}"], dtype=float) for p in member.law.params}
        if weight.ndim < 2:
            return weight * self.scaled_member(member, x, {name: v.reshape(1, 1) for name, v in own.items()})[0]
        chosen = weight[:, 0] != 0
        if not chosen.any():
            return 0.0
        if len(weight) == 1:
            return weight * self.scaled_member(member, x, own)
        some = {n: v if v.ndim < 2 or len(v) == 1 else v[chosen] for n, v in ((n, np.asarray(v)) for n, v in x.items())}
        found = self.scaled_member(member, some, {name: v[chosen] for name, v in own.items()})
        out = np.zeros((len(weight), found.shape[1]))
        out[chosen] = weight[chosen] * found
        return out

    def scaled_member(self, member: Member, x: Mapping[str, Any], params: Mapping[str, Floats]) -> Floats:
        """One member (B, n) on the scale of the residuals, with parameters (B, 1), at inputs (n,) or (B, n)."""
        with np.errstate(all="ignore"):
            value = self._law(member.law, x, params)
        if member.scales is None:
            return value
        assert self.seen is not None
        with np.errstate(all="ignore"):
            residual = self.seen.y - self._law(member.law, self.seen.x, params)
        # A draw of absurd parameters has no number of its own, and takes none from the others.
        pulled = scipy.linalg.cho_solve((self._factor(member), True), residual.T, check_finite=False).T
        return np.asarray(value + self._missed(member.scales, x, pulled))

    def _law(self, law: Law, x: Mapping[str, Any], params: Mapping[str, Floats]) -> Floats:
        """A law (B, n) on the scale of the residuals."""
        found = np.asarray(law.predict(dict(x), **params))
        return np.log(found) if self.on == "log" else found

    def _missed(self, scales: Scales, x: Mapping[str, Any], pulled: Floats) -> Floats:
        """What a process adds (B, m) at inputs (m,) or (B, m), from the rows' residuals by covariance^-1 (B, n)."""
        assert self.seen is not None
        names = self.seen.names
        values = np.broadcast_arrays(*(np.asarray(x[name], dtype=float) for name in names))
        points, draws = values[0].shape[-1], values[0].size // values[0].shape[-1]
        size = max(1, BLOCK // (draws * len(self.seen.y)))
        out = np.empty((max(draws, len(pulled)), points))
        for at in range(0, points, size):
            part = slice(at, at + size)
            across = self.seen.across(scales, {name: v[..., part] for name, v in zip(names, values, strict=True)})
            out[:, part] = pulled @ across.T if across.ndim == 2 else (across @ pulled[:, :, None])[:, :, 0]
        return out

    def _factor(self, member: Member) -> Floats:
        """The Cholesky factor of the rows' covariance under a member's process."""
        if member.label not in self._factors:
            assert self.seen is not None
            assert member.scales is not None
            with one_blas_thread():
                self._factors[member.label] = np.asarray(np.linalg.cholesky(self.seen.covariance(member.scales)))
        return self._factors[member.label]

    @cached_property
    def _factors(self) -> dict[str, Floats]:
        return {}

    def spread(self, x: Mapping[str, Floats], values: Mapping[str, float]) -> Floats:
        """The weighted standard deviation (n,) of the members' predictions, scaled, at inputs (n,)."""
        each = []
        for member in self.members:
            own = {p.name: np.array([[values[f"{member.label}.{p.name}"]]]) for p in member.law.params}
            each.append(self.scaled_member(member, x, own)[0])
        return weighted_spread(np.stack(each), np.array([member.weight for member in self.members]))


def inputs_of(laws: Sequence[Law]) -> tuple[str, ...]:
    """The inputs of several laws together, those of the widest first."""
    ordered = sorted(laws, key=lambda law: -len(law.inputs))
    return tuple(dict.fromkeys(name for law in ordered for name in law.inputs))


def weighted_spread(values: Floats, weights: Floats) -> Floats:
    """The standard deviation (n,) of values (k, n) with weights (k,) that sum to one."""
    mean = weights @ values
    return np.asarray(np.sqrt(weights @ (values - mean) ** 2))


def members_of(found: Sequence[Mapping[str, Any]]) -> tuple[Member, ...]:
    """The members as FIT.json lists them; raises UsageError where a law is not known."""
    out = []
    for entry in found:
        scales = entry.get("discrepancy")
        out.append(
            Member(
                get_law(entry["law"]),
                entry["variant"],
                float(entry["weight"]),
                None if entry["inner_error"] is None else float(entry["inner_error"]),
                None if scales is None else Scales(**scales),
            )
        )
    return tuple(out)
