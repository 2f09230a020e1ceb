/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inbox.h - frames made inside this process (of PowerAPI's reports) on their way to the thread that
 * ingests. They need no acknowledgement: what was put is stored, or the process ends, and whoever
 * put it looks into the store to know where to go on.
 *
 * Limits    CB_INBOX_BYTES wait at most; then cb_inbox_put() waits, and its caller reads no more.
 * Threads   any number put, one takes.
 */
#ifndef CB_FORMULA_INBOX_H
#define CB_FORMULA_INBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/frame.h"

struct cb_err;
struct cb_inbox;

#define CB_INBOX_BYTES (32u << 20)

int cb_inbox_new(struct cb_inbox **ret_inbox, struct cb_err *err) cb_must_check;
struct cb_inbox *cb_inbox_free(struct cb_inbox *inbox);

/* Copy one encoded frame in, waiting for room. -ECANCELED: there is none, and nobody waits any
 * more. -ENOMEM */
int cb_inbox_put(struct cb_inbox *inbox, const char *start_id, uint64_t seq, const uint8_t *bytes,
                 size_t size, struct cb_err *err) cb_must_check;

/* From now on nobody waits. What is in, or still finds room, can be taken. */
void cb_inbox_close(struct cb_inbox *inbox);

struct cb_inbox_item {
    struct cb_inbox_item *next;
    char start_id[CB_START_ID_SIZE];
    uint64_t seq;
    size_t size;
    uint8_t bytes[];
};

/* The oldest one, to be free()d; NULL: there is none. */
struct cb_inbox_item *cb_inbox_take(struct cb_inbox *inbox);

/* Readable (poll(2)) while something is in. */
int cb_inbox_fd(const struct cb_inbox *inbox);

#endif
