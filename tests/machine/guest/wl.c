/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wl.c - a workload of known kind: keep a CPU busy for DUTY percent of the time.
 *
 *   wl NAME DUTY PERIOD_MS SECONDS [CGROUP_DIR [CPU]]
 *
 * NAME becomes the process's name, from which the emulated machine takes its signature (wl_cpu,
 * wl_mem, ...). The process joins CGROUP_DIR (made when it is not there) before it works and is
 * bound to CPU when one is given. It is busy in /proc/cbmachine/burn, or, when that is not there
 * or CBM_SPIN is set, in a loop of its own. It ends after SECONDS (a fraction is fine) or by TERM.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void sleep_ns(uint64_t ns)
{
    struct timespec t = {.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};

    nanosleep(&t, NULL);
}

static void busy(int burn, uint64_t ns)
{
    char text[32];
    int n = snprintf(text, sizeof(text), "%" PRIu64, ns);
    uint64_t end = now_ns() + ns;

    if (burn >= 0 && write(burn, text, (size_t)n) == n)
        return;
    while (now_ns() < end) {
    }
}

static int join(const char *cgroup)
{
    char path[512], pid[32];
    int fd, n;

    if (mkdir(cgroup, 0755) != 0 && errno != EEXIST)
        return -1;
    snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    n = snprintf(pid, sizeof(pid), "%d", getpid());
    if (fd < 0 || write(fd, pid, (size_t)n) != n)
        return -1;
    return close(fd);
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: wl NAME DUTY PERIOD_MS SECONDS [CGROUP_DIR [CPU]]\n");
        return 2;
    }
    double duty = strtod(argv[2], NULL) / 100, seconds = strtod(argv[4], NULL);
    uint64_t period = strtoull(argv[3], NULL, 10) * NS_PER_MS;

    if (argc > 5 && join(argv[5]) != 0) {
        fprintf(stderr, "wl: %s: %s\n", argv[5], strerror(errno));
        return 1;
    }
    if (argc > 6) {
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(strtoul(argv[6], NULL, 10), &set);
        if (sched_setaffinity(0, sizeof(set), &set) != 0) {
            fprintf(stderr, "wl: CPU %s: %s\n", argv[6], strerror(errno));
            return 1;
        }
    }
    int burn = getenv("CBM_SPIN") ? -1 : open("/proc/cbmachine/burn", O_WRONLY | O_CLOEXEC);

    prctl(PR_SET_NAME, argv[1]);
    sleep_ns(NS_PER_MS); /* a switch, at which the machine sees the new name and cgroup */
    uint64_t start = now_ns(), end = start + (uint64_t)(seconds * (double)NS_PER_S);
    uint64_t on = (uint64_t)((double)period * duty);

    uint64_t now = start;

    for (uint64_t next = start + period; now < end; next += period) {
        busy(burn, on < end - now ? on : end - now);
        now = now_ns();
        if (now < next && next <= end)
            sleep_ns(next - now);
        now = now_ns();
    }
    return 0;
}
