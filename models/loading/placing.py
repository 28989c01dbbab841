"""The stored tensors in our places: views of what was read wherever the numbers only change their axes."""

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ..errors import CheckpointError
from .families.layout import Copied, Either, Fused, Layout, Names, Rows
from .weights import Weights

_PER_HEAD = {"W_Q", "W_K", "W_V"}
_BIASES = {"b_Q", "b_K", "b_V"}
_MATRICES = {"W_in", "W_out", "W_gate"}
_ABSENT = {"b_O", "b_in", "b_out", "b_U"}


class Placing:
    """One checkpoint on its way into one model.

    Args:
        wanted: the model's parameters by name; only their shapes are looked at.
        dtype: what the model computes in.
    """

    def __init__(self, layout: Layout, wanted: Mapping[str, Tensor], weights: Weights, dtype: torch.dtype) -> None:
        self._layout = layout
        self._wanted = wanted
        self._weights = weights
        self._dtype = dtype
        whole = any(name.startswith(layout.base) for name in weights.remaining)
        self._base = layout.base if whole else ""
        redundant = re.compile(re.escape(self._base) + layout.redundant)
        weights.drop(redundant.fullmatch)

    def state(self, n_layers: int, tied: bool) -> dict[str, Tensor]:
        """Every parameter of the model; biases that the architecture does not have are zero.

        Args:
            tied: whether the checkpoint's unembedding is its embedding.

        Raises:
            CheckpointError: names missing or left over (both lists), wrong shapes, values that are not finite, an
                unembedding that is stored beside the embedding it should be equal to and is not.
        """
        state = dict(self._table(self._layout.stream, "", self._base))
        for layer in range(n_layers):
            theirs = self._base + self._layout.blocks.format(layer=layer)
            state.update(self._table(self._layout.block, f"blocks.{layer}.", theirs))
        head = dict(self._layout.head)
        if tied:
            unembedding = head.pop("unembed.W_U")
            for name in (unembedding.name, unembedding.other) if isinstance(unembedding, Either) else (unembedding,):
                self._require_equal(str(name), state["embed.W_E"])
            if "unembed.W_U" in self._wanted:
                state["unembed.W_U"] = state["embed.W_E"].T
        state.update(self._table(head, "", ""))
        self._weights.require_all_used()
        for name in self._wanted.keys() - state.keys():
            if name.rsplit(".", 1)[-1] in _ABSENT:
                state[name] = torch.zeros(self._wanted[name].shape, dtype=self._dtype)
        return state

    def _table(self, names: Names, ours: str, theirs: str) -> Iterator[tuple[str, Tensor]]:
        for key, place in names.items():
            targets = [self._full(ours + name) for name in ((key,) if isinstance(key, str) else key)]
            shapes = [self._stored_shape(name) for name in targets]
            match place:
                case str():
                    parts = [self._take(theirs + place, shapes[0])]
                case Either(name, other):
                    there = other if self._weights.has(theirs + other) else name
                    parts = [self._take(theirs + there, shapes[0])]
                case Copied(name):
                    first = self._take(theirs + name, shapes[0])
                    parts = [first, *(first.clone() for _ in targets[1:])]
                case Rows(name, first_row):
                    parts = [self._take(theirs + name, (shapes[0][0] + first_row, *shapes[0][1:]))[first_row:]]
                case Fused(name, by_head):
                    parts = self._split(theirs + name, targets, shapes, by_head)
            for name, part in zip(targets, parts, strict=True):
                yield name, self._placed(name, part)

    def _require_equal(self, name: str, embedding: Tensor) -> None:
        # Some files store a tied matrix a second time.
        if embedding.is_meta or not self._weights.has(name):
            return
        if not torch.equal(self._take(name, tuple(embedding.shape)), embedding):
            raise CheckpointError(
                f"{self._weights.origin}: {name} is not the embedding, and the config ties them; "
                "set tie_word_embeddings to false there"
            )

    def _full(self, name: str) -> str:
        # Grouped keys and values have an underscore, as in TransformerLens.
        stem, last = name.rsplit(".", 1)
        return f"{stem}._{last}" if f"{stem}._{last}" in self._wanted else name

    def _take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        return self._weights.take(name, *shape, dtype=self._dtype)

    def _input_first(self, kind: str) -> bool:
        return self._layout.input_first and kind != "W_U"

    def _stored_shape(self, name: str) -> tuple[int, ...]:
        kind, shape = _kind(name), tuple(self._wanted[name].shape)
        if kind in _BIASES:
            return (shape[0] * shape[1],)
        if kind in _PER_HEAD:
            shape = (shape[1], shape[0] * shape[2])
        elif kind == "W_O":
            shape = (shape[0] * shape[1], shape[2])
        elif kind not in _MATRICES | {"W_U"}:
            return shape
        return shape if self._input_first(kind) else shape[::-1]

    def _split(self, name: str, targets: list[str], shapes: list[tuple[int, ...]], by_head: bool) -> list[Tensor]:
        axis = 1 if self._input_first(_kind(targets[0])) and len(shapes[0]) > 1 else 0
        widths = [shape[axis] for shape in shapes]
        whole = list(shapes[0])
        whole[axis] = sum(widths)
        stored = self._take(name, tuple(whole))
        if by_head:
            n_heads = self._wanted[targets[0]].shape[0]
            return [part.flatten(0, 1) for part in stored.unflatten(0, (n_heads, len(targets), -1)).unbind(1)]
        # Columns of a wider matrix would be slow in every product: they get a place of their own.
        return [part.contiguous() for part in stored.split(widths, dim=axis)]

    def _placed(self, name: str, stored: Tensor) -> Tensor:
        kind, shape = _kind(name), self._wanted[name].shape
        if kind in _BIASES:
            return stored.unflatten(0, shape)
        if kind not in _PER_HEAD | _MATRICES | {"W_O", "W_U"}:
            return stored
        matrix = stored if self._input_first(kind) else stored.T
        if kind in _PER_HEAD:
            return matrix.unflatten(1, (shape[0], shape[2])).permute(1, 0, 2)
        return matrix.unflatten(0, shape[:2]) if kind == "W_O" else matrix


def _kind(name: str) -> str:
    return name.rsplit(".", 1)[-1].lstrip("_")
