"""The catalogue: every law is one entry of LAWS."""

from . import (  # noqa: F401  (registers its laws)
    broken,
    experts,
    mixtures,
    pools,
    repetition,
    retrieval,
    sizes,
    surfaces,
    tasks,
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
