/* SPDX-License-Identifier: Apache-2.0 */
/*
 * urgency.h - let the calling thread run soon after it wakes, so that a tick begins in time on a
 * busy machine.
 *
 * How      a nice value of -10 and, where the kernel knows it (6.12), a short time slice: both only
 *          decide who goes first, and what the thread uses is as little as before. Threads that it
 *          starts are ordinary ones (SCHED_FLAG_RESET_ON_FORK); they may follow it, also when the
 *          process has given up its rights (RLIMIT_NICE, RLIMIT_RTPRIO), where it had
 *          CAP_SYS_RESOURCE.
 * Often    for ticks of CB_URGENCY_OFTEN_NS or shorter that is too late too often: they go before
 *          all that is ordinary (SCHED_FIFO, the lowest priority there). When a thread then does
 *          not sleep for three seconds (RLIMIT_RTTIME), all go back to the nice value for good, so
 *          that no sensor takes a CPU away; after ten the kernel ends the process.
 * Rights   CAP_SYS_NICE, at the call only; without it the slice alone. In a cgroup without
 *          real-time budget (v1 cpu controller) the kernel refuses SCHED_FIFO all the same.
 * Threads  one thread raises itself and looks; any may follow it.
 */
#ifndef CB_SENSOR_URGENCY_H
#define CB_SENSOR_URGENCY_H

#include "lib/cleanup.h"

struct cb_err;

#define CB_URGENCY_OFTEN_NS 10000000u

/* -EPERM: only the slice is shorter; -ENOSYS and others: nothing has changed. */
int cb_urgency_raise(struct cb_err *err) cb_must_check;

/* For ticks that come often, of one thread of the process, after cb_urgency_raise(). -EPERM and
 * others: it stays as that has left it. */
int cb_urgency_raise_more(struct cb_err *err) cb_must_check;

/* In a later thread, at each of its turns: as urgent as the thread that has raised itself is now,
 * as far as it may. It costs a comparison when nothing has changed. */
void cb_urgency_follow(void);

/* In work of the raised thread that may last: sleep for an instant, so that it stays what it is
 * and others have their turn. */
void cb_urgency_pause(void);

/* At each tick of the raised thread: log that the kernel has found it awake for too long. */
void cb_urgency_look(void);

#endif
