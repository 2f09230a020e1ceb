/* SPDX-License-Identifier: Apache-2.0 */
/* owner.c - see owner.h. */
#include "tester/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "lib/err.h"
#include "lib/parse.h"

#define STAT_START_FIELD 22

/* Field 22 of a stat line. The name in field 2 may hold anything, its end is the last ')'. */
static int parse_start(const char *line, uint64_t *ret_ticks)
{
    const char *p = strrchr(line, ')');
    char text[24];

    for (int field = 2; p && field < STAT_START_FIELD; field++) {
        p = strchr(p, ' ');
        if (p)
            p++;
    }
    if (!p)
        return -EBADMSG;
    (void)snprintf(text, sizeof(text), "%.*s", (int)strcspn(p, " \n"), p);
    return cb_parse_u64(text, ret_ticks) < 0 ? -EBADMSG : 0;
}

/* -ENOENT: there is no such process. */
static int read_start(int root_fd, uint64_t pid, uint64_t *ret_ticks, struct cb_err *err)
{
    char path[64];
    char line[1024];

    (void)snprintf(path, sizeof(path), "proc/%" PRIu64 "/stat", pid);

    cb_auto_close int fd = openat(root_fd, path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);

    if (n < 0)
        return cb_err_set(err, errno == ESRCH ? ENOENT : errno, "cannot read '/%s': %s", path,
                          strerror(errno));
    line[n] = '\0';
    if (parse_start(line, ret_ticks) < 0)
        return cb_err_set(err, EBADMSG, "'/%s' is not a stat line", path);
    return 0;
}

int cb_owner_self(int root_fd, struct cb_owner *ret_owner, struct cb_err *err)
{
    struct cb_owner owner = {.pid = (uint64_t)getpid()};
    struct stat st;
    int r = cb_clock_boot_id(root_fd, owner.boot_id, err);

    if (r < 0)
        return r;
    if (fstatat(root_fd, "proc/self/ns/pid", &st, 0) < 0)
        return cb_err_set(err, errno, "cannot look at '/proc/self/ns/pid': %s", strerror(errno));
    owner.pid_namespace = st.st_ino;
    r = read_start(root_fd, owner.pid, &owner.start_ticks, err);
    if (r == 0)
        *ret_owner = owner;
    return r;
}

void cb_owner_format(const struct cb_owner *owner, char ret_text[CB_OWNER_TEXT])
{
    (void)snprintf(ret_text, CB_OWNER_TEXT, "%s %" PRIu64 " %" PRIu64 " %" PRIu64, owner->boot_id,
                   owner->pid_namespace, owner->pid, owner->start_ticks);
}

int cb_owner_parse(const char *text, struct cb_owner *ret_owner)
{
    struct cb_owner owner = {0};
    uint64_t *const numbers[] = {&owner.pid_namespace, &owner.pid, &owner.start_ticks};
    char number[24];

    if (strcspn(text, " ") != CB_BOOT_ID_SIZE - 1)
        return -EINVAL;
    memcpy(owner.boot_id, text, CB_BOOT_ID_SIZE - 1);
    text += CB_BOOT_ID_SIZE - 1;
    for (size_t i = 0; i < 3; i++) {
        if (*text++ != ' ')
            return -EINVAL;

        size_t n = strcspn(text, " ");

        if (n >= sizeof(number))
            return -EINVAL;
        memcpy(number, text, n);
        number[n] = '\0';
        if (cb_parse_u64(number, numbers[i]) < 0)
            return -EINVAL;
        text += n;
    }
    if (*text != '\0')
        return -EINVAL;
    *ret_owner = owner;
    return 0;
}

bool cb_owner_is_dead(int root_fd, const struct cb_owner *self, const struct cb_owner *owner,
                      bool running)
{
    uint64_t ticks = 0;

    if (strcmp(self->boot_id, owner->boot_id) != 0)
        return !running;
    if (self->pid_namespace != owner->pid_namespace)
        return false;

    int r = read_start(root_fd, owner->pid, &ticks, NULL);

    return r == -ENOENT || (r == 0 && ticks != owner->start_ticks);
}
