"""What `transformers` writes while it loads a model: progress bars and advice about its own options."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr


@contextmanager
def without_foreign_words() -> Iterator[None]:
    """Within the block, `transformers` writes neither; its errors are raised as ever.

    Bars go to whatever `sys.stderr` is then, some of them past the library's own switch.
    """
    from transformers.utils import logging  # heavy, and loaded by whoever loads a model

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(before)
