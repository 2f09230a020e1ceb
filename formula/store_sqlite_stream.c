/* SPDX-License-Identifier: Apache-2.0 */
/* store_sqlite_stream.c - see store_stream.h. */
#include <errno.h>
#include <string.h>

#include "formula/store_sqlite.h"
#include "formula/store_stream.h"
#include "lib/err.h"

/* What another store refused is kept, but not for ever. */
#define ASIDES_KEPT 1000

static int done(int r)
{
    return r < 0 ? r : 0;
}

int cb_store_stream(struct cb_store *store, const char *sink, struct cb_store_stream *ret,
                    struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "read a stream", err, &stmt,
                         "SELECT frame, place, lost_frames, set_aside_rows FROM streams"
                         " WHERE sink = ?1",
                         "t", sink);

    if (r == 0)
        return cb_err_set(err, ENOENT, "store: no stream '%s'", sink);
    if (r < 0)
        return r;
    ret->frame = sqlite3_column_int64(stmt, 0);
    cb_sql_text(stmt, 1, ret->place, sizeof(ret->place));
    ret->lost_frames = cb_sql_u64(stmt, 2);
    ret->set_aside_rows = cb_sql_u64(stmt, 3);
    return 0;
}

int cb_store_stream_open(struct cb_store *store, const char *sink, struct cb_store_stream *ret,
                         struct cb_err *err)
{
    int r = cb_sql_run(store, "open a stream", err,
                       "INSERT INTO streams(sink, active) VALUES(?1, 1)"
                       " ON CONFLICT(sink) DO UPDATE SET active = 1",
                       "t", sink);

    return r < 0 ? r : cb_store_stream(store, sink, ret, err);
}

int cb_store_streams_rest(struct cb_store *store, struct cb_err *err)
{
    return done(cb_sql_run(store, "rest the streams", err, "UPDATE streams SET active = 0", ""));
}

/* ---- marks ---- */

int cb_store_stream_mark(struct cb_store *store, const char *sink, int64_t machine,
                         struct cb_fold_mark *ret_mark, struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "read a stream's mark", err, &stmt,
                         "SELECT frame, part_frame, part_ns, boot, anchor_ns, any_bin, high_ns,"
                         " last_ns, last_again, passes FROM stream_marks"
                         " WHERE sink = ?1 AND machine = ?2",
                         "ti", sink, machine);

    if (r == 0)
        return cb_err_set(err, ENOENT, "store: no mark");
    if (r < 0)
        return r;
    *ret_mark = (struct cb_fold_mark){
        .frame = sqlite3_column_int64(stmt, 0),
        .part_frame = sqlite3_column_int64(stmt, 1),
        .part_ns = cb_sql_u64(stmt, 2),
        .boot = sqlite3_column_int64(stmt, 3),
        .anchor_ns = sqlite3_column_int64(stmt, 4),
        .any = sqlite3_column_int(stmt, 5) != 0,
        .high_ns = sqlite3_column_int64(stmt, 6),
        .last_ns = sqlite3_column_int64(stmt, 7),
        .last_again = (uint32_t)sqlite3_column_int64(stmt, 8),
        .passes = (uint32_t)sqlite3_column_int64(stmt, 9),
    };
    return 0;
}

int cb_store_put_stream_mark(struct cb_store *store, const char *sink, int64_t machine,
                             const struct cb_fold_mark *mark, struct cb_err *err)
{
    return done(cb_sql_run(
        store, "store a stream's mark", err,
        "INSERT OR REPLACE INTO stream_marks(sink, machine, frame, part_frame, part_ns, boot,"
        " anchor_ns, any_bin, high_ns, last_ns, last_again, passes)"
        " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        "tiiiuiiiiiii", sink, machine, mark->frame, mark->part_frame, mark->part_ns, mark->boot,
        mark->anchor_ns, (int64_t)mark->any, mark->high_ns, mark->last_ns,
        (int64_t)mark->last_again, (int64_t)mark->passes));
}

int cb_store_put_stream_frame(struct cb_store *store, const char *sink, int64_t frame,
                              struct cb_err *err)
{
    return done(cb_sql_run(store, "move a stream on", err,
                           "UPDATE streams SET frame = max(frame, ?2) WHERE sink = ?1", "ti", sink,
                           frame));
}

/* ---- the batch under way ---- */

int cb_store_put_stream_batch(struct cb_store *store, const char *sink,
                              const struct cb_batch *batch, struct cb_err *err)
{
    return done(cb_sql_run(store, "store a batch", err,
                           "INSERT INTO stream_batches(sink, rows, bytes) VALUES(?1, ?2, ?3)",
                           "tub", sink, batch->rows, (const void *)batch->bytes, batch->size));
}

int cb_store_stream_batch(struct cb_store *store, const char *sink, struct cb_batch *ret_batch,
                          struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    struct cb_batch batch = {0};
    int r = cb_sql_first(store, "read a batch", err, &stmt,
                         "SELECT rows, bytes FROM stream_batches WHERE sink = ?1", "t", sink);

    if (r == 0)
        return cb_err_set(err, ENOENT, "store: no batch");
    if (r < 0)
        return r;
    batch.rows = cb_sql_u64(stmt, 0);
    cb_batch_add(&batch, sqlite3_column_blob(stmt, 1), (size_t)sqlite3_column_bytes(stmt, 1));
    if (batch.failed)
        return cb_err_set(err, ENOMEM, "out of memory for a batch");
    *ret_batch = batch;
    return 0;
}

static int keep_aside(struct cb_store *store, const char *sink, uint64_t now_wall_ns,
                      const struct cb_stream_aside *aside, struct cb_err *err)
{
    int r = cb_sql_run(store, "keep a refused batch", err,
                       "INSERT INTO stream_asides(sink, wall_ns, rows, reason, bytes)"
                       " VALUES(?1, ?2, ?3, ?4, ?5)",
                       "tuutb", sink, now_wall_ns, aside->rows, aside->reason,
                       (const void *)aside->bytes, aside->size);

    if (r >= 0)
        r = cb_sql_run(store, "count refused rows", err,
                       "UPDATE streams SET set_aside_rows = set_aside_rows + ?2 WHERE sink = ?1",
                       "tu", sink, aside->rows);
    if (r >= 0)
        r = cb_sql_run(store, "delete old refused rows", err,
                       "DELETE FROM stream_asides WHERE sink = ?1 AND id <= (SELECT id FROM"
                       " stream_asides WHERE sink = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                       "ti", sink, (int64_t)ASIDES_KEPT);
    return r;
}

int cb_store_stream_taken(struct cb_store *store, const char *sink, uint64_t now_wall_ns,
                          const struct cb_stream_answer *answer, struct cb_err *err)
{
    bool mine = false;
    int r = cb_sql_begin_mine(store, &mine, err);

    if (r < 0)
        return r;
    r = cb_sql_run(store, "delete a batch", err, "DELETE FROM stream_batches WHERE sink = ?1", "t",
                   sink);
    for (const struct cb_stream_aside *a = answer->asides; a && r >= 0; a = a->next)
        r = keep_aside(store, sink, now_wall_ns, a, err);
    if (r >= 0)
        r = cb_store_put_stream_place(store, sink, answer->place, err);
    return done(cb_sql_end_mine(store, mine, r, err));
}

int cb_store_put_stream_place(struct cb_store *store, const char *sink, const char *place,
                              struct cb_err *err)
{
    return done(cb_sql_run(store, "keep a stream's place", err,
                           "UPDATE streams SET place = ?2 WHERE sink = ?1", "tt", sink, place));
}

/* ---- what waits ---- */

/* Ids of frames have no holes but where transactions failed: their difference is their number. */
int cb_store_stream_waiting(struct cb_store *store, const char *sink, uint64_t *ret_frames,
                            uint64_t *ret_oldest_wall_ns, struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "see what waits for a stream", err, &stmt,
                         "SELECT (SELECT max(id) FROM frames) - s.frame,"
                         " (SELECT wall_ns FROM frames WHERE id > s.frame ORDER BY id LIMIT 1)"
                         " FROM streams s WHERE sink = ?1",
                         "t", sink);
    int64_t frames;

    if (r < 0)
        return r;
    frames = r > 0 ? sqlite3_column_int64(stmt, 0) : 0;
    *ret_frames = frames > 0 ? (uint64_t)frames : 0;
    *ret_oldest_wall_ns = frames > 0 ? cb_sql_u64(stmt, 1) : 0;
    return 0;
}

int cb_store_stream_floor(struct cb_store *store, int64_t *ret_frame, struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "see what every stream has", err, &stmt,
                         "SELECT coalesce(min(frame), 9223372036854775807) FROM streams"
                         " WHERE active = 1",
                         "");

    if (r < 0)
        return r;
    *ret_frame = sqlite3_column_int64(stmt, 0);
    return 0;
}

/* ---- frames ---- */

/* "+coarse" keeps SQLite from looking all frames of full resolution up by frames_age, and sorting
 * them, at every commit. */
int cb_store_stream_frames(struct cb_store *store, int64_t after, unsigned limit,
                           cb_store_each_stream_frame *each, void *context, struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "read frames", err, &stmt,
                         "SELECT id, start, boot, seq, t0_ns, t1_ns, wall_ns, result, machine"
                         " FROM frames WHERE id > ?1 AND +coarse = 0 ORDER BY id LIMIT ?2",
                         "iu", after, (uint64_t)limit);

    while (r > 0) {
        struct cb_store_frame frame = {
            .id = sqlite3_column_int64(stmt, 0),
            .start = sqlite3_column_int64(stmt, 1),
            .boot = sqlite3_column_int64(stmt, 2),
            .seq = cb_sql_u64(stmt, 3),
            .t0_ns = cb_sql_u64(stmt, 4),
            .t1_ns = cb_sql_u64(stmt, 5),
            .wall_ns = cb_sql_u64(stmt, 6),
            .result = sqlite3_column_blob(stmt, 7),
            .result_size = (size_t)sqlite3_column_bytes(stmt, 7),
        };
        int stop = each(context, sqlite3_column_int64(stmt, 8), &frame, err);

        if (stop)
            return stop;
        r = cb_sql_next(store, "read frames", err, stmt);
    }
    return r;
}

/* ---- names ---- */

static int text_of(sqlite3_stmt *stmt, int r, char *ret_text, size_t size, const char *what,
                   int64_t id, struct cb_err *err)
{
    if (r == 0)
        return cb_err_set(err, ENOENT, "store: no %s %lld", what, (long long)id);
    if (r < 0)
        return r;
    cb_sql_text(stmt, 0, ret_text, size);
    return 0;
}

int cb_store_texts(struct cb_store *store, int64_t boot, uint64_t *ret_changes, struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "see whether texts changed", err, &stmt,
                         "SELECT m.texts FROM boots b JOIN machines m ON m.id = b.machine"
                         " WHERE b.id = ?1",
                         "i", boot);

    if (r == 0)
        return cb_err_set(err, ENOENT, "store: no boot %lld", (long long)boot);
    if (r < 0)
        return r;
    *ret_changes = cb_sql_u64(stmt, 0);
    return 0;
}

int cb_store_machine_name(struct cb_store *store, int64_t machine, char ret_name[CB_NAME_SIZE],
                          struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "read a machine's name", err, &stmt,
                         "SELECT name FROM machines WHERE id = ?1", "i", machine);

    return text_of(stmt, r, ret_name, CB_NAME_SIZE, "machine", machine, err);
}

int cb_store_boot_id(struct cb_store *store, int64_t boot, char ret_id[CB_BOOT_ID_SIZE],
                     struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "read a boot's id", err, &stmt,
                         "SELECT boot_id FROM boots WHERE id = ?1", "i", boot);

    return text_of(stmt, r, ret_id, CB_BOOT_ID_SIZE, "boot", boot, err);
}
