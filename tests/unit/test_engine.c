/* SPDX-License-Identifier: Apache-2.0 */
/* test_engine.c - formula/engine.c: whatever a frame holds, its energy is attributed exactly. */
#include <errno.h>
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
#include "lib/err.h"
#include "tests/support/fault.h"

#define MAX_SOCKETS 4
#define MAX_EVENTS 8
#define MAX_TARGETS 40
#define MAX_ENERGIES (3 * MAX_SOCKETS + 1)

/* One frame and the arrays it points into. */
struct scene {
    struct cb_frame frame;
    struct cb_frame_energy energies[MAX_ENERGIES];
    struct cb_frame_counter counters[2 * MAX_SOCKETS];
    struct cb_frame_event events[MAX_EVENTS];
    struct cb_frame_target targets[MAX_TARGETS];
    uint64_t counts[(MAX_TARGETS + 1) * MAX_SOCKETS * MAX_EVENTS];
    uint64_t enabled_ns[(MAX_TARGETS + 1) * MAX_SOCKETS * 2];
    uint64_t running_ns[(MAX_TARGETS + 1) * MAX_SOCKETS * 2];
    const char *stat_names[1];
    uint64_t stats[MAX_TARGETS + 1];
};

static const char *const event_names[MAX_EVENTS] = {
    "cpu-clock",  "context-switches", "msr/tsc/",   "cycles",
    "ref-cycles", "instructions",     "LLC_MISSES", "page-faults",
};

static void init_scene(struct scene *scene, size_t n_sockets, size_t n_events, size_t n_targets)
{
    memset(scene, 0, sizeof(*scene));
    scene->frame = (struct cb_frame){
        .sensor = "s",
        .boot_id = "b",
        .start_id = "i",
        .version = "0",
        .seq = 1,
        .t0_ns = 1000000000,
        .t1_ns = 2000000000,
        .wall_ns = UINT64_C(1700000000000000000),
        .n_sockets = (uint32_t)n_sockets,
        .n_cpus = 4 * (uint32_t)n_sockets,
        .energies = scene->energies,
        .counters = scene->counters,
        .has_machine_row = true,
        .n_events = n_events,
        .events = scene->events,
        .n_groups = 2,
        .n_targets = n_targets,
        .targets = scene->targets,
        .counts = scene->counts,
        .enabled_ns = scene->enabled_ns,
        .running_ns = scene->running_ns,
        .n_stats = 1,
        .stat_names = scene->stat_names,
        .stats = scene->stats,
    };
    scene->stat_names[0] = "cpu_ns";
    for (size_t e = 0; e < n_events; e++)
        scene->events[e] = (struct cb_frame_event){event_names[e], "cpu", (uint8_t)(e / 4)};
    for (size_t i = 0; i < n_targets; i++)
        scene->targets[i].id = (uint32_t)i + 1;
    for (size_t i = 0; i <= n_targets; i++)
        scene->stats[i] = CB_STAT_ABSENT;
}

static void add_energy(struct scene *scene, uint16_t socket, uint8_t domain, uint64_t energy_uj)
{
    scene->energies[scene->frame.n_energies++] = (struct cb_frame_energy){
        .socket = socket, .domain = domain, .source = CB_SOURCE_ESTIMATE, .energy_uj = energy_uj};
}

static void set_count(struct scene *scene, size_t row, size_t socket, size_t event, uint64_t count)
{
    cb_frame_count(&scene->frame, row, socket, event) = count;
}

static struct cb_engine *new_engine(enum cb_model_kind kind)
{
    const struct cb_engine_options options = {.model = kind};
    struct cb_engine *engine = NULL;

    assert_int_equal(cb_engine_new(&options, &engine, NULL), 0);
    return engine;
}

static uint64_t random_state = 77;

static uint64_t random_u64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * UINT64_C(0x2545f4914f6cdd1d);
}

static double uniform(void)
{
    return (double)(random_u64() >> 11) * 0x1p-53;
}

/* --- properties --- */

static uint64_t random_count(void)
{
    switch (random_u64() % 10) {
    case 0:
        return 0;
    case 1:
        return random_u64();
    case 2:
        return random_u64() >> (random_u64() % 64);
    default:
        return random_u64() % 2000000000;
    }
}

static void randomise(struct scene *scene)
{
    size_t n_sockets = 1 + random_u64() % MAX_SOCKETS;
    size_t n_events = random_u64() % (MAX_EVENTS + 1), n_targets = random_u64() % MAX_TARGETS;
    struct cb_frame *frame = &scene->frame;
    size_t n_rows;

    if (random_u64() % 4)
        n_targets %= 5;
    init_scene(scene, n_sockets, n_events, n_targets);
    frame->t1_ns = frame->t0_ns + 1 + (random_u64() >> (random_u64() % 60 + 3));
    if (random_u64() % 3)
        frame->t1_ns = frame->t0_ns + 1000000000;
    frame->has_machine_row = random_u64() % 4 != 0;
    frame->n_cpus = (uint32_t)(random_u64() % 9);
    n_rows = n_targets + 1;
    for (size_t i = 0; i < n_rows * n_sockets * n_events; i++)
        scene->counts[i] = i < n_sockets * n_events && !frame->has_machine_row ? 0 : random_count();
    for (size_t i = 0; i < n_rows * n_sockets * 2; i++) {
        scene->enabled_ns[i] = random_u64() % 3 ? 1000 : 0;
        scene->running_ns[i] = random_u64() % 5 ? scene->enabled_ns[i] : 0;
    }
    for (size_t i = 0; i < n_rows; i++)
        scene->stats[i] = random_u64() % 3 ? random_count() : CB_STAT_ABSENT;
    for (size_t s = 0; s < n_sockets && random_u64() % 2; s++) {
        scene->counters[frame->n_counters++] =
            (struct cb_frame_counter){"aperf", (uint16_t)s, random_count()};
        scene->counters[frame->n_counters++] =
            (struct cb_frame_counter){"mperf", (uint16_t)s, random_count()};
    }
    for (size_t s = 0; s < n_sockets; s++) {
        for (uint8_t d = 0; d < 3 && random_u64() % 5; d++)
            add_energy(scene, (uint16_t)s, random_u64() % 20 ? d : CB_DOMAIN_PSYS, random_count());
    }
    if (random_u64() % 10 == 0)
        add_energy(scene, 63, CB_DOMAIN_PACKAGE, random_count());
}

static void check_numbers(const struct cb_result *result)
{
    for (size_t d = 0; d < result->n_domains; d++) {
        const struct cb_result_domain *domain = &result->domains[d];

        assert_false(isinf(domain->predicted_w));
        assert_true(isfinite(domain->idle_param_uj) && domain->idle_param_uj >= 0);
        assert_true(isfinite(domain->system_param_uj) && domain->system_param_uj >= 0);
        assert_true(isfinite(domain->system_noise_uj) && domain->system_noise_uj >= 0);
    }
    for (size_t i = 0; i < result->n_domains * result->n_targets; i++) {
        assert_true(isfinite(result->shares[i].param_uj) && result->shares[i].param_uj >= 0);
        assert_true(isfinite(result->shares[i].noise_uj) && result->shares[i].noise_uj >= 0);
    }
}

static void twenty_thousand_random_frames_never_break_the_sum(void **state)
{
    static struct scene scene;
    struct cb_result result = {0};

    (void)state;
    for (int kind = CB_MODEL_CBWATTS; kind <= CB_MODEL_CPUTIME; kind++) {
        struct cb_engine *engine = new_engine((enum cb_model_kind)kind);

        for (int round = 0; round < 20000; round++) {
            if (round % 100 == 0) {
                engine = cb_engine_free(engine);
                engine = new_engine((enum cb_model_kind)kind);
            }
            randomise(&scene);
            assert_int_equal(cb_engine_frame(engine, &scene.frame, &result, NULL), 0);
            assert_int_equal(cb_result_violations(&result), 0);
            assert_int_equal(result.n_domains, scene.frame.n_energies);
            for (size_t d = 0; d < result.n_domains; d++)
                assert_int_equal(result.domains[d].energy_uj, scene.energies[d].energy_uj);
            check_numbers(&result);
        }
        assert_int_equal(cb_engine_violations(engine), 0);
        engine = cb_engine_free(engine);
    }
    cb_result_clear(&result);
}

/* --- a machine without hardware counters, as the build machines are --- */

#define CPUS 4.0

/* Two containers' CPU use and the rest of the machine's; the energy is linear in their sum. */
static void software_tick(struct scene *scene, double first, double second, double rest)
{
    const double cpu[3] = {first + second + rest, first, second};

    init_scene(scene, 1, 3, 2);
    for (size_t row = 0; row < 3; row++) {
        set_count(scene, row, 0, 0, (uint64_t)(cpu[row] * 1e9));
        /* the busy ones switch less than the rest of the machine */
        set_count(scene, row, 0, 1, (uint64_t)(row == 0 ? 900 + 300 * uniform() : 20 * uniform()));
        set_count(scene, row, 0, 2, (uint64_t)(cpu[row] * 2.6e9));
        scene->stats[row] = (uint64_t)(cpu[row] * 1e9);
    }
    set_count(scene, 0, 0, 2, (uint64_t)(CPUS * 2.6e9)); /* machine-wide, tsc counts idle too */
    add_energy(scene, 0, CB_DOMAIN_PACKAGE, (uint64_t)((20 + 30 * cpu[0] / CPUS) * 1e6));
}

static double share_of_first(const struct cb_result *result)
{
    double first = (double)result->shares[0].dynamic_uj;
    double second = (double)result->shares[1].dynamic_uj;

    return first / (first + second);
}

static void shares_follow_cpu_time_within_a_point(void **state)
{
    static struct scene scene;
    struct cb_result result = {0};
    struct cb_engine *engine = new_engine(CB_MODEL_CBWATTS);
    double first = 0, both = 0;

    (void)state;
    for (int tick = 0; tick < 120; tick++) {
        bool running = tick > 20 && tick < 100;
        double noise = 0.02 * uniform();

        software_tick(&scene, running ? 1 - noise : 0, running ? 0.25 + noise / 4 : 0,
                      0.1 + 0.1 * uniform());
        assert_int_equal(cb_engine_frame(engine, &scene.frame, &result, NULL), 0);
        if (!running) {
            assert_true(result.shares[0].dynamic_uj < 100); /* of 20 J: a few switches */
            continue;
        }
        double cpu = (double)result.target_cpu_ns[0] /
                     (double)(result.target_cpu_ns[0] + result.target_cpu_ns[1]);

        assert_true(fabs(share_of_first(&result) - cpu) < 0.01);
        first += (double)result.shares[0].dynamic_uj;
        both += (double)(result.shares[0].dynamic_uj + result.shares[1].dynamic_uj);
    }
    assert_true(fabs(first / both - 0.8) < 0.01);
    engine = cb_engine_free(engine);
    cb_result_clear(&result);
}

static void shares_follow_cpu_time_from_the_first_tick(void **state)
{
    static struct scene scene;
    struct cb_result result = {0};
    struct cb_engine *engine = new_engine(CB_MODEL_CBWATTS);

    (void)state;
    for (int tick = 0; tick < 10; tick++) {
        software_tick(&scene, 1, 0.25, 0.1);
        assert_int_equal(cb_engine_frame(engine, &scene.frame, &result, NULL), 0);
        assert_true(fabs(share_of_first(&result) - 0.8) < 0.01);
        assert_int_equal(result.domains[0].flags, tick == 0 ? CB_RESULT_PRIOR : 0);
        assert_true(result.domains[0].idle_uj > 0);
        assert_true(tick == 0 ? isnan(result.domains[0].predicted_w)
                              : isfinite(result.domains[0].predicted_w));
    }
    engine = cb_engine_free(engine);
    cb_result_clear(&result);
}

static void learns_what_the_machine_draws_when_idle(void **state)
{
    static struct scene scene;
    struct cb_result result = {0};
    struct cb_engine *engine = new_engine(CB_MODEL_CBWATTS);

    (void)state;
    for (int tick = 0; tick < 200; tick++) {
        software_tick(&scene, uniform(), 0.5 * uniform(), 0.1 + 0.1 * uniform());
        assert_int_equal(cb_engine_frame(engine, &scene.frame, &result, NULL), 0);
    }
    assert_true(fabs((double)result.domains[0].idle_uj - 20e6) < 0.5e6);
    assert_true(fabs(result.domains[0].predicted_w - (double)result.domains[0].energy_uj / 1e6) <
                0.3);
    engine = cb_engine_free(engine);
    cb_result_clear(&result);
}

static void a_machine_clock_that_counts_idle_does_not_feed_the_system(void **state)
{
    static struct scene scene;
    struct cb_result result = {0};
    struct cb_engine *engine = new_engine(CB_MODEL_CBWATTS);

    (void)state;
    for (int tick = 0; tick < 50; tick++) {
        software_tick(&scene, uniform(), 0.25, 0.1);
        set_count(&scene, 0, 0, 0, (uint64_t)(CPUS * 1e9));
        assert_int_equal(cb_engine_frame(engine, &scene.frame, &result, NULL), 0);
    }
    /* 0.1 of CPU against the second's 0.25 */
    assert_true((double)result.domains[0].system_uj < 0.45 * (double)result.shares[1].dynamic_uj);
    engine = cb_engine_free(engine);
    cb_result_clear(&result);
}

/* --- rows of their own --- */

static void work_outside_containers_is_the_systems(void **state)
{
    static struct scene scene;
    struct cb_result result = {0};
    struct cb_engine *engine = new_engine(CB_MODEL_CBWATTS);

    (void)state;
    for (int tick = 0; tick < 30; tick++) {
        software_tick(&scene, 0.5 * uniform(), 0, 1);
        assert_int_equal(cb_engine_frame(engine, &scene.frame, &result, NULL), 0);
    }
    assert_true(result.domains[0].system_uj > result.shares[0].dynamic_uj);
    assert_int_equal(result.domains[0].unattributed_uj, 0);
    assert_true(result.domains[0].system_param_uj > 0);
    engine = cb_engine_free(engine);
    cb_result_clear(&result);
}

static void without_machine_counters_system_is_0_and_said_so(void **state)
{
    static struct scene scene;
    struct cb_result result = {0};
    struct cb_engine *engine = new_engine(CB_MODEL_CBWATTS);

    (void)state;
    software_tick(&scene, 0.5, 0.5, 1);
    scene.frame.has_machine_row = false;
    for (size_t e = 0; e < 3; e++)
        set_count(&scene, 0, 0, e, 0);
    scene.stats[0] = CB_STAT_ABSENT;
    assert_int_equal(cb_engine_frame(engine, &scene.frame, &result, NULL), 0);
    assert_int_equal(result.domains[0].flags, CB_RESULT_PRIOR | CB_RESULT_NO_SYSTEM);
    assert_int_equal(result.domains[0].system_uj, 0);
    assert_true(result.shares[0].dynamic_uj > 0);
    engine = cb_engine_free(engine);
    cb_result_clear(&result);
}

static void a_target_that_was_not_counted_leaves_the_rest_unattributed(void **state)
{
    static struct scene scene;
    struct cb_result result = {0};
    struct cb_engine *engine = new_engine(CB_MODEL_CBWATTS);

    (void)state;
    software_tick(&scene, 0.5, 0.5, 1);
    scene.stats[2] = CB_STAT_ABSENT;
    for (size_t e = 0; e < 3; e++)
        set_count(&scene, 2, 0, e, 0);
    for (size_t g = 0; g < 2; g++) {
        scene.enabled_ns[2 * 2 + g] = 1000;
        scene.running_ns[2 * 2 + g] = 0;
    }
    assert_int_equal(cb_engine_frame(engine, &scene.frame, &result, NULL), 0);
    assert_true(result.domains[0].flags & CB_RESULT_GAP);
    assert_int_equal(result.domains[0].system_uj, 0);
    assert_true(result.domains[0].unattributed_uj > 0);
    assert_true(result.shares[0].dynamic_uj > 0);
    assert_int_equal(result.shares[1].dynamic_uj, 0);

    scene.stats[2] = 500000000; /* its CPU time is known: that will do */
    assert_int_equal(cb_engine_frame(engine, &scene.frame, &result, NULL), 0);
    assert_int_equal(result.domains[0].unattributed_uj, 0);
    assert_true(share_of_first(&result) > 0.45 && share_of_first(&result) < 0.55);
    engine = cb_engine_free(engine);
    cb_result_clear(&result);
}

/* Nothing of @row was counted in this tick. */
static void lose_row(struct scene *scene, size_t row)
{
    scene->stats[row] = CB_STAT_ABSENT;
    for (size_t e = 0; e < 3; e++)
        set_count(scene, row, 0, e, 0);
    for (size_t g = 0; g < 2; g++) {
        scene->enabled_ns[row * 2 + g] = 1000;
        scene->running_ns[row * 2 + g] = 0;
    }
}

/* As PowerAPI's reports are, with 5 W of work lost: the others do not get it, nothing is learnt
 * from it, and what nobody has may be its own. */
static void without_machine_counters_a_lost_target_is_nobodys_energy(void **state)
{
    static struct scene scene;
    struct cb_result result = {0};
    struct cb_engine *engine = new_engine(CB_MODEL_CBWATTS);
    uint64_t idle_uj = 0, first_uj = 0;

    (void)state;
    for (int tick = 0; tick < 62; tick++) {
        bool lost = tick == 60;

        software_tick(&scene, tick < 59 ? uniform() : 1, tick < 59 ? uniform() : 2.0 / 3, 0);
        scene.frame.has_machine_row = false;
        scene.stats[0] = CB_STAT_ABSENT;
        if (lost)
            lose_row(&scene, 2);
        assert_int_equal(cb_engine_frame(engine, &scene.frame, &result, NULL), 0);
        assert_int_equal((result.domains[0].flags & CB_RESULT_GAP) != 0, lost);
        if (tick == 59) {
            idle_uj = result.domains[0].idle_uj;
            first_uj = result.shares[0].dynamic_uj;
        } else if (lost) {
            assert_true(fabs((double)result.shares[0].dynamic_uj - (double)first_uj) < 0.2e6);
            assert_int_equal(result.shares[1].dynamic_uj, 0);
            assert_true(fabs((double)result.domains[0].unattributed_uj - 5e6) < 0.3e6);
            assert_true((double)result.shares[1].param_uj >=
                        0.999 * (double)result.domains[0].unattributed_uj);
        }
    }
    assert_true(fabs((double)result.domains[0].idle_uj - (double)idle_uj) < 0.1e6);
    engine = cb_engine_free(engine);
    cb_result_clear(&result);
}

/* Energy alone has a level that can be predicted; that it were all idle is not known. When counts
 * come, what went before says nothing about them. */
static void energy_without_any_counts_is_predicted_by_its_level(void **state)
{
    static struct scene scene;
    struct cb_result result = {0};

    (void)state;
    for (int kind = CB_MODEL_CBWATTS; kind <= CB_MODEL_CPUTIME; kind++) {
        struct cb_engine *engine = new_engine((enum cb_model_kind)kind);

        for (int tick = 0; tick < 20; tick++) {
            init_scene(&scene, 1, 0, 0);
            add_energy(&scene, 0, CB_DOMAIN_PACKAGE, 50000000 + (uint64_t)(1e6 * uniform()));
            assert_int_equal(cb_engine_frame(engine, &scene.frame, &result, NULL), 0);
            assert_true(tick == 0 || fabs(result.domains[0].predicted_w - 50.5) < 1);
            assert_true(kind != CB_MODEL_CBWATTS || result.domains[0].unattributed_uj > 5000000);
        }
        for (int tick = 0; tick < 60 && kind == CB_MODEL_CBWATTS; tick++) {
            software_tick(&scene, uniform(), 0.5 * uniform(), 0.1);
            assert_int_equal(cb_engine_frame(engine, &scene.frame, &result, NULL), 0);
        }
        assert_true(kind != CB_MODEL_CBWATTS ||
                    fabs((double)result.domains[0].idle_uj - 20e6) < 1e6);
        engine = cb_engine_free(engine);
    }
    cb_result_clear(&result);
}

/* A steady load: how much of it is idle is known by the share of time that the CPUs are in use. */
static uint64_t idle_of_steady_load(double mperf_per_tsc)
{
    static struct scene scene;
    static struct cb_frame_counter counters[2];
    struct cb_result result = {0};
    struct cb_engine *engine = new_engine(CB_MODEL_CBWATTS);
    uint64_t idle_uj;

    counters[0] = (struct cb_frame_counter){"TSC", 0, UINT64_C(10000000000)};
    counters[1] = (struct cb_frame_counter){"MPERF", 0, (uint64_t)(1e10 * mperf_per_tsc)};
    for (int tick = 0; tick < 20; tick++) {
        software_tick(&scene, 1, 0.5, 0);
        scene.frame.has_machine_row = false;
        scene.frame.n_cpus = scene.frame.n_stats = 0;
        scene.frame.counters = counters;
        scene.frame.n_counters = 2;
        assert_int_equal(cb_engine_frame(engine, &scene.frame, &result, NULL), 0);
    }
    idle_uj = result.domains[0].idle_uj;
    engine = cb_engine_free(engine);
    cb_result_clear(&result);
    return idle_uj;
}

static void mperf_tells_how_busy_the_cpus_are(void **state)
{
    uint64_t unknown_uj = idle_of_steady_load(1); /* as in recordings that made it up */

    (void)state;
    assert_true(idle_of_steady_load(0.02) > unknown_uj + 2000000);
    assert_true(idle_of_steady_load(0.9) + 5000000 < unknown_uj);
}

static void no_activity_at_all_leaves_the_dynamic_part_unattributed(void **state)
{
    static struct scene scene;
    struct cb_result result = {0};
    struct cb_engine *engine = new_engine(CB_MODEL_CBWATTS);

    (void)state;
    init_scene(&scene, 1, 0, 2);
    add_energy(&scene, 0, CB_DOMAIN_PACKAGE, 1000001);
    assert_int_equal(cb_engine_frame(engine, &scene.frame, &result, NULL), 0);
    assert_int_equal(result.domains[0].idle_uj + result.domains[0].unattributed_uj, 1000001);
    assert_true(result.domains[0].unattributed_uj > 0);
    engine = cb_engine_free(engine);
    cb_result_clear(&result);
}

static void cpu_time_sharing_is_by_cpu_time(void **state)
{
    static struct scene scene;
    struct cb_result result = {0};
    struct cb_engine *engine = new_engine(CB_MODEL_CPUTIME);

    (void)state;
    for (int tick = 0; tick < 40; tick++) {
        software_tick(&scene, 0.5 + 0.4 * uniform(), 0.25, 0.1);
        assert_int_equal(cb_engine_frame(engine, &scene.frame, &result, NULL), 0);
        double cpu = (double)result.target_cpu_ns[0] /
                     (double)(result.target_cpu_ns[0] + result.target_cpu_ns[1]);

        assert_true(fabs(share_of_first(&result) - cpu) < 1e-3);
    }
    assert_true(fabs((double)result.domains[0].idle_uj - 20e6) < 1e4);
    engine = cb_engine_free(engine);
    cb_result_clear(&result);
}

/* As PowerAPI's reports are; without the CPU time, cycles are what is shared by. */
static void reported_tick(struct scene *scene, double first, double second, bool timed)
{
    const double cpu[3] = {0, first, second};

    init_scene(scene, 1, timed ? 2 : 1, 2);
    scene->frame.has_machine_row = false;
    scene->frame.n_stats = 0;
    scene->events[0].name = "cycles";
    scene->events[1].name = "time_running";
    for (size_t row = 1; row < 3; row++) {
        set_count(scene, row, 0, 0, (uint64_t)(cpu[row] * 2.6e9));
        if (timed)
            set_count(scene, row, 0, 1, (uint64_t)(cpu[row] * 1e9));
    }
    add_energy(scene, 0, CB_DOMAIN_PACKAGE, (uint64_t)((20 + 30 * (first + second)) * 1e6));
}

static void a_tick_by_cycles_leaves_what_was_learnt_by_cpu_time(void **state)
{
    static struct scene scene;
    struct cb_result result = {0};
    struct cb_engine *engine = new_engine(CB_MODEL_CPUTIME);

    (void)state;
    for (int tick = 0; tick < 80; tick++) {
        bool timed = tick % 10 != 9;

        reported_tick(&scene, uniform(), 0.5 * uniform(), timed);
        assert_int_equal(cb_engine_frame(engine, &scene.frame, &result, NULL), 0);
        assert_string_equal(cb_engine_weight(engine), timed ? "time_running" : "cycles");
        if (tick < 2 || tick == 9) /* the first of a weight has no line yet, */
            continue;
        if (tick != 19) /* two make one */
            assert_true(fabs(result.domains[0].predicted_w -
                             (double)result.domains[0].energy_uj / 1e6) < 0.001);
        assert_int_equal(result.domains[0].flags & CB_RESULT_PRIOR, 0);
        assert_true(fabs((double)result.domains[0].idle_uj - 20e6) < 1000);
    }
    engine = cb_engine_free(engine);
    cb_result_clear(&result);
}

/* --- state --- */

static void hardware_tick(struct scene *scene)
{
    init_scene(scene, 2, 7, 3);
    scene->frame.n_counters = 4;
    for (size_t s = 0; s < 2; s++) {
        double watts = 15, frequency = uniform() > 0.5 ? 1.2 : 0.8;

        scene->counters[2 * s] =
            (struct cb_frame_counter){"aperf", (uint16_t)s, (uint64_t)(frequency * 1e9)};
        scene->counters[2 * s + 1] = (struct cb_frame_counter){"mperf", (uint16_t)s, 1000000000};
        for (size_t row = 1; row < 4; row++) {
            double cpu = uniform(), ipc = 0.3 + uniform();

            set_count(scene, row, s, 0, (uint64_t)(cpu * 1e9));
            set_count(scene, row, s, 3, (uint64_t)(cpu * frequency * 2e9));
            set_count(scene, row, s, 5, (uint64_t)(cpu * frequency * 2e9 * ipc));
            set_count(scene, row, s, 6, (uint64_t)(cpu * 1e6 / ipc));
            watts += cpu * frequency * (2 + ipc);
            for (size_t e = 0; e < 7; e++)
                scene->counts[s * 7 + e] += cb_frame_count(&scene->frame, row, s, e);
        }
        add_energy(scene, (uint16_t)s, CB_DOMAIN_PACKAGE, (uint64_t)(watts * 1e6));
        add_energy(scene, (uint16_t)s, CB_DOMAIN_DRAM, (uint64_t)(watts * 1e5));
    }
}

static void reported_tick_of_either_weight(struct scene *scene)
{
    reported_tick(scene, uniform(), uniform(), uniform() > 0.3);
}

static void check_restored(enum cb_model_kind kind, void (*make_tick)(struct scene *))
{
    static struct scene scene;
    struct cb_engine *a = new_engine(kind), *b = new_engine(kind);
    struct cb_result of_a = {0}, of_b = {0};
    uint8_t *bytes = NULL, *packed_a = NULL, *packed_b = NULL;
    size_t size, size_a, size_b;

    for (int tick = 0; tick < 50; tick++) {
        make_tick(&scene);
        assert_int_equal(cb_engine_frame(a, &scene.frame, &of_a, NULL), 0);
    }
    assert_int_equal(cb_engine_save(a, &bytes, &size, NULL), 0);
    assert_int_equal(cb_engine_restore(b, bytes, size, NULL), 0);
    free(bytes);
    for (int tick = 0; tick < 50; tick++) {
        make_tick(&scene);
        assert_int_equal(cb_engine_frame(a, &scene.frame, &of_a, NULL), 0);
        assert_int_equal(cb_engine_frame(b, &scene.frame, &of_b, NULL), 0);
        assert_int_equal(cb_result_pack(&of_a, &packed_a, &size_a, NULL), 0);
        assert_int_equal(cb_result_pack(&of_b, &packed_b, &size_b, NULL), 0);
        assert_int_equal(size_a, size_b);
        assert_memory_equal(packed_a, packed_b, size_a);
        free(packed_a);
        free(packed_b);
    }
    cb_result_clear(&of_a);
    cb_result_clear(&of_b);
    a = cb_engine_free(a);
    b = cb_engine_free(b);
}

static void a_restored_engine_goes_on_to_the_same_bits(void **state)
{
    (void)state;
    check_restored(CB_MODEL_CBWATTS, hardware_tick);
    check_restored(CB_MODEL_CPUTIME, hardware_tick);
    check_restored(CB_MODEL_CPUTIME, reported_tick_of_either_weight);
}

static void a_bad_snapshot_changes_nothing(void **state)
{
    static struct scene scene;
    struct cb_engine *engine = new_engine(CB_MODEL_CBWATTS);
    struct cb_engine *other = new_engine(CB_MODEL_CPUTIME);
    struct cb_result result = {0};
    uint8_t *bytes = NULL, *again = NULL;
    size_t size, size_again;

    (void)state;
    for (int tick = 0; tick < 5; tick++) {
        hardware_tick(&scene);
        assert_int_equal(cb_engine_frame(engine, &scene.frame, &result, NULL), 0);
    }
    assert_int_equal(cb_engine_save(engine, &bytes, &size, NULL), 0);
    for (size_t n = 0; n < size; n += n < 2000 ? 1 : 97) {
        struct cb_err err = {0};

        assert_int_equal(cb_engine_restore(engine, bytes, n, &err), -EBADMSG);
        assert_true(err.text[0] != '\0');
    }
    assert_int_equal(cb_engine_restore(other, bytes, size, NULL), -EPROTONOSUPPORT);
    bytes[4]++;
    assert_int_equal(cb_engine_restore(engine, bytes, size, NULL), -EPROTONOSUPPORT);
    bytes[4]--;
    assert_int_equal(cb_engine_save(engine, &again, &size_again, NULL), 0);
    assert_int_equal(size, size_again);
    assert_memory_equal(bytes, again, size);
    free(bytes);
    free(again);
    cb_result_clear(&result);
    engine = cb_engine_free(engine);
    other = cb_engine_free(other);
}

static void memory_that_runs_out_is_an_error_and_nothing_else(void **state)
{
    static struct scene scene;
    int k, r = -ENOMEM;

    (void)state;
    for (k = 0; r < 0; k++) {
        struct cb_engine *engine = new_engine(CB_MODEL_CBWATTS);
        struct cb_result result = {0};

        hardware_tick(&scene);
        fault_arm(k);
        r = cb_engine_frame(engine, &scene.frame, &result, NULL);
        fault_disarm();
        assert_true(r == 0 || r == -ENOMEM);
        assert_true(k < 100);
        cb_result_clear(&result);
        engine = cb_engine_free(engine);
    }
    assert_true(k > 10);
}

static void frames_of_a_size_seen_before_allocate_nothing(void **state)
{
    static struct scene scene;
    struct cb_engine *engine = new_engine(CB_MODEL_CBWATTS);
    struct cb_result result = {0};

    (void)state;
    hardware_tick(&scene);
    assert_int_equal(cb_engine_frame(engine, &scene.frame, &result, NULL), 0);
    hardware_tick(&scene);
    fault_arm(0);
    assert_int_equal(cb_engine_frame(engine, &scene.frame, &result, NULL), 0);
    fault_disarm();
    cb_result_clear(&result);
    engine = cb_engine_free(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(twenty_thousand_random_frames_never_break_the_sum),
        cmocka_unit_test(shares_follow_cpu_time_within_a_point),
        cmocka_unit_test(shares_follow_cpu_time_from_the_first_tick),
        cmocka_unit_test(learns_what_the_machine_draws_when_idle),
        cmocka_unit_test(a_machine_clock_that_counts_idle_does_not_feed_the_system),
        cmocka_unit_test(work_outside_containers_is_the_systems),
        cmocka_unit_test(without_machine_counters_system_is_0_and_said_so),
        cmocka_unit_test(a_target_that_was_not_counted_leaves_the_rest_unattributed),
        cmocka_unit_test(without_machine_counters_a_lost_target_is_nobodys_energy),
        cmocka_unit_test(energy_without_any_counts_is_predicted_by_its_level),
        cmocka_unit_test(mperf_tells_how_busy_the_cpus_are),
        cmocka_unit_test(no_activity_at_all_leaves_the_dynamic_part_unattributed),
        cmocka_unit_test(cpu_time_sharing_is_by_cpu_time),
        cmocka_unit_test(a_tick_by_cycles_leaves_what_was_learnt_by_cpu_time),
        cmocka_unit_test(a_restored_engine_goes_on_to_the_same_bits),
        cmocka_unit_test(a_bad_snapshot_changes_nothing),
        cmocka_unit_test(memory_that_runs_out_is_an_error_and_nothing_else),
        cmocka_unit_test(frames_of_a_size_seen_before_allocate_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
