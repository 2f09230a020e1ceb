/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hwpc_leaves.h - the cgroups that hwpc-sensor watches: every directory below the base path that
 * has no directory below it, the base path itself excluded.
 */
#ifndef CB_SENSOR_HWPC_LEAVES_H
#define CB_SENSOR_HWPC_LEAVES_H

#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"

struct cb_err;

struct cb_hwpc_leaf {
    char *path; /* below the base, with a leading '/' */
    uint64_t inode;
};

struct cb_hwpc_leaves {
    size_t n, room;
    struct cb_hwpc_leaf *at; /* by path, bytewise */
};

/* A directory that vanishes meanwhile is none. -ENOMEM, -ELOOP (nested too deeply) and what reading
 * the base gives; then @ret_leaves is empty. Release by cb_hwpc_leaves_fini(). */
int cb_hwpc_leaves_find(int base_fd, struct cb_hwpc_leaves *ret_leaves,
                        struct cb_err *err) cb_must_check;
void cb_hwpc_leaves_fini(struct cb_hwpc_leaves *leaves);

#endif
