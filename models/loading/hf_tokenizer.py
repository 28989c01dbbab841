"""The tokenizer of a Hugging Face folder: its `tokenizer.json`, or what `transformers` makes of older files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .json_file import read_json
from .saved_tokenizer import TOKENIZER, rebuilt_tokenizer
from .sentencepiece_tokenizer import sentencepiece_tokenizer

SETTINGS = "tokenizer_config.json"
SENTENCEPIECE = "tokenizer.model"
OLDER = (SENTENCEPIECE, "vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json")
"""What folders without a `tokenizer.json` have."""

_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")


def hf_tokenizer(folder: Path) -> Any:
    """The tokenizer as a `transformers` tokenizer, or None if the folder has none. Chat templates are left out.

    Raises:
        CheckpointError: files that cannot be read, contradict one another, or are not read here; the message says
            what to do.
    """
    present = [name for name in OLDER[:3] if (folder / name).is_file()]
    settings = _settings(folder)
    if (folder / TOKENIZER).is_file():
        # What it puts before a text stands in the file, and add_bos_token beside it counts for nothing.
        tokenizer = rebuilt_tokenizer(folder / TOKENIZER, settings)
        _require_added(folder, tokenizer)
    elif SENTENCEPIECE in present:
        tokenizer = sentencepiece_tokenizer(folder / SENTENCEPIECE, settings)
        _require_added(folder, tokenizer)
    elif present:
        tokenizer = _older(folder, present)
    elif (folder / SETTINGS).is_file():
        raise _refused(folder, f"it has {SETTINGS} and none of {TOKENIZER}, {', '.join(OLDER[:3])}")
    else:
        return None
    if not _begins_at_most(tokenizer):
        raise _refused(folder, f"it puts {tokenizer.convert_ids_to_tokens(tokenizer.encode(''))} around every text")
    return tokenizer


def _begins_at_most(tokenizer: Any) -> bool:
    """Whether nothing is put around a text but one token before it."""
    ordinary = next(number for number in range(len(tokenizer)) if number not in tokenizer.all_special_ids)
    text = tokenizer.decode([ordinary])
    bare, whole = tokenizer.encode(text, add_special_tokens=False), tokenizer.encode(text)
    return whole == bare or (whole[1:] == bare and whole[0] in (tokenizer.bos_token_id, tokenizer.eos_token_id))


def _settings(folder: Path) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name in ("special_tokens_map.json", SETTINGS):
        if (folder / name).is_file():
            given.update({key: value for key, value in read_json(folder / name).items() if value is not None})
    # A token is stored as its text, or as an object that describes it.
    tokens = {name: given.get(name) for name in _SPECIAL}
    texts = {name: token["content"] if isinstance(token, dict) else token for name, token in tokens.items()}
    return {**texts, "padding_side": given.get("padding_side")}


def _require_added(folder: Path, tokenizer: Any) -> None:
    """Tokens that stand beside the tokenizer must stand in it too."""
    added: dict[str, int] = {}
    if (folder / SETTINGS).is_file():
        described = read_json(folder / SETTINGS).get("added_tokens_decoder") or {}
        added.update({token["content"]: int(number) for number, token in described.items()})
    if (folder / "added_tokens.json").is_file():
        added.update(read_json(folder / "added_tokens.json"))
    known: Mapping[str, int] = tokenizer.get_vocab()
    for token, number in added.items():
        if known.get(token) != number:
            raise _refused(
                folder, f"the token {token!r} has the number {number} in one file and {known.get(token)} in another"
            )


def _older(folder: Path, present: list[str]) -> Any:
    from transformers import AutoTokenizer  # heavy, and needed only where text meets a model

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # errors of several packages
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise _refused(folder, f"transformers makes no tokenizer of {', '.join(present)}: {reason}") from error
    if len(tokenizer) <= len(tokenizer.get_added_vocab()):
        raise _refused(folder, f"transformers finds no vocabulary in {', '.join(present)}")
    # Without the folder's name it stays what it is: TransformerLens would read it again, with other settings.
    tokenizer.init_kwargs.pop("name_or_path", None)
    return tokenizer


def _refused(folder: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"the tokenizer of {folder} is not read: {why}. A {TOKENIZER}, which save_pretrained of a fast tokenizer "
        "writes, is read as it stands; models.loading.hf_folder.read_hf_folder(folder, with_tokenizer=False) reads "
        "the weights alone"
    )
