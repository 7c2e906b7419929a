"""The refits of a bootstrap as one batch in torch, in float64, on a CUDA device: same minima as engine/solve.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingExtra, UsageError
from .coordinates import Coordinates
from .powers import SOFT, PowerSum
from .solve import (
    AT_BOUND,
    CONVERGED,
    FAR_STEP,
    LEAST_DAMPING,
    MAX_ITERATIONS,
    NOT_FINITE,
    NOTHING,
    STALLED,
    Objective,
    Solutions,
    rounding,
)

Floats = NDArray[np.float64]
Tensor = Any

# Numbers in one array of a batch: a dozen such arrays are held at once.
BLOCK = 20_000_000


class TorchSolver:
    """Minimises an objective of a sum of powers from starts (k, p), for weights and targets (n,) or (k, n).

    `device` is "cuda", or "cpu" for a check without one. Raises MissingExtra without torch, and UsageError where there
    is no such device or the law is no sum of powers: never a silent run elsewhere.
    """

    def __init__(
        self,
        coordinates: Coordinates,
        x: Mapping[str, Floats],
        objective: Objective,
        device: str,
        size: float = 1.0,
    ) -> None:
        try:
            import torch
        except ImportError:
            raise MissingExtra("torch", "proxy", "--device cuda") from None
        if device != "cpu" and not torch.cuda.is_available():
            raise UsageError("--device cuda: torch finds no CUDA device here; leave the option out to use the CPU")
        kernel = coordinates.kernel(x, size)
        if not isinstance(kernel, PowerSum):
            raise UsageError(f"--device cuda solves laws that are sums of powers; {coordinates.law.name} is none")
        self.torch, self.device, self.kernel, self.objective = torch, device, kernel, objective
        self.second = [self._tensor(term.second) for term in kernel.terms]
        self.pairs = {key: self._tensor(values) for key, values in kernel.pairs.items()}
        self.column = self._tensor(kernel.column)

    def _tensor(self, values: Any) -> Tensor:
        return self.torch.tensor(np.asarray(values, dtype=float), device=self.device)

    def __call__(self, begun: Floats, weights: Floats, target: Floats, ladder: tuple[float, ...]) -> Solutions:
        """As `graduated` (engine/solve.py): the minima by way of wider objectives, in blocks that fit the memory."""
        size, parts = max(BLOCK // target.shape[-1], 1), []
        for at in range(0, len(begun), size):
            keep = slice(at, at + size)
            w = self._tensor(weights if weights.ndim == 1 else weights[keep])
            y = self._tensor(target if target.ndim == 1 else target[keep])
            theta = begun[keep]
            for width in ladder:
                theta = self._newton(theta, y, w, width, 1e-6, 40).theta
            parts.append(self._newton(theta, y, w, self.objective.width, 1e-13, 100))
        return Solutions.join(parts)

    def _newton(self, theta: Floats, y: Tensor, w: Tensor, width: float, tolerance: float, max_steps: int) -> Solutions:
        """See `newton` in engine/solve.py, whose every rule this follows."""
        torch = self.torch
        with np.errstate(all="ignore"):
            place = self._tensor(self.kernel.inward(theta))
        logs = torch.tensor(self.kernel.logs, device=self.device)
        heights = torch.tensor(self.kernel.heights, device=self.device)
        own = place.abs()
        begun_size = torch.where(logs | (own == 0), torch.ones_like(own), own)
        floor, noise = rounding(y.shape[-1]), self._noise(y, w, width)
        value, gradient, hessian, diagonal = self._derivatives(place, y, w, width)
        status = torch.where(torch.isfinite(value), MAX_ITERATIONS, NOT_FINITE)
        steps = torch.zeros_like(status)
        held, growth = torch.full_like(value, 1e-3), torch.full_like(value, 5.0)
        live = torch.nonzero(status == MAX_ITERATIONS)[:, 0]
        for _ in range(max_steps):
            if not len(live):
                break
            was, damped = value[live], held[live]
            size = torch.where(logs, torch.ones_like(place[live]), torch.maximum(place[live].abs(), begun_size[live]))
            far = torch.where(heights, 1.0 / SOFT + torch.clamp(place[live], min=0.0), FAR_STEP * size)
            step, promised, firm = self._damped_steps(gradient[live], hessian[live], diagonal[live], damped, far)
            slack = torch.maximum(tolerance * was, noise * was.sqrt()) + floor
            small = (promised >= 0) & (promised <= slack) & (damped < 1e-2)
            done = small & (damped <= torch.clamp(1e-2 * firm, min=LEAST_DAMPING))
            tried = place[live] + step
            new = self._derivatives(tried, y if y.ndim == 1 else y[live], w if w.ndim == 1 else w[live], width)
            gain = was - new[0]
            better = (promised > 0) & (gain > 0) & (gain >= 1e-4 * promised)
            pick = better | (small & (gain >= -10.0 * slack))
            took = live[pick]
            place[took] = tried[pick]
            for old, fresh in zip((value, gradient, hessian, diagonal), new, strict=True):
                old[took] = fresh[pick]
            steps[live] += 1
            raised = torch.clamp(damped, min=1e-12) * growth[live]
            growth[live] = torch.where(better, 5.0 * torch.ones_like(damped), 2.0 * growth[live])
            shrink = torch.where(gain > 0.7 * promised, 0.25, 0.7).to(damped)
            damped = torch.where(better, damped * shrink, raised)
            damped = torch.where(small, held[live] * 1e-2, damped)
            held[live] = torch.clamp(damped, min=LEAST_DAMPING)
            told = diagonal[live] * size**2
            gone = (told <= NOTHING**2 * told.max(dim=1, keepdim=True).values).any(dim=1)
            ended = torch.where(gone, AT_BOUND, CONVERGED)
            status[live] = torch.where(done, ended, torch.where(~small & (damped > 1e12), STALLED, MAX_ITERATIONS))
            live = live[status[live] == MAX_ITERATIONS]
        return Solutions(
            self.kernel.outward(place.cpu().numpy()),
            value.cpu().numpy(),
            status.cpu().numpy().astype(np.int8),
            steps.cpu().numpy(),
        )

    def _noise(self, y: Tensor, w: Tensor, width: float) -> float:
        mass = float(w.sum(dim=-1).max()) / (width if self.objective.name == "l1" else 1.0)
        return float(np.finfo(float).eps * max(1.0, float(y.abs().max())) * np.sqrt(2.0 * mass))

    def _damped_steps(
        self, gradient: Tensor, hessian: Tensor, diagonal: Tensor, damping: Tensor, cap: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        torch = self.torch
        scale = torch.clamp(diagonal, min=1e-300).sqrt()
        g = gradient / scale
        h = hessian / (scale[:, :, None] * scale[:, None, :])
        usable = torch.isfinite(h).all(dim=2).all(dim=1) & torch.isfinite(g).all(dim=1)
        eye = torch.eye(g.shape[1], dtype=g.dtype, device=self.device)
        h = torch.where(usable[:, None, None], h, eye)
        g = torch.where(usable[:, None], g, torch.zeros_like(g))
        matrix = h + damping[:, None, None] * eye
        root, fault = torch.linalg.cholesky_ex(matrix)
        bent = torch.nonzero(fault != 0)[:, 0]
        pivot = torch.where(fault == 0, root.diagonal(dim1=1, dim2=2).min(dim=1).values ** 2, torch.zeros_like(damping))
        if len(bent):
            values = torch.linalg.eigvalsh(matrix[bent])
            shift = 1e-2 * values[:, -1].abs() - torch.clamp(values[:, 0], max=0.0)
            root[bent] = torch.linalg.cholesky_ex(matrix[bent] + shift[:, None, None] * eye)[0]
        s = -torch.cholesky_solve(g[:, :, None], root)[:, :, 0]
        s = torch.where(torch.isfinite(s), s, torch.zeros_like(s))
        far = ((s / scale).abs() / cap).max(dim=1).values
        s = s / torch.clamp(far, min=1.0)[:, None]
        promised = -(g * s).sum(dim=1) - 0.5 * (s * (h @ s[:, :, None])[:, :, 0]).sum(dim=1)
        return s / scale, torch.where(usable, promised, -torch.ones_like(promised)), pivot

    def _derivatives(self, phi: Tensor, y: Tensor, w: Tensor, width: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See PowerSum.derivatives (engine/powers.py)."""
        torch, kernel = self.torch, self.kernel
        b, local, log = len(phi), kernel.local, self.objective.on == "log"
        every = [*kernel.terms, *([kernel.flat] if kernel.flat else [])]
        powers = [self._powers(term, phi) for term in kernel.terms]
        heights = {term.at: self._heights(term, phi) for term in every}
        sizes = [
            torch.exp(torch.stack([heights[term.at][0], q], dim=1) @ second[:, :2].T)
            for term, (q, _, _), second in zip(kernel.terms, powers, self.second, strict=True)
        ]
        flat = kernel.flat.side * torch.exp(heights[kernel.flat.at][0]) if kernel.flat else phi.new_zeros(b)
        f = sum(sizes) + flat[:, None]
        total, u, curve, damping = self._slopes(f, y, w, width, log)
        gradient, diagonal, scale, bends = phi.new_zeros((4, b, local))
        hessian = phi.new_zeros((b, local, local))
        if kernel.flat:
            k = kernel.flat.at
            gradient[:, k] = flat * u.sum(dim=1)
            hessian[:, k, k] = flat * flat * curve.sum(dim=1) + gradient[:, k]
            diagonal[:, k] = flat * flat * damping.sum(dim=1)
        for i, (term, size, second) in enumerate(zip(kernel.terms, sizes, self.second, strict=True)):
            both = slice(term.at, term.at + 2)
            across = curve * size
            if kernel.flat:
                hessian[:, kernel.flat.at, both] = flat[:, None] * (across @ second[:, :2])
                hessian[:, both, kernel.flat.at] = hessian[:, kernel.flat.at, both]
            for j in range(i + 1, len(sizes)):
                mixed = ((across * sizes[j]) @ self.pairs[i, j]).reshape(b, 2, 2)
                others = slice(kernel.terms[j].at, kernel.terms[j].at + 2)
                hessian[:, both, others], hessian[:, others, both] = mixed, mixed.transpose(1, 2)
            pulled = (u * size) @ second
            own = (across * size) @ second + pulled
            gradient[:, both] = pulled[:, :2]
            hessian[:, both, both] = own[:, [0, 1, 1, 2]].reshape(b, 2, 2)
            diagonal[:, both] = (size * size * damping) @ second[:, [0, 2]]
        towards = {term.at + 1: power for term, power in zip(kernel.terms, powers, strict=True)} | heights
        for at, (_, slope, bend) in towards.items():
            scale[:, at], bends[:, at] = slope, bend * gradient[:, at]
        hessian = hessian * scale[:, :, None] * scale[:, None, :] + torch.diag_embed(bends)
        gradient = (gradient * scale) @ self.column
        hessian = self.column.T @ hessian @ self.column
        diagonal = (diagonal * scale**2) @ self.column
        total = torch.where(torch.isfinite(total), total, torch.full_like(total, float("inf")))
        unit = width if self.objective.name == "l1" else 1.0
        return total / unit, gradient / unit, hessian / unit, diagonal / unit

    def _slopes(
        self, f: Tensor, y: Tensor, w: Tensor, width: float, log: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        torch = self.torch
        inverse = 1.0 / f if log else torch.ones_like(f)
        r = (torch.log(f) if log else f) - y
        if self.objective.name == "l2":
            first, second, terms = r, torch.ones_like(r), 0.5 * r * r
        else:
            first = torch.clamp(r, -width, width)
            second, terms = (first == r).to(r), first * (r - 0.5 * first)
        u = w * first
        curve = w * second - u if log else w * second
        return (w * terms).sum(dim=1), u * inverse, curve * inverse**2, w * inverse**2

    def _heights(self, term: Any, phi: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        torch, nothing = self.torch, phi.new_zeros(len(phi))
        if term.coefficient is None:
            return nothing + term.height, nothing, nothing
        v = phi[:, term.coefficient]
        low = v < -30
        soft = torch.logaddexp(nothing, v)
        share = torch.exp(-torch.logaddexp(nothing, -v))
        slope = torch.where(low, torch.ones_like(v), share / torch.where(low, torch.ones_like(v), soft))
        height = torch.where(v < -700, v, torch.log(torch.clamp(soft, min=1e-320)))
        return height + float(np.log(self.kernel.soft)), slope, slope * (1.0 - share - slope)

    def _powers(self, term: Any, phi: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        nothing = phi.new_zeros(len(phi))
        if term.exponent is None:
            return nothing + term.power, nothing, nothing
        theta = phi[:, term.exponent]
        if term.straight:
            return term.sign * theta, nothing + term.sign, nothing
        if term.limits:
            low, high = term.limits
            lean = self.torch.tanh(0.5 * theta)
            first = 0.25 * term.sign * (high - low) * (1.0 - lean * lean)
            return term.sign * (low + 0.5 * (high - low) * (1.0 + lean)), first, -lean * first
        q = term.sign * term.side * self.torch.exp(theta)
        return q, q, q
