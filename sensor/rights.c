/* SPDX-License-Identifier: Apache-2.0 */
/* rights.c - see rights.h. */
#include "sensor/rights.h"

#include <errno.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

/* What is wanted, whether it is there or not; returns how many. */
static size_t choose(const struct cb_rights_needs *needs, unsigned wanted[16])
{
    size_t n = 0;

    wanted[n++] = has(CAP_PERFMON) ? CAP_PERFMON : CAP_SYS_ADMIN;
    wanted[n++] = CAP_DAC_READ_SEARCH;
    if (counting_needs_admin(needs->cpu))
        wanted[n++] = CAP_SYS_ADMIN;
    if (needs->may_use_bpf)
        wanted[n++] = has(CAP_BPF) ? CAP_BPF : CAP_SYS_ADMIN;
    if (needs->reads_registers)
        wanted[n++] = CAP_SYS_RAWIO;
    if (needs->will_unmount) {
        wanted[n++] = CAP_SYS_ADMIN;
        wanted[n++] = CAP_SYS_CHROOT;
        wanted[n++] = CAP_SYS_PTRACE;
        wanted[n++] = CAP_DAC_OVERRIDE;
    }
    return n;
}

static void add_name(char *kept, size_t size, const char *name)
{
    size_t n = strlen(kept);

    (void)snprintf(kept + n, size - n, "%s%s", n ? ", " : "", name);
}

int cb_rights_drop(const struct cb_rights_needs *needs, char *ret_kept, size_t size,
                   struct cb_err *err)
{
    unsigned wanted[16];
    bool keep[16];
    size_t n;

    if (capng_get_caps_process() < 0)
        return cb_err_set(err, EPERM, "cannot read the process's capabilities");
    n = choose(needs, wanted);
    for (size_t i = 0; i < n; i++) {
        keep[i] = has(wanted[i]);
        for (size_t k = 0; k < i; k++)
            keep[i] = keep[i] && wanted[k] != wanted[i];
    }
    capng_clear(CAPNG_SELECT_CAPS);
    ret_kept[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        if (!keep[i])
            continue;
        if (capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, wanted[i]) < 0)
            return cb_err_set(err, EPERM, "cannot choose the capabilities to keep");
        add_name(ret_kept, size, capng_capability_to_name(wanted[i]));
    }
    if (!*ret_kept)
        add_name(ret_kept, size, "none");
    if (capng_apply(CAPNG_SELECT_CAPS) < 0)
        return cb_err_set(err, EPERM, "cannot give up capabilities");
    return 0;
}

void cb_rights_user(char *ret_name, size_t size)
{
    const struct passwd *user = getpwuid(geteuid());

    (void)snprintf(ret_name, size, "%s (%u)", user ? user->pw_name : "user", (unsigned)geteuid());
}
