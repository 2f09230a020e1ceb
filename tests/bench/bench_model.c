/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_model.c - CPU time for model and attribution, by the number of containers: 2 sockets,
 * package and DRAM, 5 events. A container report is one container in one tick. And the memory that
 * the engine of one sensor holds, after a few ticks and after a day of churn.
 */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "formula/engine.h"

#define SOCKETS 2
#define EVENTS 5
#define MOST 1001

static const struct cb_frame_event events[EVENTS] = {
    {"cycles", "cpu", 0},     {"ref-cycles", "cpu", 0},     {"instructions", "cpu", 0},
    {"LLC_MISSES", "cpu", 0}, {"cpu-clock", "software", 0},
};
static struct cb_frame_event frame_events[EVENTS];
static struct cb_frame_energy energies[2 * SOCKETS];
static struct cb_frame_target targets[MOST];
static uint64_t counts[(MOST + 1) * SOCKETS * EVENTS];
static uint64_t times[(MOST + 1) * SOCKETS];
static uint64_t random_state = 1;

static uint64_t draw(uint64_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (random_state >> 33) % below;
}

/* CPU time of this thread: the machine may be busy with other things. */
static uint64_t cpu_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void fill(struct cb_frame *frame, size_t n)
{
    memset(counts, 0, sizeof(counts));
    for (size_t row = 1; row <= n; row++) {
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
    for (size_t i = 0; i < frame->n_energies; i++)
        energies[i].energy_uj =
            20000000 + cb_frame_count(frame, 0, i / 2, i % 2 ? 3 : 0) / (i % 2 ? 10 : 500);
    frame->t0_ns = frame->t1_ns;
    frame->t1_ns += 1000000000;
    frame->wall_ns += 1000000000;
}

static struct cb_frame frame_of(size_t n)
{
    return (struct cb_frame){
        .t1_ns = 1000000000,
        .n_sockets = SOCKETS,
        .n_cpus = 64,
        .n_energies = 2 * SOCKETS,
        .energies = energies,
        .has_machine_row = true,
        .n_events = EVENTS,
        .events = frame_events,
        .n_groups = 1,
        .n_targets = n,
        .targets = targets,
        .counts = counts,
        .enabled_ns = times,
        .running_ns = times,
    };
}

static struct cb_engine *engine_new(void)
{
    const struct cb_engine_options options = {.model = CB_MODEL_CBWATTS};
    struct cb_engine *engine = NULL;

    if (cb_engine_new(&options, &engine, NULL) < 0)
        abort();
    return engine;
}

/* Every tick another number of containers, at most @n, of which each lives a minute. */
static size_t held_after(size_t n, uint64_t ticks)
{
    size_t before = mallinfo2().uordblks, held;
    struct cb_engine *engine = engine_new();
    struct cb_frame frame = frame_of(n);
    struct cb_result result = {0};

    for (uint64_t tick = 0; tick < ticks; tick++) {
        frame.n_targets = tick == 0 ? n : 1 + draw(n);
        fill(&frame, frame.n_targets);
        for (size_t i = 0; i < n; i++)
            targets[i].id = (uint32_t)(1 + n * (tick / 60) + i);
        if (cb_engine_frame(engine, &frame, &result, NULL) < 0)
            abort();
    }
    held = mallinfo2().uordblks - before;
    cb_result_clear(&result);
    engine = cb_engine_free(engine);
    return held;
}

static void measure_memory(void)
{
    size_t one = held_after(1, 10), many = held_after(1001, 10);

    printf("memory of one sensor's engine and result: %zu kB, and %zu bytes per container\n",
           one / 1024, (many - one) / 1000);
    printf("                            10 containers: %zu kB after 10 ticks, %zu kB after 86400 "
           "with churn\n",
           held_after(10, 10) / 1024, held_after(10, 86400) / 1024);
}

static void measure(size_t n)
{
    struct cb_frame frame = frame_of(n);
    struct cb_engine *engine = engine_new();
    struct cb_result result = {0};
    uint64_t spent = 0, ticks = 400000 / (n + 100);
    uint8_t *snapshot = NULL;
    size_t size = 0;

    for (uint64_t tick = 0; tick < ticks; tick++) {
        uint64_t begin;

        fill(&frame, n);
        begin = cpu_ns();
        if (cb_engine_frame(engine, &frame, &result, NULL) < 0)
            abort();
        spent += cpu_ns() - begin;
    }
    if (cb_engine_violations(engine) > 0 || cb_engine_save(engine, &snapshot, &size, NULL) < 0)
        abort();
    printf("model and attribution, %4zu containers: %8.0f ns per frame, %7.0f ns per container "
           "report (snapshot %zu bytes)\n",
           n, (double)spent / (double)ticks, (double)spent / (double)(ticks * n), size);
    free(snapshot);
    cb_result_clear(&result);
    engine = cb_engine_free(engine);
}

int main(void)
{
    static const size_t sizes[] = {1, 10, 100, 1000};

    memcpy(frame_events, events, sizeof(events));
    for (size_t i = 0; i < MOST; i++)
        targets[i].id = (uint32_t)i + 1;
    for (size_t i = 0; i < 2 * SOCKETS; i++)
        energies[i] = (struct cb_frame_energy){
            .socket = (uint16_t)(i / 2), .domain = i % 2 ? CB_DOMAIN_DRAM : CB_DOMAIN_PACKAGE};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        measure(sizes[i]);
    measure_memory();
    return 0;
}
