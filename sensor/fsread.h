/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fsread.h - read small text files of /proc and /sys below a directory that stands for "/".
 *
 * Paths    relative ("sys/devices/..."), so that a recorded tree can stand in for the machine; with
 *          AT_FDCWD what the user gave.
 * Errors   any errno of openat(2)/read(2), with "/path" (the user's: as it is) in the text; -EFBIG: the file is longer
 *          than the caller allows; -EINVAL/-ERANGE: not a number.
 */
#ifndef CB_SENSOR_FSREAD_H
#define CB_SENSOR_FSREAD_H

#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"

struct cb_err;

/* An open descriptor (the caller's), or -errno. */
int cb_fsread_open(int dir_fd, const char *path, struct cb_err *err) cb_must_check;

/* The whole file into @buf, NUL-terminated. A file of @size bytes or more: -EFBIG. */
int cb_fsread_text(int dir_fd, const char *path, char *buf, size_t size,
                   struct cb_err *err) cb_must_check;

/* As cb_fsread_text(), without the line break at the end. */
int cb_fsread_line(int dir_fd, const char *path, char *buf, size_t size,
                   struct cb_err *err) cb_must_check;

/* The whole file, at most @limit bytes, allocated for the caller and NUL-terminated. */
int cb_fsread_all(int dir_fd, const char *path, size_t limit, char **ret_text,
                  struct cb_err *err) cb_must_check;

int cb_fsread_u64(int dir_fd, const char *path, uint64_t *ret_value,
                  struct cb_err *err) cb_must_check;

/* Read an open file anew from its start: one pread(2), NUL-terminated. The bytes read, or -errno.
 * What does not fit is left out. */
int cb_fsread_again(int fd, char *buf, size_t size) cb_must_check;

#endif
