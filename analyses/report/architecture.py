"""A model's architecture in the words of its configuration."""

from typing import Any

from ..model_source import ModelSource

_NORMS = {
    None: "none",
    "LN": "LayerNorm",
    "LNPre": "LayerNorm without weights",
    "RMS": "RMSNorm",
    "RMSPre": "RMSNorm without weights",
    "SN": "ScaleNorm",
}
_POSITIONS = {
    "standard": "learned",
    "rotary": "rotary",
    "shortformer": "learned, read by queries and keys alone",
    "none": "none",
}


def architecture(model: Any) -> dict[str, str]:
    """What the model is made of, by name."""
    config = model.cfg
    mlp = "none" if config.attn_only else f"{config.act_fn}, {config.d_mlp} wide"
    if config.gated_mlp and not config.attn_only:
        mlp = f"gated {mlp}"
    heads = f"{config.n_heads} of width {config.d_head} in each block"
    if config.n_key_value_heads:
        heads += f", {config.n_key_value_heads} key-value heads"
    norm = _NORMS.get(config.normalization_type, str(config.normalization_type))
    placement = f", {config.norm_placement}-norm" if config.normalization_type else ""
    return {
        "Parameters": f"{sum(parameter.numel() for parameter in model.parameters()):,}",
        "Blocks": str(config.n_layers),
        "Heads": heads,
        "Width": str(config.d_model),
        "MLP": mlp,
        "Norm": norm + placement,
        "Positions": f"{_POSITIONS.get(config.positional_embedding_type, str(config.positional_embedding_type))}, "
        f"up to {config.n_ctx}",
        "Vocabulary": f"{config.d_vocab:,}" + (", tied unembedding" if config.tie_word_embeddings else ""),
    }


def training(source: ModelSource) -> dict[str, str]:
    """What the model was trained on and how well it did, if it has a card that says so."""
    card = source.card()
    facts = {}
    if "source" in card.get("corpus", {}):
        facts["Trained on"] = str(card["corpus"]["source"])
    held_out = card.get("held_out", {})
    if "nats_per_token" in held_out:
        loss = held_out["nats_per_token"]
        facts["Held-out loss"] = f"{loss['mean']:.3g} ± {loss['standard_error']:.2g} nats per token"
    if "accuracy" in held_out:
        facts["Held-out accuracy"] = f"{held_out['accuracy']:.2%}"
    return facts


def shape(model: Any) -> str:
    """What the model is, as words that follow "is"."""
    config = model.cfg
    kind = "an attention-only model" if config.attn_only else "a model"
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    return (
        f"{kind} of {_counted(config.n_layers, 'block')} with {_counted(config.n_heads, 'head')}"
        f"{' each' if config.n_layers > 1 else ''}, width {config.d_model} and {n_parameters:,} parameters"
    )


def _counted(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
