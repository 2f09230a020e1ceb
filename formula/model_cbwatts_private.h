/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_cbwatts_private.h - what the parts of the default model share: model_cbwatts.c (columns,
 * prediction, learning), model_idle.c (the idle prior), model_expert.c (moments and fit),
 * model_spread.c (uncertainty, and what a tick weighs).
 */
#ifndef CB_FORMULA_MODEL_CBWATTS_PRIVATE_H
#define CB_FORMULA_MODEL_CBWATTS_PRIVATE_H

#include <math.h>

#include "formula/model_cbwatts.h"

#define COLS ((size_t)CB_CBWATTS_COLS)
#define LINEAR 0
#define ROOT CB_MODEL_EVENTS
#define FREQUENCY ((size_t)2 * CB_MODEL_EVENTS)
#define EXPERTS CB_CBWATTS_EXPERTS
#define SPLITTER (EXPERTS - 1) /* the others predict */
#define SPLIT_COLS FREQUENCY   /* it has no roots */

/* The columns in use: their values in this tick, and where they lie in an expert. */
struct cb_cbwatts_columns {
    size_t n;
    uint8_t at[COLS];
    uint8_t event[COLS]; /* of a linear or root column */
    double x[COLS];
    double value_per_rate[COLS]; /* x / the rate it is shared by, 0 where the rate is 0 */
};

static inline double cb_cbwatts_clamp(double value, double least, double most)
{
    return fmin(fmax(value, least), most); /* a NaN is @least */
}

/* Of an expert, the sum of squares of one column about 0, by its weight. */
static inline double cb_expert_square(const struct cb_cbwatts_expert *expert, size_t at)
{
    return expert->scatter[at * COLS + at] / expert->n + expert->mean[at] * expert->mean[at];
}

/* Counts of the clocks per second. */
double cb_cbwatts_clock_rate(const struct cb_model_tick *tick);

/* --- model_idle.c --- */

/* The part of the power under the load @busy that idle is likely to be (docs/model.md, Prior). */
double cb_cbwatts_idle_part(double idle_share, double busy);
void cb_cbwatts_learn_idle(struct cb_cbwatts *model, const struct cb_model_tick *tick,
                           double power_w);

/* --- model_expert.c --- */

void cb_expert_add(struct cb_cbwatts_expert *expert, double memory, double weight,
                   const struct cb_cbwatts_columns *columns, double power_w);
void cb_expert_fit(const struct cb_cbwatts *model, struct cb_cbwatts_expert *expert,
                   const struct cb_cbwatts_columns *columns, const struct cb_model_tick *tick,
                   bool splits);
double cb_expert_predict(const struct cb_cbwatts_expert *expert,
                         const struct cb_cbwatts_columns *columns);

bool cb_expert_is_clock(const struct cb_cbwatts_columns *columns, size_t i, uint32_t clocks);
/* How much of the dynamic power a column may explain a priori, beside a clock's 1. */
double cb_expert_share(const struct cb_cbwatts_columns *columns, size_t i,
                       const struct cb_model_tick *tick);
/* What moves with the load, at least: a machine seen only under one load may be mostly dynamic. */
double cb_expert_dynamic(const struct cb_cbwatts_expert *expert);
/* How far the fitted idle power may be off (sd, squared) because counts and energy of a tick are
 * not of quite the same time; large where the load hardly varies. */
double cb_expert_idle_skew(const struct cb_cbwatts_expert *expert,
                           const struct cb_cbwatts_columns *columns, uint32_t clocks);

/* --- model_spread.c --- */

/* Variance of a tick at @power_w about the splitting expert's fit. */
double cb_cbwatts_noise(const struct cb_cbwatts *model, double power_w);
/* What the tick counts for the splitting expert, where a usual one counts 1. @part: what its length
 * alone makes of it. */
double cb_cbwatts_trust(const struct cb_cbwatts *model, const struct cb_model_tick *tick,
                        const struct cb_cbwatts_columns *columns, double power_w, double part);
/* Fill estimate->cov and ->idle_sd_w. */
void cb_cbwatts_spread(const struct cb_cbwatts *model, const struct cb_model_tick *tick,
                       const struct cb_cbwatts_columns *columns,
                       struct cb_model_estimate *estimate);

#endif
