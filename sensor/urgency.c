/* SPDX-License-Identifier: Apache-2.0 */
/* urgency.c - see urgency.h. */
#include "sensor/urgency.h"

#include <errno.h>
#include <linux/sched.h>
#include <linux/sched/types.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/err.h"

#define NICE (-10)
#define SLICE_NS 100000 /* the shortest that the kernel takes */

static int set(int nice)
{
    struct sched_attr attr = {
        .size = sizeof(attr),
        .sched_policy = SCHED_NORMAL,
        .sched_flags = SCHED_FLAG_RESET_ON_FORK,
        .sched_nice = nice,
        .sched_runtime = SLICE_NS,
    };

    return syscall(SYS_sched_setattr, 0, &attr, 0) < 0 ? -errno : 0;
}

int cb_urgency_raise(struct cb_err *err)
{
    int r = set(NICE);

    if (r == -EPERM || r == -EACCES) {
        r = set(0);
        if (r == 0)
            return cb_err_set(err, EPERM, "no right to a higher priority (CAP_SYS_NICE)");
    }
    return r < 0 ? cb_err_set(err, -r, "cannot set the priority: %s", strerror(-r)) : 0;
}
