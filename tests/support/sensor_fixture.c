/* SPDX-License-Identifier: Apache-2.0 */
/* sensor_fixture.c - see sensor_fixture.h. */
#include "tests/support/sensor_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/err.h"
#include "tests/support/store_fixture.h"

#define WALL_OFFSET UINT64_C(1700000000000000000)
#define N_ROWS 3

uint64_t sensor_fixture_energy_uj(const struct sensor_fixture *sensor, uint64_t seq,
                                  enum cb_domain domain)
{
    uint64_t seed = sensor->seed + 1000 * seq + domain;

    return (domain == CB_DOMAIN_PACKAGE ? 20000000 : 2000000) + fixture_random(&seed, 10000000);
}

static void set_targets(const struct sensor_fixture *sensor, struct cb_frame_target targets[2])
{
    targets[0] = (struct cb_frame_target){.id = 1, .kind = CB_TARGET_CONTAINER};
    targets[1] = (struct cb_frame_target){.id = 2, .kind = CB_TARGET_CONTAINER};
    if (!sensor->dictionary)
        return;
    targets[0].flags = targets[1].flags = CB_TARGET_TEXT;
    targets[0].cgroup = "/docker/" FIXTURE_ID_A;
    targets[0].container_id = FIXTURE_ID_A;
    targets[0].name = "alpha";
    targets[0].image = "img/alpha:1";
    targets[0].labels = "{\"team\":\"x\"}";
    targets[1].cgroup = "/docker/" FIXTURE_ID_B;
    targets[1].container_id = FIXTURE_ID_B;
    targets[1].name = "beta \"quoted\"";
    targets[1].image = "img/beta";
    targets[1].labels = "{}";
}

/* Machine row: what the containers did and a tenth more. */
static void set_counts(const struct sensor_fixture *sensor, uint64_t seq, uint64_t counts[N_ROWS],
                       uint64_t times[N_ROWS])
{
    uint64_t seed = sensor->seed + 7 * seq;

    counts[1] = fixture_random(&seed, sensor->length_ns);
    counts[2] = fixture_random(&seed, sensor->length_ns);
    counts[0] = (counts[1] + counts[2]) / 10 * 11;
    for (size_t i = 0; i < N_ROWS; i++)
        times[i] = sensor->length_ns;
}

void sensor_fixture_frame(struct sensor_fixture *sensor, uint64_t seq, const uint8_t **ret_bytes,
                          size_t *ret_size)
{
    struct cb_frame_energy energies[] = {
        {0, CB_DOMAIN_PACKAGE, CB_SOURCE_PERF,
         sensor_fixture_energy_uj(sensor, seq, CB_DOMAIN_PACKAGE), 61},
        {0, CB_DOMAIN_DRAM, CB_SOURCE_PERF, sensor_fixture_energy_uj(sensor, seq, CB_DOMAIN_DRAM),
         61},
    };
    struct cb_frame_event events[] = {{"cpu-clock", "software", 0}};
    struct cb_frame_target targets[2];
    uint64_t counts[N_ROWS];
    uint64_t times[N_ROWS];
    const char *stat_names[] = {"cpu_ns"};
    uint64_t t0_ns = sensor->t0_ns + (seq - 1) * sensor->length_ns;
    struct cb_frame frame = {.sensor = sensor->name,
                             .boot_id = sensor->boot_id,
                             .start_id = sensor->start_id,
                             .seq = seq,
                             .t0_ns = t0_ns,
                             .t1_ns = t0_ns + sensor->length_ns,
                             .wall_ns = t0_ns + sensor->length_ns + WALL_OFFSET,
                             .dictionary = sensor->dictionary,
                             .version = "test",
                             .n_sockets = 1,
                             .n_cpus = 2,
                             .n_energies = 2,
                             .energies = energies,
                             .has_machine_row = true,
                             .n_events = 1,
                             .events = events,
                             .n_groups = 1,
                             .n_targets = 2,
                             .targets = targets,
                             .counts = counts,
                             .enabled_ns = times,
                             .running_ns = times,
                             .n_stats = 1,
                             .stat_names = stat_names,
                             .stats = counts,
                             .n_gaps = sensor->n_gaps,
                             .gaps = sensor->gaps,
                             .lost_frames = sensor->lost_frames,
                             .self_cpu_ns = sensor->self_cpu_ns};
    struct cb_err err = {0};

    set_targets(sensor, targets);
    set_counts(sensor, seq, counts, times);
    if (!sensor->encoder)
        sensor->encoder = cb_frame_encoder_new();
    if (!sensor->encoder ||
        cb_frame_encode(sensor->encoder, &frame, ret_bytes, ret_size, &err) < 0) {
        (void)fprintf(stderr, "sensor fixture: %s\n", err.text);
        abort();
    }
}
