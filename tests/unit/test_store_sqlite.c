/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "formula/recap.h"
#include "formula/store_stream.h"
#include "lib/err.h"
#include "tests/support/store_fixture.h"

static struct cb_store *open_again(const struct store_fixture *f, enum cb_store_mode mode)
{
    struct cb_store *store = NULL;
    struct cb_err err = {0};

    if (cb_store_open(f->path, mode, &store, &err) < 0)
        fail_msg("%s", err.text);
    return store;
}

static void run_sql(const char *path, const char *sql)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void makes_its_schema_once_and_opens_it_again(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_machine machine;

    assert_int_equal(cb_store_machine(f->store, "node1", &machine, NULL), 0);
    f->store = cb_store_close(f->store);
    f->store = open_again(f, CB_STORE_OWNER);
    int64_t id = machine.id;

    assert_int_equal(cb_store_machine(f->store, "node1", &machine, NULL), 0);
    assert_int_equal(machine.id, id);
    assert_string_equal(machine.boot_id, "");
}

static void refuses_what_a_newer_program_wrote(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store *other = NULL;
    struct cb_err err = {0};

    f->store = cb_store_close(f->store);
    run_sql(f->path, "PRAGMA user_version = 9999");
    assert_int_equal(cb_store_open(f->path, CB_STORE_OWNER, &other, &err), -EPROTONOSUPPORT);
    assert_non_null(strstr(err.text, "newer"));
    assert_null(other);
    run_sql(f->path, "PRAGMA user_version = 0");
    assert_int_equal(cb_store_open(f->path, CB_STORE_WRITE, &other, &err), -EPROTONOSUPPORT);
    assert_null(other);
}

/* A database of version 2, made by the program of that time (tests/fixtures/store). */
static void unpack_fixture(const struct store_fixture *f)
{
    gzFile from = gzopen("tests/fixtures/store/v2.sqlite.gz", "rb");
    FILE *to = fopen(f->path, "wb");
    char buffer[4096];
    int n;

    assert_true(from && to);
    while ((n = gzread(from, buffer, sizeof(buffer))) > 0)
        assert_int_equal(fwrite(buffer, 1, (size_t)n, to), n);
    assert_int_equal(n, 0);
    assert_int_equal(gzclose(from), Z_OK);
    assert_int_equal(fclose(to), 0);
}

struct sums {
    size_t n;
    uint64_t seed, energy_uj, want_uj;
    struct cb_result result, want;
};

static int add_up(void *context, const struct cb_store_frame *frame, struct cb_err *err)
{
    struct sums *sums = context;
    uint64_t t0 = (1000 + sums->n++) * 1000000000;

    assert_int_equal(cb_result_unpack(frame->result, frame->result_size, &sums->result, err), 0);
    fixture_result(&sums->want, &sums->seed, t0, t0 + 1000000000, 2, 2);
    for (size_t d = 0; d < 2; d++) {
        sums->energy_uj += sums->result.domains[d].energy_uj;
        sums->want_uj += sums->want.domains[d].energy_uj;
    }
    return 0;
}

static void migrates_a_database_of_an_older_version(void **state)
{
    struct store_fixture *f = *state;
    struct sums sums = {.seed = 2};
    struct cb_store_queued queued;
    struct cb_store_start start;
    struct cb_store_test test;
    struct cb_store_machine machine;
    const struct cb_store_counts counts = {.self_cpu_ns = 3, .self_uj = 7};
    struct cb_store *other = NULL;
    uint8_t *model = NULL;
    char *recap = NULL;
    size_t size;

    f->store = cb_store_close(f->store);
    unpack_fixture(f);
    assert_int_equal(cb_store_open(f->path, CB_STORE_READ, &other, NULL), -EPROTONOSUPPORT);
    f->store = open_again(f, CB_STORE_OWNER);
    start = store_fixture_start(f->store);
    assert_int_equal(start.last_seq, 300);
    assert_int_equal(cb_store_frames(f->store, start.boot, 0, INT64_MAX, add_up, &sums, NULL), 0);
    assert_int_equal(sums.n, 300);
    assert_true(sums.energy_uj == sums.want_uj && sums.energy_uj > 0);
    assert_int_equal(cb_store_recap(f->store, "done", &recap, NULL), 0);
    assert_int_equal(cb_store_test(f->store, "open", &test, NULL), 0);
    assert_int_equal(test.state, CB_TEST_ENDED);
    assert_int_equal(cb_store_snapshot(f->store, start.machine, &model, &size, NULL), 0);
    assert_int_equal(size, 5);
    assert_int_equal(cb_store_add_counts(f->store, start.machine, &counts, NULL), 0);
    assert_int_equal(cb_store_machine(f->store, "node1", &machine, NULL), 0);
    assert_int_equal(machine.self_cpu_ns, 3);
    assert_int_equal(machine.self_uj, 7); /* what the old frames cost is not known */
    assert_int_equal(cb_store_queue_first(f->store, "mongodb", &queued, NULL), 0);
    assert_string_equal(queued.key, "done");
    cb_store_queued_clear(&queued);
    assert_int_equal(
        cb_store_forget(f->store, FIXTURE_WALL_OFFSET + UINT64_C(1002000000000), 100, NULL), 1);
    free(model);
    free(recap);
    cb_result_clear(&sums.result);
    cb_result_clear(&sums.want);
}

static void refuses_the_database_of_another_program(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store *other = NULL;
    struct cb_err err = {0};

    f->store = cb_store_close(f->store);
    run_sql(f->path, "PRAGMA application_id = 7");
    assert_int_equal(cb_store_open(f->path, CB_STORE_OWNER, &other, &err), -EBADMSG);
    fake_root_put(f->root, "text", "this is no database, but it is long enough to be looked at\n");
    char path[160];

    (void)snprintf(path, sizeof(path), "%s/text", f->root->dir);
    assert_int_equal(cb_store_open(path, CB_STORE_OWNER, &other, &err), -EBADMSG);
    assert_int_equal(cb_store_open("/nonexistent/x.sqlite", CB_STORE_READ, &other, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/nonexistent/x.sqlite"));
    assert_null(other);
}

static void a_frame_is_stored_once_even_over_a_restart(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_store_frame again = {.start = start.id, .boot = start.boot, .seq = 7, .result = ""};
    struct cb_store_machine machine;
    struct cb_result result = {0};
    uint64_t seed = 1;

    fixture_result(&result, &seed, 100, 200, 2, 2);
    fixture_put(f->store, &start, 7, &result);
    f->store = cb_store_close(f->store);
    f->store = open_again(f, CB_STORE_WRITE);
    start = store_fixture_start(f->store);
    assert_int_equal(start.last_seq, 7);
    assert_int_equal(cb_store_put_frame(f->store, &again, 0, NULL, NULL), -EEXIST);
    assert_int_equal(cb_store_machine_of_boot(f->store, FIXTURE_BOOT, &machine, NULL), 0);
    assert_int_equal(machine.last_t1_ns, 200);
    assert_int_equal(machine.last_length_ns, 100);
    assert_int_equal(machine.last_wall_ns, 200 + FIXTURE_WALL_OFFSET);
    assert_int_equal(cb_store_machine_of_boot(f->store, "other", &machine, NULL), -ENOENT);
    again.seq = 8;
    again.lost_frames = 5;
    assert_int_equal(cb_store_put_frame(f->store, &again, 0, NULL, NULL), 0);
    assert_int_equal(cb_store_machine(f->store, "node1", &machine, NULL), 0);
    assert_int_equal(machine.lost_frames, 5);
    assert_int_equal(
        cb_store_start(f->store, start.machine, "other boot", FIXTURE_START, 1, &start, NULL),
        -EEXIST);
    cb_result_clear(&result);
}

/* A frame of an earlier start may come after those of a later one. */
static void the_time_that_no_frame_covers_is_told(void **state)
{
    static const uint64_t frames[][2] = {
        {100, 200}, {200, 300}, {450, 500}, {300, 350}, {900, 950}};
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_store_machine machine;
    struct cb_result result = {0};
    uint64_t seed = 1;

    assert_int_equal(cb_store_machine(f->store, "node1", &machine, NULL), 0);
    assert_int_equal(machine.covered_ns + machine.gap_ns + machine.gaps, 0);
    for (size_t i = 0; i < 5; i++) {
        fixture_result(&result, &seed, frames[i][0], frames[i][1], 1, 1);
        fixture_put(f->store, &start, i + 1, &result);
    }
    assert_int_equal(cb_store_machine(f->store, "node1", &machine, NULL), 0);
    assert_int_equal(machine.covered_ns, 350);
    assert_int_equal(machine.gap_ns, 500);
    assert_int_equal(machine.gaps, 2);
    cb_result_clear(&result);
}

static int put_lossy(struct cb_store *store, const struct cb_store_start *start, uint64_t seq,
                     uint64_t lost_frames, uint64_t missed_ticks)
{
    const struct cb_store_frame frame = {.start = start->id,
                                         .boot = start->boot,
                                         .seq = seq,
                                         .t0_ns = seq,
                                         .t1_ns = seq + 1,
                                         .result = "",
                                         .lost_frames = lost_frames,
                                         .missed_ticks = missed_ticks};

    return cb_store_put_frame(store, &frame, 1, NULL, NULL);
}

/* Each start counts from 0; a frame that comes late says less than one before it. */
static void losses_of_every_start_are_counted_once(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start one = store_fixture_start(f->store);
    struct cb_store_start two;
    struct cb_store_machine machine;

    assert_int_equal(put_lossy(f->store, &one, 1, 0, 2), 0);
    assert_int_equal(put_lossy(f->store, &one, 2, 3, 2), 0);
    assert_int_equal(put_lossy(f->store, &one, 2, 4, 4), -EEXIST); /* it is there */
    assert_int_equal(cb_store_start(f->store, one.machine, FIXTURE_BOOT, "other", 1, &two, NULL),
                     0);
    assert_int_equal(put_lossy(f->store, &two, 1, 5, 0), 0);
    f->store = cb_store_close(f->store);
    f->store = open_again(f, CB_STORE_OWNER);
    assert_int_equal(put_lossy(f->store, &one, 4, 3, 7), 0);
    assert_int_equal(put_lossy(f->store, &one, 3, 1, 1), 0);
    assert_int_equal(put_lossy(f->store, &two, 2, 6, 1), 0);
    assert_int_equal(cb_store_begin(f->store, NULL), 0);
    assert_int_equal(put_lossy(f->store, &two, 3, 60, 10), 0);
    cb_store_rollback(f->store);
    assert_int_equal(cb_store_find_machine(f->store, "node1", &machine, NULL), 0);
    assert_int_equal(machine.lost_frames, 3 + 6);
    assert_int_equal(machine.missed_ticks, 7 + 1);
}

static void a_transaction_is_all_or_nothing(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_result result = {0};
    uint64_t seed = 2;

    fixture_result(&result, &seed, 100, 200, 1, 1);
    assert_int_equal(cb_store_begin(f->store, NULL), 0);
    fixture_put(f->store, &start, 1, &result);
    assert_int_equal(cb_store_put_snapshot(f->store, start.machine, "abc", 3, NULL), 0);
    cb_store_rollback(f->store);
    start = store_fixture_start(f->store);
    assert_int_equal(start.last_seq, 0);
    uint8_t *bytes = NULL;
    size_t size = 0;

    assert_int_equal(cb_store_snapshot(f->store, start.machine, &bytes, &size, NULL), -ENOENT);
    assert_int_equal(cb_store_begin(f->store, NULL), 0);
    fixture_put(f->store, &start, 1, &result);
    assert_int_equal(cb_store_put_snapshot(f->store, start.machine, "abc", 3, NULL), 0);
    assert_int_equal(cb_store_commit(f->store, NULL), 0);
    assert_int_equal(cb_store_snapshot(f->store, start.machine, &bytes, &size, NULL), 0);
    assert_int_equal(size, 3);
    assert_memory_equal(bytes, "abc", 3);
    free(bytes);
    cb_result_clear(&result);
}

struct seen {
    uint64_t seqs[64];
    size_t n;
};

static int see(void *context, const struct cb_store_frame *frame, struct cb_err *err)
{
    struct seen *seen = context;

    (void)err;
    seen->seqs[seen->n++] = frame->seq;
    return 0;
}

static void finds_the_frames_of_an_interval_half_open(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_result result = {0};
    uint64_t seed = 3;
    static const struct {
        uint64_t from, to;
        size_t n, first;
    } cases[] = {{0, 1000, 5, 1},  {100, 200, 1, 1}, {150, 250, 2, 1}, {200, 201, 1, 2},
                 {199, 200, 1, 1}, {600, 900, 0, 0}, {0, 100, 0, 0},   {599, 9999, 1, 5}};

    for (uint64_t i = 1; i <= 5; i++) { /* [100, 200), [200, 300), ... [500, 600) */
        fixture_result(&result, &seed, 100 * i, 100 * i + 100, 1, 1);
        fixture_put(f->store, &start, i, &result);
    }
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct seen seen = {.n = 0};

        assert_int_equal(
            cb_store_frames(f->store, start.boot, cases[i].from, cases[i].to, see, &seen, NULL), 0);
        assert_int_equal(seen.n, cases[i].n);
        if (seen.n)
            assert_int_equal(seen.seqs[0], cases[i].first);
    }
    struct seen after = {.n = 0};

    assert_int_equal(cb_store_frames_after(f->store, start.machine, 3, see, &after, NULL), 0);
    assert_int_equal(after.n, 2);
    cb_result_clear(&result);
}

static void a_placeholder_never_replaces_a_text(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_store_target target = {.start = start.id, .target = 1};
    struct cb_store_target found;
    char identity[CB_STORE_TEXT_SIZE];

    assert_int_equal(cb_store_put_target(f->store, &target, NULL, NULL), 0);
    assert_int_equal(cb_store_target(f->store, start.id, 1, &found, NULL), 0);
    assert_string_equal(found.name, "alpha");
    target.target = 9;
    assert_int_equal(cb_store_put_target(f->store, &target, NULL, NULL), 0);
    assert_int_equal(cb_store_target(f->store, start.id, 9, &found, NULL), 0);
    assert_false(found.known);
    cb_store_target_identity(&found, identity);
    assert_non_null(strstr(identity, "target 9"));
    target.known = true;
    (void)snprintf(target.name, sizeof(target.name), "late");
    assert_int_equal(cb_store_put_target(f->store, &target, NULL, NULL), 0);
    assert_int_equal(cb_store_target(f->store, start.id, 9, &found, NULL), 0);
    assert_string_equal(found.name, "late");
    assert_int_equal(cb_store_target(f->store, start.id, 10, &found, NULL), -ENOENT);
}

static uint64_t texts_of(struct cb_store *store, int64_t boot)
{
    uint64_t changes = UINT64_MAX;

    assert_int_equal(cb_store_texts(store, boot, &changes, NULL), 0);
    return changes;
}

static void a_text_that_becomes_another_is_told(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_store_target target = {.start = start.id, .target = 3};

    (void)store_fixture_start(f->store); /* the same texts again */
    assert_int_equal(cb_store_put_target(f->store, &target, NULL, NULL), 0);
    target.known = true;
    (void)snprintf(target.name, sizeof(target.name), "gamma"); /* its first text */
    assert_int_equal(cb_store_put_target(f->store, &target, NULL, NULL), 0);
    assert_int_equal(texts_of(f->store, start.boot), 0);
    (void)snprintf(target.name, sizeof(target.name), "delta");
    assert_int_equal(cb_store_put_target(f->store, &target, NULL, NULL), 0);
    assert_int_equal(texts_of(f->store, start.boot), 1);
    assert_int_equal(cb_store_put_target(f->store, &target, NULL, NULL), 0);
    assert_int_equal(texts_of(f->store, start.boot), 1);
}

static void forgets_old_frames_and_keeps_how_far_it_was(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_result result = {0};
    struct seen seen = {.n = 0};
    uint64_t seed = 4;

    for (uint64_t i = 1; i <= 10; i++) {
        fixture_result(&result, &seed, 100 * i, 100 * i + 100, 1, 1);
        fixture_put(f->store, &start, i, &result);
    }
    assert_int_equal(cb_store_forget(f->store, FIXTURE_WALL_OFFSET + 600, 3, NULL), 3);
    assert_int_equal(cb_store_forget(f->store, FIXTURE_WALL_OFFSET + 600, 100, NULL), 1);
    assert_int_equal(cb_store_forget(f->store, FIXTURE_WALL_OFFSET + 600, 100, NULL), 0);
    assert_int_equal(cb_store_frames(f->store, start.boot, 0, 9999, see, &seen, NULL), 0);
    assert_int_equal(seen.n, 6);
    assert_int_equal(cb_store_forget(f->store, UINT64_MAX / 2, 100, NULL), 6);
    start = store_fixture_start(f->store);
    assert_int_equal(start.last_seq, 10);
    fixture_result(&result, &seed, 9000, 9100, 1, 1);
    fixture_put(f->store, &start, 11, &result);
    seen.n = 0; /* ids go on where they were, so that totals know what they hold */
    assert_int_equal(cb_store_frames_after(f->store, start.machine, 10, see, &seen, NULL), 0);
    assert_int_equal(seen.n, 1);
    cb_result_clear(&result);
}

static void make_test(struct cb_store *store, const struct cb_store_start *start, const char *id,
                      struct cb_store_test *test)
{
    *test = (struct cb_store_test){.boot = start->boot, .created_wall_ns = 5};
    (void)snprintf(test->id, sizeof(test->id), "%s", id);
    (void)snprintf(test->name, sizeof(test->name), "sleep");
    (void)snprintf(test->image, sizeof(test->image), "cb/sleep");
    assert_int_equal(cb_store_put_test(store, test, "[\"5\"]", NULL), 0);
    (void)snprintf(test->container_id, sizeof(test->container_id), FIXTURE_ID_A);
    test->begin_ns = 150;
    test->end_ns = 450;
    test->exit_code = 3;
    test->ended_wall_ns = 77;
}

static void the_end_of_a_test_is_told_once_and_may_be_repeated(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_store_test test;
    struct cb_store_test found;
    struct cb_err err = {0};

    make_test(f->store, &start, "t1", &test);
    assert_int_equal(cb_store_test(f->store, "t1", &found, NULL), 0);
    assert_int_equal(found.state, CB_TEST_RUNNING);
    assert_int_equal(cb_store_end_test(f->store, &test, NULL), 0);
    assert_int_equal(cb_store_end_test(f->store, &test, NULL), 0);
    test.end_ns++;
    assert_int_equal(cb_store_end_test(f->store, &test, &err), -EEXIST);
    test.end_ns--;
    test.has_warmup = true;
    assert_int_equal(cb_store_end_test(f->store, &test, &err), -EEXIST);
    assert_int_equal(cb_store_give_up_test(f->store, "t1", 9, &err), -EEXIST);
    assert_int_equal(cb_store_test(f->store, "t1", &found, NULL), 0);
    assert_int_equal(found.state, CB_TEST_ENDED);
    assert_int_equal(found.end_ns, 450);
    assert_false(found.has_warmup);
    assert_string_equal(found.machine, "node1");
    make_test(f->store, &start, "t2", &test);
    assert_int_equal(cb_store_give_up_test(f->store, "t2", 9, NULL), 0);
    assert_int_equal(cb_store_give_up_test(f->store, "t2", 9, NULL), 0);
    assert_int_equal(cb_store_end_test(f->store, &test, &err), -EEXIST);
    assert_int_equal(cb_store_give_up_test(f->store, "t3", 9, &err), -ENOENT);
}

static void a_machine_has_a_limited_number_of_open_tests(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_store_test test = {.boot = start.boot};
    struct cb_err err = {0};

    assert_int_equal(cb_store_begin(f->store, NULL), 0);
    for (int i = 0; i < CB_STORE_OPEN_TESTS; i++) {
        (void)snprintf(test.id, sizeof(test.id), "t%d", i);
        assert_int_equal(cb_store_put_test(f->store, &test, "[]", NULL), 0);
    }
    assert_int_equal(cb_store_commit(f->store, NULL), 0);
    (void)snprintf(test.id, sizeof(test.id), "more");
    assert_int_equal(cb_store_put_test(f->store, &test, "[]", &err), -EDQUOT);
    assert_non_null(strstr(err.text, "give them up"));
    /* One that is given up counts until it is deleted. */
    assert_int_equal(cb_store_give_up_test(f->store, "t7", 1000, NULL), 0);
    assert_int_equal(cb_store_put_test(f->store, &test, "[]", &err), -EDQUOT);
    assert_int_equal(cb_store_age_tests(f->store, 1001 + CB_STORE_GIVEN_UP_NS, 0, 500, NULL), 1);
    assert_int_equal(cb_store_test(f->store, "t7", &test, NULL), -ENOENT);
    assert_int_equal(cb_store_put_test(f->store, &test, "[]", &err), 0);
}

static void a_test_nobody_ends_is_given_up_and_then_deleted(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_store_test test;
    const uint64_t later = 6 + CB_STORE_RUNNING_NS;

    make_test(f->store, &start, "t1", &test); /* begun at 5 */
    make_test(f->store, &start, "t2", &test);
    assert_int_equal(cb_store_end_test(f->store, &test, NULL), 0);
    assert_int_equal(cb_store_age_tests(f->store, later - 1, 0, 500, NULL), 0);
    assert_int_equal(cb_store_age_tests(f->store, later, 0, 500, NULL), 1);
    assert_int_equal(cb_store_test(f->store, "t1", &test, NULL), 0);
    assert_int_equal(test.state, CB_TEST_GIVEN_UP);
    assert_int_equal(cb_store_age_tests(f->store, later + CB_STORE_GIVEN_UP_NS, 0, 500, NULL), 0);
    assert_int_equal(cb_store_age_tests(f->store, later + 1 + CB_STORE_GIVEN_UP_NS, 0, 500, NULL),
                     1);
    assert_int_equal(cb_store_test(f->store, "t1", &test, NULL), -ENOENT);
    assert_int_equal(cb_store_test(f->store, "t2", &test, NULL), 0);
    assert_int_equal(test.state, CB_TEST_ENDED);
}

static void old_recaps_go_when_asked_but_not_what_waits_nor_the_newest(void **state)
{
    static const char *const sinks[] = {"b"};
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_store_queued queued;
    struct cb_store_test test;
    char *text = NULL;

    for (char id[] = "a"; id[0] <= 'd'; id[0]++) {
        make_test(f->store, &start, id, &test); /* ends at 77 */
        assert_int_equal(cb_store_end_test(f->store, &test, NULL), 0);
        assert_int_equal(cb_store_test(f->store, id, &test, NULL), 0);
        assert_int_equal(cb_store_put_recap(f->store, &test, 1, "{}", sinks, id[0] < 'c', NULL), 0);
    }
    assert_int_equal(cb_store_queue_first(f->store, "b", &queued, NULL), 0);
    assert_string_equal(queued.key, "a");
    assert_int_equal(cb_store_queue_set_aside(f->store, queued.id, "never", NULL), 0);
    cb_store_queued_clear(&queued);
    assert_int_equal(cb_store_age_tests(f->store, 1000, 0, 500, NULL), 0);
    assert_int_equal(cb_store_age_tests(f->store, 1000, 950, 500, NULL), 0);
    assert_int_equal(cb_store_age_tests(f->store, 1000, 900, 500, NULL), 2); /* a and c */
    assert_int_equal(cb_store_recap(f->store, "a", &text, NULL), -ENOENT);
    assert_int_equal(cb_store_test(f->store, "c", &test, NULL), -ENOENT);
    assert_int_equal(cb_store_queue_first(f->store, "b", &queued, NULL), 0);
    assert_string_equal(queued.key, "b");
    cb_store_queued_clear(&queued);
    assert_int_equal(cb_store_recap(f->store, "d", &text, NULL), 0);
    free(text);
}

static void a_recap_is_queued_once_for_each_sink(void **state)
{
    static const char *const sinks[] = {"mongodb"};
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_store_queued queued;
    struct cb_store_test test;
    struct cb_result result = {0};
    char id[CB_TEST_ID_SIZE];
    uint64_t seed = 5;
    uint64_t waiting;
    uint64_t aside;

    make_test(f->store, &start, "t1", &test);
    assert_int_equal(cb_store_end_test(f->store, &test, NULL), 0);
    assert_int_equal(cb_store_next_ripe_test(f->store, 0, "", id, NULL), -ENOENT);
    fixture_result(&result, &seed, 100, 500, 1, 1);
    fixture_put(f->store, &start, 1, &result);
    assert_int_equal(cb_store_next_ripe_test(f->store, 0, "", id, NULL), 0);
    assert_string_equal(id, "t1");
    assert_int_equal(cb_store_test(f->store, "t1", &test, NULL), 0);
    assert_int_equal(cb_recap_finish(f->store, &test, sinks, 1, NULL), 0);
    assert_int_equal(cb_recap_finish(f->store, &test, sinks, 1, NULL), 0);
    assert_int_equal(cb_store_next_ripe_test(f->store, 0, "", id, NULL), -ENOENT);
    assert_int_equal(cb_store_queue_length(f->store, "mongodb", &waiting, &aside, NULL), 0);
    assert_int_equal(waiting, 1);
    assert_int_equal(aside, 0);
    assert_int_equal(cb_store_queue_first(f->store, "mongodb", &queued, NULL), 0);
    assert_string_equal(queued.key, "t1");
    assert_non_null(strstr(queued.document, FIXTURE_ID_A));
    assert_int_equal(cb_store_queue_set_aside(f->store, queued.id, "too large", NULL), 0);
    assert_int_equal(cb_store_queue_length(f->store, "mongodb", &waiting, &aside, NULL), 0);
    assert_int_equal(aside, 1);
    assert_int_equal(cb_store_queue_done(f->store, queued.id, NULL), 0);
    cb_store_queued_clear(&queued);
    /* It was delivered: making it again does not queue it again. */
    assert_int_equal(cb_recap_finish(f->store, &test, sinks, 1, NULL), 0);
    assert_int_equal(cb_store_queue_first(f->store, "mongodb", &queued, NULL), -ENOENT);
    cb_result_clear(&result);
}

static void recaps_of_before_a_sink_was_named_are_queued_once(void **state)
{
    static const char *const sinks[] = {"b"};
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_store_queued queued;
    struct cb_store_test test;
    uint64_t waiting;
    uint64_t aside;

    for (int i = 0; i < 3; i++) {
        char id[8];

        (void)snprintf(id, sizeof(id), "t%d", i);
        make_test(f->store, &start, id, &test);
        /* the sink is there from the second one on, and not for the third */
        if (i == 1)
            assert_int_equal(cb_store_queue_missed(f->store, "b", NULL), 1);
        assert_int_equal(cb_store_put_recap(f->store, &test, 1, "{}", sinks, i == 1, NULL), 0);
        if (i == 1)
            while (cb_store_queue_first(f->store, "b", &queued, NULL) == 0) {
                assert_int_equal(cb_store_queue_done(f->store, queued.id, NULL), 0);
                cb_store_queued_clear(&queued);
            }
    }
    assert_int_equal(cb_store_queue_missed(f->store, "b", NULL), 1);
    assert_int_equal(cb_store_queue_missed(f->store, "b", NULL), 0);
    assert_int_equal(cb_store_queue_first(f->store, "b", &queued, NULL), 0);
    assert_string_equal(queued.key, "t2");
    cb_store_queued_clear(&queued);
    assert_int_equal(cb_store_queue_length(f->store, "b", &waiting, &aside, NULL), 0);
    assert_int_equal(waiting, 1);
}

static void a_test_of_a_boot_that_is_over_becomes_ripe(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_store_start later;
    struct cb_result result = {0};
    struct cb_store_test test;
    char id[CB_TEST_ID_SIZE];
    uint64_t seed = 1;

    make_test(f->store, &start, "t1", &test);
    assert_int_equal(cb_store_end_test(f->store, &test, NULL), 0);
    assert_int_equal(cb_store_next_ripe_test(f->store, 0, "", id, NULL), -ENOENT);
    assert_int_equal(cb_store_start(f->store, start.machine, "22222222-2222-3333-4444-555555555555",
                                    "later", FIXTURE_WALL_OFFSET, &later, NULL),
                     0);
    assert_int_equal(cb_store_next_ripe_test(f->store, 0, "", id, NULL), -ENOENT);
    fixture_result(&result, &seed, 1, 2, 1, 1);
    fixture_put(f->store, &later, 1, &result);
    assert_int_equal(cb_store_next_ripe_test(f->store, 0, "", id, NULL), 0);
    assert_string_equal(id, "t1");
    cb_result_clear(&result);
}

static void a_test_that_is_never_covered_becomes_ripe_when_stale(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_store_test test;
    char id[CB_TEST_ID_SIZE];

    make_test(f->store, &start, "t1", &test);
    assert_int_equal(cb_store_end_test(f->store, &test, NULL), 0);
    assert_int_equal(cb_store_next_ripe_test(f->store, 77, "", id, NULL), -ENOENT);
    assert_int_equal(cb_store_next_ripe_test(f->store, 78, "", id, NULL), 0);
    assert_int_equal(cb_store_next_ripe_test(f->store, 78, id, id, NULL), -ENOENT);
}

static int see_total(void *context, const struct cb_store_total *total)
{
    struct cb_store_total *seen = context;

    *seen = *total;
    return 0;
}

static void totals_come_back_as_they_were(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_store_total total = {.identity = "x",
                                   .name = "n",
                                   .socket = 3,
                                   .domain = 1,
                                   .source = 2,
                                   .energy_uj = UINT64_C(1) << 61,
                                   .param_uj = 0.25,
                                   .noise2_uj2 = 1e300,
                                   .cpu_ns = 9,
                                   .last_wall_ns = 1000};
    struct cb_store_total seen = {.socket = 0};
    int64_t frame = 0;

    assert_int_equal(cb_store_put_total(f->store, start.machine, &total, NULL), 0);
    assert_int_equal(cb_store_set_totals_frame(f->store, start.machine, 42, NULL), 0);
    assert_int_equal(cb_store_totals(f->store, start.machine, 1000, see_total, &seen, &frame, NULL),
                     0);
    assert_int_equal(frame, 42);
    assert_int_equal(seen.energy_uj, total.energy_uj);
    assert_true(seen.noise2_uj2 == total.noise2_uj2 && seen.param_uj == total.param_uj);
    assert_int_equal(seen.socket, 3);
    seen = (struct cb_store_total){.socket = 77};
    assert_int_equal(cb_store_totals(f->store, start.machine, 1001, see_total, &seen, &frame, NULL),
                     0);
    assert_int_equal(seen.socket, 77);
}

static void counts_and_keys_belong_to_the_machine(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_store_counts counts = {.frames = 3, .duplicates = 2};
    struct cb_store_machine machine;

    assert_int_equal(cb_store_add_counts(f->store, start.machine, &counts, NULL), 0);
    assert_int_equal(cb_store_add_counts(f->store, start.machine, &counts, NULL), 0);
    assert_int_equal(cb_store_bind_key(f->store, start.machine, "KEY", NULL), 0);
    assert_int_equal(cb_store_machine(f->store, "node1", &machine, NULL), 0);
    assert_int_equal(machine.frames, 6);
    assert_int_equal(machine.duplicates, 4);
    assert_string_equal(machine.key, "KEY");
    assert_string_equal(machine.boot_id, FIXTURE_BOOT);
}

static void a_full_disk_is_said_and_leaves_the_store_usable(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_result result = {0};
    struct cb_err err = {0};
    uint64_t seed = 6;
    uint8_t *big = calloc(1, 1 << 20);
    int r;

    assert_non_null(big);
    run_sql(f->path, "PRAGMA wal_checkpoint(TRUNCATE)");
    f->store = cb_store_close(f->store);
    f->store = open_again(f, CB_STORE_WRITE);
    cb_store_limit_pages(f->store, 64);
    assert_int_equal(cb_store_begin(f->store, NULL), 0);
    r = cb_store_put_snapshot(f->store, start.machine, big, 1 << 20, &err);
    assert_int_equal(r, -ENOSPC);
    cb_store_rollback(f->store);
    cb_store_limit_pages(f->store, 0);
    fixture_result(&result, &seed, 100, 200, 1, 1);
    fixture_put(f->store, &start, 1, &result);
    free(big);
    cb_result_clear(&result);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, store_fixture_setup, store_fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(makes_its_schema_once_and_opens_it_again),
        TEST(refuses_what_a_newer_program_wrote),
        TEST(migrates_a_database_of_an_older_version),
        TEST(refuses_the_database_of_another_program),
        TEST(a_frame_is_stored_once_even_over_a_restart),
        TEST(the_time_that_no_frame_covers_is_told),
        TEST(losses_of_every_start_are_counted_once),
        TEST(a_transaction_is_all_or_nothing),
        TEST(finds_the_frames_of_an_interval_half_open),
        TEST(a_placeholder_never_replaces_a_text),
        TEST(a_text_that_becomes_another_is_told),
        TEST(forgets_old_frames_and_keeps_how_far_it_was),
        TEST(the_end_of_a_test_is_told_once_and_may_be_repeated),
        TEST(a_machine_has_a_limited_number_of_open_tests),
        TEST(a_test_nobody_ends_is_given_up_and_then_deleted),
        TEST(old_recaps_go_when_asked_but_not_what_waits_nor_the_newest),
        TEST(a_recap_is_queued_once_for_each_sink),
        TEST(a_test_that_is_never_covered_becomes_ripe_when_stale),
        TEST(recaps_of_before_a_sink_was_named_are_queued_once),
        TEST(a_test_of_a_boot_that_is_over_becomes_ripe),
        TEST(totals_come_back_as_they_were),
        TEST(counts_and_keys_belong_to_the_machine),
        TEST(a_full_disk_is_said_and_leaves_the_store_usable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
