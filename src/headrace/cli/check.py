"""``headrace check``."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, print_json
from headrace.cli.exits import OK, SYSTEM

if TYPE_CHECKING:
    from headrace.shell.certcheck import Advice
    from headrace.shell.clients import Outlook
    from headrace.shell.config import GatewayConfig
    from headrace.shell.hostcheck import Finding


def check(
    config: ConfigOption = DEFAULT_CONFIG,
    host: Annotated[bool, typer.Option("--host/--no-host", help="Look at this machine too: addresses, ports, rights.")] = True,
    json: JsonOption = False,
) -> int:
    """Validate a configuration, and say which clients will be able to connect.

    Every mistake is one line, FILE:LINE: KEY: reason; remedy, and the exit code 2. What only this machine lacks (a port in use, a right) is
    exit code 3.
    """
    from headrace.shell.build import gateway_eap, gateway_ike, wall_clock
    from headrace.shell.certcheck import advise
    from headrace.shell.clients import outlook
    from headrace.shell.config import load_config
    from headrace.shell.hostcheck import check_host

    loaded = load_config(config)
    ike = gateway_ike(loaded)
    gateway_eap(loaded)  # whether its files hold what they should
    warnings = [*loaded.warnings, *_too_small(loaded)]
    clients = outlook(loaded, ike.proposals, ike.esp_proposals)
    advice = advise(ike.certificate.chain[0], wall_clock()) if ike.certificate is not None else None
    findings = check_host(loaded, running=_running(loaded)) if host else []
    if json:
        print_json(_plain(loaded, warnings, advice, clients, findings))
    else:
        _print(loaded, warnings, advice, clients, findings)
    return SYSTEM if any(finding.fatal for finding in findings) else OK


def _too_small(config: GatewayConfig) -> list[str]:
    """Pools with fewer addresses than accounts that lease from them."""
    from collections import Counter

    from headrace.access.store import AccountStore
    from headrace.errors import HeadraceError

    database = config.accounts.database
    if (not isinstance(database, str) and not database.exists()) or not config.network.pools:
        return []
    try:
        with AccountStore(config.accounts.database, config.accounts.key_file, create=False) as store:
            users = [user for user in store.users() if user.address is None]
    except (HeadraceError, OSError):
        return []
    first = config.network.pools[0].name
    wanted = Counter(user.grants.pool or (user.group.grants.pool if user.group else None) or first for user in users)
    sizes = {pool.name: sum(len(r) for r in pool.ranges) for pool in config.network.pools}
    return [
        f"network.pools.{name}: {sizes[name]} addresses for {count} accounts: whoever comes last is refused with 720; make it larger"
        for name, count in wanted.items()
        if count > sizes.get(name, count)
    ]


def _running(config: GatewayConfig) -> bool:
    """Whether the ports are in use because the gateway itself runs."""
    from headrace.shell.control import ControlClient, ControlError

    try:
        with ControlClient(config.gateway.control_socket, timeout=2.0) as client:
            client.request("status")
    except ControlError:
        return False
    return True


def _print(
    config: GatewayConfig, warnings: list[str], advice: Advice | None, clients: list[Outlook], findings: list[Finding]
) -> None:
    print(f"{config.path}: good")
    for warning in warnings:
        print(f"  warning: {warning}")
    if advice is not None:
        for warning in advice.warnings:
            print(f"  warning: {config.ike.certificate} {warning}")
        print(
            f"\ncertificate of {', '.join(advice.names) or advice.subject}: good until {advice.until:%Y-%m-%d}; clients must dial one of these"
        )
    methods = " and ".join(method.value for method in config.ike.auth) or "nothing: L2TP in clear"
    print(f"\nmachines prove themselves by {methods}; users by {', '.join(config.ppp.auth)}")
    sizes = [f"{pool.name} ({sum(len(r) for r in pool.ranges)})" for pool in config.network.pools]
    print(f"addresses: {', '.join(sizes)}; policy {config.gateway.policy.value}; MPPE {config.ppp.encryption.value}")
    print("\nclients, as they come, and what their users set:")
    width = max(len(client.client) for client in clients)
    for client in clients:
        if client.good:
            print(f"  yes  {client.client.ljust(width)}  {client.reason}: {client.ike}, then {client.esp}")
            print(
                textwrap.fill(client.settings, 100, initial_indent=" " * 9, subsequent_indent=" " * 9, break_long_words=False)
            )
        else:
            print(f"  no   {client.client.ljust(width)}  {client.reason}")
            print(" " * 9 + client.remedy)
    if findings:
        print("\nthis machine:")
        for finding in findings:
            print(f"  {finding}")


def _plain(
    config: GatewayConfig, warnings: list[str], advice: Advice | None, clients: list[Outlook], findings: list[Finding]
) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "file": str(config.path),
        "warnings": [*warnings, *(f"certificate {text}" for text in (advice.warnings if advice is not None else ()))],
        "certificate": asdict(advice) if advice is not None else None,
        "machine_auth": [method.value for method in config.ike.auth],
        "user_auth": [method.value for method in config.ppp.auth],
        "policy": config.gateway.policy.value,
        "pools": {pool.name: sum(len(r) for r in pool.ranges) for pool in config.network.pools},
        "clients": [asdict(client) for client in clients],
        "host": [asdict(finding) for finding in findings],
    }
