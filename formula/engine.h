/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.h - from frames to results: the models of one machine (one for each socket and domain)
 * and the exact attribution. Pure: no I/O, no clock, no other machine; the same frames in the same
 * order give the same bits.
 */
#ifndef CB_FORMULA_ENGINE_H
#define CB_FORMULA_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "formula/result.h"
#include "lib/cleanup.h"
#include "lib/frame.h"

struct cb_err;
struct cb_engine;

enum cb_model_kind { CB_MODEL_CBWATTS, CB_MODEL_CPUTIME };

struct cb_engine_options {
    enum cb_model_kind model;
};

int cb_engine_new(const struct cb_engine_options *options, struct cb_engine **ret_engine,
                  struct cb_err *err) cb_must_check;
struct cb_engine *cb_engine_free(struct cb_engine *engine);

/* Predict, learn and attribute one frame: predicted_w is by earlier frames only. @result is reused
 * from call to call (start with a zeroed one). Only -ENOMEM can fail: whatever a valid frame holds,
 * its energy is attributed. */
int cb_engine_frame(struct cb_engine *engine, const struct cb_frame *frame,
                    struct cb_result *result, struct cb_err *err) cb_must_check;

/* What the models have learnt, as bytes (free() them), and back. A snapshot of another model or
 * version: -EPROTONOSUPPORT, and the engine stays as it was. */
int cb_engine_save(const struct cb_engine *engine, uint8_t **ret_bytes, size_t *ret_size,
                   struct cb_err *err) cb_must_check;
int cb_engine_restore(struct cb_engine *engine, const uint8_t *bytes, size_t size,
                      struct cb_err *err) cb_must_check;

/* The event CPU-time sharing went by in the last frame ("cpu-clock", "time_running", "cycles"), or
 * the statistic "cpu_ns"; NULL: there was none. Valid until the next frame. */
const char *cb_engine_weight(const struct cb_engine *engine);

/* Conservation violations since the engine was made: always 0, exported to say so. */
uint64_t cb_engine_violations(const struct cb_engine *engine);

#endif
