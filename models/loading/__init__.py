"""Where models come from, one source a file: our own folders, TransformerLens' state dicts, Llama-type folders."""

from .resolve import bundled_names as bundled_names
