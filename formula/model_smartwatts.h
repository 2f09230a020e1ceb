/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_smartwatts.h - the reference algorithm (SmartWatts 2.x), order and quirks included, for
 * comparison with earlier results.
 *
 * Per frequency layer its own history, error window and elastic net (alpha 1, l1 ratio 0.5,
 * non-negative, an intercept only when the history is full). Power comes from the nominal period,
 * containers sum to the model's estimate and not to RAPL, the intercept is spread over them in
 * proportion to their dynamic power.
 */
#ifndef CB_FORMULA_MODEL_SMARTWATTS_H
#define CB_FORMULA_MODEL_SMARTWATTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"

struct cb_err;
struct cb_smartwatts;

#define CB_SMARTWATTS_LAYERS 100
#define CB_SMARTWATTS_EVENTS 64

struct cb_smartwatts_options {
    double base_freq_mhz, base_clock_mhz, tdp_w, threshold_w;
    size_t min_samples, window, error_window;
    bool error_mean; /* else the median */
};

enum cb_smartwatts_step {
    CB_SMARTWATTS_LEARNING, /* the layer has no model yet: nothing but RAPL is known */
    CB_SMARTWATTS_PREDICTED,
    CB_SMARTWATTS_STOPPED, /* the reference's actor dies here, and so does this one; also of
                              numbers that are not finite */
};

/* What one elastic net fit came to; for tests. */
struct cb_smartwatts_fit {
    double coef[CB_SMARTWATTS_EVENTS];
    double intercept;
    double gap;
    int iterations;
};

/* -ENOMEM */
int cb_smartwatts_new(const struct cb_smartwatts_options *options, struct cb_smartwatts **ret_model,
                      struct cb_err *err) cb_must_check;
struct cb_smartwatts *cb_smartwatts_free(struct cb_smartwatts *model);

/* The socket's mean frequency as the reference computes it: whole MHz of the truncated base. */
double cb_smartwatts_frequency(const struct cb_smartwatts *model, double aperf, double mperf);

/*
 * One tick: the sum of the containers' @n_events counts (in the order of the events' names) and
 * the reference power. With CB_SMARTWATTS_PREDICTED, *@ret_global_w is the model's answer, and
 * cb_smartwatts_target() gives the containers' until the next call: by the model as it was before
 * this tick. -ENOMEM
 */
int cb_smartwatts_tick(struct cb_smartwatts *model, double frequency_mhz, double power_w,
                       const double *counts, size_t n_events, enum cb_smartwatts_step *ret_step,
                       double *ret_global_w, struct cb_err *err) cb_must_check;

/* Power and ratio of one container with these counts. False, where the reference's actor dies:
 * there are not as many events as in the tick's sum, or the power is no finite number. */
bool cb_smartwatts_target(const struct cb_smartwatts *model, const double *counts, size_t n_events,
                          double *ret_w, double *ret_ratio) cb_must_check;

/* The layer of the last tick, in MHz, and how often it had been learnt when it predicted. */
double cb_smartwatts_layer_mhz(const struct cb_smartwatts *model);
uint64_t cb_smartwatts_layer_id(const struct cb_smartwatts *model);

/* Called after every fit with its data (row-major), result and whether it was accepted. Tests. */
typedef void cb_smartwatts_observer(void *data, double layer_mhz, const double *x, const double *y,
                                    size_t n, const struct cb_smartwatts_fit *fit, bool accepted);
void cb_smartwatts_observe(struct cb_smartwatts *model, cb_smartwatts_observer *observer,
                           void *data);

#endif
