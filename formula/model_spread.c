/* SPDX-License-Identifier: Apache-2.0 */
/* model_spread.c - what the split and the idle power are worth, and what a tick is worth to them.
 */
#include <math.h>
#include <string.h>

#include "formula/model_cbwatts_private.h"
#include "formula/model_linear.h"

static const struct {
    double spread_share; /* of the dynamic power that one column may explain a priori (sd) */
    double least_noise;  /* of the dynamic power (squared): no fit is better than that */
    double tails;        /* degrees of freedom of a tick's noise */
    double read_seconds; /* between the readings of energy and counts, at worst (sd) */
} tuning = {
    .spread_share = 0.5,
    .least_noise = 1e-8,
    .tails = 4,
    .read_seconds = 0.08,
};

static double noise_of(const struct cb_cbwatts_expert *expert)
{
    double dynamic_w = cb_expert_dynamic(expert);

    return fmax(expert->noise_ww, tuning.least_noise * dynamic_w * dynamic_w);
}

/*
 * Factor of the weights' posterior precision, in columns divided by their root mean square: the
 * data weigh 1 / noise, the prior allows each column tuning.spread_share of the dynamic power.
 */
static void factor_precision(const struct cb_cbwatts_expert *expert,
                             const struct cb_model_tick *tick,
                             const struct cb_cbwatts_columns *columns, double *l, double *scale)
{
    double prior_w = tuning.spread_share * cb_expert_dynamic(expert);
    double noise_ww = noise_of(expert);
    size_t n = columns->n;

    for (size_t i = 0; i < n; i++) {
        double square = cb_expert_square(expert, columns->at[i]);
        double share_w = prior_w * cb_expert_share(columns, i, tick);

        scale[i] = square > 0 ? 1 / sqrt(square) : 0;
        for (size_t j = 0; j <= i; j++)
            l[i * n + j] = scale[i] * scale[j] / noise_ww *
                           expert->scatter[columns->at[i] * COLS + columns->at[j]];
        l[i * n + i] += 1 / (share_w * share_w);
    }
    cb_cholesky(l, n);
}

/* Noise goes with the power, but for a part that is always there. */
double cb_cbwatts_noise(const struct cb_cbwatts *model, double power_w)
{
    const struct cb_cbwatts_expert *expert = &model->experts[SPLITTER];
    double mean_ww = expert->mean_w * expert->mean_w;

    if (!(mean_ww > 0))
        return expert->noise_ww;
    return expert->noise_ww * (power_w * power_w + mean_ww) / (2 * mean_ww);
}

/* Energy and counts are read some time apart: what changed in the tick may be the next one's. */
static double skew_of(const struct cb_cbwatts *model, const struct cb_model_tick *tick,
                      const struct cb_cbwatts_columns *columns)
{
    const struct cb_cbwatts_expert *expert = &model->experts[SPLITTER];
    double part = tuning.read_seconds / tick->seconds, sum_ww = 0;

    for (size_t i = 0; i < columns->n; i++) {
        size_t event = columns->event[i];
        double change_w = expert->weight[columns->at[i]] * columns->value_per_rate[i] *
                          (tick->rates[event] - model->last_rates[event]);

        sum_ww += change_w * change_w;
    }
    return part * part * sum_ww;
}

double cb_cbwatts_trust(const struct cb_cbwatts *model, const struct cb_model_tick *tick,
                        const struct cb_cbwatts_columns *columns, double power_w, double part)
{
    const struct cb_cbwatts_expert *expert = &model->experts[SPLITTER];
    double l[SPLIT_COLS * SPLIT_COLS], scale[SPLIT_COLS], x[SPLIT_COLS];
    double predicted_w, residual_w, noise_ww, known_ww, tail;

    if (model->ticks == 0)
        return part;
    predicted_w = cb_expert_predict(expert, columns);
    residual_w = power_w - predicted_w;
    /* the mean of the two: neither a high reading nor a high prediction counts for less */
    predicted_w = cb_cbwatts_clamp(predicted_w, model->least_w, model->most_w);
    noise_ww =
        cb_cbwatts_noise(model, (power_w + predicted_w) / 2) / part + skew_of(model, tick, columns);
    factor_precision(expert, tick, columns, l, scale);
    for (size_t i = 0; i < columns->n; i++)
        x[i] = scale[i] * (columns->x[i] - expert->mean[columns->at[i]]);
    cb_forward(l, columns->n, x, x);
    known_ww = expert->noise_ww / expert->n + cb_dot(x, x, columns->n);
    tail = (tuning.tails + 1) / (tuning.tails + residual_w * residual_w / (noise_ww + known_ww));
    return cb_cbwatts_clamp(tail * expert->noise_ww / noise_ww, 1e-6, 4);
}

void cb_cbwatts_spread(const struct cb_cbwatts *model, const struct cb_model_tick *tick,
                       const struct cb_cbwatts_columns *columns, struct cb_model_estimate *estimate)
{
    const struct cb_cbwatts_expert *expert = &model->experts[SPLITTER];
    double l[SPLIT_COLS * SPLIT_COLS], scale[SPLIT_COLS], column[SPLIT_COLS];
    double solved[SPLIT_COLS][SPLIT_COLS];
    size_t n = columns->n, n_events = tick->n_events;
    double idle_ww;

    factor_precision(expert, tick, columns, l, scale);
    for (size_t i = 0; i < n; i++)
        column[i] = scale[i] * expert->mean[columns->at[i]];
    cb_forward(l, n, column, solved[0]);
    idle_ww = noise_of(expert) / expert->n + cb_dot(solved[0], solved[0], n) +
              cb_expert_idle_skew(expert, columns, tick->clocks);
    estimate->idle_sd_w =
        sqrt(1 / (1 / idle_ww + 1 / (model->idle_prior_sd_w * model->idle_prior_sd_w)));
    for (size_t e = 0; e < n_events; e++) {
        for (size_t i = 0; i < n; i++)
            column[i] = columns->event[i] == e ? scale[i] * columns->value_per_rate[i] : 0;
        cb_forward(l, n, column, solved[e]);
        for (size_t j = 0; j <= e; j++) {
            double c = cb_dot(solved[e], solved[j], n);

            estimate->cov[e * n_events + j] = c;
            estimate->cov[j * n_events + e] = c;
        }
    }
}
