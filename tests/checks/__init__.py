"""Looks from outside, against real HTTP."""
