"""Whole processes: the command line as people run it."""
