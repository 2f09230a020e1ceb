/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hwpc.h - reports of PowerAPI's sensor (hwpc-sensor), as JSON and as CSV, old and new forms.
 *
 * JSON     {"timestamp","sensor","target","groups":{GROUP:{SOCKET:{CPU:{EVENT:count}}}}}, one a
 *          line, several on one line, one over several lines, or the elements of an array, of
 *          {"reports":[...]} too. A BOM is skipped.
 *          Timestamps: integer milliseconds, digits in a string, ISO 8601 (without a zone: UTC),
 *          MongoDB's {"$date": ...}. Counts: integers or doubles, >= 0. Unknown members are
 *          ignored ("_id", and of CSV the column "metadata").
 * CSV      a directory of GROUP.csv with the columns timestamp, sensor, target, socket, cpu and one
 *          for each event; rows of one (timestamp, sensor, target) in all files are one report.
 * Errors   -EBADMSG not such a report; the text says where: "file:line: ...".
 * Threads  one reader belongs to one thread.
 */
#ifndef CB_LIB_HWPC_H
#define CB_LIB_HWPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/cleanup.h"

struct cb_err;
struct cb_hwpc_metadata;

#define CB_HWPC_MAX_COUNTS 1000000 /* of one report */
#define CB_HWPC_ALL "all"          /* the target that is the whole machine */

/* One number of a report; "time_enabled" and "time_running" are events like the others. */
struct cb_hwpc_count {
    const char *group, *socket, *cpu, *event;
    double value;
};

struct cb_hwpc_report {
    int64_t timestamp_ms; /* since the epoch, UTC */
    const char *sensor, *target;
    size_t n_counts; /* in the order of the document */
    struct cb_hwpc_count *counts;
    const struct cb_hwpc_metadata *metadata; /* hwpc_metadata.h; NULL: none */
    void *owner; /* of the strings and metadata, which live as long as the report */
    void (*release)(void *owner);
};

/* Parse the first JSON document of @text. *@ret_used: how many bytes it and the blanks before it
 * took. Release with cb_hwpc_report_free(). */
int cb_hwpc_parse(const char *text, size_t size, struct cb_hwpc_report **ret_report,
                  size_t *ret_used, struct cb_err *err) cb_must_check;
struct cb_hwpc_report *cb_hwpc_report_free(struct cb_hwpc_report *report);

/* "2021-01-13T09:51:22.630", with or without fraction and zone ("Z", "+01:00"), or digits. */
int cb_hwpc_parse_time(const char *text, int64_t *ret_ms) cb_must_check;

/* One line in PowerAPI's own form: integer milliseconds, compact, integral counts as integers. */
int cb_hwpc_write(FILE *out, const struct cb_hwpc_report *report, struct cb_err *err) cb_must_check;

struct cb_hwpc_reader;

/* @file is borrowed; @name is for messages. With @skip_bad documents that are no
 * reports are counted, each as one (hwpc_text.h: where a broken one ends). */
int cb_hwpc_reader_json(FILE *file, const char *name, bool skip_bad,
                        struct cb_hwpc_reader **ret_reader, struct cb_err *err) cb_must_check;
/* To be called before the first report is read. An array is known whole: its reports come by time,
 * those of one time in their order, as those of CSV always do. Lines keep the order of the stream
 * that they were. */
void cb_hwpc_reader_by_time(struct cb_hwpc_reader *reader);
/* Of two CSV rows of the same CPU the first is kept, or with @last_wins the last. */
int cb_hwpc_reader_csv(const char *directory, bool skip_bad, bool last_wins,
                       struct cb_hwpc_reader **ret_reader, struct cb_err *err) cb_must_check;

/* The next report; *@ret_report is NULL at the end. */
int cb_hwpc_reader_next(struct cb_hwpc_reader *reader, struct cb_hwpc_report **ret_report,
                        struct cb_err *err) cb_must_check;
uint64_t cb_hwpc_reader_skipped(const struct cb_hwpc_reader *reader);
/* CSV rows that came twice; of whole reports only who joins them knows. */
uint64_t cb_hwpc_reader_duplicates(const struct cb_hwpc_reader *reader);
struct cb_hwpc_reader *cb_hwpc_reader_free(struct cb_hwpc_reader *reader);

#endif
