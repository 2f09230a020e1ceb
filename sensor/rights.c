/* SPDX-License-Identifier: Apache-2.0 */
/* rights.c - see rights.h. */
#include "sensor/rights.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>

#include <cap-ng.h>

#include "lib/err.h"
#include "sensor/perf.h"

static bool has(unsigned capability)
{
    return capng_have_capability(CAPNG_PERMITTED, capability) == 1;
}

/* Does this kernel refuse to count without CAP_SYS_ADMIN? Tried without it, which is permitted
 * still.
 */
static bool counting_needs_admin(uint32_t cpu)
{
    if (!has(CAP_PERFMON) || !has(CAP_SYS_ADMIN))
        return false; /* there is no choice */
    if (capng_update(CAPNG_DROP, CAPNG_EFFECTIVE, CAP_SYS_ADMIN) < 0 ||
        capng_apply(CAPNG_SELECT_CAPS) < 0)
        return false;
    return cb_perf_probe(-1, cpu, NULL) == -EACCES;
}

int cb_rights_drop(uint32_t cpu, bool will_unmount, bool uses_bpf, char *ret_kept, size_t size,
                   struct cb_err *err)
{
    unsigned wanted[8];
    unsigned keep[8];
    size_t n_wanted = 0;
    size_t n_keep = 0;

    if (capng_get_caps_process() < 0)
        return cb_err_set(err, EPERM, "cannot read the process's capabilities");
    wanted[n_wanted++] = has(CAP_PERFMON) ? CAP_PERFMON : CAP_SYS_ADMIN;
    wanted[n_wanted++] = CAP_DAC_READ_SEARCH;
    if (counting_needs_admin(cpu))
        wanted[n_wanted++] = CAP_SYS_ADMIN;
    if (uses_bpf)
        wanted[n_wanted++] = has(CAP_BPF) ? CAP_BPF : CAP_SYS_ADMIN;
    if (will_unmount) {
        wanted[n_wanted++] = CAP_SYS_ADMIN;
        wanted[n_wanted++] = CAP_SYS_CHROOT;
        wanted[n_wanted++] = CAP_SYS_PTRACE;
        wanted[n_wanted++] = CAP_DAC_OVERRIDE;
    }
    for (size_t i = 0; i < n_wanted; i++)
        if (has(wanted[i]))
            keep[n_keep++] = wanted[i];
    capng_clear(CAPNG_SELECT_CAPS);
    ret_kept[0] = '\0';
    for (size_t i = 0; i < n_keep; i++) {
        size_t n = strlen(ret_kept);

        if (capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, keep[i]) < 0)
            return cb_err_set(err, EPERM, "cannot choose the capabilities to keep");
        (void)snprintf(ret_kept + n, size - n, "%s%s", n ? ", " : "",
                       capng_capability_to_name(keep[i]));
    }
    if (n_keep == 0)
        (void)snprintf(ret_kept, size, "none");
    if (capng_apply(CAPNG_SELECT_CAPS) < 0)
        return cb_err_set(err, EPERM, "cannot give up capabilities");
    return 0;
}
