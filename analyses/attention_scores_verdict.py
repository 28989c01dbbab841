"""What the taken-apart score says in words, and its headline numbers."""

import re
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.score_decomposition import ScoreTerms
from interp.statistics import over_prompts

from .attention_scores_choice import Choice
from .attention_scores_tables import DROPPED, OTHERS, dropped, preferred
from .labels import token_labels


def verdict(
    model: Any,
    tokens: Int[Tensor, "batch pos"],
    terms: ScoreTerms,
    choice: Choice,
    pairs: pd.DataFrame,
    keys: pd.DataFrame,
) -> str:
    """The finding on the first line, then one detail a line."""
    lead, total = _lead(pairs), float(pairs["difference"].sum())
    query, key = int(choice.queries[choice.prompt]), keys.loc[keys["attention"].idxmax()]
    texts = token_labels(model, tokens[choice.prompt])
    at = "itself" if int(key["position"]) == query else f"“{key['token']}”"
    lines = [
        f"{choice.name} looks from “{texts[query]}” (position {query}) at {at} (position "
        f"{key['position']}, attention {key['attention']:.2f}) first of all because of {_pair(lead)}: "
        f"{lead['difference']:+.1f} of the {total:+.1f} by which that key's score exceeds the mean of the others "
        f"({lead['difference'] / total:.0%}).",
        _over_prompts(terms, choice, lead),
        _by_composition(terms, choice),
    ]
    where = _where_the_writer_looked(model, tokens, choice, lead, int(key["position"]), texts, query)
    lines += [where] if where else []
    same = dropped(terms)
    if bool(same.any()):
        gone = ", ".join(label for label, drop in zip(terms.key_writers, same, strict=True) if drop)
        lines.append(f"Softmax drops what is the same for every key: here all that the key reads of {gone}.")
    elif not bool(terms.dropped.any()):
        lines.append("Softmax drops no term by itself here: a rotation or a cap tells every key apart.")
    if terms.soft_cap > 0:
        lines.append(f"The scores are capped at {terms.soft_cap:g}; what is taken apart is the score before the cap.")
    return "\n".join([*lines, choice.rule])


def numbers(terms: ScoreTerms, choice: Choice, pairs: pd.DataFrame, keys: pd.DataFrame) -> dict[str, float | int | str]:
    """The headline numbers."""
    lead = _lead(pairs)
    return {
        "head": choice.name,
        "prompt": choice.prompt,
        "query_position": int(choice.queries[choice.prompt]),
        "key_position": int(keys.loc[keys["attention"].idxmax(), "position"]),
        "attention": float(keys["attention"].max()),
        "score_above_the_other_keys": float(pairs["difference"].sum()),
        "strongest_pair": _pair(lead),
        "strongest_pair_score": float(lead["difference"]),
    }


def _lead(pairs: pd.DataFrame) -> pd.Series:
    named = pairs[(pairs["query_writer"] != OTHERS) & ~pairs["key_writer"].isin([OTHERS, DROPPED])]
    return named.loc[named["difference"].idxmax()]


def _pair(row: pd.Series) -> str:
    return f"{row['query_writer']} at the query × {row['key_writer']} at the key"


def _over_prompts(terms: ScoreTerms, choice: Choice, lead: pd.Series) -> str:
    n_prompts = int(choice.has_query.sum())
    mean = f"{lead['mean_over_prompts']:+.1f}"
    if n_prompts == 1:
        return f"One prompt has such a query: that pair makes {mean} there, and no interval can be given."
    total = over_prompts(terms.against_others(preferred(terms)).sum(dim=(1, 2))[choice.has_query])
    return (
        f"Over {n_prompts} prompts, one query each, that pair makes {mean} ({lead['mean_over_prompts_low']:+.1f} to "
        f"{lead['mean_over_prompts_high']:+.1f}) of {float(total.mean):+.1f} ({float(total.low):+.1f} to "
        f"{float(total.high):+.1f})."
    )


def _by_composition(terms: ScoreTerms, choice: Choice) -> str:
    """How much of the preference, over the prompts, needs an earlier layer, and on which side."""
    difference = terms.against_others(preferred(terms))[choice.has_query]
    query, key = (
        torch.tensor([_of_a_layer(label) for label in side]) for side in (terms.query_writers, terms.key_writers)
    )
    if not key.any():
        return "No layer has written before this head: everything it sees is embeddings and biases."
    parts = {
        "on the key's side alone (K-composition)": (~query, key),
        "on the query's side alone (Q-composition)": (query, ~key),
        "on both": (query, key),
        "on neither": (~query, ~key),
    }
    said = [f"{float(_part(difference, *sides).mean()):+.1f} {name}" for name, sides in parts.items()]
    return f"Of that mean, what heads and MLPs of earlier layers wrote is read: {', '.join(said)}."


def _part(difference: Float[Tensor, "batch query_writer key_writer"], rows: Tensor, columns: Tensor) -> Tensor:
    return difference[:, rows][:, :, columns].sum(dim=(1, 2))


def _of_a_layer(label: str) -> bool:
    return re.fullmatch(r"L\d+(H\d+| MLP)", label) is not None


def _where_the_writer_looked(
    model: Any,
    tokens: Int[Tensor, "batch pos"],
    choice: Choice,
    lead: pd.Series,
    key: int,
    texts: list[str],
    query: int,
) -> str | None:
    """What the head that the key reads had itself looked at: that is what the query finds the key by."""
    found = re.fullmatch(r"L(\d+)H(\d+)", str(lead["key_writer"]))
    if found is None:
        return None
    name = f"blocks.{found[1]}.attn.hook_pattern"
    row = tokens[choice.prompt : choice.prompt + 1]
    pattern = model.run_with_cache(row, names_filter=[name])[1][name][0, int(found[2]), key]
    seen = int(pattern.argmax())
    what = f"“{texts[seen]}” (position {seen}, attention {float(pattern[seen]):.2f})"
    if seen == query:
        return f"At that key {found[0]} had looked at {what}: the query itself."
    same = seen < query and bool(tokens[choice.prompt, seen] == tokens[choice.prompt, query])
    return f"At that key {found[0]} itself had looked at {what}" + (
        ": the query's own token, one copy earlier." if same else "."
    )
