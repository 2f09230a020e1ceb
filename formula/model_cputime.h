/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_cputime.h - sharing by CPU time, as most meters do: a line through the weight (least
 * squares over all earlier ticks), kept beside the default model for comparison.
 */
#ifndef CB_FORMULA_MODEL_CPUTIME_H
#define CB_FORMULA_MODEL_CPUTIME_H

#include "formula/model.h"

struct cb_cputime {
    double n;
    double mean_w, mean_x; /* power and weight per second */
    double scatter_xx, scatter_xw;
    double least_w;
    double residual_ww; /* mean square of the one-step error */
    double error_n;
};

void cb_cputime_init(struct cb_cputime *model);

/* By earlier ticks only; NAN before any. */
double cb_cputime_predict(const struct cb_cputime *model, double rate);

/* @rate is the weight of the whole machine per second. One coefficient: coef_w[0], cov[0]. */
void cb_cputime_estimate(const struct cb_cputime *model, double rate, double power_w,
                         struct cb_model_estimate *ret_estimate);
void cb_cputime_learn(struct cb_cputime *model, double rate, double power_w);

#endif
