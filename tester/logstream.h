/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logstream.h - take apart the output stream of a container.
 *
 * Source   Docker Engine API, "Attach to a container", stream format: without a terminal each piece
 *          has an 8 byte header, {kind, 0, 0, 0, size as 4 bytes big-endian}, kind 0 stdin,
 *          1 stdout, 2 stderr, 3 a message of the engine itself; with a terminal the bytes are raw.
 * Memory   none: pieces are handed on as they arrive, in any split, of any size.
 */
#ifndef CB_TESTER_LOGSTREAM_H
#define CB_TESTER_LOGSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"

struct cb_err;

enum cb_logstream_kind { CB_LOGSTREAM_STDOUT, CB_LOGSTREAM_STDERR, CB_LOGSTREAM_KINDS };

typedef void cb_logstream_sink(void *arg, enum cb_logstream_kind kind, const uint8_t *bytes,
                               size_t size);

struct cb_logstream {
    bool raw; /* a terminal: no headers, everything is stdout */
    uint8_t header[8];
    size_t in_header; /* bytes of the header that are there */
    uint32_t left;    /* bytes of the piece that are still to come */
    cb_logstream_sink *sink;
    void *arg;
};

void cb_logstream_init(struct cb_logstream *stream, bool raw, cb_logstream_sink *sink, void *arg);

/* -EBADMSG: not this format; the stream cannot be read on. */
int cb_logstream_feed(struct cb_logstream *stream, const uint8_t *bytes, size_t size,
                      struct cb_err *err) cb_must_check;

/* True when the stream may end here: not within a piece. */
bool cb_logstream_is_whole(const struct cb_logstream *stream);

#endif
