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
    uint32_t clocks;   /* bit per column: it counts busy time or cycles, the first guess at power */
    uint32_t weak;     /* bit per column: hardly a cause of power, whatever it goes along with */
    uint32_t memory;   /* bit per column: goes on outside the cores, whose frequency it has not */
    double frequency;  /* relative to the nominal one; 0: not known */
    double idle_share; /* of the domain's full power, where nothing is known yet; 0 .. 1 */
    double busy;       /* share of the CPUs' time in use, 0 .. 1; negative: not known */
};

/* What the model knows for sharing a tick's energy out. All finite. */
struct cb_model_estimate {
    double idle_w;
    double idle_sd_w;
    double coef_w[CB_MODEL_EVENTS];                /* watts for a rate of 1 per second; >= 0 */
    double cov[CB_MODEL_EVENTS * CB_MODEL_EVENTS]; /* of coef_w, row-major, stride n_events */
    double noise_w;      /* standard deviation of one tick's power about the model */
    double structure_w;  /* the part of it that stays from tick to tick */
    double unseen_share; /* sd of what no counter tells of a part, as a share of it */
    bool prior;          /* nothing learnt yet but this tick */
};

#endif
