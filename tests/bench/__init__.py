"""Measurements against a peer in the same run. Not tests: nothing here fails a build."""
