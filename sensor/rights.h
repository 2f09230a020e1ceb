/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rights.h - give up every capability but those the running sensor needs.
 *
 * Kept     CAP_PERFMON (new containers need new counters; CAP_SYS_ADMIN where it is missing) and
 *          CAP_DAC_READ_SEARCH (files of containers); CAP_BPF when BPF counts. With a mount to undo
 *          at exit also CAP_SYS_ADMIN, CAP_SYS_CHROOT, CAP_SYS_PTRACE and CAP_DAC_OVERRIDE (the
 *          root of a cgroup hierarchy is read-only even to its owner).
 *          CAP_SYS_ADMIN stays also where this kernel lets nobody count without it: some
 *          distributions' do when kernel.perf_event_paranoid is above 2.
 * When     after every other privileged descriptor is open, before any thread is started:
 *          capabilities belong to threads.
 */
#ifndef CB_SENSOR_RIGHTS_H
#define CB_SENSOR_RIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"

struct cb_err;

/* @cpu: an online one, to try on. @ret_kept: the names of what is kept, for the log. Only what the
 * process has can be kept. */
int cb_rights_drop(uint32_t cpu, bool will_unmount, bool uses_bpf, char *ret_kept, size_t size,
                   struct cb_err *err) cb_must_check;

#endif
