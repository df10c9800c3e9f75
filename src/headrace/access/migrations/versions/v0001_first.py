"""The first schema: accounts, groups, and what headrace knows of itself."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    grants = ("dialin", sa.Boolean), ("encryption", sa.String(16)), ("pool", sa.String(32)), ("sessions", sa.Integer)
    op.create_table(
        "meta",
        sa.Column("key", sa.String(32), primary_key=True),
        sa.Column("number", sa.Integer),
        sa.Column("data", sa.LargeBinary),
    )
    op.create_table(
        "groups",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(64), nullable=False, unique=True),
        sa.Column("comment", sa.String(255), nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        *(sa.Column(name, kind) for name, kind in grants),
        sa.Column("hours", sa.String(1024)),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("name_key", sa.String(64), nullable=False, unique=True),
        sa.Column("group_id", sa.Integer, sa.ForeignKey("groups.id")),
        sa.Column("comment", sa.String(255), nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("expires", sa.Float),
        sa.Column("password_expires", sa.Float),
        sa.Column("address", sa.String(15), unique=True),
        sa.Column("any_address", sa.Boolean, nullable=False),
        *(sa.Column(name, kind) for name, kind in grants),
        sa.Column("hours", sa.String(1024)),
        sa.Column("nt_hash", sa.LargeBinary),
        sa.Column("password_hash", sa.String(255)),
        sa.Column("recoverable", sa.LargeBinary),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("changed", sa.Float, nullable=False),
    )
