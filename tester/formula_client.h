/* SPDX-License-Identifier: Apache-2.0 */
/*
 * formula_client.h - tell cbformula of a test and ask it for the recap.
 *
 * Source   docs/design.md, "The HTTP API of cbformula".
 * Errors   those of rest.h, and by the status: -ENOENT 404, -EINVAL 400, -EBUSY 409, -EAGAIN 503,
 *          -EPROTO any other, with the formula's own message as text; -EBADMSG an answer that is
 * not what the API says. cb_formula_client_is_away() picks those that may pass.
 */
#ifndef CB_TESTER_FORMULA_CLIENT_H
#define CB_TESTER_FORMULA_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"

struct cb_err;
struct cb_formula_client; /* opaque */

#define CB_FORMULA_CLIENT_TEST_SIZE 65

struct cb_formula_client_test {
    const char *name, *image, *boot_id;
    size_t n_args;
    char *const *args;
};

struct cb_formula_client_end {
    const char *container_id;
    uint64_t begin_ns, end_ns; /* BOOTTIME */
    bool has_warmup, has_execution;
    uint64_t warmup_ns, execution_ns;
    int exit_code;
};

/* Asks for a sign of life; the text of an error is a whole line with the remedy. */
int cb_formula_client_open(const char *url, int wake_fd, struct cb_formula_client **ret_client,
                           struct cb_err *err) cb_must_check;
struct cb_formula_client *cb_formula_client_close(struct cb_formula_client *client);
void cb_formula_client_set_wake(struct cb_formula_client *client, int wake_fd);

/* No call waits past this moment of BOOTTIME; each has a short while all the same. 0: none. */
void cb_formula_client_set_deadline(struct cb_formula_client *client, uint64_t until_ns);

/* -ENOENT: no sensor reports with this boot id. */
int cb_formula_client_begin(struct cb_formula_client *client,
                            const struct cb_formula_client_test *test,
                            char ret_id[CB_FORMULA_CLIENT_TEST_SIZE],
                            struct cb_err *err) cb_must_check;
int cb_formula_client_end(struct cb_formula_client *client, const char *id,
                          const struct cb_formula_client_end *end,
                          struct cb_err *err) cb_must_check;
/* The test did not take place. */
int cb_formula_client_give_up(struct cb_formula_client *client, const char *id,
                              struct cb_err *err) cb_must_check;

/*
 * Ask once, letting the formula wait up to @wait_s seconds. 0: *@ret_json is the recap, free() it;
 * -EINPROGRESS: the frame that covers the end is not there yet, *@ret_missing_ns is what is not
 * covered.
 */
int cb_formula_client_recap(struct cb_formula_client *client, const char *id, const char *idle,
                            unsigned wait_s, char **ret_json, uint64_t *ret_missing_ns,
                            struct cb_err *err) cb_must_check;

/* True when @r means that the formula was not there to answer, so that asking again may help. */
bool cb_formula_client_is_away(int r);

#endif
