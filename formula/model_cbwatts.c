/* SPDX-License-Identifier: Apache-2.0 */
/* model_cbwatts.c - see model_cbwatts.h and docs/model.md. */
#include "formula/model_cbwatts.h"

#include <math.h>
#include <string.h>

#include "formula/model_cbwatts_private.h"

static const struct {
    double memory[EXPERTS]; /* forgetting a tick; the last expert is the one that splits */
    double mix_memory, mix_power;
    double lowest, highest;        /* a prediction may leave what was seen by so much */
    double structure_part;         /* of the noise: what stays from tick to tick (sd) */
    double anchor_weight;          /* of a tick that may say what idle is */
    double outlier;                /* a power beyond what was seen by this factor is none, */
    unsigned outliers_in_a_row;    /* unless there are so many */
    uint64_t outlier_clocks_after; /* ticks: then activity has been seen */
    double outlier_growth;         /* what comes again and again is believed in the end */
    double unseen_share;           /* of a part: what no counter tells of it (sd) */
} tuning = {
    .memory = {0.85, 0.97, 0.995, 1, 0.998},
    .mix_memory = 0.9,
    .mix_power = 8,
    .lowest = 0.6,
    .highest = 1.4,
    .structure_part = 0.25,
    .anchor_weight = 0.5,
    .outlier = 3,
    .outliers_in_a_row = 3,
    .outlier_clocks_after = 10,
    .outlier_growth = 1.1,
    .unseen_share = 0.06,
};

static void add_column(struct cb_cbwatts_columns *columns, size_t at, size_t event, double x,
                       double rate)
{
    columns->at[columns->n] = (uint8_t)at;
    columns->event[columns->n] = (uint8_t)event;
    columns->x[columns->n] = x;
    columns->value_per_rate[columns->n] = rate > 0 ? x / rate : 0;
    columns->n++;
}

double cb_cbwatts_clock_rate(const struct cb_model_tick *tick)
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

static void make_columns(const struct cb_model_tick *tick, bool splits,
                         struct cb_cbwatts_columns *ret_columns)
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

/* Whatever the weights say: a socket stays near what it was seen to draw. */
static double clamp_power(const struct cb_cbwatts *model, double power_w)
{
    return cb_cbwatts_clamp(power_w, tuning.lowest * model->least_w,
                            tuning.highest * model->most_w);
}

double cb_cbwatts_predict(const struct cb_cbwatts *model, const struct cb_model_tick *tick)
{
    struct cb_cbwatts_columns columns;
    double sum = 0, weights = 0;

    if (model->ticks == 0)
        return (double)NAN;
    make_columns(tick, false, &columns);
    for (size_t k = 0; k < SPLITTER; k++) {
        const struct cb_cbwatts_expert *expert = &model->experts[k];
        double error_w = expert->error_w + 1e-3 * model->most_w + 1e-9;
        double weight = pow(error_w, -tuning.mix_power);

        sum += weight * clamp_power(model, cb_expert_predict(expert, &columns));
        weights += weight;
    }
    return isfinite(sum / weights) ? sum / weights : (double)NAN;
}

/* Nothing learnt at all: idle as the prior says, the rest in proportion to the clocks. */
static void estimate_prior(const struct cb_model_tick *tick, double power_w,
                           struct cb_model_estimate *estimate)
{
    double clock = cb_cbwatts_clock_rate(tick);

    estimate->idle_w =
        power_w * cb_cbwatts_idle_part(tick->idle_share, tick->busy >= 0 ? tick->busy : 0.25);
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
    struct cb_cbwatts_columns columns;

    memset(ret_estimate, 0, sizeof(*ret_estimate));
    ret_estimate->prior = model->ticks <= 1;
    if (model->ticks == 0 || tick->n_events == 0) {
        estimate_prior(tick, power_w, ret_estimate);
        return;
    }
    make_columns(tick, true, &columns);
    ret_estimate->idle_w = expert->idle_w;
    ret_estimate->noise_w = sqrt(cb_cbwatts_noise(model, power_w));
    ret_estimate->structure_w = tuning.structure_part * ret_estimate->noise_w;
    ret_estimate->unseen_share = tuning.unseen_share;
    for (size_t i = 0; i < columns.n; i++) {
        double coef_w = expert->weight[columns.at[i]] * columns.value_per_rate[i];

        ret_estimate->coef_w[columns.event[i]] += coef_w;
    }
    cb_cbwatts_spread(model, tick, &columns, ret_estimate);
    if (!is_sound(ret_estimate, tick->n_events)) {
        memset(ret_estimate, 0, sizeof(*ret_estimate));
        ret_estimate->prior = true;
        estimate_prior(tick, power_w, ret_estimate);
    }
}

static void learn_errors(struct cb_cbwatts *model, const struct cb_cbwatts_columns *columns,
                         double power_w)
{
    for (size_t k = 0; k < SPLITTER; k++) {
        struct cb_cbwatts_expert *expert = &model->experts[k];
        double residual_w = clamp_power(model, cb_expert_predict(expert, columns)) - power_w;

        expert->error_w =
            tuning.mix_memory * expert->error_w + (1 - tuning.mix_memory) * fabs(residual_w);
    }
}

/*
 * A power that no load explains, or a load that no power shows: a counter that stood still, or
 * jumped. It is left out, unless it goes on: the third in a row is how things are now. A first tick
 * that was such a thing (the second is five times it, or a fifth, under no other load) is forgotten
 * altogether.
 */
static bool is_outlier(struct cb_cbwatts *model, const struct cb_model_tick *tick, double power_w)
{
    double lowest_w = model->least_w / tuning.outlier, highest_w = model->most_w * tuning.outlier;
    bool out = power_w < lowest_w || power_w > highest_w;
    double clock = cb_cbwatts_clock_rate(tick);

    if (model->ticks == 0)
        return false;
    if (model->ticks == 1 && out && power_w > highest_w && clock < 2 * model->most_activity) {
        cb_cbwatts_init(model);
        return false;
    }
    if (power_w > highest_w && clock > 2 * model->most_activity)
        out = false; /* the load explains it */
    if (model->ticks >= tuning.outlier_clocks_after && power_w <= model->most_w &&
        clock > tuning.outlier * model->most_activity) {
        out = true; /* more than ever went on, and it shows in nothing: counts that jumped */
        model->most_activity *= tuning.outlier_growth;
    }
    if (clock <= 0 && model->most_activity > 0)
        out = true; /* something always runs */
    model->outliers = out ? model->outliers + 1 : 0;
    return out && model->outliers < tuning.outliers_in_a_row;
}

/* What was learnt about the columns that count activity is in another unit now. */
static void begin_clocks(struct cb_cbwatts *model, uint32_t clocks)
{
    /* while nothing had been counted yet, the power was not idle's for that */
    if (model->ticks > 0 && model->clocks == 0 && clocks != 0)
        cb_cbwatts_init(model);
    if (model->ticks > 0 && model->clocks != clocks) {
        model->most_activity = 0;
        model->anchor_ticks = 0;
    }
    model->clocks = clocks;
}

/* Energy and counts are read some time apart, the same for a long tick and a short one: the error
 * is so many joules, so a short tick's power says little. */
static double part_of(struct cb_cbwatts *model, const struct cb_model_tick *tick)
{
    double part;

    if (model->ticks == 0)
        model->usual_seconds = tick->seconds;
    part = tick->seconds / model->usual_seconds;
    model->usual_seconds += (tick->seconds - model->usual_seconds) * (part > 1 ? 0.5 : 0.02);
    return cb_cbwatts_clamp(part * part, 1e-6, 1);
}

void cb_cbwatts_learn(struct cb_cbwatts *model, const struct cb_model_tick *tick, double power_w)
{
    struct cb_cbwatts_columns with_roots, linear;
    double part, trust;

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
    part = part_of(model, tick);
    trust = cb_cbwatts_trust(model, tick, &linear, power_w, part);
    if (model->ticks == 0 || part >= tuning.anchor_weight)
        cb_cbwatts_learn_idle(model, tick, power_w);
    for (size_t k = EXPERTS; k-- > 0;) { /* the splitter first: the others lean on its idle */
        struct cb_cbwatts_expert *expert = &model->experts[k];
        const struct cb_cbwatts_columns *columns = k == SPLITTER ? &linear : &with_roots;

        cb_expert_add(expert, pow(tuning.memory[k], part), k == SPLITTER ? trust : part, columns,
                      power_w);
        if (model->ticks == 0)
            expert->idle_w = model->idle_prior_w;
        cb_expert_fit(model, expert, columns, tick, k == SPLITTER);
    }
    memcpy(model->last_rates, tick->rates, sizeof(model->last_rates));
    model->ticks++;
}
