/* SPDX-License-Identifier: Apache-2.0
 *
 * forward.c: IP packets from a TUN to a UDP socket and back, with nothing done to them: what a tunnel in user space could reach
 * at most if cryptography and protocols cost nothing.
 *
 *   forward one|mmsg|gso TUN LOCAL REMOTE PORT
 *
 * one: one packet a system call. mmsg: as many as there are, by recvmmsg() and sendmmsg(). gso: UDP GSO and GRO, and a TUN with
 * a virtio header, so that TCP segments of up to 64 KiB are read, cut, joined and written whole. A thread for each
 * direction. Says "ready" when the TUN is there.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef SOL_UDP
#define SOL_UDP 17
#endif

enum { MANY = 64, PACKET = 2048, SEGMENT = 65536, TCP_HEADERS_MAX = 120 };

struct slots {
	uint8_t octets[MANY][PACKET];
	uint32_t len[MANY];
	uint32_t n;
};

static int tun, sock, gso;
static struct sockaddr_in remote;
static struct slots out;
static uint8_t in[MANY][SEGMENT + 17 * 64]; /* not a power of two apart, which would put all of them on the same cache sets */

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static uint32_t get16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
	return get16(p) << 16 | get16(p + 2);
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

static uint64_t sum(const uint8_t *p, size_t len)
{
	uint64_t total = 0;
	uint32_t word;
	for (; len >= 4; p += 4, len -= 4) {
		memcpy(&word, p, 4);
		total += word;
	}
	word = 0;
	memcpy(&word, p, len);
	return total + word;
}

static uint16_t fold(uint64_t total)
{
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return (uint16_t)total;
}

static uint64_t pseudo(const uint8_t *ip, uint32_t len)
{
	const uint8_t rest[4] = {0, ip[9], (uint8_t)(len >> 8), (uint8_t)len};
	return sum(ip + 12, 8) + sum(rest, 4);
}

static void store(uint8_t *at, uint16_t value)
{
	memcpy(at, &value, 2);
}

/* --- TUN to socket ------------------------------------------------------------------------------------------------------ */

static void send_slots(void)
{
	struct mmsghdr message[MANY];
	struct iovec iov[MANY];
	char control[MANY][CMSG_SPACE(2)];
	uint32_t messages = 0;

	for (uint32_t i = 0; i < out.n;) {
		const uint32_t first = i, size = out.len[i];
		uint32_t bytes = 0;
		for (; i < out.n && out.len[i] <= size && bytes + size < 65000 && (i == first || gso); i++) {
			iov[i] = (struct iovec){out.octets[i], out.len[i]};
			bytes += out.len[i];
			if (out.len[i] < size) {
				i++;
				break;
			}
		}
		struct msghdr *h = &message[messages].msg_hdr;
		*h = (struct msghdr){
		    .msg_name = &remote, .msg_namelen = sizeof remote, .msg_iov = iov + first, .msg_iovlen = i - first};
		if (i - first > 1) {
			h->msg_control = control[messages];
			h->msg_controllen = CMSG_SPACE(2);
			struct cmsghdr *c = CMSG_FIRSTHDR(h);
			c->cmsg_level = SOL_UDP;
			c->cmsg_type = UDP_SEGMENT;
			c->cmsg_len = CMSG_LEN(2);
			const uint16_t each = (uint16_t)size;
			memcpy(CMSG_DATA(c), &each, 2);
		}
		messages++;
	}
	for (uint32_t done = 0; done < messages;) {
		const int sent = sendmmsg(sock, message + done, messages - done, 0);
		if (sent < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS && errno != ECONNREFUSED)
			fail("sendmmsg");
		if (sent > 0)
			done += (uint32_t)sent;
	}
	out.n = 0;
}

static uint32_t cut(const struct virtio_net_hdr *vnet, const uint8_t *p, uint32_t len)
{
	const uint32_t ihl = (p[0] & 15u) * 4, size = vnet->gso_size, headers = ihl + (p[ihl + 12] >> 4) * 4u;
	if (p[0] >> 4 != 4 || p[9] != 6 || size == 0 || headers + size > PACKET || headers >= len ||
	    (len - headers + size - 1) / size > MANY)
		return 0;
	uint32_t i = 0;
	for (uint32_t at = headers; at < len; at += size, i++) {
		const uint32_t payload = len - at < size ? len - at : size;
		uint8_t *const to = out.octets[i], *const tcp = to + ihl;
		memcpy(to, p, headers);
		memcpy(to + headers, p + at, payload);
		put16(to + 2, headers + payload);
		put16(to + 4, get16(p + 4) + i);
		put16(to + 10, 0);
		store(to + 10, (uint16_t)~fold(sum(to, ihl)));
		put32(tcp + 4, get32(p + ihl + 4) + at - headers);
		if (at + payload < len)
			tcp[13] &= (uint8_t)~0x09; /* FIN, PSH: the last one's */
		put16(tcp + 16, 0);
		store(tcp + 16, (uint16_t)~fold(pseudo(to, headers - ihl + payload) + sum(tcp, headers - ihl + payload)));
		out.len[i] = headers + payload;
	}
	return i;
}

static void from_tun(uint32_t most)
{
	static uint8_t whole[SEGMENT];
	struct virtio_net_hdr vnet = {0};

	out.n = 0;
	while (out.n < most) {
		if (!gso) {
			const ssize_t got = read(tun, out.octets[out.n], PACKET);
			if (got <= 0)
				break;
			out.len[out.n++] = (uint32_t)got;
			continue;
		}
		struct iovec iov[2] = {{&vnet, sizeof vnet}, {whole, sizeof whole}};
		const ssize_t got = readv(tun, iov, 2);
		if (got <= (ssize_t)sizeof vnet + 20)
			break;
		const uint32_t len = (uint32_t)got - (uint32_t)sizeof vnet;
		if (vnet.gso_type != VIRTIO_NET_HDR_GSO_NONE) {
			send_slots();
			out.n = cut(&vnet, whole, len);
			send_slots();
			continue;
		}
		if (len > PACKET)
			continue;
		if (vnet.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
			store(whole + vnet.csum_start + vnet.csum_offset,
			      (uint16_t)~fold(sum(whole + vnet.csum_start, len - vnet.csum_start)));
		memcpy(out.octets[out.n], whole, len);
		out.len[out.n++] = len;
	}
	if (out.n)
		send_slots();
}

/* --- socket to TUN ------------------------------------------------------------------------------------------------------ */

/* Length of the headers of a TCP packet that others may be put behind, or 0. */
static uint32_t tcp_headers(const uint8_t *p, uint32_t len)
{
	if (len < 40 || p[0] != 0x45 || p[9] != 6 || (p[33] & ~0x08) != 0x10)
		return 0;
	const uint32_t headers = 20 + (p[32] >> 4) * 4u;
	return headers < len ? headers : 0;
}

static void write_run(uint8_t *p, uint32_t n, uint32_t size, uint32_t last)
{
	struct virtio_net_hdr vnet = {0};
	struct iovec iov[1 + MANY] = {{&vnet, sizeof vnet}, {p, n == 1 ? last : size}};
	const uint32_t headers = n > 1 ? tcp_headers(p, size) : 0;

	if (n > 1) {
		const uint32_t total = size + (n - 2) * (size - headers) + last - headers;
		for (uint32_t i = 1; i < n; i++)
			iov[1 + i] = (struct iovec){p + i * size + headers, (i + 1 == n ? last : size) - headers};
		put16(p + 2, total);
		put16(p + 10, 0);
		store(p + 10, (uint16_t)~fold(sum(p, 20)));
		store(p + 36, fold(pseudo(p, total - 20)));
		vnet = (struct virtio_net_hdr){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					       .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
					       .hdr_len = (uint16_t)headers,
					       .gso_size = (uint16_t)(size - headers),
					       .csum_start = 20,
					       .csum_offset = 16};
	}
	if (writev(tun, iov, (int)(1 + n)) < 0 && errno != EAGAIN && errno != ENOBUFS && errno != EIO && errno != EINVAL)
		fail("writev");
}

/* One datagram that GRO has put together from packets of `size` octets. */
static void join(uint8_t *p, uint32_t len, uint32_t size)
{
	while (len) {
		uint32_t n = 1, last = size < len ? size : len;
		const uint32_t headers = tcp_headers(p, last);
		while (headers && n < MANY && n * size < len && n * size + (size - headers) < SEGMENT - 2048) {
			const uint8_t *const q = p + n * size;
			const uint32_t its = len - n * size < size ? len - n * size : size;
			if (tcp_headers(q, its) != headers || memcmp(q + 12, p + 12, 12) != 0 ||
			    get32(q + 24) != get32(p + 24) + n * (size - headers))
				break;
			last = its;
			n++;
			if (its < size)
				break;
		}
		write_run(p, n, size < len ? size : len, last);
		const uint32_t used = (n - 1) * size + last;
		p += used;
		len -= used;
	}
}

static void from_socket(uint32_t most)
{
	static struct mmsghdr message[MANY];
	static struct iovec iov[MANY];
	static char control[MANY][CMSG_SPACE(sizeof(int))];

	if (gso && most > 8)
		most = 8;
	for (uint32_t i = 0; i < most; i++) {
		iov[i] = (struct iovec){in[i], SEGMENT};
		message[i].msg_hdr = (struct msghdr){
		    .msg_iov = &iov[i], .msg_iovlen = 1, .msg_control = control[i], .msg_controllen = sizeof control[i]};
	}
	const int n = recvmmsg(sock, message, most, MSG_WAITFORONE, NULL);
	for (int i = 0; i < n; i++) {
		if (!gso) {
			if (write(tun, in[i], message[i].msg_len) < 0 && errno != EAGAIN && errno != ENOBUFS && errno != EIO &&
			    errno != EINVAL)
				fail("write");
			continue;
		}
		int size = (int)message[i].msg_len;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&message[i].msg_hdr); c; c = CMSG_NXTHDR(&message[i].msg_hdr, c))
			if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO)
				memcpy(&size, CMSG_DATA(c), sizeof size);
		if (size > 0)
			join(in[i], message[i].msg_len, (uint32_t)size);
	}
}

/* --- setting up ---------------------------------------------------------------------------------------------------------- */

static void *outwards(void *argument)
{
	const uint32_t most = *(const uint32_t *)argument;
	struct pollfd wait = {.fd = tun, .events = POLLIN};

	for (;;) {
		if (most > 1 && poll(&wait, 1, -1) < 0 && errno != EINTR)
			fail("poll");
		from_tun(most);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	if (argc != 6) {
		fprintf(stderr, "forward one|mmsg|gso TUN LOCAL REMOTE PORT\n");
		return 2;
	}
	uint32_t most = strcmp(argv[1], "one") == 0 ? 1 : MANY;
	gso = strcmp(argv[1], "gso") == 0;

	struct ifreq request = {.ifr_flags = (short)(IFF_TUN | IFF_NO_PI | (gso ? IFF_VNET_HDR : 0))};
	strncpy(request.ifr_name, argv[2], IFNAMSIZ - 1);
	tun = open("/dev/net/tun", O_RDWR | (most > 1 ? O_NONBLOCK : 0));
	if (tun < 0 || ioctl(tun, TUNSETIFF, &request) < 0 || (gso && ioctl(tun, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4) < 0))
		fail("TUN");

	const uint16_t port = htons((uint16_t)atoi(argv[5]));
	struct sockaddr_in local = {.sin_family = AF_INET, .sin_port = port};
	remote = local;
	const int yes = 1, buffer = 4 << 20;
	sock = socket(AF_INET, SOCK_DGRAM, 0);
	if (sock < 0 || inet_pton(AF_INET, argv[3], &local.sin_addr) != 1 ||
	    inet_pton(AF_INET, argv[4], &remote.sin_addr) != 1 || bind(sock, (struct sockaddr *)&local, sizeof local) < 0)
		fail("socket");
	setsockopt(sock, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
	setsockopt(sock, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer);
	if (gso)
		setsockopt(sock, SOL_UDP, UDP_GRO, &yes, sizeof yes);

	puts("ready");
	fflush(stdout);
	pthread_t other;
	if (pthread_create(&other, NULL, outwards, &most) != 0)
		fail("pthread_create");
	for (;;)
		from_socket(most);
}
