/* SPDX-License-Identifier: Apache-2.0 */
/* http_usage.c - what containers use besides energy. See http_private.h. */
#include <errno.h>
#include <stdlib.h>

#include "formula/http_private.h"
#include "formula/power.h"
#include "formula/usage.h"
#include "lib/clock.h"
#include "lib/err.h"

#define LAST_DEFAULT_S 60
#define LAST_MAX_S 86400
#define ROWS_MAX 200000 /* containers' rows of one answer */

struct list {
    struct cb_names names;
    struct cb_usage usage;
    const char *container; /* NULL: all */
    json_t *ticks;
    size_t rows;
};

static json_t *row_to_json(const struct cb_usage *usage, size_t t, const char *names,
                           const struct cb_store_target *target)
{
    json_t *row =
        json_pack("{s:s, s:s}", "container_id", target->container_id, "name", target->name);
    char name[CB_USAGE_NAMES_SIZE];

    for (size_t c = 0; c < usage->n_columns; c++)
        if (cb_usage_at(usage, c, t) != CB_STAT_ABSENT &&
            cb_usage_name(names, c, name, sizeof(name)))
            (void)json_object_set_new(row, name,
                                      json_integer((json_int_t)cb_usage_at(usage, c, t)));
    return row;
}

static int add_rows(struct list *list, const struct cb_store_usage *from, json_t *rows,
                    struct cb_err *err)
{
    const struct cb_usage *usage = &list->usage;
    int r = 0;

    for (size_t t = 0; t < usage->n_targets && r == 0; t++) {
        const struct cb_store_target *target;

        if (usage->targets[t] == 0) /* the machine */
            continue;
        r = cb_names_get(&list->names, from->start, usage->targets[t], &target, err);
        if (r < 0 || (list->container && !cb_names_match(target, list->container)))
            continue;
        if (++list->rows > ROWS_MAX)
            r = cb_err_set(err, EINVAL,
                           "more than %d rows: ask for less time (last=) or for one container "
                           "(container=)",
                           ROWS_MAX);
        else if (json_array_append_new(rows, row_to_json(usage, t, from->names, target)) < 0)
            r = cb_err_set(err, ENOMEM, "out of memory");
    }
    return r;
}

static int add_tick(void *context, const struct cb_store_usage *from, struct cb_err *err)
{
    struct list *list = context;
    json_t *rows = json_array();
    json_t *tick;
    int r = cb_usage_unpack(from->bytes, from->size, &list->usage, err);

    if (r == 0)
        r = add_rows(list, from, rows, err);
    if (r == 0 && json_array_size(rows)) {
        tick = json_pack("{s:I, s:I, s:I, s:O}", "t0_ns", (json_int_t)from->t0_ns, "t1_ns",
                         (json_int_t)from->t1_ns, "wall_ns", (json_int_t)from->wall_ns, "targets",
                         rows);
        if (!tick || json_array_append_new(list->ticks, tick) < 0)
            r = cb_err_set(err, ENOMEM, "out of memory");
    }
    json_decref(rows);
    return r;
}

static int collect(struct cb_store *store, const struct request *request, struct list *list,
                   struct cb_store_machine *ret_machine, struct cb_err *err)
{
    uint64_t last_ns;
    int r = cb_http_arg_number(request, "last", LAST_DEFAULT_S, LAST_MAX_S, &last_ns, err);

    last_ns *= CB_NS_PER_S;
    if (r == 0)
        r = cb_http_find_machine(store, cb_http_arg(request, "machine"), ret_machine, err);
    if (r < 0)
        return r;
    list->names.store = store;
    return cb_store_usage_by_wall(
        store, ret_machine->id,
        ret_machine->last_wall_ns > last_ns ? ret_machine->last_wall_ns - last_ns : 0, INT64_MAX,
        add_tick, list, err);
}

int cb_http_usage(struct cb_http *http, const struct request *request, struct reply *ret_reply,
                  struct cb_err *err)
{
    struct list list = {.container = cb_http_arg(request, "container"), .ticks = json_array()};
    struct cb_store_machine machine;
    struct cb_store *store = NULL;
    int r = cb_http_take_store(http, &store, err);

    if (r < 0) {
        json_decref(list.ticks);
        return r;
    }
    r = collect(store, request, &list, &machine, err);
    cb_http_give_store(http, store);
    cb_names_clear(&list.names);
    cb_usage_clear(&list.usage);
    if (r < 0) {
        json_decref(list.ticks);
        return r;
    }
    return cb_http_reply_json(ret_reply, MHD_HTTP_OK,
                              json_pack("{s:s, s:o}", "machine", machine.name, "ticks", list.ticks),
                              err);
}
