/* SPDX-License-Identifier: Apache-2.0 */
/* store_sqlite_usage.c - what containers use besides energy: one row a frame that has it. See
 * store.h. */
#include <errno.h>
#include <string.h>

#include "formula/store_sqlite.h"
#include "lib/err.h"

/* Each version of a sensor has one or two; a sensor must not make them grow for ever. */
#define COLUMN_SETS_MAX 1000
#define USAGE_COLUMNS "u.frame, u.start, u.boot, u.t0_ns, u.t1_ns, u.wall_ns, c.names, u.bytes"
#define FROM_USAGE " FROM usage u JOIN usage_columns c ON c.id = u.columns"

/* Counters reach back to the row before of the same start. */
int cb_store_put_usage(struct cb_store *store, const struct cb_store_usage *usage,
                       uint64_t heard_wall_ns, struct cb_err *err)
{
    int r = cb_sql_run(store, "store the names of columns", err,
                       "INSERT INTO usage_columns(names) SELECT ?1"
                       " WHERE NOT EXISTS (SELECT 1 FROM usage_columns WHERE names = ?1)"
                       " AND (SELECT count(*) FROM usage_columns) < ?2",
                       "ti", usage->names, (int64_t)COLUMN_SETS_MAX);

    if (r >= 0)
        r = cb_sql_run(store, "store what containers use", err,
                       "INSERT INTO usage(frame, machine, boot, start, t0_ns, t1_ns, wall_ns,"
                       " columns, bytes, heard_wall_ns)"
                       " SELECT ?1, b.machine, ?2, ?3,"
                       " coalesce((SELECT max(t1_ns) FROM usage WHERE start = ?3), ?4), ?5, ?6,"
                       " c.id, ?8, ?9 FROM boots b, usage_columns c"
                       " WHERE b.id = ?2 AND c.names = ?7",
                       "iiiuuutbu", usage->frame, usage->boot, usage->start, usage->t0_ns,
                       usage->t1_ns, usage->wall_ns, usage->names, usage->bytes, usage->size,
                       heard_wall_ns);
    return r < 0 ? r : 0;
}

static int walk(struct cb_store *store, sqlite3_stmt *stmt, int r, cb_store_each_usage *each,
                void *context, struct cb_err *err)
{
    while (r > 0) {
        struct cb_store_usage usage = {
            .frame = sqlite3_column_int64(stmt, 0),
            .start = sqlite3_column_int64(stmt, 1),
            .boot = sqlite3_column_int64(stmt, 2),
            .t0_ns = cb_sql_u64(stmt, 3),
            .t1_ns = cb_sql_u64(stmt, 4),
            .wall_ns = cb_sql_u64(stmt, 5),
            .names = (const char *)sqlite3_column_text(stmt, 6),
            .bytes = sqlite3_column_blob(stmt, 7),
            .size = (size_t)sqlite3_column_bytes(stmt, 7),
        };
        int stop = each(context, &usage, err);

        if (stop)
            return stop;
        r = cb_sql_next(store, "read what containers use", err, stmt);
    }
    return r;
}

int cb_store_usage_of_frame(struct cb_store *store, int64_t frame, cb_store_each_usage *each,
                            void *context, struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "read what containers use", err, &stmt,
                         "SELECT " USAGE_COLUMNS FROM_USAGE " WHERE u.frame = ?1", "i", frame);

    return walk(store, stmt, r, each, context, err);
}

int cb_store_usage_by_wall(struct cb_store *store, int64_t machine, uint64_t from_wall_ns,
                           uint64_t to_wall_ns, cb_store_each_usage *each, void *context,
                           struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "read what containers use", err, &stmt,
                         "SELECT " USAGE_COLUMNS FROM_USAGE " WHERE u.machine = ?1"
                         " AND u.wall_ns >= ?2 AND u.wall_ns < ?3 ORDER BY u.wall_ns",
                         "iuu", machine, from_wall_ns, to_wall_ns);

    return walk(store, stmt, r, each, context, err);
}
