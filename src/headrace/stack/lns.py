"""The gateway's side: waits for peers, lets somebody judge the users, gives addresses."""

from __future__ import annotations

from typing import Final

from headrace.errors import Slug
from headrace.ip6.router import IpRouter, RouterConfig, split
from headrace.l2tp import events as l2tp_events
from headrace.model import Failure, Rung
from headrace.ppp import events as ppp_events
from headrace.stack import events
from headrace.stack.ladder import Ladder, Peer, Session

MIN_MTU6: Final = 1280
"""Octets that every IPv6 link carries (RFC 8200 section 5); less is not to be advertised."""


class Lns(Ladder):
    """L2TP network server behind an IKE responder. Everything it does beyond ``Ladder`` is to answer.

    ``AuthNeeded`` events are for the shell: it asks the account store or a RADIUS server and calls ``auth_result`` with the verdict and
    the leased address; ``SessionDown`` gives the lease back.
    """

    def _on_tunnel_up(self, peer: Peer, event: l2tp_events.TunnelUp) -> None:
        peer.record.host_name = event.host_name
        if event.vendor_name and not peer.record.vendor:
            peer.record.vendor = event.vendor_name

    def _forget_peer(self, peer: Peer, failure: Failure, now: float) -> None:
        if Rung.ESP in peer.record.rungs and not peer.spoke and peer.closing is None and peer.record.handle in self._peers:
            silent = Failure(Slug.L2TP_SILENT, "IPsec was up, and the client went without one L2TP message that arrived")
            self._events.put(events.Refused(peer.record.remote, silent, peer.record))
        super()._forget_peer(peer, failure, now)

    def _open6(self, session: Session, event: ppp_events.Ipv6Up, now: float) -> IpRouter | None:
        config = self.config.ip6
        if config is None or event.prefix is None:
            return None
        self._update(session, open6=True, own6=event.prefix)
        link, delegated = split(event.prefix, config.delegated_length)
        mtu = session.record.mtu if session.record.mtu >= MIN_MTU6 else 0
        told = RouterConfig(event.local, link, config.duid, delegated, config.dns, mtu)
        router = IpRouter(told, self._rand, now)
        router.tick(now)
        return router

    def _host_name(self, peer: Peer) -> str:
        return peer.record.host_name
