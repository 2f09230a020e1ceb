/* SPDX-License-Identifier: Apache-2.0 */
/*
 * naming.h - what a test is called when nobody says, and what its container is called.
 *
 * Rule   the image's last path component, its `:tag` as `_tag`, without its digest:
 *        chakibmed/sleep -> sleep, x/container:tag -> container_tag, registry:5000/a/b:1 -> b_1,
 *        busybox@sha256:<hex> -> busybox, sha256:<hex> (an image id) -> sha256_<hex>.
 */
#ifndef CB_TESTER_NAMING_H
#define CB_TESTER_NAMING_H

#include "lib/cleanup.h"

struct cb_err;

#define CB_NAMING_TEST_SIZE 256     /* a test's name with its NUL */
#define CB_NAMING_CONTAINER_SIZE 72 /* a container's */

/* -EINVAL: @image is not the name of an image (empty, a character Docker does not allow). */
int cb_naming_test(const char *image, char ret_name[CB_NAMING_TEST_SIZE],
                   struct cb_err *err) cb_must_check;

/* -EINVAL unless @name can be a test's name: 1 to 255 bytes, no control characters. */
int cb_naming_check(const char *name, struct cb_err *err) cb_must_check;

/* "cbtest-<test>-<16 hex digits>": unique, and made of what Docker allows. Errors: of getrandom(2).
 */
int cb_naming_container(const char *test, char ret_name[CB_NAMING_CONTAINER_SIZE],
                        struct cb_err *err) cb_must_check;

#endif
