/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_frame.h - the reports of one tick of one sensor as a frame; the rules are in hwpc_join.h. */
#ifndef CB_FORMULA_HWPC_FRAME_H
#define CB_FORMULA_HWPC_FRAME_H

#include "formula/hwpc_join.h"

struct cb_hwpc_framer;

/* @name is borrowed. */
int cb_hwpc_framer_new(const struct cb_hwpc_join_options *options, const char *name,
                       struct cb_hwpc_framer **ret_framer, struct cb_err *err) cb_must_check;
struct cb_hwpc_framer *cb_hwpc_framer_free(struct cb_hwpc_framer *framer);

/* The sensor's clock was set back: the next tick's length comes from no difference of times. */
void cb_hwpc_framer_clock_set(struct cb_hwpc_framer *framer);

/* @next: the reports of the following tick as far as they are there, to tell cumulative times
 * from per-tick ones in the very first tick. The frame lives until the next call. */
int cb_hwpc_framer_frame(struct cb_hwpc_framer *framer, int64_t timestamp_ms,
                         struct cb_hwpc_report *const *reports, size_t n,
                         struct cb_hwpc_report *const *next, size_t n_next,
                         const struct cb_frame **ret_frame, struct cb_err *err) cb_must_check;

#endif
