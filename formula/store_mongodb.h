/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_mongodb.h - recaps and energy in MongoDB, or what speaks its protocol (FerretDB).
 *
 * Where     The database of the URI's path (CB_MONGODB_DATABASE without one). Authentication and
 *           TLS are the URI's business and go to the driver as they are. Writes are acknowledged
 *           from the journal, unless the URI says otherwise.
 * Recaps    Collection "recap<machine>", _id the id of the test, members of recap_flat.h; by its
 *           queue (sink.h). One that the server refuses for what it is is set aside; while the
 *           server is away, or lets nobody in, all wait.
 * Energy    Collection "energy": one document a row of the stream (stream.h), so one a machine and
 *           second by default, whole microjoules. With the format "powerapi" also collection
 *           "power": PowerAPI's power reports, one for each target, socket and scope.
 * Once      Each _id is made of what the document is of, so writing again changes nothing.
 * docs/store.md has the members.
 */
#ifndef CB_FORMULA_STORE_MONGODB_H
#define CB_FORMULA_STORE_MONGODB_H

#include <bson/bson.h>
#include <jansson.h>
#include <mongoc/mongoc.h>

#include "formula/sink.h"
#include "formula/stream.h"

#define CB_MONGODB_DATABASE "cbwatts"

/* ---- the connection: of one thread ---- */

struct cb_mongodb {
    mongoc_client_t *client;
    char database[64];
};

/* No network yet: a wrong URI is -EINVAL. The URI, which may hold a password, is in no text. */
int cb_mongodb_open(const char *uri, struct cb_mongodb **ret_mongodb,
                    struct cb_err *err) cb_must_check;
struct cb_mongodb *cb_mongodb_close(struct cb_mongodb *mongodb);

/* ---- recaps ---- */

/* The document of a stored recap as it was told. -EBADMSG: it is no recap. The caller destroys
 * *@ret. */
int cb_mongodb_document(const char *key, const json_t *recap, bson_t *ret,
                        struct cb_err *err) cb_must_check;

/* The collection of a machine's recaps: "recap" and its name, with "%24" for "$"; one that is too
 * long for a collection of @database ends in "~" and a hash. */
#define CB_MONGODB_COLLECTION_SIZE 256
void cb_mongodb_collection(const char *database, const char *machine,
                           char ret_name[CB_MONGODB_COLLECTION_SIZE]);

/* Is the failure one of the document or of its collection's name, which no repetition cures? */
bool cb_mongodb_is_hopeless(const bson_error_t *error);

/* ---- energy ---- */

enum cb_mongodb_format {
    CB_MONGODB_CBWATTS = 1,  /* collection energy */
    CB_MONGODB_POWERAPI = 2, /* collection power */
};

struct cb_mongodb_config {
    const char *uri;
    unsigned formats; /* of enum cb_mongodb_format */
    uint64_t ttl_ns;  /* documents of both go when they are so old; 0: never */
};

/* "cbwatts,powerapi" or one of them; "none": neither. -EINVAL. */
int cb_mongodb_formats_parse(const char *text, unsigned *ret_formats,
                             struct cb_err *err) cb_must_check;

/* The documents of one row: each is a byte (enum cb_mongodb_format) and BSON. */
void cb_mongodb_pack(unsigned formats, const struct cb_stream_bin *bin, struct cb_batch *batch);

extern const struct cb_stream_ops cb_stream_mongodb; /* its config: struct cb_mongodb_config */

#endif
