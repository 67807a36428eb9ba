"""The optional fixture that a Supabase project may hold for Sidecar: a canary row and two functions."""

from importlib import resources


def fixture_sql(nonce: str) -> str:
    """Return the fixture's SQL with the canary's nonce in it. Raises: ValueError for text that SQL cannot hold."""
    text = resources.files("sidecar").joinpath("fixture.sql").read_text(encoding="utf-8")
    return text.replace(":'nonce'", _literal(nonce))


def _literal(text: str) -> str:
    """Quote as libpq does: right whatever `standard_conforming_strings` says."""
    if "\0" in text:
        message = "a nonce cannot hold a zero character"
        raise ValueError(message)
    quoted = text.replace("'", "''")
    return " E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in quoted else f"'{quoted}'"
