"""``headrace account``: the local accounts. Changes count at the next log-in; the gateway need not be told."""

from __future__ import annotations

import json as codec
import secrets
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from headrace.cli.common import (
    DEFAULT_CONFIG,
    JsonOption,
    MaybeConfigOption,
    facts,
    password_from,
    print_json,
    refuse_secret,
    table,
)
from headrace.cli.exits import CommandError
from headrace.cli.limits import KINDS, parse_limits, read_csv, write_csv

if TYPE_CHECKING:
    from headrace.access.accounts import Grants, Group, User
    from headrace.access.store import AccountStore

app = typer.Typer(
    help="Manage the local accounts: passwords, groups, dial-in permission, static addresses, limits.\n\n"
    "Changes count at the next log-in; a session that is up goes on (end it with `headrace disconnect --user NAME`).",
    no_args_is_help=True,
    rich_markup_mode=None,
)
groups = typer.Typer(
    help="Manage groups: what a group says counts for its members unless they say otherwise.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(groups, name="group")

_INHERIT: Final = "inherit"
_LETTERS: Final = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # none that look alike

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the account; capitals do not count.")]
Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Accounts.")]
GroupName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the group.")]
Database = Annotated[Path | None, typer.Option("--database", help="Database file, in place of the configuration's.")]
KeyFile = Annotated[Path | None, typer.Option("--key-file", help="Key file that goes with --database.")]
Comment = Annotated[str | None, typer.Option("--comment", help="Anything, for you.")]
InGroup = Annotated[str | None, typer.Option("--group", "-g", help="Group; '' takes the account out of its group.")]
Expires = Annotated[
    str | None,
    typer.Option("--expires", metavar="DATE", help="Last moment of the account: 2027-12-31, or 2027-12-31T18:00; never."),
]
PasswordExpires = Annotated[
    str | None, typer.Option("--password-expires", metavar="DATE", help="Last moment of the password; never.")
]
Dialin = Annotated[str | None, typer.Option("--dialin", metavar="allow|deny|inherit", help="Permission to use the gateway.")]
Encryption = Annotated[
    str | None,
    typer.Option(
        "--encryption",
        metavar="off|optional|required|required-128|inherit",
        help="MPPE inside the link; ESP encrypts either way.",
    ),
]
Address = Annotated[str | None, typer.Option("--address", help="Static inner address; none.")]
AnyAddress = Annotated[bool | None, typer.Option("--any-address/--given-address", help="May choose its inner address.")]
Pool = Annotated[str | None, typer.Option("--pool", help="Pool from [network.pools]; inherit.")]
Sessions = Annotated[str | None, typer.Option("--sessions", metavar="N", help="Sessions at once; 0 is no limit; inherit.")]
Hours = Annotated[str | None, typer.Option("--hours", help="When: 'mon-fri 08:00-18:00, sat 09:00-12:00'; always; inherit.")]
Auth = Annotated[
    str | None,
    typer.Option(
        "--auth",
        metavar="METHODS",
        help="Allowed authentication, most wanted first: 'eap-tls,peap'; inherit. All that ppp.auth allows.",
    ),
]
CertificateName = Annotated[
    list[str] | None,
    typer.Option(
        "--certificate-name", metavar="NAME", help="A name in certificates that is this account's; may be repeated; '' is none."
    ),
]
Limits = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="KEY=VALUE",
        help="replace=yes (the oldest session at the limit), gateways='vpn-*', session-time=8h, idle-time=30m, quota-octets=50G, "
        "quota-time=40h, quota-period=month, rate-up=20M, rate-down=100M, filters='deny 10.0.0.0/8', prefix6=2001:db8:1:7::/64; "
        "'inherit' takes one away.",
    ),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        help="Read the password from this file (- is standard input); else HEADRACE_PASSWORD, else it is asked for.",
    ),
]
Generate = Annotated[bool, typer.Option("--generate", help="Make a random password, and print it once.")]
Recoverable = Annotated[
    bool,
    typer.Option(
        "--recoverable", help="Also keep the password so that it can be read back: CHAP-MD5 needs it, nothing else does."
    ),
]
NoPassword = Annotated[str | None, typer.Option("--password", hidden=True)]


def _open(config: Path | None, database: Path | None, key_file: Path | None, *, create: bool = False) -> AccountStore:
    from headrace.access.store import AccountStore
    from headrace.shell.config import AccountsSection

    if database is not None:
        return AccountStore(database, key_file or database.with_suffix(".key"), create=create)
    if key_file is not None:
        raise CommandError("--key-file goes with --database", "give both, or neither")
    if config is not None or DEFAULT_CONFIG.exists():
        from headrace.shell.load import load_places

        places = load_places(config or DEFAULT_CONFIG)
        return AccountStore(places.database, places.key_file, create=create)
    section = AccountsSection()
    return AccountStore(section.database, section.key_file, create=create)


def _moment(text: str) -> float | None:
    """A date, or ``never``. A date alone means its end."""
    if text == "never":
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"{text!r} is not a date", "write 2027-12-31, 2027-12-31T18:00, or never") from None
    if len(text) == len("2027-12-31"):
        moment = moment.replace(hour=23, minute=59, second=59)
    return (moment if moment.tzinfo is not None else moment.astimezone()).timestamp()


def _grants(
    dialin: str | None, encryption: str | None, pool: str | None, sessions: str | None, hours: str | None, auth: str | None
) -> dict[str, Any]:
    """The settings that were given; ``inherit`` takes one away."""
    from headrace.model import Encryption as Level

    out: dict[str, Any] = {}
    if dialin is not None:
        answers = {"allow": True, "deny": False, _INHERIT: None}
        if dialin not in answers:
            raise CommandError(f"--dialin {dialin!r}", "write allow, deny or inherit")
        out["dialin"] = answers[dialin]
    if encryption is not None:
        if encryption not in (_INHERIT, *(level.value for level in Level)):
            raise CommandError(f"--encryption {encryption!r}", "write off, optional, required, required-128 or inherit")
        out["encryption"] = None if encryption == _INHERIT else Level(encryption)
    if sessions is not None:
        if sessions != _INHERIT and not (sessions.isascii() and sessions.isdigit() and len(sessions) < 6):
            raise CommandError(f"--sessions {sessions!r}", "write a number, 0 for no limit, or inherit")
        out["sessions"] = None if sessions == _INHERIT else int(sessions)
    if auth is not None:
        out["auth"] = None if auth == _INHERIT else [name.strip() for name in auth.split(",")]
    for name, text in (("pool", pool), ("hours", hours)):
        if text is not None:
            out[name] = None if text == _INHERIT else text
    return out


def _settings(
    comment: str | None,
    expires: str | None,
    password_expires: str | None,
    address: str | None,
    any_address: bool | None,
    grants: dict[str, Any],
) -> dict[str, Any]:
    from headrace.access.accounts import parse_address

    out = dict(grants)
    if comment is not None:
        out["comment"] = comment
    if expires is not None:
        out["expires"] = _moment(expires)
    if password_expires is not None:
        out["password_expires"] = _moment(password_expires)
    if address is not None:
        out["address"] = None if address in {"none", ""} else parse_address(address)
    if any_address is not None:
        out["any_address"] = any_address
    return out


def _password(path: Path | None, name: str, *, generate: bool) -> str:
    if generate:
        if path is not None:
            raise CommandError("--generate and --password-file exclude each other", "give one of them")
        return "".join(secrets.choice(_LETTERS) for _ in range(20))
    return password_from(path, "HEADRACE_PASSWORD", f"Password for {name}", confirm=True)


_SAFE: Final = "--password-file FILE, the variable HEADRACE_PASSWORD, or let it be asked for"


@app.command("add")
def add(
    name: Name,
    password_file: PasswordFile = None,
    generate: Generate = False,
    recoverable: Recoverable = False,
    group: InGroup = None,
    comment: Comment = None,
    expires: Expires = None,
    password_expires: PasswordExpires = None,
    dialin: Dialin = None,
    encryption: Encryption = None,
    address: Address = None,
    any_address: AnyAddress = None,
    pool: Pool = None,
    sessions: Sessions = None,
    hours: Hours = None,
    auth: Auth = None,
    limit: Limits = None,
    certificate_name: CertificateName = None,
    config: MaybeConfigOption = None,
    database: Database = None,
    key_file: KeyFile = None,
    password: NoPassword = None,
) -> int:
    """Add an account. The first one makes the database and its key file."""
    refuse_secret(password, "--password", _SAFE)
    grants = _grants(dialin, encryption, pool, sessions, hours, auth)
    grants |= parse_limits(limit or (), user=True)
    settings = _settings(comment, expires, password_expires, address, any_address, grants)
    with _open(config, database, key_file, create=True) as store:
        secret = _password(password_file, name, generate=generate)
        user = store.add_user(name, secret, recoverable=recoverable, group=group or None, **settings)
        if certificate_name is not None:
            store.set_certificate_names(name, filter(None, certificate_name))
    print(f"added {user.name}")
    if generate:
        print(f"password: {secret}")
    return 0


@app.command("set")
def set_(
    name: Name,
    group: InGroup = None,
    comment: Comment = None,
    expires: Expires = None,
    password_expires: PasswordExpires = None,
    dialin: Dialin = None,
    encryption: Encryption = None,
    address: Address = None,
    any_address: AnyAddress = None,
    pool: Pool = None,
    sessions: Sessions = None,
    hours: Hours = None,
    auth: Auth = None,
    limit: Limits = None,
    certificate_name: CertificateName = None,
    config: MaybeConfigOption = None,
    database: Database = None,
    key_file: KeyFile = None,
) -> int:
    """Change settings of an account. What is not named stays."""
    grants = _grants(dialin, encryption, pool, sessions, hours, auth)
    grants |= parse_limits(limit or (), user=True)
    settings = _settings(comment, expires, password_expires, address, any_address, grants)
    if not settings and group is None and certificate_name is None:
        raise CommandError("say what to change", "`headrace account set --help` lists the settings")
    with _open(config, database, key_file) as store:
        if certificate_name is not None:
            store.set_certificate_names(name, filter(None, certificate_name))
        _print_user(store.set_user(name, group=group, **settings))
    return 0


@app.command("passwd")
def passwd(
    name: Name,
    password_file: PasswordFile = None,
    generate: Generate = False,
    recoverable: Recoverable = False,
    config: MaybeConfigOption = None,
    database: Database = None,
    key_file: KeyFile = None,
    password: NoPassword = None,
) -> int:
    """Give an account a new password."""
    refuse_secret(password, "--password", _SAFE)
    with _open(config, database, key_file) as store:
        user = store.user(name)
        secret = _password(password_file, user.name, generate=generate)
        store.set_password(user.name, secret, recoverable=recoverable)
    print(f"changed the password of {user.name}")
    if generate:
        print(f"password: {secret}")
    return 0


@app.command("list")
def list_(
    group: Annotated[str | None, typer.Option("--group", "-g", help="Only this group's.")] = None,
    json: JsonOption = False,
    config: MaybeConfigOption = None,
    database: Database = None,
    key_file: KeyFile = None,
) -> int:
    """List the accounts."""
    with _open(config, database, key_file) as store:
        users = store.users()
        if group is not None:
            store.group(group)
            users = [user for user in users if user.group is not None and user.group.name == group]
    if json:
        print_json([_plain_user(user) for user in users])
    elif not users:
        print("no accounts yet: headrace account add NAME")
    else:
        table(
            ("NAME", "GROUP", "STATE", "DIAL-IN", "ADDRESS", "METHODS", "COMMENT"),
            [
                (
                    user.name,
                    user.group.name if user.group is not None else "",
                    _state(user),
                    _allowed(user),
                    user.address or "",
                    " ".join(user.methods),
                    user.comment,
                )
                for user in users
            ],
        )
    return 0


@app.command("show")
def show(
    name: Name,
    json: JsonOption = False,
    config: MaybeConfigOption = None,
    database: Database = None,
    key_file: KeyFile = None,
) -> int:
    """Show one account, and what counts for it in the end."""
    with _open(config, database, key_file) as store:
        user = store.user(name)
    if json:
        print_json(_plain_user(user))
    else:
        _print_user(user)
    return 0


@app.command("disable")
def disable(names: Names, config: MaybeConfigOption = None, database: Database = None, key_file: KeyFile = None) -> int:
    """Switch accounts off. The client sees error 647."""
    return _switch(names, config, database, key_file, disabled=True)


@app.command("enable")
def enable(names: Names, config: MaybeConfigOption = None, database: Database = None, key_file: KeyFile = None) -> int:
    """Switch accounts on again."""
    return _switch(names, config, database, key_file, disabled=False)


def _switch(names: list[str], config: Path | None, database: Path | None, key_file: Path | None, *, disabled: bool) -> int:
    with _open(config, database, key_file) as store:
        for name in names:
            user = store.set_user(name, disabled=disabled)
            print(f"{'disabled' if disabled else 'enabled'} {user.name}")
    return 0


@app.command("remove")
def remove(
    names: Names,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: MaybeConfigOption = None,
    database: Database = None,
    key_file: KeyFile = None,
) -> int:
    """Remove accounts."""
    with _open(config, database, key_file) as store:
        for name in names:
            user = store.user(name)
            if not yes and not typer.confirm(f"Remove {user.name}?"):
                continue
            store.remove_user(name)
            print(f"removed {user.name}")
    return 0


@app.command("export")
def export(
    as_csv: Annotated[
        bool, typer.Option("--csv", help="The accounts as CSV, which `import` takes when passwords are filled in.")
    ] = False,
    config: MaybeConfigOption = None,
    database: Database = None,
    key_file: KeyFile = None,
) -> int:
    """Print all groups and accounts as JSON, or the accounts as CSV; without any secret."""
    with _open(config, database, key_file) as store:
        if as_csv:
            print(write_csv(store.users()), end="")
            return 0
        print_json({"groups": [_plain_group(g) for g in store.groups()], "users": [_plain_user(u) for u in store.users()]})
    return 0


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A chap-secrets file, as pppd and accel-ppp read it, or FILE.csv.")
    ],
    recoverable: Recoverable = False,
    config: MaybeConfigOption = None,
    database: Database = None,
    key_file: KeyFile = None,
) -> int:
    """Add the accounts of a chap-secrets file (name, password, and a static address where it has one) or of a CSV file.

    Accounts that exist already are left alone. Lines without a password or with a name of '*' are passed over.
    """
    from headrace.access.accounts import parse_address
    from headrace.access.seal import StoreError

    entries = _csv_entries(file) if file.suffix.lower() == ".csv" else _chap_entries(file)
    added = 0
    with _open(config, database, key_file, create=True) as store:
        known = {user.key for user in store.users()}
        for line, name, secret, settings in entries:
            try:
                if name.casefold() in known:
                    print(f"{file}:{line}: {name}: exists, left alone")
                    continue
                address = settings.pop("address", "")
                if address:
                    settings["address"] = parse_address(address)
                store.add_user(name, secret, recoverable=recoverable, **settings)
            except StoreError as error:
                raise CommandError(f"{file}:{line}: {error.reason}", error.remedy) from None
            known.add(name.casefold())
            added += 1
    print(f"added {added} of {len(entries)} accounts")
    return 0


def _chap_entries(file: Path) -> list[tuple[int, str, str, dict[str, Any]]]:
    from headrace.cli.chap_secrets import parse

    return [(entry.line, entry.name, entry.password, {"address": entry.address}) for entry in parse(file)]


def _csv_entries(file: Path) -> list[tuple[int, str, str, dict[str, Any]]]:
    out = []
    for line, row in read_csv(file):
        name, secret = row.pop("name"), row.pop("password")
        limits = [f"{key}={row[key]}" for key in (*KINDS, "prefix6") if row.get(key)]
        settings = {key: row[key] for key in ("group", "comment", "address", "hours") if row.get(key)}
        settings |= _grants(None, None, None, row.get("sessions") or None, None, None)
        out.append((line, name, secret, settings | parse_limits(limits, user=True)))
    return out


# --- groups ---------------------------------------------------------------------------------------------------------------------


@groups.command("add")
def group_add(
    name: GroupName,
    comment: Comment = None,
    dialin: Dialin = None,
    encryption: Encryption = None,
    pool: Pool = None,
    sessions: Sessions = None,
    hours: Hours = None,
    auth: Auth = None,
    limit: Limits = None,
    config: MaybeConfigOption = None,
    database: Database = None,
    key_file: KeyFile = None,
) -> int:
    """Add a group."""
    settings = _grants(dialin, encryption, pool, sessions, hours, auth)
    settings |= parse_limits(limit or (), user=False)
    if comment is not None:
        settings["comment"] = comment
    with _open(config, database, key_file, create=True) as store:
        print(f"added group {store.add_group(name, **settings).name}")
    return 0


@groups.command("set")
def group_set(
    name: GroupName,
    comment: Comment = None,
    disabled: Annotated[bool | None, typer.Option("--disable/--enable", help="Switch all its members off or on.")] = None,
    dialin: Dialin = None,
    encryption: Encryption = None,
    pool: Pool = None,
    sessions: Sessions = None,
    hours: Hours = None,
    auth: Auth = None,
    limit: Limits = None,
    config: MaybeConfigOption = None,
    database: Database = None,
    key_file: KeyFile = None,
) -> int:
    """Change settings of a group. What is not named stays."""
    settings = _grants(dialin, encryption, pool, sessions, hours, auth)
    settings |= parse_limits(limit or (), user=False)
    if comment is not None:
        settings["comment"] = comment
    if disabled is not None:
        settings["disabled"] = disabled
    if not settings:
        raise CommandError("say what to change", "`headrace account group set --help` lists the settings")
    with _open(config, database, key_file) as store:
        group = store.set_group(name, **settings)
        facts((("group", group.name), ("disabled", group.disabled), ("comment", group.comment), *_grant_facts(group.grants)))
    return 0


@groups.command("list")
def group_list(
    json: JsonOption = False, config: MaybeConfigOption = None, database: Database = None, key_file: KeyFile = None
) -> int:
    """List the groups."""
    with _open(config, database, key_file) as store:
        found = store.groups()
    if json:
        print_json([_plain_group(group) for group in found])
    elif not found:
        print("no groups yet: headrace account group add NAME")
    else:
        table(
            ("NAME", "STATE", "SETTINGS", "COMMENT"),
            [
                (
                    group.name,
                    "disabled" if group.disabled else "enabled",
                    ", ".join(f"{name} {value}" for name, value in _grant_facts(group.grants)),
                    group.comment,
                )
                for group in found
            ],
        )
    return 0


@groups.command("remove")
def group_remove(name: GroupName, config: MaybeConfigOption = None, database: Database = None, key_file: KeyFile = None) -> int:
    """Remove a group that nobody is in."""
    with _open(config, database, key_file) as store:
        store.remove_group(name)
    print(f"removed group {name}")
    return 0


# --- how they are shown ---------------------------------------------------------------------------------------------------------


def _grant_facts(grants: Grants) -> list[tuple[str, Any]]:
    dialin = None if grants.dialin is None else "allow" if grants.dialin else "deny"
    encryption = grants.encryption.value if grants.encryption is not None else None
    sessions = str(grants.sessions) if grants.sessions is not None else None
    pairs = (
        ("dialin", dialin),
        ("encryption", encryption),
        ("pool", grants.pool),
        ("sessions", sessions),
        ("hours", grants.hours),
        ("auth", " ".join(grants.auth) if grants.auth is not None else None),
        *((name, getattr(grants, name.replace("-", "_"))) for name in KINDS),
    )
    return [(name, value) for name, value in pairs if value is not None]


def _state(user: User) -> str:
    now = datetime.now().astimezone().timestamp()
    if user.disabled or (user.group is not None and user.group.disabled):
        return "disabled"
    if user.expires is not None and now >= user.expires:
        return "expired"
    if user.password_expires is not None and now >= user.password_expires:
        return "password expired"
    return "enabled"


def _allowed(user: User) -> str:
    from headrace.access.accounts import effective

    return "allow" if effective(user).dialin else "deny"


def _date(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="minutes")


def _print_user(user: User) -> None:
    from headrace.access.accounts import effective

    total = effective(user)
    facts(
        (
            ("name", user.name),
            ("group", user.group.name if user.group is not None else ""),
            ("state", _state(user)),
            ("comment", user.comment),
            ("expires", _date(user.expires)),
            ("password expires", _date(user.password_expires)),
            ("methods", " ".join(user.methods)),
            ("address", user.address),
            ("may choose address", "yes" if user.any_address else ""),
            ("dial-in", f"{'allow' if total.dialin else 'deny'} (by {total.by['dialin']})"),
            ("encryption", _own(user, "encryption") or "the gateway's"),
            ("pool", total.pool or "the gateway's first"),
            ("sessions at once", total.sessions or "no limit"),
            ("hours", f"{total.hours.text} (by {total.by['hours']})"),
            ("auth", f"{' '.join(total.auth)} (by {total.by['auth']})" if total.auth else "the gateway's"),
            ("certificate names", " ".join(user.certificate_names)),
            ("IPv6 prefix", user.prefix6),
            *((name.replace("-", " "), _own(user, name.replace("-", "_"))) for name in KINDS),
            ("created", _date(user.created)),
            ("changed", _date(user.changed)),
        )
    )


def _own(user: User, name: str) -> str:
    for grants in (user.grants, user.group.grants if user.group is not None else None):
        value = getattr(grants, name, None)
        if value is not None:
            return str(value.value if hasattr(value, "value") else value)
    return ""


def _plain_group(group: Group) -> dict[str, Any]:
    return {"name": group.name, "comment": group.comment, "disabled": group.disabled, **asdict(group.grants)}


def _plain_user(user: User) -> dict[str, Any]:
    plain = {
        "name": user.name,
        "group": user.group.name if user.group is not None else None,
        "comment": user.comment,
        "disabled": user.disabled,
        "state": _state(user),
        "expires": _date(user.expires) or None,
        "password_expires": _date(user.password_expires) or None,
        "address": str(user.address) if user.address is not None else None,
        "any_address": user.any_address,
        "prefix6": str(user.prefix6) if user.prefix6 is not None else None,
        **asdict(user.grants),
        "certificate_names": list(user.certificate_names),
        "methods": list(user.methods),
        "created": _date(user.created),
        "changed": _date(user.changed),
    }
    decoded: dict[str, Any] = codec.loads(codec.dumps(plain, default=str))
    return decoded
