/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formula/stream_fold.h"
#include "lib/err.h"
#include "tests/support/store_fixture.h"

#define SECOND UINT64_C(1000000000)
#define FRAMES 300
#define DOMAINS 4
#define TARGETS 3
#define BINS_MAX 20000

/* What a sink would hold: one row a key, whatever comes again. */
struct row {
    int64_t wall_ns;
    uint32_t again;
    uint64_t energy, idle, system, unattributed, dynamic[TARGETS], cpu[TARGETS], pids[TARGETS];
};

struct table {
    size_t n;
    struct row rows[BINS_MAX];
    size_t closed, stop_after; /* fail the close after that many bins: a kill */
    struct cb_fold_mark mark;
    struct cb_fold *fold;
    unsigned repeats; /* keys that came again */
    bool same_container;
    unsigned asked; /* for a text */
    bool unknown;   /* texts have not come */
    uint64_t changes;
    char name[32]; /* of every target; in the last row that was closed: */
    char closed_name[32];
};

static int text_of(void *context, struct cb_store_target *target, struct cb_err *err)
{
    struct table *table = context;

    (void)err;
    table->asked++;
    target->known = !table->unknown;
    (void)snprintf(target->container_id, sizeof(target->container_id), "container%u",
                   table->same_container ? 1 : target->target);
    (void)snprintf(target->name, sizeof(target->name), "%s", table->name);
    return 0;
}

static int texts_of(void *context, int64_t boot, uint64_t *ret_changes, struct cb_err *err)
{
    const struct table *table = context;

    (void)boot;
    (void)err;
    *ret_changes = table->changes;
    return 0;
}

static int boot_of(void *context, int64_t boot, char ret_id[CB_BOOT_ID_SIZE], struct cb_err *err)
{
    (void)context;
    (void)err;
    (void)snprintf(ret_id, CB_BOOT_ID_SIZE, "boot%d", (int)boot);
    return 0;
}

static struct row *row_of(struct table *table, const struct cb_stream_bin *bin)
{
    for (size_t i = 0; i < table->n; i++)
        if (table->rows[i].wall_ns == bin->wall_ns && table->rows[i].again == bin->again) {
            table->repeats++;
            return &table->rows[i];
        }
    assert_true(table->n < BINS_MAX);
    return &table->rows[table->n++];
}

static int close_bin(void *context, const struct cb_stream_bin *bin, struct cb_err *err)
{
    struct table *table = context;
    struct row row = {.wall_ns = bin->wall_ns, .again = bin->again};

    if (table->closed == table->stop_after)
        return cb_err_set(err, EIO, "killed");
    table->closed++;
    assert_int_equal(bin->wall_ns % (int64_t)bin->resolution_ns, 0);
    assert_string_equal(bin->machine, "node1");
    for (size_t d = 0; d < bin->n_domains; d++) {
        const struct cb_stream_domain *domain = &bin->domains[d];
        uint64_t sum = domain->idle_uj + domain->system_uj + domain->unattributed_uj;

        for (size_t t = 0; t < bin->n_targets; t++)
            sum += cb_stream_share(bin, t, d)->dynamic_uj;
        assert_int_equal(sum, domain->energy_uj);
        row.energy += domain->energy_uj;
        row.idle += domain->idle_uj;
        row.system += domain->system_uj;
        row.unattributed += domain->unattributed_uj;
    }
    for (size_t t = 0; t < bin->n_targets; t++) {
        const struct cb_stream_target *target = bin->targets[t];
        size_t which = (size_t)(target->identity[strlen("container")] - '1');

        assert_true(which < TARGETS);
        for (size_t d = 0; d < bin->n_domains; d++)
            row.dynamic[which] += cb_stream_share(bin, t, d)->dynamic_uj;
        if (target->cpu_ns != CB_STAT_ABSENT)
            row.cpu[which] += target->cpu_ns;
        if (target->has_metrics)
            row.pids[which] += target->metrics[CB_SCHEMA_PIDS - CB_STREAM_METRIC_FIRST];
    }
    if (bin->n_targets)
        (void)snprintf(table->closed_name, sizeof(table->closed_name), "%.31s",
                       bin->targets[0]->text.name);
    *row_of(table, bin) = row;
    return 0;
}

/* Frames that were stored, and what they sum to. */
struct frames {
    size_t n;
    struct cb_store_frame at[FRAMES];
    struct cb_result results[FRAMES];
    struct row sum;
};

static void add_frame(struct frames *frames, uint64_t *seed, int64_t boot, uint64_t t0, uint64_t t1,
                      uint64_t offset)
{
    struct cb_result *result = &frames->results[frames->n];

    fixture_result(result, seed, t0, t1, DOMAINS, TARGETS);
    result->wall_ns = t1 + offset;
    frames->at[frames->n] = (struct cb_store_frame){.id = (int64_t)frames->n * 2 + 10,
                                                    .start = boot,
                                                    .boot = boot,
                                                    .t0_ns = t0,
                                                    .t1_ns = t1,
                                                    .wall_ns = t1 + offset};
    for (size_t d = 0; d < DOMAINS; d++) {
        frames->sum.energy += result->domains[d].energy_uj;
        frames->sum.idle += result->domains[d].idle_uj;
        frames->sum.system += result->domains[d].system_uj;
        frames->sum.unattributed += result->domains[d].unattributed_uj;
        for (size_t t = 0; t < TARGETS; t++)
            frames->sum.dynamic[t] += result->shares[d * TARGETS + t].dynamic_uj;
    }
    for (size_t t = 0; t < TARGETS; t++)
        frames->sum.cpu[t] += result->target_cpu_ns[t];
    frames->n++;
}

static void free_frames(struct frames *frames)
{
    for (size_t i = 0; i < frames->n; i++)
        cb_result_clear(&frames->results[i]);
    free(frames);
}

/* Gaps, frames of any length, a clock that is stepped both ways, reboots. */
static struct frames *eventful_frames(uint64_t seed)
{
    struct frames *frames = calloc(1, sizeof(*frames));
    uint64_t offset = FIXTURE_WALL_OFFSET;
    uint64_t now = 5 * SECOND + 123456789;
    int64_t boot = 1;

    assert_non_null(frames);
    for (size_t i = 0; i < FRAMES; i++) {
        uint64_t length =
            1 + fixture_random(&seed, fixture_random(&seed, 8) ? SECOND / 4 : 9 * SECOND);

        if (fixture_random(&seed, 15) == 0)
            now += fixture_random(&seed, 5 * SECOND);
        if (fixture_random(&seed, 25) == 0)
            offset += fixture_random(&seed, 40 * SECOND) - 20 * SECOND;
        offset += fixture_random(&seed, 2000000) - 1000000; /* two clocks are not read at once */
        if (fixture_random(&seed, 60) == 0) {
            offset = offset + now - fixture_random(&seed, 10 * SECOND);
            now = SECOND;
            boot++;
        }
        add_frame(frames, &seed, boot, now, now + length, offset);
        now += length;
    }
    return frames;
}

static struct cb_fold *new_fold(struct table *table, uint64_t resolution_ns,
                                struct cb_fold_callbacks *callbacks)
{
    struct cb_fold *fold = NULL;

    *callbacks = (struct cb_fold_callbacks){.context = table,
                                            .text = text_of,
                                            .texts = texts_of,
                                            .boot_id = boot_of,
                                            .close = close_bin};
    assert_int_equal(cb_fold_new("node1", resolution_ns, table->mark.frame ? &table->mark : NULL,
                                 callbacks, &fold, NULL),
                     0);
    return fold;
}

/* From the table's mark to the end or the kill; the mark moves on behind every @every-th frame, as
 * if a batch were stored there. True: came to the end. */
static bool fold_all(struct table *table, const struct frames *frames, uint64_t resolution_ns)
{
    struct cb_fold_callbacks callbacks;
    struct cb_fold *fold = new_fold(table, resolution_ns, &callbacks);
    int r = 0;

    for (size_t i = 0; i < frames->n && r == 0; i++) {
        r = cb_fold_add(fold, &frames->at[i], &frames->results[i], NULL, NULL, NULL);
        if (r == 0 && i % 3 == 0)
            table->mark = *cb_fold_mark(fold);
    }
    if (r == 0)
        r = cb_fold_flush(fold, NULL);
    if (r == 0)
        table->mark = *cb_fold_mark(fold);
    assert_true(r == 0 || r == -EIO);
    (void)cb_fold_free(fold);
    return r == 0;
}

static void assert_sums(const struct table *table, const struct row *want)
{
    struct row sum = {0};

    for (size_t i = 0; i < table->n; i++) {
        const struct row *row = &table->rows[i];

        sum.energy += row->energy;
        sum.idle += row->idle;
        sum.system += row->system;
        sum.unattributed += row->unattributed;
        for (size_t t = 0; t < TARGETS; t++) {
            sum.dynamic[t] += row->dynamic[t];
            sum.cpu[t] += row->cpu[t];
        }
    }
    assert_memory_equal(&sum, want, sizeof(sum));
}

static struct table *new_table(void)
{
    struct table *table = calloc(1, sizeof(*table));

    assert_non_null(table);
    table->stop_after = SIZE_MAX;
    return table;
}

static void the_rows_sum_to_the_frames_whatever_the_clocks_do(void **state)
{
    static const uint64_t resolutions[] = {SECOND, SECOND / 10, 7 * SECOND, 60 * SECOND};

    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++)
        for (size_t i = 0; i < sizeof(resolutions) / sizeof(resolutions[0]); i++) {
            struct frames *frames = eventful_frames(seed);
            struct table *table = new_table();

            assert_true(fold_all(table, frames, resolutions[i]));
            assert_sums(table, &frames->sum);
            assert_int_equal(table->repeats, 0); /* a key comes once */
            free(table);
            free_frames(frames);
        }
}

static void a_kill_after_any_bin_changes_no_sum(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct frames *frames = eventful_frames(seed);
        struct table *whole = new_table();

        assert_true(fold_all(whole, frames, SECOND));
        for (size_t at = 0; at < whole->closed; at += 1 + at / 40) {
            struct table *table = new_table();

            table->stop_after = at;
            assert_false(fold_all(table, frames, SECOND));
            table->stop_after = SIZE_MAX;
            assert_true(fold_all(table, frames, SECOND));
            assert_sums(table, &frames->sum);
            assert_int_equal(table->n, whole->n);
            free(table);
        }
        free(whole);
        free_frames(frames);
    }
}

static void another_resolution_after_a_restart_changes_no_sum(void **state)
{
    struct frames *frames = eventful_frames(9);
    struct table *table = new_table();
    struct cb_fold_callbacks callbacks;
    struct cb_fold *fold;

    (void)state;
    fold = new_fold(table, SECOND, &callbacks);
    for (size_t i = 0; i < 150; i++)
        assert_int_equal(cb_fold_add(fold, &frames->at[i], &frames->results[i], NULL, NULL, NULL),
                         0);
    table->mark = *cb_fold_mark(fold);
    (void)cb_fold_free(fold);
    assert_true(fold_all(table, frames, 10 * SECOND));
    assert_sums(table, &frames->sum);
    assert_int_equal(table->repeats, 0);
    free(table);
    free_frames(frames);
}

static void a_steady_run_has_one_row_a_second_and_the_last_one_waits(void **state)
{
    struct frames *frames = calloc(1, sizeof(*frames));
    struct table *table = new_table();
    struct cb_fold_callbacks callbacks;
    uint64_t seed = 3;
    struct cb_fold *fold = new_fold(table, SECOND, &callbacks);

    (void)state;
    assert_non_null(frames);
    for (uint64_t i = 0; i < 35; i++) /* 3.5 s, from the middle of a second */
        add_frame(frames, &seed, 1, SECOND / 2 + i * SECOND / 10,
                  SECOND / 2 + (i + 1) * SECOND / 10, FIXTURE_WALL_OFFSET);
    for (size_t i = 0; i < frames->n; i++)
        assert_int_equal(cb_fold_add(fold, &frames->at[i], &frames->results[i], NULL, NULL, NULL),
                         0);
    assert_int_equal(table->n, 4); /* half a second, three */
    assert_false(cb_fold_is_open(fold));
    assert_int_equal(cb_fold_mark(fold)->frame, frames->at[34].id);
    add_frame(frames, &seed, 1, 4 * SECOND, 4 * SECOND + SECOND / 10, FIXTURE_WALL_OFFSET);
    assert_int_equal(cb_fold_add(fold, &frames->at[35], &frames->results[35], NULL, NULL, NULL), 0);
    assert_int_equal(table->n, 4);
    assert_true(cb_fold_is_open(fold));
    assert_int_equal(cb_fold_open_frame(fold), frames->at[35].id);
    for (size_t i = 0; i < table->n; i++) {
        assert_int_equal(table->rows[i].again, 0);
        assert_int_equal(table->rows[i].wall_ns, FIXTURE_WALL_OFFSET + i * SECOND);
    }
    (void)cb_fold_free(fold);
    free(table);
    free_frames(frames);
}

static void a_container_that_was_started_again_is_one_row(void **state)
{
    struct frames *frames = calloc(1, sizeof(*frames));
    struct table *table = new_table();
    uint64_t seed = 4;

    (void)state;
    assert_non_null(frames);
    table->same_container = true; /* all targets have one id */
    add_frame(frames, &seed, 1, SECOND, SECOND + SECOND / 2, FIXTURE_WALL_OFFSET);
    assert_true(fold_all(table, frames, SECOND));
    assert_int_equal(table->n, 1);
    assert_int_equal(table->rows[0].dynamic[0],
                     frames->sum.dynamic[0] + frames->sum.dynamic[1] + frames->sum.dynamic[2]);
    free(table);
    free_frames(frames);
}

static void what_a_container_used_goes_into_the_row_of_its_frame_end(void **state)
{
    uint32_t ids[] = {0, 2};
    uint64_t values[] = {99, 5};
    const struct cb_usage usage = {
        .n_columns = 1, .n_targets = 2, .targets = ids, .values = values};
    struct frames *frames = calloc(1, sizeof(*frames));
    struct table *table = new_table();
    struct cb_fold_callbacks callbacks;
    struct cb_fold *fold = new_fold(table, SECOND, &callbacks);
    uint64_t seed = 4;

    (void)state;
    assert_non_null(frames);
    add_frame(frames, &seed, 1, SECOND / 2, SECOND + SECOND / 2, FIXTURE_WALL_OFFSET);
    assert_int_equal(cb_fold_add(fold, &frames->at[0], &frames->results[0], &usage, "pids", NULL),
                     0);
    assert_int_equal(cb_fold_flush(fold, NULL), 0);
    assert_int_equal(table->n, 2);
    assert_int_equal(table->rows[0].pids[1], 0);
    assert_int_equal(table->rows[1].pids[1], 5);
    assert_sums(table, &frames->sum);
    (void)cb_fold_free(fold);
    free(table);
    free_frames(frames);
}

/* One whole row of each second; asks: how often a text is asked for meanwhile. */
static unsigned asks_of_a_row(struct table *table, struct cb_fold *fold, struct frames *frames,
                              int64_t start)
{
    uint64_t begin = (frames->n + 1) * SECOND;
    unsigned before = table->asked;
    uint64_t seed = 4;
    size_t i = frames->n;

    add_frame(frames, &seed, 1, begin, begin + SECOND, FIXTURE_WALL_OFFSET);
    frames->at[i].start = start;
    assert_int_equal(cb_fold_add(fold, &frames->at[i], &frames->results[i], NULL, NULL, NULL), 0);
    assert_int_equal(table->n, frames->n);
    return table->asked - before;
}

static void a_text_is_asked_for_once_until_one_changes(void **state)
{
    struct frames *frames = calloc(1, sizeof(*frames));
    struct table *table = new_table();
    struct cb_fold_callbacks callbacks;
    struct cb_fold *fold = new_fold(table, SECOND, &callbacks);

    (void)state;
    assert_non_null(frames);
    table->unknown = true;
    assert_int_equal(asks_of_a_row(table, fold, frames, 1), TARGETS);
    (void)snprintf(table->name, sizeof(table->name), "late");
    table->unknown = false;
    assert_int_equal(asks_of_a_row(table, fold, frames, 1), TARGETS);
    assert_string_equal(table->closed_name, "late");
    assert_int_equal(asks_of_a_row(table, fold, frames, 1), 0);
    (void)snprintf(table->name, sizeof(table->name), "renamed");
    table->changes++;
    assert_int_equal(asks_of_a_row(table, fold, frames, 1), TARGETS);
    assert_string_equal(table->closed_name, "renamed");
    assert_int_equal(asks_of_a_row(table, fold, frames, 2), TARGETS); /* another sensor start */
    assert_int_equal(asks_of_a_row(table, fold, frames, 1), 0);
    assert_sums(table, &frames->sum);
    (void)cb_fold_free(fold);
    free(table);
    free_frames(frames);
}

static void texts_of_targets_that_are_gone_are_not_kept_for_ever(void **state)
{
    struct frames *frames = calloc(1, sizeof(*frames));
    struct table *table = new_table();
    struct cb_fold_callbacks callbacks;
    struct cb_fold *fold = new_fold(table, SECOND, &callbacks);

    (void)state;
    assert_non_null(frames);
    for (int64_t start = 1; start < 200; start++)
        (void)asks_of_a_row(table, fold, frames, start);
    assert_int_equal(asks_of_a_row(table, fold, frames, 1), TARGETS);
    assert_sums(table, &frames->sum);
    (void)cb_fold_free(fold);
    free(table);
    free_frames(frames);
}

static void a_night_asleep_is_one_row(void **state)
{
    struct frames *frames = calloc(1, sizeof(*frames));
    struct table *table = new_table();
    uint64_t seed = 4;

    (void)state;
    assert_non_null(frames);
    add_frame(frames, &seed, 1, SECOND, 30000 * SECOND, FIXTURE_WALL_OFFSET);
    assert_true(fold_all(table, frames, SECOND));
    assert_int_equal(table->n, 1);
    assert_int_equal(table->rows[0].wall_ns, FIXTURE_WALL_OFFSET + 29999 * SECOND);
    assert_sums(table, &frames->sum);
    free(table);
    free_frames(frames);
}

static void absurd_times_do_no_harm(void **state)
{
    static const uint64_t walls[] = {0, 1, INT64_MAX, UINT64_MAX, UINT64_C(1) << 63};
    uint64_t seed = 4;

    (void)state;
    for (size_t i = 0; i < sizeof(walls) / sizeof(walls[0]); i++) {
        struct frames *frames = calloc(1, sizeof(*frames));
        struct table *table = new_table();

        assert_non_null(frames);
        add_frame(frames, &seed, 1, SECOND, 4 * SECOND, walls[i] - 4 * SECOND);
        assert_true(fold_all(table, frames, SECOND));
        assert_sums(table, &frames->sum);
        free(table);
        free_frames(frames);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rows_sum_to_the_frames_whatever_the_clocks_do),
        cmocka_unit_test(a_kill_after_any_bin_changes_no_sum),
        cmocka_unit_test(another_resolution_after_a_restart_changes_no_sum),
        cmocka_unit_test(a_steady_run_has_one_row_a_second_and_the_last_one_waits),
        cmocka_unit_test(a_container_that_was_started_again_is_one_row),
        cmocka_unit_test(what_a_container_used_goes_into_the_row_of_its_frame_end),
        cmocka_unit_test(a_text_is_asked_for_once_until_one_changes),
        cmocka_unit_test(texts_of_targets_that_are_gone_are_not_kept_for_ever),
        cmocka_unit_test(a_night_asleep_is_one_row),
        cmocka_unit_test(absurd_times_do_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
