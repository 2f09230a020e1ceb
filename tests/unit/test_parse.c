/* SPDX-License-Identifier: Apache-2.0 */
/* test_parse.c - lib/parse: strict text to number, and nothing is written on failure. */
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/parse.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

static void whole_numbers(void **state)
{
    static const struct {
        const char *text;
        int r;
        uint64_t value;
    } cases[] = {
        {"0", 0, 0},
        {"7\n", 0, 7},
        {"007", 0, 7},
        {"18446744073709551615", 0, UINT64_MAX},
        {"18446744073709551616", -ERANGE, 0},
        {"99999999999999999999999\n", -ERANGE, 0},
        {"99999999999999999999999x", -EINVAL, 0},
        {"", -EINVAL, 0},
        {"\n", -EINVAL, 0},
        {"-1", -EINVAL, 0},
        {"+1", -EINVAL, 0},
        {" 1", -EINVAL, 0},
        {"1 ", -EINVAL, 0},
        {"1\n\n", -EINVAL, 0},
        {"0x10", -EINVAL, 0},
        {"1.0", -EINVAL, 0},
    };

    (void)state;
    for (size_t i = 0; i < N(cases); i++) {
        uint64_t value = 77;

        if (cb_parse_u64(cases[i].text, &value) != cases[i].r ||
            value != (cases[i].r ? 77 : cases[i].value))
            fail_msg("'%s': %" PRIu64, cases[i].text, value);
    }
}

static void decimal_numbers(void **state)
{
    static const struct {
        const char *text;
        int r;
        double value;
    } cases[] = {
        {"12", 0, 12},       {"-0.5", 0, -0.5},     {"+.5", 0, 0.5},
        {"5.", 0, 5},        {"1e3\n", 0, 1000},    {"2.3283064365386963e-10", 0, 0x1p-32},
        {"1e-400", 0, 0},    {"1e400", -ERANGE, 0}, {"", -EINVAL, 0},
        {".", -EINVAL, 0},   {"e5", -EINVAL, 0},    {"1e", -EINVAL, 0},
        {"1e+", -EINVAL, 0}, {"1,5", -EINVAL, 0},   {"nan", -EINVAL, 0},
        {"inf", -EINVAL, 0}, {"0x1p3", -EINVAL, 0}, {" 1", -EINVAL, 0},
        {"1 ", -EINVAL, 0},
    };

    (void)state;
    for (size_t i = 0; i < N(cases); i++) {
        double value = 77;

        if (cb_parse_double(cases[i].text, &value) != cases[i].r ||
            value != (cases[i].r ? 77 : cases[i].value))
            fail_msg("'%s': %g", cases[i].text, value);
    }
}

static void durations_have_a_unit(void **state)
{
    static const struct {
        const char *text;
        int r;
        uint64_t ns;
    } cases[] = {
        {"250ms", 0, 250000000},
        {"1s", 0, 1000000000},
        {"1.5s", 0, 1500000000},
        {"0.1s", 0, 100000000},
        {"2m", 0, UINT64_C(120000000000)},
        {"1h", 0, UINT64_C(3600000000000)},
        {"2d", 0, UINT64_C(172800000000000)},
        {"10us", 0, 10000},
        {"7ns", 0, 7},
        {"0", 0, 0},
        {"0.0", 0, 0},
        {"0s", 0, 0},
        {"300000d", -ERANGE, 0},
        {"99999999999999999999s", -ERANGE, 0},
        {"5", -EINVAL, 0},
        {"", -EINVAL, 0},
        {"s", -EINVAL, 0},
        {"-1s", -EINVAL, 0},
        {"1 s", -EINVAL, 0},
        {"1S", -EINVAL, 0},
        {"1s ", -EINVAL, 0},
        {"1s\n", -EINVAL, 0},
        {"1.2.3s", -EINVAL, 0},
        {"1e3s", -EINVAL, 0},
        {"1min", -EINVAL, 0},
        {"00000000000000000000000000000001s", -EINVAL, 0},
    };

    (void)state;
    for (size_t i = 0; i < N(cases); i++) {
        uint64_t ns = 77;

        if (cb_parse_duration(cases[i].text, &ns) != cases[i].r ||
            ns != (cases[i].r ? 77 : cases[i].ns))
            fail_msg("'%s': %" PRIu64, cases[i].text, ns);
    }
}

static void cpu_lists_as_the_kernel_writes_them(void **state)
{
    static const struct {
        const char *text;
        int r;
        size_t count;
        const char *set;
    } cases[] = {
        {"", 0, 0, "000000000000"},    {"\n", 0, 0, "000000000000"},
        {"0\n", 0, 1, "100000000000"}, {"0-3,8,10-11\n", 0, 7, "111100001011"},
        {"11", 0, 1, "000000000001"},  {"1,1,0-1", 0, 2, "110000000000"},
        {"3-2", -EINVAL, 0, NULL},     {"0-", -EINVAL, 0, NULL},
        {"-3", -EINVAL, 0, NULL},      {"0,", -EINVAL, 0, NULL},
        {",0", -EINVAL, 0, NULL},      {"0,,1", -EINVAL, 0, NULL},
        {"0 1", -EINVAL, 0, NULL},     {"0-1-2", -EINVAL, 0, NULL},
        {"a", -EINVAL, 0, NULL},       {"12", -ERANGE, 0, NULL},
        {"0-12", -ERANGE, 0, NULL},    {"0-99999999999999999999", -ERANGE, 0, NULL},
    };

    (void)state;
    for (size_t i = 0; i < N(cases); i++) {
        uint8_t set[12];
        size_t count = 77;
        int r;

        memset(set, 9, sizeof(set));
        r = cb_parse_cpulist(cases[i].text, set, sizeof(set), &count);
        if (r != cases[i].r || count != (r ? 77 : cases[i].count))
            fail_msg("'%s': %d, %zu", cases[i].text, r, count);
        for (size_t k = 0; r == 0 && k < sizeof(set); k++)
            assert_int_equal(set[k], cases[i].set[k] - '0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_numbers),
        cmocka_unit_test(decimal_numbers),
        cmocka_unit_test(durations_have_a_unit),
        cmocka_unit_test(cpu_lists_as_the_kernel_writes_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
