/* SPDX-License-Identifier: Apache-2.0 */
/* test_model_cbwatts.c - the default model on machines whose truth is known, and on dirt. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formula/engine.h"
#include "formula/model_cbwatts.h"
#include "tests/support/synth_judge.h"

#define TICKS 150
#define MACHINES SYNTH_JUDGE_MACHINES

/* --- synthetic machines --- */

static void run_machines(const struct synth_options *how, uint64_t machines,
                         struct synth_tally tallies[SYNTH_DOMAINS])
{
    assert_int_equal(synth_judge(how, CB_MODEL_CBWATTS, machines, TICKS, tallies), 0);
    assert_true(tallies[0].n > 0 && tallies[1].n > 0);
}

static double covered(const struct synth_tally *tally)
{
    return (double)tally->covered / (double)tally->n;
}

static void the_intervals_of_two_hundred_machines_contain_the_truth(void **state)
{
    static struct synth_tally tallies[SYNTH_DOMAINS];
    struct synth_tally *package = &tallies[0], *dram = &tallies[1];
    double both;

    (void)state;
    run_machines(&(struct synth_options){.load = SYNTH_STAGGERED}, MACHINES, tallies);
    both = (double)(package->covered + dram->covered) / (double)(package->n + dram->n);
    print_message("recaps covered: package %.1f %%, DRAM %.1f %%, both %.1f %%; ticks %.1f %%\n",
                  100 * covered(package), 100 * covered(dram), 100 * both,
                  100 * (double)package->ticks_covered / (double)package->ticks);
    assert_true(covered(package) > 0.9 && covered(package) < 0.99);
    assert_true(covered(dram) > 0.9 && covered(dram) < 0.99);
    assert_true(both > 0.9 && both < 0.99);
    assert_true(synth_quantile(package->errors, package->n, 0.5) < 0.06);
    assert_true(synth_quantile(dram->errors, dram->n, 0.5) < 0.12);
    assert_true(synth_quantile(package->halfwidths, package->n, 0.5) < 0.2); /* and say something */
    assert_true(synth_quantile(dram->halfwidths, dram->n, 0.5) < 0.5);
}

static void a_mix_that_never_changes_has_wide_intervals(void **state)
{
    static struct synth_tally tallies[SYNTH_DOMAINS];

    (void)state;
    run_machines(&(struct synth_options){.load = SYNTH_CONSTANT}, MACHINES / 4, tallies);
    assert_true(covered(&tallies[0]) > 0.9);
    assert_true(synth_quantile(tallies[0].halfwidths, tallies[0].n, 0.5) > 0.5);
}

/* Where nobody tells how busy the CPUs are, idle may be anything. */
static void so_it_has_on_reports_of_powerapi(void **state)
{
    static struct synth_tally tallies[SYNTH_DOMAINS];

    (void)state;
    run_machines(&(struct synth_options){.load = SYNTH_CONSTANT, .powerapi = true}, MACHINES,
                 tallies);
    assert_true(covered(&tallies[0]) > 0.95 && covered(&tallies[1]) > 0.95);
    run_machines(&(struct synth_options){.load = SYNTH_STAGGERED, .powerapi = true}, MACHINES,
                 tallies);
    assert_true(covered(&tallies[0]) > 0.9 && covered(&tallies[0]) < 0.99);
    assert_true(covered(&tallies[1]) > 0.9 && covered(&tallies[1]) < 0.99);
}

static void a_linear_machine_is_split_within_a_percent(void **state)
{
    static struct synth_tally tallies[SYNTH_DOMAINS];

    (void)state;
    run_machines(&(struct synth_options){.load = SYNTH_STAGGERED, .linear = true}, MACHINES / 4,
                 tallies);
    assert_true(synth_quantile(tallies[0].errors, tallies[0].n, 0.5) < 0.01);
    assert_true(covered(&tallies[0]) > 0.95);
}

/* --- the model alone --- */

static struct cb_model_tick tick_of(double cycles, double instructions)
{
    return (struct cb_model_tick){.seconds = 1,
                                  .n_events = 2,
                                  .rates = {cycles, instructions},
                                  .clocks = 1,
                                  .idle_share = 0.2,
                                  .busy = -1};
}

static void learn(struct cb_cbwatts *model, int i, double power_w)
{
    double load = 0.5 + 0.5 * sin(0.7 * i);
    struct cb_model_tick tick = tick_of(4e9 * load, 6e9 * load * (1.2 + sin(0.3 * i)));

    cb_cbwatts_learn(model, &tick, power_w);
}

static double truth_w(int i)
{
    double load = 0.5 + 0.5 * sin(0.7 * i);

    return 20 + 30 * load;
}

static void check_idle(const struct cb_cbwatts *model, double idle_w, double tolerance_w)
{
    struct cb_model_tick tick = tick_of(2e9, 3e9);
    struct cb_model_estimate estimate;

    cb_cbwatts_estimate(model, &tick, 35, &estimate);
    if (!(fabs(estimate.idle_w - idle_w) <= tolerance_w))
        fail_msg("idle is %g W, not %g", estimate.idle_w, idle_w);
}

static void a_counter_that_stood_still_or_jumped_once_is_no_lesson(void **state)
{
    static const double dirt_w[] = {0, 21900, 1e9};

    (void)state;
    for (size_t k = 0; k < 3; k++) {
        static struct cb_cbwatts model;
        struct cb_model_tick tick = tick_of(2e9, 3e9);

        cb_cbwatts_init(&model);
        for (int i = 0; i < 60; i++)
            learn(&model, i, i == 30 ? dirt_w[k] : truth_w(i));
        check_idle(&model, 20, 1);
        assert_true(fabs(cb_cbwatts_predict(&model, &tick) - 35) < 2);
    }
}

/* Once, a tenth or more times of what was counted, or nothing, while the power is as it was. */
static void counts_that_jumped_or_are_lost_are_no_lesson(void **state)
{
    static const double dirt[] = {0, 0.1, 10, 1000, 1e6};

    (void)state;
    for (size_t k = 0; k < sizeof(dirt) / sizeof(dirt[0]); k++) {
        static struct cb_cbwatts model;
        struct cb_model_tick tick = tick_of(2e9, 3e9);

        cb_cbwatts_init(&model);
        for (int i = 0; i < 60; i++) {
            struct cb_model_tick dirty = tick_of(2e9 * dirt[k], 3e9 * dirt[k]);

            if (i == 30)
                cb_cbwatts_learn(&model, &dirty, 35);
            else
                learn(&model, i, truth_w(i));
        }
        check_idle(&model, 20, 1);
        assert_true(fabs(cb_cbwatts_predict(&model, &tick) - 35) < 2);
    }
}

static void more_work_than_ever_that_goes_on_is_learnt(void **state)
{
    static struct cb_cbwatts model;
    struct cb_model_tick more = tick_of(4e10, 6e10);

    (void)state;
    cb_cbwatts_init(&model);
    for (int i = 0; i < 40; i++)
        learn(&model, i, truth_w(i));
    for (int i = 0; i < 40; i++)
        cb_cbwatts_learn(&model, &more, 30); /* no more power than before */
    assert_true(model.most_activity >= 4e10);
    assert_true(fabs(cb_cbwatts_predict(&model, &more) - 30) < 3);
}

static void a_first_tick_near_zero_is_forgotten(void **state)
{
    static struct cb_cbwatts model;

    (void)state;
    cb_cbwatts_init(&model);
    for (int i = 0; i < 60; i++)
        learn(&model, i, i == 0 ? 0.01 : truth_w(i));
    check_idle(&model, 20, 1);
}

static void a_level_that_stays_is_how_things_are_now(void **state)
{
    static struct cb_cbwatts model;
    struct cb_model_tick tick = tick_of(2e9, 3e9);

    (void)state;
    cb_cbwatts_init(&model);
    for (int i = 0; i < 100; i++)
        learn(&model, i, i < 50 ? truth_w(i) : truth_w(i) + 200);
    assert_true(fabs(cb_cbwatts_predict(&model, &tick) - 235) < 10);
}

static void weights_are_never_negative(void **state)
{
    static struct cb_cbwatts model;

    (void)state;
    cb_cbwatts_init(&model);
    for (int i = 0; i < 100; i++) {
        struct cb_model_tick tick = tick_of(1e9 + 1e9 * (i % 5), 1e9 * (i % 3));
        struct cb_model_estimate estimate;

        /* instructions save power here: the model may not say so */
        cb_cbwatts_learn(&model, &tick, 40 + 5 * (i % 5) - 8 * (i % 3));
        cb_cbwatts_estimate(&model, &tick, 40, &estimate);
        assert_true(estimate.coef_w[0] >= 0 && estimate.coef_w[1] >= 0 && estimate.idle_w >= 0);
    }
}

static void a_dead_or_constant_event_takes_nothing(void **state)
{
    static struct cb_cbwatts model;
    struct cb_model_estimate estimate;
    struct cb_model_tick tick;

    (void)state;
    cb_cbwatts_init(&model);
    for (int i = 0; i < 200; i++) {
        tick = tick_of(2e9 * (1 + sin(0.7 * i)), 5e8);
        cb_cbwatts_learn(&model, &tick, 20 + 10 * (1 + sin(0.7 * i)));
    }
    cb_cbwatts_estimate(&model, &tick, 30, &estimate);
    assert_true(estimate.coef_w[1] * 5e8 < 0.5);
    assert_true(fabs(estimate.idle_w - 20) < 1);
}

static void the_covariance_is_the_spread_of_what_the_data_allow(void **state)
{
    static struct cb_cbwatts model;
    struct cb_model_estimate estimate;
    struct cb_model_tick tick;

    (void)state;
    cb_cbwatts_init(&model);
    for (int i = 0; i < 100; i++) { /* both events always move together */
        tick = tick_of(2e9 * (1 + sin(0.7 * i)), 3e9 * (1 + sin(0.7 * i)));
        cb_cbwatts_learn(&model, &tick, 20 + 10 * (1 + sin(0.7 * i)));
    }
    cb_cbwatts_estimate(&model, &tick, 30, &estimate);
    /* their sum is known, */
    double sum_ww = estimate.cov[0] * 4e18 + 2 * estimate.cov[1] * 6e18 + estimate.cov[3] * 9e18;
    /* which of them it is, not */
    double difference_ww =
        estimate.cov[0] * 4e18 - 2 * estimate.cov[1] * 6e18 + estimate.cov[3] * 9e18;

    assert_true(sqrt(sum_ww) < 0.5);
    assert_true(sqrt(difference_ww) > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_intervals_of_two_hundred_machines_contain_the_truth),
        cmocka_unit_test(a_mix_that_never_changes_has_wide_intervals),
        cmocka_unit_test(so_it_has_on_reports_of_powerapi),
        cmocka_unit_test(a_linear_machine_is_split_within_a_percent),
        cmocka_unit_test(a_counter_that_stood_still_or_jumped_once_is_no_lesson),
        cmocka_unit_test(counts_that_jumped_or_are_lost_are_no_lesson),
        cmocka_unit_test(more_work_than_ever_that_goes_on_is_learnt),
        cmocka_unit_test(a_first_tick_near_zero_is_forgotten),
        cmocka_unit_test(a_level_that_stays_is_how_things_are_now),
        cmocka_unit_test(weights_are_never_negative),
        cmocka_unit_test(a_dead_or_constant_event_takes_nothing),
        cmocka_unit_test(the_covariance_is_the_spread_of_what_the_data_allow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
