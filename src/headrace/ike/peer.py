"""One remote machine: its ISAKMP SAs, its ESP SAs, and how both are renewed while the peer stays the same peer.

ESP SAs belong to the peer, not to the ISAKMP SA under which they were made: phase 1 may end or be renewed and they live on
(RFC 2409 section 5.5 leaves that open; every client expects it). A peer with neither is gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from headrace.core import earliest
from headrace.errors import Slug
from headrace.esp.sa import Child, Children, ChildState, Due, plan
from headrace.ike import informational
from headrace.ike.complaints import BEHIND_NAT, LATE_REFUSALS, behind_nat, late_refusal
from headrace.ike.constants import Exchange, NotifyType
from headrace.ike.context import Context, Received
from headrace.ike.dpd import DeadPeerDetection, Verdict
from headrace.ike.events import ChildUp, InstallSa, PeerDown, PeerMoved, PeerUp, Refused, RemoveSa, UseSa
from headrace.ike.initiator import Initiator
from headrace.ike.limits import (
    CHILDLESS,
    CHILDLESS_LATER,
    INITIAL_CONTACT_WINDOW,
    LINGER,
    MAX_LINGERING,
    MAX_QUICK_MODES,
    REKEY_RETRY,
    SETTLE,
    SETTLE_RESPONDER,
)
from headrace.ike.natt import NO_NAT, NatVerdict
from headrace.ike.payloads import Fragment
from headrace.ike.phase1 import Phase1, Phase1s
from headrace.ike.quick_initiator import QuickInitiator
from headrace.ike.quick_mode import QuickMode, Selectors
from headrace.ike.quick_responder import QuickResponder
from headrace.ike.refusal import Drop, Refuse, notify_for
from headrace.ike.responder import Responder
from headrace.model import Endpoint, Failure
from headrace.wire import Malformed


class Host(Protocol):
    """What a peer needs of its endpoint: to be found by cookies."""

    def attach(self, cookies: tuple[bytes, bytes], peer: Peer) -> None:
        """Messages with these cookies are this peer's; a second cookie of zero stands for any, until message 2."""

    def detach(self, cookies: tuple[bytes, bytes]) -> None:
        """No longer."""

    def named(self, peer: Peer, name: tuple[str, bytes]) -> None:
        """The peer has proven who it is."""

    def gone(self, peer: Peer) -> None:
        """Forget the peer."""

    def began_anew(self, peer: Peer, phase1: Phase1, now: float) -> None:
        """The machine behind this ISAKMP SA knows of no other: what it had before is to go."""


class Peer:
    """One remote machine, whatever becomes of its keys."""

    def __init__(
        self, host: Host, ctx: Context, handle: int, local: Endpoint, remote: Endpoint, now: float, *, initiator: bool
    ) -> None:
        self.host = host
        self.ctx = ctx
        self.handle = handle
        self.local = local
        self.remote = remote
        self.initiator = initiator
        """Whether this side began the first negotiation."""
        self.nat: NatVerdict = NO_NAT
        self.floated = False
        self.up = False
        """Phase 1 was complete once."""
        self.down = False
        self.names: set[tuple[str, bytes]] = set()
        """How it proved itself, and as whom."""
        self.pending: Initiator | None = None
        """Main mode that we began."""
        self.children = Children(SETTLE, SETTLE_RESPONDER)
        self._ikes = Phase1s(SETTLE, SETTLE_RESPONDER)
        self._wanted: list[Child | None] = []
        """Pairs to be made or renewed as soon as there is an ISAKMP SA; ``None`` is the first."""
        self._selectors: Selectors | None = None
        self._dpd = DeadPeerDetection(ctx.rand, now)
        self._answers_dpd = False
        self._auth = ""
        self._vendor = ""
        self._had_child = False
        self._childless_since: float | None = now
        self._last_sent = now
        self._now = now

    # -- what the endpoint asks for

    @property
    def ikes(self) -> list[Phase1]:
        """ISAKMP SAs, oldest first."""
        return list(self._ikes)

    def begin(self, now: float, *, first_contact: bool) -> None:
        """Begin as initiator: main mode, then quick mode."""
        self._wanted.append(None)
        self._main_mode(now, first_contact=first_contact)

    def adopt(self, phase1: Phase1, now: float) -> None:
        """A main mode with this peer is complete: its first, or one that renews."""
        self._add(phase1, now)
        if not self.up:
            self.up = True
            self._childless_since = now
            self.ctx.events.put(
                PeerUp(
                    peer=self.handle,
                    local=self.local,
                    remote=self.remote,
                    initiator=self.initiator,
                    auth=phase1.auth,
                    remote_id=phase1.remote_id,
                    proposal=str(phase1.proposal),
                    nat_local=phase1.nat.local,
                    nat_remote=phase1.nat.remote,
                    vendor=phase1.vendor,
                    began=phase1.started,
                    chosen=phase1.chosen,
                )
            )
        wanted, self._wanted = self._wanted, []
        for child in wanted:
            if child is None or child.state is ChildState.ACTIVE:
                self._quick_mode(child, now)

    def release(self, phase1: Phase1) -> None:
        """Give an ISAKMP SA away to another peer."""
        self._ikes.remove(phase1)

    def receive(self, received: Received, now: float) -> None:
        """Take a message with cookies of this peer. Raises ``Drop``."""
        self._now = now
        phase1 = self._ikes.get(received.header.cookies)
        try:
            if phase1 is not None:
                self._established(phase1, received, now)
            elif self.pending is not None and received.header.cookie_i == self.pending.cookie_i:
                self._negotiate(self.pending, received, now)
            else:
                raise Drop("ike_cookie")
        finally:
            self._check_gone(now)

    def reassemble(self, received: Received, fragment: Fragment, now: float) -> bytes | None:
        """Take a fragment; gives the whole message when it was the missing one. Raises ``Drop``."""
        phase1 = self._ikes.get(received.header.cookies)
        if phase1 is not None:
            return phase1.reassembly.add(fragment, now)
        if self.pending is None:
            raise Drop("ike_fragment")
        return self.pending.reassemble(received, fragment, now)

    def esp_activity(self, now: float) -> bool:
        """Authenticated ESP came in. Where only one SA can have brought it, that proves the SA; whether it did."""
        self._now = now
        self._dpd.alive(now)
        if self.children.usable or not len(self.children):
            return False
        waiting = [mode for mode in self._modes() if not mode.finished and mode.child is not None]
        if len(waiting) != 1:
            return False
        waiting[0].esp_seen(now)
        return True

    def moved(self, remote: Endpoint) -> None:
        """The data plane saw authenticated ESP from a new address."""
        if not self.nat.local:
            self.remote = remote

    def soft_limit(self, spi: int, now: float) -> None:
        """An SA is near its volume or its last sequence number: renew the pair."""
        child = self.children.get(spi) or self.children.by_outbound(spi)
        if child is not None and child.state is ChildState.ACTIVE:
            self._quick_mode(child, now)

    def rekey_child(self, now: float) -> None:
        """Renew the newest pair by hand."""
        active = self.children.active
        if active:
            self._quick_mode(active[-1], now)

    def rekey_phase1(self, now: float) -> None:
        """Renew phase 1."""
        if self.pending is None and not self.down:
            self._main_mode(now)

    def wants_keepalive(self, now: float) -> bool:
        """Whether our NAT needs to see something now; counts as having sent it."""
        if not (self.up and self.nat.local and self.floated) or now < self._last_sent + self.ctx.config.keepalive:
            return False
        self._last_sent = now
        return True

    def close(self, failure: Failure, now: float, *, tell: bool = True) -> None:
        """End everything: deletes for ESP, then for ISAKMP, then the SAs go, then the peer."""
        if self.down:
            return
        self.down = True
        best = self._ikes.best
        spis = [child.spi_in for child in self.children]
        if tell and best is not None:
            if spis:
                self._inform(best, informational.delete_children(spis), now)
            for phase1 in self.ikes:
                self._inform(phase1, informational.delete_phase1(phase1.channel), now)
        for child in self.children:
            self._remove_child(child)
        for phase1 in self.ikes:
            self._remove_phase1(phase1)
        self._drop_pending()
        self.ctx.events.put(PeerDown(self.handle, failure))
        self.host.gone(self)

    # -- time

    def deadline(self) -> float | None:
        """When ``tick`` has something."""
        config = self.ctx.config
        times = [self.children.deadline(), self.pending.deadline() if self.pending else None, self._childless_at()]
        if self.up and self._dpd_serves():
            times.append(self._dpd.deadline(config.dpd_delay, config.dpd_timeout))
        for phase1 in self._ikes:
            times += [phase1.expires_at, phase1.retire_at, phase1.origin.deadline() if not phase1.initiator else None]
            times.append(phase1.rekey_at if phase1.retire_at is None and self.pending is None else None)
            times.append(phase1.reassembly.deadline())
            times += [mode.deadline() for mode in phase1.quick.values()]
        return earliest(times)

    def tick(self, now: float) -> None:
        """Do what is due."""
        self._now = now
        if self.pending is not None:
            failure = self.pending.tick(now)
            if failure is not None:
                self._main_mode_failed(failure, now)
            elif self.pending is not None:
                self.pending.reassembly.expire(now)
        for step in (self._tick_quick_modes, self._tick_children, self._tick_phase1s, self._tick_dpd, self._tick_childless):
            if not self.down:
                step(now)
        self._check_gone(now)

    def _tick_quick_modes(self, now: float) -> None:
        for mode in self._modes():
            if mode.finished and now >= mode.done_at + LINGER:
                mode.phase1.quick.pop(mode.message_id, None)
            else:
                mode.tick(now)

    def _tick_children(self, now: float) -> None:
        for due, child in self.children.due(now):
            if child.state is ChildState.GONE or self.down:
                continue
            if due is Due.REKEY:
                child.rekey_at = now + REKEY_RETRY
                self._quick_mode(child, now)
            elif due is Due.RETIRE:
                self._retire(child, now)
            else:
                self._expire(child, now)

    def _tick_phase1s(self, now: float) -> None:
        for phase1 in self.ikes:
            if self.down:
                return
            phase1.reassembly.expire(now)
            phase1.origin.tick(now)
            if now >= phase1.expires_at or (phase1.retire_at is not None and now >= phase1.retire_at):
                if now < phase1.expires_at and any(not mode.finished for mode in phase1.quick.values()):
                    phase1.retire_at = now + SETTLE
                    continue
                self._inform(phase1, informational.delete_phase1(phase1.channel), now)
                self._remove_phase1(phase1)
            elif now >= phase1.rekey_at and phase1.retire_at is None and self.pending is None:
                phase1.rekey_at = now + REKEY_RETRY
                self._main_mode(now)

    def _tick_dpd(self, now: float) -> None:
        if not self.up or not self._dpd_serves():
            return
        config = self.ctx.config
        match self._dpd.tick(now, config.dpd_delay, config.dpd_timeout):
            case Verdict.ASK:
                best = self._ikes.best
                if best is not None:
                    self._inform(best, informational.dpd(NotifyType.R_U_THERE, best.channel, self._dpd.sequence), now)
                else:
                    self.rekey_phase1(now)
            case Verdict.GONE:
                detail = f"nothing authenticated from {self.remote} for {config.dpd_delay + config.dpd_timeout:g} s, and no answer to R-U-THERE"
                self.close(Failure(Slug.DPD_LOST, detail), now, tell=False)
            case Verdict.NOTHING:
                pass

    def _dpd_serves(self) -> bool:
        return self._answers_dpd and bool(self._ikes or self.children)

    def _childless_at(self) -> float | None:
        if self._childless_since is None or not self.up or self.pending or any(not mode.finished for mode in self._modes()):
            return None
        return self._childless_since + (CHILDLESS_LATER if self._had_child else CHILDLESS)

    def _tick_childless(self, now: float) -> None:
        due = self._childless_at()
        if due is None or now < due:
            return
        if self._had_child:
            failure = Failure(Slug.PEER_DELETED, f"no ESP SA is left and no new one was asked for in {CHILDLESS_LATER:g} s")
        elif behind_nat(self.nat, self._vendor):
            failure = Failure(Slug.SERVER_BEHIND_NAT, f"phase 1 is complete, but no quick mode came; {BEHIND_NAT}")
        else:
            why = "; it may not accept our certificate" if self._auth == "cert" else ""
            failure = Failure(Slug.ESP_TIMEOUT, f"phase 1 is complete, but no quick mode came in {CHILDLESS:g} s{why}")
        self.close(failure, now)

    # -- phase 1

    def _main_mode(self, now: float, *, first_contact: bool = False) -> None:
        mode = Initiator(self.ctx, self.local, self.remote, now, first_contact=first_contact, feign_local=self.initiator)
        self.pending = mode
        try:
            mode.begin(now)
        except Refuse as refusal:
            self._main_mode_failed(refusal.failure, now)
            return
        self._last_sent = now
        self.host.attach(mode.cookies, self)

    def _negotiate(self, mode: Initiator, received: Received, now: float) -> None:
        before = mode.cookies
        try:
            mode.receive(received, now)
        except Refuse as refusal:
            if refusal.notify is not None and mode.channel is not None:
                self.ctx.send(mode.local, mode.remote, mode.refusal_message(refusal.notify))
            self._main_mode_failed(refusal.failure, now)
            return
        if mode.cookies != before:
            self.host.detach(before)
            self.host.attach(mode.cookies, self)
        self._last_sent = now
        if mode.phase1 is not None:
            self.pending = None
            self.adopt(mode.phase1, now)

    def _main_mode_failed(self, failure: Failure, now: float) -> None:
        self._drop_pending()
        self.ctx.events.put(Refused(self.remote, failure, self.handle if self.up else None))
        self._wanted.clear()
        if not self.up or not (self._ikes or self.children.alive):
            self.close(failure, now)

    def _drop_pending(self) -> None:
        if self.pending is not None:
            if self._ikes.get(self.pending.cookies) is None:
                self.host.detach(self.pending.cookies)
            self.pending.reassembly.clear()
            self.pending = None

    def _add(self, phase1: Phase1, now: float) -> None:
        """Take in an ISAKMP SA; older ones, or a rival that was made at the same time, are superseded."""
        config = self.ctx.config
        agreed = plan(config.rekey_time, phase1.life, 0, initiator=phase1.initiator, jitter=self.ctx.fraction())
        phase1.rekey_at = now + agreed.rekey_after
        phase1.expires_at = now + agreed.life
        self._ikes.add(phase1, now)
        self.host.attach(phase1.cookies, self)
        self.host.named(self, phase1.name)
        self._dpd.alive(now)
        self._answers_dpd = phase1.dpd
        self._auth, self._vendor = phase1.auth, phase1.vendor
        self.nat, self.floated = phase1.nat, phase1.floated
        self._move(phase1.local, phase1.remote)

    def _remove_phase1(self, phase1: Phase1) -> None:
        self._ikes.remove(phase1)
        self.host.detach(phase1.cookies)
        phase1.reassembly.clear()
        for mode in list(phase1.quick.values()):
            mode.failure = mode.failure or Failure(Slug.ESP_TIMEOUT, "the ISAKMP SA went away during quick mode")
            mode.give_up(self._now)
        phase1.quick.clear()

    # -- messages of phase 2

    def _established(self, phase1: Phase1, received: Received, now: float) -> None:
        match received.header.exchange:
            case Exchange.MAIN:
                origin = phase1.origin
                if not isinstance(origin, Responder):
                    raise Drop("ike_duplicate")
                origin.receive(received, now)
            case Exchange.INFORMATIONAL:
                if not received.header.encrypted:
                    raise Drop("ike_unauth_info")
                self._informational(phase1, received, now)
            case Exchange.QUICK:
                self._quick(phase1, received, now)
            case _:
                raise Drop("ike_exchange")

    def _informational(self, phase1: Phase1, received: Received, now: float) -> None:
        message_id = received.header.message_id
        mode = phase1.quick.get(message_id)
        if isinstance(mode, QuickInitiator) and not mode.finished:
            mode.connected(received, now)
            return
        if not message_id:
            raise Drop("ike_message_id")
        if message_id in phase1.seen:
            raise Drop("ike_replay")
        opened = phase1.channel.open_hashed(received, phase1.channel.iv(message_id))
        phase1.seen.informational(message_id)
        self._heard(received, now)
        informational.act(self, phase1, opened.chain, now)

    def _quick(self, phase1: Phase1, received: Received, now: float) -> None:
        message_id = received.header.message_id
        mode = phase1.quick.get(message_id)
        if mode is not None:
            self._continue(mode, received, now)
            return
        if not message_id:
            raise Drop("ike_message_id")
        if message_id in phase1.seen:
            raise Drop("ike_replay")
        if phase1.seen.exhausted or sum(not item.finished for item in self._modes()) >= MAX_QUICK_MODES:
            raise Drop("ike_quick_mode_limit")
        opened = phase1.channel.open_hashed(received, phase1.channel.iv(message_id))
        phase1.seen.quick(message_id)
        self._heard(received, now)
        responder = QuickResponder(self, phase1, message_id, now)
        try:
            responder.begin(received, opened, now)
        except Malformed as error:
            self._refuse_quick(phase1, Refuse(notify_for(error), Slug.IKE_MALFORMED, str(error)), now)
        except Refuse as refusal:
            self._refuse_quick(phase1, refusal, now)
        else:
            phase1.quick[message_id] = responder
            self._bound_lingering(phase1)

    def _continue(self, mode: QuickMode, received: Received, now: float) -> None:
        assert isinstance(mode, (QuickInitiator, QuickResponder))
        if mode.is_last_message(received):
            # Somebody repeats it, from wherever: it proves nothing about where the peer is.
            mode.repeat_answer(now)
            return
        try:
            mode.receive(received, now)
        except Refuse as refusal:
            self._refused_answer(mode, refusal, now)
        except Malformed as error:
            self._refused_answer(mode, Refuse(notify_for(error), Slug.IKE_MALFORMED, str(error)), now)
        else:
            self._heard(received, now)

    def _refused_answer(self, mode: QuickMode, refusal: Refuse, now: float) -> None:
        """The peer's message 2, authenticated, is not what we can take."""
        assert refusal.notify is not None
        self._inform(mode.phase1, informational.refuse(refusal.notify, refusal.spi), now)
        mode.failure = refusal.failure
        mode.give_up(now)

    def _refuse_quick(self, phase1: Phase1, refusal: Refuse, now: float) -> None:
        if refusal.notify is not None:
            self._inform(phase1, informational.refuse(refusal.notify, refusal.spi), now)
        self.ctx.events.put(Refused(self.remote, refusal.failure, self.handle))

    def _bound_lingering(self, phase1: Phase1) -> None:
        finished = [key for key, mode in phase1.quick.items() if mode.finished]
        for key in finished[: max(0, len(finished) - MAX_LINGERING)]:
            del phase1.quick[key]

    def _modes(self) -> list[QuickMode]:
        return [mode for phase1 in self._ikes for mode in phase1.quick.values()]

    def _quick_mode(self, replaces: Child | None, now: float) -> None:
        """Make the first pair, or renew one; where there is no ISAKMP SA, make that first."""
        if self.down or any(isinstance(mode, QuickInitiator) and not mode.finished for mode in self._modes()):
            return
        best = self._ikes.best
        if best is None or best.seen.exhausted:
            if replaces not in self._wanted:
                self._wanted.append(replaces)
            self.rekey_phase1(now)
            return
        message_id = self.ctx.message_id()
        while message_id in best.seen:
            message_id = self.ctx.message_id()
        best.seen.quick(message_id)
        mode = QuickInitiator(self, best, message_id, now, selectors=self._selectors, replaces=replaces)
        best.quick[message_id] = mode
        self._bound_lingering(best)
        mode.begin(now)

    def _inform(self, phase1: Phase1, payloads: list[tuple[int, bytes]], now: float) -> None:
        message_id = self.ctx.message_id()
        while message_id in phase1.seen:
            message_id = self.ctx.message_id()
        phase1.seen.informational(message_id)
        self.transmit(phase1.channel.informational(message_id, payloads), now)

    def _heard(self, received: Received, now: float) -> None:
        """An authenticated message that was not had before: the peer lives, and it is where this came from (RFC 3947 section 4)."""
        self._dpd.alive(now)
        if not self.nat.local and (not self.floated or received.local.port == self.ctx.natt_port):
            self._move(received.local, received.remote)

    def _move(self, local: Endpoint, remote: Endpoint) -> None:
        moved = remote != self.remote
        self.local, self.remote = local, remote
        if moved and self.up:
            self.ctx.events.put(PeerMoved(self.handle, remote))

    # -- what informational messages ask for

    def peer_deleted_children(self, spis: Iterable[int], now: float) -> bool:
        """The peer took ESP SAs away."""
        known = True
        for spi in spis:
            # By rights it is the sender's inbound SPI; strongSwan names ours when it could not install its own.
            child = self.children.by_outbound(spi) or self.children.get(spi)
            if child is None:
                known = False
                continue
            for mode in self._modes():
                if mode.child is child and not mode.finished:
                    mode.failure = Failure(Slug.PEER_DELETED, "the peer deleted the ESP SA before quick mode was complete")
                    mode.give_up(now)
            if child.state is not ChildState.GONE:
                self._remove_child(child)
        return known

    def peer_deleted_phase1(self, cookies: bytes, now: float) -> bool:
        """The peer took an ISAKMP SA away; ESP lives on if there is any."""
        half = len(cookies) // 2
        phase1 = self._ikes.get((cookies[:half], cookies[half:]))
        if phase1 is None:
            return False
        self._now = now
        self._remove_phase1(phase1)
        return True

    def peer_asks(self, phase1: Phase1, sequence: int, now: float) -> None:
        """R-U-THERE."""
        if not phase1.questions.accept(sequence):
            raise Drop("ike_dpd", f"sequence {sequence} is behind, or far ahead")
        self._inform(phase1, informational.dpd(NotifyType.R_U_THERE_ACK, phase1.channel, sequence), now)

    def peer_answers(self, sequence: int, now: float) -> None:
        """R-U-THERE-ACK. That it came authenticated has counted already; the number only tells whether it was asked for."""
        del now
        if sequence != self._dpd.sequence:
            raise Drop("ike_dpd", f"an answer to {sequence}, which was not asked")

    def peer_began_anew(self, phase1: Phase1, now: float) -> None:
        """INITIAL-CONTACT, heeded only right after phase 1 and before anything was built on it."""
        if phase1.initiator or phase1.quick_done or now > phase1.established + INITIAL_CONTACT_WINDOW:
            raise Drop("ike_notify")
        self.host.began_anew(self, phase1, now)

    def peer_refused(self, phase1: Phase1, notify: int, spi: bytes, now: float) -> None:
        """An error notification: of the quick mode it names, or of the only one."""
        waiting = [mode for mode in phase1.quick.values() if not mode.finished]
        named = [mode for mode in waiting if spi in mode.spis]
        chosen = named or (waiting if len(waiting) == 1 else [])
        if chosen:
            chosen[0].refused(notify, now)
        elif notify in LATE_REFUSALS and not phase1.quick_done:
            failure = late_refusal(notify, phase1.auth)
            self.ctx.events.put(Refused(self.remote, failure, self.handle))
            self._remove_phase1(phase1)
            if not self._ikes and not self.children.alive:
                self.close(failure, now, tell=False)
        else:
            raise Drop("ike_notify")

    # -- what quick modes ask for

    def transmit(self, data: bytes, now: float) -> None:
        """Send to where the peer is now."""
        self._last_sent = now
        self.ctx.send(self.local, self.remote, data)

    def outbound_in_use(self, spi: int) -> bool:
        """Whether the peer has an SA with this SPI already."""
        return self.children.by_outbound(spi) is not None

    def make_room(self) -> None:
        """One pair more: an old one goes where there are too many. Raises ``Refuse``."""
        limit = self.ctx.config.max_children_per_peer
        while len(self.children) >= limit:
            spare = self.children.oldest_superseded()
            if spare is None:
                raise Refuse(NotifyType.NO_PROPOSAL_CHOSEN, Slug.ESP_NO_PROPOSAL, f"the peer has {limit} ESP SAs already")
            self._remove_child(spare)

    def install_inbound(self, child: Child) -> None:
        """From now on ESP may come in."""
        self.children.add(child)
        self._install(child, outbound=False)

    def confirm(self, mode: QuickMode, child: Child, now: float) -> None:
        """Both directions are agreed: outbound is used from now on, unless it lost against a rival."""
        mode.phase1.quick_done = True
        self._selectors = mode.selectors
        rekey, self._had_child = self._had_child, True
        self._childless_since = None
        if self.children.activate(child, now):
            self._install_outbound(child)
            self.ctx.events.put(ChildUp(self.handle, child.spi_in, child.spi_out, str(child.proposal), rekey, child.plan.life))

    def abandon(self, mode: QuickMode, child: Child | None, failure: Failure, now: float) -> None:
        """A quick mode came to nothing."""
        if child is not None and child.state is not ChildState.GONE:
            self._remove_child(child)
        if self.down:
            return
        self.ctx.events.put(Refused(self.remote, failure, self.handle))
        if not mode.initiator:
            return
        if not self._had_child:
            self.close(failure, now)
            return
        assert isinstance(mode, QuickInitiator)
        if mode.replaces is not None and mode.replaces.state is ChildState.ACTIVE:
            mode.replaces.rekey_at = now + REKEY_RETRY
        if failure.slug is Slug.ESP_TIMEOUT and mode.phase1 in self._ikes:
            # The peer may have lost the ISAKMP SA: the next attempt begins with a new one.
            self._remove_phase1(mode.phase1)

    def _install(self, child: Child, *, outbound: bool) -> None:
        self.ctx.events.put(
            InstallSa(
                peer=self.handle,
                keys=child.outbound if outbound else child.inbound,
                remote=self.remote if child.inbound.udp_encap else Endpoint(self.remote.address, 0),
                follow=not self.nat.local,
                local_selector_port=child.local_port,
                remote_selector_port=child.remote_port,
            )
        )

    def _install_outbound(self, child: Child) -> None:
        child.outbound_installed = child.outbound_used = True
        self._install(child, outbound=True)

    def _retire(self, child: Child, now: float) -> None:
        """Nobody should send on it any more: delete it, but listen until that has arrived."""
        child.retire_at = None
        child.ends_at = now + SETTLE
        self._remove_outbound(child)
        self._tell_deleted(child, now)

    def _expire(self, child: Child, now: float) -> None:
        """Its time is over."""
        if child.ends_at is None:
            self._tell_deleted(child, now)
        self._remove_child(child)

    def _tell_deleted(self, child: Child, now: float) -> None:
        best = self._ikes.best
        if best is not None:
            self._inform(best, informational.delete_children([child.spi_in]), now)

    def _remove_child(self, child: Child) -> None:
        self._remove_outbound(child)
        self.ctx.events.put(RemoveSa(self.handle, child.spi_in, outbound=False))
        self.ctx.release(child.spi_in)
        self.children.remove(child)
        revived = None if self.down else self.children.revive(self._now)
        if revived is not None and revived.outbound_installed:
            self.ctx.events.put(UseSa(self.handle, revived.spi_out))
        elif revived is not None:
            self._install_outbound(revived)
        if not self.children.usable and self._childless_since is None:
            self._childless_since = self._now

    def _remove_outbound(self, child: Child) -> None:
        if child.outbound_installed:
            child.outbound_installed = False
            self.ctx.events.put(RemoveSa(self.handle, child.spi_out, outbound=True))

    def _check_gone(self, now: float) -> None:
        """A peer without any SA and without hope of one is gone."""
        if not self.up or self.down or self._ikes or self.children.alive or self.pending is not None:
            return
        if self._had_child:
            failure = Failure(Slug.PEER_DELETED, "the peer deleted its last SA, as it does when it hangs up")
        elif self._auth == "cert":
            failure = Failure(
                Slug.OUR_CERT_REFUSED, "the peer deleted phase 1 right after our certificate: it does not accept it"
            )
        else:
            failure = Failure(Slug.PEER_DELETED, "the peer deleted phase 1 before it asked for an ESP SA")
        self.close(failure, now, tell=False)
