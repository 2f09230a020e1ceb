/* SPDX-License-Identifier: Apache-2.0 */
/* test_unreadable.c - formula/unreadable.c: names that are labels, bounded and each once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "formula/unreadable.h"
#include "lib/frame.h"

static void every_gap_counts_and_every_name_is_there_once(void **state)
{
    struct cb_frame_gap gaps[] = {{"energy", "a"}, {"rapl", "b"}, {"energy", "c"}};
    struct cb_frame frame = {.n_gaps = 3, .gaps = gaps};
    struct cb_unreadable seen;

    (void)state;
    cb_unreadable_of_frame(&frame, &seen);
    assert_int_equal(seen.n, 3);
    assert_int_equal(seen.n_names, 2);
    assert_string_equal(seen.names[0], "energy");
    assert_string_equal(seen.names[1], "rapl");
    frame.n_gaps = 0;
    cb_unreadable_of_frame(&frame, &seen);
    assert_int_equal(seen.n + seen.n_names, 0);
}

static void names_beyond_the_limit_are_counted_only(void **state)
{
    struct cb_frame_gap gaps[CB_UNREADABLE_NAMES + 5];
    char names[CB_UNREADABLE_NAMES + 5][32];
    struct cb_frame frame = {.n_gaps = CB_UNREADABLE_NAMES + 5, .gaps = gaps};
    struct cb_unreadable seen;

    (void)state;
    for (size_t i = 0; i < frame.n_gaps; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "perf:/%zu", i);
        gaps[i] = (struct cb_frame_gap){.source = names[i], .reason = ""};
    }
    cb_unreadable_of_frame(&frame, &seen);
    assert_int_equal(seen.n, CB_UNREADABLE_NAMES + 5);
    assert_int_equal(seen.n_names, CB_UNREADABLE_NAMES);
    assert_string_equal(seen.names[CB_UNREADABLE_NAMES - 1], names[CB_UNREADABLE_NAMES - 1]);
}

/* Two lines of /metrics with the same labels would make the page worthless. */
static void a_long_name_is_cut_between_characters_and_then_once(void **state)
{
    char first[CB_UNREADABLE_NAME_SIZE + 10];
    char second[sizeof(first)];
    struct cb_frame_gap gaps[] = {{first, ""}, {second, ""}};
    struct cb_frame frame = {.n_gaps = 2, .gaps = gaps};
    struct cb_unreadable seen;

    (void)state;
    memset(first, 'x', sizeof(first));
    memcpy(first + CB_UNREADABLE_NAME_SIZE - 2, "\xc3\xa9", 2); /* the last byte is cut off */
    first[sizeof(first) - 1] = '\0';
    memcpy(second, first, sizeof(second));
    second[sizeof(second) - 2] = 'y';
    cb_unreadable_of_frame(&frame, &seen);
    assert_int_equal(seen.n, 2);
    assert_int_equal(seen.n_names, 1);
    assert_int_equal(strlen(seen.names[0]), CB_UNREADABLE_NAME_SIZE - 2);
    assert_int_equal(strspn(seen.names[0], "x"), CB_UNREADABLE_NAME_SIZE - 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_gap_counts_and_every_name_is_there_once),
        cmocka_unit_test(names_beyond_the_limit_are_counted_only),
        cmocka_unit_test(a_long_name_is_cut_between_characters_and_then_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
