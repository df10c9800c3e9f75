"""``headrace ppp``."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.common import password_from, starting
from headrace.cli.exits import CommandError
from headrace.cli.values import bits_of, choice_of, methods_of, value_of

if TYPE_CHECKING:
    from headrace.access.authenticate import Authenticator
    from headrace.model import Encryption
    from headrace.shell.ppp_line import LineConfig

_FILE = "FILE"


def ppp(
    line: Annotated[str, typer.Argument(metavar="LINE", help="A serial device, unix:PATH of an emulated one, or pty.")],
    server: Annotated[bool, typer.Option("--server", help="Let others in: ask who they are, give them addresses.")] = False,
    user: Annotated[
        str | None, typer.Option("--user", "-u", help="Who we are; with --server, the one who may come in.")
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(
            "--password-file", metavar=_FILE, help="The user's password; else HEADRACE_PASSWORD, else it is asked for."
        ),
    ] = None,
    accounts: Annotated[
        Path | None, typer.Option("--accounts", metavar=_FILE, help="With --server: a gateway's database of accounts.")
    ] = None,
    accounts_key: Annotated[Path | None, typer.Option("--accounts-key", metavar=_FILE, help="Its key file.")] = None,
    local: Annotated[str | None, typer.Option("--local", metavar="ADDRESS", help="Our address on the link.")] = None,
    remote: Annotated[
        str | None, typer.Option("--remote", metavar="ADDRESS", help="With --server: the address that the peer gets.")
    ] = None,
    dns: Annotated[
        list[str] | None, typer.Option("--dns", metavar="ADDRESS", help="With --server: a name server; may be repeated.")
    ] = None,
    auth: Annotated[
        list[str] | None,
        typer.Option(
            "--auth", metavar="METHOD", help="mschap-v2, chap-md5, pap, mschap, eap-md5, eap-mschap-v2; may be repeated."
        ),
    ] = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="With --server: let anybody in.")] = False,
    encryption: Annotated[
        str, typer.Option("--encryption", metavar="off|optional|required|required-128", help="MPPE on the link.")
    ] = "optional",
    mppe_bits: Annotated[
        list[int] | None, typer.Option("--mppe-bits", metavar="128|56|40", help="Strengths; may be repeated.")
    ] = None,
    mppe_stateful: Annotated[bool, typer.Option("--mppe-stateful", help="Ask for stateful MPPE.")] = False,
    compress: Annotated[
        list[str] | None, typer.Option("--compress", metavar="mppc|deflate", help="Compress the link; may be repeated.")
    ] = None,
    header_compression: Annotated[
        bool, typer.Option("--header-compression/--no-header-compression", help="Compress TCP/IP headers (Van Jacobson).")
    ] = True,
    speed: Annotated[int, typer.Option("--speed", help="Bits a second of a serial device.")] = 115200,
    flow_control: Annotated[bool, typer.Option("--flow-control", help="Hardware flow control (RTS/CTS).")] = False,
    asyncmap: Annotated[
        str, typer.Option("--asyncmap", metavar="HEX", help="Control characters the peer has to escape, bit n for octet n.")
    ] = "0",
    mtu: Annotated[int, typer.Option("--mtu", min=576, max=1500, help="Largest packet, both ways.")] = 1500,
    tun_name: Annotated[str, typer.Option("--tun-name", metavar="NAME", help="Name of the network interface.")] = "headrace%d",
    once: Annotated[bool, typer.Option("--once", help="With --server: end with the first link.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to connect.")] = 35.0,
    ping: Annotated[str | None, typer.Option("--ping", metavar="ADDRESS", help="Ping this address, then hang up.")] = None,
    ping_count: Annotated[int, typer.Option("--ping-count", min=1, help="How many.")] = 5,
    json: Annotated[bool, typer.Option("--json", help="Print what happens as JSON, one object a line.")] = False,
) -> int:
    """Run PPP over a serial line or a pty, as server or client: MPPE, compression and accounts as in the gateway, without L2TP and IPsec.

    With pty a pseudo-terminal is made and its name printed: the other side opens that. A serial line is not protected by anything but what
    is agreed on it: take --encryption required-128 where others can reach it.
    """
    from headrace.model import Compression, Encryption

    if server and user is None and accounts is None and not no_auth:
        raise CommandError("nobody could come in", "give --user, --accounts, or --no-auth")
    if server and local is None:
        raise CommandError("a server needs an address of its own", "give --local")
    if (accounts is None) != (accounts_key is None):
        raise CommandError("--accounts and --accounts-key belong together", "give both")
    policy = choice_of(Encryption, encryption, "--encryption")
    config = _config(line, policy)
    from dataclasses import replace

    try:
        accm = int(asyncmap, 16)
    except ValueError:
        accm = -1
    if not 0 <= accm < 1 << 32:
        raise CommandError(f"--asyncmap {asyncmap!r}", "write up to 8 hex digits, such as a0000")
    config = replace(
        config,
        server=server,
        speed=speed,
        flow_control=flow_control,
        user=user or "",
        auth=() if no_auth else methods_of(auth or ["mschap-v2"]),
        prefer_mppe=policy in {Encryption.REQUIRED, Encryption.REQUIRED_128},
        mppe_bits=bits_of(mppe_bits or [128]),
        mppe_stateless=not mppe_stateful,
        compression=tuple(choice_of(Compression, name, "--compress") for name in compress or ()),
        header_compression=header_compression,
        local_address=value_of(IPv4Address, local, "--local", "an IPv4 address"),
        remote_address=value_of(IPv4Address, remote, "--remote", "an IPv4 address"),
        dns=tuple(filter(None, (value_of(IPv4Address, text, "--dns", "an IPv4 address") for text in dns or ()))),
        accm=accm,
        mtu=mtu,
        tun_name=tun_name,
        once=once,
        timeout=timeout,
        ping=value_of(IPv4Address, ping, "--ping", "an IPv4 address"),
        ping_count=ping_count,
        json=json,
    )
    password = password_from(password_file, "HEADRACE_PASSWORD", f"Password of {user}") if user is not None else ""
    config = replace(config, password="" if server else password)
    from headrace.shell import ppp_line

    with ExitStack() as stack, starting():
        authenticator = _accounts(stack, config, password, accounts, accounts_key) if server and not no_auth else None
        return ppp_line.run(config, authenticator)


def _config(line: str, policy: Encryption) -> LineConfig:
    from headrace.shell.ppp_line import LineConfig

    return LineConfig(line, encryption=policy)


def _accounts(stack: ExitStack, config: LineConfig, password: str, database: Path | None, key: Path | None) -> Authenticator:
    """The store that says who may come in: a gateway's, or one that holds a single user and goes with the process."""
    from headrace.access.authenticate import Authenticator
    from headrace.access.store import AccountStore
    from headrace.shell.config import AccountsSection

    if database is not None and key is not None:
        store = stack.enter_context(AccountStore(database, key, create=False))
    else:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-ppp-")))
        store = stack.enter_context(AccountStore(folder / "accounts.db", folder / "accounts.key"))
        store.add_user(config.user, password, recoverable=True)
    return Authenticator(store, AccountsSection(), gateway=config.name, encryption=config.encryption)
