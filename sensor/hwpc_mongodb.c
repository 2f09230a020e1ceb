/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_mongodb.c - reports as documents in MongoDB; see hwpc_sink.h. libmongoc is loaded here and
 * nowhere else in cbsensor, so that a machine without it lacks this storage only. */
#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <mongoc/mongoc.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "sensor/hwpc_sink.h"

#define LIBRARY "libmongoc-1.0.so.0"
#define TIMEOUT_MS 5000
#define BATCH_BYTES (8 << 20) /* of one command; a server takes 48 MB */

/* What is taken from the library, by its own declarations. */
struct library {
    void *handle;
    __typeof__(mongoc_init) *init;
    __typeof__(mongoc_log_set_handler) *log_set_handler;
    __typeof__(mongoc_uri_new_with_error) *uri_new_with_error;
    __typeof__(mongoc_uri_get_option_as_int32) *uri_get_option_as_int32;
    __typeof__(mongoc_uri_set_option_as_int32) *uri_set_option_as_int32;
    __typeof__(mongoc_uri_destroy) *uri_destroy;
    __typeof__(mongoc_client_new_from_uri) *client_new_from_uri;
    __typeof__(mongoc_client_set_error_api) *client_set_error_api;
    __typeof__(mongoc_client_command_simple) *client_command_simple;
    __typeof__(mongoc_client_get_collection) *client_get_collection;
    __typeof__(mongoc_client_destroy) *client_destroy;
    __typeof__(mongoc_collection_insert_many) *collection_insert_many;
    __typeof__(mongoc_collection_destroy) *collection_destroy;
};

struct mongo {
    struct library lib;
    mongoc_client_t *client;
    mongoc_collection_t *collection;
    size_t sent; /* documents of the batch in hand that were inserted */
    /* Their ids, kept until all are: one that was inserted though its answer was lost is refused
     * when it comes again. */
    size_t n_ids;
    bson_oid_t *ids;
};

static int load(struct library *lib, struct cb_err *err)
{
    /* else a sensor that is killed leaves the library's counters in /dev/shm */
    (void)setenv("MONGOC_DISABLE_SHM", "1", 0);
    lib->handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!lib->handle) {
        (void)cb_err_set(err, ENOENT,
                         "needs the MongoDB client library " LIBRARY
                         " (Debian's libmongoc-1.0-0): install it, or use -r socket. %.160s",
                         dlerror());
        return -ENOENT; /* by itself: an analyzer does not know what cb_err_set() returns */
    }
#define LOAD(name)                                                                                 \
    lib->name = (__typeof__(lib->name))dlsym(lib->handle, "mongoc_" #name);                        \
    if (!lib->name) {                                                                              \
        (void)cb_err_set(err, ENOENT, LIBRARY " has no mongoc_" #name ": it is too old");          \
        return -ENOENT;                                                                            \
    }
    LOAD(init)
    LOAD(log_set_handler)
    LOAD(uri_new_with_error)
    LOAD(uri_get_option_as_int32)
    LOAD(uri_set_option_as_int32)
    LOAD(uri_destroy)
    LOAD(client_new_from_uri)
    LOAD(client_set_error_api)
    LOAD(client_command_simple)
    LOAD(client_get_collection)
    LOAD(client_destroy)
    LOAD(collection_insert_many)
    LOAD(collection_destroy)
#undef LOAD
    return 0;
}

static int mongo_close(void *state, struct cb_err *err)
{
    struct mongo *m = state;

    (void)err;
    if (m->collection)
        m->lib.collection_destroy(m->collection);
    if (m->client)
        m->lib.client_destroy(m->client);
    /* the library is not unloaded: it has thread-local state of its own */
    free(m->ids);
    free(m);
    return 0;
}

static void set_timeout(struct mongo *m, mongoc_uri_t *uri, const char *option)
{
    if (m->lib.uri_get_option_as_int32(uri, option, -1) == -1)
        (void)m->lib.uri_set_option_as_int32(uri, option, TIMEOUT_MS);
}

static int ping(struct mongo *m, const char *database, struct cb_err *err)
{
    bson_t *command = BCON_NEW("ping", BCON_INT32(1));
    bson_error_t error;
    bool ok = m->lib.client_command_simple(m->client, database, command, NULL, NULL, &error);

    bson_destroy(command);
    return ok ? 0 : cb_err_set(err, EAGAIN, "the server does not answer: %.300s", error.message);
}

static int open_client(struct mongo *m, const struct cb_hwpc_options *o, struct cb_err *err)
{
    bson_error_t error;
    mongoc_uri_t *uri = m->lib.uri_new_with_error(o->where, &error);

    if (!uri)
        return cb_err_set(err, EINVAL, "-U is no MongoDB URI: %.300s", error.message);
    set_timeout(m, uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS);
    set_timeout(m, uri, MONGOC_URI_CONNECTTIMEOUTMS);
    set_timeout(m, uri, MONGOC_URI_SOCKETTIMEOUTMS);
    m->client = m->lib.client_new_from_uri(uri);
    m->lib.uri_destroy(uri);
    if (!m->client)
        return cb_err_set(err, EINVAL, "this libmongoc has not what -U asks for (TLS?)");
    (void)m->lib.client_set_error_api(m->client, MONGOC_ERROR_API_VERSION_2);
    m->collection = m->lib.client_get_collection(m->client, o->database, o->collection);
    return ping(m, o->database, err);
}

static int mongo_open(const struct cb_hwpc_sink_options *options, void **ret_state,
                      struct cb_err *err)
{
    struct mongo *m = calloc(1, sizeof(*m));
    int r;

    if (!m)
        return cb_err_set(err, ENOMEM, "out of memory");
    r = load(&m->lib, err);
    if (r == 0) {
        m->lib.init();
        m->lib.log_set_handler(NULL, NULL); /* its errors come back to us */
        r = open_client(m, options->options, err);
    }
    if (r < 0) {
        (void)mongo_close(m, NULL);
        return r;
    }
    *ret_state = m;
    return 0;
}

static const uint64_t *append_cpu(bson_t *to, const struct cb_hwpc_form_group *group,
                                  const uint64_t *values)
{
    for (size_t i = 0; i < group->n_names; i++)
        (void)BSON_APPEND_DOUBLE(to, group->names[i], (double)*values++);
    return values;
}

static const uint64_t *append_group(bson_t *to, const struct cb_hwpc_form_group *group,
                                    const uint64_t *values)
{
    const struct cb_hwpc_cpu *cpus = group->cpus;
    bson_t package, cpu;

    for (size_t i = 0; i < group->n_cpus;) {
        size_t first = i;

        bson_append_document_begin(to, cpus[first].package, -1, &package);
        for (; i < group->n_cpus && strcmp(cpus[i].package, cpus[first].package) == 0; i++) {
            bson_append_document_begin(&package, cpus[i].cpu, -1, &cpu);
            values = append_cpu(&cpu, group, values);
            bson_append_document_end(&package, &cpu);
        }
        bson_append_document_end(to, &package);
    }
    return values;
}

static bson_t *make_document(const struct cb_hwpc_batch *batch, size_t i, const bson_oid_t *id)
{
    const struct cb_hwpc_form *form = batch->lines[i].form;
    const uint64_t *values = cb_hwpc_batch_values(batch, i);
    bson_t *document = bson_new();
    bson_t groups, group;

    BSON_APPEND_OID(document, "_id", id);
    BSON_APPEND_DATE_TIME(document, "timestamp", batch->timestamp_ms);
    BSON_APPEND_UTF8(document, "sensor", batch->sensor);
    BSON_APPEND_UTF8(document, "target", cb_hwpc_batch_target(batch, i));
    BSON_APPEND_DOCUMENT_BEGIN(document, "groups", &groups);
    for (size_t g = 0; g < form->n_groups; g++) {
        bson_append_document_begin(&groups, form->groups[g].name, -1, &group);
        values = append_group(&group, &form->groups[g], values);
        bson_append_document_end(&groups, &group);
    }
    bson_append_document_end(document, &groups);
    return document;
}

/* As many of the documents that are left as one command takes; their number. */
static size_t make_documents(const struct mongo *m, const struct cb_hwpc_batch *batch,
                             bson_t **documents)
{
    size_t bytes = 0, n = 0;

    for (size_t i = m->sent; i < batch->n && bytes < BATCH_BYTES; i++) {
        documents[n] = make_document(batch, i, &m->ids[i]);
        bytes += documents[n++]->len;
    }
    return n;
}

static int insert(struct mongo *m, bson_t **documents, size_t n, struct cb_err *err)
{
    bson_t *options = BCON_NEW("ordered", BCON_BOOL(false));
    bson_error_t error;
    bool done = m->lib.collection_insert_many(m->collection, (const bson_t **)(void *)documents, n,
                                              options, NULL, &error);

    bson_destroy(options);
    if (done || error.code == MONGOC_ERROR_DUPLICATE_KEY)
        return 0;
    return cb_err_set(err,
                      error.domain == MONGOC_ERROR_STREAM ||
                              error.domain == MONGOC_ERROR_SERVER_SELECTION
                          ? EAGAIN
                          : EIO,
                      "%.300s", error.message);
}

static int make_ids(struct mongo *m, size_t n)
{
    bson_oid_t *ids = realloc(m->ids, n * sizeof(*ids));

    if (!ids)
        return -ENOMEM;
    m->ids = ids;
    for (m->n_ids = 0; m->n_ids < n; m->n_ids++)
        bson_oid_init(&ids[m->n_ids], NULL);
    return 0;
}

static int mongo_write(void *state, const struct cb_hwpc_batch *batch, struct cb_err *err)
{
    struct mongo *m = state;
    cb_auto_free bson_t **documents = calloc(batch->n + 1, sizeof(bson_t *));
    int r = 0;

    if (batch->n == 0)
        return 0;
    if (!documents || (m->n_ids == 0 && make_ids(m, batch->n) < 0))
        r = cb_err_set(err, ENOMEM, "out of memory");
    assert(r < 0 || m->n_ids == batch->n); /* the same batch again */
    while (r == 0 && m->sent < batch->n) {
        size_t n = make_documents(m, batch, documents);

        r = insert(m, documents, n, err);
        for (size_t i = 0; i < n; i++)
            bson_destroy(documents[i]);
        m->sent += r == 0 ? n : 0;
    }
    if (r != -EAGAIN)
        m->sent = m->n_ids = 0;
    return r;
}

const struct cb_hwpc_sink_driver cb_hwpc_mongodb = {
    .may_wait = true,
    .open = mongo_open,
    .write = mongo_write,
    .close = mongo_close,
};
