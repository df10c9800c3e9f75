"""TLS ends for EAP-TLS and PEAP (``headrace.ppp.tls``), by OpenSSL over memory.

OpenSSL judges a certificate first, because only then does the peer hear the alert that says what is wrong; ``ChainVerifier`` has the last
word, and the words for a person. Sessions are never resumed, and nothing is renegotiated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto

from headrace.errors import ConfigError, Slug
from headrace.ike.config import CertificateRefused
from headrace.model import Failure, printable
from headrace.pki.certificate import text_of
from headrace.pki.crl import Policy
from headrace.ppp.tls import alert_failure, certificate_failure

if TYPE_CHECKING:
    from headrace.ike.config import CertificateVerifier, LocalCertificate

VERSIONS: Final = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
"""What a configuration may name as the lowest and the highest."""

_CHUNK: Final = 16 * 1024
_READ_ALERT: Final = SSL.SSL_CB_READ_ALERT

# X509_V_ERR_* of x509_vfy.h as our own reasons.
_REASONS: Final = {
    2: Slug.CERT_UNKNOWN_CA,
    9: Slug.CERT_NOT_YET_VALID,
    10: Slug.CERT_EXPIRED,
    18: Slug.CERT_UNKNOWN_CA,
    19: Slug.CERT_UNKNOWN_CA,
    20: Slug.CERT_UNKNOWN_CA,
    21: Slug.CERT_UNKNOWN_CA,
    23: Slug.CERT_REVOKED,
    24: Slug.CERT_USAGE,
    25: Slug.CERT_USAGE,
    26: Slug.CERT_USAGE,
    28: Slug.CERT_USAGE,
    66: Slug.CERT_WEAK,
    67: Slug.CERT_WEAK,
    68: Slug.CERT_WEAK,
}

_NO_LIST: Final = frozenset({3, 11, 12, 33, 44, 54})
"""X509_V_ERR_* of a missing, late, early or foreign revocation list."""


class OpenSslFactory:
    """Satisfies ``headrace.ppp.tls.TlsFactory``."""

    def __init__(
        self,
        *,
        server: bool,
        certificate: LocalCertificate | None,
        roots: Sequence[x509.Certificate],
        verifier: CertificateVerifier | None,
        crls: Sequence[x509.CertificateRevocationList] = (),
        crl_policy: str = "soft",
        names: Sequence[str] = (),
        minimum: str = "1.2",
        maximum: str = "1.3",
        keylog: Callable[[bytes], None] | None = None,
    ) -> None:
        """Prepare for one side's conversations.

        ``roots``, ``crls`` and ``verifier`` judge the peer; a server without ``roots`` can ask no client for a certificate. ``names``: of
        which a server's certificate must hold one. ``crl_policy`` is ``off``, ``soft`` or ``strict``; ``keylog`` is given each line of
        NSS's key log format. Raises ``ConfigError``.
        """
        self.server = server
        self.verifier = verifier
        self.names = tuple(names)
        self.strict = crl_policy == Policy.STRICT
        self._certificate = certificate
        self._roots = tuple(roots)
        self._crls = () if crl_policy == "off" else tuple(crls)
        self._check_crls = crl_policy == Policy.STRICT or bool(self._crls)
        self._versions = (VERSIONS[minimum], VERSIONS[maximum])
        self._keylog = keylog
        self._contexts: dict[bool, SSL.Context] = {}
        if server and certificate is None:
            raise ConfigError("a server of EAP-TLS or PEAP needs a certificate; name it in eap.certificate")
        try:
            self._context(client_certificate=bool(roots) and (not server or verifier is not None))
        except (SSL.Error, crypto.Error) as error:
            raise ConfigError(f"TLS does not take the certificates of EAP: {_words(error)}") from error

    @property
    def has_certificate(self) -> bool:
        """Whether this side can prove itself, and as a server also judge users' certificates."""
        return self._certificate is not None and (not self.server or (bool(self._roots) and self.verifier is not None))

    def open(self, *, client_certificate: bool) -> OpenSslEngine:
        """A new end."""
        return OpenSslEngine(self._context(client_certificate=client_certificate), self)

    def _context(self, *, client_certificate: bool) -> SSL.Context:
        if client_certificate not in self._contexts:
            self._contexts[client_certificate] = self._make(client_certificate=client_certificate)
        return self._contexts[client_certificate]

    def _make(self, *, client_certificate: bool) -> SSL.Context:
        context = SSL.Context(SSL.TLS_SERVER_METHOD if self.server else SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(self._versions[0])
        context.set_max_proto_version(self._versions[1])
        context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_info_callback(_on_info)
        if self._keylog is not None:
            keylog = self._keylog
            context.set_keylog_callback(lambda _, line: keylog(line))
        if self._certificate is not None and (self.server or client_certificate):
            own, *others = (x509.load_der_x509_certificate(der) for der in self._certificate.chain)
            context.use_certificate(own)
            for other in others:
                context.add_extra_chain_cert(other)
            context.use_privatekey(self._certificate.key)
        if not self.server or client_certificate:
            self._demand(context)
        return context

    def _demand(self, context: SSL.Context) -> None:
        """Have the peer show a certificate that our roots vouch for."""
        store = context.get_cert_store()
        assert store is not None
        for root in self._roots:
            store.add_cert(crypto.X509.from_cryptography(root))
        for crl in self._crls:
            store.add_crl(crl)
        flags = crypto.X509StoreFlags.PARTIAL_CHAIN  # a root is what is configured, self-signed or not
        if self._check_crls:
            flags |= crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL
        store.set_flags(flags)
        mode = SSL.VERIFY_PEER | (SSL.VERIFY_FAIL_IF_NO_PEER_CERT if self.server else 0)
        context.set_verify(mode, _on_certificate)
        if self.server:
            for root in self._roots:
                context.add_client_ca(root)


class OpenSslEngine:
    """Satisfies ``headrace.ppp.tls.TlsEngine``."""

    def __init__(self, context: SSL.Context, factory: OpenSslFactory) -> None:
        self._factory = factory
        self._connection = SSL.Connection(context, None)
        self._connection.set_app_data(self)
        if factory.server:
            self._connection.set_accept_state()
        else:
            self._connection.set_connect_state()
        self._chain: list[bytes] = []
        self._refusal: Failure | None = None
        self._alert: int | None = None
        self._said = bytearray()
        self.complete = False
        self.failure: Failure | None = None

    @property
    def version(self) -> str:
        """``TLSv1.2`` or ``TLSv1.3``."""
        return self._connection.get_protocol_version_name()

    @property
    def peer_certificate(self) -> bytes:
        """DER, or empty."""
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        return certificate.public_bytes(Encoding.DER) if certificate is not None else b""

    def feed(self, data: bytes) -> None:
        """Take octets from the peer; none begins the handshake."""
        if self.failure is not None:
            return
        try:
            while data:
                data = data[self._connection.bio_write(data) :]
            if not self.complete:
                self._connection.do_handshake()
                self.complete = True
            while True:
                self._said += self._connection.recv(_CHUNK)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.failure = self._refusal or Failure(Slug.EAP_TLS_FAILED, "the peer closes the TLS session")
        except SSL.Error as error:
            self.failure = self._why(error)

    def _why(self, error: SSL.Error) -> Failure:
        server = self._factory.server
        words = _words(error)
        if self._refusal is not None:
            return self._refusal
        if self._alert is not None:
            return alert_failure(self._alert, server=server)
        if server and "did not return a certificate" in words:
            return Failure(Slug.USER_CERT_NONE, "the client shows no certificate")
        return Failure(Slug.EAP_TLS_FAILED, words)

    def drain(self) -> bytes:
        """Octets for the peer."""
        out = bytearray()
        try:
            while True:
                out += self._connection.bio_read(_CHUNK)
        except SSL.WantReadError:
            return bytes(out)

    def read(self) -> bytes:
        """What the peer has said since the last call."""
        said = bytes(self._said)
        self._said.clear()
        return said

    def write(self, data: bytes) -> None:
        """Say something."""
        self._connection.sendall(data)

    def export(self, label: bytes, context: bytes | None, length: int) -> bytes:
        """Keying material."""
        return self._connection.export_keying_material(label, length, context)

    # --- what OpenSSL tells -----------------------------------------------------------------------------------------------

    def on_alert(self, description: int) -> None:
        """An alert came from the peer."""
        if description:
            self._alert = description

    def on_certificate(self, certificate: x509.Certificate, error: int, depth: int, *, good: bool) -> bool:
        """OpenSSL's word on one certificate of the peer's chain, the root's first; ours ends it."""
        if not good and error in _NO_LIST and not self._factory.strict:
            return True  # our own verdict says it in the log
        der = certificate.public_bytes(Encoding.DER)
        refused = None
        if depth == 0:
            try:
                assert self._factory.verifier is not None
                self._factory.verifier.verify([der, *self._chain], self._factory.names)
            except CertificateRefused as refusal:
                refused = certificate_failure(refusal.slug, refusal.detail, server=self._factory.server)
        if not good:
            words = crypto_error(error)
            named = certificate_failure(
                _REASONS.get(error, Slug.CERT_MALFORMED),
                f"'{text_of(certificate.subject)}': {words}",
                server=self._factory.server,
            )
            refused = refused if refused is not None and refused.slug is named.slug else named
        if refused is not None:
            self._refusal = refused
            return False
        self._chain.insert(0, der)
        return True


def crypto_error(number: int) -> str:
    """OpenSSL's words for what is wrong with a certificate."""
    words = {
        9: "is not valid yet",
        10: "has expired",
        18: "is self-signed, and not trusted",
        19: "comes from a root that is not trusted",
        20: "comes from an authority that is not trusted",
        21: "cannot be verified: its authority was not sent",
        23: "was revoked",
        24: "is no authority, but has issued a certificate",
        26: "is not for this purpose",
        3: "has no revocation list",
        12: "has a revocation list that is too old",
    }
    return words.get(number, f"is refused (X509_V_ERR {number})")


def _on_info(connection: SSL.Connection, where: int, value: int) -> None:
    engine = connection.get_app_data()
    if where & _READ_ALERT == _READ_ALERT and isinstance(engine, OpenSslEngine):
        engine.on_alert(value & 0xFF)


def _on_certificate(connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, good: int) -> bool:
    engine = connection.get_app_data()
    assert isinstance(engine, OpenSslEngine)
    return engine.on_certificate(certificate.to_cryptography(), error, depth, good=bool(good))


def _words(error: Exception) -> str:
    """OpenSSL's error queue on one line."""
    parts = [part for item in error.args if isinstance(item, list) for part in item]
    texts = [str(part[-1]) for part in parts if isinstance(part, tuple) and part]
    return printable("; ".join(dict.fromkeys(texts)).encode(), 200) or "OpenSSL says no more"
