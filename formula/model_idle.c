/* SPDX-License-Identifier: Apache-2.0 */
/* model_idle.c - what idle power is likely to be before the load has varied: see docs/model.md. */
#include <math.h>

#include "formula/model_cbwatts_private.h"

static const struct {
    double load_bend;                   /* of power over load, b in u (1 + b) / (u + b) */
    double guessed_load;                /* the most activity seen, as a share of the CPUs' time */
    double idle_spread, guessed_spread; /* of the prior, where the load is known and where not */
    double anchor_spread;               /* of the power under the least load */
    double forget;                      /* what the least activity seen grows by in a tick */
    double same_below, same_above;      /* activity within these factors is the same load */
    double same_power; /* less activity cannot mean more power than by this factor */
    double most_ticks;
} tuning = {
    .load_bend = 1,
    .guessed_load = 0.1,
    .idle_spread = 0.7,
    .guessed_spread = 1.4,
    .anchor_spread = 0.02,
    .forget = 1.0005,
    .same_below = 0.8,
    .same_above = 1.25,
    .same_power = 1.05,
    .most_ticks = 60,
};

double cb_cbwatts_idle_part(double idle_share, double busy)
{
    double load = cb_cbwatts_clamp(busy, 0, 1);

    load *= (1 + tuning.load_bend) / (load + tuning.load_bend);
    return idle_share / (idle_share + (1 - idle_share) * load);
}

/* The least activity seen and the mean power under it; an old record gives way. Less activity under
 * more power is no less load: counts are missing, or somebody's work is not counted. */
static void learn_anchor(struct cb_cbwatts *model, double activity, double busy, double power_w)
{
    bool less = activity < tuning.same_below * model->anchor_activity;

    model->most_activity = fmax(model->most_activity, activity);
    model->anchor_activity *= tuning.forget;
    if (model->anchor_ticks > 0 && less && power_w > tuning.same_power * model->anchor_w)
        return;
    if (model->anchor_ticks == 0 || less) {
        model->anchor_ticks = 1;
        model->anchor_activity = activity;
        model->anchor_busy = busy;
        model->anchor_w = power_w;
    } else if (activity <= tuning.same_above * model->anchor_activity) {
        model->anchor_ticks = fmin(model->anchor_ticks + 1, tuning.most_ticks);
        model->anchor_w += (power_w - model->anchor_w) / model->anchor_ticks;
        model->anchor_activity += (activity - model->anchor_activity) / model->anchor_ticks;
        model->anchor_busy += (busy - model->anchor_busy) / model->anchor_ticks;
    }
}

void cb_cbwatts_learn_idle(struct cb_cbwatts *model, const struct cb_model_tick *tick,
                           double power_w)
{
    double load = 0, spread = tuning.idle_spread, part;

    learn_anchor(model, cb_cbwatts_clock_rate(tick), tick->busy, power_w);
    if (model->anchor_busy >= 0) {
        load = model->anchor_busy;
    } else { /* no share of the CPUs known: the most activity seen is taken for a light load */
        spread = tuning.guessed_spread;
        if (model->most_activity > 0)
            load = tuning.guessed_load * model->anchor_activity / model->most_activity;
    }
    part = cb_cbwatts_idle_part(tick->idle_share, load);
    model->idle_prior_w = part * model->anchor_w;
    model->idle_prior_sd_w =
        (spread * part * (1 - part) + tuning.anchor_spread) * model->anchor_w + 1e-9;
}
