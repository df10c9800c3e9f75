"""The Compression Control Protocol (RFC 1962): MPPE and MPPC (RFC 3078 section 2, RFC 2118), Deflate (RFC 1979).

A Configure-Request says what its sender can *receive*, the most wanted method first. Of the peer's, the first that is allowed is
taken and the others are rejected, as are all that are not known here (Predictor, BSD, the old number of Deflate). Where encryption
is required or preferred, option 18 goes before all. The value of option 18, 32 bits::

    01000000  H  stateless              00000040  S  128 bits          00000010  D  obsolete
    00000080  M  56 bits                00000020  L  40 bits           00000001  C  MPPC compression

Each side offers every strength that its policy has; the answer is a Nak down to the strongest that both have, and only one
strength is ever acknowledged. The C bit goes with a strength or alone.
"""

from __future__ import annotations

from typing import Final

from headrace.errors import Slug
from headrace.model import Compression, Compressor, Encryption, Failure, MppeKeys
from headrace.ppp.automaton import Port, Verdict
from headrace.ppp.config import LinkConfig
from headrace.ppp.deflate import DEFLATE_SIZES, deflate_option, deflate_window
from headrace.ppp.events import CompressionUp, MppeDown, MppeFlush, MppeUp
from headrace.ppp.frame import Code, Packet, Proto
from headrace.ppp.mppe import key_length
from headrace.ppp.network import Grant, NetworkProtocol, is_required
from headrace.ppp.option import Ccp as Opt
from headrace.ppp.option import Option
from headrace.wire import Writer

STATELESS: Final = 0x01000000
MPPC: Final = 0x00000001
STRENGTH: Final = {128: 0x40, 56: 0x80, 40: 0x20}
"""The bit of each strength, strongest first."""

RESET_INTERVAL: Final = 1.0
"""Seconds between two Reset-Requests. An answer is a packet with the A bit, which this layer does not see, so time must do."""


def strengths(value: int) -> tuple[int, ...]:
    """The strengths in an option's value, strongest first."""
    return tuple(bits for bits, mask in STRENGTH.items() if value & mask)


def mppe_option(bits: tuple[int, ...], stateless: bool, mppc: bool = False) -> Option:
    """Option 18 for these strengths, or for MPPC alone if there are none."""
    value = sum(STRENGTH[number] for number in bits) | (STATELESS if stateless else 0) | (MPPC if mppc else 0)
    return Option(Opt.MPPE, Writer().u32(value).bytes())


def allowed_strengths(config: LinkConfig, encryption: Encryption) -> tuple[int, ...]:
    """What a policy lets through, strongest first."""
    return tuple(
        bits for bits in STRENGTH if bits in config.mppe_bits and (bits == 128 or encryption is not Encryption.REQUIRED_128)
    )


class Ccp(NetworkProtocol):
    """CCP of one link."""

    protocol = Proto.CCP
    layer = "ccp"
    special_codes = frozenset({Code.RESET_REQUEST, Code.RESET_ACK})
    data_protocols = frozenset({Proto.COMPRESSED})
    slug = Slug.ENCRYPTION_REFUSED

    def __init__(self, port: Port, config: LinkConfig, grant: Grant) -> None:
        super().__init__(port, config, grant)
        self._keys = grant.keys
        self.required = is_required(grant.encryption)
        self._allowed = allowed_strengths(config, grant.encryption) if self.can_encrypt(config, grant) else ()
        self._mppc = Compression.MPPC in config.compression
        self._deflate = Compression.DEFLATE in config.compression and not self.required
        self._encrypt_first = bool(self._allowed) and (self.required or config.prefer_mppe)
        self._deflate_first = config.compression[:1] == (Compression.DEFLATE,) and not self._encrypt_first
        self._offer = self._allowed
        self._offer_mppc = self._mppc
        self._stateless = config.mppe_stateless
        self._given_up = False
        self._argued = False
        self._window = max(DEFLATE_SIZES) if self._deflate else 0
        self._mismatch = ""
        self._floor = 0
        self._up = False
        self._compressing = False
        self._may_reset = False
        self._reset_id: int | None = None
        self._reset_at = 0.0

    @classmethod
    def wanted(cls, config: LinkConfig, grant: Grant) -> bool:
        """If there can be encryption, or there may be compression alone."""
        return cls.can_encrypt(config, grant) or (bool(config.compression) and not is_required(grant.encryption))

    @classmethod
    def can_encrypt(cls, config: LinkConfig, grant: Grant) -> bool:
        """If the policy allows encryption, a strength of it, and there are keys."""
        if grant.encryption is Encryption.OFF or grant.keys is None or min(len(grant.keys.send), len(grant.keys.receive)) < 16:
            return False
        return bool(allowed_strengths(config, grant.encryption))

    def reset(self) -> None:
        """Offer everything again."""
        self._offer = self._allowed
        self._offer_mppc = self._mppc
        self._stateless = self.config.mppe_stateless
        self._given_up = False
        self._argued = False
        self._window = max(DEFLATE_SIZES) if self._deflate else 0
        self._mismatch = ""

    def request(self) -> tuple[Option, ...]:
        """Option 18 with all that we take, and Deflate, less what the peer has refused."""
        options = []
        if not self._given_up and (self._offer or self._offer_mppc):
            options.append(mppe_option(self._offer, self._stateless, self._offer_mppc))
        if self._window:
            options.insert(0 if self._deflate_first else len(options), deflate_option(self._window))
        return tuple(options)

    def judge(self, options: tuple[Option, ...]) -> Verdict | None:
        """Of several methods the first that is allowed, and that one alone."""
        if not options:
            return Verdict(nak=(mppe_option(self._offer[:1], self._stateless),)) if self.required else Verdict()
        chosen: Verdict | None = None
        wanted = sorted(options, key=lambda option: option.type != Opt.MPPE) if self._encrypt_first else options
        for option in wanted:
            verdict = self._judge_mppe(option) if option.type == Opt.MPPE else self._judge_deflate(option)
            if verdict is None:
                return None
            if not verdict.reject:
                chosen = verdict
                break
        others = tuple(other for other in options if chosen is None or other is not option)
        return Verdict(reject=others) if others or chosen is None else chosen

    def _judge_deflate(self, option: Option) -> Verdict:
        """Take any history that zlib knows; Nak another, or another check than the sequence number."""
        if not self._deflate:
            return Verdict(reject=(option,))
        window = deflate_window(option)
        ideal = deflate_option(min(max(window, min(DEFLATE_SIZES)), max(DEFLATE_SIZES)))
        return Verdict() if option == ideal else Verdict(nak=(ideal,))

    def _judge_mppe(self, option: Option) -> Verdict | None:
        """Nak down to the strongest common strength; never acknowledge more than one, nor less than was up before."""
        offered = strengths(option.value)
        mppc = self._mppc and bool(option.value & MPPC)
        best = next((bits for bits in offered if bits in self._allowed), 0)
        if self.required and best < self._floor:
            self._fail(Slug.ENCRYPTION_STRENGTH, f"the peer renegotiates from {self._floor} bits to {_text(offered)}")
            return None
        if not best:
            self._mismatch = f"the peer offers {_text(offered)}, required here: {_text(self._allowed)}"
            if self.required:
                return Verdict(nak=(mppe_option(self._allowed[:1], self._stateless),))
            if not mppc:
                return Verdict(reject=(option,))
            ideal = mppe_option((), bool(option.value & STATELESS), mppc)
            return Verdict() if option == ideal else Verdict(nak=(ideal,))
        self._offer = (best,)  # both directions alike
        stateless = bool(option.value & STATELESS) or (self.config.mppe_stateless and not self.config.mppe_allow_stateful)
        if stateless and not self.config.mppe_stateless and not self._argued:
            self._argued = True  # stateful is asked for here; a peer that repeats that it needs the other gets it
            stateless = False
        ideal = mppe_option((best,), stateless, mppc)
        if option == ideal:
            return Verdict()
        self._mismatch = f"the peer offers {option.value:08x}, wanted here: {ideal.value:08x}"
        return Verdict(nak=(ideal,))

    def insist(self, verdict: Verdict, options: tuple[Option, ...]) -> Verdict | None:
        """Required: the end. Optional: reject."""
        if self.required:
            slug = Slug.ENCRYPTION_STRENGTH if options else Slug.ENCRYPTION_REFUSED
            self._fail(slug, self._mismatch or "the peer asks for no encryption")
            return None
        return super().insist(verdict, options)

    def naked(self, options: tuple[Option, ...]) -> None:
        """Take the strongest that both have, or the history that the peer would rather have."""
        for option in options:
            if option.type == Opt.MPPE and len(option.data) == 4:
                self._mppe_naked(option)
            elif option.type == Opt.DEFLATE and len(option.data) == 2:
                window = deflate_window(option)
                self._window = window if window in DEFLATE_SIZES and window < self._window else 0

    def _mppe_naked(self, option: Option) -> None:
        wanted = strengths(option.value)
        best = next((bits for bits in wanted if bits in self._allowed), 0)
        self._offer_mppc = self._mppc and bool(option.value & MPPC)
        if not best and self._offer_mppc and not self.required:
            self._offer = ()
            return
        if not best:
            self._mismatch = f"the peer takes {_text(wanted)}, allowed here: {_text(self._allowed)}"
            self._given_up = not self.required
            return
        if self.required and best < self._floor:
            self._fail(Slug.ENCRYPTION_STRENGTH, f"the peer renegotiates from {self._floor} bits to {_text(wanted)}")
            return
        self._offer = (best,)
        self._stateless = bool(option.value & STATELESS) or (self._stateless and not self.config.mppe_allow_stateful)

    def rejected(self, options: tuple[Option, ...]) -> None:
        """Required: the end. Optional: without the method."""
        if any(option.type == Opt.DEFLATE for option in options):
            self._window = 0
        if all(option.type != Opt.MPPE for option in options):
            return
        self._given_up = True
        if self.required and self._mismatch:
            self._fail(Slug.ENCRYPTION_STRENGTH, self._mismatch)
        elif self.required:
            self._fail(Slug.ENCRYPTION_REFUSED, "the peer answered MPPE with Configure-Reject")

    def diverged(self) -> Failure:
        """CCP does not settle."""
        return Failure(Slug.ENCRYPTION_STRENGTH, self._mismatch or f"no agreement on our {self.unanswered}")

    def refused(self, detail: str) -> None:
        """A peer without CCP is no matter unless encryption is required."""
        if self.required:
            self._fail(Slug.ENCRYPTION_REFUSED, f"{detail} to CCP")

    def _fail(self, slug: Slug, detail: str) -> None:
        offer = f"offered here: {_text(self._allowed)}, {'stateless' if self.config.mppe_stateless else 'stateful'}"
        self.port.fail(Failure(slug, f"{detail} (policy {self.grant.encryption}, {offer})"))

    def agreed(self, ours: tuple[Option, ...], theirs: tuple[Option, ...], now: float) -> None:
        """Hand out the keys, if MPPE was agreed both ways; else set up the compression of each way."""
        ours, theirs = ours[:1], theirs[:1]  # whoever acknowledges several means the first
        send, receive = _mppe_value(theirs), _mppe_value(ours)
        self._reset_id = None
        if strengths(send) and strengths(receive):
            self._up = True
            self._floor = min(strengths(send)[0], strengths(receive)[0])  # whoever acknowledges several means the strongest
            self._may_reset = not receive & STATELESS
            self.port.emit(MppeUp(send=self._direction(send, outbound=True), receive=self._direction(receive, outbound=False)))
        elif self.required:
            self._fail(Slug.ENCRYPTION_REFUSED, "the peer asks for no encryption")
        elif not strengths(send) and not strengths(receive):
            self._compress(_compressor(theirs), _compressor(ours))

    def _compress(self, send: Compressor | None, receive: Compressor | None) -> None:
        if send is None and receive is None:
            return
        self._compressing = True
        self._may_reset = receive is not None and not receive.stateless
        self.port.emit(CompressionUp(send, receive))

    def _direction(self, value: int, *, outbound: bool) -> MppeKeys:
        assert self._keys is not None
        bits = strengths(value)[0]
        key = self._keys.send if outbound else self._keys.receive
        return MppeKeys(
            outbound=outbound,
            bits=bits,
            stateless=bool(value & STATELESS),
            start_key=key[: key_length(bits)],
            mppc=bool(value & MPPC),
        )

    @property
    def mismatch(self) -> str:
        """What strength or mode the peer wants that the policy does not have; empty while none is known, and once MPPE is up."""
        return "" if self._up else self._mismatch

    @property
    def encrypting(self) -> bool:
        """Whether MPPE is up, both ways."""
        return self._up

    @property
    def compressing(self) -> bool:
        """Whether compression without MPPE is up, in either direction."""
        return self._compressing

    def ended(self) -> None:
        """Take keys and histories back."""
        if self._up or self._compressing:
            self._up = self._compressing = False
            self.port.emit(MppeDown())

    def terminated_by_peer(self, data: bytes) -> None:
        """Required encryption cannot be ended by one side (N166)."""
        if self.required:
            self._fail(Slug.ENCRYPTION_REFUSED, "the peer ended CCP")

    # --- resets (stateful MPPE, MPPC, Deflate) ----------------------------------------------------------------------------

    def lost(self, now: float) -> None:
        """The data plane cannot go on until the peer begins anew: ask for it, one request in flight, at most one a second."""
        if (
            not (self._up or self._compressing)
            or not self._may_reset
            or (self._reset_id is not None and now - self._reset_at < RESET_INTERVAL)
        ):
            return
        self._reset_id, self._reset_at = self.next_identifier(), now
        self.send_packet(Code.RESET_REQUEST, self._reset_id, b"")

    def special(self, packet: Packet, now: float) -> None:
        """Reset-Request and Reset-Ack."""
        if not (self._up or self._compressing):
            self.port.drop("ccp_state")
        elif packet.code == Code.RESET_REQUEST:
            # RFC 3078 and RFC 2118 answer by the A bit alone, RFC 1962 and Deflate want this; whoever does not need it ignores it.
            self.send_packet(Code.RESET_ACK, packet.identifier, b"")
            self.port.emit(MppeFlush())
        elif packet.identifier == self._reset_id:
            self._reset_id = None
        else:
            self.port.drop("ccp_reset")


def _mppe_value(options: tuple[Option, ...]) -> int:
    """The value of option 18, 0 if it is not there."""
    return next((option.value for option in options if option.type == Opt.MPPE), 0)


def _compressor(options: tuple[Option, ...]) -> Compressor | None:
    """The compression that these options mean for whoever sends to their sender."""
    for option in options:
        if option.type == Opt.DEFLATE:
            return Compressor(Compression.DEFLATE, window=deflate_window(option))
        if option.value & MPPC:
            return Compressor(Compression.MPPC, stateless=bool(option.value & STATELESS))
    return None


def _text(bits: tuple[int, ...]) -> str:
    return "/".join(str(number) for number in bits) + " bits" if bits else "no strength"
