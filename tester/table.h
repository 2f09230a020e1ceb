/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.h - rows of one label and one cell for each column, aligned.
 *
 * Texts are copied; control characters become '?', so that nothing in a file can steer a terminal.
 * Running out of memory is remembered and told by cb_table_print().
 */
#ifndef CB_TESTER_TABLE_H
#define CB_TESTER_TABLE_H

#include <stddef.h>
#include <stdio.h>

#include "lib/cleanup.h"

struct cb_table;

struct cb_table *cb_table_new(size_t n_columns); /* NULL: out of memory */
struct cb_table *cb_table_free(struct cb_table *table);

/* Begin a row; cells that are not set stay empty. */
void cb_table_row(struct cb_table *table, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Set a cell of the last row. */
void cb_table_set(struct cb_table *table, size_t column, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Labels to the left, cells to the right. -ENOMEM; errors of @out stay in it (ferror()). */
int cb_table_print(const struct cb_table *table, FILE *out) cb_must_check;

#endif
