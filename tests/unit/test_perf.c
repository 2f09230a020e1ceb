/* SPDX-License-Identifier: Apache-2.0 */
/* test_perf.c - sensor/perf.c: the rules for times and scaling, and real software events of the
 * machine and of a cgroup (skipped without the rights). */
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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
#include "tests/support/hybrid.h"

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

/* ---- CPUs that come and go ---- */

#define ONLINE "sys/devices/system/cpu/online"

/* The machine's events on CPUs that a tree of our own says are online. */
struct lab {
    struct fake_root *root;
    struct cb_topology topology;
    struct cb_perf *perf;
    struct cb_perf_target *target;
    size_t n_events;
    uint64_t read_ns;   /* when the last read began: on a busy machine it takes its time */
    uint64_t passed_ms; /* from there to the end of the next, at most */
    uint64_t counts[8], enabled_ns[8], running_ns[8];
};

static bool lab_open(struct lab *lab, void **fake, enum cb_perf_reading_by by)
{
    struct cb_perf_options options = {
        .root_fd = machine.root_fd, .n_lists = 1, .lists = software, .reading_by = by};
    struct cb_err err = {0};

    assert_int_equal(fake_root_setup(fake), 0);
    *lab = (struct lab){.root = *fake};
    options.topology = &lab->topology;
    fake_root_put(lab->root, ONLINE, "0-1\n");
    assert_int_equal(cb_topology_init(&lab->topology, lab->root->fd, NULL), 0);
    if (machine.topology.n_cpus < 2 || cb_perf_open(&options, &lab->perf, &err) < 0) {
        print_message("needs two CPUs and the right to count: %s\n", err.text);
        cb_topology_fini(&lab->topology);
        (void)fake_root_teardown(fake);
        return false;
    }
    lab->n_events = cb_perf_n_events(lab->perf);
    assert_int_equal(cb_perf_target_open(lab->perf, -1, &lab->target, NULL), 0);
    return true;
}

static void lab_close(struct lab *lab, void **fake)
{
    lab->target = cb_perf_target_close(lab->perf, lab->target);
    lab->perf = cb_perf_close(lab->perf);
    cb_topology_fini(&lab->topology);
    (void)fake_root_teardown(fake);
}

/* The CPU time that passed on all CPUs that are counted, in milliseconds. */
static uint64_t lab_read_ms(struct lab *lab)
{
    uint64_t begin_ns = cb_clock_boot_ns();

    assert_int_equal(cb_perf_sweep(lab->perf, NULL), 0);
    assert_int_equal(cb_perf_target_read(lab->perf, lab->target, TICK_NS, lab->counts,
                                         lab->enabled_ns, lab->running_ns, NULL),
                     0);
    lab->passed_ms = (cb_clock_boot_ns() - lab->read_ns) / 1000000 + 1;
    lab->read_ns = begin_ns;
    return lab->counts[0] / 1000000;
}

/* How many CPUs count, by the clock. */
static void assert_cpus(struct lab *lab, unsigned n)
{
    const struct timespec pause = {.tv_nsec = 50000000};
    uint64_t ms;

    (void)nanosleep(&pause, NULL);
    ms = lab_read_ms(lab);
    assert_in_range(ms, n * 50 - 1, n * lab->passed_ms);
}

static void look(struct lab *lab, const char *online, int expected)
{
    fake_root_put(lab->root, ONLINE, "%s\n", online);
    assert_int_equal(cb_topology_refresh(&lab->topology, lab->root->fd, NULL), expected);
}

static void follow(struct lab *lab)
{
    assert_int_equal(cb_perf_target_follow(lab->perf, lab->target, -1, NULL), 0);
    cb_perf_followed(lab->perf);
}

static void check_following(enum cb_perf_reading_by by)
{
    struct lab lab;
    void *fake;
    uint64_t opened_ns, ms;
    int fds;

    if (!lab_open(&lab, &fake, by))
        skip();
    (void)lab_read_ms(&lab);
    assert_cpus(&lab, 2);
    fds = count_open_fds();
    look(&lab, "0", 1);
    assert_cpus(&lab, 2); /* what it counted until now is read, once */
    follow(&lab);
    assert_int_equal(count_open_fds(), fds - (int)lab.n_events);
    assert_int_equal(cb_perf_target_fd(lab.perf, lab.target, 1, 0), -1);
    (void)lab_read_ms(&lab);
    assert_cpus(&lab, 1);
    assert_cpus(&lab, 1);
    look(&lab, "0-1", 1);
    opened_ns = cb_clock_boot_ns();
    follow(&lab);
    assert_int_equal(count_open_fds(), fds);
    ms = lab_read_ms(&lab); /* not what the CPU did while it was away */
    assert_in_range(ms, 0, lab.passed_ms + (cb_clock_boot_ns() - opened_ns) / 1000000 + 1);
    assert_cpus(&lab, 2);
    lab_close(&lab, &fake);
}

static void follows_cpus_that_come_and_go(void **state)
{
    (void)state;
    check_following(CB_PERF_BY_CALLER);
}

static void readers_follow_cpus_that_come_and_go(void **state)
{
    (void)state;
    check_following(CB_PERF_BY_CPUS);
}

static void a_cpu_that_was_not_there_before_is_opened(void **state)
{
    struct lab lab;
    void *fake;

    (void)state;
    if (!lab_open(&lab, &fake, CB_PERF_BY_CALLER))
        skip();
    lab.target = cb_perf_target_close(lab.perf, lab.target);
    cb_topology_fini(&lab.topology);
    fake_root_put(lab.root, ONLINE, "0\n");
    fake_root_put(lab.root, "sys/devices/system/cpu/possible", "0-1\n");
    assert_int_equal(cb_topology_init(&lab.topology, lab.root->fd, NULL), 0);
    assert_int_equal(cb_perf_target_open(lab.perf, -1, &lab.target, NULL), 0);
    (void)lab_read_ms(&lab);
    assert_cpus(&lab, 1);
    look(&lab, "0-1", 1);
    assert_cpus(&lab, 1);
    follow(&lab);
    assert_cpus(&lab, 2);
    lab_close(&lab, &fake);
}

/* Offline and back between two looks: the kernel has taken the counters away. */
static void counters_that_stand_still_are_opened_anew(void **state)
{
    struct lab lab;
    void *fake;

    (void)state;
    if (!lab_open(&lab, &fake, CB_PERF_BY_CALLER))
        skip();
    (void)lab_read_ms(&lab);
    assert_false(cb_perf_is_stuck(lab.perf));
    assert_int_equal(
        ioctl(cb_perf_target_fd(lab.perf, lab.target, 1, 0), PERF_EVENT_IOC_DISABLE, 0), 0);
    (void)lab_read_ms(&lab);
    assert_cpus(&lab, 1);
    assert_true(cb_perf_is_stuck(lab.perf));
    follow(&lab);
    assert_false(cb_perf_is_stuck(lab.perf));
    (void)lab_read_ms(&lab);
    assert_cpus(&lab, 2);
    assert_false(cb_perf_is_stuck(lab.perf));
    lab_close(&lab, &fake);
}

/* Nothing can be opened on CPU 0. */
static long refuse_cpu_0(long number, const long args[6])
{
    if (number == SYS_perf_event_open && args[2] == 0) {
        errno = EMFILE;
        return -1;
    }
    return fault_real_syscall(number, args);
}

static void what_could_not_be_opened_is_tried_again_after_a_second(void **state)
{
    const struct timespec second = {.tv_sec = 1};
    struct cb_err err = {0};
    struct lab lab;
    uint64_t begin_ns;
    void *fake;

    (void)state;
    if (!lab_open(&lab, &fake, CB_PERF_BY_CALLER))
        skip();
    cb_perf_tell_away(lab.perf, 0);
    cb_perf_tell_away(lab.perf, 1);
    assert_int_equal(
        ioctl(cb_perf_target_fd(lab.perf, lab.target, 1, 0), PERF_EVENT_IOC_DISABLE, 0), 0);
    fault_syscall = refuse_cpu_0;
    assert_int_equal(cb_perf_target_follow(lab.perf, lab.target, -1, &err), -EMFILE);
    fault_syscall = NULL;
    begin_ns = cb_clock_boot_ns();
    cb_perf_followed(lab.perf);
    assert_non_null(strstr(err.text, "descriptors"));
    assert_int_equal(cb_perf_target_fd(lab.perf, lab.target, 0, 0), -1);
    assert_true(!cb_perf_is_stuck(lab.perf) || cb_clock_boot_ns() - begin_ns >= 1000000000);
    (void)lab_read_ms(&lab);
    assert_cpus(&lab, 1); /* the other one was opened anew */
    (void)nanosleep(&second, NULL);
    assert_true(cb_perf_is_stuck(lab.perf));
    follow(&lab);
    (void)lab_read_ms(&lab);
    assert_cpus(&lab, 2);
    (void)nanosleep(&second, NULL);
    assert_false(cb_perf_is_stuck(lab.perf));
    lab_close(&lab, &fake);
}

/* That it cannot be opened does not tell that it is gone: descriptors may have run out. */
static void a_cgroup_without_a_directory_is_tried_again(void **state)
{
    const struct timespec second = {.tv_sec = 1};
    struct cb_perf *perf = open_or_skip(1, software);
    struct cb_perf_target *target = NULL;
    char path[PATH_MAX + 64];
    int cgroup_fd = make_cgroup(path);

    (void)state;
    if (cgroup_fd < 0) {
        perf = cb_perf_close(perf);
        skip();
    }
    assert_int_equal(cb_perf_target_open(perf, cgroup_fd, &target, NULL), 0);
    cb_perf_tell_away(perf, 0);
    assert_int_equal(cb_perf_target_follow(perf, target, -1, NULL), 0);
    cb_perf_followed(perf);
    assert_int_equal(cb_perf_target_fd(perf, target, 0, 0), -1);
    (void)nanosleep(&second, NULL);
    assert_true(cb_perf_is_stuck(perf));
    assert_int_equal(cb_perf_target_follow(perf, target, cgroup_fd, NULL), 0);
    cb_perf_followed(perf);
    assert_true(cb_perf_target_fd(perf, target, 0, 0) >= 0);
    (void)close(cgroup_fd);
    target = cb_perf_target_close(perf, target);
    perf = cb_perf_close(perf);
    assert_int_equal(rmdir(path), 0);
}

/* ---- readers on the CPUs ---- */

static void each_cpu_reads_the_same_as_the_caller_would(void **state)
{
    static const enum cb_perf_reading_by ways[2] = {CB_PERF_BY_CALLER, CB_PERF_BY_CPUS};
    char path[PATH_MAX + 64];
    int cgroup_fd = make_cgroup(path);
    struct cb_perf *perf[2] = {NULL, NULL};
    struct cb_perf_target *targets[2] = {NULL, NULL};
    uint64_t ns[2] = {0, 0};

    (void)state;
    if (cgroup_fd < 0)
        skip();
    for (size_t i = 0; i < 2; i++) {
        const struct cb_perf_options options = {.root_fd = machine.root_fd,
                                                .topology = &machine.topology,
                                                .n_lists = 1,
                                                .lists = software,
                                                .reading_by = ways[i]};

        assert_int_equal(cb_perf_open(&options, &perf[i], NULL), 0);
        assert_int_equal(cb_perf_target_open(perf[i], cgroup_fd, &targets[i], NULL), 0);
    }
    (void)close(cgroup_fd);
    (void)spin_in(path, 100000000);
    assert_int_equal(rmdir(path), 0);
    for (int round = 0; round < 3; round++) /* nothing runs any more: all of it in the first */
        for (size_t i = 0; i < 2; i++) {
            uint64_t counts[CB_FRAME_MAX_SOCKETS * 3];
            uint64_t enabled_ns[CB_FRAME_MAX_SOCKETS], running_ns[CB_FRAME_MAX_SOCKETS];

            assert_int_equal(cb_perf_sweep(perf[i], NULL), 0);
            assert_int_equal(cb_perf_target_read(perf[i], targets[i], TICK_NS, counts, enabled_ns,
                                                 running_ns, NULL),
                             0);
            for (size_t s = 0; s < machine.topology.n_sockets; s++)
                ns[i] += counts[s * 3];
            assert_true(ns[i] >= 90000000);
        }
    assert_in_range(ns[1], ns[0] - ns[0] / 100, ns[0] + ns[0] / 100);
    for (size_t i = 0; i < 2; i++) {
        targets[i] = cb_perf_target_close(perf[i], targets[i]);
        perf[i] = cb_perf_close(perf[i]);
    }
}

/* ---- fewer events ---- */

static void gives_up_events_until_the_clock_and_one_are_left(void **state)
{
    static const char *const lists[] = {"context-switches,page-faults,cpu-migrations",
                                        "minor-faults"};
    static const char *const dropped[] = {"page-faults", "cpu-migrations", "minor-faults"};
    static const int order[] = {1, 0, 2};
    struct cb_perf *perf = open_or_skip(2, lists);
    struct cb_perf_target *target = NULL;
    uint64_t counts[CB_FRAME_MAX_SOCKETS * 5];
    uint64_t enabled_ns[CB_FRAME_MAX_SOCKETS * 3], running_ns[CB_FRAME_MAX_SOCKETS * 3];
    const struct timespec pause = {.tv_nsec = 20000000};
    char name[CB_EVENT_NAME_SIZE];
    int fds;

    (void)state;
    assert_int_equal(cb_perf_n_groups(perf), 3);
    assert_int_equal(cb_perf_target_open(perf, -1, &target, NULL), 0);
    fds = count_open_fds();
    for (size_t i = 0; i < 3; i++) {
        assert_true(cb_perf_drop_event(perf, name));
        assert_string_equal(name, dropped[order[i]]);
        fds -= (int)machine.topology.n_cpus;
        assert_int_equal(count_open_fds(), fds);
        assert_int_equal(cb_perf_n_events(perf), 4 - i);
        assert_int_equal(cb_perf_n_groups(perf), i < 2 ? 3 : 2);
        assert_string_equal(cb_perf_event(perf, (size_t)cb_perf_cpu_clock(perf))->name,
                            "cpu-clock");
        assert_int_equal(
            cb_perf_target_read(perf, target, TICK_NS, counts, enabled_ns, running_ns, NULL), 0);
        (void)nanosleep(&pause, NULL);
        assert_int_equal(
            cb_perf_target_read(perf, target, TICK_NS, counts, enabled_ns, running_ns, NULL), 0);
        assert_in_range(counts[cb_perf_cpu_clock(perf)], 19000000, UINT64_C(10000000000));
        assert_in_range(counts[0], 1, 1000000); /* context switches, and nobody else's number */
    }
    assert_false(cb_perf_drop_event(perf, name));
    target = cb_perf_target_close(perf, target);
    perf = cb_perf_close(perf);
}

/* ---- hybrid CPUs ---- */

#define MAX_OPENED 512

/* A kernel that has the machine's PMUs: an event of a core PMU opens on that PMU's CPUs only, and
 * is a cpu-clock of one of ours. */
static struct {
    size_t n;
    struct {
        uint32_t type;
        uint64_t config;
        int cpu;
    } opened[MAX_OPENED];
    bool no_atom_misses;
} hybrid;

static long open_hybrid(long number, const long args[6])
{
    struct perf_event_attr attr;
    long real[6];
    uint32_t pmu;

    if (number != SYS_perf_event_open)
        return fault_real_syscall(number, args);
    memcpy(&attr, (const void *)args[0], sizeof(attr));
    pmu = attr.type == PERF_TYPE_HARDWARE ? (uint32_t)(attr.config >> 32) : attr.type;
    if (hybrid_refuses(&attr, args[2]) ||
        (pmu == 8 && hybrid.no_atom_misses && (attr.config & 0xffff) == 0x412e)) {
        errno = EINVAL;
        return -1;
    }
    assert_in_range(hybrid.n, 0, MAX_OPENED - 1);
    hybrid.opened[hybrid.n].type = attr.type;
    hybrid.opened[hybrid.n].config = attr.config;
    hybrid.opened[hybrid.n++].cpu = (int)args[2];
    attr.type = PERF_TYPE_SOFTWARE;
    attr.config = PERF_COUNT_SW_CPU_CLOCK;
    memcpy(real, args, sizeof(real));
    real[0] = (long)&attr;
    real[2] = 0;
    return fault_real_syscall(number, real);
}

static struct cb_perf *open_hybrid_or_skip(struct cb_topology *topology, int root_fd, size_t n,
                                           const char *const *lists, bool strict)
{
    const struct cb_perf_options options = {.root_fd = root_fd,
                                            .topology = topology,
                                            .n_lists = n,
                                            .lists = lists,
                                            .gaps = &machine.gaps,
                                            .strict = strict};
    struct cb_perf *perf = NULL;
    struct cb_err err = {0};
    int r;

    assert_int_equal(cb_topology_init(topology, root_fd, NULL), 0);
    assert_int_equal(topology->n_cpus, 24);
    hybrid.n = 0;
    fault_syscall = open_hybrid;
    r = cb_perf_open(&options, &perf, &err);
    if (r == -EACCES) {
        fault_syscall = NULL;
        skip();
    }
    assert_int_equal(r, 0);
    return perf;
}

static void check_event(const struct cb_perf *perf, size_t i, const char *name, const char *pmu,
                        unsigned group)
{
    assert_string_equal(cb_perf_event(perf, i)->name, name);
    assert_string_equal(cb_perf_event(perf, i)->pmu, pmu);
    assert_int_equal(cb_perf_event(perf, i)->group, group);
}

static void a_hybrid_cpu_has_two_sets_of_events(void **state)
{
    static const char *const core[] = {"cycles", "ref-cycles", "instructions", "LLC_MISSES"};
    int root_fd = open("tests/fixtures/hybrid", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct cb_perf_target *target = NULL;
    struct cb_topology topology;
    struct cb_perf *perf;
    uint64_t counts[9], enabled_ns[3], running_ns[3];

    (void)state;
    assert_true(root_fd >= 0);
    hybrid.no_atom_misses = false;
    perf = open_hybrid_or_skip(&topology, root_fd, 0, NULL, false);
    assert_int_equal(cb_perf_n_events(perf), 9);
    assert_int_equal(cb_perf_n_groups(perf), 3);
    for (size_t i = 0; i < 4; i++) {
        check_event(perf, i, core[i], "cpu_core", 0);
        check_event(perf, 4 + i, core[i], "cpu_atom", 1);
    }
    check_event(perf, 8, "cpu-clock", "software", 2);
    assert_int_equal(cb_perf_event(perf, 0)->type, 4);
    assert_int_equal(cb_perf_event(perf, 4)->type, 8);
    assert_int_equal(cb_perf_event(perf, 7)->config, 0x412e);
    hybrid.n = 0;
    assert_int_equal(cb_perf_target_open(perf, -1, &target, NULL), 0);
    assert_int_equal(hybrid.n, 24 * 5); /* each CPU its own set, and the clock */
    assert_int_equal(cb_perf_target_fd(perf, target, 3, 4), -1);
    assert_int_equal(cb_perf_target_fd(perf, target, 20, 0), -1);
    assert_int_equal(
        cb_perf_target_read(perf, target, TICK_NS, counts, enabled_ns, running_ns, NULL), 0);
    for (size_t i = 0; i < 9; i++)
        assert_true(counts[i] > 0);
    target = cb_perf_target_close(perf, target);
    fault_syscall = NULL;
    perf = cb_perf_close(perf);
    cb_topology_fini(&topology);
    (void)close(root_fd);
}

static void an_event_that_one_kind_of_core_lacks_is_said_and_left_out(void **state)
{
    static const char *const lists[] = {"cycles,LLC_MISSES,context-switches,slots",
                                        "cpu_atom/instructions/"};
    int root_fd = open("tests/fixtures/hybrid", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct cb_topology topology;
    struct cb_perf *perf;

    (void)state;
    assert_true(root_fd >= 0);
    hybrid.no_atom_misses = true;
    perf = open_hybrid_or_skip(&topology, root_fd, 2, lists, false);
    fault_syscall = NULL;
    assert_int_equal(cb_perf_n_events(perf), 7);
    check_event(perf, 0, "cycles", "cpu_core", 0);
    check_event(perf, 1, "LLC_MISSES", "cpu_core", 0);
    check_event(perf, 2, "slots", "cpu_core", 0);
    check_event(perf, 3, "cycles", "cpu_atom", 1);
    check_event(perf, 4, "context-switches", "software", 2);
    check_event(perf, 5, "cpu_atom/instructions/", "cpu_atom", 3);
    check_event(perf, 6, "cpu-clock", "software", 4);
    assert_int_equal(machine.gaps.n_standing, 2);
    assert_string_equal(machine.gaps.source[0], "event:LLC_MISSES");
    assert_non_null(strstr(machine.gaps.reason[0], "left out on cpu_atom"));
    assert_string_equal(machine.gaps.source[1], "event:slots");
    perf = cb_perf_close(perf);
    cb_topology_fini(&topology);
    (void)close(root_fd);
}

/* As hwpc-sensor's -c groups are: all of the events on each kind of core, or an error. */
static void a_strict_list_is_counted_on_each_kind_of_core(void **state)
{
    static const char *const lists[] = {"LLC_MISSES,r003c,instructions"};
    int root_fd = open("tests/fixtures/hybrid", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct cb_perf_target *target = NULL;
    struct cb_topology topology;
    struct cb_perf *perf;

    (void)state;
    assert_true(root_fd >= 0);
    hybrid.no_atom_misses = false;
    perf = open_hybrid_or_skip(&topology, root_fd, 1, lists, true);
    assert_int_equal(cb_perf_target_open(perf, -1, &target, NULL), 0);
    fault_syscall = NULL;
    assert_int_equal(cb_perf_n_events(perf), 6);
    check_event(perf, 0, "LLC_MISSES", "cpu_core", 0);
    check_event(perf, 5, "instructions", "cpu_atom", 1);
    target = cb_perf_target_close(perf, target);
    perf = cb_perf_close(perf);
    cb_topology_fini(&topology);
    (void)close(root_fd);
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
        TEST(follows_cpus_that_come_and_go),
        TEST(readers_follow_cpus_that_come_and_go),
        TEST(a_cpu_that_was_not_there_before_is_opened),
        TEST(counters_that_stand_still_are_opened_anew),
        TEST(what_could_not_be_opened_is_tried_again_after_a_second),
        TEST(a_cgroup_without_a_directory_is_tried_again),
        TEST(each_cpu_reads_the_same_as_the_caller_would),
        TEST(gives_up_events_until_the_clock_and_one_are_left),
        TEST(a_hybrid_cpu_has_two_sets_of_events),
        TEST(an_event_that_one_kind_of_core_lacks_is_said_and_left_out),
        TEST(a_strict_list_is_counted_on_each_kind_of_core),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
