"""The user's data behind the port `sidecar.ports.Data`."""
