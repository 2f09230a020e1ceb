/* SPDX-License-Identifier: Apache-2.0 */
/* bench_frame.c - nanoseconds to encode and to decode one frame, by its number of targets. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/frame.h"

#define SOCKETS 2
#define EVENTS 5
#define STATS 2

static const struct cb_frame_event events[EVENTS] = {
    {"cycles", "cpu", 0},     {"ref-cycles", "cpu", 0},     {"instructions", "cpu", 0},
    {"LLC_MISSES", "cpu", 0}, {"cpu-clock", "software", 0},
};

static void *array(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);

    if (!p)
        abort();
    return p;
}

static void fill(struct cb_frame *f, size_t n_targets, bool dictionary)
{
    static const char *stat_names[STATS] = {"cpu_ns", "memory_bytes"};
    static struct cb_frame_energy energies[4] = {
        {0, CB_DOMAIN_PACKAGE, CB_SOURCE_PERF, 54321000, 61},
        {0, CB_DOMAIN_DRAM, CB_SOURCE_PERF, 4321000, 15},
        {1, CB_DOMAIN_PACKAGE, CB_SOURCE_PERF, 51321000, 61},
        {1, CB_DOMAIN_DRAM, CB_SOURCE_PERF, 4221000, 15},
    };
    size_t cells = (1 + n_targets) * SOCKETS;

    *f = (struct cb_frame){
        .sensor = "node-1",
        .boot_id = "0b0b0b0b-1111-2222-3333-444444444444",
        .start_id = "0123456789abcdef0123456789abcdef",
        .seq = 1,
        .t0_ns = 1,
        .t1_ns = 1000000001,
        .wall_ns = UINT64_C(1790000000000000000),
        .dictionary = dictionary,
        .version = "0.1.0",
        .n_sockets = SOCKETS,
        .n_cpus = 64,
        .n_energies = 4,
        .energies = energies,
        .has_machine_row = true,
        .n_events = EVENTS,
        .events = array(EVENTS, sizeof(*f->events)),
        .n_groups = 1,
        .n_targets = n_targets,
        .targets = array(n_targets, sizeof(*f->targets)),
        .counts = array(cells * EVENTS, 8),
        .enabled_ns = array(cells, 8),
        .running_ns = array(cells, 8),
        .n_stats = STATS,
        .stat_names = stat_names,
        .stats = array((1 + n_targets) * STATS, 8),
    };
    for (size_t i = 0; i < EVENTS; i++)
        f->events[i] = events[i];
    for (size_t i = 0; i < n_targets; i++)
        f->targets[i] = (struct cb_frame_target){
            .id = (uint32_t)i + 1,
            .flags = dictionary ? CB_TARGET_TEXT : 0,
            .cgroup = "/docker/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            .container_id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            .name = "a-container",
            .image = "registry.example/service/image:tag",
            .labels = "{\"com.docker.compose.project\":\"p\",\"com.docker.compose.service\":\"s\"}",
        };
}

static void run(size_t n_targets, bool dictionary)
{
    struct cb_frame_encoder *encoder = cb_frame_encoder_new();
    struct cb_frame frame;
    const uint8_t *bytes = NULL;
    size_t size = 0;
    uint64_t t0;
    uint64_t t1;
    uint64_t t2;
    int n = (int)(200000 / (n_targets + 10));

    if (!encoder)
        abort();
    fill(&frame, n_targets, dictionary);
    t0 = cb_clock_boot_ns();
    for (int i = 0; i < n; i++)
        if (cb_frame_encode(encoder, &frame, &bytes, &size, NULL) < 0)
            abort();
    t1 = cb_clock_boot_ns();
    for (int i = 0; i < n; i++) {
        struct cb_frame back;

        if (cb_frame_decode(bytes, size, &back, NULL) < 0)
            abort();
        cb_frame_clear(&back);
    }
    t2 = cb_clock_boot_ns();
    printf("frame targets=%zu dictionary=%d bytes=%zu encode_ns=%" PRIu64 " decode_ns=%" PRIu64
           "\n",
           n_targets, dictionary, size, (t1 - t0) / (uint64_t)n, (t2 - t1) / (uint64_t)n);
    free(frame.events);
    free(frame.targets);
    free(frame.counts);
    free(frame.enabled_ns);
    free(frame.running_ns);
    free(frame.stats);
    encoder = cb_frame_encoder_free(encoder);
}

int main(void)
{
    static const size_t sizes[] = {0, 10, 100, 1000, 2000};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        run(sizes[i], false);
        run(sizes[i], true);
    }
    return 0;
}
