"""A bar on stderr while something long is under way."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def shown(total: int, wanted: bool | None) -> Iterator[Callable[[int], None]]:
    """What to call with how much more is done; the bar goes when the block ends.

    Args:
        wanted: whether there is a bar; by default where stderr is a terminal.
    """
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda done: None
        return
    # Imported where a bar is drawn, so that importing the library stays quick.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("sweep"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("sweep", total=total)
        yield lambda done: bar.advance(task, done)
