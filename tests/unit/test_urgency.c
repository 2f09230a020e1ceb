/* SPDX-License-Identifier: Apache-2.0 */
/* test_urgency.c - sensor/urgency.c, with the rights and without. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cap-ng.h>
#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/err.h"
#include "sensor/urgency.h"

static int nice_of_thread(void)
{
    return getpriority(PRIO_PROCESS, (id_t)gettid());
}

static void *nice_of_new_thread(void *context)
{
    *(int *)context = nice_of_thread();
    return NULL;
}

static void *nice_of_following_thread(void *context)
{
    cb_urgency_follow();
    return nice_of_new_thread(context);
}

/* The kernel knows it from 6.12 on; before, it is 0. */
static bool has_short_slice(void)
{
    struct { /* sched_setattr(2); <linux/sched/types.h> and <sched.h> exclude each other */
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime_ns, deadline_ns, period_ns;
    } attr = {0};

    if (syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0) < 0)
        return false;
    return attr.runtime_ns == 0 || attr.runtime_ns == 100000;
}

static int nice_at_start; /* "nice make test" is no reason to fail */

/* In a child, for a nice value stays: 0 when all is as promised. */
static int raise_it(bool with_rights)
{
    pthread_t thread;
    struct rlimit limit;
    struct cb_err err = {0};
    int of_new = 99;
    int r;

    if (!with_rights) {
        capng_clear(CAPNG_SELECT_CAPS);
        if (capng_apply(CAPNG_SELECT_CAPS) < 0)
            return 1;
    }
    r = cb_urgency_raise(&err);
    if (with_rights && r == -EPERM)
        return 77;
    if (r != (with_rights ? 0 : -EPERM))
        return 2;
    if (nice_of_thread() != (with_rights ? -10 : nice_at_start))
        return 3;
    if (!has_short_slice())
        return 9;
    if (pthread_create(&thread, NULL, nice_of_new_thread, &of_new) != 0 ||
        pthread_join(thread, NULL) != 0)
        return 4;
    if (of_new != (with_rights ? 0 : nice_at_start))
        return 5;
    /* those may follow, also when the rights are gone */
    capng_clear(CAPNG_SELECT_CAPS);
    if (capng_apply(CAPNG_SELECT_CAPS) < 0 ||
        pthread_create(&thread, NULL, nice_of_following_thread, &of_new) != 0 ||
        pthread_join(thread, NULL) != 0)
        return 6;
    if (getrlimit(RLIMIT_NICE, &limit) < 0)
        return 8;
    return of_new == (limit.rlim_cur >= 30 ? -10
                      : with_rights        ? 0
                                           : nice_at_start)
               ? 0
               : 7; /* 0: no CAP_SYS_RESOURCE here */
}

static int policy_of_thread(void)
{
    return sched_getscheduler(0);
}

static void *policy_of_new_thread(void *context)
{
    *(int *)context = policy_of_thread();
    return NULL;
}

static void *policy_of_following_thread(void *context)
{
    cb_urgency_follow();
    return policy_of_new_thread(context);
}

/* What such a thread may: real time where the process had CAP_SYS_RESOURCE, else what it was. */
static int policy_to_follow(int raised)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_RTPRIO, &limit) < 0 || limit.rlim_cur < 1)
        return SCHED_OTHER | SCHED_RESET_ON_FORK;
    return raised;
}

static int policy_of_follower(void)
{
    pthread_t thread;
    int policy = 99;

    if (pthread_create(&thread, NULL, policy_of_following_thread, &policy) != 0 ||
        pthread_join(thread, NULL) != 0)
        return -1;
    return policy;
}

static uint64_t cpu_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int in_a_child(int (*raise)(bool with_rights), bool with_rights)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(raise(with_rights));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* A limit of before that ends the process at once is no safety. */
static int raise_it_where_no_warning_would_come(bool with_rights)
{
    const struct rlimit at_once = {100000, 100000};

    (void)with_rights;
    return setrlimit(RLIMIT_RTTIME, &at_once) == 0 && cb_urgency_raise_more(NULL) == -ERANGE &&
                   policy_of_thread() == SCHED_OTHER
               ? 0
               : 1;
}

/* Four times as long as it may be awake, with pauses. */
static bool stays_with_pauses(void)
{
    uint64_t begin_ns = cpu_ns(), paused_ns = begin_ns;

    while (cpu_ns() - begin_ns < 400000000u)
        if (cpu_ns() - paused_ns > 20000000u) {
            cb_urgency_pause();
            paused_ns = cpu_ns();
        }
    return (policy_of_thread() & ~SCHED_RESET_ON_FORK) == SCHED_FIFO;
}

static bool says_so_once(void)
{
    char text[1024];
    cb_auto_close int fd = (int)syscall(SYS_memfd_create, "said", 0);
    const char *said;
    ssize_t n;

    if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
        return false;
    cb_urgency_look();
    cb_urgency_look();
    n = pread(fd, text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    said = strstr(text, "without real-time priority");
    return said && !strstr(said + 1, "without real-time priority");
}

/* It is there before the rights are dropped; then it does not sleep. */
static int raise_it_more(bool with_rights)
{
    const struct rlimit awake = {100000, 3000000};
    pthread_t thread;
    int of_new = 99;
    int r = with_rights ? cb_urgency_raise(NULL) : 0;

    if (r < 0)
        return 77;
    if (with_rights && in_a_child(raise_it_where_no_warning_would_come, true) != 0)
        return 7;
    if (with_rights)
        r = setrlimit(RLIMIT_RTTIME, &awake) < 0 ? -errno : cb_urgency_raise_more(NULL);
    capng_clear(CAPNG_SELECT_CAPS);
    if (capng_apply(CAPNG_SELECT_CAPS) < 0)
        return 1;
    if (!with_rights)
        r = cb_urgency_raise_more(NULL);
    if (!with_rights)
        return r == -EPERM && policy_of_thread() == SCHED_OTHER ? 0 : 2;
    if (r < 0)
        return 77;
    if (policy_of_thread() != (SCHED_FIFO | SCHED_RESET_ON_FORK))
        return 3;
    if (pthread_create(&thread, NULL, policy_of_new_thread, &of_new) != 0 ||
        pthread_join(thread, NULL) != 0 || of_new != SCHED_OTHER)
        return 4;
    if (policy_of_follower() != policy_to_follow(SCHED_FIFO | SCHED_RESET_ON_FORK))
        return 8;
    if (!stays_with_pauses())
        return 9;
    while ((policy_of_thread() & ~SCHED_RESET_ON_FORK) == SCHED_FIFO)
        if (cpu_ns() > 2000000000u)
            return 5;
    if (policy_of_thread() != (SCHED_OTHER | SCHED_RESET_ON_FORK) || nice_of_thread() != -10)
        return 6;
    return policy_of_follower() == (SCHED_OTHER | SCHED_RESET_ON_FORK) && says_so_once() ? 0 : 10;
}

static void raise_or_skip(int (*raise)(bool), const char *missing)
{
    int r = in_a_child(raise, true);

    if (r == 77) {
        print_message("%s\n", missing);
        skip();
    }
    assert_int_equal(r, 0);
}

static void the_thread_goes_first_and_those_it_starts_do_not(void **state)
{
    (void)state;
    raise_or_skip(raise_it, "no CAP_SYS_NICE here");
}

static void without_the_right_it_says_so_and_goes_on(void **state)
{
    (void)state;
    assert_int_equal(in_a_child(raise_it, false), 0);
}

static void ticks_that_come_often_go_first_of_all_unless_they_never_end(void **state)
{
    (void)state;
    raise_or_skip(raise_it_more, "no real-time priority here");
}

static void without_the_right_there_is_no_real_time(void **state)
{
    (void)state;
    assert_int_equal(in_a_child(raise_it_more, false), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_thread_goes_first_and_those_it_starts_do_not),
        cmocka_unit_test(without_the_right_it_says_so_and_goes_on),
        cmocka_unit_test(ticks_that_come_often_go_first_of_all_unless_they_never_end),
        cmocka_unit_test(without_the_right_there_is_no_real_time),
    };

    nice_at_start = nice_of_thread();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
