/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_replay_property.c - whatever a PowerAPI recording holds, replay conserves every tick:
 * counters that wrapped, gaps, reports out of order, numbers that are none, intervals of 0, sockets
 * that appear. (test_engine.c has the same for frames as such.)
 */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formula/replay.h"
#include "lib/err.h"
#include "tests/support/fake_root.h"

#define FILES 80
#define TICKS 150 /* 12 000 in all, for each model */
#define REPORTS 12

static uint64_t random_state;

static uint64_t draw(void)
{
    uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static bool one_in(unsigned n)
{
    return draw() % n == 0;
}

/* A number as a sensor writes it, or what a broken one does. */
static void put_number(FILE *file, bool dirty)
{
    static const char *const dirt[] = {"NaN",
                                       "null",
                                       "-1",
                                       "1e400",
                                       "\"x\"",
                                       "-0.0",
                                       "0",
                                       "Infinity",
                                       "1e19",
                                       "0.25",
                                       "18446744073709551615"};

    if (dirty && one_in(40))
        (void)fputs(dirt[draw() % (sizeof(dirt) / sizeof(dirt[0]))], file);
    else if (one_in(60))
        (void)fprintf(file, "%" PRIu64, draw() >> (draw() % 64)); /* wrapped, or a jump */
    else if (one_in(5))
        (void)fprintf(file, "%.3f", (double)(draw() % 4000000000) * 1.5);
    else
        (void)fprintf(file, "%" PRIu64, draw() % 4000000000);
}

struct tape {
    FILE *file;
    bool dirty, cumulative, msr;
    uint64_t now_ms, enabled_ns; /* enabled_ns wraps once in a while */
    unsigned n_sockets, n_targets;
};

static void put_group(const struct tape *tape, const char *name, const char *const *events,
                      size_t n_events)
{
    (void)fprintf(tape->file, "\"%s\":{", name);
    for (unsigned s = 0; s < tape->n_sockets; s++) {
        uint64_t enabled_ns = tape->cumulative ? tape->enabled_ns : 1000000000;

        if (one_in(50))
            enabled_ns = one_in(2) ? 0 : draw();
        (void)fprintf(tape->file,
                      "%s\"%u\":{\"0\":{\"time_enabled\":%" PRIu64 ",\"time_running\":%" PRIu64,
                      s ? "," : "", s, enabled_ns, one_in(20) ? 0 : enabled_ns / 2);
        for (size_t e = 0; e < n_events; e++) {
            if (one_in(100))
                continue;
            (void)fprintf(tape->file, ",\"%s\":", events[e]);
            put_number(tape->file, tape->dirty);
        }
        (void)fputs("}}", tape->file);
    }
    (void)fputs("}", tape->file);
}

static void put_report(const struct tape *tape, uint64_t at_ms, int target)
{
    static const char *const rapl[] = {"RAPL_ENERGY_PKG", "RAPL_ENERGY_DRAM"};
    static const char *const msr[] = {"TSC", "APERF", "MPERF"};
    static const char *const core[] = {"CPU_CLK_THREAD_UNHALTED:THREAD_P", "INSTRUCTIONS_RETIRED",
                                       "LLC_MISSES"};

    (void)fprintf(tape->file, "{\"timestamp\":%" PRIu64 ",\"sensor\":\"s\",\"target\":", at_ms);
    if (target < 0)
        (void)fputs("\"all\",\"groups\":{", tape->file);
    else
        (void)fprintf(tape->file, "\"t%d\",\"groups\":{", target);
    if (target < 0 && !one_in(50)) {
        put_group(tape, "rapl", rapl, 2);
        if (tape->msr)
            (void)fputs(",", tape->file);
    }
    if (target < 0 && tape->msr)
        put_group(tape, "msr", msr, 3);
    if (target >= 0)
        put_group(tape, "core", core, 3);
    (void)fputs("}}\n", tape->file);
}

/* A tick's reports in any order; some lost, some twice, some of the tick before, some too late. */
static void put_tick(struct tape *tape)
{
    int order[REPORTS + 1];
    unsigned n = tape->n_targets + 1;

    for (unsigned i = 0; i < n; i++) {
        unsigned at = (unsigned)(draw() % (i + 1));

        order[i] = order[at];
        order[at] = (int)i - 1;
    }
    for (unsigned i = 0; i < n; i++) {
        uint64_t at_ms = tape->now_ms;

        if (one_in(200))
            at_ms -= 1000 * (draw() % 5);
        if (!one_in(100))
            put_report(tape, at_ms, order[i]);
        if (one_in(100))
            put_report(tape, at_ms, order[i]);
        if (tape->dirty && one_in(200))
            (void)fputs("{\"timestamp\":1,\n", tape->file);
    }
}

static void put_file(const char *path, unsigned number)
{
    struct tape tape = {.file = fopen(path, "w"),
                        .dirty = number % 2,
                        .cumulative = number % 3 == 0,
                        .msr = number % 4 != 0,
                        .now_ms = UINT64_C(1600000000000),
                        .n_sockets = 1,
                        .n_targets = 2};

    assert_non_null(tape.file);
    for (unsigned tick = 0; tick < TICKS; tick++) {
        put_tick(&tape);
        tape.now_ms += one_in(30) ? 0 : one_in(50) ? draw() % 100000000 : 1000;
        tape.enabled_ns = one_in(40) ? draw() % 1000 : tape.enabled_ns + 1000000000;
        if (one_in(20))
            tape.n_sockets = 1 + (unsigned)(draw() % 4);
        if (one_in(10))
            tape.n_targets = (unsigned)(draw() % REPORTS);
    }
    assert_int_equal(fclose(tape.file), 0);
}

struct seen {
    uint64_t ticks, domains, more_sockets, prior, gaps;
};

static int check(void *context, const struct cb_replay_tick *tick, struct cb_err *err)
{
    const struct cb_result *result = tick->result;
    struct seen *seen = context;

    (void)err;
    assert_true(result->t1_ns > result->t0_ns);
    assert_int_equal(cb_result_violations(result), 0);
    for (size_t d = 0; d < result->n_domains; d++) {
        const struct cb_result_domain *domain = &result->domains[d];
        uint64_t sum = domain->idle_uj + domain->system_uj + domain->unattributed_uj;

        for (size_t i = 0; i < result->n_targets; i++)
            sum += result->shares[d * result->n_targets + i].dynamic_uj;
        assert_int_equal(sum, domain->energy_uj);
        assert_int_equal(domain->energy_uj, tick->frame->energies[d].energy_uj);
        assert_false(isinf(domain->predicted_w) || domain->predicted_w < 0);
        seen->more_sockets += domain->socket > 0;
        seen->prior += (domain->flags & CB_RESULT_PRIOR) != 0;
        seen->gaps += (domain->flags & CB_RESULT_GAP) != 0;
    }
    seen->ticks++;
    seen->domains += result->n_domains;
    return 0;
}

static void replay(const struct fake_root *root, enum cb_model_kind model)
{
    struct seen seen = {0};
    uint64_t skipped = 0, duplicates = 0, late = 0;

    random_state = 11;
    for (unsigned i = 0; i < FILES; i++) {
        char path[128], input[160];
        struct cb_replay_options options = {.input = input,
                                            .skip_bad = true,
                                            .model = model,
                                            .join = {.nominal_ns = 1000000000,
                                                     .deadline_ns = 2000000000,
                                                     .package_event = "RAPL_ENERGY_PKG",
                                                     .dram_event = "RAPL_ENERGY_DRAM"}};
        struct cb_replay_counts counts = {0};
        struct cb_err err = {0};

        (void)snprintf(path, sizeof(path), "%s/in.jsonl", root->dir);
        (void)snprintf(input, sizeof(input), "hwpc-json:%s", path);
        put_file(path, i);
        if (cb_replay(&options, check, &seen, &counts, &err) < 0)
            fail_msg("file %u: %s", i, err.text);
        skipped += counts.skipped;
        duplicates += counts.join.duplicates;
        late += counts.join.late;
    }
    print_message("%" PRIu64 " ticks, %" PRIu64 " domains, %" PRIu64 " of other sockets, %" PRIu64
                  " by the prior, %" PRIu64 " with gaps; lines skipped %" PRIu64
                  ", reports twice %" PRIu64 ", late %" PRIu64 "\n",
                  seen.ticks, seen.domains, seen.more_sockets, seen.prior, seen.gaps, skipped,
                  duplicates, late);
    assert_true(seen.ticks > 10000); /* and the tape had what it is made to have */
    assert_true(seen.more_sockets > 1000 && seen.gaps > 100);
    assert_true(skipped > 100 && duplicates > 100 && late > 10);
}

static void any_recording_is_conserved_by_cbwatts(void **state)
{
    replay(*state, CB_MODEL_CBWATTS);
}

static void any_recording_is_conserved_by_cputime(void **state)
{
    replay(*state, CB_MODEL_CPUTIME);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_root_setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        TEST(any_recording_is_conserved_by_cbwatts),
        TEST(any_recording_is_conserved_by_cputime),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
