"""The account store: what is kept, what is refused, and that a broken database lets nobody in."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from headrace.access import schema, store
from headrace.access.accounts import Grants, effective
from headrace.access.seal import Seal, StoreError
from headrace.access.store import AccountStore, hash_password, verify_password
from headrace.model import Encryption
from headrace.ppp.mschap_crypto import nt_password_hash

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_ARGON2_MEMORY", 64)


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[AccountStore]:
    with AccountStore(tmp_path / "a.db", tmp_path / "a.key", clock=lambda: 1000.0) as opened:
        yield opened


def test_user_comes_back_as_it_was_added(accounts: AccountStore) -> None:
    accounts.add_group("staff", sessions=3, dialin=True)
    added = accounts.add_user(
        "Alice",
        "secret",
        group="staff",
        comment="from the lab",
        expires=5000.0,
        address=IPv4Address("10.0.0.7"),
        any_address=True,
        dialin=False,
        encryption=Encryption.REQUIRED,
        pool="guests",
        sessions=1,
        hours="mon 08:00-09:00",
    )
    assert added == accounts.user("ALICE") == accounts.users()[0]
    assert added.name == "Alice"
    assert added.group is not None
    assert added.group.grants == Grants(dialin=True, sessions=3)
    assert added.grants == Grants(False, Encryption.REQUIRED, "guests", 1, "mon 08:00-09:00")
    assert (added.address, added.any_address, added.expires) == (IPv4Address("10.0.0.7"), True, 5000.0)
    assert (added.created, added.changed) == (1000.0, 1000.0)
    assert added.methods == ("mschap-v2", "pap")


def test_secrets_of_a_password(accounts: AccountStore) -> None:
    accounts.add_user("alice", "sécret")
    found = accounts.find("alice")
    assert found is not None
    secrets = found[1]
    assert secrets.nt_hash == nt_password_hash("sécret")
    assert secrets.password_hash is not None
    assert verify_password("sécret".encode(), secrets.password_hash)
    assert secrets.recoverable is None
    assert "nt_hash" not in repr(secrets)


def test_password_is_recoverable_only_on_request(accounts: AccountStore) -> None:
    accounts.add_user("alice", "secret", recoverable=True)
    found = accounts.find("alice")
    assert found is not None
    assert found[1].recoverable == b"secret"
    assert found[0].methods == ("mschap-v2", "pap", "chap-md5")
    accounts.set_password("alice", "other")
    found = accounts.find("alice")
    assert found is not None
    assert found[1].recoverable is None


def test_neither_password_nor_hash_is_in_the_files(accounts: AccountStore, tmp_path: Path) -> None:
    accounts.add_user("alice", "a-secret-password", recoverable=True)
    accounts.close()
    for path in tmp_path.iterdir():
        data = path.read_bytes()
        assert b"a-secret-password" not in data
        assert nt_password_hash("a-secret-password") not in data
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_change_takes_effect_and_none_takes_away(accounts: AccountStore) -> None:
    accounts.add_user("alice", "secret", sessions=2, address=IPv4Address("10.0.0.7"))
    accounts.set_user("alice", sessions=None, address=None, disabled=True)
    user = accounts.user("alice")
    assert (user.grants.sessions, user.address, user.disabled) == (None, None, True)


def test_new_password_takes_its_end_date_away(accounts: AccountStore) -> None:
    accounts.add_user("alice", "secret", password_expires=1.0)
    accounts.set_password("alice", "other")
    assert accounts.user("alice").password_expires is None


def test_another_process_sees_changes_at_once(accounts: AccountStore) -> None:
    with AccountStore(accounts.database, accounts.key_file, create=False) as other:
        other.add_user("alice", "secret", address=IPv4Address("10.0.0.7"))
        assert accounts.user("alice").name == "alice"
        assert accounts.static_addresses() == {int(IPv4Address("10.0.0.7"))}
        other.remove_user("alice")
        assert accounts.static_addresses() == frozenset()
        assert accounts.find("alice") is None


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s: s.add_user("ALICE", "x"), "there is an account 'ALICE' already"),
        (lambda s: s.add_user("", "x"), "cannot be the name"),
        (lambda s: s.add_user(" x", "x"), "cannot be the name"),
        (lambda s: s.add_user("a\nb", "x"), "cannot be the name"),
        (lambda s: s.add_user("x" * 65, "x"), "cannot be the name"),
        (lambda s: s.add_user("ß" * 40, "x"), "cannot be the name"),
        (lambda s: s.add_user("bob", ""), "password is empty"),
        (lambda s: s.add_user("bob", "a\x00b"), "control characters"),
        (lambda s: s.add_user("bob", "x" * 257), "too long"),
        (lambda s: s.add_user("bob", "x", group="none"), "there is no group 'none'"),
        (lambda s: s.add_user("bob", "x", address=IPv4Address("10.0.0.7")), "10.0.0.7 belongs to account 'alice'"),
        (lambda s: s.add_user("bob", "x", sessions=-1), "out of range"),
        (lambda s: s.add_user("bob", "x", hours="never"), "not a span"),
        (lambda s: s.add_user("bob", "x", pool="A B"), "name of a pool"),
        (lambda s: s.add_user("bob", "x", colour="red"), "there is no setting 'colour'"),
        (lambda s: s.add_user("bob", "x", comment="a\nb"), "comment"),
        (lambda s: s.set_user("bob", disabled=True), "there is no account 'bob'"),
        (lambda s: s.set_password("bob", "x"), "there is no account 'bob'"),
        (lambda s: s.remove_user("bob"), "there is no account 'bob'"),
        (lambda s: s.user("bob"), "there is no account 'bob'"),
        (lambda s: s.add_group("staff"), "there is a group 'staff' already"),
        (lambda s: s.add_group("a b"), "name of a group"),
        (lambda s: s.remove_group("staff"), "has 1 member"),
        (lambda s: s.remove_group("none"), "there is no group 'none'"),
    ],
)
def test_refusals_have_reason_and_remedy_and_change_nothing(accounts: AccountStore, call: Any, words: str) -> None:
    accounts.add_group("staff")
    accounts.add_user("alice", "secret", group="staff", address=IPv4Address("10.0.0.7"))
    before = accounts.users(), accounts.groups()
    with pytest.raises(StoreError) as caught:
        call(accounts)
    assert words in caught.value.reason
    assert caught.value.remedy
    assert (accounts.users(), accounts.groups()) == before


def test_empty_group_can_be_removed(accounts: AccountStore) -> None:
    accounts.add_group("staff")
    accounts.add_user("alice", "secret", group="staff")
    accounts.set_user("alice", group="")
    accounts.remove_group("staff")
    assert accounts.groups() == []


def test_settings_come_from_gateway_then_group_then_user(accounts: AccountStore) -> None:
    accounts.add_group("staff", dialin=False, sessions=3, encryption=Encryption.OFF)
    accounts.add_user("alice", "x", group="staff", dialin=True)
    accounts.add_user("bob", "x", group="staff")
    accounts.add_user("carol", "x")
    alice, bob, carol = (effective(u, gateway="vpn", encryption=Encryption.REQUIRED) for u in accounts.users())
    assert (alice.dialin, alice.by["dialin"], alice.sessions, alice.encryption) == (True, "account alice", 3, Encryption.OFF)
    assert (bob.dialin, bob.by["dialin"]) == (False, "group staff")
    assert (carol.dialin, carol.by["dialin"], carol.sessions, carol.encryption) == (True, "gateway vpn", 0, Encryption.REQUIRED)


# --- N211: what can be wrong with the files -------------------------------------------------------------------------------------


def reopen(accounts: AccountStore) -> str:
    accounts.close()
    with pytest.raises(StoreError) as caught, AccountStore(accounts.database, accounts.key_file):
        pass
    assert caught.value.remedy
    return caught.value.reason


def run_sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)


def test_n211_damaged(accounts: AccountStore) -> None:
    accounts.add_user("alice", "secret")
    accounts.close()
    Path(accounts.database).write_bytes(b"not a database at all" * 100)
    assert "is damaged" in reopen(accounts)


def test_n211_table_missing(accounts: AccountStore) -> None:
    accounts.close()
    run_sql(Path(accounts.database), "DROP TABLE users")
    with AccountStore(accounts.database, accounts.key_file) as opened, pytest.raises(StoreError, match="is damaged"):
        opened.find("alice")


def test_n211_later_version(accounts: AccountStore) -> None:
    accounts.close()
    run_sql(Path(accounts.database), f"UPDATE meta SET number = {schema.SCHEMA_VERSION + 1} WHERE key = 'version'")
    assert "was written by a later headrace" in reopen(accounts)


def test_n211_locked(accounts: AccountStore, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts.close()
    monkeypatch.setattr(store, "_BUSY_TIMEOUT", 0.01)
    with closing(sqlite3.connect(accounts.database)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with AccountStore(accounts.database, accounts.key_file) as opened, pytest.raises(StoreError, match="is locked"):
            opened.add_user("bob", "x")


def test_n211_disk_full(accounts: AccountStore) -> None:
    def full(_: Any, cursor: Any, *rest: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    from sqlalchemy import event

    event.listen(accounts._engine, "before_cursor_execute", full)
    with pytest.raises(StoreError, match="disk is full"):
        accounts.add_user("bob", "x")


def test_n211_something_else(accounts: AccountStore, tmp_path: Path) -> None:
    run_sql(tmp_path / "b.db", "CREATE TABLE songs (name TEXT)")
    (tmp_path / "b.db").chmod(0o600)
    with pytest.raises(StoreError, match="of something else"):
        AccountStore(tmp_path / "b.db", tmp_path / "b.key")


def test_n211_impossible_value(accounts: AccountStore) -> None:
    accounts.add_user("alice", "secret")
    run_sql(Path(accounts.database), "UPDATE users SET encryption = 'rot13'")
    with pytest.raises(StoreError, match="holds what cannot be"):
        accounts.find("alice")


def test_n211_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot open .* run it as the gateway's user"):
        AccountStore(tmp_path / "file" / "a.db", tmp_path / "a.key")
    (tmp_path / "dir").mkdir()
    with pytest.raises(StoreError, match=r"cannot open|is not a file"):
        AccountStore(tmp_path / "dir", tmp_path / "a.key")
    with pytest.raises(StoreError, match=r"a\.key: Not a directory; run it as"):
        AccountStore(tmp_path / "a.db", tmp_path / "file" / "a.key")


def test_n211_read_only(accounts: AccountStore) -> None:
    accounts.add_user("alice", "secret")
    with accounts._engine.connect() as db:
        db.exec_driver_sql("PRAGMA query_only = ON")
    with pytest.raises(StoreError, match="cannot be written to"):
        accounts.remove_user("alice")
    assert accounts.user("alice").name == "alice"


def test_static_addresses_of_a_store_that_fails_are_the_last_known(accounts: AccountStore) -> None:
    accounts.add_user("alice", "secret", address=IPv4Address("10.0.0.7"))
    before = accounts.static_addresses()
    run_sql(Path(accounts.database), "DROP TABLE meta")
    assert accounts.static_addresses() == before


def test_key_file_lost_changed_or_open_to_others(accounts: AccountStore) -> None:
    key = accounts.key_file.read_text()
    accounts.key_file.write_text("00" * 32)
    assert "is not the key of" in reopen(accounts)
    accounts.key_file.write_text("rubbish")
    assert "does not hold a key" in reopen(accounts)
    accounts.key_file.write_text(key)
    accounts.key_file.chmod(0o644)
    assert "can be read or changed by others" in reopen(accounts)
    accounts.key_file.unlink()
    assert "is missing" in reopen(accounts)


def test_database_open_to_others(accounts: AccountStore) -> None:
    Path(accounts.database).chmod(0o644)
    assert "can be read or changed by others" in reopen(accounts)


def test_missing_database_is_not_made_by_who_only_looks(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no accounts database"):
        AccountStore(tmp_path / "a.db", tmp_path / "a.key", create=False)
    assert list(tmp_path.iterdir()) == []


def test_secret_moved_to_another_account_does_not_open(accounts: AccountStore) -> None:
    accounts.add_user("alice", "secret")
    accounts.add_user("mallory", "mine")
    run_sql(
        Path(accounts.database),
        "UPDATE users SET nt_hash = (SELECT nt_hash FROM users WHERE name = 'mallory') WHERE name = 'alice'",
    )
    with pytest.raises(StoreError, match="nt_hash of alice in the accounts database does not open"):
        accounts.find("alice")


def test_seal_notices_every_changed_octet() -> None:
    seal = Seal(bytes(32))
    sealed = seal.close(b"value", "what")
    assert seal.open(sealed, "what") == b"value"
    assert seal.close(b"value", "what") != sealed
    for i in range(len(sealed)):
        with pytest.raises(StoreError):
            seal.open(sealed[:i] + bytes((sealed[i] ^ 1,)) + sealed[i + 1 :], "what")
    for length in range(len(sealed)):
        with pytest.raises(StoreError):
            seal.open(sealed[:length], "what")


def test_argon2() -> None:
    hashed = hash_password("secret")
    assert hashed.startswith("$argon2id$")
    assert verify_password(b"secret", hashed)
    assert not verify_password(b"secres", hashed)
    assert not verify_password(b"", hashed)
    assert not verify_password(b"secret", "rubbish")


def test_a_store_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with AccountStore(path, tmp_path / "a.key") as made:
        made.add_group("staff", sessions=3)
        made.add_user("alice", "secret", group="staff", address=IPv4Address("10.0.0.7"))
    with closing(sqlite3.connect(path)) as db:  # back to how the first version left it
        db.execute("DROP TABLE alembic_version")
        db.execute("DROP TABLE usage")
        db.execute("DROP TABLE certificate_names")
        db.execute("DROP INDEX users_prefix6")
        for table in ("users", "groups"):
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            first = {"replace", "auth", "gateways", "session_time", "idle_time", "quota_octets", "quota_time", "quota_period"}
            for column in first | {"rate_up", "rate_down", "filters", "prefix6"}:
                if column in columns:
                    db.execute(f'ALTER TABLE {table} DROP COLUMN "{column}"')
        db.execute("UPDATE meta SET number = 1 WHERE key = 'version'")
        db.commit()
    with AccountStore(path, tmp_path / "a.key", create=False) as opened:
        user = opened.user("alice")
        assert user.address == IPv4Address("10.0.0.7")
        assert user.group is not None
        assert user.group.grants == Grants(sessions=3)
        assert opened.set_user("alice", prefix6="2001:db8:0:7::/64").grants.auth is None
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT number FROM meta WHERE key = 'version'").fetchone() == (schema.SCHEMA_VERSION,)
    with AccountStore(path, tmp_path / "a.key", create=False) as again:
        assert str(again.user("alice").prefix6) == "2001:db8:0:7::/64"


def test_migrations_lead_to_the_schema(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    with AccountStore(tmp_path / "a.db", tmp_path / "a.key") as made, made._engine.connect() as db:
        different = compare_metadata(MigrationContext.configure(db), schema.metadata)
    names = [str(item) for item in different if "users_prefix6" not in str(item)]
    assert not [name for name in names if "UniqueConstraint" not in name], names


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"gateways": " "}, "names no gateway"),
        ({"quota_period": "fortnight"}, "not a period"),
        ({"quota_octets": -1}, "out of range"),
        ({"filters": "permit any"}, "not a filter rule"),
        ({"session_time": 1 << 40}, "out of range"),
    ],
)
def test_settings_that_mean_nothing_are_refused(accounts: AccountStore, settings: dict[str, Any], words: str) -> None:
    accounts.add_user("alice", "x")
    with pytest.raises(StoreError, match=words):
        accounts.set_user("alice", **settings)


@pytest.mark.parametrize("url", ["mysql://a@b/c", "postgresql//x", "postgresql://nobody@127.0.0.1:1/none?connect_timeout=1"])
def test_database_that_cannot_be_had_says_so(tmp_path: Path, url: str) -> None:
    with pytest.raises(StoreError):
        AccountStore(url, tmp_path / "a.key")
