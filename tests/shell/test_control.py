"""The control socket: what it answers, what it survives, whom it lets in."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from headrace.errors import ConfigError, LocalError
from headrace.shell import control
from headrace.shell.control import (
    CONNECTIONS_MAX,
    LINE_MAX,
    ControlClient,
    ControlError,
    ControlServer,
    ControlUnavailable,
    allowed,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Json = dict[str, Any]


async def status(_: Json) -> Json:
    return {"sessions": 3}


async def disconnect(request: Json) -> Json:
    if request.get("session") != 7:
        raise ControlError(f"there is no session {request.get('session')}", "`headrace sessions` lists them")
    return {"disconnected": 1}


async def broken(_: Json) -> Json:
    raise ZeroDivisionError


async def refusing(_: Json) -> Json:
    raise LocalError("not now")


HANDLERS = {"status": status, "disconnect": disconnect, "broken": broken, "refusing": refusing}


@pytest.fixture
def path() -> Path:
    """A short path: the name of a Unix socket has 107 octets at most."""
    import tempfile

    return Path(tempfile.mkdtemp(prefix="hr")) / "control.sock"


def run(path: Path, body: Callable[[ControlServer], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with ControlServer(path, HANDLERS, **options) as server:
            await asyncio.wait_for(body(server), 20)

    asyncio.run(main())


class Wire:
    """A client that can do everything wrong."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, path: Path) -> Wire:
        return cls(*await asyncio.open_unix_connection(str(path), limit=4 * LINE_MAX))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self) -> Json | None:
        line = await self.reader.readline()
        return json.loads(line) if line else None

    async def ask(self, **message: Any) -> Json | None:
        await self.send(json.dumps(message).encode() + b"\n")
        return await self.receive()

    async def close(self) -> None:
        self.writer.close()
        await asyncio.gather(self.writer.wait_closed(), return_exceptions=True)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def owner_group(path: Path) -> int:
    return path.stat().st_gid


async def settle(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to that")


def test_answers_bear_the_id_of_their_request(path: Path) -> None:
    async def body(_: ControlServer) -> None:
        wire = await Wire.open(path)
        assert await wire.ask(id=1, verb="status") == {"id": 1, "ok": True, "result": {"sessions": 3}}
        assert await wire.ask(id="two", verb="disconnect", session=7) == {
            "id": "two",
            "ok": True,
            "result": {"disconnected": 1},
        }
        assert await wire.ask(id=3, verb="disconnect", session=8) == {
            "id": 3,
            "ok": False,
            "error": {"reason": "there is no session 8", "remedy": "`headrace sessions` lists them"},
        }
        await wire.send(b'{"id":4,"verb":"status"}\n{"id":5,"verb":"status"}\n')
        assert [(await wire.receive() or {})["id"] for _ in range(2)] == [4, 5]
        await wire.close()

    run(path, body)


def test_n212_unknown_command_and_errors_in_handlers(path: Path) -> None:
    async def body(_: ControlServer) -> None:
        wire = await Wire.open(path)
        answer = await wire.ask(id=1, verb="explode")
        assert answer is not None
        assert answer["error"]["reason"] == "unknown verb 'explode'"
        assert "disconnect, refusing, status, subscribe" in answer["error"]["remedy"]
        for verb in (None, 5, ["status"], {"a": 1}):
            answer = await wire.ask(id=2, verb=verb)
            assert answer is not None
            assert "unknown verb" in answer["error"]["reason"]
        answer = await wire.ask(id=3, verb="broken")
        assert answer is not None
        assert answer["error"]["reason"] == "internal error"
        answer = await wire.ask(id=3, verb="refusing")
        assert answer is not None
        assert answer["error"]["reason"] == "not now"
        assert await wire.ask(id=4, verb="status") is not None
        await wire.close()

    run(path, body)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b'"x"',
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"id":' + b"9" * 5000 + b"}",
        b'{"id": [1], "verb": "status"}',
    ],
)
def test_n212_line_that_is_no_request_is_answered_and_the_next_one_works(path: Path, line: bytes) -> None:
    async def body(_: ControlServer) -> None:
        wire = await Wire.open(path)
        await wire.send(line + b"\n")
        answer = await wire.receive()
        assert answer is not None
        assert answer["ok"] is False
        assert answer["id"] is None
        assert (await wire.ask(id=2, verb="status") or {})["ok"] is True
        await wire.close()

    run(path, body)


def test_n212_half_a_line_and_gone(path: Path) -> None:
    async def body(server: ControlServer) -> None:
        wire = await Wire.open(path)
        await wire.send(b'{"id": 1, "verb"')
        await wire.close()
        await settle(lambda: server.connections == 0)

    run(path, body)


def test_n212_half_a_line_and_nothing_more(path: Path) -> None:
    async def body(server: ControlServer) -> None:
        wire = await Wire.open(path)
        await wire.send(b'{"id": 1, "verb"')
        answer = await wire.receive()
        assert answer is not None
        assert "too long" in answer["error"]["reason"]
        assert await wire.receive() is None
        await settle(lambda: server.connections == 0)
        await wire.close()

    run(path, body, idle_timeout=0.05)


def test_n212_line_of_many_megabytes(path: Path) -> None:
    async def body(server: ControlServer) -> None:
        wire = await Wire.open(path)
        good = await Wire.open(path)
        chunk = b"x" * (1 << 16)
        with pytest.raises((ConnectionError, TimeoutError)):
            async with asyncio.timeout(10):
                for _ in range(1600):
                    await wire.send(chunk)
        await settle(lambda: server.connections == 1)
        assert (await good.ask(id=1, verb="status") or {})["ok"] is True
        await wire.close()
        await good.close()

    run(path, body)


def test_n212_thousand_connections(path: Path) -> None:
    async def body(server: ControlServer) -> None:
        wires = [await Wire.open(path) for _ in range(CONNECTIONS_MAX)]
        await settle(lambda: server.connections == CONNECTIONS_MAX)
        for _ in range(100):
            late = await Wire.open(path)
            answer = await late.receive()
            assert answer is not None
            assert answer["error"]["reason"] == "too many connections"
            assert await late.receive() is None
            await late.close()
        assert server.connections == CONNECTIONS_MAX
        assert (await wires[0].ask(id=1, verb="status") or {})["ok"] is True
        for wire in wires:
            await wire.close()
        await settle(lambda: server.connections == 0)
        again = await Wire.open(path)
        assert (await again.ask(id=1, verb="status") or {})["ok"] is True
        await again.close()

    run(path, body)


def test_events_go_to_who_asked_for_them(path: Path) -> None:
    async def body(server: ControlServer) -> None:
        every, some, none = [await Wire.open(path) for _ in range(3)]
        assert (await every.ask(id="a", verb="subscribe") or {})["ok"] is True
        assert (await some.ask(id="s", verb="subscribe", events=["refused"]) or {})["result"] == {"subscribed": ["refused"]}
        assert (await none.ask(id=1, verb="status") or {})["ok"] is True
        server.publish({"event": "session-up", "user": "alice"})
        server.publish({"event": "refused", "ras": 691})
        assert await every.receive() == {"id": "a", "event": {"event": "session-up", "user": "alice"}}
        assert await every.receive() == {"id": "a", "event": {"event": "refused", "ras": 691}}
        assert await some.receive() == {"id": "s", "event": {"event": "refused", "ras": 691}}
        assert (await none.ask(id=2, verb="status") or {})["id"] == 2
        assert (await some.ask(id=2, verb="status") or {})["id"] == 2
        again = await some.ask(id=3, verb="subscribe")
        assert again is not None
        assert "has a subscription" in again["error"]["reason"]
        wrong = await none.ask(id=4, verb="subscribe", events="refused")
        assert wrong is not None
        assert "not a list" in wrong["error"]["reason"]
        for wire in (every, some, none):
            await wire.close()

    run(path, body)


def test_n212_reader_that_never_reads_loses_only_its_own(path: Path) -> None:
    async def body(server: ControlServer) -> None:
        lazy, keen = await Wire.open(path), await Wire.open(path)
        lazy.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await lazy.send(b'{"id": 1, "verb": "subscribe"}\n')
        assert (await keen.ask(id=1, verb="subscribe")) is not None
        await settle(lambda: all(c.wanted is not None for c in server._connections))
        event = {"event": "refused", "detail": "x" * 2000}
        for i in range(5000):
            server.publish({**event, "n": i})
            if i % 50 == 0:
                await asyncio.sleep(0)
                while keen.reader._buffer:  # type: ignore[attr-defined]
                    await keen.receive()
        stuck = next(c for c in server._connections if c.lost)
        assert len(stuck.waiting) <= control.QUEUE_MAX
        assert (await asyncio.wait_for(keen.receive(), 5)) is not None
        lazy.writer.transport.resume_reading()  # type: ignore[attr-defined]
        seen = 0
        while True:
            message = await asyncio.wait_for(lazy.receive(), 5)
            assert message is not None
            if "lost" in message:
                assert message["lost"] > 0
                break
            seen += "event" in message
        assert seen < 5000
        await lazy.close()
        await keen.close()

    run(path, body)


def test_n212_reader_that_never_reads_answers_is_cut_off(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "WRITE_TIMEOUT", 0.05)

    async def large(_: Json) -> str:
        return "x" * (1 << 20)

    async def body(server: ControlServer) -> None:
        server.handlers["large"] = large
        wire = await Wire.open(path)
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await wire.send(b'{"verb": "large"}\n' * 8)
        await settle(lambda: server.connections == 1)
        await settle(lambda: server.connections == 0)
        await wire.close()

    run(path, body)


def test_socket_is_ours_alone_and_goes_with_the_server(path: Path) -> None:
    async def body(_: ControlServer) -> None:
        assert mode(path) == 0o600

    run(path, body)
    assert not path.exists()


def test_group_may_use_the_socket(path: Path) -> None:
    import grp

    name = grp.getgrgid(os.getegid()).gr_name

    async def body(_: ControlServer) -> None:
        assert mode(path) == 0o660
        assert owner_group(path) == os.getegid()

    run(path, body, group=name)
    with pytest.raises(ConfigError, match="there is no group"):
        ControlServer(path, HANDLERS, group="no-such-group-here")


def test_n213_allowed() -> None:
    assert allowed(0, 0, None)
    assert allowed(os.geteuid(), 12345, None)
    assert not allowed(54321, 54321, None)
    assert not allowed(54321, 54321, 100)
    assert allowed(54321, 100, 100)


def test_n213_user_who_is_not_allowed_is_refused_and_logged(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(control, "allowed", lambda *_: False)
    monkeypatch.setattr(control.log, "propagate", True)
    monkeypatch.setattr(control.log.parent, "propagate", True)

    async def body(server: ControlServer) -> None:
        wire = await Wire.open(path)
        answer = await wire.ask(id=1, verb="status")
        assert answer is not None
        assert answer["error"]["reason"] == "not allowed"
        assert server.connections == 0
        await wire.close()

    run(path, body)
    assert f"refused user {os.geteuid()}, process {os.getpid()}" in caplog.text


def test_stale_socket_is_replaced_and_a_live_one_is_not(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))

    async def body(_: ControlServer) -> None:
        with pytest.raises(ConfigError, match="another gateway listens on"):
            await asyncio.to_thread(lambda: asyncio.run(ControlServer(path, HANDLERS).start()))

    run(path, body)
    path.write_text("not a socket")
    with pytest.raises(ConfigError, match="is no socket"):
        run(path, body)


def test_directory_that_cannot_be_used(path: Path) -> None:
    path.write_text("a file")
    with pytest.raises(ConfigError, match="name another place in gateway"):
        asyncio.run(ControlServer(path / "x.sock", HANDLERS).start())


class Background:
    """A server in a thread, for the blocking client."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ready = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.main()))

    async def main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.stop = asyncio.Event()
        async with ControlServer(self.path, HANDLERS) as self.server:
            self.ready.set()
            await self.stop.wait()

    def __enter__(self) -> Self:
        self.thread.start()
        assert self.ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(RuntimeError):  # the test may have stopped it
            self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(5)


def test_client(path: Path) -> None:
    with Background(path), ControlClient(path) as client:
        assert client.request("status") == {"sessions": 3}
        with pytest.raises(ControlError, match="there is no session 9; `headrace sessions` lists them"):
            client.request("disconnect", session=9)
        assert client.request("disconnect", session=7) == {"disconnected": 1}


def test_client_follows_events_until_the_gateway_ends(path: Path) -> None:
    background = Background(path)
    with background, ControlClient(path) as client:
        stream = client.events(("refused",))
        threading.Timer(
            0.05, lambda: background.loop.call_soon_threadsafe(background.server.publish, {"event": "refused"})
        ).start()
        assert next(stream) == {"event": "refused"}
        background.loop.call_soon_threadsafe(background.stop.set)
        assert list(stream) == []


def test_client_says_why_it_cannot_connect(path: Path) -> None:
    with pytest.raises(ControlUnavailable, match=r"no gateway runs here .* start it: headrace serve"):
        ControlClient(path)
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    with pytest.raises(ControlUnavailable, match="no gateway listens on"):
        ControlClient(path)


def test_client_does_not_wait_for_ever(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with ControlClient(path, timeout=0.05) as client, pytest.raises(ControlUnavailable, match="did not answer in time"):
            client.request("status")
