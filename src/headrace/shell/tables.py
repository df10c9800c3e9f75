"""The data plane's tables as the stack sees them: addresses become listener numbers, a full table becomes ``TableFull``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.dataplane import native
from headrace.dataplane.tables import DataPlane, PeerConfig, SessionConfig, SessionStats
from headrace.stack.tables import TableFull

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.model import Compressor, EspKeys, IPAddress, MppeKeys, VjSlots
    from headrace.shell.sockets import Listener
    from headrace.stack.tables import PeerEntry, SessionEntry


class EngineTables:
    """``headrace.stack.tables.Tables`` over a ``DataPlane``."""

    def __init__(self, plane: DataPlane, listeners: Sequence[Listener], *, replay_window: int = 1024) -> None:
        self._plane = plane
        self._replay_window = replay_window
        self._numbers: dict[IPAddress, int] = {listener.address: number for number, listener in enumerate(listeners)}
        for address, number in self._numbers.items():
            plane.set_listener(number, address)
        self._inbound: dict[int, int] = {}
        """Inbound SPI by SA index: the data plane would refuse a second one, IKE asks before it draws."""
        self._spis: set[int] = set()

    def spi_free(self, spi: int) -> bool:
        """Whether no inbound SA has this SPI."""
        return spi not in self._spis

    def add_peer(self, entry: PeerEntry) -> int:
        """See ``Tables``."""
        try:
            return self._plane.add_peer(self._peer(entry))
        except native.TableFull as error:
            raise TableFull(str(error)) from error

    def update_peer(self, index: int, entry: PeerEntry) -> None:
        """See ``Tables``."""
        self._plane.update_peer(index, self._peer(entry))

    def _peer(self, entry: PeerEntry) -> PeerConfig:
        return PeerConfig(
            remote=entry.remote,
            listener=self._numbers[entry.local.address],
            udp_encap=entry.udp_encap,
            follow=entry.follow,
            clear=entry.clear,
            l2tp_port=entry.l2tp_port,
            cookie=entry.cookie,
        )

    def add_sa(self, peer: int, keys: EspKeys) -> int:
        """See ``Tables``."""
        try:
            index = self._plane.add_sa(peer, keys, replay_window=self._replay_window)
        except native.TableFull as error:
            raise TableFull(str(error)) from error
        if not keys.outbound:
            self._inbound[index] = keys.spi
            self._spis.add(keys.spi)
        return index

    def use_sa(self, index: int) -> None:
        """See ``Tables``."""
        self._plane.use_sa(index)

    def remove_sa(self, index: int) -> None:
        """See ``Tables``."""
        self._plane.remove_sa(index)
        spi = self._inbound.pop(index, None)
        if spi is not None:
            self._spis.discard(spi)

    def remove_peer(self, index: int) -> None:
        """See ``Tables``."""
        self._plane.remove_peer(index)

    def add_session(self, entry: SessionEntry) -> int:
        """See ``Tables``."""
        try:
            return self._plane.add_session(_session(entry))
        except native.TableFull as error:
            raise TableFull(str(error)) from error

    def update_session(self, index: int, entry: SessionEntry) -> None:
        """See ``Tables``."""
        self._plane.update_session(index, _session(entry))

    def set_mppe(self, index: int, keys: MppeKeys) -> None:
        """See ``Tables``."""
        self._plane.set_mppe(index, keys)

    def set_compression(self, index: int, send: Compressor | None, receive: Compressor | None) -> None:
        """See ``Tables``."""
        for outbound, compressor in ((False, receive), (True, send)):
            if compressor is None:
                self._plane.close_mppe(index, outbound=outbound)
            else:
                self._plane.set_compression(index, compressor, outbound=outbound)

    def set_vj(self, index: int, slots: VjSlots) -> None:
        """See ``Tables``."""
        self._plane.set_vj(index, slots)

    def close_mppe(self, index: int) -> None:
        """See ``Tables``."""
        for outbound in (False, True):
            self._plane.close_mppe(index, outbound=outbound)

    def flush_mppe(self, index: int) -> None:
        """See ``Tables``."""
        self._plane.flush_mppe(index)

    def remove_session(self, index: int) -> None:
        """See ``Tables``."""
        self._plane.remove_session(index)

    def sa_packets(self, index: int) -> int:
        """See ``Tables``."""
        return self._plane.sa_stats(index).packets

    def session_packets(self, index: int) -> tuple[int, int]:
        """See ``Tables``."""
        stats = self._plane.session_stats(index)
        return stats.rx_packets, stats.tx_packets

    def session_octets(self, index: int) -> tuple[int, int]:
        """See ``Tables``."""
        stats = self._plane.session_stats(index)
        return stats.rx_bytes, stats.tx_bytes

    def session_stats(self, index: int) -> SessionStats:
        """What a session has carried."""
        return self._plane.session_stats(index)


def _session(entry: SessionEntry) -> SessionConfig:
    return SessionConfig(
        peer=entry.peer,
        local_tunnel=entry.local_tunnel,
        local_session=entry.local_session,
        remote_tunnel=entry.remote_tunnel,
        remote_session=entry.remote_session,
        l2tp_local_port=entry.local_port,
        l2tp_remote_port=entry.remote_port,
        send_length=entry.send_length,
        send_sequence=entry.send_sequence,
        require_sequence=entry.require_sequence,
        lns=entry.lns,
        send_acfc=entry.send_acfc,
        send_pfc=entry.send_pfc,
        mppe_policy=entry.mppe_policy,
        open4=entry.open4,
        open6=entry.open6,
        default_route=entry.default_route,
        send_mru=entry.send_mru,
        recv_mru=entry.recv_mru,
        mss4=entry.mss4,
        mss6=entry.mss6,
        own4=entry.own4,
        own6=entry.own6,
        rate_rx=entry.rate_rx,
        rate_tx=entry.rate_tx,
        filters=entry.filters,
        cookie=entry.cookie,
    )
