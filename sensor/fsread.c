/* SPDX-License-Identifier: Apache-2.0 */
/* fsread.c - see fsread.h. */
#include "sensor/fsread.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/err.h"
#include "lib/parse.h"

/* Of a path in a message: what the user gave stands as it is. */
static const char *root_of(int dir_fd)
{
    return dir_fd == AT_FDCWD ? "" : "/";
}

int cb_fsread_open(int dir_fd, const char *path, struct cb_err *err)
{
    int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return cb_err_set(err, errno, "cannot open '%s%s': %s", root_of(dir_fd), path,
                          strerror(errno));
    return fd;
}

/* Up to @size bytes; the count, or -errno. */
static ssize_t read_full(int fd, char *buf, size_t size)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = read(fd, buf + done, size - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

int cb_fsread_text(int dir_fd, const char *path, char *buf, size_t size, struct cb_err *err)
{
    cb_auto_close int fd = cb_fsread_open(dir_fd, path, err);
    ssize_t n;

    if (fd < 0)
        return fd;
    n = read_full(fd, buf, size);
    if (n < 0)
        return cb_err_set(err, (int)-n, "cannot read '%s%s': %s", root_of(dir_fd), path,
                          strerror((int)-n));
    if ((size_t)n == size)
        return cb_err_set(err, EFBIG, "'%s%s' is longer than %zu bytes", root_of(dir_fd), path,
                          size - 1);
    buf[n] = '\0';
    return 0;
}

int cb_fsread_line(int dir_fd, const char *path, char *buf, size_t size, struct cb_err *err)
{
    int r = cb_fsread_text(dir_fd, path, buf, size, err);

    if (r == 0)
        buf[strcspn(buf, "\n")] = '\0';
    return r;
}

int cb_fsread_all(int dir_fd, const char *path, size_t limit, char **ret_text, struct cb_err *err)
{
    cb_auto_close int fd = cb_fsread_open(dir_fd, path, err);
    cb_auto_free char *text = NULL;
    size_t size = 0;
    size_t room = 0;

    if (fd < 0)
        return fd;
    for (;;) {
        ssize_t n;

        if (size + 1 >= room) {
            room = room ? room * 2 : 4096;

            char *more = realloc(text, room);

            if (!more)
                return cb_err_set(err, ENOMEM, "out of memory for '%s%s'", root_of(dir_fd), path);
            text = more;
        }
        n = read_full(fd, text + size, room - 1 - size);
        if (n < 0)
            return cb_err_set(err, (int)-n, "cannot read '%s%s': %s", root_of(dir_fd), path,
                              strerror((int)-n));
        size += (size_t)n;
        if (size > limit)
            return cb_err_set(err, EFBIG, "'%s%s' is longer than %zu bytes", root_of(dir_fd), path,
                              limit);
        if (size + 1 < room)
            break;
    }
    text[size] = '\0';
    *ret_text = cb_take(text);
    return 0;
}

int cb_fsread_u64(int dir_fd, const char *path, uint64_t *ret_value, struct cb_err *err)
{
    char buf[64];
    int r = cb_fsread_text(dir_fd, path, buf, sizeof(buf), err);

    if (r < 0)
        return r;
    r = cb_parse_u64(buf, ret_value);
    if (r < 0)
        return cb_err_set(err, -r, "'%s%s' does not hold a number: '%.20s'", root_of(dir_fd), path,
                          buf);
    return 0;
}

int cb_fsread_again(int fd, char *buf, size_t size)
{
    ssize_t n = pread(fd, buf, size - 1, 0);

    if (n < 0)
        return -errno;
    buf[n] = '\0';
    return (int)n;
}
