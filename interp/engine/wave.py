"""One wave: many lanes walk the layers together, each from where its change is, with only the rows that matter."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from jaxtyping import Float, Shaped
from torch import Tensor

from .attending import Attending
from .lane_edits import LaneEdits
from .rows import Rows
from .schedule import LayerRows, Reach, schedule


class Wave:
    """What every wave of a sweep shares: the model, the run in which nothing is changed, and what is looked at."""

    def __init__(
        self,
        model: Any,
        context: Any,
        base: Mapping[str, Shaped[Tensor, "prompt pos ..."]],
        reach: Reach,
        frozen: Collection[str] = (),
    ) -> None:
        """The waves of a model on some prompts.

        Args:
            context: what the model's attention knows of the run (`model.context_of(tokens)`).
            base: by hook name, the activations of the run in which nothing is changed, as rows.
            frozen: the points that keep these values whatever is changed.
        """
        self.model = model
        self.base = base
        self.reach = reach
        self.frozen = frozenset(frozen)
        self.attending = Attending(model, context, base, reach.n_keys)
        self.device = model.W_E.device

    def stream(self, edits: LaneEdits) -> tuple[Float[Tensor, "row d_model"], Rows]:
        """The stream behind the last block, for the rows that the metrics read and that some change reaches."""
        self.attending.forget_masks()
        layers = schedule(edits.touched, self.reach, len(edits.prompts))
        rows = Rows(layers[0].before, edits.prompts, self.device)
        stream = self.model.W_E.new_empty(0, self.model.cfg.d_model)
        for at in layers:
            if at.any:
                stream, rows = _Step(self, at, edits).run(stream, rows)
        return stream, rows


class _Step:
    """One block, for the lanes of one wave."""

    def __init__(self, wave: Wave, at: LayerRows, edits: LaneEdits) -> None:
        self.wave = wave
        self.at = at
        self.edits = edits
        self.block = wave.model.blocks[at.layer]
        self.parallel = wave.reach.mlp_reads[at.layer] == "resid_pre"

    def run(self, stream: Float[Tensor, "row d_model"], before: Rows) -> tuple[Float[Tensor, "after d_model"], Rows]:
        """The stream behind the block."""
        at, block = self.at, self.block
        pre = before.with_mask(at.pre)
        resid_pre = self._changed("hook_resid_pre", pre.carried(stream, before, self._base("hook_resid_pre")), pre)
        queries = pre.with_mask(at.queries)
        resid_mid, mid = self._attended(resid_pre, pre, queries)
        if not self.wave.reach.mlp_reads[at.layer]:
            return self._post(resid_mid, mid)
        read, reading = (resid_pre, pre) if self.parallel else (resid_mid, mid)
        written, mlp = self._mlp(read, reading)
        joined = mlp.with_mask(at.joined)
        resid_mid = joined.carried(resid_mid, mid, self._base_mid())
        written = joined.carried(written, mlp, self._base("hook_mlp_out"))
        return self._post(block.after_mlp(resid_mid[None], written[None])[0], joined)

    def _attended(
        self, resid_pre: Float[Tensor, "row d_model"], pre: Rows, queries: Rows
    ) -> tuple[Float[Tensor, "mid d_model"], Rows]:
        at, block = self.at, self.block
        z_rows, out, mid = (queries.with_mask(mask) for mask in (at.z, at.attn_out, at.mid))
        if len(queries):
            normed = block.read(block.ln1, resid_pre[None])[0]
            z = self.wave.attending.z(at, normed, pre, queries, self.edits, self.wave.frozen)
        else:
            z = resid_pre.new_empty(0, self.wave.model.cfg.n_heads, self.wave.model.cfg.d_head)
        z = self._changed("attn.hook_z", z_rows.carried(z, queries, self._base("attn.hook_z")), z_rows)
        written = block.attention_write(block.attn.output(z[None]))[0]
        written = self._changed("hook_attn_out", out.carried(written, z_rows, self._base("hook_attn_out")), out)
        resid_pre = out.carried(resid_pre, pre, self._base("hook_resid_pre"))
        resid_mid = block.after_attention(resid_pre[None], written[None])[0]
        return self._changed("hook_resid_mid", mid.carried(resid_mid, out, self._base("hook_resid_mid")), mid), mid

    def _mlp(self, read: Float[Tensor, "row d_model"], reading: Rows) -> tuple[Float[Tensor, "mlp d_model"], Rows]:
        at, block = self.at, self.block
        inputs = reading.with_mask(at.pre & at.mid) if self.parallel else reading
        neurons, mlp = inputs.with_mask(at.neurons), inputs.with_mask(at.mlp_out)
        normed = block.mlp_input(inputs.carried(read, reading, None)[None])
        post = self._changed(
            "mlp.hook_post",
            neurons.carried(block.mlp.neurons(normed)[0], inputs, self._base("mlp.hook_post")),
            neurons,
        )
        written = block.mlp_write(block.mlp.output(post[None]))[0]
        return self._changed("hook_mlp_out", mlp.carried(written, neurons, self._base("hook_mlp_out")), mlp), mlp

    def _post(self, stream: Float[Tensor, "row d_model"], rows: Rows) -> tuple[Float[Tensor, "after d_model"], Rows]:
        post = rows.with_mask(self.at.post)
        stream = post.carried(stream, rows, self._base("hook_resid_post"))
        return self._changed("hook_resid_post", stream, post), post

    def _changed(self, point: str, packed: Shaped[Tensor, "row ..."], rows: Rows) -> Shaped[Tensor, "row ..."]:
        if self._name(point) in self.wave.frozen:
            packed = rows.of(self.wave.base[self._name(point)])
        return self.edits.applied(self.at.layer, point.rpartition(".")[2], packed, rows)

    def _base(self, point: str) -> Shaped[Tensor, "prompt pos ..."] | None:
        return self.wave.base.get(self._name(point))

    def _base_mid(self) -> Float[Tensor, "prompt pos d_model"] | None:
        """The stream before the MLP's write is added; where that is no point of its own, the sum of its parts."""
        if not self.parallel:
            return self._base("hook_resid_mid")
        before, written = self._base("hook_resid_pre"), self._base("hook_attn_out")
        return None if before is None or written is None else self.block.after_attention(before, written)

    def _name(self, point: str) -> str:
        return f"blocks.{self.at.layer}.{point}"


def kept_points(model: Any, stages: Collection[str], layers: Sequence[int], mlp_reads: Sequence[str]) -> list[str]:
    """The hook names whose base activations a wave needs from these layers on, when these stages are changed."""
    names = []
    for layer in layers:
        attn = "blocks.{}.attn.hook_{}".format
        turned = model.blocks[layer].attn.rotary is not None
        names += [f"blocks.{layer}.hook_resid_pre", attn(layer, "v")]
        names += [attn(layer, f"rot_{which}" if turned else which) for which in "qk"]
        if mlp_reads[layer] == "resid_pre":
            names += [f"blocks.{layer}.hook_attn_out", f"blocks.{layer}.hook_mlp_out"]
        elif mlp_reads[layer] and {"hook_post", "hook_mlp_out"} & set(stages):
            names.append(f"blocks.{layer}.hook_resid_mid")
    return names
