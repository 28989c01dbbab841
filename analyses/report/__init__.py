"""The report: every analysis on one model, in one HTML file that needs no network."""

from .build import Panel as Panel
from .build import Part as Part
from .build import Report as Report
from .build import as_dict as as_dict
from .build import build as build
from .page import html as html
