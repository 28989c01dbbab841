"""Progress on stderr, silent when nobody watches."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console

Item = TypeVar("Item")


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


def stepped(text: str, items: Iterable[Item], total: int) -> Iterator[Item]:
    """The items as they come, and how many came of how many, if stderr is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield from items
        return
    with console.status(f"{text}: 0 of {total}") as status:
        for done, item in enumerate(items, start=1):
            status.update(f"{text}: {done} of {total}")
            yield item
