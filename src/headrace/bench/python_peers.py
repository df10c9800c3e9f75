"""The Python libraries that can do ESP, as somebody would use them without a data plane: one packet a call."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Final, cast

from headrace.bench.cases import ENCRYPT, FIRST_SPI, PACKETS
from headrace.bench.reference import open_, seal
from headrace.bench.sets import EspSet, MppeSet
from headrace.model import Auth, Cipher

FEW: Final = 16
"""Packets of a pass of scapy."""

_SCAPY_CIPHER: Final = {Cipher.AES_CBC: "AES-CBC", Cipher.AES_GCM16: "AES-GCM", Cipher.TRIPLE_DES_CBC: "3DES"}
_SCAPY_AUTH: Final = {
    Auth.HMAC_SHA1_96: "HMAC-SHA1-96",
    Auth.HMAC_SHA2_256_128: "SHA2-256-128",
    Auth.HMAC_MD5_96: "HMAC-MD5-96",
}


class PerPacket:
    """An implementation that takes one packet a call."""

    way = "one packet a call"

    def __init__(self, name: str, octets: int, work: Callable[[], None]) -> None:
        self.name = name
        self.octets = octets
        self._work = work

    def run(self, budget: float, least: int, most: int) -> list[float]:
        """Nanoseconds of each pass."""
        times: list[float] = []
        begin = time.perf_counter()
        while len(times) < most and (len(times) < least or time.perf_counter() - begin < budget):
            since = time.perf_counter_ns()
            self._work()
            times.append(float(time.perf_counter_ns() - since))
        return times

    def close(self) -> None:
        """Nothing to give back."""


Maker = Callable[[EspSet | MppeSet], PerPacket | None]


def cryptography(packets: EspSet | MppeSet) -> PerPacket | None:
    """The library ``cryptography``, with the rest of ESP in Python."""
    if isinstance(packets, MppeSet):
        return None
    proposal, iv_len = packets.proposal, packets.iv_len
    owners = [int(packets.packets[n].sa) for n in range(PACKETS)]
    keys = [packets.keys(n) for n in range(packets.sas_count)]
    sealed = [packets.pristine_packet(n) for n in range(PACKETS)] if packets.case.direction != ENCRYPT else []
    numbers = [0] * packets.sas_count

    def seal_all() -> None:
        for owner, payload in zip(owners, packets.payloads, strict=True):
            numbers[owner] += 1
            seal(proposal, *keys[owner], FIRST_SPI + owner, numbers[owner], os.urandom(iv_len), payload)

    def open_all() -> None:
        windows: list[set[int]] = [set() for _ in keys]
        for packet in sealed:
            owner = int.from_bytes(packet[:4], "big") - FIRST_SPI
            number = int.from_bytes(packet[4:8], "big")
            if number in windows[owner]:
                continue
            open_(proposal, *keys[owner], packet)
            windows[owner].add(number)

    return PerPacket("cryptography", packets.octets, open_all if sealed else seal_all)


def scapy(packets: EspSet | MppeSet) -> PerPacket | None:
    """The ``SecurityAssociation`` of scapy, if scapy is installed and knows the transform."""
    if isinstance(packets, MppeSet):
        return None
    proposal = packets.proposal
    if proposal.cipher not in _SCAPY_CIPHER or (proposal.auth not in _SCAPY_AUTH and proposal.auth is not Auth.NONE):
        return None
    try:
        from scapy.layers.inet import IP, UDP
        from scapy.layers.ipsec import ESP, SecurityAssociation
        from scapy.packet import Raw
    except ImportError:
        return None
    enc, auth = packets.keys(0)
    fields: dict[str, Any] = {"crypt_algo": _SCAPY_CIPHER[proposal.cipher], "crypt_key": enc}
    if proposal.auth is not Auth.NONE:
        fields |= {"auth_algo": _SCAPY_AUTH[proposal.auth], "auth_key": auth}
    # Eight octets of the payload are the UDP header.
    plain = [
        IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=1701, dport=1701) / Raw(payload[8:])
        for payload in packets.payloads[:FEW]
    ]
    sa: Any = cast("Any", SecurityAssociation)(ESP, spi=FIRST_SPI, **fields)
    sealed = [] if packets.case.direction == ENCRYPT else [bytes(sa.encrypt(packet)) for packet in plain]

    def seal_all() -> None:
        for packet in plain:
            bytes(sa.encrypt(packet))

    def open_all() -> None:
        for packet in sealed:
            sa.decrypt(IP(packet))

    octets = sum(packets.lengths[:FEW])
    return PerPacket("scapy", octets, open_all if sealed else seal_all)
