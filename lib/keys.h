/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys.h - CURVE key pairs in files (Curve25519, in ZeroMQ's Z85 text form of 40 characters).
 *
 * A secret file is made with mode 0600, written to a temporary name, fsync'ed and renamed, so that
 * a crash leaves either no key or a whole one. A secret file that others may read is refused.
 */
#ifndef CB_LIB_KEYS_H
#define CB_LIB_KEYS_H

#include <stdbool.h>

#include "lib/cleanup.h"

struct cb_err;

#define CB_KEY_SIZE 41 /* 40 Z85 characters and the NUL */

struct cb_keys {
    char public_key[CB_KEY_SIZE];
    char secret_key[CB_KEY_SIZE];
};

/* Read the pair in @dir_fd, or make it when there is none (*@ret_made). The public half is derived
 * from the secret one; a missing public file is written again.
 * Errors: -EINVAL not a key, -EACCES readable by others, any errno of the file calls (-EROFS ...).
 */
int cb_keys_open(int dir_fd, const char *secret_name, const char *public_name,
                 struct cb_keys *ret_keys, bool *ret_made, struct cb_err *err) cb_must_check;

/* A public key given as 40 characters of Z85 or as the path of a file that holds one. */
int cb_keys_public(const char *key_or_path, char ret_key[CB_KEY_SIZE],
                   struct cb_err *err) cb_must_check;

bool cb_keys_is_z85(const char *text);

#endif
