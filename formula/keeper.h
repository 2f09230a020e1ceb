/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper.h - the thread that keeps the store in order: makes the recaps of tests that are covered
 * (also of those nobody asks for), sums up frames that are older than the retention,
 * and deletes what is older still; gives up and deletes tests that nobody ends. A recap that cannot be made is logged and tried again after five
 * minutes; the others do not wait for it.
 */
#ifndef CB_FORMULA_KEEPER_H
#define CB_FORMULA_KEEPER_H

#include <stddef.h>
#include <stdint.h>

#include "formula/notify.h"
#include "lib/cleanup.h"

struct cb_err;
struct cb_keeper;

struct cb_keeper_options {
    const char *database;     /* a connection of its own */
    struct cb_notify *notify; /* new frames; a recap made is told, too */
    uint64_t retention_ns;    /* of every frame; 0: for ever */
    uint64_t coarse_ns;       /* then as sums of a minute, until they are so old; 0: not at all */
    uint64_t recaps_ns;       /* tests with their recaps; 0: for ever */
    const char *const *sinks; /* queues of a recap */
    size_t n_sinks;
};

/* What @options points to is borrowed until stop. */
int cb_keeper_start(const struct cb_keeper_options *options, struct cb_keeper **ret_keeper,
                    struct cb_err *err) cb_must_check;
/* cb_notify_stop() must have been called. Returns NULL. */
struct cb_keeper *cb_keeper_stop(struct cb_keeper *keeper);

#endif
