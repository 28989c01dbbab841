"""The report: every analysis on one model or on two, in one HTML file that needs no network."""

from .build import build as build
from .compared import compare as compare
from .page import html as html
from .panels import Panel as Panel
from .panels import Part as Part
from .panels import Report as Report
from .panels import as_dict as as_dict
