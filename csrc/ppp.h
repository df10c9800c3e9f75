/* SPDX-License-Identifier: Apache-2.0
 *
 * ppp.h: protocol numbers that more than one room knows.
 */
#ifndef HEADRACE_PPP_H
#define HEADRACE_PPP_H

enum {
	HR_PPP_IPV4 = 0x0021,
	HR_PPP_IPV6 = 0x0057,
	HR_PPP_MPPE = 0x00fd,
	HR_PPP_ENCRYPTED_FIRST = 0x0021, /* RFC 3078 section 3.1: only these are encrypted */
	HR_PPP_ENCRYPTED_LAST = 0x00fa
};

#endif
