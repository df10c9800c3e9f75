/* SPDX-License-Identifier: Apache-2.0
 *
 * io_raw.c: what is particular to raw sockets of protocol 50 (RFC 4303). Otherwise they share inbox and outbox with UDP.
 */
#include "io.h"

void hr_raw_name(union hr_name *name)
{
	if (name->any.sa_family == AF_INET6)
		name->in6.sin6_port = 0; /* anything else would name a protocol other than the socket's */
	else
		name->in.sin_port = 0;
}
