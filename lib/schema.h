/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema.h - one table of every metric: its names, unit, kind and what it means. Frames, stores,
 * JSON, CSV, /metrics and docs/metrics.md take their names from it.
 *
 * Names    `name` is ours, with its unit at its end ("energy_uj"): stores, JSON, CSV and the
 *          statistics of a frame use it. `prometheus` is the exported one, in base units ("..._
 *          joules_total"); NULL: not exported.
 * To add one: an identifier here, a row in schema.c, and SCHEMA_WRITE=1 build/gcc/tests/unit/
 *          test_schema, which writes docs/metrics.md.
 */
#ifndef CB_LIB_SCHEMA_H
#define CB_LIB_SCHEMA_H

#include <stddef.h>
#include <stdio.h>

enum cb_schema_kind {
    CB_SCHEMA_COUNTER, /* per interval in frames and stores; grows only in /metrics */
    CB_SCHEMA_GAUGE,   /* the value now */
    CB_SCHEMA_TEXT,    /* what something is called */
};

enum cb_schema_scope {
    CB_SCHEMA_CONTAINER,        /* of one container */
    CB_SCHEMA_CONTAINER_DOMAIN, /* ... and socket and domain */
    CB_SCHEMA_NODE,             /* of one machine */
    CB_SCHEMA_NODE_DOMAIN,      /* ... and socket and domain */
    CB_SCHEMA_SENSOR,           /* cbsensor about itself */
    CB_SCHEMA_SENSOR_SOURCE,    /* ... and what it reads from */
    CB_SCHEMA_FORMULA,          /* cbformula about itself */
    CB_SCHEMA_SINK,             /* cbformula's queue of recaps for another store */
    CB_SCHEMA_STREAM,           /* cbformula's rows for another store */
    CB_SCHEMA_SCOPES,
};

enum cb_schema_id {
    /* energy */
    CB_SCHEMA_DYNAMIC_UJ,
    CB_SCHEMA_UNCERTAINTY_UJ,
    CB_SCHEMA_ENERGY_UJ,
    CB_SCHEMA_SOURCE_UNCERTAINTY_UJ,
    CB_SCHEMA_IDLE_UJ,
    CB_SCHEMA_SYSTEM_UJ,
    CB_SCHEMA_UNATTRIBUTED_UJ,
    CB_SCHEMA_ACTIVE_UJ,
    CB_SCHEMA_COVERED_NS,
    CB_SCHEMA_MACHINE_CPU_NS,
    /* what a container is and uses */
    CB_SCHEMA_CONTAINER_ID,
    CB_SCHEMA_CONTAINER_NAME,
    CB_SCHEMA_IMAGE,
    CB_SCHEMA_INFO,
    CB_SCHEMA_CPU_NS,
    CB_SCHEMA_CPU_USAGE_NS,
    CB_SCHEMA_CPU_USER_NS,
    CB_SCHEMA_CPU_SYSTEM_NS,
    CB_SCHEMA_CPU_THROTTLED_NS,
    CB_SCHEMA_MEMORY_BYTES,
    CB_SCHEMA_MEMORY_PEAK_BYTES,
    CB_SCHEMA_MEMORY_ANON_BYTES,
    CB_SCHEMA_MEMORY_FILE_BYTES,
    CB_SCHEMA_MEMORY_SWAP_BYTES,
    CB_SCHEMA_MEMORY_LIMIT_BYTES,
    CB_SCHEMA_MEMORY_OOM_KILLS,
    CB_SCHEMA_IO_READ_BYTES,
    CB_SCHEMA_IO_WRITE_BYTES,
    CB_SCHEMA_IO_READ_OPS,
    CB_SCHEMA_IO_WRITE_OPS,
    CB_SCHEMA_NET_RX_BYTES,
    CB_SCHEMA_NET_TX_BYTES,
    CB_SCHEMA_NET_RX_PACKETS,
    CB_SCHEMA_NET_TX_PACKETS,
    CB_SCHEMA_PIDS,
    CB_SCHEMA_CPU_PRESSURE_NS,
    CB_SCHEMA_MEMORY_PRESSURE_NS,
    CB_SCHEMA_MEMORY_PRESSURE_FULL_NS,
    CB_SCHEMA_IO_PRESSURE_NS,
    CB_SCHEMA_IO_PRESSURE_FULL_NS,
    /* the sensor about itself */
    CB_SCHEMA_SENSOR_CPU_NS,
    CB_SCHEMA_SENSOR_UJ,
    CB_SCHEMA_SENSOR_LOST_FRAMES,
    CB_SCHEMA_SENSOR_MISSED_TICKS,
    CB_SCHEMA_SENSOR_UNREADABLE,
    CB_SCHEMA_SENSOR_UNREADABLE_INFO,
    /* the formula about itself */
    CB_SCHEMA_BUILD_INFO,
    CB_SCHEMA_FRAMES,
    CB_SCHEMA_DUPLICATES,
    CB_SCHEMA_REFUSED,
    CB_SCHEMA_VIOLATIONS,
    CB_SCHEMA_LAG_S,
    CB_SCHEMA_NODE_COVERED_NS,
    CB_SCHEMA_GAP_NS,
    CB_SCHEMA_GAPS,
    CB_SCHEMA_COMMITS,
    CB_SCHEMA_COMMIT_FAILURES,
    CB_SCHEMA_REFUSED_MESSAGES,
    CB_SCHEMA_IGNORED_MESSAGES,
    CB_SCHEMA_HTTP_REQUESTS,
    CB_SCHEMA_SINK_WAITING,
    CB_SCHEMA_SINK_SET_ASIDE,
    CB_SCHEMA_SINK_DELIVERED,
    CB_SCHEMA_SINK_FAILURES,
    CB_SCHEMA_STREAM_ROWS,
    CB_SCHEMA_STREAM_BATCHES,
    CB_SCHEMA_STREAM_FAILURES,
    CB_SCHEMA_STREAM_SET_ASIDE,
    CB_SCHEMA_STREAM_LOST_FRAMES,
    CB_SCHEMA_STREAM_WAITING,
    CB_SCHEMA_STREAM_LAG_S,
    CB_SCHEMA_COUNT,
};

struct cb_schema_metric {
    const char *name;
    const char *unit; /* of `name`: "microjoules", "nanoseconds", "bytes", "1" */
    enum cb_schema_kind kind;
    enum cb_schema_scope scope;
    const char *prometheus;
    const char *help;   /* one sentence */
    const char *kepler; /* in /metrics with Kepler's names; NULL: it has none */
};

/* The row of an identifier. */
const struct cb_schema_metric *cb_schema(enum cb_schema_id id);

/* By either name; NULL: there is none. */
const struct cb_schema_metric *cb_schema_find(const char *name);
const struct cb_schema_metric *cb_schema_find_prometheus(const char *name);

const char *cb_schema_kind_name(enum cb_schema_kind kind); /* "counter", "gauge", "text" */

/* The labels that a scope's lines in /metrics carry, separated by commas. */
const char *cb_schema_labels(enum cb_schema_scope scope);

/* What InfluxDB calls a row of the scope, and files its kind; NULL: it has none. */
const char *cb_schema_measurement(enum cb_schema_scope scope);

/* The table as tab-separated lines with a head, and as docs/metrics.md. */
void cb_schema_print(FILE *out);
void cb_schema_print_markdown(FILE *out);

#endif
