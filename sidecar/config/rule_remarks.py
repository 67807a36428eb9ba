"""What is not wrong with a configuration, and still worth knowing before it runs."""

from sidecar.config.settings import Config
from sidecar.domain.rule import AuthSource


def remarks(config: Config) -> list[str]:
    """Return one sentence for each check left out, and each rule that cannot look over the configured path.

    Source: docs/decisions/0006.
    """
    left_out = list(config.left_out)
    if config.database_url is not None:
        return left_out
    barred = [rule.name for rule in config.rules if isinstance(rule.detect.ledger, AuthSource)]
    barred += [survey.name for survey in config.surveys if survey.needs_database]
    return left_out + [
        f"{name}: without database.url it cannot be proven; looks end as unknown, needs_database" for name in barred
    ]
