/* SPDX-License-Identifier: Apache-2.0 */
/* model_expert.c - one expert: forgotten moments, and the ridge that is fitted to them. */
#include <math.h>

#include "formula/model_cbwatts_private.h"
#include "formula/model_linear.h"

static const struct {
    double ridge;        /* penalty of a column, in ticks of its mean square */
    double anchor_n;     /* the idle prior's weight, in ticks */
    int sweeps;          /* of the experts that predict */
    double settled;      /* a weight that moves by less, as a share of itself, stands still */
    double prior_share;  /* of the dynamic power that one column may explain (sd) */
    double moving;       /* relative spread of a column that is to be believed */
    double weak_share;   /* of prior_share, for a software event */
    double least_steady; /* of prior_share, for a column that does not move */
    double least_ridge, most_ridge; /* of the splitting expert */
    double least_anchor_n, most_anchor_n;
    double noise_share;   /* of the dynamic power: the noise a priori (sd), */
    double noise_ticks;   /* as if seen in so many ticks */
    double read_jitter;   /* relative error of a tick's counts by the time they are read at (sd) */
    double least_dynamic; /* of the mean power */
} tuning = {
    .ridge = 0.05,
    .anchor_n = 0.5,
    .sweeps = 6,
    .settled = 1e-5,
    .prior_share = 5,
    .moving = 0.1,
    .weak_share = 0.006,
    .least_steady = 0.02,
    .least_ridge = 1e-5,
    .most_ridge = 0.003,
    .least_anchor_n = 1e-4,
    .most_anchor_n = 5,
    .noise_share = 0.05,
    .noise_ticks = 1,
    .read_jitter = 0.02,
    .least_dynamic = 0.2,
};

void cb_expert_add(struct cb_cbwatts_expert *expert, double memory, double weight,
                   const struct cb_cbwatts_columns *columns, double power_w)
{
    double n = memory * expert->n + weight;
    double dy = power_w - expert->mean_w;
    double cross = memory * expert->n * weight / n;
    double dx[COLS];

    for (size_t i = 0; i < columns->n; i++) {
        dx[i] = columns->x[i] - expert->mean[columns->at[i]];
        expert->mean[columns->at[i]] += dx[i] * weight / n;
    }
    expert->mean_w += dy * weight / n;
    expert->scatter_ww = memory * expert->scatter_ww + cross * dy * dy;
    for (size_t i = 0; i < columns->n; i++) {
        size_t at = columns->at[i];
        double *row = expert->scatter + at * COLS;

        expert->scatter_w[at] = memory * expert->scatter_w[at] + cross * dx[i] * dy;
        for (size_t j = 0; j <= i; j++)
            row[columns->at[j]] = memory * row[columns->at[j]] + cross * dx[i] * dx[j];
    }
    expert->n = n;
}

/* Normal equations of an expert, the anchor and the penalty added: a w = b, and the means. */
struct normal {
    size_t n;
    double a[COLS * COLS];
    double b[COLS];
    double mean[COLS];
    double mean_w;
    double n_ticks;
};

bool cb_expert_is_clock(const struct cb_cbwatts_columns *columns, size_t i, uint32_t clocks)
{
    return columns->at[i] < ROOT && clocks >> columns->event[i] & 1;
}

double cb_expert_share(const struct cb_cbwatts_columns *columns, size_t i,
                       const struct cb_model_tick *tick)
{
    if (tick->clocks >> columns->event[i] & 1)
        return 1;
    return tick->weak >> columns->event[i] & 1 ? tuning.weak_share : 1;
}

/* The line through the clocks alone: what the data say where the other events say nothing. */
static double prior_slope(const struct cb_cbwatts_columns *columns, const struct normal *normal,
                          uint32_t clocks)
{
    double sxx = 0, sxy = 0;

    for (size_t i = 0; i < columns->n; i++) {
        if (!cb_expert_is_clock(columns, i, clocks))
            continue;
        sxy += normal->b[i];
        for (size_t j = 0; j < columns->n; j++) {
            if (cb_expert_is_clock(columns, j, clocks))
                sxx += normal->a[i * COLS + j];
        }
    }
    return sxx > 0 && sxy > 0 ? sxy / sxx : 0;
}

double cb_expert_dynamic(const struct cb_cbwatts_expert *expert)
{
    return fmax(expert->mean_w - expert->idle_w, tuning.least_dynamic * expert->mean_w) + 1e-9;
}

/* Relative variance of the clocks' total. */
static double load_variance(const struct cb_cbwatts_expert *expert,
                            const struct cb_cbwatts_columns *columns, uint32_t clocks)
{
    double mean = 0, scatter = 0;

    for (size_t i = 0; i < columns->n; i++) {
        const double *row = expert->scatter + columns->at[i] * COLS;

        if (!cb_expert_is_clock(columns, i, clocks))
            continue;
        mean += expert->mean[columns->at[i]];
        for (size_t j = 0; j <= i; j++) {
            if (cb_expert_is_clock(columns, j, clocks))
                scatter += (j < i ? 2 : 1) * row[columns->at[j]];
        }
    }
    return mean > 0 ? scatter / expert->n / (mean * mean) : 0;
}

/* Jitter of the counts takes its part of what they seem to explain: the slope comes out too small
 * by jitter^2 / variance, and idle too large by as much of the dynamic power. */
double cb_expert_idle_skew(const struct cb_cbwatts_expert *expert,
                           const struct cb_cbwatts_columns *columns, uint32_t clocks)
{
    double variance = load_variance(expert, columns, clocks) + 1e-9;

    return pow(cb_expert_dynamic(expert) * tuning.read_jitter * tuning.read_jitter / variance, 2);
}

/* How strongly the prior pulls, in ticks. The experts that predict have it fixed; the one that
 * splits weighs it against its noise: sure of nothing where the noise is large. */
struct pull {
    double ridge, anchor_n;
    double idle_w; /* the power without any load that it pulls to */
};

static struct pull pull_of(const struct cb_cbwatts *model, const struct cb_cbwatts_expert *expert,
                           const struct cb_cbwatts_columns *columns, uint32_t clocks, bool splits)
{
    double prior_w = tuning.prior_share * cb_expert_dynamic(expert);
    double idle_ww = model->idle_prior_sd_w * model->idle_prior_sd_w;
    double skew_part;

    if (!splits)
        return (struct pull){tuning.ridge, tuning.anchor_n, model->experts[SPLITTER].idle_w};
    skew_part = load_variance(expert, columns, clocks) *
                cb_expert_idle_skew(expert, columns, clocks) / idle_ww;
    return (struct pull){
        cb_cbwatts_clamp(expert->noise_ww / (prior_w * prior_w), tuning.least_ridge,
                         tuning.most_ridge),
        cb_cbwatts_clamp(expert->noise_ww / idle_ww, tuning.least_anchor_n, tuning.most_anchor_n) +
            expert->n * fmin(skew_part, 1),
        model->idle_prior_w};
}

/* A column that hardly moves cannot be told from idle: what it seems to explain is idle's. */
static double steadiness(const struct cb_cbwatts_expert *expert,
                         const struct cb_cbwatts_columns *columns, size_t i, uint32_t clocks,
                         double square)
{
    double variance = expert->scatter[columns->at[i] * COLS + columns->at[i]] / expert->n;

    if (cb_expert_is_clock(columns, i, clocks) || !(square > 0))
        return 1;
    return cb_cbwatts_clamp(sqrt(variance / square) / tuning.moving, tuning.least_steady, 1);
}

static void add_ridge(const struct cb_cbwatts_expert *expert,
                      const struct cb_cbwatts_columns *columns, const struct cb_model_tick *tick,
                      double strength, struct normal *normal)
{
    double slope = prior_slope(columns, normal, tick->clocks);

    for (size_t i = 0; i < columns->n; i++) {
        double square = cb_expert_square(expert, columns->at[i]);
        double share = cb_expert_share(columns, i, tick) *
                       steadiness(expert, columns, i, tick->clocks, square);
        double ridge = strength / (share * share) * square;

        normal->a[i * COLS + i] += ridge;
        if (cb_expert_is_clock(columns, i, tick->clocks))
            normal->b[i] += ridge * slope;
    }
}

static void make_normal(const struct cb_cbwatts_expert *expert,
                        const struct cb_cbwatts_columns *columns, const struct cb_model_tick *tick,
                        struct pull pull, struct normal *normal)
{
    double n0 = pull.anchor_n;
    double n = expert->n + n0;
    double lever = expert->n * n0 / n;
    double dy = expert->mean_w - pull.idle_w;

    normal->n = columns->n;
    normal->n_ticks = n;
    normal->mean_w = expert->mean_w - n0 / n * dy;
    for (size_t i = 0; i < columns->n; i++) {
        size_t at = columns->at[i];

        normal->mean[i] = expert->mean[at] * expert->n / n;
        normal->b[i] = expert->scatter_w[at] + lever * expert->mean[at] * dy;
        for (size_t j = 0; j <= i; j++) {
            double a = expert->scatter[at * COLS + columns->at[j]] +
                       lever * expert->mean[at] * expert->mean[columns->at[j]];

            normal->a[i * COLS + j] = a;
            normal->a[j * COLS + i] = a;
        }
    }
    add_ridge(expert, columns, tick, pull.ridge, normal);
}

static void solve(const struct normal *normal, bool exactly, double *w)
{
    if (exactly)
        cb_nnls(normal->a, COLS, normal->b, normal->n, w);
    else
        cb_nnls_descend(normal->a, COLS, normal->b, normal->n, tuning.sweeps, tuning.settled, w);
}

/* Mean square of what the weights leave unexplained, beside a prior of few ticks. */
static double residual_of(const struct cb_cbwatts_expert *expert,
                          const struct cb_cbwatts_columns *columns, const double *w)
{
    double sum_ww = expert->scatter_ww, free = expert->n;
    double prior_w = tuning.noise_share * cb_expert_dynamic(expert);

    for (size_t i = 0; i < columns->n; i++) {
        const double *row = expert->scatter + columns->at[i] * COLS;

        sum_ww += w[i] * (w[i] * row[columns->at[i]] - 2 * expert->scatter_w[columns->at[i]]);
        for (size_t j = 0; j < i; j++)
            sum_ww += 2 * w[i] * w[j] * row[columns->at[j]];
        free -= w[i] > 0;
    }
    free = fmax(free - 1, 0);
    return (fmax(sum_ww, 0) + tuning.noise_ticks * prior_w * prior_w) / (free + tuning.noise_ticks);
}

void cb_expert_fit(const struct cb_cbwatts *model, struct cb_cbwatts_expert *expert,
                   const struct cb_cbwatts_columns *columns, const struct cb_model_tick *tick,
                   bool splits)
{
    struct normal normal;
    double w[COLS];
    double idle_w;

    make_normal(expert, columns, tick, pull_of(model, expert, columns, tick->clocks, splits),
                &normal);
    for (size_t i = 0; i < columns->n; i++)
        w[i] = expert->weight[columns->at[i]];
    solve(&normal, splits, w);
    idle_w = normal.mean_w - cb_dot(w, normal.mean, columns->n);
    if (idle_w < 0) { /* refit through the origin */
        for (size_t i = 0; i < columns->n; i++) {
            normal.b[i] += normal.n_ticks * normal.mean[i] * normal.mean_w;
            for (size_t j = 0; j < columns->n; j++)
                normal.a[i * COLS + j] += normal.n_ticks * normal.mean[i] * normal.mean[j];
        }
        solve(&normal, splits, w);
        idle_w = 0;
    }
    for (size_t i = 0; i < columns->n; i++)
        expert->weight[columns->at[i]] = w[i];
    expert->idle_w = idle_w;
    if (splits)
        expert->noise_ww = residual_of(expert, columns, w);
}

double cb_expert_predict(const struct cb_cbwatts_expert *expert,
                         const struct cb_cbwatts_columns *columns)
{
    double power_w = expert->idle_w;

    for (size_t i = 0; i < columns->n; i++)
        power_w += expert->weight[columns->at[i]] * columns->x[i];
    return power_w;
}
