"""Revisions. One that was released is never edited."""
