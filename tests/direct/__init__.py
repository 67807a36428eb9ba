"""The direct path on real PostgreSQL."""
