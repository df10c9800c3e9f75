"""``headrace profile``."""

from __future__ import annotations

import os
from enum import StrEnum
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.common import DEFAULT_CONFIG, ConfigOption, password_from
from headrace.cli.exits import CommandError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.profiles.facts import Facts
    from headrace.shell.config import GatewayConfig


class Kind(StrEnum):
    """For which client."""

    WINDOWS = "windows"
    APPLE = "apple"
    LINUX = "linux"
    SHEET = "sheet"
    ALL = "all"


def _network(text: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def profile(
    kind: Annotated[Kind, typer.Argument(help="sheet is a page to print, with Android's and ChromeOS's forms and a QR code.")],
    user: Annotated[str, typer.Option("--user", "-u", help="The account.")],
    config: ConfigOption = DEFAULT_CONFIG,
    server: Annotated[
        str, typer.Option("--server", metavar="NAME", help="What clients dial; else what the certificate says.")
    ] = "",
    name: Annotated[str, typer.Option("--name", help="What the connection is called; else the server's name.")] = "",
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle", metavar="FILE", help="The computer's .p12 file (headrace pki export); else the pre-shared key."
        ),
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option("--password-file", metavar="FILE", help="Password of the .p12 file.")
    ] = None,
    route: Annotated[
        list[IPv4Network] | None,
        typer.Option("--route", metavar="NETWORK", parser=_network, help="Send only this through the tunnel; may be repeated."),
    ] = None,
    behind_nat: Annotated[
        bool, typer.Option("--behind-nat", help="The gateway is behind a NAT: Windows needs a registry value for that.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where the files go.")] = Path("profiles"),
) -> int:
    """Write what a user imports or types in on Windows, Apple's systems, Linux or Android, from the configuration and an account.

    The files hold the pre-shared key or the computer's private key, never the user's password; only you can read them.
    """
    from headrace.shell.config import load_config

    loaded = load_config(config)
    facts = _facts(loaded, user, server, name, bundle, password_file, route or [], behind_nat=behind_nat)
    kinds = [k for k in Kind if k is not Kind.ALL] if kind is Kind.ALL else [kind]
    for one in kinds:
        for path in _write(out, _files(one, facts)):
            print(path)
    for warning in facts.warnings:
        print(f"warning: {warning}")
    return 0


def _facts(
    config: GatewayConfig,
    user: str,
    server: str,
    name: str,
    bundle: Path | None,
    password_file: Path | None,
    routes: list[IPv4Network],
    *,
    behind_nat: bool,
) -> Facts:
    from headrace.profiles.facts import gather, read_bundle
    from headrace.shell.build import gateway_ike, wall_clock
    from headrace.shell.certcheck import advise

    _need_account(config, user)
    ike = gateway_ike(config)
    names = advise(ike.certificate.chain[0], wall_clock()).names if ike.certificate is not None else ()
    machine = None
    if bundle is not None:
        machine = read_bundle(bundle, password_from(password_file, "HEADRACE_PASSWORD", f"Password of {bundle}"))
    return gather(
        config,
        user=user,
        ike=[str(proposal) for proposal in ike.proposals],
        esp=[str(proposal) for proposal in ike.esp_proposals],
        certificate_names=names,
        name=name,
        server=server,
        machine=machine,
        routes=routes,
        behind_nat=behind_nat,
    )


def _need_account(config: GatewayConfig, user: str) -> None:
    from headrace.access.store import AccountStore

    if isinstance(config.accounts.database, Path) and not config.accounts.database.exists():
        raise CommandError(f"{config.accounts.database} does not exist", f"add the account first: headrace account add {user}")
    with AccountStore(config.accounts.database, config.accounts.key_file, create=False) as store:
        store.user(user)


def _files(kind: Kind, facts: Facts) -> Mapping[str, bytes]:
    from headrace.profiles import apple, linux, sheet, windows

    match kind:
        case Kind.WINDOWS:
            return {f"{facts.file_name}.ps1": b"\xef\xbb\xbf" + windows.script(facts).encode()}
        case Kind.APPLE:
            return {f"{facts.file_name}.mobileconfig": apple.mobileconfig(facts)}
        case Kind.LINUX:
            folder = f"{facts.file_name}-linux"
            files = {"nmcli.sh": linux.nmcli(facts).encode(), **linux.strongswan(facts)}
            return {f"{folder}/{name}": data for name, data in files.items()}
        case _:
            return {f"{facts.file_name}.html": sheet.page(facts).encode()}


def _write(out: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write files that only we may read; what was there before is replaced."""
    written = []
    for name, data in files.items():
        path = out / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        written.append(path)
    return written
