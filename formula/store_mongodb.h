/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_mongodb.h - recaps in MongoDB (or FerretDB), in the form of powerapi-g5k with ours beside.
 *
 * Where     The database of the URI's path (CB_MONGODB_DATABASE without one), collection
 *           "recap<machine>", _id the id of the test: writing it twice changes nothing.
 * Theirs    name, id (strings); begin, beginwarmup, beginexecution, end (dates, UTC); "warmup time"
 *           and "execution time" (double, s); warmup_powers_<D>_<socket> and
 *           execution_powers_<D>_<socket> (double): the joules of the whole machine in that phase,
 *           with D = PKG, DRAM, CORES, GPU (uncore), PSYS. A mark that was not set is the begin; a
 *           phase without data has no member.
 * Ours      test, machine, boot_id, image, exit_code, source; for each phase P and domain, joules:
 *           P_container_dynamic_<D>_<socket>, P_container_uncertainty_..., P_others_...,
 *           P_system_..., P_idle_..., P_unattributed_..., P_source_... (text); and P_cpu_seconds,
 *           P_covered_seconds. docs/store.md has the table.
 */
#ifndef CB_FORMULA_STORE_MONGODB_H
#define CB_FORMULA_STORE_MONGODB_H

#include <bson/bson.h>
#include <jansson.h>

#include "formula/sink.h"

#define CB_MONGODB_DATABASE "cbwatts"

/* The document of a stored recap. -EBADMSG: it is no stored recap. The caller destroys *@ret. */
int cb_mongodb_document(const char *key, const json_t *recap, bson_t *ret,
                        struct cb_err *err) cb_must_check;

#endif
