/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_pair.h - two halves of one program, each a process of its own, that live and end together:
 * the reports of hwpc-sensor's command line and the frames for cbformula (--formula).
 *
 * Signals  SIGINT, SIGTERM and SIGHUP go to both. Where one ends the other is told to, and so is a
 *          half whose parent is gone.
 * When     before any thread is started.
 */
#ifndef CB_SENSOR_CMD_PAIR_H
#define CB_SENSOR_CMD_PAIR_H

#include "lib/cleanup.h"

struct cb_err;

/* Run @half[0] and @half[1] with @context; what they return is their exit status. Returns the first
 * status that is not 0, or 0; -errno when there is no second process. */
int cb_cmd_pair(int (*const half[2])(void *context), void *context,
                struct cb_err *err) cb_must_check;

#endif
