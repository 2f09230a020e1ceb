/* SPDX-License-Identifier: Apache-2.0 */
/* store_files.c - the files, and how far they are written. See store_files.h. */
#include "formula/store_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/log.h"

#define NAME "energy"
#define NAME_MAX_SIZE 64

struct files {
    bool csv;
    const char *extension;
    char dir[4096];
    int dir_fd, lock_fd;
    uint64_t rotate_bytes, rotate_ns, keep;
};

/* What a stream's place says: file number @serial is begun, and the rows of all deliveries that
 * were taken are its first @offset bytes. */
struct place {
    uint64_t serial, offset, begun_wall_ns;
};

static int failed(const struct files *files, const char *name, const char *what, struct cb_err *err)
{
    int code = errno;

    return cb_err_set(err, code, "cannot %s '%.200s/%s': %s", what, files->dir, name,
                      strerror(code));
}

static void active_name(const struct files *files, char ret_name[NAME_MAX_SIZE])
{
    (void)snprintf(ret_name, NAME_MAX_SIZE, NAME ".%s", files->extension);
}

static void finished_name(const struct files *files, uint64_t serial, char ret_name[NAME_MAX_SIZE])
{
    (void)snprintf(ret_name, NAME_MAX_SIZE, NAME "-%06" PRIu64 ".%s", serial, files->extension);
}

/* ---- opening ---- */

static void files_close(void *state)
{
    struct files *files = state;

    cb_close_at(&files->dir_fd);
    cb_close_at(&files->lock_fd);
    free(files);
}

static int open_dir(struct files *files, struct cb_err *err)
{
    const char *option = files->csv ? "--csv" : "--jsonl";
    char lock[NAME_MAX_SIZE];

    if (mkdir(files->dir, 0755) < 0 && errno != EEXIST)
        return cb_err_set(err, errno, "%s: cannot make '%.200s': %s", option, files->dir,
                          strerror(errno));
    files->dir_fd = open(files->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (files->dir_fd < 0)
        return cb_err_set(err, errno, "%s: cannot open '%.200s': %s", option, files->dir,
                          strerror(errno));
    (void)snprintf(lock, sizeof(lock), "." NAME ".%s.lock", files->extension);
    files->lock_fd = openat(files->dir_fd, lock, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (files->lock_fd < 0)
        return cb_err_set(err, errno, "%s: cannot write to '%.200s': %s", option, files->dir,
                          strerror(errno));
    if (flock(files->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return cb_err_set(err, EBUSY, "%s: another cbformula writes to '%.200s'", option,
                          files->dir);
    return 0;
}

static int files_open(const void *context, void **ret_state, struct cb_err *err)
{
    const struct cb_files_config *config = context;
    struct files *files = calloc(1, sizeof(*files));
    int r;

    if (!files)
        return cb_err_set(err, ENOMEM, "out of memory");
    files->csv = config->csv;
    files->extension = config->csv ? "csv" : "jsonl";
    files->dir_fd = files->lock_fd = -1;
    files->rotate_bytes = config->rotate_bytes;
    files->rotate_ns = config->rotate_ns;
    files->keep = config->keep;
    (void)snprintf(files->dir, sizeof(files->dir), "%s", config->dir);
    r = open_dir(files, err);
    if (r < 0) {
        files_close(files);
        return r;
    }
    *ret_state = files;
    return 0;
}

/* ---- the place ---- */

static bool parse_place(const char *text, struct place *ret)
{
    return sscanf(text, "%" SCNu64 " %" SCNu64 " %" SCNu64, &ret->serial, &ret->offset,
                  &ret->begun_wall_ns) == 3;
}

static void format_place(const struct place *place, char ret_text[CB_STREAM_PLACE_SIZE])
{
    (void)snprintf(ret_text, CB_STREAM_PLACE_SIZE, "%" PRIu64 " %" PRIu64 " %" PRIu64,
                   place->serial, place->offset, place->begun_wall_ns);
}

/* The highest number of a finished file, 0: there is none. */
static int last_serial(const struct files *files, uint64_t *ret_serial, struct cb_err *err)
{
    int fd = openat(files->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    uint64_t last = 0;

    if (!dir) {
        cb_close_at(&fd);
        return failed(files, ".", "read", err);
    }
    for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        char name[NAME_MAX_SIZE];
        uint64_t serial;

        if (sscanf(entry->d_name, NAME "-%" SCNu64, &serial) != 1)
            continue;
        finished_name(files, serial, name);
        if (strcmp(name, entry->d_name) == 0 && serial > last)
            last = serial;
    }
    (void)closedir(dir);
    *ret_serial = last;
    return 0;
}

/* The active file becomes number @serial. It is on disk then, under that name. */
static int finish(const struct files *files, uint64_t serial, struct cb_err *err)
{
    char from[NAME_MAX_SIZE];
    char to[NAME_MAX_SIZE];

    active_name(files, from);
    finished_name(files, serial, to);
    if (renameat(files->dir_fd, from, files->dir_fd, to) < 0 && errno != ENOENT)
        return failed(files, from, "rename", err);
    if (fsync(files->dir_fd) < 0)
        return failed(files, ".", "sync", err);
    return 0;
}

/* Before the first delivery: what is there is of another database, it is finished as it is. */
static int first_place(const struct files *files, struct place *ret, struct cb_err *err)
{
    char name[NAME_MAX_SIZE];
    struct stat st;
    int r = last_serial(files, &ret->serial, err);

    if (r < 0)
        return r;
    ret->serial++;
    ret->offset = ret->begun_wall_ns = 0;
    active_name(files, name);
    if (fstatat(files->dir_fd, name, &st, 0) == 0 && st.st_size > 0)
        r = finish(files, ret->serial++, err);
    return r;
}

static void prune(const struct files *files, uint64_t serial)
{
    char name[NAME_MAX_SIZE];

    if (files->keep == 0)
        return;
    for (uint64_t old = serial > files->keep ? serial - files->keep - 1 : 0; old > 0; old--) {
        finished_name(files, old, name);
        if (unlinkat(files->dir_fd, name, 0) < 0)
            break;
    }
}

/* ---- writing ---- */

static void next_file(const struct files *files, struct place *place)
{
    *place = (struct place){.serial = place->serial + 1};
    prune(files, place->serial);
}

static bool is_finished(const struct files *files, uint64_t serial)
{
    char name[NAME_MAX_SIZE];

    finished_name(files, serial, name);
    return faccessat(files->dir_fd, name, F_OK, 0) == 0;
}

/* Open the active file as the last delivery left it. */
static int open_active(const struct files *files, struct place *place, int *ret_fd,
                       struct cb_err *err)
{
    char name[NAME_MAX_SIZE];
    cb_auto_close int fd = -1;
    struct stat st;

    active_name(files, name);
    fd = openat(files->dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || fstat(fd, &st) < 0)
        return failed(files, name, "open", err);
    if ((uint64_t)st.st_size < place->offset) {
        cb_log_warn("%s/%s was cut or taken away: going on in a new one", files->dir, name);
        place->offset = 0;
    }
    if ((uint64_t)st.st_size > place->offset && ftruncate(fd, (off_t)place->offset) < 0)
        return failed(files, name, "cut", err);
    *ret_fd = cb_take_fd(fd);
    return 0;
}

static int write_all(int fd, uint64_t *offset, const char *bytes, size_t size)
{
    while (size) {
        ssize_t n = pwrite(fd, bytes, size, (off_t)*offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        *offset += (uint64_t)n;
        bytes += n;
        size -= (size_t)n;
    }
    return 0;
}

static int append(const struct files *files, int fd, struct place *place,
                  const struct cb_stream_delivery *delivery, struct cb_err *err)
{
    char name[NAME_MAX_SIZE];
    uint64_t at = place->offset;
    struct cb_batch head = {0};
    int r;

    if (at == 0)
        place->begun_wall_ns = cb_clock_wall_ns();
    if (at == 0 && files->csv)
        cb_files_csv_head(&head);
    r = head.failed ? -ENOMEM : write_all(fd, &at, head.bytes, head.size);
    cb_batch_clear(&head);
    if (r == 0)
        r = write_all(fd, &at, delivery->bytes, delivery->size);
    if (r == 0 && fdatasync(fd) < 0)
        r = -errno;
    if (r == 0) {
        place->offset = at;
        return 0;
    }
    (void)ftruncate(fd, (off_t)place->offset); /* a full disk leaves no half line */
    active_name(files, name);
    errno = -r;
    return failed(files, name, "write to", err);
}

static bool is_due(const struct files *files, const struct place *place)
{
    return place->offset > 0 && (place->offset >= files->rotate_bytes ||
                                 cb_clock_wall_ns() >= place->begun_wall_ns + files->rotate_ns);
}

static int files_send(void *state, const struct cb_stream_delivery *delivery,
                      struct cb_stream_answer *answer, struct cb_err *err)
{
    const struct files *files = state;
    cb_auto_close int fd = -1;
    struct place place;
    int r;

    if (!parse_place(delivery->place, &place)) {
        r = first_place(files, &place, err);
        if (r < 0)
            return r;
        format_place(&place, answer->place);
        return -EAGAIN; /* the place first: what is written from here on is ours */
    }
    if (is_finished(files, place.serial)) /* killed after that */
        next_file(files, &place);
    r = open_active(files, &place, &fd, err);
    if (r == 0 && is_due(files, &place)) {
        r = finish(files, place.serial, err);
        next_file(files, &place);
        cb_close_at(&fd);
        fd = -1;
        if (r == 0)
            r = open_active(files, &place, &fd, err);
    }
    if (r == 0)
        r = append(files, fd, &place, delivery, err);
    if (r == 0)
        format_place(&place, answer->place);
    return r;
}

static void pack_jsonl(void *state, const struct cb_stream_bin *bin, struct cb_batch *batch)
{
    (void)state;
    cb_files_pack_jsonl(bin, batch);
}

static void pack_csv(void *state, const struct cb_stream_bin *bin, struct cb_batch *batch)
{
    (void)state;
    cb_files_pack_csv(bin, batch);
}

const struct cb_stream_ops cb_stream_jsonl = {
    .name = "jsonl",
    .open = files_open,
    .pack = pack_jsonl,
    .send = files_send,
    .close = files_close,
};

const struct cb_stream_ops cb_stream_csv = {
    .name = "csv",
    .open = files_open,
    .pack = pack_csv,
    .send = files_send,
    .close = files_close,
};
