/* SPDX-License-Identifier: Apache-2.0 */
/* testlock.c - see testlock.h. */
#include "tester/testlock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "lib/err.h"

#define FILE_NAME "cbwatts-tester.lock"
#define TEXT_MAX 320

const char *cb_testlock_default_path(void)
{
    return access("/run/lock", W_OK | X_OK) == 0 ? "/run/lock/" FILE_NAME : "/tmp/" FILE_NAME;
}

/* O_CREAT only where there is no file: with fs.protected_regular the kernel refuses O_CREAT on
 * another user's file in a sticky folder. */
static int open_or_make(const char *path)
{
    const int flags = O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;

    for (int tries = 0; tries < 10; tries++) {
        int fd = open(path, flags);

        if (fd >= 0 || errno != ENOENT)
            return fd;
        fd = open(path, flags | O_CREAT | O_EXCL, 0666);
        if (fd >= 0) {
            (void)fchmod(fd, 0666); /* whatever the umask; without it others are told EACCES */
            return fd;
        }
        if (errno != EEXIST)
            return fd;
    }
    return -1;
}

int cb_testlock_open(const char *path, struct cb_err *err)
{
    cb_auto_close int fd = open_or_make(path);
    struct stat st;

    if (fd < 0)
        return cb_err_set(err, errno,
                          "cannot open the lock file '%s': %s; --lock-file names another, "
                          "--no-lock does without",
                          path, strerror(errno));
    if (fstat(fd, &st) < 0)
        return cb_err_set(err, errno, "cannot look at '%s': %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_nlink != 1)
        return cb_err_set(err, EINVAL,
                          "the lock file '%s' is not a plain file; remove it or name another with "
                          "--lock-file",
                          path);
    return cb_take_fd(fd);
}

int cb_testlock_try(int fd, const char *name, struct cb_err *err)
{
    char text[TEXT_MAX];

    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return cb_err_set(err, errno, "cannot lock: %s", strerror(errno));

    int n = snprintf(text, sizeof(text), "%ld %s\n", (long)getpid(), name);

    if (n >= (int)sizeof(text))
        n = (int)sizeof(text) - 1;
    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) < 0) {
        /* The text is a courtesy: on a full disk the lock holds all the same. */
    }
    return 0;
}

void cb_testlock_holder(int fd, char *ret_text, size_t size)
{
    char text[TEXT_MAX];
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) {
            *p = '\0';
            break;
        }

    size_t digits = strspn(text, "0123456789");

    if (digits == 0 || digits > 10 || text[digits] != ' ')
        (void)snprintf(ret_text, size, "another process");
    else
        (void)snprintf(ret_text, size, "process %.*s, test '%.255s'", (int)digits, text,
                       text + digits + 1);
}
