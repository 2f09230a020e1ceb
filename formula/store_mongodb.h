/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_mongodb.h - recaps in MongoDB (or FerretDB), in the form of powerapi-g5k with ours beside.
 *
 * Where     The database of the URI's path (CB_MONGODB_DATABASE without one), collection
 *           "recap<machine>", _id the id of the test: writing it twice changes nothing.
 * Members   recap_flat.h.
 */
#ifndef CB_FORMULA_STORE_MONGODB_H
#define CB_FORMULA_STORE_MONGODB_H

#include <bson/bson.h>
#include <jansson.h>

#include "formula/sink.h"

#define CB_MONGODB_DATABASE "cbwatts"

/* The document of a stored recap as it was told. -EBADMSG: it is no recap. The caller destroys
 * *@ret. */
int cb_mongodb_document(const char *key, const json_t *recap, bson_t *ret,
                        struct cb_err *err) cb_must_check;

#endif
