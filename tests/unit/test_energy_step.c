/* SPDX-License-Identifier: Apache-2.0 */
/* test_energy_step.c - sensor/energy_step.c: wraps, resets, leaps and sleep. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/err.h"
#include "sensor/energy_step.h"

#define S UINT64_C(1000000000)
#define J UINT64_C(1000000)
#define RANGE (262143 * J)

static struct cb_energy_moment at(uint64_t awake_ns, uint64_t slept_ns)
{
    return (struct cb_energy_moment){
        .awake_ns = awake_ns, .slept_min_ns = slept_ns, .slept_max_ns = slept_ns + 1000};
}

/* A counter of 1 uJ steps, at @last after 100 s of which none asleep. */
static struct cb_energy_steps steps_at(uint64_t last, uint64_t range)
{
    return (struct cb_energy_steps){.range = range,
                                    .uj_per_count = 1,
                                    .max_w = 1000,
                                    .sustained_w = 1000,
                                    .last = last,
                                    .at = at(100 * S, 0)};
}

/* -1: unknown, and @why is said. */
static int64_t step(struct cb_energy_steps *steps, uint64_t now, struct cb_energy_moment when,
                    const char *why)
{
    uint64_t counts = 77;
    struct cb_err err = {0};
    int r = cb_energy_step(steps, now, &when, &counts, &err);

    assert_true(steps->last == now && steps->at.awake_ns == when.awake_ns);
    if (r == 0)
        return (int64_t)counts;
    assert_int_equal(r, -ENODATA);
    assert_int_equal(counts, 77);
    if (!why || !strstr(err.text, why))
        fail_msg("'%s'", err.text);
    return -1;
}

static void a_single_wrap_is_counted_exactly(void **state)
{
    struct cb_energy_steps steps = steps_at(RANGE - 7, RANGE);

    (void)state;
    assert_int_equal(step(&steps, 4, at(101 * S, 0), NULL), 11);
    assert_int_equal(step(&steps, 4, at(102 * S, 0), NULL), 0);
    steps = steps_at(RANGE - 29000 * J, RANGE); /* 500 W for 60 s */
    assert_int_equal(step(&steps, 1000 * J, at(160 * S, 0), NULL), 30000 * J);
}

/* 110 J -> 3 J over 14 s was told as 262036 J. */
static void a_reset_is_no_wrap(void **state)
{
    struct cb_energy_steps steps = steps_at(110 * J, RANGE);

    (void)state;
    assert_int_equal(step(&steps, 3 * J, at(114 * S, 0), "reset"), -1);
    assert_int_equal(step(&steps, 5 * J, at(115 * S, 0), NULL), 2 * J); /* and goes on from there */
}

static void a_step_back_over_a_sleep_is_a_reset_however_small(void **state)
{
    struct cb_energy_steps steps = steps_at(RANGE - 7, RANGE);

    (void)state;
    assert_int_equal(step(&steps, 4, at(101 * S, 5 * S), "reset"), -1);
}

static void hours_asleep_make_no_leap_plausible(void **state)
{
    struct cb_energy_steps steps = steps_at(0, RANGE);

    (void)state;
    assert_int_equal(step(&steps, 100000 * J, at(101 * S, 28800 * S), "leapt by 100000 J"), -1);
    assert_int_equal(step(&steps, 100050 * J, at(102 * S, 28800 * S), NULL), 50 * J);
}

/* Two readings of the clocks are never taken at once: that is no sleep. */
static void the_time_between_two_clocks_is_no_sleep(void **state)
{
    struct cb_energy_steps steps = steps_at(RANGE - 7, RANGE);

    (void)state;
    assert_int_equal(step(&steps, 4, at(101 * S, 999), NULL), 11);
}

static void a_leap_is_no_energy(void **state)
{
    struct cb_energy_steps steps = steps_at(0, 0);

    (void)state;
    assert_int_equal(step(&steps, 1900 * J, at(101 * S, 0), NULL), 1900 * J);
    assert_int_equal(step(&steps, 5000 * J, at(102 * S, 0), "leapt by 3100 J"), -1);
    assert_int_equal(step(&steps, 4999 * J, at(103 * S, 0), "reset"), -1);
}

static void what_may_have_wrapped_twice_is_unknown(void **state)
{
    struct cb_energy_steps steps = steps_at(1000 * J, RANGE);

    (void)state;
    assert_int_equal(step(&steps, 2000 * J, at(400 * S, 0), "more than once"), -1);
    steps = steps_at(1000 * J, RANGE); /* another 262143 J would be more than 1 kW */
    assert_int_equal(step(&steps, 3000 * J, at(360 * S, 0), NULL), 2000 * J);
    steps = steps_at(2000 * J, RANGE);
    assert_int_equal(step(&steps, 1000 * J, at(700 * S, 0), "more than once"), -1);
    steps = steps_at(1000 * J, 0); /* never wraps */
    assert_int_equal(step(&steps, 2000 * J, at(9999 * S, 0), NULL), 1000 * J);
}

/* AMD's 65.5 kJ read every 60 s, of a zone whose limit is 300 W, four times which may burst. */
static void what_a_burst_may_use_makes_no_interval_too_long(void **state)
{
    struct cb_energy_steps steps = steps_at(1000 * J, 65532 * J);

    (void)state;
    steps.max_w = 1200;
    assert_int_equal(step(&steps, 1500 * J, at(160 * S, 0), NULL), 500 * J);
    assert_int_equal(step(&steps, 3800 * J, at(161 * S, 0), NULL), 2300 * J);
    assert_int_equal(step(&steps, 3801 * J, at(231 * S, 0), "more than once"), -1);
}

static void the_clocks_say_that_nobody_slept_just_now(void **state)
{
    struct cb_energy_moment a = cb_energy_moment();
    struct cb_energy_moment b = cb_energy_moment();

    (void)state;
    assert_true(a.slept_min_ns <= a.slept_max_ns && a.awake_ns <= b.awake_ns);
    assert_true(b.slept_min_ns <= a.slept_max_ns);
}

static void psys_may_use_what_all_sockets_may(void **state)
{
    (void)state;
    assert_true(cb_energy_max_w(CB_DOMAIN_PACKAGE, 8) == 1000);
    assert_true(cb_energy_max_w(CB_DOMAIN_PSYS, 8) == 16000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_single_wrap_is_counted_exactly),
        cmocka_unit_test(a_reset_is_no_wrap),
        cmocka_unit_test(a_step_back_over_a_sleep_is_a_reset_however_small),
        cmocka_unit_test(hours_asleep_make_no_leap_plausible),
        cmocka_unit_test(the_time_between_two_clocks_is_no_sleep),
        cmocka_unit_test(a_leap_is_no_energy),
        cmocka_unit_test(what_may_have_wrapped_twice_is_unknown),
        cmocka_unit_test(what_a_burst_may_use_makes_no_interval_too_long),
        cmocka_unit_test(the_clocks_say_that_nobody_slept_just_now),
        cmocka_unit_test(psys_may_use_what_all_sockets_may),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
