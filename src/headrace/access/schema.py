"""The tables of the account store.

Through SQLAlchemy, so that a larger server than SQLite can hold them later; ``meta`` has the version of the schema and a number that grows
with every change. Secrets are sealed (see ``seal``) or hashed; nothing here can be used to log in as it stands.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Boolean, Column, Float, ForeignKey, Integer, LargeBinary, MetaData, String, Table

SCHEMA_VERSION: Final = 2

metadata: Final = MetaData()

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
    # What a group says counts for its members unless they say otherwise; NULL says nothing.
    Column("dialin", Boolean),
    Column("encryption", String(16)),
    Column("pool", String(32)),
    Column("sessions", Integer),
    Column("hours", String(1024)),
    Column("auth", String(255)),  # methods, separated by blanks, most wanted first
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
    Column("dialin", Boolean),
    Column("encryption", String(16)),
    Column("pool", String(32)),
    Column("sessions", Integer),
    Column("hours", String(1024)),
    Column("auth", String(255)),
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

UPGRADES: Final = {
    1: (
        "ALTER TABLE groups ADD COLUMN auth VARCHAR(255)",
        "ALTER TABLE users ADD COLUMN auth VARCHAR(255)",
        """CREATE TABLE certificate_names (name_key VARCHAR(255) NOT NULL PRIMARY KEY, name VARCHAR(255) NOT NULL,
        user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE)""",
    ),
}
"""What brings a database of a version to the next one."""
