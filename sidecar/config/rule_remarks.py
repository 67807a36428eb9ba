"""What is not wrong with a configuration, and still worth knowing before it runs."""

from sidecar.config.settings import Config
from sidecar.domain.rule import AuthSource


def remarks(config: Config) -> list[str]:
    """Return one sentence for each rule that cannot look: over the configured path, or without a check.

    Source: docs/decisions/0006.
    """
    required = [(rule.name, rule.guard.require_checks) for rule in config.rules]
    required += [(survey.name, survey.require_checks) for survey in config.surveys]
    found = [
        f"{rule}: it requires {name}, which is left out; looks end as unknown"
        for rule, names in required
        for name in names
        if name in config.left_out
    ]
    if config.database_url is not None:
        return found
    barred = [rule.name for rule in config.rules if isinstance(rule.detect.ledger, AuthSource)]
    barred += [survey.name for survey in config.surveys if survey.needs_database]
    return found + [
        f"{name}: without database.url it cannot be proven; looks end as unknown, needs_database" for name in barred
    ]
