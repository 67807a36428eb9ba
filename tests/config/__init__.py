"""Tests of the strict loader."""
