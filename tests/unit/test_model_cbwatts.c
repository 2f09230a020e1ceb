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
#include "tests/support/synth.h"

#define TICKS 150
#define MACHINES 200

/* --- synthetic machines --- */

/* One container in one domain over the whole run. */
struct recap {
    double estimate_uj, truth_uj, param_uj, noise2_uj2;
};

struct tally {
    size_t n, covered; /* recaps */
    size_t ticks, ticks_covered;
    size_t n_errors;
    double errors[MACHINES * SYNTH_TARGETS * SYNTH_SOCKETS];     /* relative, of recaps */
    double halfwidths[MACHINES * SYNTH_TARGETS * SYNTH_SOCKETS]; /* relative */
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    assert_true(n > 0);
    qsort(values, n, sizeof(*values), compare);
    return values[n / 2];
}

static void add_tick(const struct synth *synth, const struct cb_result *result, size_t d,
                     struct recap recaps[SYNTH_SOCKETS][SYNTH_TARGETS], struct tally *tally)
{
    const struct cb_result_domain *domain = &result->domains[d];
    size_t kind = domain->domain == CB_DOMAIN_DRAM;

    for (size_t i = 0; i < result->n_targets; i++) {
        const struct cb_share *share = &result->shares[d * result->n_targets + i];
        size_t id = result->target_ids[i] - 1;
        struct recap *recap = &recaps[domain->socket][id];
        double truth_uj = synth->dynamic_j[domain->socket][kind][id] * 1e6;
        double halfwidth_uj = (double)cb_result_halfwidth(
            (double)share->param_uj, (double)share->noise_uj, domain->energy_uj);

        recap->estimate_uj += (double)share->dynamic_uj;
        recap->truth_uj += truth_uj;
        recap->param_uj += (double)share->param_uj;
        recap->noise2_uj2 += (double)share->noise_uj * (double)share->noise_uj;
        tally->ticks++;
        tally->ticks_covered += fabs((double)share->dynamic_uj - truth_uj) <= halfwidth_uj + 1;
    }
}

static void add_recaps(struct recap recaps[SYNTH_SOCKETS][SYNTH_TARGETS], struct tally *tally)
{
    for (size_t s = 0; s < SYNTH_SOCKETS; s++) {
        for (size_t i = 0; i < SYNTH_TARGETS; i++) {
            const struct recap *recap = &recaps[s][i];
            double halfwidth_uj = hypot(recap->param_uj, sqrt(recap->noise2_uj2));
            double error_uj = fabs(recap->estimate_uj - recap->truth_uj);

            if (!(recap->truth_uj > 0))
                continue;
            tally->n++;
            tally->covered += error_uj <= halfwidth_uj + 1;
            tally->errors[tally->n_errors] = error_uj / recap->truth_uj;
            tally->halfwidths[tally->n_errors++] = halfwidth_uj / recap->truth_uj;
        }
    }
}

/* @tallies: of package and DRAM. */
static void run_machines(enum synth_load load, bool linear, uint64_t machines,
                         struct tally tallies[2])
{
    static struct synth synth;
    const struct cb_engine_options options = {.model = CB_MODEL_CBWATTS};
    struct cb_result result = {0};

    memset(tallies, 0, 2 * sizeof(*tallies));
    for (uint64_t seed = 1; seed <= machines; seed++) {
        struct recap recaps[2][SYNTH_SOCKETS][SYNTH_TARGETS] = {{{{0}}}};
        struct cb_engine *engine = NULL;

        synth_init(&synth, &(struct synth_options){.seed = seed, .load = load, .linear = linear});
        assert_int_equal(cb_engine_new(&options, &engine, NULL), 0);
        for (int tick = 0; tick < TICKS; tick++) {
            synth_tick(&synth);
            assert_int_equal(cb_engine_frame(engine, &synth.frame, &result, NULL), 0);
            for (size_t d = 0; d < result.n_domains; d++) {
                size_t kind = result.domains[d].domain == CB_DOMAIN_DRAM;

                add_tick(&synth, &result, d, recaps[kind], &tallies[kind]);
            }
        }
        assert_int_equal(cb_engine_violations(engine), 0);
        engine = cb_engine_free(engine);
        add_recaps(recaps[0], &tallies[0]);
        add_recaps(recaps[1], &tallies[1]);
    }
    cb_result_clear(&result);
}

static double covered(const struct tally *tally)
{
    return (double)tally->covered / (double)tally->n;
}

static void the_intervals_of_two_hundred_machines_contain_the_truth(void **state)
{
    static struct tally tallies[2];
    struct tally *package = &tallies[0], *dram = &tallies[1];
    double both;

    (void)state;
    run_machines(SYNTH_STAGGERED, false, MACHINES, tallies);
    both = (double)(package->covered + dram->covered) / (double)(package->n + dram->n);
    print_message("recaps covered: package %.1f %%, DRAM %.1f %%, both %.1f %%; ticks %.1f %%\n",
                  100 * covered(package), 100 * covered(dram), 100 * both,
                  100 * (double)package->ticks_covered / (double)package->ticks);
    assert_true(covered(package) > 0.9 && covered(package) < 0.99);
    assert_true(covered(dram) > 0.9 && covered(dram) < 0.99);
    assert_true(both > 0.9 && both < 0.99);
    assert_true(median(package->errors, package->n_errors) < 0.06);
    assert_true(median(dram->errors, dram->n_errors) < 0.12);
    assert_true(median(package->halfwidths, package->n_errors) < 0.2); /* and say something */
    assert_true(median(dram->halfwidths, dram->n_errors) < 0.5);
}

static void a_mix_that_never_changes_has_wide_intervals(void **state)
{
    static struct tally tallies[2];

    (void)state;
    run_machines(SYNTH_CONSTANT, false, MACHINES / 4, tallies);
    assert_true(covered(&tallies[0]) > 0.9);
    assert_true(median(tallies[0].halfwidths, tallies[0].n_errors) > 0.5);
}

static void a_linear_machine_is_split_within_a_percent(void **state)
{
    static struct tally tallies[2];

    (void)state;
    run_machines(SYNTH_STAGGERED, true, MACHINES / 4, tallies);
    assert_true(median(tallies[0].errors, tallies[0].n_errors) < 0.01);
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
        cmocka_unit_test(a_linear_machine_is_split_within_a_percent),
        cmocka_unit_test(a_counter_that_stood_still_or_jumped_once_is_no_lesson),
        cmocka_unit_test(a_first_tick_near_zero_is_forgotten),
        cmocka_unit_test(a_level_that_stays_is_how_things_are_now),
        cmocka_unit_test(weights_are_never_negative),
        cmocka_unit_test(a_dead_or_constant_event_takes_nothing),
        cmocka_unit_test(the_covariance_is_the_spread_of_what_the_data_allow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
