/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a recording, plain, gzip or zstd: read to its end or refused, and never more bytes
 * than a record may have. What can be decoded goes through an engine. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "formula/engine.h"
#include "formula/infile.h"
#include "formula/recording.h"

static void take(struct cb_engine *engine, const struct cb_recording_record *record)
{
    struct cb_result result = {0};
    struct cb_frame frame;

    if (record->kind == CB_RECORDING_SNAPSHOT) {
        (void)!cb_engine_restore(engine, record->bytes, record->size, NULL);
    } else if (record->kind == CB_RECORDING_FRAME &&
               cb_frame_decode(record->bytes, record->size, &frame, NULL) == 0) {
        if (cb_engine_frame(engine, &frame, &result, NULL) == 0 && cb_result_violations(&result))
            abort();
        cb_frame_clear(&frame);
    }
    cb_result_clear(&result);
}

static void read_all(FILE *file)
{
    struct cb_engine_options options = {.model = CB_MODEL_CBWATTS};
    struct cb_recording_reader *reader = NULL;
    struct cb_recording_record record;
    struct cb_engine *engine = NULL;

    if (cb_engine_new(&options, &engine, NULL) < 0)
        return;
    if (cb_recording_open(file, "fuzz", &reader, NULL) == 0) {
        while (cb_recording_next(reader, &record, NULL) == 0 && record.kind)
            take(engine, &record);
    }
    reader = cb_recording_free(reader);
    engine = cb_engine_free(engine);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    char path[32];
    FILE *file = NULL;

    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (cb_infile_open(path, &file, NULL) == 0) {
        read_all(file);
        (void)fclose(file);
    }
    (void)close(fd);
    return 0;
}
