/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_gate.h - who of the connections of this process may write to a database next. Private to
 * store_sqlite.c.
 *
 * SQLite lets one connection write; the others sleep 1 to 100 ms and look again, so one that is
 * unlucky sleeps for seconds beside others that write all the time. Here they wait in turn, and one
 * that goes first (ingest: sensors wait for it) waits for one transaction of another at most.
 * Connections of other processes are not seen: for those SQLite's own way remains.
 *
 * Threads: any. A gate is found by the file's device and inode; who has passed must leave.
 */
#ifndef CB_FORMULA_STORE_GATE_H
#define CB_FORMULA_STORE_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/cleanup.h"

struct cb_err;
struct cb_gate;

/* The gate of the database @path, which must be there: the same for every connection. */
int cb_gate_open(const char *path, struct cb_gate **ret_gate, struct cb_err *err) cb_must_check;
struct cb_gate *cb_gate_close(struct cb_gate *gate);

/* -EBUSY: not within @timeout_ns. */
int cb_gate_pass(struct cb_gate *gate, bool first, uint64_t timeout_ns,
                 struct cb_err *err) cb_must_check;
void cb_gate_leave(struct cb_gate *gate);

#endif
