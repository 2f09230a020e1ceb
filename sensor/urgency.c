/* SPDX-License-Identifier: Apache-2.0 */
/* urgency.c - see urgency.h. */
#include "sensor/urgency.h"

#include <errno.h>
#include <linux/sched.h>
#include <linux/sched/types.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/err.h"

#define NICE (-10)
#define SLICE_NS 100000 /* the shortest that the kernel takes */
#define FIFO_PRIORITY 1
#define AWAKE_US 3000000       /* without a pause, as SCHED_FIFO: then it is that no more */
#define MOST_AWAKE_US 10000000 /* then the kernel ends the process */

static pid_t fifo_thread; /* for the signal's handler */

static int set(pid_t thread, int nice)
{
    struct sched_attr attr = {
        .size = sizeof(attr),
        .sched_policy = SCHED_NORMAL,
        .sched_flags = SCHED_FLAG_RESET_ON_FORK,
        .sched_nice = nice,
        .sched_runtime = SLICE_NS,
    };

    return syscall(SYS_sched_setattr, thread, &attr, 0) < 0 ? -errno : 0;
}

static int set_fifo(void)
{
    struct sched_attr attr = {
        .size = sizeof(attr),
        .sched_policy = SCHED_FIFO,
        .sched_flags = SCHED_FLAG_RESET_ON_FORK,
        .sched_priority = FIFO_PRIORITY,
    };

    return syscall(SYS_sched_setattr, 0, &attr, 0) < 0 ? -errno : 0;
}

/* Lower a limit of this process to @soft and @hard, what is lower stays. */
static int lower_limit(__rlimit_resource_t resource, rlim_t soft, rlim_t hard)
{
    struct rlimit limit;

    if (getrlimit(resource, &limit) < 0)
        return -errno;
    limit.rlim_max = limit.rlim_max < hard ? limit.rlim_max : hard;
    limit.rlim_cur = limit.rlim_cur < soft ? limit.rlim_cur : soft;
    if (limit.rlim_max <= limit.rlim_cur)
        return -ERANGE; /* the kernel would end the process without the signal before */
    return setrlimit(resource, &limit) < 0 ? -errno : 0;
}

/* SIGXCPU. Without the rights of the start: a nice value that the thread has had is no more. */
static void lower_again(int signal)
{
    int saved = errno;

    (void)signal;
    (void)set(fifo_thread, NICE);
    errno = saved;
}

/* So that threads which start when the rights are given up may raise themselves, too; to raise the
 * limit needs CAP_SYS_RESOURCE. */
static void let_later_threads(void)
{
    const struct rlimit nice_limit = {20 - NICE, 20 - NICE};

    (void)setrlimit(RLIMIT_NICE, &nice_limit);
}

int cb_urgency_raise(struct cb_err *err)
{
    int r = set(0, NICE);

    if (r == 0)
        let_later_threads();
    if (r == -EPERM || r == -EACCES) {
        r = set(0, 0);
        if (r == 0)
            return cb_err_set(err, EPERM, "no right to a higher priority (CAP_SYS_NICE)");
    }
    return r < 0 ? cb_err_set(err, -r, "cannot set the priority: %s", strerror(-r)) : 0;
}

int cb_urgency_raise_more(struct cb_err *err)
{
    const struct sigaction action = {.sa_handler = lower_again, .sa_flags = SA_RESTART};
    int r = lower_limit(RLIMIT_RTTIME, AWAKE_US, MOST_AWAKE_US);

    fifo_thread = gettid();
    if (r == 0 && sigaction(SIGXCPU, &action, NULL) < 0)
        r = -errno;
    if (r == 0)
        r = set_fifo();
    return r < 0 ? cb_err_set(err, -r, "no real-time priority: %s", strerror(-r)) : 0;
}
