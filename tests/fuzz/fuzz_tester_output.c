/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_tester_output.c - a container's output as Docker streams it: the first byte says how it is
 * cut into pieces (bit 7: a terminal). Whatever the cut, the same bytes and marks must come out. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "tester/logstream.h"
#include "tester/marks.h"

struct sunk {
    struct cb_marks marks;
    uint64_t sum[CB_LOGSTREAM_KINDS];
    size_t size[CB_LOGSTREAM_KINDS];
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void sink(void *arg, enum cb_logstream_kind kind, const uint8_t *bytes, size_t size)
{
    struct sunk *sunk = arg;

    for (size_t i = 0; i < size; i++)
        sunk->sum[kind] = sunk->sum[kind] * 31 + bytes[i];
    sunk->size[kind] += size;
    cb_marks_feed(&sunk->marks, kind, bytes, size, 50);
}

static int feed(const uint8_t *data, size_t size, bool raw, size_t cut, struct sunk *ret)
{
    struct cb_logstream stream;
    int r = 0;

    *ret = (struct sunk){0};
    cb_logstream_init(&stream, raw, sink, ret);
    for (size_t at = 0; r == 0 && at < size; at += cut)
        r = cb_logstream_feed(&stream, data + at, at + cut < size ? cut : size - at, NULL);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sunk whole, pieces;
    struct cb_marks_phases phases;
    bool raw;
    size_t cut;

    if (size == 0)
        return 0;
    raw = data[0] & 0x80;
    cut = (data[0] & 0x7f) + 1;
    if (feed(data + 1, size - 1, raw, size, &whole) != feed(data + 1, size - 1, raw, cut, &pieces))
        abort();
    for (int kind = 0; kind < CB_LOGSTREAM_KINDS; kind++)
        if (whole.sum[kind] != pieces.sum[kind] || whole.size[kind] != pieces.size[kind])
            abort();
    if (whole.marks.has_warmup != pieces.marks.has_warmup ||
        whole.marks.has_execution != pieces.marks.has_execution)
        abort();
    phases = cb_marks_phases(&whole.marks, 40, 60);
    if (phases.has_warmup && phases.has_execution && phases.warmup_ns > phases.execution_ns)
        abort();
    return 0;
}
