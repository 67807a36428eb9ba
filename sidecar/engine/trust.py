"""What a rule in `auto` is trusted with: this very rule on this very schema."""

import hashlib

from sidecar.domain.look import Catalogue
from sidecar.domain.rule import Rule

LOST = "lost"  # equal to no digest: a plan of the rule must be applied and verified before `auto` counts again


def trust_digest(rule: Rule, catalogue: Catalogue) -> str:
    """Return a digest that changes when the rule or its target's schema does."""
    return hashlib.sha256(f"{rule.digest}\n{catalogue.fingerprint}".encode()).hexdigest()
