"""The tables of the data plane: peers, security associations, sessions; and the two calls that work a batch.

Indices name records. One that was removed may be given to another record later. Every change takes effect before the method
returns, also in worker threads; a removed record's keys are erased by then. A refused change leaves everything as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Network
from typing import TYPE_CHECKING, Any, Final, Self

from headrace.dataplane.batch import endpoint_of
from headrace.dataplane.counters import read_counters
from headrace.dataplane.native import STATUS, BadDescriptor, DataPlaneError, check, error_text, ffi, lib, start, wipe
from headrace.errors import LocalError
from headrace.model import Auth, Cipher, Compressor, Endpoint, EspKeys, FilterRule, IPAddress, MppeKeys, MppePolicy, VjSlots

if TYPE_CHECKING:
    from types import TracebackType

    from headrace.dataplane.batch import Batch

REPLAY_WINDOW: Final = 1024
"""Packets. Enough for a gigabit path on which a millisecond's worth is reordered."""


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """``struct hr_peer_config``: the other side of one IKE SA."""

    remote: Endpoint
    """Where to send; the port is that of UDP 4500 as mapped by a NAT, or of clear L2TP; meaningless for raw ESP."""
    listener: int = 0
    """Index of the local outer address."""
    udp_encap: bool = False
    follow: bool = False
    """An authenticated packet from elsewhere moves ``remote``."""
    clear: bool = False
    """L2TP without IPsec; refused unless the data plane was made to allow it."""
    l2tp_port: int = 1701
    """Our inner UDP port, which the selectors name."""
    cookie: int = 0
    """The caller's own; comes back with events."""


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """``struct hr_session_config``: one L2TP session."""

    peer: int
    local_tunnel: int
    """Ids that we assigned: what arrives carries them. Never 0."""
    local_session: int
    remote_tunnel: int
    remote_session: int
    l2tp_local_port: int = 1701
    l2tp_remote_port: int = 1701
    send_length: bool = False
    send_sequence: bool = False
    require_sequence: bool = False
    lns: bool = True
    """Whether we decide about numbering (RFC 2661 section 5.4)."""
    send_acfc: bool = False
    send_pfc: bool = False
    mppe_policy: MppePolicy = MppePolicy.WHEN_OPEN
    open4: bool = False
    open6: bool = False
    default_route: bool = False
    """Takes every inner destination that no other session owns. The newest session that says so has it."""
    send_mru: int = 0
    """Octets of PPP information that the peer takes; 0 means 1500."""
    recv_mru: int = 0
    """Octets of PPP information that we take: no frame is expanded beyond it, or beyond 1500 if that is more."""
    mss4: int = 0
    """Largest TCP segment announced in either direction; 0 leaves it."""
    mss6: int = 0
    own4: IPv4Address | None = None
    """The peer's inner address: only source accepted, and routed here. ``None`` accepts any and routes none."""
    own6: IPv6Network | None = None
    rate_rx: int = 0
    """Octets a second from the peer; 0 is no limit."""
    rate_tx: int = 0
    filters: tuple[FilterRule, ...] = ()
    """Where the peer's packets may go: the first rule that fits decides, without one a packet passes. At most ``FILTER_RULES``."""
    cookie: int = 0


@dataclass(frozen=True, slots=True)
class SaStats:
    """``struct hr_sa_stats``."""

    packets: int
    bytes: int
    """Octets from the SPI to the end of the ICV."""
    seq: int
    """Last number used, or highest seen."""
    replayed: int
    auth_failed: int
    last_ns: int
    """Time of the last good packet, by the clock that is passed to ``encap`` and ``decap``; 0 = none yet."""


@dataclass(frozen=True, slots=True)
class SessionStats:
    """``struct hr_session_stats``. Packets and bytes are inner IP; rx is from the peer."""

    rx_packets: int
    rx_bytes: int
    tx_packets: int
    tx_bytes: int
    rx_dropped: int
    tx_dropped: int
    last_rx_ns: int
    last_tx_ns: int
    last_data_ns: int


@dataclass(frozen=True, slots=True)
class SaRecord:
    """An SA as it can be carried on elsewhere: keys and the place in the sequence. Never reused without a leap of ``seq``."""

    keys: EspKeys
    seq: int
    replay_window: int = REPLAY_WINDOW
    soft_packets: int = 0

    def leap(self, margin: int) -> SaRecord:
        """Move an outbound SA past every number that may have been used since the export. An inbound one stays: it opens at ``seq``."""
        return replace(self, seq=self.seq + margin) if self.keys.outbound else self


@dataclass(frozen=True, slots=True)
class MppeRecord:
    """One direction of MPPE as it can be carried on elsewhere."""

    keys: MppeKeys
    count: int
    """Coherency count of the next packet, 0 to 4095."""
    key_count: int
    """The count at which ``session_key`` stood."""
    session_key: bytes = field(repr=False)

    def leap(self, margin: int) -> MppeRecord:
        """Move the outbound direction past every count that may have been used since the export; the key follows.

        ``margin`` is less than 2048: a receiver takes a count further ahead for one behind.
        """
        return replace(self, count=(self.count + margin) % 4096) if self.keys.outbound else self


@dataclass(frozen=True, slots=True)
class PlaneEvent:
    """``struct hr_dp_event``: what a packet caused beside its own fate."""

    what: str
    """``exc_moved``, ``exc_soft_limit`` or ``exc_mppe_reset`` (of stateful encryption or compression)."""
    peer: int
    sa: int
    session: int
    cookie: int
    seq: int
    remote: Endpoint | None


class DataPlane:
    """One set of tables with its counters. A context manager: leaving it erases all keys.

    ``handle`` is the ``struct hr_dp *``. It must outlive every engine made of it.
    """

    def __init__(
        self, *, max_peers: int = 1024, max_sas: int = 4096, max_sessions: int = 1024, allow_clear_l2tp: bool = False
    ) -> None:
        """Make empty tables of these sizes. Raises ``DataPlaneError`` if the kernels fail, or for sizes outside of 1 to 2^22."""
        start()
        config = ffi.new("struct hr_dp_config *")
        try:
            config.max_peers, config.max_sas, config.max_sessions = max_peers, max_sas, max_sessions
        except OverflowError as error:
            raise DataPlaneError(f"impossible table sizes: {error}") from None
        config.allow_clear_l2tp = allow_clear_l2tp
        self._dp: Any = lib.hr_dp_new(config)
        if self._dp == ffi.NULL:
            raise DataPlaneError(
                f"no tables for {max_peers} peers, {max_sas} SAs, {max_sessions} sessions: out of range or out of memory"
            )

    @property
    def handle(self) -> Any:
        """``struct hr_dp *``. Raises ``LocalError`` after ``close``."""
        if self._dp == ffi.NULL:
            raise LocalError("the data plane is closed")
        return self._dp

    def close(self) -> None:
        """Erase and free everything. No engine and no other thread may be using it any more. Harmless the second time."""
        if self._dp != ffi.NULL:
            lib.hr_dp_free(self._dp)
            self._dp = ffi.NULL

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # --- packets ----------------------------------------------------------------------------------------------------------------

    def encap(self, batch: Batch, now_ns: int) -> None:
        """Payload to wire, in place. ``now_ns`` is a monotonic clock in nanoseconds.

        Raises ``BadDescriptor`` before any packet is touched, ``DataPlaneError`` for a batch that is too large.
        """
        self._work(lib.hr_encap(self.handle, batch.pointer, now_ns), batch, "encapsulating")

    def decap(self, batch: Batch, now_ns: int) -> None:
        """Wire to payload, in place. Raises as ``encap`` does."""
        self._work(lib.hr_decap(self.handle, batch.pointer, now_ns), batch, "decapsulating")

    def line_encap(self, batch: Batch, now_ns: int) -> None:
        """Packets of a session that has a line of its own to PPP frames, in place. Raises as ``encap`` does."""
        self._work(lib.hr_line_encap(self.handle, batch.pointer, now_ns), batch, "framing for a line")

    def line_decap(self, batch: Batch, now_ns: int) -> None:
        """PPP frames of such a session to packets, in place. Raises as ``encap`` does."""
        self._work(lib.hr_line_decap(self.handle, batch.pointer, now_ns), batch, "reading frames of a line")

    @staticmethod
    def _work(code: int, batch: Batch, doing: str) -> None:
        if code == lib.HR_E_DESCRIPTOR:
            index = int(batch.pointer.bad_index)
            raise BadDescriptor(f"{doing}: descriptor {index}: {error_text(code)}", index)
        check(code, doing)

    def events(self, most: int = 256) -> list[PlaneEvent]:
        """Take waiting events, oldest first."""
        found = ffi.new("struct hr_dp_event[]", most)
        count = lib.hr_dp_events(self.handle, found, most)
        return [
            PlaneEvent(
                STATUS[event.type],
                event.peer,
                event.sa,
                event.session,
                event.cookie,
                event.seq,
                endpoint_of(event.remote.family, bytes(event.remote.addr), event.remote.port),
            )
            for event in found[0:count]
        ]

    def counters(self) -> dict[str, tuple[int, int]]:
        """Return packets and octets by the label of a status, since the start."""
        return read_counters(self.handle)

    def set_listener(self, listener: int, address: IPAddress | None) -> None:
        """Say what a listener's outer address is: what leads back to it is a loop, and UDP checksums over IPv6 need it."""
        endpoint = ffi.new("struct hr_endpoint *")
        if address is not None:
            _set_endpoint(endpoint, Endpoint(address, 0))
        check(lib.hr_dp_listener(self.handle, listener, endpoint), f"listener {listener}")

    # --- peers --------------------------------------------------------------------------------------------------------------------

    def add_peer(self, config: PeerConfig) -> int:
        """Make a peer; its index. Raises ``TableFull``, ``InUse`` (another clear peer has the address), ``DataPlaneError``."""
        index = ffi.new("uint32_t *")
        check(lib.hr_peer_add(self.handle, _peer(config), index), f"adding peer {config.remote}")
        return int(index[0])

    def update_peer(self, index: int, config: PeerConfig) -> None:
        """Replace a peer's settings. Raises ``NoSuchRecord`` and as ``add_peer`` does."""
        check(lib.hr_peer_update(self.handle, index, _peer(config)), f"updating peer {index}")

    def peer(self, index: int) -> PeerConfig:
        """Return a peer's settings, ``remote`` as it is now. Raises ``NoSuchRecord``."""
        config = ffi.new("struct hr_peer_config *")
        check(lib.hr_peer_get(self.handle, index, config), f"peer {index}")
        remote = endpoint_of(config.remote.family, bytes(config.remote.addr), config.remote.port)
        assert remote is not None
        return PeerConfig(
            remote,
            listener=config.listener,
            udp_encap=bool(config.udp_encap),
            follow=bool(config.follow),
            clear=bool(config.clear),
            l2tp_port=config.l2tp_port,
            cookie=config.cookie,
        )

    def remove_peer(self, index: int) -> None:
        """Remove a peer with its SAs and sessions. Raises ``NoSuchRecord``."""
        check(lib.hr_peer_remove(self.handle, index), f"removing peer {index}")

    # --- SAs ------------------------------------------------------------------------------------------------------------------------

    def add_sa(
        self, peer: int, keys: EspKeys, *, replay_window: int = REPLAY_WINDOW, seq: int = 0, soft_packets: int = 0
    ) -> int:
        """Make an SA; its index. An outbound one is idle until ``use_sa``. ``seq`` is the last number used or the highest seen.

        Raises ``TableFull``, ``InUse`` (inbound SPI), ``NoSuchRecord`` (peer), ``DataPlaneError`` (keys that do not fit the transform,
        no authentication, a reserved SPI, a window that is not 32 to 4096 in steps of 32).
        """
        if len(keys.enc_key) > _ENC_KEY or len(keys.auth_key) > _AUTH_KEY:
            raise DataPlaneError("adding an SA: a key is longer than any transform's")
        config = ffi.new("struct hr_sa_config *")
        index = ffi.new("uint32_t *")
        try:
            config.spi = keys.spi
            config.peer = peer
            config.outbound = keys.outbound
            config.cipher = keys.cipher
            config.auth = keys.auth
            config.esn = keys.esn
            config.replay_window = replay_window
            config.enc_key_len = len(keys.enc_key)
            config.auth_key_len = len(keys.auth_key)
            ffi.memmove(config.enc_key, keys.enc_key, len(keys.enc_key))
            ffi.memmove(config.auth_key, keys.auth_key, len(keys.auth_key))
            config.seq = seq
            config.soft_bytes = keys.soft_bytes
            config.hard_bytes = keys.hard_bytes
            config.soft_packets = soft_packets
            check(lib.hr_sa_add(self.handle, config, index), f"adding SA {keys.spi:#010x}")
        except OverflowError as error:
            raise DataPlaneError(f"adding an SA: {error}") from None
        finally:
            wipe(config)
        return int(index[0])

    def import_sa(self, peer: int, record: SaRecord) -> int:
        """Carry an exported SA on; its index. Raises as ``add_sa`` does."""
        return self.add_sa(
            peer, record.keys, replay_window=record.replay_window, seq=record.seq, soft_packets=record.soft_packets
        )

    def export_sa(self, index: int) -> SaRecord:
        """Return an SA's keys and place in the sequence. Raises ``NoSuchRecord``."""
        config = ffi.new("struct hr_sa_config *")
        try:
            check(lib.hr_sa_export(self.handle, index, config), f"SA {index}")
            keys = EspKeys(
                spi=config.spi,
                outbound=bool(config.outbound),
                cipher=Cipher(config.cipher),
                auth=Auth(config.auth),
                enc_key=bytes(config.enc_key)[: config.enc_key_len],
                auth_key=bytes(config.auth_key)[: config.auth_key_len],
                esn=bool(config.esn),
                soft_bytes=config.soft_bytes,
                hard_bytes=config.hard_bytes,
            )
            return SaRecord(keys, config.seq, config.replay_window or REPLAY_WINDOW, config.soft_packets)
        finally:
            wipe(config)

    def use_sa(self, index: int) -> None:
        """Send everything of the SA's peer through it from now on. Raises ``NoSuchRecord``, ``DataPlaneError`` for an inbound one."""
        check(lib.hr_sa_use(self.handle, index), f"using SA {index}")

    def sa_stats(self, index: int) -> SaStats:
        """Return an SA's sums. Raises ``NoSuchRecord``."""
        stats = ffi.new("struct hr_sa_stats *")
        check(lib.hr_sa_stats(self.handle, index, stats), f"SA {index}")
        return SaStats(stats.packets, stats.bytes, stats.seq, stats.replayed, stats.auth_failed, stats.last_ns)

    def remove_sa(self, index: int) -> None:
        """Remove an SA. Raises ``NoSuchRecord``."""
        check(lib.hr_sa_remove(self.handle, index), f"removing SA {index}")

    # --- sessions -----------------------------------------------------------------------------------------------------------------

    def add_session(self, config: SessionConfig) -> int:
        """Make a session; its index.

        Raises ``TableFull``, ``InUse`` (its local ids, or its inner address or prefix), ``NoSuchRecord`` (peer), ``DataPlaneError``.
        """
        index = ffi.new("uint32_t *")
        doing = f"adding session {config.local_tunnel}/{config.local_session}"
        check(lib.hr_session_add(self.handle, _session(config), index), doing)
        return int(index[0])

    def update_session(self, index: int, config: SessionConfig) -> None:
        """Replace a session's settings; peer and local ids cannot change; numbering and MPPE go on. Raises as ``add_session`` does."""
        check(lib.hr_session_update(self.handle, index, _session(config)), f"updating session {index}")

    def set_mppe(self, index: int, keys: MppeKeys, *, count: int = 0) -> None:
        """Open one direction of MPPE at a coherency count. Raises ``NoSuchRecord``, ``DataPlaneError``."""
        self._mppe(index, keys, count=count)

    def import_mppe(self, index: int, record: MppeRecord) -> None:
        """Carry an exported direction of MPPE on. Raises as ``set_mppe`` does."""
        self._mppe(index, record.keys, count=record.count, key_count=record.key_count, session_key=record.session_key)

    def _mppe(self, index: int, keys: MppeKeys, *, count: int, key_count: int = 0, session_key: bytes | None = None) -> None:
        need = 16 if keys.bits == 128 else 8
        if (
            keys.bits not in {40, 56, 128}
            or len(keys.start_key) < need
            or (session_key is not None and len(session_key) < need)
        ):
            raise DataPlaneError(f"MPPE of session {index}: {keys.bits} bits need a start key of {need} octets")
        config = ffi.new("struct hr_mppe_config *")
        try:
            config.outbound = keys.outbound
            config.bits = keys.bits
            config.stateless = keys.stateless
            config.compression = lib.HR_COMPRESS_MPPC if keys.mppc else lib.HR_COMPRESS_NONE
            config.count = count
            config.key_count = key_count
            ffi.memmove(config.start_key, keys.start_key, need)
            if session_key is not None:
                config.resume = 1
                ffi.memmove(config.session_key, session_key, need)
            check(lib.hr_session_mppe(self.handle, index, config), f"MPPE of session {index}")
        except OverflowError as error:
            raise DataPlaneError(f"MPPE of session {index}: {error}") from None
        finally:
            wipe(config)

    def set_compression(self, index: int, compressor: Compressor, *, outbound: bool) -> None:
        """Compress one direction, without encryption. Raises ``NoSuchRecord``, ``DataPlaneError`` (no zlib here, impossible window)."""
        config = ffi.new("struct hr_mppe_config *")
        try:
            config.outbound = outbound
            config.compression = getattr(lib, f"HR_COMPRESS_{compressor.method.name}")
            config.stateless = compressor.stateless
            config.window = compressor.window
        except OverflowError as error:
            raise DataPlaneError(f"compression of session {index}: {error}") from None
        check(lib.hr_session_mppe(self.handle, index, config), f"compression of session {index}")

    def set_vj(self, index: int, slots: VjSlots) -> None:
        """Set Van Jacobson's compression both ways, afresh; no slots take it away. Raises ``NoSuchRecord``, ``DataPlaneError`` (over 16)."""
        doing = f"TCP/IP header compression of session {index}"
        if not 0 <= min(slots.send, slots.receive) <= max(slots.send, slots.receive) <= _VJ_MOST:
            raise DataPlaneError(f"{doing}: {slots.send} and {slots.receive} slots, at most {_VJ_MOST} are possible")
        check(lib.hr_session_vj(self.handle, index, False, slots.receive, False), doing)
        check(lib.hr_session_vj(self.handle, index, True, slots.send, slots.omit_slot), doing)

    def close_mppe(self, index: int, *, outbound: bool) -> None:
        """Close one direction of MPPE or compression and erase its keys and history. Raises ``NoSuchRecord``."""
        config = ffi.new("struct hr_mppe_config *")
        config.outbound = outbound
        check(lib.hr_session_mppe(self.handle, index, config), f"MPPE of session {index}")

    def flush_mppe(self, index: int) -> None:
        """Answer a CCP Reset-Request: the next packet out has its key set afresh and says so. Raises ``NoSuchRecord``."""
        check(lib.hr_session_mppe_flush(self.handle, index), f"MPPE of session {index}")

    def export_mppe(self, index: int, *, outbound: bool) -> MppeRecord | None:
        """Return one direction of MPPE, ``None`` if it is closed. Raises ``NoSuchRecord``."""
        config = ffi.new("struct hr_mppe_config *")
        try:
            check(lib.hr_session_mppe_export(self.handle, index, outbound, config), f"MPPE of session {index}")
            if config.bits == 0:
                return None
            need = 16 if config.bits == 128 else 8
            mppc = config.compression == lib.HR_COMPRESS_MPPC
            keys = MppeKeys(outbound, config.bits, bool(config.stateless), bytes(config.start_key)[:need], mppc)
            return MppeRecord(keys, config.count, config.key_count, bytes(config.session_key)[:need])
        finally:
            wipe(config)

    def session_stats(self, index: int) -> SessionStats:
        """Return a session's sums. Raises ``NoSuchRecord``."""
        stats = ffi.new("struct hr_session_stats *")
        check(lib.hr_session_stats(self.handle, index, stats), f"session {index}")
        return SessionStats(
            stats.rx_packets,
            stats.rx_bytes,
            stats.tx_packets,
            stats.tx_bytes,
            stats.rx_dropped,
            stats.tx_dropped,
            stats.last_rx_ns,
            stats.last_tx_ns,
            stats.last_data_ns,
        )

    def remove_session(self, index: int) -> None:
        """Remove a session. Raises ``NoSuchRecord``."""
        check(lib.hr_session_remove(self.handle, index), f"removing session {index}")


_VJ_MOST: Final = 16
_ENC_KEY: Final[int] = ffi.sizeof(ffi.new("struct hr_sa_config *").enc_key)
_AUTH_KEY: Final[int] = ffi.sizeof(ffi.new("struct hr_sa_config *").auth_key)


def _set_endpoint(place: Any, endpoint: Endpoint) -> None:
    packed = endpoint.address.packed
    ffi.memmove(place.addr, packed, len(packed))
    place.family = endpoint.address.version
    place.port = endpoint.port


def _peer(config: PeerConfig) -> Any:
    made = ffi.new("struct hr_peer_config *")
    try:
        _set_endpoint(made.remote, config.remote)
        made.listener = config.listener
        made.udp_encap = config.udp_encap
        made.follow = config.follow
        made.clear = config.clear
        made.l2tp_port = config.l2tp_port
        made.cookie = config.cookie
    except OverflowError as error:
        raise DataPlaneError(f"peer {config.remote}: {error}") from None
    return made


_SESSION_PLAIN: Final = tuple(
    name
    for name, _ in ffi.typeof("struct hr_session_config").fields
    if name not in {"own4", "own6", "own6_len", "tun", "filter", "filter_n"}
)
"""Fields that are integers on both sides, under the same names."""


def _session(config: SessionConfig) -> Any:
    made = ffi.new("struct hr_session_config *")
    try:
        for name in _SESSION_PLAIN:
            setattr(made, name, getattr(config, name))
    except OverflowError as error:
        raise DataPlaneError(f"session {config.local_tunnel}/{config.local_session}: {name}: {error}") from None
    if config.own4 is not None:
        ffi.memmove(made.own4, config.own4.packed, 4)
    if config.own6 is not None:
        ffi.memmove(made.own6, config.own6.network_address.packed, 16)
        made.own6_len = config.own6.prefixlen
    if len(config.filters) > lib.HR_FILTER_RULES:
        raise DataPlaneError(f"{len(config.filters)} filter rules, {lib.HR_FILTER_RULES} are the most")
    made.filter_n = len(config.filters)
    for rule, row in zip(config.filters, made.filter, strict=False):
        row.action, row.protocol = rule.action, rule.protocol
        row.first_port, row.last_port = rule.ports
        if rule.destination is not None:
            row.family, row.prefix = rule.destination.version, rule.destination.prefixlen
            packed = rule.destination.network_address.packed
            ffi.memmove(row.destination, packed, len(packed))
    return made
