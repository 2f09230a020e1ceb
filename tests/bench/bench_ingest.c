/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_ingest.c - the server's whole way of a frame: decode, model, attribution, one packed row in
 * SQLite (synchronous=FULL), group commit every 100 ms of the sensors' time, acknowledgement. CPU
 * time of the thread, system calls included; making and encoding the frames is not counted. 2
 * sockets, package and DRAM, 5 events. A container report is one container in one tick.
 */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "formula/ingest.h"
#include "lib/err.h"
#include "lib/log.h"

#define SOCKETS 2
#define EVENTS 5
#define MOST 1000
#define MS UINT64_C(1000000)
#define WALL UINT64_C(1700000000000000000)
#define BOOT_ID "11111111-2222-3333-4444-555555555555"

static const struct cb_frame_event events[EVENTS] = {
    {"cycles", "cpu", 0},     {"ref-cycles", "cpu", 0},     {"instructions", "cpu", 0},
    {"LLC_MISSES", "cpu", 0}, {"cpu-clock", "software", 1},
};
static struct cb_frame_event frame_events[EVENTS];
static struct cb_frame_energy energies[2 * SOCKETS];
static struct cb_frame_target targets[MOST];
static char target_ids[MOST][65];
static uint64_t counts[(MOST + 1) * SOCKETS * EVENTS];
static uint64_t times[(MOST + 1) * SOCKETS * 2];
static uint64_t stats[MOST + 1];
static const char *stat_names[] = {"cpu_ns"};
static uint64_t random_state = 1;

static uint64_t draw(uint64_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (random_state >> 33) % below;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void must(int r, const struct cb_err *err)
{
    if (r >= 0)
        return;
    (void)fprintf(stderr, "bench_ingest: %s\n", err->text);
    exit(1);
}

/* ---- frames ---- */

static void fill_counts(struct cb_frame *frame)
{
    memset(counts, 0, sizeof(counts));
    for (size_t row = 1; row <= frame->n_targets; row++) {
        stats[row] = draw(100000000);
        for (size_t s = 0; s < SOCKETS; s++) {
            uint64_t cycles = draw(100000000);
            const uint64_t values[EVENTS] = {cycles, cycles, cycles * (1 + draw(3)), draw(1000000),
                                             cycles / 2};

            for (size_t e = 0; e < EVENTS; e++) {
                cb_frame_count(frame, row, s, e) = values[e];
                cb_frame_count(frame, 0, s, e) += values[e];
            }
        }
    }
    stats[0] = 1000000000;
    for (size_t i = 0; i < 2 * SOCKETS; i++)
        energies[i] = (struct cb_frame_energy){
            .socket = (uint16_t)(i / 2),
            .domain = i % 2 ? CB_DOMAIN_DRAM : CB_DOMAIN_PACKAGE,
            .source = CB_SOURCE_PERF,
            .energy_uj = 20000000 + cb_frame_count(frame, 0, i / 2, i % 2 ? 3 : 0) / 500,
            .uncertainty_uj = 61,
        };
}

/* Targets first_id, first_id + 1, ...; those from @new_id on tell their text. */
static void fill_targets(struct cb_frame *frame, uint32_t first_id, uint32_t new_id)
{
    for (size_t i = 0; i < frame->n_targets; i++) {
        uint32_t id = first_id + (uint32_t)i;

        (void)snprintf(target_ids[i], sizeof(target_ids[i]), "%064x", id);
        targets[i] = (struct cb_frame_target){
            .id = id,
            .flags = id >= new_id ? CB_TARGET_TEXT : 0,
            .cgroup = "/system.slice/docker",
            .container_id = target_ids[i],
            .name = target_ids[i] + 48,
            .image = "registry/image:latest",
        };
    }
}

struct sensor {
    char name[32], start_id[CB_START_ID_SIZE];
    uint64_t seq;
    uint32_t told_id;
};

static void make_frame(const struct sensor *sensor, struct cb_frame *frame, size_t n,
                       uint64_t period_ns, uint64_t t1_ns)
{
    memcpy(frame_events, events, sizeof(events));
    *frame = (struct cb_frame){
        .sensor = sensor->name,
        .boot_id = BOOT_ID,
        .start_id = sensor->start_id,
        .version = "bench",
        .seq = sensor->seq,
        .t0_ns = t1_ns - period_ns,
        .t1_ns = t1_ns,
        .wall_ns = WALL + t1_ns,
        .n_sockets = SOCKETS,
        .n_cpus = 64,
        .n_energies = 2 * SOCKETS,
        .energies = energies,
        .has_machine_row = true,
        .n_events = EVENTS,
        .events = frame_events,
        .n_groups = 2,
        .n_targets = n,
        .targets = targets,
        .counts = counts,
        .enabled_ns = times,
        .running_ns = times,
        .n_stats = 1,
        .stat_names = stat_names,
        .stats = stats,
    };
}

/* ---- a server ---- */

struct server {
    char directory[64], path[96];
    struct cb_store *store;
    struct cb_totals *totals;
    struct cb_notify notify;
    struct cb_ingest_stats stats;
    struct cb_ingest *ingest;
    struct cb_frame_encoder *encoder;
    size_t n_sensors;
    struct sensor *sensors;
    uint64_t spent_ns, longest_ns, reports, acks;
};

static void on_welcome(void *context, const struct cb_link_peer *peer)
{
    (void)context;
    (void)peer;
}

static void on_ack(void *context, const struct cb_link_peer *peer, const char *start_id,
                   uint64_t seq)
{
    struct server *server = context;

    (void)peer;
    (void)start_id;
    (void)seq;
    server->acks++;
}

static void on_refuse(void *context, const struct cb_link_peer *peer, const char *start_id,
                      uint64_t seq, const char *text)
{
    (void)context;
    (void)peer;
    (void)start_id;
    (void)seq;
    (void)fprintf(stderr, "bench_ingest: refused: %s\n", text);
    exit(1);
}

static void begin(struct server *server, size_t n_sensors)
{
    struct cb_ingest_options options = {.model = CB_MODEL_CBWATTS, .commit_ns = 100 * MS};
    struct cb_err err = {0};

    *server = (struct server){.directory = "/tmp/cbwatts-bench.XXXXXX", .n_sensors = n_sensors};
    if (!mkdtemp(server->directory))
        must(cb_err_set(&err, 1, "no directory in /tmp"), &err);
    (void)snprintf(server->path, sizeof(server->path), "%s/db", server->directory);
    must(cb_store_open(server->path, CB_STORE_OWNER, &server->store, &err), &err);
    server->totals = cb_totals_new();
    server->encoder = cb_frame_encoder_new();
    server->sensors = calloc(n_sensors, sizeof(*server->sensors));
    if (!server->totals || !server->encoder || !server->sensors)
        exit(1);
    cb_notify_init(&server->notify);
    options.store = server->store;
    options.totals = server->totals;
    options.notify = &server->notify;
    options.stats = &server->stats;
    options.answers = (struct cb_ingest_answers){
        .context = server, .welcome = on_welcome, .ack = on_ack, .refuse = on_refuse};
    must(cb_ingest_open(&options, &server->ingest, &err), &err);
    for (size_t i = 0; i < n_sensors; i++) {
        (void)snprintf(server->sensors[i].name, sizeof(server->sensors[i].name), "node%04zu", i);
        (void)snprintf(server->sensors[i].start_id, CB_START_ID_SIZE, "%032zx", i);
    }
}

static void end(struct server *server)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    char path[128];

    cb_ingest_abandon(server->ingest);
    server->totals = cb_totals_free(server->totals);
    server->store = cb_store_close(server->store);
    cb_notify_fini(&server->notify);
    server->encoder = cb_frame_encoder_free(server->encoder);
    free(server->sensors);
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s%s", server->path, suffixes[i]);
        (void)unlink(path);
    }
    (void)rmdir(server->directory);
}

static void commit_due(struct server *server, uint64_t now_ns)
{
    struct cb_err err = {0};

    if (now_ns >= cb_ingest_due_ns(server->ingest))
        must(cb_ingest_commit(server->ingest, now_ns, WALL + now_ns, &err), &err);
}

/* One frame of sensor @i at @now_ns, and the commit when it is due. */
static void take(struct server *server, size_t i, size_t n, uint32_t first_id, uint64_t period_ns,
                 uint64_t now_ns)
{
    struct sensor *sensor = &server->sensors[i];
    struct cb_link_message message = {.kind = CB_LINK_MSG_FRAME, .peer = {.size = 4}};
    struct cb_err err = {0};
    struct cb_frame frame;
    uint64_t cpu_ns, wall_ns, lasted_ns;

    sensor->seq++;
    make_frame(sensor, &frame, n, period_ns, now_ns);
    fill_targets(&frame, first_id, sensor->told_id + 1);
    fill_counts(&frame);
    sensor->told_id = first_id + (uint32_t)n - 1;
    must(cb_frame_encode(server->encoder, &frame, &message.bytes, &message.size, &err), &err);
    memcpy(message.peer.id, &i, 4);
    memcpy(message.start_id, sensor->start_id, sizeof(message.start_id));
    message.seq = sensor->seq;
    cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    wall_ns = clock_ns(CLOCK_MONOTONIC);
    must(cb_ingest_message(server->ingest, &message, now_ns, WALL + now_ns, &err), &err);
    commit_due(server, now_ns);
    server->spent_ns += clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_ns;
    lasted_ns = clock_ns(CLOCK_MONOTONIC) - wall_ns;
    if (lasted_ns > server->longest_ns)
        server->longest_ns = lasted_ns;
    server->reports += n;
}

static double megabytes_of(const struct server *server)
{
    struct stat status = {0};

    (void)stat(server->path, &status);
    return (double)status.st_size / 1e6;
}

/* ---- what is measured ---- */

static void measure_rate(size_t n_sensors, size_t n_containers, uint64_t period_ns,
                         uint64_t seconds)
{
    uint64_t ticks = seconds * 1000 * MS / period_ns, warm = ticks / 4 + 2;
    struct server server;

    begin(&server, n_sensors);
    for (uint64_t tick = 1; tick <= warm + ticks; tick++) {
        if (tick == warm + 1)
            server.spent_ns = server.longest_ns = server.reports = server.acks = 0;
        for (size_t i = 0; i < n_sensors; i++)
            take(&server, i, n_containers, 1, period_ns,
                 tick * period_ns + i * (period_ns / n_sensors));
    }
    printf(
        "%4zu sensors x %4zu containers x %2.0f Hz: %5.2f us per container report, %5.1f %% of a "
        "core; longest frame with its commit %.1f ms; %.1f MB for %" PRIu64 " frames\n",
        n_sensors, n_containers, 1e9 / (double)period_ns,
        (double)server.spent_ns / 1e3 / (double)server.reports,
        100 * (double)server.spent_ns / ((double)ticks * (double)period_ns),
        (double)server.longest_ns / 1e6, megabytes_of(&server), (warm + ticks) * n_sensors);
    end(&server);
}

static size_t held(void)
{
    (void)malloc_trim(0);
    return mallinfo2().uordblks + mallinfo2().hblkhd;
}

/* What the server holds after two ticks of all. */
static size_t held_for(size_t n_sensors, size_t n_containers)
{
    size_t before = held(), after;
    struct server server;

    begin(&server, n_sensors);
    for (uint64_t tick = 1; tick <= 2; tick++)
        for (size_t i = 0; i < n_sensors; i++)
            take(&server, i, n_containers, 1, 1000 * MS, tick * 1000 * MS + i * MS);
    commit_due(&server, 3600 * 1000 * MS);
    after = held();
    end(&server);
    return after - before;
}

static void measure_memory(void)
{
    size_t few = held_for(20, 10), more = held_for(120, 10), many = held_for(20, 110);

    printf("memory: %zu kB per sensor with 10 containers, %zu bytes per container\n",
           (more - few) / 100 / 1024, (many - few) / 20 / 100);
}

/* 50 containers at a time, each for a minute: what is held as hours pass. */
static void measure_churn(void)
{
    static const uint64_t looks[] = {600, 3600, 4 * 3600};
    struct server server;
    size_t before = held();
    uint64_t tick = 0;

    begin(&server, 1);
    printf("memory of one sensor's churn, 50 containers of a minute each:");
    for (size_t k = 0; k < sizeof(looks) / sizeof(looks[0]); k++) {
        for (; tick < looks[k]; tick++)
            take(&server, 0, 50, (uint32_t)(1 + tick / 60 * 50), 1000 * MS, (tick + 1) * 1000 * MS);
        printf(" %zu kB after %" PRIu64 " min%s", (held() - before) / 1024, looks[k] / 60,
               k + 1 < sizeof(looks) / sizeof(looks[0]) ? "," : "\n");
    }
    end(&server);
}

int main(void)
{
    cb_log_init("bench_ingest", CB_LOG_ERR, false);
    measure_rate(100, 100, 1000 * MS, 12);
    measure_rate(1, 1000, 100 * MS, 20);
    measure_rate(1, 100, 1000 * MS, 60);
    measure_rate(1000, 10, 1000 * MS, 8);
    measure_memory();
    measure_churn();
    return 0;
}
