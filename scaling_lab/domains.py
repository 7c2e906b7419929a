"""Which values a column may hold, and how far one lies outside a range: by what quantities.py knows of the column."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .quantities import Domain, quantity

Floats = NDArray[np.float64]


def allowed(domain: Domain, values: Floats) -> NDArray[np.bool_]:
    """Which values (n,) are of a domain, and finite."""
    finite = np.isfinite(values)
    if domain == "real":
        return finite
    if domain == "positive":
        return np.asarray(finite & (values > 0))
    if domain == "part":
        return np.asarray(finite & (values > 0) & (values <= 1))
    return np.asarray(finite & (values >= 0) & ((values <= 1) | (domain != "share")))


def beyond(name: str, values: Floats, low: float, high: float) -> Floats:
    """How far values (n,) lie outside low to high, zero inside: factors e of a size, widths of the range of a share.

    A range of a share without width counts as one of a tenth: no run tells what a change of it does.
    """
    if quantity(name).domain == "positive":
        return np.maximum(np.maximum(np.log(values / high), np.log(low / values)), 0.0)
    width = high - low if high > low else 0.1 * max(abs(high), 1.0)
    return np.maximum(np.maximum(values - high, low - values), 0.0) / width
