"""``headrace dial``: one call to a gateway, from the name to the traffic, and back down again."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import socket
import sys
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any, Final

from pyroute2.netlink.exceptions import NetlinkError

from headrace.dataplane.engine import Engine
from headrace.dataplane.tables import DataPlane
from headrace.errors import HeadraceError, Slug, explain
from headrace.ike.endpoint import IkeEndpoint
from headrace.model import Endpoint, Failure, IPAddress, Rung
from headrace.ppp.frame import Proto
from headrace.shell import build
from headrace.shell import events as out
from headrace.shell.driver import Driver
from headrace.shell.keylog import KeyLog
from headrace.shell.ping import PingResult, ping
from headrace.shell.resolver import HostChanges, restore
from headrace.shell.sockets import open_listener
from headrace.shell.tables import EngineTables
from headrace.shell.tap import BRIDGE_MTU, IPX_MTU, Tap
from headrace.shell.tun import Tun, TunError
from headrace.stack import events
from headrace.stack.ethernet import BRIDGE, IPX
from headrace.stack.ids import TunnelIds
from headrace.stack.lac import Lac
from headrace.stack.ladder import LadderConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.shell.config import DialConfig

EXIT_OK: Final = 0
EXIT_REFUSED: Final = 1
"""The call failed on a rung of the ladder; the line on stderr has its number."""
EXIT_START: Final = 3
"""This machine did not give something: a port, the TUN, a right."""

_HANGUP_TIMEOUT: Final = 3.0
PING_TRIALS: Final = 3
"""Echo requests, a second each, that may go unanswered before those that count."""
_RECONNECT_DELAY: Final = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)


class CallFailed(HeadraceError):
    """The call did not come up, or ended without being asked to."""

    def __init__(self, failure: Failure, remote: str) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.remote = remote

    def line(self) -> str:
        """What the person who dials reads: number, what it means here, what was seen, what to do."""
        record = explain(self.failure.slug)
        detail = f": {self.failure.detail}" if self.failure.detail else ""
        rung = out.rung_name(Rung(record.rung))
        return f"error {record.ras}: {record.title} [{self.failure.slug}, {rung}, {self.remote}]{detail}\nremedy: {record.remedy_client}"

    def json(self) -> dict[str, Any]:
        """The same for machines."""
        record = explain(self.failure.slug)
        return {
            "event": "failed",
            "ras": record.ras,
            "slug": str(self.failure.slug),
            "rung": out.rung_name(Rung(record.rung)),
            "remote": self.remote,
            "detail": self.failure.detail,
            "remedy": record.remedy_client,
        }


def resolve(config: DialConfig) -> IPAddress:
    """The gateway's address, IPv4 first. Raises ``CallFailed`` with ``name-unresolved``."""
    family = {4: socket.AF_INET, 6: socket.AF_INET6}.get(config.family, socket.AF_UNSPEC)
    try:
        found = socket.getaddrinfo(config.server, config.ike_port, family, socket.SOCK_DGRAM)
    except OSError as error:
        raise CallFailed(Failure(Slug.NAME_UNRESOLVED, f"{config.server}: {error.strerror or error}"), config.server) from error
    addresses = sorted((ip_address(str(item[4][0]).partition("%")[0]) for item in found), key=lambda a: a.version)
    return addresses[0]


def source_address(config: DialConfig, remote: IPAddress) -> IPAddress:
    """The address from which the routing table would reach the gateway. Raises ``CallFailed`` with ``no-route``."""
    if config.source is not None:
        return config.source
    family = socket.AF_INET if remote.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(remote), config.ike_port))
        except OSError as error:
            raise CallFailed(Failure(Slug.NO_ROUTE, f"{remote}: {error.strerror}"), str(remote)) from error
        return ip_address(probe.getsockname()[0].partition("%")[0])


class Call:
    """One call, up to its end."""

    def __init__(self, config: DialConfig) -> None:
        self.config = config
        self.session: events.SessionRecord | None = None
        self._loop = asyncio.get_running_loop()
        self._up = asyncio.Event()
        self._over = asyncio.Event()
        self._hangup = asyncio.Event()
        self._began = self._loop.time()
        self._wall = time.time() - self._began
        self.ping_result: PingResult | None = None
        self._learned6 = asyncio.Event()
        self._has6 = False
        self._dns6: tuple[IPv6Address, ...] = ()

    def say(self, text: str, **data: Any) -> None:
        """One line of progress: for a person on stderr, or JSON on stdout."""
        spent = self._loop.time() - self._began
        if self.config.json:
            print(json.dumps({"time": round(time.time(), 3), "after": round(spent, 4), **data}), flush=True)
        else:
            print(f"{spent:7.3f} s  {text}", file=sys.stderr, flush=True)

    @property
    def answered(self) -> bool:
        """Whether every ping that was asked for was answered."""
        return self.ping_result is not None and self.ping_result.received == self.ping_result.sent

    def hang_up(self) -> None:
        """End the call politely."""
        self._hangup.set()

    async def run(self) -> None:
        """Dial, stay up until hung up, take everything back. Raises ``CallFailed``, ``HeadraceError`` or ``OSError``."""
        config = self.config
        remote = await self._loop.run_in_executor(None, resolve, config)
        local = source_address(config, remote)
        async with AsyncExitStack() as resources:
            listener = open_listener(
                local,
                ike_port=config.local_ike_port,
                natt_port=config.local_natt_port,
                l2tp_port=config.l2tp_port,
                clear_l2tp=False,
            )
            resources.callback(listener.close)
            # Netlink is spoken in a thread: pyroute2 runs a loop of its own, of which there can be one a thread.
            tun = resources.enter_context(await asyncio.to_thread(Tun, config.tun_name, queues=1, mtu=config.mtu))
            taps: dict[str, Tap] = {}
            for kind, name, tap_mtu, mac in (
                (IPX, config.ipx_tap, IPX_MTU, config.ipx_node.strip(b"\0") and config.ipx_node),
                (BRIDGE, config.bridge_tap, BRIDGE_MTU, b""),
            ):
                if name:
                    taps[kind] = resources.enter_context(await asyncio.to_thread(Tap, name, mtu=tap_mtu, mac=mac))
            plane = resources.enter_context(DataPlane(max_peers=4, max_sas=64, max_sessions=4, allow_clear_l2tp=False))
            engine = resources.enter_context(Engine(plane, [listener], tun, workers=1))
            keylog = KeyLog(config.keylog_dir) if config.keylog_dir is not None else None
            if keylog is not None:
                resources.callback(keylog.close)
            tables = EngineTables(plane, [listener])
            ladder = Lac(
                IkeEndpoint(
                    build.client_ike(config),
                    secrets.token_bytes,
                    spi_free=tables.spi_free,
                    ike_port=listener.ike_port,
                    natt_port=listener.natt_port,
                    remote_natt_port=config.natt_port,
                ),
                tables,
                LadderConfig(
                    l2tp=build.client_l2tp(config),
                    link=build.client_link(config),
                    max_sessions=1,
                    keylog=keylog is not None,
                    ethernet=build.client_ethernet(config),
                ),
                TunnelIds(secrets.token_bytes).allocator(),
                secrets.token_bytes,
            )

            def on_event(event: events.StackEvent) -> None:
                if isinstance(event, events.Carried):
                    if event.protocol in {Proto.IPV4, Proto.IPV6}:
                        tun.write(event.information)
                    return
                self._on_event(event, ladder, keylog)
                if isinstance(event, events.Ip6Learned):
                    self._learned6.set()

            driver = Driver(ladder, plane, engine, [listener], on_event, taps)
            engine.start()
            resources.callback(engine.stop)
            driver.start()
            resources.callback(driver.stop)
            self.say(
                f"dialling {config.server} ({remote}) from {local}", event="dialling", server=config.server, remote=str(remote)
            )
            ladder.dial(Endpoint(local, listener.ike_port), Endpoint(remote, config.ike_port), driver.now())
            driver.flush()
            try:
                await self._come_up(ladder, remote)
                changes = HostChanges(tun.name)
                resources.push_async_callback(asyncio.to_thread, changes.undo)
                await asyncio.to_thread(self._configure, tun, changes, remote)
                keeper = asyncio.create_task(self._keep6(tun, changes))
                resources.callback(keeper.cancel)
                await self._stay(ladder, tun.name, remote)
            finally:
                ladder.close_all(Failure(Slug.USER_REQUEST, "hung up"), driver.now())
                driver.flush()
                deadline = driver.now() + _HANGUP_TIMEOUT
                while not ladder.finished and driver.now() < deadline:
                    await asyncio.sleep(0.02)
                self.say("disconnected", event="disconnected")

    async def _come_up(self, ladder: Lac, remote: IPAddress) -> None:
        """Wait for the session, the end, the user or the time limit, whichever is first."""
        waiting = [asyncio.create_task(event.wait()) for event in (self._up, self._over, self._hangup)]
        try:
            await asyncio.wait(waiting, timeout=self.config.timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        if self._up.is_set() or self._hangup.is_set():
            return
        fallback = Failure(Slug.IKE_TIMEOUT, f"the connection was not up within {self.config.timeout:g} s")
        raise CallFailed(ladder.outcome or self._stuck(ladder) or fallback, str(remote))

    def _stuck(self, ladder: Lac) -> Failure | None:
        """Which rung it hung on when the time was over."""
        limit = f"not passed within {self.config.timeout:g} s"
        if self.session is not None:
            if Rung.USER_AUTH in self.session.rungs:
                return Failure(Slug.IPCP_REFUSED, limit)
            return Failure(Slug.AUTH_TIMEOUT if Rung.LCP in self.session.rungs else Slug.LCP_TIMEOUT, limit)
        if any(Rung.ESP in peer.rungs for peer in ladder.peers()):
            return Failure(Slug.L2TP_SILENT, limit)
        if ladder.peers():
            return Failure(Slug.ESP_TIMEOUT, limit)
        return None

    def _configure(self, tun: Tun, changes: HostChanges, remote: IPAddress) -> None:
        session = self.session
        if session is None:
            return
        if session.local_address is None or session.remote_address is None:
            tun.configure(mtu=session.mtu)
            return
        config = self.config
        tun.configure(address=session.local_address, peer=session.remote_address, mtu=session.mtu)
        if config.default_route or any(remote.version == network.version and remote in network for network in config.routes):
            changes.pin_server(remote)
        if config.default_route:
            changes.default_route()
        changes.routes([network for network in config.routes if isinstance(network, IPv4Network)])
        if config.dns:
            changes.name_servers(session.dns)

    async def _keep6(self, tun: Tun, changes: HostChanges) -> None:
        """Follow what the gateway's advertisements say, from when the TUN is up until the call ends."""
        while True:
            await self._learned6.wait()
            self._learned6.clear()
            try:
                await asyncio.to_thread(self._configure6, tun, changes)
            except (TunError, NetlinkError, OSError) as error:  # IPv4 goes on
                self.say(f"IPv6 cannot be set up: {error}", event="warning", warning=str(error))

    def _configure6(self, tun: Tun, changes: HostChanges) -> None:
        """Give the TUN the IPv6 addresses that are known by now, and take away those that are no more."""
        session = self.session
        if session is None or (session.link_local is None and not self._has6):
            return
        self._has6 = session.link_local is not None
        own = () if session.link_local is None else (session.link_local, *session.addresses6)
        tun.configure6([IPv6Interface((address, 64)) for address in own])
        if session.addresses6:
            halves = [IPv6Network("::/1"), IPv6Network("8000::/1")] if self.config.default_route else []
            changes.routes([*halves, *(network for network in self.config.routes if isinstance(network, IPv6Network))])
        if self.config.dns and session.dns6 and session.dns6 != self._dns6:
            self._dns6 = session.dns6
            changes.name_servers((*session.dns, *session.dns6))

    async def _stay(self, ladder: Lac, device: str, remote: IPAddress) -> None:
        session = self.session
        if session is None or self._hangup.is_set():
            return
        waiting: list[asyncio.Task[Any]] = [asyncio.create_task(event.wait()) for event in (self._over, self._hangup)]
        if self.config.ping is not None and session.local_address is not None:
            waiting.append(asyncio.create_task(self._ping(session.local_address, self.config.ping, device)))
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        for task in done:
            task.result()
        if self.ping_result is None and not self._hangup.is_set():
            raise CallFailed(ladder.outcome or Failure(Slug.PEER_CLOSED), str(remote))

    async def _ping(self, source: IPv4Address, target: IPv4Address, device: str) -> None:
        # A server may agree to the addresses before it has set its interface up (pppd does), and lose what comes in between.
        for _ in range(PING_TRIALS):
            if (await ping(source, target, count=1, timeout=1.0, device=device)).received:
                break
        result = await ping(source, target, count=self.config.ping_count, device=device)
        self.ping_result = result
        times = ", ".join(f"{t * 1000:.2f} ms" for t in result.times)
        self.say(
            f"ping {target}: {result.received} of {result.sent} answered ({times or 'none'})",
            event="ping",
            target=str(target),
            sent=result.sent,
            received=result.received,
            times=list(result.times),
        )

    def _on_event(self, event: events.StackEvent, ladder: Lac, keylog: KeyLog | None) -> None:
        match event:
            case events.PeerUp():
                peer = event.peer
                nat = out.nat_verdict(nat_local=peer.nat_local, nat_remote=peer.nat_remote, dialled=True)
                behind = "" if nat == "none" else f", NAT before the {nat}" if nat != "both" else ", NAT before both"
                self.say(
                    f"IPsec is up: {peer.auth}, {peer.remote_id or peer.remote}, ike {peer.ike_proposal}, esp {peer.esp_proposal}{behind}",
                    event="ipsec-up",
                    peer=out.PeerRecord.of(peer, wall=self._wall, dialled=True).json(),
                )
            case events.SessionUp():
                self.session = event.session
                self.say(
                    f"connected as {self.config.user}: {event.session.local_address or 'no IPv4'} to "
                    f"{event.session.remote_address or 'no IPv4'}, {event.session.auth_method}, mppe {event.session.mppe or 'none'}, mtu {event.session.mtu}",
                    event="connected",
                    session=out.SessionRecord.of(event.session, wall=self._wall, dialled=True).json(),
                    address=str(event.session.local_address) if event.session.local_address else None,
                    gateway=str(event.session.remote_address) if event.session.remote_address else None,
                    dns=[str(server) for server in event.session.dns],
                )
                self._up.set()
            case events.TimeRemaining():
                self.say(
                    f"the gateway ends the session in {out.duration(event.seconds)}: {event.text or 'no reason given'}",
                    event="time-remaining",
                    seconds=event.seconds,
                    message=event.text,
                )
            case events.Ip6Learned():
                addresses = ", ".join(map(str, event.session.addresses6)) or "none"
                self.say(
                    f"ipv6 addresses: {addresses}, router {event.session.router6 or 'none'}",
                    event="ipv6",
                    addresses=[str(address) for address in event.session.addresses6],
                    link_local=str(event.session.link_local),
                    router=str(event.session.router6) if event.session.router6 else None,
                    dns=[str(server) for server in event.session.dns6],
                )
            case events.SessionDown():
                self._over.set()
            case events.PeerDown() | events.Refused():
                if ladder.outcome is not None:
                    self._over.set()
            case events.IkeKey():
                if keylog is not None:
                    keylog.ike(event.initiator_cookie, event.key)
            case events.EspKey():
                if keylog is not None:
                    keylog.esp(event)
            case _:
                pass


async def dial(config: DialConfig, new_password: Callable[[], str] | None = None) -> int:
    """Dial, and dial again where the configuration says so. The exit code.

    ``new_password`` is asked, in a thread, when the gateway says that the password has expired; a second call then changes it.
    """
    for name in await asyncio.to_thread(restore):
        print(f"restored routes and name servers that an earlier call on {name} left behind", file=sys.stderr)
    loop = asyncio.get_running_loop()
    attempt = 0
    while True:
        call = Call(config)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, call.hang_up)
        try:
            await call.run()
        except CallFailed as failed:
            if failed.failure.slug is Slug.PASSWORD_EXPIRED and new_password is not None and config.new_password is None:
                print("the password has expired; dialling again to change it", file=sys.stderr, flush=True)
                config = replace(config, new_password=await asyncio.to_thread(new_password))
                continue
            if config.json:
                print(json.dumps(failed.json()), flush=True)
            print(failed.line(), file=sys.stderr, flush=True)
            if not config.reconnect:
                return EXIT_REFUSED
        else:
            return EXIT_OK if config.ping is None or call.answered else EXIT_REFUSED
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                with suppress(ValueError):
                    loop.remove_signal_handler(number)
        if call.session is not None:
            attempt = 0
            if config.new_password is not None:
                config = replace(config, password=config.new_password, new_password=None)
        delay = _RECONNECT_DELAY[min(attempt, len(_RECONNECT_DELAY) - 1)]
        attempt += 1
        print(f"dialling again in {delay:g} s", file=sys.stderr, flush=True)
        await asyncio.sleep(delay)


def run(config: DialConfig, new_password: Callable[[], str] | None = None) -> int:
    """Blocking face of ``dial``. Raises ``HeadraceError`` or ``OSError`` when this machine does not give what is needed."""
    return asyncio.run(dial(config, new_password))
