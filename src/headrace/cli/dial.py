"""``headrace dial``."""

from __future__ import annotations

import os
import sys
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.common import password_from, refuse_secret, secret_from_file, starting
from headrace.cli.exits import CommandError
from headrace.cli.values import bits_of, choice_of, methods_of, need_of, value_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.shell.config import DialConfig

_FILE = "FILE"


def dial(
    server: Annotated[str, typer.Argument(metavar="SERVER", help="Name or address of the gateway.")],
    user: Annotated[str, typer.Option("--user", "-u", help="User name; DOMAIN\\user is fine.")],
    password_file: Annotated[
        Path | None,
        typer.Option(
            "--password-file",
            metavar=_FILE,
            help="Read the password from this file (- is standard input); else HEADRACE_PASSWORD, else it is asked for.",
        ),
    ] = None,
    psk_file: Annotated[
        Path | None, typer.Option("--psk-file", metavar=_FILE, help="Pre-shared key of the gateway; else HEADRACE_PSK.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", metavar=_FILE, help="Our computer certificate, PEM, with its intermediates.")
    ] = None,
    private_key: Annotated[Path | None, typer.Option("--private-key", metavar=_FILE, help="Its private key, PEM.")] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option("--passphrase-file", metavar=_FILE, help="Passphrase of the private key.")
    ] = None,
    ca: Annotated[
        list[Path] | None, typer.Option("--ca", metavar=_FILE, help="Authority of the gateway's certificate; may be repeated.")
    ] = None,
    crl: Annotated[list[Path] | None, typer.Option("--crl", metavar=_FILE, help="Revocation list; may be repeated.")] = None,
    crl_policy: Annotated[
        str, typer.Option("--crl-policy", metavar="off|soft|strict", help="What a missing revocation list means.")
    ] = "soft",
    remote_name: Annotated[
        list[str] | None,
        typer.Option(
            "--remote-name", metavar="NAME", help="Name in the gateway's certificate, if not SERVER; may be repeated."
        ),
    ] = None,
    policy: Annotated[
        str, typer.Option("--policy", metavar="modern|compatible|legacy", help="Tier of algorithms to offer.")
    ] = "compatible",
    proposals: Annotated[
        list[str] | None,
        typer.Option("--proposal", metavar="P", help="Phase 1 to offer, e.g. aes256-sha256-ecp384; may be repeated."),
    ] = None,
    esp_proposals: Annotated[
        list[str] | None,
        typer.Option("--esp-proposal", metavar="P", help="Phase 2 to offer, e.g. aes256gcm16; may be repeated."),
    ] = None,
    pfs: Annotated[bool, typer.Option("--pfs", help="A new key exchange for every SA.")] = False,
    auth: Annotated[
        list[str] | None,
        typer.Option(
            "--auth",
            metavar="METHOD",
            help="User authentication that is accepted; may be repeated: eap-tls, peap, eap-mschap-v2, mschap-v2, eap-md5, chap-md5, "
            "mschap, pap. The last shows the password to the gateway.",
        ),
    ] = None,
    eap_certificate: Annotated[
        Path | None,
        typer.Option(
            "--eap-certificate", metavar=_FILE, help="The user's certificate for eap-tls, PEM, with its intermediates."
        ),
    ] = None,
    eap_private_key: Annotated[
        Path | None, typer.Option("--eap-private-key", metavar=_FILE, help="Its private key, PEM.")
    ] = None,
    eap_passphrase_file: Annotated[
        Path | None, typer.Option("--eap-passphrase-file", metavar=_FILE, help="Passphrase of that key.")
    ] = None,
    eap_ca: Annotated[
        list[Path] | None,
        typer.Option(
            "--eap-ca",
            metavar=_FILE,
            help="Authority of the certificate the gateway shows in EAP, if not --ca; may be repeated.",
        ),
    ] = None,
    eap_crl: Annotated[
        list[Path] | None, typer.Option("--eap-crl", metavar=_FILE, help="Its revocation list; may be repeated.")
    ] = None,
    eap_server_name: Annotated[
        list[str] | None,
        typer.Option("--eap-server-name", metavar="NAME", help="Name in that certificate, if not SERVER; may be repeated."),
    ] = None,
    eap_identity: Annotated[
        str, typer.Option("--eap-identity", metavar="NAME", help="Name told before the method, if not that of the user.")
    ] = "",
    eap_require_binding: Annotated[
        bool, typer.Option("--eap-require-binding", help="Refuse a PEAP server that does not bind tunnel and inner method.")
    ] = False,
    new_password_file: Annotated[
        Path | None,
        typer.Option(
            "--new-password-file",
            metavar=_FILE,
            help="If the gateway says that the password has expired, change it to this; else HEADRACE_NEW_PASSWORD, else it is asked for.",
        ),
    ] = None,
    encryption: Annotated[
        str,
        typer.Option(
            "--encryption", metavar="off|optional|required|required-128", help="MPPE inside the link; ESP encrypts either way."
        ),
    ] = "optional",
    mppe_bits: Annotated[
        list[int] | None,
        typer.Option(
            "--mppe-bits", metavar="128|56|40", help="MPPE strengths that are accepted; may be repeated. Only 128 protects."
        ),
    ] = None,
    mppe_stateful: Annotated[
        bool, typer.Option("--mppe-stateful", help="Ask for stateful MPPE: a lost packet then costs more than itself.")
    ] = False,
    compress: Annotated[
        list[str] | None, typer.Option("--compress", metavar="mppc|deflate", help="Compress the link; may be repeated.")
    ] = None,
    header_compression: Annotated[
        bool, typer.Option("--header-compression", help="Compress TCP/IP headers (Van Jacobson).")
    ] = False,
    mschap_mppe: Annotated[
        bool, typer.Option("--mschap-mppe", help="Take keys for MPPE from mschap (version 1), which protects little.")
    ] = False,
    l2tp_secret_file: Annotated[
        Path | None, typer.Option("--l2tp-secret-file", metavar=_FILE, help="Tunnel secret, if the gateway has one.")
    ] = None,
    ike_port: Annotated[int, typer.Option("--ike-port", min=1, max=65535, help="The gateway's port of IKE.")] = 500,
    natt_port: Annotated[
        int, typer.Option("--natt-port", min=1, max=65535, help="The gateway's port of NAT traversal.")
    ] = 4500,
    l2tp_port: Annotated[int, typer.Option("--l2tp-port", min=1, max=65535, help="Port of L2TP inside ESP.")] = 1701,
    source: Annotated[str | None, typer.Option("--source", metavar="ADDRESS", help="Our outer address.")] = None,
    local_ike_port: Annotated[int, typer.Option("--local-ike-port", min=0, max=65535, help="Our port of IKE; 0 is any.")] = 0,
    local_natt_port: Annotated[
        int, typer.Option("--local-natt-port", min=0, max=65535, help="Our port of NAT traversal; 0 is any.")
    ] = 0,
    ipv4: Annotated[bool, typer.Option("-4", help="Reach the gateway over IPv4 only.")] = False,
    ipv6: Annotated[bool, typer.Option("-6", help="Reach the gateway over IPv6 only.")] = False,
    force_encapsulation: Annotated[
        bool,
        typer.Option(
            "--force-encapsulation",
            help="ESP in UDP even without a NAT: for paths that drop IP protocol 50, and without CAP_NET_RAW.",
        ),
    ] = False,
    fragmentation: Annotated[bool, typer.Option("--fragmentation/--no-fragmentation", help="Cut large IKE messages.")] = True,
    tun_name: Annotated[
        str, typer.Option("--tun", metavar="NAME", help="Name of the TUN interface; %d is the first free number.")
    ] = "headrace%d",
    mtu: Annotated[int, typer.Option("--mtu", min=576, max=1500, help="Largest inner packet.")] = 1400,
    default_route: Annotated[bool, typer.Option("--default-route", help="Send everything through the tunnel.")] = False,
    routes: Annotated[
        list[str] | None,
        typer.Option("--route", metavar="NETWORK", help="Send this network through the tunnel; may be repeated."),
    ] = None,
    inner_ipv6: Annotated[
        bool, typer.Option("--inner-ipv6/--no-inner-ipv6", help="IPv6 inside the tunnel, where the gateway has it.")
    ] = True,
    ipx_tap: Annotated[
        str,
        typer.Option("--ipx-tap", metavar="NAME", help="Make this TAP interface for one machine that speaks IPX."),
    ] = "",
    ipx_node: Annotated[
        str | None, typer.Option("--ipx-node", metavar="MAC", help="Its MAC address; else the gateway gives a node number.")
    ] = None,
    ipx_frame: Annotated[
        str, typer.Option("--ipx-frame", metavar="ethernet-ii|802.3|802.2|snap", help="How IPX lies in its frames.")
    ] = "ethernet-ii",
    bridge_tap: Annotated[
        str,
        typer.Option("--bridge-tap", metavar="NAME", help="Make this TAP interface and bridge it with the gateway's Ethernet."),
    ] = "",
    dns: Annotated[bool, typer.Option("--dns", help="Use the gateway's DNS servers while connected.")] = False,
    dpd_delay: Annotated[
        float,
        typer.Option(
            "--dpd-delay", min=0, max=3600, help="Seconds of silence before the gateway is asked whether it lives; 0 is never."
        ),
    ] = 30.0,
    dpd_timeout: Annotated[
        float, typer.Option("--dpd-timeout", min=5, max=3600, help="Seconds of silence after which it is gone.")
    ] = 120.0,
    timeout: Annotated[float, typer.Option("--timeout", min=1, max=600, help="Seconds for the whole call to come up.")] = 35.0,
    reconnect: Annotated[bool, typer.Option("--reconnect", help="Dial again whenever the connection is lost.")] = False,
    ping: Annotated[
        str | None,
        typer.Option(
            "--ping", metavar="ADDRESS", help="When up, ping this inner address, hang up, and exit with 0 only if it answered."
        ),
    ] = None,
    ping_count: Annotated[int, typer.Option("--ping-count", min=1, max=1000, help="How often.")] = 3,
    keylog_dir: Annotated[
        Path | None,
        typer.Option(
            "--keylog", metavar="DIR", help="Write session keys there for Wireshark. Whoever reads them reads the traffic."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each event.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what happens on every rung.")] = False,
    psk: Annotated[str | None, typer.Option("--psk", hidden=True)] = None,
    password: Annotated[str | None, typer.Option("--password", hidden=True)] = None,
) -> int:
    """Connect to a gateway: a TUN interface appears, Ctrl-C disconnects cleanly and puts routes and name servers back.

    The machine proves itself by a pre-shared key (--psk-file) or a certificate (--certificate, --private-key, --ca), the user by a password.
    Secrets are never taken from the command line, where everyone on the machine can read them.

    If the call fails, the line on standard error has the error number, the rung of the ladder it broke on, and what to do; more with
    `headrace explain NUMBER`.
    """
    refuse_secret(psk, "--psk", "--psk-file FILE or the variable HEADRACE_PSK")
    refuse_secret(password, "--password", "--password-file FILE, the variable HEADRACE_PASSWORD, or let it be asked for")
    from headrace.ipx.ethernet import FrameType
    from headrace.model import Compression, Encryption
    from headrace.shell.config import CrlPolicy, DialConfig, Policy

    config = DialConfig(
        server=server,
        user=user,
        password="",
        psk=psk_from(psk_file, has_certificate=certificate is not None),
        certificate=certificate,
        private_key=private_key,
        private_key_passphrase=secret_from_file(passphrase_file) if passphrase_file is not None else None,
        ca=tuple(ca or ()),
        crl=tuple(crl or ()),
        crl_policy=choice_of(CrlPolicy, crl_policy, "--crl-policy"),
        remote_names=tuple(remote_name or ()),
        policy=choice_of(Policy, policy, "--policy"),
        proposals=tuple(proposals or ()),
        esp_proposals=tuple(esp_proposals or ()),
        pfs=pfs,
        auth=methods_of(auth or ["mschap-v2"]),
        encryption=choice_of(Encryption, encryption, "--encryption"),
        mppe_bits=bits_of(mppe_bits or [128]),
        mppe_stateless=not mppe_stateful,
        compression=tuple(choice_of(Compression, name, "--compress") for name in compress or ()),
        header_compression=header_compression,
        mschap_mppe=mschap_mppe,
        eap_certificate=eap_certificate,
        eap_private_key=eap_private_key,
        eap_private_key_passphrase=secret_from_file(eap_passphrase_file) if eap_passphrase_file is not None else None,
        eap_ca=tuple(eap_ca or ()),
        eap_crl=tuple(eap_crl or ()),
        eap_server_names=tuple(eap_server_name or ()),
        eap_identity=eap_identity,
        eap_require_binding=eap_require_binding,
        l2tp_secret=secret_from_file(l2tp_secret_file) if l2tp_secret_file is not None else None,
        ike_port=ike_port,
        natt_port=natt_port,
        l2tp_port=l2tp_port,
        source=value_of(ip_address, source, "--source", "an IP address"),
        local_ike_port=local_ike_port,
        local_natt_port=local_natt_port,
        family=_family(ipv4=ipv4, ipv6=ipv6),
        force_encapsulation=force_encapsulation,
        fragmentation=fragmentation,
        tun_name=tun_name,
        mtu=mtu,
        default_route=default_route,
        routes=tuple(
            need_of(ip_network, text, "--route", "a network like 10.0.0.0/8, without host bits") for text in routes or ()
        ),
        inner_ipv6=inner_ipv6,
        ipx_tap=ipx_tap,
        ipx_node=value_of(_node, ipx_node, "--ipx-node", "a MAC address like 00:a0:24:11:22:33") or bytes(6),
        ipx_frame=choice_of(FrameType, ipx_frame, "--ipx-frame"),
        bridge_tap=bridge_tap,
        dns=dns,
        dpd_delay=dpd_delay,
        dpd_timeout=dpd_timeout,
        timeout=timeout,
        reconnect=reconnect,
        ping=value_of(IPv4Address, ping, "--ping", "an IPv4 address"),
        ping_count=ping_count,
        keylog_dir=keylog_dir,
        json=json,
        verbose=verbose,
    )
    _judge(config)
    from dataclasses import replace

    if _needs_password(config):
        config = replace(config, password=password_from(password_file, "HEADRACE_PASSWORD", f"Password for {user}"))
    from headrace.shell import client

    with starting():
        return client.run(config, _new_password(new_password_file, user))


def _needs_password(config: DialConfig) -> bool:
    """Whether any method but the certificate's may be used."""
    from headrace.ppp.config import AuthMethod

    return set(config.auth) != {AuthMethod.EAP_TLS}


def _new_password(path: Path | None, user: str) -> Callable[[], str] | None:
    """Where a new password would come from, if from anywhere."""
    variable = "HEADRACE_NEW_PASSWORD"
    if path is None and variable not in os.environ and not sys.stdin.isatty():
        return None
    return lambda: password_from(path, variable, f"New password for {user}", confirm=True)


def psk_from(path: Path | None, *, has_certificate: bool) -> bytes | None:
    """The pre-shared key from its file or the environment; looked at as at the gateway, but what a gateway has is not ours to refuse."""
    from headrace.cli.exits import complain
    from headrace.shell.secretfile import SecretError, judge_psk

    if path is not None:
        key = secret_from_file(path)
    elif "HEADRACE_PSK" in os.environ and not has_certificate:
        key = os.environ["HEADRACE_PSK"].encode()
    else:
        return None
    try:
        warning = judge_psk(key, lab=True)
    except SecretError as error:
        raise CommandError(error.reason, error.remedy) from None
    if warning:
        complain(f"headrace: warning: {warning}")
    return key


def _judge(config: DialConfig) -> None:
    """Whether the options go together."""
    from headrace.esp.proposal import parse_list as parse_esp
    from headrace.ike.proposal import parse_list as parse_ike
    from headrace.model import Encryption
    from headrace.ppp.config import gives_keys

    parts = {"--certificate": config.certificate, "--private-key": config.private_key, "--ca": config.ca or None}
    given = [name for name, value in parts.items() if value is not None]
    if given and len(given) < len(parts):
        missing = ", ".join(name for name in parts if name not in given)
        raise CommandError(f"certificates also need {missing}", "give all three, or use --psk-file")
    if not given and config.psk is None:
        raise CommandError(
            "this machine has no way to prove itself", "give --psk-file, or --certificate, --private-key and --ca"
        )
    parse_ike(config.proposals)
    parse_esp(config.esp_proposals)
    required = config.encryption in {Encryption.REQUIRED, Encryption.REQUIRED_128}
    _judge_eap(config)
    if required and not any(gives_keys(method, mschap_mppe=config.mschap_mppe) for method in config.auth):
        raise CommandError("MPPE is required, and none of --auth gives keys for it", "allow mschap-v2")
    if config.encryption is Encryption.REQUIRED_128 and 128 not in config.mppe_bits:
        raise CommandError("--encryption required-128 without 128 among --mppe-bits", "add --mppe-bits 128")
    if config.dpd_delay and config.dpd_timeout <= config.dpd_delay:
        raise CommandError("--dpd-timeout is not more than --dpd-delay", f"write --dpd-timeout {4 * config.dpd_delay:g}")
    if config.source is not None and config.family and config.source.version != config.family:
        raise CommandError(f"--source {config.source} and -{config.family} contradict each other", "leave one away")


def _judge_eap(config: DialConfig) -> None:
    """Whether the options of EAP go together."""
    from headrace.ppp.config import AuthMethod

    parts = {"--eap-certificate": config.eap_certificate, "--eap-private-key": config.eap_private_key}
    missing = [name for name, value in parts.items() if value is None]
    if len(missing) == 1:
        raise CommandError(f"a user's certificate also needs {missing[0]}", "give both")
    if AuthMethod.EAP_TLS in config.auth and missing:
        raise CommandError("--auth eap-tls without a certificate of the user's", "give --eap-certificate and --eap-private-key")
    if {AuthMethod.EAP_TLS, AuthMethod.PEAP} & set(config.auth) and not (config.eap_ca or config.ca):
        raise CommandError(
            "eap-tls and peap must know whom to trust", "give --eap-ca: the authority of the gateway's certificate"
        )


def _node(text: str) -> bytes:
    """A MAC address of one machine."""
    from headrace.ppp.ipxcp import is_host

    node = bytes.fromhex(text.replace(":", "").replace("-", ""))
    if len(node) != 6 or not is_host(node):
        raise ValueError(text)
    return node


def _family(*, ipv4: bool, ipv6: bool) -> int:
    if ipv4 and ipv6:
        raise CommandError("-4 and -6 exclude each other", "give one of them, or none")
    return 4 if ipv4 else 6 if ipv6 else 0
