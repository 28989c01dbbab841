"""How Sphinx builds the guide; nothing of the package is imported."""

import importlib.metadata

project = "interp"
author = "the authors of interp"
version = release = importlib.metadata.version("interp")

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
# Headings get the anchors that GitHub gives them: links work in both places.
myst_heading_anchors = 3

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["guide.css"]
html_title = f"interp {release}"
# Nothing may be fetched when a page is opened.
html_copy_source = False
html_show_sourcelink = False
