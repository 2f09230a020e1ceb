/* SPDX-License-Identifier: Apache-2.0 */
/* store_sqlite_tests.c - tests, recaps and the queues towards other stores. See store.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formula/store_sqlite.h"
#include "lib/err.h"

int cb_store_put_test(struct cb_store *store, const struct cb_store_test *test, const char *args,
                      struct cb_err *err)
{
    int r = cb_sql_run(store, "store a test", err,
                       "INSERT INTO tests(id, state, boot, name, image, args, created_wall_ns)"
                       " SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE"
                       " (SELECT count(*) FROM tests t JOIN boots b ON b.id = t.boot"
                       " WHERE t.has_recap = 0 AND b.machine ="
                       " (SELECT machine FROM boots WHERE id = ?3)) < ?8",
                       "tiitttui", test->id, (int64_t)CB_TEST_RUNNING, test->boot, test->name,
                       test->image, args, test->created_wall_ns, (int64_t)CB_STORE_OPEN_TESTS);

    if (r == 0)
        return cb_err_set(
            err, EDQUOT,
            "this machine has %d tests without a recap: end them or give them up; what "
            "was given up goes after an hour",
            CB_STORE_OPEN_TESTS);
    return r < 0 ? r : 0;
}

static void test_of_row(sqlite3_stmt *stmt, struct cb_store_test *test)
{
    *test = (struct cb_store_test){
        .state = (enum cb_test_state)sqlite3_column_int(stmt, 1),
        .boot = sqlite3_column_int64(stmt, 2),
        .created_wall_ns = cb_sql_u64(stmt, 7),
        .begin_ns = cb_sql_u64(stmt, 9),
        .has_warmup = sqlite3_column_type(stmt, 10) != SQLITE_NULL,
        .warmup_ns = cb_sql_u64(stmt, 10),
        .has_execution = sqlite3_column_type(stmt, 11) != SQLITE_NULL,
        .execution_ns = cb_sql_u64(stmt, 11),
        .end_ns = cb_sql_u64(stmt, 12),
        .exit_code = sqlite3_column_int(stmt, 13),
        .ended_wall_ns = cb_sql_u64(stmt, 14),
        .begin_wall_ns = cb_sql_u64(stmt, 15),
        .end_wall_ns = cb_sql_u64(stmt, 16),
    };
    cb_sql_text(stmt, 0, test->id, sizeof(test->id));
    cb_sql_text(stmt, 3, test->machine, sizeof(test->machine));
    cb_sql_text(stmt, 4, test->boot_id, sizeof(test->boot_id));
    cb_sql_text(stmt, 5, test->name, sizeof(test->name));
    cb_sql_text(stmt, 6, test->image, sizeof(test->image));
    cb_sql_text(stmt, 8, test->container_id, sizeof(test->container_id));
}

int cb_store_test(struct cb_store *store, const char *id, struct cb_store_test *ret_test,
                  struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r =
        cb_sql_first(store, "look up a test", err, &stmt,
                     "SELECT t.id, t.state, t.boot, m.name, b.boot_id, t.name, t.image,"
                     " t.created_wall_ns, t.container_id, t.begin_ns, t.warmup_ns,"
                     " t.execution_ns, t.end_ns, t.exit_code, t.ended_wall_ns,"
                     " t.begin_wall_ns, t.end_wall_ns FROM tests t JOIN boots b ON b.id = t.boot"
                     " JOIN machines m ON m.id = b.machine WHERE t.id = ?1",
                     "t", id);

    if (r == 0)
        return cb_err_set(err, ENOENT, "no test '%.40s'", id);
    if (r > 0)
        test_of_row(stmt, ret_test);
    return r < 0 ? r : 0;
}

static bool same_end(const struct cb_store_test *a, const struct cb_store_test *b)
{
    return strcmp(a->container_id, b->container_id) == 0 && a->begin_ns == b->begin_ns &&
           a->end_ns == b->end_ns && a->has_warmup == b->has_warmup &&
           a->warmup_ns == b->warmup_ns && a->has_execution == b->has_execution &&
           a->execution_ns == b->execution_ns && a->exit_code == b->exit_code;
}

static int write_end(struct cb_store *store, const struct cb_store_test *test, struct cb_err *err)
{
    int r = cb_sql_run(store, "store the end of a test", err,
                       "UPDATE tests SET state = ?2, container_id = ?3, begin_ns = ?4,"
                       " end_ns = ?5, exit_code = ?6, ended_wall_ns = ?7 WHERE id = ?1",
                       "tituuiu", test->id, (int64_t)CB_TEST_ENDED, test->container_id,
                       test->begin_ns, test->end_ns, (int64_t)test->exit_code, test->ended_wall_ns);

    if (r >= 0 && test->has_warmup)
        r = cb_sql_run(store, "store the end of a test", err,
                       "UPDATE tests SET warmup_ns = ?2 WHERE id = ?1", "tu", test->id,
                       test->warmup_ns);
    if (r >= 0 && test->has_execution)
        r = cb_sql_run(store, "store the end of a test", err,
                       "UPDATE tests SET execution_ns = ?2 WHERE id = ?1", "tu", test->id,
                       test->execution_ns);
    if (r >= 0 && test->end_wall_ns)
        r = cb_sql_run(store, "store the end of a test", err,
                       "UPDATE tests SET begin_wall_ns = ?2, end_wall_ns = ?3, exit_code = NULL"
                       " WHERE id = ?1",
                       "tuu", test->id, test->begin_wall_ns, test->end_wall_ns);
    return r;
}

int cb_store_end_test(struct cb_store *store, const struct cb_store_test *test, struct cb_err *err)
{
    struct cb_store_test old = {.boot = 0};
    bool mine = false;
    int r = cb_sql_begin_mine(store, &mine, err);

    if (r < 0)
        return r;
    r = cb_store_test(store, test->id, &old, err);
    if (r == 0 && old.state == CB_TEST_RUNNING)
        r = write_end(store, test, err);
    else if (r == 0 && old.state == CB_TEST_GIVEN_UP)
        r = cb_err_set(err, EEXIST, "test '%s' was given up", test->id);
    else if (r == 0 && !same_end(&old, test))
        r = cb_err_set(err, EEXIST, "test '%s' has ended already, with other values", test->id);
    r = cb_sql_end_mine(store, mine, r, err);
    return r < 0 ? r : 0;
}

int cb_store_give_up_test(struct cb_store *store, const char *id, uint64_t wall_ns,
                          struct cb_err *err)
{
    struct cb_store_test test = {.boot = 0};
    int r = cb_sql_run(store, "give a test up", err,
                       "UPDATE tests SET state = ?2, ended_wall_ns = ?4 WHERE id = ?1"
                       " AND state = ?3",
                       "tiiu", id, (int64_t)CB_TEST_GIVEN_UP, (int64_t)CB_TEST_RUNNING, wall_ns);

    if (r != 0)
        return r < 0 ? r : 0;
    r = cb_store_test(store, id, &test, err);
    if (r == 0 && test.state == CB_TEST_ENDED)
        return cb_err_set(err, EEXIST, "test '%s' has ended already", id);
    return r;
}

/* "+": by id it would walk the tests of all time, by the index those without a recap. */
int cb_store_next_ripe_test(struct cb_store *store, uint64_t stale_wall_ns, const char *after,
                            char ret_id[CB_TEST_ID_SIZE], struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "look for tests without a recap", err, &stmt,
                         "SELECT t.id FROM tests t JOIN boots b ON b.id = t.boot"
                         " WHERE t.state = 1 AND t.has_recap = 0"
                         " AND (b.last_t1_ns >= t.end_ns OR t.ended_wall_ns < ?1 OR"
                         " EXISTS (SELECT 1 FROM boots later WHERE later.machine = b.machine"
                         " AND later.id > b.id AND later.last_t1_ns > 0"
                         " AND later.heard_wall_ns > t.ended_wall_ns))"
                         " AND +t.id > ?2 ORDER BY +t.id LIMIT 1",
                         "ut", stale_wall_ns, after);

    if (r == 0)
        return cb_err_set(err, ENOENT, "store: every ended test has its recap");
    if (r > 0)
        cb_sql_text(stmt, 0, ret_id, CB_TEST_ID_SIZE);
    return r < 0 ? r : 0;
}

int cb_store_covered(struct cb_store *store, int64_t boot, uint64_t *ret_t1_ns, struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "look how far a boot is stored", err, &stmt,
                         "SELECT last_t1_ns FROM boots WHERE id = ?1", "i", boot);

    if (r >= 0)
        *ret_t1_ns = r > 0 ? cb_sql_u64(stmt, 0) : 0;
    return r < 0 ? r : 0;
}

static int queue_recap(struct cb_store *store, const char *sink, const char *test,
                       struct cb_err *err)
{
    int r = cb_sql_run(store, "queue a recap", err,
                       "INSERT INTO queue(sink, key) VALUES(?1, ?2) ON CONFLICT DO NOTHING", "tt",
                       sink, test);

    if (r >= 0)
        r = cb_sql_run(store, "remember what was queued", err,
                       "UPDATE recap_sinks SET recap = (SELECT id FROM recaps WHERE test = ?2)"
                       " WHERE sink = ?1",
                       "tt", sink, test);
    return r;
}

static int insert_recap(struct cb_store *store, const struct cb_store_test *test,
                        uint64_t begin_wall_ns, const char *document, const char *const *sinks,
                        size_t n_sinks, struct cb_err *err)
{
    int r = cb_sql_run(store, "store a recap", err,
                       "INSERT INTO recaps(test, machine, name, begin_wall_ns, document)"
                       " VALUES(?1, ?2, ?3, ?4, ?5) ON CONFLICT(test) DO NOTHING",
                       "tttut", test->id, test->machine, test->name, begin_wall_ns, document);

    if (r <= 0) /* there already: it also has its place in the queues */
        return r;
    for (size_t i = 0; i < n_sinks && r >= 0; i++)
        r = queue_recap(store, sinks[i], test->id, err);
    if (r >= 0)
        r = cb_sql_run(store, "store that a test has its recap", err,
                       "UPDATE tests SET has_recap = 1 WHERE id = ?1", "t", test->id);
    return r;
}

int cb_store_put_recap(struct cb_store *store, const struct cb_store_test *test,
                       uint64_t begin_wall_ns, const char *document, const char *const *sinks,
                       size_t n_sinks, struct cb_err *err)
{
    bool mine = false;
    int r = cb_sql_begin_mine(store, &mine, err);

    if (r < 0)
        return r;
    r = insert_recap(store, test, begin_wall_ns, document, sinks, n_sinks, err);
    r = cb_sql_end_mine(store, mine, r, err);
    return r < 0 ? r : 0;
}

static int copy_text(sqlite3_stmt *stmt, int column, char **ret_text, struct cb_err *err)
{
    const unsigned char *text = sqlite3_column_text(stmt, column);
    char *copy = strdup(text ? (const char *)text : "");

    if (!copy)
        return cb_err_set(err, ENOMEM, "out of memory");
    *ret_text = copy;
    return 0;
}

int cb_store_recap(struct cb_store *store, const char *test_id, char **ret_document,
                   struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "read a recap", err, &stmt,
                         "SELECT document FROM recaps WHERE test = ?1", "t", test_id);

    if (r == 0)
        return cb_err_set(err, ENOENT, "no recap of test '%.40s'", test_id);
    return r < 0 ? r : copy_text(stmt, 0, ret_document, err);
}

int cb_store_recaps(struct cb_store *store, const struct cb_store_recap_filter *filter,
                    cb_store_each_recap *each, void *context, struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "list recaps", err, &stmt,
                         "SELECT test, document FROM recaps"
                         " WHERE (?1 IS NULL OR machine = ?1) AND (?2 IS NULL OR name = ?2)"
                         " AND begin_wall_ns >= ?3 AND begin_wall_ns < min(?4, ifnull("
                         "(SELECT begin_wall_ns + 1 FROM recaps WHERE test = ?6), ?4))"
                         " AND (?6 IS NULL OR (begin_wall_ns, id) <"
                         " (SELECT begin_wall_ns, id FROM recaps WHERE test = ?6))"
                         " ORDER BY begin_wall_ns DESC, id DESC LIMIT ?5",
                         "ttuuut", filter->machine, filter->name, filter->from_wall_ns,
                         filter->to_wall_ns ? filter->to_wall_ns : (uint64_t)INT64_MAX,
                         (uint64_t)filter->limit, filter->after);

    while (r > 0) {
        int stop = each(context, (const char *)sqlite3_column_text(stmt, 0),
                        (const char *)sqlite3_column_text(stmt, 1));

        if (stop)
            return stop;
        r = cb_sql_next(store, "list recaps", err, stmt);
    }
    return r;
}

/* ---- queues ---- */

static int queue_missed(struct cb_store *store, const char *sink, struct cb_err *err)
{
    int r = cb_sql_run(store, "remember a sink", err,
                       "INSERT INTO recap_sinks(sink, recap) VALUES(?1, 0) ON CONFLICT DO NOTHING",
                       "t", sink);
    int n;

    if (r >= 0)
        r = cb_sql_run(store, "queue recaps", err,
                       "INSERT INTO queue(sink, key) SELECT ?1, test FROM recaps WHERE id >"
                       " (SELECT recap FROM recap_sinks WHERE sink = ?1) ORDER BY id"
                       " ON CONFLICT DO NOTHING",
                       "t", sink);
    n = r;
    if (r >= 0)
        r = cb_sql_run(store, "remember what was queued", err,
                       "UPDATE recap_sinks SET recap = (SELECT coalesce(max(id), 0) FROM recaps)"
                       " WHERE sink = ?1",
                       "t", sink);
    return r < 0 ? r : n;
}

int cb_store_queue_missed(struct cb_store *store, const char *sink, struct cb_err *err)
{
    bool mine = false;
    int r = cb_sql_begin_mine(store, &mine, err);

    if (r < 0)
        return r;
    r = queue_missed(store, sink, err);
    return cb_sql_end_mine(store, mine, r, err);
}

int cb_store_queue_first(struct cb_store *store, const char *sink, struct cb_store_queued *ret,
                         struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    struct cb_store_queued queued = {0};
    int r = cb_sql_first(store, "read a queue", err, &stmt,
                         "SELECT q.id, q.key, r.document FROM queue q"
                         " JOIN recaps r ON r.test = q.key"
                         " WHERE q.sink = ?1 AND q.set_aside IS NULL ORDER BY q.id LIMIT 1",
                         "t", sink);

    if (r == 0)
        return cb_err_set(err, ENOENT, "store: nothing is queued for %s", sink);
    if (r < 0)
        return r;
    queued.id = sqlite3_column_int64(stmt, 0);
    r = copy_text(stmt, 1, &queued.key, err);
    if (r == 0)
        r = copy_text(stmt, 2, &queued.document, err);
    if (r == 0)
        *ret = queued;
    else
        cb_store_queued_clear(&queued);
    return r;
}

void cb_store_queued_clear(struct cb_store_queued *queued)
{
    free(queued->key);
    free(queued->document);
    *queued = (struct cb_store_queued){0};
}

int cb_store_queue_done(struct cb_store *store, int64_t id, struct cb_err *err)
{
    int r = cb_sql_run(store, "take an entry off a queue", err, "DELETE FROM queue WHERE id = ?1",
                       "i", id);

    return r < 0 ? r : 0;
}

int cb_store_queue_set_aside(struct cb_store *store, int64_t id, const char *reason,
                             struct cb_err *err)
{
    int r = cb_sql_run(store, "set a queue's entry aside", err,
                       "UPDATE queue SET set_aside = ?2 WHERE id = ?1", "it", id, reason);

    return r < 0 ? r : 0;
}

int cb_store_queue_length(struct cb_store *store, const char *sink, uint64_t *ret_waiting,
                          uint64_t *ret_set_aside, struct cb_err *err)
{
    cb_auto_reset sqlite3_stmt *stmt = NULL;
    int r = cb_sql_first(store, "count a queue", err, &stmt,
                         "SELECT count(*) FILTER (WHERE set_aside IS NULL),"
                         " count(*) FILTER (WHERE set_aside IS NOT NULL)"
                         " FROM queue WHERE sink = ?1",
                         "t", sink);

    if (r > 0) {
        *ret_waiting = cb_sql_u64(stmt, 0);
        *ret_set_aside = cb_sql_u64(stmt, 1);
    }
    return r < 0 ? r : 0;
}
