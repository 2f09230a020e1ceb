/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rest.h - HTTP/1.1 requests to one server, over a Unix socket or TCP, that a signal can end.
 *
 * Source   libcurl's multi interface: any number of requests run side by side in one thread, moved
 *          on by cb_rest_step() or by cb_rest_call() for another request.
 * Address  "unix:///path/of/socket" or "http://host:port[/prefix]". Environment proxies are not
 *          used: both servers are the user's own.
 * Wake     while the wake descriptor is readable every wait ends with -EINTR.
 * Errors   -EINTR woken, -ETIMEDOUT, -ECONNREFUSED, -ENOENT, -EACCES nobody there or no rights,
 *          -ECONNRESET broken off in the middle, -EMSGSIZE a reply above CB_REST_BODY_MAX,
 *          -EINVAL a bad address, -ENOMEM, -EIO anything else that libcurl says. A status such as
 *          404 is no error here.
 */
#ifndef CB_TESTER_REST_H
#define CB_TESTER_REST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"

struct cb_err;
struct cb_rest;
struct cb_rest_transfer;

#define CB_REST_BODY_MAX (64u << 20)

struct cb_rest_request {
    const char *method;
    const char *path;    /* with its query, already escaped: "/v1/tests?x=1" */
    const char *body;    /* JSON text; NULL: none */
    uint64_t timeout_ns; /* cb_rest_call(): for all of it */
};

struct cb_rest_reply {
    long status;
    char *body; /* with a NUL at its end; never NULL */
    size_t size;
    char api_version[16]; /* the header "Api-Version", "" without one */
};

/* @wake_fd: -1 for none; it is borrowed and must outlive the object. */
int cb_rest_new(const char *address, int wake_fd, struct cb_rest **ret_rest,
                struct cb_err *err) cb_must_check;
struct cb_rest *cb_rest_free(struct cb_rest *rest); /* after its transfers; NULL is fine */

/* -1: waits can no longer be ended, for cleaning up. */
void cb_rest_set_wake(struct cb_rest *rest, int wake_fd);

/* One request and its whole reply. The caller clears *@ret_reply. */
int cb_rest_call(struct cb_rest *rest, const struct cb_rest_request *request,
                 struct cb_rest_reply *ret_reply, struct cb_err *err) cb_must_check;
void cb_rest_reply_clear(struct cb_rest_reply *reply);

/* Called with the body of a 2xx reply as it arrives. Negative: end the transfer with that error. */
typedef int cb_rest_sink(void *arg, const uint8_t *bytes, size_t size, struct cb_err *err);

/* A request that runs on: without @sink the reply is collected. @request is borrowed for the call.
 */
int cb_rest_start(struct cb_rest *rest, const struct cb_rest_request *request, cb_rest_sink *sink,
                  void *arg, struct cb_rest_transfer **ret_transfer,
                  struct cb_err *err) cb_must_check;
struct cb_rest_transfer *cb_rest_transfer_free(struct cb_rest_transfer *transfer);

/* Wait up to @timeout_ns for something to happen, then move everything on. Look at what is done
 * before the call: what has happened already is not waited for. */
int cb_rest_step(struct cb_rest *rest, uint64_t timeout_ns, struct cb_err *err) cb_must_check;

bool cb_rest_has_headers(const struct cb_rest_transfer *transfer); /* the status is known */
bool cb_rest_is_done(const struct cb_rest_transfer *transfer);

/* What became of a transfer that is done; the reply's body moves to the caller. */
int cb_rest_result(struct cb_rest_transfer *transfer, struct cb_rest_reply *ret_reply,
                   struct cb_err *err) cb_must_check;

/* @text as it may stand in a query: everything but letters, digits and "-._~" as %XX. free() it;
 * NULL: out of memory. */
char *cb_rest_escape(const char *text) cb_must_check;

#endif
