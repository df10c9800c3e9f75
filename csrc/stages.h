/* SPDX-License-Identifier: Apache-2.0
 *
 * stages.h: the stages by header. pipeline.c has their order.
 */
#ifndef HEADRACE_STAGES_H
#define HEADRACE_STAGES_H

#include "batch.h"

/* outer.c */
hr_stage hr_outer_strip;   /* tell IKE, keepalives, ESP and clear L2TP apart */
hr_stage hr_outer_follow;  /* an authenticated packet from a new address moves its peer */
hr_stage hr_outer_address; /* where to send, from which socket */

/* esp.c */
hr_stage hr_esp_lookup;	 /* the SA by its SPI, and the lengths that its transforms demand */
hr_stage hr_esp_decrypt; /* drop what is surely late; verify, then decrypt the others */
hr_stage hr_esp_accept;	 /* mark the number, count, limits; padding and next header */
hr_stage hr_esp_number;	 /* sequence number, header, padding, limits */
hr_stage hr_esp_encrypt;

/* udp.c: the UDP header inside ESP */
hr_stage hr_udp_strip;
hr_stage hr_udp_frame;

/* l2tp.c */
hr_stage hr_l2tp_strip;	  /* control goes up; data loses its header */
hr_stage hr_l2tp_session; /* the session, and that it came through the SA of its own peer; numbered data */
hr_stage hr_l2tp_frame;

/* ppp.c */
hr_stage hr_ppp_outer; /* address and control, protocol */
hr_stage hr_ppp_inner; /* user data or a frame for the control plane */
hr_stage hr_ppp_frame; /* protocol, address and control; of what will be encrypted only the protocol inside */

/* vj_stage.c: TCP/IP headers */
hr_stage hr_vj_shrink; /* encap: of IPv4 packets of sessions that have it */

/* ip.c: the inner packet */
hr_stage hr_ip_check;
hr_stage hr_ip_inbound;
hr_stage hr_ip_outbound;

/* line.c: a serial line in place of L2TP and ESP */
hr_stage hr_line_enter; /* the session that the caller names */
hr_stage hr_line_leave; /* the frame is whole */

/* route.c */
hr_stage hr_route; /* session, peer, SA and room for a packet that goes out */

#endif
