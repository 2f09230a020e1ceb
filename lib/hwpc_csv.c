/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_csv.c - see hwpc_csv.h and hwpc.h. */
#include "lib/hwpc_csv.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <bson/bson.h>

#include "lib/err.h"
#include "lib/hwpc_private.h"
#include "lib/parse.h"

#define MAX_COLUMNS 256
#define MAX_FILES 64

enum field { TIMESTAMP, SENSOR, TARGET, SOCKET, CPU, N_FIELDS };
static const char *const field_names[N_FIELDS] = {"timestamp", "sensor", "target", "socket", "cpu"};

/* One row: CPU @cpu of a socket in the group of its file. */
struct row {
    int64_t timestamp_ms;
    const char *sensor, *target, *group, *socket, *cpu;
    size_t order;  /* of appearance */
    size_t report; /* the order of the first row of its (timestamp, sensor, target) */
    bool dropped;  /* another row says the same CPU's */
    size_t first, n;
};

struct file {
    char *text;  /* its lines, cut into fields where they stand */
    char *group; /* the file's name without ".csv" */
};

struct cb_hwpc_csv {
    struct cb_hwpc_csv_options options;
    uint64_t skipped, duplicates;
    size_t holders; /* the reader, and every report whose strings are here */
    size_t n_files;
    struct file files[MAX_FILES];
    size_t n_rows, row_room;
    struct row *rows;
    size_t n_counts, room; /* of the rows, in the order of appearance */
    struct cb_hwpc_count *counts;
    size_t next;
};

static int compare_key(const struct row *a, const struct row *b)
{
    int r;

    if (a->timestamp_ms != b->timestamp_ms)
        return a->timestamp_ms < b->timestamp_ms ? -1 : 1;
    r = strcmp(a->sensor, b->sensor);
    return r ? r : strcmp(a->target, b->target);
}

/* The same CPU's as well: the second of them is a duplicate. */
static int compare_cpu(const struct row *a, const struct row *b)
{
    int r = compare_key(a, b);

    if (r == 0 && a->group != b->group)
        r = strcmp(a->group, b->group);
    if (r == 0)
        r = strcmp(a->socket, b->socket);
    return r ? r : strcmp(a->cpu, b->cpu);
}

static int by_cpu(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int r = compare_cpu(x, y);

    return r ? r : (x->order > y->order) - (x->order < y->order);
}

static int by_report(const void *a, const void *b)
{
    const struct row *x = a, *y = b;

    if (x->timestamp_ms != y->timestamp_ms)
        return x->timestamp_ms < y->timestamp_ms ? -1 : 1;
    if (x->report != y->report)
        return x->report < y->report ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

/* Of the rows [first, end) of one report the earliest one's order. */
static void name_report(struct row *rows, size_t first, size_t end)
{
    size_t report = rows[first].order;

    for (size_t i = first; i < end; i++)
        report = rows[i].order < report ? rows[i].order : report;
    for (size_t i = first; i < end; i++)
        rows[i].report = report;
}

void cb_hwpc_csv_sort(struct cb_hwpc_csv *csv)
{
    struct row *rows = csv->rows;

    if (csv->n_rows == 0)
        return;
    qsort(rows, csv->n_rows, sizeof(*rows), by_cpu);
    for (size_t i = 1, kept = 0; i < csv->n_rows; i++) {
        if (compare_cpu(&rows[kept], &rows[i]) == 0) {
            csv->duplicates++;
            rows[csv->options.last_wins ? kept : i].dropped = true;
        }
        if (!rows[i].dropped)
            kept = i;
    }
    for (size_t i = 0, end; i < csv->n_rows; i = end) {
        for (end = i + 1; end < csv->n_rows && compare_key(&rows[i], &rows[end]) == 0;)
            end++;
        name_report(rows, i, end);
    }
    qsort(rows, csv->n_rows, sizeof(*rows), by_report);
}

static int grow(void *array, size_t *room, size_t n, size_t size, struct cb_err *err)
{
    size_t larger = *room ? *room * 2 : 1024;
    void *grown;

    if (n < *room)
        return 0;
    grown = realloc(*(void **)array, larger * size);
    if (!grown)
        return cb_err_set(err, ENOMEM, "out of memory for CSV rows");
    *(void **)array = grown;
    *room = larger;
    return 0;
}

/* Cut @line at its commas. Returns the number of fields, or 0 when there are too many. */
static size_t cut(char *line, char **fields)
{
    size_t n = 0;

    for (char *at = line; at; n++) {
        if (n == MAX_COLUMNS)
            return 0;
        fields[n] = at;
        at = strchr(at, ',');
        if (at)
            *at++ = '\0';
    }
    return n;
}

struct header {
    size_t n;
    char *names[MAX_COLUMNS];
    size_t at[N_FIELDS];
    bool is_event[MAX_COLUMNS];
};

static int parse_header(char *line, struct header *header, struct cb_err *err)
{
    header->n = cut(line, header->names);
    if (header->n == 0)
        return cb_err_set(err, EBADMSG, "more than %d columns", MAX_COLUMNS);
    for (size_t i = 0; i < header->n; i++)
        header->is_event[i] = strcmp(header->names[i], "metadata") != 0;
    for (size_t f = 0; f < N_FIELDS; f++) {
        size_t i = 0;

        while (i < header->n && strcmp(header->names[i], field_names[f]) != 0)
            i++;
        if (i == header->n)
            return cb_err_set(err, EBADMSG, "no column '%s'", field_names[f]);
        header->at[f] = i;
        header->is_event[i] = false;
    }
    return 0;
}

static int parse_counts(struct cb_hwpc_csv *csv, const struct header *header, char **fields,
                        struct row *row, struct cb_err *err)
{
    int r = 0;

    for (size_t i = 0; i < header->n && r == 0; i++) {
        struct cb_hwpc_count count = {row->group, row->socket, row->cpu, header->names[i], 0};

        if (!header->is_event[i])
            continue;
        if (cb_parse_double(fields[i], &count.value) < 0 || !(count.value >= 0))
            return cb_err_set(err, EBADMSG, "'%.64s' is not a count", header->names[i]);
        r = grow(&csv->counts, &csv->room, csv->n_counts, sizeof(count), err);
        if (r == 0)
            csv->counts[csv->n_counts++] = count;
    }
    row->n = csv->n_counts - row->first;
    return r;
}

static int parse_row(struct cb_hwpc_csv *csv, const char *group, const struct header *header,
                     char *line, struct cb_err *err)
{
    char *fields[MAX_COLUMNS];
    size_t n;
    struct row row = {.group = group, .order = csv->n_rows, .first = csv->n_counts};
    int r;

    if (!bson_utf8_validate(line, strlen(line), false))
        return cb_err_set(err, EBADMSG, "not UTF-8");
    n = cut(line, fields);
    if (n != header->n)
        return cb_err_set(err, EBADMSG, "%zu columns, the header has %zu", n, header->n);
    row.sensor = fields[header->at[SENSOR]];
    row.target = fields[header->at[TARGET]];
    row.socket = fields[header->at[SOCKET]];
    row.cpu = fields[header->at[CPU]];
    if (cb_hwpc_parse_time(fields[header->at[TIMESTAMP]], &row.timestamp_ms) < 0)
        return cb_err_set(err, EBADMSG, "'timestamp' is neither milliseconds nor ISO 8601");
    if (!*row.sensor || !*row.target)
        return cb_err_set(err, EBADMSG, "'sensor' or 'target' is empty");
    r = parse_counts(csv, header, fields, &row, err);
    if (r == 0)
        r = grow(&csv->rows, &csv->row_room, csv->n_rows, sizeof(row), err);
    if (r < 0)
        csv->n_counts = row.first; /* all of the row or nothing */
    else
        csv->rows[csv->n_rows++] = row;
    return r;
}

static char *next_line(char **at)
{
    char *line = *at, *end;

    if (!*line)
        return NULL;
    end = strchr(line, '\n');
    *at = end ? end + 1 : line + strlen(line);
    if (end)
        *end = '\0';
    line[strcspn(line, "\r")] = '\0';
    return line;
}

static int parse_file(struct cb_hwpc_csv *csv, struct file *file, const char *name,
                      struct cb_err *err)
{
    struct header header;
    char *at = file->text, *line = next_line(&at);
    uint64_t number = 1;
    int r;

    if (!line)
        return 0; /* an empty file has nothing to say */
    r = parse_header(line, &header, err);
    if (r < 0)
        return cb_err_prefix(err, r, "%s:1", name);
    while ((line = next_line(&at))) {
        number++;
        if (!*line)
            continue;
        r = parse_row(csv, file->group, &header, line, err);
        if (r == -EBADMSG && csv->options.skip_bad)
            csv->skipped++;
        else if (r < 0)
            return cb_err_prefix(err, r, "%s:%" PRIu64, name, number);
    }
    return 0;
}

int cb_hwpc_csv_new(const struct cb_hwpc_csv_options *options, struct cb_hwpc_csv **ret_csv,
                    struct cb_err *err)
{
    struct cb_hwpc_csv *csv = calloc(1, sizeof(*csv));

    if (!csv)
        return cb_err_set(err, ENOMEM, "out of memory for CSV files");
    csv->options = *options;
    csv->holders = 1;
    *ret_csv = csv;
    return 0;
}

int cb_hwpc_csv_add(struct cb_hwpc_csv *csv, const char *name, const char *group, char *text,
                    struct cb_err *err)
{
    struct file *file = &csv->files[csv->n_files];

    if (csv->n_files == MAX_FILES) {
        free(text);
        return cb_err_set(err, ENAMETOOLONG, "%s: more than %d files", name, MAX_FILES);
    }
    *file = (struct file){.text = text, .group = strdup(group)};
    csv->n_files++;
    if (!file->group)
        return cb_err_set(err, ENOMEM, "out of memory for '%s'", name);
    return parse_file(csv, file, name, err);
}

static int read_text(const char *path, char **ret_text, struct cb_err *err)
{
    FILE *in = fopen(path, "re");
    size_t size = 0, room = 0, n;
    char *text = NULL;

    if (!in)
        return cb_err_set(err, errno, "%s: %s", path, strerror(errno));
    do {
        if (room - size < 65536) {
            char *more = realloc(text, room * 2 + 65537);

            if (!more) {
                free(text);
                (void)fclose(in);
                return cb_err_set(err, ENOMEM, "out of memory for '%s'", path);
            }
            text = more;
            room = room * 2 + 65537;
        }
        n = fread(text + size, 1, room - size - 1, in);
        size += n;
    } while (n > 0);
    text[size] = '\0';
    n = (size_t)ferror(in);
    (void)fclose(in);
    if (n || strlen(text) != size) {
        free(text);
        return cb_err_set(err, n ? EIO : EBADMSG, "%s: %s", path,
                          n ? "cannot read" : "a NUL byte in a text file");
    }
    *ret_text = text;
    return 0;
}

static int is_csv(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);

    return n > 4 && strcmp(entry->d_name + n - 4, ".csv") == 0;
}

static int load_file(struct cb_hwpc_csv *csv, const char *directory, const char *name,
                     struct cb_err *err)
{
    cb_auto_free char *group = strndup(name, strlen(name) - strlen(".csv"));
    char path[PATH_MAX], *text = NULL;
    int n = snprintf(path, sizeof(path), "%s/%s", directory, name);
    int r;

    if (n < 0 || (size_t)n >= sizeof(path))
        return cb_err_set(err, ENAMETOOLONG, "'%s': too long a name", directory);
    if (!group)
        return cb_err_set(err, ENOMEM, "out of memory for '%s'", path);
    r = read_text(path, &text, err);
    return r < 0 ? r : cb_hwpc_csv_add(csv, path, group, text, err);
}

int cb_hwpc_csv_load(const char *directory, const struct cb_hwpc_csv_options *options,
                     struct cb_hwpc_csv **ret_csv, struct cb_err *err)
{
    struct cb_hwpc_csv *csv = NULL;
    struct dirent **names = NULL;
    int n, r = cb_hwpc_csv_new(options, &csv, err);

    if (r < 0)
        return r;
    n = scandir(directory, &names, is_csv, alphasort);
    if (n < 0)
        r = cb_err_set(err, errno, "%s: %s", directory, strerror(errno));
    else if (n == 0)
        r = cb_err_set(err, ENOENT, "%s: there are no .csv files in it", directory);
    for (int i = 0; i < n; i++) {
        if (r == 0)
            r = load_file(csv, directory, names[i]->d_name, err);
        free(names[i]);
    }
    free(names);
    if (r < 0) {
        csv = cb_hwpc_csv_free(csv);
        return r;
    }
    cb_hwpc_csv_sort(csv);
    *ret_csv = csv;
    return 0;
}

uint64_t cb_hwpc_csv_skipped(const struct cb_hwpc_csv *csv)
{
    return csv->skipped;
}

uint64_t cb_hwpc_csv_duplicates(const struct cb_hwpc_csv *csv)
{
    return csv->duplicates;
}

static void release(void *owner)
{
    struct cb_hwpc_csv *csv = owner;

    if (--csv->holders > 0)
        return;
    for (size_t i = 0; i < csv->n_files; i++) {
        free(csv->files[i].text);
        free(csv->files[i].group);
    }
    free(csv->rows);
    free(csv->counts);
    free(csv);
}

struct cb_hwpc_csv *cb_hwpc_csv_free(struct cb_hwpc_csv *csv)
{
    if (csv)
        release(csv);
    return NULL;
}

int cb_hwpc_csv_next(struct cb_hwpc_csv *csv, struct cb_hwpc_report **ret_report,
                     struct cb_err *err)
{
    const struct row *first;
    struct cb_hwpc_report *report;
    size_t end = csv->next, n = 0;

    *ret_report = NULL;
    if (csv->next == csv->n_rows)
        return 0;
    first = &csv->rows[csv->next];
    for (; end < csv->n_rows && csv->rows[end].report == first->report; end++)
        n += csv->rows[end].dropped ? 0 : csv->rows[end].n;
    report = calloc(1, sizeof(*report));
    if (report)
        report->counts = calloc(n ? n : 1, sizeof(*report->counts));
    if (!report || !report->counts) {
        report = cb_hwpc_report_free(report);
        return cb_err_set(err, ENOMEM, "out of memory for a report");
    }
    report->timestamp_ms = first->timestamp_ms;
    report->sensor = first->sensor;
    report->target = first->target;
    for (const struct row *row = first; row < csv->rows + end; row++) {
        if (row->dropped || row->n == 0)
            continue;
        memcpy(report->counts + report->n_counts, csv->counts + row->first,
               row->n * sizeof(*report->counts));
        report->n_counts += row->n;
    }
    report->owner = csv;
    report->release = release;
    csv->holders++;
    csv->next = end;
    *ret_report = report;
    return 0;
}
