"""A small stand-in for PostgREST 14 over a real PostgreSQL, whose own roles and policies give the answers.

It agrees with the recorded exchanges in `tests/data/postgrest`. Left out: embedded resources, aggregates, PUT, text
search, custom media types. What is left out is refused with a PostgREST-style 400, never answered differently.
"""
