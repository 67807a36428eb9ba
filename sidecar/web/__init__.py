"""What Sidecar shows over HTTP: the status page, metrics, and whether it lives and is ready."""
