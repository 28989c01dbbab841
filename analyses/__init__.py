"""Analyses: one question a module."""
