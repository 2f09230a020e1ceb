/* SPDX-License-Identifier: Apache-2.0 */
/* usage.c - see usage.h. */
#include "formula/usage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formula/varint.h"
#include "lib/err.h"
#include "lib/schema.h"

#define PACK_VERSION 1
#define HEAD_BYTES (1 + 2 * CB_VARINT_MAX)
#define OF_THE_RESULT "cpu_ns"

static int reserve(struct cb_usage *usage, size_t n_columns, size_t n_targets, struct cb_err *err)
{
    if (n_targets > usage->target_capacity) {
        uint32_t *targets = realloc(usage->targets, n_targets * sizeof(*targets));

        if (!targets)
            return cb_err_set(err, ENOMEM, "out of memory for %zu targets", n_targets);
        usage->targets = targets;
        usage->target_capacity = n_targets;
    }
    if (n_columns * n_targets > usage->capacity) {
        uint64_t *values = realloc(usage->values, n_columns * n_targets * sizeof(*values));

        if (!values)
            return cb_err_set(err, ENOMEM, "out of memory for %zu targets", n_targets);
        usage->values = values;
        usage->capacity = n_columns * n_targets;
    }
    usage->n_columns = n_columns;
    usage->n_targets = n_targets;
    return 0;
}

void cb_usage_clear(struct cb_usage *usage)
{
    free(usage->targets);
    free(usage->values);
    *usage = (struct cb_usage){0};
}

/* ---- of a frame ---- */

/* The columns of a frame that are kept. A name that lib/schema does not have is not: what a sensor
 * sends must not make the store grow. */
struct chosen {
    size_t n;
    size_t at[CB_FRAME_MAX_STATS];
};

static bool is_ours(const char *name)
{
    const struct cb_schema_metric *metric = cb_schema_find(name);

    return metric && metric->scope == CB_SCHEMA_CONTAINER && metric->kind != CB_SCHEMA_TEXT &&
           strcmp(name, OF_THE_RESULT) != 0;
}

static void choose(const struct cb_frame *frame, struct chosen *chosen)
{
    chosen->n = 0;
    for (size_t i = 0; i < frame->n_stats; i++)
        if (is_ours(frame->stat_names[i]))
            chosen->at[chosen->n++] = i;
}

static bool has_value(const struct cb_frame *frame, const struct chosen *chosen, size_t row)
{
    for (size_t i = 0; i < chosen->n; i++)
        if (frame->stats[row * frame->n_stats + chosen->at[i]] != CB_STAT_ABSENT)
            return true;
    return false;
}

/* Names of lib/schema, each once: they fit. */
static void join_names(const struct cb_frame *frame, const struct chosen *chosen,
                       char ret_names[CB_USAGE_NAMES_SIZE])
{
    size_t used = 0;

    ret_names[0] = '\0';
    for (size_t i = 0; i < chosen->n; i++) {
        int n = snprintf(ret_names + used, CB_USAGE_NAMES_SIZE - used, "%s%s", i ? "," : "",
                         frame->stat_names[chosen->at[i]]);

        used += n > 0 ? (size_t)n : 0;
    }
}

static void take_row(const struct cb_frame *frame, const struct chosen *chosen, size_t row,
                     struct cb_usage *usage, size_t to)
{
    usage->targets[to] = row ? frame->targets[row - 1].id : 0;
    for (size_t i = 0; i < chosen->n; i++)
        cb_usage_at(usage, i, to) = frame->stats[row * frame->n_stats + chosen->at[i]];
}

int cb_usage_of_frame(const struct cb_frame *frame, struct cb_usage *usage,
                      char ret_names[CB_USAGE_NAMES_SIZE], struct cb_err *err)
{
    struct chosen chosen;
    size_t n = 0;
    int r;

    choose(frame, &chosen);
    for (size_t row = 0; row <= frame->n_targets; row++)
        n += has_value(frame, &chosen, row);
    r = reserve(usage, chosen.n, n, err);
    if (r < 0)
        return r;
    join_names(frame, &chosen, ret_names);
    n = 0;
    for (size_t row = 0; row <= frame->n_targets; row++)
        if (has_value(frame, &chosen, row))
            take_row(frame, &chosen, row, usage, n++);
    return 0;
}

/* ---- columns ---- */

bool cb_usage_is_counter(const char *name)
{
    const struct cb_schema_metric *metric = cb_schema_find(name);

    return metric && metric->kind == CB_SCHEMA_COUNTER;
}

bool cb_usage_name(const char *names, size_t i, char *ret_name, size_t size)
{
    for (; i > 0 && names; i--) {
        names = strchr(names, ',');
        names = names ? names + 1 : NULL;
    }
    if (!names || !names[0])
        return false;
    (void)snprintf(ret_name, size, "%.*s", (int)strcspn(names, ","), names);
    return true;
}

/* ---- adding ---- */

static size_t place_of(const struct cb_usage *usage, uint32_t target)
{
    size_t i = 0;

    while (i < usage->n_targets && usage->targets[i] != target)
        i++;
    return i;
}

/* One more target, with nothing known yet. */
static int append(struct cb_usage *usage, uint32_t target, struct cb_err *err)
{
    struct cb_usage wider = {0};
    int r = reserve(&wider, usage->n_columns, usage->n_targets + 1, err);

    if (r < 0) {
        cb_usage_clear(&wider);
        return r;
    }
    for (size_t t = 0; t < usage->n_targets; t++)
        wider.targets[t] = usage->targets[t];
    wider.targets[usage->n_targets] = target;
    for (size_t c = 0; c < usage->n_columns; c++) {
        for (size_t t = 0; t < usage->n_targets; t++)
            cb_usage_at(&wider, c, t) = cb_usage_at(usage, c, t);
        cb_usage_at(&wider, c, usage->n_targets) = CB_STAT_ABSENT;
    }
    cb_usage_clear(usage);
    *usage = wider;
    return 0;
}

static void add_value(uint64_t *to, uint64_t value, bool counter)
{
    if (value != CB_STAT_ABSENT)
        *to = counter && *to != CB_STAT_ABSENT ? *to + value : value;
}

int cb_usage_add(struct cb_usage *usage, const char *names, const struct cb_usage *later,
                 struct cb_err *err)
{
    char name[CB_USAGE_NAMES_SIZE];

    if (usage->n_columns != later->n_columns)
        return cb_err_set(err, EINVAL, "rows of other columns");
    for (size_t t = 0; t < later->n_targets; t++)
        if (place_of(usage, later->targets[t]) == usage->n_targets) {
            int r = append(usage, later->targets[t], err);

            if (r < 0)
                return r;
        }
    for (size_t c = 0; c < usage->n_columns; c++) {
        bool counter = cb_usage_name(names, c, name, sizeof(name)) && cb_usage_is_counter(name);

        for (size_t t = 0; t < later->n_targets; t++)
            add_value(&cb_usage_at(usage, c, place_of(usage, later->targets[t])),
                      cb_usage_at(later, c, t), counter);
    }
    return 0;
}

/* ---- the packed form ---- */

int cb_usage_pack(const struct cb_usage *usage, uint8_t **ret_bytes, size_t *ret_size,
                  struct cb_err *err)
{
    size_t n_values = usage->n_columns * usage->n_targets;
    size_t most = HEAD_BYTES + (usage->n_targets + n_values) * CB_VARINT_MAX;
    uint8_t *bytes = malloc(most);
    uint8_t *at = bytes;

    if (!bytes)
        return cb_err_set(err, ENOMEM, "out of memory for %zu values", n_values);
    *at++ = PACK_VERSION;
    at = cb_varint_put(at, usage->n_columns);
    at = cb_varint_put(at, usage->n_targets);
    for (size_t t = 0; t < usage->n_targets; t++)
        at = cb_varint_put(at, usage->targets[t]);
    for (size_t i = 0; i < n_values; i++)
        at = cb_varint_put(at, usage->values[i] + 1); /* CB_STAT_ABSENT + 1 == 0 */
    *ret_bytes = bytes;
    *ret_size = (size_t)(at - bytes);
    return 0;
}

static bool get_body(const uint8_t *at, const uint8_t *end, struct cb_usage *usage)
{
    uint64_t value;

    for (size_t t = 0; t < usage->n_targets; t++) {
        if (!cb_varint_get(&at, end, &value) || value > UINT32_MAX)
            return false;
        usage->targets[t] = (uint32_t)value;
    }
    for (size_t i = 0; i < usage->n_columns * usage->n_targets; i++) {
        if (!cb_varint_get(&at, end, &value))
            return false;
        usage->values[i] = value - 1;
    }
    return at == end;
}

int cb_usage_unpack(const uint8_t *bytes, size_t size, struct cb_usage *usage, struct cb_err *err)
{
    const uint8_t *at = bytes;
    const uint8_t *end = bytes + size;
    uint64_t n_columns = 0;
    uint64_t n_targets = 0;
    int r;

    if (size == 0 || *at++ != PACK_VERSION)
        return cb_err_set(err, EBADMSG, "packed usage: not of version %d", PACK_VERSION);
    /* A value has a byte at least: that bounds what a short input can allocate. */
    if (!cb_varint_get(&at, end, &n_columns) || !cb_varint_get(&at, end, &n_targets) ||
        n_columns > CB_FRAME_MAX_STATS || n_targets > CB_FRAME_MAX_TARGETS + 1 ||
        n_targets * (1 + n_columns) > (uint64_t)(end - at))
        return cb_err_set(err, EBADMSG, "packed usage: bad or truncated head");
    r = reserve(usage, n_columns, n_targets, err);
    if (r < 0)
        return r;
    if (!get_body(at, end, usage))
        return cb_err_set(err, EBADMSG, "packed usage: bad or truncated values");
    return 0;
}
