"""The way of a captured packet, from the outside in; each layer is read by the parser of its own room.

link -> IP (fragments put together) -> UDP 500: ISAKMP | UDP 4500: keepalive, ISAKMP or ESP | IP protocol 50: ESP | UDP 1701: L2TP
     -> ESP opened with its key -> UDP 1701 -> L2TP: control message, or PPP frame -> control packet, MPPE, the user's IP packet

Whatever cannot be read ends the way with ``Packet.problem``; nothing that a packet holds raises.
"""

from __future__ import annotations

from typing import Final

from headrace.errors import PeerError
from headrace.inspect import ip as ips
from headrace.inspect import link, words
from headrace.inspect.isakmp import IkeDecoder
from headrace.inspect.keys import Keys, NotOpened
from headrace.inspect.mppe import MppeReader
from headrace.inspect.packet import Esp, Layer, Packet
from headrace.inspect.pcap import Captured
from headrace.l2tp import header as l2tp_header
from headrace.ppp.frame import Frame, Proto, protocol_name
from headrace.wire import Malformed

UDP_HEADER: Final = 8
_IKE: Final = 500
_NATT: Final = 4500
_L2TP: Final = 1701
_USER: Final = {Proto.IPV4: "IPv4", Proto.IPV6: "IPv6"}


class Dissector:
    """Takes the packets of one capture apart, in order."""

    def __init__(self, keys: Keys | None = None, *, secret: bytes | None = None, clear: bool = False) -> None:
        """``secret`` uncovers hidden L2TP attributes; ``clear`` asks for ``Packet.clear_ip``."""
        self.keys = Keys() if keys is None else keys
        self.mppe = MppeReader(self.keys.password)
        self._ike = IkeDecoder(self.keys)
        self._fragments = ips.Reassembly()
        self._secret = secret
        self._clear = clear

    def feed(self, captured: Captured) -> Packet:
        """Take one packet apart. Never raises for what is in it."""
        packet = Packet(captured.number, captured.time, captured.length)
        data = captured.data
        try:
            start = link.strip(captured.link, data)
            if captured.link in link.PPP:
                self._ppp(packet, data[start:], b"", b"", inside=False)
                return packet
            if start:
                packet.layers.append(Layer(f"{link.NAMES[captured.link]} header", start))
            self._ip(packet, data[start:] if start else data)
        except link.Foreign as error:
            packet.protocol, packet.summary = "other", error.reason
        except PeerError as error:
            packet.problem = str(error)
            packet.summary = packet.summary or "cannot be read"
        if captured.length > len(data):
            cut = f"the capture kept {len(data)} of {captured.length} octets"
            packet.problem = f"{packet.problem}; {cut}" if packet.problem else cut
        return packet

    # --- IP and UDP ----------------------------------------------------------------------------------------------------------------

    def _ip(self, packet: Packet, data: bytes) -> None:
        ip = ips.parse(data)
        packet.source, packet.destination = ips.address(ip.source), ips.address(ip.destination)
        packet.ends = (ip.source, 0), (ip.destination, 0)
        packet.protocol = f"IPv{ip.version}"
        packet.layers.append(Layer("IP header", ip.header, f"IPv{ip.version} {packet.source} > {packet.destination}"))
        if self._clear:
            packet.clear_ip = data[: ip.whole]
        if ip.fragment is not None:
            identity, offset, more = ip.fragment
            packet.summary = f"fragment of {identity:04x} at {offset}, {len(ip.payload)} octets{'' if more else ', the last'}"
            packet.layers.append(Layer("fragment", len(ip.payload), packet.summary))
            whole = self._fragments.add(ip)
            if whole is None:
                return
            packet.details.append(packet.summary)
            packet.layers[-1] = Layer("reassembled", 0, f"{len(whole.payload)} octets in all")
            ip = whole
            if self._clear:
                packet.clear_ip = ips.rebuild(data[: ip.header], ip.version, ip.protocol, ip.payload)
        if ip.protocol == ips.UDP:
            self._udp(packet, ip, data)
        elif ip.protocol == ips.ESP:
            self._esp(packet, ip, ip.payload, data[: ip.header], udp=False)
        else:
            packet.protocol = "other"
            if ip.protocol in {ips.ICMP, ips.ICMP6} and ip.payload:
                packet.protocol = "ICMP"
                packet.summary = _icmp(ip.payload)
            else:
                packet.summary = f"IP protocol {ip.protocol}, {len(ip.payload)} octets"
            packet.layers.append(Layer("IP payload", len(ip.payload)))

    def _udp(self, packet: Packet, ip: ips.Ip, data: bytes) -> None:
        body = ip.payload
        if len(body) < UDP_HEADER:
            raise Malformed("udp", "header", ip.header, f"{len(body)} octets")
        source, destination = body[0] << 8 | body[1], body[2] << 8 | body[3]
        length = body[4] << 8 | body[5]
        packet.ends = (ip.source, source), (ip.destination, destination)
        packet.source, packet.destination = ips.end(ip.source, source), ips.end(ip.destination, destination)
        payload = body[UDP_HEADER : length if length >= UDP_HEADER else len(body)]
        ports = (source, destination)
        packet.layers.append(Layer("UDP header", UDP_HEADER, f"{source} > {destination}"))
        if _NATT in ports:
            self._natt(packet, ip, payload, data)
        elif _IKE in ports:
            self._isakmp(packet, payload)
        elif _L2TP in ports:
            self._l2tp(packet, payload, inside=False)
        else:
            packet.protocol, packet.summary = "other", f"UDP {source} > {destination}, {len(payload)} octets"
            packet.layers.append(Layer("UDP payload", len(payload)))

    def _natt(self, packet: Packet, ip: ips.Ip, payload: bytes, data: bytes) -> None:
        if payload == b"\xff":
            packet.protocol, packet.summary = "NAT-T", "keepalive"
            packet.layers.append(Layer("keepalive", 1))
        elif payload[:4] == b"\0\0\0\0":
            packet.layers.append(Layer("non-ESP marker", 4))
            self._isakmp(packet, payload[4:])
        else:
            self._esp(packet, ip, payload, data[: ip.header], udp=True)

    # --- ISAKMP ------------------------------------------------------------------------------------------------------------------

    def _isakmp(self, packet: Packet, payload: bytes) -> None:
        packet.protocol = "ISAKMP"
        assert packet.ends is not None
        message = self._ike.decode(*packet.ends, payload, packet.time)
        packet.isakmp = message
        packet.summary = message.summary
        packet.details += message.details
        packet.problem = message.problem
        packet.layers.append(Layer("ISAKMP header", 28, message.name))
        rest = len(payload) - 28
        if rest:
            packet.layers.append(Layer("ISAKMP payloads", rest, "encrypted by IKE" if message.encrypted else ""))

    # --- ESP ---------------------------------------------------------------------------------------------------------------------

    def _esp(self, packet: Packet, ip: ips.Ip, esp: bytes, header: bytes, *, udp: bool) -> None:
        packet.protocol = "ESP"
        if len(esp) < 8:
            raise Malformed("esp", "header", 0, f"{len(esp)} octets")
        spi, sequence = int.from_bytes(esp[:4], "big"), int.from_bytes(esp[4:8], "big")
        packet.esp = Esp(spi, sequence, udp)
        name = f"SPI {spi:08x} seq {sequence}"
        packet.summary = f"{name}, {len(esp)} octets"
        key = self.keys.find(spi, ip.destination)
        if key is None:
            packet.layers.append(Layer("ESP header", 8, name, authenticated=True))
            packet.layers.append(Layer("ESP payload", len(esp) - 8, "no key for its SPI", encrypted=True, authenticated=True))
            return
        try:
            opened = key.open(esp)
        except NotOpened as error:
            packet.problem = str(error)
            packet.layers.append(Layer("ESP header", 8, name, authenticated=True))
            packet.layers.append(Layer("ESP payload", len(esp) - 8, str(error), encrypted=True, authenticated=True))
            return
        packet.esp.opened = True
        iv = f", {opened.iv} octets of IV" if opened.iv else ""
        packet.layers.append(Layer("ESP header", 8 + opened.iv, name + iv, authenticated=True))
        if self._clear:
            packet.clear_ip = ips.rebuild(header, ip.version, opened.next_header, opened.payload)
        inside = opened.payload
        try:
            if opened.next_header == ips.UDP and len(inside) >= UDP_HEADER:
                ports = inside[0] << 8 | inside[1], inside[2] << 8 | inside[3]
                packet.layers.append(Layer("UDP header", UDP_HEADER, f"{ports[0]} > {ports[1]}", True, True))
                length = inside[4] << 8 | inside[5]
                self._l2tp(packet, inside[UDP_HEADER : max(length, UDP_HEADER)], inside=True)
                if self._clear and packet.mppe_opened:
                    packet.clear_ip = ips.rebuild(header, ip.version, ips.UDP, _without_mppe(packet, inside))
            else:
                what = "tunnel mode" if opened.next_header in {4, 41} else f"IP protocol {opened.next_header}"
                packet.summary = f"{name}: {what}, {len(inside)} octets, not L2TP"
                packet.layers.append(Layer("payload", len(inside), what, True, True))
        except PeerError as error:
            packet.problem = str(error)
            rest = len(esp) - sum(layer.octets for layer in packet.layers if layer.authenticated)
            rest -= 2 + opened.padding + opened.icv
            if rest > 0:
                packet.layers.append(Layer("payload", rest, "cannot be read", True, True))
        trailer = f"{opened.padding} octets of padding, next header {opened.next_header}"
        packet.layers.append(Layer("ESP trailer", opened.padding + 2, trailer, True, True))
        if opened.icv:
            packet.layers.append(Layer("auth trailer", opened.icv, key.label))

    # --- L2TP and PPP --------------------------------------------------------------------------------------------------------------

    def _l2tp(self, packet: Packet, payload: bytes, *, inside: bool) -> None:
        packet.protocol = "L2TP"
        header, body = l2tp_header.parse(payload)
        packet.l2tp = header
        size = len(payload) - len(body)
        packet.layers.append(Layer("L2TP header", size, str(header), inside, inside))
        if not header.control:
            assert packet.ends is not None
            ends = [end[0] + end[1].to_bytes(2, "big") for end in packet.ends]
            self._ppp(packet, body, b"".join(sorted(ends)), ends[0], inside=inside)
            return
        numbers = f"Ns {header.ns} Nr {header.nr}"
        packet.layers.append(Layer("L2TP message", len(body), "", inside, inside))
        packet.message, name, details = words.l2tp_message(body, self._secret)
        packet.details += details
        packet.summary = f"{name} {numbers} tunnel {header.tunnel} session {header.session}"
        if packet.message is not None and packet.message.problem is not None:
            packet.problem = packet.message.problem.detail

    def _ppp(self, packet: Packet, body: bytes, call: bytes, sender: bytes, *, inside: bool) -> None:
        packet.protocol = "PPP"
        frame = Frame.parse(body)
        size = len(body) - len(frame.information)
        packet.layers.append(Layer("PPP header", size, protocol_name(frame.protocol), inside, inside))
        packet.ppp = frame
        if frame.protocol == Proto.COMPRESSED:
            frame = self._compressed(packet, frame, call, sender, inside=inside)
        else:
            packet.layers.append(Layer("PPP payload", len(frame.information), "", inside, inside))
        packet.protocol = words.ppp_name(frame.protocol)
        if frame.protocol in _USER:
            source, destination, what = ips.brief(frame.information)
            packet.inner = (source, destination, len(frame.information))
            packet.summary = f"{source} > {destination} {what}, {len(frame.information)} octets"
        elif frame.protocol != Proto.COMPRESSED:
            packet.summary = words.ppp_control(frame)
            self.mppe.see(call, sender, frame)

    def _compressed(self, packet: Packet, frame: Frame, call: bytes, sender: bytes, *, inside: bool) -> Frame:
        bits = int.from_bytes(frame.information[:2], "big")
        flags = ", flushed" if bits & 0x8000 else ""
        packet.layers.append(Layer("MPPE header", 2, f"count {bits & 0xFFF}{flags}", inside, inside))
        rest = len(frame.information) - 2
        packet.layers.append(Layer("PPP payload", max(rest, 0), "encrypted by MPPE", inside, inside, mppe=True))
        packet.summary = f"count {bits & 0xFFF}{flags}, {rest} octets encrypted by MPPE"
        opened = self.mppe.decrypt(call, sender, frame.information)
        if opened is None:
            return frame
        packet.ppp, packet.mppe_opened = opened, True
        return opened


def _without_mppe(packet: Packet, datagram: bytes) -> bytes:
    """The inner UDP datagram with the frame that MPPE held in place of its ciphertext; lengths are set anew, the checksum is left out."""
    assert packet.l2tp is not None
    assert packet.ppp is not None
    size = next(layer.octets for layer in packet.layers if layer.name == "L2TP header")
    header = bytearray(datagram[UDP_HEADER : UDP_HEADER + size])
    frame = packet.ppp.emit()
    if packet.l2tp.length is not None:
        header[2:4] = (size + len(frame)).to_bytes(2, "big")
    length = UDP_HEADER + size + len(frame)
    return datagram[:4] + length.to_bytes(2, "big") + b"\0\0" + bytes(header) + frame


def _icmp(payload: bytes) -> str:
    known = {(3, 3): "port unreachable", (3, 4): "packet too big", (3, 1): "host unreachable", (3, 0): "network unreachable"}
    kinds = {8: "echo request", 0: "echo reply", 11: "time exceeded", 3: "unreachable"}
    code = payload[1] if len(payload) > 1 else 0
    return known.get((payload[0], code), kinds.get(payload[0], f"type {payload[0]} code {code}"))
