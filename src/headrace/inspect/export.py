"""Writes what was decrypted as pcapng, for Wireshark and everything else that reads captures."""

from __future__ import annotations

from enum import StrEnum
from typing import BinaryIO

from headrace.inspect.packet import Packet
from headrace.inspect.pcapng import LINK_PPP, LINK_RAW, PcapngWriter
from headrace.ppp.frame import Proto
from headrace.version import __version__


class Form(StrEnum):
    """What is written of a packet."""

    PACKETS = "packets"
    """Outer IP, UDP, L2TP, PPP without ESP; what was never encrypted stays as it was. Raw IP."""
    PPP = "ppp"
    """PPP frames alone, MPPE decrypted where the password is known."""
    USER = "user"
    """The user's own IP packets alone. Raw IP."""


class Exporter:
    """Writes packets in one form, each with a comment that says where it was in the capture."""

    def __init__(self, stream: BinaryIO, form: Form) -> None:
        self.written = 0
        self._form = form
        self._writer = PcapngWriter(stream, f"headrace {__version__}")

    def feed(self, packet: Packet) -> None:
        """Write a packet, if it has what the form wants."""
        found = self._octets(packet)
        if found is None:
            return
        link, data = found
        way = f"packet {packet.number}, {packet.source} > {packet.destination}"
        spi = (
            f", decrypted from ESP SPI {packet.esp.spi:08x} seq {packet.esp.sequence}"
            if packet.esp and packet.esp.opened
            else ""
        )
        self._writer.write(link, packet.time, data, way + spi if spi or self._form is not Form.PACKETS else "")
        self.written += 1

    def _octets(self, packet: Packet) -> tuple[int, bytes] | None:
        if self._form is Form.PACKETS:
            return (LINK_RAW, packet.clear_ip) if packet.clear_ip else None
        if packet.ppp is None:
            return None
        if self._form is Form.PPP:
            return LINK_PPP, packet.ppp.emit()
        return (LINK_RAW, packet.ppp.information) if packet.ppp.protocol in {Proto.IPV4, Proto.IPV6} else None
