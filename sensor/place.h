/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.h - in which cgroup hierarchy to count.
 *
 * Order    1. a v1 perf_event hierarchy that is mounted: the kernel then counts nowhere else;
 *          2. cgroup v2. Its counters need something to have been written once to the root's
 *             cgroup.subtree_control (perf_event_open says ENOENT before); where nothing was, an
 *             available controller is written there;
 *          3. perf_event is mounted at /sys/fs/cgroup/perf_event in the mount namespace of process
 *             1, where the container runtimes see it. Containers that ran before are not in it.
 *             Closing unmounts it again. Containers that were started meanwhile have the hierarchy
 *             mounted inside, and the kernel keeps it from v2 until they have ended.
 * Killed   such a mount bears the number of its sensor's process. Where that process is gone, the
 *          next sensor takes the mount over, and unmounts it at close.
 * Rights   2 may need root, 3 needs CAP_SYS_ADMIN, also at close.
 */
#ifndef CB_SENSOR_PLACE_H
#define CB_SENSOR_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/cleanup.h"

struct cb_err;
struct cb_place;

/* Is @wanted one that cb_place_open() knows? -EINVAL. */
int cb_place_check(const char *wanted, struct cb_err *err) cb_must_check;

/* @wanted: "auto", "v1", "v2" or "mount". @cpu: an online CPU to try on. The error says what was
 * tried. -EACCES: no right to count at all. */
int cb_place_open(int root_fd, const char *wanted, uint32_t cpu, struct cb_place **ret_place,
                  struct cb_err *err) cb_must_check;

/* The hierarchy's root directory, valid until close. */
int cb_place_dir_fd(const struct cb_place *place);
const char *cb_place_path(const struct cb_place *place);
bool cb_place_is_mounted_by_us(const struct cb_place *place);

/* One line on how it was chosen and what was done for it. */
const char *cb_place_how(const struct cb_place *place);

/* Undo the mount. Every counter must be closed before. -EBUSY: done, but containers still hold the
 * hierarchy; -EIO: it is still mounted. */
int cb_place_close(struct cb_place *place, struct cb_err *err) cb_must_check;

/* Which controller to write to cgroup.subtree_control of the v2 root @dir_fd ("+misc"), so that its
 * children can be counted: one that is there already changes nothing; else one that costs nothing
 * and changes no scheduling, or whatever there is. -ENOENT: it has none; an errno of reading. */
#define CB_PLACE_WORD_SIZE 64
int cb_place_pick_controller(int dir_fd, char ret_word[CB_PLACE_WORD_SIZE], bool *ret_new,
                             struct cb_err *err) cb_must_check;

/* Call @seen for every container with a process in it that is found in any other cgroup hierarchy:
 * those of them that the place does not show are not counted. */
void cb_place_each_container(int root_fd, const struct cb_place *place,
                             void (*seen)(void *context, const char *id, const char *path),
                             void *context);

#endif
