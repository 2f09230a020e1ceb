/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_csv.h - the CSV files of PowerAPI's sensor, a directory at a time; used by hwpc_reader.c. */
#ifndef CB_LIB_HWPC_CSV_H
#define CB_LIB_HWPC_CSV_H

#include "lib/hwpc.h"

struct cb_hwpc_csv;

/* Read every GROUP.csv of @directory. With @skip_bad bad rows are counted into *@ret_skipped. */
int cb_hwpc_csv_load(const char *directory, bool skip_bad, struct cb_hwpc_csv **ret_csv,
                     uint64_t *ret_skipped, struct cb_err *err) cb_must_check;

/* By time, then in the order of the files and rows. *@ret_report is NULL at the end; the caller
 * owns it, also after @csv is freed. -ENOMEM */
int cb_hwpc_csv_next(struct cb_hwpc_csv *csv, struct cb_hwpc_report **ret_report,
                     struct cb_err *err) cb_must_check;

struct cb_hwpc_csv *cb_hwpc_csv_free(struct cb_hwpc_csv *csv);

#endif
