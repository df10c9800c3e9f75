"""The Link Control Protocol (RFC 1661 section 5 and 6, RFC 1570): options, echo, loop detection, Protocol-Reject."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from headrace.errors import Slug
from headrace.model import Failure, Rand, printable
from headrace.ppp.automaton import ControlProtocol, Port, Verdict
from headrace.ppp.config import AuthMethod, LinkConfig, lcp_method
from headrace.ppp.events import Identification, TimeRemaining
from headrace.ppp.frame import DEFAULT_MRU, Code, Packet, Proto
from headrace.ppp.multilink import Terms
from headrace.ppp.network import is_required
from headrace.ppp.option import Lcp as Opt
from headrace.ppp.option import Option, describe
from headrace.ppp.terminate import windows_layout
from headrace.wire import Reader, Writer

MRU_LOW: Final = 68
"""The least MRU that we agree to send into: what every IPv4 link must carry (RFC 791)."""

MRRU_LOW: Final = 256
"""The least MRRU that is agreed to; RFC 1990 section 5.1.1 wants 1500 to be possible."""

MRU_HIGH: Final = 16384
"""The most that is believed; nothing that carries L2TP carries more."""

LOOP_LIMIT: Final = 5
"""Own magic numbers in a row that prove a loop. Chance gives one in 2^32."""

AUTH_PATIENCE: Final = 2
"""How often a peer may Nak each of the methods that are allowed here before the link is given up."""

IDENTIFICATIONS: Final = 8
"""Identification packets that are passed on per link: Windows sends three."""

AUTH_OPTION: Final[Mapping[AuthMethod, bytes]] = {
    AuthMethod.PAP: b"\xc0\x23",
    AuthMethod.CHAP_MD5: b"\xc2\x23\x05",
    AuthMethod.MSCHAP: b"\xc2\x23\x80",
    AuthMethod.MSCHAP_V2: b"\xc2\x23\x81",
    AuthMethod.EAP: b"\xc2\x27",
}
"""The data of the Authentication-Protocol option for each method (RFC 1334, RFC 1994, RFC 2433, RFC 2759, RFC 3748)."""

_METHOD_OF: Final = {data: method for method, data in AUTH_OPTION.items()}

# Protocols which Windows and others try and which a peer may be told about one by one; whatever else is rejected shares one limit.
_NAMED: Final = frozenset(
    {Proto.IPCP, Proto.IPXCP, Proto.ECP, Proto.IPV6CP, Proto.CCP_LINK, Proto.CCP, Proto.LQR, Proto.CBCP, Proto.BACP, Proto.BAP}
)

_MAGIC_SIZE: Final = 4

DEFAULT_ACCM: Final = 0xFFFFFFFF
"""Every control character is escaped until something else is agreed (RFC 1662 section 7.1)."""


@dataclass(frozen=True, slots=True)
class LcpOptions:
    """What one side's Configure-Request means once it is acknowledged."""

    mru: int = DEFAULT_MRU
    """The largest information field this side takes."""
    auth: AuthMethod | None = None
    """What this side demands of the other."""
    magic: int = 0
    pfc: bool = False
    acfc: bool = False
    """Whether this side takes compressed protocol, address and control fields."""
    accm: int = DEFAULT_ACCM
    """Control characters that are escaped on a serial line to this side."""

    mrru: int = 0
    """The largest frame that this side puts together; 0: no multilink."""
    short: bool = False
    """This side wants 12-bit sequence numbers."""
    endpoint: bytes = b""
    """Endpoint discriminator."""

    @classmethod
    def of(cls, options: tuple[Option, ...]) -> LcpOptions:
        """From acknowledged options."""
        by_type = {option.type: option for option in options}
        mru, auth, magic = by_type.get(Opt.MRU), by_type.get(Opt.AUTH), by_type.get(Opt.MAGIC)
        return cls(
            mru=mru.value if mru else DEFAULT_MRU,
            auth=_METHOD_OF.get(auth.data) if auth else None,
            magic=magic.value if magic else 0,
            pfc=Opt.PFC in by_type,
            acfc=Opt.ACFC in by_type,
            mrru=by_type[Opt.MRRU].value if Opt.MRRU in by_type else 0,
            short=Opt.SSNHF in by_type,
            endpoint=by_type[Opt.ENDPOINT].data if Opt.ENDPOINT in by_type else b"",
            accm=by_type[Opt.ACCM].value if Opt.ACCM in by_type else DEFAULT_ACCM,
        )


class LcpPort(Port, Protocol):
    """What LCP needs of the link beyond every other control protocol."""

    def peer_terminates(self, data: bytes) -> None:
        """A Terminate-Request with this data came."""

    def peer_rejects(self, protocol: int, now: float) -> None:
        """A Protocol-Reject for a protocol other than LCP came."""


class Lcp(ControlProtocol):
    """LCP of one link."""

    protocol = Proto.LCP
    layer = "lcp"
    special_codes = frozenset(
        {
            Code.PROTOCOL_REJECT,
            Code.ECHO_REQUEST,
            Code.ECHO_REPLY,
            Code.DISCARD_REQUEST,
            Code.IDENTIFICATION,
            Code.TIME_REMAINING,
        }
    )

    def __init__(self, port: LcpPort, config: LinkConfig, rand: Rand) -> None:
        super().__init__(port, config)
        self._link = port
        self._rand = rand
        self.ours = LcpOptions()
        """What we asked for and got."""
        self.theirs = LcpOptions()
        """What the peer asked for and got."""
        self.farewell = Slug.USER_REQUEST
        """The reason our Terminate-Request gives."""
        self._multilink = None if is_required(config.encryption) else config.multilink
        self._unwanted = {Opt.QUALITY, Opt.CALLBACK}
        self._unwanted |= {Opt.MRRU, Opt.SSNHF} if self._multilink is None else set()
        self._unwanted |= ({Opt.PFC} if not config.pfc else set()) | ({Opt.ACFC} if not config.acfc else set())
        self._magic = self._new_magic()
        self._loops = 0
        self._methods: list[AuthMethod] = []
        self._auth_naks = 0
        self._dropped_options: set[int] = set()
        self._mru = config.mru
        self._mrru = self._multilink.mrru if self._multilink is not None else 0
        self._accm = config.accm or 0
        self._echo_at: float | None = None
        self._echo_id = 0
        self._echoes_out = 0
        self._echo_refused = False
        self._heard = 0.0
        self._identifications = 0
        self._unheard: set[int] = set()
        self._rejected_at: dict[int, float] = {}

    # --- negotiation ------------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """A new magic number, and every option again."""
        self.ours = self.theirs = LcpOptions()
        self._magic = self._new_magic()
        self._methods = list(dict.fromkeys(map(lcp_method, self.config.auth_methods))) if self.config.server else []
        self._auth_naks = 0
        self._dropped_options.clear()
        self._mrru = self._multilink.mrru if self._multilink is not None else 0
        self._mru = self.config.mru
        self._accm = self.config.accm or 0

    def request(self) -> tuple[Option, ...]:
        """MRU, Authentication (server), magic number, PFC and ACFC, less what the peer has rejected."""
        options = []
        if self._mru != DEFAULT_MRU:
            options.append(Option(Opt.MRU, Writer().u16(self._mru).bytes()))
        if self.config.accm is not None:
            options.append(Option(Opt.ACCM, Writer().u32(self._accm).bytes()))
        if self._methods:
            options.append(Option(Opt.AUTH, AUTH_OPTION[self._methods[0]]))
        options.append(Option(Opt.MAGIC, Writer().u32(self._magic).bytes()))
        if self.config.pfc:
            options.append(Option(Opt.PFC))
        if self.config.acfc:
            options.append(Option(Opt.ACFC))
        options += self._multilink_options()
        return tuple(option for option in options if option.type not in self._dropped_options)

    def _multilink_options(self) -> list[Option]:
        multilink = self._multilink
        if multilink is None or Opt.MRRU in self._dropped_options:
            return []
        options = [Option(Opt.MRRU, Writer().u16(self._mrru).bytes()), Option(Opt.ENDPOINT, multilink.discriminator)]
        return [*options, Option(Opt.SSNHF)] if multilink.short else options

    @property
    def multilink(self) -> Terms | None:
        """What was agreed on multilink: it takes both ends."""
        if not (self.ours.mrru and self.theirs.mrru):
            return None
        return Terms(self.ours.mrru, self.theirs.mrru, self.ours.short, self.theirs.short, self.theirs.endpoint)

    def judge(self, options: tuple[Option, ...]) -> Verdict | None:
        """Nak what has a better value, reject multilink, callback and quality, take the rest."""
        nak: list[Option] = []
        reject: list[Option] = []
        for option in options:
            if option.type == Opt.MRU:
                if not MRU_LOW <= option.value <= MRU_HIGH:
                    nak.append(Option(Opt.MRU, Writer().u16(min(self.config.max_send_mru, DEFAULT_MRU)).bytes()))
            elif option.type == Opt.MAGIC:
                if option.value == self._magic:
                    self._loops += 1
                    if self._loops >= LOOP_LIMIT:
                        self.port.fail(Failure(Slug.LCP_LOOPBACK, f"our own magic number came back {self._loops} times"))
                        return None
                    nak.append(self._magic_option())
                elif option.value == 0:
                    nak.append(self._magic_option())
                else:
                    self._loops = 0
            elif option.type == Opt.AUTH:
                if self.config.server:
                    reject.append(option)  # we ask; we do not answer
                elif not self._judge_method(option, nak, reject):
                    return None
            elif option.type in self._unwanted:
                reject.append(option)
            elif option.type == Opt.MRRU and not MRRU_LOW <= option.value <= MRU_HIGH:
                nak.append(Option(Opt.MRRU, Writer().u16(DEFAULT_MRU).bytes()))
        return Verdict(tuple(nak), tuple(reject))

    def _judge_method(self, option: Option, nak: list[Option], reject: list[Option]) -> bool:
        """Client: what we say to the method that the server demands. ``False`` if the link was failed."""
        allowed = self.config.auth_methods if self.config.credentials is not None else ()
        useful = tuple(filter(self.config.gives_keys, allowed)) if is_required(self.config.encryption) else allowed
        useful = tuple(dict.fromkeys(map(lcp_method, useful)))
        if not allowed:
            reject.append(option)  # nothing to prove ourselves with
        elif not useful:
            # The link could not go on after it, so the server gets no proof, and above all no password, for nothing.
            detail = f"policy {self.config.encryption}, but {self._allowed()} gives no keys for MPPE"
            self.port.fail(Failure(Slug.ENCRYPTION_NO_KEYS, detail))
            return False
        elif _METHOD_OF.get(option.data) not in useful:
            nak.append(Option(Opt.AUTH, AUTH_OPTION[useful[0]]))
        return True

    def insist(self, verdict: Verdict, options: tuple[Option, ...]) -> Verdict | None:
        """A server that insists on a method that is not allowed ends the link; anything else is rejected."""
        if any(option.type == Opt.AUTH for option in verdict.nak):
            theirs = describe(self.protocol, [option for option in options if option.type == Opt.AUTH])
            self.port.fail(Failure(Slug.AUTH_NO_COMMON, f"the server insists on {theirs}, allowed here: {self._allowed()}"))
            return None
        return super().insist(verdict, options)

    def naked(self, options: tuple[Option, ...]) -> None:
        """Take a smaller MRU, another magic number, another method."""
        for option in options:
            if option.type == Opt.MRRU and len(option.data) == 2:
                self._mrru = min(max(option.value, MRRU_LOW), self._mrru)
            elif option.type in {Opt.SSNHF, Opt.ENDPOINT}:
                self._dropped_options.add(option.type)
            elif option.type == Opt.MRU and len(option.data) == 2:
                self._mru = min(max(option.value, MRU_LOW), self.config.mru)
            elif option.type == Opt.ACCM and len(option.data) == 4:
                self._accm |= option.value  # the peer knows of more that the line would take for itself
            elif option.type == Opt.MAGIC:
                self._magic = self._new_magic()
            elif option.type == Opt.AUTH and self._methods:
                self._auth_refused(option.data)
            elif option.type in {Opt.PFC, Opt.ACFC}:
                self._dropped_options.add(option.type)

    def rejected(self, options: tuple[Option, ...]) -> None:
        """Do without, except for authentication."""
        for option in options:
            if option.type == Opt.AUTH:
                self.port.fail(
                    Failure(Slug.AUTH_NO_COMMON, f"the peer will not authenticate at all, demanded: {self._allowed()}")
                )
            else:
                self._dropped_options.add(option.type)

    def _auth_refused(self, wanted: bytes) -> None:
        """The peer Naks our method: ask for what it would rather have if that is allowed, otherwise for the next of ours."""
        self._auth_naks += 1
        if self._auth_naks > AUTH_PATIENCE * len(self.config.auth_methods):
            theirs = describe(self.protocol, [Option(Opt.AUTH, wanted)])
            self.port.fail(Failure(Slug.AUTH_NO_COMMON, f"the peer insists on {theirs}, allowed here: {self._allowed()}"))
            return
        self._methods.append(self._methods.pop(0))
        method = _METHOD_OF.get(wanted)
        if method in self._methods:
            self._methods.remove(method)
            self._methods.insert(0, method)

    def _allowed(self) -> str:
        return ", ".join(self.config.auth_methods) or "none"

    def diverged(self) -> Failure:
        """LCP does not settle."""
        return Failure(Slug.LCP_NOT_CONVERGING, f"no agreement on our {self.unanswered}")

    def refused(self, detail: str) -> None:
        """A peer that does not speak LCP speaks no PPP."""
        self.port.fail(Failure(Slug.LCP_REJECTED, detail))

    def agreed(self, ours: tuple[Option, ...], theirs: tuple[Option, ...], now: float) -> None:
        """Keep what both sides got, and start the echo timer."""
        self.ours, self.theirs = LcpOptions.of(ours), LcpOptions.of(theirs)
        self._heard = now
        self._echoes_out = 0
        if self.config.echo_interval > 0 and not self._echo_refused:
            self._echo_at = now + self.config.echo_interval

    def ended(self) -> None:
        """Stop the echo timer."""
        self._echo_at = None

    def terminated_by_peer(self, data: bytes) -> None:
        """Pass the peer's reason on."""
        self._link.peer_terminates(data)

    def terminate_data(self) -> bytes:
        """Our reason, in the layout of Windows."""
        return windows_layout(self._magic, self.farewell)

    def _new_magic(self) -> int:
        return int.from_bytes(self._rand(_MAGIC_SIZE), "big") or 1

    def _magic_option(self) -> Option:
        return Option(Opt.MAGIC, Writer().u32(self._new_magic()).bytes())

    # --- the codes that only LCP has --------------------------------------------------------------------------------------

    def special(self, packet: Packet, now: float) -> None:
        """Protocol-Reject, echo, discard, identification, time remaining."""
        if packet.code == Code.PROTOCOL_REJECT:
            self._receive_protocol_reject(packet, now)
        elif packet.code == Code.IDENTIFICATION:
            self._receive_identification(packet)
        elif packet.code == Code.TIME_REMAINING:
            self._receive_time_remaining(packet)
        elif packet.code == Code.ECHO_REPLY:
            self._receive_echo_reply(packet)
        else:
            self.receive_echo_family(packet, now)
            if packet.code == Code.ECHO_REQUEST and not self.opened:
                self.port.drop("lcp_state")

    def echo(self, packet: Packet, now: float) -> None:
        """An Echo-Request or Discard-Request in Opened. A magic number that is not the peer's is not for us (section 5.8)."""
        magic = Reader(packet.data, self.layer).u32("contents")
        if magic not in {0, self.theirs.magic}:
            self.port.drop("lcp_magic")
            self._look_for_loop(magic)
            return
        self._loops = 0
        if packet.code != Code.ECHO_REQUEST:
            return
        own = Writer().u32(self.ours.magic).bytes()
        self.send_packet(Code.ECHO_REPLY, packet.identifier, own + packet.data[_MAGIC_SIZE:])

    def _receive_echo_reply(self, packet: Packet) -> None:
        magic = Reader(packet.data, self.layer).u32("contents")
        if not self.opened or self._echoes_out == 0:
            self.port.drop("lcp_echo")
        elif magic not in {0, self.theirs.magic}:
            self.port.drop("lcp_magic")
        else:
            self._echoes_out = 0

    def _look_for_loop(self, magic: int) -> None:
        """Our own number in what arrives: the line was looped back after it had opened (section 6.4)."""
        if self.ours.magic and magic == self.ours.magic:
            self._loops += 1
            if self._loops >= LOOP_LIMIT:
                self.port.fail(Failure(Slug.LCP_LOOPBACK, f"our own magic number came back {self._loops} times"))

    def _receive_time_remaining(self, packet: Packet) -> None:
        reader = Reader(packet.data, self.layer)
        reader.u32("contents")
        seconds = reader.u32("contents")
        if not self.opened:
            self.port.drop("lcp_state")
        else:
            self.port.emit(TimeRemaining(seconds, printable(reader.rest(), 100)))

    def announce(self, code: Code, data: bytes) -> None:
        """Send an Identification or Time-Remaining; ``data`` is what follows the magic number. Only in Opened."""
        if self.opened and code not in self._unheard:
            self.send_packet(code, self.next_identifier(), Writer().u32(self.ours.magic).raw(data).bytes())

    def _receive_identification(self, packet: Packet) -> None:
        reader = Reader(packet.data, self.layer)
        reader.u32("contents")
        self._identifications += 1
        if self._identifications > IDENTIFICATIONS:
            self.port.drop("lcp_identification")
        else:
            self.port.emit(Identification(printable(reader.rest())))

    def _receive_protocol_reject(self, packet: Packet, now: float) -> None:
        protocol = Reader(packet.data, self.layer).u16("contents")
        if not self.opened:
            self.port.drop("lcp_state")
        elif protocol == Proto.LCP:
            self.protocol_rejected(now)
        else:
            self._link.peer_rejects(protocol, now)

    def code_rejected(self, code: int) -> None:
        """A peer without echo is asked no more, one without identification is told no more."""
        self._unheard.add(code)
        if code in {Code.ECHO_REQUEST, Code.ECHO_REPLY}:
            self._echo_refused = True
            self._echo_at = None

    def reject_protocol(self, protocol: int, information: bytes, now: float) -> None:
        """Tell the peer that a protocol is not spoken here (section 5.7): in Opened only, at most once a second for each."""
        slot = protocol if protocol in _NAMED else 0
        last = self._rejected_at.get(slot)
        if not self.opened or (last is not None and now - last < 1.0):
            return
        self._rejected_at[slot] = now
        self.send_packet(Code.PROTOCOL_REJECT, self.next_identifier(), Writer().u16(protocol).raw(information).bytes())

    # --- liveness ---------------------------------------------------------------------------------------------------------

    def alive(self, now: float) -> None:
        """Something arrived from the peer: no echo is needed for another interval."""
        self._heard = now
        self._echoes_out = 0

    def deadline(self) -> float | None:
        """When the restart timer or the echo timer ends."""
        return super().deadline() if self._echo_at is None else self._echo_at  # never both: echoes are for Opened

    def tick(self, now: float) -> None:
        """Restart timer, then liveness: an echo after each quiet interval, failure after ``echo_failure`` unanswered ones."""
        super().tick(now)
        if self._echo_at is None or now < self._echo_at:
            return
        quiet_until = self._heard + self.config.echo_interval
        if self._echoes_out == 0 and now < quiet_until:
            self._echo_at = quiet_until
            return
        if self._echoes_out >= self.config.echo_failure:
            self._echo_at = None
            silence = now - self._heard
            self.port.fail(
                Failure(Slug.ECHO_LOST, f"{self._echoes_out} LCP echoes unanswered, nothing heard for {silence:.0f} s")
            )
            return
        self._echoes_out += 1
        self._echo_id = (self._echo_id + 1) & 0xFF
        self._echo_at = now + self.config.echo_interval
        self.send_packet(Code.ECHO_REQUEST, self._echo_id, Writer().u32(self.ours.magic).bytes())
