"""Progress on stderr, silent when nobody watches."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


def note(text: str) -> None:
    """A line on stderr that the user should see also in a log: what was chosen for them."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)


@contextmanager
def doing(text: str) -> Iterator[None]:
    """Within the block, a spinner says what is going on, if stderr is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(text):
        yield
