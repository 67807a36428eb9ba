"""sidecar.yaml and the rule files, read strictly: a whole configuration, or all problems, each with its place."""
