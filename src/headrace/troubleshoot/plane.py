"""A data plane for a handful of packets: ESP in UDP, L2TP and PPP in Python, on ordinary sockets.

A diagnosis must run where the real data plane may not: without CAP_NET_RAW, without a TUN device. It carries control messages and a few
pings; MPPE and compression are agreed by the stack but carry no traffic here.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher as Block
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headrace.inspect.ip import UDP, checksum
from headrace.inspect.keys import HASHES, EspKey, NotOpened
from headrace.l2tp import header as l2tp
from headrace.model import Cipher, Compressor, EspKeys, MppeKeys, VjSlots
from headrace.stack.tables import PeerEntry, SessionEntry
from headrace.wire import Malformed

_UDP_HEADER: Final = 8
PEER: Final = 1
"""Index of the only peer."""


@dataclass(slots=True)
class _Sa:
    keys: EspKeys
    sequence: int = 0
    packets: int = 0


@dataclass(frozen=True, slots=True)
class Inner:
    """What came out of an ESP packet."""

    control: bool
    data: bytes
    """The whole L2TP control message, or the PPP frame."""
    session: int
    """Index of the session, for a frame."""
    local_port: int
    remote_port: int


class SoftPlane:
    """The tables that the stack asks for (``stack.tables.Tables``), and the packets through them."""

    def __init__(self) -> None:
        self.peer: PeerEntry | None = None
        self.sessions: dict[int, SessionEntry] = {}
        self.mppe = False
        """Both directions of MPPE are open: user packets cannot be carried here then."""
        self._sas: dict[int, _Sa] = {}
        self._out: int | None = None
        self._next = 10

    def _index(self) -> int:
        self._next += 1
        return self._next

    # --- Tables ------------------------------------------------------------------------------------------------------------------

    def add_peer(self, entry: PeerEntry) -> int:
        """A new peer record; its index."""
        self.peer = entry
        return PEER

    def update_peer(self, index: int, entry: PeerEntry) -> None:
        """Replace a peer record."""
        del index
        self.peer = entry

    def remove_peer(self, index: int) -> None:
        """Remove the peer."""
        del index
        self.peer = None
        self._sas.clear()
        self._out = None

    def add_sa(self, peer: int, keys: EspKeys) -> int:
        """A new SA."""
        del peer
        index = self._index()
        self._sas[index] = _Sa(keys)
        return index

    def use_sa(self, index: int) -> None:
        """Send through this SA from now on."""
        self._out = index

    def remove_sa(self, index: int) -> None:
        """Remove an SA."""
        self._sas.pop(index, None)
        if self._out == index:
            self._out = None

    def add_session(self, entry: SessionEntry) -> int:
        """A new session record; its index."""
        index = self._index()
        self.sessions[index] = entry
        return index

    def update_session(self, index: int, entry: SessionEntry) -> None:
        """Replace a session's settings."""
        self.sessions[index] = entry

    def set_mppe(self, index: int, keys: MppeKeys) -> None:
        """MPPE was agreed."""
        del index, keys
        self.mppe = True

    def set_compression(self, index: int, send: Compressor | None, receive: Compressor | None) -> None:
        """Never offered here."""

    def set_vj(self, index: int, slots: VjSlots) -> None:
        """Never offered here."""

    def close_mppe(self, index: int) -> None:
        """MPPE is closed."""
        del index
        self.mppe = False

    def flush_mppe(self, index: int) -> None:
        """Nothing is encrypted here."""

    def remove_session(self, index: int) -> None:
        """Remove a session."""
        self.sessions.pop(index, None)

    def sa_packets(self, index: int) -> int:
        """Good packets of an SA."""
        sa = self._sas.get(index)
        return sa.packets if sa else 0

    def session_packets(self, index: int) -> tuple[int, int]:
        """Not counted."""
        del index
        return 0, 0

    def session_octets(self, index: int) -> tuple[int, int]:
        """Not counted."""
        del index
        return 0, 0

    # --- packets -----------------------------------------------------------------------------------------------------------------

    def control(self, data: bytes, local_port: int, remote_port: int) -> bytes | None:
        """An L2TP control message as the payload of UDP 4500; ``None`` while there is no SA to send through."""
        return self._protect(data, local_port, remote_port)

    def frame(self, session: int, data: bytes) -> bytes | None:
        """A PPP frame, from its protocol field on, as the payload of UDP 4500."""
        entry = self.sessions.get(session)
        if entry is None:
            return None
        head = b"\x00\x02" + entry.remote_tunnel.to_bytes(2, "big") + entry.remote_session.to_bytes(2, "big")
        return self._protect(head + (b"" if entry.send_acfc else b"\xff\x03") + data, entry.local_port, entry.remote_port)

    def _protect(self, data: bytes, local_port: int, remote_port: int) -> bytes | None:
        sa = self._sas.get(self._out) if self._out is not None else None
        if sa is None or self.peer is None:
            return None
        length = (_UDP_HEADER + len(data)).to_bytes(2, "big")
        ports = local_port.to_bytes(2, "big") + remote_port.to_bytes(2, "big")
        total = b"\0\0"
        if self.peer.remote.address.version == 6:  # where zero is no checksum (RFC 8200 section 8.1)
            ends = self.peer.local.address.packed + self.peer.remote.address.packed
            pseudo = ends + bytes(2) + length + bytes(3) + bytes([UDP])
            total = (checksum(pseudo + ports + length + b"\0\0" + data) or 0xFFFF).to_bytes(2, "big")
        sa.sequence += 1
        return seal(sa.keys, sa.sequence, ports + length + total + data)

    def open(self, esp: bytes) -> Iterator[Inner]:
        """What an ESP packet holds; nothing for one that is not ours, not good, or not L2TP."""
        spi = int.from_bytes(esp[:4], "big")
        for sa in self._sas.values():
            keys = sa.keys
            if keys.outbound or keys.spi != spi:
                continue
            try:
                opened = EspKey(spi, keys.cipher, keys.auth, None, keys.enc_key, keys.auth_key).open(esp)
                sa.packets += 1
                if opened.next_header == UDP and len(opened.payload) > _UDP_HEADER:
                    yield from self._l2tp(opened.payload)
            except (NotOpened, Malformed):
                pass
            return

    def _l2tp(self, datagram: bytes) -> Iterator[Inner]:
        remote_port, local_port = int.from_bytes(datagram[:2], "big"), int.from_bytes(datagram[2:4], "big")
        message = datagram[_UDP_HEADER:]
        if message[0] & 0x80:
            yield Inner(True, message, 0, local_port, remote_port)
            return
        header, body = l2tp.parse(message)
        for index, entry in self.sessions.items():
            if (entry.local_tunnel, entry.local_session) == (header.tunnel, header.session):
                yield Inner(False, body, index, local_port, remote_port)


def seal(keys: EspKeys, sequence: int, payload: bytes) -> bytes:
    """An ESP packet (RFC 4303) with UDP inside, from its SPI on."""
    head = keys.spi.to_bytes(4, "big") + sequence.to_bytes(4, "big")
    block = {Cipher.NULL: 4, Cipher.AES_CBC: 16, Cipher.AES_GCM16: 4}.get(keys.cipher, 8)
    padding = -(len(payload) + 2) % block
    text = payload + bytes(range(1, padding + 1)) + bytes([padding, UDP])
    if keys.cipher is Cipher.AES_GCM16:
        iv = sequence.to_bytes(8, "big")
        return head + iv + AESGCM(keys.enc_key[:-4]).encrypt(keys.enc_key[-4:] + iv, text, head)
    if keys.cipher is Cipher.NULL:
        body = head + text
    else:
        iv = secrets.token_bytes(block)
        if keys.cipher is Cipher.AES_CBC:
            encryptor = Block(algorithms.AES(keys.enc_key), modes.CBC(iv)).encryptor()
        else:
            key = keys.enc_key * 3 if keys.cipher is Cipher.DES_CBC else keys.enc_key
            encryptor = Block(TripleDES(key), modes.CBC(iv)).encryptor()
        body = head + iv + encryptor.update(text) + encryptor.finalize()
    name, icv = HASHES[keys.auth]
    return body + hmac.digest(keys.auth_key, body, name)[:icv]
