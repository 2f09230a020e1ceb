/* SPDX-License-Identifier: Apache-2.0 */
/* state.c - see state.h. */
#include "sensor/state.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/err.h"
#include "sensor/fsread.h"

#define LOCK "lock"
#define SPOOL "spool"

static int refuse(struct cb_err *err, int code, const char *path)
{
    return cb_err_set(err, code,
                      "cannot use the state directory '%s': %s; run as root or choose another with "
                      "--state-dir",
                      path, strerror(code));
}

/* Parents like any other directory, the last one for ourselves alone. */
static int make_path(const char *path)
{
    char part[PATH_MAX];
    size_t n = strlen(path);

    if (n == 0 || n >= sizeof(part))
        return -ENAMETOOLONG;
    memcpy(part, path, n + 1);
    for (char *p = part + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            return -errno;
        *p = '/';
    }
    return mkdir(part, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

int cb_state_open(struct cb_state *state, const char *path, struct cb_err *err)
{
    int r;

    *state = (struct cb_state){.dir_fd = -1, .lock_fd = -1, .spool_fd = -1};
    r = make_path(path);
    if (r < 0)
        return refuse(err, -r, path);
    state->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return state->dir_fd < 0 ? refuse(err, errno, path) : 0;
}

static int write_pid(int fd)
{
    char text[32];
    int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());

    return ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n ? -EIO : 0;
}

int cb_state_lock(struct cb_state *state, const char *path, struct cb_err *err)
{
    char pid[32] = "";

    state->lock_fd = openat(state->dir_fd, LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (state->lock_fd < 0)
        return refuse(err, errno, path);
    if (flock(state->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        int code = errno;

        if (code != EWOULDBLOCK)
            return refuse(err, code, path);
        if (cb_fsread_line(state->dir_fd, LOCK, pid, sizeof(pid), NULL) < 0)
            pid[0] = '\0';
        return cb_err_set(err, EBUSY,
                          "another cbsensor (process %.20s) uses the state directory '%s': stop it "
                          "or choose another with --state-dir",
                          *pid ? pid : "unknown", path);
    }
    if (write_pid(state->lock_fd) < 0 ||
        (mkdirat(state->dir_fd, SPOOL, 0700) < 0 && errno != EEXIST))
        return refuse(err, errno, path);
    state->spool_fd = openat(state->dir_fd, SPOOL, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return state->spool_fd < 0 ? refuse(err, errno, path) : 0;
}

int cb_state_check(const struct cb_state *state, const char *path, struct cb_err *err)
{
    struct stat st = {0};

    if (faccessat(state->spool_fd, ".", W_OK | X_OK, AT_EACCESS) == 0)
        return 0;
    if (errno != EACCES || fstat(state->spool_fd, &st) < 0)
        return refuse(err, errno, path);
    return cb_err_set(err, EACCES,
                      "'%s/" SPOOL "' cannot be written: it belongs to user %u; run as that user, "
                      "give it to user %u (chown -R), or choose another with --state-dir",
                      path, (unsigned)st.st_uid, (unsigned)geteuid());
}

void cb_state_close(struct cb_state *state)
{
    if (state->spool_fd >= 0)
        (void)close(cb_take_fd(state->spool_fd));
    if (state->lock_fd >= 0)
        (void)close(cb_take_fd(state->lock_fd));
    if (state->dir_fd >= 0)
        (void)close(cb_take_fd(state->dir_fd));
}
