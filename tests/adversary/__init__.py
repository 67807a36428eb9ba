"""Attacks on the repair path over the real stack."""
