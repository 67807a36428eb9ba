"""Rows 28 to 30 of the decision table: what the optional steps say, a user's session (S7) and the write canary (S8)."""

from sidecar.domain.key_evidence import Evidence, Hit, WriteSight
from sidecar.domain.key_proof import sees_own
from sidecar.domain.reasons import ServiceKeyReason

Why = ServiceKeyReason


def leaked_to_user(evidence: Evidence) -> Hit:  # row 28
    """A signed-in user sees what is somebody else's, or does not see what is its own."""
    user = evidence.user
    if user is None:
        return None
    leaks = [str(step) for step in user.others if step.visible]
    if leaks:
        return Why.RLS_LEAK_AUTHENTICATED, f"a signed-in user sees rows that are not its own ({', '.join(leaks)})"
    if user.own is not None and user.own.is_closed:
        return Why.PROFILE_HIDDEN_OR_MISSING, f"{user.own}: the signed-in user does not see its own profile"
    return None


def broken_control(evidence: Evidence) -> Hit:  # row 29
    """The negative control came out as if nothing bound it, so no other answer of this look means anything."""
    control = evidence.user.control if evidence.user is not None else None
    if control is None or not control.visible:
        return None
    return Why.CHECKER_BROKEN, f"{control}: a user's token sent beside the service key saw what that user may not see"


def blocked_write(evidence: Evidence) -> Hit:  # row 30
    """The service key reads but does not write, or anon writes."""
    write = evidence.write
    if write is None:
        return None
    anon, written = write.by_anon, write.written
    if anon is not None and anon.visible:
        return Why.RLS_LEAK_ANON, f"{anon}: anon wrote the row that only the service key may write"
    if written.is_forbidden:
        by_policy = written.says("row-level security")
        return (Why.WRITE_BLOCKED_BY_RLS if by_policy else Why.GRANT_MISSING_UPDATE), str(written)
    # What is hidden from the read as well is row 21, which stands above.
    return (Why.WRITE_BLOCKED_BY_RLS, f"{written}: no row was changed") if written.is_hidden else None


def disagreeing_options(evidence: Evidence) -> Hit:
    """Tell of two answers of S7 or S8 that cannot both be true."""
    user, write = evidence.user, evidence.write
    if user is not None and user.own is not None and user.control_own is not None:
        own, control = user.own, user.control_own
        answered = (own.is_read or own.is_closed) and (control.is_read or control.is_closed)
        if answered and sees_own(own) != sees_own(control):
            return Why.INCONSISTENT, f"{own}, but {control}: one token, two sights"
    return _disagreeing_write(write) if write is not None else None


def _disagreeing_write(write: WriteSight) -> Hit:
    written, back = write.written, write.read_back
    if written.is_denied:
        return Why.INCONSISTENT, f"{written}: the reads ran as the service role, the write as the anonymous one"
    if written.is_read and written.rows and not sees_own(written):
        return Why.INCONSISTENT, f"{written}: another row came back than was sent"
    if sees_own(written) and back is not None and back.is_read and not sees_own(back):
        return Why.INCONSISTENT, f"{written}, but {back}: what was written is not there"
    return None
