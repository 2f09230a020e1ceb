/* SPDX-License-Identifier: Apache-2.0 */
/* test_clock.c - lib/clock: two clocks, the boot id, and UTC as people read it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "tests/support/fake_root.h"

#define ID_FILE "proc/sys/kernel/random/boot_id"
#define ID "0b0b0b0b-1111-2222-3333-444444444444"

static void the_clocks_are_boottime_and_realtime(void **state)
{
    struct timespec ts;
    uint64_t before = cb_clock_boot_ns();
    uint64_t wall;

    (void)state;
    assert_int_equal(clock_gettime(CLOCK_BOOTTIME, &ts), 0);
    assert_true(before <= (uint64_t)ts.tv_sec * CB_NS_PER_S + (uint64_t)ts.tv_nsec);
    assert_true(cb_clock_boot_ns() >= (uint64_t)ts.tv_sec * CB_NS_PER_S + (uint64_t)ts.tv_nsec);
    wall = cb_clock_wall_ns() / CB_NS_PER_S;
    assert_true(wall >= (uint64_t)time(NULL) - 2 && wall <= (uint64_t)time(NULL) + 2);
}

static void utc_has_milliseconds_and_a_z(void **state)
{
    static const struct {
        uint64_t wall_ns;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {UINT64_C(999999), "1970-01-01T00:00:00.000Z"},
        {UINT64_C(951782399999999999), "2000-02-28T23:59:59.999Z"},
        {UINT64_C(951782400001000000), "2000-02-29T00:00:00.001Z"},
        {UINT64_C(1795358963123456789), "2026-11-22T14:49:23.123Z"},
        {UINT64_MAX, "2554-07-21T23:34:33.709Z"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[32];

        cb_clock_format_utc(cases[i].wall_ns, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void the_boot_id_is_read_below_the_root(void **state)
{
    const struct fake_root *root = *state;
    char id[CB_BOOT_ID_SIZE];

    fake_root_put(root, ID_FILE, ID "\n");
    assert_int_equal(cb_clock_boot_id(root->fd, id, NULL), 0);
    assert_string_equal(id, ID);
}

static void what_is_no_boot_id_is_refused_and_nothing_written(void **state)
{
    static const char *const bad[] = {"", "\n", "0b0b", "0B0B0B0B-1111-2222-3333-444444444444\n",
                                      "0b0b0b0b-1111-2222-3333-44444444444\n"};
    const struct fake_root *root = *state;
    char id[CB_BOOT_ID_SIZE] = "untouched";
    struct cb_err err = {0};

    assert_int_equal(cb_clock_boot_id(root->fd, id, &err), -ENOENT);
    assert_non_null(strstr(err.text, ID_FILE));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        fake_root_put(root, ID_FILE, "%s", bad[i]);
        assert_int_equal(cb_clock_boot_id(root->fd, id, &err), -EINVAL);
        assert_non_null(strstr(err.text, ID_FILE));
    }
    assert_string_equal(id, "untouched");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_root_setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_clocks_are_boottime_and_realtime),
        cmocka_unit_test(utc_has_milliseconds_and_a_z),
        TEST(the_boot_id_is_read_below_the_root),
        TEST(what_is_no_boot_id_is_refused_and_nothing_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
