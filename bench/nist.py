"""Certified digits of our solver on the NIST StRD problems of nonlinear regression, from each of their two starts.

Every problem is solved as it is printed: plain residuals, least squares, all parameters real, no transformation. The
solver is the one that fits scaling laws.

usage: python bench/nist.py [--out bench/results/nist.json]
Reads the 27 files from $SCALING_LAB_DATA/nist_strd, else ../shared/data/nist_strd.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scaling_lab.engine.dual import Dual
from scaling_lab.engine.solve import STATUS_NAMES, ByDual, Objective, from_afar, one_blas_thread

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("SCALING_LAB_DATA", HERE.parent.parent / "shared" / "data")) / "nist_strd"
# Digits that certified values have, and so the most that can agree.
MOST = 11.0


def _gauss(x: Any, b1: Any, b2: Any, b3: Any, b4: Any, b5: Any, b6: Any, b7: Any, b8: Any) -> Any:
    return b1 * np.exp(-b2 * x) + b3 * np.exp(-((x - b4) ** 2) / b5**2) + b6 * np.exp(-((x - b7) ** 2) / b8**2)


def _lanczos(x: Any, b1: Any, b2: Any, b3: Any, b4: Any, b5: Any, b6: Any) -> Any:
    return b1 * np.exp(-b2 * x) + b3 * np.exp(-b4 * x) + b5 * np.exp(-b6 * x)


def _cubics(x: Any, b1: Any, b2: Any, b3: Any, b4: Any, b5: Any, b6: Any, b7: Any) -> Any:
    return (b1 + b2 * x + b3 * x**2 + b4 * x**3) / (1 + b5 * x + b6 * x**2 + b7 * x**3)


def _chwirut(x: Any, b1: Any, b2: Any, b3: Any) -> Any:
    return np.exp(-b1 * x) / (b2 + b3 * x)


def _enso(x: Any, b1: Any, b2: Any, b3: Any, b4: Any, b5: Any, b6: Any, b7: Any, b8: Any, b9: Any) -> Any:
    turn = 2 * np.pi * x
    year = b2 * np.cos(turn / 12) + b3 * np.sin(turn / 12)
    return (
        b1
        + year
        + (b5 * np.cos(turn / b4) + b6 * np.sin(turn / b4))
        + (b8 * np.cos(turn / b7) + b9 * np.sin(turn / b7))
    )


MODELS: dict[str, Callable[..., Any]] = {
    "Bennett5": lambda x, b1, b2, b3: b1 * (b2 + x) ** (-1 / b3),
    "BoxBOD": lambda x, b1, b2: b1 * (1 - np.exp(-b2 * x)),
    "Chwirut1": _chwirut,
    "Chwirut2": _chwirut,
    "DanWood": lambda x, b1, b2: b1 * x**b2,
    "ENSO": _enso,
    "Eckerle4": lambda x, b1, b2, b3: (b1 / b2) * np.exp(-0.5 * ((x - b3) / b2) ** 2),
    "Gauss1": _gauss,
    "Gauss2": _gauss,
    "Gauss3": _gauss,
    "Hahn1": _cubics,
    "Kirby2": lambda x, b1, b2, b3, b4, b5: (b1 + b2 * x + b3 * x**2) / (1 + b4 * x + b5 * x**2),
    "Lanczos1": _lanczos,
    "Lanczos2": _lanczos,
    "Lanczos3": _lanczos,
    "MGH09": lambda x, b1, b2, b3, b4: b1 * (x**2 + x * b2) / (x**2 + x * b3 + b4),
    "MGH10": lambda x, b1, b2, b3: b1 * np.exp(b2 / (x + b3)),
    "MGH17": lambda x, b1, b2, b3, b4, b5: b1 + b2 * np.exp(-x * b4) + b3 * np.exp(-x * b5),
    "Misra1a": lambda x, b1, b2: b1 * (1 - np.exp(-b2 * x)),
    "Misra1b": lambda x, b1, b2: b1 * (1 - (1 + b2 * x / 2) ** -2.0),
    "Misra1c": lambda x, b1, b2: b1 * (1 - (1 + 2 * b2 * x) ** -0.5),
    "Misra1d": lambda x, b1, b2: b1 * b2 * x * (1 + b2 * x) ** -1.0,
    "Nelson": lambda x, b1, b2, b3: b1 - b2 * x[0] * np.exp(-b3 * x[1]),
    "Rat42": lambda x, b1, b2, b3: b1 / (1 + np.exp(b2 - b3 * x)),
    "Rat43": lambda x, b1, b2, b3, b4: b1 / (1 + np.exp(b2 - b3 * x)) ** (1 / b4),
    "Roszman1": lambda x, b1, b2, b3, b4: b1 - b2 * x - np.arctan(b3 / (x - b4)) / np.pi,
    "Thurber": _cubics,
}


@dataclass(frozen=True)
class Problem:
    """A problem as its file states it: inputs x (n,) or (2, n), response y, two starts (2, p), certified values (p,).

    `exact` are y and x in extended precision.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    exact: tuple[np.ndarray, np.ndarray]
    starts: np.ndarray
    certified: np.ndarray
    squares: float

    def model(self, theta: np.ndarray) -> Dual:
        """The problem's function (b, n) of parameters theta (b, p), with derivatives."""
        return MODELS[self.name](self.x, *(Dual.variable(theta[:, [i]], i) for i in range(theta.shape[1])))


def read_problem(path: Path) -> Problem:
    """The problem of a file in NIST's layout."""
    lines = path.read_text().splitlines()
    first, last = map(int, re.search(r"Data +\(lines +(\d+) to +(\d+)\)", "\n".join(lines[:10])).groups())  # type: ignore[union-attr]
    rows = [re.findall(r"[-+.\dEe]+", line.split("=", 1)[1]) for line in lines if re.match(r" *b\d+ *=", line)]
    values = np.array(rows, dtype=float)
    total = next(float(line.split()[-1]) for line in lines if line.startswith("Residual Sum of Squares"))
    data = np.array([[np.longdouble(cell) for cell in line.split()] for line in lines[first - 1 : last]])
    y, x = data[:, 0], data[:, 1] if data.shape[1] == 2 else data[:, 1:].T
    y = np.log(y) if path.stem == "Nelson" else y
    starts, certified = values[:, :2].T, values[:, 2]
    return Problem(path.stem, x.astype(float), y.astype(float), (y, x), starts, certified, total)


def digits(found: Any, certified: Any) -> float:
    """Digits on which numbers agree with certified ones: the least -log10 of the relative error, 0 to MOST."""
    error = np.abs(np.asarray(found) - certified) / np.abs(certified)
    with np.errstate(divide="ignore"):
        return float(np.clip(np.min(-np.log10(error)), 0.0, MOST))


def squares(problem: Problem, theta: np.ndarray) -> float:
    """The residual sum of squares at theta (p,), evaluated in extended precision.

    Residuals of Lanczos1 are 1e-13 of its values: in doubles no more than three digits of their squares survive,
    whatever the parameters.
    """
    r = problem.exact[0] - MODELS[problem.name](problem.exact[1], *theta.astype(np.longdouble))
    return float(np.sum(r * r))


def solve(problem: Problem) -> list[dict[str, Any]]:
    """What became of each start: status, steps, digits of the parameters and of the residual sum of squares."""
    kernel = ByDual(problem.model, np.ones(problem.starts.shape[1], dtype=bool))
    with one_blas_thread():
        ended = from_afar(
            kernel, problem.starts, problem.y, np.ones(len(problem.y)), Objective("l2", on="plain"), max_steps=2000
        )
    return [
        {
            "start": i + 1,
            "status": STATUS_NAMES[ended.status[i]],
            "steps": int(ended.steps[i]),
            "digits": round(digits(ended.theta[i], problem.certified), 1),
            "digits_rss": round(digits(squares(problem, ended.theta[i]), problem.squares), 1),
        }
        for i in range(2)
    ]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--out", type=Path, default=HERE / "results" / "nist.json")
    asked = ask.parse_args()
    if not DATA.is_dir():
        sys.exit(f"error: {DATA} is not there; set SCALING_LAB_DATA to the folder of the public tables")
    results = {name: solve(read_problem(DATA / f"{name}.dat")) for name in MODELS}
    print("| problem | start | status | steps | digits | digits of RSS |\n| --- | --- | --- | --- | --- | --- |")
    for name, ends in results.items():
        for end in ends:
            print(f"| {name} | {' | '.join(str(value) for value in end.values())} |")
    reached = [sum(ends[i]["digits"] >= 6 and ends[i]["digits_rss"] >= 6 for ends in results.values()) for i in (0, 1)]
    print(f"\n6 digits or more: {reached[0]} of 27 from the first start, {reached[1]} of 27 from the second")
    result = {"six_digits_from_start_1": reached[0], "six_digits_from_start_2": reached[1], "problems": results}
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
