"""One captured packet, layer by layer, as the article of L2TP/IPsec draws it: which header, how long, and what of it is encrypted.

Works on what was on the wire: the outer packet is decrypted with a key log, the inner headers are read, nothing is assumed.
"""

from __future__ import annotations

import csv
import hmac
from dataclasses import dataclass
from hashlib import md5, sha1, sha256, sha384, sha512
from io import StringIO
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headrace.errors import HeadraceError
from headrace.wire import Reader

if TYPE_CHECKING:
    from pathlib import Path

_PROTOCOLS: Final = {
    0x0021: "IPv4",
    0x0057: "IPv6",
    0x00FD: "MPPE",
    0xC021: "LCP",
    0xC223: "CHAP",
    0x8021: "IPCP",
    0x80FD: "CCP",
}
_HASHES: Final[dict[str, tuple[Any, int]]] = {
    "HMAC-MD5-96": (md5, 12),
    "HMAC-SHA-1-96": (sha1, 12),
    "HMAC-SHA-256-128": (sha256, 16),
    "HMAC-SHA-256-96": (sha256, 12),
    "HMAC-SHA-384-192": (sha384, 24),
    "HMAC-SHA-512-256": (sha512, 32),
}


class UnknownPacket(HeadraceError):
    """The packet is not one that the keys at hand open."""


@dataclass(frozen=True, slots=True)
class EspSa:
    """One line of Wireshark's ``esp_sa`` table."""

    spi: int
    cipher: str
    key: bytes
    auth: str
    auth_key: bytes


@dataclass(frozen=True, slots=True)
class Layer:
    """One header or trailer of a packet."""

    name: str
    octets: int
    encrypted: bool
    authenticated: bool
    detail: str = ""


def read_keys(path: Path) -> dict[int, EspSa]:
    """Read the SAs of a key log in Wireshark's ``esp_sa`` format, by SPI."""
    sas: dict[int, EspSa] = {}
    for row in csv.reader(StringIO(path.read_text("ascii"))):
        if len(row) >= 8:
            spi = int(row[3], 0)
            sas[spi] = EspSa(spi, row[4], _hex(row[5]), row[6].split(" ")[0], _hex(row[7]))
    return sas


def _hex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def dissect(packet: bytes, sas: dict[int, EspSa]) -> list[Layer]:
    """Take an IPv4 packet with ESP (raw or in UDP 4500) apart. Raises ``UnknownPacket`` if it is something else."""
    reader = Reader(packet, "ip")
    if len(packet) < 20 or packet[0] >> 4 != 4:
        raise UnknownPacket("not IPv4")
    header = (packet[0] & 15) * 4
    source, destination = ip_address(packet[12:16]), ip_address(packet[16:20])
    protocol = packet[9]
    reader.take(header, "header")
    layers = [Layer("IP header", header, encrypted=False, authenticated=False, detail=f"{source} > {destination}")]
    if protocol == 17:
        ports = reader.u16("source port"), reader.u16("destination port")
        reader.take(4, "udp")
        if 4500 not in ports:
            raise UnknownPacket("not UDP 4500")
        layers.append(Layer("UDP header", 8, encrypted=False, authenticated=False, detail=f"NAT-T {ports[0]} > {ports[1]}"))
    elif protocol != 50:
        raise UnknownPacket("not ESP")
    esp = reader.rest()
    sa = sas.get(int.from_bytes(esp[:4], "big"))
    if sa is None:
        raise UnknownPacket("no key for its SPI")
    text, iv, icv = _open(esp, sa)
    number = int.from_bytes(esp[4:8], "big")
    layers.append(
        Layer(
            "ESP header", 8 + iv, encrypted=False, authenticated=True, detail=f"SPI {sa.spi:08x} seq {number}, {iv} octets IV"
        )
    )
    layers += _inside(text[: -2 - text[-2]])
    layers.append(
        Layer("ESP trailer", 2 + text[-2], encrypted=True, authenticated=True, detail=f"{text[-2]} padding, next {text[-1]}")
    )
    layers.append(
        Layer("auth trailer", icv, encrypted=False, authenticated=False, detail=sa.auth if icv != 16 or sa.auth_key else "GCM")
    )
    return layers


def _open(esp: bytes, sa: EspSa) -> tuple[bytes, int, int]:
    """Verify and decrypt; the plaintext with its trailer, the length of the IV, the length of the ICV."""
    if "GCM" in sa.cipher:
        key, salt = sa.key[:-4], sa.key[-4:]
        return AESGCM(key).decrypt(salt + esp[8:16], esp[16:], esp[:8]), 8, 16
    digest, icv = _HASHES[sa.auth]
    body, tag = esp[:-icv], esp[-icv:]
    if not hmac.compare_digest(hmac.new(sa.auth_key, body, digest).digest()[:icv], tag):
        raise UnknownPacket("its ICV does not verify")
    algorithm = algorithms.AES(sa.key) if "AES" in sa.cipher else TripleDES(sa.key)
    iv = algorithm.block_size // 8
    decryptor = Cipher(algorithm, modes.CBC(body[8 : 8 + iv])).decryptor()
    return decryptor.update(body[8 + iv :]) + decryptor.finalize(), iv, icv


def _inside(payload: bytes) -> list[Layer]:
    reader = Reader(payload, "l2tp")
    ports = reader.u16("source port"), reader.u16("destination port")
    reader.take(4, "udp")
    layers = [Layer("UDP header", 8, encrypted=True, authenticated=True, detail=f"{ports[0]} > {ports[1]}")]
    before = len(reader)
    flags = reader.u16("flags")
    if flags & 0x4000:
        reader.u16("length")
    tunnel, session = reader.u16("tunnel"), reader.u16("session")
    if flags & 0x0800:
        reader.u32("numbers")
    kind = "control" if flags & 0x8000 else "data"
    layers.append(
        Layer(
            "L2TP header",
            before - len(reader),
            encrypted=True,
            authenticated=True,
            detail=f"{kind}, tunnel {tunnel} session {session}",
        )
    )
    if flags & 0x8000:
        layers.append(Layer("L2TP message", len(reader), encrypted=True, authenticated=True))
        return layers
    before = len(reader)
    protocol = reader.u8("protocol")
    if protocol == 0xFF:
        reader.u8("control")
        protocol = reader.u8("protocol")
    if not protocol & 1:
        protocol = protocol << 8 | reader.u8("protocol")
    name = _PROTOCOLS.get(protocol, f"{protocol:04x}")
    layers.append(
        Layer("PPP header", before - len(reader), encrypted=True, authenticated=True, detail=f"protocol {protocol:04x} {name}")
    )
    if protocol == 0x00FD:
        bits = reader.u16("mppe")
        layers.append(
            Layer(
                "MPPE header",
                2,
                encrypted=True,
                authenticated=True,
                detail=f"count {bits & 0xFFF}{', flushed' if bits & 0x8000 else ''}",
            )
        )
        layers.append(Layer("PPP payload", len(reader), encrypted=True, authenticated=True, detail="RC4 inside ESP"))
    else:
        layers.append(Layer("PPP payload", len(reader), encrypted=True, authenticated=True))
    return layers


def draw(layers: list[Layer], width: int = 118) -> str:
    """Draw the layers as boxes in a row, sizes below, with the encrypted and the authenticated span marked."""
    cells = [(layer.name, f"{layer.octets}", layer) for layer in layers]
    sizes = [max(len(name), len(octets)) + 2 for name, octets, _ in cells]
    rows: list[list[int]] = [[]]
    used = 1
    for index, size in enumerate(sizes):
        if used + size + 1 > width:
            rows.append([])
            used = 1
        rows[-1].append(index)
        used += size + 1
    lines: list[str] = []
    for row in rows:
        top = "+" + "+".join("-" * sizes[i] for i in row) + "+"
        lines += [
            top,
            "|" + "|".join(cells[i][0].center(sizes[i]) for i in row) + "|",
            "|" + "|".join(cells[i][1].center(sizes[i]) for i in row) + "|",
            top,
        ]
        for label, mark in (("encrypted", "encrypted"), ("authenticated", "authenticated")):
            span = " ".join((("=" if getattr(cells[i][2], mark) else " ") * sizes[i]) for i in row)
            if "=" in span:
                start, end = span.index("="), span.rindex("=") + 1
                lines.append(" " + " " * start + f" {label} ".center(end - start, "="))
    return "\n".join(lines)
