/* SPDX-License-Identifier: Apache-2.0 */
/* mounts.c - see mounts.h. */
#include "sensor/mounts.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/err.h"
#include "sensor/fsread.h"

#define TABLE_MAX (8u << 20)

static bool is_octal(char c)
{
    return c >= '0' && c <= '7';
}

/* Copy one field and undo the escapes; false when it does not fit. */
static bool take_field(const char **from, const char *end, char *to, size_t size)
{
    const char *p = *from;
    size_t n = 0;

    while (p < end && *p != ' ') {
        char c = *p++;

        if (c == '\\' && end - p >= 3 && is_octal(p[0]) && is_octal(p[1]) && is_octal(p[2])) {
            c = (char)((p[0] - '0') * 64 + (p[1] - '0') * 8 + (p[2] - '0'));
            p += 3;
        }
        if (n + 1 >= size)
            return false;
        to[n++] = c;
    }
    to[n] = '\0';
    *from = p < end ? p + 1 : p;
    return n > 0;
}

static bool parse_line(const char *p, const char *end, struct cb_mount *m)
{
    char skip[PATH_MAX];

    for (int i = 0; i < 3; i++)
        if (!take_field(&p, end, skip, sizeof(skip)))
            return false;
    if (!take_field(&p, end, m->root, sizeof(m->root)) ||
        !take_field(&p, end, m->point, sizeof(m->point)))
        return false;
    do {
        if (!take_field(&p, end, skip, sizeof(skip)))
            return false;
    } while (strcmp(skip, "-") != 0);
    if (!take_field(&p, end, m->type, sizeof(m->type)) || !take_field(&p, end, skip, sizeof(skip)))
        return false;
    (void)snprintf(m->source, sizeof(m->source), "%.63s", skip);
    return take_field(&p, end, m->options, sizeof(m->options));
}

bool cb_mounts_next(const char **text, struct cb_mount *ret_mount)
{
    while (**text) {
        const char *line = *text;
        const char *end = line + strcspn(line, "\n");

        *text = *end ? end + 1 : end;
        if (parse_line(line, end, ret_mount))
            return true;
    }
    return false;
}

bool cb_mount_has_option(const struct cb_mount *mount, const char *option)
{
    size_t n = strlen(option);

    for (const char *p = mount->options;; p++) {
        if (strncmp(p, option, n) == 0 && (p[n] == '\0' || p[n] == ','))
            return true;
        p = strchr(p, ',');
        if (!p)
            return false;
    }
}

static bool is_own_root(int root_fd)
{
    struct stat here;
    struct stat own;

    return fstat(root_fd, &here) == 0 && stat("/", &own) == 0 && here.st_dev == own.st_dev &&
           here.st_ino == own.st_ino;
}

int cb_mounts_read(int root_fd, char **ret_text, struct cb_err *err)
{
    if (!is_own_root(root_fd) &&
        cb_fsread_all(root_fd, "proc/1/mountinfo", TABLE_MAX, ret_text, NULL) == 0)
        return 0;
    return cb_fsread_all(root_fd, "proc/self/mountinfo", TABLE_MAX, ret_text, err);
}

int cb_mounts_find_cgroup(int root_fd, const char *controller, struct cb_mount *ret_mount,
                          struct cb_err *err)
{
    cb_auto_free char *table = NULL;
    struct cb_mount mount;
    bool found = false;
    int r = cb_mounts_read(root_fd, &table, err);

    if (r < 0)
        return r;
    for (const char *p = table; cb_mounts_next(&p, &mount);) {
        bool fits = controller ? strcmp(mount.type, "cgroup") == 0 &&
                                     cb_mount_has_option(&mount, controller)
                               : strcmp(mount.type, "cgroup2") == 0;

        if (!fits || (found && strcmp(mount.root, "/") != 0))
            continue;
        *ret_mount = mount;
        found = true;
        if (strcmp(mount.root, "/") == 0)
            return 0;
    }
    if (found)
        return 0;
    return cb_err_set(err, ENOENT,
                      controller ? "no cgroup v1 hierarchy with '%s' is mounted"
                                 : "no cgroup v2 hierarchy is mounted%s",
                      controller ? controller : "");
}
