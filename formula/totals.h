/* SPDX-License-Identifier: Apache-2.0 */
/*
 * totals.h - the running sums behind the counters of /metrics: energy of every machine, socket and
 * domain, and of every container seen in the last five minutes. And what it shows as it is now.
 *
 * Rules     Only what is committed is added, so that a counter never runs ahead of the store and a
 *           crash never makes it go back. Saved every now and then with the id of the last frame
 *           they hold; at start the frames after it are added again from the store.
 * Threads   Any; one lock inside. The store given belongs to the calling thread.
 */
#ifndef CB_FORMULA_TOTALS_H
#define CB_FORMULA_TOTALS_H

#include <stddef.h>
#include <stdint.h>

#include "formula/result.h"
#include "formula/store.h"
#include "formula/unreadable.h"
#include "lib/cleanup.h"

struct cb_err;
struct cb_totals;

/* A dead container's series stays so long: by its machine's clock, and while the machine is silent by
 * this server's. What comes back after a silence goes on where it was. */
#define CB_TOTALS_KEEP_NS (UINT64_C(5) * 60 * CB_NS_PER_S)

struct cb_totals *cb_totals_new(void); /* NULL: out of memory */
struct cb_totals *cb_totals_free(struct cb_totals *totals);

/* What an earlier process saved, and the frames since. */
int cb_totals_load(struct cb_totals *totals, struct cb_store *store,
                   const struct cb_store_machine *machine, struct cb_err *err) cb_must_check;

/* Add one stored frame. */
int cb_totals_add(struct cb_totals *totals, struct cb_store *store, const char *machine,
                  int64_t start, int64_t frame_id, const struct cb_result *result,
                  struct cb_err *err) cb_must_check;

/* The text of a target came or changed: look it up anew when it is seen next. */
void cb_totals_renamed(struct cb_totals *totals, const char *machine, int64_t start,
                       uint32_t target);

/* Write what changed since the last save, within the caller's transaction; and, when that is
 * committed and nothing was added since, that it is written. */
int cb_totals_save(struct cb_totals *totals, struct cb_store *store, const char *machine,
                   int64_t machine_id, struct cb_err *err) cb_must_check;

void cb_totals_saved(struct cb_totals *totals, const char *machine);

/* What the sensor could not read in its newest stored frame; nothing of an earlier process. */
void cb_totals_unreadable(struct cb_totals *totals, const char *machine,
                          const struct cb_unreadable *unreadable);
typedef void cb_totals_each_unreadable(void *context, const char *machine,
                                       const struct cb_unreadable *unreadable);
void cb_totals_walk_unreadable(struct cb_totals *totals, cb_totals_each_unreadable *each,
                               void *context);

/* Every sum, under the lock: @each is called with identity "" for the machine's own. Containers
 * have last_wall_ns, cpu_ns in each of their domains; those that were not heard in the five minutes
 * before @now_ns (BOOTTIME; 0: whenever) are left out. */
typedef int cb_totals_each(void *context, const char *machine, const struct cb_store_total *total);
int cb_totals_walk(struct cb_totals *totals, uint64_t now_ns, cb_totals_each *each, void *context);

#endif
