"""Sidecar's own memory: leases, looks, balances seen, plans, runs, quarantine, freezes and the audit trail."""
