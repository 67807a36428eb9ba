"""Targets that do what no target should: one case each, with its reason, within the deadline, and nothing left."""
