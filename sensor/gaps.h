/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gaps.h - what could not be read, and why: the list that goes into every frame.
 *
 * Standing gaps are said once and stay (an event this CPU lacks); the others are of one tick.
 * The texts live in the list: nothing is allocated after init. One thread.
 */
#ifndef CB_SENSOR_GAPS_H
#define CB_SENSOR_GAPS_H

#include <stddef.h>

#include "lib/frame.h"

struct cb_gaps {
    size_t n;
    size_t n_standing;
    size_t dropped; /* this tick, for lack of room */
    struct cb_frame_gap at[CB_FRAME_MAX_GAPS];
    char source[CB_FRAME_MAX_GAPS][112];
    char reason[CB_FRAME_MAX_GAPS][256];
};

/* Forget the gaps of the last tick; the standing ones stay. */
void cb_gaps_reset(struct cb_gaps *gaps);

/* When the list is full the gap is counted in `dropped`. */
void cb_gaps_add(struct cb_gaps *gaps, const char *source, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* A standing gap; before the first tick, or right after cb_gaps_reset(). */
void cb_gaps_add_standing(struct cb_gaps *gaps, const char *source, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
