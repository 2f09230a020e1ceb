/* SPDX-License-Identifier: Apache-2.0 */
/*
 * known.h - the sensors that are let in: the file known_sensors in the state directory.
 *
 * Form      One "NAME KEY" a line, KEY the public key (Z85); '#' begins a comment line. Written to
 *           a temporary name and renamed, so a reader sees the old list or the new one.
 * Changes   The reading side looks at the file's time and inode whenever it is asked, so that a
 *           running server follows `cbformula keys add|revoke` at once.
 * Threads   A reader belongs to one thread. Writers of several processes exclude each other.
 */
#ifndef CB_FORMULA_KNOWN_H
#define CB_FORMULA_KNOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/frame.h"
#include "lib/keys.h"
#include "lib/log.h"

struct cb_err;
struct cb_known;

#define CB_KNOWN_MAX 100000

struct cb_known_entry {
    char name[CB_NAME_SIZE];
    char key[CB_KEY_SIZE];
};

/* A missing file is an empty list. @dir_fd is borrowed for the life of the object. -EINVAL names
 * the line that is wrong. */
int cb_known_open(int dir_fd, struct cb_known **ret_known, struct cb_err *err) cb_must_check;
struct cb_known *cb_known_close(struct cb_known *known);

/* Read the file again if it changed. After a failure the old list holds. */
int cb_known_refresh(struct cb_known *known, struct cb_err *err) cb_must_check;

/* The limit of what is logged about this key, which is not on the list or not under the name that it
 * says ("": about the list itself). Of many keys at once the later ones share one: log at most once an
 * interval with each. */
struct cb_log_limit *cb_known_stranger(struct cb_known *known, const char *key, uint64_t now_ns);

size_t cb_known_count(const struct cb_known *known);
const struct cb_known_entry *cb_known_at(const struct cb_known *known, size_t i);
const struct cb_known_entry *cb_known_by_key(const struct cb_known *known, const char *key);
const struct cb_known_entry *cb_known_by_name(const struct cb_known *known, const char *name);

/* -EINVAL: not a name (1 to 255 printable characters without blanks, no '#' in front);
 * -EEXIST: the name has another key, or the key another name. The same pair again: 0. */
int cb_known_add(int dir_fd, const char *name, const char *key, struct cb_err *err) cb_must_check;
/* -ENOENT: no such name. */
int cb_known_revoke(int dir_fd, const char *name, struct cb_err *err) cb_must_check;

bool cb_known_is_name(const char *name);

#endif
