"""The catalogue: every law is one entry of LAWS."""

from . import surfaces  # noqa: F401  (registers its laws)
from .base import LAWS, Law, Param, Published, catalogue, get_law

__all__ = ["LAWS", "Law", "Param", "Published", "catalogue", "get_law"]
