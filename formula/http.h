/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - the JSON API, /metrics and /healthz of cbformula (docs/http.md gives every request).
 *
 * Threads   One for each connection, at most CB_HTTP_CONNECTIONS; each request borrows a
 *           connection to the store from a small pool. A request that waits for a recap holds
 *           neither, and at most half of the connections may wait.
 * Limits    64 KiB of body, 32 MiB of answer.
 * Safety    No authentication: bound to loopback unless told otherwise. On loopback a request whose
 *           Host is a name other than localhost is refused (DNS rebinding), and a body must be
 *           application/json (so that a web page cannot post one unasked).
 */
#ifndef CB_FORMULA_HTTP_H
#define CB_FORMULA_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "formula/ingest.h"
#include "formula/notify.h"
#include "formula/sink.h"
#include "formula/streams.h"
#include "formula/totals.h"
#include "lib/cleanup.h"

struct cb_err;
struct cb_http;

#define CB_HTTP_CONNECTIONS 128
#define CB_HTTP_ANSWER_MAX (32u << 20)

/* Whose names /metrics uses for what both have. */
enum cb_metrics_names { CB_METRICS_CBWATTS = 1, CB_METRICS_KEPLER = 2 };

/* "cbwatts", "kepler" or "both". -EINVAL. */
int cb_metrics_names_parse(const char *text, unsigned *ret_names, struct cb_err *err) cb_must_check;

/* Bind and listen on "HOST:PORT" or "[V6]:PORT" (port 0: a free one). *@ret_loopback: only this
 * machine can reach it. *@ret_text becomes the address really bound.
 * Errors: -EINVAL not such a text, -EADDRINUSE, -EACCES, any errno of socket(2), bind(2). */
int cb_http_listen(const char *address, int *ret_fd, bool *ret_loopback, char ret_text[64],
                   struct cb_err *err) cb_must_check;

struct cb_http_options {
    int listen_fd; /* taken over, also on failure */
    bool loopback;
    const char *database;
    struct cb_notify *notify;
    struct cb_totals *totals;
    const struct cb_ingest_stats *stats;
    const char *const *sink_names;
    struct cb_sink *const *sinks;
    size_t n_sinks;
    const struct cb_streams *streams; /* NULL: none */
    unsigned metrics_names;           /* enum cb_metrics_names; 0: ours */
};

/* What @options points to is borrowed until stop. */
int cb_http_start(const struct cb_http_options *options, struct cb_http **ret_http,
                  struct cb_err *err) cb_must_check;
/* cb_notify_stop() must have been called, so that nobody waits. Returns NULL. */
struct cb_http *cb_http_stop(struct cb_http *http);

#endif
