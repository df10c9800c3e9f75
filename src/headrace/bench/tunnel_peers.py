"""What is measured beside our tunnel: plain forwarders without cryptography, and the user-space VPNs that are installed.

Each is a context manager that yields the address in the far namespace that is reached through it.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headrace.bench.native import SOURCES, BenchError, compiler
from headrace.bench.stage import CLIENT, GATEWAY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from headrace.bench.stage import Stage
    from headrace.shell.netns import Namespace

MTU: Final = 1400
"""Of the forwarders' devices: about what is left inside a tunnel."""
_IPSEC: Final = tuple(
    Path(directory) / "charon"
    for directory in ("/usr/lib/ipsec", "/usr/libexec/ipsec", "/usr/lib/strongswan", "/usr/libexec/strongswan")
)


@dataclass(frozen=True, slots=True)
class Rival:
    """A peer."""

    implementation: str
    transform: str
    package: str
    """Where Debian and Ubuntu have it; empty: it is made here."""
    there: Callable[[], bool]
    up: Callable[[Stage], AbstractContextManager[str]]


def _set_up(where: Namespace, device: str, address: str, peer: str, mtu: int | None) -> None:
    with where.netlink() as ip:
        index = ip.link_lookup(ifname=device)[0]
        ip.addr("add", index=index, address=peer, local=address, prefixlen=32)
        if mtu:
            ip.link("set", index=index, mtu=mtu)
        ip.link("set", index=index, state="up")


def _exists(path: Path) -> Callable[[str], bool]:
    return lambda _: path.exists()


# --- plain forwarders ------------------------------------------------------------------------------------------------------------


def _forwarder(mode: str, net: str, port: int) -> Callable[[Stage], AbstractContextManager[str]]:
    @contextmanager
    def up(stage: Stage) -> Iterator[str]:
        program = stage.directory / "forward"
        if not program.exists():
            command = [
                compiler(),
                "-std=gnu11",
                "-O3",
                "-march=native",
                "-pthread",
                str(SOURCES / "forward.c"),
                "-o",
                str(program),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise BenchError(f"the forwarder does not compile:\n{done.stderr}")
        ends = ((stage.far, GATEWAY, CLIENT, "1", "2"), (stage.near, CLIENT, GATEWAY, "2", "1"))
        far, near = (
            stage.start(
                f"forward-{mode}-{own}",
                where,
                [str(program), mode, f"fwd{mode}", local, remote, str(port)],
                lambda said: "ready" in said,
            )
            for where, local, remote, own, _ in ends
        )
        with far, near:
            for where, _, _, own, other in ends:
                _set_up(where, f"fwd{mode}", f"{net}.{own}", f"{net}.{other}", MTU)
            yield f"{net}.1"

    return up


# --- OpenVPN ---------------------------------------------------------------------------------------------------------------------


def _certificate(directory: Path, name: str) -> str:
    """A key and a certificate that it signs itself; the fingerprint."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    (directory / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    (directory / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


@contextmanager
def _openvpn(stage: Stage) -> Iterator[str]:
    prints = {name: _certificate(stage.directory, name) for name in ("ovpn-far", "ovpn-near")}
    common = ["openvpn", "--dev-type", "tun", "--proto", "udp", "--data-ciphers", "AES-256-GCM", "--verb", "3", "--disable-dco"]
    common += ["--sndbuf", "4194304", "--rcvbuf", "4194304", "--fast-io", "--txqueuelen", "1000"]

    def command(name: str, peer: str, *more: str) -> list[str]:
        keys = ["--cert", f"{name}.crt", "--key", f"{name}.key", "--peer-fingerprint", prints[peer]]
        return [*common, "--dev", "ovpn0", *keys, *more]

    server = command("ovpn-far", "ovpn-near", "--local", GATEWAY, "--port", "1194", "--tls-server", "--dh", "none")
    client = command("ovpn-near", "ovpn-far", "--remote", GATEWAY, "1194", "--nobind", "--tls-client")
    with (
        stage.start(
            "openvpn-far", stage.far, [*server, "--ifconfig", "10.98.0.1", "10.98.0.2"], lambda said: "UDPv4 link local" in said
        ),
        stage.start(
            "openvpn-near",
            stage.near,
            [*client, "--ifconfig", "10.98.0.2", "10.98.0.1"],
            lambda said: "Initialization Sequence Completed" in said,
        ),
    ):
        yield "10.98.0.1"


# --- wireguard-go ----------------------------------------------------------------------------------------------------------------


@contextmanager
def _wireguard(stage: Stage) -> Iterator[str]:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    names = {stage.far: f"wgf{os.getpid() % 100000}", stage.near: f"wgn{os.getpid() % 100000}"}
    keys = {where: X25519PrivateKey.generate() for where in names}
    far, near = (
        stage.start(
            name,
            where,
            ["wireguard-go", "--foreground", name],
            _exists(Path(f"/var/run/wireguard/{name}.sock")),
            env=os.environ | {"WG_PROCESS_FOREGROUND": "1", "LOG_LEVEL": "error"},
        )
        for where, name in names.items()
    )
    with far, near:
        for where, other, own, its, endpoint in (
            (stage.far, stage.near, "10.96.0.1", "10.96.0.2", []),
            (stage.near, stage.far, "10.96.0.2", "10.96.0.1", ["endpoint", f"{GATEWAY}:51820"]),
        ):
            secret = stage.directory / f"{names[where]}.key"
            secret.touch(mode=0o600)
            secret.write_text(base64.b64encode(keys[where].private_bytes_raw()).decode(), "ascii")
            public = base64.b64encode(keys[other].public_key().public_bytes_raw()).decode()
            partner = ["peer", public, "allowed-ips", f"{its}/32", *endpoint]
            where.run(["wg", "set", names[where], "private-key", str(secret), "listen-port", "51820", *partner])
            _set_up(where, names[where], own, its, None)
        yield "10.96.0.1"


# --- strongSwan's ESP in user space ----------------------------------------------------------------------------------------------


def _charon() -> Path | None:
    found = next((path for path in _IPSEC if path.exists()), None)
    libipsec = Path("/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so")
    return found if found is not None and libipsec.exists() and shutil.which("swanctl") else None


_STRONGSWAN_CONF: Final = """\
charon {
	load = random nonce openssl aes sha1 sha2 hmac gcm kdf pem pkcs1 kernel-libipsec kernel-netlink socket-default vici updown
	install_virtual_ip = no
	filelog {
		stderr {
			default = 1
			flush_line = yes
		}
	}
	plugins {
		vici {
			socket = unix://%(socket)s
		}
	}
}
"""
_SWANCTL_CONF: Final = """\
connections {
	bench {
		version = 2
		local_addrs = %(local)s
		remote_addrs = %(remote)s
		proposals = aes128-sha256-ecp256
		encap = yes
		local {
			auth = psk
			id = %(local)s
		}
		remote {
			auth = psk
			id = %(remote)s
		}
		children {
			bench {
				esp_proposals = %(esp)s
				local_ts = %(own)s/32
				remote_ts = %(other)s/32
				start_action = none
			}
		}
	}
}
secrets {
	ike-bench {
		secret = %(secret)s
	}
}
"""


def _libipsec(esp: str, net: str) -> Callable[[Stage], AbstractContextManager[str]]:
    @contextmanager
    def up(stage: Stage) -> Iterator[str]:
        charon = _charon()
        assert charon is not None
        secret = secrets.token_hex(16)
        uris = {}
        started = []
        for name, where, local, remote, own, other in (
            ("far", stage.far, GATEWAY, CLIENT, f"{net}.1", f"{net}.2"),
            ("near", stage.near, CLIENT, GATEWAY, f"{net}.2", f"{net}.1"),
        ):
            with where.netlink() as ip:
                ip.addr("add", index=1, address=own, prefixlen=32)
            socket = stage.directory / f"vici-{name}-{net}"
            uris[name] = f"unix://{socket}"
            conf = stage.directory / f"strongswan-{name}.conf"
            conf.write_text(_STRONGSWAN_CONF % {"socket": socket}, "ascii")
            connections = stage.directory / f"swanctl-{name}.conf"
            connections.touch(mode=0o600)
            values = {"local": local, "remote": remote, "own": own, "other": other, "esp": esp, "secret": secret}
            connections.write_text(_SWANCTL_CONF % values, "ascii")
            # Its pid file has a place of its own: two of them run on one machine.
            command = ["unshare", "--mount", "sh", "-c", f"mount -t tmpfs none /run && exec {charon}"]
            environment = os.environ | {"STRONGSWAN_CONF": str(conf)}
            started.append(stage.start(f"charon-{name}", where, command, _exists(socket), env=environment))
            where.run(["swanctl", "--load-all", "--file", str(connections), "--uri", uris[name]])
        with started[0], started[1]:
            done = stage.near.run(["swanctl", "--initiate", "--child", "bench", "--uri", uris["near"]], timeout=20, check=False)
            if done.returncode:
                raise BenchError(f"strongSwan: {(done.stdout + done.stderr).strip()[-300:]}")
            try:
                yield f"{net}.1"
            finally:
                for where, own in ((stage.far, f"{net}.1"), (stage.near, f"{net}.2")):
                    with where.netlink() as ip:
                        ip.addr("del", index=1, address=own, prefixlen=32)

    return up


# --- all of them -----------------------------------------------------------------------------------------------------------------


def _has(*tools: str) -> Callable[[], bool]:
    return lambda: all(shutil.which(tool) for tool in tools)


def _always() -> bool:
    return True


@contextmanager
def _cable(_: Stage) -> Iterator[str]:
    yield GATEWAY


VETH: Final = Rival("veth", "none", "", _always, _cable)
RIVALS: Final = (
    VETH,
    Rival("forwarder-gso", "none", "", _always, _forwarder("gso", "10.95.1", 7001)),
    Rival("forwarder", "none, recvmmsg", "", _always, _forwarder("mmsg", "10.95.2", 7002)),
    Rival("forwarder", "none, one a call", "", _always, _forwarder("one", "10.95.3", 7003)),
    Rival("openvpn", "AES-256-GCM", "openvpn", _has("openvpn"), _openvpn),
    Rival("wireguard-go", "ChaCha20-Poly1305", "wireguard-go wireguard-tools", _has("wireguard-go", "wg"), _wireguard),
    Rival(
        "strongswan-libipsec",
        "aes128gcm16",
        "strongswan-charon strongswan-swanctl libcharon-extra-plugins",
        lambda: _charon() is not None,
        _libipsec("aes128gcm16", "10.97.1"),
    ),
    Rival(
        "strongswan-libipsec",
        "aes128-sha1",
        "strongswan-charon strongswan-swanctl libcharon-extra-plugins",
        lambda: _charon() is not None,
        _libipsec("aes128-sha1", "10.97.2"),
    ),
)
_TOOLS: Final = {
    "openvpn": (["openvpn", "--version"], r"OpenVPN (\S+)"),
    "wireguard-go": (["wireguard-go", "--version"], r"wireguard-go v?(\S+)"),
    "strongswan-libipsec": (["swanctl", "--help"], r"strongSwan (\S+) swanctl"),
    "iperf3": (["iperf3", "--version"], r"iperf (\S+)"),
}


def versions() -> dict[str, str]:
    """Of the peers that are installed."""
    found = {}
    for name, (command, pattern) in _TOOLS.items():
        if shutil.which(command[0]) is None:
            continue
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = re.search(pattern, done.stdout + done.stderr)
        found[name] = said.group(1) if said else "?"
    return found
