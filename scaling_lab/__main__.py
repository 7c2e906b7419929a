"""`python -m scaling_lab` is the same command."""

from .cli import main

main()
