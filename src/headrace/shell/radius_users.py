"""The gateway's RADIUS: who may come in, what is told of sessions, and what a server may change in them.

One way in for each: ``judge`` for a proof, ``up`` and ``down`` for a session; CoA and Disconnect come by a socket of their own. Accounting
goes through the spool and is sent from there, one record after the other: no session ever waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from headrace.access.radius_grant import Challenged, RadiusGrant, change_limits, read_answer
from headrace.access.radius_request import METHODS, CannotAsk, Line, access_request
from headrace.access.radius_select import Live, select
from headrace.errors import Slug
from headrace.model import Endpoint, Failure, SessionLimits
from headrace.ppp.config import AuthMethod, AuthReject
from headrace.radius import accounting
from headrace.radius.client import Answered, Timing, Unanswered
from headrace.radius.client import Server as ClientServer
from headrace.radius.dynauth import Asked, DynAuth
from headrace.radius.names import Attr, Cause, Code, ErrorCause, Status
from headrace.radius.packet import PACKET_MAX, Attribute, address, number, text
from headrace.shell.radius_transport import RadiusTransport
from headrace.shell.spool import Spool

if TYPE_CHECKING:
    from typing import Protocol

    from headrace.ppp.config import AuthResult
    from headrace.radius.accounting import Traffic
    from headrace.shell.config import RadiusSection
    from headrace.stack import events

    class Steering(Protocol):
        """What the gateway lets a RADIUS server do."""

        def traffic(self, session: int) -> Traffic | None:
            """What a session has carried; ``None`` if it is gone."""

        def disconnect(self, session: int, failure: Failure) -> bool:
            """End a session."""

        def set_limits(self, session: int, limits: SessionLimits) -> bool:
            """Give a session other limits."""

        def tell(self, words: str) -> None:
            """Something that the operator should know."""


_FAREWELL: Final = 3.0
"""Seconds at the end for records that are still to be delivered; the others are delivered after the next start."""
_TICK: Final = 5.0
"""Seconds between looks for interim records that are due."""

log = logging.getLogger("headrace.radius")


@dataclass(slots=True)
class _Session:
    """What is kept of a session from its first proof to its last record."""

    line: Line
    user: str = ""
    by_radius: bool = False
    state: bytes = field(default=b"", repr=False)
    """Of the server's last challenge."""
    server: int | None = None
    """Who sent it."""
    classes: tuple[bytes, ...] = ()
    interim: float = 0.0
    due: float = 0.0
    limits: SessionLimits = field(default_factory=SessionLimits)
    record: events.SessionRecord | None = None
    """From when it is up."""


class RadiusUsers:
    """RADIUS for one gateway. ``open`` it in the running loop, ``close`` it at the end."""

    def __init__(self, config: RadiusSection, *, name: str, steering: Steering) -> None:
        self._config = config
        self._name = config.nas_identifier or name
        self._steering = steering
        self._sessions: dict[int, _Session] = {}
        self._boot = f"{int(time.time()):08x}"
        self._tasks: list[asyncio.Task[None]] = []
        self._auth: RadiusTransport | None = None
        self._acct: RadiusTransport | None = None
        self._spool: Spool | None = None
        self._filled = asyncio.Event()
        self._dynauth: DynAuth | None = None
        self._doors: list[socket.socket] = []

    @property
    def asked(self) -> bool:
        """Whether users are asked about at all."""
        return any(server.auth for server in self._config.servers)

    # --- opening and closing --------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open sockets and spool. Raises ``SpoolError`` or ``OSError``."""
        config = self._config
        timing = Timing(config.timeout, config.tries, config.dead_time, config.status_interval)
        auth = [(Endpoint(s.address, s.port), self._server(s.address, s.port, s.secret)) for s in config.servers if s.auth]
        acct = [
            (Endpoint(s.address, s.accounting_port), self._server(s.address, s.accounting_port, s.secret))
            for s in config.servers
            if s.accounting
        ]
        if auth:
            self._auth = RadiusTransport(auth, timing, self._steering.tell)
        if acct:
            self._acct = RadiusTransport(acct, timing, self._steering.tell)
            self._spool = Spool(config.spool, config.spool_max)
            self._tell(Status.ON)
            self._tasks += [asyncio.create_task(self._deliver()), asyncio.create_task(self._watch())]
        if config.dynauth_port:
            self._open_dynauth()

    def _server(self, where: object, port: int, secret: bytes) -> ClientServer:
        config = self._config
        return ClientServer(f"{where}:{port}", secret, config.require_message_authenticator, config.status_server)

    def _open_dynauth(self) -> None:
        config = self._config
        clients = {server.address: server.secret for server in config.servers}
        self._dynauth = DynAuth(clients, need_message_authenticator=config.require_message_authenticator)
        for where in config.dynauth_listen:
            door = socket.socket(socket.AF_INET if where.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
            self._doors.append(door)
            door.setblocking(False)
            if where.version == 6:
                door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            door.bind((str(where), config.dynauth_port))
            asyncio.get_running_loop().add_reader(door, self._knock, door)

    async def close(self) -> None:
        """Say that we go, and give the records that wait a moment."""
        loop = asyncio.get_running_loop()
        for door in self._doors:
            loop.remove_reader(door)
            door.close()
        if self._spool is not None:
            self._tell(Status.OFF)
            deadline = loop.time() + _FAREWELL
            while len(self._spool) and loop.time() < deadline and self._acct is not None and any(self._acct.client.alive()):
                await asyncio.sleep(0.02)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for transport in (self._auth, self._acct):
            if transport is not None:
                transport.close()
        if self._spool is not None:
            self._spool.close()

    def status(self) -> dict[str, object]:
        """For ``headrace status``."""
        out: dict[str, object] = {}
        for name, transport in (("auth", self._auth), ("accounting", self._acct)):
            if transport is not None:
                servers = dict(zip(transport.names, transport.client.alive(), strict=True))
                out[name] = {"servers": servers, "in_flight": transport.client.in_flight, "drops": dict(transport.client.drops)}
        if self._spool is not None:
            out["spooled"], out["lost"] = len(self._spool), self._spool.lost
        if self._dynauth is not None:
            out["dynauth_drops"] = dict(self._dynauth.drops)
        return out

    # --- who may come in ------------------------------------------------------------------------------------------------------

    def begin(self, record: events.SessionRecord) -> _Session:
        """What is kept of a session, from now on if it is new."""
        found = self._sessions.get(record.handle)
        if found is None:
            config, peer = self._config, record.peer
            line = Line(
                self._name,
                config.nas_address or peer.local.address,
                f"{self._boot}-{record.handle:08x}",
                record.index,
                peer.remote,
                peer.local,
                peer.host_name or record.host_name,
                config.attributes,
            )
            found = self._sessions[record.handle] = _Session(line)
        return found

    async def judge(self, event: events.AuthNeeded) -> AuthResult:
        """Have a server judge a proof."""
        request, session = event.request, self.begin(event.session)
        if self._auth is None or request.method not in METHODS:
            return AuthReject(Slug.INTERNAL, f"RADIUS cannot be asked about {request.method}")
        if request.method is AuthMethod.EAP and len(request.response) > 4 and request.response[4] == 1:
            session.state, session.server = b"", None  # an identity begins a new conversation
        try:
            attributes = access_request(request, session.line, state=session.state)
            answer = await self._auth.ask(Code.ACCESS_REQUEST, attributes, server=session.server)
        except (CannotAsk, ValueError) as error:
            return AuthReject(Slug.AUTH_FAILED, f"not asked: {error}")
        session.state, session.server = b"", None
        if isinstance(answer, Unanswered):
            return AuthReject(Slug.RADIUS_TIMEOUT, answer.detail)
        return self._read(session, event, answer)

    def _read(self, session: _Session, event: events.AuthNeeded, answer: Answered) -> AuthResult:
        assert self._auth is not None
        verdict = read_answer(
            answer.packet,
            event.request,
            secret=self._auth.secrets[answer.server],
            authenticator=answer.authenticator,
            filters=self._config.filters,
        )
        if isinstance(verdict, Challenged):
            session.state, session.server = verdict.state, answer.server
            return verdict.proceed
        if isinstance(verdict, AuthReject):
            return verdict
        self._remember(session, verdict)
        for note in verdict.notes:
            log.warning("%s of RADIUS server %s: %s", verdict.accept.username, self._auth.names[answer.server], note)
        return verdict.accept

    def _remember(self, session: _Session, grant: RadiusGrant) -> None:
        session.by_radius = True
        session.classes = grant.classes
        session.interim = self._config.interim_interval if grant.interim is None else grant.interim
        session.limits = grant.accept.limits

    # --- what is told -----------------------------------------------------------------------------------------------------------

    def up(self, record: events.SessionRecord) -> None:
        """A session is up."""
        session = self.begin(record)
        session.record, session.user = record, record.username
        if not session.by_radius:
            session.interim = self._config.interim_interval
        if session.interim:
            session.due = time.monotonic() + session.interim
        self._account(session, Status.START)

    def down(self, record: events.SessionRecord, failure: Failure, *, by_peer: bool) -> None:
        """A session is over, whether or not it was up."""
        session = self._sessions.pop(record.handle, None)
        if session is not None and session.record is not None:
            self._account(session, Status.STOP, accounting.cause_of(failure.slug, by_peer=by_peer))

    def forget(self, session: int) -> None:
        """A session ended before its proof was judged. Harmless for one that is not known."""
        self._sessions.pop(session, None)

    def _account(self, session: _Session, status: Status, cause: Cause | None = None) -> None:
        if self._spool is None or session.record is None:
            return
        record, now = session.record, time.time()
        traffic = self._steering.traffic(record.handle) if status is not Status.START else None
        out = [text(Attr.USER_NAME, session.user), *session.line.attributes()]
        if record.remote_address is not None:
            out.append(address(record.remote_address, Attr.FRAMED_IP_ADDRESS, Attr.FRAMED_IPV6_ADDRESS))
        if record.prefix6 is not None:
            prefix = bytes((0, record.prefix6.prefixlen)) + record.prefix6.network_address.packed
            out.append(Attribute(Attr.FRAMED_IPV6_PREFIX, prefix))
        out += [Attribute(Attr.CLASS, value) for value in session.classes]
        out.append(number(Attr.ACCT_AUTHENTIC, 1 if session.by_radius else 2))
        out.append(text(Attr.CONNECT_INFO, f"{record.peer.esp_proposal or 'clear'} {record.mppe}".strip()))
        out += accounting.record(status, now, traffic, cause)
        self._put(now, tuple(out), needed=status is not Status.INTERIM)

    def _tell(self, status: Status) -> None:
        """Accounting-On and -Off: what was before is over."""
        now = time.time()
        own = self._config.nas_address or ip_address("127.0.0.1")
        out = (
            text(Attr.NAS_IDENTIFIER, self._name),
            address(own, Attr.NAS_IP_ADDRESS, Attr.NAS_IPV6_ADDRESS),
            text(Attr.ACCT_SESSION_ID, f"{self._boot}-{'00000000' if status is Status.ON else 'ffffffff'}"),
            *accounting.record(status, now),
        )
        self._put(now, out)

    def _put(self, moment: float, attributes: tuple[Attribute, ...], *, needed: bool = True) -> None:
        assert self._spool is not None
        self._spool.add(moment, attributes, needed=needed)
        self._filled.set()

    async def _deliver(self) -> None:
        """Send what is spooled, one record after the other."""
        assert self._spool is not None
        assert self._acct is not None
        while True:
            record = self._spool.oldest()
            if record is None:
                self._filled.clear()
                await self._filled.wait()
                continue
            late = number(Attr.ACCT_DELAY_TIME, max(0, int(time.time() - record.moment)))
            try:
                answer = await self._acct.ask(Code.ACCOUNTING_REQUEST, (*record.attributes, late))
            except ValueError as error:
                log.warning("an accounting record cannot be sent: %s", error)
                self._spool.done(record.number)
                continue
            if isinstance(answer, Answered):
                self._spool.done(record.number)
            else:
                await asyncio.sleep(self._config.status_interval)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            now = time.monotonic()
            for session in list(self._sessions.values()):
                if session.record is not None and session.interim and now >= session.due:
                    session.due = now + session.interim
                    self._account(session, Status.INTERIM)

    # --- what a server may change -------------------------------------------------------------------------------------------------

    def _knock(self, door: socket.socket) -> None:
        assert self._dynauth is not None
        for _ in range(64):
            try:
                data, source = door.recvfrom(PACKET_MAX + 1)
            except (BlockingIOError, OSError):
                break
            self._dynauth.receive(data, Endpoint.of(source[0], source[1]), time.monotonic(), time.time())
        for asked in self._dynauth.poll_events():
            self._dynauth.answer(asked.request, self._obey(asked))
        for where, data in self._dynauth.poll_datagrams():
            with suppress(OSError):
                door.sendto(data, (str(where.address), where.port))

    def _live(self) -> list[Live]:
        return [
            Live(handle, s.user, s.line, s.record.remote_address, s.record.prefix6, s.classes)
            for handle, s in self._sessions.items()
            if s.record is not None
        ]

    def _obey(self, asked: Asked) -> ErrorCause | None:
        """Do what is asked; why not, if not."""
        own = {session.line.nas_address for session in self._sessions.values()}
        if self._config.nas_address is not None:
            own.add(self._config.nas_address)
        found = select(asked.packet, self._live(), self._name, frozenset(own))
        if isinstance(found, ErrorCause):
            words = found.name.lower().replace("_", " ")
            log.warning("refused %s of %s: %s", Code(asked.packet.code).name, asked.source, words)
            return found
        if asked.disconnect:
            failure = Failure(Slug.COA_DISCONNECT, f"asked for by RADIUS server {asked.source.address}")
            return None if self._steering.disconnect(found, failure) else ErrorCause.SESSION_NOT_FOUND
        session = self._sessions[found]
        try:
            limits = change_limits(asked.packet, session.limits, self._config.filters)
        except ValueError as error:
            log.warning("refused a CoA of %s for %s: %s", asked.source, session.user, error)
            return ErrorCause.INVALID_ATTRIBUTE_VALUE
        session.limits = limits
        return None if self._steering.set_limits(found, limits) else ErrorCause.SESSION_NOT_FOUND
