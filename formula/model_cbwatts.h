/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_cbwatts.h - the default model: non-negative ridges with different memories, mixed by their
 * recent error, beside an anchored idle power. docs/model.md has the mathematics and the reasons.
 */
#ifndef CB_FORMULA_MODEL_CBWATTS_H
#define CB_FORMULA_MODEL_CBWATTS_H

#include "formula/model.h"
#include "lib/cleanup.h"

#define CB_CBWATTS_COLS (3 * CB_MODEL_EVENTS) /* linear, square root, x frequency^2 */
#define CB_CBWATTS_EXPERTS 5

/* Forgotten moments of (columns, power) and the weights fitted to them. */
struct cb_cbwatts_expert {
    double n; /* effective number of ticks */
    double mean_w;
    double scatter_ww;
    double mean[CB_CBWATTS_COLS];
    double scatter_w[CB_CBWATTS_COLS];
    double scatter[CB_CBWATTS_COLS * CB_CBWATTS_COLS];
    double weight[CB_CBWATTS_COLS];
    double idle_w;
    double error_w;  /* forgotten mean absolute one-step error; of the experts that predict */
    double noise_ww; /* mean square of what stays unexplained; of the expert that splits */
};

struct cb_cbwatts {
    uint64_t ticks;
    uint32_t clocks;                    /* of the last tick */
    uint32_t outliers;                  /* in a row */
    double usual_seconds;               /* length of a tick */
    double last_rates[CB_MODEL_EVENTS]; /* of the tick before */
    double least_w, most_w;             /* of the ticks learnt from */
    double most_activity;               /* counts of the clocks per second */
    double anchor_activity;             /* the least activity seen, slowly forgotten */
    double anchor_busy;                 /* what share of the CPUs that was; negative: not known */
    double anchor_w, anchor_ticks;      /* the mean power under it, of so many ticks */
    double idle_prior_w, idle_prior_sd_w;
    struct cb_cbwatts_expert experts[CB_CBWATTS_EXPERTS];
};

void cb_cbwatts_init(struct cb_cbwatts *model);

/* Power of the machine in this tick by what was learnt from earlier ones; NAN before any. */
double cb_cbwatts_predict(const struct cb_cbwatts *model, const struct cb_model_tick *tick);

void cb_cbwatts_learn(struct cb_cbwatts *model, const struct cb_model_tick *tick, double power_w);

/* What is known for sharing the energy of this tick out, whose power is @power_w. */
void cb_cbwatts_estimate(const struct cb_cbwatts *model, const struct cb_model_tick *tick,
                         double power_w, struct cb_model_estimate *ret_estimate);

#endif
