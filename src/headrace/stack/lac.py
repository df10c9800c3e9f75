"""The client's side: dials one gateway, opens one tunnel with one session, and tells how it ended."""

from __future__ import annotations

from headrace.errors import LocalError, Slug
from headrace.ike import events as ike_events
from headrace.ip6.host import IpHost
from headrace.l2tp import events as l2tp_events
from headrace.model import Endpoint, Failure
from headrace.ppp import events as ppp_events
from headrace.stack.ladder import Ladder, Peer, Session

L2TP_PORT = 1701


class Lac(Ladder):
    """L2TP access concentrator and PPP client in one, as Windows, Apple and Android are. One call to ``dial`` an instance."""

    outcome: Failure | None = None
    """Why the attempt or the session ended; ``None`` while it lives."""

    @property
    def finished(self) -> bool:
        """Whether the call has ended and nothing of it is left."""
        return self.outcome is not None and not self._peers

    def dial(self, local: Endpoint, remote: Endpoint, now: float) -> None:
        """Begin IKE with a gateway. ``remote.port`` is 500 as a rule."""
        self._ike.initiate(local, remote, now)
        self._settle(now)

    def dial_clear(self, local: Endpoint, remote: Endpoint, now: float) -> None:
        """Begin L2TP without IPsec, only where the caller's configuration says so."""
        peer = self._add_clear_peer(local, remote, now)
        if peer is not None:
            self._open(peer, local.port, remote.port, now)
        self._settle(now)

    def _on_ipsec_up(self, peer: Peer, now: float) -> None:
        self._open(peer, L2TP_PORT, L2TP_PORT, now)

    def _open(self, peer: Peer, local_port: int, remote_port: int, now: float) -> None:
        try:
            tunnel = peer.l2tp.open_tunnel(local_port, remote_port, now)
            peer.l2tp.open_session(tunnel, now)
        except LocalError as error:
            self._end(peer, Failure(Slug.INTERNAL, str(error)), now)
        self._touch("l2tp", peer.record.handle)

    def _on_tunnel_up(self, peer: Peer, event: l2tp_events.TunnelUp) -> None:
        peer.record.host_name = event.host_name

    def _host_name(self, peer: Peer) -> str:
        return peer.record.host_name

    def _open4(self, session: Session, event: ppp_events.Ipv4Up) -> None:  # noqa: ARG002 (a role's hook)
        # Everything that the TUN hands over is for the one session there is; what may come back is the gateway's choice.
        self._update(session, open4=True, default_route=True)

    def _open6(self, session: Session, event: ppp_events.Ipv6Up, now: float) -> IpHost:
        self._update(session, open6=True, default_route=True)
        host = IpHost(event.local, now)
        host.tick(now)
        return host

    def close_all(self, failure: Failure, now: float) -> None:
        """Hang up. Nothing was dialled or all has ended: then there is nothing to do."""
        self.outcome = self.outcome or failure
        super().close_all(failure, now)

    def _on_refused(self, event: ike_events.Refused) -> None:
        self.outcome = self.outcome or event.failure

    def _on_l2tp(self, peer: Peer, event: l2tp_events.L2tpEvent, now: float) -> None:
        super()._on_l2tp(peer, event, now)
        if isinstance(event, l2tp_events.Refused):
            self._end(peer, event.failure, now)

    def _on_tunnel_down(self, peer: Peer, event: l2tp_events.TunnelDown, now: float) -> None:
        self._end(peer, event.failure, now)

    def _on_session_down(self, peer: Peer, failure: Failure, now: float) -> None:
        self._end(peer, failure, now)

    def _end(self, peer: Peer, failure: Failure, now: float) -> None:
        self.outcome = self.outcome or failure
        self._close_peer(peer, failure, now)

    def _forget_peer(self, peer: Peer, failure: Failure, now: float) -> None:
        self.outcome = self.outcome or failure
        super()._forget_peer(peer, failure, now)
