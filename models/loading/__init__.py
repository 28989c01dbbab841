"""Where models come from, one source a file: names, folders, files of other projects, models in memory."""

from .resolve import bundled_names as bundled_names
