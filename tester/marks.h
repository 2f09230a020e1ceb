/* SPDX-License-Identifier: Apache-2.0 */
/*
 * marks.h - find the marks that a container prints, and make phases of them.
 *
 * A line of stdout or stderr that begins with "--++" begins the warm-up, one that begins with
 * "++--" the measured part. The first of each kind counts; its time is that of its fourth
 * character's arrival. What is missing or out of order (cb_marks_phases()):
 *   no mark                 one phase, execution, from begin to end
 *   "++--" only             execution from the mark to the end
 *   "--++" only             warm-up from the mark to the end and no execution: the measured part
 *                           never began
 *   "--++" after "++--"     as if it were not there
 */
#ifndef CB_TESTER_MARKS_H
#define CB_TESTER_MARKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tester/logstream.h"

#define CB_MARKS_SIZE 4

struct cb_marks_line {
    uint8_t start[CB_MARKS_SIZE]; /* of the line being read */
    uint8_t size;
};

struct cb_marks {
    struct cb_marks_line lines[CB_LOGSTREAM_KINDS];
    bool has_warmup, has_execution;
    uint64_t warmup_ns, execution_ns; /* BOOTTIME */
};

struct cb_marks_phases {
    bool has_warmup, has_execution; /* false: null in the formula's API */
    uint64_t warmup_ns, execution_ns;
    const char *note; /* what the user should know, a static text; NULL: nothing */
};

/* A zeroed struct is ready. @now_ns is when @bytes arrived. */
void cb_marks_feed(struct cb_marks *marks, enum cb_logstream_kind kind, const uint8_t *bytes,
                   size_t size, uint64_t now_ns);

/* The phases' borders within [@begin_ns, @end_ns]. */
struct cb_marks_phases cb_marks_phases(const struct cb_marks *marks, uint64_t begin_ns,
                                       uint64_t end_ns);

#endif
