/* SPDX-License-Identifier: Apache-2.0 */
/*
 * streams.h - the streams of one server by its options: which other stores get rows.
 *
 * To add one: its options in struct cb_streams_config and CB_STREAMS_OPTIONS, its row in streams.c.
 */
#ifndef CB_FORMULA_STREAMS_H
#define CB_FORMULA_STREAMS_H

#include "formula/stream.h"
#include "lib/config.h"

#define CB_STREAMS_MAX 8

struct cb_streams_config {
    const char *influxdb, *influxdb_database, *influxdb_user, *influxdb_password_file;
    const char *influxdb2, *influxdb2_org, *influxdb2_bucket, *influxdb2_token_file;
    const char *influxdb_format, *influxdb_ca_file;
    uint64_t influxdb_resolution_ns;
    const char *mongodb, *mongodb_format; /* recaps go there by a queue of their own (sink.h) */
    uint64_t mongodb_resolution_ns, mongodb_ttl_ns;
    const char *jsonl_dir, *csv_dir;
    uint64_t files_resolution_ns, files_rotate_mib, files_rotate_ns, files_keep;
};

/* Rows of a table of options, whose struct has a struct cb_streams_config @member. */
#define CB_STREAMS_AT(config, member, x)                                                           \
    .offset = offsetof(config, member) + offsetof(struct cb_streams_config, x)
#define CB_STREAMS_RESOLUTION_MIN 1e8
#define CB_STREAMS_RESOLUTION_MAX 3600e9

/* clang-format off */
#define CB_STREAMS_OPTIONS(config, member) \
    {.key = "mongodb", .secret = true, .type = CB_OPT_STRING, \
     CB_STREAMS_AT(config, member, mongodb), .arg = "URI", \
     .help = "write recaps and energy to this MongoDB, too: mongodb://HOST/DATABASE"}, \
    {.key = "mongodb-format", .type = CB_OPT_STRING, \
     CB_STREAMS_AT(config, member, mongodb_format), .def = "cbwatts", .arg = "LIST", \
     .help = "energy there as cbwatts: one document a row; powerapi: its power reports; for both; " \
             "or none: recaps only"}, \
    {.key = "mongodb-resolution", .type = CB_OPT_DURATION, \
     CB_STREAMS_AT(config, member, mongodb_resolution_ns), .def = "1s", \
     .min = CB_STREAMS_RESOLUTION_MIN, .max = CB_STREAMS_RESOLUTION_MAX, .arg = "DURATION", \
     .help = "time of one row there"}, \
    {.key = "mongodb-ttl", .type = CB_OPT_DURATION, \
     CB_STREAMS_AT(config, member, mongodb_ttl_ns), .def = "0", .max = 87600 * 3600e9, \
     .arg = "DURATION", .help = "let it delete energy that is so old (at least 1m; 0: never)"}, \
    {.key = "influxdb", .type = CB_OPT_STRING, CB_STREAMS_AT(config, member, influxdb), \
     .arg = "URL", .help = "write energy to this InfluxDB 1.x, too: http://HOST:8086"}, \
    {.key = "influxdb-database", .type = CB_OPT_STRING, \
     CB_STREAMS_AT(config, member, influxdb_database), .def = "cbwatts", .arg = "NAME", \
     .help = "database there; made when it is missing and that is allowed"}, \
    {.key = "influxdb-user", .type = CB_OPT_STRING, \
     CB_STREAMS_AT(config, member, influxdb_user), .arg = "NAME", .help = "user there"}, \
    {.key = "influxdb-password-file", .type = CB_OPT_STRING, \
     CB_STREAMS_AT(config, member, influxdb_password_file), .arg = "FILE", \
     .help = "its password; or in CBFORMULA_INFLUXDB_PASSWORD"}, \
    {.key = "influxdb2", .type = CB_OPT_STRING, CB_STREAMS_AT(config, member, influxdb2), \
     .arg = "URL", .help = "write energy to this InfluxDB 2.x, too: http://HOST:8086"}, \
    {.key = "influxdb2-org", .type = CB_OPT_STRING, \
     CB_STREAMS_AT(config, member, influxdb2_org), .def = "cbwatts", .arg = "NAME", \
     .help = "organisation there"}, \
    {.key = "influxdb2-bucket", .type = CB_OPT_STRING, \
     CB_STREAMS_AT(config, member, influxdb2_bucket), .def = "cbwatts", .arg = "NAME", \
     .help = "bucket there"}, \
    {.key = "influxdb2-token-file", .type = CB_OPT_STRING, \
     CB_STREAMS_AT(config, member, influxdb2_token_file), .arg = "FILE", \
     .help = "token that may write there; or in CBFORMULA_INFLUXDB2_TOKEN"}, \
    {.key = "influxdb-ca-file", .type = CB_OPT_STRING, \
     CB_STREAMS_AT(config, member, influxdb_ca_file), .arg = "FILE", \
     .help = "certificates to check https:// servers of both with, instead of the system's"}, \
    {.key = "influxdb-format", .type = CB_OPT_STRING, \
     CB_STREAMS_AT(config, member, influxdb_format), .def = "cbwatts", .arg = "LIST", \
     .help = "cbwatts: wide rows; powerapi: power_consumption in watts; cadvisor: one measurement " \
             "a metric; for both"}, \
    {.key = "influxdb-resolution", .type = CB_OPT_DURATION, \
     CB_STREAMS_AT(config, member, influxdb_resolution_ns), .def = "1s", \
     .min = CB_STREAMS_RESOLUTION_MIN, .max = CB_STREAMS_RESOLUTION_MAX, .arg = "DURATION", \
     .help = "time of one row in both"}, \
    {.key = "jsonl", .type = CB_OPT_STRING, CB_STREAMS_AT(config, member, jsonl_dir), \
     .arg = "DIR", .help = "write energy to files of JSON lines in this directory, too"}, \
    {.key = "csv", .type = CB_OPT_STRING, CB_STREAMS_AT(config, member, csv_dir), \
     .arg = "DIR", .help = "write energy to CSV files in this directory, too"}, \
    {.key = "files-resolution", .type = CB_OPT_DURATION, \
     CB_STREAMS_AT(config, member, files_resolution_ns), .def = "1s", \
     .min = CB_STREAMS_RESOLUTION_MIN, .max = CB_STREAMS_RESOLUTION_MAX, .arg = "DURATION", \
     .help = "time of one row in files"}, \
    {.key = "files-rotate-size", .type = CB_OPT_U64, \
     CB_STREAMS_AT(config, member, files_rotate_mib), .def = "64", .min = 1, .max = 1048576, \
     .arg = "MIB", .help = "begin another file when one is so large"}, \
    {.key = "files-rotate-time", .type = CB_OPT_DURATION, \
     CB_STREAMS_AT(config, member, files_rotate_ns), .def = "24h", .min = 1e9, \
     .max = 8760 * 3600e9, .arg = "DURATION", .help = "or so old"}, \
    {.key = "files-keep", .type = CB_OPT_U64, CB_STREAMS_AT(config, member, files_keep), \
     .def = "0", .max = 1000000, .arg = "N", \
     .help = "delete the oldest finished files beyond so many; 0: keep all"}
/* clang-format on */

struct cb_streams {
    size_t n;
    struct cb_stream *at[CB_STREAMS_MAX];
};

/* What can be seen before anything is opened. -EINVAL names the option. */
int cb_streams_check(const struct cb_streams_config *config, struct cb_err *err) cb_must_check;
/* Those that are asked for; @store only for the length of the call. On failure those that were
 * started are in *@ret_streams, to be stopped. */
int cb_streams_start(const struct cb_streams_config *config, struct cb_store *store,
                     const char *database, struct cb_notify *notify, struct cb_streams *ret_streams,
                     struct cb_err *err) cb_must_check;
/* cb_notify_stop() must have been called. */
void cb_streams_stop(struct cb_streams *streams);

#endif
