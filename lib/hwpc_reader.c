/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_reader.c - files of reports: JSON lines, JSON documents, directories of CSV. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "lib/err.h"
#include "lib/hwpc_csv.h"
#include "lib/hwpc_private.h"

#define SLURP_STEP 65536

struct cb_hwpc_reader {
    char *name;
    bool skip_bad;
    uint64_t skipped;
    bool started;
    /* lines: `text` holds the one that was read, or, slurped, all of them */
    FILE *file;
    char *text;
    size_t text_room, text_size, text_at;
    bool slurped;
    const char *line; /* what is left of the line, inside `text` */
    size_t line_size;
    uint64_t line_number;
    /* one document */
    json_t *array;
    size_t next;
    /* CSV */
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
    int r = new_reader(name, skip_bad, ret_reader, err);

    if (r == 0)
        (*ret_reader)->file = file;
    return r;
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
        reader->csv = cb_hwpc_csv_free(reader->csv);
        json_decref(reader->array);
        free(reader->text);
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

/* --- lines --- */

static bool is_blank(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (!strchr(" \t\r\n", text[i]) || text[i] == '\0')
            return false;
    }
    return true;
}

/* Take the next line of the text that was read at once. 0: none is left. */
static int next_of_text(struct cb_hwpc_reader *reader)
{
    char *end;

    if (reader->text_at >= reader->text_size)
        return 0;
    reader->line = reader->text + reader->text_at;
    end = memchr(reader->line, '\n', reader->text_size - reader->text_at);
    reader->line_size =
        (end ? (size_t)(end - reader->line) + 1 : reader->text_size - reader->text_at);
    reader->text_at += reader->line_size;
    return 1;
}

static int next_of_file(struct cb_hwpc_reader *reader, struct cb_err *err)
{
    ssize_t n;

    errno = 0;
    n = getline(&reader->text, &reader->text_room, reader->file);
    if (n < 0 && (ferror(reader->file) || errno == ENOMEM))
        return cb_err_set(err, errno ? errno : EIO, "%s:%" PRIu64 ": cannot read", reader->name,
                          reader->line_number + 1);
    if (n < 0)
        return 0;
    reader->line = reader->text;
    reader->line_size = (size_t)n;
    return 1;
}

/* The next line with anything in it. 0: none is left. */
static int next_line(struct cb_hwpc_reader *reader, struct cb_err *err)
{
    int r;

    do {
        r = reader->slurped ? next_of_text(reader) : next_of_file(reader, err);
        if (r <= 0)
            return r;
        reader->line_number++;
    } while (is_blank(reader->line, reader->line_size));
    return 1;
}

/* Append the rest of the file to the line that was read. */
static int slurp(struct cb_hwpc_reader *reader, struct cb_err *err)
{
    size_t n;

    reader->text_size = reader->line_size;
    do {
        if (reader->text_room - reader->text_size < SLURP_STEP) {
            size_t room = reader->text_room * 2 + SLURP_STEP;
            char *text = realloc(reader->text, room);

            if (!text)
                return cb_err_set(err, ENOMEM, "out of memory for '%s'", reader->name);
            reader->text = text;
            reader->text_room = room;
        }
        n = fread(reader->text + reader->text_size, 1, SLURP_STEP - 1, reader->file);
        reader->text_size += n;
    } while (n > 0);
    if (ferror(reader->file))
        return cb_err_set(err, EIO, "%s: cannot read", reader->name);
    reader->slurped = true;
    reader->text_at = reader->line_size;
    reader->line = reader->text;
    return 0;
}

static bool begins_with_a_report(const struct cb_hwpc_reader *reader)
{
    json_error_t error;
    json_t *document = json_loadb(reader->line, reader->line_size,
                                  JSON_DISABLE_EOF_CHECK | JSON_DECODE_INT_AS_REAL, &error);
    bool report = json_is_object(document) && !json_is_array(json_object_get(document, "reports"));

    json_decref(document);
    return report;
}

/* One document that is the whole file: [...] or {"reports":[...]}. Where it is neither, the lines
 * are taken one by one, and the first will say what is wrong. */
static int try_whole(struct cb_hwpc_reader *reader, struct cb_err *err)
{
    json_error_t error;
    json_t *document, *reports;
    bool only_opens = reader->line_size <= strlen("{\"reports\": [\r\n");
    int r = slurp(reader, err);

    if (r < 0)
        return r;
    document = json_loadb(reader->text, reader->text_size, JSON_DECODE_INT_AS_REAL, &error);
    if (!document && only_opens && !reader->skip_bad)
        return cb_err_set(err, EBADMSG, "%s:%d: malformed JSON: %.200s", reader->name, error.line,
                          error.text);
    if (!document)
        return 0;
    reports = json_is_array(document) ? document : json_object_get(document, "reports");
    reader->array = json_is_array(reports) ? json_incref(reports) : json_pack("[O]", document);
    json_decref(document);
    if (!reader->array)
        return cb_err_set(err, ENOMEM, "out of memory for '%s'", reader->name);
    return 0;
}

static int first_line(struct cb_hwpc_reader *reader, struct cb_err *err)
{
    int r = next_line(reader, err);

    reader->started = true;
    if (r > 0 && !begins_with_a_report(reader))
        r = try_whole(reader, err);
    return r < 0 ? r : 0;
}

static int next_of_line(struct cb_hwpc_reader *reader, struct cb_hwpc_report **ret_report,
                        struct cb_err *err)
{
    size_t used = 0;
    int r;

    while (is_blank(reader->line, reader->line_size)) {
        r = next_line(reader, err);
        if (r <= 0)
            return r;
    }
    r = cb_hwpc_parse(reader->line, reader->line_size, ret_report, &used, err);
    if (r < 0) {
        reader->line_size = 0; /* what follows a bad document on its line is lost with it */
        return cb_err_prefix(err, r, "%s:%" PRIu64, reader->name, reader->line_number);
    }
    reader->line += used;
    reader->line_size -= used;
    return 0;
}

static int next_of_array(struct cb_hwpc_reader *reader, struct cb_hwpc_report **ret_report,
                         struct cb_err *err)
{
    int r;

    if (reader->next >= json_array_size(reader->array))
        return 0;
    r = cb_hwpc_from_json(json_array_get(reader->array, reader->next++), ret_report, err);
    if (r < 0)
        return cb_err_prefix(err, r, "%s: report %zu", reader->name, reader->next);
    return 0;
}

int cb_hwpc_reader_next(struct cb_hwpc_reader *reader, struct cb_hwpc_report **ret_report,
                        struct cb_err *err)
{
    struct cb_hwpc_report *report = NULL;
    int r = 0;

    if (reader->csv)
        return cb_hwpc_csv_next(reader->csv, ret_report, err);
    if (!reader->started)
        r = first_line(reader, err);
    if (r < 0)
        return r;
    do {
        r = reader->array ? next_of_array(reader, &report, err)
                          : next_of_line(reader, &report, err);
        reader->skipped += r == -EBADMSG && reader->skip_bad;
    } while (r == -EBADMSG && reader->skip_bad);
    if (r == 0)
        *ret_report = report;
    return r;
}
