/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_hwpc.c - PowerAPI reports from outside, through the join and the engine: whatever is read,
 * the energy of every tick sums exactly. */
#include <stdio.h>
#include <stdlib.h>

#include "formula/engine.h"
#include "formula/hwpc_join.h"
#include "lib/hwpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void attribute(struct cb_hwpc_join *join, struct cb_engine *engine, bool flush)
{
    const struct cb_frame *frame = NULL;
    struct cb_result result = {0};

    while (cb_hwpc_join_next(join, flush, &frame, NULL) == 0 && frame) {
        if (frame->t1_ns <= frame->t0_ns || cb_engine_frame(engine, frame, &result, NULL) < 0 ||
            cb_result_violations(&result) > 0)
            abort();
    }
    cb_result_clear(&result);
}

/* Where nothing may be skipped other ways are taken. */
static void read_strictly(FILE *file)
{
    struct cb_hwpc_reader *reader = NULL;
    struct cb_hwpc_report *report = NULL;

    if (cb_hwpc_reader_json(file, "fuzz", false, &reader, NULL) < 0)
        abort();
    while (cb_hwpc_reader_next(reader, &report, NULL) == 0 && report)
        report = cb_hwpc_report_free(report);
    reader = cb_hwpc_reader_free(reader);
}

static void run(FILE *file)
{
    static const struct cb_hwpc_join_options options = {
        .nominal_ns = 1000000000,
        .deadline_ns = 1000000000,
        .package_event = "RAPL_ENERGY_PKG",
        .dram_event = "RAPL_ENERGY_DRAM",
    };
    const struct cb_engine_options cbwatts = {.model = CB_MODEL_CBWATTS};
    struct cb_hwpc_reader *reader = NULL;
    struct cb_hwpc_report *report = NULL;
    struct cb_hwpc_join *join = NULL;
    struct cb_engine *engine = NULL;

    if (cb_hwpc_reader_json(file, "fuzz", true, &reader, NULL) < 0 ||
        cb_hwpc_join_new(&options, &join, NULL) < 0 || cb_engine_new(&cbwatts, &engine, NULL) < 0)
        abort();
    cb_hwpc_reader_by_time(reader);
    while (cb_hwpc_reader_next(reader, &report, NULL) == 0 && report) {
        if (cb_hwpc_join_add(join, report, NULL) < 0)
            abort();
        attribute(join, engine, false);
    }
    attribute(join, engine, true);
    reader = cb_hwpc_reader_free(reader);
    join = cb_hwpc_join_free(join);
    engine = cb_engine_free(engine);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FILE *file;

    if (size == 0)
        return 0;
    file = fmemopen((void *)(uintptr_t)data, size, "r");
    if (!file)
        abort();
    read_strictly(file);
    rewind(file);
    run(file);
    (void)fclose(file);
    return 0;
}
