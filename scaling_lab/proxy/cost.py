"""What a sweep will cost: each run's size and compute, and its time at a measured or assumed rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..quantities import format_quantity
from .folder import read_record
from .plan import FLOPS_CONVENTION, Sweep

# One thread of a 2023 server core (AVX-512) on these models: 7e9 at 11k parameters to 4.6e10 at 0.6M.
ASSUMED_FLOPS_PER_SECOND = 2e10


@dataclass(frozen=True)
class Cost:
    """A sweep's runs with compute and seconds; `measured` says whether finished runs gave the rate."""

    sweep: Sweep
    flops_per_second: float
    measured: bool

    def to_json(self) -> dict[str, Any]:
        """The plan as scripts read it."""
        return {
            "schema": "scaling-lab/sweep-plan/1",
            "name": self.sweep.name,
            "out": str(self.sweep.out),
            "flops_convention": FLOPS_CONVENTION,
            "flops_per_second": {"value": self.flops_per_second, "measured": self.measured},
            "flops": self.sweep.flops,
            "seconds": self.sweep.flops / self.flops_per_second,
            "runs": [
                {
                    "run_id": plan.run_id,
                    "params": plan.counts.params,
                    "tokens": plan.tokens,
                    "steps": plan.steps,
                    "flops": plan.flops,
                    "seconds": plan.flops / self.flops_per_second,
                    "lr_max": plan.lr,
                    "role": self.sweep.roles[plan.run_id],
                }
                for plan in self.sweep.plans
            ],
        }

    def table(self) -> Iterator[str]:
        """The plan as lines for people."""
        yield f"{'run':<36} {'params':>8} {'tokens':>8} {'steps':>7} {'lr':>8} {'FLOP':>9} {'time':>8}  role"
        for run in self.to_json()["runs"]:
            yield (
                f"{run['run_id']:<36} {format_quantity(run['params']):>8} {format_quantity(run['tokens']):>8} "
                f"{run['steps']:>7} {run['lr_max']:>8.3g} {run['flops']:>9.2e} {duration(run['seconds']):>8}  "
                f"{run['role']}"
            )
        origin = "as the finished runs went" if self.measured else "assumed for one CPU core"
        yield (
            f"{len(self.sweep.plans)} runs, {self.sweep.flops:.3g} FLOP (6·params·tokens), about "
            f"{duration(self.sweep.flops / self.flops_per_second)} at {self.flops_per_second:.2g} FLOP/s, {origin}"
        )


def estimate_cost(sweep: Sweep) -> Cost:
    """The sweep's cost at the rate of its finished runs, or at an assumed one where there are none."""
    records = [record for record in (read_record(sweep, plan) for plan in sweep.plans) if record is not None]
    seconds = sum(record["made_by"]["wall_s"] for record in records)
    if seconds > 0:
        return Cost(sweep, sum(record["flops"] for record in records) / seconds, measured=True)
    return Cost(sweep, ASSUMED_FLOPS_PER_SECOND, measured=False)


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
