"""The control socket: one Unix socket, one JSON object a line, requests with ids, subscriptions to the event stream.

::

    -> {"id": 1, "verb": "sessions", "user": "alice"}
    <- {"id": 1, "ok": true, "result": [...]}
    -> {"id": 2, "verb": "disconnect", "session": 7}
    <- {"id": 2, "ok": false, "error": {"reason": "there is no session 7", "remedy": "`headrace sessions` lists them"}}
    -> {"id": 3, "verb": "subscribe", "events": ["session-up", "refused"]}
    <- {"id": 3, "ok": true, "result": {"subscribed": ["session-up", "refused"]}}
    <- {"id": 3, "event": {"event": "session-up", ...}}
    <- {"id": 3, "lost": 12}

Command line, web page and REST are clients of it. What a client can cost is bounded: 64 connections, lines of 1 MiB, 1024 events that
wait for a slow reader (what is above is counted and told), 60 seconds without a whole line unless subscribed, 10 seconds for a reader
that does not read an answer.
"""

from __future__ import annotations

import asyncio
import grp
import json
import logging
import os
import pwd
import socket
import stat
import struct
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from headrace.errors import ConfigError, HeadraceError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
    from pathlib import Path

    from headrace.shell.events import Event

Json: TypeAlias = dict[str, Any]
Handler: TypeAlias = "Callable[[Json], Awaitable[Any]]"

LINE_MAX: Final = 1 << 20
CONNECTIONS_MAX: Final = 64
QUEUE_MAX: Final = 1024
IDLE_TIMEOUT: Final = 60.0
WRITE_TIMEOUT: Final = 10.0
_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid

log = logging.getLogger("headrace.control")


class ControlError(HeadraceError):
    """A request cannot be done. A handler raises it; a client gets it back."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(f"{reason}; {remedy}" if remedy else reason)
        self.reason = reason
        self.remedy = remedy


class ControlUnavailable(ControlError):
    """Nobody answers on the socket."""


def _encode(message: Json) -> bytes:
    return json.dumps(message, ensure_ascii=True, separators=(",", ":"), default=str).encode() + b"\n"


def _failure(request: object, error: ControlError) -> Json:
    return {"id": request, "ok": False, "error": {"reason": error.reason, "remedy": error.remedy}}


def _decode(line: bytes) -> Json:
    """Read one request. Raises ``ControlError``."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise ControlError("not a JSON line", 'send one object a line: {"id": 1, "verb": "status"}') from None
    if not isinstance(message, dict):
        raise ControlError("not a JSON object", 'send one object a line: {"id": 1, "verb": "status"}')
    return message


class _Connection:
    """One client: an outgoing queue, and at most one subscription."""

    def __init__(self, server: ControlServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.owner = False
        """Root or the gateway's own user."""
        self.reader = reader
        self.writer = writer
        self.wanted: frozenset[str] | None = None
        """Events subscribed to; empty is all, ``None`` is no subscription."""
        self.subscription: object = None
        self.waiting: deque[bytes] = deque()
        self.lost = 0
        self.wake = asyncio.Event()

    async def send(self, message: Json) -> None:
        self.writer.write(_encode(message))
        async with asyncio.timeout(WRITE_TIMEOUT):
            await self.writer.drain()

    def publish(self, kind: str, encoded: bytes) -> None:
        if self.wanted is None or (self.wanted and kind not in self.wanted):
            return
        if len(self.waiting) >= QUEUE_MAX:
            self.lost += 1
        else:
            self.waiting.append(encoded)
        self.wake.set()

    async def pump(self) -> None:
        """Write queued events as the reader takes them; a reader that stands still only loses its own."""
        identity = _encode({"id": self.subscription})[:-2]  # without its closing brace and line end
        while True:
            await self.wake.wait()
            self.wake.clear()
            while self.waiting:
                self.writer.write(identity + b',"event":' + self.waiting.popleft() + b"}\n")
                await self.writer.drain()
            if self.lost:
                lost, self.lost = self.lost, 0
                self.writer.write(_encode({"id": self.subscription, "lost": lost}))
                await self.writer.drain()

    async def line(self) -> bytes | None:
        """Read one line, ``None`` at the end. Raises ``ControlError`` for one that is too long or does not come."""
        try:
            async with asyncio.timeout(None if self.wanted is not None else self.server.idle_timeout):
                return await self.reader.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            return None
        except asyncio.LimitOverrunError:
            raise ControlError(f"the line is longer than {LINE_MAX} octets", "send shorter requests") from None
        except TimeoutError:
            raise ControlError("nothing was asked for too long", "connect again when there is something to ask") from None

    async def serve(self) -> None:
        pump: asyncio.Task[None] | None = None
        try:
            while True:
                try:
                    line = await self.line()
                except ControlError as error:
                    await self.send(_failure(None, error))
                    return
                if line is None:
                    return
                await self.send(await self.answer(line))
                if self.wanted is not None and pump is None:
                    pump = asyncio.create_task(self.pump())
        finally:
            if pump is not None:
                pump.cancel()
                await asyncio.gather(pump, return_exceptions=True)

    async def answer(self, line: bytes) -> Json:
        identity: object = None
        try:
            request = _decode(line)
            identity = request.get("id")
            if not isinstance(identity, int | float | str | None):
                identity = None
            return {"id": identity, "ok": True, "result": await self.perform(identity, request)}
        except ControlError as error:
            return _failure(identity, error)
        except HeadraceError as error:
            return _failure(identity, ControlError(str(error)))
        except Exception:
            log.exception("a control request failed")
            return _failure(identity, ControlError("internal error", "the gateway's log has it"))

    async def perform(self, identity: object, request: Json) -> Any:
        if identity is None and request.get("id") is not None:
            raise ControlError("id is neither a number nor a text", 'write "id": 1')
        verb = request.get("verb")
        if verb == "subscribe":
            return self.subscribe(identity, request)
        handler = self.server.handlers.get(verb) if isinstance(verb, str) else None
        if handler is None:
            known = ", ".join(sorted([*self.server.handlers, "subscribe"]))
            raise ControlError(f"unknown verb {str(verb)[:40]!r}", f"known: {known}")
        if verb in self.server.owner_only and not self.owner:
            raise ControlError(f"{verb} is for root and the gateway's own user", "use sudo")
        return await handler(request)

    def subscribe(self, identity: object, request: Json) -> Json:
        wanted = request.get("events", [])
        if not isinstance(wanted, list) or not all(isinstance(kind, str) for kind in wanted) or len(wanted) > 64:
            raise ControlError("events is not a list of names", 'write "events": ["session-up"], or leave it out for all')
        if self.wanted is not None:
            raise ControlError("this connection has a subscription", "open another connection")
        self.wanted, self.subscription = frozenset(wanted), identity
        return {"subscribed": wanted}


class ControlServer:
    """Listens on the socket, and passes requests to handlers.

    ``handlers`` maps a verb to an async callable that takes the request and returns something that JSON can hold, or raises
    ``ControlError``. ``group`` names a group whose members are let in beside root and our own user.
    """

    def __init__(
        self,
        path: Path,
        handlers: Mapping[str, Handler],
        *,
        group: str = "",
        idle_timeout: float = IDLE_TIMEOUT,
        owner_only: Collection[str] = (),
    ) -> None:
        """``owner_only`` names verbs that the group may not use."""
        self.owner_only = frozenset(owner_only)
        self.path = path
        self.handlers = dict(handlers)
        self.idle_timeout = idle_timeout
        self._gid = _group_id(group)
        self._server: asyncio.Server | None = None
        self._connections: dict[_Connection, asyncio.Task[None]] = {}
        self._inode: tuple[int, int] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Begin to listen. Raises ``ConfigError`` if another gateway has the socket, or the directory cannot be used."""
        listener = self._bind()
        self._server = await asyncio.start_unix_server(self._accept, sock=listener, limit=LINE_MAX)

    def _bind(self) -> socket.socket:
        _remove_stale(self.path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            mask = os.umask(0o177)  # nobody else, not even between bind and chmod
            try:
                listener.bind(str(self.path))
            finally:
                os.umask(mask)
            if self._gid is not None:
                os.chown(self.path, -1, self._gid)
                self.path.chmod(0o660)
            status = self.path.stat()
            self._inode = (status.st_dev, status.st_ino)
            listener.listen(CONNECTIONS_MAX)
            listener.setblocking(False)
        except OSError as error:
            listener.close()
            raise ConfigError(
                f"control socket {self.path}: {error.strerror or error}; name another place in gateway.control_socket"
            ) from None
        return listener

    async def close(self) -> None:
        """Stop listening, drop every client, remove the socket."""
        if self._server is not None:
            self._server.close()
            self._server = None
        tasks = list(self._connections.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(OSError):
            status = self.path.stat()
            if (status.st_dev, status.st_ino) == self._inode:
                self.path.unlink()

    def publish(self, event: Event | Json) -> None:
        """Pass an event to everyone who subscribed to its kind. Never waits."""
        if not self._connections:
            return
        body = event if isinstance(event, dict) else event.json()
        encoded = _encode(body)[:-1]
        for connection in self._connections:
            connection.publish(str(body.get("event", "")), encoded)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, reader, writer)
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(self._connections) >= CONNECTIONS_MAX:
                await connection.send(_failure(None, ControlError("too many connections", "close some")))
                return
            refusal = self._refusal(connection)
            if refusal is not None:
                log.warning("control socket: refused %s", refusal)
                await connection.send(_failure(None, ControlError("not allowed", "use root, or join gateway.control_group")))
                return
            self._connections[connection] = task
            await connection.serve()
        except (TimeoutError, ConnectionError):
            pass  # a reader that never reads, or has gone
        except asyncio.CancelledError:
            if self._server is not None:
                raise
        finally:
            self._connections.pop(connection, None)
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    def _refusal(self, connection: _Connection) -> str | None:
        """Say who it is if they may not, by the credentials that the kernel vouches for."""
        peer: socket.socket = connection.writer.get_extra_info("socket")
        pid, uid, gid = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        connection.owner = allowed(uid, gid, None)
        return None if allowed(uid, gid, self._gid) else f"user {uid}, process {pid}"


def allowed(uid: int, gid: int, group: int | None) -> bool:
    """Whether a user may control the gateway: root, the gateway's own user, or a member of the group."""
    if uid in {0, os.geteuid()}:
        return True
    if group is None:
        return False
    if gid == group:
        return True
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return False
    return group in os.getgrouplist(name, gid)


def _group_id(name: str) -> int | None:
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(f"gateway.control_group: there is no group {name!r}; create it: groupadd {name}") from None


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on any more. Raises ``ConfigError`` if somebody does, or it is no socket."""
    try:
        status = path.lstat()
    except OSError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise ConfigError(f"{path} exists and is no socket; remove it, or name another place in gateway.control_socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError:
            return  # bind will say what is wrong
    raise ConfigError(f"another gateway listens on {path}; stop it first, or name another gateway.control_socket")


class ControlClient:
    """A plain, blocking client, for the command line."""

    def __init__(self, path: Path, *, timeout: float = 10.0) -> None:
        """Connect. Raises ``ControlUnavailable``."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(timeout)
        self._next = 0
        try:
            self._socket.connect(str(path))
        except FileNotFoundError:
            self._socket.close()
            raise ControlUnavailable(f"no gateway runs here ({path} does not exist)", "start it: headrace serve") from None
        except ConnectionRefusedError:
            self._socket.close()
            raise ControlUnavailable(f"no gateway listens on {path}", "start it: headrace serve") from None
        except PermissionError:
            self._socket.close()
            raise ControlUnavailable(f"not allowed to use {path}", "use sudo, or join gateway.control_group") from None
        except OSError as error:
            self._socket.close()
            raise ControlUnavailable(f"{path}: {error}", "see that --socket names the gateway's control socket") from None
        self._stream = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._stream.close()
        self._socket.close()

    def _receive(self) -> Json:
        try:
            line = self._stream.readline(16 * LINE_MAX)
        except TimeoutError:
            raise ControlUnavailable("the gateway did not answer in time", "try again; its log says what keeps it") from None
        except OSError as error:
            raise ControlUnavailable(f"the gateway hung up: {error}", "try again") from None
        if not line.endswith(b"\n"):
            raise ControlUnavailable("the gateway hung up", "it was stopped, or too many clients are connected")
        message: Json = json.loads(line)
        return message

    def request(self, verb: str, **arguments: Any) -> Any:
        """Ask, and wait for the answer. Raises ``ControlError`` with the gateway's reason, or ``ControlUnavailable``."""
        self._next += 1
        with suppress(OSError):  # refused already: the reason is there to be read
            self._socket.sendall(_encode({"id": self._next, "verb": verb, **arguments}))
        answer = self._receive()
        if answer.get("ok"):
            return answer.get("result")
        error = answer.get("error") or {}
        raise ControlError(str(error.get("reason", "refused")), str(error.get("remedy", "")))

    def events(self, kinds: tuple[str, ...] = ()) -> Iterator[Json]:
        """Subscribe, and give events as they come; ``{"lost": n}`` where this reader was too slow. Ends when the gateway hangs up."""
        self.request("subscribe", events=list(kinds))
        self._socket.settimeout(None)
        while True:
            try:
                message = self._receive()
            except ControlUnavailable:
                return
            yield message["event"] if "event" in message else {"lost": message.get("lost", 0)}
