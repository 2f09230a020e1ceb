/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_rate.c - how fast cbsensor can tick: the program itself, with its spool and its link, on
 * 1000 cgroups at 100 Hz and on 100 at 1 kHz, beside a bare timerfd loop of the same period and of
 * ordinary priority in the same seconds. A server on the loopback takes every frame and sees that
 * each begins where the one before ended: what was missed widens an interval and loses nothing.
 *
 * Ten of the cgroups run for 20 us every 5 ms, the others sleep. A row is one run (those at 1 kHz
 * are run five times); `broken` counts frames that do not follow the one before, and ticks that are
 * neither in a frame nor counted as missed; steal_ms is what the host took from this machine's CPUs
 * in those seconds (/proc/stat). Whether the machine or the sensor was late, a witness on each CPU
 * tells: a timerfd loop of half the period that goes before the sensor (SCHED_FIFO above its own),
 * so that only the host, or an interrupt, holds it up. host_pct are the ticks in which a witness
 * woke a quarter of a tick late or later; own_missed are what the sensor missed outside of them,
 * own_pct is that by the ticks outside: at most, for what the host takes between two beats of a
 * witness, that does not see. (That the sensor does not hold them up either is seen on a quiet host,
 * where host_pct is next to nothing.) The rows with churn=1 are 100 000 ticks in which a cgroup ends
 * and another begins every 5 ms: memory and descriptors before and after, both times once that has
 * settled.
 *
 * What is no time is a promise: anything broken, a descriptor more after the churn than before, or
 * 2 MB more of memory are said and make the exit status 1.
 *
 * usage: bench_rate [SECONDS [CBSENSOR [FIRST ROW [LAST ROW]]]]. Needs root and cgroup v2.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/link.h"
#include "sensor/place.h"

#define N_WORKERS 10
#define PARENT "cb-bench"
#define MAX_WITNESSES 64
#define WITNESS_PRIORITY 2          /* SCHED_FIFO; the sensor's is 1 (sensor/urgency.c) */
#define SETTLE_NS (5 * CB_NS_PER_S) /* until what has gone is forgotten, and more */
#define MAX_GROWTH_KB 2048

struct run {
    const char *count;
    const char *metrics;
    size_t cgroups;
    uint64_t tick_ns;
    unsigned times; /* it is run: a host is noisy in one and quiet in another */
    bool churn;
};

static const struct run runs[] = {
    {"perf", "0s", 1000, 10000000, 1, false}, {"bpf", "0s", 1000, 10000000, 1, false},
    {"bpf", "10s", 1000, 10000000, 1, false}, {"perf", "0s", 100, 1000000, 5, false},
    {"bpf", "0s", 100, 1000000, 5, false},    {"bpf", "10s", 100, 1000000, 5, false},
    {"perf", "1s", 50, 1000000, 1, true},     {"bpf", "1s", 50, 1000000, 1, true},
};

#define N_RUNS (sizeof(runs) / sizeof(runs[0]))

struct span {
    uint64_t from_ns, to_ns;
    uint64_t missed; /* ticks that should have begun in it */
};

struct spans {
    size_t n, room;
    struct span *at;
};

struct witness {
    struct seen *seen;
    unsigned cpu;
    pthread_t thread;
    struct spans late; /* due until awake, a quarter of a tick apart or more */
};

/* What the server, the bare loop and the witnesses saw. */
struct seen {
    atomic_bool stop, measuring;
    uint64_t tick_ns;
    struct cb_link_server *server;
    bool begun;
    uint64_t frames, broken, seq;
    uint64_t first_t0_ns, last_t1_ns, widest_ns;
    uint64_t first_missed, last_missed;
    uint64_t bare_ticks, bare_missed;
    struct spans sampled; /* a span for each frame */
    unsigned n_witnesses;
    struct witness witnesses[MAX_WITNESSES];
};

struct usage {
    uint64_t cpu_ns;
    uint64_t stolen_ms; /* of all CPUs, since boot */
    uint64_t rss_kb;
    unsigned threads, fds;
};

static void die(const char *what, const struct cb_err *err)
{
    (void)fprintf(stderr, "bench_rate: %s: %s\n", what, err ? err->text : strerror(errno));
    exit(EXIT_FAILURE);
}

/* ---- cgroups and their work ---- */

static void make_boxes(int dir_fd, size_t n)
{
    if (mkdirat(dir_fd, PARENT, 0755) < 0)
        die("cannot make cgroups", NULL);
    for (size_t i = 0; i < n; i++) {
        char path[64];

        (void)snprintf(path, sizeof(path), PARENT "/b%zu", i);
        if (mkdirat(dir_fd, path, 0755) < 0)
            die(path, NULL);
    }
}

static void remove_boxes(int dir_fd, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char path[64];

        (void)snprintf(path, sizeof(path), PARENT "/b%zu", i);
        (void)unlinkat(dir_fd, path, AT_REMOVEDIR);
    }
    (void)unlinkat(dir_fd, PARENT, AT_REMOVEDIR);
}

_Noreturn static void work(int dir_fd, size_t box)
{
    const struct timespec pause = {.tv_nsec = 5000000};
    char path[64];
    int fd;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)snprintf(path, sizeof(path), PARENT "/b%zu/cgroup.procs", box);
    fd = openat(dir_fd, path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0", 1) != 1)
        _exit(1);
    for (;;) {
        uint64_t end = cb_clock_boot_ns() + 20000;

        while (cb_clock_boot_ns() < end)
            continue;
        (void)nanosleep(&pause, NULL);
    }
}

static void start_workers(int dir_fd, size_t n_boxes, pid_t pids[N_WORKERS])
{
    for (size_t i = 0; i < N_WORKERS; i++) {
        pids[i] = fork();
        if (pids[i] < 0)
            die("fork", NULL);
        if (pids[i] == 0)
            work(dir_fd, i * n_boxes / N_WORKERS);
    }
}

static void stop_workers(const pid_t pids[N_WORKERS])
{
    for (size_t i = 0; i < N_WORKERS; i++) {
        (void)kill(pids[i], SIGKILL);
        (void)waitpid(pids[i], NULL, 0);
    }
}

/* ---- spans of time ---- */

static void add_span(struct spans *spans, struct span span)
{
    if (spans->n == spans->room) {
        spans->room = spans->room ? 2 * spans->room : 1024;
        spans->at = realloc(spans->at, spans->room * sizeof(*spans->at));
        if (!spans->at)
            die("memory", NULL);
    }
    spans->at[spans->n++] = span;
}

/* Both in order of time; *next is the first one of @late that may still meet a span to come. */
static bool meets(const struct spans *late, size_t *next, const struct span *span)
{
    while (*next < late->n && late->at[*next].to_ns <= span->from_ns)
        (*next)++;
    return *next < late->n && late->at[*next].from_ns < span->to_ns;
}

/* ---- the server ---- */

static void take_frame(struct seen *seen, const struct cb_link_message *m)
{
    struct cb_frame frame;
    struct cb_err err = {0};

    if (cb_frame_decode(m->bytes, m->size, &frame, &err) < 0)
        die("frame", &err);
    if (!atomic_load(&seen->measuring)) {
        seen->begun = false;
    } else if (!seen->begun) {
        seen->begun = true;
        seen->first_t0_ns = frame.t1_ns;
        seen->first_missed = seen->last_missed = frame.missed_ticks;
    } else {
        uint64_t width_ns = frame.t1_ns - frame.t0_ns;

        seen->broken += frame.t0_ns != seen->last_t1_ns || frame.seq != seen->seq + 1;
        seen->frames++;
        add_span(&seen->sampled, (struct span){.from_ns = frame.t0_ns,
                                               .to_ns = frame.t1_ns,
                                               .missed = frame.missed_ticks - seen->last_missed});
        seen->last_missed = frame.missed_ticks;
        if (width_ns > seen->widest_ns)
            seen->widest_ns = width_ns;
    }
    seen->last_t1_ns = frame.t1_ns;
    seen->seq = frame.seq;
    cb_frame_clear(&frame);
}

static void *serve(void *context)
{
    struct seen *seen = context;

    while (!atomic_load(&seen->stop)) {
        struct cb_link_message m;
        struct cb_err err = {0};

        if (cb_link_server_poll(seen->server, CB_NS_PER_S / 10, -1, &m, &err) < 0)
            die("server", &err);
        if (m.kind == CB_LINK_MSG_HELLO && cb_link_server_welcome(seen->server, &m.peer, &err) < 0)
            die("welcome", &err);
        if (m.kind != CB_LINK_MSG_FRAME)
            continue;
        take_frame(seen, &m);
        if (cb_link_server_ack(seen->server, &m.peer, m.start_id, m.seq, &err) < 0)
            die("ack", &err);
    }
    return NULL;
}

/* ---- the bare loop and the witnesses ---- */

static int start_timer(uint64_t first_ns, uint64_t tick_ns)
{
    const struct itimerspec spec = {
        .it_interval = {.tv_nsec = (long)tick_ns},
        .it_value = {.tv_sec = (time_t)(first_ns / CB_NS_PER_S),
                     .tv_nsec = (long)(first_ns % CB_NS_PER_S)},
    };
    int fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC);

    if (fd < 0 || timerfd_settime(fd, TFD_TIMER_ABSTIME, &spec, NULL) < 0)
        die("timer", NULL);
    return fd;
}

static uint64_t wait_for_timer(int fd)
{
    uint64_t expirations = 0;

    if (read(fd, &expirations, sizeof(expirations)) != (ssize_t)sizeof(expirations))
        die("timer", NULL);
    return expirations;
}

static void *loop_barely(void *context)
{
    struct seen *seen = context;
    int fd = start_timer(cb_clock_boot_ns() + seen->tick_ns, seen->tick_ns);

    while (!atomic_load(&seen->stop)) {
        uint64_t expirations = wait_for_timer(fd);

        if (!atomic_load(&seen->measuring))
            continue;
        seen->bare_ticks += expirations;
        seen->bare_missed += expirations - 1;
    }
    (void)close(fd);
    return NULL;
}

static void *witness(void *context)
{
    struct witness *w = context;
    const struct sched_param first = {.sched_priority = WITNESS_PRIORITY};
    uint64_t beat_ns = w->seen->tick_ns / 2;
    uint64_t due_ns = cb_clock_boot_ns() + beat_ns;
    cpu_set_t cpu;
    int fd;

    CPU_ZERO(&cpu);
    CPU_SET(w->cpu, &cpu);
    if (sched_setaffinity(0, sizeof(cpu), &cpu) < 0 ||
        sched_setscheduler(0, SCHED_FIFO, &first) < 0)
        die("witness", NULL);
    fd = start_timer(due_ns, beat_ns);
    while (!atomic_load(&w->seen->stop)) {
        uint64_t expirations = wait_for_timer(fd);
        uint64_t now_ns = cb_clock_boot_ns();

        if (now_ns - due_ns >= w->seen->tick_ns / 4)
            add_span(&w->late, (struct span){.from_ns = due_ns, .to_ns = now_ns});
        due_ns += expirations * beat_ns;
    }
    (void)close(fd);
    return NULL;
}

static void start_witnesses(struct seen *seen)
{
    cpu_set_t ours;

    if (sched_getaffinity(0, sizeof(ours), &ours) < 0)
        die("witness", NULL);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE && seen->n_witnesses < MAX_WITNESSES; cpu++) {
        struct witness *w = &seen->witnesses[seen->n_witnesses];

        if (!CPU_ISSET(cpu, &ours))
            continue;
        *w = (struct witness){.seen = seen, .cpu = cpu};
        if (pthread_create(&w->thread, NULL, witness, w) != 0)
            die("thread", NULL);
        seen->n_witnesses++;
    }
}

static void stop_witnesses(struct seen *seen)
{
    for (unsigned i = 0; i < seen->n_witnesses; i++)
        (void)pthread_join(seen->witnesses[i].thread, NULL);
}

/* ---- the sensor ---- */

static pid_t start_sensor(const char *program, const struct run *run, const char *endpoint,
                          const char *state_dir)
{
    char tick[32];
    pid_t pid = fork();

    if (pid < 0)
        die("fork", NULL);
    if (pid > 0)
        return pid;
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    (void)snprintf(tick, sizeof(tick), "%" PRIu64 "us", run->tick_ns / 1000);
    (void)execl(program, program, "--plain", "--formula", endpoint, "--state-dir", state_dir,
                "--tick", tick, "--count", run->count, "--metrics", run->metrics, "--hierarchy",
                "v2", "--cgroup", PARENT "/?*", "--docker-host", "", "--log-level", "err",
                "--events", "cpu-clock,context-switches,page-faults,cpu-migrations", (char *)NULL);
    _exit(127);
}

static uint64_t proc_number(pid_t pid, const char *file, const char *key)
{
    char path[64];
    char line[512];
    uint64_t value = 0;
    FILE *f;

    (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    f = fopen(path, "re");
    if (!f)
        die(path, NULL);
    while (fgets(line, sizeof(line), f))
        if (strncmp(line, key, strlen(key)) == 0)
            value = strtoull(line + strlen(key), NULL, 10);
    (void)fclose(f);
    return value;
}

static uint64_t read_stolen_ms(void)
{
    uint64_t jiffies = 0;
    FILE *f = fopen("/proc/stat", "re");

    if (!f || fscanf(f, "cpu %*u %*u %*u %*u %*u %*u %*u %" SCNu64, &jiffies) != 1)
        die("/proc/stat", NULL);
    (void)fclose(f);
    return jiffies * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
}

static unsigned count_fds(pid_t pid)
{
    char command[64];
    unsigned n = 0;

    for (int fd = 0; fd < 20000; fd++) {
        (void)snprintf(command, sizeof(command), "/proc/%d/fd/%d", (int)pid, fd);
        n += faccessat(AT_FDCWD, command, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    }
    return n;
}

static void take_usage(pid_t pid, struct usage *usage)
{
    clockid_t clock;
    struct timespec ts;

    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &ts) < 0)
        die("the sensor has ended", NULL);
    usage->cpu_ns = (uint64_t)ts.tv_sec * CB_NS_PER_S + (uint64_t)ts.tv_nsec;
    usage->stolen_ms = read_stolen_ms();
    usage->rss_kb = proc_number(pid, "status", "VmRSS:");
    usage->threads = (unsigned)proc_number(pid, "status", "Threads:");
    usage->fds = count_fds(pid);
}

/* ---- */

static void sleep_ns(uint64_t ns)
{
    const struct timespec ts = {.tv_sec = (time_t)(ns / CB_NS_PER_S),
                                .tv_nsec = (long)(ns % CB_NS_PER_S)};

    (void)nanosleep(&ts, NULL);
}

/* Let it run, and (churn) a cgroup end and another begin every 5 ms; then that settles. */
static void spend(const struct run *run, int dir_fd, uint64_t ns)
{
    uint64_t end_ns = cb_clock_boot_ns() + ns;
    size_t i = 0;

    if (!run->churn) {
        sleep_ns(ns);
        return;
    }
    while (cb_clock_boot_ns() < end_ns) {
        char path[64];

        i = i % run->cgroups + 1;
        if ((i - 1) % (run->cgroups / N_WORKERS) == 0)
            continue; /* somebody works in it */
        (void)snprintf(path, sizeof(path), PARENT "/b%zu", i - 1);
        if (unlinkat(dir_fd, path, AT_REMOVEDIR) < 0 || mkdirat(dir_fd, path, 0755) < 0)
            die(path, NULL);
        sleep_ns(5000000);
    }
    sleep_ns(SETTLE_NS);
}

static unsigned say(const struct run *run, const char *what, uint64_t n)
{
    (void)fprintf(stderr,
                  "bench_rate: FAILED: way=%s metrics=%s cgroups=%zu churn=%d: %" PRIu64 " %s\n",
                  run->count, run->metrics, run->cgroups, run->churn, n, what);
    return 1;
}

/* What is no matter of time: the number of promises that do not hold. */
static unsigned check(const struct run *run, const struct seen *seen, const struct usage *from,
                      const struct usage *to)
{
    unsigned n = 0;

    if (seen->broken)
        n += say(run, "frames do not follow one another, or ticks are lost", seen->broken);
    if (!seen->frames)
        n += say(run, "frames have come", 0);
    if (run->churn && to->fds > from->fds)
        n += say(run, "descriptors more than before the churn", to->fds - from->fds);
    if (run->churn && to->rss_kb > from->rss_kb + MAX_GROWTH_KB)
        n += say(run, "kB of memory more than before the churn", to->rss_kb - from->rss_kb);
    return n;
}

/* The ticks in frames during which a witness was late, and what was missed in the others. */
static void divide(const struct seen *seen, uint64_t *host_ticks, uint64_t *own_missed)
{
    size_t next[MAX_WITNESSES] = {0};

    *host_ticks = *own_missed = 0;
    for (size_t i = 0; i < seen->sampled.n; i++) {
        const struct span *span = &seen->sampled.at[i];
        bool host = false;

        for (unsigned w = 0; w < seen->n_witnesses; w++)
            host |= meets(&seen->witnesses[w].late, &next[w], span);
        *host_ticks += host ? 1 + span->missed : 0;
        *own_missed += host ? 0 : span->missed;
    }
}

static unsigned report(const struct run *run, struct seen *seen, const struct usage *from,
                       const struct usage *to)
{
    uint64_t length_ns = seen->last_t1_ns - seen->first_t0_ns;
    uint64_t ticks = (length_ns + seen->tick_ns / 2) / seen->tick_ns;
    uint64_t missed = seen->last_missed - seen->first_missed;
    uint64_t host_ticks, own_missed;

    /* every tick is in a frame or was missed; the two ends may be off by a tick's part */
    if (!run->churn && (seen->frames + missed + 1 < ticks || seen->frames + missed > ticks + 1))
        seen->broken++;
    if (run->churn) {
        (void)printf("rate way=%s churn=1 cgroups=%zu ticks=%" PRIu64 " broken=%" PRIu64
                     " rss_first_mb=%.2f rss_last_mb=%.2f fds_first=%u fds_last=%u threads=%u\n",
                     run->count, run->cgroups, ticks, seen->broken, (double)from->rss_kb / 1024,
                     (double)to->rss_kb / 1024, from->fds, to->fds, to->threads);
        (void)fflush(stdout);
        return check(run, seen, from, to);
    }
    divide(seen, &host_ticks, &own_missed);
    (void)printf("rate way=%s metrics=%s cgroups=%zu hz=%" PRIu64 " ticks=%" PRIu64
                 " missed=%" PRIu64 " missed_pct=%.3f bare_missed=%" PRIu64
                 " bare_pct=%.3f host_pct=%.3f own_missed=%" PRIu64
                 " own_pct=%.3f steal_ms=%" PRIu64 " widest_ms=%.2f broken=%" PRIu64
                 " core_pct=%.1f rss_mb=%.1f threads=%u fds=%u\n",
                 run->count, run->metrics, run->cgroups, CB_NS_PER_S / run->tick_ns, ticks, missed,
                 100.0 * (double)missed / (double)ticks, seen->bare_missed,
                 100.0 * (double)seen->bare_missed / (double)(seen->bare_ticks + 1),
                 100.0 * (double)host_ticks / (double)(ticks + 1), own_missed,
                 100.0 * (double)own_missed / (double)(ticks - host_ticks + 1),
                 to->stolen_ms - from->stolen_ms, (double)seen->widest_ns / 1e6, seen->broken,
                 100.0 * (double)(to->cpu_ns - from->cpu_ns) / (double)length_ns,
                 (double)to->rss_kb / 1024, to->threads, to->fds);
    (void)fflush(stdout);
    return check(run, seen, from, to);
}

static unsigned measure(const char *program, const struct run *run, int dir_fd, uint64_t seconds)
{
    const struct cb_link_server_options options = {.endpoint = "tcp://127.0.0.1:0", .credit = 512};
    struct seen seen = {.tick_ns = run->tick_ns};
    char state_dir[] = "/tmp/cb-bench-rate.XXXXXX";
    char command[128];
    struct usage from, to;
    struct cb_err err = {0};
    pthread_t threads[2];
    pid_t workers[N_WORKERS];
    pid_t sensor;
    unsigned failed;

    if (!mkdtemp(state_dir) || cb_link_server_open(&options, &seen.server, &err) < 0)
        die("server", &err);
    make_boxes(dir_fd, run->cgroups);
    start_workers(dir_fd, run->cgroups, workers);
    sensor = start_sensor(program, run, cb_link_server_endpoint(seen.server), state_dir);
    if (pthread_create(&threads[0], NULL, serve, &seen) != 0 ||
        pthread_create(&threads[1], NULL, loop_barely, &seen) != 0)
        die("thread", NULL);
    if (!run->churn)
        start_witnesses(&seen);
    spend(run, dir_fd, (run->churn ? 10 : 2) * CB_NS_PER_S);
    take_usage(sensor, &from);
    atomic_store(&seen.measuring, true);
    spend(run, dir_fd, seconds * CB_NS_PER_S * (run->churn ? 5 : 1));
    atomic_store(&seen.stop, true);
    (void)pthread_join(threads[0], NULL);
    (void)pthread_join(threads[1], NULL);
    stop_witnesses(&seen);
    take_usage(sensor, &to);
    (void)kill(sensor, SIGTERM);
    (void)waitpid(sensor, NULL, 0);
    stop_workers(workers);
    remove_boxes(dir_fd, run->cgroups);
    seen.server = cb_link_server_close(seen.server);
    (void)snprintf(command, sizeof(command), "rm -r '%s'", state_dir);
    if (system(command) != 0)
        die(command, NULL);
    failed = report(run, &seen, &from, &to);
    for (unsigned i = 0; i < seen.n_witnesses; i++)
        free(seen.witnesses[i].late.at);
    free(seen.sampled.at);
    return failed;
}

int main(int argc, char **argv)
{
    uint64_t seconds = argc > 1 ? strtoull(argv[1], NULL, 10) : 20;
    const char *program = argc > 2 ? argv[2] : "build/bin/cbsensor";
    struct cb_place *place = NULL;
    struct cb_err err = {0};
    int root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    size_t first = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    size_t last = argc > 4 ? strtoull(argv[4], NULL, 10) : N_RUNS - 1;
    unsigned failed = 0;

    if (cb_place_open(root_fd, "v2", 0, &place, &err) < 0)
        die("cannot measure here", &err);
    for (size_t i = first; i <= last && i < N_RUNS; i++)
        for (unsigned k = 0; k < runs[i].times; k++)
            failed += measure(program, &runs[i], cb_place_dir_fd(place), seconds);
    if (cb_place_close(place, &err) < 0)
        die("place", &err);
    (void)close(root_fd);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
