/* SPDX-License-Identifier: Apache-2.0 */
/*
 * powerapi.h - reports of PowerAPI's sensor, live: joined to ticks, made to frames, put into the
 * inbox. The sensor's name is the machine. Where they come from: powerapi_tcp.c,
 * powerapi_mongodb.c, powerapi_csv.c, each with a thread of its own.
 *
 * Join      As in a replay (hwpc_join.h), and the last ticks of a stream that stops are given out
 *           when they are the deadline old by this server's clock.
 * Once      What the store holds of a sensor (the end of its last frame) says where it goes on: a
 *           report of that time or before is dropped, so that a document, a row or a recording that
 *           is read again after a restart counts once. The frames of a tick are stored whole or not
 *           at all. A tick that waits for its reports when the process is killed is lost where the
 *           source does not keep it (TCP).
 * Time      Their clock is the wall clock of their machine, which takes BOOTTIME's place. Late is
 *           late - unless the stored time lies more than a minute in this server's future: then
 *           that clock was wrong and has been set back, and a new boot begins.
 * Boots     Their boot ids are made of the sensor's name and the time a boot began
 *           (CB_INGEST_LOCAL_BOOT); each process makes a start id of its own.
 * Limits    CB_STORE_MAX_MACHINES sensors; a name as our own sensors may have it; so many counts
 *           that wait (above it the oldest tick of the sensor that speaks is given out early); one
 *           input at a time for each sensor.
 * Threads   any; one lock inside.
 */
#ifndef CB_FORMULA_POWERAPI_H
#define CB_FORMULA_POWERAPI_H

#include <stdint.h>

#include "formula/hwpc_join.h"
#include "formula/inbox.h"
#include "formula/store.h"
#include "lib/cleanup.h"
#include "lib/hwpc.h"

struct cb_err;
struct cb_powerapi;

enum cb_powerapi_input {
    CB_POWERAPI_NONE,
    CB_POWERAPI_TCP,
    CB_POWERAPI_MONGODB,
    CB_POWERAPI_CSV,
    CB_POWERAPI_INPUTS,
};

struct cb_powerapi_options {
    struct cb_hwpc_join_options join; /* `strict` is set in any case */
    struct cb_inbox *inbox;
};

struct cb_powerapi_counts {
    uint64_t reports, frames;
    uint64_t bad;     /* what was no report, and sensors that no name fits */
    uint64_t stored;  /* reports of a time that is stored already */
    uint64_t refused; /* over a limit, or the sensor speaks through another input */
    struct cb_hwpc_join_counts join;
};

/* Looks into @store how far each sensor is; it is borrowed for the call. */
int cb_powerapi_new(const struct cb_powerapi_options *options, struct cb_store *store,
                    struct cb_powerapi **ret_powerapi, struct cb_err *err) cb_must_check;
struct cb_powerapi *cb_powerapi_free(struct cb_powerapi *powerapi);

/* Take one report over, also when it fails. @now_ns: any clock that does not jump; @wall_ns: this
 * server's. Waits while the inbox is full. -ENOMEM, -ECANCELED (see inbox.h) */
int cb_powerapi_add(struct cb_powerapi *powerapi, enum cb_powerapi_input input,
                    struct cb_hwpc_report *report, uint64_t now_ns, uint64_t wall_ns,
                    struct cb_err *err) cb_must_check;

/* Give out what of @input is due by the clock; to be called a few times a second, or whenever what
 * there is to read has been read. */
int cb_powerapi_give(struct cb_powerapi *powerapi, enum cb_powerapi_input input, uint64_t now_ns,
                     struct cb_err *err) cb_must_check;
/* Give out everything of @input: nothing more will come. */
int cb_powerapi_flush(struct cb_powerapi *powerapi, enum cb_powerapi_input input,
                      struct cb_err *err) cb_must_check;

/* Something was no report; counted, and told now and then. */
void cb_powerapi_bad(struct cb_powerapi *powerapi, enum cb_powerapi_input input, uint64_t n,
                     const char *where, const char *text);

/* Each sensor whose frames are stored or on their way: reports up to @last_ms are done with.
 * @input: who read it in this process, or CB_POWERAPI_NONE. */
typedef void cb_powerapi_each(void *context, const char *sensor, enum cb_powerapi_input input,
                              int64_t last_ms);
void cb_powerapi_walk(struct cb_powerapi *powerapi, cb_powerapi_each *each, void *context);

void cb_powerapi_counted(struct cb_powerapi *powerapi, struct cb_powerapi_counts *ret_counts);

#endif
