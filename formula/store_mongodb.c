/* SPDX-License-Identifier: Apache-2.0 */
/* store_mongodb.c - see store_mongodb.h. */
#include "formula/store_mongodb.h"

#include <errno.h>
#include <inttypes.h>
#include <mongoc/mongoc.h>
#include <pthread.h>
#include <string.h>

#include "lib/err.h"
#include "lib/frame.h"

#define SELECT_MS 5000 /* how long to look for a server, unless the URI says otherwise */
#define SOCKET_MS 15000
#define KEY_SIZE 128

struct mongodb {
    mongoc_client_t *client;
    char database[64];
};

/* ---- the document ---- */

static const char *const domain_names[CB_DOMAIN_COUNT] = {
    [CB_DOMAIN_PACKAGE] = "PKG", [CB_DOMAIN_DRAM] = "DRAM", [CB_DOMAIN_CORE] = "CORES",
    [CB_DOMAIN_UNCORE] = "GPU",  [CB_DOMAIN_PSYS] = "PSYS",
};

static int64_t int_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static bool add_text(bson_t *doc, const char *key, const json_t *object, const char *from)
{
    const char *text = json_string_value(json_object_get(object, from));

    return bson_append_utf8(doc, key, -1, text ? text : "", -1);
}

/* A time of the recap (BOOTTIME) as a date. */
static bool add_date(bson_t *doc, const char *key, const json_t *recap, int64_t boot_ns)
{
    int64_t wall_ns = int_of(recap, "begin_wall_ns") + (boot_ns - int_of(recap, "begin_ns"));

    return bson_append_date_time(doc, key, -1, wall_ns / 1000000);
}

static bool add_joules(bson_t *doc, const char *phase, const char *what, const char *suffix,
                       const json_t *domain, const char *from)
{
    char key[KEY_SIZE];

    (void)snprintf(key, sizeof(key), "%s_%s_%s", phase, what, suffix);
    return bson_append_double(doc, key, -1, (double)int_of(domain, from) / 1e6);
}

static bool add_domain(bson_t *doc, const char *phase, const json_t *domain)
{
    const char *name = json_string_value(json_object_get(domain, "domain"));
    enum cb_domain which;
    char suffix[32];
    char key[KEY_SIZE];
    bool ok;

    if (!name || cb_domain_parse(name, &which) < 0)
        return false;
    (void)snprintf(suffix, sizeof(suffix), "%s_%" PRId64, domain_names[which],
                   int_of(domain, "socket"));
    ok = add_joules(doc, phase, "powers", suffix, domain, "energy_uj");
    ok = ok && add_joules(doc, phase, "container_dynamic", suffix, domain, "dynamic_uj");
    ok = ok && add_joules(doc, phase, "container_uncertainty", suffix, domain, "uncertainty_uj");
    ok = ok && add_joules(doc, phase, "others", suffix, domain, "others_uj");
    ok = ok && add_joules(doc, phase, "system", suffix, domain, "system_uj");
    ok = ok && add_joules(doc, phase, "idle", suffix, domain, "idle_uj");
    ok = ok && add_joules(doc, phase, "unattributed", suffix, domain, "unattributed_uj");
    (void)snprintf(key, sizeof(key), "%s_source_%s", phase, suffix);
    return ok && add_text(doc, key, domain, "source");
}

static bool add_seconds(bson_t *doc, const char *phase, const char *what, const json_t *object)
{
    const json_t *value = json_object_get(object, what);
    char key[KEY_SIZE];

    (void)snprintf(key, sizeof(key), "%s_%s", phase, what);
    return !json_is_number(value) || bson_append_double(doc, key, -1, json_number_value(value));
}

static bool add_phase(bson_t *doc, const json_t *phase)
{
    const char *name = json_string_value(json_object_get(phase, "phase"));
    const json_t *domain;
    bool ok = name != NULL;
    size_t i;

    json_array_foreach(json_object_get(phase, "domains"), i, domain) ok =
        ok && add_domain(doc, name, domain);
    ok = ok && add_seconds(doc, name, "cpu_seconds", phase);
    return ok && add_seconds(doc, name, "covered_seconds", phase);
}

static const json_t *find_phase(const json_t *recap, const char *name)
{
    const json_t *phase;
    size_t i;

    json_array_foreach(json_object_get(recap, "phases"), i, phase)
    {
        const char *text = json_string_value(json_object_get(phase, "phase"));

        if (text && strcmp(text, name) == 0)
            return phase;
    }
    return NULL;
}

static bool add_head(bson_t *doc, const char *key, const json_t *recap)
{
    const json_t *warmup = find_phase(recap, "warmup");
    const json_t *execution = find_phase(recap, "execution");
    int64_t begin = int_of(recap, "begin_ns");
    int64_t end = int_of(recap, "end_ns");
    int64_t warmup_ns = warmup ? int_of(warmup, "begin_ns") : begin;
    int64_t execution_ns = execution ? int_of(execution, "begin_ns") : warmup ? end : begin;
    bool ok = bson_append_utf8(doc, "_id", -1, key, -1);

    ok = ok && add_text(doc, "name", recap, "name");
    ok = ok && add_text(doc, "id", recap, "id");
    ok = ok && add_date(doc, "begin", recap, begin);
    ok = ok && add_date(doc, "beginwarmup", recap, warmup_ns);
    ok = ok && add_date(doc, "beginexecution", recap, execution_ns);
    ok = ok && add_date(doc, "end", recap, end);
    ok = ok && bson_append_double(doc, "warmup time", -1, (double)(execution_ns - warmup_ns) / 1e9);
    ok = ok && bson_append_double(doc, "execution time", -1, (double)(end - execution_ns) / 1e9);
    ok = ok && bson_append_utf8(doc, "test", -1, key, -1);
    ok = ok && add_text(doc, "machine", recap, "machine");
    ok = ok && add_text(doc, "boot_id", recap, "boot_id");
    ok = ok && add_text(doc, "image", recap, "image");
    ok = ok && bson_append_int32(doc, "exit_code", -1, (int32_t)int_of(recap, "exit_code"));
    return ok && add_text(doc, "source", recap, "source");
}

int cb_mongodb_document(const char *key, const json_t *recap, bson_t *ret, struct cb_err *err)
{
    bson_t doc = BSON_INITIALIZER;
    const json_t *phase;
    size_t i;
    bool ok = json_is_integer(json_object_get(recap, "begin_wall_ns")) &&
              json_is_array(json_object_get(recap, "phases")) && add_head(&doc, key, recap);

    json_array_foreach(json_object_get(recap, "phases"), i, phase) ok =
        ok && add_phase(&doc, phase);
    if (!ok) {
        bson_destroy(&doc);
        return cb_err_set(err, EBADMSG, "not a stored recap, or too large");
    }
    if (!bson_steal(ret, &doc)) {
        bson_destroy(&doc);
        return cb_err_set(err, ENOMEM, "out of memory");
    }
    return 0;
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
