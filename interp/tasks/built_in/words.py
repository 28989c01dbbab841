"""Word lists, written as text."""


def words(text: str) -> tuple[str, ...]:
    """The words of a text, one after the other."""
    return tuple(text.split())
