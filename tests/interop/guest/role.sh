#!/bin/sh
# role.sh client|server: strongSwan (IKEv1, transport mode, UDP 1701), xl2tpd and pppd in the guest, set up from $J/params; what the
# environment says goes before the file. Logs go to $J/out/$TAG.*; the last line says RESULT.
# Exit: 0 up and pinged, 10 IKE phase 1, 11 quick mode, 12 L2TP, 13 PPP, 14 no data.
# shellcheck shell=sh disable=SC1091,SC2086
ROLE=$1
keep_tag=$TAG keep_user=$PPP_USER keep_ip=$GUEST_IP
. "$J/params"
TAG=${keep_tag:-$ROLE} PPP_USER=${keep_user:-$PPP_USER} GUEST_IP=${keep_ip:-$GUEST_IP}
O=$J/out
mkdir -p $O
mount --make-rprivate / 2>/dev/null
for d in /run /etc/swanctl /etc/ppp /etc/xl2tpd /tmp; do
	mkdir -p $d
	mount -t tmpfs t $d
done
mkdir -p /run/xl2tpd /run/lock /etc/swanctl/x509 /etc/swanctl/x509ca /etc/swanctl/private /etc/swanctl/x509crl
if [ "$ROLE" = client ]; then REMOTE=$PEER_IP; else REMOTE=%any; fi

cat >/tmp/strongswan.conf <<X
charon {
  load_modular = yes
  install_routes = no
  retransmit_tries = 2
  retransmit_timeout = 2
  retransmit_base = 1.5
  fragment_size = $FRAGMENT_SIZE
  delete_rekeyed = yes
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
	cp $J/pki/ca.crt $J/pki/sub*.crt /etc/swanctl/x509ca/ 2>/dev/null
	cp $J/pki/guest.crt /etc/swanctl/x509/
	cp $J/pki/guest.key /etc/swanctl/private/
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
# strongSwan sends INITIAL-CONTACT only to one whose identity it knows before.
[ "$ROLE" = client ] && [ "$UNIQUE" != never ] && REMOTE_AUTH="$REMOTE_AUTH
  id = $PEER_IP"
cat >/etc/swanctl/swanctl.conf <<X
connections { l2tp {
  version = 1
  aggressive = no
  local_addrs = $GUEST_IP
  remote_addrs = $REMOTE
  proposals = $IKE_PROP
  encap = $NATT
  dpd_delay = $DPD_DELAY
  dpd_timeout = $DPD_TIMEOUT
  rekey_time = $IKE_REKEY
  over_time = 60s
  rand_time = 0
  unique = $UNIQUE
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
      life_time = $ESP_LIFE
      rekey_bytes = $ESP_BYTES
      life_bytes = $((ESP_BYTES * 20))
      rand_time = 0
      rand_bytes = 0
      dpd_action = $DPD_ACTION
  } }
} }
secrets { ike-1 { secret = "$PSK"
} }
X
printf '"%s" * "%s" *\n' "$PPP_USER" "$PPP_PASS" >/etc/ppp/chap-secrets
cp /etc/ppp/chap-secrets /etc/ppp/pap-secrets
printf '%s\n' debug dump "logfile $O/$TAG.pppd.log" nodetach >/etc/ppp/opts
printf '%s\n' "$PPP_BASE" "$PPP_OPTIONS" | tr ';' '\n' >>/etc/ppp/opts
if [ "$ROLE" = server ]; then
	printf '%s\n' auth "name lns" "ms-dns 10.99.0.1" >>/etc/ppp/opts
else
	printf '%s\n' noauth "user $PPP_USER" "password $PPP_PASS" ipcp-accept-local ipcp-accept-remote >>/etc/ppp/opts
	[ -n "$PPP_EAP" ] || echo refuse-eap >>/etc/ppp/opts
fi
if [ "$PPP_EAP" = tls ]; then
	cp $J/pki/ca.crt $J/pki/guest.crt $J/pki/guest.key /etc/ppp/
	if [ "$ROLE" = server ]; then
		echo "* lns - /etc/ppp/guest.crt /etc/ppp/ca.crt /etc/ppp/guest.key *" >/etc/ppp/eaptls-server
	else
		printf '%s\n' "ca /etc/ppp/ca.crt" "cert /etc/ppp/guest.crt" "key /etc/ppp/guest.key" >>/etc/ppp/opts
	fi
fi
{
	printf '%s\n' "[global]" "port = 1701" "debug tunnel = yes" "debug state = yes" "debug network = yes" "auth file = /etc/xl2tpd/l2tp-secrets"
	printf '%s\n' "$L2TP_GLOBAL" | tr ';' '\n'
	if [ "$ROLE" = server ]; then
		printf '%s\n' "[lns default]" "ip range = 10.99.0.10-10.99.0.200" "local ip = 10.99.0.1" "name = lns" "pppoptfile = /etc/ppp/opts"
	else
		printf '%s\n' "[lac l]" "lns = $PEER_IP" "pppoptfile = /etc/ppp/opts"
	fi
	printf '%s\n' "$L2TP_OPTIONS" | tr ';' '\n'
	[ -n "$L2TP_SECRET" ] && echo "challenge = yes"
} >/etc/xl2tpd/xl2tpd.conf
echo "* * ${L2TP_SECRET:-none}" >/etc/xl2tpd/l2tp-secrets
for f in /etc/ppp/opts /etc/xl2tpd/xl2tpd.conf /etc/swanctl/swanctl.conf; do cp $f $O/$TAG.$(basename $f); done

if [ "$IPSEC" != off ]; then
	export STRONGSWAN_CONF=/tmp/strongswan.conf
	/usr/lib/ipsec/charon >$O/$TAG.charon.out 2>&1 &
	CHARON=$!
	n=0
	until swanctl --load-all >$O/$TAG.swanctl.log 2>&1; do
		n=$((n + 1))
		[ $n -gt 100 ] && break
		sleep .1
	done
fi
start_xl2tpd() {
	rm -f /run/xl2tpd/l2tp-control
	xl2tpd -D -c /etc/xl2tpd/xl2tpd.conf -s /etc/xl2tpd/l2tp-secrets -p /run/xl2tpd/pid -C /run/xl2tpd/l2tp-control >>$O/$TAG.xl2tpd.log 2>&1 &
	XL2TPD=$!
	n=0
	until [ -e /run/xl2tpd/l2tp-control ]; do
		n=$((n + 1))
		[ $n -gt 50 ] && break
		sleep .1
	done
}
start_xl2tpd
: >$J/$TAG.ready

uptime_() { cut -d. -f1 /proc/uptime; }
ppp_ip() { ip -o -4 addr show | awk '$2 ~ /^ppp/ {print $4; exit}'; }
ppp_peer() { ip -o -4 addr show | awk '$2 ~ /^ppp/ {for (i = 1; i < NF; i++) if ($i == "peer") {split($(i + 1), a, "/"); print a[1]; exit}}'; }
ppp_ip6() { ip -o -6 addr show scope global | awk '$2 ~ /^ppp/ {print $4; exit}'; }
mppe() { grep -o 'MPPE [0-9]*-bit[a-z -]*compression enabled' $O/$TAG.pppd.log | tail -1; }
# Drops every $LOSS-th packet of ESP, each way: the kernel's own retransmissions of L2TP control messages get through all the same.
lossy() {
	[ -n "$LOSS" ] || return 0
	for chain in INPUT POSTROUTING; do
		iptables -t mangle "$1" $chain -p esp -m statistic --mode nth --every "$LOSS" --packet 0 -j DROP
	done
}
finish() {
	kill $XL2TPD 2>/dev/null
	[ "$IPSEC" = off ] || kill $CHARON 2>/dev/null
	n=0
	while kill -0 $XL2TPD $CHARON 2>/dev/null; do
		n=$((n + 1))
		[ $n -gt 20 ] && break
		sleep .1
	done
	echo "RESULT $TAG rc=$1 $2"
	exit "$1"
}

if [ "$ROLE" = client ]; then
	if [ "$IPSEC" != off ]; then
		swanctl --initiate --child l2tp --timeout 60 >$O/$TAG.initiate.log 2>&1 || {
			swanctl --list-sas | grep -q ESTABLISHED && finish 11 "quick mode: $(tail -1 $O/$TAG.initiate.log)"
			finish 10 "phase 1: $(tail -1 $O/$TAG.initiate.log)"
		}
	fi
	echo "c l" >/run/xl2tpd/l2tp-control
	begun=$(uptime_)
	until [ -n "$(ppp_ip)" ]; do
		[ $(($(uptime_) - begun)) -gt "$L2TP_WAIT" ] && break
		sleep .2
		grep -qE "Connection terminated|Modem hangup" $O/$TAG.pppd.log 2>/dev/null && break
		grep -qE "closing down tunnel|Maximum retries|Connection closed" $O/$TAG.xl2tpd.log && break
	done
	if [ -z "$(ppp_ip)" ]; then
		grep -q "Call established" $O/$TAG.xl2tpd.log || finish 12 "L2TP: $(tail -1 $O/$TAG.xl2tpd.log)"
		sleep .5
		finish 13 "PPP: $(grep -iE 'fail|refus|terminat|requir|error' $O/$TAG.pppd.log | grep -v '# (from' | tail -3 | tr '\n' '|')"
	fi
	sleep .3
	P=$(ppp_peer)
	r=0
	ping -c 4 -i .1 -s 56 "$P" >$O/$TAG.ping.txt 2>&1 || r=1
	ping -c 3 -i .1 -s 1300 "$P" >>$O/$TAG.ping.txt 2>&1 || r=1
	S="ip=$(ppp_ip) peer=$P $(mppe)"
	if [ -n "$FETCH" ]; then
		timeout 30 bash -c 'exec 3<>"/dev/tcp/$0" && printf "GET /file HTTP/1.0\r\n\r\n" >&3 && cat <&3' "$FETCH" 2>$O/$TAG.wget.log |
			sed '1,/^\r$/d' | sha256sum >$O/$TAG.fetch.txt
	fi
	if [ -n "$PING6" ]; then
		n=0
		until [ -n "$(ppp_ip6)" ] || [ $n -gt 100 ]; do
			n=$((n + 1))
			sleep .2
		done
		ping -6 -c 4 -i .2 "$PING6" >$O/$TAG.ping6.txt 2>&1 || r=1
		ping -6 -c 3 -i .2 -s 1300 "$PING6" >>$O/$TAG.ping6.txt 2>&1 || r=1
		# Ask for a prefix, too, and put its first network on lo.
		printf '%s\n' ipv6only noipv6rs "interface ppp0" "ia_pd 1 lo/1/64" >/tmp/dhcpcd.conf
		timeout 15 dhcpcd -d -B -1 -t 12 -f /tmp/dhcpcd.conf ppp0 >$O/$TAG.dhcpcd.log 2>&1
		S="$S ip6=$(ppp_ip6)"
	fi
	if [ -n "$HOLD" ]; then
		lossy -A
		ping -i .2 -w "$HOLD" "$P" >$O/$TAG.held.txt 2>&1 || r=1
		lossy -D
		S="$S held $(grep -o '[0-9]* packets transmitted, [0-9]* received' $O/$TAG.held.txt)"
	fi
	if [ -n "$BARRIER" ]; then
		: >$J/$TAG.up
		n=0
		until [ -e $J/go ] || [ $n -gt 600 ]; do
			sleep .1
			n=$((n + 1))
		done
	fi
	if [ -n "$LOSS" ]; then
		ping -c 30 -i .2 "$P" >$O/$TAG.settle.txt 2>&1 || r=1
		ping -c 10 -i .2 "$P" >$O/$TAG.after.txt 2>&1 || r=1
	fi
	if [ -n "$REDIAL" ]; then
		begun=$(uptime_)
		until ping -c 3 -i .2 -W 1 "$P" >$O/$TAG.again.txt 2>&1; do
			[ $(($(uptime_) - begun)) -gt "$REDIAL" ] && r=1 && break
			sleep .5
			[ -n "$(ppp_ip)" ] && continue
			# As NetworkManager does: xl2tpd by itself would go on with the tunnel that nobody knows any more.
			kill -9 $XL2TPD
			swanctl --list-sas | grep -q INSTALLED || swanctl --initiate --child l2tp --timeout 20 >>$O/$TAG.initiate.log 2>&1
			start_xl2tpd
			echo "c l" >/run/xl2tpd/l2tp-control
			n=0
			until [ -n "$(ppp_ip)" ] || [ $n -gt 50 ]; do
				n=$((n + 1))
				sleep .2
			done
		done
		S="$S, again ip=$(ppp_ip) after $(($(uptime_) - begun)) s"
	fi
	[ "$IPSEC" = off ] || swanctl --list-sas >$O/$TAG.sas.txt 2>&1
	echo "d l" >/run/xl2tpd/l2tp-control
	sleep 1
	[ "$IPSEC" = off ] || swanctl --terminate --ike l2tp >$O/$TAG.terminate.log 2>&1
	[ $r = 0 ] && finish 0 "$S"
	finish 14 "$S"
fi
if [ -n "$PREFIX6" ]; then
	echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
	cat >/tmp/radvd.conf <<X
interface ppp0 {
  AdvSendAdvert on;
  MinRtrAdvInterval 3;
  MaxRtrAdvInterval 4;
  prefix $PREFIX6/64 { };
  RDNSS ${PREFIX6}53 { };
};
X
fi
begun=$(uptime_)
UP=
while [ $(($(uptime_) - begun)) -lt "$SERVER_TIME" ] && [ ! -e $J/stop ]; do
	a=$(ppp_peer)
	if [ -n "$LOSS" ] && [ -n "$a" ] && [ -z "$UP" ]; then
		(sleep 1 && lossy -A && ping -i .1 -w "$HOLD" "$a" >$O/$TAG.held.txt; lossy -D) &
	fi
	if [ -n "$PREFIX6" ] && [ -n "$a" ] && [ -z "$UP" ]; then
		ip -6 addr add "${PREFIX6}1/64" dev ppp0 nodad
		radvd -n -d 3 -m logfile -l $O/$TAG.radvd.log -C /tmp/radvd.conf -p /run/radvd.pid &
		RADVD=$!
	fi
	if [ -n "$SERVE" ] && [ -n "$a" ] && [ -z "$UP" ]; then
		seq 1 "$SERVE" >/tmp/file
		busybox httpd -p 8080 -h /tmp
	fi
	[ -n "$a" ] && UP=$a
	sleep .2
done
[ -z "$RADVD" ] || kill $RADVD
# A short call may have come and gone between two looks.
[ -n "$UP" ] || UP=$(sed -n 's/^remote IP address //p' $O/$TAG.pppd.log 2>/dev/null | tail -1)
swanctl --list-sas >$O/$TAG.sas.txt 2>&1
[ -n "$UP" ] && finish 0 "had a session, peer=$UP $(mppe)"
finish 13 "no session: $(grep -iE 'fail|refus|requir' $O/$TAG.pppd.log 2>/dev/null | grep -v '# (from' | tail -2 | tr '\n' '|')"
