/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formula/usage.h"
#include "lib/err.h"
#include "tests/support/store_fixture.h"

#define A CB_STAT_ABSENT

static const char *names[] = {"cpu_ns", "memory_bytes", "made_up", "io_read_bytes"};
static struct cb_frame_target targets[] = {{.id = 7}, {.id = 9}, {.id = 8}};
/* the machine, 7, 9 (nothing known) and 8 */
static uint64_t stats[] = {100, A, 1, A, 40, 5000, 2, 0, 50, A, 3, A, 60, A, 4, 77};

static struct cb_frame frame_of(void)
{
    return (struct cb_frame){
        .n_targets = 3, .targets = targets, .n_stats = 4, .stat_names = names, .stats = stats};
}

static void keeps_the_known_values_of_the_schemas_columns(void **state)
{
    struct cb_frame frame = frame_of();
    struct cb_usage usage = {0};
    char joined[CB_USAGE_NAMES_SIZE];

    (void)state;
    assert_int_equal(cb_usage_of_frame(&frame, &usage, joined, NULL), 0);
    assert_string_equal(joined, "memory_bytes,io_read_bytes");
    assert_int_equal(usage.n_columns, 2);
    assert_int_equal(usage.n_targets, 2);
    assert_int_equal(usage.targets[0], 7);
    assert_int_equal(usage.targets[1], 8);
    assert_true(cb_usage_at(&usage, 0, 0) == 5000);
    assert_true(cb_usage_at(&usage, 1, 0) == 0);
    assert_true(cb_usage_at(&usage, 0, 1) == A);
    assert_true(cb_usage_at(&usage, 1, 1) == 77);
    frame.n_stats = 1;
    assert_int_equal(cb_usage_of_frame(&frame, &usage, joined, NULL), 0);
    assert_int_equal(usage.n_targets, 0);
    cb_usage_clear(&usage);
}

static void packs_and_unpacks_to_the_same(void **state)
{
    struct cb_frame frame = frame_of();
    struct cb_usage usage = {0};
    struct cb_usage back = {0};
    char joined[CB_USAGE_NAMES_SIZE];
    uint8_t *bytes = NULL;
    size_t size;

    (void)state;
    stats[7] = UINT64_MAX - 1;
    assert_int_equal(cb_usage_of_frame(&frame, &usage, joined, NULL), 0);
    assert_int_equal(cb_usage_pack(&usage, &bytes, &size, NULL), 0);
    stats[7] = 0;
    assert_int_equal(cb_usage_unpack(bytes, size, &back, NULL), 0);
    assert_int_equal(back.n_columns, 2);
    assert_int_equal(back.n_targets, 2);
    assert_memory_equal(back.targets, usage.targets, 2 * sizeof(*usage.targets));
    assert_memory_equal(back.values, usage.values, 4 * sizeof(*usage.values));
    for (size_t cut = 0; cut < size; cut++) {
        struct cb_err err = {0};

        assert_int_equal(cb_usage_unpack(bytes, cut, &back, &err), -EBADMSG);
        assert_true(err.text[0] != '\0');
    }
    free(bytes);
    cb_usage_clear(&usage);
    cb_usage_clear(&back);
}

static void counters_add_up_and_gauges_are_the_later_ones(void **state)
{
    static const char joined[] = "memory_bytes,io_read_bytes";
    uint32_t first_ids[] = {1, 2};
    uint64_t first_values[] = {10, 20, 5, A};
    uint32_t later_ids[] = {3, 2, 1};
    uint64_t later_values[] = {1, 21, A, 2, 7, 6};
    struct cb_usage first = {0};
    struct cb_usage later = {
        .n_columns = 2, .n_targets = 3, .targets = later_ids, .values = later_values};

    (void)state;
    first.n_columns = first.n_targets = 2;
    first.targets = malloc(sizeof(first_ids));
    first.values = malloc(sizeof(first_values));
    assert_true(first.targets && first.values);
    memcpy(first.targets, first_ids, sizeof(first_ids));
    memcpy(first.values, first_values, sizeof(first_values));
    first.capacity = 4;
    first.target_capacity = 2;
    assert_int_equal(cb_usage_add(&first, joined, &later, NULL), 0);
    assert_int_equal(first.n_targets, 3);
    assert_true(cb_usage_at(&first, 0, 0) == 10); /* its later value is not known */
    assert_true(cb_usage_at(&first, 0, 1) == 21);
    assert_true(cb_usage_at(&first, 0, 2) == 1);
    assert_true(cb_usage_at(&first, 1, 0) == 11);
    assert_true(cb_usage_at(&first, 1, 1) == 7);
    assert_true(cb_usage_at(&first, 1, 2) == 2);
    cb_usage_clear(&first);
}

struct rows {
    size_t n;
    uint64_t t0_ns[4], t1_ns[4];
    char names[64];
};

static int take(void *context, const struct cb_store_usage *usage, struct cb_err *err)
{
    struct rows *rows = context;

    (void)err;
    assert_true(rows->n < 4);
    rows->t0_ns[rows->n] = usage->t0_ns;
    rows->t1_ns[rows->n++] = usage->t1_ns;
    (void)snprintf(rows->names, sizeof(rows->names), "%s", usage->names);
    return 0;
}

/* Frames 1 and 4 have the columns: the counters of 4 are over the time of 2 to 4. */
static void a_row_reaches_back_to_the_one_before_of_its_start(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct rows rows = {.n = 0};

    for (int64_t i = 1; i <= 4; i += 3) {
        struct cb_store_usage usage = {.frame = i,
                                       .start = start.id,
                                       .boot = start.boot,
                                       .t0_ns = (uint64_t)i * 100,
                                       .t1_ns = (uint64_t)i * 100 + 100,
                                       .wall_ns = 5000 + (uint64_t)i * 100,
                                       .names = "pids",
                                       .bytes = "x",
                                       .size = 1};

        assert_int_equal(cb_store_put_usage(f->store, &usage, 1, NULL), 0);
    }
    assert_int_equal(cb_store_usage_by_wall(f->store, start.machine, 0, 9999, take, &rows, NULL),
                     0);
    assert_int_equal(rows.n, 2);
    assert_true(rows.t0_ns[0] == 100 && rows.t1_ns[0] == 200);
    assert_true(rows.t0_ns[1] == 200 && rows.t1_ns[1] == 500);
    assert_string_equal(rows.names, "pids");
    rows.n = 0;
    assert_int_equal(cb_store_usage_of_frame(f->store, 4, take, &rows, NULL), 0);
    assert_int_equal(rows.n, 1);
    assert_int_equal(cb_store_usage_of_frame(f->store, 2, take, &rows, NULL), 0);
    assert_int_equal(rows.n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_known_values_of_the_schemas_columns),
        cmocka_unit_test(packs_and_unpacks_to_the_same),
        cmocka_unit_test(counters_add_up_and_gauges_are_the_later_ones),
        cmocka_unit_test_setup_teardown(a_row_reaches_back_to_the_one_before_of_its_start,
                                        store_fixture_setup, store_fixture_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
