"""The commands of `interp`, one a file, imported when they are called."""
