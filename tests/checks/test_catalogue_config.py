"""What a person reads who makes a mistake in a `catalogue` check: the place and the words."""

import pytest

from sidecar.checks.catalogue import _cause
from sidecar.checks.kinds import KINDS
from sidecar.config.load import load_text
from sidecar.config.settings import Config
from sidecar.domain.reasons import CatalogueReason
from sidecar.domain.rule import Table
from sidecar.domain.schema_judge import SchemaWish, shown
from sidecar.errors import (
    AccessDenied,
    AnswerMalformed,
    ConfigError,
    SidecarError,
    TargetUnreachable,
    TransientError,
    Unreached,
    WriteRejected,
)

TEXT = """\
supabase: {url: "http://127.0.0.1:9"}
database: {url: "postgresql://sidecar:secret@127.0.0.1/velro"}
checks:
  - name: catalogue
    kind: catalogue
    every: 5m
    ledger: public.credit_transactions
    tables:
      public.users: {unwritable: [credits_balance], references: {id: auth.users}, indexes: [[id]]}
      public."User ""data"" set": {rls: false}
    triggers:
      - {table: auth.users, name: on_auth_user_created, function: public.handle_new_user, event: insert}
"""
QUALIFIED = 'must be a name with its schema, such as public.users or public."User data"'
UNKNOWN = "is not a known key (did you mean unwritable?)"
EVENTS = "Input should be 'insert', 'update', 'delete' or 'truncate'"
NO_DATABASE = TEXT.replace('database: {url: "postgresql://sidecar:secret@127.0.0.1/velro"}\n', "database: {url: ''}\n")


def loaded(text: str) -> Config:
    return load_text(text, {}, {name: kind.model for name, kind in KINDS.items()}, {})


def complaints(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(text)
    return str(caught.value)


def test_names_are_read_as_postgresql_writes_them() -> None:
    (check,) = loaded(TEXT).checks
    assert isinstance(check.spec, SchemaWish)
    assert check.spec.relations == (
        Table("public", "users"),
        Table("public", 'User "data" set'),
        Table("auth", "users"),
        Table("public", "credit_transactions"),
    )
    assert check.spec.protected == (Table("public", "users"), Table("public", "credit_transactions"))


def test_without_a_database_the_place_and_what_to_do_are_told() -> None:
    assert complaints(NO_DATABASE) == (
        "sidecar.yaml:5:11: checks[0].kind: is catalogue, which needs database.url, and that is not set "
        "(set it, or give the check only_with_database: true)"
    )


def test_a_check_that_may_be_left_out_without_a_database_is_left_out_and_still_read() -> None:
    optional = NO_DATABASE.replace("every: 5m", "every: 5m\n    only_with_database: true")
    assert loaded(optional).checks == ()
    assert loaded(optional).left_out == {"catalogue": "left out; it needs database.url, and that is not set"}
    assert "is not a known key" in complaints(optional.replace("ledger:", "legder:"))
    assert len(loaded(TEXT.replace("every: 5m", "every: 5m\n    only_with_database: true")).checks) == 1


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (
            "ledger: public.credit_transactions",
            "ledger: credit_transactions",
            f"sidecar.yaml:7:13: checks[0].ledger: {QUALIFIED}",
        ),
        (
            "{unwritable:",
            "{unwriteable:",
            f"sidecar.yaml:9:22: checks[0].tables.public.users.unwriteable: {UNKNOWN}",
        ),
        (
            "event: insert",
            "event: inserted",
            f"sidecar.yaml:12:98: checks[0].triggers[0].event: {EVENTS}",
        ),
        (
            "indexes: [[id]]",
            "indexes: [[]]",
            "sidecar.yaml:9:93: checks[0].tables.public.users.indexes[0]: must have at least 1 entry",
        ),
        (
            "{rls: false}",
            "{rls: false, forced: true}",
            "sidecar.yaml:10:35: checks[0].tables.…: forced means nothing where rls is false",
        ),
        (
            "{rls: false}",
            "{policies: [a, b], policy_count: 1}",
            "sidecar.yaml:10:35: checks[0].tables.…: policy_count is less than the policies that are named",
        ),
        (
            "{rls: false}",
            f"{{columns: [{'x' * 64}]}}",
            "sidecar.yaml:10:46: checks[0].tables.….columns[0]: must be a name of 1 to 63 bytes",
        ),
        (
            'public."User ""data"" set"',
            'public."users"',
            "sidecar.yaml:4:5: checks[0]: tables must name each table once, quoted or not",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(before: str, after: str, words: str) -> None:
    assert TEXT.count(before) == 1
    assert complaints(TEXT.replace(before, after)) == words


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TargetUnreachable(Unreached.CONNECT_FAILED, ""), "database_unreachable"),
        (TargetUnreachable(Unreached.CUT_OFF, ""), "database_unreachable"),
        (TargetUnreachable(Unreached.TIMED_OUT, ""), "timed_out"),
        (TransientError("the database answered 57014"), "timed_out"),
        (TransientError("the database answered 55P03"), "database_busy"),
        (TransientError("the database answered 53300"), "database_busy"),
        (AccessDenied(""), "access_denied"),
        (WriteRejected("", "22023", 0), "access_denied"),
        (WriteRejected("", "22012", 0), "catalogue_unreadable"),
        (AnswerMalformed(""), "catalogue_unreadable"),
        (SidecarError(""), "catalogue_unreadable"),
    ],
)
def test_no_way_of_not_seeing_is_unhealthy(error: SidecarError, reason: str) -> None:
    assert _cause(error)[0] is CatalogueReason(reason)
    assert CatalogueReason(reason).verdict == "unknown"


@pytest.mark.parametrize(
    ("name", "as_shown"),
    [
        ("users", "users"),
        ("User data", '"User data"'),
        ('a"b', '"a""b"'),
        ("a\nb\u202e", '"a\\nb\\u202e"'),
        ("ключ", '"ключ"'),
    ],
)
def test_a_name_that_is_no_plain_word_is_quoted_and_never_acts(name: str, as_shown: str) -> None:
    assert shown(name) == as_shown
