/* SPDX-License-Identifier: Apache-2.0
 *
 * status.c: the text of every status and error, and the version. The only place where they are put into words.
 */
#include "headrace.h"

#ifndef HEADRACE_VERSION
#error "build.py passes the version"
#endif

static const char *const status_text[HR_STATUS_COUNT] = {
    [HR_OK] = "passed",
    [HR_PENDING] = "still in the pipeline",
    [HR_EXC_IKE] = "IKE message, for the control plane",
    [HR_EXC_L2TP] = "L2TP control message, for the control plane",
    [HR_EXC_PPP] = "PPP frame other than IP to be forwarded, for the control plane",
    [HR_EXC_MOVED] = "a peer's outer address changed",
    [HR_EXC_SOFT_LIMIT] = "an SA reached its soft limit and wants to be replaced",
    [HR_EXC_MPPE_RESET] = "stateful encryption or compression lost its place: the peer is asked for a reset",
    [HR_EXC_CLEAR_L2TP] = "L2TP control message without IPsec from a new address, for the control plane",
    [HR_KEEPALIVE] = "NAT keepalive, consumed",
    [HR_DUMMY] = "ESP dummy packet, consumed",
    [HR_DROP_OUTER_SHORT] = "the outer headers are cut short or not those of ESP",
    [HR_DROP_NATT_MARKER] = "on UDP port 4500 neither ESP, nor IKE behind a whole non-ESP marker",
    [HR_DROP_NOT_PROTECTED] = "L2TP without IPsec where IPsec is required",
    [HR_DROP_ESP_SHORT] = "ESP packet shorter than its headers, one block and its ICV",
    [HR_DROP_ESP_LENGTH] = "ESP ciphertext is not a multiple of the cipher's block",
    [HR_DROP_ESP_SPI] = "ESP for an unknown SPI",
    [HR_DROP_ESP_REPLAY] = "ESP sequence number was seen before, is behind the replay window, or is 0",
    [HR_DROP_ESP_AUTH] = "ESP integrity check failed",
    [HR_DROP_ESP_PADDING] = "ESP padding is not what RFC 4303 prescribes",
    [HR_DROP_ESP_NEXT_HEADER] = "ESP carries something other than UDP",
    [HR_DROP_ESP_SEQ_EXHAUSTED] = "the outbound SA has used all its sequence numbers",
    [HR_DROP_SA_EXPIRED] = "the SA has reached its hard volume limit",
    [HR_DROP_NO_SA] = "the peer has no outbound SA at this time",
    [HR_DROP_UDP_LENGTH] = "the length of the inner UDP datagram is impossible",
    [HR_DROP_SELECTOR] = "inner UDP port other than the one that the SA was negotiated for",
    [HR_DROP_L2TP_HEADER] = "the L2TP header is cut short, has a wrong version, or lacks a required field",
    [HR_DROP_L2TP_LENGTH] = "the L2TP length field is impossible",
    [HR_DROP_L2TP_OFFSET] = "the L2TP offset leads past the end",
    [HR_DROP_L2TP_SESSION] = "unknown L2TP tunnel or session",
    [HR_DROP_WRONG_SA] = "L2TP data for a session of another peer",
    [HR_DROP_L2TP_SEQUENCE] = "numbered L2TP data came late or twice, or lacks a number that is required",
    [HR_DROP_PPP_SHORT] = "PPP frame without a whole protocol field",
    [HR_DROP_PPP_HEADER] = "PPP frame in a form that was not negotiated",
    [HR_DROP_PPP_NOT_OPEN] = "user data for a network protocol that is not open",
    [HR_DROP_PPP_MRU] = "PPP frame larger than the peer takes",
    [HR_DROP_VJ_MALFORMED] = "the compressed TCP/IP header is no such",
    [HR_DROP_VJ_LOST] = "the compressed TCP/IP header builds on one that was lost",
    [HR_DROP_DEFLATE_MALFORMED] = "the Deflate frame cannot be expanded",
    [HR_DROP_DEFLATE_LOST] = "Deflate is waiting for a reset",
    [HR_DROP_MPPE_HEADER] = "the MPPE header is cut short or has impossible bits",
    [HR_DROP_MPPE_CLEARTEXT] = "user data in clear where MPPE is required",
    [HR_DROP_MPPE_NOT_OPEN] = "MPPE where it is not open",
    [HR_DROP_MPPE_STALE] = "MPPE packet older than one that has been decrypted",
    [HR_DROP_MPPE_LOST] = "MPPE cannot follow: waiting for a flush, or too many packets are missing",
    [HR_DROP_MPPC_MALFORMED] = "the MPPC frame cannot be expanded",
    [HR_DROP_MPPC_LOST] = "MPPC is waiting for a flush",
    [HR_DROP_IP_MALFORMED] = "the inner packet is not a whole IP packet",
    [HR_DROP_SPOOFED_SOURCE] = "inner source address is not the one that the session was given",
    [HR_DROP_LOOP] = "inner packet that would lead back into its own tunnel, or to this host's inside",
    [HR_DROP_NO_ROUTE] = "no session owns the inner destination",
    [HR_DROP_TOO_BIG] = "inner packet larger than the session carries",
    [HR_DROP_RATE] = "over the session's rate limit",
    [HR_DROP_FILTER] = "a destination that the session may not use",
    [HR_DROP_GSO_MALFORMED] = "impossible segmentation header from the TUN device",
    [HR_DROP_TUN_MALFORMED] = "the TUN device delivered something that is not a whole IP packet",
    [HR_DROP_ROOM] = "not enough room around the packet for its headers or trailer",
    [HR_DROP_EXCEPTION_RING] = "the control plane does not keep up with exceptions",
    [HR_DROP_SOCKET] = "the kernel refused to send the packet",
    [HR_DROP_TUN_WRITE] = "the TUN device refused the packet",
    [HR_DROP_WORKER_RING] = "the worker that sends for the session does not keep up",
};

/* Index 0 is success; the others are the negated errors. */
static const char *const error_text[] = {
    "no error",
    [-HR_E_ARGUMENT] = "a field is out of range",
    [-HR_E_FULL] = "the table is full",
    [-HR_E_EXISTS] = "SPI, session id, address or inner route is in use",
    [-HR_E_MISSING] = "no record with that index",
    [-HR_E_MEMORY] = "out of memory",
    [-HR_E_SYSTEM] = "a system call failed",
    [-HR_E_UNSUPPORTED] = "this build or processor does not support that",
    [-HR_E_DESCRIPTOR] = "a descriptor lies outside the arena, overlaps another, or has a kind that does not belong here",
    [-HR_E_SELFTEST] = "a cryptographic kernel failed its self-test",
};

const char *hr_version(void)
{
	return HEADRACE_VERSION;
}

const char *hr_status_text(uint32_t status)
{
	return status < HR_STATUS_COUNT ? status_text[status] : NULL;
}

const char *hr_error_text(int error)
{
	const int count = sizeof error_text / sizeof error_text[0];

	return error <= 0 && error > -count ? error_text[-error] : NULL;
}
