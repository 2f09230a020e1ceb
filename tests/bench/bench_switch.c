/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_switch.c - what counting costs the workload: CPU time of a switch between two processes of
 * two monitored cgroups on one CPU, with four software events, beside the same unmonitored.
 *
 * The ways take turns and the medians are compared. Then how well each way counts cgroups that run
 * 20 us at a time: beside what the kernel's scheduler charged them (cpu.stat), which includes the
 * switches themselves. Needs root and cgroup v2.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "sensor/count.h"
#include "sensor/place.h"

#define ROUNDS 7
#define TRIPS 30000
#define EVENTS "cpu-clock,context-switches,page-faults,cpu-migrations"

enum way { NONE, PERF, BPF, N_WAYS };
static const char *const way_names[N_WAYS] = {"none", "perf", "bpf"};

static void die(const char *what, const struct cb_err *err)
{
    (void)fprintf(stderr, "bench_switch: %s: %s\n", what, err ? err->text : strerror(errno));
    exit(EXIT_FAILURE);
}

/* One of the two: enters its cgroup, then takes a byte and gives it back, again and again. Writes
 * its CPU time to @report. */
_Noreturn static void play(int box_fd, uint32_t cpu, int from, int to, bool first, int report)
{
    cpu_set_t set;
    struct timespec begin, end;
    uint64_t ns;
    char byte = 'x';
    int fd = openat(box_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (fd < 0 || write(fd, "0", 1) != 1 || sched_setaffinity(0, sizeof(set), &set) < 0)
        _exit(1);
    (void)close(fd);
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
    for (int i = 0; i < TRIPS; i++) {
        if (first && write(to, &byte, 1) != 1)
            _exit(1);
        if (read(from, &byte, 1) != 1)
            _exit(1);
        if (!first && write(to, &byte, 1) != 1)
            _exit(1);
    }
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    ns = (uint64_t)(end.tv_sec - begin.tv_sec) * CB_NS_PER_S + (uint64_t)end.tv_nsec -
         (uint64_t)begin.tv_nsec;
    _exit(write(report, &ns, sizeof(ns)) == sizeof(ns) ? 0 : 1);
}

/* Nanoseconds of CPU time for each switch. */
static double ping_pong(const int boxes[2], uint32_t cpu)
{
    int pipes[3][2];
    uint64_t sum = 0;
    pid_t pids[2];

    for (size_t i = 0; i < 3; i++)
        if (pipe2(pipes[i], O_CLOEXEC) < 0)
            die("pipe", NULL);
    for (int i = 0; i < 2; i++) {
        pids[i] = fork();
        if (pids[i] < 0)
            die("fork", NULL);
        if (pids[i] == 0)
            play(boxes[i], cpu, pipes[i][0], pipes[1 - i][1], i == 0, pipes[2][1]);
    }
    for (size_t i = 0; i < 2; i++) {
        uint64_t ns = 0;
        int status = 0;

        if (waitpid(pids[i], &status, 0) < 0 || status != 0 ||
            read(pipes[2][0], &ns, sizeof(ns)) != sizeof(ns))
            die("a player", NULL);
        sum += ns;
    }
    for (size_t i = 0; i < 3; i++) {
        (void)close(pipes[i][0]);
        (void)close(pipes[i][1]);
    }
    return (double)sum / (2.0 * TRIPS);
}

static double one_round(const struct cb_count_options *o, const int boxes[2], enum way way)
{
    struct cb_count_options options = *o;
    struct cb_count *count = NULL;
    struct cb_count_target *targets[2] = {NULL, NULL};
    struct cb_err err = {0};
    double ns;

    options.wanted = way_names[way];
    if (way != NONE && (cb_count_open(&options, &count, &err) < 0 ||
                        cb_count_target_open(count, boxes[0], &targets[0], &err) < 0 ||
                        cb_count_target_open(count, boxes[1], &targets[1], &err) < 0))
        die(way_names[way], &err);
    ns = ping_pong(boxes, o->topology->cpus[0]);
    for (size_t i = 0; i < 2; i++)
        targets[i] = cb_count_target_close(count, targets[i]);
    count = cb_count_close(count);
    return ns;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a;
    const double *y = b;

    return *x < *y ? -1 : *x > *y;
}

static void measure(const struct cb_count_options *options, const int boxes[2])
{
    double ns[N_WAYS][ROUNDS];
    double none;

    for (size_t r = 0; r < ROUNDS; r++)
        for (enum way way = 0; way < N_WAYS; way++)
            ns[way][r] = one_round(options, boxes, way);
    for (enum way way = 0; way < N_WAYS; way++)
        qsort(ns[way], ROUNDS, sizeof(ns[way][0]), by_value);
    none = ns[NONE][ROUNDS / 2];
    for (enum way way = 0; way < N_WAYS; way++)
        (void)printf("switch way=%s ns=%.0f more_ns=%.0f\n", way_names[way], ns[way][ROUNDS / 2],
                     ns[way][ROUNDS / 2] - none);
}

/* ---- cgroups that run for microseconds ---- */

#define N_LIGHT 20
#define LIGHT_S 5

_Noreturn static void run_lightly(int box_fd)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    int fd = openat(box_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, "0", 1) != 1)
        _exit(1);
    for (;;) {
        uint64_t end = cb_clock_boot_ns() + 20000;

        while (cb_clock_boot_ns() < end)
            continue;
        (void)nanosleep(&pause, NULL);
    }
}

static double charged_ms(int box_fd)
{
    char text[512] = "";
    cb_auto_close int fd = openat(box_fd, "cpu.stat", O_RDONLY | O_CLOEXEC);
    unsigned long long us = 0;

    if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0 ||
        sscanf(text, "usage_usec %llu", &us) != 1)
        die("cpu.stat", NULL);
    return (double)us / 1e3;
}

static double counted_ms(const struct cb_count_options *o, struct cb_count *count,
                         struct cb_count_target *target)
{
    uint64_t counts[CB_FRAME_MAX_SOCKETS * 8];
    uint64_t enabled_ns[CB_FRAME_MAX_SOCKETS], running_ns[CB_FRAME_MAX_SOCKETS];
    uint64_t sum_ns = 0;
    struct cb_err err = {0};

    if (cb_count_read(count, target, UINT64_MAX, counts, enabled_ns, running_ns, &err) < 0)
        die("read", &err);
    for (size_t s = 0; s < o->topology->n_sockets; s++)
        sum_ns += counts[s * cb_perf_n_events(o->perf) + (size_t)cb_perf_cpu_clock(o->perf)];
    return (double)sum_ns / 1e6;
}

static void measure_light(const struct cb_count_options *o, enum way way)
{
    const struct timespec while_they_run = {.tv_sec = LIGHT_S};
    struct cb_count_options options = *o;
    struct cb_count *count = NULL;
    struct cb_count_target *targets[N_LIGHT] = {NULL};
    double charged[N_LIGHT], ratios[N_LIGHT];
    double sums[2] = {0, 0};
    pid_t pids[N_LIGHT];
    int boxes[N_LIGHT];
    struct cb_err err = {0};
    char name[32];

    options.wanted = way_names[way];
    if (cb_count_open(&options, &count, &err) < 0)
        die(way_names[way], &err);
    for (size_t i = 0; i < N_LIGHT; i++) {
        (void)snprintf(name, sizeof(name), "cb-light-%zu", i);
        if (mkdirat(o->counting_fd, name, 0755) < 0)
            die(name, NULL);
        boxes[i] = openat(o->counting_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (cb_count_target_open(count, boxes[i], &targets[i], &err) < 0)
            die(name, &err);
        pids[i] = fork();
        if (pids[i] == 0)
            run_lightly(boxes[i]);
    }
    (void)nanosleep(&while_they_run, NULL);
    for (size_t i = 0; i < N_LIGHT; i++) {
        (void)kill(pids[i], SIGKILL);
        (void)waitpid(pids[i], NULL, 0);
    }
    (void)!cb_count_begin(count, NULL);
    for (size_t i = 0; i < N_LIGHT; i++) {
        double ms = counted_ms(&options, count, targets[i]);

        charged[i] = charged_ms(boxes[i]);
        ratios[i] = ms / charged[i];
        sums[0] += ms;
        sums[1] += charged[i];
        targets[i] = cb_count_target_close(count, targets[i]);
        (void)close(boxes[i]);
        (void)snprintf(name, sizeof(name), "cb-light-%zu", i);
        (void)unlinkat(o->counting_fd, name, AT_REMOVEDIR);
    }
    qsort(ratios, N_LIGHT, sizeof(ratios[0]), by_value);
    (void)printf("light way=%s cgroups=%d run_us=20 counted_of_charged=%.2f median=%.2f min=%.2f "
                 "max=%.2f hidden_switches=%" PRIu64 "\n",
                 way_names[way], N_LIGHT, sums[0] / sums[1], ratios[N_LIGHT / 2], ratios[0],
                 ratios[N_LIGHT - 1], cb_count_missed_switches(count));
    count = cb_count_close(count);
}

int main(void)
{
    static const char *const list[] = {EVENTS};
    static const char *const names[2] = {"cb-bench-a", "cb-bench-b"};
    struct cb_topology topology;
    struct cb_place *place = NULL;
    struct cb_perf_options perf_options = {.topology = &topology, .n_lists = 1, .lists = list};
    struct cb_count_options options = {.topology = &topology, .max_fds = 1024};
    struct cb_err err = {0};
    int boxes[2];

    options.root_fd = perf_options.root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (cb_topology_init(&topology, options.root_fd, &err) < 0 ||
        cb_place_open(options.root_fd, "v2", topology.cpus[0], &place, &err) < 0 ||
        cb_perf_open(&perf_options, &options.perf, &err) < 0)
        die("cannot measure here", &err);
    options.counting_fd = cb_place_dir_fd(place);
    for (size_t i = 0; i < 2; i++) {
        if (mkdirat(options.counting_fd, names[i], 0755) < 0)
            die(names[i], NULL);
        boxes[i] = openat(options.counting_fd, names[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    measure(&options, boxes);
    measure_light(&options, PERF);
    measure_light(&options, BPF);
    for (size_t i = 0; i < 2; i++) {
        (void)close(boxes[i]);
        if (unlinkat(options.counting_fd, names[i], AT_REMOVEDIR) < 0)
            die(names[i], NULL);
    }
    options.perf = cb_perf_close(options.perf);
    if (cb_place_close(place, &err) < 0)
        die("place", &err);
    cb_topology_fini(&topology);
    return 0;
}
