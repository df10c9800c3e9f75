"""What a RADIUS server is asked: one user's proof as attributes, with what is known of the session that it is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from headrace.ppp.config import AuthMethod
from headrace.ppp.mschap_crypto import RESPONSE_SIZE
from headrace.radius.names import Attr, Ms
from headrace.radius.packet import (
    Attribute,
    address,
    microsoft,
    number,
    split,
    tagged_number,
    tagged_text,
    text,
)

if TYPE_CHECKING:
    from headrace.model import Endpoint, IPAddress
    from headrace.ppp.events import AuthRequest

METHODS: Final = frozenset({AuthMethod.PAP, AuthMethod.CHAP_MD5, AuthMethod.MSCHAP, AuthMethod.MSCHAP_V2, AuthMethod.EAP})
"""What a server can be asked about. Methods inside EAP are the server's own business."""

_CHUNK: Final = 243
"""Octets of an encrypted password in one attribute (RFC 2548 section 2.1.5)."""


class CannotAsk(ValueError):
    """No RADIUS request can carry this proof."""


@dataclass(frozen=True, slots=True)
class Line:
    """The session as a server sees it: who asks, and where the call comes from. The same in every request about it."""

    nas: str
    """Our name: NAS-Identifier."""
    nas_address: IPAddress
    session: str
    """Acct-Session-Id; never used twice."""
    port: int
    """NAS-Port."""
    remote: Endpoint
    local: Endpoint
    client_name: str = ""
    """What the client calls its machine in L2TP."""
    extra: tuple[Attribute, ...] = ()
    """What the operator wants to be told with every request."""

    def attributes(self) -> list[Attribute]:
        """Of a request of any kind."""
        return [
            text(Attr.NAS_IDENTIFIER, self.nas),
            address(self.nas_address, Attr.NAS_IP_ADDRESS, Attr.NAS_IPV6_ADDRESS),
            number(Attr.NAS_PORT, self.port & 0xFFFFFFFF),
            number(Attr.NAS_PORT_TYPE, 5),  # virtual
            text(Attr.NAS_PORT_ID, f"l2tp-{self.port}"),
            number(Attr.SERVICE_TYPE, 2),  # framed
            number(Attr.FRAMED_PROTOCOL, 1),  # PPP
            text(Attr.CALLING_STATION_ID, str(self.remote.address)),
            text(Attr.CALLED_STATION_ID, str(self.local.address)),
            text(Attr.ACCT_SESSION_ID, self.session),
            tagged_number(Attr.TUNNEL_TYPE, 3),  # L2TP
            tagged_number(Attr.TUNNEL_MEDIUM_TYPE, 1 if self.remote.address.version == 4 else 2),
            tagged_text(Attr.TUNNEL_CLIENT_ENDPOINT, str(self.remote.address)),
            tagged_text(Attr.TUNNEL_SERVER_ENDPOINT, str(self.local.address)),
            *([tagged_text(Attr.TUNNEL_CLIENT_AUTH_ID, self.client_name)] if self.client_name else []),
            *self.extra,
        ]


def access_request(request: AuthRequest, line: Line, *, state: bytes = b"", mtu: int = 1400) -> tuple[Attribute, ...]:
    """An Access-Request for a proof. ``state`` is what the server's last challenge of this conversation had. Raises ``CannotAsk``."""
    if not 0 < len(request.username) <= 253:
        raise CannotAsk(f"a name of {len(request.username)} octets")
    out = [Attribute(Attr.USER_NAME, request.username), *line.attributes(), *_proof(request)]
    if request.method is AuthMethod.EAP:
        out.append(number(Attr.FRAMED_MTU, mtu))
    if state:
        out.append(Attribute(Attr.STATE, state))
    return tuple(out)


def _proof(request: AuthRequest) -> list[Attribute]:
    match request.method:
        case AuthMethod.PAP:
            if len(request.response) > 128:
                raise CannotAsk(f"a password of {len(request.response)} octets; RADIUS takes 128")
            return [Attribute(Attr.USER_PASSWORD, request.response, hidden=True)]
        case AuthMethod.CHAP_MD5:
            password = bytes((request.identifier,)) + request.response
            return [Attribute(Attr.CHAP_PASSWORD, password), Attribute(Attr.CHAP_CHALLENGE, request.challenge)]
        case AuthMethod.MSCHAP | AuthMethod.MSCHAP_V2:
            return _mschap(request)
        case AuthMethod.EAP:
            return split(Attr.EAP_MESSAGE, request.response)
    raise CannotAsk(f"RADIUS is not asked about {request.method}")


def _mschap(request: AuthRequest) -> list[Attribute]:
    """RFC 2548 section 2.1.3 and 2.3: identifier | flags | the response without its own flags, which stand last on the link."""
    value, identifier = request.response, bytes((request.identifier,))
    if len(value) != RESPONSE_SIZE:
        raise CannotAsk(f"an MS-CHAP response of {len(value)} octets")
    challenge = microsoft(Ms.CHAP_CHALLENGE, request.challenge)
    if request.method is AuthMethod.MSCHAP:
        return [challenge, microsoft(Ms.CHAP_RESPONSE, identifier + value[48:] + value[:48])]
    if not request.change:
        return [challenge, microsoft(Ms.CHAP2_RESPONSE, identifier + value[48:] + value[:48])]
    # Section 2.3.3 and 2.1.5: the proof of a new password, and that password in pieces.
    secret, old_hash = request.change[:516], request.change[516:532]
    pieces = [
        microsoft(Ms.CHAP_NT_ENC_PW, b"\x06" + identifier + (at // _CHUNK + 1).to_bytes(2, "big") + secret[at : at + _CHUNK])
        for at in range(0, len(secret), _CHUNK)
    ]
    return [challenge, microsoft(Ms.CHAP2_CPW, b"\x07" + identifier + old_hash + value[:48] + bytes(2)), *pieces]
