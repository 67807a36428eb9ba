"""The command line, as people and their shells use it."""
