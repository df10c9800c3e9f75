"""What was agreed on each rung that a conversation has passed: one line a rung, made of the records, for logs and faces."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.model import Rung
from headrace.stack.events import PeerRecord, SessionRecord


@dataclass(frozen=True, slots=True)
class Passed:
    """One rung that was passed."""

    rung: Rung
    when: float
    """Monotonic seconds, of the stack's clock."""
    seconds: float
    """Since the rung before; 0 for the first one known."""
    agreed: str


def ladder_of(peer: PeerRecord, session: SessionRecord | None = None) -> tuple[Passed, ...]:
    """The rungs that were passed, in the order of the ladder."""
    times = {**peer.rungs, **(session.rungs if session else {})}
    passed: list[Passed] = []
    before: float | None = None
    for rung in sorted(times):
        when = times[rung]
        spent = 0.0 if before is None else max(0.0, when - before)
        before = when if before is None else max(before, when)
        passed.append(Passed(rung, when, spent, _agreed(rung, peer, session)))
    return tuple(passed)


def _agreed(rung: Rung, peer: PeerRecord, session: SessionRecord | None) -> str:
    match rung:
        case Rung.PATH:
            nat = {(True, True): "both", (True, False): "us", (False, True): "the other side"}.get(
                (peer.nat_local, peer.nat_remote)
            )
            return _listed(f"{peer.local} with {peer.remote}", f"a NAT before {nat}" if nat else "no NAT")
        case Rung.IKE_PROPOSAL:
            return peer.ike_proposal
        case Rung.IKE_AUTH:
            return _listed(peer.auth, peer.remote_id, peer.vendor)
        case Rung.ESP:
            return _listed(peer.esp_proposal, "in UDP" if peer.nat_local or peer.nat_remote else "")
        case Rung.L2TP:
            ids = (
                f"tunnel {session.local_tunnel}/{session.remote_tunnel}, call {session.local_session}/{session.remote_session}"
                if session
                else ""
            )
            return _listed(peer.host_name, ids)
        case _ if session is not None:
            return _of_session(rung, session)
        case _:
            return ""


def _of_session(rung: Rung, session: SessionRecord) -> str:
    match rung:
        case Rung.LCP:
            return session.lcp
        case Rung.USER_AUTH:
            return _listed(session.username, session.auth_method)
        case Rung.ENCRYPTION:
            if session.mppe:
                return f"MPPE {session.mppe}"
            return "no MPPE" if session.peer.auth == "none" else "no MPPE: ESP encrypts"
        case Rung.NETWORK:
            dns = f"DNS {', '.join(map(str, session.dns))}" if session.dns else ""
            ends = f"{session.local_address} with {session.remote_address}" if session.remote_address else ""
            return _listed(ends, dns, str(session.prefix6 or ""))
        case Rung.TRAFFIC:
            return f"packets cross both ways, mtu {session.mtu}"
        case _:
            return ""


def _listed(*parts: str) -> str:
    return ", ".join(part for part in parts if part)
