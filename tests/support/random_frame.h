/* SPDX-License-Identifier: Apache-2.0 */
/* random_frame.h - valid frames made from a seed: the same seed gives the same frame. */
#ifndef CB_TESTS_RANDOM_FRAME_H
#define CB_TESTS_RANDOM_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/frame.h"

/* splitmix64: a seed is a whole generator. */
uint64_t random_next(uint64_t *seed);
/* 0 .. n - 1 */
uint64_t random_below(uint64_t *seed, uint64_t n);

struct random_frame_size {
    uint32_t max_sockets;
    size_t max_targets;
    size_t max_events;
};

/* Release it with random_frame_free(). Its arrays and texts are its own; `arena` is NULL. */
struct cb_frame *random_frame_new(uint64_t seed, const struct random_frame_size *size);
void random_frame_free(struct cb_frame *frame);

/* Every field is the same; an unknown text ("" or NULL) equals an unknown one. */
bool frames_equal(const struct cb_frame *a, const struct cb_frame *b);

#endif
