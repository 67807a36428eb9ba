"""Sidecar's own memory."""
