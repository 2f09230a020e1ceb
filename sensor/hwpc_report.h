/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hwpc_report.h - the reports of one tick in the form of PowerAPI's hwpc-sensor, and their texts.
 *
 * Form     which numbers a report has: groups of events, each with the CPUs that count it and the
 *          names of its events, time_enabled and time_running among them, sorted bytewise. One form
 *          for the machine, one for all cgroups; another one of each when a CPU comes that was not
 *          there at start.
 * Batch    the reports of one tick; all have its timestamp. Values in the order of the form: group,
 *          CPU, name. Counts are per tick and unscaled, RAPL's in 2^-32 J, times in nanoseconds.
 * JSON     one compact line: {"timestamp":ms,"sensor":..,"target":..,"groups":{GROUP:{PACKAGE:{CPU:
 *          {EVENT:count}}}}}, ids as strings, counts as integers, slashes as they are.
 * CSV      a file for each group with the columns timestamp,sensor,target,socket,cpu and its names;
 *          a comma, quote or line break in a target becomes '_'.
 */
#ifndef CB_SENSOR_HWPC_REPORT_H
#define CB_SENSOR_HWPC_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/cleanup.h"

struct cb_hwpc_cpu {
    char package[12];
    char cpu[12];
};

struct cb_hwpc_form_group {
    const char *name;
    size_t n_cpus;
    const struct cb_hwpc_cpu *cpus; /* those of one package lie together */
    size_t n_names;
    const char *const *names;
};

struct cb_hwpc_form {
    bool of_machine;
    size_t n_groups;
    const struct cb_hwpc_form_group *groups;
    size_t n_values; /* sum of n_cpus * n_names */
};

struct cb_hwpc_report_line {
    const struct cb_hwpc_form *form;
    size_t target; /* offset in the batch's text */
    size_t values; /* offset in the batch's values */
};

/* Zeroed: empty. Reset and filled again it allocates nothing once it is large enough. */
struct cb_hwpc_batch {
    int64_t timestamp_ms;
    const char *sensor; /* borrowed */
    size_t n, lines_room;
    struct cb_hwpc_report_line *lines;
    size_t text_size, text_room;
    char *text;
    size_t n_values, values_room;
    uint64_t *values;
};

void cb_hwpc_batch_reset(struct cb_hwpc_batch *batch, const char *sensor, int64_t timestamp_ms);
void cb_hwpc_batch_fini(struct cb_hwpc_batch *batch);

/* One report more: *@ret_values[form->n_values], for the caller to fill before the next call.
 * What is no UTF-8 in @target becomes '?', a control character a blank. -ENOMEM. */
int cb_hwpc_batch_add(struct cb_hwpc_batch *batch, const struct cb_hwpc_form *form,
                      const char *target, uint64_t **ret_values) cb_must_check;

const char *cb_hwpc_batch_target(const struct cb_hwpc_batch *batch, size_t i);
const uint64_t *cb_hwpc_batch_values(const struct cb_hwpc_batch *batch, size_t i);

/* Report @i as one JSON line. */
void cb_hwpc_batch_json(const struct cb_hwpc_batch *batch, size_t i, FILE *out);

/* The header of a group's file, and report @i's rows of its form's group @group. */
void cb_hwpc_csv_header(const struct cb_hwpc_form_group *group, FILE *out);
void cb_hwpc_batch_csv(const struct cb_hwpc_batch *batch, size_t i, size_t group, FILE *out);

#endif
