/* SPDX-License-Identifier: Apache-2.0 */
/*
 * confine.h - a seccomp filter: what the running sensor never does, it can do no more.
 *
 * Allowed  what reading counters and files, keeping the spool and talking to cbformula, runtimes
 *          and name servers need: files, threads, timers, inotify, unix and TCP/UDP sockets,
 *          perf_event_open(2), bpf(2). With a mount to undo at exit: that, and the child that does
 *          it.
 * Killed   starting programs, tracing others, loading modules, changing users, mounting: the whole
 *          process ends with SIGSYS, so that nobody tries twice.
 * Others   fail with ENOSYS, as on a kernel that lacks them: libraries then take the older way.
 *          So do raw sockets, and memory that is writable and executable at once.
 * When     once, before any thread is started: threads inherit it, and so do children. It cannot
 *          be taken off. Sets no_new_privs.
 */
#ifndef CB_SENSOR_CONFINE_H
#define CB_SENSOR_CONFINE_H

#include <stdbool.h>

#include "lib/cleanup.h"

struct cb_err;

/* -ENOTSUP: this kernel has no seccomp filters; -ENOMEM and others: it is not in force. */
int cb_confine(bool will_unmount, struct cb_err *err) cb_must_check;

#endif
