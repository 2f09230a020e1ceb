/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runs.h - what a name means: the intervals of time of one boot in which a test or a container ran,
 * or a whole machine between two times. Each is a test (store.h) that cb_recap_build() takes.
 *
 * A name is first that of tests: each of them, from begin to end. When there
 * is none it is a container's (its name, cgroup, id or at least 8 digits of it): from the first
 * frame it is in to the last. Without a name: the machine, or every machine. Times cut what is
 * found; frames at a border are split (recap.h), so that intervals that touch sum exactly.
 */
#ifndef CB_FORMULA_RUNS_H
#define CB_FORMULA_RUNS_H

#include <stddef.h>
#include <stdint.h>

#include "formula/store.h"
#include "lib/cleanup.h"

struct cb_err;

struct cb_runs_query {
    const char *name, *machine;        /* NULL: any */
    uint64_t from_wall_ns, to_wall_ns; /* half-open */
    unsigned last;                     /* at most so many tests, the newest */
};

struct cb_runs {
    size_t n, capacity;
    struct cb_store_test *runs; /* oldest first; without a container_id: a machine's */
};

/* -ENOENT: no such machine. None found: 0 with none. */
int cb_runs_find(struct cb_store *store, const struct cb_runs_query *query, struct cb_runs *runs,
                 struct cb_err *err) cb_must_check;
void cb_runs_clear(struct cb_runs *runs);

#endif
