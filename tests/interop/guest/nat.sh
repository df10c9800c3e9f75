# Several clients ($CLIENTS) behind one NAT, all with the same inner address and the same ports, each behind its own home router.
# shellcheck shell=sh disable=SC1091
. "$J/params"
mount -t tmpfs t /run # names of namespaces that went with an earlier job
ip addr add "$GUEST_IP/24" dev eth0
echo 1 >/proc/sys/net/ipv4/ip_forward
iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE
n=0
for name in $CLIENTS; do
	n=$((n + 1))
	ip netns add r$n
	ip netns add "$name"
	ip link del o$n 2>/dev/null
	ip link add o$n type veth peer name wan netns r$n
	ip addr add 100.64.$n.1/24 dev o$n
	ip link set o$n up
	ip -n r$n addr add 100.64.$n.2/24 dev wan
	ip -n r$n link set wan up
	ip -n r$n link set lo up
	ip -n r$n route add default via 100.64.$n.1
	ip -n r$n link add lan type veth peer name eth0 netns "$name"
	ip -n r$n addr add 192.168.1.1/24 dev lan
	ip -n r$n link set lan up
	ip -n "$name" addr add 192.168.1.2/24 dev eth0
	ip -n "$name" link set eth0 up
	ip -n "$name" link set lo up
	ip -n "$name" route add default via 192.168.1.1
	ip netns exec r$n sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward; iptables -t nat -A POSTROUTING -o wan -j MASQUERADE'
done
for name in $CLIENTS; do
	ip netns exec "$name" unshare --mount env TAG="$name" PPP_USER="${ACCOUNT:-$name}" GUEST_IP=192.168.1.2 sh /lab/boot/role.sh client &
	pids="$pids $!"
	sleep "${STAGGER:-1}"
done
for p in $pids; do
	wait "$p" || rc=$?
done
exit ${rc:-0}
