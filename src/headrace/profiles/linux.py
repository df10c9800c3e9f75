"""For Linux: one nmcli command for NetworkManager, and a set of files for strongSwan and xl2tpd."""

from __future__ import annotations

import base64
import shlex
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from headrace.ppp.config import AuthMethod

if TYPE_CHECKING:
    from headrace.profiles.facts import Facts

_REFUSE: Final = {
    AuthMethod.PAP: "refuse-pap",
    AuthMethod.CHAP_MD5: "refuse-chap",
    AuthMethod.MSCHAP_V2: "refuse-mschap-v2",
}
DIRECTORY: Final = "/etc/headrace-client"
"""Where the strongSwan set keeps its certificates."""
OFFERS: Final = 6
"""Proposals of each phase that the client makes: the gateway takes the first anyway, and few fit into one datagram."""

_INSTALL: Final = """\
#!/bin/sh
# Installs the connection {name} to {server} for strongSwan and xl2tpd, and dials it.
#   sudo sh install.sh          install (Debian, Ubuntu: apt-get install strongswan-swanctl charon-systemd xl2tpd ppp)
#   sudo sh install.sh up       connect; asks for the password of {user}
#   sudo sh install.sh down     disconnect
#   sudo sh install.sh remove   take everything away again
set -eu
cd "$(dirname "$0")"
name={file_name}
secrets=/etc/ppp/chap-secrets
case "${{1:-install}}" in
install)
	install -D -m 600 swanctl.conf "/etc/swanctl/conf.d/$name.conf"
	install -D -m 600 ppp-options "/etc/ppp/options.$name"
	for f in *.crt; do [ ! -e "$f" ] || install -D -m 644 "$f" {directory}/"$f"; done
	for f in *.key; do [ ! -e "$f" ] || install -D -m 600 "$f" {directory}/"$f"; done
	if ! grep -qs "^\\[lac $name\\]" /etc/xl2tpd/xl2tpd.conf; then
		{{ echo; cat xl2tpd.conf; }} >>/etc/xl2tpd/xl2tpd.conf
	fi
	systemctl restart strongswan xl2tpd
	;;
up)
	printf 'Password of %s: ' {user}
	stty -echo; IFS= read -r password; stty echo; echo
	umask 077
	escaped=$(printf %s "$password" | sed 's/[\\\\"]/\\\\&/g')
	grep -vsF "# headrace $name" $secrets >$secrets.new || true
	printf '"%s" * "%s" * # headrace %s\\n' {pppd_user} "$escaped" "$name" >>$secrets.new
	mv $secrets.new $secrets
	# The way to the gateway itself must not lead through its own tunnel.
	address=$(getent ahostsv4 {host} | awk '{{print $1; exit}}')
	# shellcheck disable=SC2046 (words)
	ip route replace "$address" $(ip -4 route get "$address" | sed -n '1s/.*\\(via [^ ]*\\).*\\(dev [^ ]*\\).*/\1 \2/p;1s/^[^ ]* \\(dev [^ ]*\\).*/\1/p')
	echo "$address" >"/run/$name.route"
	swanctl --load-all >/dev/null
	swanctl --initiate --child "$name" >/dev/null
	xl2tpd-control connect-lac "$name" >/dev/null
	n=0
	until [ -s "/run/ppp-$name.pid" ] && ip -4 addr show "$(sed -n 2p "/run/ppp-$name.pid")" 2>/dev/null | grep -q inet; do
		n=$((n + 1))
		[ $n -le 60 ] || {{ echo "not connected after 30 s; journalctl -u xl2tpd says why" >&2; "$0" down; exit 1; }}
		sleep 0.5
	done
	for net in {routes}; do [ -z "$net" ] || ip route replace "$net" dev "$(sed -n 2p "/run/ppp-$name.pid")"; done
	echo "connected: $(ip -4 -o addr show "$(sed -n 2p "/run/ppp-$name.pid")")"
	;;
down)
	xl2tpd-control disconnect-lac "$name" >/dev/null || true
	swanctl --terminate --ike "$name" >/dev/null || true
	if [ -s "/run/$name.route" ]; then
		ip route del "$(cat "/run/$name.route")" 2>/dev/null || true
		rm "/run/$name.route"
	fi
	;;
remove)
	"$0" down
	rm -rf "/etc/swanctl/conf.d/$name.conf" "/etc/ppp/options.$name" {directory}
	sed -i "/^\\[lac $name\\]/,/^$/d" /etc/xl2tpd/xl2tpd.conf
	sed -i "/# headrace $name\\$/d" $secrets
	systemctl restart strongswan xl2tpd
	;;
*) echo "install, up, down or remove" >&2; exit 2 ;;
esac
"""


def nmcli(facts: Facts) -> str:
    """A shell script that adds the connection to NetworkManager (package network-manager-l2tp)."""
    data = {
        "gateway": facts.server,
        "user": facts.user,
        "password-flags": "2",  # ask every time
        "ipsec-enabled": "yes",
        "mtu": str(facts.mtu),
        "mru": str(facts.mtu),
        **{refusal: "yes" for method, refusal in _REFUSE.items() if method not in facts.user_auth},
        "refuse-eap": "yes",
    }
    if facts.machine is None:
        data |= {"machine-auth-type": "psk", "ipsec-psk": "0s" + base64.b64encode((facts.psk or "").encode()).decode("ascii")}
    else:
        data |= {
            "machine-auth-type": "tls",
            "machine-ca": f"{DIRECTORY}/ca.crt",
            "machine-cert": f"{DIRECTORY}/client.crt",
            "machine-key": f"{DIRECTORY}/client.key",
        }
    # A value's comma would end it: nmcli takes one with a backslash before it.
    vpn_data = ", ".join(f"{key} = {_escaped(value)}" for key, value in data.items())
    routes = ["ipv4.never-default", "yes", "ipv4.routes", ", ".join(map(str, facts.routes))] if facts.routes else []
    words = ["nmcli", "connection", "add", "type", "vpn", "vpn-type", "l2tp", "con-name", facts.name, "ifname", "*"]
    command = shlex.join([*words, "vpn.data", vpn_data, *routes])
    copying = ""
    if facts.machine is not None:
        copying = (
            'cd "$(dirname "$0")"\n'
            f"sudo install -D -m 644 -t {DIRECTORY} ca.crt client.crt\n"
            f"sudo install -D -m 600 -t {DIRECTORY} client.key\n"
        )
    return (
        "#!/bin/sh\n"
        "# Adds the connection to NetworkManager; needs its L2TP plug-in (Debian, Ubuntu: apt-get install network-manager-l2tp).\n"
        f"# Connect: nmcli --ask connection up {shlex.quote(facts.name)}\n"
        f"# Take it away again: nmcli connection delete {shlex.quote(facts.name)}\n"
        f"set -eu\n{copying}{command}\n"
    )


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,")


def strongswan(facts: Facts) -> dict[str, bytes]:
    """Files by name: swanctl.conf, xl2tpd.conf, ppp-options, certificates where they are used, and install.sh, which puts them in place."""
    files = {
        "swanctl.conf": _swanctl(facts),
        "xl2tpd.conf": f"[lac {facts.file_name}]\nlns = {facts.server}\npppoptfile = /etc/ppp/options.{facts.file_name}\n",
        "ppp-options": _ppp_options(facts),
        "install.sh": _INSTALL.format(
            name=facts.name,
            server=facts.server,
            user=shlex.quote(facts.user),
            pppd_user=shlex.quote(_in_quotes(facts.user)[1:-1]),
            file_name=facts.file_name,
            directory=DIRECTORY,
            host=shlex.quote(facts.server),
            routes=" ".join(map(str, facts.routes)) or '""',
        ),
    }
    return {name: text.encode() for name, text in files.items()} | certificates(facts)


def certificates(facts: Facts) -> dict[str, bytes]:
    """PEM files of the computer's certificate, its key and the authorities; none with a pre-shared key."""
    if facts.machine is None:
        return {}
    pem = [x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in facts.machine.authorities]
    own = x509.load_der_x509_certificate(facts.machine.certificate).public_bytes(Encoding.PEM)
    return {"ca.crt": b"".join(pem), "client.crt": own, "client.key": facts.machine.key}


def _swanctl(facts: Facts) -> str:
    if facts.machine is None:
        local = remote = "auth = psk"
        secret = "0s" + base64.b64encode((facts.psk or "").encode()).decode("ascii")
        secrets = f"secrets {{ ike-{facts.file_name} {{ secret = {secret}\n}} }}\n"
    else:
        local = f"auth = pubkey\n    certs = {DIRECTORY}/client.crt"
        remote = f"auth = pubkey\n    id = {facts.server}\n    cacerts = {DIRECTORY}/ca.crt"
        secrets = f"secrets {{ private-{facts.file_name} {{ file = {DIRECTORY}/client.key\n}} }}\n"
    return f"""\
# strongSwan: the IPsec part of the connection {facts.name}
connections {{ {facts.file_name} {{
  version = 1
  remote_addrs = {facts.server}
  proposals = {",".join(facts.ike[:OFFERS]) or "default"}
  dpd_delay = 30s
  fragmentation = yes
  local {{ {local}
  }}
  remote {{ {remote}
  }}
  children {{ {facts.file_name} {{
    mode = transport
    local_ts = dynamic[udp/1701]
    remote_ts = dynamic[udp/1701]
    esp_proposals = {",".join(facts.esp[:OFFERS]) or "default"}
    dpd_action = clear
  }} }}
}} }}
{secrets}"""


def _ppp_options(facts: Facts) -> str:
    lines = [
        "# pppd: the user's part of the connection",
        f"user {_in_quotes(facts.user)}",
        "noauth",  # the gateway has proved itself by IPsec; MS-CHAPv2 proves it a second time
        "refuse-eap",
        *(refusal for method, refusal in _REFUSE.items() if method not in facts.user_auth),
        "ipcp-accept-local",
        "ipcp-accept-remote",
        f"mtu {facts.mtu}",
        f"mru {facts.mtu}",
        "usepeerdns",
        f"linkname {facts.file_name}",
        *(["nodefaultroute"] if facts.routes else ["defaultroute", "replacedefaultroute"]),
    ]
    return "".join(f"{line}\n" for line in lines)


def _in_quotes(text: str) -> str:
    """A word of pppd's files."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
