"""Smoothly broken power laws of any one size, with one to three breaks."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..quantities import format_quantity, quantity
from .base import Law, Param, Prior, Published, register

# A predict function takes and returns arrays, or the dual numbers that stand in for them.
Array = Any


def _places(values: Mapping[str, Array], breaks: int) -> list[Array]:
    """Where the breaks lie, first to last: each behind the one before by a factor 1 + g, so that none has two names."""
    places = [values["d_1"]]
    for i in range(2, breaks + 1):
        places.append(places[-1] * (1.0 + values[f"g_{i}"]))
    return places


def _predict(size: str, breaks: int) -> Any:
    def predict(x: dict[str, Array], a: Array, b: Array, c_0: Array, **params: Array) -> Array:
        log_x = np.log(x[size])
        exponent = -c_0 * log_x
        for i, place in enumerate(_places(params, breaks), 1):
            f = params[f"f_{i}"]
            # log(1 + (x/d)**(1/f)), however sharp the break is.
            exponent = exponent - params[f"c_{i}"] * f * np.logaddexp(0.0, (log_x - np.log(place)) / f)
        return a + b * np.exp(exponent)

    return predict


def _formula(size: str, breaks: int) -> str:
    terms, place = [f"a + b * {size}**-c_0"], "d_1"
    for i in range(1, breaks + 1):
        place = place if i == 1 else f"{place} * (1 + g_{i})"
        terms.append(f"(1 + ({size} / {place if i == 1 else f'({place})'})**(1 / f_{i}))**(-c_{i} * f_{i})")
    return " * ".join(terms)


def _params(size: str, breaks: int) -> tuple[Param, ...]:
    unit = quantity(size).unit
    found = [
        Param("a", "nats/token", (1e-2, 5.0), "loss that does not fall any more"),
        Param("b", "nats/token", (1e-2, 1e6), f"reducible loss before the first break, at {size} = 1"),
        Param("c_0", "", (-0.2, 1.0), "exponent before the first break", domain="real"),
    ]
    for i in range(1, breaks + 1):
        found.append(Param(f"c_{i}", "", (-1.0, 1.0), f"what break {i} adds to the exponent", domain="real"))
        if i == 1:
            found.append(Param("d_1", unit, (1e2, 1e13), "place of the first break", along=size))
        else:
            meaning = f"how far break {i} lies behind break {i - 1}, as a share of its place"
            found.append(Param(f"g_{i}", "", (0.1, 1e2), meaning))
        found.append(Param(f"f_{i}", "", (0.02, 1.0), f"width of break {i} in factors e; near 0 it is sharp"))
    return tuple(found)


def _cautions(size: str, breaks: int) -> Any:
    def cautions(x: Mapping[str, Any], values: Mapping[str, float]) -> Sequence[str]:
        last = float(_places(values, breaks)[-1])
        past = int(np.sum(np.asarray(x[size]) > last))
        if not past:
            return ()
        points = "point lies" if past == 1 else "points lie"
        return (
            f"{past} {points} past the last break, at {size} = {format_quantity(last)}: the slope there is known only "
            "from runs past it, and a further break would not show in the fit",
        )

    return cautions


# Floors of half of the lowest loss, because what follows a break may fall far; slopes as of other laws of loss.
_PRIORS = {"a": Prior(0.5, 0.6, of_lowest=True), "c_0": Prior(0.2, 0.2)}


def _bnsl(breaks: int, size: str, name: str) -> Law:
    plural = "one break" if breaks == 1 else f"{breaks} breaks"
    priors = dict(_PRIORS)
    for i in range(1, breaks + 1):
        # Breaks of the paper's figures add exponents of either sign, about as often as not beyond 1 in size.
        priors |= {f"c_{i}": Prior(0.3, 1.5), f"f_{i}": Prior(0.2, 1.0)}
    published = {
        "caballero2022-addition": Published(
            dict(a=0.4139, b=2.277, c_0=0.0551, c_1=5.663, d_1=612.6, f_1=0.0592),
            "arXiv:2210.14891, figure 4 left, authors' code: 4-digit addition",
            "the size is examples in the training set: bnsl1@examples",
        )
    }
    return Law(
        name=name,
        title=f"Broken power law with {plural}, in {size}",
        source="Caballero et al. 2022, arXiv:2210.14891, eq. 1",
        family="size",
        identifiability=(
            "Each break needs runs on both sides of it and several across it: with runs only before it neither its "
            f"place nor what follows is told. Of {3 + 3 * breaks} parameters, the floor needs runs that come near it."
        ),
        inputs=(size,),
        params=_params(size, breaks),
        formula=_formula(size, breaks),
        predict=_predict(size, breaks),
        linear=("a", "b"),
        published=published if breaks == 1 else {},
        priors=priors,
        over=functools.partial(_over, breaks),
        cautions=_cautions(size, breaks),
        notes=(
            f"Of any one size: bnsl{breaks}@examples, bnsl{breaks}@params, bnsl{breaks}@flops. The exponent after "
            "break i is c_0 + ... + c_i."
            + (" Break i lies at d_1*(1 + g_2)*...*(1 + g_i), which keeps them in order." if breaks > 1 else "")
        ),
    )


@functools.cache
def _over(breaks: int, inputs: tuple[str, ...]) -> Law:
    return _bnsl(breaks, inputs[0], f"bnsl{breaks}@{inputs[0]}")


BNSL1 = register(_bnsl(1, "tokens", "bnsl1"))
BNSL2 = register(_bnsl(2, "tokens", "bnsl2"))
BNSL3 = register(_bnsl(3, "tokens", "bnsl3"))
