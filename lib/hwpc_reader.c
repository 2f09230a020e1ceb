/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_reader.c - files of reports: JSON (hwpc_text.c) and directories of CSV (hwpc_csv.c). */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "lib/err.h"
#include "lib/hwpc_csv.h"
#include "lib/hwpc_private.h"
#include "lib/hwpc_text.h"

/* A report of an array that waits for its turn. */
struct waiting {
    struct cb_hwpc_report *report;
    size_t order;
};

struct cb_hwpc_reader {
    char *name;
    bool skip_bad, by_time;
    uint64_t skipped;
    size_t n_waiting, room, next;
    struct waiting *waiting;
    /* one of them */
    struct cb_hwpc_text *text;
    struct cb_hwpc_csv *csv;
};

static int new_reader(const char *name, bool skip_bad, struct cb_hwpc_reader **ret_reader,
                      struct cb_err *err)
{
    struct cb_hwpc_reader *reader = calloc(1, sizeof(*reader));

    if (reader)
        reader->name = strdup(name);
    if (!reader || !reader->name) {
        free(reader);
        return cb_err_set(err, ENOMEM, "out of memory for a reader of '%s'", name);
    }
    reader->skip_bad = skip_bad;
    *ret_reader = reader;
    return 0;
}

int cb_hwpc_reader_json(FILE *file, const char *name, bool skip_bad,
                        struct cb_hwpc_reader **ret_reader, struct cb_err *err)
{
    struct cb_hwpc_reader *reader = NULL;
    int r = new_reader(name, skip_bad, &reader, err);

    if (r == 0)
        r = cb_hwpc_text_new(file, reader->name, !skip_bad, &reader->text, err);
    if (r < 0) {
        reader = cb_hwpc_reader_free(reader);
        return r;
    }
    *ret_reader = reader;
    return 0;
}

int cb_hwpc_reader_csv(const char *directory, bool skip_bad, bool last_wins,
                       struct cb_hwpc_reader **ret_reader, struct cb_err *err)
{
    const struct cb_hwpc_csv_options options = {.skip_bad = skip_bad, .last_wins = last_wins};
    struct cb_hwpc_reader *reader = NULL;
    int r = new_reader(directory, skip_bad, &reader, err);

    if (r == 0)
        r = cb_hwpc_csv_load(directory, &options, &reader->csv, err);
    if (r < 0) {
        reader = cb_hwpc_reader_free(reader);
        return r;
    }
    *ret_reader = reader;
    return 0;
}

struct cb_hwpc_reader *cb_hwpc_reader_free(struct cb_hwpc_reader *reader)
{
    if (reader) {
        for (size_t i = reader->next; i < reader->n_waiting; i++)
            (void)cb_hwpc_report_free(reader->waiting[i].report);
        free(reader->waiting);
        reader->csv = cb_hwpc_csv_free(reader->csv);
        reader->text = cb_hwpc_text_free(reader->text);
        free(reader->name);
        free(reader);
    }
    return NULL;
}

uint64_t cb_hwpc_reader_skipped(const struct cb_hwpc_reader *reader)
{
    return reader->csv ? cb_hwpc_csv_skipped(reader->csv) : reader->skipped;
}

uint64_t cb_hwpc_reader_duplicates(const struct cb_hwpc_reader *reader)
{
    return reader->csv ? cb_hwpc_csv_duplicates(reader->csv) : 0;
}

static int parse_document(const struct cb_hwpc_reader *reader,
                          const struct cb_hwpc_document *document,
                          struct cb_hwpc_report **ret_report, struct cb_err *err)
{
    json_error_t error;
    json_t *json = json_loadb(document->text, document->size,
                              JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, &error);
    int r;

    if (!json)
        return cb_err_set(err, EBADMSG, "%s:%" PRIu64 ": malformed JSON at column %d: %.160s",
                          reader->name, document->line + (uint64_t)error.line - 1, error.column,
                          error.text);
    r = cb_hwpc_from_json(json, ret_report, err);
    json_decref(json);
    return r < 0 ? cb_err_prefix(err, r, "%s:%" PRIu64, reader->name, document->line) : 0;
}

static int next_report(struct cb_hwpc_reader *reader, struct cb_hwpc_report **ret_report,
                       struct cb_err *err)
{
    struct cb_hwpc_report *report = NULL;
    struct cb_hwpc_document document;
    struct cb_err why = {0};
    bool skip = false;
    int r;

    do {
        r = cb_hwpc_text_next(reader->text, &document, err);
        if (r < 0 || !document.text)
            break;
        r = parse_document(reader, &document, &report, &why);
        skip = r == -EBADMSG && reader->skip_bad;
        reader->skipped += skip;
        if (r < 0 && !skip)
            r = cb_err_set(err, why.code, "%s", why.text);
    } while (skip);
    if (r == 0)
        *ret_report = report;
    return r;
}

/* --- an array, by time --- */

void cb_hwpc_reader_by_time(struct cb_hwpc_reader *reader)
{
    reader->by_time = reader->text != NULL;
}

static int compare_time(const void *a, const void *b)
{
    const struct waiting *x = a, *y = b;
    int64_t x_ms = x->report->timestamp_ms, y_ms = y->report->timestamp_ms;

    if (x_ms != y_ms)
        return x_ms < y_ms ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

static int keep(struct cb_hwpc_reader *reader, struct cb_hwpc_report *report, struct cb_err *err)
{
    if (reader->n_waiting == reader->room) {
        size_t room = reader->room ? reader->room * 2 : 64;
        struct waiting *waiting = realloc(reader->waiting, room * sizeof(*waiting));

        if (!waiting) {
            (void)cb_hwpc_report_free(report);
            return cb_err_set(err, ENOMEM, "out of memory for '%s'", reader->name);
        }
        reader->waiting = waiting;
        reader->room = room;
    }
    reader->waiting[reader->n_waiting] = (struct waiting){report, reader->n_waiting};
    reader->n_waiting++;
    return 0;
}

/* Only the first report is there, and, if it is an array's, all others with it, and the first that
 * is none's: it comes after them. */
static int load(struct cb_hwpc_reader *reader, struct cb_err *err)
{
    size_t n_sorted = 0;
    bool in_array = false;
    int r;

    reader->by_time = false;
    do {
        struct cb_hwpc_report *report = NULL;

        r = next_report(reader, &report, err);
        if (r < 0 || !report)
            break;
        r = keep(reader, report, err);
        in_array = cb_hwpc_text_in_array(reader->text);
        n_sorted += r == 0 && in_array;
    } while (r == 0 && in_array);
    if (r == 0 && n_sorted > 1)
        qsort(reader->waiting, n_sorted, sizeof(*reader->waiting), compare_time);
    return r;
}

int cb_hwpc_reader_next(struct cb_hwpc_reader *reader, struct cb_hwpc_report **ret_report,
                        struct cb_err *err)
{
    int r = reader->by_time ? load(reader, err) : 0;

    if (r < 0)
        return r;
    if (reader->csv)
        return cb_hwpc_csv_next(reader->csv, ret_report, err);
    if (reader->next == reader->n_waiting)
        return next_report(reader, ret_report, err);
    *ret_report = reader->waiting[reader->next++].report;
    return 0;
}
