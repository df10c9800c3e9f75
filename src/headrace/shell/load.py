"""From a TOML file to a ``GatewayConfig``: read, compare with the schema, then look at what no schema can say.

All mistakes are found in one go; each is one line, ``FILE:LINE: KEY: reason; remedy``. What works but should not be is a warning.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final, TypeVar

from headrace.access.certificate import NameKind
from headrace.access.filters import FilterError, parse_rule
from headrace.access.pools import AddressRange, PoolSpec, RangeError, parse_range
from headrace.access.pools6 import LINK_LENGTH
from headrace.errors import ConfigError
from headrace.ipx.ethernet import FrameType
from headrace.model import Compression, Encryption, Endpoint
from headrace.ppp.config import AuthMethod, gives_keys
from headrace.ppp.ipxcp import is_host
from headrace.shell import config as values
from headrace.shell.config import CrlPolicy, GatewayConfig, IkeAuth, LogLevel, Policy
from headrace.shell.locate import locate
from headrace.shell.mistakes import Report
from headrace.shell.schema import validate
from headrace.shell.secretfile import SecretError, check_private, judge_psk, read_secret, secret_path

if TYPE_CHECKING:
    import pathlib
    from enum import StrEnum

    from headrace.model import FilterRule, IPAddress
    from headrace.radius.packet import Attribute
    from headrace.shell.locate import Path

    Table = dict[str, Any]

FILE_MAX: Final = 1 << 20
"""Octets; the longest sensible configuration has some thousands."""

_WEAK: Final = {
    "3des": "3DES",
    "des": "DES, which anyone can break",
    "md5": "MD5",
    "modp1024": "MODP-1024, which a well-equipped attacker can break",
    "null": "no encryption",
}
E = TypeVar("E", bound="StrEnum")


def load(path: pathlib.Path) -> GatewayConfig:
    """Read a configuration. Raises ``ConfigMistakes``."""
    report = Report(path)
    text = _read_text(path, report)
    report.finish()
    report.lines = locate(text)
    data = _parse(text, report)
    report.finish()
    validate(data, report)
    report.finish()  # what follows may trust every type
    config = _Builder(data, report, path).build()
    report.finish()
    return config


@dataclass(frozen=True, slots=True)
class Places:
    """Where a gateway keeps what other commands need."""

    control_socket: pathlib.Path
    database: pathlib.Path | str
    key_file: pathlib.Path


def load_places(path: pathlib.Path) -> Places:
    """Read only where things are, so that an account can be added before the rest is right. Raises ``ConfigMistakes``."""
    report = Report(path)
    text = _read_text(path, report)
    report.finish()
    report.lines = locate(text)
    data = _parse(text, report)
    report.finish()
    validate(data, report)
    report.mistakes = [m for m in report.mistakes if m.key.startswith(("gateway", "accounts"))]
    report.finish()
    builder = _Builder(data, report, path)
    gateway, accounts = builder.gateway(), builder.accounts()
    return Places(gateway.control_socket, accounts.database, accounts.key_file)


def _read_text(path: pathlib.Path, report: Report) -> str:
    """Read the file as text, with or without a byte order mark."""
    try:
        with path.open("rb") as stream:
            data = stream.read(FILE_MAX + 1)
    except FileNotFoundError:
        report.add((), "does not exist", "name another with --config; examples/gateway.toml is a beginning")
        return ""
    except IsADirectoryError:
        report.add((), "is a directory", "name the file in it")
        return ""
    except OSError as error:
        report.add((), f"cannot be read: {error.strerror}", "run it as root or as the gateway's user")
        return ""
    if len(data) > FILE_MAX:
        report.add((), f"is larger than {FILE_MAX >> 20} MiB", "name the configuration")
        return ""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        report.add((), f"octet {data[error.start]:#04x} is not UTF-8", "save it as UTF-8", line=line)
        return ""
    if not text.strip():
        report.add((), "is empty", "begin with examples/gateway.toml")
    return text


def _parse(text: str, report: Report) -> Table:
    """Read the TOML; what is wrong with it gets a line and, if it can be seen, a key."""
    again = report.lines.again
    for path, line in again.items():
        if any(path[:end] in again for end in range(1, len(path))):
            continue  # what is in it stands twice too
        report.add(
            path, f"stands here for the second time; the first is in line {report.lines.first[path]}", "keep one", line=line
        )
    report.finish()
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        found = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
        line = int(found[1]) if found and found[1] else text.count("\n") + 1
        source = text.splitlines()[line - 1] if line <= len(text.splitlines()) else ""
        key = re.match(r"\s*([A-Za-z0-9_.-]+)\s*=", source)
        reason = message[: found.start()] if found else message
        remedy = "texts stand in quotes, lists in [ ]: see https://toml.io" if key else "write KEY = VALUE, or [section]"
        report.add((key[1],) if key else (source.strip()[:40] or "file",), reason[:1].lower() + reason[1:], remedy, line=line)
    except RecursionError:
        report.add((), "lists or tables are nested too deeply", "see examples/gateway.toml")
    return {}


class _Builder:
    """Turns checked data into values, and checks how they go together."""

    def __init__(self, data: Table, report: Report, path: pathlib.Path) -> None:
        self.data = data
        self.report = report
        self.base = path.parent
        self.path = path
        self.lab = bool(self.section("gateway").get("insecure_lab_mode", False))

    def section(self, name: str) -> Table:
        found: Table = self.data.get(name, {})
        return found

    def build(self) -> GatewayConfig:
        config = GatewayConfig(
            gateway=self.gateway(),
            log=self.log(),
            ike=self.ike(),
            esp=self.esp(),
            l2tp=self.l2tp(),
            ppp=self.ppp(),
            eap=self.eap(),
            network=self.network(),
            ipx=self.ipx(),
            bridge=values.BridgeSection(**self.section("bridge")),
            limits=values.LimitsSection(**self.section("limits")),
            accounts=self.accounts(),
            metrics=self.metrics(),
            radius=self.radius(),
            path=self.path,
        )
        self.judge(config)
        return replace(config, warnings=tuple(self.report.warnings))

    # --- the sections ---------------------------------------------------------------------------------------------------

    def gateway(self) -> values.GatewaySection:
        raw = dict(self.section("gateway"))
        if "listen" in raw:
            raw["listen"] = tuple(self.addresses(("gateway", "listen"), raw["listen"]))
        if "policy" in raw:
            raw["policy"] = Policy(raw["policy"])
        for name in ("state_dir", "control_socket"):
            if name in raw:
                raw[name] = self.base / raw[name]
        return values.GatewaySection(**raw)

    def metrics(self) -> values.MetricsSection:
        text = self.section("metrics").get("listen")
        if text is None:
            return values.MetricsSection()
        host, _, port = text.rpartition(":")
        try:
            address = ip_address(host.removeprefix("[").removesuffix("]"))
            number = int(port)
            if not (0 < number < 65536 and (address.version == 4) == (not host.startswith("["))):
                raise ValueError(text)  # noqa: TRY301 (one remedy for all)
        except ValueError:
            self.report.add(
                ("metrics", "listen"), f"{text!r} is no address with a port", 'write listen = "127.0.0.1:9464" or "[::1]:9464"'
            )
            return values.MetricsSection()
        if not address.is_loopback:
            self.report.warn(
                ("metrics", "listen"), f"{address} is not this machine alone: whoever can reach it reads the metrics"
            )
        return values.MetricsSection(Endpoint(address, number))

    def log(self) -> values.LogSection:
        raw = dict(self.section("log"))
        if "level" in raw:
            raw["level"] = LogLevel(raw["level"])
        if "keylog_dir" in raw:
            raw["keylog_dir"] = self.base / raw["keylog_dir"]
        return values.LogSection(**raw)

    def ike(self) -> values.IkeSection:
        raw = dict(self.section("ike"))
        psk_file, entries = raw.pop("psk_file", None), raw.pop("psk", [])
        passphrase_file, auth = raw.pop("private_key_passphrase_file", None), raw.pop("auth", None)
        raw["psk"] = self.psk(("ike", "psk_file"), psk_file) if psk_file is not None else None
        raw["psks"] = tuple(self.psk_entry(i, entry) for i, entry in enumerate(entries))
        if passphrase_file is not None:
            raw["private_key_passphrase"] = self.secret(("ike", "private_key_passphrase_file"), passphrase_file)
        for name in ("certificate", "private_key"):
            if name in raw:
                raw[name] = self.readable(("ike", name), raw[name], private=name == "private_key")
        for name in ("ca", "crl"):
            if name in raw:
                raw[name] = tuple(self.readable(("ike", name, i), text) for i, text in enumerate(raw[name]))
        if "crl_policy" in raw:
            raw["crl_policy"] = CrlPolicy(raw["crl_policy"])
        raw["proposals"] = self.proposals("ike")
        raw["auth"] = self.machine_auth(auth, has_psk=psk_file is not None or bool(entries), raw=raw)
        return values.IkeSection(**raw)

    def machine_auth(self, auth: list[str] | None, *, has_psk: bool, raw: Table) -> tuple[IkeAuth, ...]:
        """Which methods there is material for, and whether that is what was asked for."""
        parts = {name: bool(raw.get(name)) for name in ("certificate", "private_key", "ca")}
        has_cert = all(parts.values())
        if any(parts.values()) and not has_cert:
            missing = ", ".join(f"ike.{name}" for name, there in parts.items() if not there)
            given = next(name for name, there in parts.items() if there)
            self.report.add(("ike", given), f"certificates also need {missing}", "set it, or remove all three")
        for method, there in ((IkeAuth.CERT, has_cert), (IkeAuth.PSK, has_psk)):
            if auth is not None and method in auth and not there:
                remedy = "set ike.certificate, ike.private_key and ike.ca" if method is IkeAuth.CERT else "set ike.psk_file"
                self.report.add(("ike", "auth"), f'"{method}" has nothing to work with', remedy)
            if auth is not None and method not in auth and there:
                self.report.warn(("ike", "auth"), f'"{method}" is configured but not allowed')
        allowed = tuple(
            m for m, there in ((IkeAuth.CERT, has_cert), (IkeAuth.PSK, has_psk)) if there and (auth is None or m in auth)
        )
        clear_only = bool(self.section("gateway").get("allow_clear_l2tp")) and self.lab
        if not allowed and auth is None and not any(parts.values()) and not clear_only:
            reason = "machines have no way to prove themselves"
            self.report.add(("ike",), reason, "set ike.certificate, ike.private_key and ike.ca (best), or ike.psk_file")
        return allowed

    def esp(self) -> values.EspSection:
        return values.EspSection(**{**self.section("esp"), "proposals": self.proposals("esp")})

    def l2tp(self) -> values.L2tpSection:
        raw = dict(self.section("l2tp"))
        if "secret_file" in raw:
            raw["secret"] = self.secret(("l2tp", "secret_file"), raw.pop("secret_file"))
        elif raw.get("hide_avps"):
            self.report.add(("l2tp", "hide_avps"), "needs a tunnel secret", "set l2tp.secret_file, or remove hide_avps")
        return values.L2tpSection(**raw)

    def ppp(self) -> values.PppSection:
        raw = dict(self.section("ppp"))
        if "auth" in raw:
            raw["auth"] = tuple(AuthMethod(name) for name in raw["auth"])
        if "encryption" in raw:
            raw["encryption"] = Encryption(raw["encryption"])
        if "mppe_bits" in raw:
            raw["mppe_bits"] = tuple(sorted(raw["mppe_bits"], reverse=True))
        if "compression" in raw:
            raw["compression"] = tuple(Compression(name) for name in raw["compression"])
        return values.PppSection(**raw)

    def eap(self) -> values.EapSection:
        raw = dict(self.section("eap"))
        passphrase_file = raw.pop("private_key_passphrase_file", None)
        if passphrase_file is not None:
            raw["private_key_passphrase"] = self.secret(("eap", "private_key_passphrase_file"), passphrase_file)
        for name, other in (("certificate", "private_key"), ("private_key", "certificate")):
            if name in raw and not self.section("eap").get(other):
                self.report.add(("eap", name), f"also needs eap.{other}", "set it, or remove both")
            if name in raw:
                raw[name] = self.readable(("eap", name), raw[name], private=name == "private_key")
        for name in ("ca", "crl"):
            if name in raw:
                raw[name] = tuple(self.readable(("eap", name, i), text) for i, text in enumerate(raw[name]))
        if "crl_policy" in raw:
            raw["crl_policy"] = CrlPolicy(raw["crl_policy"])
        if "identity" in raw:
            raw["identity"] = tuple(NameKind(name) for name in raw["identity"])
        if "realms" in raw:
            raw["realms"] = tuple(raw["realms"])
        return values.EapSection(**raw)

    def network(self) -> values.NetworkSection:
        raw = dict(self.section("network"))
        if "address" in raw:
            raw["address"] = self.address4(("network", "address"), raw["address"]) or values.DEFAULT_ADDRESS
        for name in ("dns", "wins"):
            if name in raw:
                found = (self.address4(("network", name, i), text) for i, text in enumerate(raw[name]))
                raw[name] = tuple(address for address in found if address is not None)
        if "tun_name" in raw and raw["tun_name"] in {".", ".."}:
            self.report.add(
                ("network", "tun_name"), f"{raw['tun_name']!r} cannot be the name of an interface", 'write "headrace0"'
            )
        delegate = raw.get("ipv6_delegate", 0)
        if "ipv6_prefixes" in raw:
            raw["ipv6_prefixes"] = self.prefixes6(raw["ipv6_prefixes"], delegate - 1 if delegate else LINK_LENGTH)
        elif delegate:
            self.report.add(
                ("network", "ipv6_delegate"), "there is nothing to delegate", 'set ipv6_prefixes = ["2001:db8:1::/48"]'
            )
        if "ipv6_dns" in raw:
            six = (self.address6(("network", "ipv6_dns", i), text) for i, text in enumerate(raw["ipv6_dns"]))
            raw["ipv6_dns"] = tuple(address for address in six if address is not None)
        raw["pools"] = tuple(PoolSpec(name, self.ranges(name, texts)) for name, texts in raw["pools"].items())
        return values.NetworkSection(**raw)

    def ipx(self) -> values.IpxSection:
        raw = dict(self.section("ipx"))
        if "frame" in raw:
            raw["frame"] = FrameType(raw["frame"])
        if "node" in raw:
            raw["node"] = bytes.fromhex(raw["node"].replace(":", ""))
            if not is_host(raw["node"]):
                self.report.add(("ipx", "node"), "cannot be one machine's number", 'write it like "02:48:52:00:00:01"')
        network, ethernet = raw.get("network", 0), raw.get("ethernet_network", 0)
        if ethernet and not network:
            self.report.add(("ipx", "ethernet_network"), "means nothing without sessions' own", "set ipx.network")
        elif ethernet and ethernet == network:
            self.report.add(
                ("ipx", "ethernet_network"), "is the sessions' own (ipx.network)", "give each network its own number"
            )
        return values.IpxSection(**raw)

    def accounts(self) -> values.AccountsSection:
        raw = dict(self.section("accounts"))
        state = self.base / self.section("gateway").get("state_dir", values.DEFAULT_STATE_DIR)
        raw["database"] = self.database(raw["database"]) if "database" in raw else state / "accounts.db"
        raw["key_file"] = self.base / raw["key_file"] if "key_file" in raw else state / "accounts.key"
        return values.AccountsSection(**raw)

    def database(self, text: str) -> pathlib.Path | str:
        """A file, or a URL, in which no password belongs: others may read this file."""
        if "://" not in text:
            return self.base / text
        if not text.startswith("postgresql://"):
            self.report.add(("accounts", "database"), f"{text.partition(':')[0]} cannot hold the accounts", "use postgresql://")
        if ":" in text.removeprefix("postgresql://").partition("@")[0] and "@" in text:
            self.report.add(("accounts", "database"), "a password does not belong in this file", "put it into ~/.pgpass")
        return text

    def radius(self) -> values.RadiusSection:
        raw = dict(self.section("radius"))
        state = self.base / self.section("gateway").get("state_dir", values.DEFAULT_STATE_DIR)
        servers = [self.radius_server(i, entry) for i, entry in enumerate(raw.pop("server", []))]
        raw["servers"] = tuple(server for server in servers if server is not None)
        raw["spool"] = self.base / raw["spool"] if "spool" in raw else state / "accounting.spool"
        if "nas_address" in raw:
            raw["nas_address"] = next(iter(self.addresses(("radius", "nas_address"), [raw["nas_address"]])), None)
        if "dynauth_listen" in raw:
            raw["dynauth_listen"] = tuple(self.addresses(("radius", "dynauth_listen"), raw["dynauth_listen"]))
        if "dictionaries" in raw:
            named = enumerate(raw["dictionaries"])
            raw["dictionaries"] = tuple(self.readable(("radius", "dictionaries", i), text) for i, text in named)
        if "attributes" in raw:
            raw["attributes"] = self.radius_attributes(raw["attributes"], raw.get("dictionaries", ()))
        if "filters" in raw:
            raw["filters"] = {name: self.filters(name, texts) for name, texts in raw["filters"].items()}
        if raw.get("dynauth_port") and not raw["servers"]:
            self.report.add(("radius", "dynauth_port"), "there is nobody to take requests from", "add a [[radius.server]]")
        if raw.get("require_message_authenticator") is False:
            self.report.warn(
                ("radius", "require_message_authenticator"), "is off: answers can be forged by whoever is on the path"
            )
        return values.RadiusSection(**raw)

    def radius_server(self, index: int, raw: Table) -> values.RadiusServer | None:
        path: Path = ("radius", "server", index)
        found = self.addresses((*path, "address"), [raw["address"]])
        secret = self.secret((*path, "secret_file"), raw["secret_file"])
        if not found or secret is None:
            return None
        rest = {name: value for name, value in raw.items() if name not in {"address", "secret_file"}}
        return values.RadiusServer(found[0], secret, **rest)

    def radius_attributes(self, raw: Table, dictionaries: tuple[pathlib.Path, ...]) -> tuple[Attribute, ...]:
        from headrace.radius.dictionary import Dictionary

        out = []
        try:
            known = Dictionary(dictionaries)
        except ConfigError as error:
            self.report.add(("radius", "dictionaries"), str(error), "see FreeRADIUS's dictionary(5)")
            return ()
        for name, value in raw.items():
            try:
                out.append(known.attribute(name, value))
            except ConfigError as error:
                self.report.add(("radius", "attributes", name), str(error), "spell it as a dictionary does")
        return tuple(out)

    def filters(self, name: str, texts: list[str]) -> tuple[FilterRule, ...]:
        out = []
        for i, text in enumerate(texts):
            try:
                out.append(parse_rule(text))
            except FilterError as error:
                self.report.add(("radius", "filters", name, i), str(error), 'write it like "allow tcp 10.0.0.0/8 443"')
        return tuple(out)

    # --- single values --------------------------------------------------------------------------------------------------

    def addresses(self, path: Path, texts: list[str]) -> list[IPAddress]:
        out = []
        for i, text in enumerate(texts):
            try:
                address = ip_address(text)
            except ValueError:
                self.report.add(
                    (*path, i), f"{text!r} is not an IP address", 'write it like "203.0.113.1", or "0.0.0.0" for all'
                )
                continue
            if address.is_multicast or address == IPv4Address("255.255.255.255"):
                self.report.add((*path, i), f"{text} cannot be an address of this machine", 'write "0.0.0.0" for all')
                continue
            out.append(address)
        return out

    def address4(self, path: Path, text: str) -> IPv4Address | None:
        try:
            address = IPv4Address(text)
        except ValueError:
            self.report.add(path, f"{text!r} is not an IPv4 address", 'write it like "10.99.0.1"')
            return None
        if address.is_unspecified or address.is_loopback or address.is_multicast or address.is_reserved:
            self.report.add(path, f"{text} cannot be the address of a host", 'take a private one, like "10.99.0.1"')
            return None
        return address

    def address6(self, path: Path, text: str) -> IPv6Address | None:
        try:
            address = IPv6Address(text)
        except ValueError:
            self.report.add(path, f"{text!r} is not an IPv6 address", 'write it like "2001:db8:1::53"')
            return None
        if address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local:
            self.report.add(path, f"{text} cannot be reached through a tunnel", "take a global or unique local one")
            return None
        return address

    def prefixes6(self, texts: list[str], block: int) -> tuple[IPv6Network, ...]:
        """Networks that are cut into blocks of length ``block``."""
        found: list[IPv6Network] = []
        for i, text in enumerate(texts):
            path: Path = ("network", "ipv6_prefixes", i)
            try:
                network = IPv6Network(text)
            except ValueError as error:
                reason = str(error) if "host bits" in str(error) else f"{text!r} is not an IPv6 network"
                self.report.add(path, reason, 'write it like "2001:db8:1::/48"')
                continue
            if network.is_multicast or network.is_link_local or network.is_loopback or network.prefixlen < 16:
                self.report.add(path, f"{text} cannot be given to clients", "take a part of your own prefix, or of fd00::/8")
            elif network.prefixlen >= block:
                self.report.add(
                    path, f"{text} has no room for two blocks of /{block}", f"take a network of /{block - 1} or larger"
                )
            elif any(network.overlaps(other) for other in found):
                self.report.add(path, f"{text} overlaps another", "give every prefix once")
            else:
                found.append(network)
        return tuple(found)

    def ranges(self, pool: str, texts: list[str]) -> tuple[AddressRange, ...]:
        out = []
        for i, text in enumerate(texts):
            try:
                out.append(parse_range(text))
            except RangeError as error:
                self.report.add(("network", "pools", pool, i), error.reason, error.remedy)
        return tuple(out)

    def secret(self, path: Path, name: str) -> bytes | None:
        try:
            return read_secret(secret_path(name, self.base))
        except SecretError as error:
            self.report.add(path, error.reason, error.remedy)
            return None

    def psk(self, path: Path, name: str) -> bytes | None:
        key = self.secret(path, name)
        if key is None:
            return None
        try:
            warning = judge_psk(key, lab=self.lab)
        except SecretError as error:
            self.report.add(path, error.reason, error.remedy)
            return None
        if warning:
            self.report.warn(path, warning)
        return key

    def psk_entry(self, index: int, raw: Table) -> values.PskEntry:
        path: Path = ("ike", "psk", index)
        networks: list[values.IPNetwork] = []
        for i, text in enumerate(raw["remote"]):
            try:
                networks.append(ip_network(text))
            except ValueError as error:
                reason = str(error) if "host bits" in str(error) else f"{text!r} is not a network"
                self.report.add((*path, "remote", i), reason, 'write it like "198.51.100.0/24", or one address')
        return values.PskEntry(tuple(networks), self.psk((*path, "file"), raw["file"]) or b"")

    def readable(self, path: Path, name: str, *, private: bool = False) -> pathlib.Path:
        """Check that a file is there and may be read; a private key, by nobody else."""
        try:
            found = secret_path(name, self.base)
            if private:
                check_private(found)
            with found.open("rb"):
                pass
        except SecretError as error:
            self.report.add(path, error.reason, error.remedy)
            return self.base / name
        except OSError as error:
            self.report.add(path, f"{found}: {error.strerror}", "name a PEM file that the gateway's user may read")
        return found

    def proposals(self, section: str) -> tuple[str, ...]:
        """Check each proposal with the room that will use it."""
        from headrace.esp.proposal import EspProposal
        from headrace.ike.proposal import IkeProposal

        parse = IkeProposal.parse if section == "ike" else EspProposal.parse
        texts: list[str] = self.section(section).get("proposals", [])
        for i, text in enumerate(texts):
            path: Path = (section, "proposals", i)
            try:
                parse(text)
            except ConfigError as error:
                self.report.add(
                    path, str(error), f'write it like "{"aes256-sha1-modp2048" if section == "ike" else "aes256-sha1"}"'
                )
                continue
            words = text.lower().split("-")
            if "null" in words and section == "esp" and not self.lab:
                self.report.add(path, f"{text} does not encrypt", "take a cipher; only insecure_lab_mode permits it")
            for word in words:
                if word in _WEAK:
                    self.report.warn((section, "proposals"), f"{text} uses {_WEAK[word]}")
        return tuple(texts)

    # --- how they go together -------------------------------------------------------------------------------------------

    def judge(self, config: GatewayConfig) -> None:
        self.judge_gateway(config)
        self.judge_addresses(config)
        self.judge_users(config)

    def judge_gateway(self, config: GatewayConfig) -> None:
        gateway, report = config.gateway, self.report
        if gateway.ike_port == gateway.natt_port:
            report.add(("gateway", "natt_port"), f"is the same as ike_port ({gateway.ike_port})", "use two ports: 500 and 4500")
        if gateway.allow_clear_l2tp and gateway.l2tp_port in {gateway.ike_port, gateway.natt_port}:
            report.add(("gateway", "l2tp_port"), f"{gateway.l2tp_port} is also a port of IKE", "use 1701")
        if len(set(gateway.listen)) != len(gateway.listen):
            report.add(("gateway", "listen"), "names an address twice", "keep one")
        ike = config.ike
        if ike.dpd_delay and ike.dpd_timeout <= ike.dpd_delay:
            reason = f"{ike.dpd_timeout:g} seconds is not more than dpd_delay ({ike.dpd_delay:g})"
            report.add(("ike", "dpd_timeout"), reason, f"write dpd_timeout = {4 * ike.dpd_delay:g}")
        if gateway.policy is Policy.LEGACY:
            report.warn(
                ("gateway", "policy"), "legacy allows 3DES, DES, MD5 and MODP-1024, for old clients; it protects little"
            )
        if gateway.insecure_lab_mode:
            report.warn(("gateway", "insecure_lab_mode"), "is on: never outside of a laboratory")
        if gateway.allow_clear_l2tp:
            if config.ppp.encryption not in {Encryption.REQUIRED, Encryption.REQUIRED_128} and not self.lab:
                reason = "with L2TP in clear and encryption not required, traffic may cross in clear text"
                report.add(("gateway", "allow_clear_l2tp"), reason, 'remove it, or set ppp.encryption = "required-128"')
            report.warn(("gateway", "allow_clear_l2tp"), "is on: calls without IPsec are taken")
        if config.log.keylog_dir is not None:
            report.warn(("log", "keylog_dir"), f"is set: whoever reads {config.log.keylog_dir} reads all traffic")

    def judge_addresses(self, config: GatewayConfig) -> None:
        network, report = config.network, self.report
        own = network.address
        for i, outer in enumerate(config.gateway.listen):
            if outer == own:
                reason = f"the inner address {own} is also an outer one (gateway.listen)"
                report.add(
                    ("network", "address"), reason, "take another: every Linux client would route the tunnel into itself"
                )
            self.clash(AddressRange(outer, outer) if isinstance(outer, IPv4Address) else None, f"gateway.listen[{i}]", network)
        self.clash(AddressRange(own, own), "network.address", network)
        for name in ("dns", "wins"):
            for server in getattr(network, name):
                if server != own:
                    self.clash(AddressRange(server, server), f"network.{name}", network)
        seen: list[tuple[Path, AddressRange]] = []
        for pool in network.pools:
            for i, span in enumerate(pool.ranges):
                path: Path = ("network", "pools", pool.name, i)
                for other_path, other in seen:
                    if span.overlaps(other):
                        where = f"{other} of pool {other_path[2]}"
                        report.add(path, f"{span} overlaps {where}", "give every address to one pool only")
                seen.append((path, span))

    def clash(self, what: AddressRange | None, named: str, network: values.NetworkSection) -> None:
        """Note pools that hold an address that is somebody's."""
        if what is None or what.first == values.ANY_ADDRESS:
            return
        for pool in network.pools:
            for i, span in enumerate(pool.ranges):
                if span.overlaps(what):
                    remedy = "leave it out: " + ", ".join(f'"{rest}"' for rest in _without(span, what.first))
                    self.report.add(("network", "pools", pool.name, i), f"{span} holds {what.first}, which is {named}", remedy)

    def judge_users(self, config: GatewayConfig) -> None:
        ppp, report = config.ppp, self.report
        required = ppp.encryption in {Encryption.REQUIRED, Encryption.REQUIRED_128}
        if ppp.encryption is Encryption.REQUIRED_128 and 128 not in ppp.mppe_bits:
            report.add(("ppp", "mppe_bits"), "does not hold 128, which ppp.encryption requires", "write mppe_bits = [128]")
        keyless = [method for method in ppp.auth if not gives_keys(method, mschap_mppe=ppp.mschap_mppe)]
        if required and len(keyless) == len(ppp.auth):
            reason = "MPPE is required, and none of these gives keys for it"
            report.add(("ppp", "auth"), reason, 'write auth = ["mschap-v2"], or ppp.encryption = "optional"')
        elif required and keyless:
            named = " and ".join(keyless)
            report.warn(("ppp", "auth"), f"users of {named} have no keys for the MPPE that is required: they get error 742")
        if required and config.ike.auth:
            report.warn(("ppp", "encryption"), "MPPE is required inside ESP: Windows clients refuse that with error 742")
        if ppp.prefer_mppe and ppp.encryption is Encryption.OFF:
            report.add(("ppp", "prefer_mppe"), 'means nothing with encryption = "off"', "remove it")
        if AuthMethod.PAP in ppp.auth:
            report.warn(("ppp", "auth"), "pap hands every password to this gateway in readable form")
        for method in (AuthMethod.CHAP_MD5, AuthMethod.EAP_MD5):
            if method in ppp.auth:
                report.warn(("ppp", "auth"), f"{method} needs passwords that are stored so that they can be read")
        if AuthMethod.MSCHAP in ppp.auth:
            if config.gateway.policy is not Policy.LEGACY:
                reason = "mschap (version 1) is broken, and only policy legacy has it"
                report.add(("ppp", "auth"), reason, 'remove it, or set gateway.policy = "legacy"')
            report.warn(("ppp", "auth"), "mschap (version 1): whoever reads one exchange has the password within a day")
        if ppp.mschap_mppe:
            reason = "lets MPPE use the keys of mschap (version 1): one key stream in both directions"
            report.warn(("ppp", "mschap_mppe"), reason)
        self.judge_eap(config)
        if weak := [bits for bits in ppp.mppe_bits if bits < 128]:
            report.warn(("ppp", "mppe_bits"), f"{' and '.join(map(str, weak))} bits protect nothing")

    def judge_eap(self, config: GatewayConfig) -> None:
        eap, report = config.eap, self.report
        on_tls = [method for method in (AuthMethod.EAP_TLS, AuthMethod.PEAP) if method in config.ppp.auth]
        if on_tls and eap.certificate is None and config.ike.certificate is None:
            reason = f"{' and '.join(on_tls)} need a certificate of ours, and there is none"
            report.add(("ppp", "auth"), reason, "set eap.certificate and eap.private_key, or those of [ike]")
        if AuthMethod.EAP_TLS in on_tls and not eap.ca:
            reason = "eap-tls needs to know whose users may come in"
            report.add(("ppp", "auth"), reason, "set eap.ca: the authorities that issue users' certificates")
        if eap.tls_min > eap.tls_max:
            report.add(("eap", "tls_min"), f"is higher than tls_max ({eap.tls_max})", 'write tls_min = "1.2"')


def _without(span: AddressRange, hole: IPv4Address) -> list[AddressRange]:
    """What is left of a range without one address."""
    parts = []
    if span.first < hole:
        parts.append(AddressRange(span.first, hole - 1))
    if hole < span.last:
        parts.append(AddressRange(hole + 1, span.last))
    return parts
