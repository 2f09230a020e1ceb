/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage.h - what the containers of one frame used besides energy: CPU, memory, I/O, network,
 * pressure, under the names of lib/schema. Pure: no I/O.
 *
 * A frame has these columns at a period of their own (lib/frame.h). Counters are deltas since the
 * frame before that had them, gauges the value at the end; CB_STAT_ABSENT what is not known. The
 * column "cpu_ns" is not among them: it belongs to the result (result.h). Target 0 is the machine.
 */
#ifndef CB_FORMULA_USAGE_H
#define CB_FORMULA_USAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/frame.h"

struct cb_err;

/* Names of the columns, separated by commas. */
#define CB_USAGE_NAMES_SIZE 4096

struct cb_usage {
    size_t n_columns, n_targets;
    uint32_t *targets; /* ids as in the frame */
    uint64_t *values;  /* values[column * n_targets + target] */
    size_t capacity;   /* of `values` */
    size_t target_capacity;
};

#define cb_usage_at(usage, column, target)                                                         \
    ((usage)->values[(column) * (usage)->n_targets + (target)])

/* The columns that lib/schema has for a container, and the rows of the frame that have a value in
 * them: none in most frames. *@ret_names becomes the columns' names. */
int cb_usage_of_frame(const struct cb_frame *frame, struct cb_usage *usage,
                      char ret_names[CB_USAGE_NAMES_SIZE], struct cb_err *err) cb_must_check;

/* Is the column of this name a counter (else a gauge)? By lib/schema; a name it does not have is
 * taken for a gauge. */
bool cb_usage_is_counter(const char *name);

/* The @i-th of the names; false: there are fewer. */
bool cb_usage_name(const char *names, size_t i, char *ret_name, size_t size);

/* Add a later row of the same columns: counters add up, gauges are the later one's where it has
 * one. */
int cb_usage_add(struct cb_usage *usage, const char *names, const struct cb_usage *later,
                 struct cb_err *err) cb_must_check;

/* The packed form (docs/store.md); free() it. */
int cb_usage_pack(const struct cb_usage *usage, uint8_t **ret_bytes, size_t *ret_size,
                  struct cb_err *err) cb_must_check;
int cb_usage_unpack(const uint8_t *bytes, size_t size, struct cb_usage *usage,
                    struct cb_err *err) cb_must_check; /* -EBADMSG */

void cb_usage_clear(struct cb_usage *usage);

#endif
