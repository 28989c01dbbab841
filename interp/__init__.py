"""Mechanistic interpretability on hooks."""
