"""Laws of one's own: Law records in a Python file, checked and put into the registry."""

from __future__ import annotations

import importlib.util
import traceback
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np

from ..errors import BadInput, UsageError, nearest
from ..files import sha256_file
from ..quantities import quantity
from .base import LAWS, Law, register


def law_file(spec: str) -> list[Law]:
    """The laws of `mylaw.py:MY_LAW`, or all those of `mylaw.py`, checked and registered under their names.

    The file is run: it is Python. Raises UsageError where there is no such file or law, or a law has the name of
    another; BadInput with the line where the file fails, or where what a law prints is not what it computes.
    """
    path, _, name = spec.rpartition(":") if ":" in Path(spec).name else (spec, "", "")
    if not Path(path).is_file():
        raise UsageError(f"--law-file {spec}: no file {path!r}; write it as mylaw.py:MY_LAW")
    ours = list(LAWS.values())
    module = _run(Path(path))
    found = {key: value for key, value in vars(module).items() if isinstance(value, Law)}
    # What a file imports from the catalogue is no law of its own.
    own = {key: law for key, law in found.items() if not any(law is known for known in ours)}
    if name and name not in found:
        what = f"{name} is no Law but a {type(getattr(module, name)).__name__}" if hasattr(module, name) else ""
        raise UsageError(f"--law-file {spec}: {what or f'{path} has no {name}; {nearest(name, own)}'}")
    chosen = [found[name]] if name else list(own.values())
    if not chosen:
        raise UsageError(f"--law-file {spec}: {path} makes no Law; give one as MY_LAW = Law(name=..., ...)")
    return [_registered(check_law(law, path), path) for law in chosen]


def _is_of(law: Law, path: str) -> bool:
    return str(Path(path).resolve()) in law.files


def _registered(law: Law, path: str) -> Law:
    """The law under its name, with the file it came from; one that the same file gave before makes way."""
    before = LAWS.get(law.name)
    # A file may have registered its law itself, as one that a script uses does.
    if before is not None and before is not law and not _is_of(before, path):
        raise UsageError(f"{path}: the catalogue has a law {law.name!r} already; give yours another name")
    LAWS.pop(law.name, None)
    return register(replace(law, files={str(Path(path).resolve()): sha256_file(path)}))


def _run(path: Path) -> ModuleType:
    """The module that a Python file makes; raises BadInput with the line of it that fails."""
    spec = importlib.util.spec_from_file_location(f"scaling_lab_law_file_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as fault:
        raise BadInput(f"is not Python ({fault.msg})", file=str(path), line=fault.lineno) from fault
    except Exception as fault:
        lines = [frame.lineno for frame in traceback.extract_tb(fault.__traceback__) if frame.filename == str(path)]
        line = lines[-1] if lines else None
        raise BadInput(f"fails with {type(fault).__name__}: {fault}", file=str(path), line=line) from fault
    return module


# How far a printed formula may be from what is computed, as a share.
SAME = 1e-9
FUNCTIONS = {name: getattr(np, name) for name in ("exp", "log", "log10", "sqrt", "maximum", "minimum")}


def check_law(law: Law, file: str | None = None) -> Law:
    """The law, found to be sound: names that agree, start ranges inside bounds, a formula that is what it computes.

    Raises BadInput that names the law and what is wrong.
    """

    def fault(problem: str) -> BadInput:
        return BadInput(f"law {law.name!r}: {problem}", file=file)

    if not law.name or any(c in law.name for c in "@, ") or not law.inputs or not law.params:
        raise fault("needs a name without @, commas and spaces, one input and one parameter at least")
    stray = [n for n in (*law.linear, *law.priors) if n not in law.names]
    if stray or len(set(law.names)) < len(law.names):
        raise fault(f"{stray[0]!r} is no parameter of it" if stray else "a parameter is there twice")
    for p in law.params:
        low, high = p.bounds
        if not (np.isfinite(p.start).all() and p.start[0] < p.start[1]):
            raise fault(f"the start range {p.start} of {p.name} does not run from a lower to a higher number")
        if (low is not None and p.start[0] < low) or (high is not None and p.start[1] > high):
            raise fault(f"the start range {p.start} of {p.name} is not inside its bounds, for it is {p.domain}")
    rng = np.random.default_rng(0)
    x = {n: _some(n, rng) for n in law.inputs}
    share = rng.uniform(0.2, 0.8, (3, 1))
    params = {p.name: p.start[0] + share * (p.start[1] - p.start[0]) for p in law.params}
    try:
        with np.errstate(all="ignore"):
            computed = np.asarray(law.predict(x, **params), dtype=float)
    except Exception as wrong:
        raise fault(f"predict(x, {', '.join(law.names)}) fails with {type(wrong).__name__}: {wrong}") from wrong
    try:
        with np.errstate(all="ignore"):
            printed = eval(law.formula, {"__builtins__": {}, **FUNCTIONS}, {**x, **params})
    except Exception as wrong:
        raise fault(f"the formula {law.formula!r} can't be worked out ({type(wrong).__name__}: {wrong})") from wrong
    if np.broadcast_shapes(computed.shape, (3, 1)) != (3, 5):
        raise fault(f"predict returns shape {computed.shape} for 3 rows of parameters and 5 of inputs, not (3, 5)")
    with np.errstate(all="ignore"):
        same = np.isclose(printed, computed, rtol=SAME, atol=0.0, equal_nan=True)
    if not same.all():
        raise fault(f"the formula {law.formula!r} is not what predict computes")
    return law


def _some(name: str, rng: np.random.Generator) -> np.ndarray:
    """Five values that a quantity may have."""
    if quantity(name).domain in ("share", "real"):
        return rng.uniform(0.1, 0.9, 5)
    return np.asarray(np.exp(rng.uniform(np.log(1e6), np.log(1e9), 5)))
