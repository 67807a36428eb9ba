"""What is left to restore a user from, once the row is gone: it depends on the ledger's foreign key."""

import asyncio

from sidecar.config.settings import Config
from sidecar.domain.look import Catalogue
from sidecar.domain.rule import AuthSource, Rule
from sidecar.errors import SidecarError
from sidecar.paths import open_path

SECONDS_AT_MOST = 5.0  # `validate` is of texts; what the database adds to it must not keep anybody waiting


def evidence_case(rule: Rule, catalogue: Catalogue) -> str:
    """Say in one sentence which case applies to a rule's ledger."""
    movements, target = rule.detect.movements, rule.detect.expects.table
    if movements is None:
        return "the rule names no ledger: only a snapshot or a person can restore a balance"
    if not catalogue.visible or catalogue.ledger_cascades is None:
        return f"whether {movements.table} cascades from {target} is not visible over REST without the fixture"
    if catalogue.ledger_cascades:
        return (
            f"{movements.table} cascades from {target}: evidence dies with the row, "
            "so only a snapshot or a person can restore it"
        )
    if isinstance(rule.detect.ledger, AuthSource):
        return (
            f"{movements.table} outlives a row of {target}: whoever it names is another rule's case, "
            "and only a snapshot or a person can restore the others"
        )
    return f"{movements.table} outlives a row of {target}: it can restore the row"


async def evidence_cases(config: Config) -> list[str]:
    """Ask the database about each rule that repairs, and say which case applies; or why nobody can say from here."""
    told: list[str] = []
    try:
        async with asyncio.timeout(SECONDS_AT_MOST), open_path(config) as path:
            told += [f"{rule.name}: {evidence_case(rule, await path.data.catalogue(rule))}" for rule in config.rules]
    except SidecarError as error:
        told.append(f"which evidence outlives a missing row cannot be seen from here: {error}")
    except TimeoutError:
        told.append("which evidence outlives a missing row cannot be seen from here: no answer in time")
    return told
