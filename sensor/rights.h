/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rights.h - give up every capability but those the running sensor needs.
 *
 * Kept     CAP_PERFMON (new containers need new counters; CAP_SYS_ADMIN where it is missing) and
 *          CAP_DAC_READ_SEARCH (powercap, files of containers); CAP_BPF where BPF counts or may
 *          have to; CAP_SYS_RAWIO where energy comes from the registers, for those of a CPU that
 *          comes later. With a mount to undo at exit also CAP_SYS_ADMIN, CAP_SYS_CHROOT,
 *          CAP_SYS_PTRACE and CAP_DAC_OVERRIDE (the root of a cgroup hierarchy is read-only even to
 *          its owner).
 *          CAP_SYS_ADMIN stays also where this kernel lets nobody count without it: some
 *          distributions' do when kernel.perf_event_paranoid is above 2.
 * User     stays who started the sensor. Root without capabilities still owns the sockets of the
 *          engines; another user reaches them by its groups.
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

struct cb_rights_needs {
    uint32_t cpu; /* an online one, to try on */
    bool will_unmount;
    bool may_use_bpf;
    bool reads_registers;
};

/* @ret_kept: the names of what is kept, for the log. Only what the process has can be kept. */
int cb_rights_drop(const struct cb_rights_needs *needs, char *ret_kept, size_t size,
                   struct cb_err *err) cb_must_check;

/* Who runs it, for the log: "root (0)". */
void cb_rights_user(char *ret_name, size_t size);

#endif
