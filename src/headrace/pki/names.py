"""Names in certificates: whether one names what was dialled (RFC 6125 without wildcards), and name constraints (RFC 5280 section 4.2.1.10)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import NameOID

from headrace.errors import Slug
from headrace.ike.config import CertificateRefused
from headrace.model import printable
from headrace.pki.certificate import text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.model import IPAddress
    from headrace.pki.certificate import Parsed


def address_of(name: str) -> IPAddress | None:
    """The address that a name is, ``None`` if it is a host name."""
    try:
        return ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return None


def host_name(name: str) -> str:
    """A host name as it is compared: in its ASCII form, without case and the dot of the root."""
    try:
        name = name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        return name  # equal to nothing that a certificate may hold
    return name.lower().removesuffix(".")


def check_named(certificate: Parsed, names: Sequence[str]) -> None:
    """Raise ``CertificateRefused``, ``cert-name``, unless the subjectAltName holds one of ``names``.

    An address must be an iPAddress and a host name a dNSName. The common name does not count, and a wildcard is no match: both name
    more than the machine that was dialled.
    """
    held = certificate.names
    hosts = {host_name(name) for name in held.get_values_for_type(x509.DNSName)} if held else set()
    addresses = set(held.get_values_for_type(x509.IPAddress)) if held else set()
    for name in names:
        address = address_of(name)
        if address in addresses if address is not None else host_name(name) in hosts:
            return
    found = ", ".join(
        printable(name.encode("utf-8", "backslashreplace"), 64) for name in sorted(hosts | set(map(str, addresses)))
    )
    wanted = " or ".join(printable(name.encode("utf-8", "backslashreplace")) for name in names)
    detail = f"{certificate} does not name {wanted}; its subjectAltName has " + (found or "no host name and no address")
    raise CertificateRefused(Slug.CERT_NAME, detail)


def _below(host: str, base: str) -> bool:
    """Whether a host is the base or below it; with a leading dot only below."""
    host, base = host_name(host), host_name(base)
    if base.startswith("."):
        return host.endswith(base)
    return not base or host == base or host.endswith("." + base)


def _mailbox(name: str, base: str) -> bool:
    """Whether a mail address is the one, of the host, or below the domain that a constraint names."""
    local, _, host = name.rpartition("@")
    if "@" in base:
        wanted, _, at = base.rpartition("@")
        return local == wanted and host_name(host) == host_name(at)
    return _below(host, base) if base.startswith(".") else host_name(host) == host_name(base)


def _resource(name: str, base: str) -> bool:
    """Whether the host of a URI is the one, or below the domain, that a constraint names."""
    try:
        host = urlsplit(name).hostname or ""
    except ValueError:
        return False
    if not host or address_of(host) is not None:
        return False
    return _below(host, base) if base.startswith(".") else host_name(host) == host_name(base)


def _folded(name: x509.Name) -> list[frozenset[tuple[str, str]]]:
    """A distinguished name as it is compared: case and runs of blanks do not count (RFC 5280 section 7.1)."""
    return [
        frozenset((item.oid.dotted_string, " ".join(str(item.value).split()).casefold()) for item in rdn) for rdn in name.rdns
    ]


def _within(name: x509.GeneralName, base: x509.GeneralName) -> bool:
    """Whether a name lies in the subtree of a constraint of its own type."""
    match name, base:
        case x509.DNSName(), x509.DNSName():
            return _below(name.value, base.value)
        case x509.RFC822Name(), x509.RFC822Name():
            return _mailbox(name.value, base.value)
        case x509.UniformResourceIdentifier(), x509.UniformResourceIdentifier():
            return _resource(name.value, base.value)
        case x509.IPAddress(), x509.IPAddress():
            network = base.value
            inside = isinstance(network, ipaddress.IPv4Network | ipaddress.IPv6Network)
            return inside and name.value in network  # type: ignore[operator]
        case x509.DirectoryName(), x509.DirectoryName():
            prefix = _folded(base.value)
            return _folded(name.value)[: len(prefix)] == prefix
        case _:
            raise NotImplementedError


def show(name: x509.GeneralName) -> str:
    """A general name for a person."""
    value = text_of(name.value) if isinstance(name, x509.DirectoryName) else str(getattr(name, "value", name))
    return f"{type(name).__name__} {printable(value.encode('utf-8', 'backslashreplace'))}"


def all_names(certificate: Parsed) -> list[x509.GeneralName]:
    """Every name that constraints apply to: subject, subjectAltName, and mail addresses in a subject without one."""
    names: list[x509.GeneralName] = []
    subject = certificate.name
    if subject.rdns:
        names.append(x509.DirectoryName(subject))
    if certificate.names is not None:
        names += list(certificate.names)
    else:
        for item in subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS):
            names.append(x509.RFC822Name._init_without_validation(str(item.value)))  # noqa: SLF001 - it may hold anything
    return names


@dataclass(slots=True)
class Constraints:
    """What the authorities of a path, taken together, allow to be named."""

    permitted: list[tuple[x509.GeneralName, ...]] = field(default_factory=list)
    """One set for each authority that permits: a name must lie in each set that speaks of its type."""
    excluded: list[x509.GeneralName] = field(default_factory=list)

    def add(self, constraints: x509.NameConstraints | None) -> None:
        """Take over what one more authority says."""
        if constraints is None:
            return
        if constraints.permitted_subtrees:
            self.permitted.append(tuple(constraints.permitted_subtrees))
        self.excluded += constraints.excluded_subtrees or []

    def check(self, certificate: Parsed) -> None:
        """Raise ``CertificateRefused``, ``cert-name``, if a name of the certificate is not allowed."""
        for name in all_names(certificate) if self.permitted or self.excluded else ():
            try:
                for base in self.excluded:
                    if type(base) is type(name) and _within(name, base):
                        detail = f"{certificate} holds {show(name)}, which its authority excludes ({show(base)})"
                        raise CertificateRefused(Slug.CERT_NAME, detail)
                for bases in self.permitted:
                    alike = [base for base in bases if type(base) is type(name)]
                    if alike and not any(_within(name, base) for base in alike):
                        detail = f"{certificate} holds {show(name)}, which is outside of what its authority permits"
                        raise CertificateRefused(Slug.CERT_NAME, detail)
            except NotImplementedError as error:
                detail = f"{certificate} holds {show(name)}, and a constraint on names of this type cannot be judged"
                raise CertificateRefused(Slug.CERT_NAME, detail) from error
