/* SPDX-License-Identifier: Apache-2.0 */
/*
 * testlock.h - one test at a time on a machine: a lock file that every user may take.
 *
 * The lock is flock(2), so a holder that dies lets go. The file says who holds it, for people only:
 * "PID NAME". It is made with mode 0666 and never removed. Only a regular file with one link is
 * accepted, symbolic links are not followed and nothing but those few bytes is ever written, as the
 * folder is one where anybody may put a file.
 */
#ifndef CB_TESTER_TESTLOCK_H
#define CB_TESTER_TESTLOCK_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/cleanup.h"

struct cb_err;

/* "/run/lock/cbwatts-tester.lock", or in /tmp where that folder cannot be written. */
const char *cb_testlock_default_path(void);

/* Open the file. Errors: any errno of open(2), -EINVAL when it is not a plain file of one link.
 * Returns the descriptor: closing it lets go. */
int cb_testlock_open(const char *path, struct cb_err *err) cb_must_check;

/* Take the lock if it is free and write @name into the file. -EWOULDBLOCK: somebody has it. */
int cb_testlock_try(int fd, const char *name, struct cb_err *err) cb_must_check;

/* What the file says about its holder, made safe to print: "process 123, test 'x'". */
void cb_testlock_holder(int fd, char *ret_text, size_t size);

#endif
