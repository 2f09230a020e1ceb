/* SPDX-License-Identifier: Apache-2.0 */
/* dump.h - a frame as one line of JSON, for --output: to look at, and for tests. The members are
 * named as in lib/frame.h; rows hold the counts by event name, summed over the sockets and
 * the kinds of cores. */
#ifndef CB_SENSOR_DUMP_H
#define CB_SENSOR_DUMP_H

#include <stdio.h>

#include "lib/cleanup.h"
#include "lib/frame.h"

struct cb_err;

/* Any errno of writing. */
int cb_dump_frame(FILE *out, const struct cb_frame *frame, struct cb_err *err) cb_must_check;

#endif
