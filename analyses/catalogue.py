"""The analyses by the name of their command, each with the question it answers; nothing heavy is imported."""

from importlib import import_module
from types import ModuleType

ANALYSES = {
    "at-a-glance": "How large are activations and weights, how even is attention, does anything stand out?",
    "depth": "Does the stream grow with depth, do positions become alike, and what is each block worth?",
    "sequence-length": "Does what follows a prefix change anything, and what do more positions cost?",
    "weight-sharing": "What does one matrix for reading and predicting tokens save, and what does it do?",
    "patterns": "Where does each head look, how widely, and how much does it read there?",
    "heads": "Which heads look at the previous token, at copies, at what followed them, at the first token?",
    "circuits": "What do the heads look for (QK) and write (OV), and how do they compose?",
    "attention-scores": "Which pairs of earlier writes make a head look where it looks?",
    "paths": "What are direct paths, single heads and virtual heads worth?",
    "induction": "Which heads continue what was seen before, how are they put together, what is lost without them?",
    "modular-addition": "By what algorithm does a model add modulo a number?",
    "logit-lens": "At which block does the prediction form?",
    "attribution": "Which components, heads and neurons write the token that really comes next?",
    "residual-ablation": "What does each contribution to the residual stream do to the loss?",
    "ablation": "What is lost without a head, an MLP, a block's heads, or several of them at once?",
    "patching": "Which places and heads carry what tells one prompt from another?",
    "tasks": "Which tasks of the literature does the model do, and which heads carry them?",
    "initialisation": "How uniform is attention before training, against the closed form?",
}


def analysis(name: str) -> ModuleType:
    """The module that runs the analysis: it has `Options` and `run`."""
    return import_module(f".{name.replace('-', '_')}", __package__)
