"""How byte-level tokenizers cut text into pieces before they merge, by the names that GGUF files give to the rules.

Source: the lists of llama.cpp (`llama_vocab`), and the tokenizers that the named models were trained with, which
have the normal forms that llama.cpp leaves out.
"""

from dataclasses import dataclass

_CONTRACTIONS = r"'s|'t|'re|'ve|'m|'ll|'d"
_DIGITS_ALONE = r"\p{N}"
_GPT2 = rf"{_CONTRACTIONS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    rf"(?i:{_CONTRACTIONS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


@dataclass(frozen=True)
class Splits:
    """One rule.

    Attributes:
        patterns: each cuts the pieces of the one before; a match is a piece, and so is what lies between two.
        whole_first: whether a piece that is a token is taken whole, merges or not.
        begins: whether a text begins with the beginning-of-text token where the file does not say.
        normal_form: whether text is brought to Unicode's form NFC first.
    """

    patterns: tuple[str, ...]
    whole_first: bool = False
    begins: bool = False
    normal_form: bool = False


SPLITS = {
    "gpt-2": Splits((_GPT2,)),
    "phi-2": Splits((_GPT2,)),
    "mpt": Splits((_GPT2,), normal_form=True),
    "olmo": Splits((_GPT2,), normal_form=True),
    "smollm": Splits((_DIGITS_ALONE, _GPT2)),
    "starcoder": Splits((_DIGITS_ALONE, _GPT2)),
    "refact": Splits((_DIGITS_ALONE, _GPT2)),
    "llama-bpe": Splits((_LLAMA3,), whole_first=True, begins=True),
    "llama3": Splits((_LLAMA3,), whole_first=True, begins=True),
    "llama-v3": Splits((_LLAMA3,), whole_first=True, begins=True),
    "smaug-bpe": Splits((_LLAMA3,)),
    "qwen2": Splits((_QWEN2,), normal_form=True),
}
"""The rules by the value of `tokenizer.ggml.pre`."""
