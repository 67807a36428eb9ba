"""Says what happened: metrics, traces, log lines and notifications. The only place that knows how these are made."""
