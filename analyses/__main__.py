"""`python -m analyses` is the command `interp`."""

from .cli import main

main()
