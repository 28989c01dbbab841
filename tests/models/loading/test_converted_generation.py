"""What a converted model writes: token for token what `transformers` does, and it ends where that does."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from models import HookedTransformer
from models.errors import CheckpointError
from models.loading.end_tokens import end_tokens
from models.loading.folder import load, save
from models.loading.gguf import read_gguf
from tests.models.loading.architectures import CASES, tiny
from tests.models.loading.gguf_files import random_llama, write_llama
from tests.models.loading.in_float64 import float64_throughout
from tests.models.word_tokenizer import word_tokenizer

ONE_EACH = [case for case in CASES if "," not in case and case != "llama 3.1"]
TEXTS = ["the cat sat on a mat", "dog ran", "a tree"]


def written(model: PreTrainedModel, tokens: Tensor, mask: Tensor, ends: list[int] | None) -> Tensor:
    """Theirs, a finished row filled with the first end token."""
    with torch.no_grad(), float64_throughout():
        return model.generate(
            tokens, attention_mask=mask, max_new_tokens=9, do_sample=False,
            eos_token_id=ends, pad_token_id=ends[0] if ends else 0,
        )  # fmt: skip


@pytest.mark.parametrize("case", ONE_EACH)
def test_padded_texts_are_continued_up_to_any_of_several_end_tokens(case: str, tmp_path: Path) -> None:
    theirs = tiny(case)
    theirs.save_pretrained(tmp_path)
    tokenizer = word_tokenizer("left")
    tokenizer.save_pretrained(tmp_path)
    given = tokenizer(TEXTS, return_tensors="pt", padding=True)
    tokens, mask = given["input_ids"], given["attention_mask"]
    whole = written(theirs, tokens, mask, None)[:, tokens.shape[1] :]
    # Each ends another row before its time.
    ends = [int(whole[0, 2]), int(whole[1, 4])]
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    ours = HookedTransformer.from_pretrained_no_processing(tmp_path, device="cpu")
    options = {"prepend_bos": False, "do_sample": False, "verbose": False, "return_type": "tokens"}
    assert torch.equal(ours.generate(TEXTS, 9, stop_at_eos=False, **options)[:, tokens.shape[1] :], whole)
    found = ours.generate(TEXTS, 9, **options)
    assert torch.equal(found, written(theirs, tokens, mask, ends))
    assert torch.isin(found[:2, tokens.shape[1] :], torch.tensor(ends)).any(dim=1).all()
    # Some row ended before its time.
    assert not torch.equal(found[:, tokens.shape[1] :], whole)


def test_end_tokens_are_those_of_the_generation_config_else_of_the_config_else_the_tokenizers(tmp_path: Path) -> None:
    def ends() -> tuple[int, ...]:
        return HookedTransformer.from_pretrained_no_processing(tmp_path, device="cpu").end_tokens

    tiny("llama").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    generation = tmp_path / "generation_config.json"
    generation.write_text(json.dumps({"eos_token_id": [5, 7, 9]}))
    assert ends() == (5, 7, 9)
    # No text can end with what the model cannot write.
    generation.write_text(json.dumps({"eos_token_id": [5, 37, 128009]}))
    assert ends() == (5,)
    generation.write_text(json.dumps({}))
    (tmp_path / "config.json").write_text(json.dumps({**config, "eos_token_id": 4}))
    assert ends() == (4,)
    generation.unlink()
    (tmp_path / "config.json").write_text(json.dumps({**config, "eos_token_id": None}))
    assert ends() == ()
    (tmp_path / "config.json").write_text(json.dumps({**config, "eos_token_id": [2, "3"]}))
    with pytest.raises(CheckpointError, match="eos_token_id"):
        ends()
    with pytest.raises(CheckpointError, match=r"eos_token_id=\[2, '3'\] is neither the number"):
        end_tokens({"eos_token_id": [2, "3"]})


def test_a_model_in_memory_and_a_saved_one_keep_their_end_tokens(tmp_path: Path) -> None:
    theirs = tiny("llama")
    theirs.generation_config.eos_token_id = [3, 8]
    ours = HookedTransformer.from_pretrained_no_processing(theirs, device="cpu")
    assert ours.end_tokens == (3, 8)
    save(ours, tmp_path)
    assert load(tmp_path, device="cpu").end_tokens == (3, 8)


def test_a_gguf_file_names_the_end_of_a_text_and_of_a_turn(tmp_path: Path) -> None:
    fields = {"tokenizer__ggml__eos_token_id": 2, "tokenizer__ggml__eot_token_id": 5}
    assert read_gguf(write_llama(tmp_path / "two.gguf", random_llama(), **fields)).end_tokens == (2, 5)
    assert read_gguf(write_llama(tmp_path / "none.gguf", random_llama())).end_tokens == ()
