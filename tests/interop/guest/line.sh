#!/bin/sh
# pppd on the guest's second serial port, with the options in $J/options; when the link is up, pings and a TCP transfer through it.
# Exit: 0 all of it worked, 13 no link, 14 no data.
# shellcheck shell=sh disable=SC2046
O=$J/out
for d in /run /etc/ppp /tmp; do mount -t tmpfs t $d; done
printf 'alice * wonderland *\n* alice wonderland *\n' >/etc/ppp/chap-secrets
cp /etc/ppp/chap-secrets /etc/ppp/pap-secrets
chmod 600 /etc/ppp/*-secrets
: >/etc/ppp/options
stty -F /dev/ttyS1 raw -echo 2>/dev/null
: >"$J/ready"
pppd /dev/ttyS1 115200 local nocrtscts nodetach debug logfile "$O/pppd.log" lcp-echo-interval 5 $(cat "$J/options") &
P=$!
n=0
while [ $n -lt 120 ]; do
	peer=$(ip -o -4 addr show dev ppp0 2>/dev/null | sed -n 's/.* peer \([0-9.]*\).*/\1/p')
	[ -n "$peer" ] && break
	kill -0 $P 2>/dev/null || break
	sleep .25
	n=$((n + 1))
done
if [ -z "$peer" ]; then
	kill $P 2>/dev/null
	wait $P
	echo "RESULT no link: pppd $?"
	exit 13
fi
: >"$J/up"
sleep .5
ping -c 4 -i .3 -W 10 -s 1000 -p 61 "$peer" >"$O/ping.txt" 2>&1 || { echo "RESULT no ping"; kill $P; wait $P; exit 14; }
busybox yes 'the quick brown fox jumps over the lazy dog' | head -c 60000 >/tmp/text
timeout 90 busybox nc "$peer" 7 </tmp/text >/tmp/back
cmp /tmp/text /tmp/back && rc=0 || rc=14
cat /proc/net/dev >"$O/dev.txt"
kill $P
wait $P
echo "RESULT up, ping and TCP: $rc"
exit $rc
