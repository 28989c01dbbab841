"""How much memory loading takes, counted storage by storage; and whose memory the parameters are."""

import warnings
import weakref
from dataclasses import replace

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from models import HookedTransformer
from models.loading.assembled import assemble, weightless
from models.loading.folder import save
from models.loading.foreign import load_tl_checkpoint
from tests.conftest import order_one, order_one_model, random_tokens, small_config
from tests.live_bytes import LiveBytes

# Eight blocks, so that a second copy of the model is far more than a second copy of a block.
SIZES = {"n_layers": 8, "d_model": 32, "n_heads": 4, "d_head": 8, "d_mlp": 128, "d_vocab": 200, "n_ctx": 16}


def own_bytes(model: HookedTransformer) -> int:
    """What the model itself takes, tables and biases that are zero included."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum({x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in tensors}.values())


def largest_part_in_float32(model: HookedTransformer) -> int:
    """The bytes of the largest block, or of the unembedding if that is larger, as they are computed with."""
    blocks = [sum(p.numel() for p in block.parameters()) for block in model.blocks]
    return max(4, model.W_E.element_size()) * max(*blocks, model.unembed.W_U.numel())


def in_memory(kind: str, dtype: torch.dtype) -> torch.nn.Module:
    """A model of `transformers`, whose own memory is not counted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "gpt2":
            config = GPT2Config(n_layer=8, n_embd=32, n_head=4, vocab_size=200, n_positions=16)
            return GPT2LMHeadModel(config).to(dtype)
        config = LlamaConfig(
            num_hidden_layers=8, hidden_size=32, num_attention_heads=4, vocab_size=200, intermediate_size=100,
            max_position_embeddings=16,
        )  # fmt: skip
        return LlamaForCausalLM(config).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "a folder of ours"])
def test_loading_holds_the_weights_once_folded_or_not(kind, dtype, tmp_path):
    if kind == "a folder of ours":
        save(order_one_model(**SIZES, dtype=dtype, tie_word_embeddings=True), tmp_path / "model")
        source = tmp_path / "model"
    else:
        source = in_memory(kind, dtype)
    for load in (HookedTransformer.from_pretrained_no_processing, HookedTransformer.from_pretrained):
        with LiveBytes() as live:
            model = load(source, device="cpu")
        assert live.now >= sum(p.numel() * p.element_size() for p in model.parameters())
        assert live.peak <= own_bytes(model) + largest_part_in_float32(model) < 1.5 * own_bytes(model)


def test_rewriting_a_model_in_use_holds_its_weights_twice_and_no_more():
    model = order_one_model(**SIZES, dtype=torch.float32)
    with LiveBytes() as live:
        model.process_weights_()
    # The new ones: the old ones were there before, and stay until all new ones are found to be finite.
    assert live.peak <= own_bytes(model) + largest_part_in_float32(model)


def test_a_weightless_model_has_no_number():
    with LiveBytes() as live:
        model = weightless(HookedTransformer, small_config(positional_embedding_type="rotary"))
    assert live.peak < 1000
    assert all(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])


def test_parameters_that_were_stored_as_one_do_not_train_as_one():
    config = small_config()
    state = dict(order_one_model().state_dict())
    state["blocks.0.attn.b_O"] = state["blocks.1.attn.b_O"]
    # Two halves of one storage are not the same memory, and are not copied.
    both = torch.stack([state["blocks.0.ln1.w"], state["blocks.1.ln1.w"]])
    state["blocks.0.ln1.w"], state["blocks.1.ln1.w"] = both
    model = weightless(HookedTransformer, config)
    assemble(model, state, config)
    assert not state
    model.blocks[0].attn.b_O.data.zero_()
    assert model.blocks[1].attn.b_O.all()
    assert model.blocks[0].ln1.w.untyped_storage().data_ptr() == both.untyped_storage().data_ptr()
    assert model.blocks[1].ln1.w.untyped_storage().data_ptr() == both.untyped_storage().data_ptr()


class Watched(dict):
    """A state dict that counts, whenever a tensor is taken, how many of its tensors are still there."""

    def __init__(self, state):
        super().__init__(state)
        self.living = [weakref.ref(value) for value in self.values()]
        self.counts = []

    def pop(self, name):
        self.counts.append(sum(value() is not None for value in self.living))
        return super().pop(name)


def test_weights_go_to_another_device_one_by_one():
    # The meta device is the one that is everywhere; what is moved to it is no longer in memory.
    state = Watched({name: value.clone() for name, value in order_one_model().state_dict().items()})
    n_tensors, model = len(state), weightless(HookedTransformer, small_config())
    assemble(model, state, small_config(device="meta"))
    assert state.counts == list(range(n_tensors, 0, -1))
    assert model.cfg.device == "meta"
    assert all(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])


@pytest.mark.parametrize("kind", ["gpt2", "llama", "a folder of ours"])
def test_the_device_is_the_one_asked_for(kind, tmp_path):
    source = tmp_path / "model" if kind == "a folder of ours" else in_memory(kind, torch.float32)
    save(order_one_model(), tmp_path / "model")
    for load in (HookedTransformer.from_pretrained_no_processing, HookedTransformer.from_pretrained):
        on_cpu = load(source, device="cpu")
        with LiveBytes() as live:
            elsewhere = load(source, device="meta")
        assert live.now < 0.1 * own_bytes(on_cpu)
        for model, device in ((on_cpu, "cpu"), (elsewhere, "meta")):
            assert model.cfg.device == device
            assert {tensor.device.type for tensor in [*model.parameters(), *model.buffers()]} == {device}
        assert {n: p.shape for n, p in elsewhere.named_parameters()} == {
            n: p.shape for n, p in on_cpu.named_parameters()
        }
        assert replace(elsewhere.cfg, device="cpu") == on_cpu.cfg


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_layers_that_turn_alike_share_their_table(device):
    window = {"use_local_attn": True, "window_size": 3, "attn_types": ("global", "local", "global")}
    changes = {"n_layers": 3, "positional_embedding_type": "rotary", "rotary_base_local": 50.0, **window}
    config = small_config(**changes, device=device)
    model = weightless(HookedTransformer, config)
    assemble(model, dict(order_one_model(**changes).state_dict()), config)
    first, local, last = (block.attn.rotary for block in model.blocks)
    assert first.cos is last.cos
    assert first.sin is last.sin
    assert local.cos is not first.cos


def test_every_loaded_model_is_in_evaluation_mode(tmp_path):
    built = HookedTransformer(small_config())
    # As PyTorch's modules are: the models below were not made by somebody who called eval().
    assert built.training
    save(order_one(built).train(), tmp_path / "model")
    torch.save(built.state_dict(), tmp_path / "model.pt")
    for source in (tmp_path / "model", in_memory("gpt2", torch.float32).train()):
        for load in (HookedTransformer.from_pretrained_no_processing, HookedTransformer.from_pretrained):
            assert not any(module.training for module in load(source, device="cpu").modules())
    loaded = load_tl_checkpoint(tmp_path / "model.pt", small_config())
    assert not any(module.training for module in loaded.modules())
    # Rewriting a model that is being trained leaves it in training.
    built.train().process_weights_()
    assert all(module.training for module in built.modules())


def test_a_loaded_model_does_not_change_with_its_file(tmp_path):
    folder = tmp_path / "model"
    save(order_one_model(), folder)
    model = HookedTransformer.from_pretrained_no_processing(folder, device="cpu")
    file = folder / "model.safetensors"
    size = file.stat().st_size
    with file.open("r+b") as stored:
        stored.write(bytes(size))
    assert torch.equal(model(random_tokens()), order_one_model()(random_tokens()))


def test_projections_lie_as_the_one_product_over_all_heads_reads_them(tmp_path):
    save(order_one_model(n_key_value_heads=2), tmp_path / "model")
    loaded = HookedTransformer.from_pretrained(tmp_path / "model", device="cpu")
    refactored = order_one(HookedTransformer(small_config()))
    refactored.process_weights_(refactor_factored_attn_matrices=True)
    for attn in (loaded.blocks[1].attn, refactored.blocks[1].attn):
        for weight in (attn.W_Q, attn.key_weights()[0], attn.value_weights()[0]):
            assert weight.permute(1, 0, 2).flatten(1).data_ptr() == weight.data_ptr()
        assert attn.W_O.flatten(0, 1).data_ptr() == attn.W_O.data_ptr()
