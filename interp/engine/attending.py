"""Attention of packed rows: neighbouring lanes attend together, each to its own keys and the base run's.

The model's own functions do the work; this file only decides which rows they are given.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from .grouping import Group, groups
from .lane_edits import LaneEdits
from .rows import Numbers, Rows
from .schedule import LayerRows


class Attending:
    """What attention needs of the base run: its keys, values and queries, its positions and padding."""

    def __init__(
        self, model: Any, context: Any, base: Mapping[str, Shaped[Tensor, "prompt pos ..."]], n_keys: int
    ) -> None:
        """The attention of a model on some prompts.

        Args:
            context: what the model's attention knows of the run (`model.context_of(tokens)`).
            base: by hook name, the activations of the run in which nothing is changed, as rows.
            n_keys: positions behind these are never looked at.
        """
        self.model = model
        self.context = context
        self.base = base
        self.n_keys = n_keys
        self._contexts: dict[bytes, Any] = {}

    def z(
        self,
        at: LayerRows,
        normed: Float[Tensor, "row d_model"],
        pre: Rows,
        queries: Rows,
        edits: LaneEdits,
        frozen: Collection[str],
    ) -> Float[Tensor, "query_row head d_head"]:
        """What each head reads, for the rows of `queries`.

        Args:
            normed: what the layer sees of the stream, for the rows of `pre`.
        """
        attn = self.model.blocks[at.layer].attn
        asking = pre.with_mask(pre.mask & queries.mask)
        mine = asking.carried(normed, pre, None)
        q = attn.queries(self._positioned(mine, asking)[None])[0]
        k, v = attn.keys(self._positioned(normed, pre)[None])[0], attn.values(normed[None])[0]
        turned_q = attn.turned_queries(q[None], self._ids(asking))[0]
        turned_k = attn.turned_keys(k[None], self._ids(pre))[0]
        found: list[Tensor] = []
        numbers: list[np.ndarray] = []
        for group in groups(queries.mask, self.n_keys):
            bucket = _Bucket(self, at.layer, group, pre, edits, frozen)
            queries_of, keys_of = bucket.composed_q(q, turned_q, asking), bucket.composed_k(k, turned_k)
            z = bucket.z(queries_of, keys_of, bucket.composed_v(v))
            found.append(bucket.asked_for(z, queries))
            numbers.append(bucket.numbers(queries))
        return _in_order(found, numbers, queries)

    def _positioned(self, normed: Float[Tensor, "row d_model"], rows: Rows) -> Float[Tensor, "row d_model"]:
        """What queries and keys read: with the positions, where these are no part of the stream."""
        added = self.context.added
        return normed if added is None else normed + added[rows.prompt_index, rows.position_index]

    def _ids(self, rows: Rows) -> Int[Tensor, "1 row"]:
        ids = self.context.position_ids()
        prompt = rows.prompt_index if len(ids) > 1 else torch.zeros_like(rows.prompt_index)
        return ids[prompt, rows.position_index][None]

    def ids_of(self, prompts: Int[Tensor, " lane"], positions: Int[Tensor, " wanted"]) -> Int[Tensor, "#lane wanted"]:
        """The positions of a group of lanes as the rotation counts them."""
        ids = self.context.position_ids()[:, positions]
        return ids[prompts] if len(ids) > 1 else ids

    def forget_masks(self) -> None:
        """Those of the wave before are let go: of all positions together they grow with the cube of the length."""
        self._contexts.clear()

    def context_for(self, positions: Int[np.ndarray, " query"], prompts: Int[Tensor, " lane"]) -> Any:
        """The context of a group of lanes that ask from these positions."""
        key = positions.tobytes()
        if key not in self._contexts:
            queries = torch.from_numpy(positions).to(prompts.device)
            self._contexts[key] = self.context.some_queries(queries, self.n_keys)
        return self._contexts[key].of_prompts(prompts)


class _Bucket:
    """A group of lanes in one layer: one call of attention."""

    def __init__(
        self,
        attending: Attending,
        layer: int,
        group: Group,
        pre: Rows,
        edits: LaneEdits,
        frozen: Collection[str],
    ) -> None:
        self.attending = attending
        self.attn = attending.model.blocks[layer].attn
        self.layer = layer
        self.lanes, self.asked = group
        self.pre = pre
        self.edits = edits
        self.frozen = frozen
        self.keys = np.arange(attending.n_keys)
        self.prompts = pre.prompts[self.lanes]
        self.prompt_index = pre.index(self.prompts)
        self.context = attending.context_for(self.asked, self.prompt_index)

    def numbers(self, rows: Rows) -> Numbers:
        """Where the rows of these lanes stand among those rows."""
        local, positions = rows.mask[self.lanes].nonzero()
        return rows.within(self.lanes[local], positions)

    def asked_for(
        self, z: Float[Tensor, "lane query head d_head"], queries: Rows
    ) -> Float[Tensor, "query_row head d_head"]:
        """The rows of each lane that it asked for itself."""
        wanted = queries.mask[np.ix_(self.lanes, self.asked)]
        packed = z.flatten(0, 1)
        return packed if wanted.all() else packed[self.pre.index(np.flatnonzero(wanted))]

    def composed_q(
        self, computed: Float[Tensor, "row head d_head"], turned: Float[Tensor, "row head d_head"], rows: Rows
    ) -> Float[Tensor, "lane query head d_head"]:
        """The queries: those of changed rows, and else the base run's. What lanes change is changed, then turned."""
        if self.attn.rotary is None:
            return self._changed("hook_q", self.asked, computed, rows)
        if not self._concerns("hook_q"):
            return self._composed("hook_rot_q", self.asked, turned, rows)
        return self.attn.turned_queries(self._changed("hook_q", self.asked, computed, rows), self._ids(self.asked))

    def composed_k(
        self, computed: Float[Tensor, "row kv_head d_head"], turned: Float[Tensor, "row kv_head d_head"]
    ) -> Float[Tensor, "lane key kv_head d_head"]:
        """The keys: those of changed rows, and else the base run's. What lanes change is changed, then turned."""
        if self.attn.rotary is None:
            return self._changed("hook_k", self.keys, computed, self.pre)
        if not self._concerns("hook_k"):
            return self._composed("hook_rot_k", self.keys, turned, self.pre)
        return self.attn.turned_keys(self._changed("hook_k", self.keys, computed, self.pre), self._ids(self.keys))

    def composed_v(self, computed: Float[Tensor, "row kv_head d_head"]) -> Float[Tensor, "lane key kv_head d_head"]:
        """The values: those of changed rows, and else the base run's."""
        return self._changed("hook_v", self.keys, computed, self.pre)

    def z(
        self,
        q: Float[Tensor, "lane query head d_head"],
        k: Float[Tensor, "lane key kv_head d_head"],
        v: Float[Tensor, "lane key kv_head d_head"],
    ) -> Float[Tensor, "lane query head d_head"]:
        """What each head reads."""
        attn, context = self.attn, self.context
        k, v = attn.per_query_head(k), attn.per_query_head(v)
        if not (self._concerns("hook_attn_scores") or self._concerns("hook_pattern")):
            return attn.weighted_values(q, k, v, context)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        scores = self._changed_scores("hook_attn_scores", attn.scores(q, k, context))
        pattern = self._changed_scores("hook_pattern", attn.softmax(scores, context, edited=True))
        return (pattern.to(v.dtype) @ v).transpose(1, 2)

    def _composed(
        self, name: str, wanted: Numbers, computed: Tensor, rows: Rows
    ) -> Shaped[Tensor, "lane wanted head d_head"]:
        base = self.attending.base[self._name(name)]
        mask = rows.mask[np.ix_(self.lanes, wanted)]
        if not mask.any():
            return self._base(base, wanted)
        mine = rows.taken(computed, rows.within(self.lanes[mask.nonzero()[0]], wanted[mask.nonzero()[1]]))
        if mask.all():
            return mine.unflatten(0, mask.shape)
        joined = self._base(base, wanted).clone(memory_format=torch.contiguous_format)
        joined.flatten(0, 1).index_copy_(0, self.pre.index(np.flatnonzero(mask)), mine)
        return joined

    def _base(
        self, base: Shaped[Tensor, "prompt pos ..."], positions: Numbers
    ) -> Shaped[Tensor, "lane wanted head d_head"]:
        n = len(positions)
        if n and positions[-1] - positions[0] == n - 1:
            some = base[:, int(positions[0]) : int(positions[-1]) + 1]
        else:
            some = base[:, self.pre.index(positions)]
        if bool((self.prompts == self.prompts[0]).all()):
            prompt = int(self.prompts[0])
            return some[prompt : prompt + 1].expand(len(self.lanes), *some.shape[1:])
        return some[self.prompt_index]

    def _changed(
        self, stage: str, wanted: Numbers, computed: Shaped[Tensor, "row head d_head"], rows: Rows
    ) -> Shaped[Tensor, "lane wanted head d_head"]:
        name = self._name(stage)
        if name in self.frozen:
            x = self._base(self.attending.base[name], wanted)
        else:
            x = self._composed(stage, wanted, computed, rows)
        if not self.edits.any_of(self.layer, stage, self.lanes):
            return x
        packed = x.reshape(-1, *x.shape[2:])
        return self.edits.applied(self.layer, stage, packed, self._local(wanted), self.lanes).unflatten(0, x.shape[:2])

    def _changed_scores(
        self, stage: str, x: Float[Tensor, "lane head query key"]
    ) -> Float[Tensor, "lane head query key"]:
        name = self._name(stage)
        if name in self.frozen:
            base = self.attending.base[name][..., : len(self.keys)]
            x = base[:, self.pre.index(self.asked)][self.prompt_index].transpose(1, 2)
        if not self.edits.any_of(self.layer, stage, self.lanes):
            return x
        rows = x.transpose(1, 2)
        packed = rows.reshape(-1, *rows.shape[2:])
        local = self._local(self.asked)
        changed = self.edits.applied(self.layer, stage, packed, local, self.lanes)
        return changed.unflatten(0, rows.shape[:2]).transpose(1, 2)

    def _concerns(self, stage: str) -> bool:
        return self._name(stage) in self.frozen or self.edits.any_of(self.layer, stage, self.lanes)

    def _ids(self, positions: Numbers) -> Int[Tensor, "#lane wanted"]:
        return self.attending.ids_of(self.prompt_index, self.pre.index(positions))

    def _local(self, positions: Numbers) -> Rows:
        mask = np.zeros((len(self.lanes), self.pre.mask.shape[1]), dtype=bool)
        mask[:, positions] = True
        return Rows(mask, self.prompts, self.pre.device)

    def _name(self, stage: str) -> str:
        return f"blocks.{self.layer}.attn.{stage}"


def _in_order(found: list[Tensor], numbers: list[np.ndarray], rows: Rows) -> Float[Tensor, "row head d_head"]:
    """What the groups found, each at its place among the rows."""
    order = np.concatenate(numbers)
    together = found[0] if len(found) == 1 else torch.cat(found)
    if bool((np.diff(order) == 1).all()):
        return together
    placed = torch.empty_like(together)
    placed[rows.index(order)] = together
    return placed
