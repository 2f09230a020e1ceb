/* SPDX-License-Identifier: Apache-2.0 */
/* test_hwpc_join.c - PowerAPI reports joined into frames: time, energy, counts, what comes late. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formula/engine.h"
#include "formula/hwpc_join.h"
#include "formula/infile.h"
#include "lib/err.h"

#define MS UINT64_C(1000000)
#define S (1000 * MS)

static const struct cb_hwpc_join_options defaults = {
    .nominal_ns = S,
    .deadline_ns = 5 * S,
    .package_event = "RAPL_ENERGY_PKG",
    .dram_event = "RAPL_ENERGY_DRAM",
};

static int setup(void **state)
{
    return cb_hwpc_join_new(&defaults, (struct cb_hwpc_join **)state, NULL);
}

static int teardown(void **state)
{
    *state = cb_hwpc_join_free(*state);
    return 0;
}

static void add(struct cb_hwpc_join *join, const char *text)
{
    struct cb_hwpc_report *report = NULL;
    size_t used;

    assert_int_equal(cb_hwpc_parse(text, strlen(text), &report, &used, NULL), 0);
    assert_int_equal(cb_hwpc_join_add(join, report, NULL), 0);
}

/* The whole machine at @ms: @raw of 2^-32 J, @enabled_ns 0 leaves the time out. */
static void add_all(struct cb_hwpc_join *join, uint64_t ms, uint64_t raw, double enabled_ns)
{
    char text[512], time[64] = "";

    if (enabled_ns > 0)
        (void)snprintf(time, sizeof(time), ",\"time_enabled\":%.0f", enabled_ns);
    (void)snprintf(text, sizeof(text),
                   "{\"timestamp\":%llu,\"sensor\":\"s\",\"target\":\"all\",\"groups\":{\"rapl\":{"
                   "\"0\":{\"3\":{\"RAPL_ENERGY_PKG\":%llu%s}}}}}",
                   (unsigned long long)ms, (unsigned long long)raw, time);
    add(join, text);
}

static void add_target(struct cb_hwpc_join *join, uint64_t ms, const char *target, uint64_t cycles,
                       uint64_t enabled_ns, uint64_t running_ns)
{
    char text[512];

    (void)snprintf(text, sizeof(text),
                   "{\"timestamp\":%llu,\"sensor\":\"s\",\"target\":\"%s\",\"groups\":{\"core\":{"
                   "\"0\":{\"0\":{\"CYCLES\":%llu,\"time_enabled\":%llu,\"time_running\":%llu}}}}}",
                   (unsigned long long)ms, target, (unsigned long long)cycles,
                   (unsigned long long)enabled_ns, (unsigned long long)running_ns);
    add(join, text);
}

static const struct cb_frame *next(struct cb_hwpc_join *join, bool flush)
{
    const struct cb_frame *frame = NULL;

    assert_int_equal(cb_hwpc_join_next(join, flush, &frame, NULL), 0);
    return frame;
}

static uint64_t length_of(const struct cb_frame *frame)
{
    assert_non_null(frame);
    return frame->t1_ns - frame->t0_ns;
}

static void a_tick_is_done_when_the_deadline_has_passed_in_the_stream(void **state)
{
    const struct cb_frame *frame;

    add_all(*state, 1000, 1, 0);
    add_target(*state, 5999, "a", 1, 0, 0);
    assert_null(next(*state, false));
    add_target(*state, 6000, "a", 1, 0, 0);
    frame = next(*state, false);
    assert_non_null(frame);
    assert_int_equal(frame->wall_ns, S);
    assert_null(next(*state, false));
    assert_int_equal(next(*state, true)->wall_ns, 5999 * MS);
    assert_int_equal(next(*state, true)->wall_ns, 6000 * MS);
    assert_null(next(*state, true));
}

static void reports_out_of_order_still_find_their_tick(void **state)
{
    const struct cb_frame *frame;

    add_target(*state, 2000, "a", 20, 0, 0);
    add_all(*state, 1000, 4294967296, 0);
    add_all(*state, 2000, 8589934592, 0);
    add_target(*state, 1000, "a", 10, 0, 0);
    frame = next(*state, true);
    assert_int_equal(frame->wall_ns, S);
    assert_int_equal(frame->n_targets, 1);
    assert_int_equal(cb_frame_count(frame, 1, 0, 0), 10);
    assert_int_equal(frame->energies[0].energy_uj, 1000000);
    frame = next(*state, true);
    assert_int_equal(cb_frame_count(frame, 1, 0, 0), 20);
    assert_int_equal(frame->energies[0].energy_uj, 2000000);
}

static void duplicates_and_late_reports_are_dropped_and_counted(void **state)
{
    const struct cb_frame *frame;

    add_all(*state, 10000, 1, 0);
    add_target(*state, 10000, "a", 1, 0, 0);
    add_target(*state, 10000, "a", 999, 0, 0);
    frame = next(*state, true);
    assert_int_equal(cb_frame_count(frame, 1, 0, 0), 1);
    add_target(*state, 10000, "b", 1, 0, 0);
    add_target(*state, 9000, "b", 1, 0, 0);
    assert_null(next(*state, true));
    assert_int_equal(cb_hwpc_join_counted(*state)->duplicates, 1);
    assert_int_equal(cb_hwpc_join_counted(*state)->late, 2);
}

static void a_clock_set_back_is_followed_after_five_reports(void **state)
{
    add_all(*state, 1000000, 1, 0);
    assert_non_null(next(*state, true));
    for (uint64_t i = 1; i <= 6; i++)
        add_all(*state, 1000 * i, 1, 0);
    assert_int_equal(cb_hwpc_join_counted(*state)->late, 4);
    assert_int_equal(length_of(next(*state, true)), S); /* nominal: no difference of times */
    assert_int_equal(length_of(next(*state, true)), S);
}

static void what_waits_is_given_out_before_a_clock_that_was_set_back(void **state)
{
    static const uint64_t ends_s[] = {3601, 3602, 3603, 5, 6, 7, 8};
    uint64_t until_ns = 0;
    size_t n = 0;

    add_all(*state, 3600000, 1, 0);
    assert_non_null(next(*state, true));
    for (uint64_t i = 0; i < 11; i++) {
        const struct cb_frame *frame;

        add_all(*state, i < 3 ? 3601000 + 1000 * i : 1000 * (i - 2), 1, 0);
        while ((frame = next(*state, i == 10))) {
            assert_int_equal(frame->wall_ns, ends_s[n++] * S);
            assert_int_equal(length_of(frame), S);
            assert_true(frame->t0_ns >= until_ns || n == 4);
            until_ns = frame->t1_ns;
        }
        assert_int_equal(n, i < 7 ? 0 : i < 10 ? 3 : 7); /* at once, and not the new ones early */
    }
    assert_int_equal(n, 7);
}

static void the_interval_is_the_rapl_events_own_time(void **state)
{
    add_all(*state, 1000, 1, 1.004e9);
    add_all(*state, 2000, 1, 0.998e9);
    add_all(*state, 3000, 1, 1.001e9);
    assert_int_equal(length_of(next(*state, true)), 1004000000);
    assert_int_equal(length_of(next(*state, true)), 998000000);
    assert_int_equal(length_of(next(*state, true)), 1001000000);
}

static void cumulative_times_are_subtracted(void **state)
{
    add_all(*state, 1000, 1, 94443e9);
    add_all(*state, 2000, 1, 94444.002e9);
    add_all(*state, 3000, 1, 94445.001e9);
    add_all(*state, 4000, 1, 0.5e9); /* the sensor began anew */
    add_all(*state, 5000, 1, 1.501e9);
    assert_int_equal(length_of(next(*state, true)), S); /* nothing to subtract from */
    assert_int_equal(length_of(next(*state, true)), 1002000000);
    assert_int_equal(length_of(next(*state, true)), 999000000);
    assert_int_equal(length_of(next(*state, true)), 500000000);
    assert_int_equal(length_of(next(*state, true)), 1001000000);
}

static void without_a_time_the_timestamps_tell_then_the_nominal_period(void **state)
{
    add_all(*state, 1000, 1, 0);
    add_all(*state, 4000, 1, 0);
    assert_int_equal(length_of(next(*state, true)), S);
    assert_int_equal(length_of(next(*state, true)), 3 * S);
}

/* Ticks of 1 s with @times_ns as RAPL's time_enabled have @lengths_ns. */
static void assert_lengths(struct cb_hwpc_join *join, const double *times_ns,
                           const uint64_t *lengths_ns, size_t n)
{
    for (size_t i = 0; i < n; i++)
        add_all(join, 1000 * (i + 1), 1, times_ns[i]);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(length_of(next(join, true)), lengths_ns[i]);
}

static void a_time_that_no_tick_can_have_is_not_its_length(void **state)
{
    static const double times[] = {1.004e9, 1, 1.004e9, 1e18, 1.004e9, 9.9e6, 1e7, 4e9, 4.1e9};
    static const uint64_t lengths[] = {1004 * MS, S, 1004 * MS, S, 1004 * MS, S, 10 * MS, 4 * S, S};

    assert_lengths(*state, times, lengths, 9);
}

static void a_sum_that_stands_still_stays_a_sum(void **state)
{
    static const double times[] = {
        1e15 + 1e9, 1e15 + 2.002e9, 1e15 + 2.002e9, 1e15 + 2.002e9, 1e15 + 2.002e9, 1e15 + 3.001e9,
        1,          1e15 + 4e9,     1e15 + 4.998e9};
    static const uint64_t lengths[] = {S, 1002 * MS, S, S, S, 999 * MS, S, S, 998 * MS};

    assert_lengths(*state, times, lengths, 9);
}

static void a_gap_is_as_long_as_its_time_says(void **state)
{
    add_all(*state, 1000, 1, 1e15);
    add_all(*state, 2000, 1, 1e15 + 1e9);
    add_all(*state, 86402000, 1, 1e15 + 86401.5e9); /* a day */
    for (uint64_t i = 1; i <= 9; i++)
        add_target(*state, 86402000 + 1000 * i, "a", 1, 0, 0);
    add_all(*state, 86412000, 1, 1e15 + 86411.5e9); /* 9 ticks of the machine are missing */
    assert_int_equal(length_of(next(*state, true)), S);
    assert_int_equal(length_of(next(*state, true)), S);
    assert_int_equal(length_of(next(*state, true)), 86400 * S + 500 * MS);
    for (int i = 0; i < 9; i++)
        assert_int_equal(length_of(next(*state, true)), S);
    assert_int_equal(length_of(next(*state, true)), 10 * S);
}

static void ticks_much_shorter_than_the_nominal_period_keep_their_length(void **state)
{
    for (uint64_t i = 0; i < 3; i++)
        add_all(*state, 1000 + i, 1, 1.01e6);
    for (int i = 0; i < 3; i++)
        assert_int_equal(length_of(next(*state, true)), 1010000);
}

static void microjoules_do_not_drift(void **state)
{
    uint64_t sum = 0;
    const struct cb_frame *frame;

    for (uint64_t i = 1; i <= 1000; i++)
        add_all(*state, 1000 * i, 4295, 1e9); /* 1.000007 uJ each */
    while ((frame = next(*state, true)))
        sum += frame->energies[0].energy_uj;
    assert_int_equal(sum, 4295 * UINT64_C(1000) * 1000000 >> 32);
}

static void shared_counters_are_scaled(void **state)
{
    const struct cb_frame *frame;

    add_all(*state, 1000, 1, 1e9);
    add_target(*state, 1000, "a", 1000, 1000, 250);
    add_target(*state, 1000, "b", 0, 1000, 0);
    frame = next(*state, true);
    assert_int_equal(cb_frame_count(frame, 1, 0, 0), 4000);
    assert_true(frame->enabled_ns[1] == frame->running_ns[1]);
    assert_true(frame->enabled_ns[2] > 0 && frame->running_ns[2] == 0); /* not counted */
}

static void what_ran_for_less_than_a_hundredth_was_not_counted(void **state)
{
    const struct cb_frame *frame;

    add_all(*state, 1000, 1, 1e9);
    add_target(*state, 1000, "a", 1000, S, 10 * MS);
    add_target(*state, 1000, "b", 1000, S, 10 * MS - 1);
    frame = next(*state, true);
    assert_int_equal(cb_frame_count(frame, 1, 0, 0), 100000);
    assert_true(frame->enabled_ns[1] == frame->running_ns[1]);
    assert_int_equal(cb_frame_count(frame, 2, 0, 0), 0);
    assert_true(frame->enabled_ns[2] > 0 && frame->running_ns[2] == 0);
}

/* A report of @target whose groups are @groups, as JSON. */
static void add_groups(struct cb_hwpc_join *join, uint64_t ms, const char *target,
                       const char *groups)
{
    char text[512];

    (void)snprintf(text, sizeof(text),
                   "{\"timestamp\":%llu,\"sensor\":\"s\",\"target\":\"%s\",\"groups\":{%s}}",
                   (unsigned long long)ms, target, groups);
    add(join, text);
}

static bool was_counted(const struct cb_frame *frame, size_t row)
{
    return frame->enabled_ns[row] == 0 || frame->running_ns[row] > 0;
}

#define RAPL "\"rapl\":{\"0\":{\"3\":{\"RAPL_ENERGY_PKG\":9}}}"
#define CORE "\"core\":{\"0\":{\"0\":{\"CYCLES\":7}}}"

static void a_group_that_is_missing_was_not_counted(void **state)
{
    const struct cb_frame *frame;

    add_groups(*state, 1000, "all", RAPL);
    add_groups(*state, 1000, "a", CORE);
    add_groups(*state, 1000, "b", "");
    add_groups(*state, 2000, "all", RAPL "," CORE);
    add_groups(*state, 2000, "a", "\"core\":{}");
    add_groups(*state, 3000, "all", RAPL);
    add_groups(*state, 3000, "a", CORE);
    frame = next(*state, true);
    assert_false(frame->has_machine_row); /* never had the group: nothing is missing */
    assert_true(was_counted(frame, 0) && was_counted(frame, 1));
    assert_false(was_counted(frame, 2)); /* the other has it */
    frame = next(*state, true);
    assert_true(frame->has_machine_row && was_counted(frame, 0));
    assert_false(was_counted(frame, 1)); /* had it before */
    frame = next(*state, true);
    assert_true(frame->has_machine_row);
    assert_false(was_counted(frame, 0));
    assert_true(was_counted(frame, 1));
}

static void a_group_that_never_comes_again_is_not_missed_for_ever(void **state)
{
    const struct cb_frame *frame;

    add_groups(*state, 1000, "all", RAPL "," CORE);
    for (uint64_t i = 2; i <= 602; i++)
        add_groups(*state, 1000 * i, "all", RAPL);
    for (size_t i = 1; i <= 601; i++)
        frame = next(*state, true);
    assert_true(frame->has_machine_row);
    assert_false(was_counted(frame, 0));
    assert_false(next(*state, true)->has_machine_row);
}

static void cpu_time_becomes_an_event_once_it_differs(void **state)
{
    const struct cb_frame *frame;

    for (uint64_t i = 1; i <= 2; i++) {
        add_all(*state, 1000 * i, 1, 1e9);
        add_target(*state, 1000 * i, "a", 7, S, S);
        add_target(*state, 1000 * i, "b", 9, i == 1 ? S : S / 2, i == 1 ? S : S / 2);
    }
    frame = next(*state, true);
    assert_int_equal(frame->n_events, 1);
    frame = next(*state, true);
    assert_int_equal(frame->n_events, 2);
    assert_string_equal(frame->events[1].name, "time_running");
    assert_int_equal(cb_frame_count(frame, 1, 0, 0), 7);
    assert_int_equal(cb_frame_count(frame, 2, 0, 1), S / 2);
}

static void times_longer_than_a_tick_are_no_cpu_times(void **state)
{
    const struct cb_frame *frame = NULL;

    add_all(*state, 1000, 1, 1e9);
    add_target(*state, 1000, "a", 7, S, S);
    add_target(*state, 1000, "b", 9, 7000 * S, 7000 * S);
    frame = next(*state, true);
    assert_int_equal(frame->n_events, 1);
    assert_int_equal(cb_frame_count(frame, 2, 0, 0), 9);
}

static void one_time_longer_than_its_tick_is_forgiven(void **state)
{
    for (uint64_t i = 1; i <= 20; i++) {
        add_all(*state, 1000 * i, 1, 1e9);
        add_target(*state, 1000 * i, "a", 7, S / 2, S / 2);
        add_target(*state, 1000 * i, "b", 9, i == 4 ? 70 * S : S / 4, i == 4 ? 70 * S : S / 4);
    }
    for (uint64_t i = 1; i <= 20; i++)
        assert_int_equal(next(*state, true)->n_events, i < 4 || i >= 14 ? 2 : 1);
}

/* The sums of a recording that begins in the middle, and of a container that it meets later. */
static void a_sum_of_cpu_time_counts_from_its_second_reading_on(void **state)
{
    for (uint64_t i = 1; i <= 6; i++) {
        uint64_t a = 3600 * S + i * S / 2, b = 7200 * S + i * S / 4, c = 100 * S + i * S / 8;

        add_all(*state, 1000 * i, 1, 1e15 + (double)i * 1e9);
        add_target(*state, 1000 * i, "a", 7, a, a);
        add_target(*state, 1000 * i, "b", 9, b, b);
        if (i >= 4)
            add_target(*state, 1000 * i, "c", 9, c, c);
    }
    for (uint64_t i = 1; i <= 6; i++) {
        const struct cb_frame *frame = next(*state, true);

        assert_int_equal(frame->n_events, i == 1 || i == 4 ? 1 : 2);
        assert_true(i == 1 || i == 4 || cb_frame_count(frame, 1, 0, 1) == S / 2);
        assert_true(i < 5 || cb_frame_count(frame, 3, 0, 1) == S / 8);
    }
}

static void a_tick_without_the_machine_has_no_energy(void **state)
{
    add_target(*state, 1000, "a", 7, 0, 0);
    assert_int_equal(next(*state, true)->n_energies, 0);
    assert_int_equal(cb_hwpc_join_counted(*state)->no_all, 1);
}

/* Every recording there is, through join and engine: the sums hold. */
static void real_recordings_are_attributed_exactly(void **state)
{
    static const char *const names[] = {"timeline.jsonl.gz", "synth.in.jsonl.gz"};
    const struct cb_engine_options options = {.model = CB_MODEL_CBWATTS};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char path[128];
        struct cb_hwpc_join *join = NULL;
        struct cb_hwpc_reader *reader = NULL;
        struct cb_hwpc_report *report = NULL;
        struct cb_engine *engine = NULL;
        struct cb_result result = {0};
        const struct cb_frame *frame;
        FILE *file = NULL;
        size_t n = 0;

        (void)snprintf(path, sizeof(path), "tests/fixtures/smartwatts/%s", names[i]);
        assert_int_equal(cb_infile_open(path, &file, NULL), 0);
        assert_int_equal(cb_hwpc_reader_json(file, path, false, &reader, NULL), 0);
        assert_int_equal(cb_hwpc_join_new(&defaults, &join, NULL), 0);
        assert_int_equal(cb_engine_new(&options, &engine, NULL), 0);
        while (cb_hwpc_reader_next(reader, &report, NULL) == 0 && report)
            assert_int_equal(cb_hwpc_join_add(join, report, NULL), 0);
        while ((frame = next(join, true))) {
            assert_int_equal(cb_engine_frame(engine, frame, &result, NULL), 0);
            n += result.n_domains;
        }
        assert_int_equal(cb_engine_violations(engine), 0);
        assert_true(n == (i == 0 ? 10 : 239 * 4));
        cb_result_clear(&result);
        engine = cb_engine_free(engine);
        join = cb_hwpc_join_free(join);
        reader = cb_hwpc_reader_free(reader);
        (void)fclose(file);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_tick_is_done_when_the_deadline_has_passed_in_the_stream),
        TEST(reports_out_of_order_still_find_their_tick),
        TEST(duplicates_and_late_reports_are_dropped_and_counted),
        TEST(a_clock_set_back_is_followed_after_five_reports),
        TEST(what_waits_is_given_out_before_a_clock_that_was_set_back),
        TEST(the_interval_is_the_rapl_events_own_time),
        TEST(cumulative_times_are_subtracted),
        TEST(without_a_time_the_timestamps_tell_then_the_nominal_period),
        TEST(a_time_that_no_tick_can_have_is_not_its_length),
        TEST(a_sum_that_stands_still_stays_a_sum),
        TEST(a_gap_is_as_long_as_its_time_says),
        TEST(ticks_much_shorter_than_the_nominal_period_keep_their_length),
        TEST(microjoules_do_not_drift),
        TEST(shared_counters_are_scaled),
        TEST(what_ran_for_less_than_a_hundredth_was_not_counted),
        TEST(a_group_that_is_missing_was_not_counted),
        TEST(a_group_that_never_comes_again_is_not_missed_for_ever),
        TEST(cpu_time_becomes_an_event_once_it_differs),
        TEST(times_longer_than_a_tick_are_no_cpu_times),
        TEST(one_time_longer_than_its_tick_is_forgiven),
        TEST(a_sum_of_cpu_time_counts_from_its_second_reading_on),
        TEST(a_tick_without_the_machine_has_no_energy),
        TEST(real_recordings_are_attributed_exactly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
