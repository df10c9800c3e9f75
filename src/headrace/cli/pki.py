"""``headrace pki``: the small CA for computer certificates."""

from __future__ import annotations

import os
import secrets
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from headrace.cli.common import JsonOption, facts, password_from, print_json, refuse_secret, secret_from_file, table, text_of
from headrace.cli.exits import CommandError

if TYPE_CHECKING:
    from enum import StrEnum

    from headrace.pki.ca import Authority
    from headrace.pki.store import Record

app = typer.Typer(
    help="Run a small CA for computer certificates: the better way for machines to prove themselves than a shared key.\n\n"
    "\b\nFrom nothing to a gateway with certificates:\n"
    "  headrace pki init\n"
    "  headrace pki issue --gateway --dns vpn.example.org --out /etc/headrace\n"
    "  headrace pki issue alice-laptop\n"
    "  headrace pki export alice-laptop --out alice-laptop.p12\n\n"
    "The first two give gateway.crt, gateway.key and ca.crt for [ike] certificate, private_key and ca. The last is one file to import on the "
    "client, into the computer's store.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

DEFAULT_DIRECTORY: Final = Path("/etc/headrace/pki")
_LETTERS: Final = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
E = TypeVar("E", bound="StrEnum")

Directory = Annotated[Path, typer.Option("--dir", "-d", envvar="HEADRACE_PKI", help="Directory of the CA.")]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="Passphrase of the CA's key; else HEADRACE_CA_PASSPHRASE; without either the key has none.",
    ),
]
Which = Annotated[str, typer.Argument(metavar="NAME|SERIAL", help="As `headrace pki list` shows it.")]
KeyKind = Annotated[str, typer.Option("--key", metavar="rsa-2048|rsa-3072|rsa-4096|ecdsa-256|ecdsa-384", help="Kind of key.")]


def _passphrase(path: Path | None) -> bytes | None:
    if path is not None:
        return secret_from_file(path)
    given = os.environ.get("HEADRACE_CA_PASSPHRASE")
    return given.encode() if given else None


def _open(directory: Path, passphrase_file: Path | None) -> Authority:
    from headrace.pki.ca import Authority

    return Authority.open(directory, passphrase=_passphrase(passphrase_file))


def _choice(kind: type[E], text: str, option: str) -> E:
    try:
        return kind(text)
    except ValueError:
        raise CommandError(f"{option} {text!r}", f"write one of {', '.join(kind)}") from None


@app.command("init")
def init(
    directory: Directory = DEFAULT_DIRECTORY,
    name: Annotated[
        str, typer.Option("--name", help="Name of the authority; clients see it among their trusted roots.")
    ] = "headrace CA",
    days: Annotated[int, typer.Option("--days", help="Its life.")] = 3650,
    key: KeyKind = "rsa-3072",
    passphrase_file: PassphraseFile = None,
) -> int:
    """Make a CA: a key that never leaves this directory, its certificate, and an empty revocation list."""
    from headrace.pki.ca import Authority, KeyType

    kind = _choice(KeyType, key, "--key")
    authority = Authority.create(directory, name, days=days, key_type=kind, passphrase=_passphrase(passphrase_file))
    facts(
        (
            ("authority", name),
            ("certificate", authority.directory / "ca.crt"),
            ("revocation list", authority.directory / "crl.pem"),
            ("valid until", authority.certificate.not_valid_after_utc.date()),
        )
    )
    return 0


@app.command("issue")
def issue(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Name of the client's computer; with --gateway, a name that is dialled."),
    ] = None,
    gateway: Annotated[
        bool, typer.Option("--gateway", help="For the gateway: every name and address that people dial must be named.")
    ] = False,
    dns: Annotated[
        list[str] | None, typer.Option("--dns", metavar="NAME", help="Host name in the certificate; may be repeated.")
    ] = None,
    ip: Annotated[
        list[str] | None, typer.Option("--ip", metavar="ADDRESS", help="Address in the certificate; may be repeated.")
    ] = None,
    days: Annotated[int, typer.Option("--days", help="Its life; Apple's systems take no more than 825.")] = 825,
    key: KeyKind = "rsa-2048",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Also write certificate, key and CA certificate there.")
    ] = None,
    directory: Directory = DEFAULT_DIRECTORY,
    passphrase_file: PassphraseFile = None,
    json: JsonOption = False,
) -> int:
    """Issue a certificate, for a client's computer or (--gateway) for the gateway, with the purposes that Windows, Apple and Android want."""
    from headrace.pki.ca import KeyType

    kind = _choice(KeyType, key, "--key")
    names = [*(dns or ()), *(ip or ())]
    authority = _open(directory, passphrase_file)
    if gateway:
        wanted = [*([name] if name else []), *names]
        if not wanted:
            raise CommandError(
                "a gateway's certificate needs the names that people dial", "add --dns vpn.example.org, or --ip 203.0.113.1"
            )
        issued = authority.issue_gateway(wanted, days=days, key_type=kind)
    else:
        if name is None:
            raise CommandError("say for which computer", "headrace pki issue alice-laptop; for the gateway add --gateway")
        issued = authority.issue_client(name, names=names, days=days, key_type=kind)
    record = issued.record
    folder = authority.directory / "issued"
    files = [folder / f"{record.serial}.crt", folder / f"{record.serial}.key", authority.directory / "ca.crt"]
    if out is not None:
        files = _write_pem(authority, record.serial, out, "gateway" if gateway else _file_name(record.name), passphrase=None)
    if json:
        print_json({**asdict(record), "files": [str(file) for file in files]})
    else:
        facts(
            (
                ("issued", record.name),
                ("names", ", ".join(record.names)),
                ("serial", record.serial),
                ("valid until", record.not_after),
                ("certificate", files[0]),
                ("key", files[1]),
                ("authority", files[2]),
            )
        )
    return 0


@app.command("export")
def export(
    which: Which,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="PATH", help="A .p12 file, or a directory for PEM files.")],
    form: Annotated[str | None, typer.Option("--format", metavar="p12|pem", help="Form; without it, by --out.")] = None,
    encryption: Annotated[
        str,
        typer.Option(
            "--encryption",
            metavar="compatible|modern",
            help="Of a .p12 file: compatible is read by every client, modern by recent ones.",
        ),
    ] = "compatible",
    password_file: Annotated[
        Path | None,
        typer.Option(
            "--password-file",
            metavar="FILE",
            help="Password of the exported key; else HEADRACE_PASSWORD; else one is made and printed.",
        ),
    ] = None,
    directory: Directory = DEFAULT_DIRECTORY,
    passphrase_file: PassphraseFile = None,
    password: Annotated[str | None, typer.Option("--password", hidden=True)] = None,
) -> int:
    """Hand a certificate out with its key and the CA's certificate: one .p12 file to import on a client, or PEM files."""
    from headrace.pki.ca import Pkcs12Encryption

    refuse_secret(password, "--password", "--password-file FILE, or let one be made")
    form = form or ("p12" if out.suffix.lower() in {".p12", ".pfx"} else "pem")
    authority = _open(directory, passphrase_file)
    if form == "pem":
        given = text_of(secret_from_file(password_file), str(password_file)).encode() if password_file is not None else None
        record = authority.load(which).record
        files = _write_pem(authority, record.serial, out, _file_name(record.name), passphrase=given)
        facts(zip(("certificate", "key", "authority"), files, strict=True))
        return 0
    if form != "p12":
        raise CommandError(f"--format {form!r}", "write p12 or pem")
    kind = _choice(Pkcs12Encryption, encryption, "--encryption")
    made = password_file is None and "HEADRACE_PASSWORD" not in os.environ
    secret = (
        "".join(secrets.choice(_LETTERS) for _ in range(16))
        if made
        else password_from(password_file, "HEADRACE_PASSWORD", "Password")
    )
    _write(out, authority.export_pkcs12(which, secret, kind), private=True)
    facts(
        (("file", out), ("password", secret if made else "as given"), ("import", "into the computer's store, not the user's"))
    )
    return 0


@app.command("revoke")
def revoke(
    which: Which,
    reason: Annotated[
        str,
        typer.Option(
            "--reason",
            metavar="REASON",
            help="unspecified, keyCompromise, superseded, cessationOfOperation, affiliationChanged.",
        ),
    ] = "unspecified",
    directory: Directory = DEFAULT_DIRECTORY,
    passphrase_file: PassphraseFile = None,
) -> int:
    """Revoke a certificate, and write the revocation list anew. It is not taken back."""
    from headrace.pki.ca import Reason

    authority = _open(directory, passphrase_file)
    record = authority.revoke(which, _choice(Reason, reason, "--reason"))
    print(f"revoked {record.name} ({record.serial}); the list is {authority.directory / 'crl.pem'}: name it in ike.crl")
    return 0


@app.command("crl")
def crl(
    days: Annotated[int, typer.Option("--days", help="Its life; renew it before.")] = 30,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Also write it there, PEM.")] = None,
    directory: Directory = DEFAULT_DIRECTORY,
    passphrase_file: PassphraseFile = None,
) -> int:
    """Write the revocation list anew."""
    authority = _open(directory, passphrase_file)
    data = authority.write_crl(days)
    if out is not None:
        _write(out, data, private=False)
    print(f"wrote {out or authority.directory / 'crl.pem'}, good for {days} days")
    return 0


@app.command("list")
def list_(
    directory: Directory = DEFAULT_DIRECTORY,
    passphrase_file: PassphraseFile = None,
    json: JsonOption = False,
) -> int:
    """List what was issued and revoked."""
    records = _open(directory, passphrase_file).records()
    if json:
        print_json([{**asdict(record), "state": _state(record)} for record in records])
    elif not records:
        print("nothing was issued yet: headrace pki issue --gateway --dns NAME")
    else:
        table(
            ("SERIAL", "KIND", "NAME", "NAMES", "UNTIL", "STATE"),
            [(r.serial, r.kind, r.name, " ".join(r.names), r.not_after[:10], _state(r)) for r in records],
        )
    return 0


def _state(record: Record) -> str:
    from datetime import UTC, datetime

    if record.revoked:
        return "revoked"
    return "expired" if datetime.fromisoformat(record.not_after) < datetime.now(UTC) else "good"


def _file_name(name: str) -> str:
    """A name for files that no shell and no directory minds."""
    return (
        "".join(c if (c.isascii() and (c.isalnum() or c in "-_")) or (c == "." and i) else "_" for i, c in enumerate(name))
        or "client"
    )


def _write_pem(authority: Authority, which: str, out: Path, stem: str, *, passphrase: bytes | None) -> list[Path]:
    certificate, key, root = authority.export_pem(which, passphrase)
    out.mkdir(mode=0o755, parents=True, exist_ok=True)
    files = [out / f"{stem}.crt", out / f"{stem}.key", out / "ca.crt"]
    _write(files[0], certificate, private=False)
    _write(files[1], key, private=True)
    _write(files[2], root, private=False)
    return files


def _write(path: Path, data: bytes, *, private: bool) -> None:
    """Write a file whole; one with a key is never open to others, not even for a moment."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600 if private else 0o644)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
