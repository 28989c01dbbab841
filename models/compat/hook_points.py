"""What notebooks import from `transformer_lens.hook_points`: our hook point, TransformerLens' root module."""

import torch
from transformer_lens import HookedRootModule as HookedRootModule
from transformer_lens.hook_points import HookFunction as HookFunction
from transformer_lens.hook_points import LensHandle as LensHandle

from ..hook_point import HookPoint as HookPoint
from ..hooked import NamesFilter as NamesFilter

DeviceType = torch.device | None
