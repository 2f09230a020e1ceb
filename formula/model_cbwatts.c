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
    double memory[EXPERTS]; /* forgetting a tick; the last expert is the one that splits */
    double ridge;           /* penalty of a column, in ticks of its mean square */
    double anchor_n;        /* the idle prior's weight, in ticks */
    double mix_memory, mix_power;
    double lowest, highest; /* a prediction may leave what was seen by so much */
    int sweeps, split_sweeps;
    double settled; /* a weight that moves by less, as a share of itself, stands still */
    double guessed_load, load_power, idle_spread, guessed_spread, anchor_spread; /* idle prior */
    double spread_share; /* the same for the interval, where the data say nothing */
    double prior_share;  /* of the dynamic power that one column may explain a priori (sd) */
    double moving;       /* relative spread of a column that moves enough to be believed */
    double other_share, weak_share; /* of that, for a column that is no clock; a software event */
    double least_ridge, most_ridge, least_anchor_n, most_anchor_n; /* of the splitting expert */
    double noise_share;         /* of the dynamic power: the noise a priori (sd), */
    double noise_ticks;         /* as if seen in so many ticks */
    double structure_part;      /* of the noise: what stays from tick to tick (sd) */
    double anchor_weight;       /* of a tick that may say what idle is */
    double outlier;             /* a power beyond what was seen by this factor is none, */
    unsigned outliers_in_a_row; /* unless there are so many */
    double unseen_share;        /* of a part: what no counter tells of it (sd) */
} tuning = {
    .memory = {0.85, 0.97, 0.995, 1, 0.998},
    .ridge = 0.02,
    .anchor_n = 1,
    .mix_memory = 0.92,
    .mix_power = 6,
    .lowest = 0.6,
    .highest = 1.4,
    .sweeps = 6,
    .split_sweeps = 40,
    .settled = 1e-5,
    .guessed_load = 0.05,
    .load_power = 0.6,
    .idle_spread = 0.7,
    .guessed_spread = 1.2,
    .anchor_spread = 0.02,
    .spread_share = 0.5,
    .prior_share = 1.5,
    .moving = 0.1,
    .other_share = 1,
    .weak_share = 0.02,
    .least_ridge = 1e-5,
    .most_ridge = 0.003,
    .least_anchor_n = 1e-4,
    .most_anchor_n = 5,
    .noise_share = 0.1,
    .noise_ticks = 1,
    .structure_part = 0.25,
    .anchor_weight = 0.5,
    .outlier = 3,
    .outliers_in_a_row = 3,
    .unseen_share = 0.06,
};

#define SPLITTER (EXPERTS - 1)
#define SPLIT_COLS (2 * CB_MODEL_EVENTS) /* it has no roots */

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

static double clamp(double value, double least, double most)
{
    return fmin(fmax(value, least), most);
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

/* Which events have a column that goes with the voltage: for the experts that predict the clocks,
 * for the one that splits all that happens in the cores. */
static uint32_t follow_frequency(const struct cb_model_tick *tick, bool splits)
{
    uint32_t all = (UINT32_C(1) << tick->n_events) - 1;

    if (!(tick->frequency > 0))
        return 0;
    return splits ? all & ~tick->weak & ~tick->memory : tick->clocks;
}

static void make_columns(const struct cb_model_tick *tick, bool splits, struct columns *ret_columns)
{
    uint32_t follow = follow_frequency(tick, splits);
    double f2 = tick->frequency * tick->frequency;

    ret_columns->n = 0;
    for (size_t e = 0; e < tick->n_events; e++)
        add_column(ret_columns, LINEAR + e, e, tick->rates[e], tick->rates[e]);
    for (size_t e = 0; e < tick->n_events && !splits; e++)
        add_column(ret_columns, ROOT + e, e, sqrt(tick->rates[e]), tick->rates[e]);
    for (size_t e = 0; e < tick->n_events; e++) {
        if (follow >> e & 1)
            add_column(ret_columns, FREQUENCY + e, e, tick->rates[e] * f2, tick->rates[e]);
    }
}

void cb_cbwatts_init(struct cb_cbwatts *model)
{
    memset(model, 0, sizeof(*model));
}

/* --- the idle anchor --- */

/* The part of the power under the load @busy that idle is likely to be (docs/model.md, Prior): full
 * power has the domain's idle share in it, and what is above it grows like busy^0.6. */
static double idle_part(double idle_share, double busy)
{
    double load = pow(clamp(busy, 0, 1), tuning.load_power);

    return idle_share / (idle_share + (1 - idle_share) * load);
}

static void learn_anchor(struct cb_cbwatts *model, const struct cb_model_tick *tick, double power_w)
{
    double activity = clock_rate(tick), busy = tick->busy;

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
    /* no share of the CPUs known: the most activity seen is taken for a light load */
    double guess = model->most_activity > 0
                       ? tuning.guessed_load * model->anchor_activity / model->most_activity
                       : 0;
    double part = idle_part(tick->idle_share, model->anchor_busy >= 0 ? model->anchor_busy : guess);
    double spread = model->anchor_busy >= 0 ? tuning.idle_spread : tuning.guessed_spread;

    model->idle_prior_w = part * model->anchor_w;
    model->idle_prior_sd_w =
        (spread * part * (1 - part) + tuning.anchor_spread) * model->anchor_w + 1e-9;
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
    double prior[COLS];
};

static bool is_clock(const struct columns *columns, size_t i, uint32_t clocks)
{
    return columns->at[i] < ROOT && clocks >> columns->event[i] & 1;
}

/* How much of the dynamic power a column may explain a priori, beside a clock's 1. */
static double share_of(const struct columns *columns, size_t i, const struct cb_model_tick *tick)
{
    if (tick->clocks >> columns->event[i] & 1)
        return 1;
    return tick->weak >> columns->event[i] & 1 ? tuning.weak_share : tuning.other_share;
}

/* The line through the clocks alone: what the data say where the other events say nothing. */
static double prior_slope(const struct columns *columns, const struct normal *normal,
                          uint32_t clocks)
{
    double sxx = 0, sxy = 0;

    for (size_t i = 0; i < columns->n; i++) {
        if (!is_clock(columns, i, clocks))
            continue;
        sxy += normal->b[i];
        for (size_t j = 0; j < columns->n; j++) {
            if (is_clock(columns, j, clocks))
                sxx += normal->a[i * COLS + j];
        }
    }
    return sxx > 0 && sxy > 0 ? sxy / sxx : 0;
}

/* How strongly the prior pulls, in ticks. The experts that predict have it fixed; the one that
 * splits weighs it against its noise: sure of nothing where the noise is large. */
struct pull {
    double ridge, anchor_n;
    double idle_w; /* the power without any load that it pulls to */
};

/* What moves with the load, at least: a machine seen only under one load may be mostly dynamic. */
static double dynamic_scale(const struct cb_cbwatts_expert *expert)
{
    return fmax(expert->mean_w - expert->idle_w, 0.2 * expert->mean_w) + 1e-9;
}

static struct pull pull_of(const struct cb_cbwatts *model, const struct cb_cbwatts_expert *expert,
                           bool splits)
{
    double dynamic_w = dynamic_scale(expert);
    double prior_w = tuning.prior_share * dynamic_w;

    if (!splits)
        return (struct pull){tuning.ridge, tuning.anchor_n, model->experts[SPLITTER].idle_w};
    return (struct pull){
        clamp(expert->noise_ww / (prior_w * prior_w), tuning.least_ridge, tuning.most_ridge),
        clamp(expert->noise_ww / (model->idle_prior_sd_w * model->idle_prior_sd_w),
              tuning.least_anchor_n, tuning.most_anchor_n),
        model->idle_prior_w};
}

static double mean_square(const struct cb_cbwatts_expert *expert, size_t at)
{
    return expert->scatter[at * COLS + at] / expert->n + expert->mean[at] * expert->mean[at];
}

/* A column that hardly moves cannot be told from idle: what it seems to explain is idle's. */
static double steadiness(const struct cb_cbwatts_expert *expert, const struct columns *columns,
                         size_t i, const struct cb_model_tick *tick, double square)
{
    double variance = expert->scatter[columns->at[i] * COLS + columns->at[i]] / expert->n;

    if (is_clock(columns, i, tick->clocks) || !(square > 0))
        return 1;
    return clamp(sqrt(variance / square) / tuning.moving, 0.02, 1);
}

static void make_normal(const struct cb_cbwatts_expert *expert, const struct columns *columns,
                        const struct cb_model_tick *tick, struct pull pull, struct normal *normal)
{
    double n0 = pull.anchor_n;
    double n = expert->n + n0;
    double lever = expert->n * n0 / n;
    double dy = expert->mean_w - pull.idle_w;
    double slope;

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
    slope = prior_slope(columns, normal, tick->clocks);
    for (size_t i = 0; i < columns->n; i++) {
        size_t at = columns->at[i];
        double square = mean_square(expert, at);
        double share = share_of(columns, i, tick) * steadiness(expert, columns, i, tick, square);
        double ridge = pull.ridge / (share * share) * square;

        normal->a[i * COLS + i] += ridge;
        if (is_clock(columns, i, tick->clocks))
            normal->b[i] += ridge * slope;
    }
}

/* Non-negative least squares by cyclic coordinate descent from the weights of the tick before. */
static void descend(const struct normal *normal, int sweeps, double *w)
{
    for (int sweep = 0; sweep < sweeps; sweep++) {
        bool moved = false;

        for (size_t i = 0; i < normal->n; i++) {
            const double *row = normal->a + i * COLS;
            double gradient = normal->b[i], before = w[i];

            if (!(row[i] > 0)) {
                w[i] = 0;
                continue;
            }
            for (size_t j = 0; j < normal->n; j++)
                gradient -= row[j] * w[j];
            w[i] = before + gradient / row[i];
            w[i] = w[i] > 0 ? w[i] : 0; /* a NaN ends here, too */
            moved |= fabs(w[i] - before) > tuning.settled * w[i];
        }
        if (!moved)
            return;
    }
}

/* Mean square of what the weights leave unexplained, beside a prior of few ticks. */
static double residual_of(const struct cb_cbwatts_expert *expert, const struct columns *columns,
                          const double *w)
{
    double sum_ww = expert->scatter_ww, free = expert->n;
    double prior_w = tuning.noise_share * dynamic_scale(expert);

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

static void fit(const struct cb_cbwatts *model, struct cb_cbwatts_expert *expert,
                const struct columns *columns, const struct cb_model_tick *tick, bool splits)
{
    int sweeps = splits ? tuning.split_sweeps : tuning.sweeps;
    struct normal normal;
    double w[COLS];
    double idle_w;

    make_normal(expert, columns, tick, pull_of(model, expert, splits), &normal);
    for (size_t i = 0; i < columns->n; i++)
        w[i] = expert->weight[columns->at[i]];
    descend(&normal, sweeps, w);
    idle_w = normal.mean_w;
    for (size_t i = 0; i < columns->n; i++)
        idle_w -= w[i] * normal.mean[i];
    if (idle_w < 0) { /* refit through the origin */
        for (size_t i = 0; i < columns->n; i++) {
            normal.b[i] += normal.n_ticks * normal.mean[i] * normal.mean_w;
            for (size_t j = 0; j < columns->n; j++)
                normal.a[i * COLS + j] += normal.n_ticks * normal.mean[i] * normal.mean[j];
        }
        descend(&normal, sweeps, w);
        idle_w = 0;
    }
    for (size_t i = 0; i < columns->n; i++)
        expert->weight[columns->at[i]] = w[i];
    expert->idle_w = idle_w;
    if (splits)
        expert->noise_ww = residual_of(expert, columns, w);
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
 * 1 / noise^2, the prior allows each column tuning.spread_share of the dynamic power.
 */
static void posterior(const struct cb_cbwatts *model, const struct cb_model_tick *tick,
                      const struct columns *columns, struct cb_model_estimate *estimate)
{
    const struct cb_cbwatts_expert *expert = &model->experts[SPLITTER];
    double l[SPLIT_COLS * SPLIT_COLS] = {0}, scale[SPLIT_COLS], column[SPLIT_COLS] = {0};
    double solved[SPLIT_COLS][SPLIT_COLS];
    size_t n = columns->n, n_events = tick->n_events;
    double dynamic_w = dynamic_scale(expert);
    double noise_ww = fmax(expert->noise_ww, 1e-8 * dynamic_w * dynamic_w);
    double prior_w = tuning.spread_share * dynamic_w, idle_ww;

    for (size_t i = 0; i < n; i++) {
        double square = mean_square(expert, columns->at[i]);

        scale[i] = square > 0 ? 1 / sqrt(square) : 0;
        column[i] = scale[i] * expert->mean[columns->at[i]];
        for (size_t j = 0; j <= i; j++)
            l[i * n + j] = scale[i] * scale[j] / noise_ww *
                           expert->scatter[columns->at[i] * COLS + columns->at[j]];
        l[i * n + i] += 1 / pow(prior_w * share_of(columns, i, tick), 2);
    }
    factor(l, n);
    forward(l, n, column, solved[0]);
    idle_ww = noise_ww / expert->n + dot(solved[0], solved[0], n);
    estimate->idle_sd_w =
        sqrt(1 / (1 / idle_ww + 1 / (model->idle_prior_sd_w * model->idle_prior_sd_w)));
    for (size_t e = 0; e < n_events; e++) {
        for (size_t i = 0; i < n; i++)
            column[i] = columns->event[i] == e ? scale[i] * columns->value_per_rate[i] : 0;
        forward(l, n, column, solved[e]);
        for (size_t j = 0; j <= e; j++) {
            double c = dot(solved[e], solved[j], n);

            estimate->cov[e * n_events + j] = c;
            estimate->cov[j * n_events + e] = c;
        }
    }
}

/* --- the whole --- */

/* Whatever the weights say: a socket stays near what it was seen to draw. */
static double clamp_power(const struct cb_cbwatts *model, double power_w)
{
    return clamp(power_w, tuning.lowest * model->least_w, tuning.highest * model->most_w);
}

double cb_cbwatts_predict(const struct cb_cbwatts *model, const struct cb_model_tick *tick)
{
    struct columns columns;
    double sum = 0, weights = 0;

    if (model->ticks == 0)
        return (double)NAN;
    make_columns(tick, false, &columns);
    for (size_t k = 0; k < SPLITTER; k++) {
        const struct cb_cbwatts_expert *expert = &model->experts[k];
        double error_w = expert->error_w + 1e-3 * model->most_w + 1e-9;
        double weight = pow(error_w, -tuning.mix_power);

        sum += weight * clamp_power(model, expert_predicts(expert, &columns));
        weights += weight;
    }
    return isfinite(sum / weights) ? sum / weights : (double)NAN;
}

/* Nothing learnt at all: idle as the prior says, the rest in proportion to the clocks. */
static void estimate_prior(const struct cb_model_tick *tick, double power_w,
                           struct cb_model_estimate *estimate)
{
    double clock = clock_rate(tick);

    estimate->idle_w = power_w * idle_part(tick->idle_share, tick->busy >= 0 ? tick->busy : 0.25);
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

/* Moments beyond all measure (a snapshot from elsewhere) must not leave the model. */
static bool is_sound(const struct cb_model_estimate *estimate, size_t n_events)
{
    double sum = estimate->idle_w + estimate->idle_sd_w + estimate->noise_w;

    for (size_t e = 0; e < n_events; e++)
        sum += estimate->coef_w[e];
    for (size_t i = 0; i < n_events * n_events; i++)
        sum += fabs(estimate->cov[i]);
    return isfinite(sum);
}

void cb_cbwatts_estimate(const struct cb_cbwatts *model, const struct cb_model_tick *tick,
                         double power_w, struct cb_model_estimate *ret_estimate)
{
    const struct cb_cbwatts_expert *expert = &model->experts[SPLITTER];
    struct columns columns;

    memset(ret_estimate, 0, sizeof(*ret_estimate));
    ret_estimate->prior = model->ticks <= 1;
    if (model->ticks == 0) {
        estimate_prior(tick, power_w, ret_estimate);
        return;
    }
    make_columns(tick, true, &columns);
    ret_estimate->idle_w = expert->idle_w;
    ret_estimate->noise_w = sqrt(expert->noise_ww);
    ret_estimate->structure_w = tuning.structure_part * sqrt(expert->noise_ww);
    ret_estimate->unseen_share = tuning.unseen_share;
    for (size_t i = 0; i < columns.n; i++) {
        double coef_w = expert->weight[columns.at[i]] * columns.value_per_rate[i];

        ret_estimate->coef_w[columns.event[i]] += coef_w;
    }
    posterior(model, tick, &columns, ret_estimate);
    if (!is_sound(ret_estimate, tick->n_events)) {
        memset(ret_estimate, 0, sizeof(*ret_estimate));
        ret_estimate->prior = true;
        estimate_prior(tick, power_w, ret_estimate);
    }
}

static void learn_errors(struct cb_cbwatts *model, const struct columns *columns, double power_w)
{
    for (size_t k = 0; k < SPLITTER; k++) {
        struct cb_cbwatts_expert *expert = &model->experts[k];
        double residual_w = clamp_power(model, expert_predicts(expert, columns)) - power_w;

        expert->error_w =
            tuning.mix_memory * expert->error_w + (1 - tuning.mix_memory) * fabs(residual_w);
    }
}

/*
 * A power that no load explains: a counter that stood still, or jumped. It is left out, unless it
 * goes on: the third in a row is how things are now. A first tick that was such a thing (the
 * second is five times it, or a fifth, under no other load) is forgotten altogether.
 */
static bool is_outlier(struct cb_cbwatts *model, const struct cb_model_tick *tick, double power_w)
{
    double lowest_w = model->least_w / tuning.outlier, highest_w = model->most_w * tuning.outlier;
    bool out = power_w < lowest_w || power_w > highest_w;
    double clock = clock_rate(tick);

    if (model->ticks == 0)
        return false;
    if (model->ticks == 1 && out && power_w > highest_w && clock < 2 * model->most_activity) {
        cb_cbwatts_init(model);
        return false;
    }
    if (power_w > highest_w && clock > 2 * model->most_activity)
        out = false; /* the load explains it */
    model->outliers = out ? model->outliers + 1 : 0;
    return out && model->outliers < tuning.outliers_in_a_row;
}

/* What was learnt about the columns that count activity is in another unit now. */
static void begin_clocks(struct cb_cbwatts *model, uint32_t clocks)
{
    if (model->ticks > 0 && model->clocks != clocks) {
        model->most_activity = 0;
        model->anchor_ticks = 0;
    }
    model->clocks = clocks;
}

/* Energy and counts are read some time apart, the same for a long tick and a short one: the error
 * is so many joules, so a short tick's power says little. */
static double weight_of(struct cb_cbwatts *model, const struct cb_model_tick *tick)
{
    double part;

    if (model->ticks == 0)
        model->usual_seconds = tick->seconds;
    part = tick->seconds / model->usual_seconds;
    model->usual_seconds += (tick->seconds - model->usual_seconds) * (part > 1 ? 0.5 : 0.02);
    return clamp(part * part, 1e-6, 1);
}

void cb_cbwatts_learn(struct cb_cbwatts *model, const struct cb_model_tick *tick, double power_w)
{
    struct columns with_roots, linear;
    double weight;

    begin_clocks(model, tick->clocks);
    if (is_outlier(model, tick, power_w))
        return;
    make_columns(tick, false, &with_roots);
    make_columns(tick, true, &linear);
    if (model->ticks == 0) {
        model->least_w = model->most_w = power_w;
        for (size_t k = 0; k < SPLITTER; k++)
            model->experts[k].error_w = 0.1 * power_w;
    } else {
        learn_errors(model, &with_roots, power_w);
    }
    model->least_w = fmin(model->least_w, power_w);
    model->most_w = fmax(model->most_w, power_w);
    weight = weight_of(model, tick);
    if (model->ticks == 0 || weight >= tuning.anchor_weight)
        learn_anchor(model, tick, power_w);
    for (size_t k = EXPERTS; k-- > 0;) { /* the splitter first: the others lean on its idle */
        struct cb_cbwatts_expert *expert = &model->experts[k];
        const struct columns *columns = k == SPLITTER ? &linear : &with_roots;

        forget_and_add(expert, pow(tuning.memory[k], weight), weight, columns, power_w);
        if (model->ticks == 0)
            expert->idle_w = model->idle_prior_w;
        fit(model, expert, columns, tick, k == SPLITTER);
    }
    model->ticks++;
}
