"""Hooking and caching with TransformerLens' methods, stricter: nothing is hooked or cached that would not fire."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from threading import get_ident
from typing import Any, Literal

import torch
from torch import Tensor
from transformer_lens import ActivationCache, HookedRootModule
from transformer_lens.utilities import Slice

from .config import HookedTransformerConfig, check_attn_in
from .errors import HookNeverFiredError, NoPointMatchedError, PointOffError, UnknownPointError
from .hook_point import HookPoint, recording
from .snapshots import Snapshots

NameOrFilter = str | Callable[[str], bool]
NamesFilter = NameOrFilter | Sequence[str] | None
Hook = Callable[..., Any]
PositionSlice = Slice | int | tuple[int, int] | tuple[int, int, int] | list[int] | Tensor


class HookedModel(HookedRootModule):
    """What a model needs to be hooked by name. Subclasses have `cfg` and call `setup()` when they are built."""

    cfg: HookedTransformerConfig
    hook_dict: dict[str, HookPoint]  # type: ignore[assignment]

    def setup(self) -> None:
        """The points named and listed, and switched as the config says; to be called after a module is replaced."""
        super().setup()
        self._refresh_points()

    def points(self, which: NamesFilter) -> list[str]:
        """The names of the points that fire and that the name, list of names or predicate selects.

        Raises:
            UnknownPointError: a name that the model does not have.
            PointOffError: a name, or a predicate's only matches, switched off by the configuration.
            NoPointMatchedError: a predicate or list that selects nothing.
        """
        if which is None:
            return [name for name, point in self.hook_dict.items() if point.enabled]
        if not callable(which):
            names = [which] if isinstance(which, str) else list(which)
            for name in names:
                self._require_on(name)
            matched = names
        else:
            named = [name for name in self.hook_dict if which(name)]
            matched = [name for name in named if self.hook_dict[name].enabled]
            if named and not matched:
                self._require_on(named[0])
        if not matched:
            raise NoPointMatchedError(
                f"the filter selects none of the {len(self.hook_dict)} hook points, among them "
                f"{', '.join(list(self.hook_dict)[:3])}"
            )
        return matched

    def add_hook(
        self,
        name: NameOrFilter,
        hook: Hook,
        dir: Literal["fwd", "bwd"] = "fwd",
        is_permanent: bool = False,
        level: int | None = None,
        prepend: bool = False,
    ) -> None:
        """A hook that stays until `reset_hooks`, at one point or at every point that a predicate selects.

        Args:
            is_permanent: it stays even then, unless `reset_hooks(including_permanent=True)`.
            prepend: it runs before those that are there.

        Raises:
            UnknownPointError, PointOffError, NoPointMatchedError: as `points`.
        """
        for point in self.points(name):
            super().add_hook(point, hook, dir, is_permanent, level, prepend)

    @contextmanager
    def hooks(
        self,
        fwd_hooks: Sequence[tuple[NameOrFilter, Hook]] = (),
        bwd_hooks: Sequence[tuple[NameOrFilter, Hook]] = (),
        reset_hooks_end: bool = True,
        clear_contexts: bool = False,
    ) -> Iterator["HookedModel"]:
        """Within the block, the hooks are installed: all of them, or none if one name is wrong.

        Temporary forward hooks act in the thread that opened the block: another thread's run is not edited.

        Raises:
            UnknownPointError, PointOffError, NoPointMatchedError: as `points`.
            HookNeverFiredError: the block ended without an exception, and a forward hook given by name, or all that
                a predicate selects, never fired in it.
        """
        chosen, fired = self._chosen(fwd_hooks), set[str]()
        with self._installed(chosen, self._chosen(bwd_hooks), fired, reset_hooks_end, clear_contexts):
            yield self
        if reset_hooks_end:
            _require_one_of_each(chosen, fired)

    @contextmanager
    def _installed(
        self, forward: "_Chosen", backward: "_Chosen", fired: set[str], remove: bool, clear_contexts: bool
    ) -> Iterator[None]:
        owner = get_ident() if remove else None
        expanded: list[tuple[Literal["fwd", "bwd"], str, Hook]]
        expanded = [("fwd", name, _noting(hook, name, fired, owner)) for names, hook in forward for name in names]
        expanded += [("bwd", name, hook) for names, hook in backward for name in names]
        installed: list[tuple[HookPoint, Any]] = []
        try:
            for dir, name, hook in expanded:
                point = self.hook_dict[name]
                installed.append((point, point.add_hook(hook, dir=dir)))
            yield
        finally:
            if remove:
                # By handle, not by level: a context in another thread keeps its hooks.
                for point, handle in installed:
                    point.remove_handle(handle)
                if clear_contexts:
                    self.clear_contexts()

    def run_with_hooks(
        self,
        *model_args: Any,
        fwd_hooks: Sequence[tuple[NameOrFilter, Hook]] = (),
        bwd_hooks: Sequence[tuple[NameOrFilter, Hook]] = (),
        reset_hooks_end: bool = True,
        clear_contexts: bool = False,
        **model_kwargs: Any,
    ) -> Any:
        """The output of one forward pass with the hooks installed.

        Raises:
            HookNeverFiredError: a hook given by name, or all that a predicate selects, stood where this run does
                not reach.
            UnknownPointError, PointOffError, NoPointMatchedError: as `points`.
        """
        forward, backward = self._chosen(fwd_hooks), self._chosen(bwd_hooks)
        fired, reached = set[str](), set[str]()
        readers = {self.hook_dict[name]: lambda name, _: reached.add(name) for names, _ in backward for name in names}
        with recording(readers), self._installed(forward, backward, fired, reset_hooks_end, clear_contexts):
            output = self(*model_args, **model_kwargs)
        _require_one_of_each(forward, fired)
        _require_one_of_each(backward, reached)
        return output

    def run_with_cache(
        self,
        *model_args: Any,
        names_filter: NamesFilter = None,
        device: torch.device | str | None = None,
        remove_batch_dim: bool = False,
        incl_bwd: bool = False,
        reset_hooks_end: bool = True,
        clear_contexts: bool = False,
        pos_slice: PositionSlice | None = None,
        return_cache_object: bool = True,
        **model_kwargs: Any,
    ) -> tuple[Any, Any]:
        """The output of one forward pass and the activations of the selected points (default: all that fire).

        Entries are snapshots after all edits: none shares memory with another, and no later hook can change one.

        Args:
            incl_bwd: call `backward` on the output, and cache the gradients under `name + "_grad"`.
            pos_slice: the positions to keep (the query positions of scores and patterns).
            return_cache_object: an `ActivationCache` if true, else a plain dictionary of tensors by name.

        Raises:
            UnknownPointError, PointOffError, NoPointMatchedError: as `points`.
            InputError: `remove_batch_dim` for a batch of more than one.
            HookNeverFiredError: a point given by name, or all that a predicate selects, lay outside this run.
        """
        names = self.points(names_filter)
        chosen_by_name = names_filter is not None and not callable(names_filter)
        snapshots = Snapshots(self.hook_dict, device, remove_batch_dim, Slice.unwrap(pos_slice))
        gradients: list[tuple[NameOrFilter, Hook]] = [(name, snapshots.read_gradient) for name in names if incl_bwd]
        readers = {self.hook_dict[name]: snapshots.read for name in names}
        with recording(readers), self.hooks([], gradients, reset_hooks_end, clear_contexts):
            output = self(*model_args, **model_kwargs)
            if incl_bwd:
                output.backward()
        if chosen_by_name or not snapshots.activations:
            _require_fired(set(names) - set(snapshots.activations))
        if not return_cache_object:
            return output, snapshots.activations
        return output, self._cache(snapshots.activations, not remove_batch_dim)

    def _cache(self, activations: dict[str, Tensor], has_batch_dim: bool) -> ActivationCache:
        return ActivationCache(activations, self, has_batch_dim)

    def add_caching_hooks(
        self,
        names_filter: NamesFilter = None,
        incl_bwd: bool = False,
        device: torch.device | str | None = None,
        remove_batch_dim: bool = False,
        cache: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """The dictionary that later runs fill; see TransformerLens. The names are checked as everywhere.

        Raises:
            UnknownPointError, PointOffError, NoPointMatchedError: as `points`.
        """
        options: Any = (incl_bwd, device, remove_batch_dim, cache)
        return super().add_caching_hooks(self.points(names_filter), *options)

    def get_caching_hooks(
        self,
        names_filter: NamesFilter = None,
        incl_bwd: bool = False,
        device: torch.device | str | None = None,
        remove_batch_dim: bool = False,
        cache: dict[str, Tensor] | None = None,
        pos_slice: PositionSlice | None = None,
    ) -> Any:
        """A dictionary, and the forward and backward hooks that fill it; see TransformerLens.

        Raises:
            UnknownPointError, PointOffError, NoPointMatchedError: as `points`.
        """
        options: Any = (incl_bwd, device, remove_batch_dim, cache, pos_slice)
        return super().get_caching_hooks(self.points(names_filter), *options)

    def set_use_attn_result(self, use_attn_result: bool) -> None:
        """Whether `attn.hook_result` fires: each head's write into the stream by itself."""
        self._switch("use_attn_result", use_attn_result)

    def set_use_split_qkv_input(self, use_split_qkv_input: bool) -> None:
        """Whether `hook_q_input`, `hook_k_input` and `hook_v_input` fire: a copy of the stream for each head."""
        self._switch("use_split_qkv_input", use_split_qkv_input)

    def set_use_hook_mlp_in(self, use_hook_mlp_in: bool) -> None:
        """Whether `hook_mlp_in` fires: the stream as the MLP reads it, before its norm."""
        self._switch("use_hook_mlp_in", use_hook_mlp_in)

    def set_use_attn_in(self, use_attn_in: bool) -> None:
        """Whether `hook_attn_in` fires: the stream as each head reads it, before the norm."""
        self._switch("use_attn_in", use_attn_in)

    def _switch(self, field: str, on: bool) -> None:
        changed = replace(self.cfg, **{field: on})  # type: ignore[arg-type]  # every field named here is a bool
        check_attn_in(changed)
        mine = [point for point in self.hook_dict.values() if point.switch == field]
        hooked = [point.name for point in mine if point.hooked and not on]
        if hooked:
            raise PointOffError(f"{hooked[0]} has hooks; remove them before {field} is switched off")
        self.cfg = changed
        self._refresh_points()

    def _refresh_points(self) -> None:
        for point in self.hook_dict.values():
            point.enabled = point.switch is None or getattr(self.cfg, point.switch)
        # Where each head has an input of its own, the norm that reads it works on one more axis.
        per_head = self.cfg.norm_placement == "pre" and (self.cfg.use_split_qkv_input or self.cfg.use_attn_in)
        for name, point in self.hook_dict.items():
            if name.split(".")[-2:-1] == ["ln1"]:
                point.axes = ("batch", "pos", *(["head"] if per_head else []), point.axes[-1])

    def _require_on(self, name: str) -> None:
        if name not in self.hook_dict:
            raise UnknownPointError(name, self.hook_dict)
        self.hook_dict[name].require_on()

    def _chosen(self, hooks: Iterable[tuple[NameOrFilter, Hook]]) -> "_Chosen":
        return [(self.points(which), hook) for which, hook in hooks]


_Chosen = list[tuple[list[str], Hook]]
"""For each hook, the points that its name or predicate selects."""


def _require_one_of_each(chosen: _Chosen, fired: set[str]) -> None:
    _require_fired({name for names, _ in chosen if not fired & {*names} for name in names})


def _require_fired(silent: set[str]) -> None:
    if silent:
        others = f" (nor did {len(silent) - 1} more)" if len(silent) > 1 else ""
        raise HookNeverFiredError(
            f"{min(silent)} did not fire{others}: this run does not reach it "
            "(start_at_layer, stop_at_layer or return_type=None leave it out)"
        )


def _noting(hook: Hook, name: str, fired: set[str], owner: int | None) -> Hook:
    @wraps(hook, updated=())
    def noting(activation: Tensor, hook: Any) -> Any:
        if owner not in (None, get_ident()):
            return None
        fired.add(name)
        return inner(activation, hook=hook)

    inner = hook
    return noting
