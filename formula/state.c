/* SPDX-License-Identifier: Apache-2.0 */
/* state.c - the state directory and other things that the commands share. See cmd.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "formula/cmd.h"
#include "formula/store.h"
#include "lib/cleanup.h"
#include "lib/defaults.h"
#include "lib/err.h"

int cb_cmd_fail(int status, const struct cb_err *err)
{
    (void)fprintf(stderr, "cbformula: %s\n", err->text);
    return status;
}

static int state_error(struct cb_err *err, int code, const char *path, const char *what)
{
    return cb_err_set(err, code,
                      "state directory '%s' %s: %s; give one you may write with "
                      "--state-dir, or run as root",
                      path, what, strerror(code));
}

/* Each parent that is missing (mode 0755), then the directory itself (0700). */
static int make_path(const char *path, struct cb_err *err)
{
    char part[PATH_MAX];

    if ((size_t)snprintf(part, sizeof(part), "%s", path) >= sizeof(part))
        return state_error(err, ENAMETOOLONG, path, "cannot be made");
    for (char *p = part + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        if (mkdir(part, 0755) < 0 && errno != EEXIST && errno != EROFS && errno != EACCES)
            return state_error(err, errno, path, "cannot be made");
        *p = '/';
    }
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return state_error(err, errno, path, "cannot be made");
    return 0;
}

int cb_state_open(const char *path, bool make, struct cb_err *err)
{
    cb_auto_close int fd = -1;
    int r = make ? make_path(path, err) : 0;

    if (r < 0)
        return r;
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return state_error(err, errno, path, "cannot be opened");
    if (make && faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) < 0)
        return state_error(err, errno, path, "cannot be written");
    return cb_take_fd(fd);
}

int cb_state_lock(int dir_fd, const char *path, struct cb_err *err)
{
    if (flock(dir_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return cb_err_set(err, EBUSY,
                          "the database in '%s' is locked by another running cbformula: stop that "
                          "one, or give this one its own --state-dir",
                          path);
    return state_error(err, errno, path, "cannot be locked");
}

int cb_state_database(const char *path, char *ret_path, size_t size, struct cb_err *err)
{
    int n = snprintf(ret_path, size, "%s/%s", path, CB_FILE_DATABASE);

    if (n < 0 || (size_t)n >= size)
        return state_error(err, ENAMETOOLONG, path, "cannot be used");
    return 0;
}

int cb_state_read(const char *path, struct cb_store **ret_store, struct cb_err *err)
{
    char database[PATH_MAX];
    int r = cb_state_database(path, database, sizeof(database), err);

    if (r == 0)
        r = cb_store_open(database, CB_STORE_READ, ret_store, err);
    if (r == -ENOENT)
        return cb_err_set(err, ENOENT,
                          "no database '%s' that can be read: name the server's directory with "
                          "--state-dir, and run as its user",
                          database);
    return r;
}
