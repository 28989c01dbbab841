"""The header of a GGUF file, against the reader of the package that defines the format."""

from pathlib import Path

import gguf
import numpy as np

from models.loading.gguf_file import open_gguf
from tests.models.loading.gguf_files import random_llama, write_llama

KINDS = [gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.Q4_1, gguf.GGMLQuantizationType.F16]


def test_every_field_and_tensor_is_what_the_package_reads(tmp_path: Path) -> None:
    values = {
        "test__truth": True,
        "test__text": "naïve 🙂",
        "test__number": -3.25,
        "test__texts": ["a", "", "ﬁ", "\n"],
        "test__numbers": [1, -2, 3],
        "test__floats": [0.5, 1.25],
    }
    kinds = iter(KINDS * 20)
    path = write_llama(tmp_path / "tiny.gguf", random_llama(), lambda name: next(kinds), **values)
    ours, theirs = open_gguf(path), gguf.GGUFReader(path)
    # Theirs counts what stands before the first field as fields too.
    expected = {name: field.contents() for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    assert expected.keys() == ours.fields.keys() >= {name.replace("__", ".") for name in values}
    for name, value in ours.fields.items():
        # A float32 is read as the shortest decimal that rounds to it.
        assert np.float32(value) == np.float32(expected[name]) if isinstance(value, float) else value == expected[name]
    found = {tensor.name: (tensor.shape[::-1], tensor.kind, tensor.start) for tensor in ours.tensors.values()}
    assert found == {
        tensor.name: (tuple(tensor.shape.tolist()), int(tensor.tensor_type), tensor.data_offset)
        for tensor in theirs.tensors
    }
    assert {kind for _, kind, _ in found.values()} == {int(kind) for kind in KINDS}
    for tensor in theirs.tensors:
        assert ours.tensors[tensor.name].end - ours.tensors[tensor.name].start == tensor.n_bytes
