/* SPDX-License-Identifier: Apache-2.0 */
/* test_gaps.c - sensor/gaps.c: whatever a name or a kernel said, a frame takes it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sensor/gaps.h"

static struct cb_gaps gaps;

static int setup(void **state)
{
    (void)state;
    gaps = (struct cb_gaps){0};
    return 0;
}

static void standing_ones_stay(void **state)
{
    (void)state;
    cb_gaps_add_standing(&gaps, "event:x", "left out: %s", "unknown");
    cb_gaps_add(&gaps, "perf:/a", "not read");
    assert_int_equal(gaps.n, 2);
    cb_gaps_reset(&gaps);
    assert_int_equal(gaps.n, 1);
    assert_string_equal(gaps.at[0].source, "event:x");
    assert_string_equal(gaps.at[0].reason, "left out: unknown");
}

static void what_does_not_fit_is_counted(void **state)
{
    (void)state;
    for (size_t i = 0; i <= CB_FRAME_MAX_GAPS; i++)
        cb_gaps_add(&gaps, "perf", "%zu", i);
    assert_int_equal(gaps.n, CB_FRAME_MAX_GAPS);
    assert_int_equal(gaps.dropped, 1);
}

/* A frame with any other text is refused as a whole. */
static void texts_are_utf8_also_where_they_are_cut(void **state)
{
    char name[2 * 200 + 2] = "x";

    (void)state;
    cb_gaps_add_standing(&gaps, "event:gr\xff\xfe", "left out: gr\xf6\xdf");
    assert_string_equal(gaps.at[0].source, "event:gr??");
    assert_string_equal(gaps.at[0].reason, "left out: gr?"); /* the last one was cut */
    for (int i = 0; i < 200; i++)
        memcpy(name + 1 + (size_t)2 * (size_t)i, "\xc3\xb6", 3);
    cb_gaps_add(&gaps, name, "%s", name);
    assert_memory_equal(gaps.at[1].source, name, 111);
    assert_int_equal(strlen(gaps.at[1].source), 111); /* its last byte was not cut off */
    cb_gaps_add(&gaps, name + 1, "%s", name + 1);
    assert_int_equal(strlen(gaps.at[2].source), 110);
    assert_int_equal(strlen(gaps.at[2].reason), 254);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(standing_ones_stay, setup),
        cmocka_unit_test_setup(what_does_not_fit_is_counted, setup),
        cmocka_unit_test_setup(texts_are_utf8_also_where_they_are_cut, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
