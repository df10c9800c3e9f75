"""``headrace serve``: everything is opened first, then it runs, then everything is closed, sessions first.

A start that fails part of the way closes what it had opened: there is never half a gateway.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from ipaddress import IPv6Interface, IPv6Network
from typing import TYPE_CHECKING, Any, Final

from headrace import __version__
from headrace.access.authenticate import Authenticator
from headrace.access.pools import PoolEmpty, Pools, networks_of
from headrace.access.pools6 import Prefixes
from headrace.access.radius_request import METHODS
from headrace.access.store import AccountStore
from headrace.dataplane import cpu_level
from headrace.dataplane.engine import Engine
from headrace.dataplane.tables import DataPlane
from headrace.errors import HeadraceError, LocalError, Slug, explain
from headrace.ike.endpoint import IkeEndpoint
from headrace.model import Endpoint, Failure, Rung, SessionLimits
from headrace.ppp.config import AuthAccept, AuthReject, AuthResult
from headrace.ppp.frame import Proto
from headrace.radius.accounting import Traffic
from headrace.shell import build, logs, watching
from headrace.shell import events as out
from headrace.shell.certcheck import advise
from headrace.shell.config import load_config
from headrace.shell.control import ControlServer
from headrace.shell.driver import Driver
from headrace.shell.keylog import KeyLog
from headrace.shell.metrics import Metrics, MetricsServer, Snapshot
from headrace.shell.notify import notify, reloading, watchdog_interval
from headrace.shell.radius_users import RadiusUsers
from headrace.shell.reload import merge
from headrace.shell.sockets import Listener, expand_addresses, open_listener
from headrace.shell.tables import EngineTables
from headrace.shell.tap import IPX_MTU, Tap
from headrace.shell.tun import Tun
from headrace.stack import agreed, events
from headrace.stack.ethernet import BRIDGE, IPX
from headrace.stack.ids import TunnelIds
from headrace.stack.ladder import Ip6Config, LadderConfig
from headrace.stack.lns import Lns

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from headrace.shell.config import GatewayConfig
    from headrace.shell.foreign import PppHandler

EXIT_OK: Final = 0
_SHUTDOWN_TIMEOUT: Final = 5.0
"""Seconds that peers have to answer before the process ends all the same."""
_REMIND: Final = 60.0
"""Seconds between reminders of a gateway without encryption."""
_OWNER_ONLY: Final = ("keys",)
_STATUS_INTERVAL: Final = 30.0
"""Seconds between lines for the service manager's status."""
_MAX_WAITING: Final = 1024
"""Proofs waiting for the store. Beyond that the answer is a refusal: a flood of guesses must not pile up."""

_MAX_REFUSALS: Final = 256
"""Refusals that are kept for whoever asks later why somebody could not connect."""

log = logging.getLogger("headrace.gateway")


class Gateway:
    """A running gateway. ``run`` is its whole life; an embedding program may drive the parts itself."""

    def __init__(
        self,
        config: GatewayConfig,
        emit: Callable[[out.Event], None],
        handler: PppHandler | None = None,
        reloaded: Callable[[GatewayConfig], None] | None = None,
    ) -> None:
        """``emit`` gets every event, ``handler`` the packets of protocols of its own, ``reloaded`` the configuration that has changed."""
        self.config = config
        self._handler = handler
        self._reloaded = reloaded
        self._emit = emit
        self._stop = asyncio.Event()
        self._stop_reason = "asked to stop"
        self._since = time.time()
        self._wall = self._since - asyncio.get_running_loop().time()
        self._resources = AsyncExitStack()
        self._waiting = 0
        self._going: events.SessionRecord | None = None
        """The session whose end is being told: its counters can still be read."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusals: deque[out.Refused] = deque(maxlen=_MAX_REFUSALS)
        self._refused_by: Counter[Slug] = Counter()

    async def run(self) -> None:
        """Open, serve until told to stop, close. Raises ``HeadraceError`` or ``OSError`` when it cannot start."""
        async with self._resources:
            await self._open()
            self._driver.start()
            self._emit(
                out.Started(
                    time=time.time(),
                    version=__version__,
                    listen=tuple(str(listener.address) for listener in self._listeners),
                    policy=self.config.gateway.policy.value,
                    cpu=cpu_level(),
                )
            )
            self._start_task(self._tell_manager())
            await self._until_stopped()
            await self._close()

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the rest; it is cancelled at the end."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell_manager(self) -> None:
        """Say that we serve, and go on saying it as long as every worker does."""
        if not notify(READY=1, STATUS=self._status_line()):
            return
        interval = watchdog_interval()
        while True:
            await asyncio.sleep(interval or _STATUS_INTERVAL)
            ended = self._worker_count - self._engine.alive
            if ended:
                log.error("%d of %d workers have ended", ended, self._worker_count)
                continue  # the service manager will see that nobody says anything any more
            notify(STATUS=self._status_line(), **({"WATCHDOG": 1} if interval else {}))

    def _status_line(self) -> str:
        return f"{len(self._ladder.sessions())} sessions, {len(self._ladder.peers())} peers"

    async def _until_stopped(self) -> None:
        """Wait for the end; where user data may pass unencrypted, say so every minute, for nobody should forget it."""
        while self.config.clear_text:
            self._emit(
                out.Notice(time=time.time(), text="user data may pass unencrypted: IPsec and MPPE are both off (lab mode)")
            )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), _REMIND)
                return
        await self._stop.wait()

    def stop(self, reason: str) -> None:
        """End politely; ``run`` returns when the peers have been told."""
        self._stop_reason = reason
        self._stop.set()

    def carry(self, session: int, protocol: int, information: bytes) -> bool:
        """Send a packet of a handler's protocol through a session, by its handle. False if it cannot be sent there now."""
        sent = self._ladder.carry(session, protocol, information, self._driver.now())
        self._driver.flush()
        return sent

    async def reload(self) -> tuple[str, ...]:
        """Read the configuration anew and go on with it. Keys that have changed and count only from the next start on.

        New connections are judged by it at once; sessions that are up stay as they are. Raises ``HeadraceError`` when the file, or
        anything that it names, does not hold up: then nothing has changed.
        """
        if self.config.path is None:
            raise LocalError("this gateway was not started from a file")
        reloading()
        try:
            read = await asyncio.to_thread(load_config, self.config.path)
            config, waiting = merge(self.config, read)
            ike, ladder = build.gateway_ike(config), self._ladder_config(config)
            await asyncio.to_thread(self._tun.configure, networks=networks_of(config.network.pools))
        finally:
            notify(READY=1, STATUS=self._status_line())
        self._pools.change(config.network.pools)
        self._authenticator.change(**self._rules(config))
        self._ike.config, self._ladder.config = ike, ladder
        self.config = config
        if self._reloaded is not None:
            self._reloaded(config)
        self._publish(out.Reloaded(time=time.time(), waiting=waiting))
        for warning in config.warnings:
            log.warning("%s", warning)
        return waiting

    def reload_soon(self) -> None:
        """Reload from a signal handler; what is wrong is logged."""
        self._start_task(self._reload_or_complain())

    async def _reload_or_complain(self) -> None:
        try:
            await self.reload()
        except (HeadraceError, OSError) as error:
            for line in str(error).splitlines():
                log.error("not reloaded: %s", line)  # noqa: TRY400 (the message says it all)

    # --- opening and closing ------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        config = self.config
        section = config.gateway
        ike_config = build.gateway_ike(config)
        self._store = self._resources.enter_context(AccountStore(config.accounts.database, config.accounts.key_file))
        self._authenticator = Authenticator(self._store, gateway=section.name, **self._rules(config))
        self._pools = Pools(config.network.pools, reserved={config.network.address}, static=self._store.static_addresses)
        self._prefixes = Prefixes(config.network.ipv6_prefixes, delegated_length=config.network.ipv6_delegate)
        self._keylog = None
        if config.log.keylog_dir is not None:
            self._keylog = KeyLog(config.log.keylog_dir)
            self._resources.callback(self._keylog.close)
        self._listeners: list[Listener] = []
        # Netlink is spoken in a thread: pyroute2 runs a loop of its own, of which there can be one a thread.
        for address in await asyncio.to_thread(expand_addresses, section.listen):
            listener = open_listener(
                address,
                ike_port=section.ike_port,
                natt_port=section.natt_port,
                l2tp_port=section.l2tp_port,
                clear_l2tp=section.allow_clear_l2tp,
            )
            self._resources.callback(listener.close)
            self._listeners.append(listener)
        workers = self._worker_count = section.workers or os.cpu_count() or 1
        network = config.network
        self._tun = self._resources.enter_context(
            await asyncio.to_thread(Tun, network.tun_name, queues=workers, mtu=network.mtu)
        )
        await asyncio.to_thread(
            self._tun.configure, address=network.address, networks=self._pools.networks(), forwarding=network.forwarding
        )
        if self._prefixes.own is not None:
            own = [IPv6Interface((self._prefixes.own, 128))]
            await asyncio.to_thread(self._tun.configure6, own, self._prefixes.networks, forwarding=network.forwarding)
        taps: dict[str, Tap] = {}
        if config.ipx.network and config.ipx.ethernet_network:
            taps[IPX] = self._resources.enter_context(await asyncio.to_thread(Tap, config.ipx.tap_name, mtu=IPX_MTU))
        if config.bridge.enabled:
            taps[BRIDGE] = self._resources.enter_context(
                await asyncio.to_thread(Tap, config.bridge.tap_name, mtu=config.bridge.mtu)
            )
        self._plane = self._resources.enter_context(
            DataPlane(
                max_peers=config.limits.max_peers,
                max_sas=4 * config.limits.max_peers,
                max_sessions=config.limits.max_sessions,
                allow_clear_l2tp=section.allow_clear_l2tp,
            )
        )
        self._engine = self._resources.enter_context(
            Engine(self._plane, self._listeners, self._tun, workers=workers, direct=network.direct, tos=network.tos)
        )
        ids = TunnelIds(secrets.token_bytes)
        tables = EngineTables(self._plane, self._listeners, replay_window=config.esp.replay_window)
        self._tables = tables
        self._ike = IkeEndpoint(
            ike_config,
            secrets.token_bytes,
            spi_free=tables.spi_free,
            ike_port=section.ike_port,
            natt_port=section.natt_port,
        )
        self._ladder = Lns(
            self._ike,
            tables,
            self._ladder_config(config),
            ids.allocator(),
            secrets.token_bytes,
        )
        self._radius = RadiusUsers(config.radius, name=section.name, steering=self)
        self._driver = Driver(self._ladder, self._plane, self._engine, self._listeners, self._on_event, taps)
        self._workers = self._resources.enter_context(ThreadPoolExecutor(max_workers=2, thread_name_prefix="headrace-auth"))
        control = ControlServer(section.control_socket, self._verbs(), group=section.control_group, owner_only=_OWNER_ONLY)
        self._control = await self._resources.enter_async_context(control)
        self._metrics = Metrics(self._snapshot)
        if config.metrics.listen is not None:
            self._resources.enter_context(MetricsServer(self._metrics, config.metrics.listen))
        self._radius.open()
        self._resources.push_async_callback(self._radius.close)
        self._engine.start()

    @staticmethod
    def _rules(config: GatewayConfig) -> dict[str, Any]:
        """What the authenticator goes by and a reload may change."""
        return {
            "policy": config.accounts,
            "encryption": config.ppp.encryption,
            "mschap_mppe": config.ppp.mschap_mppe,
            "certificate_kinds": config.eap.identity,
            "realms": config.eap.realms,
        }

    def _ladder_config(self, config: GatewayConfig) -> LadderConfig:
        section, network = config.gateway, config.network
        return LadderConfig(
            l2tp=build.gateway_l2tp(config),
            link=replace(
                build.gateway_link(config), foreign=frozenset(self._handler.protocols if self._handler is not None else ())
            ),
            max_sessions=config.limits.max_sessions,
            allow_clear=section.allow_clear_l2tp,
            keylog=self._keylog is not None,
            mss_clamp=config.network.mss_clamp,
            ethernet=build.gateway_ethernet(config),
            idle_timeout=config.ppp.idle_timeout,
            session_timeout=config.ppp.session_timeout,
            ip6=Ip6Config(build.duid(), network.ipv6_dns, network.ipv6_delegate) if network.ipv6_prefixes else None,
        )

    async def _close(self) -> None:
        loop = asyncio.get_running_loop()
        notify(STOPPING=1, STATUS="telling the peers")
        self._emit(out.Stopping(time=time.time(), reason=self._stop_reason, sessions=len(self._ladder.sessions())))
        self._ladder.close_all(Failure(Slug.SHUTDOWN, "the gateway is going down"), loop.time())
        self._driver.flush()
        deadline = loop.time() + _SHUTDOWN_TIMEOUT
        while not self._ladder.finished and loop.time() < deadline:
            await asyncio.sleep(0.05)
        self._driver.stop()
        self._engine.stop()
        for task in list(self._tasks):
            task.cancel()

    # --- what the stack tells -----------------------------------------------------------------------------------------------

    def _on_event(self, event: events.StackEvent) -> None:
        match event:
            case events.AuthNeeded():
                self._judge(event)
            case events.PeerUp():
                self._publish(out.PeerUp(time=time.time(), peer=out.PeerRecord.of(event.peer, wall=self._wall)))
            case events.PeerDown():
                self._publish(
                    out.PeerDown(time=time.time(), peer=out.PeerRecord.of(event.peer, wall=self._wall), failure=event.failure)
                )
            case events.PeerMoved():
                peer = out.PeerRecord.of(event.peer, wall=self._wall)
                self._publish(out.PeerMoved(time=time.time(), peer=peer, before=event.before))
            case events.SessionUp():
                if event.session.bundle:
                    self._pools.release(_owner(event.session))
                    self._prefixes.release(_owner(event.session))
                self._radius.up(event.session)
                self._publish(out.SessionUp(time=time.time(), session=self._record(event.session)))
            case events.SessionDown():
                self._on_session_down(event)
            case events.Carried() if event.protocol in {Proto.IPV4, Proto.IPV6}:
                self._tun.write(event.information)
            case events.Carried():
                if self._handler is not None:
                    self._handler.received(event.session, event.protocol, event.information)
            case events.ProtocolRejected():
                if self._handler is not None:
                    self._handler.rejected(event.session, event.protocol)
            case events.Refused():
                self._refused(event.remote, event.failure, agreed.ladder_of(event.peer) if event.peer else ())
            case events.IkeKey():
                if self._keylog is not None:
                    self._keylog.ike(event.initiator_cookie, event.key)
            case events.EspKey():
                if self._keylog is not None:
                    self._keylog.esp(event)
            case events.Dropped():
                log.debug("dropped %s from %s", event.reason, event.remote or "an unknown peer")

    def _on_session_down(self, event: events.SessionDown) -> None:
        record = event.session
        self._going = record
        self._radius.down(record, event.failure, by_peer=event.by_peer)
        self._going = None
        self._release(record)
        if record.up:
            session = self._record(record)
            self._note_usage(session)
            self._publish(out.SessionDown(time=time.time(), session=session, failure=event.failure, by_peer=event.by_peer))
        else:
            passed = agreed.ladder_of(record.peer, record)
            computer = record.computer or record.host_name
            self._refused(record.peer.remote, event.failure, passed, user=record.username, computer=computer)

    def _refused(
        self, remote: Endpoint, failure: Failure, passed: tuple[agreed.Passed, ...], *, user: str = "", computer: str = ""
    ) -> None:
        event = out.Refused(
            time=time.time(),
            remote=remote,
            rung=Rung(explain(failure.slug).rung),
            failure=failure,
            user=user,
            computer=computer,
            ladder=out.ladder(passed, self._wall),
        )
        self._refusals.append(event)
        self._refused_by[failure.slug] += 1
        self._publish(event)

    def _publish(self, event: out.Event) -> None:
        self._emit(event)
        self._metrics.observe(event)
        self._control.publish(event)

    def _record(self, record: events.SessionRecord) -> out.SessionRecord:
        stats = self._tables.session_stats(record.index)
        return out.SessionRecord.of(
            record,
            wall=self._wall,
            rx_packets=stats.rx_packets,
            rx_bytes=stats.rx_bytes,
            tx_packets=stats.tx_packets,
            tx_bytes=stats.tx_bytes,
        )

    # --- who may come in ------------------------------------------------------------------------------------------------------

    def _judge(self, event: events.AuthNeeded) -> None:
        if self._waiting >= _MAX_WAITING:
            busy = AuthReject(Slug.AUTH_LOCKED, f"{_MAX_WAITING} proofs are waiting for the account store")
            self._ladder.auth_result(event.session.handle, event.request.request, busy, self._driver.now())
            return
        self._waiting += 1
        self._start_task(self._judge_later(event))

    async def _judge_later(self, event: events.AuthNeeded) -> None:
        # Password hashing takes milliseconds by design: in a thread, or everybody's negotiation would wait for it.
        remote = event.session.peer.remote
        owner = _owner(event.session)
        loop = asyncio.get_running_loop()
        result: AuthResult
        try:
            if await self._asks_radius(event):
                result = await self._radius.judge(event)
            else:
                check = self._authenticator.check
                result = await loop.run_in_executor(self._workers, check, event.request, remote.address, owner)
        except HeadraceError as error:
            log.exception("the account store failed")
            result = AuthReject(Slug.INTERNAL, str(error))
        finally:
            self._waiting -= 1
        if isinstance(result, AuthAccept):
            self._evict(result)
            result = self._grant(result, owner)
        elif isinstance(result, AuthReject) and result.delay:
            await asyncio.sleep(result.delay)
        if not self._ladder.auth_result(event.session.handle, event.request.request, result, self._driver.now()):
            self._release(event.session)  # it has gone in the meantime
            self._radius.forget(event.session.handle)
        self._driver.flush()

    async def _asks_radius(self, event: events.AuthNeeded) -> bool:
        """Whether a RADIUS server knows this user better than the account store."""
        if not self._radius.asked or event.request.method not in METHODS:
            return False
        if self.config.radius.users == "all":
            return True
        loop = asyncio.get_running_loop()
        return not await loop.run_in_executor(self._workers, self._authenticator.known, event.request.username)

    # What a RADIUS server may do (``radius_users.Steering``):

    def traffic(self, session: int) -> Traffic | None:
        """What a session has carried; ``None`` if it is gone."""
        record = next((record for record in self._ladder.sessions() if record.handle == session), None) or self._going
        if record is None or record.handle != session:
            return None
        told = self._record(record)
        seconds = int(time.time() - told.since)
        return Traffic(seconds, told.rx_bytes, told.tx_bytes, told.rx_packets, told.tx_packets)

    def disconnect(self, session: int, failure: Failure) -> bool:
        """End a session."""
        done = self._ladder.disconnect(session, failure, self._driver.now())
        self._driver.flush()
        return done

    def set_limits(self, session: int, limits: SessionLimits) -> bool:
        """Give a session other limits."""
        return self._ladder.set_limits(session, limits, self._driver.now())

    def tell(self, words: str) -> None:
        """Say something that the operator should know."""
        self._publish(out.Notice(time=time.time(), text=words))

    def _evict(self, accept: AuthAccept) -> None:
        """End the user's older sessions that a new one replaces."""
        for record in self._ladder.sessions():
            if _owner(record) in accept.replaces:
                failure = Failure(Slug.REPLACED, f"{accept.username} has signed in again")
                self._ladder.disconnect(record.handle, failure, self._driver.now())

    def _note_usage(self, session: out.SessionRecord) -> None:
        """Count what a session has used against the quotas of its account; in a thread, for it is written down."""
        octets, seconds = session.rx_bytes + session.tx_bytes, time.time() - session.since
        self._workers.submit(self._use, session.user, octets, seconds)

    def _use(self, user: str, octets: int, seconds: float) -> None:
        try:
            self._authenticator.admission.used(user, octets, seconds)
        except (HeadraceError, ValueError):
            log.exception("%s octets and %.0f s of %s are not counted", octets, seconds, user)

    def _release(self, record: events.SessionRecord) -> None:
        """Give back what a session held. Harmless when it held nothing."""
        owner = _owner(record)
        self._pools.release(owner)
        self._prefixes.release(owner)
        self._authenticator.ended(owner)

    def _grant(self, accept: AuthAccept, owner: str) -> AuthAccept:
        """Complete a verdict with an address and name servers. Without an address the link refuses IPv4 and says so."""
        network = self.config.network
        try:
            address = self._pools.lease(owner, user=accept.username, pool=accept.pool, wanted=accept.address)
        except PoolEmpty as error:
            return replace(accept, address=None, address_failure=str(error))
        return replace(
            accept,
            address=address,
            dns=accept.dns or network.dns,
            wins=accept.wins or network.wins,
            prefix6=self._grant6(accept, owner),
        )

    def _grant6(self, accept: AuthAccept, owner: str) -> IPv6Network | None:
        if not self._prefixes.size:
            return None
        try:
            return self._prefixes.lease(owner, user=accept.username, wanted=accept.prefix6)
        except PoolEmpty as error:
            log.warning("%s has no IPv6: %s", accept.username, error)
            return None

    # --- the control socket -----------------------------------------------------------------------------------------------------

    def _verbs(self) -> dict[str, Any]:
        return {
            "status": self._verb_status,
            "sessions": self._verb_sessions,
            "refusals": self._verb_refusals,
            "disconnect": self._verb_disconnect,
            "keys": self._verb_keys,
            "reload": self._verb_reload,
            "shutdown": self._verb_shutdown,
        }

    async def _verb_status(self, _: dict[str, Any]) -> dict[str, Any]:
        counters = {label: {"packets": p, "bytes": b} for label, (p, b) in self._plane.counters().items() if p}
        return {
            "version": __version__,
            "pid": os.getpid(),
            "since": out.timestamp(self._since),
            "policy": self.config.gateway.policy.value,
            "listen": [str(listener.address) for listener in self._listeners],
            "kernels": cpu_level(),
            "peers": len(self._ladder.peers()),
            "sessions": len(self._ladder.sessions()),
            "max_sessions": self.config.limits.max_sessions,
            "pools": self._pools.usage(),
            "packets": counters,
            "control_drops": dict(self._driver.drops),
            "refused": {str(slug): {"times": n, "ras": explain(slug).ras} for slug, n in self._refused_by.most_common()},
            "radius": self._radius.status(),
            "warnings": list(self.config.warnings),
        }

    async def _snapshot(self) -> Snapshot:
        certificate = self._ike.config.certificate
        return Snapshot(
            since=self._since,
            version=__version__,
            kernels=cpu_level(),
            policy=self.config.gateway.policy.value,
            peers=len(self._ladder.peers()),
            sessions=len(self._ladder.sessions()),
            max_sessions=self.config.limits.max_sessions,
            pools=self._pools.usage(),
            packets=self._plane.counters(),
            control_drops=dict(self._driver.drops),
            certificate_until=advise(certificate.chain[0], build.wall_clock()).until.timestamp() if certificate else None,
        )

    async def _verb_sessions(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"sessions": [self._record(record).json() for record in self._ladder.sessions() if record.up]}

    async def _verb_refusals(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"refusals": [event.json() for event in self._refusals]}

    def _chosen(self, arguments: dict[str, Any]) -> list[events.SessionRecord]:
        """The sessions that a request names. Raises ``LocalError`` if it names none."""
        session, user, address = wanted = arguments.get("session"), arguments.get("user"), arguments.get("address")
        if all(one is None for one in wanted):
            raise LocalError("name a session, a user or an address")
        return [
            record
            for record in self._ladder.sessions()
            if session is None or record.handle == session
            if user is None or record.username == user
            if address is None or str(address) in (str(record.remote_address), str(record.peer.remote.address))
        ]

    async def _verb_disconnect(self, arguments: dict[str, Any]) -> dict[str, Any]:
        failure = Failure(Slug.ADMIN, "disconnected by the operator")
        count = sum(self._ladder.disconnect(one.handle, failure, self._driver.now()) for one in self._chosen(arguments))
        self._driver.flush()
        return {"disconnected": count}

    async def _verb_keys(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """What opens the packets of one session that is up: for `headrace watch`, and for nobody but root and our own user."""
        chosen = [record for record in self._chosen(arguments) if record.up]
        if len(chosen) != 1:
            found = ", ".join(str(record.handle) for record in chosen[:16]) or "none"
            raise LocalError(f"{len(chosen)} sessions match ({found}); name one that is up: `headrace sessions` lists them")
        record = chosen[0]
        peer = record.peer
        self._emit(
            out.Notice(time=time.time(), text=f"the keys of session {record.handle} of {record.username} were asked for")
        )
        return {
            "session": self._record(record).json(),
            "remote": [str(peer.remote.address), peer.remote.port],
            "local": [str(peer.local.address), peer.local.port],
            "esp": [watching.sa_keys(self._plane.export_sa(index).keys) for index in self._ladder.sas(peer.handle).values()],
            "mppe": [
                watching.mppe_keys(one)
                for one in (self._plane.export_mppe(record.index, outbound=outbound) for outbound in (False, True))
                if one is not None
            ],
        }

    async def _verb_reload(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"reloaded": True, "at_next_start": list(await self.reload())}

    async def _verb_shutdown(self, _: dict[str, Any]) -> dict[str, Any]:
        asyncio.get_running_loop().call_soon(self.stop, "asked by the control socket")
        return {"stopping": True}


def _owner(record: events.SessionRecord) -> str:
    return f"session-{record.handle}"


def run(config: GatewayConfig) -> int:
    """Run a gateway until SIGINT or SIGTERM: the blocking face for ``headrace serve``. The exit code.

    Raises ``HeadraceError`` when it cannot start: the configuration does not hold up, or the system does not give a port, the TUN, a right.
    """
    emit = logs.configure(config.log)
    for warning in config.warnings:
        emit.line("warning", warning)
    return asyncio.run(_serve(config, emit))


async def _serve(config: GatewayConfig, emit: logs.EventLog) -> int:
    loop = asyncio.get_running_loop()
    gateway = Gateway(config, emit, reloaded=lambda changed: emit.change(changed.log))
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, gateway.stop, f"got {number.name}")
    loop.add_signal_handler(signal.SIGHUP, gateway.reload_soon)
    await gateway.run()
    return EXIT_OK
