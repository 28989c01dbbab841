"""The card of a trained model in words: Markdown made of `card.json` alone."""

from typing import Any

_A_HEAD_OF_A_KIND = 0.3
"""A mean attention below this is not called by the name of what it looks at."""


def card_text(facts: dict[str, Any]) -> str:
    """The card as Markdown."""
    sections = (_head, _results, _recipe, _corpus, _heads, _generated, _curve, _limits)
    return "\n\n".join(section(facts) for section in sections) + "\n"


_POSITIONS = {"standard": "learned", "rotary": "rotary"}


def _head(facts: dict[str, Any]) -> str:
    shape = facts["recipe"]["architecture"]
    n_layers, n_heads = shape["n_layers"], shape["n_heads"]
    mlp = "no feed-forward layers" if shape["attn_only"] else f"feed-forward {shape['d_mlp']} ({shape['act_fn']})"
    norm = f"{shape['normalization_type']} before each branch" + ("" if shape["final_norm"] else ", none at the end")
    return (
        f"# {facts['name']}\n\n"
        f"A language model of Python source code and its documentation: {n_layers} block{'s' * (n_layers > 1)}, width "
        f"{shape['d_model']}, {n_heads} head{'s' * (n_heads > 1)} of {shape['d_head']} in each, {mlp}, {norm}, "
        f"{'tied' if shape['tie_word_embeddings'] else 'untied'} unembedding, "
        f"{_POSITIONS[shape['positional_embedding_type']]} positions, context "
        f"{shape['n_ctx']}, vocabulary {shape['d_vocab']} (byte-level BPE of its own), {shape['dtype']}; "
        f"{facts['n_parameters']:,} parameters. Small enough to take apart, trained enough to be worth it.\n\n"
        f"Made by `interp train {facts['name']}`."
    )


def _results(facts: dict[str, Any]) -> str:
    held_out, baselines, copy = facts["held_out"], facts["baselines"], facts["heads"]["copy_loss"]
    nats, bits = held_out["nats_per_token"], held_out["bits_per_byte"]
    return (
        "## Results\n\n"
        "| | nats for each token | |\n|---|---|---|\n"
        f"| held-out loss | {_measured(nats)} | {held_out['n_tokens']:,} tokens in {held_out['n_documents']} files |\n"
        f"| the same, in bits for each byte | {_measured(bits)} | comparable between tokenizers |\n"
        f"| held-out loss of the token frequencies | {baselines['unigram_entropy']:.3f} | what context is worth |\n"
        f"| ln V | {baselines['ln_d_vocab']:.3f} | knowing nothing |\n"
        f"| random tokens, first time | {_measured(copy['first'])} | cannot be foreseen |\n"
        f"| random tokens, repeated | {_measured(copy['second'])} | copying from the context alone |\n"
        f"| `sample.txt` | {facts['sample']['nats_per_token']:.3f} | held-out, see below |\n\n"
        "± is one standard error. The held-out document is its unit, not the token: tokens of one file resemble one "
        "another. For the random tokens it is the sequence."
    )


def _recipe(facts: dict[str, Any]) -> str:
    recipe, versions = facts["recipe"], facts["versions"]
    mixed_steps = recipe["steps"] - recipe["repeats_only_steps"]
    text = mixed_steps * (recipe["batch"] - recipe["repeated_rows"]) * (recipe["architecture"]["n_ctx"] - 1)
    return (
        "## Recipe\n\n"
        f"AdamW (betas {', '.join(map(str, recipe['betas']))}; decay {recipe['weight_decay']:g} on matrices only), "
        f"{recipe['steps']:,} steps of {recipe['batch']} windows of {recipe['architecture']['n_ctx']} tokens, learning "
        f"rate up to {recipe['learning_rate']:g} in {recipe['warm_up']} steps and down by half a cosine to "
        f"{recipe['final_learning_rate']:g}, gradients clipped to norm {recipe['clip']:g}, no dropout, seed "
        f"{recipe['seed']}. Every window begins with `<|endoftext|>`, as a prompt does by default.\n\n"
        f"{_repeats(recipe)}"
        f"Cost: {facts['n_tokens']:,} predicted tokens, of which {text:,} of text "
        f"({text / facts['corpus']['train']['tokens']:.1f} times the training text), {facts['flops']:.1e} "
        "floating-point operations. The same seed, machine and versions give the same weights, bit for bit; another "
        "processor rounds differently.\n\n"
        "Versions: " + ", ".join(f"{name} {number}" for name, number in versions.items()) + "."
    )


def _repeats(recipe: dict[str, Any]) -> str:
    alone, rows = recipe["repeats_only_steps"], recipe["repeated_rows"]
    if not alone and not rows:
        return ""
    first = f"in the first {alone:,} steps all windows, then {rows}" if alone else str(rows)
    return (
        f"Not all of it is text: {first} of the {recipe['batch']} windows of a step are random tokens, repeated with a "
        "period of 8 tokens to half of the window, another one in each (`models/repeated_rows.py`). They teach the "
        "model to continue what it has seen before.\n\n"
    )


def _corpus(facts: dict[str, Any]) -> str:
    corpus = facts["corpus"]
    return (
        "## Data\n\n"
        f"{corpus['source']}: sources with their docstrings, and the topics of `help()`, without tests, generated "
        "tables and installed packages (`models/corpus.py` says what exactly). Licence: PSF-2.0, "
        "copyright Python Software Foundation and the authors named in the files.\n\n"
        f"Training: {corpus['train']['documents']} documents, {corpus['train']['tokens']:,} tokens. Held out: "
        f"{len(corpus['held_out']['documents'])} documents, {corpus['held_out']['tokens']:,} tokens, chosen by the "
        "hash of their names; modules copy from one another, and "
        f"{corpus['held_out']['share_repeated_in_training']:.1%} of the held-out passages of six lines stand word for "
        f"word in a training file. SHA-256 of the whole: `{corpus['sha256']}`; another version of Python has another "
        "standard library, and gives another model.\n\n"
        "`sample.txt` is the beginning of these held-out documents, in this order: "
        + ", ".join(f"`{source}`" for source in facts["sample"]["sources"])
        + f". SHA-256: `{facts['sample']['sha256']}`."
    )


def _heads(facts: dict[str, Any]) -> str:
    rows = []
    heads = facts["heads"]
    for layer, scores in enumerate(zip(heads["previous_token"], heads["prefix_matching"], strict=True)):
        for head, (previous, prefix) in enumerate(zip(*scores, strict=True)):
            rows.append(f"| {layer}.{head} | {previous:.2f} | {prefix:.2f} |")
    return (
        "## Heads\n\n"
        "Mean attention to the token before, on held-out text; and, on repeated random tokens, to what followed the "
        "same token the first time (prefix matching, which defines an induction head: Olsson et al., 2022). "
        f"{_verdict('previous-token', heads['previous_token'])} {_verdict('induction', heads['prefix_matching'])}\n\n"
        "| layer.head | previous token | prefix matching |\n|---|---|---|\n" + "\n".join(rows)
    )


def _generated(facts: dict[str, Any]) -> str:
    texts = "\n\n".join(f"````\n{text}\n````" for text in facts["generated"])
    return f"## Generated text\n\nSampled at temperature 0.7, not chosen.\n\n{texts}"


def _curve(facts: dict[str, Any]) -> str:
    points = facts["curve"]
    rows = [
        f"| {point['step']} | {point['train_loss']:.3f} | "
        f"{point['held_out_loss']:.3f} ± {point['held_out_standard_error']:.3f} |"
        for point in points
    ]
    return (
        "## Loss curve\n\nNats for each token: training, the mean since the row before; held-out, the same sample of "
        "windows each time (so a difference between rows is known better than the rows).\n\n"
        "| step | training | held-out |\n|---|---|---|\n" + "\n".join(rows)
    )


def _limits(facts: dict[str, Any]) -> str:
    repeats = (
        " Its induction heads were taught by repeated random tokens: how strong they are says nothing about what text "
        "alone would have made."
        if facts["recipe"]["repeated_rows"]
        else ""
    )
    return (
        "## Good for, not good for\n\n"
        "Good for looking at mechanisms in a model that was trained: heads, copying, circuits, lenses, ablation, "
        "in seconds and without a download. Python-like prompts are its home; with anything else it is lost.\n\n"
        "Not good for writing code, nor for claims about large models: its programs only look like Python. It was "
        "trained once, with one seed, so what is seen in it may be an accident of that seed. Held-out files were "
        "written by the authors of the training files and often resemble them, so its loss on other people's code "
        "is higher. It read its training text several times, and its loss there is lower than on held-out text."
        + repeats
    )


def _verdict(kind: str, scores: list[list[float]]) -> str:
    highest, layer, head = max(
        (score, layer, head) for layer, row in enumerate(scores) for head, score in enumerate(row)
    )
    if highest < _A_HEAD_OF_A_KIND:
        return f"There is no {kind} head in this model: the highest score is {highest:.2f}."
    return f"The clearest {kind} head is {layer}.{head}, with {highest:.2f}."


def _measured(estimate: dict[str, float]) -> str:
    return f"{estimate['mean']:.3f} ± {estimate['standard_error']:.3f}"
