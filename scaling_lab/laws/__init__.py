"""The catalogue: every law is one entry of LAWS."""

from . import surfaces  # noqa: F401  (registers its laws, which the catalogue begins with)

# isort: split
from . import (  # noqa: F401  (register theirs)
    batch,
    broken,
    experts,
    growth,
    hpsurface,
    hyper,
    learning,
    mixtures,
    pools,
    repetition,
    retrieval,
    sizes,
    steps,
    tasks,
    vocab_drift,
    vocabulary,
)
from .base import LAWS, Budget, Law, Param, Prior, Published, Rule, broken_rules, catalogue, get_law, law_for, register

__all__ = [
    "LAWS",
    "Budget",
    "Law",
    "Param",
    "Prior",
    "Published",
    "Rule",
    "broken_rules",
    "catalogue",
    "get_law",
    "law_for",
    "register",
]
