"""``headrace troubleshoot``: walks the ladder against any L2TP/IPsec server, and says where it breaks and why."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.common import JsonOption, password_from, print_json, refuse_secret, secret_from_file
from headrace.cli.dial import psk_from
from headrace.cli.exits import CommandError
from headrace.cli.values import choice_of, methods_of, value_of

if TYPE_CHECKING:
    from headrace.shell.config import DialConfig
    from headrace.troubleshoot.walk import Report, Step, Target

_FILE = "FILE"
_MARKS = {"passed": "+", "failed": "!", "note": " ", "skipped": "-"}


def troubleshoot(
    server: Annotated[str, typer.Argument(metavar="SERVER", help="Name or address of any L2TP/IPsec server.")],
    psk_file: Annotated[
        Path | None, typer.Option("--psk-file", metavar=_FILE, help="Pre-shared key of the server; else HEADRACE_PSK.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", metavar=_FILE, help="Our computer certificate, PEM.")
    ] = None,
    private_key: Annotated[Path | None, typer.Option("--private-key", metavar=_FILE, help="Its private key, PEM.")] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option("--passphrase-file", metavar=_FILE, help="Passphrase of the private key.")
    ] = None,
    ca: Annotated[list[Path] | None, typer.Option("--ca", metavar=_FILE, help="Authority of the server's certificate.")] = None,
    user: Annotated[
        str | None, typer.Option("--user", "-u", help="User name: without one the walk ends when PPP is open.")
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option("--password-file", metavar=_FILE, help="The user's password; else HEADRACE_PASSWORD, else asked for."),
    ] = None,
    auth: Annotated[
        list[str] | None,
        typer.Option("--auth", metavar="METHOD", help="User authentication to allow; may be repeated. mschap-v2 without it."),
    ] = None,
    encryption: Annotated[
        str,
        typer.Option(
            "--encryption", metavar="off|optional|required|required-128", help="MPPE as the client would have it; Windows: off."
        ),
    ] = "optional",
    proposals: Annotated[
        list[str] | None,
        typer.Option("--proposal", metavar="P", help="Phase 1 to offer in the call, as that client does; may be repeated."),
    ] = None,
    esp_proposals: Annotated[
        list[str] | None, typer.Option("--esp-proposal", metavar="P", help="Phase 2 to offer in the call; may be repeated.")
    ] = None,
    remote_name: Annotated[
        list[str] | None,
        typer.Option("--remote-name", metavar="NAME", help="Name in the server's certificate, if not SERVER; may be repeated."),
    ] = None,
    crl: Annotated[
        list[Path] | None, typer.Option("--crl", metavar=_FILE, help="Revocation list for the server's certificate.")
    ] = None,
    l2tp_secret_file: Annotated[Path | None, typer.Option("--l2tp-secret-file", metavar=_FILE, help="Tunnel secret.")] = None,
    scan: Annotated[
        int, typer.Option("--scan", min=0, max=48, help="Proposals to find for each way to authenticate; 0 does not scan.")
    ] = 16,
    ike_port: Annotated[int, typer.Option("--ike-port", min=1, max=65535, help="The server's port of IKE.")] = 500,
    natt_port: Annotated[int, typer.Option("--natt-port", min=1, max=65535, help="The server's port of NAT traversal.")] = 4500,
    source: Annotated[str | None, typer.Option("--source", metavar="ADDRESS", help="Our outer address.")] = None,
    ipv4: Annotated[bool, typer.Option("-4", help="IPv4 only.")] = False,
    ipv6: Annotated[bool, typer.Option("-6", help="IPv6 only.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=5, max=120, help="Seconds for the call.")] = 30.0,
    json: JsonOption = False,
    psk: Annotated[str | None, typer.Option("--psk", hidden=True)] = None,
    password: Annotated[str | None, typer.Option("--password", hidden=True)] = None,
) -> int:
    """Walk the ladder against a server as a client would, testing whatever can still be tested, and say where it breaks and why.

    Names in both families, UDP 500 and 4500 with small and large datagrams, which proposals are accepted, NAT, certificate, ESP, L2TP,
    PPP, the user, packets of several sizes. Needs no rights: ESP goes in UDP. Changes nothing on this machine.

    Exit code 0 if everything that was tested works, else 10 and the rung on which it breaks: 12 path, 13 ike-proposal, 14 ike-auth,
    15 esp, 16 l2tp, 17 lcp, 18 user-auth, 19 encryption, 20 network, 21 traffic.
    """
    refuse_secret(psk, "--psk", "--psk-file FILE or the variable HEADRACE_PSK")
    refuse_secret(password, "--password", "--password-file FILE, the variable HEADRACE_PASSWORD, or let it be asked for")
    if ipv4 and ipv6:
        raise CommandError("-4 and -6", "take one")
    from headrace.model import Encryption
    from headrace.shell.config import DialConfig, Policy
    from headrace.troubleshoot.walk import Target, Walk, most

    config = DialConfig(
        server=server,
        user=user or "",
        password=password_from(password_file, "HEADRACE_PASSWORD", f"Password for {user}") if user else "",
        psk=psk_from(psk_file, has_certificate=certificate is not None),
        certificate=certificate,
        private_key=private_key,
        private_key_passphrase=secret_from_file(passphrase_file) if passphrase_file else None,
        ca=tuple(ca or ()),
        policy=Policy.LEGACY,
        proposals=tuple(proposals or ()),
        esp_proposals=tuple(esp_proposals or ()),
        remote_names=tuple(remote_name or ()),
        crl=tuple(crl or ()),
        encryption=choice_of(Encryption, encryption, "--encryption"),
        auth=methods_of(auth or (["mschap-v2"] if user else ["mschap-v2", "eap-mschap-v2", "chap-md5", "mschap", "pap"])),
        l2tp_secret=secret_from_file(l2tp_secret_file) if l2tp_secret_file else None,
        ike_port=ike_port,
        natt_port=natt_port,
        source=value_of(ip_address, source, "--source", "an IP address"),
        family=4 if ipv4 else 6 if ipv6 else 0,
        force_encapsulation=True,
        inner_ipv6=False,
        timeout=timeout,
    )
    target = Target(
        server, ike_port=ike_port, natt_port=natt_port, family=config.family, source=config.source, scan=scan, timeout=timeout
    )
    target = _with_credentials(target, config, user=user is not None)
    if not json:
        print(f"headrace troubleshoot {server}: at most {most(target)} probes, 4 a second, then one call")
    report = Walk(target, (lambda _: None) if json else _print_step).run()
    if json:
        print_json(report.json())
    else:
        _print_verdict(report)
    return report.code


def _with_credentials(target: Target, config: DialConfig, *, user: bool) -> Target:
    if config.psk is None and config.certificate is None:
        return target
    if (config.certificate is None) != (config.private_key is None):
        raise CommandError("a certificate and its private key belong together", "give --certificate and --private-key")
    from headrace.shell import build

    ike = build.client_ike(config)
    return replace(target, ike=ike, l2tp=build.client_l2tp(config), link=build.client_link(config), user=user)


def _print_step(step: Step) -> None:
    from headrace.troubleshoot.walk import name_of

    spent = f"{step.seconds:7.3f} s" if step.seconds else " " * 9
    print(f"{_MARKS[step.state.value]} {step.rung.value:2} {name_of(step.rung):12} {spent}  {step.text}", flush=True)


def _print_verdict(report: Report) -> None:
    from headrace.errors import explain

    print(f"\n{report.verdict} ({report.sent} datagrams sent)")
    if report.failure is None:
        return
    record = explain(report.failure.slug)
    print(f"A Windows client shows {record.ras} {record.name}." if record.ras else "A Windows client shows no error.")
    print(f"  seen:           {report.failure}")
    print(f"  on the client:  {record.remedy_client}")
    print(f"  on the gateway: {record.remedy_gateway}")
    print(f"`headrace explain {report.failure.slug}` says more.")
