"""Our own bounds, each with its reason. What the RFCs fix stands in ``constants.py``; what an operator may set in ``config.py``."""

from __future__ import annotations

from typing import Final

MAX_SA_OCTETS: Final = 4096
"""Body of a first message's SA payload, which every half-open negotiation must keep. Android's, the largest seen, takes 900."""
MAX_OFFERED: Final = 26
"""Transforms that we offer in phase 1: 40 octets each, so that message 1 fits one datagram on every path."""
REANSWER_INTERVAL: Final = 1.0
"""Seconds between two answers to one repeated request: a replayed request makes no flood."""
NOTIFY_INTERVAL: Final = 1.0
"""Seconds between two notifications in clear to one address."""
NOTIFY_ADDRESSES: Final = 4096
"""Addresses for which that is remembered."""
NOTIFY_PER_SECOND: Final = 200
"""Notifications in clear to all addresses together."""
LINGER: Final = 60.0
"""Seconds for which a finished exchange remembers its last answer: longer than any seen retransmission."""
MAX_LINGERING: Final = 32
MAX_QUICK_MODES: Final = 16
"""Quick modes of one peer that are unfinished: Windows opens one or two."""
MAX_QUICK_IDS: Final = 4096
"""Quick modes of one ISAKMP SA over its life; each id is kept so that none can be replayed. One an hour is usual."""
MAX_INFORMATIONAL_IDS: Final = 1024
"""Ids of informational messages that are kept; what an older one could do again is harmless by other rules."""
FRAGMENT_LIFE: Final = 30.0
"""Seconds that an unfinished message is kept."""
MAX_UNFINISHED: Final = 2
"""Unfinished messages of one peer."""
MAX_MESSAGE_OCTETS: Final = 65536
MAX_FRAGMENT_OCTETS: Final = 64 << 20
"""Octets of unfinished messages of all peers together."""
MAX_CERTIFICATES: Final = 16
MAX_CERTIFICATE_OCTETS: Final = 65536
MAX_CERTIFICATE_REQUESTS_SENT: Final = 16
"""CAs that we name; with more, one empty request says "any"."""
SETTLE: Final = 5.0
"""Seconds after which the initiator of a rekey takes the old SA away: both sides have switched by then."""
SETTLE_RESPONDER: Final = 30.0
"""Seconds that the other side leaves it for that before it does so itself."""
REKEY_RETRY: Final = 30.0
"""Seconds between two attempts of a rekey that failed."""
CHILDLESS: Final = 60.0
"""Seconds for which an authenticated peer may go without its first ESP SA."""
CHILDLESS_LATER: Final = 120.0
"""The same after it had one: Windows may drop an idle one and make another when it has data."""
HINT_GRACE: Final = 1.5
"""A notification in clear may be forged: we wait this many retransmission intervals for a real answer before we believe it."""
INITIAL_CONTACT_WINDOW: Final = 60.0
"""Seconds after phase 1 in which INITIAL-CONTACT is heeded."""
COMMIT_WAIT: Final = 3.0
"""Seconds that we wait for CONNECTED from a peer that set the commit bit."""
MIN_LIFE: Final = 120.0
"""Seconds: the shortest phase-1 life that we let a peer impose."""
MIN_ESP_LIFE: Final = 60.0
MIN_ESP_KILOBYTES: Final = 10_000
"""The shortest ESP lives that we let a peer impose: less would be a storm of rekeying."""
MAX_LIFE: Final = 7 * 86400.0
OCTETS_PER_KILOBYTE: Final = 1000
"""RFC 2407 has 1024; the smaller reading is safe with either peer."""
