"""Row 31 of the decision table: what must have been seen before a service key is called good.

Every claim is positive. A step that was asked for and did not answer as expected holds the verdict back.
"""

from sidecar.domain.key_evidence import Evidence, Hit, Step, UserSight, WriteSight
from sidecar.domain.key_layout import speaks_as_supabase
from sidecar.domain.reasons import ServiceKeyReason


def proven(evidence: Evidence) -> Hit:  # row 31
    """Return `ok` when every claim holds."""
    canary = evidence.service_canary
    holds = (
        evidence.lint.fault is None
        and not evidence.lint.anon_fault
        and speaks_as_supabase(evidence)
        and evidence.is_anon_alive
        and _keeps_anon_out(evidence)
        and canary is not None
        and canary.is_read
        and canary.rows == 1
        and canary.matches
        and is_privileged(evidence)
        and _probe_function_agrees(evidence)
        and (evidence.user is None or _user_is_bound(evidence.user))
        and (evidence.write is None or write_landed(evidence.write))
    )
    return (ServiceKeyReason.OK, "") if holds else None


def _keeps_anon_out(evidence: Evidence) -> bool:
    canary = evidence.anon_canary
    if canary is None or not (canary.is_hidden or canary.is_denied) or not evidence.tables:
        return False
    for sight in evidence.tables:
        service, anon = sight.service, sight.anon
        if anon is None or not service.is_read or service.total is None or service.total < anon.visible:
            return False
        if not (anon.is_hidden or anon.is_denied or (sight.is_public and anon.is_read)):
            return False
    return True


def _probe_function_agrees(evidence: Evidence) -> bool:
    """A function that is not installed agrees; one that answers in any other way than agreement does not.

    A witness needs the function: no policy shows the canary, but one of the product's may well show the witness.
    """
    rpc = evidence.rpc
    if rpc is None or is_not_installed(rpc):
        return evidence.bypass is None and not evidence.by_witness
    return rpc.status == 200 and evidence.bypass is not None and evidence.bypass.agrees


def is_not_installed(rpc: Step) -> bool:
    """Tell whether PostgREST knows no such function."""
    return rpc.status == 404 and rpc.code == "PGRST202"


def is_privileged(evidence: Evidence) -> bool:
    """S4: the admin API answered the service key. Where there is none, the REST root did, and refused the anon key.

    Gateways of one's own show the root to anybody, so without that refusal it says nothing.
    """
    admin, root, anon = evidence.admin, evidence.root, evidence.anon_root
    if admin is not None and admin.status == 200 and not admin.is_html:
        return True
    shown = root is not None and root.status == 200 and not root.is_html
    return shown and anon is not None and anon.status in (401, 403)


def sees_own(step: Step | None) -> bool:
    """Tell whether exactly the one row was read that was asked for."""
    return step is not None and step.is_read and step.rows == 1 and step.matches


def _user_is_bound(user: UserSight) -> bool:
    """S7: the user sees its own and nobody else's, and so it stays when the service key is sent beside its token."""
    control = user.control
    return (
        sees_own(user.own)
        and sees_own(user.control_own)
        and bool(user.others)
        and all(step.is_closed for step in user.others)
        and control is not None
        and control.is_closed
    )


def write_landed(write: WriteSight) -> bool:
    """S8: the one row was written as service, not as anon, and stayed as it was written."""
    closed = write.by_anon is not None and (write.by_anon.is_hidden or write.by_anon.is_denied)
    return sees_own(write.written) and closed and sees_own(write.read_back)
