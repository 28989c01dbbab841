"""Models of llama2.c: against the formulas, against the same weights in Hugging Face's format, and damaged."""

import json
import struct

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from models import HookedTransformer
from models.errors import CheckpointError
from models.loading.foreign import load_llama2c

DIM, HIDDEN, LAYERS, HEADS, KV, VOCAB, SEQ = 12, 20, 2, 3, 1, 17, 9
HEAD = DIM // HEADS
SHAPES = {
    "ln1": (DIM,), "q": (DIM, DIM), "k": (KV * HEAD, DIM), "v": (KV * HEAD, DIM), "o": (DIM, DIM), "ln2": (DIM,),
    "w1": (HIDDEN, DIM), "w2": (DIM, HIDDEN), "w3": (HIDDEN, DIM),
}  # fmt: skip
ORDER = {0: ["embed", *SHAPES, "norm", "cos", "sin"], 1: ["ln1", "ln2", "norm", "embed", *"qkvo", "w1", "w2", "w3"]}
TOKENS = torch.randint(VOCAB, (3, 7), generator=torch.Generator().manual_seed(1))


def weights(shared=True):
    """Weights of order one by llama2.c's names, those of the layers stacked."""
    generator = torch.Generator().manual_seed(0)
    shapes = {name: (LAYERS, *shape) for name, shape in SHAPES.items()}
    shapes |= {"embed": (VOCAB, DIM), "norm": (DIM,)} | ({} if shared else {"head": (VOCAB, DIM)})
    found = {name: 0.5 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    angles = torch.arange(SEQ)[:, None] / 10000 ** (torch.arange(0, HEAD, 2) / HEAD)
    return found | {"cos": angles.cos(), "sin": angles.sin()}


def written(path, found, version=0):
    sizes = [DIM, HIDDEN, LAYERS, HEADS, KV, VOCAB if version or "head" not in found else -VOCAB, SEQ]
    header = struct.pack("<7i", *sizes)
    if version:
        flags = struct.pack("B", "head" not in found)
        header = (struct.pack("<Ii", 0x616B3432, version) + header + flags).ljust(256, b"\0")
    names = ORDER[min(version, 1)] + (["head"] if "head" in found else [])
    path.write_bytes(header + b"".join(found[name].numpy().astype("<f4").tobytes() for name in names))
    return path


def logits_by_the_formulas(found, tokens):
    """Llama with neighbouring coordinates turned as complex numbers, one prompt and head at a time."""
    found = {name: value.double() for name, value in found.items()}
    angles = torch.arange(tokens.shape[1]).double()[:, None] / 10000 ** (torch.arange(0, HEAD, 2).double() / HEAD)
    turn = torch.polar(torch.ones_like(angles), angles)

    def norm(x, w):
        return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * w

    def turned(x):
        return torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2))) * turn).flatten(-2)

    def row(prompt):
        x = found["embed"][prompt]
        for layer in range(LAYERS):
            part = {name: found[name][layer] for name in SHAPES}
            read, z = norm(x, part["ln1"]), []
            q, k, v = (read @ part[name].T for name in "qkv")
            for head in range(HEADS):
                own, group = slice(head * HEAD, (head + 1) * HEAD), head * KV // HEADS
                theirs = slice(group * HEAD, (group + 1) * HEAD)
                scores = turned(q[:, own]) @ turned(k[:, theirs]).T / HEAD**0.5
                masked = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
                z.append(masked.softmax(-1) @ v[:, theirs])
            x = x + torch.cat(z, dim=-1) @ part["o"].T
            read = norm(x, part["ln2"])
            x = x + (F.silu(read @ part["w1"].T) * (read @ part["w3"].T)) @ part["w2"].T
        return norm(x, found["norm"]) @ found.get("head", found["embed"]).T

    return torch.stack([row(prompt) for prompt in tokens])


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("shared", [True, False])
def test_a_model_computes_what_the_formulas_say(tmp_path, version, shared):
    found = weights(shared)
    model = load_llama2c(written(tmp_path / "model.bin", found, version), dtype=torch.float64, device="cpu")
    assert model.cfg.tie_word_embeddings is shared
    assert_close(model(TOKENS), logits_by_the_formulas(found, TOKENS))


@pytest.fixture(scope="module")
def stories(shared):
    folder = shared / "data" / "stories260k"
    return load_llama2c(folder / "stories260K.bin", folder / "tok512.bin", device="cpu"), folder


def test_the_weights_are_those_of_the_hugging_face_folder(stories):
    model, folder = stories
    other = HookedTransformer.from_pretrained_no_processing(folder / "hf", device="cpu")
    assert model.state_dict().keys() == other.state_dict().keys()
    for name, value in other.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_the_tokenizer_is_that_of_the_hugging_face_folder(stories, shared):
    model, folder = stories
    other = HookedTransformer.from_pretrained_no_processing(folder / "hf", device="cpu").tokenizer
    lines = (shared / "data" / "text-english" / "wikitext-2-valid.txt").read_text().splitlines()[:600]
    texts = [" ".join(line.split()) for line in lines if line.strip() and "<unk>" not in line]
    texts += ["Lily didn't wäit, 5 € — naïve 猫", "a"]
    for text in texts:
        ids = model.tokenizer.encode(text)
        assert ids == other.encode(text), text
        assert model.tokenizer.decode(ids) == text
    assert len(texts) > 100


def test_the_loss_and_the_greedy_text_are_the_published_ones(stories):
    model, folder = stories
    known = json.loads((folder / "reference_values.json").read_text())["fixture"]
    assert model.to_tokens(known["text"])[0].tolist() == known["input_ids_with_bos"]
    assert abs(model(known["text"], return_type="loss").item() - known["loss"]) < 1e-5
    expected = json.loads((folder / "greedy_fixture.json").read_text())["expected_text"]
    tokens = model.generate(torch.tensor([[1]]), max_new_tokens=200, do_sample=False, stop_at_eos=False)
    assert model.to_string(tokens[0, 1:]).strip() == expected.strip()


@pytest.mark.parametrize("length", [0, 10, 100, -4, -1])
def test_a_file_that_is_cut_off_is_refused(tmp_path, length):
    path = written(tmp_path / "model.bin", weights())
    load_llama2c(path, device="cpu")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"model\.bin"):
        load_llama2c(path)


def test_another_length_and_another_kind_of_file_are_refused(tmp_path):
    path = written(tmp_path / "model.bin", weights())
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0\0\0\0")
    with pytest.raises(CheckpointError, match=f"has {len(whole) + 4} bytes; its header asks for {len(whole)}"):
        load_llama2c(path)
    path.write_bytes(b"PK\x03\x04" + whole)
    with pytest.raises(CheckpointError, match="its header would say"):
        load_llama2c(path)
    with pytest.raises(CheckpointError, match="is not a file"):
        load_llama2c(tmp_path / "nowhere.bin")


def test_eight_bit_weights_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="version 2; read are 0 and 1"):
        load_llama2c(written(tmp_path / "model.bin", weights(), version=2))


@pytest.mark.parametrize("version", [0, 1])
def test_numbers_that_are_none_are_refused_with_the_name_of_the_weight(tmp_path, version):
    found = weights()
    found["w2"][1, 3, 4] = torch.nan
    with pytest.raises(CheckpointError, match=r"model\.layers\.1\.mlp\.down_proj\.weight has 1 of 240 numbers"):
        load_llama2c(written(tmp_path / "model.bin", found, version))


def test_rotary_tables_of_another_base_are_refused(tmp_path):
    found = weights()
    found["sin"][3, 1] += 0.01
    with pytest.raises(CheckpointError, match=r"rotary tables differ from those of the base 10000 by 0\.01"):
        load_llama2c(written(tmp_path / "model.bin", found))


def tokenizer_file(path, pieces):
    entries = [struct.pack("<fi", score, len(text.encode())) + text.encode() for text, score in pieces]
    path.write_bytes(struct.pack("<i", max(len(text) for text, _ in pieces)) + b"".join(entries))
    return path


BYTES = [(f"<0x{byte:02X}>", 0.0) for byte in range(256)]
SPECIAL = [("<unk>", 0.0), ("\n<s>\n", 0.0), ("\n</s>\n", 0.0)]


def test_the_best_piece_is_merged_first_and_the_rest_is_spelt_in_bytes(tmp_path):
    from models.loading.llama2c_tokenizer import read_llama2c_tokenizer

    letters = [(letter, -9.0) for letter in " abc"]
    pieces = [*SPECIAL, *BYTES, *letters, ("ab", -3.0), ("bc", -2.0), (" a", -1.0), ("abc", -4.0)]
    numbers = {text: number for number, (text, _) in enumerate(pieces)}
    path = tokenizer_file(tmp_path / "tokenizer.bin", pieces)
    tokenizer = read_llama2c_tokenizer(path, len(pieces))
    # " abcab": " a" first, then "bc"; at the end "ab".
    assert tokenizer.encode("abcab") == [numbers[text] for text in (" a", "bc", "ab")]
    assert tokenizer.encode("aé") == [numbers[" a"], 3 + 0xC3, 3 + 0xA9]
    assert tokenizer.decode(tokenizer.encode("abé a")) == "abé a"
    with pytest.raises(CheckpointError, match=r"ends after 267 pieces; the model has 268"):
        read_llama2c_tokenizer(path, len(pieces) + 1)
    with pytest.raises(CheckpointError, match="bytes behind its 266 pieces"):
        read_llama2c_tokenizer(path, len(pieces) - 1)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="cut off in its piece 266"):
        read_llama2c_tokenizer(path, len(pieces))
    with pytest.raises(CheckpointError, match="stands twice"):
        read_llama2c_tokenizer(tokenizer_file(path, [*pieces, ("ab", -5.0)]), len(pieces) + 1)
    with pytest.raises(CheckpointError, match="is not a file"):
        read_llama2c_tokenizer(tmp_path / "nowhere.bin", 5)
