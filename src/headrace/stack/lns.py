"""The gateway's side: waits for peers, lets somebody judge the users, gives addresses."""

from __future__ import annotations

from headrace.l2tp import events as l2tp_events
from headrace.stack.ladder import Ladder, Peer


class Lns(Ladder):
    """L2TP network server behind an IKE responder. Everything it does beyond ``Ladder`` is to answer.

    ``AuthNeeded`` events are for the shell: it asks the account store or a RADIUS server and calls ``auth_result`` with the verdict and
    the leased address; ``SessionDown`` gives the lease back.
    """

    def _on_tunnel_up(self, peer: Peer, event: l2tp_events.TunnelUp) -> None:
        peer.record.host_name = event.host_name
        if event.vendor_name and not peer.record.vendor:
            peer.record.vendor = event.vendor_name

    def _host_name(self, peer: Peer) -> str:
        return peer.record.host_name
