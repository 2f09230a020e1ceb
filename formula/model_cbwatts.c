/* SPDX-License-Identifier: Apache-2.0 */
/* model_cbwatts.c - see model_cbwatts.h and docs/model.md. */
#include "formula/model_cbwatts.h"

#include <math.h>
#include <string.h>

#define COLS CB_CBWATTS_COLS
#define LINEAR 0
#define ROOT CB_MODEL_EVENTS
#define FREQUENCY (2 * CB_MODEL_EVENTS)
#define EXPERTS CB_CBWATTS_EXPERTS

static const struct tuning {
    double memory[EXPERTS];
    bool roots[EXPERTS];
    int attributes;     /* the expert whose weights split the energy */
    double ridge;       /* penalty of a linear column, in ticks of its mean square */
    double ridge_root;  /* and of a root */
    double anchor_n;    /* the idle prior's weight, in ticks */
    double idle_share;  /* of a server's full power, before anything is seen */
    double prior_share; /* of the dynamic power that one column may explain a priori (sd) */
    double mix_memory, mix_power;
    int sweeps;
} tuning = {
    .memory = {0.9, 0.98, 1, 0.998},
    .roots = {true, true, true, false},
    .attributes = 3,
    .ridge = 0.1,
    .ridge_root = 0.1,
    .anchor_n = 2,
    .idle_share = 0.45,
    .prior_share = 0.5,
    .mix_memory = 0.95,
    .mix_power = 4,
    .sweeps = 6,
};

/* The columns in use: their values in this tick, and where they lie in an expert. */
struct columns {
    size_t n;
    uint8_t at[COLS];
    uint8_t event[COLS]; /* of a linear or root column */
    double x[COLS];
    double value_per_rate[COLS]; /* x / the rate it is shared by, 0 where the rate is 0 */
};

static void add_column(struct columns *columns, size_t at, size_t event, double x, double rate)
{
    columns->at[columns->n] = (uint8_t)at;
    columns->event[columns->n] = (uint8_t)event;
    columns->x[columns->n] = x;
    columns->value_per_rate[columns->n] = rate > 0 ? x / rate : 0;
    columns->n++;
}

static double clock_rate(const struct cb_model_tick *tick)
{
    double sum = 0;

    for (size_t e = 0; e < tick->n_events; e++) {
        if (tick->clocks >> e & 1)
            sum += tick->rates[e];
    }
    return sum;
}

static void make_columns(const struct cb_model_tick *tick, struct columns *ret_columns)
{
    double clock = clock_rate(tick);
    double f2 = tick->frequency * tick->frequency;

    ret_columns->n = 0;
    for (size_t e = 0; e < tick->n_events; e++)
        add_column(ret_columns, LINEAR + e, e, tick->rates[e], tick->rates[e]);
    for (size_t e = 0; e < tick->n_events; e++)
        add_column(ret_columns, ROOT + e, e, sqrt(tick->rates[e]), tick->rates[e]);
    add_column(ret_columns, FREQUENCY, CB_MODEL_EVENTS, clock * f2, clock);
}

void cb_cbwatts_init(struct cb_cbwatts *model)
{
    memset(model, 0, sizeof(*model));
}

/* --- the idle anchor --- */

/* The share of the power under @busy that idle is likely to be: a server's idle power is
 * tuning.idle_share of its full power, more or less (docs/model.md, Prior). */
static double idle_part(double busy)
{
    double u = busy >= 0 ? fmin(busy, 1) : 0.25;

    return tuning.idle_share / (tuning.idle_share + (1 - tuning.idle_share) * u);
}

static void learn_anchor(struct cb_cbwatts *model, double activity, double busy, double power_w)
{
    model->most_activity = fmax(model->most_activity, activity);
    model->anchor_activity *= 1.0005; /* an old minimum gives way after some thousand ticks */
    if (model->anchor_ticks == 0 || activity < 0.8 * model->anchor_activity) {
        model->anchor_ticks = 1;
        model->anchor_activity = activity;
        model->anchor_busy = busy;
        model->anchor_w = power_w;
    } else if (activity <= 1.25 * model->anchor_activity) {
        model->anchor_ticks = fmin(model->anchor_ticks + 1, 60);
        model->anchor_w += (power_w - model->anchor_w) / model->anchor_ticks;
        model->anchor_activity += (activity - model->anchor_activity) / model->anchor_ticks;
        model->anchor_busy += (busy - model->anchor_busy) / model->anchor_ticks;
    }
    /* with no share of the CPUs known, the most activity seen stands for half of what can be */
    double guess =
        model->most_activity > 0 ? 0.5 * model->anchor_activity / model->most_activity : 0;
    double part = idle_part(model->anchor_busy >= 0 ? model->anchor_busy : guess);

    model->idle_prior_w = part * model->anchor_w;
    model->idle_prior_sd_w = 0.5 * (1 - part) * model->anchor_w + 0.02 * model->anchor_w + 1e-9;
}

/* --- an expert --- */

static void forget_and_add(struct cb_cbwatts_expert *expert, double memory, double weight,
                           const struct columns *columns, double power_w)
{
    double n = memory * expert->n + weight;
    double dy = power_w - expert->mean_w;
    double cross = memory * expert->n * weight / n;
    double dx[COLS];

    for (size_t i = 0; i < columns->n; i++) {
        dx[i] = columns->x[i] - expert->mean[columns->at[i]];
        expert->mean[columns->at[i]] += weight / n * dx[i];
    }
    expert->mean_w += weight / n * dy;
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
    double prior[COLS];
};

/* The line through the clocks alone: what the data say where the other events say nothing. */
static double prior_slope(const struct columns *columns, const struct normal *normal,
                          uint32_t clocks)
{
    double sxx = 0, sxy = 0;

    for (size_t i = 0; i < columns->n; i++) {
        if (columns->at[i] >= ROOT || !(clocks >> columns->event[i] & 1))
            continue;
        sxy += normal->b[i];
        for (size_t j = 0; j < columns->n; j++) {
            if (columns->at[j] < ROOT && clocks >> columns->event[j] & 1)
                sxx += normal->a[i * COLS + j];
        }
    }
    return sxx > 0 && sxy > 0 ? sxy / sxx : 0;
}

static void make_normal(const struct cb_cbwatts *model, const struct cb_cbwatts_expert *expert,
                        const struct columns *columns, uint32_t clocks, bool roots,
                        struct normal *normal)
{
    double n0 = tuning.anchor_n;
    double n = expert->n + n0;
    double pull = expert->n * n0 / n;
    double dy = expert->mean_w - model->idle_prior_w;

    normal->n = columns->n;
    normal->n_ticks = n;
    normal->mean_w = expert->mean_w - n0 / n * dy;
    for (size_t i = 0; i < columns->n; i++) {
        size_t at = columns->at[i];

        normal->mean[i] = expert->mean[at] * expert->n / n;
        normal->b[i] = expert->scatter_w[at] + pull * expert->mean[at] * dy;
        for (size_t j = 0; j <= i; j++) {
            double a = expert->scatter[at * COLS + columns->at[j]] +
                       pull * expert->mean[at] * expert->mean[columns->at[j]];

            normal->a[i * COLS + j] = a;
            normal->a[j * COLS + i] = a;
        }
    }
    double slope = prior_slope(columns, normal, clocks);

    for (size_t i = 0; i < columns->n; i++) {
        size_t at = columns->at[i];
        double square =
            expert->scatter[at * COLS + at] / expert->n + expert->mean[at] * expert->mean[at];
        double ridge = (at >= ROOT ? tuning.ridge_root : tuning.ridge) * square;

        normal->prior[i] = at < ROOT && clocks >> columns->event[i] & 1 ? slope : 0;
        if (!roots && at >= ROOT && at < FREQUENCY)
            ridge = INFINITY;
        normal->a[i * COLS + i] += ridge;
        normal->b[i] += isfinite(ridge) ? ridge * normal->prior[i] : 0;
    }
}

/* Non-negative least squares by cyclic coordinate descent from the weights of the tick before. */
static void descend(const struct normal *normal, double *w)
{
    for (int sweep = 0; sweep < tuning.sweeps; sweep++) {
        for (size_t i = 0; i < normal->n; i++) {
            const double *row = normal->a + i * COLS;
            double gradient = normal->b[i];

            if (!(row[i] > 0) || isinf(row[i])) {
                w[i] = 0;
                continue;
            }
            for (size_t j = 0; j < normal->n; j++)
                gradient -= row[j] * w[j];
            w[i] = fmax(0, w[i] + gradient / row[i]);
        }
    }
}

static void fit(const struct cb_cbwatts *model, struct cb_cbwatts_expert *expert,
                const struct columns *columns, uint32_t clocks, bool roots)
{
    struct normal normal;
    double w[COLS];
    double idle_w;

    make_normal(model, expert, columns, clocks, roots, &normal);
    for (size_t i = 0; i < columns->n; i++)
        w[i] = expert->weight[columns->at[i]];
    descend(&normal, w);
    idle_w = normal.mean_w;
    for (size_t i = 0; i < columns->n; i++)
        idle_w -= w[i] * normal.mean[i];
    if (idle_w < 0) { /* refit through the origin */
        for (size_t i = 0; i < columns->n; i++) {
            normal.b[i] += normal.n_ticks * normal.mean[i] * normal.mean_w;
            for (size_t j = 0; j < columns->n; j++)
                normal.a[i * COLS + j] += normal.n_ticks * normal.mean[i] * normal.mean[j];
        }
        descend(&normal, w);
        idle_w = 0;
    }
    for (size_t i = 0; i < columns->n; i++)
        expert->weight[columns->at[i]] = w[i];
    expert->idle_w = idle_w;
}

static double expert_predicts(const struct cb_cbwatts_expert *expert, const struct columns *columns)
{
    double power_w = expert->idle_w;

    for (size_t i = 0; i < columns->n; i++)
        power_w += expert->weight[columns->at[i]] * columns->x[i];
    return power_w;
}

/* --- what the split and the idle power are worth --- */

/* Lower Cholesky factor in place; a pivot that is not positive makes its row and column 0. */
static void factor(double *a, size_t n)
{
    for (size_t j = 0; j < n; j++) {
        double pivot = a[j * n + j];

        for (size_t k = 0; k < j; k++)
            pivot -= a[j * n + k] * a[j * n + k];
        pivot = pivot > 0 ? sqrt(pivot) : 0;
        a[j * n + j] = pivot;
        for (size_t i = j + 1; i < n; i++) {
            double sum = a[i * n + j];

            for (size_t k = 0; k < j; k++)
                sum -= a[i * n + k] * a[j * n + k];
            a[i * n + j] = pivot > 0 ? sum / pivot : 0;
        }
    }
}

/* x = L^-1 b; the inverse matrix's quadratic form b' (L L')^-1 b is then x' x. */
static void forward(const double *l, size_t n, const double *b, double *x)
{
    for (size_t i = 0; i < n; i++) {
        double sum = b[i];

        for (size_t k = 0; k < i; k++)
            sum -= l[i * n + k] * x[k];
        x[i] = l[i * n + i] > 0 ? sum / l[i * n + i] : 0;
    }
}

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/*
 * Posterior covariance of the coefficients (per event) and variance of idle, from the splitting
 * expert's moments in standardised columns (each divided by its root mean square): the data weigh
 * 1 / noise^2, the prior allows each column the whole dynamic power (tuning.prior_share of it).
 */
static void posterior(const struct cb_cbwatts *model, const struct cb_model_tick *tick,
                      const struct columns *columns, struct cb_model_estimate *estimate)
{
    const struct cb_cbwatts_expert *expert = &model->experts[tuning.attributes];
    double l[(CB_MODEL_EVENTS + 1) * (CB_MODEL_EVENTS + 1)] = {0};
    double scale[CB_MODEL_EVENTS + 1], column[CB_MODEL_EVENTS + 1] = {0};
    double solved[CB_MODEL_EVENTS + 1][CB_MODEL_EVENTS + 1];
    size_t at[CB_MODEL_EVENTS + 1], n = 0, n_events = tick->n_events;
    double dynamic_w = fmax(expert->mean_w - estimate->idle_w, 0.2 * expert->mean_w) + 1e-9;
    double noise_w = fmax(estimate->structure_w, 1e-3 * dynamic_w);
    double data = 1 / (noise_w * noise_w);
    double prior = 1 / (tuning.prior_share * tuning.prior_share * dynamic_w * dynamic_w);
    double f2 = tick->frequency * tick->frequency;

    for (size_t i = 0; i < columns->n; i++) {
        if (columns->at[i] < ROOT || columns->at[i] == FREQUENCY)
            at[n++] = columns->at[i];
    }
    for (size_t i = 0; i < n; i++) {
        double mean = expert->mean[at[i]];
        double square = expert->scatter[at[i] * COLS + at[i]] / expert->n + mean * mean;

        scale[i] = square > 0 ? 1 / sqrt(square) : 0;
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j <= i; j++)
            l[i * n + j] = data * scale[i] * scale[j] * expert->scatter[at[i] * COLS + at[j]];
        l[i * n + i] += prior;
    }
    factor(l, n);
    for (size_t i = 0; i < n; i++)
        column[i] = scale[i] * expert->mean[at[i]];
    forward(l, n, column, solved[0]);
    double from_data = noise_w * noise_w / expert->n + dot(solved[0], solved[0], n);

    estimate->idle_sd_w =
        sqrt(1 / (1 / from_data + 1 / (model->idle_prior_sd_w * model->idle_prior_sd_w)));
    for (size_t e = 0; e < n_events; e++) {
        memset(column, 0, sizeof(column));
        column[e] = scale[e];
        if (tick->clocks >> e & 1)
            column[n - 1] = scale[n - 1] * f2;
        forward(l, n, column, solved[e]);
        for (size_t j = 0; j <= e; j++) {
            double c = dot(solved[e], solved[j], n);

            estimate->cov[e * n_events + j] = c;
            estimate->cov[j * n_events + e] = c;
        }
    }
}

/* --- the whole --- */

static double mixed_prediction(const struct cb_cbwatts *model, const double *predictions)
{
    double sum = 0, weights = 0;

    for (size_t k = 0; k < EXPERTS; k++) {
        double error = model->experts[k].error_w + 1e-3 * model->most_w + 1e-9;
        double weight = pow(error, -tuning.mix_power);

        sum += weight * predictions[k];
        weights += weight;
    }
    return sum / weights;
}

/* Nothing here can exceed what was seen by half, or fall to half of it. */
static double clamp_power(const struct cb_cbwatts *model, double power_w)
{
    return fmin(fmax(power_w, 0.5 * model->least_w), 1.5 * model->most_w);
}

/* Before anything is learnt: idle as the prior says, the rest in proportion to the clocks. */
static void estimate_prior(const struct cb_model_tick *tick, double power_w,
                           struct cb_model_estimate *estimate)
{
    double clock = clock_rate(tick);

    estimate->prior = true;
    estimate->predicted_w = NAN;
    estimate->idle_w = power_w * idle_part(tick->busy);
    estimate->idle_sd_w = 0.5 * (power_w - estimate->idle_w) + 0.1 * power_w;
    estimate->noise_w = 0.1 * power_w;
    estimate->structure_w = 0.3 * power_w;
    for (size_t e = 0; e < tick->n_events; e++) {
        double rate = tick->rates[e];

        if (clock > 0 ? (tick->clocks >> e & 1) != 0 : rate > 0)
            estimate->coef_w[e] = (power_w - estimate->idle_w) / (clock > 0 ? clock : rate);
        if (rate > 0)
            estimate->cov[e * tick->n_events + e] = power_w * power_w / (rate * rate);
    }
}

void cb_cbwatts_estimate(const struct cb_cbwatts *model, const struct cb_model_tick *tick,
                         double power_w, struct cb_model_estimate *ret_estimate)
{
    const struct cb_cbwatts_expert *expert = &model->experts[tuning.attributes];
    struct columns columns;
    double predictions[EXPERTS];

    memset(ret_estimate, 0, sizeof(*ret_estimate));
    if (model->ticks == 0) {
        estimate_prior(tick, power_w, ret_estimate);
        return;
    }
    make_columns(tick, &columns);
    for (size_t k = 0; k < EXPERTS; k++)
        predictions[k] = clamp_power(model, expert_predicts(&model->experts[k], &columns));
    ret_estimate->predicted_w = mixed_prediction(model, predictions);
    ret_estimate->idle_w = expert->idle_w;
    ret_estimate->noise_w = sqrt(model->residual_ww);
    ret_estimate->structure_w = sqrt(model->structure_ww);
    for (size_t i = 0; i < columns.n; i++) {
        double coef_w = expert->weight[columns.at[i]] * columns.value_per_rate[i];

        if (columns.at[i] < FREQUENCY)
            ret_estimate->coef_w[columns.event[i]] += coef_w;
        for (size_t e = 0; e < tick->n_events && columns.at[i] == FREQUENCY; e++)
            ret_estimate->coef_w[e] += tick->clocks >> e & 1 ? coef_w : 0;
    }
    posterior(model, tick, &columns, ret_estimate);
}

static void learn_errors(struct cb_cbwatts *model, const struct columns *columns, double power_w,
                         double predicted_w)
{
    double keep = model->ticks < 50 ? 1 - 1 / (double)model->ticks : 0.98;

    for (size_t k = 0; k < EXPERTS; k++) {
        struct cb_cbwatts_expert *expert = &model->experts[k];
        double residual_w = clamp_power(model, expert_predicts(expert, columns)) - power_w;

        expert->error_w =
            tuning.mix_memory * expert->error_w + (1 - tuning.mix_memory) * fabs(residual_w);
        if (k == (size_t)tuning.attributes)
            model->structure_ww = keep * model->structure_ww + (1 - keep) * residual_w * residual_w;
    }
    if (isfinite(predicted_w)) {
        double residual_w = power_w - predicted_w;

        model->residual_ww = keep * model->residual_ww + (1 - keep) * residual_w * residual_w;
    }
}

void cb_cbwatts_learn(struct cb_cbwatts *model, const struct cb_model_tick *tick, double power_w,
                      double predicted_w)
{
    struct columns columns;

    make_columns(tick, &columns);
    if (model->ticks == 0) {
        model->least_w = model->most_w = power_w;
        for (size_t k = 0; k < EXPERTS; k++)
            model->experts[k].error_w = 0.1 * power_w;
    } else {
        learn_errors(model, &columns, power_w, predicted_w);
    }
    model->least_w = fmin(model->least_w, power_w);
    model->most_w = fmax(model->most_w, power_w);
    learn_anchor(model, clock_rate(tick), tick->busy, power_w);
    for (size_t k = 0; k < EXPERTS; k++) {
        forget_and_add(&model->experts[k], tuning.memory[k], 1, &columns, power_w);
        fit(model, &model->experts[k], &columns, tick->clocks, tuning.roots[k]);
    }
    model->ticks++;
}
