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

void cb_cputime_estimate(const struct cb_cputime *model, double rate, double power_w,
                         struct cb_model_estimate *ret_estimate)
{
    double slope, idle_w;

    memset(ret_estimate, 0, sizeof(*ret_estimate));
    if (model->n == 0) {
        ret_estimate->prior = true;
        ret_estimate->predicted_w = (double)NAN;
        ret_estimate->idle_w = FIRST_IDLE * power_w;
        ret_estimate->idle_sd_w = FIRST_IDLE * power_w;
        ret_estimate->structure_w = FIRST_IDLE * power_w;
        ret_estimate->coef_w[0] = rate > 0 ? (1 - FIRST_IDLE) * power_w / rate : 0;
        return;
    }
    slope = model->scatter_xx > 0 ? fmax(0, model->scatter_xw / model->scatter_xx) : 0;
    idle_w = slope > 0 ? model->mean_w - slope * model->mean_x : FIRST_IDLE * model->mean_w;
    idle_w = fmin(fmax(0, idle_w), model->least_w);
    ret_estimate->predicted_w = fmax(0, model->mean_w + slope * (rate - model->mean_x));
    ret_estimate->idle_w = idle_w;
    ret_estimate->noise_w = sqrt(model->residual_ww);
    /* nothing but the weight is looked at: what the residual hides stays hidden */
    ret_estimate->structure_w = fmax(ret_estimate->noise_w, 0.3 * (model->mean_w - idle_w));
    ret_estimate->idle_sd_w =
        sqrt(model->residual_ww *
             (1 / model->n +
              (model->scatter_xx > 0 ? model->mean_x * model->mean_x / model->scatter_xx : 0))) +
        0.1 * idle_w;
    if (slope > 0)
        ret_estimate->coef_w[0] = slope;
    else
        ret_estimate->coef_w[0] = rate > 0 ? 1 / rate : 0; /* any one: the shares are the same */
}

void cb_cputime_learn(struct cb_cputime *model, double rate, double power_w, double predicted_w)
{
    double dx = rate - model->mean_x, dy = power_w - model->mean_w;

    if (isfinite(predicted_w)) {
        double residual_w = power_w - predicted_w;

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
