/* SPDX-License-Identifier: Apache-2.0
 *
 * esp.h: sizes of ESP that other rooms need.
 */
#ifndef HEADRACE_ESP_H
#define HEADRACE_ESP_H

enum {
	HR_ESP_HEADER = 8, /* SPI and sequence number */
	HR_ESP_TRAILER = 2 /* pad length and next header */
};

#endif
