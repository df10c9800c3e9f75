"""The account store: a database (a SQLite file, or PostgreSQL by URL), and a key file that seals the secrets in it.

Of a password it keeps the NT hash (sealed; MS-CHAPv2 needs it), an Argon2id hash (PAP), and the password itself (sealed) only where
CHAP-MD5 was asked for by name. Several processes may use it at once: what the command line changes counts at the next log-in.
Whatever is wrong with the database is a ``StoreError``, and nobody gets in.
"""

from __future__ import annotations

import hmac
import os
import sqlite3
import stat
import threading
import time
from contextlib import contextmanager
from dataclasses import fields
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from sqlalchemy import Engine, create_engine, delete, event, func, insert, inspect, make_url, select, update
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError, SQLAlchemyError

from headrace.access import migrations, schema
from headrace.access.accounts import (
    Grants,
    Group,
    Secrets,
    User,
    check_certificate_name,
    check_grants,
    check_group_name,
    check_name,
    check_password,
    name_key,
    parse_auth,
)
from headrace.access.quota import Usage
from headrace.access.seal import Seal, StoreError, create_key, read_key
from headrace.model import Encryption
from headrace.ppp.config import AuthMethod
from headrace.ppp.mschap_crypto import nt_password_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Connection, Row

__all__ = ["AccountStore", "StoreError", "hash_password", "verify_password"]

# RFC 9106 and today's custom for a log-in that must not take long: 19 MiB, two passes, one lane.
_ARGON2_MEMORY: Final = 19456
_ARGON2_PASSES: Final = 2
_ARGON2_LANES: Final = 1
_BUSY_TIMEOUT: Final = 5.0
"""Seconds that a writer waits for another."""
_GRANTS: Final = tuple(f.name for f in fields(Grants))
_UNIQUE: Final = {"address": "another address", "prefix6": "another prefix"}
"""What no two accounts have, and what to choose instead."""
_USER_COLUMNS: Final = frozenset({"comment", "disabled", "expires", "password_expires", "any_address", *_UNIQUE, *_GRANTS})
_GROUP_COLUMNS: Final = frozenset({"comment", "disabled", *_GRANTS})


def hash_password(password: str) -> str:
    """Hash a password with Argon2id, as a PHC string."""
    kdf = Argon2id(salt=os.urandom(16), length=32, iterations=_ARGON2_PASSES, lanes=_ARGON2_LANES, memory_cost=_ARGON2_MEMORY)
    return kdf.derive_phc_encoded(password.encode())


def verify_password(password: bytes, hashed: str) -> bool:
    """Say whether a password is the one that was hashed. Takes milliseconds on purpose."""
    try:
        Argon2id.verify_phc_encoded(password, hashed)
    except (InvalidKey, ValueError):
        return False
    return True


class AccountStore:
    """Opens the database, and makes it with its key file if there is none and ``create`` is set."""

    def __init__(
        self, database: Path | str, key_file: Path, *, create: bool = True, clock: Callable[[], float] = time.time
    ) -> None:
        self.database = database
        """A file, or a URL of PostgreSQL."""
        self.key_file = key_file
        self._clock = clock
        self._static: tuple[int, frozenset[int]] = (-1, frozenset())
        self._lock = threading.Lock()
        if isinstance(database, Path):
            _prepare_file(database, create=create)
            self._engine = create_engine(
                f"sqlite:///{database.absolute()}", connect_args={"timeout": _BUSY_TIMEOUT}, hide_parameters=True
            )
            event.listen(self._engine, "connect", _on_connect)
        else:
            self._engine = _server(database)
        try:
            with self._guard():
                self._seal = self._open(create=create)
        except BaseException:
            self._engine.dispose()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    # --- opening --------------------------------------------------------------------------------------------------------

    def _open(self, *, create: bool) -> Seal:
        with self._engine.begin() as db:
            if db.dialect.name == "sqlite":
                db.exec_driver_sql("BEGIN")  # its driver begins none for a change of the schema
            if not inspect(db).has_table("meta"):
                if inspect(db).get_table_names():
                    raise StoreError(
                        f"{self.database} is the database of something else", "name another one in accounts.database"
                    )
                if not create and not isinstance(self.database, Path):
                    raise StoreError(f"{self.database} holds no accounts yet", "add one first: `headrace account add NAME`")
                return self._make(db)
            self._check_version(db)
            seal = self._unlock(db)
            self._bring_up_to_date(db)
            return seal

    def _make(self, db: Connection) -> Seal:
        migrations.upgrade(db)
        seal = create_key(self.key_file)
        db.execute(
            insert(schema.meta),
            [
                {"key": "version", "number": schema.SCHEMA_VERSION, "data": None},
                {"key": "generation", "number": 0, "data": None},
                {"key": "key-check", "number": None, "data": seal.close(b"headrace", "key-check")},
            ],
        )
        return seal

    def _check_version(self, db: Connection) -> None:
        version = db.scalar(select(schema.meta.c.number).where(schema.meta.c.key == "version"))
        if version is None or version < 1:
            raise StoreError(f"{self.database} has no version", "restore it from a backup")
        if version > schema.SCHEMA_VERSION:
            raise StoreError(
                f"{self.database} was written by a later headrace (schema {version}, this one knows {schema.SCHEMA_VERSION})",
                "install that version again, or restore an older backup",
            )

    def _bring_up_to_date(self, db: Connection) -> None:
        version = int(db.scalar(select(schema.meta.c.number).where(schema.meta.c.key == "version")) or 0)
        if version < schema.SCHEMA_VERSION:
            migrations.upgrade(db, since=version)
            db.execute(update(schema.meta).where(schema.meta.c.key == "version").values(number=schema.SCHEMA_VERSION))

    def _unlock(self, db: Connection) -> Seal:
        check = db.scalar(select(schema.meta.c.data).where(schema.meta.c.key == "key-check"))
        seal = read_key(self.key_file)
        try:
            good = hmac.compare_digest(seal.open(check or b"", "key-check"), b"headrace")
        except StoreError:
            good = False
        if not good:
            raise StoreError(
                f"{self.key_file} is not the key of {self.database}", "restore database and key file from the same backup"
            )
        return seal

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Turn what a database can do wrong into a reason and a remedy."""
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:  # the driver's own come from statements at connecting
            raise _store_error(error, self.database) from None
        except ValueError as error:
            raise StoreError(f"{self.database} holds what cannot be: {error}", "restore it from a backup") from None

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with self._guard(), self._engine.connect() as db:
            yield db

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self._guard(), self._engine.begin() as db:
            yield db
            db.execute(update(schema.meta).where(schema.meta.c.key == "generation").values(number=schema.meta.c.number + 1))

    # --- reading --------------------------------------------------------------------------------------------------------

    def users(self) -> list[User]:
        """All accounts by name."""
        with self._read() as db:
            known = {row.id: _group(row) for row in db.execute(select(schema.groups))}
            rows = db.execute(select(schema.users).order_by(schema.users.c.name_key))
            names: dict[int, list[str]] = {}
            for item in db.execute(select(schema.certificate_names).order_by(schema.certificate_names.c.name_key)):
                names.setdefault(item.user_id, []).append(item.name)
            return [_user(row, known.get(row.group_id), names.get(row.id, ())) for row in rows]

    def groups(self) -> list[Group]:
        """All groups by name."""
        with self._read() as db:
            return [_group(row) for row in db.execute(select(schema.groups).order_by(schema.groups.c.name))]

    def user(self, name: str) -> User:
        """One account. Raises ``StoreError`` if there is none."""
        found = self.find(name)
        if found is None:
            raise StoreError(f"there is no account {name!r}", "`headrace account list` shows them")
        return found[0]

    def group(self, name: str) -> Group:
        """One group. Raises ``StoreError`` if there is none."""
        with self._read() as db:
            return _group(_need_group(db, name))

    def find(self, name: str) -> tuple[User, Secrets] | None:
        """An account and what is kept of its password, if there is one of that name. Raises ``StoreError`` if its secrets do not open."""
        with self._read() as db:
            row = db.execute(select(schema.users).where(schema.users.c.name_key == name_key(name))).one_or_none()
            if row is None:
                return None
            group = None
            if row.group_id is not None:
                group = _group(db.execute(select(schema.groups).where(schema.groups.c.id == row.group_id)).one())
            key = row.name_key
            return _user(row, group, _certificate_names(db, row.id)), Secrets(
                self._seal.open(row.nt_hash, f"nt_hash of {key}") if row.nt_hash is not None else None,
                row.password_hash,
                self._seal.open(row.recoverable, f"recoverable of {key}") if row.recoverable is not None else None,
            )

    def find_certificate(self, name: str) -> User | None:
        """The account to which a name in certificates was given, if there is one."""
        with self._read() as db:
            names, users = schema.certificate_names, schema.users
            joined = select(users.c.name).join(names, names.c.user_id == users.c.id)
            owner = db.scalar(joined.where(names.c.name_key == name_key(name)))
        found = self.find(owner) if owner is not None else None
        return found[0] if found is not None else None

    def usage(self, name: str, period: str) -> Usage:
        """What an account has used in a period (``quota.period_of``)."""
        with self._read() as db:
            columns = select(schema.usage).join(schema.users).where(schema.users.c.name_key == name_key(name))
            row = db.execute(columns.where(schema.usage.c.period == period)).one_or_none()
        return Usage(row.octets, row.seconds) if row is not None else Usage()

    def add_usage(self, name: str, period: str, used: Usage) -> None:
        """Add to what an account has used in a period; what is known of its other periods is forgotten. Harmless for one that is gone."""
        table = schema.usage
        with self._guard(), self._engine.begin() as db:
            user = db.scalar(select(schema.users.c.id).where(schema.users.c.name_key == name_key(name)))
            if user is None:
                return
            db.execute(delete(table).where(table.c.user_id == user, table.c.period != period))
            grown = {"octets": table.c.octets + used.octets, "seconds": table.c.seconds + used.seconds}
            done = db.execute(update(table).where(table.c.user_id == user, table.c.period == period).values(grown))
            if not done.rowcount:
                db.execute(insert(table).values(user_id=user, period=period, octets=used.octets, seconds=used.seconds))

    def static_addresses(self) -> frozenset[int]:
        """The addresses that accounts have for themselves, as numbers. Costs one row to read unless something has changed.

        A store that cannot be read now gives what it gave last: nobody got this far without it.
        """
        try:
            return self._static_addresses()
        except StoreError:
            with self._lock:
                return self._static[1]

    def _static_addresses(self) -> frozenset[int]:
        with self._read() as db:
            generation = int(db.scalar(select(schema.meta.c.number).where(schema.meta.c.key == "generation")) or 0)
            with self._lock:
                known, addresses = self._static
            if known != generation:
                rows = db.scalars(select(schema.users.c.address).where(schema.users.c.address.is_not(None)))
                addresses = frozenset(int(IPv4Address(text)) for text in rows)
                with self._lock:
                    self._static = (generation, addresses)
        return addresses

    # --- changing -------------------------------------------------------------------------------------------------------

    def add_user(
        self, name: str, password: str, *, recoverable: bool = False, group: str | None = None, **settings: Any
    ) -> User:
        """Add an account. ``settings`` are as for ``set_user``. Raises ``StoreError``."""
        check_name(name)
        secrets = self._secrets(name, password, recoverable=recoverable)
        values = _values(settings, _USER_COLUMNS)
        now = self._clock()
        with self._write() as db:
            if db.scalar(select(schema.users.c.id).where(schema.users.c.name_key == name_key(name))) is not None:
                raise StoreError(f"there is an account {name!r} already", "change it with `headrace account set` or `passwd`")
            values["group_id"] = _need_group(db, group).id if group else None
            _need_unique(db, values, name)
            row = {"name": name, "name_key": name_key(name), "created": now, "changed": now, **values, **secrets}
            db.execute(insert(schema.users).values(row))
        return self.user(name)

    def set_user(self, name: str, *, group: str | None = None, **settings: Any) -> User:
        """Change settings of an account.

        Known are ``comment``, ``disabled``, ``expires``, ``password_expires``, ``address``, ``prefix6``, ``any_address``,
        and all of ``Grants``; ``None`` takes one away. ``group=""`` takes it out of its group. Raises ``StoreError``.
        """
        values = _values(settings, _USER_COLUMNS)
        with self._write() as db:
            row = _need_user(db, name)
            if group is not None:
                values["group_id"] = _need_group(db, group).id if group else None
            _need_unique(db, values, row.name)
            db.execute(update(schema.users).where(schema.users.c.id == row.id).values(changed=self._clock(), **values))
        return self.user(name)

    def set_certificate_names(self, name: str, names: Iterable[str]) -> User:
        """Say which names in certificates are this account's, in place of what was said before. Raises ``StoreError``."""
        wanted = {name_key(text): check_certificate_name(text) for text in names}
        table = schema.certificate_names
        with self._write() as db:
            row = _need_user(db, name)
            db.execute(delete(table).where(table.c.user_id == row.id))
            for key, shown in wanted.items():
                if db.scalar(select(table.c.user_id).where(table.c.name_key == key)) is not None:
                    raise StoreError(f"{shown} belongs to another account", "take it away there first")
                db.execute(insert(table).values(name_key=key, name=shown, user_id=row.id))
            db.execute(update(schema.users).where(schema.users.c.id == row.id).values(changed=self._clock()))
        return self.user(name)

    def set_password(self, name: str, password: str, *, recoverable: bool = False) -> None:
        """Give an account a new password; its end date, if it had one, is taken away. Raises ``StoreError``."""
        secrets = self._secrets(name, password, recoverable=recoverable)
        with self._write() as db:
            row = _need_user(db, name)
            values = {"password_expires": None, "changed": self._clock(), **secrets}
            db.execute(update(schema.users).where(schema.users.c.id == row.id).values(values))

    def remove_user(self, name: str) -> None:
        """Remove an account. Raises ``StoreError``."""
        with self._write() as db:
            row = _need_user(db, name)
            db.execute(delete(schema.users).where(schema.users.c.id == row.id))

    def add_group(self, name: str, **settings: Any) -> Group:
        """Add a group. Raises ``StoreError``."""
        check_group_name(name)
        values = _values(settings, _GROUP_COLUMNS)
        with self._write() as db:
            if db.scalar(select(schema.groups.c.id).where(schema.groups.c.name == name)) is not None:
                raise StoreError(f"there is a group {name!r} already", "change it with `headrace account group set`")
            db.execute(insert(schema.groups).values(name=name, **values))
        return self.group(name)

    def set_group(self, name: str, **settings: Any) -> Group:
        """Change settings of a group; see ``set_user``. Raises ``StoreError``."""
        values = _values(settings, _GROUP_COLUMNS)
        with self._write() as db:
            row = _need_group(db, name)
            if values:
                db.execute(update(schema.groups).where(schema.groups.c.id == row.id).values(**values))
        return self.group(name)

    def remove_group(self, name: str) -> None:
        """Remove a group that nobody is in. Raises ``StoreError``."""
        with self._write() as db:
            row = _need_group(db, name)
            members = db.scalar(select(func.count()).select_from(schema.users).where(schema.users.c.group_id == row.id)) or 0
            if members:
                plural = "" if members == 1 else "s"
                raise StoreError(
                    f"group {name!r} has {members} member{plural}",
                    "take them out first: `headrace account set NAME --group ''`",
                )
            db.execute(delete(schema.groups).where(schema.groups.c.id == row.id))

    def _secrets(self, name: str, password: str, *, recoverable: bool) -> dict[str, Any]:
        """What is kept of a password, sealed for this account."""
        check_password(password)
        key = name_key(name)
        return {
            "nt_hash": self._seal.close(nt_password_hash(password), f"nt_hash of {key}"),
            "password_hash": hash_password(password),
            "recoverable": self._seal.close(password.encode(), f"recoverable of {key}") if recoverable else None,
        }


# --- rows and values ------------------------------------------------------------------------------------------------------------


def _values(settings: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """Check settings, and bring them into the form of their columns. Raises ``StoreError``."""
    unknown = settings.keys() - known
    if unknown:
        raise StoreError(f"there is no setting {min(unknown)!r}", f"known: {', '.join(sorted(known))}")
    check_grants(Grants(**{name: settings[name] for name in _GRANTS if settings.get(name) is not None}))
    values = dict(settings)
    if values.get("encryption") is not None:
        values["encryption"] = Encryption(values["encryption"]).value
    for name in ("address", "prefix6"):
        if values.get(name) is not None:
            values[name] = str(values[name])
    if values.get("auth") is not None:
        values["auth"] = " ".join(parse_auth(values["auth"]))
    comment = values.get("comment")
    if comment is not None and (len(comment) > 255 or not (comment == "" or comment.isprintable())):
        raise StoreError("the comment has control characters or more than 255 characters", "shorten it")
    return values


def _need_user(db: Connection, name: str) -> Row[Any]:
    row = db.execute(select(schema.users).where(schema.users.c.name_key == name_key(name))).one_or_none()
    if row is None:
        raise StoreError(f"there is no account {name!r}", "`headrace account list` shows them")
    return row


def _need_group(db: Connection, name: str) -> Row[Any]:
    row = db.execute(select(schema.groups).where(schema.groups.c.name == name)).one_or_none()
    if row is None:
        raise StoreError(f"there is no group {name!r}", f"add it: `headrace account group add {name}`")
    return row


def _need_unique(db: Connection, values: dict[str, Any], name: str) -> None:
    for column, instead in _UNIQUE.items():
        value = values.get(column)
        if value is None:
            continue
        row = db.execute(select(schema.users).where(schema.users.c[column] == value)).one_or_none()
        if row is not None and row.name != name:
            raise StoreError(f"{value} belongs to account {row.name!r}", f"choose {instead}")


def _grants(row: Row[Any]) -> Grants:
    values = {name: getattr(row, name) for name in _GRANTS}
    if row.encryption is not None:
        values["encryption"] = Encryption(row.encryption)
    if row.auth is not None:
        values["auth"] = tuple(row.auth.split())
    return Grants(**values)


def _certificate_names(db: Connection, user: int) -> tuple[str, ...]:
    table = schema.certificate_names
    return tuple(db.scalars(select(table.c.name).where(table.c.user_id == user).order_by(table.c.name_key)))


def _group(row: Row[Any]) -> Group:
    return Group(row.name, row.comment, row.disabled, _grants(row))


def _user(row: Row[Any], group: Group | None, certificate_names: Sequence[str] = ()) -> User:
    held = (
        (AuthMethod.MSCHAP_V2, row.nt_hash),
        (AuthMethod.PAP, row.password_hash or row.nt_hash),
        (AuthMethod.CHAP_MD5, row.recoverable),
    )
    return User(
        name=row.name,
        group=group,
        comment=row.comment,
        disabled=row.disabled,
        expires=row.expires,
        password_expires=row.password_expires,
        address=IPv4Address(row.address) if row.address is not None else None,
        any_address=row.any_address,
        prefix6=IPv6Network(row.prefix6) if row.prefix6 is not None else None,
        grants=_grants(row),
        certificate_names=tuple(certificate_names),
        methods=tuple(method.value for method, secret in held if secret),
        created=row.created,
        changed=row.changed,
    )


# --- files and drivers ----------------------------------------------------------------------------------------------------------


def _server(url: str) -> Engine:
    """Connections to a database server. Raises ``StoreError``."""
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() != "postgresql":
            raise StoreError(
                f"{parsed.get_backend_name()} cannot hold the accounts", "name a file, or postgresql://USER@HOST/DATABASE"
            )
        return create_engine(parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True, hide_parameters=True)
    except ArgumentError:
        raise StoreError("accounts.database is not a URL", "write postgresql://USER@HOST/DATABASE") from None
    except ImportError:
        raise StoreError("PostgreSQL needs its driver", "install it: pip install 'headrace[postgres]'") from None


def _prepare_file(database: Path, *, create: bool) -> None:
    """Make the file, for nobody else to read, if there is none. Raises ``StoreError``."""
    try:
        if create:
            database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        status = database.stat()
    except FileNotFoundError:
        raise StoreError(
            f"there is no accounts database {database}", "add an account first: `headrace account add NAME`"
        ) from None
    except OSError as error:
        raise StoreError(
            f"cannot open {database}: {error.strerror}", "run it as the gateway's user, or set accounts.database"
        ) from None
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(f"{database} is not a file", "name a file in accounts.database")
    if status.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise StoreError(f"{database} can be read or changed by others", f"run chmod 600 {database}")


def _on_connect(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        f"busy_timeout = {int(_BUSY_TIMEOUT * 1000)}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _store_error(error: SQLAlchemyError | sqlite3.Error, database: Path | str) -> StoreError:
    if isinstance(error, DatabaseError) and error.orig is not None:
        text = str(error.orig)
    else:
        text = str(error) if isinstance(error, sqlite3.Error) else type(error).__name__
    low = text.lower()
    if isinstance(error, IntegrityError):
        return StoreError("another change came between", "try again")
    if "not a database" in low or "malformed" in low or "no such table" in low or "no such column" in low:
        return StoreError(f"{database} is damaged ({text})", "restore it from a backup")
    if "connection failed" in low or "connection refused" in low or "server closed" in low:
        return StoreError(
            f"{database} is not to be had ({text.splitlines()[0]})", "see that the database server runs and lets us in"
        )
    if "locked" in low or "busy" in low:
        return StoreError(f"{database} is locked by another process", "try again; `fuser` names the process")
    if "full" in low:
        return StoreError(f"{database}: the disk is full", "make room")
    if "readonly" in low or "read-only" in low or "unable to open" in low:
        return StoreError(
            f"{database} cannot be written to ({text})", "run it as the gateway's user; see that the directory is writable"
        )
    return StoreError(f"{database}: {text}", "see that the file is in order")
