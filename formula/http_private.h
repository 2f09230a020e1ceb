/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_private.h - what http.c and the files of handlers share.
 *
 * To add a request: a handler in http_*.c, its line in the table of routes in http.c, its line in
 * docs/http.md.
 */
#ifndef CB_FORMULA_HTTP_PRIVATE_H
#define CB_FORMULA_HTTP_PRIVATE_H

#include <jansson.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "formula/http.h"
#include "formula/recap.h"
#include "formula/store.h"

#define STORES_KEPT 8

struct cb_http {
    struct cb_http_options o;
    struct MHD_Daemon *daemon;
    pthread_mutex_t mutex; /* of the pool */
    size_t n_idle;
    struct cb_store *idle[STORES_KEPT];
    atomic_uint waiting;
    atomic_uint_fast64_t requests_total;
};

struct request {
    struct MHD_Connection *connection; /* NULL in a test of a handler */
    const char *id;                    /* the part of the path that stands for '*', or "" */
    const char *machine;               /* the second such part, or "" */
    const char *body;                  /* terminated */
    size_t body_size;
};

struct reply {
    unsigned status;
    char *text; /* malloc()ed */
    size_t size;
    const char *type;
};

/* 0 with a filled reply, or -errno with a text: it becomes an error's status (http_status()). */
typedef int handler(struct cb_http *http, const struct request *request, struct reply *ret_reply,
                    struct cb_err *err);

handler cb_http_health;
handler cb_http_machines;
handler cb_http_begin_test;
handler cb_http_end_test;
handler cb_http_give_up_test;
handler cb_http_test_recap;
handler cb_http_recaps;
handler cb_http_power;
handler cb_http_usage;
handler cb_http_post_recap;
handler cb_http_metrics;

/* The bodies of a begin (*@ret_args: a JSON array, free() it) and of an end. -EINVAL names the
 * member. */
int cb_http_parse_begin(const char *body, size_t size, struct cb_store_test *ret_test,
                        char **ret_args, struct cb_err *err);
int cb_http_parse_end(const char *body, size_t size, struct cb_store_test *ret_test,
                      struct cb_err *err);

/* The arguments of a recap that is posted as powerapi-g5k's listener was told it; NULL: not given.
 */
struct recap_form {
    const char *machine;
    const char *name, *begin, *beginwarmup, *beginexecution, *end, *id;
};

/* Marks by wall time, in order; id, boot and BOOTTIME are left open. *@ret_machine: points into
 * @form. -EINVAL names the argument. */
struct recap_marks {
    uint64_t begin, warmup, execution, end; /* wall, ns */
    bool has_warmup, has_execution;
};
int cb_http_parse_recap(const struct recap_form *form, struct recap_marks *ret_marks,
                        struct cb_store_test *ret_test, struct cb_err *err);

/* A store for one request. Give it back whatever happened. */
int cb_http_take_store(struct cb_http *http, struct cb_store **ret_store, struct cb_err *err);
void cb_http_give_store(struct cb_http *http, struct cb_store *store);

/* The value of a query's argument, NULL when it is not there. */
const char *cb_http_arg(const struct request *request, const char *key);
/* A whole number of 0 to @max; @def when it is not there; -EINVAL. */
int cb_http_arg_number(const struct request *request, const char *key, uint64_t def, uint64_t max,
                       uint64_t *ret_value, struct cb_err *err);

/* idle=none|proportional|equal; none when it is not there. */
int cb_http_arg_idle(const struct request *request, enum cb_idle_policy *ret_policy,
                     struct cb_err *err);

/* A wall time (wall.h); @def when it is not there; -EINVAL. */
int cb_http_arg_time(const struct request *request, const char *key, uint64_t def,
                     uint64_t *ret_wall_ns, struct cb_err *err);

/* The machine of this name; NULL: the only one that has frames. -ENOENT, -EINVAL. */
int cb_http_find_machine(struct cb_store *store, const char *name,
                         struct cb_store_machine *ret_machine, struct cb_err *err);

/* Takes @json over (NULL: out of memory). */
int cb_http_reply_json(struct reply *ret_reply, unsigned status, json_t *json, struct cb_err *err);

#endif
