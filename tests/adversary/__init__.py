"""Attacks on the repair path over the real stack. Each test that is marked xfail names an open bug."""
