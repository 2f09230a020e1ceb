/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_snapshot.c - a model snapshot from outside: refused, or the engine works on with it. */
#include <stdlib.h>

#include "formula/engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Two ticks of one socket with one target. */
static void run(struct cb_engine *engine)
{
    struct cb_frame_energy energy = {.source = CB_SOURCE_PERF};
    struct cb_frame_event events[] = {{"cycles", "cpu", 0}, {"instructions", "cpu", 0}};
    struct cb_frame_target target = {.id = 1};
    uint64_t counts[] = {2000000000, 3000000000, 1000000000, 500000000};
    uint64_t times[2] = {0};
    struct cb_frame frame = {
        .t1_ns = 1000000000,
        .n_sockets = 1,
        .n_cpus = 4,
        .n_energies = 1,
        .energies = &energy,
        .has_machine_row = true,
        .n_events = 2,
        .events = events,
        .n_groups = 1,
        .n_targets = 1,
        .targets = &target,
        .counts = counts,
        .enabled_ns = times,
        .running_ns = times,
    };
    struct cb_result result = {0};

    for (int tick = 0; tick < 2; tick++) {
        energy.energy_uj = 30000000 + 1000000 * (uint64_t)tick;
        if (cb_engine_frame(engine, &frame, &result, NULL) < 0 || cb_result_violations(&result) > 0)
            abort();
        frame.t0_ns = frame.t1_ns;
        frame.t1_ns += 1000000000;
    }
    cb_result_clear(&result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (int kind = CB_MODEL_CBWATTS; kind <= CB_MODEL_CPUTIME; kind++) {
        const struct cb_engine_options options = {.model = (enum cb_model_kind)kind};
        struct cb_engine *engine = NULL;

        if (cb_engine_new(&options, &engine, NULL) < 0)
            abort();
        if (cb_engine_restore(engine, data, size, NULL) == 0)
            run(engine);
        engine = cb_engine_free(engine);
    }
    return 0;
}
