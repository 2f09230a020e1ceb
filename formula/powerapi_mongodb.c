/* SPDX-License-Identifier: Apache-2.0 */
/* powerapi_mongodb.c - see powerapi_mongodb.h. */
#include "formula/powerapi_mongodb.h"

#include <errno.h>
#include <mongoc/mongoc.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "formula/map.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/fnv.h"
#include "lib/log.h"

#define POLL_MS 1000
#define RETRY_MS 3000
#define SELECT_MS 5000
#define SOCKET_MS 60000
#define FULL_NS (60 * CB_NS_PER_S)
#define ACTIVE_S 120     /* a sensor silent for longer does not hold the window back */
#define MARGIN_S 5       /* ids of one second do not rise from process to process */
#define MAX_SEEN 2000000 /* ids of one generation */
#define LOG_EVERY_NS (60 * CB_NS_PER_S)

struct cb_powerapi_mongodb {
    struct cb_powerapi *powerapi;
    mongoc_client_t *client;
    mongoc_collection_t *collection;
    pthread_t thread;
    int stop_fd;
    atomic_bool stop;
    bool other_ids; /* some _id is no ObjectId: its order says nothing */
    uint64_t full_ns;
    struct cb_map seen, seen_before; /* hashes of _id: this generation's and the one before */
    struct cb_map newest; /* hash of a sensor to the second of its newest _id << 32 | when heard */
    struct cb_log_limit log;
};

static uint64_t hash(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    uint64_t h = CB_FNV_BEGIN;

    for (size_t i = 0; i < size; i++)
        h = cb_fnv_byte(h, at[i]);
    return h ^ h >> 32;
}

/* --- what to ask for --- */

struct filter {
    bson_t *clauses, *names;
    uint32_t n, n_names;
    bool ok;
};

/* {"sensor": NAME, "timestamp": {"$gt": TIME}}, TIME as a date or as a number */
static void add_clause(struct filter *filter, const char *sensor, int64_t last_ms, bool as_date)
{
    char key[16];
    bson_t clause, time;

    (void)snprintf(key, sizeof(key), "%u", filter->n++);
    filter->ok = filter->ok && bson_append_document_begin(filter->clauses, key, -1, &clause) &&
                 bson_append_utf8(&clause, "sensor", -1, sensor, -1) &&
                 bson_append_document_begin(&clause, "timestamp", -1, &time) &&
                 (as_date ? bson_append_date_time(&time, "$gt", -1, last_ms)
                          : bson_append_int64(&time, "$gt", -1, last_ms)) &&
                 bson_append_document_end(&clause, &time) &&
                 bson_append_document_end(filter->clauses, &clause);
}

static void add_sensor(void *context, const char *sensor, enum cb_powerapi_input input,
                       int64_t last_ms)
{
    struct filter *filter = context;
    char key[16];

    if (input != CB_POWERAPI_NONE && input != CB_POWERAPI_MONGODB)
        return;
    add_clause(filter, sensor, last_ms, true);
    add_clause(filter, sensor, last_ms, false);
    (void)snprintf(key, sizeof(key), "%u", filter->n_names++);
    filter->ok = filter->ok && bson_append_utf8(filter->names, key, -1, sensor, -1);
}

/* {"$or": [a clause or two for each sensor, {"sensor": {"$nin": [those]}}]} */
static bool make_full(struct cb_powerapi_mongodb *mongodb, bson_t *query)
{
    bson_t clauses = BSON_INITIALIZER, names = BSON_INITIALIZER;
    struct filter filter = {.clauses = &clauses, .names = &names, .ok = true};
    bson_t others, not_in;
    char key[16];

    cb_powerapi_walk(mongodb->powerapi, add_sensor, &filter);
    (void)snprintf(key, sizeof(key), "%u", filter.n);
    filter.ok = filter.ok && bson_append_document_begin(&clauses, key, -1, &others) &&
                bson_append_document_begin(&others, "sensor", -1, &not_in) &&
                bson_append_array(&not_in, "$nin", -1, &names) &&
                bson_append_document_end(&others, &not_in) &&
                bson_append_document_end(&clauses, &others) &&
                bson_append_array(query, "$or", -1, &clauses);
    bson_destroy(&clauses);
    bson_destroy(&names);
    return filter.ok;
}

/* The second to begin at: behind what every active sensor has said. 0: nothing is known. */
static uint32_t window_begin(const struct cb_powerapi_mongodb *mongodb)
{
    uint32_t now_s = (uint32_t)(cb_clock_boot_ns() / CB_NS_PER_S), begin = UINT32_MAX;

    for (size_t i = 0; i < mongodb->newest.capacity; i++) {
        uint64_t value = mongodb->newest.entries[i].value;

        if (mongodb->newest.entries[i].used && (uint32_t)value + ACTIVE_S >= now_s &&
            value >> 32 < begin)
            begin = (uint32_t)(value >> 32);
    }
    return begin == UINT32_MAX || begin < MARGIN_S ? 0 : begin - MARGIN_S;
}

/* {"_id": {"$gte": ObjectId(begin_s)}} */
static bool make_window(uint32_t begin_s, bson_t *query)
{
    uint8_t bytes[12] = {(uint8_t)(begin_s >> 24), (uint8_t)(begin_s >> 16),
                         (uint8_t)(begin_s >> 8), (uint8_t)begin_s};
    bson_oid_t id;
    bson_t from;

    bson_oid_init_from_data(&id, bytes);
    return bson_append_document_begin(query, "_id", -1, &from) &&
           bson_append_oid(&from, "$gte", -1, &id) && bson_append_document_end(query, &from);
}

/* --- documents --- */

/* By its _id; a document with another kind of _id by all it says. */
static uint64_t identity_of(struct cb_powerapi_mongodb *mongodb, const bson_t *document)
{
    bson_iter_t iter;

    if (bson_iter_init_find(&iter, document, "_id") && bson_iter_type(&iter) == BSON_TYPE_OID)
        return hash(bson_iter_oid(&iter)->bytes, 12);
    mongodb->other_ids = true;
    return hash(bson_get_data(document), document->len);
}

/* False: it was taken before. Where memory is short, the join finds what comes twice. */
static bool is_new(struct cb_powerapi_mongodb *mongodb, const bson_t *document)
{
    uint64_t key = identity_of(mongodb, document), ignored;
    bool known = cb_map_get(&mongodb->seen, key, &ignored);
    bool knew = !known && cb_map_get(&mongodb->seen_before, key, &ignored);

    if (!known && mongodb->seen.n < MAX_SEEN && cb_map_put(&mongodb->seen, key, 1) < 0)
        cb_log_limited(&mongodb->log, LOG_EVERY_NS, CB_LOG_WARN, "PowerAPI MongoDB: out of memory");
    return !known && !knew;
}

static void turn_seen(struct cb_powerapi_mongodb *mongodb)
{
    cb_map_clear(&mongodb->seen_before);
    mongodb->seen_before = mongodb->seen;
    mongodb->seen = (struct cb_map){0};
}

/* How far the ids of this sensor are: to begin the next window there. */
static void note_newest(struct cb_powerapi_mongodb *mongodb, const bson_t *document,
                        const char *sensor)
{
    uint64_t key = hash(sensor, strlen(sensor)), value = 0, second;
    bson_iter_t iter;

    if (!bson_iter_init_find(&iter, document, "_id") || bson_iter_type(&iter) != BSON_TYPE_OID)
        return;
    second = (uint64_t)bson_oid_get_time_t(bson_iter_oid(&iter)) & UINT32_MAX;
    if (cb_map_get(&mongodb->newest, key, &value) && value >> 32 > second)
        second = value >> 32;
    if (mongodb->newest.n > CB_STORE_MAX_MACHINES)
        cb_map_clear(&mongodb->newest);
    if (cb_map_put(&mongodb->newest, key,
                   second << 32 | (uint32_t)(cb_clock_boot_ns() / CB_NS_PER_S)) < 0)
        mongodb->other_ids = true; /* then no window is asked for */
}

static int take(struct cb_powerapi_mongodb *mongodb, const bson_t *document, struct cb_err *err)
{
    struct cb_hwpc_report *report = NULL;
    struct cb_err why = {0};
    size_t size, used;
    char *text;
    int r;

    if (!is_new(mongodb, document))
        return 0;
    text = bson_as_relaxed_extended_json(document, &size);
    r = text ? cb_hwpc_parse(text, size, &report, &used, &why)
             : cb_err_set(&why, EBADMSG, "a document cannot be read");
    bson_free(text);
    if (r == -EBADMSG) {
        cb_powerapi_bad(mongodb->powerapi, CB_POWERAPI_MONGODB, 1,
                        mongoc_collection_get_name(mongodb->collection), why.text);
        return 0;
    }
    if (r < 0)
        return cb_err_set(err, -r, "%s", why.text);
    note_newest(mongodb, document, report->sensor);
    return cb_powerapi_add(mongodb->powerapi, CB_POWERAPI_MONGODB, report, cb_clock_boot_ns(),
                           cb_clock_wall_ns(), err);
}

static int read_query(struct cb_powerapi_mongodb *mongodb, const bson_t *query, struct cb_err *err)
{
    bson_t options = BSON_INITIALIZER, sort;
    const bson_t *document;
    mongoc_cursor_t *cursor;
    bson_error_t error = {0};
    int r = 0;

    if (!bson_append_document_begin(&options, "sort", -1, &sort) ||
        !bson_append_int32(&sort, "timestamp", -1, 1) || !bson_append_int32(&sort, "_id", -1, 1) ||
        !bson_append_document_end(&options, &sort) ||
        !bson_append_bool(&options, "allowDiskUse", -1, true))
        r = cb_err_set(err, ENOMEM, "out of memory");
    cursor = mongoc_collection_find_with_opts(mongodb->collection, query, &options, NULL);
    while (r == 0 && !atomic_load(&mongodb->stop) && mongoc_cursor_next(cursor, &document))
        r = take(mongodb, document, err);
    if (r == 0 && mongoc_cursor_error(cursor, &error))
        r = cb_err_set(err, EIO, "cannot read %s: %.200s",
                       mongoc_collection_get_name(mongodb->collection), error.message);
    mongoc_cursor_destroy(cursor);
    bson_destroy(&options);
    return r;
}

static int read_new(struct cb_powerapi_mongodb *mongodb, struct cb_err *err)
{
    uint64_t now_ns = cb_clock_boot_ns();
    uint32_t begin_s = window_begin(mongodb);
    bool full = mongodb->full_ns == 0 || mongodb->other_ids || begin_s == 0 ||
                now_ns >= mongodb->full_ns + FULL_NS;
    bson_t query = BSON_INITIALIZER;
    int r = 0;

    if (!(full ? make_full(mongodb, &query) : make_window(begin_s, &query)))
        r = cb_err_set(err, E2BIG, "too many sensors for one query");
    if (r == 0)
        r = read_query(mongodb, &query, err);
    bson_destroy(&query);
    if (full && r == 0 && now_ns >= mongodb->full_ns + FULL_NS) {
        mongodb->full_ns = now_ns;
        turn_seen(mongodb);
    }
    if (r < 0)
        mongodb->full_ns = 0;
    return r;
}

/* --- the thread --- */

static void pause_for(const struct cb_powerapi_mongodb *mongodb, int ms)
{
    struct pollfd fd = {.fd = mongodb->stop_fd, .events = POLLIN};

    (void)poll(&fd, 1, ms);
}

static void *run(void *context)
{
    struct cb_powerapi_mongodb *mongodb = context;
    bool failed = false;

    while (!atomic_load(&mongodb->stop)) {
        struct cb_err err = {0};
        int r = read_new(mongodb, &err);

        if (r == 0)
            r = cb_powerapi_give(mongodb->powerapi, CB_POWERAPI_MONGODB, cb_clock_boot_ns(), &err);
        if (r == -ECANCELED)
            break;
        if (r < 0)
            cb_log_limited(&mongodb->log, LOG_EVERY_NS, CB_LOG_WARN,
                           "PowerAPI MongoDB: %s; trying again", err.text);
        else if (failed)
            cb_log_info("PowerAPI MongoDB: it answers again");
        failed = r < 0;
        pause_for(mongodb, failed ? RETRY_MS : POLL_MS);
    }
    return NULL;
}

static void init_once(void)
{
    mongoc_init();
    mongoc_log_set_handler(NULL, NULL); /* what fails is returned */
}

static void default_option(mongoc_uri_t *uri, const char *option, int32_t value)
{
    if (!mongoc_uri_has_option(uri, option))
        (void)mongoc_uri_set_option_as_int32(uri, option, value);
}

static int connect_to(struct cb_powerapi_mongodb *mongodb, const char *text, const char *collection,
                      struct cb_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    bson_error_t error = {0};
    mongoc_uri_t *uri;
    const char *database;

    (void)pthread_once(&once, init_once);
    uri = mongoc_uri_new_with_error(text, &error);
    if (!uri)
        return cb_err_set(err, EINVAL,
                          "--powerapi-mongodb: %.150s; the form is mongodb://[USER:PASSWORD@]HOST"
                          "[:PORT][/DATABASE][?OPTIONS]",
                          error.message);
    default_option(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, SELECT_MS);
    default_option(uri, MONGOC_URI_CONNECTTIMEOUTMS, SELECT_MS);
    default_option(uri, MONGOC_URI_SOCKETTIMEOUTMS, SOCKET_MS);
    mongodb->client = mongoc_client_new_from_uri_with_error(uri, &error);
    database = mongoc_uri_get_database(uri);
    if (mongodb->client)
        mongodb->collection = mongoc_client_get_collection(
            mongodb->client, database && *database ? database : CB_POWERAPI_DATABASE, collection);
    mongoc_uri_destroy(uri);
    if (!mongodb->client)
        return cb_err_set(err, EINVAL, "--powerapi-mongodb: %.200s", error.message);
    (void)mongoc_client_set_appname(mongodb->client, "cbformula");
    return 0;
}

static struct cb_powerapi_mongodb *release(struct cb_powerapi_mongodb *mongodb)
{
    if (mongodb->collection)
        mongoc_collection_destroy(mongodb->collection);
    if (mongodb->client)
        mongoc_client_destroy(mongodb->client);
    cb_map_clear(&mongodb->seen);
    cb_map_clear(&mongodb->seen_before);
    cb_map_clear(&mongodb->newest);
    cb_close_at(&mongodb->stop_fd);
    free(mongodb);
    return NULL;
}

int cb_powerapi_mongodb_start(const char *uri, const char *collection, struct cb_powerapi *powerapi,
                              struct cb_powerapi_mongodb **ret_mongodb, struct cb_err *err)
{
    struct cb_powerapi_mongodb *mongodb = calloc(1, sizeof(*mongodb));
    int r;

    if (!mongodb)
        return cb_err_set(err, ENOMEM, "out of memory");
    mongodb->powerapi = powerapi;
    mongodb->stop_fd = eventfd(0, EFD_CLOEXEC);
    r = mongodb->stop_fd < 0 ? cb_err_set(err, errno, "cannot make an eventfd")
                             : connect_to(mongodb, uri, collection, err);
    if (r == 0) {
        r = -pthread_create(&mongodb->thread, NULL, run, mongodb);
        if (r < 0)
            r = cb_err_set(err, -r, "cannot start a thread");
    }
    if (r < 0) {
        mongodb = release(mongodb);
        return r;
    }
    *ret_mongodb = mongodb;
    return 0;
}

struct cb_powerapi_mongodb *cb_powerapi_mongodb_stop(struct cb_powerapi_mongodb *mongodb)
{
    if (!mongodb)
        return NULL;
    atomic_store(&mongodb->stop, true);
    (void)eventfd_write(mongodb->stop_fd, 1);
    (void)pthread_join(mongodb->thread, NULL);
    return release(mongodb);
}
