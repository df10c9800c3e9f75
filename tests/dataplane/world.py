"""A data plane with one peer and session on our side, and that peer's side played by the oracle."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Network
from typing import TYPE_CHECKING, Any

from tests.oracle import esp, ip, l2tp, mppe

from headrace.dataplane.batch import Batch
from headrace.dataplane.native import NONE, lib
from headrace.dataplane.tables import DataPlane, PeerConfig, SessionConfig
from headrace.model import Auth, Cipher, Endpoint, MppeKeys

if TYPE_CHECKING:
    from collections.abc import Iterator


REMOTE = Endpoint.of("198.51.100.7", 40500)
LOCAL = IPv4Address("203.0.113.1")
OWN4 = IPv4Address("10.9.0.2")
OWN6 = IPv6Network("2001:db8:9::/64")
CBC = esp.Transform(Cipher.AES_CBC, 16, Auth.HMAC_SHA1_96)
GCM = esp.Transform(Cipher.AES_GCM16, 20, Auth.NONE)
START_IN = bytes(range(16))
START_OUT = bytes(range(16, 32))


def ip4(size: int = 40, **fields: Any) -> bytes:
    """An IPv4 packet from the peer's inner address."""
    return ip.ip4(bytes(n & 0xFF for n in range(size)), str(OWN4), **fields)


def ip4_out(size: int = 40, **fields: Any) -> bytes:
    """An IPv4 packet to it."""
    return ip.ip4(bytes(n * 7 & 0xFF for n in range(size)), "192.0.2.7", str(OWN4), **fields)


@dataclass
class World:
    """What a test holds in its hands."""

    plane: DataPlane
    peer: int
    session: int
    sa_in: int
    sa_out: int
    theirs: esp.Sa
    """Seals what the peer sends to us."""
    ours: esp.Sa
    """Opens what we send to the peer."""
    config: SessionConfig
    peer_config: PeerConfig
    now: int = 1_000_000_000
    numbers: tuple[int, int, int, int] = (1, 1, 101, 202)
    """Local tunnel and session, remote tunnel and session."""
    batch: Batch = field(default_factory=lambda: Batch(512))

    def update(self, **changes: Any) -> None:
        """Change the session."""
        self.config = replace(self.config, **changes)
        self.plane.update_session(self.session, self.config)

    def open_mppe(self, *, bits: int = 128, stateless: bool = True, inbound: bool = True, outbound: bool = True) -> None:
        """Open MPPE both ways."""
        if inbound:
            self.plane.set_mppe(self.session, MppeKeys(False, bits, stateless, START_IN))
        if outbound:
            self.plane.set_mppe(self.session, MppeKeys(True, bits, stateless, START_OUT))

    # --- from the peer ---

    def frame_in(self, frame: bytes, **fields: Any) -> bytes:
        """L2TP data for our session, in UDP."""
        return l2tp.udp(l2tp.data(self.numbers[0], self.numbers[1], frame, **fields))

    def wire(self, packet: bytes, **fields: Any) -> bytes:
        """A whole ESP packet that carries an IPv4 packet from the peer."""
        return self.theirs.seal(self.frame_in(l2tp.ppp(0x21, packet)), **fields)

    def decap(
        self, packets: list[bytes], kind: int = lib.HR_KIND_UDP4500, *, remote: Endpoint | None = REMOTE
    ) -> list[tuple[str, bytes]]:
        """Status and octets of every packet."""
        self.batch.load(packets, kind, remote=remote)
        self.plane.decap(self.batch, self.now)
        return list(zip(self.batch.statuses(), self.batch.packets(), strict=True))

    def decap1(self, packet: bytes, kind: int = lib.HR_KIND_UDP4500, *, remote: Endpoint | None = REMOTE) -> tuple[str, bytes]:
        """The same for one packet; exactly one counter may move, by one."""
        before = self.plane.counters()
        result = self.decap([packet], kind, remote=remote)[0]
        after = self.plane.counters()
        events = {"exc_moved", "exc_soft_limit", "exc_mppe_reset"}
        moved = {label: after[label][0] - before[label][0] for label in after if after[label] != before[label]}
        assert {label: n for label, n in moved.items() if label not in events} == {result[0]: 1}
        return result

    # --- to the peer ---

    def encap(
        self, packets: list[bytes], kind: int = lib.HR_KIND_IP, *, session: int | None = None, peer: int = NONE, **fields: Any
    ) -> list[tuple[str, bytes]]:
        """Status and octets of every packet."""
        self.batch.load(packets, kind, session=self.session if session is None else session, peer=peer, **fields)
        self.plane.encap(self.batch, self.now)
        return list(zip(self.batch.statuses(), self.batch.packets(), strict=True))

    def open_esp(self, packet: bytes, high: int = 0) -> bytes:
        """The UDP payload of a packet that we sent."""
        payload, next_header = self.ours.open(packet, high)
        assert next_header == 17
        source, destination, length, checksum = (int.from_bytes(payload[n : n + 2]) for n in (0, 2, 4, 6))
        assert (source, destination) == (self.config.l2tp_local_port, self.config.l2tp_remote_port)
        assert length == len(payload)
        assert checksum == 0
        return payload[8:]

    def unwrap(self, packet: bytes, high: int = 0) -> bytes:
        """The PPP frame of a packet that we sent."""
        message = l2tp.parse_data(self.open_esp(packet, high))
        assert (message.tunnel, message.session) == self.numbers[2:]
        return message.frame


@contextmanager
def world(
    transform: esp.Transform = CBC,
    *,
    udp_encap: bool = True,
    follow: bool = True,
    seq_in: int = 0,
    seq_out: int = 0,
    window: int = 64,
    remote: Endpoint = REMOTE,
    limits: dict[str, Any] | None = None,
    **session: Any,
) -> Iterator[World]:
    """Make one. `session` are fields of SessionConfig, `limits` of EspKeys."""
    with DataPlane(max_peers=8, max_sas=32, max_sessions=8) as plane:
        plane.set_listener(0, LOCAL)
        peer_config = PeerConfig(remote, udp_encap=udp_encap, follow=follow, cookie=77)
        peer = plane.add_peer(peer_config)
        inbound = replace(transform.keys(0x1000, outbound=False), **(limits or {}))
        outbound = replace(transform.keys(0x2000, outbound=True), **(limits or {}))
        sa_in = plane.add_sa(peer, inbound, replay_window=window, seq=seq_in)
        sa_out = plane.add_sa(peer, outbound, seq=seq_out)
        plane.use_sa(sa_out)
        fields: dict[str, Any] = {"open4": True, "open6": True, "own4": OWN4, "own6": OWN6, "cookie": 99}
        config = SessionConfig(peer, 1, 1, 101, 202, **{**fields, **session})
        yield World(
            plane,
            peer,
            plane.add_session(config),
            sa_in,
            sa_out,
            esp.Sa(inbound, seq_in),
            esp.Sa(outbound, seq_out),
            config,
            peer_config,
        )


def sender(*, bits: int = 128, stateless: bool = True, habit: str = "rfc") -> mppe.Sender:
    """The peer's outbound MPPE."""
    return mppe.Sender(mppe.Key(START_IN, bits), stateless, habit)


def receiver(*, bits: int = 128, stateless: bool = True, habit: str = "rfc") -> mppe.Receiver:
    """The peer's inbound MPPE."""
    return mppe.Receiver(mppe.Key(START_OUT, bits), stateless, habit)
