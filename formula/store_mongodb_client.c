/* SPDX-License-Identifier: Apache-2.0 */
/* store_mongodb_client.c - the connection. See store_mongodb.h. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "formula/store_mongodb.h"
#include "lib/err.h"

#define SELECT_MS 5000 /* how long to look for a server, unless the URI says otherwise */
#define SOCKET_MS 15000

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
int cb_mongodb_open(const char *text, struct cb_mongodb **ret_mongodb, struct cb_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    bson_error_t error = {0};
    struct cb_mongodb *mongodb;
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
    /* What is acknowledged is to survive a kill, unless the URI has its own mind about that. */
    if (!mongoc_uri_has_option(uri, MONGOC_URI_W) &&
        !mongoc_uri_has_option(uri, MONGOC_URI_JOURNAL))
        (void)mongoc_uri_set_option_as_bool(uri, MONGOC_URI_JOURNAL, true);
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
    *ret_mongodb = mongodb;
    return 0;
}

struct cb_mongodb *cb_mongodb_close(struct cb_mongodb *mongodb)
{
    if (mongodb) {
        mongoc_client_destroy(mongodb->client);
        free(mongodb);
    }
    return NULL;
}
