/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wall.h - times that people and scripts give: reading them, and finding the machine's own clock
 * behind them.
 *
 * A wall time becomes BOOTTIME by the frame that covers it: the first of the machine that ends at
 * it or later, else the last one. The same wall time always gives the same BOOTTIME once it is
 * covered, so that intervals that touch neither lose nor double a microjoule (recap.h).
 */
#ifndef CB_FORMULA_WALL_H
#define CB_FORMULA_WALL_H

#include <stdint.h>

#include "formula/store.h"
#include "lib/cleanup.h"

struct cb_err;

/* Seconds since 1970, digits with at most nine after a point. -EINVAL, -ERANGE. */
int cb_wall_parse_epoch(const char *text, uint64_t *ret_wall_ns) cb_must_check;

/* That, or 2026-11-22T14:00:00Z, "2026-11-22 14:00:00", with a fraction, or 2026-11-22; UTC. */
int cb_wall_parse(const char *text, uint64_t *ret_wall_ns) cb_must_check;

/* The BOOTTIME of @wall_ns by @moment's frame; 0 when that lies before the boot. */
uint64_t cb_wall_to_boot(const struct cb_store_moment *moment, uint64_t wall_ns);

#endif
