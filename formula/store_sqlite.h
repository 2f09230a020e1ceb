/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_sqlite.h - what the files store_sqlite*.c share: statements by their text. Private to them.
 *
 * A statement is prepared once for each connection and looked up by the address of its text, so a
 * text is a literal at one place. Formats of parameters: i int64_t, u uint64_t, d double, t const
 * char * (NULL: NULL), b const void * and size_t.
 */
#ifndef CB_FORMULA_STORE_SQLITE_H
#define CB_FORMULA_STORE_SQLITE_H

#include <sqlite3.h>

#include "formula/store.h"

#define MAX_STATEMENTS 128

/* To change the schema: one more entry, this number, docs/store.md, and a database of the version
 * before in tests/fixtures/store. */
#define CB_SQL_SCHEMA_VERSION 7
extern const char *const cb_sql_migrations[CB_SQL_SCHEMA_VERSION];

struct cb_gate;

struct cb_store {
    sqlite3 *db;
    struct cb_gate *gate; /* NULL: only reads */
    bool first;           /* at the gate */
    bool inside;          /* passed it */
    int wal_pages;        /* after the last commit, until they are looked at */
    size_t n_statements;
    struct {
        const char *sql;
        sqlite3_stmt *stmt;
    } statements[MAX_STATEMENTS];
};

static inline void cb_sql_reset_at(sqlite3_stmt **stmt)
{
    if (*stmt) {
        (void)sqlite3_reset(*stmt);
        (void)sqlite3_clear_bindings(*stmt);
    }
}
#define cb_auto_reset __attribute__((cleanup(cb_sql_reset_at)))

/* The last failure of the connection as -errno and one line that says @what could not be done. */
int cb_sql_error(const struct cb_store *store, const char *what, struct cb_err *err);

/* Bind and take the first step: 1 a row, 0 none, or an error. *@ret_stmt is to be reset
 * (cb_auto_reset) whatever comes back; texts and blobs must live until then. */
int cb_sql_first(struct cb_store *store, const char *what, struct cb_err *err,
                 sqlite3_stmt **ret_stmt, const char *sql, const char *format, ...) cb_must_check;
/* The next row: 1, 0 or an error. */
int cb_sql_next(struct cb_store *store, const char *what, struct cb_err *err,
                sqlite3_stmt *stmt) cb_must_check;
/* Bind and run to the end; returns the number of changed rows or an error. */
int cb_sql_run(struct cb_store *store, const char *what, struct cb_err *err, const char *sql,
               const char *format, ...) cb_must_check;

/* A transaction unless one is open already (*@ret_mine). */
int cb_sql_begin_mine(struct cb_store *store, bool *ret_mine, struct cb_err *err) cb_must_check;
/* End it: commit when @r >= 0, else roll back; returns @r or the failure of the commit. */
int cb_sql_end_mine(struct cb_store *store, bool mine, int r, struct cb_err *err) cb_must_check;

void cb_sql_text(sqlite3_stmt *stmt, int column, char *ret_text, size_t size); /* cuts */
static inline uint64_t cb_sql_u64(sqlite3_stmt *stmt, int column)
{
    return (uint64_t)sqlite3_column_int64(stmt, column);
}

#endif
