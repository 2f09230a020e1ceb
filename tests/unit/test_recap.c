/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formula/map.h"
#include "formula/recap.h"
#include "lib/err.h"
#include "lib/log.h"
#include "tests/support/store_fixture.h"

#define N_DOMAINS 4
#define N_TARGETS 3
#define N_FRAMES 12

static struct cb_store_test test_of(uint64_t begin_ns, uint64_t end_ns)
{
    struct cb_store_test test = {.begin_ns = begin_ns, .end_ns = end_ns, .exit_code = 0};

    (void)snprintf(test.id, sizeof(test.id), "t1");
    (void)snprintf(test.name, sizeof(test.name), "sleep");
    (void)snprintf(test.container_id, sizeof(test.container_id), FIXTURE_ID_A);
    return test;
}

static void set_marks(struct cb_store_test *test, uint64_t warmup_ns, uint64_t execution_ns)
{
    test->has_warmup = true;
    test->warmup_ns = warmup_ns;
    test->has_execution = true;
    test->execution_ns = execution_ns;
}

static void add_others(struct cb_recap *recap, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct cb_store_target target = {.start = 1, .target = (uint32_t)i + 2};
        size_t index;

        assert_int_equal(cb_recap_other(recap, &target, &index, NULL), 0);
        assert_int_equal(index, i);
    }
}

/* Frames of random lengths that touch each other. */
static void make_frames(struct cb_result frames[N_FRAMES], uint64_t *seed)
{
    uint64_t t = 1000000000 + fixture_random(seed, 1000);

    for (size_t i = 0; i < N_FRAMES; i++) {
        uint64_t length = 1 + fixture_random(seed, 2000000000);

        frames[i] = (struct cb_result){0};
        fixture_result(&frames[i], seed, t, t + length, N_DOMAINS, N_TARGETS);
        t += length;
    }
}

static void sum_frames(const struct cb_result frames[N_FRAMES], const struct cb_store_test *test,
                       struct cb_recap *recap)
{
    static const size_t whose[N_TARGETS] = {CB_RECAP_MINE, 0, 1};

    cb_recap_init(recap, test);
    add_others(recap, N_TARGETS - 1);
    for (size_t i = 0; i < N_FRAMES; i++)
        assert_int_equal(cb_recap_add(recap, &frames[i], whose, NULL), 0);
}

static void check_sums(const struct cb_recap *recap)
{
    uint64_t others = 0;
    uint64_t listed = 0;

    for (size_t p = 0; p < recap->n_phases; p++)
        for (size_t d = 0; d < recap->phases[p].n_domains; d++) {
            const struct cb_recap_domain *domain = &recap->phases[p].domains[d];

            assert_int_equal(domain->energy_uj, domain->dynamic_uj + domain->others_uj +
                                                    domain->system_uj + domain->idle_uj +
                                                    domain->unattributed_uj);
            assert_true(domain->idle_equal_uj <= domain->idle_uj);
            assert_true(domain->idle_proportional_uj <= domain->idle_uj);
            others += domain->others_uj;
        }
    for (size_t i = 0; i < recap->n_others; i++)
        listed += recap->others[i].dynamic_uj;
    assert_int_equal(others, listed); /* every domain of these frames is package or dram */
}

static void parts_sum_exactly_whatever_the_borders(void **state)
{
    uint64_t seed = 42;

    (void)state;
    for (int round = 0; round < 300; round++) {
        struct cb_result frames[N_FRAMES];
        struct cb_recap recap;
        struct cb_store_test test;
        uint64_t marks[4];
        uint64_t last;

        make_frames(frames, &seed);
        last = frames[N_FRAMES - 1].t1_ns;
        marks[0] = 1000000000 + fixture_random(&seed, last - 1000000000 - 3);
        for (int i = 1; i < 4; i++)
            marks[i] = marks[i - 1] + fixture_random(&seed, last - marks[i - 1]);
        test = test_of(marks[0], marks[3]);
        set_marks(&test, marks[1], marks[2]);
        sum_frames(frames, &test, &recap);
        check_sums(&recap);
        cb_recap_clear(&recap);
        for (size_t i = 0; i < N_FRAMES; i++)
            cb_result_clear(&frames[i]);
    }
}

static const struct cb_recap_domain *domain_of(const struct cb_recap *recap, size_t phase, size_t d)
{
    assert_true(phase < recap->n_phases && d < recap->phases[phase].n_domains);
    return &recap->phases[phase].domains[d];
}

static void phases_that_touch_neither_lose_nor_double_a_microjoule(void **state)
{
    uint64_t seed = 7;

    (void)state;
    for (int round = 0; round < 300; round++) {
        struct cb_result frames[N_FRAMES];
        struct cb_recap whole;
        struct cb_recap halves;
        struct cb_store_test test;
        uint64_t first;
        uint64_t last;

        make_frames(frames, &seed);
        first = frames[0].t0_ns;
        last = frames[N_FRAMES - 1].t1_ns;
        test = test_of(first, last);
        sum_frames(frames, &test, &whole);
        set_marks(&test, first, first + fixture_random(&seed, last - first));
        sum_frames(frames, &test, &halves);
        for (size_t d = 0; d < N_DOMAINS; d++) {
            const struct cb_recap_domain *all = domain_of(&whole, 0, d);
            uint64_t energy = 0;
            uint64_t mine = 0;

            for (size_t i = 0; i < N_FRAMES; i++) {
                energy += frames[i].domains[d].energy_uj;
                mine += frames[i].shares[d * N_TARGETS].dynamic_uj;
            }
            assert_int_equal(all->energy_uj, energy);
            assert_int_equal(all->dynamic_uj, mine);
            if (halves.phases[0].n_domains == 0)
                continue; /* the mark fell on the very begin */
            assert_int_equal(
                domain_of(&halves, 0, d)->energy_uj + domain_of(&halves, 1, d)->energy_uj, energy);
            assert_int_equal(domain_of(&halves, 0, d)->idle_uj + domain_of(&halves, 1, d)->idle_uj,
                             all->idle_uj);
            assert_int_equal(
                domain_of(&halves, 0, d)->dynamic_uj + domain_of(&halves, 1, d)->dynamic_uj, mine);
        }
        assert_int_equal(halves.phases[0].covered_ns + halves.phases[1].covered_ns, last - first);
        cb_recap_clear(&whole);
        cb_recap_clear(&halves);
        for (size_t i = 0; i < N_FRAMES; i++)
            cb_result_clear(&frames[i]);
    }
}

/* One frame [0, 1 s) with package: 40 J = 10 idle + 6 system + 16 mine + 8 other. */
static void one_frame(struct cb_result *result)
{
    assert_int_equal(cb_result_reserve(result, 1, 2, NULL), 0);
    result->t1_ns = 1000000000;
    result->machine_cpu_ns = 2000000000;
    result->target_ids[0] = 1;
    result->target_ids[1] = 2;
    result->target_cpu_ns[0] = 800000000;
    result->target_cpu_ns[1] = CB_STAT_ABSENT;
    result->domains[0] = (struct cb_result_domain){.source = CB_SOURCE_POWERCAP,
                                                   .energy_uj = 40000000,
                                                   .idle_uj = 10000000,
                                                   .system_uj = 6000000,
                                                   .source_uncertainty_uj = 2000000};
    result->shares[0] = (struct cb_share){16000000, 300000, 400000};
    result->shares[1] = (struct cb_share){8000000, 1, 1};
}

static void a_quarter_of_a_frame_is_a_quarter_of_its_energy(void **state)
{
    static const size_t whose[] = {CB_RECAP_MINE, 0};
    struct cb_store_test test = test_of(500000000, 750000000);
    struct cb_result result = {0};
    struct cb_recap recap;

    (void)state;
    one_frame(&result);
    cb_recap_init(&recap, &test);
    add_others(&recap, 1);
    assert_int_equal(cb_recap_add(&recap, &result, whose, NULL), 0);
    assert_int_equal(recap.n_phases, 1);
    assert_string_equal(recap.phases[0].name, "execution");
    assert_int_equal(recap.phases[0].covered_ns, 250000000);
    assert_int_equal(recap.phases[0].cpu_ns, 200000000);
    assert_int_equal(recap.phases[0].machine_cpu_ns, 500000000);

    const struct cb_recap_domain *domain = domain_of(&recap, 0, 0);

    assert_int_equal(domain->energy_uj, 10000000);
    assert_int_equal(domain->dynamic_uj, 4000000);
    assert_int_equal(domain->others_uj, 2000000);
    assert_int_equal(domain->idle_equal_uj, 1250000);
    assert_int_equal(domain->idle_proportional_uj, 2500000 * UINT64_C(16) / 30);
    /* param 75 mJ, source 2 J x 1/4 x 16/40, noise 100 mJ and the cut 16 J x 1/4 */
    assert_int_equal(cb_recap_uncertainty(domain),
                     (uint64_t)ceil(sqrt(75000. * 75000. + 200000. * 200000. + 100000. * 100000. +
                                         4000000. * 4000000.)));
    assert_string_equal(cb_recap_source(&recap), "powercap");
    cb_recap_clear(&recap);
    cb_result_clear(&result);
}

static void one_estimate_makes_the_whole_an_estimate(void **state)
{
    static const size_t whose[] = {CB_RECAP_MINE, CB_RECAP_MINE};
    struct cb_store_test test = test_of(0, 3000000000);
    struct cb_result result = {0};
    struct cb_recap recap;

    (void)state;
    cb_recap_init(&recap, &test);
    assert_string_equal(cb_recap_source(&recap), "none");
    one_frame(&result);
    assert_int_equal(cb_recap_add(&recap, &result, whose, NULL), 0);
    result.t0_ns += 1000000000;
    result.t1_ns += 1000000000;
    result.domains[0].source = CB_SOURCE_ESTIMATE;
    assert_int_equal(cb_recap_add(&recap, &result, whose, NULL), 0);
    result.t0_ns += 1000000000;
    result.t1_ns += 1000000000;
    result.domains[0].source = CB_SOURCE_POWERCAP;
    assert_int_equal(cb_recap_add(&recap, &result, whose, NULL), 0);
    assert_string_equal(cb_recap_source(&recap), "estimate");
    assert_int_equal(recap.phases[0].domains[0].source, CB_SOURCE_ESTIMATE);
    cb_recap_clear(&recap);
    cb_result_clear(&result);
}

static void marks_make_phases(void **state)
{
    static const struct {
        bool warmup, execution;
        size_t n;
        struct {
            const char *name;
            uint64_t begin, end;
        } phases[2];
    } cases[] = {
        {false, false, 1, {{"execution", 100, 400}}},
        {true, true, 2, {{"warmup", 200, 300}, {"execution", 300, 400}}},
        {false, true, 1, {{"execution", 300, 400}}},
        {true, false, 1, {{"warmup", 200, 400}}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cb_store_test test = test_of(100, 400);
        struct cb_recap recap;

        set_marks(&test, 200, 300);
        test.has_warmup = cases[i].warmup;
        test.has_execution = cases[i].execution;
        cb_recap_init(&recap, &test);
        assert_int_equal(recap.n_phases, cases[i].n);
        for (size_t p = 0; p < recap.n_phases; p++) {
            assert_string_equal(recap.phases[p].name, cases[i].phases[p].name);
            assert_int_equal(recap.phases[p].begin_ns, cases[i].phases[p].begin);
            assert_int_equal(recap.phases[p].end_ns, cases[i].phases[p].end);
        }
        cb_recap_clear(&recap);
    }
}

static json_int_t int_at(const json_t *json, const char *key)
{
    const json_t *value = json_object_get(json, key);

    if (!json_is_integer(value))
        fail_msg("no integer '%s'", key);
    return json_integer_value(value);
}

static const json_t *first_domain(const json_t *recap)
{
    const json_t *phase = json_array_get(json_object_get(recap, "phases"), 0);

    return json_array_get(json_object_get(phase, "domains"), 0);
}

/* A container that lives over a sensor restart has two target ids; both are its own. */
static void is_built_from_the_store_over_a_sensor_restart(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_store_start second;
    struct cb_store_target target = {.target = 2, .known = true};
    struct cb_store_test test = test_of(0, 2000000000);
    struct cb_result result = {0};
    struct cb_recap recap;

    one_frame(&result);
    result.wall_ns = FIXTURE_WALL_OFFSET + result.t1_ns;
    fixture_put(f->store, &start, 1, &result);
    assert_int_equal(
        cb_store_start(f->store, start.machine, FIXTURE_BOOT, "other", 2, &second, NULL), 0);
    target.start = second.id;
    (void)snprintf(target.container_id, sizeof(target.container_id), FIXTURE_ID_A);
    assert_int_equal(cb_store_put_target(f->store, &target, NULL, NULL), 0);
    result.t0_ns += 1000000000;
    result.t1_ns += 1000000000;
    result.wall_ns += 1000000000;
    fixture_put(f->store, &second, 1, &result); /* now target 2 is mine, and 1 is a stranger */
    test.boot = start.boot;
    assert_int_equal(cb_recap_build(f->store, &test, &recap, NULL), 0);
    assert_int_equal(domain_of(&recap, 0, 0)->dynamic_uj, 16000000 + 8000000);
    assert_int_equal(domain_of(&recap, 0, 0)->others_uj, 16000000 + 8000000);
    assert_int_equal(recap.n_others, 2);
    assert_true(recap.others[0].dynamic_uj >= recap.others[1].dynamic_uj);
    assert_int_equal(recap.begin_wall_ns, FIXTURE_WALL_OFFSET);
    check_sums(&recap);

    json_t *json = cb_recap_to_json(&recap);

    assert_non_null(json);
    assert_string_equal(json_string_value(json_object_get(json, "begin")),
                        "2023-11-14T22:13:20.000Z");
    assert_int_equal(cb_recap_tell(json, CB_IDLE_EQUAL, NULL), 0);
    assert_int_equal(int_at(first_domain(json), "idle_share_uj"), 10000000);
    assert_null(json_object_get(first_domain(json), "idle_shares_uj"));
    assert_string_equal(json_string_value(json_object_get(json, "idle_policy")), "equal");
    json_decref(json);
    cb_recap_clear(&recap);
    cb_result_clear(&result);
}

static void a_phase_without_frames_says_so(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_store_test test = test_of(5000, 9000);
    struct cb_recap recap;

    test.boot = start.boot;
    test.ended_wall_ns = 1000009000;
    assert_int_equal(cb_recap_build(f->store, &test, &recap, NULL), 0);
    assert_int_equal(recap.phases[0].covered_ns, 0);
    assert_int_equal(recap.phases[0].n_domains, 0);
    assert_int_equal(recap.begin_wall_ns, 1000005000);

    json_t *json = cb_recap_to_json(&recap);
    const json_t *phase = json_array_get(json_object_get(json, "phases"), 0);

    assert_true(json_is_null(json_object_get(phase, "cpu_seconds")));
    assert_true(json_real_value(json_object_get(phase, "covered_seconds")) == 0);
    json_decref(json);
    cb_recap_clear(&recap);
}

#define S UINT64_C(1000000000)

static struct cb_store_test told_test(const struct cb_store_start *start, uint64_t begin_s,
                                      uint64_t warmup_s, uint64_t execution_s, uint64_t end_s)
{
    struct cb_store_test test = test_of(begin_s * S, end_s * S);

    set_marks(&test, warmup_s * S, execution_s * S);
    test.boot = start->boot;
    test.begin_wall_ns = FIXTURE_WALL_OFFSET + test.begin_ns;
    test.end_wall_ns = FIXTURE_WALL_OFFSET + test.end_ns;
    return test;
}

/* The clock of the machine stepped by @step_ns before this frame. */
static void put_frame(struct cb_store *store, const struct cb_store_start *start, uint64_t seq,
                      uint64_t t0_s, uint64_t t1_s, uint64_t step_ns)
{
    struct cb_result result = {0};
    uint64_t seed = seq;

    fixture_result(&result, &seed, t0_s * S, t1_s * S, 1, 1);
    result.wall_ns += step_ns;
    fixture_put(store, start, seq, &result);
    cb_result_clear(&result);
}

static void check_walls(const struct cb_recap *recap, uint64_t begin_s, uint64_t mark_s,
                        uint64_t end_s)
{
    assert_int_equal(recap->n_phases, 2);
    assert_int_equal(recap->phases[0].begin_wall_ns, FIXTURE_WALL_OFFSET + begin_s * S);
    assert_int_equal(recap->phases[0].end_wall_ns, FIXTURE_WALL_OFFSET + mark_s * S);
    assert_int_equal(recap->phases[1].begin_wall_ns, FIXTURE_WALL_OFFSET + mark_s * S);
    assert_int_equal(recap->phases[1].end_wall_ns, FIXTURE_WALL_OFFSET + end_s * S);
}

static void a_mark_that_no_frame_covers_has_its_time(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_store_test test = told_test(&start, 100, 110, 120, 150);
    struct cb_recap recap;

    put_frame(f->store, &start, 1, 100, 108, 0); /* not even the warm-up */
    put_frame(f->store, &start, 2, 160, 170, 0);
    assert_int_equal(cb_recap_build(f->store, &test, &recap, NULL), 0);
    check_walls(&recap, 110, 120, 150);
    cb_recap_clear(&recap);
    test = told_test(&start, 100, 104, 120, 150); /* within the frame, and after it */
    assert_int_equal(cb_recap_build(f->store, &test, &recap, NULL), 0);
    check_walls(&recap, 104, 120, 150);
    cb_recap_clear(&recap);
}

static void phases_follow_each_other_though_the_clock_was_set(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_store_test test = told_test(&start, 100, 104, 115, 150);
    struct cb_recap recap;

    put_frame(f->store, &start, 1, 100, 110, 20 * S);
    put_frame(f->store, &start, 2, 110, 120, 0);
    assert_int_equal(cb_recap_build(f->store, &test, &recap, NULL), 0);
    check_walls(&recap, 115, 115, 150);
    cb_recap_clear(&recap);
    put_frame(f->store, &start, 3, 120, 130, 100 * S);
    test = told_test(&start, 100, 104, 125, 150);
    assert_int_equal(cb_recap_build(f->store, &test, &recap, NULL), 0);
    check_walls(&recap, 124, 150, 150);
    cb_recap_clear(&recap);
}

static void a_damaged_frame_is_time_that_is_not_covered(void **state)
{
    struct store_fixture *f = *state;
    struct cb_store_start start = store_fixture_start(f->store);
    struct cb_store_test test = test_of(0, 3000);
    struct cb_store_frame damaged = {.start = start.id,
                                     .boot = start.boot,
                                     .seq = 2,
                                     .t0_ns = 1000,
                                     .t1_ns = 2000,
                                     .wall_ns = 2000 + FIXTURE_WALL_OFFSET,
                                     .result = "no result",
                                     .result_size = 9};
    struct cb_result result = {0};
    struct cb_recap recap;
    uint64_t seed = 3;

    cb_log_init("test", CB_LOG_ERR, false);
    test.boot = start.boot;
    for (uint64_t i = 0; i < 3; i++) {
        fixture_result(&result, &seed, i * 1000, (i + 1) * 1000, 2, 2);
        if (i == 1)
            assert_int_equal(cb_store_put_frame(f->store, &damaged, 1, NULL, NULL), 0);
        else
            fixture_put(f->store, &start, i + 1, &result);
    }
    assert_int_equal(cb_recap_build(f->store, &test, &recap, NULL), 0);
    assert_int_equal(recap.n_damaged, 1);
    assert_int_equal(recap.phases[0].covered_ns, 2000);
    assert_int_equal(recap.phases[0].n_domains, 2);
    check_sums(&recap);
    cb_recap_clear(&recap);
    cb_result_clear(&result);
}

/* One tick of so many targets that not each can have its entry. */
static void others_beyond_the_limit_are_one_entry(void **state)
{
    const size_t n = CB_RECAP_OTHERS_MAX + 5;
    struct cb_store_test test = test_of(0, 1000);
    struct cb_result result = {0};
    size_t *whose = calloc(n, sizeof(*whose));
    struct cb_recap recap;
    const json_t *others;
    json_t *json;
    uint64_t seed = 9;

    (void)state;
    assert_non_null(whose);
    fixture_result(&result, &seed, 0, 1000, 2, n);
    cb_recap_init(&recap, &test);
    for (size_t i = 0; i < n; i++) {
        struct cb_store_target target = {.start = 1, .target = (uint32_t)i + 1};

        assert_int_equal(cb_recap_other(&recap, &target, &whose[i], NULL), 0);
    }
    assert_int_equal(recap.n_others, CB_RECAP_OTHERS_MAX + 1);
    assert_int_equal(recap.n_lumped, 5);
    assert_int_equal(cb_recap_add(&recap, &result, whose, NULL), 0);
    check_sums(&recap);

    json = cb_recap_to_json(&recap);
    others = json_object_get(json, "others");
    assert_int_equal(json_array_size(others), 1001);
    assert_string_equal(json_string_value(json_object_get(json_array_get(others, 1000), "name")),
                        "(19005 more)");
    json_decref(json);
    cb_recap_clear(&recap);
    cb_result_clear(&result);
    free(whose);
}

static void idle_is_shared_by_the_policy_that_is_asked_for(void **state)
{
    enum cb_idle_policy policy;

    (void)state;
    assert_int_equal(cb_idle_parse("equal", &policy), 0);
    assert_int_equal(policy, CB_IDLE_EQUAL);
    assert_int_equal(cb_idle_parse("Equal", &policy), -22);
    assert_int_equal(cb_idle_share(CB_IDLE_NONE, 100, 1, 2, 3), 0);
    assert_int_equal(cb_idle_share(CB_IDLE_EQUAL, 100, 1, 2, 3), 33);
    assert_int_equal(cb_idle_share(CB_IDLE_PROPORTIONAL, 100, 1, 3, 9), 33);
    assert_int_equal(cb_idle_share(CB_IDLE_PROPORTIONAL, 100, 0, 0, 9), 0);
    assert_int_equal(cb_idle_share(CB_IDLE_PROPORTIONAL, UINT64_MAX / 2, 7, 7, 1), UINT64_MAX / 2);
}

static void a_map_keeps_what_was_put(void **state)
{
    struct cb_map map = {0};
    uint64_t value;

    (void)state;
    assert_false(cb_map_get(&map, 1, &value));
    for (uint64_t i = 0; i < 5000; i++)
        assert_int_equal(cb_map_put(&map, i << 32 | (i & 3), i), 0);
    assert_int_equal(cb_map_put(&map, 0, 99), 0);
    assert_int_equal(map.n, 5000);
    for (uint64_t i = 1; i < 5000; i++) {
        assert_true(cb_map_get(&map, i << 32 | (i & 3), &value));
        assert_int_equal(value, i);
    }
    assert_true(cb_map_get(&map, 0, &value));
    assert_int_equal(value, 99);
    assert_false(cb_map_get(&map, 77, &value));
    cb_map_clear(&map);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, store_fixture_setup, store_fixture_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_sum_exactly_whatever_the_borders),
        cmocka_unit_test(phases_that_touch_neither_lose_nor_double_a_microjoule),
        cmocka_unit_test(a_quarter_of_a_frame_is_a_quarter_of_its_energy),
        cmocka_unit_test(one_estimate_makes_the_whole_an_estimate),
        cmocka_unit_test(marks_make_phases),
        TEST(is_built_from_the_store_over_a_sensor_restart),
        TEST(a_phase_without_frames_says_so),
        TEST(a_mark_that_no_frame_covers_has_its_time),
        TEST(phases_follow_each_other_though_the_clock_was_set),
        TEST(a_damaged_frame_is_time_that_is_not_covered),
        cmocka_unit_test(others_beyond_the_limit_are_one_entry),
        cmocka_unit_test(idle_is_shared_by_the_policy_that_is_asked_for),
        cmocka_unit_test(a_map_keeps_what_was_put),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
