/* SPDX-License-Identifier: Apache-2.0 */
/* store_sqlite_age.c - what becomes of old rows: sums of one minute, then nothing. See store.h. */
#include <errno.h>
#include <stdlib.h>

#include "formula/result_sum.h"
#include "formula/store_sqlite.h"
#include "formula/store_stream.h"
#include "formula/usage.h"
#include "lib/clock.h"
#include "lib/err.h"

#define MINUTE_NS (60 * CB_NS_PER_S)
#define RUN_MAX 8192 /* rows that become one */
/* A test that was begun and has no recap yet holds full resolution so long. */
#define TEST_HOLDS_NS (UINT64_C(7) * 24 * 3600 * CB_NS_PER_S)

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t minute_of(uint64_t wall_ns)
{
    return (wall_ns - 1) / MINUTE_NS; /* a frame that ends with the minute is of it */
}

/* Rows that were stored before *@heard_wall_ns may go: not those that a stream (stream.h) still
 * has to take, unless it left them for too long. *@ret_forced: some of them may go untaken. */
static int hold_for_streams(struct cb_store *store, uint64_t *heard_wall_ns, bool *ret_forced,
                            struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    uint64_t latest = *heard_wall_ns > CB_STREAM_KEEP_NS ? *heard_wall_ns - CB_STREAM_KEEP_NS : 0;
    int64_t floor_frame = INT64_MAX;
    uint64_t untaken;
    int r = cb_store_stream_floor(store, &floor_frame, err);

    *ret_forced = false;
    if (r < 0 || floor_frame == INT64_MAX)
        return r;
    r = cb_sql_first(store, "see what a stream waits for", err, &stmt,
                     "SELECT heard_wall_ns FROM frames WHERE id > ?1 AND +coarse = 0"
                     " ORDER BY id LIMIT 1", /* as in cb_store_stream_frames() */
                     "i", floor_frame);
    if (r <= 0)
        return r;
    untaken = cb_sql_u64(stmt, 0);
    if (untaken >= *heard_wall_ns)
        return 0;
    *ret_forced = untaken < latest;
    *heard_wall_ns = *ret_forced ? latest : untaken;
    return 0;
}

/* A frame goes that streams have not taken. */
static int count_lost(struct cb_store *store, int64_t frame, struct cb_err *err)
{
    return cb_sql_run(store, "count what a stream lost", err,
                      "UPDATE streams SET lost_frames = lost_frames + 1"
                      " WHERE active = 1 AND frame < ?1",
                      "i", frame);
}

/* ---- nothing ---- */

static int delete_frames(struct cb_store *store, uint64_t heard_wall_ns, unsigned limit,
                         bool forced, struct cb_err *err)
{
    int r = 0;

    /* By age, whatever their resolution. */
    if (forced)
        r = cb_sql_run(store, "count what streams lost", err,
                       "UPDATE streams SET lost_frames = lost_frames + (SELECT count(*) FROM"
                       " (SELECT id FROM frames WHERE coarse = 0 AND heard_wall_ns < ?1"
                       " ORDER BY heard_wall_ns LIMIT ?2) WHERE id > streams.frame)"
                       " WHERE active = 1",
                       "uu", heard_wall_ns, (uint64_t)limit);
    if (r >= 0)
        r = cb_sql_run(store, "delete old frames", err,
                       "DELETE FROM frames WHERE id IN (SELECT id FROM frames WHERE coarse = 0"
                       " AND heard_wall_ns < ?1 ORDER BY heard_wall_ns LIMIT ?2)",
                       "uu", heard_wall_ns, (uint64_t)limit);
    if (r >= 0 && r < (int)limit) {
        int fine = r;

        r = cb_sql_run(store, "delete old frames", err,
                       "DELETE FROM frames WHERE id IN (SELECT id FROM frames WHERE coarse = 1"
                       " AND heard_wall_ns < ?1 LIMIT ?2)",
                       "uu", heard_wall_ns, (uint64_t)limit - (uint64_t)fine);
        r = r < 0 ? r : r + fine;
    }
    return r;
}

static int delete_usage(struct cb_store *store, uint64_t heard_wall_ns, unsigned limit,
                        struct cb_err *err)
{
    return cb_sql_run(store, "delete what containers used", err,
                      "DELETE FROM usage WHERE frame IN (SELECT frame FROM usage"
                      " WHERE coarse IN (0, 1) AND heard_wall_ns < ?1 LIMIT ?2)",
                      "uu", heard_wall_ns, (uint64_t)limit);
}

/* A target that is gone goes with the frames of its time, a whole start's targets with its last
 * frame, unless the machine may still report under it. */
int cb_store_forget(struct cb_store *store, uint64_t heard_wall_ns, unsigned limit,
                    struct cb_err *err)
{
    uint64_t before = heard_wall_ns;
    bool forced = false;
    bool mine = false;
    int frames = 0;
    int r = hold_for_streams(store, &before, &forced, err);

    if (r >= 0)
        r = cb_sql_begin_mine(store, &mine, err);
    if (r < 0)
        return r;
    frames = r = delete_frames(store, before, limit, forced, err);
    if (r >= 0)
        r = delete_usage(store, before, limit, err);
    if (r >= 0)
        r = cb_sql_run(store, "delete old targets", err,
                       "DELETE FROM targets WHERE gone_wall_ns < ?1", "u", before);
    if (r >= 0 && frames > 0)
        r = cb_sql_run(store, "delete targets of old starts", err,
                       "DELETE FROM targets WHERE start IN (SELECT s.id FROM starts s"
                       " JOIN boots b ON b.id = s.boot WHERE b.heard_wall_ns < ?1"
                       " AND NOT EXISTS (SELECT 1 FROM frames f WHERE f.start = s.id))",
                       "u", before);
    r = cb_sql_end_mine(store, mine, r, err);
    if (r >= 0 && frames > 0)
        r = cb_sql_run(store, "give free pages back", err, "PRAGMA incremental_vacuum(256)", "");
    return r < 0 ? r : frames;
}

/* ---- sums of one minute ---- */

/* Rows of one start that follow each other and become one. */
struct run {
    int64_t start, boot;
    uint64_t minute, first_t0_ns, first_t1_ns, last_t1_ns;
    size_t n;
    int64_t ids[RUN_MAX]; /* the last one stays */
};

/* Tests without a recap hold what they may need. */
static int hold_for_tests(struct cb_store *store, uint64_t *heard_wall_ns, struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    uint64_t oldest = *heard_wall_ns > TEST_HOLDS_NS ? *heard_wall_ns - TEST_HOLDS_NS : 0;
    int r = cb_sql_first(store, "see which tests are open", err, &stmt,
                         "SELECT coalesce(min(created_wall_ns), 9223372036854775807) FROM tests"
                         " WHERE has_recap = 0 AND state < 2 AND created_wall_ns > ?1",
                         "u", oldest);

    if (r > 0)
        *heard_wall_ns = sooner(*heard_wall_ns, cb_sql_u64(stmt, 0));
    return r < 0 ? r : 0;
}

/* Take the row into the run, unless it ends the run. */
static bool take(struct run *run, int64_t id, uint64_t t0_ns, uint64_t t1_ns, uint64_t wall_ns)
{
    if (run->n == 0) {
        run->minute = minute_of(wall_ns);
        run->first_t0_ns = t0_ns;
    } else if (run->n == RUN_MAX || minute_of(wall_ns) != run->minute || t0_ns != run->last_t1_ns) {
        return false;
    }
    run->ids[run->n++] = id;
    run->last_t1_ns = t1_ns;
    return true;
}

/* The oldest frame that is not a sum yet: 1, 0 when there is none. Frames that /metrics' totals
 * lack (totals.h) must keep their ids. */
static int find_frame(struct cb_store *store, uint64_t heard_wall_ns, struct run *run,
                      struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "look for old frames", err, &stmt,
                         "SELECT f.start, f.boot, f.t1_ns FROM frames f"
                         " JOIN machines m ON m.id = f.machine"
                         " WHERE f.coarse = 0 AND f.heard_wall_ns < ?1 AND f.id <= m.totals_frame"
                         " ORDER BY f.heard_wall_ns LIMIT 1",
                         "u", heard_wall_ns);

    if (r > 0) {
        run->start = sqlite3_column_int64(stmt, 0);
        run->boot = sqlite3_column_int64(stmt, 1);
        run->first_t1_ns = cb_sql_u64(stmt, 2);
        run->n = 0;
    }
    return r;
}

static int sum_frames(struct cb_store *store, uint64_t heard_wall_ns, struct run *run,
                      struct cb_result_sum *sum, struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    struct cb_result result = {0};
    int r = cb_sql_first(store, "read old frames", err, &stmt,
                         "SELECT f.id, f.t0_ns, f.t1_ns, f.wall_ns, f.result FROM frames f"
                         " JOIN machines m ON m.id = f.machine"
                         " WHERE f.boot = ?1 AND f.t1_ns >= ?2 AND f.start = ?3 AND f.coarse = 0"
                         " AND f.heard_wall_ns < ?4 AND f.id <= m.totals_frame ORDER BY f.t1_ns",
                         "iuiu", run->boot, run->first_t1_ns, run->start, heard_wall_ns);

    while (r > 0) {
        r = cb_result_unpack(sqlite3_column_blob(stmt, 4), (size_t)sqlite3_column_bytes(stmt, 4),
                             &result, err);
        if (r < 0 || !cb_result_sum_fits(sum, &result) ||
            !take(run, sqlite3_column_int64(stmt, 0), cb_sql_u64(stmt, 1), cb_sql_u64(stmt, 2),
                  cb_sql_u64(stmt, 3)))
            break;
        r = cb_result_sum_add(sum, &result, err);
        if (r == 0)
            r = cb_sql_next(store, "read old frames", err, stmt);
    }
    cb_result_clear(&result);
    return r < 0 ? r : 0;
}

static int put_frame_sum(struct cb_store *store, const struct run *run,
                         const struct cb_result_sum *sum, bool forced, struct cb_err *err)
{
    cb_auto_free uint8_t *bytes = NULL;
    size_t size = 0;
    int r = cb_result_pack(&sum->result, &bytes, &size, err);

    for (size_t i = 0; i < run->n && r >= 0; i++) {
        if (forced)
            r = count_lost(store, run->ids[i], err);
        if (r >= 0 && i + 1 < run->n)
            r = cb_sql_run(store, "delete a frame that is summed up", err,
                           "DELETE FROM frames WHERE id = ?1", "i", run->ids[i]);
    }
    if (r >= 0)
        r = cb_sql_run(store, "store the sum of frames", err,
                       "UPDATE frames SET t0_ns = ?2, result = ?3, coarse = 1, n_frames = ?4"
                       " WHERE id = ?1",
                       "iubu", run->ids[run->n - 1], run->first_t0_ns, (const void *)bytes, size,
                       (uint64_t)run->n);
    return r;
}

/* A result that cannot be read stays as it is and is not looked at again. */
static int keep_damaged(struct cb_store *store, const struct run *run, struct cb_err *err)
{
    return cb_sql_run(store, "pass a damaged frame over", err,
                      "UPDATE frames SET coarse = 1 WHERE boot = ?1 AND start = ?2 AND t1_ns = ?3",
                      "iiu", run->boot, run->start, run->first_t1_ns);
}

/* The number of frames that became one, 0 when none is left. */
static int coarsen_frames(struct cb_store *store, uint64_t heard_wall_ns, bool forced,
                          struct run *run, struct cb_err *err)
{
    struct cb_result_sum sum = {0};
    int r = find_frame(store, heard_wall_ns, run, err);

    if (r <= 0)
        return r;
    r = sum_frames(store, heard_wall_ns, run, &sum, err);
    if (run->n == 0 && r == -EBADMSG) {
        r = keep_damaged(store, run, err);
        run->n = 1;
    } else if (run->n && (r == 0 || r == -EBADMSG)) {
        r = put_frame_sum(store, run, &sum, forced, err);
    }
    cb_result_sum_clear(&sum);
    return r < 0 ? r : (int)run->n;
}

/* ---- what containers use, the same ---- */

static int find_usage(struct cb_store *store, uint64_t heard_wall_ns, struct run *run,
                      int64_t *ret_columns, struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "look for what containers used", err, &stmt,
                         "SELECT start, t1_ns, columns FROM usage"
                         " WHERE coarse = 0 AND heard_wall_ns < ?1 ORDER BY heard_wall_ns LIMIT 1",
                         "u", heard_wall_ns);

    if (r > 0) {
        run->start = sqlite3_column_int64(stmt, 0);
        run->first_t1_ns = cb_sql_u64(stmt, 1);
        run->n = 0;
        *ret_columns = sqlite3_column_int64(stmt, 2);
    }
    return r;
}

static int add_usage(struct cb_usage *sum, bool first, sqlite3_stmt *stmt, struct cb_err *err)
{
    struct cb_usage next = {0};
    const char *names = (const char *)sqlite3_column_text(stmt, 5);
    int r = cb_usage_unpack(sqlite3_column_blob(stmt, 4), (size_t)sqlite3_column_bytes(stmt, 4),
                            first ? sum : &next, err);

    if (r == 0 && !first)
        r = cb_usage_add(sum, names, &next, err);
    cb_usage_clear(&next);
    return r;
}

static int sum_usage(struct cb_store *store, uint64_t heard_wall_ns, int64_t columns,
                     struct run *run, struct cb_usage *sum, struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "read what containers used", err, &stmt,
                         "SELECT u.frame, u.t0_ns, u.t1_ns, u.wall_ns, u.bytes, c.names"
                         " FROM usage u JOIN usage_columns c ON c.id = u.columns"
                         " WHERE u.start = ?1 AND u.t1_ns >= ?2 AND u.coarse = 0 AND u.columns = ?3"
                         " AND u.heard_wall_ns < ?4 ORDER BY u.t1_ns",
                         "iuiu", run->start, run->first_t1_ns, columns, heard_wall_ns);

    while (r > 0 && take(run, sqlite3_column_int64(stmt, 0), cb_sql_u64(stmt, 1),
                         cb_sql_u64(stmt, 2), cb_sql_u64(stmt, 3))) {
        r = add_usage(sum, run->n == 1, stmt, err);
        if (r == 0)
            r = cb_sql_next(store, "read what containers used", err, stmt);
    }
    return r < 0 ? r : 0;
}

static int put_usage_sum(struct cb_store *store, const struct run *run, const struct cb_usage *sum,
                         struct cb_err *err)
{
    cb_auto_free uint8_t *bytes = NULL;
    size_t size = 0;
    int r = cb_usage_pack(sum, &bytes, &size, err);

    for (size_t i = 0; i + 1 < run->n && r >= 0; i++)
        r = cb_sql_run(store, "delete a row that is summed up", err,
                       "DELETE FROM usage WHERE frame = ?1", "i", run->ids[i]);
    if (r >= 0)
        r = cb_sql_run(store, "store the sum of rows", err,
                       "UPDATE usage SET t0_ns = ?2, bytes = ?3, coarse = 1 WHERE frame = ?1",
                       "iub", run->ids[run->n - 1], run->first_t0_ns, (const void *)bytes, size);
    return r;
}

static int coarsen_usage(struct cb_store *store, uint64_t heard_wall_ns, struct run *run,
                         struct cb_err *err)
{
    struct cb_usage sum = {0};
    int64_t columns = 0;
    int r = find_usage(store, heard_wall_ns, run, &columns, err);

    if (r <= 0)
        return r;
    r = sum_usage(store, heard_wall_ns, columns, run, &sum, err);
    if (r == -EBADMSG) { /* cannot be read, now or later */
        r = cb_sql_run(store, "delete a damaged row", err, "DELETE FROM usage WHERE frame = ?1",
                       "i", run->ids[run->n - 1]);
        run->n = 1;
    } else if (r == 0) {
        r = put_usage_sum(store, run, &sum, err);
    }
    cb_usage_clear(&sum);
    return r < 0 ? r : (int)run->n;
}

int cb_store_coarsen(struct cb_store *store, uint64_t heard_wall_ns, unsigned limit,
                     struct cb_err *err)
{
    cb_auto_free struct run *run = malloc(sizeof(*run));
    uint64_t before = heard_wall_ns;
    bool forced = false;
    bool mine = false;
    unsigned done = 0;
    int r;

    if (!run)
        return cb_err_set(err, ENOMEM, "out of memory");
    r = hold_for_streams(store, &before, &forced, err);
    if (r >= 0)
        r = hold_for_tests(store, &before, err);
    if (r >= 0)
        r = cb_sql_begin_mine(store, &mine, err);
    if (r < 0)
        return r;
    do {
        r = coarsen_frames(store, before, forced, run, err);
        done += r > 0 ? (unsigned)r : 0;
    } while (r > 0 && done < limit);
    while (r >= 0 && done < limit) {
        r = coarsen_usage(store, before, run, err);
        if (r <= 0)
            break;
        done += (unsigned)r;
    }
    r = cb_sql_end_mine(store, mine, r, err);
    return r < 0 ? r : (int)done;
}
