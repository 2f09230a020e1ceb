/* SPDX-License-Identifier: Apache-2.0 */
/*
 * powerapi_csv.h - the directory that PowerAPI's sensor writes CSV to (`-r csv`), followed as its
 * files grow: GROUP.csv, the rows of each in the order of time.
 *
 * Rows      The sensor's files come in pieces, each at its own pace. Rows of a time are taken when
 *           every file that still grows has come past it; a file that did not grow for a while
 *           (@wait_ns) holds nothing back any more. What is no row is counted and skipped. A file
 * that was replaced or got shorter is read anew; what is stored of it is not taken again. Limits 64
 * files, 64 MiB that wait of each; above it nothing waits for the others. Threads   one of its own.
 */
#ifndef CB_FORMULA_POWERAPI_CSV_H
#define CB_FORMULA_POWERAPI_CSV_H

#include "formula/powerapi.h"

struct cb_powerapi_csv;

/* The directory must be there; files may come later. */
int cb_powerapi_csv_start(const char *directory, uint64_t wait_ns, struct cb_powerapi *powerapi,
                          struct cb_powerapi_csv **ret_csv, struct cb_err *err) cb_must_check;
/* What waits is not given out: it is read again. Returns NULL. */
struct cb_powerapi_csv *cb_powerapi_csv_stop(struct cb_powerapi_csv *csv);

#endif
