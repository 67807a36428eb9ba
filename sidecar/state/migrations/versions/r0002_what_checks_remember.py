"""What checks remember from look to look, and the credits that they spent.

Revision: 0002
"""

import sqlalchemy as sa
from alembic import op

from sidecar.state.migrations.grants import grant_all

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Build the tables, and on PostgreSQL say who may use them."""
    op.create_table(
        "keepsakes",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_keepsakes"),
    )
    op.create_table(
        "spending",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("purse", sa.Text(), nullable=False),
        sa.Column("credits", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_spending"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_spending_purse_at", "spending", ["purse", "at"])
    if op.get_bind().dialect.name == "postgresql":
        grant_all(op.get_bind(), append_only=(), swept=())
