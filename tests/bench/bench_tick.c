/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_tick.c - CPU time of a tick with 100 and 1000 sleeping cgroups, frame encoded and sent
 * included, beside the floor: reading the same groups of four software events with nothing else.
 *
 * The floor and the sensor take turns, one tick each, so that a busy machine is as busy for both;
 * the medians are compared. The container metrics are read at every tick here, not every ten
 * seconds. Needs root and cgroup v2.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/frame.h"
#include "sensor/place.h"
#include "sensor/sampler.h"

#define TICKS 200
#define EVENTS "cpu-clock,context-switches,page-faults,cpu-migrations"

enum way { PERF, BPF, METRICS, N_WAYS };
static const char *const way_names[N_WAYS] = {"perf", "bpf", "bpf+metrics"};

struct machine {
    int root_fd;
    struct cb_topology topology;
    struct cb_place *place;
    struct cb_perf *perf;
    struct cb_perf *floor; /* the same events; descriptors are budgeted for each */
    struct cb_machine *counters;
    struct cb_busy *busy;
    struct cb_energy *energy;
    int sink[2]; /* what is sent is read at its other end, not counted */
};

/* One sensor's share of it. */
struct sensor {
    struct cb_count *count;
    struct cb_metrics *metrics;
    struct cb_sampler *sampler;
    struct cb_cgroup_watch *watch;
    struct cb_gaps gaps;
    struct cb_frame_encoder *encoder;
};

static void die(const char *what, const struct cb_err *err)
{
    (void)fprintf(stderr, "bench_tick: %s: %s\n", what, err ? err->text : strerror(errno));
    exit(EXIT_FAILURE);
}

static void open_machine(struct machine *m)
{
    static const char *const list[] = {EVENTS};
    struct cb_err err = {0};
    struct cb_perf_options perf = {.topology = &m->topology, .n_lists = 1, .lists = list};
    struct cb_energy_options energy = {.topology = &m->topology, .wanted = "auto"};

    m->root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    perf.root_fd = energy.root_fd = m->root_fd;
    (void)cb_perf_raise_limit();
    if (cb_topology_init(&m->topology, m->root_fd, &err) < 0 ||
        cb_place_open(m->root_fd, "v2", m->topology.cpus[0], &m->place, &err) < 0 ||
        cb_perf_open(&perf, &m->perf, &err) < 0 || cb_perf_open(&perf, &m->floor, &err) < 0 ||
        cb_machine_open(m->root_fd, &m->topology, &m->counters, &err) < 0 ||
        cb_busy_open(m->root_fd, &m->topology, &m->busy, &err) < 0 ||
        cb_energy_open(&energy, &m->energy, &err) < 0)
        die("cannot measure here", &err);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, m->sink) < 0)
        die("socketpair", NULL);
}

static void close_machine(struct machine *m)
{
    struct cb_err err = {0};

    m->energy = cb_energy_close(m->energy);
    m->busy = cb_busy_close(m->busy);
    m->counters = cb_machine_close(m->counters);
    m->perf = cb_perf_close(m->perf);
    m->floor = cb_perf_close(m->floor);
    if (cb_place_close(m->place, &err) < 0)
        die("place", &err);
    cb_topology_fini(&m->topology);
    (void)close(m->sink[0]);
    (void)close(m->sink[1]);
    (void)close(m->root_fd);
}

/* ---- the cgroups ---- */

static void box_path(char path[64], size_t i)
{
    (void)snprintf(path, 64, "cb-bench/b%zu", i);
}

static void make_boxes(const struct machine *m, size_t n)
{
    char path[64];

    if (mkdirat(cb_place_dir_fd(m->place), "cb-bench", 0755) < 0)
        die("cannot make cgroups", NULL);
    for (size_t i = 0; i < n; i++) {
        box_path(path, i);
        if (mkdirat(cb_place_dir_fd(m->place), path, 0755) < 0)
            die(path, NULL);
    }
}

static void remove_boxes(const struct machine *m, size_t n)
{
    char path[64];

    for (size_t i = 0; i < n; i++) {
        box_path(path, i);
        (void)unlinkat(cb_place_dir_fd(m->place), path, AT_REMOVEDIR);
    }
    (void)unlinkat(cb_place_dir_fd(m->place), "cb-bench", AT_REMOVEDIR);
}

/* ---- a sensor ---- */

static void open_sensor(struct machine *m, enum way way, struct sensor *s)
{
    static const char *const patterns[] = {"cb-bench/?*"};
    struct cb_err err = {0};
    const struct cb_count_options count = {
        .root_fd = m->root_fd,
        .topology = &m->topology,
        .perf = m->perf,
        .wanted = way == PERF ? "perf" : "bpf",
        .counting_fd = cb_place_dir_fd(m->place),
        .max_fds = 20000,
    };
    struct cb_sampler_options sampler = {
        .root_fd = m->root_fd,
        .counting_fd = cb_place_dir_fd(m->place),
        .sensor = "bench",
        .boot_id = "0b0b0b0b-1111-2222-3333-444444444444",
        .start_id = "0123456789abcdef0123456789abcdef",
        .topology = &m->topology,
        .perf = m->perf,
        .machine = m->counters,
        .busy = m->busy,
        .energy = m->energy,
        .metrics_ns = 1,
        .gaps = &s->gaps,
    };
    struct cb_cgroup_options watch = {
        .dir_fd = cb_place_dir_fd(m->place),
        .n_patterns = 1,
        .patterns = patterns,
        .born = cb_sampler_born,
        .gone = cb_sampler_gone,
    };

    if (cb_count_open(&count, &s->count, &err) < 0 ||
        (way == METRICS && cb_metrics_open(m->root_fd, 5000, &s->metrics, &err) < 0))
        die(way_names[way], &err);
    sampler.count = s->count;
    sampler.metrics = s->metrics;
    if (cb_sampler_open(&sampler, &s->sampler, &err) < 0)
        die(way_names[way], &err);
    watch.context = s->sampler;
    s->encoder = cb_frame_encoder_new();
    if (!s->encoder || cb_cgroup_watch_open(&watch, &s->watch, &err) < 0)
        die(way_names[way], &err);
    cb_sampler_start(s->sampler);
}

static void close_sensor(struct sensor *s)
{
    s->encoder = cb_frame_encoder_free(s->encoder);
    s->watch = cb_cgroup_watch_close(s->watch);
    s->sampler = cb_sampler_close(s->sampler);
    s->metrics = cb_metrics_close(s->metrics);
    s->count = cb_count_close(s->count);
}

static uint64_t cpu_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * CB_NS_PER_S + (uint64_t)ts.tv_nsec;
}

static uint64_t sensor_tick(struct machine *m, struct sensor *s)
{
    static char drain[65536];
    uint64_t begin = cpu_ns();
    uint64_t spent = 0;
    struct cb_err err = {0};
    struct cb_frame *frame = NULL;
    const uint8_t *bytes = NULL;
    size_t size = 0;

    if (cb_sampler_read(s->sampler, false, &frame, &err) < 0 ||
        cb_frame_encode(s->encoder, frame, &bytes, &size, &err) < 0)
        die("tick", &err);
    for (size_t at = 0; at < size;) {
        ssize_t n =
            send(m->sink[0], bytes + at, size - at < sizeof(drain) ? size - at : sizeof(drain), 0);

        if (n < 0)
            die("send", NULL);
        spent += cpu_ns() - begin;
        for (ssize_t left = n; left > 0;)
            left -= recv(m->sink[1], drain, (size_t)left, 0);
        begin = cpu_ns();
        at += (size_t)n;
    }
    cb_sampler_done(s->sampler, true);
    return spent + cpu_ns() - begin;
}

/* ---- the floor ---- */

static struct cb_perf_target **open_floor(struct machine *m, size_t n)
{
    struct cb_perf_target **targets = calloc(n, sizeof(struct cb_perf_target *));
    struct cb_err err = {0};

    for (size_t i = 0; targets && i < n; i++) {
        char path[64];
        int fd;

        box_path(path, i);
        fd = openat(cb_place_dir_fd(m->place), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || cb_perf_target_open(m->floor, fd, &targets[i], &err) < 0)
            die("floor", &err);
        (void)close(fd);
    }
    return targets;
}

static uint64_t floor_tick(struct machine *m, struct cb_perf_target **targets, size_t n)
{
    uint64_t begin = cpu_ns();
    struct cb_perf_reading reading;

    for (size_t i = 0; i < n; i++)
        for (uint32_t c = 0; c < m->topology.n_cpus; c++)
            if (read(cb_perf_target_fd(m->floor, targets[i], c, 0), &reading, sizeof(reading)) <= 0)
                die("read", NULL);
    return cpu_ns() - begin;
}

/* ---- */

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;

    return *x < *y ? -1 : *x > *y;
}

static double median_us(uint64_t *ns)
{
    qsort(ns, TICKS, sizeof(*ns), by_value);
    return (double)ns[TICKS / 2] / 1e3;
}

static void run(struct machine *m, size_t n, enum way way)
{
    static uint64_t floor_ns[TICKS];
    static uint64_t ns[TICKS];
    struct sensor sensor = {0};
    struct cb_perf_target **floor;
    const struct timespec pause = {.tv_nsec = 50000000};
    double floor_us, us;

    make_boxes(m, n);
    floor = open_floor(m, n);
    open_sensor(m, way, &sensor);
    for (int t = -3; t < TICKS; t++) {
        uint64_t floor_spent, spent;

        (void)nanosleep(&pause, NULL);
        floor_spent = floor_tick(m, floor, n);
        spent = sensor_tick(m, &sensor);
        if (t >= 0) {
            floor_ns[t] = floor_spent;
            ns[t] = spent;
        }
    }
    close_sensor(&sensor);
    for (size_t i = 0; i < n; i++)
        floor[i] = cb_perf_target_close(m->floor, floor[i]);
    free(floor);
    remove_boxes(m, n);
    floor_us = median_us(floor_ns);
    us = median_us(ns);
    (void)printf("tick way=%s cgroups=%zu cpu_us=%.1f floor_us=%.1f floors=%.2f\n", way_names[way],
                 n, us, floor_us, us / floor_us);
}

int main(void)
{
    static const size_t sizes[] = {100, 1000};
    struct machine m = {0};

    open_machine(&m);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (enum way way = 0; way < N_WAYS; way++)
            run(&m, sizes[i], way);
    close_machine(&m);
    return 0;
}
