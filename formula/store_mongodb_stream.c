/* SPDX-License-Identifier: Apache-2.0 */
/* store_mongodb_stream.c - energy into MongoDB: indexes, bulk writes and what was refused. See
 * store_mongodb.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formula/store_mongodb.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/log.h"

#define DUPLICATE_KEY 11000 /* it is there already */
#define TTL_INDEX "cbwatts_timestamp"

struct power {
    struct cb_mongodb *mongodb;
    unsigned formats;
    uint64_t ttl_s;
    bool has_indexes;
};

static const struct {
    unsigned format;
    const char *collection;
    const char *of; /* the member to look for rows by, beside the time */
} kinds[] = {
    {CB_MONGODB_CBWATTS, "energy", "machine"},
    {CB_MONGODB_POWERAPI, "power", "target"},
};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static int power_open(const void *options, void **ret_state, struct cb_err *err)
{
    const struct cb_mongodb_config *config = options;
    struct power *power = calloc(1, sizeof(*power));
    int r;

    if (!power)
        return cb_err_set(err, ENOMEM, "out of memory");
    power->formats = config->formats;
    power->ttl_s = config->ttl_ns / CB_NS_PER_S;
    r = cb_mongodb_open(config->uri, &power->mongodb, err);
    if (r < 0) {
        free(power);
        return r;
    }
    *ret_state = power;
    return 0;
}

static void power_close(void *state)
{
    struct power *power = state;

    power->mongodb = cb_mongodb_close(power->mongodb);
    free(power);
}

static void power_pack(void *state, const struct cb_stream_bin *bin, struct cb_batch *batch)
{
    const struct power *power = state;

    cb_mongodb_pack(power->formats, bin, batch);
}

/* ---- indexes: made once a connection; a server that has its own mind about them is no failure
 * ---- */

static bool command(struct power *power, const bson_t *doc, bson_error_t *error)
{
    return mongoc_client_write_command_with_opts(power->mongodb->client, power->mongodb->database,
                                                 doc, NULL, NULL, error);
}

static bool create_index(struct power *power, const char *collection, const char *name,
                         const bson_t *key, uint64_t ttl_s, bson_error_t *error)
{
    bson_t doc = BSON_INITIALIZER;
    bson_t indexes;
    bson_t index;
    bool ok;

    (void)bson_append_utf8(&doc, "createIndexes", -1, collection, -1);
    (void)bson_append_array_begin(&doc, "indexes", -1, &indexes);
    (void)bson_append_document_begin(&indexes, "0", -1, &index);
    (void)bson_append_document(&index, "key", -1, key);
    (void)bson_append_utf8(&index, "name", -1, name, -1);
    if (ttl_s)
        (void)bson_append_int64(&index, "expireAfterSeconds", -1, (int64_t)ttl_s);
    (void)bson_append_document_end(&indexes, &index);
    (void)bson_append_array_end(&doc, &indexes);
    ok = command(power, &doc, error);
    bson_destroy(&doc);
    return ok;
}

/* An index that is there with another time, or without one, is changed. */
static bool change_ttl(struct power *power, const char *collection, bson_error_t *error)
{
    bson_t doc = BSON_INITIALIZER;
    bson_t index;
    bool ok;

    (void)bson_append_utf8(&doc, "collMod", -1, collection, -1);
    (void)bson_append_document_begin(&doc, "index", -1, &index);
    (void)bson_append_utf8(&index, "name", -1, TTL_INDEX, -1);
    (void)bson_append_int64(&index, "expireAfterSeconds", -1, (int64_t)power->ttl_s);
    (void)bson_append_document_end(&doc, &index);
    ok = command(power, &doc, error);
    bson_destroy(&doc);
    return ok;
}

/* Is the failure the server's own answer (it is there, and does not want to)? */
static bool is_answer(const bson_error_t *error)
{
    return error->domain == MONGOC_ERROR_SERVER || error->domain == MONGOC_ERROR_QUERY;
}

static bool make_time_index(struct power *power, const char *collection, bson_error_t *error)
{
    bson_t key = BSON_INITIALIZER;
    bool ok;

    (void)bson_append_int32(&key, "timestamp", -1, 1);
    ok = create_index(power, collection, TTL_INDEX, &key, power->ttl_s, error);
    if (!ok && power->ttl_s && is_answer(error))
        ok = change_ttl(power, collection, error);
    if (!ok && power->ttl_s && is_answer(error)) {
        cb_log_warn("mongodb: the server does not delete old documents of '%s' (--mongodb-ttl): "
                    "%.150s",
                    collection, error->message);
        ok = create_index(power, collection, TTL_INDEX, &key, 0, error);
    }
    bson_destroy(&key);
    return ok;
}

static int make_indexes(struct power *power, struct cb_err *err)
{
    bson_error_t error = {0};

    for (size_t i = 0; i < N_KINDS; i++) {
        bson_t key = BSON_INITIALIZER;
        bool ok;

        if (!(power->formats & kinds[i].format))
            continue;
        (void)bson_append_int32(&key, kinds[i].of, -1, 1);
        (void)bson_append_int32(&key, "timestamp", -1, 1);
        ok = create_index(power, kinds[i].collection, "cbwatts_of", &key, 0, &error);
        bson_destroy(&key);
        ok = (ok || is_answer(&error)) && make_time_index(power, kinds[i].collection, &error);
        if (!ok && !is_answer(&error))
            return cb_err_set(err, EIO, "cannot reach %s: %.200s", power->mongodb->database,
                              error.message);
        if (!ok)
            cb_log_warn("mongodb: '%s' has no index on its time: %.150s", kinds[i].collection,
                        error.message);
    }
    power->has_indexes = true;
    return 0;
}

/* ---- writing ---- */

/* The next document of @kind in a delivery; false: there is none. */
static bool next_of(const struct cb_stream_delivery *delivery, size_t *at, unsigned format,
                    const uint8_t **ret_bytes, size_t *ret_size)
{
    const uint8_t *bytes = delivery->bytes;

    while (*at + 5 <= delivery->size) {
        uint32_t size;
        unsigned tag = bytes[*at];

        memcpy(&size, bytes + *at + 1, sizeof(size));
        size = BSON_UINT32_FROM_LE(size);
        if (size < 5 || size > delivery->size - *at - 1)
            return false;
        *ret_bytes = bytes + *at + 1;
        *ret_size = size;
        *at += 1 + size;
        if (tag == format)
            return true;
    }
    return false;
}

static size_t fill(mongoc_bulk_operation_t *bulk, const struct cb_stream_delivery *delivery,
                   unsigned format)
{
    const uint8_t *bytes;
    size_t size;
    size_t n = 0;

    for (size_t at = 0; next_of(delivery, &at, format, &bytes, &size);) {
        bson_t doc;

        if (!bson_init_static(&doc, bytes, size))
            continue;
        (void)mongoc_bulk_operation_insert_with_opts(bulk, &doc, NULL, NULL);
        n++;
    }
    return n;
}

static int set_aside(const struct cb_stream_delivery *delivery, unsigned format, size_t index,
                     const char *reason, struct cb_stream_answer *answer, struct cb_err *err)
{
    const uint8_t *bytes = NULL;
    size_t size = 0;
    size_t at = 0;

    for (size_t i = 0; i <= index; i++)
        if (!next_of(delivery, &at, format, &bytes, &size))
            return 0;
    return cb_stream_set_aside(answer, bytes, size, 1, reason, err);
}

/* What each document was refused for: being there already is what a repetition meets. @reply has
 * an array writeErrors of {index, code, errmsg}. Returns how many other errors there were. */
static int read_errors(const bson_t *reply, const struct cb_stream_delivery *delivery,
                       unsigned format, struct cb_stream_answer *answer, size_t *ret_duplicates,
                       struct cb_err *err)
{
    bson_iter_t errors;
    bson_iter_t one;
    int refused = 0;

    *ret_duplicates = 0;
    if (!bson_iter_init_find(&errors, reply, "writeErrors") || !bson_iter_recurse(&errors, &errors))
        return 0;
    while (bson_iter_next(&errors)) {
        int64_t index = 0;
        int64_t code = 0;
        const char *reason = "refused";
        int r;

        if (!bson_iter_recurse(&errors, &one))
            continue;
        while (bson_iter_next(&one)) {
            if (strcmp(bson_iter_key(&one), "index") == 0)
                index = bson_iter_as_int64(&one);
            else if (strcmp(bson_iter_key(&one), "code") == 0)
                code = bson_iter_as_int64(&one);
            else if (strcmp(bson_iter_key(&one), "errmsg") == 0 && BSON_ITER_HOLDS_UTF8(&one))
                reason = bson_iter_utf8(&one, NULL);
        }
        if (code == DUPLICATE_KEY) {
            ++*ret_duplicates;
            continue;
        }
        refused++;
        r = index < 0 ? 0 : set_aside(delivery, format, (size_t)index, reason, answer, err);
        if (r < 0)
            return r;
    }
    return refused;
}

/* A reply that tells of writing errors only comes from a server that has looked at every document
 * (the bulk is unordered); with any other failure everything is sent again. */
static bool is_of_documents(const bson_t *reply, const bson_error_t *error)
{
    bson_iter_t iter;

    if (bson_iter_init_find(&iter, reply, "writeConcernErrors") && BSON_ITER_HOLDS_ARRAY(&iter)) {
        bson_iter_t inner;

        if (bson_iter_recurse(&iter, &inner) && bson_iter_next(&inner))
            return false;
    }
    return error->domain == MONGOC_ERROR_COMMAND || error->domain == MONGOC_ERROR_SERVER ||
           error->domain == MONGOC_ERROR_WRITE_CONCERN;
}

static int write_kind(struct power *power, size_t kind, const struct cb_stream_delivery *delivery,
                      struct cb_stream_answer *answer, struct cb_err *err)
{
    mongoc_collection_t *collection = mongoc_client_get_collection(
        power->mongodb->client, power->mongodb->database, kinds[kind].collection);
    bson_t options = BSON_INITIALIZER;
    bson_t reply = BSON_INITIALIZER;
    bson_error_t error = {0};
    mongoc_bulk_operation_t *bulk;
    size_t duplicates = 0;
    int r = 0;

    (void)bson_append_bool(&options, "ordered", -1, false);
    bulk = mongoc_collection_create_bulk_operation_with_opts(collection, &options);
    if (fill(bulk, delivery, kinds[kind].format) > 0) {
        bson_destroy(&reply); /* execute makes it anew, whatever comes back */
        if (!mongoc_bulk_operation_execute(bulk, &reply, &error)) {
            int refused =
                read_errors(&reply, delivery, kinds[kind].format, answer, &duplicates, err);

            if (refused < 0)
                r = refused;
            else if (refused + duplicates == 0 || !is_of_documents(&reply, &error))
                r = cb_err_set(err, EIO, "cannot write to %s.%s: %.200s", power->mongodb->database,
                               kinds[kind].collection, error.message);
        }
    }
    mongoc_bulk_operation_destroy(bulk);
    bson_destroy(&reply);
    bson_destroy(&options);
    mongoc_collection_destroy(collection);
    return r;
}

static int power_send(void *state, const struct cb_stream_delivery *delivery,
                      struct cb_stream_answer *answer, struct cb_err *err)
{
    struct power *power = state;
    int r = power->has_indexes ? 0 : make_indexes(power, err);

    for (size_t i = 0; i < N_KINDS && r == 0; i++)
        r = write_kind(power, i, delivery, answer, err);
    if (r < 0)
        power->has_indexes = false; /* it may come back as an empty server */
    return r;
}

const struct cb_stream_ops cb_stream_mongodb = {
    .name = "mongodb",
    .open = power_open,
    .pack = power_pack,
    .send = power_send,
    .close = power_close,
};
