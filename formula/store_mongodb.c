/* SPDX-License-Identifier: Apache-2.0 */
/* store_mongodb.c - see store_mongodb.h. */
#include "formula/store_mongodb.h"

#include <errno.h>
#include <mongoc/mongoc.h>
#include <pthread.h>
#include <string.h>

#include "formula/recap_flat.h"
#include "lib/err.h"
#include "lib/frame.h"

#define SELECT_MS 5000 /* how long to look for a server, unless the URI says otherwise */
#define SOCKET_MS 15000

struct mongodb {
    mongoc_client_t *client;
    char database[64];
};

/* ---- the document ---- */

static bool append(bson_t *doc, const char *key, const json_t *value)
{
    if (cb_flat_is_date(key))
        return bson_append_date_time(doc, key, -1, json_integer_value(value));
    if (json_is_integer(value))
        return bson_append_int32(doc, key, -1, (int32_t)json_integer_value(value));
    if (json_is_real(value))
        return bson_append_double(doc, key, -1, json_real_value(value));
    return bson_append_utf8(doc, key, -1, json_string_value(value), -1);
}

int cb_mongodb_document(const char *key, const json_t *recap, bson_t *ret, struct cb_err *err)
{
    bson_t doc = BSON_INITIALIZER;
    json_t *flat = NULL;
    json_t *value;
    const char *member;
    bool ok = bson_append_utf8(&doc, "_id", -1, key, -1);
    int r = cb_flat_recap(recap, &flat, err);

    json_object_foreach(flat, member, value) ok = ok && append(&doc, member, value);
    json_decref(flat);
    if (r == 0 && !ok)
        r = cb_err_set(err, EBADMSG, "the recap is too large for a document");
    if (r == 0 && !bson_steal(ret, &doc))
        r = cb_err_set(err, ENOMEM, "out of memory");
    if (r < 0)
        bson_destroy(&doc);
    return r;
}

/* ---- the sink ---- */

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

/* The driver's own text may repeat the URI with its password: only what it says after that. */
static int mongodb_open(const char *text, void **ret_state, struct cb_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    bson_error_t error = {0};
    struct mongodb *mongodb;
    mongoc_uri_t *uri;
    const char *database;

    (void)pthread_once(&once, init_once);
    uri = mongoc_uri_new_with_error(text, &error);
    if (!uri)
        return cb_err_set(err, EINVAL,
                          "--mongodb: %.150s; the form is mongodb://[USER:PASSWORD@]HOST[:PORT]"
                          "[/DATABASE][?OPTIONS]",
                          error.message);
    mongodb = calloc(1, sizeof(*mongodb));
    if (!mongodb) {
        mongoc_uri_destroy(uri);
        return cb_err_set(err, ENOMEM, "out of memory");
    }
    default_option(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, SELECT_MS);
    default_option(uri, MONGOC_URI_CONNECTTIMEOUTMS, SELECT_MS);
    default_option(uri, MONGOC_URI_SOCKETTIMEOUTMS, SOCKET_MS);
    database = mongoc_uri_get_database(uri);
    (void)snprintf(mongodb->database, sizeof(mongodb->database), "%s",
                   database && database[0] ? database : CB_MONGODB_DATABASE);
    mongodb->client = mongoc_client_new_from_uri_with_error(uri, &error);
    mongoc_uri_destroy(uri);
    if (!mongodb->client) {
        free(mongodb);
        return cb_err_set(err, EINVAL, "--mongodb: %.200s", error.message);
    }
    (void)mongoc_client_set_appname(mongodb->client, "cbformula");
    *ret_state = mongodb;
    return 0;
}

static void mongodb_close(void *state)
{
    struct mongodb *mongodb = state;

    mongoc_client_destroy(mongodb->client);
    free(mongodb);
}

/* Errors about the document itself, which no repetition cures. */
static bool is_hopeless(const bson_error_t *error)
{
    return error->domain == MONGOC_ERROR_BSON || (error->domain == MONGOC_ERROR_COMMAND &&
                                                  error->code == MONGOC_ERROR_COMMAND_INVALID_ARG);
}

static int replace(struct mongodb *mongodb, const char *key, const char *machine, const bson_t *doc,
                   struct cb_err *err)
{
    char name[CB_NAME_SIZE + 8];
    mongoc_collection_t *collection;
    bson_error_t error = {0};
    bson_t selector = BSON_INITIALIZER;
    bson_t options = BSON_INITIALIZER;
    int r = 0;

    (void)snprintf(name, sizeof(name), "recap%s", machine);
    (void)bson_append_utf8(&selector, "_id", -1, key, -1);
    (void)bson_append_bool(&options, "upsert", -1, true);
    collection = mongoc_client_get_collection(mongodb->client, mongodb->database, name);
    if (!mongoc_collection_replace_one(collection, &selector, doc, &options, NULL, &error))
        r = cb_err_set(err, is_hopeless(&error) ? EBADMSG : EIO, "cannot write to %s.%s: %.200s",
                       mongodb->database, name, error.message);
    mongoc_collection_destroy(collection);
    bson_destroy(&selector);
    bson_destroy(&options);
    return r;
}

static int mongodb_deliver(void *state, const char *key, const char *document, struct cb_err *err)
{
    json_t *recap = json_loads(document, 0, NULL);
    const char *machine = json_string_value(json_object_get(recap, "machine"));
    bson_t doc;
    int r;

    if (!machine) {
        json_decref(recap);
        return cb_err_set(err, EBADMSG, "not a stored recap");
    }
    r = cb_mongodb_document(key, recap, &doc, err);
    if (r == 0) {
        r = replace(state, key, machine, &doc, err);
        bson_destroy(&doc);
    }
    json_decref(recap);
    return r;
}

const struct cb_sink_ops cb_sink_mongodb = {
    .name = "mongodb",
    .open = mongodb_open,
    .deliver = mongodb_deliver,
    .close = mongodb_close,
};
