/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link_wire.h - the parts of every message of the link (docs/link.md), without any socket: pure
 * functions between parts of bytes and the values of link.h. Used by lib/link_*.c only.
 */
#ifndef CB_LIB_LINK_WIRE_H
#define CB_LIB_LINK_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/link.h"

struct cb_err;

#define CB_LINK_MAX_PARTS 5 /* of a hello or a frame */
#define CB_LINK_TAG_BYTES 5 /* "CBW1" and a letter */
#define CB_LINK_MAX_BYTES (CB_FRAME_MAX_BYTES + 4096)

struct cb_link_part {
    const uint8_t *bytes;
    size_t size;
};

/* The letter of a message: 0 when the first part is no tag. */
char cb_link_wire_tag(const struct cb_link_part *parts, size_t n);

/* What a server reads: a hello or a frame into @ret_message (everything but peer and key), or a
 * ping (kind CB_LINK_MSG_NONE). -EBADMSG: anything else. */
int cb_link_wire_parse_request(const struct cb_link_part *parts, size_t n,
                               struct cb_link_message *ret_message) cb_must_check;

/* What a client reads: welcome, ack, refusal, or a pong (kind CB_LINK_NONE). -EBADMSG: anything
 * else. `new_epoch` is the caller's. */
int cb_link_wire_parse_reply(const struct cb_link_part *parts, size_t n,
                             struct cb_link_event *ret_event) cb_must_check;

void cb_link_wire_put_u32(uint8_t bytes[4], uint32_t value); /* little-endian */
void cb_link_wire_put_u64(uint8_t bytes[8], uint64_t value);

bool cb_link_wire_is_start_id(const char *text); /* 32 hex digits */

/* "tcp://host:port" with a port of 1 to 65535; @bind also allows 0, "*" for port and host. Plain
 * TCP beyond loopback only when @insecure. -EINVAL, -EPERM say what to write instead. */
int cb_link_wire_check_endpoint(const char *endpoint, bool bind, bool plain, bool insecure,
                                struct cb_err *err) cb_must_check;

#endif
