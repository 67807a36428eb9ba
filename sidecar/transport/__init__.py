"""What lies beneath httpx: one fresh connection for each exchange, in phases that are timed, bounded and told."""
