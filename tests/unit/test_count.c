/* SPDX-License-Identifier: Apache-2.0 */
/* test_count.c - sensor/count.c with real cgroups and software events: the two ways to count mean
 * the same. Without the rights for it (root) these tests are skipped. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "sensor/count.h"
#include "sensor/place.h"
#include "tests/support/fault.h"

#define N_BOXES 3
#define MAX_VALUES 64

struct lab {
    int root_fd;
    struct cb_topology topology;
    struct cb_place *place;
    struct cb_perf *perf;
    char base[64]; /* below the hierarchy */
    const char *missing;
};

static void say_missing(struct lab *lab, const char *what, const struct cb_err *err)
{
    static char text[600];

    (void)snprintf(text, sizeof(text), "%s: %s", what, err->text);
    lab->missing = text;
}

static int setup(void **state)
{
    static const char *const list[] = {"cpu-clock,task-clock,page-faults"};
    struct lab *lab = calloc(1, sizeof(*lab));
    struct cb_perf_options options = {.n_lists = 1, .lists = list};
    struct cb_err err = {0};

    *state = lab;
    lab->root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (cb_topology_init(&lab->topology, lab->root_fd, &err) < 0)
        return -1;
    if (cb_place_open(lab->root_fd, "v2", lab->topology.cpus[0], &lab->place, &err) < 0) {
        say_missing(lab, "no cgroup v2 to count in", &err);
        return 0;
    }
    options.root_fd = lab->root_fd;
    options.topology = &lab->topology;
    if (cb_perf_open(&options, &lab->perf, &err) < 0)
        say_missing(lab, "no counting", &err);
    (void)snprintf(lab->base, sizeof(lab->base), "cb-test-%d", (int)getpid());
    if (mkdirat(cb_place_dir_fd(lab->place), lab->base, 0755) < 0)
        lab->missing = "no right to make cgroups";
    return 0;
}

/* What a failed test left: cgroups two levels deep, and what runs in them. */
static void remove_all(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    int kill_fd = openat(fd, "cgroup.kill", O_WRONLY | O_CLOEXEC);
    const struct timespec pause = {.tv_nsec = 5000000};

    if (kill_fd >= 0) {
        (void)write(kill_fd, "1", 1);
        (void)close(kill_fd);
    }
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
            remove_all(fd, entry->d_name);
    if (dir)
        (void)closedir(dir);
    for (int i = 0; i < 100 && unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno == EBUSY; i++)
        (void)nanosleep(&pause, NULL);
}

static int teardown(void **state)
{
    struct lab *lab = *state;
    struct cb_err err = {0};

    if (lab->place) {
        remove_all(cb_place_dir_fd(lab->place), lab->base);
        lab->perf = cb_perf_close(lab->perf);
        if (cb_place_close(lab->place, &err) < 0)
            return -1;
    }
    cb_topology_fini(&lab->topology);
    (void)close(lab->root_fd);
    free(lab);
    return 0;
}

#define need(lab)                                                                                  \
    do {                                                                                           \
        if ((lab)->missing) {                                                                      \
            print_message("skipped: %s\n", (lab)->missing);                                        \
            skip();                                                                                \
        }                                                                                          \
    } while (0)

/* ---- cgroups and what runs in them ---- */

static int box_make(const struct lab *lab, const char *name)
{
    char path[128];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/%s", lab->base, name);
    assert_int_equal(mkdirat(cb_place_dir_fd(lab->place), path, 0755), 0);
    fd = openat(cb_place_dir_fd(lab->place), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void box_remove(const struct lab *lab, const char *name)
{
    char path[128];
    const struct timespec pause = {.tv_nsec = 5000000};

    (void)snprintf(path, sizeof(path), "%s/%s", lab->base, name);
    for (int i = 0; i < 200; i++) {
        if (unlinkat(cb_place_dir_fd(lab->place), path, AT_REMOVEDIR) == 0)
            return;
        (void)nanosleep(&pause, NULL);
    }
    fail_msg("cannot remove %s", path);
}

/* A process in the cgroup that spins from the moment the pipe is closed. */
static pid_t spinner_start(int box_fd, const int gate[2])
{
    pid_t pid = fork();
    int fd;

    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    fd = openat(box_fd, "cgroup.procs", O_WRONLY);
    if (fd < 0 || write(fd, "0", 1) != 1)
        _exit(1);
    (void)close(gate[1]);
    (void)read(gate[0], &fd, 1);
    for (volatile unsigned i = 0;; i++)
        ;
}

static void wait_for_place(int box_fd, size_t n)
{
    const struct timespec pause = {.tv_nsec = 2000000};

    for (int i = 0; i < 1000; i++) {
        char text[256] = "";
        int fd = openat(box_fd, "cgroup.procs", O_RDONLY);
        ssize_t got = read(fd, text, sizeof(text) - 1);
        size_t lines = 0;

        (void)close(fd);
        for (ssize_t k = 0; k < got; k++)
            lines += text[k] == '\n';
        if (lines == n)
            return;
        (void)nanosleep(&pause, NULL);
    }
    fail_msg("the processes did not come");
}

static void stop(pid_t pid)
{
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
}

static void spin_ms(unsigned ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    (void)nanosleep(&time, NULL);
}

/* ---- counting ---- */

static struct cb_count *count_open(struct lab *lab, const char *wanted)
{
    const struct cb_count_options options = {
        .root_fd = lab->root_fd,
        .topology = &lab->topology,
        .perf = lab->perf,
        .counting_fd = cb_place_dir_fd(lab->place),
        .wanted = wanted,
        .max_fds = 20000,
    };
    struct cb_count *count = NULL;
    struct cb_err err = {0};

    int r = cb_count_open(&options, &count, &err);

    if (r == -EPERM || r == -ENOTSUP) {
        print_message("skipped: %s\n", err.text);
        skip();
    }
    if (r < 0)
        fail_msg("%s", err.text);
    return count;
}

static struct cb_count_target *target_open(struct cb_count *count, int box_fd)
{
    struct cb_count_target *target = NULL;
    struct cb_err err = {0};

    if (cb_count_target_open(count, box_fd, &target, &err) < 0)
        fail_msg("%s", err.text);
    return target;
}

/* Nanoseconds of cpu-clock over all sockets since the last read; the target's enabled time in
 * *@ret_enabled_ns. */
static uint64_t read_clock(struct lab *lab, struct cb_count *count, struct cb_count_target *target,
                           uint64_t *ret_enabled_ns)
{
    uint64_t counts[MAX_VALUES];
    uint64_t enabled[MAX_VALUES];
    uint64_t running[MAX_VALUES];
    size_t n = cb_perf_n_events(lab->perf);
    uint64_t sum = 0;

    assert_true(lab->topology.n_sockets * n <= MAX_VALUES);
    assert_int_equal(cb_count_begin(count, NULL), 0);
    assert_int_equal(
        cb_count_read(count, target, 100 * CB_NS_PER_S, counts, enabled, running, NULL), 0);
    *ret_enabled_ns = 0;
    for (size_t s = 0; s < lab->topology.n_sockets; s++) {
        sum += counts[s * n + (size_t)cb_perf_cpu_clock(lab->perf)];
        *ret_enabled_ns += enabled[s * cb_perf_n_groups(lab->perf)];
    }
    return sum;
}

/* A switch that the machine does not show charges one slice wrongly, and the first of them all that
 * ran since the last reading (count_bpf.h): a round in which both ways do not agree is repeated,
 * but only if such a switch was in it. A machine that shows all of them has one try. */
#define SLICE_NS 2e6
#define MOST_MISSED 0.1 /* however many */
#define MAX_ROUNDS 12

static bool is_within(uint64_t a, uint64_t b, double ratio, uint64_t missed_switches)
{
    double difference = (double)a - (double)b;
    double allowed = SLICE_NS * (double)missed_switches;

    if (difference < 0)
        difference = -difference;
    if (allowed > MOST_MISSED * (double)b)
        allowed = MOST_MISSED * (double)b;
    return difference <= ratio * (double)b + allowed;
}

/* Whether the round told something; it fails when there is no reason to repeat it. */
static bool is_agreed(const uint64_t ns[2], uint64_t missed_switches, int round)
{
    double difference = (double)ns[1] - (double)ns[0];

    print_message("perf %.3f ms, bpf %.3f ms, switches not shown: %" PRIu64 "\n",
                  (double)ns[0] / 1e6, (double)ns[1] / 1e6, missed_switches);
    if (is_within(ns[1], ns[0], 0.01, missed_switches))
        return true;
    if (missed_switches == 0 || round == MAX_ROUNDS)
        fail_msg("%" PRIu64 " and %" PRIu64 " differ by %.3f %%", ns[1], ns[0],
                 100 * difference / (double)ns[0]);
    return false;
}

/* ---- both ways ---- */

struct both {
    struct cb_count *by[2]; /* perf, bpf */
    struct cb_count_target *targets[2][N_BOXES];
    int boxes[N_BOXES];
    pid_t pids[N_BOXES];
};

/* A spinner in each of the cgroups, which are counted by both ways. */
static void both_start(struct lab *lab, struct both *both)
{
    int gate[2];

    both->by[0] = count_open(lab, "perf");
    both->by[1] = count_open(lab, "bpf");
    assert_int_equal(pipe(gate), 0);
    for (size_t i = 0; i < N_BOXES; i++) {
        char name[8];

        (void)snprintf(name, sizeof(name), "b%zu", i);
        both->boxes[i] = box_make(lab, name);
        both->pids[i] = spinner_start(both->boxes[i], gate);
        wait_for_place(both->boxes[i], 1);
        for (size_t k = 0; k < 2; k++)
            both->targets[k][i] = target_open(both->by[k], both->boxes[i]);
    }
    (void)close(gate[0]);
    (void)close(gate[1]);
}

static void both_stop(struct lab *lab, struct both *both)
{
    for (size_t i = 0; i < N_BOXES; i++) {
        char name[8];

        stop(both->pids[i]);
        for (size_t k = 0; k < 2; k++)
            both->targets[k][i] = cb_count_target_close(both->by[k], both->targets[k][i]);
        (void)close(both->boxes[i]);
        (void)snprintf(name, sizeof(name), "b%zu", i);
        box_remove(lab, name);
    }
    for (size_t k = 0; k < 2; k++)
        both->by[k] = cb_count_close(both->by[k]);
}

/* They stand still while they are read: the two ways are not read at the same moment. */
static void both_hold(const struct both *both, bool hold)
{
    for (size_t i = 0; i < N_BOXES; i++) {
        assert_int_equal(kill(both->pids[i], hold ? SIGSTOP : SIGCONT), 0);
        if (hold)
            assert_int_equal(waitpid(both->pids[i], NULL, WUNTRACED), both->pids[i]);
    }
}

/* Returns the least that one of the cgroups has had by now. */
static uint64_t both_read(struct lab *lab, struct both *both, uint64_t sums[N_BOXES][2],
                          uint64_t enabled_sums[N_BOXES])
{
    uint64_t least = UINT64_MAX;
    uint64_t enabled;

    for (size_t i = 0; i < N_BOXES; i++) {
        for (size_t k = 0; k < 2; k++)
            sums[i][k] += read_clock(lab, both->by[k], both->targets[k][i], &enabled);
        enabled_sums[i] += enabled;
        least = sums[i][0] < least ? sums[i][0] : least;
    }
    return least;
}

/* Let them run until each has had half a second: on a busy machine it takes a while. */
static bool both_round(struct lab *lab, struct both *both, int round)
{
    uint64_t before = cb_count_missed_switches(both->by[1]);
    uint64_t sums[N_BOXES][2] = {0};
    uint64_t enabled_sums[N_BOXES] = {0};
    uint64_t least = 0;
    bool agreed = true;

    both_hold(both, false);
    for (int t = 0; t < 40 && least < 500000000; t++) {
        spin_ms(500);
        least = both_read(lab, both, sums, enabled_sums);
    }
    both_hold(both, true);
    (void)both_read(lab, both, sums, enabled_sums);
    for (size_t i = 0; i < N_BOXES; i++) {
        agreed &= is_agreed(sums[i], cb_count_missed_switches(both->by[1]) - before, round);
        assert_true(is_within(enabled_sums[i], sums[i][1], 0.01, 0)); /* enabled while it ran */
    }
    return agreed;
}

static void both_ways_agree_on_busy_cgroups(void **state)
{
    struct lab *lab = *state;
    struct both both = {0};
    uint64_t ignored[N_BOXES][2] = {0};
    uint64_t ignored_enabled[N_BOXES] = {0};

    need(lab);
    both_start(lab, &both);
    spin_ms(300); /* until here a machine that hides switches has hidden one */
    both_hold(&both, true);
    (void)both_read(lab, &both, ignored, ignored_enabled);
    for (int round = 1; !both_round(lab, &both, round); round++)
        ;
    both_stop(lab, &both);
}

/* On a busy machine a process waits long for its turn: let it run until it has had 100 ms. Returns
 * what was counted. */
static uint64_t let_run(struct lab *lab, struct cb_count *count, struct cb_count_target *target)
{
    uint64_t ns = 0;
    uint64_t enabled;

    for (int i = 0; i < 200 && ns < 100000000; i++) {
        spin_ms(100);
        ns += read_clock(lab, count, target, &enabled);
    }
    assert_true(ns >= 100000000);
    return ns;
}

/* A spinner in @where_fd runs a while: whether both ways show it of the target. */
static bool is_seen(struct lab *lab, struct cb_count *by[2], struct cb_count_target *targets[2],
                    int where_fd, int round)
{
    uint64_t before = cb_count_missed_switches(by[1]);
    uint64_t ns[2];
    uint64_t enabled;
    int gate[2];
    pid_t pid;

    for (size_t k = 0; k < 2; k++)
        (void)read_clock(lab, by[k], targets[k], &enabled);
    assert_int_equal(pipe(gate), 0);
    pid = spinner_start(where_fd, gate);
    wait_for_place(where_fd, 1);
    (void)close(gate[0]);
    (void)close(gate[1]);
    ns[0] = let_run(lab, by[0], targets[0]);
    stop(pid);
    ns[0] += read_clock(lab, by[0], targets[0], &enabled);
    ns[1] = read_clock(lab, by[1], targets[1], &enabled);
    return is_agreed(ns, cb_count_missed_switches(by[1]) - before, round);
}

static void what_lies_below_a_cgroup_is_part_of_it(void **state)
{
    struct lab *lab = *state;
    struct cb_count *by[2];
    struct cb_count_target *targets[2];
    int box, before, after;

    need(lab);
    by[0] = count_open(lab, "perf");
    by[1] = count_open(lab, "bpf");
    box = box_make(lab, "box");
    before = box_make(lab, "box/before");
    for (size_t k = 0; k < 2; k++)
        targets[k] = target_open(by[k], box);
    after = box_make(lab, "box/after");

    for (int round = 1; !is_seen(lab, by, targets, before, round); round++)
        ;
    for (int round = 1; !is_seen(lab, by, targets, after, round); round++)
        ;

    (void)close(before);
    (void)close(after);
    (void)close(box);
    box_remove(lab, "box/before");
    box_remove(lab, "box/after");
    box_remove(lab, "box");
    for (size_t k = 0; k < 2; k++) {
        targets[k] = cb_count_target_close(by[k], targets[k]);
        by[k] = cb_count_close(by[k]);
    }
}

static void what_ran_until_the_end_is_read_after_it(void **state)
{
    struct lab *lab = *state;
    struct cb_count *count;
    struct cb_count_target *target;
    uint64_t ns, enabled;
    int box, gate[2];
    pid_t pid;

    need(lab);
    count = count_open(lab, "bpf");
    box = box_make(lab, "box");
    assert_int_equal(pipe(gate), 0);
    pid = spinner_start(box, gate);
    wait_for_place(box, 1);
    target = target_open(count, box);
    (void)close(gate[0]);
    (void)close(gate[1]);
    (void)let_run(lab, count, target);
    spin_ms(300);
    stop(pid);
    (void)close(box);
    box_remove(lab, "box");
    ns = read_clock(lab, count, target, &enabled);
    assert_true(ns > 0);
    assert_int_equal(read_clock(lab, count, target, &enabled), 0);

    target = cb_count_target_close(count, target);
    count = cb_count_close(count);
}

static void a_new_cgroup_inherits_nothing_from_an_old_one(void **state)
{
    struct lab *lab = *state;
    struct cb_count *count;
    uint64_t enabled;

    need(lab);
    count = count_open(lab, "bpf");
    for (unsigned i = 0; i < 5000; i++) { /* more than there are slots */
        int box = i % 50 == 0 ? box_make(lab, "box") : -1;
        struct cb_count_target *target;

        if (box < 0)
            box = openat(cb_place_dir_fd(lab->place), lab->base, O_RDONLY | O_DIRECTORY);
        target = target_open(count, box);
        assert_int_equal(read_clock(lab, count, target, &enabled), 0);
        target = cb_count_target_close(count, target);
        (void)close(box);
        if (i % 50 == 0)
            box_remove(lab, "box");
        if (i % 100 == 0)
            assert_int_equal(cb_count_begin(count, NULL), 0);
    }
    count = cb_count_close(count);
}

/* ---- retreat ---- */

/* Nobody else runs on its CPU: no switch brings in what it ran. */
static void run_first(pid_t pid)
{
    const struct sched_param first = {.sched_priority = 1};

    (void)sched_setscheduler(pid, SCHED_FIFO, &first);
}

static uint64_t cpu_time_ns(pid_t pid)
{
    struct timespec time = {0};
    clockid_t clock;

    assert_int_equal(clock_getcpuclockid(pid, &clock), 0);
    assert_int_equal(clock_gettime(clock, &time), 0);
    return (uint64_t)time.tv_sec * CB_NS_PER_S + (uint64_t)time.tv_nsec;
}

/* What of the CPU time of a process is not counted when its cgroup is moved while it runs. */
static int64_t uncounted_by_a_move(struct lab *lab, struct cb_count *count, int box, pid_t pid)
{
    struct cb_count_target *target = target_open(count, box);
    uint64_t ran_ns, counted_ns, enabled;
    struct cb_err err = {0};
    char why[256];

    ran_ns = cpu_time_ns(pid);
    (void)read_clock(lab, count, target, &enabled);
    spin_ms(20);
    assert_int_equal(cb_count_retreat(count, why, sizeof(why)), CB_COUNT_BY_BPF);
    if (cb_count_target_move(count, target, box, &err) < 0)
        fail_msg("%s", err.text);
    spin_ms(400);
    counted_ns = read_clock(lab, count, target, &enabled);
    ran_ns = cpu_time_ns(pid) - ran_ns;
    print_message("%.3f ms of %.3f ms, switches not shown: %" PRIu64 "\n", (double)counted_ns / 1e6,
                  (double)ran_ns / 1e6, cb_count_missed_switches(count));
    target = cb_count_target_close(count, target);
    return (int64_t)ran_ns - (int64_t)counted_ns;
}

static void what_runs_during_the_retreat_to_bpf_is_counted(void **state)
{
    struct lab *lab = *state;
    struct cb_count *count;
    bool told = false;
    int box, gate[2];
    pid_t pid;

    need(lab);
    count = count_open(lab, "bpf"); /* or it is skipped */
    count = cb_count_close(count);
    box = box_make(lab, "box");
    assert_int_equal(pipe(gate), 0);
    pid = spinner_start(box, gate);
    wait_for_place(box, 1);
    run_first(pid);
    (void)close(gate[0]);
    (void)close(gate[1]);
    for (int round = 0; !told; round++) {
        int64_t uncounted_ns;

        count = count_open(lab, "auto");
        uncounted_ns = uncounted_by_a_move(lab, count, box, pid);
        told =
            cb_count_missed_switches(count) == 0 || round == MAX_ROUNDS || uncounted_ns < 100000000;
        if (told)
            assert_in_range(uncounted_ns + 100000000, 0, 200000000);
        count = cb_count_close(count);
    }
    stop(pid);
    (void)close(box);
    box_remove(lab, "box");
}

/* ---- a target that is given up ---- */

/* Others take the slots meanwhile: none of them has what still runs in the old one. */
static void check_nobody_has_it(struct lab *lab, struct cb_count *count)
{
    int box = box_make(lab, "other");
    uint64_t enabled;

    for (unsigned i = 0; i < 2100; i++) {
        struct cb_count_target *target = target_open(count, box);

        assert_int_equal(read_clock(lab, count, target, &enabled), 0);
        target = cb_count_target_close(count, target);
    }
    (void)close(box);
    box_remove(lab, "other");
}

static void check_stop(struct lab *lab, const char *wanted)
{
    struct cb_count *count = count_open(lab, wanted);
    uint64_t begin_ns = cb_clock_boot_ns();
    struct cb_count_target *target, *part;
    int box = box_make(lab, "box");
    int in = box_make(lab, "box/in");
    uint64_t ns, enabled;
    int gate[2];
    pid_t pid;

    target = target_open(count, box);
    assert_int_equal(pipe(gate), 0);
    pid = spinner_start(in, gate);
    wait_for_place(in, 1);
    (void)close(gate[0]);
    (void)close(gate[1]);
    (void)let_run(lab, count, target);
    spin_ms(300);
    assert_int_equal(cb_count_target_stop(count, target, box, NULL), 0);
    ns = cb_clock_boot_ns() - begin_ns;
    part = target_open(count, in);
    spin_ms(300);
    assert_in_range(read_clock(lab, count, target, &enabled), 1, ns);
    assert_int_equal(enabled, 0);
    assert_int_equal(read_clock(lab, count, target, &enabled), 0);
    (void)let_run(lab, count, part);
    assert_int_equal(read_clock(lab, count, target, &enabled), 0);
    assert_int_equal(cb_count_target_stop(count, part, in, NULL), 0);
    if (cb_count_uses_bpf(count))
        check_nobody_has_it(lab, count);

    stop(pid);
    part = cb_count_target_close(count, part);
    target = cb_count_target_close(count, target);
    count = cb_count_close(count);
    (void)close(in);
    (void)close(box);
    box_remove(lab, "box/in");
    box_remove(lab, "box");
}

static void one_that_is_given_up_has_what_it_had_and_no_more(void **state)
{
    struct lab *lab = *state;

    need(lab);
    check_stop(lab, "perf");
    check_stop(lab, "bpf");
}

/* ---- counters that BPF is not given ---- */

static size_t updates_left; /* before one fails */

static int refuse_one(void)
{
    return updates_left-- == 0 ? ENOMEM : 0;
}

/* CPU 1 has new counters, and BPF gets the first of them only. */
static void refuse_cpu_1(struct lab *lab, struct cb_count *count)
{
    struct cb_err err = {0};

    cb_perf_tell_away(lab->perf, 1);
    updates_left = cb_perf_n_events(lab->perf) + 1;
    fault_bpf_update = refuse_one;
    assert_int_equal(cb_count_target_follow(count, NULL, -1, &err), -ENOMEM);
    fault_bpf_update = NULL;
    cb_count_followed(count);
    assert_non_null(strstr(err.text, "to BPF"));
}

/* As read_clock(), of all events and though something is not counted. */
static uint64_t read_any(struct lab *lab, struct cb_count *count, struct cb_count_target *target)
{
    uint64_t counts[MAX_VALUES], enabled[MAX_VALUES], running[MAX_VALUES];
    uint64_t sum = 0;

    (void)!cb_count_begin(count, NULL);
    assert_int_equal(
        cb_count_read(count, target, 100 * CB_NS_PER_S, counts, enabled, running, NULL), 0);
    for (size_t i = 0; i < lab->topology.n_sockets * cb_perf_n_events(lab->perf); i++)
        sum += counts[i];
    return sum;
}

static void what_bpf_was_not_given_is_tried_again_after_a_second(void **state)
{
    struct lab *lab = *state;
    uint64_t begin_ns, ns, enabled;
    struct cb_count *count;
    struct cb_count_target *target;
    struct cb_err err = {0};
    int box, gate[2];
    cpu_set_t cpus;
    pid_t pid;

    need(lab);
    count = count_open(lab, "bpf");
    if (lab->topology.n_cpus < 2) {
        print_message("one CPU only\n");
        count = cb_count_close(count);
        skip();
    }
    box = box_make(lab, "box");
    assert_int_equal(pipe(gate), 0);
    pid = spinner_start(box, gate);
    wait_for_place(box, 1);
    CPU_ZERO(&cpus);
    CPU_SET(lab->topology.cpus[1], &cpus);
    assert_int_equal(sched_setaffinity(pid, sizeof(cpus), &cpus), 0);
    target = target_open(count, box);
    (void)close(gate[0]);
    (void)close(gate[1]);
    (void)let_run(lab, count, target);

    begin_ns = cb_clock_boot_ns();
    refuse_cpu_1(lab, count);
    (void)read_any(lab, count, target);
    assert_true(!cb_count_is_stuck(count) || cb_clock_boot_ns() - begin_ns >= CB_NS_PER_S);
    assert_int_equal(cb_count_begin(count, &err), -EAGAIN);
    assert_non_null(strstr(err.text, "not counted on 1 CPUs"));
    spin_ms(1000);
    assert_int_equal(read_any(lab, count, target), 0); /* of no event */
    assert_true(cb_count_is_stuck(count));

    begin_ns = cb_clock_boot_ns();
    assert_int_equal(cb_count_target_follow(count, NULL, -1, NULL), 0);
    cb_count_followed(count);
    ns = read_clock(lab, count, target, &enabled);
    assert_in_range(ns, 0, cb_clock_boot_ns() - begin_ns); /* nothing of the second before */
    (void)let_run(lab, count, target);
    spin_ms(1000);
    assert_false(cb_count_is_stuck(count));

    stop(pid);
    target = cb_count_target_close(count, target);
    count = cb_count_close(count);
    (void)close(box);
    box_remove(lab, "box");
}

/* ---- cgroups that BPF does not know ---- */

static void check_incomplete(struct lab *lab, struct cb_count *count,
                             struct cb_count_target *target)
{
    struct cb_err err = {0};

    spin_ms(200);
    (void)read_any(lab, count, target);
    assert_int_equal(cb_count_begin(count, &err), -ENOSPC);
    assert_non_null(strstr(err.text, "inside 1 containers are not counted"));
}

/* They follow, and what is in @target is known from then on. */
static void check_complete(struct lab *lab, struct cb_count *count, struct cb_count_target *target,
                           int box)
{
    spin_ms(1000);
    assert_true(cb_count_is_stuck(count));
    assert_int_equal(cb_count_target_follow(count, NULL, -1, NULL), 0);
    assert_int_equal(cb_count_target_follow(count, target, box, NULL), 0);
    cb_count_followed(count);
    (void)let_run(lab, count, target);
    spin_ms(1000);
    assert_false(cb_count_is_stuck(count));
}

static void what_could_not_be_looked_into_is_counted_later(void **state)
{
    struct lab *lab = *state;
    struct cb_count_target *target;
    struct cb_count *count;
    struct rlimit before, none;
    int box, in, gate[2];
    uint64_t enabled;
    pid_t pid;

    need(lab);
    count = count_open(lab, "bpf");
    box = box_make(lab, "box");
    in = box_make(lab, "box/in");
    assert_int_equal(pipe(gate), 0);
    pid = spinner_start(in, gate);
    wait_for_place(in, 1);
    (void)close(gate[0]);
    (void)close(gate[1]);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){.rlim_cur = 3, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    target = target_open(count, box);
    (void)!cb_count_target_follow(count, target, box, NULL); /* still none */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    cb_count_followed(count);
    check_incomplete(lab, count, target);
    assert_int_equal(read_any(lab, count, target), 0);
    check_complete(lab, count, target, box);
    (void)read_clock(lab, count, target, &enabled); /* and nothing is said any more */

    stop(pid);
    target = cb_count_target_close(count, target);
    count = cb_count_close(count);
    (void)close(in);
    (void)close(box);
    box_remove(lab, "box/in");
    box_remove(lab, "box");
}

/* Directories that stand for cgroups: as many as BPF can know. */
static int make_crowd(char path[64])
{
    char name[16];
    int fd;

    (void)snprintf(path, 64, "/tmp/cb-test-crowd-XXXXXX");
    assert_non_null(mkdtemp(path));
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (int i = 0; i < 16384; i++) {
        (void)snprintf(name, sizeof(name), "%d", i);
        assert_int_equal(mkdirat(fd, name, 0755), 0);
    }
    return fd;
}

static void remove_crowd(const char *path, int fd)
{
    char name[16];

    for (int i = 0; i < 16384; i++) {
        (void)snprintf(name, sizeof(name), "%d", i);
        (void)unlinkat(fd, name, AT_REMOVEDIR);
    }
    (void)close(fd);
    assert_int_equal(rmdir(path), 0);
}

static void what_was_too_much_is_counted_when_there_is_room(void **state)
{
    struct lab *lab = *state;
    struct cb_count_target *target, *crowd, *none = NULL;
    struct cb_err err = {0};
    struct cb_count *count;
    int box, in, crowd_fd, gate[2];
    char path[64];
    pid_t pid;

    need(lab);
    count = count_open(lab, "bpf");
    box = box_make(lab, "box");
    target = target_open(count, box);
    crowd_fd = make_crowd(path);
    crowd = target_open(count, crowd_fd);
    in = box_make(lab, "box/in"); /* the kernel has no room for it */
    assert_int_equal(cb_count_target_open(count, in, &none, &err), -ENOSPC);
    assert_non_null(strstr(err.text, "at most"));
    assert_int_equal(pipe(gate), 0);
    pid = spinner_start(in, gate);
    wait_for_place(in, 1);
    (void)close(gate[0]);
    (void)close(gate[1]);
    assert_int_equal(cb_count_target_stop(count, crowd, crowd_fd, NULL), 0);
    crowd = cb_count_target_close(count, crowd);
    remove_crowd(path, crowd_fd);
    cb_count_followed(count);
    check_incomplete(lab, count, target);
    assert_int_equal(read_any(lab, count, target), 0);
    check_complete(lab, count, target, box);

    stop(pid);
    target = cb_count_target_close(count, target);
    count = cb_count_close(count);
    (void)close(in);
    (void)close(box);
    box_remove(lab, "box/in");
    box_remove(lab, "box");
}

/* To look through all of it takes part of a second. */
static void what_is_too_much_for_good_is_seldom_tried(void **state)
{
    struct lab *lab = *state;
    struct cb_count_target *crowd;
    struct cb_count *count;
    char path[64];
    int crowd_fd;

    need(lab);
    count = count_open(lab, "bpf");
    crowd_fd = make_crowd(path);
    crowd = target_open(count, crowd_fd);
    assert_true(cb_count_is_stuck(count));
    assert_int_equal(cb_count_target_follow(count, NULL, -1, NULL), 0);
    assert_int_equal(cb_count_target_follow(count, crowd, crowd_fd, NULL), 0);
    cb_count_followed(count);
    spin_ms(1100);
    assert_int_equal(cb_count_begin(count, NULL), -ENOSPC);
    assert_false(cb_count_is_stuck(count));
    crowd = cb_count_target_close(count, crowd);
    count = cb_count_close(count);
    remove_crowd(path, crowd_fd);
}

/* It ended between being found and being registered, and the kernel's side knew nothing of it. */
static void who_is_gone_already_takes_no_room(void **state)
{
    struct lab *lab = *state;
    struct cb_count *count;

    need(lab);
    count = count_open(lab, "bpf");
    for (int i = 0; i < 16400; i++) { /* more than BPF can know */
        int box = box_make(lab, "box");
        struct cb_count_target *target;

        box_remove(lab, "box");
        target = target_open(count, box);
        assert_int_equal(cb_count_begin(count, NULL), 0);
        target = cb_count_target_close(count, target);
        (void)close(box);
    }
    count = cb_count_close(count);
}

/* ---- choosing ---- */

static void check_choice(struct lab *lab, size_t n_targets, uint64_t max_fds, bool bpf,
                         const char *why)
{
    const struct cb_count_options options = {
        .root_fd = lab->root_fd,
        .topology = &lab->topology,
        .perf = lab->perf,
        .counting_fd = cb_place_dir_fd(lab->place),
        .wanted = "auto",
        .n_targets = n_targets,
        .max_fds = max_fds,
    };
    struct cb_count *count = NULL;

    assert_int_equal(cb_count_open(&options, &count, NULL), 0);
    if (cb_count_uses_bpf(count) != bpf || !strstr(cb_count_reason(count), why))
        fail_msg("%zu containers, %" PRIu64 " descriptors: %s", n_targets, max_fds,
                 cb_count_reason(count));
    count = cb_count_close(count);
}

static void bpf_is_chosen_when_descriptors_would_not_suffice(void **state)
{
    struct lab *lab = *state;
    struct cb_count *count;
    size_t each;

    need(lab);
    count = count_open(lab, "bpf"); /* or it is skipped */
    count = cb_count_close(count);
    each = cb_perf_n_events(lab->perf) * lab->topology.n_cpus;
    check_choice(lab, 10, 200 * each, false, "perf: 10 containers");
    check_choice(lab, 100, 165 * each, true, "bpf: perf would need");
}

static void an_unknown_way_is_refused(void **state)
{
    struct lab *lab = *state;
    struct cb_count_options options = {.wanted = "guess"};
    struct cb_count *count = NULL;
    struct cb_err err = {0};

    need(lab);
    options.root_fd = lab->root_fd;
    options.topology = &lab->topology;
    options.perf = lab->perf;
    assert_int_equal(cb_count_open(&options, &count, &err), -EINVAL);
    assert_non_null(strstr(err.text, "auto, perf or bpf"));
    assert_null(count);
}

#define in_lab(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_lab(both_ways_agree_on_busy_cgroups),
        in_lab(what_lies_below_a_cgroup_is_part_of_it),
        in_lab(what_ran_until_the_end_is_read_after_it),
        in_lab(a_new_cgroup_inherits_nothing_from_an_old_one),
        in_lab(what_runs_during_the_retreat_to_bpf_is_counted),
        in_lab(one_that_is_given_up_has_what_it_had_and_no_more),
        in_lab(what_bpf_was_not_given_is_tried_again_after_a_second),
        in_lab(what_could_not_be_looked_into_is_counted_later),
        in_lab(what_was_too_much_is_counted_when_there_is_room),
        in_lab(what_is_too_much_for_good_is_seldom_tried),
        in_lab(who_is_gone_already_takes_no_room),
        in_lab(bpf_is_chosen_when_descriptors_would_not_suffice),
        in_lab(an_unknown_way_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
