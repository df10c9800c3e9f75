"""The tables of the account store.

Through SQLAlchemy, so that SQLite or a larger server can hold them; ``migrations`` has the steps from each version to the next. ``meta``
has the version of the schema and a number that grows with every change. Secrets are sealed (see ``seal``) or hashed; nothing here can be used to log in as it stands.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Integer, LargeBinary, MetaData, String, Table

SCHEMA_VERSION: Final = 3

metadata: Final = MetaData()


def _grants() -> list[Column[Any]]:
    """What may be said of a user or of a group; NULL says nothing. A group's word counts for its members unless they say otherwise."""
    return [
        Column("dialin", Boolean),
        Column("encryption", String(16)),
        Column("pool", String(32)),
        Column("sessions", Integer),
        Column("hours", String(1024)),
        Column("replace", Boolean),  # at the limit of sessions
        Column("auth", String(255)),  # methods, separated by blanks, most wanted first
        Column("gateways", String(1024)),
        Column("session_time", Integer),
        Column("idle_time", Integer),
        Column("quota_octets", BigInteger),
        Column("quota_time", Integer),
        Column("quota_period", String(8)),
        Column("rate_up", BigInteger),  # bits a second
        Column("rate_down", BigInteger),
        Column("filters", String(2048)),
    ]


meta: Final = Table(
    "meta",
    metadata,
    Column("key", String(32), primary_key=True),
    Column("number", Integer),
    Column("data", LargeBinary),
)

groups: Final = Table(
    "groups",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("comment", String(255), nullable=False, default=""),
    Column("disabled", Boolean, nullable=False, default=False),
    *_grants(),
)

users: Final = Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("name_key", String(64), nullable=False, unique=True),  # casefolded: names differ in more than capitals
    Column("group_id", Integer, ForeignKey("groups.id")),
    Column("comment", String(255), nullable=False, default=""),
    Column("disabled", Boolean, nullable=False, default=False),
    Column("expires", Float),  # seconds since 1970, like all times here
    Column("password_expires", Float),
    Column("address", String(15), unique=True),
    Column("any_address", Boolean, nullable=False, default=False),
    Column("prefix6", String(49), unique=True),
    *_grants(),
    Column("nt_hash", LargeBinary),  # sealed; MS-CHAPv2
    Column("password_hash", String(255)),  # Argon2id; PAP
    Column("recoverable", LargeBinary),  # sealed password; CHAP-MD5, only on request
    Column("created", Float, nullable=False),
    Column("changed", Float, nullable=False),
)

certificate_names: Final = Table(
    "certificate_names",
    metadata,
    Column("name_key", String(255), primary_key=True),  # casefolded: a certificate's name belongs to one account
    Column("name", String(255), nullable=False),
    Column("user_id", Integer, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
)

usage: Final = Table(
    "usage",
    metadata,
    Column("user_id", Integer, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("period", String(16), primary_key=True),
    Column("octets", BigInteger, nullable=False),  # inner, both ways together
    Column("seconds", Float, nullable=False),
)
