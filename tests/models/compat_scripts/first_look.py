"""A first look at a model: text and tokens, losses, caches, weights, hooks, generation, a module of one's own."""

import contextlib
import copy
import io

import numpy as np
import torch

import models.compat.utils as utils
from models.compat import FactoredMatrix, HookedRootModule, HookedTransformer, HookedTransformerConfig, SVDInterpreter
from models.compat.hook_points import HookPoint

TEXT = "import os\n\ndef run(path):\n    return os.path.join(path)\n"


def run(model: HookedTransformer) -> dict:
    torch.set_grad_enabled(False)
    found = text(model) | losses(model) | cached(model) | weights(model) | written(model)
    found["squares"] = a_module_of_ones_own()
    found["a model of one's own"] = a_model_of_ones_own()
    return found


def text(model: HookedTransformer) -> dict:
    tokens = model.to_tokens(TEXT)
    return {
        "tokens": tokens,
        "without a beginning": model.to_tokens(TEXT, prepend_bos=False),
        "padded": model.to_tokens([TEXT, "import"]),
        "padded left": model.to_tokens([TEXT, "import"], padding_side="left"),
        "strings": model.to_str_tokens(TEXT),
        "strings of tokens": model.to_str_tokens(tokens[0]),
        "string": model.to_string(tokens[0]),
        "single": [model.to_single_token("import"), model.get_token_position("import", TEXT)],
        "single string": model.to_single_str_token(65),
    }


def losses(model: HookedTransformer) -> dict:
    tokens = model.to_tokens(TEXT)
    logits, loss = model(TEXT, return_type="both")
    return {
        "logits": logits,
        "loss": [loss, model(tokens, return_type="loss"), model.loss_fn(logits, tokens)],
        "losses by token": utils.lm_cross_entropy_loss(logits, tokens, per_token=True),
        "accuracy": utils.lm_accuracy(logits, tokens),
        "right": utils.lm_accuracy(logits, tokens, per_token=True),
        "as numpy": utils.to_numpy(logits[0, -1, :5]),
    }


def cached(model: HookedTransformer) -> dict:
    _, cache = model.run_with_cache(TEXT)
    names = list(cache.keys())
    stopped = model(TEXT, stop_at_layer=1)
    only, some = model.run_with_cache(TEXT, names_filter=["blocks.0.attn.hook_z"], return_type=None)
    assert only is None
    return {
        "names": [name for name in names if name.endswith(("pattern", "resid_post"))],
        "normalised": cache["normalized"],
        "scales": [cache["scale"], cache["scale", 1, "ln1"]],
        "stopped": stopped,
        "continued": model(stopped, start_at_layer=1),
        "some": [some[utils.get_act_name("z", 0)], len(some)],
        "stacked": cache.stack_activation("z"),
        "at the end": cache.accumulated_resid(pos_slice=-1, apply_ln=True),
        "decomposed": cache.get_full_resid_decomposition(layer=1, expand_neurons=False, pos_slice=(1, 4)),
        "without a batch": model.run_with_cache(TEXT, remove_batch_dim=True)[1]["pattern", 0, "attn"],
        "sliced": model.run_with_cache(TEXT, pos_slice=-1)[1]["resid_pre", 1],
    }


def weights(model: HookedTransformer) -> dict:
    both = FactoredMatrix(model.W_Q[0, 1], model.W_K[0, 1].T)
    left, values, right = both.svd()
    svd = SVDInterpreter(copy.deepcopy(model).float())
    return {
        "shapes": [tuple(weight.shape) for weight in (model.W_E, model.W_U, model.W_Q, model.W_O, model.b_O)],
        "dimensions": [both.ldim, both.rdim, both.mdim],
        "norms": [both.norm(), both.AB.norm()],
        "rebuilt": left @ values.diag() @ right.T,
        "collapsed": both.collapse_l() @ model.W_E[:3].T,
        "biases": [model.accumulated_bias(layer, include_mlp_biases=False) for layer in range(model.cfg.n_layers + 1)],
        "directions": model.tokens_to_residual_directions(torch.tensor([5, 9])),
        "parameters": [model.cfg.n_params, model.n_params_total],
        "singular vectors": svd.get_singular_vectors("OV", layer_index=1, head_index=1, num_vectors=2).abs(),
        "names": [
            utils.get_act_name(*at) for at in [("z", 0), ("k", 2, "a"), ("scale", 1, "ln1"), ("embed",), ("pre5",)]
        ],
        "gelu": [utils.gelu_new(torch.linspace(-2, 2, 5)), utils.gelu_fast(torch.linspace(-2, 2, 5))],
        "slices": [utils.Slice((1, 5, 2)).apply(torch.arange(9.0)), utils.Slice(-1).apply(torch.arange(9.0))],
        "corner": [utils.get_corner(model.W_E, 2), utils.remove_batch_dim(torch.ones(1, 3))],
    }


def written(model: HookedTransformer) -> dict:
    options = {"max_new_tokens": 6, "temperature": 0, "stop_at_eos": False, "verbose": False}
    screen = io.StringIO()
    with contextlib.redirect_stdout(screen):
        utils.test_prompt("import", "os", model, prepend_space_to_answer=True, top_k=3)
        utils.print_gpu_mem("after")
    return {
        "continued greedily": model.generate(model.to_tokens("import"), **options),
        "as text": model.generate("import", **options),
        "without a cache": model.generate("import", use_past_kv_cache=False, **options),
        "prompt tested": [line for line in screen.getvalue().splitlines() if "Rank" in line or "Top" in line],
    }


class Squares(HookedRootModule):
    """A module of one's own, hooked."""

    def __init__(self):
        super().__init__()
        self.hook_square = HookPoint()
        self.setup()

    def forward(self, x):
        return self.hook_square(x * x) - 1


def a_module_of_ones_own():
    module, x = Squares(), torch.tensor([1.0, 2.0, 3.0])
    _, cache = module.run_with_cache(x)
    doubled = module.run_with_hooks(x, fwd_hooks=[("hook_square", lambda square, hook: square * 2)])
    return [cache["hook_square"], doubled]


def a_model_of_ones_own():
    """The shapes alone, because each library draws its weights in its own way."""
    cfg = HookedTransformerConfig(
        n_layers=1, d_model=16, n_ctx=8, d_head=4, n_heads=4, d_mlp=32, d_vocab=11, act_fn="relu", seed=1,
        normalization_type=None, device=torch.device("cpu"),
    )  # fmt: skip
    model = HookedTransformer(cfg)
    for name, parameter in model.named_parameters():
        if "b_" in name:
            parameter.requires_grad = False
    logits = model(torch.zeros(2, 5, dtype=torch.long))
    loss = utils.lm_cross_entropy_loss(logits, torch.zeros(2, 5, dtype=torch.long))
    return [tuple(logits.shape), bool(np.isfinite(loss.item())), sorted(name for name, _ in model.named_parameters())]
