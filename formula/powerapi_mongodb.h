/* SPDX-License-Identifier: Apache-2.0 */
/*
 * powerapi_mongodb.h - the collection that PowerAPI's sensor writes to (`-r mongodb`), read while
 * it grows. Nothing in it is changed.
 *
 * Reading   Once a second what came, by _id with a margin for the clocks of several sensors. At the
 *           start, after a failure and once a minute everything that is younger than what is stored
 *           of its sensor, so that nothing depends on the order of the ids. A document is taken
 *           once, by its _id; after a restart the store says what was taken (powerapi.h).
 *           `timestamp` is a date or an integer of milliseconds.
 * Failures  The server may be away: tried again, and told now and then.
 * Threads   one of its own.
 */
#ifndef CB_FORMULA_POWERAPI_MONGODB_H
#define CB_FORMULA_POWERAPI_MONGODB_H

#include "formula/powerapi.h"

#define CB_POWERAPI_DATABASE "db_sensor" /* where the URI names none */
#define CB_POWERAPI_COLLECTION "prep"

struct cb_powerapi_mongodb;

/* Only a wrong URI is refused; -EINVAL does not repeat it, there may be a password in it. */
int cb_powerapi_mongodb_start(const char *uri, const char *collection, struct cb_powerapi *powerapi,
                              struct cb_powerapi_mongodb **ret_mongodb,
                              struct cb_err *err) cb_must_check;
/* What waits for its tick is not given out: it is read again. Returns NULL. */
struct cb_powerapi_mongodb *cb_powerapi_mongodb_stop(struct cb_powerapi_mongodb *mongodb);

#endif
