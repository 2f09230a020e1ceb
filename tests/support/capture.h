/* SPDX-License-Identifier: Apache-2.0 */
/* capture.h - what is printed between two calls, through files below a fake root. */
#ifndef CB_TESTS_CAPTURE_H
#define CB_TESTS_CAPTURE_H

#include <stddef.h>

#include "tests/support/fake_root.h"

struct capture {
    const struct fake_root *root;
    int out, err; /* the real ones */
};

void capture_begin(struct capture *capture, const struct fake_root *root);

/* The texts that went to stdout and stderr, cut where they do not fit. */
void capture_end(struct capture *capture, char *out, size_t out_size, char *err, size_t err_size);

#endif
