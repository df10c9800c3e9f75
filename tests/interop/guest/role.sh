#!/bin/sh
# role.sh client|server: strongSwan (IKEv1, transport mode, UDP 1701), xl2tpd and pppd in the guest, set up from /lab/params.
# Logs go to /lab/out/$TAG.*; the last line says RESULT. Exit: 0 up and pinged, 10 IKE phase 1, 11 quick mode, 12 L2TP, 13 PPP, 14 data.
ROLE=$1
. /lab/params
TAG=${TAG:-$ROLE}
O=/lab/out
mkdir -p $O
mount --make-rprivate / 2>/dev/null
for d in /run /etc/swanctl /etc/ppp /etc/xl2tpd /tmp; do mkdir -p $d; mount -t tmpfs t $d; done
mkdir -p /run/xl2tpd /run/lock /etc/swanctl/x509 /etc/swanctl/x509ca /etc/swanctl/private /etc/swanctl/x509crl
if [ "$ROLE" = client ]; then LOCAL=$CLIENT_IP REMOTE=$SERVER_IP; else LOCAL=$SERVER_IP REMOTE=%any; fi

cat >/tmp/strongswan.conf <<X
charon {
  load_modular = yes
  install_routes = no
  retransmit_tries = 3
  retransmit_timeout = 2
  fragment_size = ${FRAGMENT_SIZE:-1280}
  plugins { include /etc/strongswan.d/charon/*.conf
    af-alg { load = no
    }
    tpm { load = no
    }
  }
  filelog { f { path = $O/$TAG.charon.log
     default = 1
     cfg = 2
     ike = 2
     chd = 2
     enc = 1
     flush_line = yes
     time_format = %H:%M:%S
  } }
}
swanctl { load = pem pkcs1 x509 revocation constraints pubkey openssl random }
X
if [ "$AUTH" = cert ]; then
	cp /lab/pki/ca.crt /etc/swanctl/x509ca/
	cp /lab/pki/guest.crt /etc/swanctl/x509/
	cp /lab/pki/guest.key /etc/swanctl/private/
	LOCAL_AUTH="auth = pubkey
  certs = guest.crt"
	REMOTE_AUTH="auth = pubkey
  cacerts = ca.crt"
else
	LOCAL_AUTH="auth = psk"
	REMOTE_AUTH="auth = psk"
fi
REMOTE_TS="dynamic[udp/1701]"
[ "$ROLE" = server ] && REMOTE_TS="dynamic[udp]"
cat >/etc/swanctl/swanctl.conf <<X
connections { l2tp {
  version = 1
  aggressive = no
  local_addrs = $LOCAL
  remote_addrs = $REMOTE
  proposals = $IKE_PROP
  encap = $NATT
  dpd_delay = ${DPD_DELAY:-30}
  rekey_time = $IKE_REKEY
  unique = never
  fragmentation = yes
  local { $LOCAL_AUTH
  }
  remote { $REMOTE_AUTH
  }
  children { l2tp { mode = transport
      local_ts = dynamic[udp/1701]
      remote_ts = $REMOTE_TS
      esp_proposals = $ESP_PROP
      rekey_time = $ESP_REKEY
  } }
} }
secrets { ike-1 { secret = "$PSK"
} }
X
printf '"%s" * "%s" *\n' "$PPP_USER" "$PPP_PASS" >/etc/ppp/chap-secrets
cp /etc/ppp/chap-secrets /etc/ppp/pap-secrets
cat >/etc/ppp/opts <<X
debug
dump
logfile $O/$TAG.pppd.log
mtu 1400
mru 1400
nodetach
ipcp-accept-local
lcp-echo-interval 5
lcp-echo-failure 4
X
printf '%s\n' "$PPP_OPTIONS" | tr ';' '\n' >>/etc/ppp/opts
if [ "$ROLE" = server ]; then
	printf '%s\n' auth "name lns" "ms-dns 10.99.0.1" >>/etc/ppp/opts
else
	printf '%s\n' noauth "user $PPP_USER" "password $PPP_PASS" ipcp-accept-remote refuse-eap >>/etc/ppp/opts
fi
{
	printf '%s\n' "[global]" "port = 1701" "debug tunnel = yes" "debug state = yes" "debug network = yes" "auth file = /etc/xl2tpd/l2tp-secrets"
	if [ "$ROLE" = server ]; then
		printf '%s\n' "[lns default]" "ip range = 10.99.0.10-10.99.0.200" "local ip = 10.99.0.1" "require authentication = yes" \
			"refuse pap = no" "name = lns" "ppp debug = yes" "pppoptfile = /etc/ppp/opts" "length bit = yes"
	else
		printf '%s\n' "[lac l]" "lns = $SERVER_IP" "ppp debug = yes" "pppoptfile = /etc/ppp/opts" "length bit = yes" "require authentication = no"
	fi
	[ -n "$L2TP_SECRET" ] && echo "challenge = yes"
} >/etc/xl2tpd/xl2tpd.conf
echo "* * ${L2TP_SECRET:-none}" >/etc/xl2tpd/l2tp-secrets
for f in /etc/ppp/opts /etc/xl2tpd/xl2tpd.conf /etc/swanctl/swanctl.conf; do cp $f $O/$TAG.$(basename $f); done

modprobe -a esp4 l2tp_ppp ppp_mppe ppp_deflate bsd_comp ppp_synctty 2>/dev/null
if [ "$IPSEC" != off ]; then
	export STRONGSWAN_CONF=/tmp/strongswan.conf
	/usr/lib/ipsec/charon >$O/$TAG.charon.out 2>&1 &
	CHARON=$!
	n=0
	until swanctl --load-all >$O/$TAG.swanctl.log 2>&1; do n=$((n + 1)); [ $n -gt 60 ] && break; sleep .2; done
fi
xl2tpd -D -c /etc/xl2tpd/xl2tpd.conf -s /etc/xl2tpd/l2tp-secrets -p /run/xl2tpd/pid -C /run/xl2tpd/l2tp-control >$O/$TAG.xl2tpd.log 2>&1 &
XL2TPD=$!
n=0
until [ -e /run/xl2tpd/l2tp-control ]; do n=$((n + 1)); [ $n -gt 50 ] && break; sleep .1; done
: >/lab/$TAG.ready

ppp_ip() { ip -o -4 addr show | awk '$2 ~ /^ppp/ {print $4; exit}'; }
ppp_peer() { ip -o -4 addr show | awk '$2 ~ /^ppp/ {for (i = 1; i < NF; i++) if ($i == "peer") {split($(i + 1), a, "/"); print a[1]; exit}}'; }
finish() {
	kill $XL2TPD 2>/dev/null
	[ "$IPSEC" = off ] || kill $CHARON 2>/dev/null
	sleep 1
	echo "RESULT $TAG rc=$1 $2"
	exit "$1"
}

if [ "$ROLE" = client ]; then
	if [ "$IPSEC" != off ]; then
		swanctl --initiate --child l2tp --timeout 25 >$O/$TAG.initiate.log 2>&1 || {
			swanctl --list-sas | grep -q ESTABLISHED && finish 11 "quick mode: $(tail -1 $O/$TAG.initiate.log)"
			finish 10 "phase 1: $(tail -1 $O/$TAG.initiate.log)"
		}
	fi
	echo "c l" >/run/xl2tpd/l2tp-control
	n=0
	until [ -n "$(ppp_ip)" ]; do
		n=$((n + 1))
		[ $n -gt 120 ] && break
		sleep .2
		grep -qE "Connection terminated|Modem hangup" $O/$TAG.pppd.log 2>/dev/null && break
	done
	if [ -z "$(ppp_ip)" ]; then
		grep -q "Call established" $O/$TAG.xl2tpd.log || finish 12 "L2TP: $(tail -1 $O/$TAG.xl2tpd.log)"
		finish 13 "PPP: $(grep -iE 'fail|refus|terminat|requir|error' $O/$TAG.pppd.log | tail -3 | tr '\n' '|')"
	fi
	sleep .5
	P=$(ppp_peer)
	ping -c 5 -i .2 -s 56 "$P" >$O/$TAG.ping.txt 2>&1
	r=$?
	ping -c 3 -i .2 -s 1300 "$P" >>$O/$TAG.ping.txt 2>&1 || r=1
	[ -n "$HOLD" ] && { sleep "$HOLD"; ping -c 5 -i .2 "$P" >$O/$TAG.ping2.txt 2>&1 || r=1; }
	[ -n "$BARRIER" ] && { : >/lab/$TAG.up; n=0; until [ -e /lab/go ] || [ $n -gt 300 ]; do sleep .2; n=$((n + 1)); done; }
	S="ip=$(ppp_ip) peer=$P $(grep -o 'MPPE [0-9]*-bit[a-z -]*compression enabled' $O/$TAG.pppd.log | tail -1)"
	swanctl --list-sas >$O/$TAG.sas.txt 2>&1
	echo "d l" >/run/xl2tpd/l2tp-control
	sleep 1
	[ "$IPSEC" = off ] || swanctl --terminate --ike l2tp >$O/$TAG.terminate.log 2>&1
	sleep .5
	[ $r = 0 ] && finish 0 "$S"
	finish 14 "$S"
fi
n=0
UP=
while [ $n -lt $((SERVER_TIME * 3)) ] && [ ! -e /lab/stop ]; do
	a=$(ppp_peer)
	[ -n "$a" ] && UP=$a
	n=$((n + 1))
	sleep .33
done
swanctl --list-sas >$O/$TAG.sas.txt 2>&1
[ -n "$UP" ] && finish 0 "had a session, peer=$UP $(grep -o 'MPPE [0-9]*-bit[a-z -]*compression enabled' $O/$TAG.pppd.log | tail -1)"
finish 13 "no session: $(grep -iE 'fail|refus|requir' $O/$TAG.pppd.log 2>/dev/null | tail -2 | tr '\n' '|')"
