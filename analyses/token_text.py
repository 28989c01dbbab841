"""Tokens as text that can be seen, whatever they contain."""

import html
import unicodedata

_VISIBLE = {"\n": "⏎", "\t": "⇥", "\r": "␍", "\x00": "␀", "\u00a0": "⍽"}


def visible(token: str) -> str:
    """The token with nothing in it that hides: a space is ·, a line break ⏎, a tab ⇥, no text at all ∅."""
    return legible(token.replace(" ", "·")) or "∅"


def legible(text: str) -> str:
    """The text with its spaces, and every other character that hides or turns the writing made visible.

    Control characters, direction marks and lone surrogates are escapes such as \\u202e. Letters that are written
    from right to left, and joined emoji, stay what they are.
    """
    return "".join(map(_legible_character, text))


def plotly_label(text: str) -> str:
    """The text as plotly shows it literally: its labels are a little HTML (`<b>`, `<br>`, entities)."""
    return html.escape(legible(text), quote=False)


def _legible_character(character: str) -> str:
    if character in _VISIBLE:
        return _VISIBLE[character]
    # Cc: control, Cf: format (direction marks), Cs: lone surrogates, Zl and Zp: ends of lines and paragraphs.
    joins_emoji = character == "\u200d"
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and not joins_emoji:
        return f"\\u{ord(character):04x}"
    return character
