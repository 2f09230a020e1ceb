/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.h - find the cgroups to count, at once when they come and go.
 *
 * Source   the directories of one hierarchy, watched by inotify(7); rescanned now and then, for
 *          what a full queue or a used-up number of watches hid.
 * Targets  the topmost cgroup of each container and guest (cgroup_id.h) and the topmost one that
 *          matches a pattern. What lies below a target is part of it: counts include descendants.
 * Pods     a target named HEX alone is watched, too, until it is clear what it is: one that has a
 *          process of its own, or anything below it that Podman does not put into a pod, is a
 *          container for good, for a container's first process is somewhere. One that has nothing
 *          but Podman's containers (and monitors) is a pod: it is gone, and they have come.
 * Ends     a target is gone when its directory is: that a directory cannot be read (no descriptors,
 *          no memory) ends nobody, and the end of a target is seen without any descriptor.
 * Threads  one object belongs to one thread, which also gets the callbacks.
 */
#ifndef CB_SENSOR_CGROUP_H
#define CB_SENSOR_CGROUP_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/cleanup.h"
#include "lib/frame.h"
#include "sensor/cgroup_id.h"

struct cb_err;
struct cb_cgroup_watch;

struct cb_cgroup_found {
    const char *path;                        /* below the hierarchy, "/docker/<id>" */
    char container_id[CB_CONTAINER_ID_SIZE]; /* "" for a plain cgroup */
    enum cb_target_kind kind;
    const char *runtime;           /* of a guest (cgroup_id.h), else NULL */
    char name[CB_GUEST_NAME_SIZE]; /* of a guest */
    int dir_fd;                    /* borrowed for the call */
};

struct cb_cgroup_options {
    int dir_fd; /* the hierarchy's root, borrowed until close */
    size_t n_patterns;
    const char *const *patterns; /* fnmatch(3) over the path without the leading '/': "work/?*" */
    /* A target has come; what it returns is given to gone(). NULL: refused; every rescan says
     * gone() with NULL for it, and offers it again. */
    void *(*born)(void *context, const struct cb_cgroup_found *found);
    /* Its directory is gone, or is another target's now, or a pod's. */
    void (*gone)(void *context, void *cookie);
    void *context;
};

/* Also finds what is there already. -EMFILE, -ENOMEM, -ENOSPC: no inotify instance. */
int cb_cgroup_watch_open(const struct cb_cgroup_options *options,
                         struct cb_cgroup_watch **ret_watch, struct cb_err *err) cb_must_check;
/* Does not call gone(). */
struct cb_cgroup_watch *cb_cgroup_watch_close(struct cb_cgroup_watch *watch);

/* Readable when cb_cgroup_watch_process() has something to do. */
int cb_cgroup_watch_fd(const struct cb_cgroup_watch *watch);

/* Take what inotify has; true when a target came or went. Never blocks. */
bool cb_cgroup_watch_process(struct cb_cgroup_watch *watch);

/* Compare all watched directories with what is known; true as above. */
bool cb_cgroup_watch_rescan(struct cb_cgroup_watch *watch);

/* Directories that could not be read since the last rescan began: there may be targets that are
 * not known. Rescan soon. */
size_t cb_cgroup_watch_unread(const struct cb_cgroup_watch *watch);

/* Directories that could not be watched (fs.inotify.max_user_watches): rescan more often. */
size_t cb_cgroup_watch_unwatched(const struct cb_cgroup_watch *watch);

#endif
