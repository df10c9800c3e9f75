"""Authentication methods of users and groups, and the names in certificates that are a user's."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add a column each, and a table."""
    for table in ("users", "groups"):
        op.add_column(table, sa.Column("auth", sa.String(255)))
    op.create_table(
        "certificate_names",
        sa.Column("name_key", sa.String(255), primary_key=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    )
