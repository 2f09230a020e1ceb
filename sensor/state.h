/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - the sensor's own directory: made with mode 0700 where it is missing, and locked, so
 * that two sensors never share one key and one spool.
 *
 * Files    lock (flock(2), holds the process id), sensor.key, sensor.pub, spool/.
 */
#ifndef CB_SENSOR_STATE_H
#define CB_SENSOR_STATE_H

#include "lib/cleanup.h"

struct cb_err;

struct cb_state {
    int dir_fd;
    int lock_fd; /* -1: not locked */
    int spool_fd;
};

/* Open @path. -EACCES, -EROFS, ...: cannot be made; the text has the remedy. */
int cb_state_open(struct cb_state *state, const char *path, struct cb_err *err) cb_must_check;

/* Lock it and open spool/. -EBUSY: another sensor has it. */
int cb_state_lock(struct cb_state *state, const char *path, struct cb_err *err) cb_must_check;

/* To be asked once capabilities are given up: can frames be spooled by who we are then? -EACCES: it
 * belongs to another user, which root without capabilities may not override; -EROFS and others. */
int cb_state_check(const struct cb_state *state, const char *path,
                   struct cb_err *err) cb_must_check;

void cb_state_close(struct cb_state *state);

#endif
