#!/bin/sh
# What the guest does: takes jobs from /lab/boot/queue, one after another, until /lab/boot/off appears. An entry holds the job's folder
# below /lab, which has params and job.sh; job.log and exit come back. A job's processes, mounts and kernel state end with it.
cd /lab/boot || exit 1
modprobe -a esp4 l2tp_ppp ppp_mppe ppp_deflate bsd_comp ppp_synctty xfrm_user veth 2>/dev/null
ip link set eth0 up
{
	echo "kernel $(uname -r)"
	dpkg-query -W -f '${Package} ${Version}\n' strongswan-charon xl2tpd ppp
} >versions 2>/dev/null
: >ready
while [ ! -e off ]; do
	for entry in queue/*; do
		[ -e "$entry" ] || continue
		J=/lab/$(cat "$entry")
		export J
		rm "$entry"
		unshare --mount --pid --fork --mount-proc sh "$J/job.sh" >"$J/job.log" 2>&1
		code=$?
		ip xfrm state flush
		ip xfrm policy flush
		ip addr flush dev eth0
		iptables -t nat -F
		iptables -t mangle -F
		echo $code >"$J/exit.part"
		mv "$J/exit.part" "$J/exit"
	done
	sleep .2
done
