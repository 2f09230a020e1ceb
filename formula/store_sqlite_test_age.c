/* SPDX-License-Identifier: Apache-2.0 */
/* store_sqlite_test_age.c - tests nobody ends, and recaps that are old. See store.h. */
#include "formula/store_sqlite.h"
#include "lib/err.h"

static int give_up(struct cb_store *store, uint64_t now_wall_ns, unsigned limit, struct cb_err *err)
{
    if (now_wall_ns < CB_STORE_RUNNING_NS)
        return 0;
    return cb_sql_run(store, "give old tests up", err,
                      "UPDATE tests SET state = ?1, ended_wall_ns = ?2 WHERE id IN (SELECT id FROM "
                      "tests WHERE has_recap = 0 AND state = ?3 AND created_wall_ns < ?4 LIMIT ?5)",
                      "iuiuu", (int64_t)CB_TEST_GIVEN_UP, now_wall_ns, (int64_t)CB_TEST_RUNNING,
                      now_wall_ns - CB_STORE_RUNNING_NS, (uint64_t)limit);
}

static int forget_given_up(struct cb_store *store, uint64_t now_wall_ns, unsigned limit,
                           struct cb_err *err)
{
    if (now_wall_ns < CB_STORE_GIVEN_UP_NS)
        return 0;
    return cb_sql_run(store, "delete tests that were given up", err,
                      "DELETE FROM tests WHERE id IN (SELECT id FROM tests WHERE has_recap = 0"
                      " AND state = ?1"
                      " AND ifnull(ended_wall_ns, created_wall_ns) < ?2 LIMIT ?3)",
                      "iuu", (int64_t)CB_TEST_GIVEN_UP, now_wall_ns - CB_STORE_GIVEN_UP_NS,
                      (uint64_t)limit);
}

/* The newest recap stays: recap_sinks goes by the order of ids, which must not begin anew. */
static int forget_recaps(struct cb_store *store, uint64_t before_wall_ns, unsigned limit,
                         struct cb_err *err)
{
    int n = cb_sql_run(store, "delete old tests", err,
                       "DELETE FROM tests WHERE id IN (SELECT t.id FROM recaps r JOIN tests t"
                       " ON t.id = r.test WHERE t.ended_wall_ns < ?1"
                       " AND r.id < (SELECT max(id) FROM recaps) AND NOT EXISTS (SELECT 1 FROM"
                       " queue q WHERE q.key = r.test AND q.set_aside IS NULL) LIMIT ?2)",
                       "uu", before_wall_ns, (uint64_t)limit);
    int r = n;

    if (n > 0)
        r = cb_sql_run(store, "delete old recaps", err,
                       "DELETE FROM recaps WHERE NOT EXISTS"
                       " (SELECT 1 FROM tests t WHERE t.id = recaps.test)",
                       "");
    if (n > 0 && r >= 0)
        r = cb_sql_run(store, "take old recaps off queues", err,
                       "DELETE FROM queue WHERE NOT EXISTS"
                       " (SELECT 1 FROM recaps r WHERE r.test = queue.key)",
                       "");
    return r < 0 ? r : n;
}

int cb_store_age_tests(struct cb_store *store, uint64_t now_wall_ns, uint64_t recaps_ns,
                       unsigned limit, struct cb_err *err)
{
    bool mine = false;
    int r = cb_sql_begin_mine(store, &mine, err);
    int n = 0;

    if (r < 0)
        return r;
    r = give_up(store, now_wall_ns, limit, err);
    n = r;
    if (r >= 0)
        r = forget_given_up(store, now_wall_ns, limit, err);
    n = r > n ? r : n;
    if (r >= 0 && recaps_ns > 0 && now_wall_ns > recaps_ns)
        r = forget_recaps(store, now_wall_ns - recaps_ns, limit, err);
    n = r > n ? r : n;
    return cb_sql_end_mine(store, mine, r < 0 ? r : n, err);
}
