/* SPDX-License-Identifier: Apache-2.0 */
/* powerapi_csv.c - see powerapi_csv.h. */
#include "formula/powerapi_csv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/hwpc_csv.h"
#include "lib/log.h"

#define POLL_MS 500
#define STEP (1u << 20)
#define MAX_FILES 64
#define MAX_WAITING (64u << 20)
#define MAX_LINE (1u << 20)
#define LOG_EVERY_NS (60 * CB_NS_PER_S)

struct file {
    char name[256];
    dev_t device;
    ino_t inode;
    off_t offset; /* of what was read */
    char *header; /* its first line; NULL: it has not come */
    int time_column;
    char *text; /* what waits: whole lines, then the beginning of one */
    size_t size, room;
    int64_t last_ms; /* of the last whole row; -1: there was none */
    bool at_end;
    uint64_t grown_ns;
};

struct cb_powerapi_csv {
    struct cb_powerapi *powerapi;
    char *directory;
    uint64_t wait_ns;
    int dir_fd, stop_fd;
    pthread_t thread;
    size_t n;
    struct file files[MAX_FILES];
    struct cb_log_limit log;
};

/* --- lines --- */

/* The end of the whole lines. */
static size_t whole(const struct file *file)
{
    const char *last = file->size ? memrchr(file->text, '\n', file->size) : NULL;

    return last ? (size_t)(last - file->text) + 1 : 0;
}

static size_t line_end(const struct file *file, size_t at)
{
    const char *end = memchr(file->text + at, '\n', file->size - at);

    return end ? (size_t)(end - file->text) + 1 : file->size;
}

/* The row's time; -1: it has none. */
static int64_t time_of(const struct file *file, size_t at, size_t end)
{
    const char *from = file->text + at, *stop = file->text + end;
    char field[64];
    int64_t ms;
    size_t n;

    for (int i = 0; i < file->time_column; i++) {
        from = memchr(from, ',', (size_t)(stop - from));
        if (!from)
            return -1;
        from++;
    }
    for (n = 0; from + n < stop && !strchr(",\r\n", from[n]); n++) {
        if (n == sizeof(field) - 1)
            return -1;
        field[n] = from[n];
    }
    field[n] = '\0';
    return cb_hwpc_parse_time(field, &ms) < 0 ? -1 : ms;
}

static void drop(struct file *file, size_t n)
{
    memmove(file->text, file->text + n, file->size - n);
    file->size -= n;
}

/* Where the column stands; -1: the rows have no time. */
static int find_time(const char *header)
{
    int column = 0;

    for (const char *at = header; at; at = strchr(at, ','), column++) {
        at += *at == ',';
        if (strcspn(at, ",\r") == strlen("timestamp") && strncmp(at, "timestamp", 9) == 0)
            return column;
    }
    return -1;
}

/* --- files --- */

static void begin_anew(struct file *file)
{
    free(file->header);
    file->header = NULL;
    file->offset = 0;
    file->size = 0;
    file->last_ms = -1;
}

static void clear(struct file *file)
{
    begin_anew(file);
    free(file->text);
    *file = (struct file){0};
}

static int take_header(struct cb_powerapi_csv *csv, struct file *file, struct cb_err *err)
{
    size_t end = file->size ? line_end(file, 0) : 0;

    if (end == 0 || file->text[end - 1] != '\n')
        return 0;
    file->header = strndup(file->text, end - 1);
    if (!file->header)
        return cb_err_set(err, ENOMEM, "out of memory");
    drop(file, end);
    file->time_column = find_time(file->header);
    if (file->time_column < 0)
        cb_powerapi_bad(csv->powerapi, CB_POWERAPI_CSV, 1, file->name, "no column 'timestamp'");
    return 0;
}

static void note_time(struct file *file)
{
    size_t end = whole(file), at;
    const char *before = end > 1 ? memrchr(file->text, '\n', end - 1) : NULL;
    int64_t ms;

    if (end == 0)
        return;
    at = before ? (size_t)(before - file->text) + 1 : 0;
    ms = time_of(file, at, end);
    if (ms > file->last_ms)
        file->last_ms = ms;
}

/* A line without an end, or a file without times: its bytes are of no use. */
static void forget_useless(struct cb_powerapi_csv *csv, struct file *file)
{
    size_t end = whole(file);

    if (file->header && file->time_column < 0) {
        file->size = 0;
    } else if (file->size - end > MAX_LINE) {
        cb_powerapi_bad(csv->powerapi, CB_POWERAPI_CSV, 1, file->name, "a line is too long");
        file->size = end;
    }
}

static int grow(struct file *file, struct cb_err *err)
{
    size_t room = file->room ? file->room * 2 : 2 * STEP;
    char *text;

    if (file->room - file->size >= STEP)
        return 0;
    text = realloc(file->text, room);
    if (!text)
        return cb_err_set(err, ENOMEM, "out of memory for '%s'", file->name);
    file->text = text;
    file->room = room;
    return 0;
}

static int read_more(struct cb_powerapi_csv *csv, struct file *file, uint64_t now_ns,
                     struct cb_err *err)
{
    cb_auto_close int fd = openat(csv->dir_fd, file->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status;
    ssize_t n;
    int r;

    file->at_end = true;
    if (fd < 0 || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
        return 0; /* it went: so be it */
    if (status.st_dev != file->device || status.st_ino != file->inode ||
        status.st_size < file->offset) {
        begin_anew(file);
        file->device = status.st_dev;
        file->inode = status.st_ino;
    }
    r = grow(file, err);
    if (r < 0)
        return r;
    n = pread(fd, file->text + file->size, STEP, file->offset);
    if (n < 0)
        return cb_err_set(err, errno, "%s/%s: %s", csv->directory, file->name, strerror(errno));
    file->offset += n;
    file->size += (size_t)n;
    file->at_end = (size_t)n < STEP;
    if (n > 0 || file->grown_ns == 0)
        file->grown_ns = now_ns;
    if (!file->header)
        r = take_header(csv, file, err);
    forget_useless(csv, file);
    if (file->header)
        note_time(file);
    return r;
}

static bool has_file(const struct cb_powerapi_csv *csv, const char *name)
{
    for (size_t i = 0; i < csv->n; i++) {
        if (strcmp(csv->files[i].name, name) == 0)
            return true;
    }
    return false;
}

static void find_files(struct cb_powerapi_csv *csv)
{
    int fd = openat(csv->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;

    if (!directory) {
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    while ((entry = readdir(directory))) {
        size_t n = strlen(entry->d_name);

        if (n <= 4 || strcmp(entry->d_name + n - 4, ".csv") != 0 || has_file(csv, entry->d_name))
            continue;
        if (csv->n == MAX_FILES) {
            cb_log_limited(&csv->log, LOG_EVERY_NS, CB_LOG_WARN,
                           "PowerAPI CSV %s: more than %d files", csv->directory, MAX_FILES);
            break;
        }
        csv->files[csv->n] = (struct file){.last_ms = -1};
        (void)snprintf(csv->files[csv->n++].name, sizeof(csv->files[0].name), "%s", entry->d_name);
    }
    (void)closedir(directory);
}

/* --- reports --- */

/* Rows before this time are complete: every file that grows has come past it. */
static int64_t complete_ms(const struct cb_powerapi_csv *csv, uint64_t now_ns)
{
    int64_t least = INT64_MAX, most = -1;
    bool too_much = false;

    for (size_t i = 0; i < csv->n; i++) {
        const struct file *file = &csv->files[i];

        too_much |= file->size > MAX_WAITING;
        most = file->last_ms > most ? file->last_ms : most;
        if (now_ns - file->grown_ns >= csv->wait_ns || (file->header && file->time_column < 0))
            continue;
        least = file->last_ms < least ? file->last_ms : least;
    }
    return too_much ? most : least;
}

/* How much of the file lies before @until_ms. Rows without a time go with their neighbours. */
static size_t find_end(const struct file *file, int64_t until_ms)
{
    size_t end = whole(file), at = 0;

    while (at < end) {
        size_t next = line_end(file, at);

        if (time_of(file, at, next) >= until_ms)
            return at;
        at = next;
    }
    return end;
}

/* The header and the rows up to @end, as a file of their own. */
static int add_rows(struct cb_powerapi_csv *csv, struct cb_hwpc_csv *to, struct file *file,
                    size_t end, struct cb_err *err)
{
    size_t head = strlen(file->header);
    cb_auto_free char *group = strndup(file->name, strlen(file->name) - strlen(".csv"));
    char *text = malloc(head + 1 + end + 1);

    (void)csv;
    if (!group || !text) {
        free(text);
        return cb_err_set(err, ENOMEM, "out of memory for '%s'", file->name);
    }
    memcpy(text, file->header, head);
    text[head] = '\n';
    memcpy(text + head + 1, file->text, end);
    for (char *nul = text; (nul = memchr(nul, '\0', (size_t)(text + head + 1 + end - nul)));)
        *nul = '\1'; /* no number has it: a bad row, not the end of the text */
    text[head + 1 + end] = '\0';
    drop(file, end);
    return cb_hwpc_csv_add(to, file->name, group, text, err);
}

static int give_reports(struct cb_powerapi_csv *csv, struct cb_hwpc_csv *rows, struct cb_err *err)
{
    struct cb_hwpc_report *report = NULL;
    int r;

    cb_hwpc_csv_sort(rows);
    if (cb_hwpc_csv_skipped(rows) > 0)
        cb_powerapi_bad(csv->powerapi, CB_POWERAPI_CSV, cb_hwpc_csv_skipped(rows), csv->directory,
                        "a row is not one");
    for (;;) {
        r = cb_hwpc_csv_next(rows, &report, err);
        if (r < 0 || !report)
            return r;
        r = cb_powerapi_add(csv->powerapi, CB_POWERAPI_CSV, report, cb_clock_boot_ns(),
                            cb_clock_wall_ns(), err);
        if (r < 0)
            return r;
    }
}

static int give(struct cb_powerapi_csv *csv, int64_t until_ms, struct cb_err *err)
{
    const struct cb_hwpc_csv_options options = {.skip_bad = true};
    struct cb_hwpc_csv *rows = NULL;
    size_t given = 0;
    int r = cb_hwpc_csv_new(&options, &rows, err);

    for (size_t i = 0; i < csv->n && r == 0; i++) {
        struct file *file = &csv->files[i];
        size_t end = file->header ? find_end(file, until_ms) : 0;

        if (end == 0)
            continue;
        given += end;
        r = add_rows(csv, rows, file, end, err);
        if (r == -EBADMSG) {
            cb_powerapi_bad(csv->powerapi, CB_POWERAPI_CSV, 1, csv->directory, err->text);
            r = 0;
        }
    }
    if (r == 0 && given > 0)
        r = give_reports(csv, rows, err);
    (void)cb_hwpc_csv_free(rows);
    return r;
}

/* One round over the files. *@ret_more: some have more to read. */
static int follow(struct cb_powerapi_csv *csv, bool *ret_more, struct cb_err *err)
{
    uint64_t now_ns = cb_clock_boot_ns();
    int r = 0;

    *ret_more = false;
    find_files(csv);
    for (size_t i = 0; i < csv->n && r == 0; i++) {
        if (csv->files[i].size <= MAX_WAITING)
            r = read_more(csv, &csv->files[i], now_ns, err);
        *ret_more |= !csv->files[i].at_end;
    }
    if (r == 0)
        r = give(csv, complete_ms(csv, now_ns), err);
    return r < 0 ? r : cb_powerapi_give(csv->powerapi, CB_POWERAPI_CSV, cb_clock_boot_ns(), err);
}

/* --- the thread --- */

static bool is_stopped(const struct cb_powerapi_csv *csv, int wait_ms)
{
    struct pollfd fd = {.fd = csv->stop_fd, .events = POLLIN};

    return poll(&fd, 1, wait_ms) > 0;
}

static void *run(void *context)
{
    struct cb_powerapi_csv *csv = context;
    bool more = true;

    while (!is_stopped(csv, more ? 0 : POLL_MS)) {
        struct cb_err err = {0};
        int r = follow(csv, &more, &err);

        if (r == -ECANCELED)
            break;
        more &= r == 0;
        if (r < 0)
            cb_log_limited(&csv->log, LOG_EVERY_NS, CB_LOG_ERR, "PowerAPI CSV: %s", err.text);
    }
    return NULL;
}

static struct cb_powerapi_csv *release(struct cb_powerapi_csv *csv)
{
    for (size_t i = 0; i < csv->n; i++)
        clear(&csv->files[i]);
    cb_close_at(&csv->dir_fd);
    cb_close_at(&csv->stop_fd);
    free(csv->directory);
    free(csv);
    return NULL;
}

int cb_powerapi_csv_start(const char *directory, uint64_t wait_ns, struct cb_powerapi *powerapi,
                          struct cb_powerapi_csv **ret_csv, struct cb_err *err)
{
    struct cb_powerapi_csv *csv = calloc(1, sizeof(*csv));
    int r = 0;

    if (!csv)
        return cb_err_set(err, ENOMEM, "out of memory");
    csv->powerapi = powerapi;
    csv->wait_ns = wait_ns;
    csv->directory = strdup(directory);
    csv->stop_fd = eventfd(0, EFD_CLOEXEC);
    csv->dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (csv->dir_fd < 0 || csv->stop_fd < 0 || !csv->directory)
        r = cb_err_set(err, errno, "--powerapi-csv '%.200s': %s", directory, strerror(errno));
    if (r == 0) {
        r = -pthread_create(&csv->thread, NULL, run, csv);
        if (r < 0)
            r = cb_err_set(err, -r, "cannot start a thread");
    }
    if (r < 0) {
        csv = release(csv);
        return r;
    }
    *ret_csv = csv;
    return 0;
}

struct cb_powerapi_csv *cb_powerapi_csv_stop(struct cb_powerapi_csv *csv)
{
    if (!csv)
        return NULL;
    (void)eventfd_write(csv->stop_fd, 1);
    (void)pthread_join(csv->thread, NULL);
    return release(csv);
}
