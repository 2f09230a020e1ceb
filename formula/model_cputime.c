/* SPDX-License-Identifier: Apache-2.0 */
/* model_cputime.c - see model_cputime.h. */
#include "formula/model_cputime.h"

#include <math.h>
#include <string.h>

#define FIRST_IDLE 0.5 /* of the power, while one point is no line */

void cb_cputime_init(struct cb_cputime *model)
{
    memset(model, 0, sizeof(*model));
}

static double slope_of(const struct cb_cputime *model)
{
    return model->scatter_xx > 0 ? fmax(0, model->scatter_xw / model->scatter_xx) : 0;
}

double cb_cputime_predict(const struct cb_cputime *model, double rate)
{
    if (model->n == 0)
        return (double)NAN;
    return fmax(0, model->mean_w + slope_of(model) * (rate - model->mean_x));
}

void cb_cputime_estimate(const struct cb_cputime *model, double rate, double power_w,
                         struct cb_model_estimate *ret_estimate)
{
    double slope = slope_of(model), idle_w, spread;

    memset(ret_estimate, 0, sizeof(*ret_estimate));
    ret_estimate->prior = model->n <= 1;
    if (model->n <= 1) {
        idle_w = FIRST_IDLE * (model->n == 0 ? power_w : model->mean_w);
        ret_estimate->idle_w = ret_estimate->idle_sd_w = ret_estimate->structure_w = idle_w;
        ret_estimate->coef_w[0] = rate > 0 ? 1 / rate : 0;
        return;
    }
    idle_w = slope > 0 ? model->mean_w - slope * model->mean_x : FIRST_IDLE * model->mean_w;
    idle_w = fmin(fmax(0, idle_w), model->least_w);
    spread = model->scatter_xx > 0 ? model->mean_x * model->mean_x / model->scatter_xx : 0;
    ret_estimate->idle_w = idle_w;
    ret_estimate->noise_w = sqrt(model->residual_ww);
    /* nothing but the weight is looked at: what the residual hides stays hidden */
    ret_estimate->structure_w = fmax(ret_estimate->noise_w, 0.3 * (model->mean_w - idle_w));
    ret_estimate->idle_sd_w = sqrt(model->residual_ww * (1 / model->n + spread)) + 0.1 * idle_w;
    if (slope > 0)
        ret_estimate->coef_w[0] = slope;
    else
        ret_estimate->coef_w[0] = rate > 0 ? 1 / rate : 0; /* any one: the shares are the same */
}

void cb_cputime_learn(struct cb_cputime *model, double rate, double power_w)
{
    double dx = rate - model->mean_x, dy = power_w - model->mean_w;

    if (model->n > 0) {
        double residual_w = power_w - cb_cputime_predict(model, rate);

        model->error_n = fmin(model->error_n + 1, 100);
        model->residual_ww += (residual_w * residual_w - model->residual_ww) / model->error_n;
    }
    model->least_w = model->n == 0 ? power_w : fmin(model->least_w, power_w);
    model->n++;
    model->mean_x += dx / model->n;
    model->mean_w += dy / model->n;
    model->scatter_xx += dx * (rate - model->mean_x);
    model->scatter_xw += dx * (power_w - model->mean_w);
}
