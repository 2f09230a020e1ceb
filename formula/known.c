/* SPDX-License-Identifier: Apache-2.0 */
/* known.c - see known.h. */
#include "formula/known.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "lib/defaults.h"
#include "lib/err.h"

#define FILE_NEW CB_FILE_KNOWN_SENSORS ".new"
#define FILE_LOCK CB_FILE_KNOWN_SENSORS ".lock"
#define LINE_SIZE 512

#define STRANGERS_MAX 64

struct stranger {
    char key[CB_KEY_SIZE]; /* "": a free place */
    struct cb_log_limit limit;
};

struct cb_known {
    int dir_fd;
    struct stat seen; /* of the file that was read; all zero: there was none */
    size_t n, capacity;
    struct cb_known_entry *entries;
    struct stranger strangers[STRANGERS_MAX];
    struct cb_log_limit other_strangers;
};

bool cb_known_is_name(const char *name)
{
    size_t n = strlen(name);

    if (n == 0 || n >= CB_NAME_SIZE || name[0] == '#')
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] <= ' ' || name[i] == 0x7f)
            return false;
    return true;
}

static int append(struct cb_known *known, const char *name, const char *key, struct cb_err *err)
{
    struct cb_known_entry *entry;

    if (known->n == CB_KNOWN_MAX)
        return cb_err_set(err, EINVAL, "more than %d sensors", CB_KNOWN_MAX);
    if (known->n == known->capacity) {
        size_t larger = known->capacity ? 2 * known->capacity : 16;
        struct cb_known_entry *moved = realloc(known->entries, larger * sizeof(*moved));

        if (!moved)
            return cb_err_set(err, ENOMEM, "out of memory");
        known->entries = moved;
        known->capacity = larger;
    }
    entry = &known->entries[known->n++];
    (void)snprintf(entry->name, sizeof(entry->name), "%s", name);
    (void)snprintf(entry->key, sizeof(entry->key), "%s", key);
    return 0;
}

static int parse_line(struct cb_known *known, const char *line, struct cb_err *err)
{
    char name[LINE_SIZE];
    char key[LINE_SIZE];
    int end = 0;

    if (line[0] == '#' || line[strspn(line, " \t\n")] == '\0')
        return 0;
    if (sscanf(line, "%511s %511s %n", name, key, &end) != 2 || line[end] != '\0')
        return cb_err_set(err, EINVAL, "not of the form NAME KEY");
    if (!cb_known_is_name(name))
        return cb_err_set(err, EINVAL, "'%.40s' is not a name", name);
    if (!cb_keys_is_z85(key))
        return cb_err_set(err, EINVAL, "the key of '%.40s' is not 40 characters of Z85", name);
    return append(known, name, key, err);
}

static int read_file(struct cb_known *known, FILE *file, struct cb_err *err)
{
    char line[LINE_SIZE];
    int r = 0;

    for (int i = 1; r == 0 && fgets(line, sizeof(line), file); i++) {
        r = parse_line(known, line, err);
        if (r < 0)
            r = cb_err_prefix(err, r, "%s line %d", CB_FILE_KNOWN_SENSORS, i);
    }
    if (r == 0 && ferror(file))
        r = cb_err_set(err, EIO, "cannot read %s", CB_FILE_KNOWN_SENSORS);
    return r;
}

/* Fill an empty list with what the file holds now. */
static int load(struct cb_known *known, struct cb_err *err)
{
    int fd = openat(known->dir_fd, CB_FILE_KNOWN_SENSORS, O_RDONLY | O_CLOEXEC, 0);
    FILE *file;
    int r;

    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0 || fstat(fd, &known->seen) < 0) {
        r = cb_err_set(err, errno, "cannot open %s: %s", CB_FILE_KNOWN_SENSORS, strerror(errno));
        if (fd >= 0)
            (void)close(fd);
        return r;
    }
    file = fdopen(fd, "r");
    if (!file) {
        (void)close(fd);
        return cb_err_set(err, ENOMEM, "out of memory");
    }
    r = read_file(known, file, err);
    (void)fclose(file);
    return r;
}

int cb_known_open(int dir_fd, struct cb_known **ret_known, struct cb_err *err)
{
    struct cb_known *known = calloc(1, sizeof(*known));
    int r;

    if (!known)
        return cb_err_set(err, ENOMEM, "out of memory");
    known->dir_fd = dir_fd;
    r = load(known, err);
    if (r < 0)
        (void)cb_known_close(known);
    else
        *ret_known = known;
    return r;
}

struct cb_known *cb_known_close(struct cb_known *known)
{
    if (known)
        free(known->entries);
    free(known);
    return NULL;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

int cb_known_refresh(struct cb_known *known, struct cb_err *err)
{
    struct cb_known *fresh;
    struct stat now = {0};
    int r;

    if (fstatat(known->dir_fd, CB_FILE_KNOWN_SENSORS, &now, 0) < 0 && errno != ENOENT)
        return cb_err_set(err, errno, "cannot look at %s: %s", CB_FILE_KNOWN_SENSORS,
                          strerror(errno));
    if (same_file(&now, &known->seen))
        return 0;
    r = cb_known_open(known->dir_fd, &fresh, err);
    if (r < 0)
        return r;
    free(known->entries);
    known->seen = fresh->seen;
    known->n = fresh->n;
    known->capacity = fresh->capacity;
    known->entries = cb_take(fresh->entries);
    fresh = cb_known_close(fresh);
    return 0;
}

struct cb_log_limit *cb_known_stranger(struct cb_known *known, const char *key, uint64_t now_ns)
{
    struct stranger *place = NULL;

    for (size_t i = 0; i < STRANGERS_MAX; i++) {
        struct stranger *one = &known->strangers[i];

        if (strcmp(one->key, key) == 0)
            return &one->limit;
        if (!place && one->limit.next_ns <= now_ns)
            place = one;
    }
    if (!place)
        return &known->other_strangers;
    *place = (struct stranger){.limit.next_ns = 0};
    (void)snprintf(place->key, sizeof(place->key), "%s", key);
    return &place->limit;
}

size_t cb_known_count(const struct cb_known *known)
{
    return known->n;
}

const struct cb_known_entry *cb_known_at(const struct cb_known *known, size_t i)
{
    return &known->entries[i];
}

const struct cb_known_entry *cb_known_by_key(const struct cb_known *known, const char *key)
{
    for (size_t i = 0; i < known->n; i++)
        if (strcmp(known->entries[i].key, key) == 0)
            return &known->entries[i];
    return NULL;
}

const struct cb_known_entry *cb_known_by_name(const struct cb_known *known, const char *name)
{
    for (size_t i = 0; i < known->n; i++)
        if (strcmp(known->entries[i].name, name) == 0)
            return &known->entries[i];
    return NULL;
}

/* ---- editing ---- */

static int lock_file(int dir_fd, struct cb_err *err)
{
    int fd = openat(dir_fd, FILE_LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0)
        return cb_err_set(err, errno, "cannot open %s: %s", FILE_LOCK, strerror(errno));
    if (flock(fd, LOCK_EX) < 0) {
        int r = cb_err_set(err, errno, "cannot lock %s: %s", FILE_LOCK, strerror(errno));

        (void)close(fd);
        return r;
    }
    return fd;
}

static int write_entries(const struct cb_known *known, FILE *file)
{
    (void)fputs("# sensors that are let in: NAME KEY (cbformula keys add|revoke)\n", file);
    for (size_t i = 0; i < known->n; i++)
        (void)fprintf(file, "%s %s\n", known->entries[i].name, known->entries[i].key);
    return fflush(file) == 0 && fsync(fileno(file)) == 0 ? 0 : -errno;
}

static int save(const struct cb_known *known, struct cb_err *err)
{
    int fd = openat(known->dir_fd, FILE_NEW, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    int r;

    if (!file) {
        r = cb_err_set(err, errno, "cannot write %s: %s", FILE_NEW, strerror(errno));
        if (fd >= 0)
            (void)close(fd);
        return r;
    }
    r = write_entries(known, file);
    if (fclose(file) != 0 && r == 0)
        r = -errno;
    if (r == 0 && renameat(known->dir_fd, FILE_NEW, known->dir_fd, CB_FILE_KNOWN_SENSORS) < 0)
        r = -errno;
    if (r == 0 && fsync(known->dir_fd) < 0)
        r = -errno;
    if (r < 0) {
        (void)unlinkat(known->dir_fd, FILE_NEW, 0);
        return cb_err_set(err, -r, "cannot write %s: %s", CB_FILE_KNOWN_SENSORS, strerror(-r));
    }
    return 0;
}

static int add(struct cb_known *known, const char *name, const char *key, struct cb_err *err)
{
    const struct cb_known_entry *by_name = cb_known_by_name(known, name);
    const struct cb_known_entry *by_key = cb_known_by_key(known, key);
    int r;

    if (by_name && by_name == by_key)
        return 0;
    if (by_name)
        return cb_err_set(err, EEXIST,
                          "'%s' is known with another key: if its sensor was installed anew, "
                          "'cbformula keys revoke %s' first",
                          name, name);
    if (by_key)
        return cb_err_set(err, EEXIST, "this key is known already, as '%s'", by_key->name);
    r = append(known, name, key, err);
    return r < 0 ? r : save(known, err);
}

int cb_known_add(int dir_fd, const char *name, const char *key, struct cb_err *err)
{
    struct cb_known *known = NULL;
    cb_auto_close int lock = -1;
    int r;

    if (!cb_known_is_name(name))
        return cb_err_set(err, EINVAL,
                          "'%.40s' is not a sensor's name: 1 to %d printable characters without "
                          "blanks, no '#' in front",
                          name, CB_NAME_SIZE - 1);
    lock = lock_file(dir_fd, err);
    if (lock < 0)
        return lock;
    r = cb_known_open(dir_fd, &known, err);
    if (r == 0)
        r = add(known, name, key, err);
    (void)cb_known_close(known);
    return r;
}

int cb_known_revoke(int dir_fd, const char *name, struct cb_err *err)
{
    struct cb_known *known = NULL;
    cb_auto_close int lock = lock_file(dir_fd, err);
    size_t kept = 0;
    int r;

    if (lock < 0)
        return lock;
    r = cb_known_open(dir_fd, &known, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < known->n; i++)
        if (strcmp(known->entries[i].name, name) != 0)
            known->entries[kept++] = known->entries[i];
    if (kept == known->n)
        r = cb_err_set(err, ENOENT, "no sensor '%.60s' is known, see 'cbformula keys list'", name);
    known->n = kept;
    if (r == 0)
        r = save(known, err);
    (void)cb_known_close(known);
    return r;
}
