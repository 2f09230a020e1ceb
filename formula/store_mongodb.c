/* SPDX-License-Identifier: Apache-2.0 */
/* store_mongodb.c - see store_mongodb.h. */
#include "formula/store_mongodb.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "formula/recap_flat.h"
#include "lib/err.h"
#include "lib/fnv.h"
#include "lib/frame.h"

#define NAME_MAX_BYTES 235
#define NAMESPACE_MAX_BYTES 255
#define HASH_BYTES 17 /* "~" and 16 digits */

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

static int mongodb_open(const char *uri, void **ret_state, struct cb_err *err)
{
    return cb_mongodb_open(uri, (struct cb_mongodb **)ret_state, err);
}

static void mongodb_close(void *state)
{
    (void)cb_mongodb_close(state);
}

/* "$" is not allowed in the name, and neither are more than NAME_MAX_BYTES (FerretDB) nor more than
 * NAMESPACE_MAX_BYTES with the database's (MongoDB): what is cut gets a hash (FNV-1a). */
void cb_mongodb_collection(const char *database, const char *machine,
                           char ret_name[CB_MONGODB_COLLECTION_SIZE])
{
    size_t room = NAMESPACE_MAX_BYTES - strlen(database) - 1;
    uint64_t hash = cb_fnv_text(CB_FNV_BEGIN, machine);
    char name[sizeof("recap") + 3 * CB_NAME_SIZE] = "recap";
    size_t n = strlen(name);

    for (const char *at = machine; *at; at++)
        n += (size_t)snprintf(name + n, sizeof(name) - n, *at == '$' ? "%%24" : "%c", *at);
    if (room > NAME_MAX_BYTES)
        room = NAME_MAX_BYTES;
    if (n > room) {
        n = room - HASH_BYTES;
        while ((name[n] & 0xc0) == 0x80) /* never within a character */
            n--;
        (void)snprintf(name + n, HASH_BYTES + 1, "~%016" PRIx64, hash);
    }
    (void)snprintf(ret_name, CB_MONGODB_COLLECTION_SIZE, "%s", name);
}

/* The server's answers about a document or the name of its collection. */
static bool is_of_document(const bson_error_t *error)
{
    static const uint32_t codes[] = {
        2,     /* BadValue */
        9,     /* FailedToParse */
        14,    /* TypeMismatch */
        22,    /* InvalidBSON; also MONGOC_ERROR_COMMAND_INVALID_ARG */
        52,    /* DollarPrefixedFieldName */
        57,    /* DottedFieldName */
        73,    /* InvalidNamespace */
        121,   /* DocumentValidationFailure */
        166,   /* CommandNotSupportedOnView */
        10334, /* BSONObjectTooLarge */
        11000, /* DuplicateKey, of an index of somebody else's */
        17280, /* KeyTooLong */
        17419, /* the document would be too large */
        17420, /* the same */
    };

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (error->code == codes[i])
            return true;
    return false;
}

bool cb_mongodb_is_hopeless(const bson_error_t *error)
{
    if (error->domain == MONGOC_ERROR_BSON)
        return true;
    if (error->domain != MONGOC_ERROR_COMMAND && error->domain != MONGOC_ERROR_SERVER &&
        error->domain != MONGOC_ERROR_QUERY && error->domain != MONGOC_ERROR_COLLECTION)
        return false;
    if (error->code == 11000 && strstr(error->message, " _id_ "))
        return false; /* somebody else wrote it at the same moment: the next try replaces it */
    if (strstr(error->message, "cannot use '") || strstr(error->message, "rite concern"))
        return false; /* BadValue of the URI's w or journal */
    return is_of_document(error);
}

static int replace(struct cb_mongodb *mongodb, const char *key, const char *machine,
                   const bson_t *doc, struct cb_err *err)
{
    char name[CB_MONGODB_COLLECTION_SIZE];
    mongoc_collection_t *collection;
    bson_error_t error = {0};
    bson_t selector = BSON_INITIALIZER;
    bson_t options = BSON_INITIALIZER;
    int r = 0;

    cb_mongodb_collection(mongodb->database, machine, name);
    (void)bson_append_utf8(&selector, "_id", -1, key, -1);
    (void)bson_append_bool(&options, "upsert", -1, true);
    collection = mongoc_client_get_collection(mongodb->client, mongodb->database, name);
    if (!mongoc_collection_replace_one(collection, &selector, doc, &options, NULL, &error))
        r = cb_err_set(err, cb_mongodb_is_hopeless(&error) ? EBADMSG : EIO,
                       "cannot write to %s.%s: %.200s", mongodb->database, name, error.message);
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
