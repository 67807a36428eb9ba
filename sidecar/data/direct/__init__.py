"""The direct path to PostgreSQL: statements, what must hold before one is believed, and the one insert."""
