"""Why a look ended as it did: one closed enum per check kind. The names are metric label values and alert names."""

from collections.abc import Mapping
from enum import StrEnum

from sidecar.domain.check import Verdict
from sidecar.errors import Unreached


class CommonReason(StrEnum):
    """Reasons that every kind can have. They say nothing about the target: the verdict is always unknown."""

    PROBE_FAILED = "probe_failed"  # a bug of ours, contained by `engine.watch`
    DEPENDENCY_DOWN = "dependency_down"  # a check that this one depends on is unhealthy
    DEPENDENCY_UNKNOWN = "dependency_unknown"  # nobody knows how a check is that this one depends on
    NO_CONNECTIVITY = "no_connectivity"  # a failure while Sidecar itself has no network


class HttpReason(StrEnum):
    """Reasons of the kind `http`."""

    OK = "ok"
    CONDITION_FAILED = "condition_failed"
    CONDITION_ERROR = "condition_error"  # a condition could not be evaluated on the answer that came
    RESOLVE_FAILED = "resolve_failed"
    RESOLVER_FAILED = "resolver_failed"
    NETWORK_UNREACHABLE = "network_unreachable"
    CONNECT_FAILED = "connect_failed"
    TLS_FAILED = "tls_failed"
    TIMED_OUT = "timed_out"
    CUT_OFF = "cut_off"
    PROTOCOL_BROKEN = "protocol_broken"
    BODY_TOO_LARGE = "body_too_large"
    TOO_MANY_REDIRECTS = "too_many_redirects"
    REDIRECT_REFUSED = "redirect_refused"  # it leads inwards, or to a scheme that is not the web's
    CORS_REFLECTS_FOREIGN_ORIGIN = "cors_reflects_foreign_origin"  # any page may read answers: `*` counts
    CORS_REFUSED = "cors_refused"  # the page that may read answers is not let
    CORS_ERROR_UNSEEN = "cors_error_unseen"  # the answer that was to be an error was none
    AUTH_NOT_REQUIRED = "auth_not_required"
    FORGED_TOKEN_ACCEPTED = "forged_token_accepted"  # noqa: S105  # no password
    ROUTE_MISSING = "route_missing"  # its 401 is that of any route which does not exist
    AUTH_ANSWER_UNEXPECTED = "auth_answer_unexpected"  # neither let in nor refused
    ROUTE_UNPROVEN = "route_unproven"  # nobody could say whether the route exists
    LOCAL_FAULT = "local_fault"

    @property
    def verdict(self) -> Verdict:
        """What the target did is unhealthy; what says nothing about the target is unknown."""
        if self is HttpReason.OK:
            return Verdict.HEALTHY
        return Verdict.UNKNOWN if self in _SAYS_NOTHING else Verdict.UNHEALTHY


_SAYS_NOTHING = frozenset(
    {
        HttpReason.RESOLVER_FAILED,
        HttpReason.NETWORK_UNREACHABLE,
        HttpReason.LOCAL_FAULT,
        HttpReason.CORS_ERROR_UNSEEN,
        HttpReason.ROUTE_UNPROVEN,
    }
)

BY_CAUSE: Mapping[Unreached, HttpReason] = {cause: HttpReason(cause.value) for cause in Unreached}


class ServiceKeyReason(StrEnum):
    """Reasons of the kind `service_key`: the verdict column of design 40-supabase.md C3, by row."""

    OK = "ok"  # 31
    NETWORK_DOWN = "network_down"  # 1
    PROJECT_REF_WRONG_OR_DELETED = "project_ref_wrong_or_deleted"  # 1
    PROJECT_PAUSED = "project_paused"  # 2
    PROJECT_RESTRICTED = "project_restricted"  # 3
    GATEWAY_DOWN = "gateway_down"  # 4
    WRONG_ENDPOINT = "wrong_endpoint"  # 5
    DB_DOWN = "db_down"  # 6
    SCHEMA_CACHE_LOADING = "schema_cache_loading"  # 6
    POOL_EXHAUSTED = "pool_exhausted"  # 6
    STATEMENT_TIMEOUT = "statement_timeout"  # 6
    RATE_LIMITED = "rate_limited"  # 7
    KEY_MISSING = "key_missing"  # 8
    KEY_MALFORMED = "key_malformed"  # 8
    KEY_WRONG_ROLE = "key_wrong_role"  # 9, 17
    KEY_OTHER_PROJECT = "key_other_project"  # 10
    LEGACY_KEYS_DISABLED = "legacy_keys_disabled"  # 11
    KEY_EXPIRED = "key_expired"  # 12
    KEY_INVALID = "key_invalid"  # 13
    CLIENT_MISCONFIGURED = "client_misconfigured"  # 14
    SB_KEY_SENT_AS_BEARER = "sb_key_sent_as_bearer"  # 15
    KEY_REJECTED_UNKNOWN = "key_rejected_unknown"  # 16
    GRANT_MISSING = "grant_missing"  # 17
    SCHEMA_NOT_GRANTED = "schema_not_granted"  # 18
    SCHEMA_NOT_EXPOSED = "schema_not_exposed"  # 18
    TABLE_MISSING_OR_NOT_EXPOSED = "table_missing_or_not_exposed"  # 19
    SCHEMA_DRIFT = "schema_drift"  # 20
    RLS_STILL_APPLIED = "rls_still_applied"  # 21
    CANARY_TAMPERED = "canary_tampered"  # 22
    RLS_LEAK_ANON = "rls_leak_anon"  # 24
    ANON_PROBE_DEAD = "anon_probe_dead"  # 27
    RLS_LEAK_AUTHENTICATED = "rls_leak_authenticated"  # 28
    PROFILE_HIDDEN_OR_MISSING = "profile_hidden_or_missing"  # 28
    CHECKER_BROKEN = "checker_broken"  # 29
    WRITE_BLOCKED_BY_RLS = "write_blocked_by_rls"  # 30
    GRANT_MISSING_UPDATE = "grant_missing_update"  # 30
    INCONSISTENT = "inconsistent"  # two answers that cannot both be true
    UNKNOWN = "unknown"  # whatever the table does not list

    @property
    def verdict(self) -> Verdict:
        """Unknown for rows 1-7, 16, 27, 29 and whatever is unlisted, healthy for row 31, unhealthy for the rest."""
        if self is ServiceKeyReason.OK:
            return Verdict.HEALTHY
        return Verdict.UNKNOWN if self in _CANNOT_JUDGE else Verdict.UNHEALTHY


_CANNOT_JUDGE = frozenset(
    {
        ServiceKeyReason.NETWORK_DOWN,
        ServiceKeyReason.PROJECT_REF_WRONG_OR_DELETED,
        ServiceKeyReason.PROJECT_PAUSED,
        ServiceKeyReason.PROJECT_RESTRICTED,
        ServiceKeyReason.GATEWAY_DOWN,
        ServiceKeyReason.WRONG_ENDPOINT,
        ServiceKeyReason.DB_DOWN,
        ServiceKeyReason.SCHEMA_CACHE_LOADING,
        ServiceKeyReason.POOL_EXHAUSTED,
        ServiceKeyReason.STATEMENT_TIMEOUT,
        ServiceKeyReason.RATE_LIMITED,
        ServiceKeyReason.KEY_REJECTED_UNKNOWN,
        ServiceKeyReason.ANON_PROBE_DEAD,
        ServiceKeyReason.CHECKER_BROKEN,
        ServiceKeyReason.INCONSISTENT,
        ServiceKeyReason.UNKNOWN,
    }
)


class ServiceKeyNote(StrEnum):
    """What was seen beside the reason and decided nothing."""

    KEY_EXPIRING = "key_expiring"  # 12: expires within `expiring_days`
    KEY_LEGACY = "key_legacy"  # the legacy family ends at the end of 2026
    PROFILES_MISSING = "profiles_missing"  # 23: fewer profiles than auth users; a data incident, never a key fault
    ANON_HIDDEN = "anon_hidden"  # 25: anon was answered, with no row
    ANON_DENIED = "anon_denied"  # 26: anon holds no grant, which is stronger


class JourneyReason(StrEnum):
    """Reasons of the kind `journey`. `detail` names the step."""

    OK = "ok"
    NOT_CONFIGURED = "not_configured"  # no canary user: nothing was tried
    SIGN_IN_FAILED = "sign_in_failed"
    SESSION_REFUSED = "session_refused"  # 401 to a session that was just opened
    RATE_LIMITED = "rate_limited"  # Supabase Auth asks to be left alone: says nothing about the journey
    STEP_FAILED = "step_failed"  # a captured value cannot be sent, or stands for no number
    CONDITION_FAILED = "condition_failed"
    CONDITION_ERROR = "condition_error"
    CAPTURE_FAILED = "capture_failed"
    BALANCE_DIFFERS = "balance_differs"
    LEDGER_DIFFERS = "ledger_differs"
    DATABASE_UNREAD = "database_unread"  # the service key's reading failed: nothing to compare with
    ROW_UNSEEN = "row_unseen"  # the service key saw no row; hidden or absent, nobody can say here
    BUDGET_SPENT = "budget_spent"
    CLEANUP_FAILED = "cleanup_failed"  # everything else was as expected
    RESOLVE_FAILED = "resolve_failed"
    RESOLVER_FAILED = "resolver_failed"
    NETWORK_UNREACHABLE = "network_unreachable"
    CONNECT_FAILED = "connect_failed"
    TLS_FAILED = "tls_failed"
    TIMED_OUT = "timed_out"
    CUT_OFF = "cut_off"
    PROTOCOL_BROKEN = "protocol_broken"
    BODY_TOO_LARGE = "body_too_large"
    LOCAL_FAULT = "local_fault"

    @property
    def verdict(self) -> Verdict:
        """What a user would have met is unhealthy; what kept us from walking on is unknown."""
        if self is JourneyReason.OK:
            return Verdict.HEALTHY
        return Verdict.UNKNOWN if self in _NOT_WALKED else Verdict.UNHEALTHY


_NOT_WALKED = frozenset(
    {
        JourneyReason.NOT_CONFIGURED,
        JourneyReason.RATE_LIMITED,
        JourneyReason.DATABASE_UNREAD,
        JourneyReason.ROW_UNSEEN,
        JourneyReason.BUDGET_SPENT,
        JourneyReason.RESOLVER_FAILED,
        JourneyReason.NETWORK_UNREACHABLE,
        JourneyReason.LOCAL_FAULT,
    }
)


class CanaryUserReason(StrEnum):
    """Reasons of the kind `canary_user`."""

    OK = "ok"
    NOT_CONFIGURED = "not_configured"  # no user id
    PROFILE_MISSING = "profile_missing"  # no row, and the sight of the service key was proven
    PROFILE_UNSEEN = "profile_unseen"  # no row, and nothing proves that one would have been seen
    PROFILE_INCOMPLETE = "profile_incomplete"  # a named column is absent or null
    CREDITS_DIFFER = "credits_differ"
    API_DIFFERS = "api_differs"
    API_UNREAD = "api_unread"  # the backend answered, with no value in it
    DATABASE_UNREAD = "database_unread"
    SIGN_IN_FAILED = "sign_in_failed"
    SESSION_REFUSED = "session_refused"
    RATE_LIMITED = "rate_limited"
    OTHER_USER = "other_user"  # the session belongs to somebody else than `user_id`: the configuration is wrong
    RESOLVE_FAILED = "resolve_failed"
    RESOLVER_FAILED = "resolver_failed"
    NETWORK_UNREACHABLE = "network_unreachable"
    CONNECT_FAILED = "connect_failed"
    TLS_FAILED = "tls_failed"
    TIMED_OUT = "timed_out"
    CUT_OFF = "cut_off"
    PROTOCOL_BROKEN = "protocol_broken"
    BODY_TOO_LARGE = "body_too_large"
    LOCAL_FAULT = "local_fault"

    @property
    def verdict(self) -> Verdict:
        """What was read and is wrong is unhealthy; what could not be read, or is no proof, is unknown."""
        if self is CanaryUserReason.OK:
            return Verdict.HEALTHY
        return Verdict.UNKNOWN if self in _NOT_SEEN else Verdict.UNHEALTHY


_NOT_SEEN = frozenset(
    {
        CanaryUserReason.NOT_CONFIGURED,
        CanaryUserReason.PROFILE_UNSEEN,
        CanaryUserReason.DATABASE_UNREAD,
        CanaryUserReason.RATE_LIMITED,
        CanaryUserReason.OTHER_USER,
        CanaryUserReason.RESOLVER_FAILED,
        CanaryUserReason.NETWORK_UNREACHABLE,
        CanaryUserReason.LOCAL_FAULT,
    }
)


class LogSignatureReason(StrEnum):
    """Reasons of the kind `log_signature`."""

    OK = "ok"
    SIGNATURE_SEEN = "signature_seen"  # more often than allowed
    FILE_MISSING = "file_missing"
    FILE_UNREADABLE = "file_unreadable"
    BEHIND = "behind"  # more was written than one look reads
    LINES_LOST = "lines_lost"  # a file went away before it was read to its end
    DRAIN_SILENT = "drain_silent"  # nothing arrived for longer than `silent_after`
    LOKI_UNREAD = "loki_unread"
    LOCAL_FAULT = "local_fault"  # our own memory cannot be read or written

    @property
    def verdict(self) -> Verdict:
        """A count that is too high is unhealthy; what was not read cannot be called quiet."""
        match self:
            case LogSignatureReason.OK:
                return Verdict.HEALTHY
            case LogSignatureReason.SIGNATURE_SEEN:
                return Verdict.UNHEALTHY
            case _:
                return Verdict.UNKNOWN


class CatalogueReason(StrEnum):
    """Reasons of the kind `catalogue`; of several the first in this order is told, the others are notes."""

    OK = "ok"
    ROLE_BYPASSES_RLS = "role_bypasses_rls"
    LEDGER_WRITABLE = "ledger_writable"
    COLUMN_WRITABLE = "column_writable"
    RLS_DISABLED = "rls_disabled"
    VIEW_BYPASSES_RLS = "view_bypasses_rls"
    TABLE_MISSING = "table_missing"
    TRIGGER_MISSING = "trigger_missing"
    TRIGGER_DISABLED = "trigger_disabled"
    FUNCTION_MISSING = "function_missing"
    TRIGGER_CHANGED = "trigger_changed"
    POLICY_MISSING = "policy_missing"
    POLICY_COUNT_DIFFERS = "policy_count_differs"
    RLS_NOT_FORCED = "rls_not_forced"
    COLUMN_MISSING = "column_missing"
    FOREIGN_KEY_MISSING = "foreign_key_missing"
    FOREIGN_KEY_NOT_VALIDATED = "foreign_key_not_validated"
    INDEX_MISSING = "index_missing"
    DATABASE_UNREACHABLE = "database_unreachable"  # from here on: nothing could be judged
    TIMED_OUT = "timed_out"
    DATABASE_BUSY = "database_busy"
    ACCESS_DENIED = "access_denied"
    STANDBY = "standby"
    ROLES_MISSING = "roles_missing"
    WRONG_DATABASE = "wrong_database"
    CATALOGUE_UNREADABLE = "catalogue_unreadable"

    @property
    def verdict(self) -> Verdict:
        """What was read and is wrong is unhealthy; what could not be read is unknown."""
        if self is CatalogueReason.OK:
            return Verdict.HEALTHY
        return Verdict.UNKNOWN if self in _CATALOGUE_UNREAD else Verdict.UNHEALTHY


_CATALOGUE_UNREAD = frozenset(
    {
        CatalogueReason.DATABASE_UNREACHABLE,
        CatalogueReason.TIMED_OUT,
        CatalogueReason.DATABASE_BUSY,
        CatalogueReason.ACCESS_DENIED,
        CatalogueReason.STANDBY,
        CatalogueReason.ROLES_MISSING,
        CatalogueReason.WRONG_DATABASE,
        CatalogueReason.CATALOGUE_UNREADABLE,
    }
)


# What only an answer shows, or a file beside us: no outage of our own network explains it.
SHOWN: frozenset[str] = frozenset(
    {
        *(reason.value for reason in JourneyReason if reason.verdict is Verdict.UNHEALTHY),
        *(reason.value for reason in CanaryUserReason if reason.verdict is Verdict.UNHEALTHY),
        LogSignatureReason.SIGNATURE_SEEN.value,
    }
) - {*(cause.value for cause in Unreached), JourneyReason.CLEANUP_FAILED.value}
