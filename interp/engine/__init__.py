"""Ways to run a sweep: each gives the metric of every cell on every prompt, and all give the same numbers."""
