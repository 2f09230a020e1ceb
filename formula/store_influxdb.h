/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_influxdb.h - rows into InfluxDB: 1.x (`/write`) and 2.x (`/api/v2/write`), which other
 * servers speak too.
 *
 * Lines     docs/store.md has the measurements. A point's time is the row's begin, plus a few
 *           milliseconds told by `again`; so a point is named by its tags and time and comes once,
 *           however often it is written. Integers are signed ("i"): 1.x has no unsigned ones.
 * Answers   2xx taken; 400, 422: the lines are halved until those that are refused stand alone,
 *           they are set aside with the server's reason, the others are in; 413 halved, too;
 *           anything else, or none: later, not before Retry-After.
 * Secrets   Never in a URL, a log line or an error.
 */
#ifndef CB_FORMULA_STORE_INFLUXDB_H
#define CB_FORMULA_STORE_INFLUXDB_H

#include "formula/stream.h"

enum cb_influxdb_format {
    CB_INFLUXDB_CBWATTS = 1,  /* cb_node, cb_container, cb_usage: wide rows */
    CB_INFLUXDB_POWERAPI = 2, /* power_consumption, as its dashboards ask for it */
    CB_INFLUXDB_CADVISOR = 4, /* one measurement a metric */
};

struct cb_influxdb_config {
    unsigned version;     /* 1 or 2 */
    const char *url;      /* http[s]://HOST[:PORT][/PREFIX] */
    const char *database; /* 1 */
    const char *user;     /* 1; "" or NULL: no authentication */
    const char *org;      /* 2 */
    const char *bucket;   /* 2 */
    const char *secret;   /* password, or token; "" or NULL: none */
    const char *ca_file;  /* NULL: the system's */
    unsigned formats;     /* of enum cb_influxdb_format */
};

/* "cbwatts,powerapi,cadvisor" or some of them. -EINVAL. */
int cb_influxdb_formats_parse(const char *text, unsigned *ret_formats,
                              struct cb_err *err) cb_must_check;

/* Containers' sums that only grow, for those who expect counters. */
struct cb_influxdb_sums;
struct cb_influxdb_sums *cb_influxdb_sums_new(void); /* NULL: out of memory */
struct cb_influxdb_sums *cb_influxdb_sums_free(struct cb_influxdb_sums *sums);

/* The lines of one row. Pure but for @sums. */
void cb_influxdb_pack(unsigned formats, struct cb_influxdb_sums *sums,
                      const struct cb_stream_bin *bin, struct cb_batch *batch);

extern const struct cb_stream_ops cb_stream_influxdb;  /* version 1 */
extern const struct cb_stream_ops cb_stream_influxdb2; /* version 2 */

#endif
