/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unreadable.h - what a frame says its sensor could not read, or does not measure at all: how much,
 * and the names of the first of them, each once and cut to a bounded length.
 */
#ifndef CB_FORMULA_UNREADABLE_H
#define CB_FORMULA_UNREADABLE_H

#include <stddef.h>

struct cb_frame;

#define CB_UNREADABLE_NAMES 16
#define CB_UNREADABLE_NAME_SIZE 128

struct cb_unreadable {
    size_t n; /* gaps of the frame; some may have one name */
    size_t n_names;
    char names[CB_UNREADABLE_NAMES][CB_UNREADABLE_NAME_SIZE];
};

void cb_unreadable_of_frame(const struct cb_frame *frame, struct cb_unreadable *ret);

#endif
