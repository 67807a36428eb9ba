"""The tables of Sidecar's memory. `migrations/` builds them; a test holds both together."""

import sqlalchemy as sa

from sidecar.state.columns import Bytewise, Exact, Instant

HEAD = "0002"  # the newest schema this program knows; a test holds it to the migrations

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# `holder` is null while nobody holds the lease; `epoch` only ever rises. That it is part of a key lets a batch lock it
# on PostgreSQL without locking renewals out.
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("expires_at", Instant, nullable=False),
    sa.UniqueConstraint("name", "epoch"),
)

# When a rule was last looked at, by whom: replicas take turns.
ticks = sa.Table(
    "ticks",
    metadata,
    sa.Column("rule", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False),
)

checks = sa.Table(
    "checks",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("since_at", Instant),
    sa.Column("pending", sa.Text, nullable=False),
    sa.Column("streak", sa.Integer, nullable=False),
)

# What a check remembers from look to look, as JSON of its own kind. `version` counts changes.
keepsakes = sa.Table(
    "keepsakes",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("at", Instant, nullable=False),
)

# Credits that checks were allowed to spend, at the instant before they did.
spending = sa.Table(
    "spending",
    metadata,
    sa.Column("id", sa.Integer, sa.Identity(always=True), primary_key=True),
    sa.Column("purse", sa.Text, nullable=False),
    sa.Column("credits", sa.Integer, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Index(None, "purse", "at"),
    sqlite_autoincrement=True,
)

# `proven` is null while a look is open, and for ever when its process died. `notes` counts calls of `note`.
# `opened_at` and `closed_at` are our time, `read_at` the server's, which alone compares with rows' instants.
looks = sa.Table(
    "looks",
    metadata,
    sa.Column("id", sa.Integer, sa.Identity(always=True), primary_key=True),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("opened_at", Instant, nullable=False),
    sa.Column("closed_at", Instant),
    sa.Column("proven", sa.Boolean),
    sa.Column("failure", sa.Text),
    sa.Column("candidates", sa.Integer),
    sa.Column("notes", sa.Integer, nullable=False),
    sa.Column("read_at", Instant),
    sa.Index(None, "rule", "proven"),
    sqlite_autoincrement=True,
)

# Keys that the rule's last proven look saw without their row. `look_id` is that look, `first_look_id` the one since
# which each proven look did. `seen` is 0 for a key that is too young to be a candidate.
confirmations = sa.Table(
    "confirmations",
    metadata,
    sa.Column("rule", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("seen", sa.Integer, nullable=False),
    sa.Column("look_id", sa.ForeignKey("looks.id"), nullable=False),
    sa.Column("first_look_id", sa.ForeignKey("looks.id"), nullable=False),
    sa.Index(None, "key"),
    sqlite_with_rowid=False,
)

baselines = sa.Table(
    "baselines",
    metadata,
    sa.Column("rule", sa.Text, primary_key=True),
    sa.Column("ledger_rows", sa.Integer, nullable=False),
    sa.Column("expected_rows", sa.Integer, nullable=False),
    sa.Column("subjects", sa.Integer, nullable=False),
    sa.Column("database", sa.Text, nullable=False),
    sa.Column("taken_at", Instant, nullable=False),
)

# What looks of the rule up to `look_id` noted is no evidence any more: a person accepted another database since.
cutoffs = sa.Table(
    "cutoffs",
    metadata,
    sa.Column("rule", sa.Text, primary_key=True),
    sa.Column("look_id", sa.Integer, nullable=False),
)

# Append-only. The key's order is the order in which `known` streams a million rows without sorting.
snapshots = sa.Table(
    "snapshots",
    metadata,
    sa.Column("target", sa.Text, primary_key=True),
    sa.Column("key", Bytewise, primary_key=True),
    sa.Column("at", Instant, primary_key=True),
    sa.Column("look_id", sa.ForeignKey("looks.id"), primary_key=True),
    sa.Column("note", sa.Integer, primary_key=True),
    sa.Column("amount", Exact, nullable=False),
    sqlite_with_rowid=False,
)

# Append-only.
attestations = sa.Table(
    "attestations",
    metadata,
    sa.Column("id", sa.Integer, sa.Identity(always=True), primary_key=True),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("amount", Exact, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Index(None, "target", "key"),
    sqlite_autoincrement=True,
)

# `generation` marks the rows of the newest `hold` of a rule and source, so that older ones can be swept.
quarantine = sa.Table(
    "quarantine",
    metadata,
    sa.Column("id", sa.Integer, sa.Identity(always=True), primary_key=True),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("since_at", Instant, nullable=False),
    sa.Column("until_at", Instant),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.UniqueConstraint("rule", "source", "key"),
    sqlite_autoincrement=True,
)

plans = sa.Table(
    "plans",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("approver", sa.Text),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Index(None, "rule", "status"),
    sa.Index(None, "created_at"),
)

# `lease` is the target table's name: it fences the run's writes, and the daily cap is counted by it.
runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("plan_id", sa.ForeignKey("plans.id"), nullable=False, unique=True),
    sa.Column("lease", sa.ForeignKey("leases.name"), nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("heartbeat_at", Instant, nullable=False),
    sa.Column("finished_at", Instant),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Index(None, "lease", "status"),
    sa.Index(None, "started_at"),
)

# Append-only intents: what was about to be written, and when. `xid` is PostgreSQL's number of the transaction that
# wrote the rows too, where memory and data share one.
batches = sa.Table(
    "batches",
    metadata,
    sa.Column("run_id", sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("announced_at", Instant, nullable=False),
    sa.Column("row_count", sa.Integer, nullable=False),
    sa.Column("xid", sa.BigInteger),
)

# Who was under way when somebody first asked about a run whose newest batch was `batch`: transactions with numbers
# below `next_xid`, and those with one of the virtual ids in `others`, which spaces part.
horizons = sa.Table(
    "horizons",
    metadata,
    sa.Column("run_id", sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("batch", sa.Integer, nullable=False),
    sa.Column("next_xid", sa.BigInteger, nullable=False),
    sa.Column("others", sa.Text, nullable=False),
    sa.Column("asked_at", Instant, nullable=False),
)

# `written` is the digest of the row that landed, where the path can tell; undo compares with it.
# `touched_at` is the last announcement or settlement; its index serves the daily cap. On PostgreSQL pages have room for
# each row's second version, and the index is of a kind that need not hear of it: a batch costs a third of the time.
run_rows = sa.Table(
    "run_rows",
    metadata,
    sa.Column("run_id", sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("key", Bytewise, primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("result", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("written", sa.Text, nullable=False),
    sa.Column("in_flight", sa.Boolean, nullable=False),
    sa.Column("batch", sa.Integer),
    sa.Column("touched_at", Instant),
    sa.Index(None, "touched_at", postgresql_using="brin"),
    postgresql_with={"fillfactor": 40},
)

# Verifications of runs, made and due; number 0 is the one that ended the run. `broken` is JSON: rows by invariant.
verifications = sa.Table(
    "verifications",
    metadata,
    sa.Column("run_id", sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("due_at", Instant, nullable=False),
    sa.Column("result", sa.Text, nullable=False),
    sa.Column("done_at", Instant),
    sa.Column("row_count", sa.Integer, nullable=False),
    sa.Column("broken", sa.Text, nullable=False),
    sa.Column("drift", Exact, nullable=False),
    sa.Column("corrected", sa.Integer, nullable=False),
    sa.Index(None, "result", "due_at"),
)

# `body` is what the plan is bound to besides its rows, as JSON; `hash` covers both. `lease` is the target table.
undos = sa.Table(
    "undos",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("run_id", sa.ForeignKey("runs.id"), nullable=False),
    sa.Column("lease", sa.ForeignKey("leases.name"), nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("approver", sa.Text),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Index(None, "run_id"),
    sa.Index(None, "lease"),
)

undo_rows = sa.Table(
    "undo_rows",
    metadata,
    sa.Column("undo_id", sa.ForeignKey("undos.id"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("written", sa.Text, nullable=False),
    sa.Column("standing", sa.Text, nullable=False),
    sa.Column("touched_at", Instant),
    sa.Index(None, "touched_at"),
)

# A lifted freeze stays as history.
freezes = sa.Table(
    "freezes",
    metadata,
    sa.Column("id", sa.Integer, sa.Identity(always=True), primary_key=True),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("lifted_at", Instant),
    sa.Column("lifted_by", sa.Text),
    sa.Index(None, "scope", "lifted_at"),
)

# `target` is the target table's name, as of its lease. `recent` is JSON: [rows, failed, carried out] a batch.
breakers = sa.Table(
    "breakers",
    metadata,
    sa.Column("target", sa.Text, primary_key=True),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("failed_in_a_row", sa.Integer, nullable=False),
    sa.Column("recent", sa.Text, nullable=False),
    sa.Column("opened_at", Instant),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("failed_probes", sa.Integer, nullable=False),
)

# Users whom a person released although a rule had restored them again and again; what was restored before counts not.
pardons = sa.Table(
    "pardons",
    metadata,
    sa.Column("rule", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("at", Instant, nullable=False),
)

trust = sa.Table(
    "trust",
    metadata,
    sa.Column("rule", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False),
)

# Append-only and chained: `hash` covers the row and the hash before it.
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("verb", sa.Text, nullable=False),
    sa.Column("object", sa.Text, nullable=False),
    sa.Column("details", sa.Text, nullable=False),
    sa.Column("prev_hash", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)

APPEND_ONLY = (audit, snapshots, attestations, batches)
