/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pages.h - walks over stored rows that leave no statement open while a row is looked at: what takes
 * them may be slow (a pipe that nobody reads), and an open statement would keep the database's log
 * from being taken back all that time.
 *
 * A page is at most CB_PAGES_ROWS rows or, one row beyond it, CB_PAGES_BYTES. The order is that of
 * store.h; frames that are summed up between two pages may be told once more, as their sum.
 * Errors    -ENOMEM, what the store says, what the callback returns.
 */
#ifndef CB_FORMULA_PAGES_H
#define CB_FORMULA_PAGES_H

#include "formula/store.h"
#include "lib/cleanup.h"

#define CB_PAGES_ROWS 1000
#define CB_PAGES_BYTES (4u << 20)

/* As cb_store_frames_by_wall() and cb_store_usage_by_wall(). */
int cb_pages_frames(struct cb_store *store, int64_t machine, uint64_t from_wall_ns,
                    uint64_t to_wall_ns, cb_store_each_frame *each, void *context,
                    struct cb_err *err) cb_must_check;
int cb_pages_usage(struct cb_store *store, int64_t machine, uint64_t from_wall_ns,
                   uint64_t to_wall_ns, cb_store_each_usage *each, void *context,
                   struct cb_err *err) cb_must_check;

/* As cb_store_machines(): all of them are one page. */
int cb_pages_machines(struct cb_store *store, cb_store_each_machine *each, void *context,
                      struct cb_err *err) cb_must_check;

/* As cb_store_recaps(). */
int cb_pages_recaps(struct cb_store *store, const struct cb_store_recap_filter *filter,
                    cb_store_each_recap *each, void *context, struct cb_err *err) cb_must_check;

#endif
