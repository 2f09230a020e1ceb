/* SPDX-License-Identifier: Apache-2.0 */
/*
 * owner.h - which process a test's container belongs to, and whether that one is still there.
 *
 * The container carries it as a label, "BOOT_ID PID_NAMESPACE PID START": the pid namespace's inode
 * because a tester in a container counts its pids from 1, the start time (field 22 of
 * /proc/PID/stat, clock ticks since boot) because pids come again.
 */
#ifndef CB_TESTER_OWNER_H
#define CB_TESTER_OWNER_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/clock.h"

struct cb_err;

#define CB_OWNER_TEXT 128

struct cb_owner {
    char boot_id[CB_BOOT_ID_SIZE];
    uint64_t pid_namespace;
    uint64_t pid;
    uint64_t start_ticks;
};

/* This process. @root_fd stands for "/". Errors: any errno of reading below /proc, -EBADMSG. */
int cb_owner_self(int root_fd, struct cb_owner *ret_owner, struct cb_err *err) cb_must_check;

void cb_owner_format(const struct cb_owner *owner, char ret_text[CB_OWNER_TEXT]);
int cb_owner_parse(const char *text, struct cb_owner *ret_owner) cb_must_check; /* -EINVAL */

/*
 * True when the container of @owner can be removed, seen from @self: its process is gone. Of
 * another boot: only when it does not run (@running), as this could be another machine's; of
 * another pid namespace: never, as nobody here can tell.
 */
bool cb_owner_is_dead(int root_fd, const struct cb_owner *self, const struct cb_owner *owner,
                      bool running);

#endif
