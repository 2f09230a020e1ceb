/* SPDX-License-Identifier: Apache-2.0 */
/* store_sqlite_frames.c - one row a frame, snapshots, totals, forgetting. See store.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formula/store_sqlite.h"
#include "lib/err.h"

#define FRAME_COLUMNS "id, start, boot, seq, t0_ns, t1_ns, wall_ns, result"

/* The machine's counts are the sums over its starts: they grow by what this frame says beyond what
 * its start has said before. Starts are many and stay for ever, so nothing is summed up anew. */
static int count_lost(struct cb_store *store, const struct cb_store_frame *frame,
                      struct cb_err *err)
{
    return cb_sql_run(store, "count lost frames", err,
                      "UPDATE machines SET lost_frames = machines.lost_frames"
                      " + max(0, ?2 - s.lost_frames), missed_ticks = machines.missed_ticks"
                      " + max(0, ?3 - s.missed_ticks) FROM starts s"
                      " WHERE s.id = ?1 AND machines.id = s.machine"
                      " AND (?2 > s.lost_frames OR ?3 > s.missed_ticks)",
                      "iuu", frame->start, frame->lost_frames, frame->missed_ticks);
}

int cb_store_put_frame(struct cb_store *store, const struct cb_store_frame *frame,
                       uint64_t heard_wall_ns, int64_t *ret_id, struct cb_err *err)
{
    int r =
        cb_sql_run(store, "store a frame", err,
                   "INSERT INTO frames(machine, boot, start, seq, t0_ns, t1_ns, wall_ns, result,"
                   " heard_wall_ns)"
                   " SELECT machine, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 FROM boots WHERE id = ?1",
                   "iiuuuubu", frame->boot, frame->start, frame->seq, frame->t0_ns, frame->t1_ns,
                   frame->wall_ns, frame->result, frame->result_size, heard_wall_ns);

    if (r == 0)
        return cb_err_set(err, ENOENT, "store: no boot %lld", (long long)frame->boot);
    if (r > 0 && ret_id)
        *ret_id = sqlite3_last_insert_rowid(store->db);
    if (r > 0 && (frame->lost_frames > 0 || frame->missed_ticks > 0))
        r = count_lost(store, frame, err);
    if (r >= 0)
        r = cb_sql_run(store, "move a start on", err,
                       "UPDATE starts SET last_seq = max(last_seq, ?2),"
                       " lost_frames = max(lost_frames, ?3), missed_ticks = max(missed_ticks, ?4)"
                       " WHERE id = ?1",
                       "iuuu", frame->start, frame->seq, frame->lost_frames, frame->missed_ticks);
    if (r > 0)
        r = cb_sql_run(store, "move a boot on", err,
                       "UPDATE boots SET last_wall_ns = iif(?2 >= last_t1_ns, ?3, last_wall_ns),"
                       " last_length_ns = ?4, last_t1_ns = max(last_t1_ns, ?2),"
                       " heard_wall_ns = max(heard_wall_ns, ?5), covered_ns = covered_ns + ?4,"
                       " gaps = gaps + (last_t1_ns > 0 AND ?6 > last_t1_ns), first_t0_ns ="
                       " iif(last_t1_ns = 0 OR ?6 < first_t0_ns, ?6, first_t0_ns) WHERE id = ?1",
                       "iuuuuu", frame->boot, frame->t1_ns, frame->wall_ns,
                       frame->t1_ns - frame->t0_ns, heard_wall_ns, frame->t0_ns);
    return r < 0 ? r : 0;
}

/* Walk the rows of a statement that has FRAME_COLUMNS; @r is the result of its first step. */
static int walk(struct cb_store *store, sqlite3_stmt *stmt, int r, cb_store_each_frame *each,
                void *context, struct cb_err *err)
{
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
        int stop = each(context, &frame, err);

        if (stop)
            return stop;
        r = cb_sql_next(store, "read frames", err, stmt);
    }
    return r;
}

/* Frames of one boot do not overlap: the first that ends at or after @to_ns is the last one wanted.
 */
int cb_store_frames(struct cb_store *store, int64_t boot, uint64_t from_ns, uint64_t to_ns,
                    cb_store_each_frame *each, void *context, struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "read frames", err, &stmt,
                         "SELECT " FRAME_COLUMNS " FROM frames"
                         " WHERE boot = ?1 AND t1_ns > ?2 AND t0_ns < ?3 AND t1_ns <= coalesce("
                         "(SELECT min(t1_ns) FROM frames WHERE boot = ?1 AND t1_ns >= ?3), ?3)"
                         " ORDER BY t1_ns",
                         "iuu", boot, from_ns, to_ns);

    return walk(store, stmt, r, each, context, err);
}

int cb_store_frames_by_wall(struct cb_store *store, int64_t machine, uint64_t from_wall_ns,
                            uint64_t to_wall_ns, cb_store_each_frame *each, void *context,
                            struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "read frames", err, &stmt,
                         "SELECT " FRAME_COLUMNS " FROM frames"
                         " WHERE machine = ?1 AND wall_ns >= ?2 AND wall_ns < ?3 ORDER BY wall_ns",
                         "iuu", machine, from_wall_ns, to_wall_ns);

    return walk(store, stmt, r, each, context, err);
}

int cb_store_frames_after(struct cb_store *store, int64_t machine, int64_t after,
                          cb_store_each_frame *each, void *context, struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "read frames", err, &stmt,
                         "SELECT " FRAME_COLUMNS " FROM frames"
                         " WHERE id > ?2 AND machine = ?1 ORDER BY id",
                         "ii", machine, after);

    return walk(store, stmt, r, each, context, err);
}

int cb_store_last_frame(struct cb_store *store, int64_t boot, cb_store_each_frame *each,
                        void *context, struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "read the last frame", err, &stmt,
                         "SELECT " FRAME_COLUMNS " FROM frames"
                         " WHERE boot = ?1 ORDER BY t1_ns DESC LIMIT 1",
                         "i", boot);

    if (r == 0)
        return cb_err_set(err, ENOENT, "store: no frame yet");
    return walk(store, stmt, r, each, context, err);
}

int cb_store_spans(struct cb_store *store, int64_t machine, uint64_t from_wall_ns,
                   uint64_t to_wall_ns, cb_store_each_span *each, void *context, struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "look for boots", err, &stmt,
                         "SELECT boot, min(t0_ns), max(t1_ns) FROM frames"
                         " WHERE machine = ?1 AND wall_ns > ?2 AND wall_ns - (t1_ns - t0_ns) < ?3"
                         " GROUP BY boot ORDER BY min(wall_ns)",
                         "iuu", machine, from_wall_ns, to_wall_ns);

    while (r > 0) {
        int stop = each(context, sqlite3_column_int64(stmt, 0), cb_sql_u64(stmt, 1),
                        cb_sql_u64(stmt, 2), err);

        if (stop)
            return stop;
        r = cb_sql_next(store, "look for boots", err, stmt);
    }
    return r;
}

int cb_store_moment(struct cb_store *store, int64_t machine, uint64_t wall_ns,
                    struct cb_store_moment *ret_moment, struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *after = NULL;
    cb_auto_reset sqlite3_stmt *last = NULL;
    sqlite3_stmt *stmt;
    int r = cb_sql_first(store, "look for a time", err, &after,
                         "SELECT f.boot, b.boot_id, f.t0_ns, f.t1_ns, f.wall_ns FROM frames f"
                         " JOIN boots b ON b.id = f.boot WHERE f.machine = ?1 AND f.wall_ns >= ?2"
                         " ORDER BY f.wall_ns LIMIT 1",
                         "iu", machine, wall_ns);
    bool covered = r > 0;

    stmt = after;
    if (r == 0) {
        r = cb_sql_first(store, "look for a time", err, &last,
                         "SELECT f.boot, b.boot_id, f.t0_ns, f.t1_ns, f.wall_ns FROM frames f"
                         " JOIN boots b ON b.id = f.boot WHERE f.machine = ?1"
                         " ORDER BY f.wall_ns DESC LIMIT 1",
                         "i", machine);
        stmt = last;
    }
    if (r == 0)
        return cb_err_set(err, ENOENT, "store: no frame yet");
    if (r < 0)
        return r;
    *ret_moment = (struct cb_store_moment){
        .covered = covered,
        .boot = sqlite3_column_int64(stmt, 0),
        .t0_ns = cb_sql_u64(stmt, 2),
        .t1_ns = cb_sql_u64(stmt, 3),
        .wall_ns = cb_sql_u64(stmt, 4),
    };
    cb_sql_text(stmt, 1, ret_moment->boot_id, sizeof(ret_moment->boot_id));
    return 0;
}

/* ---- snapshots and totals ---- */

int cb_store_put_snapshot(struct cb_store *store, int64_t machine, const void *bytes, size_t size,
                          struct cb_err *err)
{
    int r = cb_sql_run(store, "store a model", err,
                       "INSERT OR REPLACE INTO snapshots(machine, bytes) VALUES(?1, ?2)", "ib",
                       machine, bytes, size);

    return r < 0 ? r : 0;
}

int cb_store_snapshot(struct cb_store *store, int64_t machine, uint8_t **ret_bytes,
                      size_t *ret_size, struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "read a model", err, &stmt,
                         "SELECT bytes FROM snapshots WHERE machine = ?1", "i", machine);
    size_t size;
    uint8_t *bytes;

    if (r == 0)
        return cb_err_set(err, ENOENT, "store: no model yet");
    if (r < 0)
        return r;
    size = (size_t)sqlite3_column_bytes(stmt, 0);
    bytes = malloc(size ? size : 1);
    if (!bytes)
        return cb_err_set(err, ENOMEM, "out of memory for a model of %zu bytes", size);
    if (size)
        memcpy(bytes, sqlite3_column_blob(stmt, 0), size);
    *ret_bytes = bytes;
    *ret_size = size;
    return 0;
}

int cb_store_put_total(struct cb_store *store, int64_t machine, const struct cb_store_total *total,
                       struct cb_err *err)
{
    int r = cb_sql_run(
        store, "store a total", err,
        "INSERT OR REPLACE INTO totals(machine, identity, socket, domain, source, container_id,"
        " name, image, energy_uj, idle_uj, system_uj, unattributed_uj, source_uncertainty_uj,"
        " param_uj, noise2_uj2, cpu_ns, last_wall_ns)"
        " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
        "itiiitttuuuuudduu", machine, total->identity, (int64_t)total->socket,
        (int64_t)total->domain, (int64_t)total->source, total->container_id, total->name,
        total->image, total->energy_uj, total->idle_uj, total->system_uj, total->unattributed_uj,
        total->source_uncertainty_uj, total->param_uj, total->noise2_uj2, total->cpu_ns,
        total->last_wall_ns);

    return r < 0 ? r : 0;
}

int cb_store_drop_totals(struct cb_store *store, int64_t machine, uint64_t before_wall_ns,
                         struct cb_err *err)
{
    int r = cb_sql_run(store, "delete old totals", err,
                       "DELETE FROM totals WHERE machine = ?1 AND identity <> ''"
                       " AND last_wall_ns < ?2",
                       "iu", machine, before_wall_ns);

    return r < 0 ? r : 0;
}

int cb_store_set_totals_frame(struct cb_store *store, int64_t machine, int64_t frame_id,
                              struct cb_err *err)
{
    int r =
        cb_sql_run(store, "store how far the totals are", err,
                   "UPDATE machines SET totals_frame = ?2 WHERE id = ?1", "ii", machine, frame_id);

    return r < 0 ? r : 0;
}

static void total_of_row(sqlite3_stmt *stmt, struct cb_store_total *total)
{
    *total = (struct cb_store_total){
        .socket = (uint16_t)sqlite3_column_int(stmt, 4),
        .domain = (uint8_t)sqlite3_column_int(stmt, 5),
        .source = (uint8_t)sqlite3_column_int(stmt, 6),
        .energy_uj = cb_sql_u64(stmt, 7),
        .idle_uj = cb_sql_u64(stmt, 8),
        .system_uj = cb_sql_u64(stmt, 9),
        .unattributed_uj = cb_sql_u64(stmt, 10),
        .source_uncertainty_uj = cb_sql_u64(stmt, 11),
        .param_uj = sqlite3_column_double(stmt, 12),
        .noise2_uj2 = sqlite3_column_double(stmt, 13),
        .cpu_ns = cb_sql_u64(stmt, 14),
        .last_wall_ns = cb_sql_u64(stmt, 15),
    };
    cb_sql_text(stmt, 0, total->identity, sizeof(total->identity));
    cb_sql_text(stmt, 1, total->container_id, sizeof(total->container_id));
    cb_sql_text(stmt, 2, total->name, sizeof(total->name));
    cb_sql_text(stmt, 3, total->image, sizeof(total->image));
}

int cb_store_totals(struct cb_store *store, int64_t machine, uint64_t since_wall_ns,
                    cb_store_each_total *each, void *context, int64_t *ret_frame_id,
                    struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *upto = NULL;
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int64_t frame_id;
    int r = cb_sql_first(store, "read how far the totals are", err, &upto,
                         "SELECT totals_frame FROM machines WHERE id = ?1", "i", machine);

    if (r == 0)
        return cb_err_set(err, ENOENT, "store: no machine %lld", (long long)machine);
    if (r < 0)
        return r;
    frame_id = sqlite3_column_int64(upto, 0);
    r = cb_sql_first(store, "read totals", err, &stmt,
                     "SELECT identity, container_id, name, image, socket, domain, source,"
                     " energy_uj, idle_uj, system_uj, unattributed_uj, source_uncertainty_uj,"
                     " param_uj, noise2_uj2, cpu_ns, last_wall_ns FROM totals"
                     " WHERE machine = ?1 AND (identity = '' OR last_wall_ns >= ?2)",
                     "iu", machine, since_wall_ns);
    while (r > 0) {
        struct cb_store_total total;
        int stop;

        total_of_row(stmt, &total);
        stop = each(context, &total);
        if (stop)
            return stop;
        r = cb_sql_next(store, "read totals", err, stmt);
    }
    if (r == 0)
        *ret_frame_id = frame_id;
    return r;
}
