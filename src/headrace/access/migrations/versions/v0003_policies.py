"""What a user or a group may use: gateways, times, quotas, rates, filters; IPv6 of users; what was used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add columns, each of which says nothing until it is set."""
    for table in ("users", "groups"):
        for name, kind in (
            ("replace", sa.Boolean()),
            ("gateways", sa.String(1024)),
            ("session_time", sa.Integer()),
            ("idle_time", sa.Integer()),
            ("quota_octets", sa.BigInteger()),
            ("quota_time", sa.Integer()),
            ("quota_period", sa.String(8)),
            ("rate_up", sa.BigInteger()),
            ("rate_down", sa.BigInteger()),
            ("filters", sa.String(2048)),
        ):
            op.add_column(table, sa.Column(name, kind))
    op.add_column("users", sa.Column("prefix6", sa.String(49)))
    op.create_index("users_prefix6", "users", ["prefix6"], unique=True)
    op.create_table(
        "usage",
        sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("period", sa.String(16), primary_key=True),
        sa.Column("octets", sa.BigInteger, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
    )
