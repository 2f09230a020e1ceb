/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_csv.c - see hwpc_csv.h and hwpc.h. */
#include "lib/hwpc_csv.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "lib/hwpc_private.h"
#include "lib/parse.h"

#define MAX_COLUMNS 256
#define MAX_FILES 64

enum field { TIMESTAMP, SENSOR, TARGET, SOCKET, CPU, N_FIELDS };
static const char *const field_names[N_FIELDS] = {"timestamp", "sensor", "target", "socket", "cpu"};

/* One value of one row, with what it will be sorted by. */
struct cell {
    int64_t timestamp_ms;
    const char *sensor, *target;
    size_t report; /* index of its (timestamp, sensor, target), in order of appearance */
    size_t order;
    struct cb_hwpc_count count;
};

struct file {
    char *text;  /* its lines, cut into fields where they stand */
    char *group; /* the file's name without ".csv" */
};

struct cb_hwpc_csv {
    size_t holders; /* the reader, and every report whose strings are here */
    size_t n_files;
    struct file files[MAX_FILES];
    size_t n_cells, room;
    struct cell *cells;
    size_t next;
};

static int compare_key(const struct cell *a, const struct cell *b)
{
    int r;

    if (a->timestamp_ms != b->timestamp_ms)
        return a->timestamp_ms < b->timestamp_ms ? -1 : 1;
    r = strcmp(a->sensor, b->sensor);
    return r ? r : strcmp(a->target, b->target);
}

static int by_key(const void *a, const void *b)
{
    const struct cell *x = a, *y = b;
    int r = compare_key(x, y);

    return r ? r : (x->order > y->order) - (x->order < y->order);
}

static int by_report(const void *a, const void *b)
{
    const struct cell *x = a, *y = b;

    if (x->timestamp_ms != y->timestamp_ms)
        return x->timestamp_ms < y->timestamp_ms ? -1 : 1;
    if (x->report != y->report)
        return x->report < y->report ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

/* Cells of one report side by side, reports by time and then by where they first appear. */
static void sort_cells(struct cb_hwpc_csv *csv)
{
    qsort(csv->cells, csv->n_cells, sizeof(*csv->cells), by_key);
    for (size_t i = 0; i < csv->n_cells; i++) {
        bool same = i > 0 && compare_key(&csv->cells[i - 1], &csv->cells[i]) == 0;

        csv->cells[i].report = same ? csv->cells[i - 1].report : csv->cells[i].order;
    }
    qsort(csv->cells, csv->n_cells, sizeof(*csv->cells), by_report);
}

static int add_cell(struct cb_hwpc_csv *csv, struct cell cell, struct cb_err *err)
{
    if (csv->n_cells == csv->room) {
        size_t room = csv->room ? csv->room * 2 : 1024;
        struct cell *cells = realloc(csv->cells, room * sizeof(*cells));

        if (!cells)
            return cb_err_set(err, ENOMEM, "out of memory for CSV rows");
        csv->cells = cells;
        csv->room = room;
    }
    cell.order = csv->n_cells;
    csv->cells[csv->n_cells++] = cell;
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

static int parse_row(struct cb_hwpc_csv *csv, const char *group, const struct header *header,
                     char *line, struct cb_err *err)
{
    char *fields[MAX_COLUMNS];
    size_t n = cut(line, fields), first = csv->n_cells;
    struct cell cell = {0};
    int r = 0;

    if (n != header->n)
        return cb_err_set(err, EBADMSG, "%zu columns, the header has %zu", n, header->n);
    cell.sensor = fields[header->at[SENSOR]];
    cell.target = fields[header->at[TARGET]];
    if (cb_hwpc_parse_time(fields[header->at[TIMESTAMP]], &cell.timestamp_ms) < 0)
        return cb_err_set(err, EBADMSG, "'timestamp' is neither milliseconds nor ISO 8601");
    if (!*cell.sensor || !*cell.target)
        return cb_err_set(err, EBADMSG, "'sensor' or 'target' is empty");
    for (size_t i = 0; i < n && r == 0; i++) {
        if (!header->is_event[i])
            continue;
        cell.count = (struct cb_hwpc_count){group, fields[header->at[SOCKET]],
                                            fields[header->at[CPU]], header->names[i], 0};
        if (cb_parse_double(fields[i], &cell.count.value) < 0 || !(cell.count.value >= 0))
            r = cb_err_set(err, EBADMSG, "'%.64s' is not a count", header->names[i]);
        else
            r = add_cell(csv, cell, err);
    }
    if (r < 0)
        csv->n_cells = first; /* all of the row or nothing */
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

static int parse_file(struct cb_hwpc_csv *csv, struct file *file, const char *path, bool skip_bad,
                      uint64_t *skipped, struct cb_err *err)
{
    struct header header;
    char *at = file->text, *line = next_line(&at);
    uint64_t number = 1;
    int r;

    if (!line)
        return 0; /* an empty file has nothing to say */
    r = parse_header(line, &header, err);
    if (r < 0)
        return cb_err_prefix(err, r, "%s:1", path);
    while ((line = next_line(&at))) {
        number++;
        if (!*line)
            continue;
        r = parse_row(csv, file->group, &header, line, err);
        if (r == -EBADMSG && skip_bad)
            (*skipped)++;
        else if (r < 0)
            return cb_err_prefix(err, r, "%s:%" PRIu64, path, number);
    }
    return 0;
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
                     bool skip_bad, uint64_t *skipped, struct cb_err *err)
{
    struct file *file = &csv->files[csv->n_files];
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s/%s", directory, name);
    int r;

    if (n < 0 || (size_t)n >= sizeof(path) || csv->n_files == MAX_FILES)
        return cb_err_set(err, ENAMETOOLONG, "'%s': too many files or too long a name", directory);
    file->group = strndup(name, strlen(name) - strlen(".csv"));
    if (!file->group)
        return cb_err_set(err, ENOMEM, "out of memory for '%s'", path);
    csv->n_files++;
    r = read_text(path, &file->text, err);
    if (r < 0)
        return r;
    return parse_file(csv, file, path, skip_bad, skipped, err);
}

int cb_hwpc_csv_load(const char *directory, bool skip_bad, struct cb_hwpc_csv **ret_csv,
                     uint64_t *ret_skipped, struct cb_err *err)
{
    struct cb_hwpc_csv *csv = calloc(1, sizeof(*csv));
    struct dirent **names = NULL;
    uint64_t skipped = 0;
    int n, r = 0;

    if (!csv)
        return cb_err_set(err, ENOMEM, "out of memory for CSV files");
    csv->holders = 1;
    n = scandir(directory, &names, is_csv, alphasort);
    if (n < 0)
        r = cb_err_set(err, errno, "%s: %s", directory, strerror(errno));
    else if (n == 0)
        r = cb_err_set(err, ENOENT, "%s: there are no .csv files in it", directory);
    for (int i = 0; i < n; i++) {
        if (r == 0)
            r = load_file(csv, directory, names[i]->d_name, skip_bad, &skipped, err);
        free(names[i]);
    }
    free(names);
    if (r < 0) {
        csv = cb_hwpc_csv_free(csv);
        return r;
    }
    sort_cells(csv);
    *ret_csv = csv;
    *ret_skipped = skipped;
    return 0;
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
    free(csv->cells);
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
    size_t first = csv->next, n = 0;
    struct cb_hwpc_report *report;

    *ret_report = NULL;
    if (first == csv->n_cells)
        return 0;
    while (first + n < csv->n_cells && csv->cells[first + n].report == csv->cells[first].report &&
           csv->cells[first + n].timestamp_ms == csv->cells[first].timestamp_ms)
        n++;
    report = calloc(1, sizeof(*report));
    if (report)
        report->counts = calloc(n, sizeof(*report->counts));
    if (!report || !report->counts) {
        report = cb_hwpc_report_free(report);
        return cb_err_set(err, ENOMEM, "out of memory for a report");
    }
    report->timestamp_ms = csv->cells[first].timestamp_ms;
    report->sensor = csv->cells[first].sensor;
    report->target = csv->cells[first].target;
    report->n_counts = n;
    for (size_t i = 0; i < n; i++)
        report->counts[i] = csv->cells[first + i].count;
    report->owner = csv;
    report->release = release;
    csv->holders++;
    csv->next = first + n;
    *ret_report = report;
    return 0;
}
