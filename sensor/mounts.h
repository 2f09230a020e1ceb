/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mounts.h - the lines of /proc/<pid>/mountinfo, and which of them are cgroup hierarchies.
 *
 * Source   proc(5): "36 35 98:0 /root /point rw,noatime opt:1 - type source super-options"; blank,
 *          tab, newline and backslash in a name are written as \040 and so on.
 */
#ifndef CB_SENSOR_MOUNTS_H
#define CB_SENSOR_MOUNTS_H

#include <limits.h>
#include <stdbool.h>

#include "lib/cleanup.h"

struct cb_err;

struct cb_mount {
    char root[PATH_MAX];  /* of the mounted file system */
    char point[PATH_MAX]; /* where it is mounted */
    char type[32];        /* "cgroup", "cgroup2", "ext4" */
    char source[64];      /* what was mounted, as whoever mounted it called it; may be cut */
    char options[512];    /* super options, "rw,perf_event" */
};

/* The next well-formed line from *@text on; *@text moves behind it. Lines that are malformed or
 * too long are passed over. False at the end. */
bool cb_mounts_next(const char **text, struct cb_mount *ret_mount);

bool cb_mount_has_option(const struct cb_mount *mount, const char *option);

/* The mount of cgroup v2 (@controller NULL) or of one v1 controller, a whole hierarchy preferred
 * to a part of one. @root_fd stands for "/"; where it is not our own root, the mounts of process 1
 * below it are the ones that count. -ENOENT: none. */
int cb_mounts_find_cgroup(int root_fd, const char *controller, struct cb_mount *ret_mount,
                          struct cb_err *err) cb_must_check;

/* The whole table, allocated for the caller. */
int cb_mounts_read(int root_fd, char **ret_text, struct cb_err *err) cb_must_check;

#endif
