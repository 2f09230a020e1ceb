/* SPDX-License-Identifier: Apache-2.0 */
/* test_store_age.c - formula/store_sqlite_age.c and result_sum.c: what becomes of old rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formula/result_sum.h"
#include "formula/store_stream.h"
#include "formula/usage.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "tests/support/store_fixture.h"

#define SECOND UINT64_C(1000000000)
#define ALL (FIXTURE_WALL_OFFSET * 2)
#define HOUR (3600 * SECOND)

/* Everything the frames of a boot hold. */
struct sums {
    size_t rows;
    uint64_t energy[4], idle[4], system[4], unattributed[4], dynamic[4][3], cpu[3], covered_ns;
    struct cb_result result;
};

static int add_up(void *context, const struct cb_store_frame *frame, struct cb_err *err)
{
    struct sums *sums = context;
    const struct cb_result *result = &sums->result;

    assert_int_equal(cb_result_unpack(frame->result, frame->result_size, &sums->result, err), 0);
    assert_int_equal(cb_result_violations(result), 0);
    assert_int_equal(result->t0_ns, frame->t0_ns);
    assert_int_equal(result->t1_ns, frame->t1_ns);
    sums->rows++;
    sums->covered_ns += frame->t1_ns - frame->t0_ns;
    for (size_t d = 0; d < result->n_domains; d++) {
        sums->energy[d] += result->domains[d].energy_uj;
        sums->idle[d] += result->domains[d].idle_uj;
        sums->system[d] += result->domains[d].system_uj;
        sums->unattributed[d] += result->domains[d].unattributed_uj;
        for (size_t t = 0; t < result->n_targets; t++)
            sums->dynamic[d][result->target_ids[t] - 1] +=
                result->shares[d * result->n_targets + t].dynamic_uj;
    }
    for (size_t t = 0; t < result->n_targets; t++)
        if (result->target_cpu_ns[t] != CB_STAT_ABSENT)
            sums->cpu[result->target_ids[t] - 1] += result->target_cpu_ns[t];
    return 0;
}

static struct sums sum_all(struct cb_store *store, int64_t boot)
{
    struct sums sums = {.rows = 0};

    assert_int_equal(cb_store_frames(store, boot, 0, INT64_MAX, add_up, &sums, NULL), 0);
    cb_result_clear(&sums.result);
    memset(&sums.result, 0, sizeof(sums.result));
    return sums;
}

/* /metrics' totals have taken every frame. */
static void settle_totals(struct cb_store *store, const struct cb_store_start *start)
{
    assert_int_equal(cb_store_set_totals_frame(store, start->machine, 1000000, NULL), 0);
}

/* 400 frames of random lengths around a second; targets come and go; a gap now and then. Returns
 * the number of gaps. */
static size_t put_frames(struct cb_store *store, const struct cb_store_start *start, uint64_t *seed)
{
    struct cb_result result = {0};
    uint64_t t = SECOND;
    size_t gaps = 0;

    assert_int_equal(cb_store_begin(store, NULL), 0);
    for (uint64_t seq = 1; seq <= 400; seq++) {
        uint64_t length = 1 + fixture_random(seed, 2 * SECOND);

        if (fixture_random(seed, 50) == 0) {
            t += SECOND;
            gaps++;
        }
        fixture_result(&result, seed, t, t + length, 4, fixture_random(seed, 4));
        if (result.n_targets && fixture_random(seed, 2)) {
            result.target_ids[0] = 3; /* not always the same ids, nor the same order */
            for (size_t i = 1; i < result.n_targets; i++)
                result.target_ids[i] = (uint32_t)i;
            result.target_cpu_ns[0] = CB_STAT_ABSENT;
        }
        fixture_put(store, start, seq, &result);
        t += length;
    }
    assert_int_equal(cb_store_commit(store, NULL), 0);
    cb_result_clear(&result);
    return gaps;
}

static void coarsen_all(struct cb_store *store, uint64_t before_wall_ns)
{
    int r;

    while ((r = cb_store_coarsen(store, before_wall_ns, 30, NULL)) > 0)
        ;
    assert_int_equal(r, 0);
}

static void sums_of_a_minute_are_exact(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    uint64_t seed = 11;
    size_t gaps = put_frames(f->store, &start, &seed);
    struct sums before = sum_all(f->store, start.boot);
    struct sums after;
    size_t minutes = (size_t)(before.covered_ns / (60 * SECOND)) + 2;

    settle_totals(f->store, &start);
    coarsen_all(f->store, ALL);
    after = sum_all(f->store, start.boot);
    assert_int_equal(before.rows, 400);
    assert_true(after.rows >= minutes - 1 && after.rows <= minutes + gaps + 1);
    before.rows = after.rows;
    assert_memory_equal(&before, &after, sizeof(before));
    start = store_fixture_start(f->store);
    assert_int_equal(start.last_seq, 400);
}

static void what_is_young_keeps_its_resolution(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    uint64_t seed = 12;
    struct sums before;
    struct sums after;

    (void)put_frames(f->store, &start, &seed);
    settle_totals(f->store, &start);
    before = sum_all(f->store, start.boot);
    coarsen_all(f->store, FIXTURE_WALL_OFFSET);
    after = sum_all(f->store, start.boot);
    assert_int_equal(after.rows, 400);
    coarsen_all(f->store, FIXTURE_WALL_OFFSET + 200 * SECOND);
    after = sum_all(f->store, start.boot);
    assert_true(after.rows > 150 && after.rows < 250);
    before.rows = after.rows;
    assert_memory_equal(&before, &after, sizeof(before));
}

static void totals_and_open_tests_hold_what_they_need(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_store_test test = {
        .id = "t", .name = "n", .boot = start.boot, .created_wall_ns = FIXTURE_WALL_OFFSET};
    uint64_t seed = 13;

    (void)put_frames(f->store, &start, &seed);
    coarsen_all(f->store, ALL); /* the totals have taken none */
    assert_int_equal(sum_all(f->store, start.boot).rows, 400);
    settle_totals(f->store, &start);
    assert_int_equal(cb_store_put_test(f->store, &test, "[]", NULL), 0);
    coarsen_all(f->store, FIXTURE_WALL_OFFSET + HOUR);
    assert_int_equal(sum_all(f->store, start.boot).rows, 400);
    assert_int_equal(cb_store_give_up_test(f->store, "t", 9, NULL), 0);
    coarsen_all(f->store, FIXTURE_WALL_OFFSET + HOUR);
    assert_true(sum_all(f->store, start.boot).rows < 40);
}

static void a_stream_holds_what_it_has_not_taken_but_not_for_ever(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_store_stream stream;
    uint64_t seed = 14;
    size_t rows;

    (void)put_frames(f->store, &start, &seed);
    settle_totals(f->store, &start);
    assert_int_equal(cb_store_stream_open(f->store, "slow", &stream, NULL), 0);
    assert_int_equal(cb_store_put_stream_frame(f->store, "slow", 300, NULL), 0);
    coarsen_all(f->store, FIXTURE_WALL_OFFSET + HOUR);
    rows = sum_all(f->store, start.boot).rows;
    assert_true(rows >= 100 && rows < 130);
    while (cb_store_forget(f->store, FIXTURE_WALL_OFFSET + HOUR, 1000, NULL) > 0)
        ;
    assert_int_equal(sum_all(f->store, start.boot).rows, 100);
    assert_int_equal(cb_store_stream(f->store, "slow", &stream, NULL), 0);
    assert_int_equal(stream.lost_frames, 0);
    assert_int_equal(
        cb_store_forget(f->store, FIXTURE_WALL_OFFSET + HOUR + CB_STREAM_KEEP_NS, 40, NULL), 40);
    coarsen_all(f->store, FIXTURE_WALL_OFFSET + HOUR + CB_STREAM_KEEP_NS);
    assert_int_equal(cb_store_stream(f->store, "slow", &stream, NULL), 0);
    assert_int_equal(stream.lost_frames, 100);
}

static void uncertainties_add_as_they_should(void **state)
{
    struct cb_result_sum sum = {{0}, {0}};
    struct cb_result one = {0};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(cb_result_reserve(&one, 1, 1, NULL), 0);
        one.t0_ns = 1 + i * SECOND;
        one.t1_ns = 1 + (i + 1) * SECOND;
        one.target_ids[0] = 5;
        one.domains[0].energy_uj = one.shares[0].dynamic_uj = 10;
        one.domains[0].source_uncertainty_uj = 7;
        one.domains[0].flags = i ? CB_RESULT_GAP : CB_RESULT_PRIOR;
        one.domains[0].predicted_w = i ? 30 : 10;
        one.shares[0].param_uj = 2;
        one.shares[0].noise_uj = i ? 3 : 4;
        assert_true(cb_result_sum_fits(&sum, &one));
        assert_int_equal(cb_result_sum_add(&sum, &one, NULL), 0);
    }
    assert_true(fabsf(sum.result.shares[0].param_uj - 4) < 1e-6f);
    assert_true(fabsf(sum.result.shares[0].noise_uj - 5) < 1e-6f);
    assert_int_equal(sum.result.domains[0].source_uncertainty_uj, 14);
    assert_int_equal(sum.result.domains[0].flags, CB_RESULT_GAP | CB_RESULT_PRIOR);
    assert_true(fabs(sum.result.domains[0].predicted_w - 20) < 1e-9);
    one.domains[0].source = CB_SOURCE_ESTIMATE;
    one.t0_ns = one.t1_ns;
    assert_false(cb_result_sum_fits(&sum, &one));
    cb_result_sum_clear(&sum);
    cb_result_clear(&one);
}

struct usage_sums {
    size_t rows;
    uint64_t bytes, last;
};

static int add_usage(void *context, const struct cb_store_usage *row, struct cb_err *err)
{
    struct usage_sums *sums = context;
    struct cb_usage usage = {0};

    assert_int_equal(cb_usage_unpack(row->bytes, row->size, &usage, err), 0);
    sums->rows++;
    sums->bytes += cb_usage_at(&usage, 0, 0);
    sums->last = cb_usage_at(&usage, 1, 0);
    cb_usage_clear(&usage);
    return 0;
}

static void what_containers_used_is_summed_up_too(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct usage_sums sums = {.rows = 0};
    uint64_t want = 0;

    for (uint64_t i = 1; i <= 30; i++) { /* every 10 s from 10 s on: five minutes */
        uint32_t id = 1;
        uint64_t values[] = {i * i, i};
        const struct cb_usage usage = {
            .n_columns = 2, .n_targets = 1, .targets = &id, .values = values};
        uint64_t t1 = (i + 1) * 10 * SECOND;
        struct cb_store_usage row = {.frame = (int64_t)i,
                                     .start = start.id,
                                     .boot = start.boot,
                                     .t0_ns = t1 - SECOND,
                                     .t1_ns = t1,
                                     .wall_ns = t1 + 1700000040 * SECOND,
                                     .names = "io_read_bytes,pids"};
        uint8_t *bytes = NULL;

        want += i * i;
        assert_int_equal(cb_usage_pack(&usage, &bytes, &row.size, NULL), 0);
        row.bytes = bytes;
        assert_int_equal(cb_store_put_usage(f->store, &row, row.wall_ns, NULL), 0);
        free(bytes);
    }
    coarsen_all(f->store, ALL);
    assert_int_equal(
        cb_store_usage_by_wall(f->store, start.machine, 0, INT64_MAX, add_usage, &sums, NULL), 0);
    assert_true(sums.rows >= 5 && sums.rows <= 7);
    assert_int_equal(sums.bytes, want);
    assert_int_equal(sums.last, 30);
    while (cb_store_forget(f->store, ALL, 1000, NULL) > 0)
        ;
    sums.rows = 0;
    assert_int_equal(
        cb_store_usage_by_wall(f->store, start.machine, 0, INT64_MAX, add_usage, &sums, NULL), 0);
    assert_int_equal(sums.rows, 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, store_fixture_setup, store_fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(sums_of_a_minute_are_exact),
        TEST(what_is_young_keeps_its_resolution),
        TEST(totals_and_open_tests_hold_what_they_need),
        TEST(a_stream_holds_what_it_has_not_taken_but_not_for_ever),
        TEST(what_containers_used_is_summed_up_too),
        cmocka_unit_test(uncertainties_add_as_they_should),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
