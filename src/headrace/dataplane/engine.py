"""The workers: started and stopped here, and the two ways between them and the control plane.

Up come *exceptions*: packets that are not user data, and events, read from ``poll_exceptions()`` when ``event_fd`` is readable. Down go
control packets, by ``send()``, through the same pipeline as user data, on the caller's thread.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from headrace.dataplane.batch import endpoint_of
from headrace.dataplane.native import NONE, STATUS, error_text, ffi, lib
from headrace.errors import HeadraceError, LocalError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from headrace.dataplane.tables import DataPlane
    from headrace.model import Endpoint, IPAddress

__all__ = ["NONE", "Engine", "EngineError", "Exception_", "ListenerLike", "Outgoing", "TunLike", "WorkerSocketsLike"]

_LARGEST: Final = 65536
_ARENA: Final = 1 << 20
_TOS: Final = {"copy": lib.HR_TOS_ALL, "ecn": lib.HR_TOS_ECN, "none": lib.HR_TOS_NONE}
_STAT_FIELDS: Final = tuple(name for name, _ in ffi.typeof("struct hr_engine_stats").fields)


class EngineError(HeadraceError):
    """The workers could not be made or started; the message says why."""


class HasFileno(Protocol):
    """A socket, as far as the workers need one."""

    def fileno(self) -> int:
        """The descriptor."""


class WorkerSocketsLike(Protocol):
    """What one worker reads and writes at one local address; see ``headrace.shell.sockets.WorkerSockets``."""

    @property
    def natt(self) -> HasFileno:
        """UDP 4500."""

    @property
    def raw(self) -> HasFileno | None:
        """IP protocol 50."""

    @property
    def clear(self) -> HasFileno | None:
        """UDP 1701."""


class ListenerLike(Protocol):
    """One local outer address; see ``headrace.shell.sockets.Listener``."""

    @property
    def address(self) -> IPAddress:
        """The address itself."""

    @property
    def gso(self) -> bool:
        """Whether the kernel segments UDP."""

    @property
    def sockets(self) -> Sequence[WorkerSocketsLike]:
        """One entry for each worker."""

    def provide(self, workers: int) -> None:
        """Open what is missing for so many workers."""


class TunLike(Protocol):
    """A TUN device; see ``headrace.shell.tun.Tun``."""

    fds: tuple[int, ...]
    mtu: int
    vnet: int


@dataclass(frozen=True, slots=True)
class Exception_:  # noqa: N801 (a packet that is an exception, not a Python one)
    """A packet or event for the control plane."""

    status: str
    """Why it is here: ``exc_ike``, ``exc_l2tp``, ``exc_ppp``, ``exc_clear_l2tp`` carry octets; ``exc_moved``, ``exc_soft_limit``,
    ``exc_mppe_reset`` do not."""
    data: bytes
    listener: int = 0
    """Index of the local outer address that it came to."""
    remote: Endpoint | None = None
    """Outer sender; ``exc_moved``: where the peer is now."""
    peer: int = NONE
    """Index of the record, ``NONE`` if there is none; the same for the next two."""
    session: int = NONE
    sa: int = NONE
    local_port: int = 0
    """Inner UDP ports of an L2TP message, as this side sees them."""
    remote_port: int = 0
    ppp_proto: int = 0
    """Protocol number of a PPP frame."""
    mppe: bool = False
    """The PPP frame was encrypted by MPPE."""
    seq: int = 0
    """ESP sequence number."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A control packet for ``send()``."""

    kind: int
    """``enum hr_kind``."""
    data: bytes
    peer: int = NONE
    session: int = NONE
    local_port: int = 0
    remote_port: int = 0

    @classmethod
    def l2tp(cls, peer: int, data: bytes, *, local_port: int = 1701, remote_port: int = 1701) -> Outgoing:
        """An L2TP control message to a peer, between two inner UDP ports."""
        return cls(lib.HR_KIND_L2TP, data, peer=peer, local_port=local_port, remote_port=remote_port)

    @classmethod
    def ppp(cls, session: int, data: bytes) -> Outgoing:
        """A PPP frame, from its protocol field on, through a session. Network protocols (0021 to 00fa) are encrypted as IP packets are."""
        return cls(lib.HR_KIND_PPP, data, session=session)

    @classmethod
    def ip(cls, session: int, data: bytes) -> Outgoing:
        """An IP packet through a session, like one from the TUN."""
        return cls(lib.HR_KIND_IP, data, session=session)


class Engine:
    """The worker threads of one data plane. A context manager: leaving it stops them and gives their memory back.

    Tables, sockets and TUN stay the caller's, and must outlive the engine.
    """

    def __init__(
        self,
        plane: DataPlane,
        listeners: Sequence[ListenerLike],
        tun: TunLike | None,
        *,
        workers: int = 1,
        batch: int = 256,
        exception_slots: int = 1024,
        udp_gso: bool = True,
        cpus: Sequence[int] = (),
        direct: bool = False,
        tos: str = "copy",
    ) -> None:
        """Make the workers; ``start()`` starts them.

        Each worker has its own sockets at every listener (``provide`` opens them) and its own queue of the TUN. ``batch`` is the
        number of packets a round, ``exception_slots`` the size of the rings in KiB, ``cpus`` the processors to pin workers to.
        ``direct``: packets from one session for another do not go by way of the TUN. ``tos``: what the outer header shows of an inner
        packet's traffic class: ``copy`` all of it, ``ecn`` its last two bits (RFC 6040), ``none``.
        Raises ``LocalError`` for what does not fit together, ``EngineError`` if there is no memory.
        """
        if not 1 <= workers <= lib.HR_WORKERS_MAX:
            raise LocalError(f"{workers} workers: 1 to {lib.HR_WORKERS_MAX} are possible")
        if len(listeners) > lib.HR_LISTENERS_MAX:
            raise LocalError(f"{len(listeners)} local addresses: at most {lib.HR_LISTENERS_MAX} are possible")
        if tos not in _TOS:
            raise LocalError(f"{tos!r} is none of {', '.join(_TOS)}")
        if tun is not None and len(tun.fds) < workers:
            raise LocalError(f"{workers} workers need as many queues of the TUN, which has {len(tun.fds)}")
        for index, listener in enumerate(listeners):
            listener.provide(workers)
            plane.set_listener(index, listener.address)
        self._plane = plane
        self._listeners = tuple(listeners)
        self.event_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        """Readable when ``poll_exceptions()`` has something: for ``loop.add_reader``."""
        config = ffi.new("struct hr_engine_config *")
        config.workers = workers
        config.listeners = len(listeners)
        config.batch = batch
        config.exception_slots = exception_slots
        config.mtu = tun.mtu if tun is not None else 1500
        config.tun_vnet_hdr = tun.vnet if tun is not None else 0
        config.udp_gso = udp_gso and all(listener.gso for listener in listeners)
        config.event_fd = self.event_fd
        config.direct = direct
        config.tos = _TOS[tos]
        own = ffi.new("struct hr_worker_config[]", workers)
        for number in range(workers):
            own[number].tun = tun.fds[number] if tun is not None else -1
            own[number].cpu = cpus[number % len(cpus)] if cpus else -1
            for place, listener in zip(own[number].listener, listeners, strict=False):
                _fill(place, listener, number)
        self._engine: Any = lib.hr_engine_new(plane.handle, config, own)
        if self._engine == ffi.NULL:
            os.close(self.event_fd)
            raise EngineError(f"the workers cannot be made: {os.strerror(ffi.errno)}")
        self._arena = ffi.new("uint8_t[]", _ARENA)
        self._batch = ffi.new("struct hr_batch *")
        self._descriptors = ffi.new("struct hr_desc[]", lib.HR_BATCH_MAX)
        self._batch.arena = self._arena
        self._batch.arena_len = _ARENA
        self._batch.desc = self._descriptors

    # --- life -----------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start every worker. Raises ``EngineError``; then none runs."""
        error = lib.hr_engine_start(self._handle())
        if error:
            number = ffi.errno
            text = error_text(error)
            raise EngineError(f"the workers cannot be started: {text}{f' ({os.strerror(number)})' if number else ''}")

    def stop(self) -> None:
        """End every worker and wait for it. Sockets and TUN are not used any more when this returns. Harmless when none runs."""
        if self._engine != ffi.NULL:
            lib.hr_engine_stop(self._engine)

    def close(self) -> None:
        """Stop, and give the memory back."""
        if self._engine != ffi.NULL:
            lib.hr_engine_free(self._engine)
            self._engine = ffi.NULL
            os.close(self.event_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def alive(self) -> int:
        """Workers that run."""
        return 0 if self._engine == ffi.NULL else int(lib.hr_engine_alive(self._engine))

    def stats(self) -> dict[str, int]:
        """Return the fields of ``struct hr_engine_stats``: sums over all workers since the engine was made."""
        stats = ffi.new("struct hr_engine_stats *")
        lib.hr_engine_stats(self._handle(), stats)
        return {name: int(getattr(stats, name)) for name in _STAT_FIELDS}

    def _handle(self) -> Any:
        if self._engine == ffi.NULL:
            raise LocalError("the engine is closed")
        return self._engine

    # --- packets ----------------------------------------------------------------------------------------------------------------

    def poll_exceptions(self) -> list[Exception_]:
        """Take what waits, at most ``HR_BATCH_MAX`` items; ``event_fd`` stays readable if there is more."""
        engine = self._handle()
        with suppress(BlockingIOError):
            os.eventfd_read(self.event_fd)
        self._batch.n = 0
        count = lib.hr_engine_exceptions(engine, self._batch, _LARGEST)
        if count < 0:
            raise LocalError(f"exceptions cannot be read: {error_text(count)}")
        return [self._exception(self._descriptors[index]) for index in range(count)]

    def _exception(self, desc: Any) -> Exception_:
        status = desc.status
        is_ppp = status == lib.HR_EXC_PPP
        is_l2tp = status in {lib.HR_EXC_L2TP, lib.HR_EXC_CLEAR_L2TP}
        return Exception_(
            status=STATUS[status],
            data=bytes(ffi.buffer(self._arena + desc.off, desc.len)),
            listener=desc.listener,
            remote=endpoint_of(desc.remote.family, bytes(desc.remote.addr), desc.remote.port),
            peer=desc.peer,
            session=desc.session,
            sa=desc.sa,
            local_port=desc.l2tp_local_port if is_l2tp else 0,
            remote_port=desc.l2tp_remote_port if is_l2tp else 0,
            ppp_proto=desc.ppp_proto if is_ppp else 0,
            mppe=bool(desc.flags & lib.HR_FLAG_MPPE),
            seq=desc.seq,
        )

    def send(self, packets: Sequence[Outgoing]) -> list[str]:
        """Encapsulate control packets and send them; one status name for each: ``ok``, or the reason why it was lost.

        Raises ``LocalError`` when the workers do not run, or for a packet that is too long to be one.
        """
        statuses: list[str] = []
        for first in range(0, len(packets), lib.HR_BATCH_MAX):
            statuses += self._send(packets[first : first + lib.HR_BATCH_MAX])
        return statuses

    def _send(self, packets: Sequence[Outgoing]) -> list[str]:
        room = lib.HR_HEADROOM + lib.HR_TAILROOM
        arena = bytearray(sum((len(packet.data) + room + 15) & ~15 for packet in packets))
        batch = ffi.new("struct hr_batch *")
        descriptors = ffi.new("struct hr_desc[]", len(packets))
        at = 0
        for desc, packet in zip(descriptors, packets, strict=True):
            length = len(packet.data)
            if length > _LARGEST - 1:
                raise LocalError(f"a control packet of {length} octets is longer than any can be")
            desc.off = at + lib.HR_HEADROOM
            desc.len = length
            desc.room_head = lib.HR_HEADROOM
            desc.room_tail = lib.HR_TAILROOM
            desc.status = lib.HR_PENDING
            desc.kind = packet.kind
            desc.peer = packet.peer
            desc.session = packet.session
            desc.sa = NONE
            desc.l2tp_local_port = packet.local_port
            desc.l2tp_remote_port = packet.remote_port
            arena[desc.off : desc.off + length] = packet.data
            at += (length + room + 15) & ~15
        batch.arena = ffi.from_buffer("uint8_t[]", arena, require_writable=True)
        batch.arena_len = len(arena)
        batch.desc = descriptors
        batch.n = len(packets)
        error = lib.hr_engine_send(self._handle(), batch, time.monotonic_ns())
        if error:
            raise LocalError(f"control packets cannot be sent: {error_text(error)}")
        return [STATUS[desc.status] for desc in descriptors]


def _fill(place: Any, listener: ListenerLike, worker: int) -> None:
    entry = listener.sockets[worker]
    place.udp4500 = entry.natt.fileno()
    place.raw = entry.raw.fileno() if entry.raw is not None else -1
    place.udp1701 = entry.clear.fileno() if entry.clear is not None else -1
    place.family = listener.address.version
