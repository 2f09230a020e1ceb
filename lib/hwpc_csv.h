/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hwpc_csv.h - the CSV files of PowerAPI's sensor: a directory at once (hwpc_reader.c), or texts as
 * they come (formula/powerapi_csv.c).
 *
 * Rows of one (timestamp, sensor, target) in all files are one report. A second row of the same CPU
 * in the same file is a duplicate: it is dropped and counted, or, with last_wins, the first is.
 * Threads  one object, with the reports made of it, belongs to one thread.
 */
#ifndef CB_LIB_HWPC_CSV_H
#define CB_LIB_HWPC_CSV_H

#include "lib/hwpc.h"

struct cb_hwpc_csv;

struct cb_hwpc_csv_options {
    bool skip_bad; /* count bad rows and go on */
    bool last_wins;
};

/* Read every GROUP.csv of @directory and sort. */
int cb_hwpc_csv_load(const char *directory, const struct cb_hwpc_csv_options *options,
                     struct cb_hwpc_csv **ret_csv, struct cb_err *err) cb_must_check;

/* The same from texts: each begins with its header. @name is for messages; @text, malloc()ed and
 * ended by a NUL, is taken over, also when it fails. Then sort once. */
int cb_hwpc_csv_new(const struct cb_hwpc_csv_options *options, struct cb_hwpc_csv **ret_csv,
                    struct cb_err *err) cb_must_check;
int cb_hwpc_csv_add(struct cb_hwpc_csv *csv, const char *name, const char *group, char *text,
                    struct cb_err *err) cb_must_check;
void cb_hwpc_csv_sort(struct cb_hwpc_csv *csv);

/* By time, then in the order of the files and rows. *@ret_report is NULL at the end; the caller
 * owns it, also after @csv is freed. -ENOMEM */
int cb_hwpc_csv_next(struct cb_hwpc_csv *csv, struct cb_hwpc_report **ret_report,
                     struct cb_err *err) cb_must_check;

uint64_t cb_hwpc_csv_skipped(const struct cb_hwpc_csv *csv);
uint64_t cb_hwpc_csv_duplicates(const struct cb_hwpc_csv *csv); /* rows */

struct cb_hwpc_csv *cb_hwpc_csv_free(struct cb_hwpc_csv *csv);

#endif
