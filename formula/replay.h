/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.h - recorded input through the engines, one result per tick: what `replay` prints and
 * `evaluate` judges.
 *
 * The forms of input are in replay_input.h. Each machine has its own engine, as in the server; a
 * recording's snapshots are restored into them.
 */
#ifndef CB_FORMULA_REPLAY_H
#define CB_FORMULA_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "formula/engine.h"
#include "formula/hwpc_join.h"
#include "lib/cleanup.h"

struct cb_err;

struct cb_replay_options {
    const char *input;
    bool skip_bad;
    enum cb_model_kind model;
    struct cb_hwpc_join_options join;
};

struct cb_replay_counts {
    uint64_t ticks, skipped;
    uint64_t other_models; /* snapshots of another model or version in a recording, not used */
    struct cb_hwpc_join_counts join;
};

/* One tick of one machine. */
struct cb_replay_tick {
    const char *machine;
    const struct cb_frame *frame;
    const struct cb_result *result;
    const char *const *target_names; /* as long as the tick */
    const char *weight;              /* cb_engine_weight() */
    bool from_frames;                /* a recording of our own sensor */
};

/* A negative value ends the replay with it. */
typedef int cb_replay_each(void *context, const struct cb_replay_tick *tick, struct cb_err *err);

int cb_replay(const struct cb_replay_options *options, cb_replay_each *each, void *context,
              struct cb_replay_counts *ret_counts, struct cb_err *err) cb_must_check;

#endif
