/* SPDX-License-Identifier: Apache-2.0 */
/* test_store_plan.c - what is asked at every commit, or at the start, must not walk the history:
 * SQLite's own word on how it looks the rows up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "formula/store_sqlite.h"
#include "formula/store_stream.h"
#include "tests/support/store_fixture.h"

static int ignore_frame(void *context, const struct cb_store_frame *frame, struct cb_err *err)
{
    (void)context;
    (void)frame;
    (void)err;
    return 0;
}

static int ignore_stream_frame(void *context, int64_t machine, const struct cb_store_frame *frame,
                               struct cb_err *err)
{
    (void)context;
    (void)machine;
    (void)frame;
    (void)err;
    return 0;
}

/* The plan of the one statement of the connection that begins with @begin, in one line. */
static void plan_of(struct cb_store *store, const char *begin, char *ret_plan, size_t size)
{
    const char *sql = NULL;
    char explain[2048];
    sqlite3_stmt *stmt = NULL;

    for (size_t i = 0; i < store->n_statements; i++)
        if (strncmp(store->statements[i].sql, begin, strlen(begin)) == 0) {
            assert_null(sql);
            sql = store->statements[i].sql;
        }
    assert_non_null(sql);
    (void)snprintf(explain, sizeof(explain), "EXPLAIN QUERY PLAN %s", sql);
    assert_int_equal(sqlite3_prepare_v2(store->db, explain, -1, &stmt, NULL), SQLITE_OK);
    ret_plan[0] = '\0';
    while (sqlite3_step(stmt) == SQLITE_ROW) {
        size_t n = strlen(ret_plan);

        (void)snprintf(ret_plan + n, size - n, "%s%s", n ? "; " : "",
                       (const char *)sqlite3_column_text(stmt, 3));
    }
    assert_int_equal(sqlite3_finalize(stmt), SQLITE_OK);
}

static void assert_plan(struct cb_store *store, const char *begin, const char *want)
{
    char plan[1024];

    plan_of(store, begin, plan, sizeof(plan));
    assert_string_equal(plan, want);
}

static void assert_plan_has(struct cb_store *store, const char *begin, const char *want)
{
    char plan[1024];

    plan_of(store, begin, plan, sizeof(plan));
    if (!strstr(plan, want))
        fail_msg("%s", plan);
}

static void a_stream_reads_frames_by_id(void **state)
{
    struct store_fixture *f = *state;

    assert_int_equal(cb_store_stream_frames(f->store, 0, 10, ignore_stream_frame, NULL, NULL), 0);
    assert_plan(f->store, "SELECT id, start, boot, seq",
                "SEARCH frames USING INTEGER PRIMARY KEY (rowid>?)");
}

static void retention_sees_by_id_what_a_stream_waits_for(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_stream at;

    assert_int_equal(cb_store_stream_open(f->store, "other", &at, NULL), 0);
    assert_int_equal(cb_store_forget(f->store, 1, 10, NULL), 0);
    assert_plan(f->store, "SELECT heard_wall_ns FROM frames",
                "SEARCH frames USING INTEGER PRIMARY KEY (rowid>?)");
}

/* Not by id alone: of a machine that is gone the others' frames since then would be read. */
static void totals_read_the_frames_of_one_machine_by_id(void **state)
{
    struct store_fixture *f = *state;

    assert_int_equal(cb_store_frames_after(f->store, 1, 0, ignore_frame, NULL, NULL), 0);
    assert_plan(f->store, "SELECT id, start, boot, seq",
                "SEARCH frames USING INDEX frames_machine (machine=? AND rowid>?)");
}

/* At every turn of the keeper; the tests of all time have their recap. */
static void ripe_tests_are_sought_among_those_without_a_recap(void **state)
{
    struct store_fixture *f = *state;
    char id[CB_TEST_ID_SIZE];

    assert_int_equal(cb_store_next_ripe_test(f->store, 1, "", id, NULL), -ENOENT);
    assert_plan_has(f->store, "SELECT t.id FROM tests t JOIN boots b",
                    "INDEX tests_open (state=?)");
}

static void tests_are_counted_and_aged_among_those_without_a_recap(void **state)
{
    struct store_fixture *f = *state;
    const struct cb_store_start start = store_fixture_start(f->store);
    const struct cb_store_test test = {.id = "1", .boot = start.boot};

    assert_int_equal(cb_store_put_test(f->store, &test, "[]", NULL), 0);
    assert_int_equal(cb_store_age_tests(f->store, INT64_MAX, 0, 10, NULL), 1);
    assert_plan_has(f->store, "INSERT INTO tests", "INDEX tests_open;");
    assert_plan_has(f->store, "UPDATE tests SET state = ?1, ended",
                    "INDEX tests_open (state=? AND created_wall_ns<?)");
    assert_plan_has(f->store, "DELETE FROM tests WHERE id IN (SELECT id",
                    "INDEX tests_open (state=?)");
}

static int ignore_recap(void *context, const char *test_id, const char *document)
{
    (void)context;
    (void)test_id;
    (void)document;
    return 0;
}

static void the_next_page_of_recaps_is_read_from_where_the_last_one_ended(void **state)
{
    const struct cb_store_recap_filter filter = {.limit = 1, .after = "1"};
    struct store_fixture *f = *state;

    assert_int_equal(cb_store_recaps(f->store, &filter, ignore_recap, NULL, NULL), 0);
    assert_plan_has(f->store, "SELECT test, document FROM recaps",
                    "INDEX recaps_begin (begin_wall_ns>? AND begin_wall_ns<?)");
}

/* Steps of SQLite's machine for one more frame of a start that has lost some. */
static int steps_of_a_frame(struct cb_store *store, const struct cb_store_start *start,
                            uint64_t seq)
{
    const struct cb_store_frame frame = {.start = start->id,
                                         .boot = start->boot,
                                         .seq = seq,
                                         .t0_ns = seq,
                                         .t1_ns = seq + 1,
                                         .result = "",
                                         .lost_frames = 1,
                                         .missed_ticks = seq};
    int steps = 0;

    for (size_t i = 0; i < store->n_statements; i++)
        (void)sqlite3_stmt_status(store->statements[i].stmt, SQLITE_STMTSTATUS_VM_STEP, 1);
    assert_int_equal(cb_store_put_frame(store, &frame, 1, NULL, NULL), 0);
    for (size_t i = 0; i < store->n_statements; i++)
        steps += sqlite3_stmt_status(store->statements[i].stmt, SQLITE_STMTSTATUS_VM_STEP, 1);
    return steps;
}

static void a_frame_costs_the_same_whatever_starts_were_before(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_store_start other;
    char start_id[CB_START_ID_SIZE];
    int before;

    (void)steps_of_a_frame(f->store, &start, 1);
    before = steps_of_a_frame(f->store, &start, 2);
    for (unsigned i = 0; i < 100; i++) {
        (void)snprintf(start_id, sizeof(start_id), "%u", i);
        assert_int_equal(
            cb_store_start(f->store, start.machine, FIXTURE_BOOT, start_id, 1, &other, NULL), 0);
    }
    assert_int_equal(steps_of_a_frame(f->store, &start, 3), before);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, store_fixture_setup, store_fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_stream_reads_frames_by_id),
        TEST(retention_sees_by_id_what_a_stream_waits_for),
        TEST(totals_read_the_frames_of_one_machine_by_id),
        TEST(ripe_tests_are_sought_among_those_without_a_recap),
        TEST(tests_are_counted_and_aged_among_those_without_a_recap),
        TEST(the_next_page_of_recaps_is_read_from_where_the_last_one_ended),
        TEST(a_frame_costs_the_same_whatever_starts_were_before),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
