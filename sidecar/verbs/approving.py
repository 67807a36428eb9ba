"""Who may approve a plan, of a repair or of an undo."""

from sidecar.app import App
from sidecar.domain.plan import Plan
from sidecar.domain.undo import UndoPlan
from sidecar.errors import AccessDenied, PlanInvalid


def require_approver(app: App, plan: Plan | UndoPlan, actor: str, what: str) -> None:
    """Let a plan be approved in its time, and where there are tokens by another than its author's.

    Raises: AccessDenied, PlanInvalid.
    """
    if app.config.server.tokens and actor == plan.author:
        raise AccessDenied(f"{what} {plan.id} was made by {actor}: another token than its author's must approve it")
    if plan.expires_at <= app.clock.now():
        raise PlanInvalid(f"{what} {plan.id} expired at {plan.expires_at:%Y-%m-%d %H:%M} UTC; make a new one")
