/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_accuracy.c - the default model's error on the recordings, walking forward, stays below what
 * it was (docs/accuracy.md) and a margin: a worse model is a failed test.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "formula/replay.h"
#include "lib/err.h"
#include "lib/frame.h"

#define RECORDINGS "hwpc-json:tests/fixtures/recordings/"
#define ENOUGH_TICKS 6000
#define ENOUGH (-1) /* ends a replay */

struct score {
    size_t n_ticks, n[CB_DOMAIN_COUNT];
    double sum_w[CB_DOMAIN_COUNT];
};

static int judge(void *context, const struct cb_replay_tick *tick, struct cb_err *err)
{
    const struct cb_result *result = tick->result;
    struct score *score = context;

    (void)err;
    for (size_t i = 0; i < result->n_domains; i++) {
        const struct cb_result_domain *domain = &result->domains[i];
        double power_w = (double)domain->energy_uj * 1e3 / (double)(result->t1_ns - result->t0_ns);

        if (!isfinite(domain->predicted_w))
            continue;
        score->n[domain->domain]++;
        score->sum_w[domain->domain] += fabs(domain->predicted_w - power_w);
    }
    return ++score->n_ticks < ENOUGH_TICKS ? 0 : ENOUGH;
}

static struct score score_of(const char *input)
{
    struct cb_replay_options options = {
        .input = input,
        .model = CB_MODEL_CBWATTS,
        .join = {.nominal_ns = 1000000000,
                 .deadline_ns = UINT64_C(5000000000),
                 .package_event = "RAPL_ENERGY_PKG",
                 .dram_event = "RAPL_ENERGY_DRAM"},
    };
    struct cb_replay_counts counts;
    struct score score = {0};
    int r = cb_replay(&options, judge, &score, &counts, NULL);

    assert_true(r == 0 || r == ENOUGH);
    return score;
}

/* All ticks but the very first have a prediction, and their mean error is at most @most_w. */
static void assert_error(const struct score *score, enum cb_domain domain, double most_w)
{
    double mae_w = score->sum_w[domain] / (double)score->n[domain];

    assert_true(score->n[domain] > 0 && score->n[domain] + 1 >= score->n_ticks);
    if (!(mae_w <= most_w))
        fail_msg("%s: %.3f W are more than %.3f W", cb_domain_name(domain), mae_w, most_w);
}

/* SmartWatts has 6.1 W and 4.2 W here. */
static void a_machine_under_a_sweep_of_loads_is_followed(void **state)
{
    struct score score = score_of(RECORDINGS "kepler_nx12_haswell.jsonl.gz");

    (void)state;
    assert_error(&score, CB_DOMAIN_PACKAGE, 4.0);
    assert_error(&score, CB_DOMAIN_DRAM, 1.65);
}

static void an_idle_machine_is_followed(void **state)
{
    struct score score = score_of(RECORDINGS "kepler_idle_broadwell.jsonl.gz");

    (void)state;
    assert_error(&score, CB_DOMAIN_PACKAGE, 1.75);
    assert_error(&score, CB_DOMAIN_DRAM, 0.85);
}

/* The first 6000 ticks of 27338. */
static void a_machine_behind_a_wall_meter_is_followed(void **state)
{
    struct score score = score_of(RECORDINGS "bsc_x5650.jsonl.zst");

    (void)state;
    assert_error(&score, CB_DOMAIN_PACKAGE, 1.8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_machine_under_a_sweep_of_loads_is_followed),
        cmocka_unit_test(an_idle_machine_is_followed),
        cmocka_unit_test(a_machine_behind_a_wall_meter_is_followed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
