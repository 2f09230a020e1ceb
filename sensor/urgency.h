/* SPDX-License-Identifier: Apache-2.0 */
/*
 * urgency.h - let the calling thread run soon after it wakes, so that a tick begins in time on a
 * busy machine.
 *
 * How      a nice value of -10 and, where the kernel knows it (6.12), a short time slice: both only
 *          decide who goes first, and what the thread uses is as little as before. Threads that it
 *          starts are ordinary ones (SCHED_FLAG_RESET_ON_FORK).
 * Rights   CAP_SYS_NICE for the nice value, at the call only; without it the slice alone.
 */
#ifndef CB_SENSOR_URGENCY_H
#define CB_SENSOR_URGENCY_H

#include "lib/cleanup.h"

struct cb_err;

/* -EPERM: only the slice is shorter; -ENOSYS and others: nothing has changed. */
int cb_urgency_raise(struct cb_err *err) cb_must_check;

#endif
