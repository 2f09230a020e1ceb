/* SPDX-License-Identifier: Apache-2.0 */
/* test_perf.c - sensor/perf.c: the rules for times and scaling, and real software events of the
 * machine and of a cgroup (skipped without the rights). */
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "sensor/mounts.h"
#include "sensor/perf.h"
#include "tests/support/fake_root.h"
#include "tests/support/fault.h"

#define TICK_NS UINT64_C(1000000000)

/* ---- the rules ---- */

struct sums {
    uint64_t counts[2];
    uint64_t enabled_ns, running_ns;
};

static struct sums add(uint64_t count, uint64_t enabled_ns, uint64_t running_ns)
{
    const struct cb_perf_reading before = {
        .n = 2, .enabled_ns = 1000, .running_ns = 500, .values = {70, 7}};
    const struct cb_perf_reading now = {.n = 2,
                                        .enabled_ns = 1000 + enabled_ns,
                                        .running_ns = 500 + running_ns,
                                        .values = {70 + count, 7 + 2 * count}};
    struct sums s = {.counts = {5, 5}, .enabled_ns = 3, .running_ns = 3};

    cb_perf_add_delta(&before, &now, TICK_NS, s.counts, &s.enabled_ns, &s.running_ns);
    return s;
}

static void a_count_stands_where_the_times_are_equal(void **state)
{
    struct sums s = add(40, 200, 200);

    (void)state;
    assert_int_equal(s.counts[0], 45);
    assert_int_equal(s.counts[1], 85);
    assert_int_equal(s.enabled_ns, 203);
    assert_int_equal(s.running_ns, 203);
}

static void a_count_stands_where_both_times_are_zero(void **state)
{
    struct sums s = add(40, 0, 0);

    (void)state;
    assert_int_equal(s.counts[0], 45);
    assert_int_equal(s.enabled_ns, 3);
}

static void a_shared_counter_is_scaled(void **state)
{
    struct sums s = add(40, 300, 100);

    (void)state;
    assert_int_equal(s.counts[0], 5 + 120);
    assert_int_equal(s.counts[1], 5 + 240);
    assert_int_equal(s.enabled_ns, 303);
    assert_int_equal(s.running_ns, 103);
    /* without overflow on the way */
    s = add(UINT64_C(1) << 40, UINT64_C(3) << 40, UINT64_C(1) << 40);
    assert_true(s.counts[0] == 5 + (UINT64_C(3) << 40));
}

static void a_counter_that_never_ran_counts_nothing(void **state)
{
    struct sums s = add(40, 300, 0);

    (void)state;
    assert_int_equal(s.counts[0], 5);
    assert_int_equal(s.enabled_ns, 303);
    assert_int_equal(s.running_ns, 3);
}

/* Linux 6.18, opened while the cgroup ran: after its next switch the times jump by the uptime. */
static void times_are_cut_to_the_tick(void **state)
{
    struct sums s = add(40, 7021297000000000, 7021297000000000);

    (void)state;
    assert_int_equal(s.counts[0], 45);
    assert_int_equal(s.enabled_ns, TICK_NS + 3);
    assert_int_equal(s.running_ns, TICK_NS + 3);
    s = add(40, 4 * TICK_NS, TICK_NS);
    assert_int_equal(s.counts[0], 5 + 160);
    assert_int_equal(s.enabled_ns, TICK_NS + 3);
    assert_int_equal(s.running_ns, TICK_NS / 4 + 3);
}

static void nothing_ever_counts_backwards(void **state)
{
    const struct cb_perf_reading before = {
        .n = 1, .enabled_ns = 10, .running_ns = 10, .values = {100}};
    const struct cb_perf_reading now = {.n = 1, .enabled_ns = 5, .running_ns = 7, .values = {90}};
    uint64_t count = 1;
    uint64_t enabled_ns = 2;
    uint64_t running_ns = 3;

    (void)state;
    cb_perf_add_delta(&before, &now, TICK_NS, &count, &enabled_ns, &running_ns);
    assert_int_equal(count, 1);
    assert_int_equal(enabled_ns, 2);
    assert_int_equal(running_ns, 3);
}

/* ---- real events ---- */

struct machine {
    int root_fd;
    struct cb_topology topology;
    struct cb_gaps gaps;
};

static struct machine machine;

static int setup(void **state)
{
    machine.root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    machine.gaps = (struct cb_gaps){0};
    *state = &machine;
    return cb_topology_init(&machine.topology, machine.root_fd, NULL);
}

static int teardown(void **state)
{
    (void)state;
    cb_topology_fini(&machine.topology);
    return close(machine.root_fd);
}

static int try_open(size_t n, const char *const *lists, struct cb_perf **ret_perf,
                    struct cb_err *err)
{
    const struct cb_perf_options options = {
        .root_fd = machine.root_fd,
        .topology = &machine.topology,
        .n_lists = n,
        .lists = lists,
        .gaps = &machine.gaps,
    };

    return cb_perf_open(&options, ret_perf, err);
}

static struct cb_perf *open_or_skip(size_t n, const char *const *lists)
{
    struct cb_perf *perf = NULL;
    struct cb_err err = {0};
    int r = try_open(n, lists, &perf, &err);

    if (r == -EACCES) {
        print_message("%s\n", err.text);
        skip();
    }
    assert_int_equal(r, 0);
    return perf;
}

static const char *const software[] = {"cpu-clock,context-switches,page-faults"};

static void brings_cpu_clock_along(void **state)
{
    static const char *const lists[] = {"context-switches", "page-faults,context-switches"};
    struct cb_perf *perf = open_or_skip(2, lists);

    (void)state;
    assert_int_equal(cb_perf_n_events(perf), 3); /* none twice */
    assert_int_equal(cb_perf_n_groups(perf), 3);
    assert_int_equal(cb_perf_cpu_clock(perf), 2);
    perf = cb_perf_close(perf);
    perf = open_or_skip(1, lists);
    assert_int_equal(cb_perf_n_events(perf), 2);
    assert_int_equal(cb_perf_n_groups(perf), 1); /* into the only group */
    perf = cb_perf_close(perf);
    perf = open_or_skip(0, NULL);
    assert_true(cb_perf_cpu_clock(perf) >= 0);
    perf = cb_perf_close(perf);
}

static void leaves_out_what_the_machine_lacks_and_says_so(void **state)
{
    static const char *const lists[] = {"nosuch,context-switches,nopmu/x/"};
    struct cb_perf *perf = open_or_skip(1, lists);

    (void)state;
    assert_int_equal(cb_perf_n_events(perf), 2);
    assert_string_equal(cb_perf_event(perf, 0)->name, "context-switches");
    assert_int_equal(machine.gaps.n_standing, 2);
    assert_string_equal(machine.gaps.source[0], "event:nosuch");
    assert_non_null(strstr(machine.gaps.reason[0], "left out"));
    perf = cb_perf_close(perf);
}

static void refuses_a_malformed_list(void **state)
{
    static const char *const lists[] = {"cpu-clock,,x"};
    struct cb_perf *perf = open_or_skip(0, NULL);
    struct cb_err err = {0};

    (void)state;
    perf = cb_perf_close(perf);
    assert_int_equal(try_open(1, lists, &perf, &err), -EINVAL);
    assert_null(perf);
}

static void counts_the_whole_machine(void **state)
{
    struct cb_perf *perf = open_or_skip(1, software);
    struct cb_perf_target *target = NULL;
    size_t sockets = machine.topology.n_sockets;
    uint64_t counts[CB_FRAME_MAX_SOCKETS * 3];
    uint64_t enabled_ns[CB_FRAME_MAX_SOCKETS];
    uint64_t running_ns[CB_FRAME_MAX_SOCKETS];
    const struct timespec pause = {.tv_nsec = 50000000};
    int fds_before = count_open_fds();

    (void)state;
    assert_int_equal(cb_perf_target_open(perf, -1, &target, NULL), 0);
    (void)nanosleep(&pause, NULL);
    assert_int_equal(
        cb_perf_target_read(perf, target, TICK_NS, counts, enabled_ns, running_ns, NULL), 0);
    for (size_t s = 0; s < sockets; s++) {
        assert_in_range(counts[s * 3], 50000000, UINT64_C(100000000000));
        assert_int_equal(enabled_ns[s], running_ns[s]);
    }
    target = cb_perf_target_close(perf, target);
    assert_int_equal(count_open_fds(), fds_before);
    perf = cb_perf_close(perf);
}

/* A cgroup of our own in the hierarchy that the kernel counts in; -1: none can be made. */
static int make_cgroup(char path[PATH_MAX + 64])
{
    struct cb_mount mount;
    int fd;

    if (cb_mounts_find_cgroup(machine.root_fd, "perf_event", &mount, NULL) < 0 &&
        cb_mounts_find_cgroup(machine.root_fd, NULL, &mount, NULL) < 0)
        return -1;
    (void)snprintf(path, PATH_MAX + 64, "%s/cbtest.%d", mount.point, (int)getpid());
    if (mkdir(path, 0755) < 0)
        return -1;
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && cb_perf_probe(fd, machine.topology.cpus[0], NULL) < 0) {
        (void)close(fd);
        fd = -1;
    }
    if (fd < 0)
        (void)rmdir(path);
    return fd;
}

/* A child of the cgroup spins for @ns of its own CPU time and ends. Returns what it really used. */
static uint64_t spin_in(const char *cgroup, uint64_t ns)
{
    struct rusage usage;
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        char path[PATH_MAX + 80];
        struct timespec now = {0};
        FILE *file;

        (void)snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
        file = fopen(path, "we");
        if (!file || fputs("0", file) == EOF || fclose(file) != 0)
            _exit(1);
        while ((uint64_t)now.tv_sec * CB_NS_PER_S + (uint64_t)now.tv_nsec < ns)
            (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
        _exit(0);
    }
    assert_int_equal(wait4(pid, &status, 0, &usage), pid);
    assert_int_equal(status, 0);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * CB_NS_PER_S +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
}

static void counts_a_cgroup_to_its_last_moment(void **state)
{
    struct cb_perf *perf = open_or_skip(1, software);
    struct cb_perf_target *target = NULL;
    uint64_t counts[CB_FRAME_MAX_SOCKETS * 3];
    uint64_t enabled_ns[CB_FRAME_MAX_SOCKETS];
    uint64_t running_ns[CB_FRAME_MAX_SOCKETS];
    char path[PATH_MAX + 64];
    int cgroup_fd = make_cgroup(path);
    uint64_t used_ns;
    uint64_t counted_ns = 0;

    (void)state;
    if (cgroup_fd < 0) {
        perf = cb_perf_close(perf);
        print_message("no cgroup can be made and counted here\n");
        skip();
    }
    assert_int_equal(cb_perf_target_open(perf, cgroup_fd, &target, NULL), 0);
    (void)close(cgroup_fd);
    used_ns = spin_in(path, 100000000);
    assert_int_equal(rmdir(path), 0); /* gone, and still to be read */
    assert_int_equal(
        cb_perf_target_read(perf, target, TICK_NS, counts, enabled_ns, running_ns, NULL), 0);
    for (size_t s = 0; s < machine.topology.n_sockets; s++)
        counted_ns += counts[s * 3];
    /* stolen time is in the count, and not in the process's own figure */
    assert_in_range(counted_ns, used_ns / 2, used_ns * 4 + 50000000);
    assert_int_equal(
        cb_perf_target_read(perf, target, TICK_NS, counts, enabled_ns, running_ns, NULL), 0);
    assert_int_equal(counts[0], 0);
    target = cb_perf_target_close(perf, target);
    perf = cb_perf_close(perf);
}

static void says_when_descriptors_run_out(void **state)
{
    struct cb_perf *perf = open_or_skip(1, software);
    struct cb_perf_target *target = NULL;
    struct rlimit before;
    struct rlimit low;
    struct cb_err err = {0};
    int fds_before = count_open_fds();

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = 7; /* three quarters of it are too few */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    assert_int_equal(cb_perf_target_open(perf, -1, &target, &err), -EMFILE);
    assert_non_null(strstr(err.text, "ulimit"));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_null(target);
    assert_int_equal(count_open_fds(), fds_before);
    perf = cb_perf_close(perf);
}

static void gives_descriptors_back_to_the_budget(void **state)
{
    struct cb_perf *perf = open_or_skip(1, software);
    rlim_t needed = 3 * machine.topology.n_cpus;
    struct rlimit before;
    struct rlimit low;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = 4 * needed + 64;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    for (int i = 0; i < 100; i++) {
        struct cb_perf_target *target = NULL;

        assert_int_equal(cb_perf_target_open(perf, -1, &target, NULL), 0);
        target = cb_perf_target_close(perf, target);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    perf = cb_perf_close(perf);
}

static void every_failed_allocation_is_clean(void **state)
{
    struct cb_perf *perf = open_or_skip(1, software);
    int fds_before = count_open_fds();
    int k;

    (void)state;
    for (k = 0; k < 8; k++) {
        struct cb_perf_target *target = NULL;
        struct cb_err err = {0};
        int r;

        fault_arm(k);
        r = cb_perf_target_open(perf, -1, &target, &err);
        fault_disarm();
        if (r == 0) {
            target = cb_perf_target_close(perf, target);
            break;
        }
        assert_int_equal(r, -ENOMEM);
        assert_null(target);
        assert_int_equal(count_open_fds(), fds_before);
    }
    assert_int_equal(k, 3);
    perf = cb_perf_close(perf);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_count_stands_where_the_times_are_equal),
        cmocka_unit_test(a_count_stands_where_both_times_are_zero),
        cmocka_unit_test(a_shared_counter_is_scaled),
        cmocka_unit_test(a_counter_that_never_ran_counts_nothing),
        cmocka_unit_test(times_are_cut_to_the_tick),
        cmocka_unit_test(nothing_ever_counts_backwards),
        TEST(brings_cpu_clock_along),
        TEST(leaves_out_what_the_machine_lacks_and_says_so),
        TEST(refuses_a_malformed_list),
        TEST(counts_the_whole_machine),
        TEST(counts_a_cgroup_to_its_last_moment),
        TEST(says_when_descriptors_run_out),
        TEST(gives_descriptors_back_to_the_budget),
        TEST(every_failed_allocation_is_clean),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
