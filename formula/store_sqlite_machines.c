/* SPDX-License-Identifier: Apache-2.0 */
/* store_sqlite_machines.c - machines, boots, sensor starts and the dictionary. See store.h. */
#include <errno.h>
#include <string.h>

#include "formula/store_sqlite.h"
#include "lib/err.h"

#define MACHINE_COLUMNS                                                                            \
    "m.id, m.name, m.key, m.frames, m.duplicates, m.refused, m.violations, m.lost_frames,"         \
    " b.id, b.boot_id, b.last_t1_ns, b.last_wall_ns, b.last_length_ns, b.heard_wall_ns,"           \
    " m.missed_ticks, m.self_cpu_ns,"                                                              \
    " (SELECT sum(covered_ns) FROM boots c WHERE c.machine = m.id),"                               \
    " (SELECT sum(max(0, last_t1_ns - first_t0_ns - covered_ns)) FROM boots c"                     \
    " WHERE c.machine = m.id),"                                                                    \
    " (SELECT sum(gaps) FROM boots c WHERE c.machine = m.id), m.self_uj"

static void machine_of_row(sqlite3_stmt *stmt, struct cb_store_machine *machine)
{
    *machine = (struct cb_store_machine){
        .id = sqlite3_column_int64(stmt, 0),
        .frames = cb_sql_u64(stmt, 3),
        .duplicates = cb_sql_u64(stmt, 4),
        .refused = cb_sql_u64(stmt, 5),
        .violations = cb_sql_u64(stmt, 6),
        .lost_frames = cb_sql_u64(stmt, 7),
        .boot = sqlite3_column_int64(stmt, 8),
        .last_t1_ns = cb_sql_u64(stmt, 10),
        .last_wall_ns = cb_sql_u64(stmt, 11),
        .last_length_ns = cb_sql_u64(stmt, 12),
        .heard_wall_ns = cb_sql_u64(stmt, 13),
        .missed_ticks = cb_sql_u64(stmt, 14),
        .self_cpu_ns = cb_sql_u64(stmt, 15),
        .covered_ns = cb_sql_u64(stmt, 16),
        .gap_ns = cb_sql_u64(stmt, 17),
        .gaps = cb_sql_u64(stmt, 18),
        .self_uj = cb_sql_u64(stmt, 19),
    };
    cb_sql_text(stmt, 1, machine->name, sizeof(machine->name));
    cb_sql_text(stmt, 2, machine->key, sizeof(machine->key));
    cb_sql_text(stmt, 9, machine->boot_id, sizeof(machine->boot_id));
}

static int find_machine(struct cb_store *store, const char *name,
                        struct cb_store_machine *ret_machine, struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "look up a machine", err, &stmt,
                         "SELECT " MACHINE_COLUMNS
                         " FROM machines m LEFT JOIN boots b ON b.id = m.boot WHERE m.name = ?1",
                         "t", name);

    if (r > 0)
        machine_of_row(stmt, ret_machine);
    return r;
}

int cb_store_machine(struct cb_store *store, const char *name, struct cb_store_machine *ret_machine,
                     struct cb_err *err)
{
    int r = find_machine(store, name, ret_machine, err);

    if (r == 0) {
        r = cb_sql_run(store, "add a machine", err,
                       "INSERT INTO machines(name) SELECT ?1"
                       " WHERE (SELECT count(*) FROM machines) < ?2",
                       "ti", name, (int64_t)CB_STORE_MAX_MACHINES);
        if (r == 0)
            return cb_err_set(err, EDQUOT, "store: %d machines are known, no more are taken",
                              CB_STORE_MAX_MACHINES);
        if (r > 0)
            r = find_machine(store, name, ret_machine, err);
    }
    return r < 0 ? r : 0;
}

int cb_store_find_machine(struct cb_store *store, const char *name,
                          struct cb_store_machine *ret_machine, struct cb_err *err)
{
    int r = find_machine(store, name, ret_machine, err);

    if (r == 0)
        return cb_err_set(err, ENOENT, "no machine '%.60s' has reported", name);
    return r < 0 ? r : 0;
}

int cb_store_bind_key(struct cb_store *store, int64_t machine, const char *key, struct cb_err *err)
{
    int r = cb_sql_run(store, "bind a name to its key", err,
                       "UPDATE machines SET key = ?2 WHERE id = ?1", "it", machine, key);

    return r < 0 ? r : 0;
}

int cb_store_machines(struct cb_store *store, cb_store_each_machine *each, void *context,
                      struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "list the machines", err, &stmt,
                         "SELECT " MACHINE_COLUMNS
                         " FROM machines m LEFT JOIN boots b ON b.id = m.boot ORDER BY m.name",
                         "");

    while (r > 0) {
        struct cb_store_machine machine;
        int stop;

        machine_of_row(stmt, &machine);
        stop = each(context, &machine);
        if (stop)
            return stop;
        r = cb_sql_next(store, "list the machines", err, stmt);
    }
    return r;
}

int cb_store_machine_of_boot(struct cb_store *store, const char *boot_id,
                             struct cb_store_machine *ret_machine, struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r =
        cb_sql_first(store, "look up a boot", err, &stmt,
                     "SELECT " MACHINE_COLUMNS " FROM boots b JOIN machines m ON m.id = b.machine"
                     " WHERE b.boot_id = ?1 ORDER BY b.heard_wall_ns DESC LIMIT 1",
                     "t", boot_id);

    if (r == 0)
        return cb_err_set(err, ENOENT, "no sensor has reported with the boot id '%.40s'", boot_id);
    if (r > 0)
        machine_of_row(stmt, ret_machine);
    return r < 0 ? r : 0;
}

static int find_start(struct cb_store *store, int64_t machine, const char *boot_id,
                      const char *start_id, struct cb_store_start *ret_start, struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "look up a sensor start", err, &stmt,
                         "SELECT s.id, s.boot, s.last_seq FROM starts s"
                         " JOIN boots b ON b.id = s.boot"
                         " WHERE s.machine = ?1 AND s.start_id = ?2 AND b.boot_id = ?3",
                         "itt", machine, start_id, boot_id);

    if (r == 0)
        return cb_err_set(err, EEXIST, "start id '%.40s' belongs to another boot", start_id);

    if (r > 0)
        *ret_start = (struct cb_store_start){
            .id = sqlite3_column_int64(stmt, 0),
            .machine = machine,
            .boot = sqlite3_column_int64(stmt, 1),
            .last_seq = cb_sql_u64(stmt, 2),
        };
    return r;
}

static int make_start(struct cb_store *store, int64_t machine, const char *boot_id,
                      const char *start_id, uint64_t heard_wall_ns, struct cb_err *err)
{
    int r = cb_sql_run(store, "add a boot", err,
                       "INSERT INTO boots(machine, boot_id, heard_wall_ns) VALUES(?1, ?2, ?3)"
                       " ON CONFLICT(machine, boot_id) DO UPDATE"
                       " SET heard_wall_ns = max(heard_wall_ns, ?3)",
                       "itu", machine, boot_id, heard_wall_ns);

    if (r >= 0)
        r = cb_sql_run(store, "add a sensor start", err,
                       "INSERT INTO starts(machine, boot, start_id)"
                       " SELECT ?1, id, ?3 FROM boots WHERE machine = ?1 AND boot_id = ?2"
                       " ON CONFLICT(machine, start_id) DO NOTHING",
                       "itt", machine, boot_id, start_id);
    if (r >= 0)
        r = cb_sql_run(store, "set a machine's boot", err,
                       "UPDATE machines SET boot ="
                       " (SELECT id FROM boots WHERE machine = ?1 AND boot_id = ?2) WHERE id = ?1",
                       "it", machine, boot_id);
    return r;
}

int cb_store_start(struct cb_store *store, int64_t machine, const char *boot_id,
                   const char *start_id, uint64_t heard_wall_ns, struct cb_store_start *ret_start,
                   struct cb_err *err)
{
    bool mine = false;
    int r = cb_sql_begin_mine(store, &mine, err);

    if (r < 0)
        return r;
    r = make_start(store, machine, boot_id, start_id, heard_wall_ns, err);
    if (r >= 0)
        r = find_start(store, machine, boot_id, start_id, ret_start, err);
    r = cb_sql_end_mine(store, mine, r, err);
    return r < 0 ? r : 0;
}

int cb_store_add_counts(struct cb_store *store, int64_t machine,
                        const struct cb_store_counts *counts, struct cb_err *err)
{
    int r = cb_sql_run(store, "count a machine's frames", err,
                       "UPDATE machines SET frames = frames + ?2, duplicates = duplicates + ?3,"
                       " refused = refused + ?4, violations = violations + ?5,"
                       " self_cpu_ns = self_cpu_ns + ?6, self_uj = self_uj + ?7 WHERE id = ?1",
                       "iuuuuuu", machine, counts->frames, counts->duplicates, counts->refused,
                       counts->violations, counts->self_cpu_ns, counts->self_uj);

    return r < 0 ? r : 0;
}

/* ---- the dictionary ---- */

/* Who keeps texts (stream_fold.h) sees by it that they are old. */
static int count_change(struct cb_store *store, const struct cb_store_target *target,
                        struct cb_err *err)
{
    return cb_sql_run(store, "count changed texts", err,
                      "UPDATE machines SET texts = texts + 1 WHERE id = (SELECT s.machine"
                      " FROM targets t JOIN starts s ON s.id = t.start"
                      " WHERE t.start = ?1 AND t.target = ?2 AND t.known = 1"
                      " AND (t.kind, t.container_id, t.name, t.image, t.cgroup)"
                      " IS NOT (?3, ?4, ?5, ?6, ?7))",
                      "iiitttt", target->start, (int64_t)target->target, (int64_t)target->kind,
                      target->container_id, target->name, target->image, target->cgroup);
}

int cb_store_put_target(struct cb_store *store, const struct cb_store_target *target,
                        const char *labels, struct cb_err *err)
{
    bool mine = false;
    int r = cb_sql_begin_mine(store, &mine, err);

    if (r < 0)
        return r;
    if (target->known)
        r = count_change(store, target, err);
    if (r >= 0)
        r = cb_sql_run(store, "store a target", err,
                       "INSERT INTO targets(start, target, kind, known, container_id, name, image,"
                       " cgroup, labels) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
                       " ON CONFLICT(start, target) DO UPDATE SET kind = ?3, known = ?4,"
                       " container_id = ?5, name = ?6, image = ?7, cgroup = ?8, labels = ?9"
                       " WHERE ?4 >= known",
                       "iiiittttt", target->start, (int64_t)target->target, (int64_t)target->kind,
                       (int64_t)target->known, target->container_id, target->name, target->image,
                       target->cgroup, labels);
    r = cb_sql_end_mine(store, mine, r, err);
    return r < 0 ? r : 0;
}

int cb_store_target(struct cb_store *store, int64_t start, uint32_t target,
                    struct cb_store_target *ret_target, struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "look up a target", err, &stmt,
                         "SELECT kind, known, container_id, name, image, cgroup FROM targets"
                         " WHERE start = ?1 AND target = ?2",
                         "ii", start, (int64_t)target);

    if (r == 0)
        return cb_err_set(err, ENOENT, "store: no target %u", target);
    if (r < 0)
        return r;
    *ret_target = (struct cb_store_target){
        .start = start,
        .target = target,
        .kind = (uint8_t)sqlite3_column_int(stmt, 0),
        .known = sqlite3_column_int(stmt, 1) != 0,
    };
    cb_sql_text(stmt, 2, ret_target->container_id, sizeof(ret_target->container_id));
    cb_sql_text(stmt, 3, ret_target->name, sizeof(ret_target->name));
    cb_sql_text(stmt, 4, ret_target->image, sizeof(ret_target->image));
    cb_sql_text(stmt, 5, ret_target->cgroup, sizeof(ret_target->cgroup));
    return 0;
}

int cb_store_boot(struct cb_store *store, int64_t id, struct cb_store_boot *ret_boot,
                  struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "look up a boot", err, &stmt,
                         "SELECT b.machine, m.name, b.boot_id FROM boots b"
                         " JOIN machines m ON m.id = b.machine WHERE b.id = ?1",
                         "i", id);

    if (r == 0)
        return cb_err_set(err, ENOENT, "store: no boot %lld", (long long)id);
    if (r < 0)
        return r;
    *ret_boot = (struct cb_store_boot){.id = id, .machine = sqlite3_column_int64(stmt, 0)};
    cb_sql_text(stmt, 1, ret_boot->machine_name, sizeof(ret_boot->machine_name));
    cb_sql_text(stmt, 2, ret_boot->boot_id, sizeof(ret_boot->boot_id));
    return 0;
}

int cb_store_sightings(struct cb_store *store, const char *container, const char *machine,
                       cb_store_each_sighting *each, void *context, struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "look for a container", err, &stmt,
                         "SELECT s.boot, t.container_id, max(t.name) FROM targets t"
                         " JOIN starts s ON s.id = t.start JOIN machines m ON m.id = s.machine"
                         " WHERE t.container_id <> '' AND (?2 IS NULL OR m.name = ?2) AND"
                         " (t.name = ?1 OR t.cgroup = ?1 OR (length(?1) >= 8 AND"
                         " substr(t.container_id, 1, length(?1)) = ?1))"
                         " GROUP BY s.boot, t.container_id ORDER BY min(t.start), min(t.target)",
                         "tt", container, machine);

    while (r > 0) {
        int stop =
            each(context, sqlite3_column_int64(stmt, 0), (const char *)sqlite3_column_text(stmt, 1),
                 (const char *)sqlite3_column_text(stmt, 2), err);

        if (stop)
            return stop;
        r = cb_sql_next(store, "look for a container", err, stmt);
    }
    return r;
}

int cb_store_target_gone(struct cb_store *store, int64_t start, uint32_t target,
                         uint64_t heard_wall_ns, struct cb_err *err)
{
    int r = cb_sql_run(store, "store that a target is gone", err,
                       "UPDATE targets SET gone_wall_ns = ?3 WHERE start = ?1 AND target = ?2",
                       "iiu", start, (int64_t)target, heard_wall_ns);

    return r < 0 ? r : 0;
}

void cb_store_target_identity(const struct cb_store_target *target,
                              char ret_identity[CB_STORE_TEXT_SIZE])
{
    const char *text = target->container_id[0] ? target->container_id : target->cgroup;

    if (text[0])
        (void)snprintf(ret_identity, CB_STORE_TEXT_SIZE, "%s", text);
    else
        (void)snprintf(ret_identity, CB_STORE_TEXT_SIZE, "target %u of start %lld", target->target,
                       (long long)target->start);
}
