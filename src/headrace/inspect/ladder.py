"""Conversations of a capture told as the ladder: what was agreed on each rung and when, where it broke, and what that means.

What the two sides said decides; where one fell silent, the last message that had no answer does. Times are seconds from the first
packet of the conversation.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

from headrace.errors import Slug, explain
from headrace.ike import complaints, phase2_offer, vendor
from headrace.ike.attributes import PHASE1, value_label
from headrace.ike.constants import NOTIFY_STATUS_FIRST, AuthMethod, Exchange, Phase1Attribute
from headrace.ike.refusal import listed
from headrace.inspect import words
from headrace.inspect.isakmp import Isakmp, Negotiation
from headrace.inspect.packet import Packet
from headrace.l2tp.avp import AvpType
from headrace.l2tp.message import MessageType
from headrace.l2tp.reasons import failure_of_call, failure_of_stop
from headrace.model import Failure, Rung, printable
from headrace.ppp import frame as ppp
from headrace.ppp.auth import slug_of_code
from headrace.ppp.option import Lcp, parse_options
from headrace.ppp.terminate import peer_reason
from headrace.wire import Malformed

CONVERSATIONS_MAX: Final = 1024
LINES_MAX: Final = 400
"""Lines of the story of one conversation."""
_NORMAL: Final = frozenset({Slug.USER_REQUEST, Slug.PEER_CLOSED, Slug.PEER_DELETED})


@dataclass(slots=True)
class Step:
    """A rung that was passed."""

    rung: Rung
    at: float
    """Seconds from the begin of the conversation."""
    agreed: str


@dataclass(slots=True)
class Conversation:
    """Everything between one client and one server, from the first packet on."""

    client: str
    server: str
    begin: float
    last: float
    first_packet: int
    last_packet: int
    client_end: bytes
    """Packed address: which side a packet is from."""
    negotiation: Negotiation | None = None
    steps: dict[Rung, Step] = field(default_factory=dict)
    story: list[tuple[float, int, str]] = field(default_factory=list)
    """(seconds, packet number, what happened)."""
    failure: Failure | None = None
    failed_at: int = 0
    """Packet number of the failure; 0 if it is a silence."""
    ended: bool = False
    packets: int = 0
    esp: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    """ESP packets by whether the client sent them."""
    opened: int = 0
    user: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    """The user's packets."""
    waiting: tuple[str, bool, int, int] | None = None
    """Last message that asks for an answer: name, whether the client sent it, first packet, times."""
    offered: str = ""
    username: str = ""
    method: str = ""
    acks: set[tuple[int, bool]] = field(default_factory=set)
    """(PPP protocol, whether the client acknowledged)."""
    agreed: dict[tuple[int, bool], str] = field(default_factory=dict)
    mppe: str = ""
    hidden: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    """Frames that MPPE encrypts and no password opens."""
    truncated: bool = False

    def tell(self, packet: Packet, text: str) -> None:
        """Add a line to the story."""
        if len(self.story) < LINES_MAX:
            self.story.append((packet.time - self.begin, packet.number, text))
        else:
            self.truncated = True

    def reach(self, packet: Packet, rung: Rung, agreed: str) -> None:
        """Pass a rung, once."""
        if rung not in self.steps:
            self.steps[rung] = Step(rung, packet.time - self.begin, agreed)

    def fail(self, packet: Packet, failure: Failure) -> None:
        """Keep the first reason that says something; a normal end is none while nothing was wrong."""
        if failure.slug in _NORMAL:
            self.ended = True
            return
        if self.failure is None:
            self.failure, self.failed_at = failure, packet.number

    def json(self) -> dict[str, Any]:
        """The JSON form."""
        record = explain(self.failure.slug) if self.failure else None
        return {
            "client": self.client,
            "server": self.server,
            "packets": self.packets,
            "first_packet": self.first_packet,
            "last_packet": self.last_packet,
            "rungs": [
                {"rung": step.rung.name.lower().replace("_", "-"), "at": round(step.at, 6), "agreed": step.agreed}
                for step in sorted(self.steps.values(), key=lambda step: step.rung)
            ],
            "failure": None
            if self.failure is None or record is None
            else {
                "slug": str(self.failure.slug),
                "ras": record.ras,
                "rung": Rung(record.rung).name.lower().replace("_", "-"),
                "detail": self.failure.detail,
                "packet": self.failed_at or None,
                "remedy_client": record.remedy_client,
                "remedy_gateway": record.remedy_gateway,
            },
            "story": [{"at": round(at, 6), "packet": number, "text": text} for at, number, text in self.story],
        }


class Ladders:
    """Sorts the packets of a capture into conversations, in order, and follows each."""

    def __init__(self) -> None:
        self.conversations: list[Conversation] = []
        self._by_cookie: OrderedDict[bytes, Conversation] = OrderedDict()
        self._by_pair: OrderedDict[tuple[bytes, bytes], Conversation] = OrderedDict()
        self._by_path: OrderedDict[tuple[tuple[bytes, int], tuple[bytes, int]], Conversation] = OrderedDict()
        self._by_spi: OrderedDict[int, Conversation] = OrderedDict()
        self.left_out = 0
        """Packets of conversations beyond the limit."""

    def feed(self, packet: Packet) -> None:
        """Take one packet."""
        if packet.ends is None or (
            packet.isakmp is None and packet.esp is None and packet.l2tp is None and packet.protocol != "ICMP"
        ):
            return
        found = self._of(packet)
        if found is None:
            self.left_out += packet.protocol != "ICMP"
            return
        found.packets += 1
        found.last, found.last_packet = packet.time, packet.number
        if packet.protocol == "ICMP":
            self._icmp(found, packet)
            return
        client = self._from_client(found, packet)
        if packet.isakmp is not None:
            _ike(found, packet, packet.isakmp)
        if packet.esp is not None:
            found.esp[client] += 1
            found.opened += packet.esp.opened
            if min(found.esp.values()) and found.negotiation is not None:
                found.reach(packet, Rung.ESP, found.offered or "ESP both ways")
        if packet.l2tp is not None and packet.l2tp.control:
            _l2tp(found, packet, client)
        elif packet.ppp is not None:
            _ppp(found, packet, packet.ppp, client)

    def finish(self) -> list[Conversation]:
        """Judge the silences at the end of the capture."""
        for one in self.conversations:
            _silence(one)
        return self.conversations

    # --- which conversation ------------------------------------------------------------------------------------------------------

    def _of(self, packet: Packet) -> Conversation | None:
        assert packet.ends is not None
        source, destination = packet.ends
        pair = (min(source[0], destination[0]), max(source[0], destination[0]))
        path = (min(source, destination), max(source, destination))
        message = packet.isakmp
        if message is not None:
            found = self._by_cookie.get(message.header.cookie_i) or self._rekeyed(path)
            if found is None:
                found = self._new(packet, *((source, destination) if message.initiator else (destination, source)))
                if found is None:
                    return None
                found.negotiation = message.negotiation
            _put(self._by_cookie, message.header.cookie_i, found)
            _put(self._by_path, path, found)
            if source[1] != 0:  # raw ESP of the same machines has no ports
                _put(self._by_path, (min((source[0], 0), (destination[0], 0)), max((source[0], 0), (destination[0], 0))), found)
            self._spis(message, found)
        elif packet.esp is not None and packet.esp.spi in self._by_spi:
            found = self._by_spi[packet.esp.spi]
        else:
            found = self._by_path.get(path) or (self._by_pair.get(pair) if packet.protocol == "ICMP" else None)
        if found is None and packet.protocol == "ICMP":
            return None
        if found is None:
            turned = destination[1] not in {1701, 4500} and source[1] in {1701, 4500}
            found = self._new(packet, *((destination, source) if turned else (source, destination)))
            if found is not None:
                _put(self._by_path, path, found)
        if found is not None:
            _put(self._by_pair, pair, found)
        return found

    def _rekeyed(self, path: tuple[tuple[bytes, int], tuple[bytes, int]]) -> Conversation | None:
        """A new phase 1 of a conversation that is up belongs to it."""
        found = self._by_path.get(path)
        if found is None or found.failure is not None or found.ended or Rung.ESP not in found.steps:
            return None
        return found

    def _new(self, packet: Packet, client: tuple[bytes, int], server: tuple[bytes, int]) -> Conversation | None:
        from headrace.inspect import ip

        if len(self.conversations) >= CONVERSATIONS_MAX:
            return None
        found = Conversation(
            ip.end(*client), ip.end(*server), packet.time, packet.time, packet.number, packet.number, client[0]
        )
        self.conversations.append(found)
        return found

    def _spis(self, message: Isakmp, found: Conversation) -> None:
        if message.phase2 is not None:
            for proposal in message.phase2.proposals[:2]:
                if len(proposal.spi) == 4:
                    _put(self._by_spi, int.from_bytes(proposal.spi, "big"), found)

    @staticmethod
    def _from_client(found: Conversation, packet: Packet) -> bool:
        assert packet.ends is not None
        if packet.isakmp is not None:
            return packet.isakmp.initiator
        if found.negotiation is not None and packet.ends[0][0] == packet.ends[1][0]:
            return packet.ends[0] == found.negotiation.initiator
        return packet.ends[0][0] == found.client_end

    @staticmethod
    def _icmp(found: Conversation, packet: Packet) -> None:
        if "unreachable" in packet.summary and Rung.PATH not in found.steps:
            found.tell(packet, f"{packet.source} answers ICMP {packet.summary}")
            found.fail(packet, Failure(Slug.NO_ROUTE, f"{packet.source} answers ICMP {packet.summary}"))
        elif packet.summary == "packet too big":
            found.tell(packet, f"{packet.source} answers ICMP packet too big: the path carries less than was sent")


def _put(where: OrderedDict[Any, Conversation], key: Any, found: Conversation) -> None:
    where[key] = found
    where.move_to_end(key)
    while len(where) > 4 * CONVERSATIONS_MAX:
        where.popitem(last=False)


# --- rungs 2 to 5 ------------------------------------------------------------------------------------------------------------------


def _ike(found: Conversation, packet: Packet, message: Isakmp) -> None:
    who = "the client" if message.initiator else "the server"
    negotiation = message.negotiation
    if not message.initiator and not packet.problem.startswith("isakmp"):
        found.reach(packet, Rung.PATH, f"{found.server} answers")
    if message.repeated:
        if found.waiting and found.waiting[0] == message.name:
            found.waiting = (*found.waiting[:3], found.waiting[3] + 1)
        found.tell(packet, f"{who} repeats {message.name}")
        return
    text = "; ".join(message.details)
    if message.chain is None:
        text = message.problem or f"{message.header.length} octets, encrypted"
    found.tell(packet, f"{who} sends {message.name}: {text}" if text else f"{who} sends {message.name}")
    if message.header.exchange in {Exchange.MAIN, Exchange.QUICK, Exchange.AGGRESSIVE}:
        found.waiting = (message.name, message.initiator, packet.number, 1)
    match message.name:
        case "main mode 2" if negotiation.chosen is not None:
            method = value_label(PHASE1, Phase1Attribute.AUTHENTICATION, negotiation.chosen.method)
            found.reach(packet, Rung.IKE_PROPOSAL, f"{negotiation.chosen.label} by {method}")
        case "main mode 6":
            found.reach(packet, Rung.IKE_AUTH, _identities(negotiation))
            if negotiation.psk_verdict.get(False) is False and negotiation.psk_verdict.get(True):
                found.tell(packet, "the pre-shared key that was given proves the client, but not the server")
        case "quick mode 1":
            found.reach(packet, Rung.IKE_AUTH, _identities(negotiation))
        case "quick mode 2" if message.phase2 is not None:
            found.offered = listed([offer.label for offer in phase2_offer.read_all(message.phase2)])
        case "quick mode 3":
            found.reach(packet, Rung.ESP, found.offered or "quick mode complete")
            found.waiting = None
        case _:
            pass
    if message.name == "aggressive mode" and message.initiator:
        found.tell(packet, "aggressive mode gives its hash away to whoever asks: headrace and many others do not answer it")
    for notify in message.notify:
        if notify.type < NOTIFY_STATUS_FIRST:
            _notify(found, packet, message, notify.type)
    if message.delete and Rung.TRAFFIC not in found.steps and Rung.NETWORK not in found.steps and found.failure is None:
        _deleted(found, packet, message)
    elif message.delete:
        found.ended = True
        found.waiting = None


def _identities(negotiation: Negotiation) -> str:
    chosen = negotiation.chosen
    method = value_label(PHASE1, Phase1Attribute.AUTHENTICATION, chosen.method) if chosen else "both proven"
    shown = [
        f"{side} {negotiation.subject.get(one) or negotiation.identity[one]}"
        for one, side in ((True, "client"), (False, "server"))
        if one in negotiation.identity or one in negotiation.subject
    ]
    kind = vendor.describe(negotiation.vendors.get(True, ()))
    server = vendor.describe(negotiation.vendors.get(False, ()))
    seen = [f"client is {kind}" if kind else "", f"server is {server}" if server else ""]
    return "; ".join(part for part in (method, *shown, *seen) if part)


def _auth(negotiation: Negotiation) -> str:
    return "psk" if negotiation.chosen is None or negotiation.chosen.method == AuthMethod.PSK else "cert"


def _notify(found: Conversation, packet: Packet, message: Isakmp, number: int) -> None:
    who = "client" if message.initiator else "server"
    if Rung.IKE_AUTH in found.steps:
        failure = complaints.phase2_failure(number, initiator=not message.initiator)
    else:
        proven = found.waiting is not None and found.waiting[0] == "main mode 5"
        failure = complaints.phase1_failure(number, _auth(message.negotiation), proven=proven)
    detail = failure.detail.replace("the peer", f"the {who}", 1)
    if failure.slug == Slug.IKE_NO_PROPOSAL and message.negotiation.offered:
        detail = f"the {who} takes none of {listed([offer.label for offer in message.negotiation.offered])}"
    found.fail(packet, Failure(failure.slug, detail))


def _deleted(found: Conversation, packet: Packet, message: Isakmp) -> None:
    who = "client" if message.initiator else "server"
    if Rung.IKE_AUTH in found.steps and Rung.ESP not in found.steps:
        slug = Slug.OUR_CERT_REFUSED if _auth(message.negotiation) == "cert" else Slug.OUR_AUTH_REFUSED
        found.fail(packet, Failure(slug, f"the {who} deletes phase 1 right after it: it does not accept the other's proof"))
    else:
        found.ended = True


# --- rung 6 ------------------------------------------------------------------------------------------------------------------------


def _l2tp(found: Conversation, packet: Packet, client: bool) -> None:
    who = "the client" if client else "the server"
    message = packet.message
    if message is None:
        return
    if not client:
        found.reach(packet, Rung.PATH, f"{found.server} answers")
    names = [printable(value) for avp in (AvpType.HOST_NAME, AvpType.VENDOR_NAME) if (value := message.octets(avp))]
    found.tell(packet, f"{who} sends {message.type.name}{f' ({chr(44).join(names)})' if names else ''}")
    if packet.problem:
        found.fail(packet, Failure(Slug.L2TP_MALFORMED, f"{who}: {packet.problem}"))
    match message.type:
        case MessageType.SCCRQ:
            if found.negotiation is None and packet.esp is None:
                found.tell(packet, "L2TP in clear, without IPsec")
            found.waiting = ("SCCRQ", client, packet.number, 1)
        case MessageType.ICRQ:
            found.waiting = ("ICRQ", client, packet.number, 1)
        case MessageType.ICCN:
            found.reach(
                packet,
                Rung.L2TP,
                f"tunnel and call {packet.l2tp.tunnel if packet.l2tp else 0}, session {packet.l2tp.session if packet.l2tp else 0}",
            )
            found.waiting = None
        case MessageType.STOPCCN:
            up = Rung.L2TP in found.steps
            failure = failure_of_stop(
                message.result, established=up, authenticating=found.waiting is not None and found.waiting[0] == "SCCRQ"
            )
            found.fail(packet, Failure(failure.slug, f"{who}: {failure.detail}"))
            found.waiting = None
        case MessageType.CDN:
            failure = failure_of_call(message.result, established=Rung.L2TP in found.steps)
            found.fail(packet, Failure(failure.slug, f"{who}: {failure.detail}"))
            found.waiting = None
        case _:
            found.waiting = None if found.waiting and found.waiting[1] != client else found.waiting


# --- rungs 7 to 11 -------------------------------------------------------------------------------------------------------------------


def _ppp(found: Conversation, packet: Packet, frame: ppp.Frame, client: bool) -> None:
    who = "the client" if client else "the server"
    if packet.inner is not None:
        found.user[client] += 1
        if min(found.user.values()) and Rung.NETWORK in found.steps:
            found.reach(packet, Rung.TRAFFIC, "packets of the user cross both ways")
        return
    if frame.protocol == ppp.Proto.COMPRESSED:
        found.hidden[client] += 1
        if min(found.hidden.values()) and Rung.NETWORK in found.steps:
            found.reach(packet, Rung.TRAFFIC, "packets encrypted by MPPE cross both ways")
        return
    try:
        control = ppp.Packet.parse(frame.information, "ppp")
        if not _boring(frame.protocol, control.code):
            found.tell(packet, f"{who} sends {words.ppp_name(frame.protocol)} {packet.summary}")
        if frame.protocol in {ppp.Proto.LCP, ppp.Proto.IPCP, ppp.Proto.CCP}:
            _configure(found, packet, frame.protocol, control, client)
        elif frame.protocol == ppp.Proto.CHAP:
            _chap(found, packet, control)
        elif frame.protocol == ppp.Proto.PAP:
            _pap(found, packet, control)
        elif frame.protocol == ppp.Proto.EAP:
            _eap(found, packet, control)
    except Malformed as error:
        found.tell(packet, f"{who} sends PPP that cannot be read: {error}")


def _boring(protocol: int, code: int) -> bool:
    return protocol == ppp.Proto.LCP and code in {ppp.Code.ECHO_REQUEST, ppp.Code.ECHO_REPLY}


def _configure(found: Conversation, packet: Packet, protocol: int, control: ppp.Packet, client: bool) -> None:
    if control.code == ppp.Code.CONFIGURE_ACK:
        found.acks.add((protocol, client))
        # What one side acknowledges is what the other asked for.
        found.agreed[protocol, not client] = words.options(protocol, control.data)
        _acknowledged(found, packet, protocol, control)
    elif control.code == ppp.Code.TERMINATE_REQUEST and protocol == ppp.Proto.LCP:
        failure = peer_reason(control.data, client, bool(found.mppe))
        who = "client" if client else "server"
        # The reason is told as the person who dials sees it: peer_reason mirrors the client's words for a gateway's log.
        found.fail(packet, Failure(failure.slug, failure.detail or f"the {who} ends the link"))
    elif control.code == ppp.Code.PROTOCOL_REJECT and protocol == ppp.Proto.LCP and len(control.data) >= 2:
        rejected = int.from_bytes(control.data[:2], "big")
        if rejected == ppp.Proto.IPCP:
            found.fail(packet, Failure(Slug.IPCP_REFUSED, f"the {'client' if client else 'server'} rejects IPCP"))


def _acknowledged(found: Conversation, packet: Packet, protocol: int, control: ppp.Packet) -> None:
    chosen = {option.type: option for option in parse_options(control.data, "ppp")}
    if protocol == ppp.Proto.LCP:
        if Lcp.AUTH in chosen:
            found.method = words.options(protocol, chosen[Lcp.AUTH].emit()).strip("<>").removeprefix("auth ")
        if {(protocol, True), (protocol, False)} <= found.acks:
            text = f"client {found.agreed.get((protocol, True), '')}; server {found.agreed.get((protocol, False), '')}"
            found.reach(packet, Rung.LCP, text)
    elif protocol == ppp.Proto.CCP and {(protocol, True), (protocol, False)} <= found.acks:
        found.mppe = found.agreed.get((protocol, False)) or found.agreed.get((protocol, True)) or ""
        if found.mppe:
            found.reach(packet, Rung.ENCRYPTION, f"MPPE {found.mppe}")
    elif protocol == ppp.Proto.IPCP and {(protocol, True), (protocol, False)} <= found.acks:
        if Rung.ENCRYPTION not in found.steps:
            found.reach(packet, Rung.ENCRYPTION, "none in PPP" + ("; ESP encrypts" if found.negotiation or packet.esp else ""))
        given = found.agreed.get((protocol, True), "")
        own = found.agreed.get((protocol, False), "")
        found.reach(packet, Rung.NETWORK, f"client {given}; server {own}")


def _chap(found: Conversation, packet: Packet, control: ppp.Packet) -> None:
    if control.code == 2 and control.data:
        found.username = printable(control.data[1 + control.data[0] :])
    elif control.code == 3:
        found.reach(packet, Rung.USER_AUTH, f"{found.username or 'the user'} by {found.method or 'CHAP'}")
    elif control.code == 4:
        text = printable(control.data, 120)
        code = next((int(word[2:]) for word in text.split() if word.startswith("E=") and word[2:].isdigit()), 691)
        found.fail(packet, Failure(slug_of_code(code), f'the server says "{text}" to {found.username or "the user"}'))


def _pap(found: Conversation, packet: Packet, control: ppp.Packet) -> None:
    if control.code == 1 and control.data:
        found.username = printable(control.data[1 : 1 + control.data[0]])
    elif control.code == 2:
        found.reach(packet, Rung.USER_AUTH, f"{found.username or 'the user'} by pap")
    elif control.code == 3:
        found.fail(packet, Failure(Slug.AUTH_FAILED, f"the server refuses {found.username or 'the user'}"))


def _eap(found: Conversation, packet: Packet, control: ppp.Packet) -> None:
    if control.code == 2 and len(control.data) > 1 and control.data[0] == 1:
        found.username = printable(control.data[1:], 100)
    elif control.code == 3:
        found.reach(packet, Rung.USER_AUTH, f"{found.username or 'the user'} by eap")
    elif control.code == 4:
        found.fail(packet, Failure(Slug.AUTH_FAILED, f"EAP Failure for {found.username or 'the user'}"))


# --- silence -----------------------------------------------------------------------------------------------------------------------


def _silence(found: Conversation) -> None:
    """Why a conversation without a spoken reason stands where it stands at the end of the capture."""
    if found.failure is not None or found.ended or Rung.NETWORK in found.steps:
        return
    negotiation = found.negotiation
    if negotiation is not None and negotiation.garbage:
        detail = "message 5 does not decrypt with the gateway's key: the two pre-shared keys differ"
        found.failure = Failure(Slug.PSK_MISMATCH, detail)
        return
    if found.waiting is not None:
        name, client, number, times = found.waiting
        asker, other = ("client", "server") if client else ("server", "client")
        detail = f"{asker} sent {name} {times} time{'' if times == 1 else 's'} (first in packet {number}), the {other} does not answer"
        slug = _unanswered(name, negotiation, client)
        if slug is Slug.SERVER_BEHIND_NAT:
            detail += "; a NAT stands before the server"
        found.failure = Failure(slug, detail)
    elif Rung.ESP in found.steps and found.opened == 0 and max(found.esp.values()):
        return  # not decrypted: there may be anything inside
    elif Rung.ESP in found.steps and Rung.L2TP not in found.steps:
        found.failure = Failure(Slug.L2TP_SILENT, "IPsec is up, and no L2TP tunnel came up in it")
    elif Rung.L2TP in found.steps and Rung.LCP not in found.steps:
        found.failure = Failure(Slug.LCP_TIMEOUT, "the call is up, and LCP did not open")
    elif Rung.LCP in found.steps and Rung.USER_AUTH not in found.steps:
        found.failure = Failure(Slug.AUTH_TIMEOUT, "LCP is open, and the user's authentication did not end")
    elif Rung.USER_AUTH in found.steps:
        found.failure = Failure(Slug.IPCP_REFUSED, "the user is authenticated, and no address was agreed")


def _unanswered(name: str, negotiation: Negotiation | None, client: bool) -> Slug:
    nat_server = negotiation is not None and negotiation.nat.get(False, False)
    psk = negotiation is None or _auth(negotiation) == "psk"
    match name:
        case "main mode 1":
            return Slug.IKE_NO_ANSWER
        case "aggressive mode":
            return Slug.IKE_AGGRESSIVE
        case "main mode 5" if psk:
            return Slug.PSK_MISMATCH
        case "main mode 4" | "main mode 6" if nat_server and not client:
            return Slug.SERVER_BEHIND_NAT
        case "quick mode 1" | "quick mode 2":
            return Slug.ESP_TIMEOUT
        case "SCCRQ" | "ICRQ":
            return Slug.L2TP_SILENT
        case _:
            return Slug.IKE_TIMEOUT


def describe(found: Conversation, *, story: bool = True) -> str:
    """The conversation for a person."""
    lines = [f"{found.client} calls {found.server}: {found.packets} packets ({found.first_packet} to {found.last_packet})"]
    if story:
        lines += [f"  {at:9.3f} s  #{number:<6} {text}" for at, number, text in found.story]
        if found.truncated:
            lines.append(f"  ... more than {LINES_MAX} lines")
    lines.append("  The ladder:")
    for rung in Rung:
        step = found.steps.get(rung)
        if rung is Rung.NAME or (step is None and (found.steps and rung > max(found.steps))):
            continue
        label = rung.name.lower().replace("_", "-")
        lines.append(f"    {rung.value:2} {label:12}  " + (f"{step.at:.3f} s  {step.agreed}" if step else "not seen"))
    lines += [f"  {line}" for line in verdict(found)]
    return "\n".join(lines)


def verdict(found: Conversation) -> list[str]:
    """What became of it, in a few lines."""
    hidden = max(found.esp.values()) and not found.opened
    if found.failure is not None:
        record = explain(found.failure.slug)
        rung = Rung(record.rung).name.lower().replace("_", "-")
        place = f", packet {found.failed_at}" if found.failed_at else ""
        number = f"{record.ras} " if record.ras else ""
        return [
            f"Broke on rung {record.rung} ({rung}{place}): {number}{found.failure}",
            f"  on the client:  {record.remedy_client}",
            f"  on the gateway: {record.remedy_gateway}",
        ]
    if hidden:
        total = sum(found.esp.values())
        return [f"{total} ESP packets were not decrypted ({found.esp[True]} from the client): what is above ESP needs --keylog"]
    if Rung.NETWORK in found.steps:
        user = f"{found.user[True]} packets of the user from the client, {found.user[False]} to it"
        more = sum(found.hidden.values())
        compressed = f"; {more} more encrypted by MPPE" if more else ""
        return [f"Came up{' and was ended in order' if found.ended else ''}; {user}{compressed}"]
    return ["Ended in order before it came up" if found.ended else "The capture ends before it came up"]
