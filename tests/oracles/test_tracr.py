"""Programs compiled into weights (Lindner et al., 2023, "Tracr"): a model of ours computes what the program says."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models import HookedTransformer, HookedTransformerConfig

PROGRAMS = ["reverse", "sort_unique", "hist", "length", "frac_prevs_x", "pair_balance"]
SAME_NAMES = ("n_layers", "n_heads", "d_head", "d_model", "d_mlp", "n_ctx", "act_fn", "normalization_type",
              "attention_dir", "d_vocab", "d_vocab_out")  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
@torch.no_grad()
def test_a_compiled_program_is_right_on_every_worked_example(name: str, shared: Path) -> None:
    folder = shared / "data" / "tracr-compiled"
    program = json.loads((folder / f"{name}.json").read_text())
    assert program["attn_scale"] == "sqrt(d_head)"  # our default
    model = HookedTransformer(
        HookedTransformerConfig(**{field: program[field] for field in SAME_NAMES}, init_weights=False, device="cpu")
    )
    model.load_state_dict(load_file(folder / f"{name}.safetensors"))
    assert len(program["examples"]) == 8
    for example in program["examples"]:
        logits = model(torch.tensor([example["token_ids"]]))[0, 1:]
        if program["categorical_output"]:
            answers = [program["output_decode"][str(token)] for token in logits.argmax(dim=-1).tolist()]
            assert answers == [_as_label(answer, program["output_decode"].values()) for answer in example["output"]]
        else:
            torch.testing.assert_close(logits[:, 0].tolist(), [float(x) for x in example["output"]], atol=1e-3, rtol=0)


def _as_label(answer: object, labels: object) -> str:
    """The answer as the output vocabulary writes it: 2.0 is its "2"."""
    written = [str(answer), str(int(answer))] if isinstance(answer, float) else [str(answer)]
    return next(text for text in written if text in labels)
