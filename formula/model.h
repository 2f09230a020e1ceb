/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.h - what every power model of one (machine, socket, domain) sees and says.
 *
 * A model is pure: no I/O, no clock, no allocation; the same ticks in the same order give the same
 * bits. Events are columns 0 .. n_events - 1; a column keeps its meaning for the model's life.
 */
#ifndef CB_FORMULA_MODEL_H
#define CB_FORMULA_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CB_MODEL_EVENTS 12

/* One tick of the whole machine (or of the sum of its containers, where that is all there is). */
struct cb_model_tick {
    double seconds; /* > 0 */
    size_t n_events;
    double rates[CB_MODEL_EVENTS]; /* counts per second; finite, >= 0 */
    uint32_t clocks;  /* bit per column: it counts busy time or cycles, the first guess at power */
    double frequency; /* relative to the nominal one; 0: not known */
    double busy;      /* share of the CPUs' time in use, 0 .. 1; negative: not known */
};

/* What the model knows before it learns from the tick. All finite but predicted_w (NAN: none). */
struct cb_model_estimate {
    double predicted_w; /* idle included */
    double idle_w;
    double idle_sd_w;
    double coef_w[CB_MODEL_EVENTS];                /* watts for a rate of 1 per second; >= 0 */
    double cov[CB_MODEL_EVENTS * CB_MODEL_EVENTS]; /* of coef_w, row-major, stride n_events */
    double noise_w;     /* standard deviation of one tick's power about the model */
    double structure_w; /* the part of it that stays from tick to tick */
    bool prior;         /* nothing learnt yet */
};

#endif
