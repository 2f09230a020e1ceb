/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#include "formula/pages.h"
#include "lib/err.h"
#include "tests/support/store_fixture.h"

#define N (2 * CB_PAGES_ROWS + 500)

static void put_frames(struct store_fixture *f)
{
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_result result = {0};
    uint64_t seed = 1;

    assert_int_equal(cb_store_begin(f->store, NULL), 0);
    for (uint64_t i = 1; i <= N; i++) {
        fixture_result(&result, &seed, i * 1000, (i + 1) * 1000, 1, 1);
        result.wall_ns = FIXTURE_WALL_OFFSET + i / 7; /* a page ends within frames of one time */
        fixture_put(f->store, &start, i, &result);
    }
    assert_int_equal(cb_store_commit(f->store, NULL), 0);
    cb_result_clear(&result);
}

struct reader {
    sqlite3 *db;
    uint64_t seen;
    int answer; /* of each */
};

/* Another connection writes, and takes the whole log back: nobody may hold it. */
static void take_log_back(sqlite3 *db)
{
    sqlite3_stmt *stmt = NULL;

    assert_int_equal(sqlite3_exec(db, "UPDATE machines SET refused = refused + 1", 0, 0, 0),
                     SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA wal_checkpoint(TRUNCATE)", -1, &stmt, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(stmt, 0), 0); /* busy */
    (void)sqlite3_finalize(stmt);
}

static int read_frame(void *context, const struct cb_store_frame *frame, struct cb_err *err)
{
    struct reader *reader = context;
    struct cb_result result = {0};

    assert_int_equal(frame->seq, ++reader->seen);
    assert_int_equal(cb_result_unpack(frame->result, frame->result_size, &result, err), 0);
    cb_result_clear(&result);
    if (frame->seq % 500 == 0)
        take_log_back(reader->db);
    return reader->answer;
}

static int read_machine(void *context, const struct cb_store_machine *machine)
{
    const struct reader *reader = context;

    assert_string_equal(machine->name, "node1");
    take_log_back(reader->db);
    return 7;
}

static void every_row_is_told_once_and_nothing_is_held_meanwhile(void **state)
{
    struct store_fixture *f = *state;
    struct reader reader = {.seen = 0};

    put_frames(f);
    assert_int_equal(sqlite3_open(f->path, &reader.db), SQLITE_OK);
    assert_int_equal(cb_pages_frames(f->store, 1, 0, INT64_MAX, read_frame, &reader, NULL), 0);
    assert_int_equal(reader.seen, N);
    reader.seen = 0;
    reader.answer = 7;
    assert_int_equal(cb_pages_frames(f->store, 1, 0, INT64_MAX, read_frame, &reader, NULL), 7);
    assert_int_equal(reader.seen, 1);
    assert_int_equal(cb_pages_machines(f->store, read_machine, &reader, NULL), 7);
    (void)sqlite3_close(reader.db);
}

#define N_RECAPS (CB_PAGES_ROWS + 100)

static void put_recaps(struct store_fixture *f)
{
    assert_int_equal(cb_store_begin(f->store, NULL), 0);
    for (unsigned i = 0; i < N_RECAPS; i++) {
        struct cb_store_test test = {.machine = "node1"};

        (void)snprintf(test.id, sizeof(test.id), "%u", i);
        assert_int_equal(cb_store_put_recap(f->store, &test, 1 + i / 7, test.id, NULL, 0, NULL), 0);
    }
    assert_int_equal(cb_store_commit(f->store, NULL), 0);
}

static int read_recap(void *context, const char *test_id, const char *document)
{
    struct reader *reader = context;
    char want[16];

    (void)snprintf(want, sizeof(want), "%u", N_RECAPS - 1 - (unsigned)reader->seen++);
    assert_string_equal(test_id, want);
    assert_string_equal(document, want);
    if (reader->seen % 500 == 1)
        take_log_back(reader->db);
    return reader->answer;
}

static void recaps_are_told_newest_first_up_to_their_limit(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_recap_filter filter = {.machine = "node1", .limit = UINT32_MAX};
    struct reader reader = {.seen = 0};

    (void)store_fixture_start(f->store);
    put_recaps(f);
    assert_int_equal(sqlite3_open(f->path, &reader.db), SQLITE_OK);
    assert_int_equal(cb_pages_recaps(f->store, &filter, read_recap, &reader, NULL), 0);
    assert_int_equal(reader.seen, N_RECAPS);
    reader.seen = 0;
    filter.limit = CB_PAGES_ROWS + 1;
    assert_int_equal(cb_pages_recaps(f->store, &filter, read_recap, &reader, NULL), 0);
    assert_int_equal(reader.seen, CB_PAGES_ROWS + 1);
    reader.seen = 0;
    filter.limit = CB_PAGES_ROWS;
    assert_int_equal(cb_pages_recaps(f->store, &filter, read_recap, &reader, NULL), 0);
    assert_int_equal(reader.seen, CB_PAGES_ROWS);
    reader.seen = 0;
    reader.answer = 7;
    assert_int_equal(cb_pages_recaps(f->store, &filter, read_recap, &reader, NULL), 7);
    assert_int_equal(reader.seen, 1);
    (void)sqlite3_close(reader.db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_row_is_told_once_and_nothing_is_held_meanwhile,
                                        store_fixture_setup, store_fixture_teardown),
        cmocka_unit_test_setup_teardown(recaps_are_told_newest_first_up_to_their_limit,
                                        store_fixture_setup, store_fixture_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
