/* SPDX-License-Identifier: Apache-2.0 */
/* marks.c - see marks.h. */
#include "tester/marks.h"

static const uint8_t warmup_mark[CB_MARKS_SIZE] = {'-', '-', '+', '+'};
static const uint8_t execution_mark[CB_MARKS_SIZE] = {'+', '+', '-', '-'};

static void take_line_start(struct cb_marks *marks, const uint8_t *start, uint64_t now_ns)
{
    if (!marks->has_warmup && memcmp(start, warmup_mark, CB_MARKS_SIZE) == 0) {
        marks->has_warmup = true;
        marks->warmup_ns = now_ns;
    } else if (!marks->has_execution && memcmp(start, execution_mark, CB_MARKS_SIZE) == 0) {
        marks->has_execution = true;
        marks->execution_ns = now_ns;
    }
}

void cb_marks_feed(struct cb_marks *marks, enum cb_logstream_kind kind, const uint8_t *bytes,
                   size_t size, uint64_t now_ns)
{
    struct cb_marks_line *line = &marks->lines[kind];
    const uint8_t *end = bytes + size;

    while (bytes < end) {
        if (line->size == CB_MARKS_SIZE) { /* the rest of the line says nothing */
            bytes = memchr(bytes, '\n', (size_t)(end - bytes));
            if (!bytes)
                return;
            line->size = 0;
            bytes++;
            continue;
        }

        uint8_t c = *bytes++;

        if (c == '\n') {
            line->size = 0;
            continue;
        }
        line->start[line->size++] = c;
        if (line->size == CB_MARKS_SIZE)
            take_line_start(marks, line->start, now_ns);
    }
}

static uint64_t clamp(uint64_t ns, uint64_t low_ns, uint64_t high_ns)
{
    return ns < low_ns ? low_ns : ns > high_ns ? high_ns : ns;
}

struct cb_marks_phases cb_marks_phases(const struct cb_marks *marks, uint64_t begin_ns,
                                       uint64_t end_ns)
{
    struct cb_marks_phases phases = {0};

    phases.has_execution = marks->has_execution;
    if (marks->has_execution)
        phases.execution_ns = clamp(marks->execution_ns, begin_ns, end_ns);
    if (marks->has_warmup && marks->has_execution && marks->warmup_ns > marks->execution_ns) {
        phases.note = "the warm-up mark (--++) came after the mark of the measured part (++--) and "
                      "does not count";
    } else if (marks->has_warmup) {
        phases.has_warmup = true;
        phases.warmup_ns = clamp(marks->warmup_ns, begin_ns, end_ns);
        if (!marks->has_execution)
            phases.note = "the output has a warm-up mark (--++) and no mark of the measured part "
                          "(++--): all that follows is warm-up, there is no execution phase";
    }
    return phases;
}
