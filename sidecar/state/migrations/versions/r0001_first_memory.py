"""The first memory.

Revision: 0001
"""

import sqlalchemy as sa
from alembic import op

from sidecar.state.migrations.grants import grant_all

revision = "0001"
down_revision = None

APPEND_ONLY = ("audit", "snapshots", "attestations", "batches")
SWEPT = ("confirmations", "baselines", "quarantine")  # rows that go when they hold no more; others are never deleted
REFUSE = "CREATE TRIGGER {name} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, 'append-only'); END"
# INSERT OR REPLACE deletes without firing the trigger on DELETE, unless a pragma of the connection asks for it.
NO_REPLACING = """
CREATE TRIGGER audit_no_replacing BEFORE INSERT ON audit
WHEN NEW.seq <= (SELECT max(seq) FROM audit) BEGIN SELECT RAISE(ABORT, 'append-only'); END
"""


def bytewise() -> sa.types.TypeEngine[str]:
    """Return text in the order of its bytes."""
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Build every table, and the triggers that keep some of them append-only."""
    _standing()
    _looks()
    _balances()
    _plans()
    _runs()
    _rows()
    _verifications()
    _undos()
    _breakers()
    _audit()
    _guard()


def _standing() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
        sa.UniqueConstraint("name", "epoch", name="uq_leases_name_epoch"),
    )
    op.create_table(
        "ticks",
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("rule", name="pk_ticks"),
    )
    op.create_table(
        "checks",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("since_at", sa.BigInteger(), nullable=True),
        sa.Column("pending", sa.Text(), nullable=False),
        sa.Column("streak", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_checks"),
    )
    op.create_table(
        "trust",
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("rule", name="pk_trust"),
    )
    op.create_table(
        "freezes",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("lifted_at", sa.BigInteger(), nullable=True),
        sa.Column("lifted_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_freezes"),
    )
    op.create_index("ix_freezes_scope_lifted_at", "freezes", ["scope", "lifted_at"])


def _looks() -> None:
    op.create_table(
        "looks",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("proven", sa.Boolean(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("candidates", sa.Integer(), nullable=True),
        sa.Column("notes", sa.Integer(), nullable=False),
        sa.Column("read_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_looks"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_looks_rule_proven", "looks", ["rule", "proven"])
    op.create_table(
        "confirmations",
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("seen", sa.Integer(), nullable=False),
        sa.Column("look_id", sa.Integer(), nullable=False),
        sa.Column("first_look_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["look_id"], ["looks.id"], name="fk_confirmations_look_id"),
        sa.ForeignKeyConstraint(["first_look_id"], ["looks.id"], name="fk_confirmations_first_look_id"),
        sa.PrimaryKeyConstraint("rule", "key", name="pk_confirmations"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_confirmations_key", "confirmations", ["key"])
    op.create_table(
        "baselines",
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("ledger_rows", sa.Integer(), nullable=False),
        sa.Column("expected_rows", sa.Integer(), nullable=False),
        sa.Column("subjects", sa.Integer(), nullable=False),
        sa.Column("database", sa.Text(), nullable=False),
        sa.Column("taken_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("rule", name="pk_baselines"),
    )
    op.create_table(
        "cutoffs",
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("look_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("rule", name="pk_cutoffs"),
    )


def _balances() -> None:
    op.create_table(
        "snapshots",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("key", bytewise(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("look_id", sa.Integer(), nullable=False),
        sa.Column("note", sa.Integer(), nullable=False),
        sa.Column("amount", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["look_id"], ["looks.id"], name="fk_snapshots_look_id"),
        sa.PrimaryKeyConstraint("target", "key", "at", "look_id", "note", name="pk_snapshots"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "attestations",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("amount", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_attestations"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_attestations_target_key", "attestations", ["target", "key"])


def _plans() -> None:
    op.create_table(
        "plans",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("approver", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_plans"),
    )
    op.create_index("ix_plans_created_at", "plans", ["created_at"])
    op.create_index("ix_plans_rule_status", "plans", ["rule", "status"])
    op.create_table(
        "quarantine",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since_at", sa.BigInteger(), nullable=False),
        sa.Column("until_at", sa.BigInteger(), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_quarantine"),
        sa.UniqueConstraint("rule", "source", "key", name="uq_quarantine_rule_source_key"),
        sqlite_autoincrement=True,
    )


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("lease", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("heartbeat_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["lease"], ["leases.name"], name="fk_runs_lease"),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name="fk_runs_plan_id"),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("plan_id", name="uq_runs_plan_id"),
    )
    op.create_index("ix_runs_lease_status", "runs", ["lease", "status"])
    op.create_index("ix_runs_started_at", "runs", ["started_at"])


def _rows() -> None:
    op.create_table(
        "batches",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("announced_at", sa.BigInteger(), nullable=False),
        sa.Column("row_count", sa.Integer(), nullable=False),
        sa.Column("xid", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_batches_run_id"),
        sa.PrimaryKeyConstraint("run_id", "number", name="pk_batches"),
    )
    op.create_table(
        "horizons",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("next_xid", sa.BigInteger(), nullable=False),
        sa.Column("others", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_horizons_run_id"),
        sa.PrimaryKeyConstraint("run_id", name="pk_horizons"),
    )
    op.create_table(
        "run_rows",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("key", bytewise(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("written", sa.Text(), nullable=False),
        sa.Column("in_flight", sa.Boolean(), nullable=False),
        sa.Column("batch", sa.Integer(), nullable=True),
        sa.Column("touched_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_run_rows_run_id"),
        sa.PrimaryKeyConstraint("run_id", "key", name="pk_run_rows"),
        postgresql_with={"fillfactor": 40},
    )
    op.create_index("ix_run_rows_touched_at", "run_rows", ["touched_at"], postgresql_using="brin")


def _verifications() -> None:
    op.create_table(
        "verifications",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.Column("row_count", sa.Integer(), nullable=False),
        sa.Column("broken", sa.Text(), nullable=False),
        sa.Column("drift", sa.Text(), nullable=False),
        sa.Column("corrected", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_verifications_run_id"),
        sa.PrimaryKeyConstraint("run_id", "number", name="pk_verifications"),
    )
    op.create_index("ix_verifications_result_due_at", "verifications", ["result", "due_at"])


def _undos() -> None:
    op.create_table(
        "undos",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("lease", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("approver", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_undos_run_id"),
        sa.ForeignKeyConstraint(["lease"], ["leases.name"], name="fk_undos_lease"),
        sa.PrimaryKeyConstraint("id", name="pk_undos"),
    )
    op.create_index("ix_undos_run_id", "undos", ["run_id"])
    op.create_index("ix_undos_lease", "undos", ["lease"])
    op.create_table(
        "undo_rows",
        sa.Column("undo_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("written", sa.Text(), nullable=False),
        sa.Column("standing", sa.Text(), nullable=False),
        sa.Column("touched_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["undo_id"], ["undos.id"], name="fk_undo_rows_undo_id"),
        sa.PrimaryKeyConstraint("undo_id", "key", name="pk_undo_rows"),
    )
    op.create_index("ix_undo_rows_touched_at", "undo_rows", ["touched_at"])


def _breakers() -> None:
    op.create_table(
        "breakers",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("failed_in_a_row", sa.Integer(), nullable=False),
        sa.Column("recent", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("failed_probes", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("target", name="pk_breakers"),
    )
    op.create_table(
        "pardons",
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("rule", "key", name="pk_pardons"),
    )


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("prev_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit"),
    )


def _guard() -> None:
    if op.get_bind().dialect.name == "postgresql":
        grant_all(op.get_bind(), append_only=APPEND_ONLY, swept=SWEPT)
        return
    quote = op.get_bind().dialect.identifier_preparer.quote
    for table in APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            name = quote(f"{table}_no_{verb.lower()}")
            op.execute(REFUSE.format(name=name, verb=verb, table=quote(table)))
    op.execute(NO_REPLACING)
