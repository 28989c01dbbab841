"""Sweeps drawn over everything that one can be asked: the model's options, where, what is done, what is measured."""

from dataclasses import dataclass, field
from typing import Any

import torch
from hypothesis import reject
from hypothesis import strategies as st

from interp.errors import DegenerateBaselineError
from interp.metrics import Divergence, Function, LogitDifference, LogProbability, Loss, Metric, Probability
from interp.sweep import prepare_joint, prepare_sweep
from interp.sweep_run import SweepRun
from models import HookedTransformer
from tests.conftest import order_one, random_tokens, small_config
from tests.models.configurations import configurations
from tests.models.word_tokenizer import word_tokenizer

N_PROMPTS, LENGTH = 3, 5
AXES = {
    **dict.fromkeys(("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"), ("pos", "d_model")),
    **dict.fromkeys(("z", "q"), ("pos", "head", "d_head")),
    **dict.fromkeys(("k", "v"), ("pos", "kv_head", "d_head")),
    **dict.fromkeys(("pattern", "attn_scores"), ("head", "query", "key")),
    "mlp_post": ("pos", "d_mlp"),
}
FREEZABLE = ("pattern", "attn_scores", "z", "q", "k", "v", "attn_out", "mlp_out", "resid_mid", "mlp_post")
NO_PADDING = (0,) * N_PROMPTS
PAD = 2
"""The padding token of `word_tokenizer`."""


@dataclass
class Asked:
    """One sweep, or one set of joint changes, of one model.

    Attributes:
        changes: to `small_config`.
        metrics: their names in `metric_of`.
        arguments: of `sweep`, or of `joint` where there are sets.
        padded: how many positions of each prompt are padding on the left.
    """

    changes: dict[str, Any]
    metrics: tuple[str, ...]
    arguments: dict[str, Any]
    padded: tuple[int, ...] = NO_PADDING
    seed: int = 0
    _model: list[HookedTransformer] = field(default_factory=list)

    @property
    def model(self) -> HookedTransformer:
        if not self._model:
            changes = dict(self.changes)
            ungroup = changes.pop("ungrouped", False)
            model = order_one(HookedTransformer(small_config(**changes)), self.seed)
            if ungroup:
                model.set_ungroup_grouped_query_attention(True)
            if any(self.padded):
                model.set_tokenizer(word_tokenizer("left"))
            self._model.append(model)
        return self._model[0]

    @property
    def tokens(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Pairs that differ here and there; the first position is the same in all but one."""
        clean = random_tokens(N_PROMPTS, LENGTH, seed=self.seed + 1, d_vocab=13) + 4
        corrupted = clean.clone()
        other = random_tokens(N_PROMPTS, LENGTH, seed=self.seed + 2, d_vocab=13) + 4
        corrupted[:, 2:4] = other[:, 2:4]
        corrupted[1] = other[1]
        corrupted[:, 2] = torch.where(corrupted[:, 2] == clean[:, 2], clean[:, 2] % 13 + 4, corrupted[:, 2])
        for prompt, n in enumerate(self.padded):
            clean[prompt, :n] = corrupted[prompt, :n] = PAD
        return clean, corrupted

    def prepared(self, **options: Any) -> SweepRun:
        """The sweep, ready to run. A drawn model that cannot be asked (nothing moves its metric) is drawn anew."""
        metrics = [metric_of(name, self.model, *self.tokens) for name in self.metrics]
        prepare = prepare_joint if "sets" in self.arguments else prepare_sweep
        given = {**self.arguments, **options}
        try:
            return prepare(self.model, *self.tokens, metric=metrics, **given)
        except DegenerateBaselineError:
            reject()


@torch.no_grad()
def both_ways(run: SweepRun) -> tuple[torch.Tensor, torch.Tensor]:
    """What the exact engine finds, and the plain one with every cell, also of those that are said not to matter."""
    assert run.ready.engine == "wavefront"
    exact, everything = run.ready.values(), range(len(run.ready.changes))
    plain = run.ready.plain(everything)
    return exact, plain.part(range(len(plain.units))).unflatten(1, (len(everything), -1)).transpose(1, 2)


class EarlierDifference(LogitDifference):
    """A second metric of two columns: those asked together need names of their own."""

    name = "earlier logit difference"


def metric_of(name: str, model: HookedTransformer, clean: torch.Tensor, corrupted: torch.Tensor) -> Metric:
    """Metrics that read one position, several, all; two columns or all; each prompt by itself or all at once."""
    a, b = torch.tensor([3, 0, 1]), torch.tensor([4, 2, 0])
    match name:
        case "difference":
            return LogitDifference(a, b)
        case "difference at 2":
            return EarlierDifference(b, a, position=2)
        case "log-probability":
            return LogProbability(a)
        case "probability at 3":
            return Probability(b, position=3)
        case "loss":
            return Loss(clean % model.cfg.d_vocab_out, at=(1, 3))
        case "divergence":
            with torch.no_grad():
                return Divergence(model(clean) / 3, position=None)
        case "whole batch":
            return Function("whole batch", lambda read: read[..., 3].sum(1) + read[:, 0, 1].square().mean(), at=(2, 4))
        case "everywhere":
            return Function("everywhere", lambda read: read[..., 2].mean(dim=1))
    raise ValueError(name)


EACH_PROMPT = (
    ("difference",), ("difference at 2",), ("log-probability",), ("probability at 3", "difference"),
    ("difference", "difference at 2"), ("loss",), ("divergence", "loss", "difference at 2"),
)  # fmt: skip
AT_ONCE = (("whole batch",), ("everywhere", "difference"))


@st.composite
def models(draw: st.DrawFn) -> dict[str, Any]:
    """Changes to the small configuration, over more options than other tests need."""
    changes = draw(configurations())
    n_layers = draw(st.sampled_from([2, 3]))
    changes["n_layers"] = n_layers
    if changes["positional_embedding_type"] == "rotary":
        changes["rotary_dim"] = draw(st.sampled_from([None, 4]))
        changes["rotary_adjacent_pairs"] = draw(st.booleans())
    if changes["norm_placement"] == "post":
        changes["residual_scale"] = draw(st.sampled_from([1.0, 1.7]))
    if changes.get("use_local_attn"):
        changes["window_size"] = draw(st.sampled_from([1, 2, 3]))
        changes["attn_types"] = tuple(draw(st.sampled_from(["global", "local"])) for _ in range(n_layers))
    changes["scale_attn_by_inverse_layer_idx"] = draw(st.booleans())
    changes["ungrouped"] = changes["n_key_value_heads"] is not None and draw(st.booleans())
    return changes


@st.composite
def asked(draw: st.DrawFn, padding: bool = False) -> Asked:
    """A sweep over cells of one point."""
    changes = draw(models())
    point = draw(st.sampled_from(points_of(changes)))
    over = ["layer", *draw(st.permutations(draw(st.lists(st.sampled_from(AXES[point]), unique=True))))]
    padded = draw(st.sampled_from([(0, 2, 1), (1, 1, 1)])) if padding else NO_PADDING
    arguments = {
        "point": point,
        "over": over,
        "only": {axis: draw(indices(axis, changes, first=max(padded))) for axis in over[1:]},
        "direction": draw(st.sampled_from(["denoising", "noising"])),
        "window": draw(st.sampled_from([1, 1, 1, 2])),
        "freeze": draw(frozen(changes, {point})),
        **draw(interventions(point, changes, padded)),
    }
    return Asked(changes, draw(metrics()), arguments, padded, draw(st.integers(0, 5)))


@st.composite
def asked_jointly(draw: st.DrawFn, padding: bool = False) -> Asked:
    """Two sets of places, each with two to four."""
    changes = draw(models())
    padded = draw(st.sampled_from([(0, 2, 1), (1, 1, 1)])) if padding else NO_PADDING
    several = st.lists(place(changes, max(padded)), min_size=2, max_size=4, unique_by=str)
    sets = {label: draw(several) for label in "ab"}
    used = {point for places in sets.values() for point, _ in places}
    arguments = {
        "sets": sets,
        "direction": draw(st.sampled_from(["denoising", "noising"])),
        "intervention": draw(st.sampled_from(["patch", "zero", *over_prompts(padded)])),
        "freeze": draw(frozen(changes, used)),
    }
    return Asked(changes, draw(metrics()), arguments, padded, draw(st.integers(0, 5)))


@st.composite
def place(draw: st.DrawFn, changes: dict[str, Any], first: int) -> tuple[str, dict[str, int]]:
    point = draw(st.sampled_from(points_of(changes)))
    fixed = draw(st.lists(st.sampled_from(AXES[point]), unique=True))
    at = {axis: draw(indices(axis, changes, first))[0] for axis in sorted(fixed)}
    return point, {"layer": draw(st.integers(0, changes["n_layers"] - 1)), **at}


def points_of(changes: dict[str, Any]) -> list[str]:
    """The points that the model has."""
    without = {"mlp_out", "mlp_post", "resid_mid"} if changes["attn_only"] else set()
    without |= {"resid_mid"} if changes["parallel_attn_mlp"] else set()
    return [point for point in AXES if point not in without]


def sizes_of(changes: dict[str, Any]) -> dict[str, int]:
    """How long each axis is."""
    n_groups = 4 if changes["ungrouped"] else changes["n_key_value_heads"] or 4
    places = dict.fromkeys(("pos", "query", "key"), LENGTH)
    return {**places, "head": 4, "kv_head": n_groups, "d_head": changes["d_head"], "d_model": 12, "d_mlp": 20}


@st.composite
def indices(draw: st.DrawFn, axis: str, changes: dict[str, Any], first: int) -> list[int]:
    """One or two of an axis; of positions none that is padding."""
    start = first if axis in ("pos", "query", "key") else 0
    size = sizes_of(changes)[axis]
    return draw(st.lists(st.integers(start, size - 1), min_size=1, max_size=2, unique=True))


@st.composite
def frozen(draw: st.DrawFn, changes: dict[str, Any], used: set[str]) -> tuple[str, ...]:
    choices = [point for point in FREEZABLE if point in points_of(changes) and point not in used]
    return tuple(draw(st.one_of(st.just([]), st.lists(st.sampled_from(choices), max_size=2, unique=True))))


def over_prompts(padded: tuple[int, ...]) -> list[str]:
    """The interventions that mix prompts: those of one length."""
    return ["mean", "resample"] if len(set(padded)) == 1 else []


@st.composite
def interventions(draw: st.DrawFn, point: str, changes: dict[str, Any], padded: tuple[int, ...]) -> dict[str, Any]:
    kind = draw(st.sampled_from(["patch", "patch", "zero", "add", *over_prompts(padded)]))
    if kind == "add":
        behind = AXES[point]
        n_axes = draw(st.integers(1, len(behind)))
        shape = [sizes_of(changes)[axis] for axis in behind[-n_axes:]]
        vector = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        return {"intervention": kind, "vector": vector}
    if kind == "mean" and point not in ("pattern", "attn_scores"):
        return {"intervention": kind, "per_position": draw(st.booleans())}
    return {"intervention": kind}


def metrics() -> st.SearchStrategy[tuple[str, ...]]:
    return st.sampled_from([*EACH_PROMPT, *AT_ONCE])
