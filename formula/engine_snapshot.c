/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_snapshot.c - what the models have learnt, as bytes and back.
 *
 * One function walks the state in both directions, so that what is written is what is read:
 * magic, version, model kind, columns, models; little-endian, doubles bit by bit. Of an expert's
 * arrays only the columns it has seen are there. Everything read is checked before the engine
 * changes.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formula/engine_private.h"
#include "lib/err.h"

#define MAGIC UINT32_C(0x6d776263) /* "cbwm" */
#define SNAPSHOT_VERSION 5

struct walk {
    uint8_t *out; /* writing; NULL: only measuring */
    const uint8_t *in;
    size_t size, at; /* of `in`; bytes so far */
    bool reading;
    const char *bad;
};

static void fail(struct walk *walk, const char *field)
{
    if (!walk->bad)
        walk->bad = field;
}

static void walk_bytes(struct walk *walk, uint8_t *bytes, size_t n, const char *field)
{
    if (walk->reading) {
        if (walk->bad || walk->size - walk->at < n) {
            fail(walk, field);
            memset(bytes, 0, n);
            return;
        }
        memcpy(bytes, walk->in + walk->at, n);
    } else if (walk->out) {
        memcpy(walk->out + walk->at, bytes, n);
    }
    walk->at += n;
}

static void walk_uint(struct walk *walk, uint64_t *value, size_t n, const char *field)
{
    uint8_t bytes[8] = {0};

    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(*value >> (8 * i));
    walk_bytes(walk, bytes, n, field);
    *value = 0;
    for (size_t i = 0; i < n; i++)
        *value |= (uint64_t)bytes[i] << (8 * i);
}

static void walk_double(struct walk *walk, double *value, double least, const char *field)
{
    uint64_t bits;

    memcpy(&bits, value, sizeof(bits));
    walk_uint(walk, &bits, sizeof(bits), field);
    memcpy(value, &bits, sizeof(bits));
    if (walk->reading && (!isfinite(*value) || *value < least)) {
        fail(walk, field);
        *value = 0;
    }
}

#define ANY (-INFINITY)

static void walk_column(struct walk *walk, struct cb_column *column)
{
    uint64_t rank = column->rank, memory = column->memory, weak = column->weak,
             alive = column->alive;

    walk_bytes(walk, (uint8_t *)column->name, sizeof(column->name), "column name");
    walk_uint(walk, &rank, 1, "column rank");
    walk_uint(walk, &memory, 1, "column memory");
    walk_uint(walk, &weak, 1, "column weak");
    walk_uint(walk, &alive, 1, "column alive");
    column->rank = (uint8_t)rank;
    column->memory = memory != 0;
    column->weak = weak != 0;
    column->alive = alive != 0;
    if (walk->reading && (memchr(column->name, '\0', sizeof(column->name)) == NULL || rank > 3))
        fail(walk, "column");
}

/* What an expert never saw is 0 and not written: roots in the one that splits, events times the
 * frequency where it is not known. */
static bool is_known(const struct cb_cbwatts_expert *expert, size_t at)
{
    const double values[] = {expert->mean[at], expert->scatter_w[at], expert->weight[at],
                             expert->scatter[at * CB_CBWATTS_COLS + at]};

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        if (values[i] != 0 || signbit(values[i]))
            return true;
    }
    return false;
}

/* A bit for each of the @n columns; those that are known, in @known. Returns how many. */
static size_t walk_known(struct walk *walk, const struct cb_cbwatts_expert *expert,
                         const size_t *columns, size_t n, size_t *known)
{
    size_t n_known = 0;

    for (size_t i = 0; i < n; i += 8) {
        uint64_t bits = 0;

        for (size_t k = i; k < n && k < i + 8; k++)
            bits |= (uint64_t)is_known(expert, columns[k]) << (k - i);
        walk_uint(walk, &bits, 1, "expert columns");
        for (size_t k = i; k < n && k < i + 8; k++) {
            if (bits >> (k - i) & 1)
                known[n_known++] = columns[k];
        }
    }
    return n_known;
}

static void walk_expert(struct walk *walk, struct cb_cbwatts_expert *expert, const size_t *columns,
                        size_t n_columns)
{
    size_t used[CB_CBWATTS_COLS], n;

    walk_double(walk, &expert->n, 0, "expert n");
    walk_double(walk, &expert->mean_w, 0, "expert mean_w");
    walk_double(walk, &expert->scatter_ww, 0, "expert scatter_ww");
    walk_double(walk, &expert->idle_w, 0, "expert idle_w");
    walk_double(walk, &expert->error_w, 0, "expert error_w");
    walk_double(walk, &expert->noise_ww, 0, "expert noise_ww");
    n = walk_known(walk, expert, columns, n_columns, used);
    for (size_t i = 0; i < n; i++) {
        walk_double(walk, &expert->mean[used[i]], 0, "expert mean");
        walk_double(walk, &expert->scatter_w[used[i]], ANY, "expert scatter_w");
        walk_double(walk, &expert->weight[used[i]], 0, "expert weight");
        for (size_t j = 0; j <= i; j++)
            walk_double(walk, &expert->scatter[used[i] * CB_CBWATTS_COLS + used[j]],
                        i == j ? 0 : ANY, "expert scatter");
    }
}

static void walk_cbwatts(struct walk *walk, struct cb_cbwatts *model, size_t n_columns)
{
    uint64_t clocks = model->clocks, outliers = model->outliers;
    size_t columns[CB_CBWATTS_COLS], n = 0;

    for (size_t kind = 0; kind < CB_CBWATTS_COLS / CB_MODEL_EVENTS; kind++) {
        for (size_t i = 0; i < n_columns; i++)
            columns[n++] = kind * CB_MODEL_EVENTS + i;
    }
    walk_uint(walk, &model->ticks, 8, "ticks");
    walk_uint(walk, &clocks, 4, "clocks");
    walk_uint(walk, &outliers, 4, "outliers");
    model->clocks = (uint32_t)clocks;
    model->outliers = (uint32_t)outliers;
    walk_double(walk, &model->usual_seconds, 0, "usual_seconds");
    for (size_t i = 0; i < n_columns; i++)
        walk_double(walk, &model->last_rates[i], 0, "last_rates");
    walk_double(walk, &model->least_w, 0, "least_w");
    walk_double(walk, &model->most_w, 0, "most_w");
    walk_double(walk, &model->most_activity, 0, "most_activity");
    walk_double(walk, &model->anchor_activity, 0, "anchor_activity");
    walk_double(walk, &model->anchor_busy, -1, "anchor_busy");
    walk_double(walk, &model->anchor_w, 0, "anchor_w");
    walk_double(walk, &model->anchor_ticks, 0, "anchor_ticks");
    walk_double(walk, &model->idle_prior_w, 0, "idle_prior_w");
    walk_double(walk, &model->idle_prior_sd_w, 0, "idle_prior_sd_w");
    for (size_t k = 0; k < CB_CBWATTS_EXPERTS; k++)
        walk_expert(walk, &model->experts[k], columns, n);
}

static void walk_cputime(struct walk *walk, struct cb_cputime *model)
{
    walk_double(walk, &model->n, 0, "n");
    walk_double(walk, &model->mean_w, 0, "mean_w");
    walk_double(walk, &model->mean_x, 0, "mean_x");
    walk_double(walk, &model->scatter_xx, 0, "scatter_xx");
    walk_double(walk, &model->scatter_xw, ANY, "scatter_xw");
    walk_double(walk, &model->least_w, 0, "least_w");
    walk_double(walk, &model->residual_ww, 0, "residual_ww");
    walk_double(walk, &model->error_n, 0, "error_n");
}

static void walk_model(struct walk *walk, struct cb_engine_model *model, enum cb_model_kind kind,
                       size_t n_columns)
{
    walk_double(walk, &model->frequency, 0, "frequency");
    if (kind == CB_MODEL_CPUTIME) {
        for (size_t w = 0; w < CB_WEIGHTS; w++)
            walk_cputime(walk, &model->cputime[w]);
    } else {
        walk_cbwatts(walk, &model->cbwatts, n_columns);
    }
}

/* Which model an entry is for: read before there is one to fill. */
static void walk_key(struct walk *walk, uint16_t *socket, uint8_t *domain)
{
    uint64_t s = *socket, d = *domain;

    walk_uint(walk, &s, 2, "socket");
    walk_uint(walk, &d, 1, "domain");
    *socket = (uint16_t)s;
    *domain = (uint8_t)d;
    if (walk->reading && (s >= CB_FRAME_MAX_SOCKETS || d >= CB_DOMAIN_COUNT))
        fail(walk, "domain");
}

static void walk_head(struct walk *walk, uint64_t *magic, uint64_t *version, uint64_t *kind)
{
    walk_uint(walk, magic, 4, "magic");
    walk_uint(walk, version, 1, "version");
    walk_uint(walk, kind, 1, "model kind");
}

static void walk_columns(struct walk *walk, struct cb_column_table *columns)
{
    uint64_t n = columns->n;

    walk_uint(walk, &n, 1, "columns");
    if (n > CB_MODEL_EVENTS) {
        fail(walk, "columns");
        n = 0;
    }
    columns->n = n;
    for (size_t c = 0; c < n; c++)
        walk_column(walk, &columns->at[c]);
}

static void write_all(struct walk *walk, struct cb_engine *engine)
{
    uint64_t magic = MAGIC, version = SNAPSHOT_VERSION, kind = engine->kind;
    uint64_t n_models = engine->n_models;

    walk_head(walk, &magic, &version, &kind);
    walk_columns(walk, &engine->columns);
    walk_uint(walk, &n_models, 4, "models");
    for (size_t i = 0; i < engine->n_models; i++) {
        struct cb_engine_model *model = engine->models[i];

        walk_key(walk, &model->socket, &model->domain);
        walk_model(walk, model, engine->kind, engine->columns.n);
    }
}

int cb_engine_save(const struct cb_engine *engine, uint8_t **ret_bytes, size_t *ret_size,
                   struct cb_err *err)
{
    /* the walk writes back what it read when it writes: the engine itself must not change */
    struct cb_engine *writable = (struct cb_engine *)(uintptr_t)engine;
    struct walk walk = {0};

    write_all(&walk, writable);
    walk.out = calloc(1, walk.at);
    if (!walk.out)
        return cb_err_set(err, ENOMEM, "out of memory for a snapshot of %zu bytes", walk.at);
    walk.at = 0;
    write_all(&walk, writable);
    *ret_bytes = walk.out;
    *ret_size = walk.at;
    return 0;
}

static int read_models(struct walk *walk, struct cb_engine *engine, struct cb_err *err)
{
    uint64_t n = 0;

    walk_columns(walk, &engine->columns);
    walk_uint(walk, &n, 4, "models");
    for (uint64_t i = 0; i < n && !walk->bad; i++) {
        struct cb_engine_model *model = NULL;
        uint16_t socket = 0;
        uint8_t domain = 0;
        int r;

        walk_key(walk, &socket, &domain);
        if (walk->bad)
            break;
        for (size_t k = 0; k < engine->n_models; k++) {
            if (engine->models[k]->socket == socket && engine->models[k]->domain == domain)
                fail(walk, "domain given twice");
        }
        r = cb_engine_add_model(engine, socket, domain, &model, err);
        if (r < 0)
            return r;
        walk_model(walk, model, engine->kind, engine->columns.n);
    }
    if (!walk->bad && walk->at != walk->size)
        fail(walk, "end");
    if (walk->bad)
        return cb_err_set(err, EBADMSG, "model snapshot: bad or truncated field '%s'", walk->bad);
    return 0;
}

static void swap_state(struct cb_engine *a, struct cb_engine *b)
{
    struct cb_column_table columns = a->columns;
    struct cb_engine_model **models = a->models;
    size_t n = a->n_models;

    a->columns = b->columns;
    a->models = b->models;
    a->n_models = b->n_models;
    b->columns = columns;
    b->models = models;
    b->n_models = n;
}

int cb_engine_restore(struct cb_engine *engine, const uint8_t *bytes, size_t size,
                      struct cb_err *err)
{
    struct walk walk = {.in = bytes, .size = size, .reading = true};
    struct cb_engine_options options = {.model = engine->kind};
    struct cb_engine *fresh = NULL;
    uint64_t magic = 0, version = 0, kind = 0;
    int r;

    walk_head(&walk, &magic, &version, &kind);
    if (walk.bad || magic != MAGIC)
        return cb_err_set(err, EBADMSG, "this is no model snapshot");
    if (version != SNAPSHOT_VERSION || kind != (uint64_t)engine->kind)
        return cb_err_set(err, EPROTONOSUPPORT,
                          "model snapshot: version %u of model %u, this engine has version %u of "
                          "model %u",
                          (unsigned)version, (unsigned)kind, SNAPSHOT_VERSION,
                          (unsigned)engine->kind);
    r = cb_engine_new(&options, &fresh, err);
    if (r < 0)
        return r;
    r = read_models(&walk, fresh, err);
    if (r == 0)
        swap_state(engine, fresh);
    fresh = cb_engine_free(fresh);
    return r;
}
