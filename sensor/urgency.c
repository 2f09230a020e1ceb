/* SPDX-License-Identifier: Apache-2.0 */
/* urgency.c - see urgency.h. */
#include "sensor/urgency.h"

#include <errno.h>
#include <linux/sched.h>
#include <linux/sched/types.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/log.h"

#define NICE (-10)
#define SLICE_NS 100000 /* the shortest that the kernel takes */
#define FIFO_PRIORITY 1
#define PAUSE_NS 50000 /* a timer that is over before the thread is away is no sleep */
#define LOG_NS (60 * CB_NS_PER_S)
#define AWAKE_US 3000000       /* without a pause, as SCHED_FIFO: then it is that no more */
#define MOST_AWAKE_US 10000000 /* then the kernel ends the process */

enum urgency { ORDINARY, FIRST, BEFORE_ALL };

static pid_t fifo_thread; /* for the signal's handler */
static atomic_int wanted = ORDINARY;
static atomic_bool lowered;
static struct cb_log_limit lowered_limit;

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

/* Of the thread that calls. */
static int own_nice(void)
{
    return getpriority(PRIO_PROCESS, 0);
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
    atomic_store(&wanted, FIRST);
    atomic_store(&lowered, true);
    errno = saved;
}

/* So that threads which start when the rights are given up may raise themselves, too; to raise the
 * limit needs CAP_SYS_RESOURCE. */
static void let_later_threads(__rlimit_resource_t resource, rlim_t most)
{
    const struct rlimit limit = {most, most};

    (void)setrlimit(resource, &limit);
}

int cb_urgency_raise(struct cb_err *err)
{
    int r = set(0, NICE);

    atomic_store(&wanted, FIRST);
    if (r == 0)
        let_later_threads(RLIMIT_NICE, 20 - NICE);
    if (r == -EPERM || r == -EACCES) {
        r = set(0, own_nice());
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
    if (r < 0)
        return cb_err_set(err, -r, "no real-time priority: %s", strerror(-r));
    let_later_threads(RLIMIT_RTPRIO, FIFO_PRIORITY);
    atomic_store(&wanted, BEFORE_ALL);
    return 0;
}

void cb_urgency_follow(void)
{
    static _Thread_local int mine = ORDINARY;
    int now = atomic_load(&wanted);

    if (mine == now)
        return;
    mine = now;
    if (now == BEFORE_ALL && set_fifo() == 0)
        return;
    if (now != ORDINARY && set(0, NICE) < 0)
        (void)set(0, own_nice());
}

void cb_urgency_pause(void)
{
    const struct timespec instant = {.tv_nsec = PAUSE_NS};

    (void)nanosleep(&instant, NULL);
}

void cb_urgency_look(void)
{
    if (atomic_load(&lowered) && atomic_exchange(&lowered, false))
        cb_log_limited(&lowered_limit, LOG_NS, CB_LOG_WARN,
                       "three seconds without a pause: the ticks go without real-time priority "
                       "from now on and may be late on a busy machine; a longer --tick (-f) helps");
}
