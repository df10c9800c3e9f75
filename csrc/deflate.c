/* SPDX-License-Identifier: Apache-2.0
 *
 * deflate.c: PPP Deflate (RFC 1979). The frame is drawn in deflate.h.
 */
#include "deflate.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "headrace.h"
#include "wipe.h"

/* zlib.h */
enum { SYNC_FLUSH = 2, STREAM_OK = 0, BUFFER_ERROR = -5, DEFLATED = 8, DEFAULT_STRATEGY = 0 };
enum {
	LEVEL = 1,  /* 6 is a third as fast, for a few per cent */
	MEMORY = 8, /* zlib's own default */
	ALLOCATION_HEAD = 16,
	PROTOCOL = 2 /* octets of 00fd, which a compressed frame has on top */
};

static struct {
	int (*deflate_init)(struct hr_z *, int level, int method, int window, int memory, int strategy, const char *version,
			    int size);
	int (*deflate)(struct hr_z *, int flush);
	int (*deflate_reset)(struct hr_z *);
	int (*deflate_end)(struct hr_z *);
	int (*inflate_init)(struct hr_z *, int window, const char *version, int size);
	int (*inflate)(struct hr_z *, int flush);
	int (*inflate_set_dictionary)(struct hr_z *, const uint8_t *octets, unsigned int len);
	int (*inflate_reset)(struct hr_z *);
	int (*inflate_end)(struct hr_z *);
	const char *(*version)(void);
	int available;
} zlib;

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* ISO C knows no way from dlsym()'s pointer to one to a function but through its octets. */
static int find(void *library, const char *name, void *place)
{
	void *const symbol = dlsym(library, name);

	memcpy(place, &symbol, sizeof symbol);
	return symbol != NULL;
}

static void load(void)
{
	void *const library = dlopen("libz.so.1", RTLD_NOW | RTLD_LOCAL);

	zlib.available = library != NULL && find(library, "zlibVersion", &zlib.version) &&
			 find(library, "deflateInit2_", &zlib.deflate_init) && find(library, "deflate", &zlib.deflate) &&
			 find(library, "deflateReset", &zlib.deflate_reset) && find(library, "deflateEnd", &zlib.deflate_end) &&
			 find(library, "inflateInit2_", &zlib.inflate_init) && find(library, "inflate", &zlib.inflate) &&
			 find(library, "inflateSetDictionary", &zlib.inflate_set_dictionary) &&
			 find(library, "inflateReset", &zlib.inflate_reset) && find(library, "inflateEnd", &zlib.inflate_end);
}

int hr_deflate_available(void)
{
	pthread_once(&once, load);
	return zlib.available;
}

/* What zlib keeps is somebody's traffic: it is erased with its length, which stands in front. */
static void *allocate(void *opaque, unsigned int items, unsigned int size)
{
	(void)opaque;
	const size_t len = (size_t)items * size + ALLOCATION_HEAD;
	uint8_t *const block = calloc(1, len);

	if (block == NULL)
		return NULL;
	memcpy(block, &len, sizeof len);
	return block + ALLOCATION_HEAD;
}

static void release(void *opaque, void *address)
{
	(void)opaque;
	size_t len;
	uint8_t *const block = (uint8_t *)address - ALLOCATION_HEAD;

	memcpy(&len, block, sizeof len);
	hr_erase(block, len);
	free(block);
}

int hr_deflate_open(struct hr_deflate *d, uint32_t outbound, uint32_t window)
{
	if (window < HR_DEFLATE_WINDOW_LEAST || window > HR_DEFLATE_WINDOW_MOST)
		return HR_E_ARGUMENT;
	if (!hr_deflate_available())
		return HR_E_UNSUPPORTED;
	memset(d, 0, sizeof *d);
	d->z.zalloc = allocate;
	d->z.zfree = release;
	const int raw = -(int)window; /* no header, no check sum */
	const int result = outbound ? zlib.deflate_init(&d->z, LEVEL, DEFLATED, raw, MEMORY, DEFAULT_STRATEGY, zlib.version(),
							(int)sizeof d->z)
				    : zlib.inflate_init(&d->z, raw, zlib.version(), (int)sizeof d->z);
	return result == STREAM_OK ? 0 : HR_E_MEMORY;
}

void hr_deflate_close(struct hr_deflate *d, uint32_t outbound)
{
	if (d->z.state != NULL)
		(outbound ? zlib.deflate_end : zlib.inflate_end)(&d->z);
	memset(d, 0, sizeof *d);
}

void hr_deflate_reset(struct hr_deflate *d, uint32_t outbound)
{
	(outbound ? zlib.deflate_reset : zlib.inflate_reset)(&d->z);
	d->number = 0;
}

/* The protocol field in the form in which it is compressed. */
static const uint8_t *shortest(const uint8_t *frame, uint32_t *len)
{
	const uint32_t skip = *len > 1 && frame[0] == 0;

	*len -= skip;
	return frame + skip;
}

uint32_t hr_deflate_compress(struct hr_deflate *d, const uint8_t *frame, uint32_t len, uint8_t *out, uint32_t room)
{
	static const uint8_t end[4] = {0x00, 0x00, 0xff, 0xff};
	const uint32_t most = room < len ? room : len; /* more is of no use */
	uint32_t size = len, pieces = 0, rest;

	out[0] = (uint8_t)(d->number >> 8);
	out[1] = (uint8_t)d->number;
	d->number++;
	d->z.next_in = shortest(frame, &size);
	d->z.avail_in = size;
	do {
		d->z.next_out = out + HR_DEFLATE_HEADER;
		d->z.avail_out = room - HR_DEFLATE_HEADER;
		const int result = zlib.deflate(&d->z, SYNC_FLUSH);
		if (result != STREAM_OK && result != BUFFER_ERROR)
			return 0;
		pieces++;
		rest = d->z.avail_out;
	} while (rest == 0);
	const uint32_t made = room - rest; /* with its header */
	if (pieces != 1 || made < HR_DEFLATE_HEADER + sizeof end || made - sizeof end + PROTOCOL > most)
		return 0;
	return memcmp(out + made - sizeof end, end, sizeof end) == 0 ? made - (uint32_t)sizeof end : 0;
}

enum hr_deflate_result hr_deflate_expand(struct hr_deflate *d, uint16_t number, const uint8_t *in, uint32_t len, uint8_t *out,
					 uint32_t room, uint32_t *out_len)
{
	static const uint8_t end[4] = {0x00, 0x00, 0xff, 0xff};

	*out_len = 0;
	if (number != d->number)
		return HR_DEFLATE_GAP;
	d->number++;
	d->z.next_out = out;
	d->z.avail_out = room;
	for (int part = 0; part < 2; part++) {
		d->z.next_in = part == 0 ? in : end;
		d->z.avail_in = part == 0 ? len : (unsigned int)sizeof end;
		const int result = zlib.inflate(&d->z, SYNC_FLUSH);
		/* The stream never ends; and with no octet of room left there may be more to come. */
		if ((result != STREAM_OK && result != BUFFER_ERROR) || d->z.avail_in != 0 || d->z.avail_out == 0)
			return HR_DEFLATE_MALFORMED;
	}
	*out_len = room - d->z.avail_out;
	return *out_len != 0 ? HR_DEFLATE_OK : HR_DEFLATE_MALFORMED;
}

enum hr_deflate_result hr_deflate_note(struct hr_deflate *d, const uint8_t *frame, uint32_t len)
{
	const uint8_t *const octets = shortest(frame, &len);

	d->number++;
	/* of a raw stream zlib takes octets into the window at any time */
	return zlib.inflate_set_dictionary(&d->z, octets, len) == STREAM_OK ? HR_DEFLATE_OK : HR_DEFLATE_MALFORMED;
}
