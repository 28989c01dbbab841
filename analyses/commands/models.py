"""`interp models`: what is bundled, and what packages ship."""

import json

import click

from ..model_source import DEFAULT, bundled, zoo
from ..packaged_models import PACKAGED_MODELS, PackagedModel
from .arguments import json_option


@click.command("models")
@json_option
def command(json_wanted: bool) -> None:
    """The models that go by a name, with their sizes."""
    cards = [{"name": name, **_card(name)} for name in bundled()] + [_packaged(model) for model in PACKAGED_MODELS]
    if json_wanted:
        click.echo(json.dumps(cards, indent=2, ensure_ascii=False))
        return
    if not bundled():
        click.echo("No model is bundled. Train one with `interp train`, or name a folder that holds one.", err=True)
    for card in cards:
        default = "  (default)" if card["name"] == DEFAULT else ""
        size = f"not installed: {card['install']}" if card["weights_mb"] is None else f"{card['weights_mb']} MB"
        click.echo(f"{card['name']}{default}\n  {card['about']}\n  {card['architecture']}; {size}")


def _packaged(model: PackagedModel) -> dict[str, str | float | None]:
    return {
        "name": model.name,
        "about": f"{model.about} Of the package {model.package}.",
        "architecture": model.architecture,
        "weights_mb": model.weights_mb(),
        "install": model.install,
    }


def _card(name: str) -> dict[str, str | float]:
    folder = zoo() / name
    saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config = saved.get("config", saved)
    sizes = {key: config.get(key) for key in ("n_layers", "n_heads", "d_model", "d_vocab", "n_ctx")}
    paragraphs = _paragraphs((folder / "card.md").read_text(encoding="utf-8")) if (folder / "card.md").is_file() else []
    return {
        "about": paragraphs[0] if paragraphs else "no card",
        "architecture": "{n_layers} blocks × {n_heads} heads × {d_model}, vocabulary {d_vocab}, context {n_ctx}".format(
            **sizes
        ),
        "weights_mb": round(sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e6, 1),
    }


def _paragraphs(markdown: str) -> list[str]:
    blocks = (" ".join(block.replace("**", "").split()) for block in markdown.split("\n\n"))
    return [block for block in blocks if block and not block.startswith("#")]
