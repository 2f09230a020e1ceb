/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <time.h>

#include "lib/clock.h"
#include "sensor/moment.h"

#define N 2

/* Readings that take @slow_ms each in turn and count what time has passed since the last one. */
struct machine {
    uint64_t told_ns; /* until here has been read */
    unsigned slow_ms[8];
    unsigned readings;
    bool whole;
};

static bool read_machine(void *context, uint64_t tick_ns, struct cb_moment_reading *reading)
{
    struct machine *m = context;
    struct timespec pause = {.tv_nsec = m->slow_ms[m->readings++] * 1000000L};
    uint64_t before_ns = m->told_ns;

    m->told_ns = cb_clock_boot_ns();
    reading->n_energies = N;
    for (uint16_t i = 0; i < N; i++)
        reading->energies[i] = (struct cb_frame_energy){
            .socket = i, .energy_uj = m->told_ns - before_ns, .uncertainty_uj = 62};
    (void)nanosleep(&pause, NULL);
    for (size_t i = 0; i < N; i++) {
        reading->counts[i] = m->told_ns - before_ns;
        reading->enabled_ns[i] = reading->running_ns[i] = tick_ns;
    }
    return m->whole;
}

struct fixture {
    struct machine machine;
    struct cb_moment *moment;
    struct cb_frame_energy energies[N];
    uint64_t counts[N], enabled_ns[N], running_ns[N];
    struct cb_moment_reading reading;
};

/* One quick reading has been made. */
static uint64_t set_up(struct fixture *f)
{
    const struct cb_moment_options options = {
        .n_energies = N, .n_counts = N, .n_times = N, .read = read_machine, .context = &f->machine};

    *f = (struct fixture){.machine = {.told_ns = cb_clock_boot_ns(), .whole = true}};
    f->reading = (struct cb_moment_reading){.energies = f->energies,
                                            .counts = f->counts,
                                            .enabled_ns = f->enabled_ns,
                                            .running_ns = f->running_ns};
    f->moment = cb_moment_open(&options);
    assert_non_null(f->moment);
    return cb_moment_read(f->moment, f->machine.told_ns - 1, &f->reading);
}

static void a_quick_reading_is_made_once(void **state)
{
    struct fixture f;
    uint64_t t0_ns = set_up(&f);

    (void)state;
    (void)cb_moment_read(f.moment, t0_ns, &f.reading);
    assert_int_equal(f.machine.readings, 2);
    f.moment = cb_moment_close(f.moment);
}

static void a_late_reading_is_made_again_and_nothing_is_lost_or_counted_twice(void **state)
{
    struct fixture f;
    uint64_t t0_ns = set_up(&f);
    uint64_t begin_ns = f.machine.told_ns;
    uint64_t t1_ns;

    (void)state;
    f.machine.slow_ms[1] = 30;
    t1_ns = cb_moment_read(f.moment, t0_ns, &f.reading);
    assert_int_equal(f.machine.readings, 3);
    assert_true(t1_ns >= begin_ns + 30000000); /* the second reading's moment */
    assert_true(t1_ns <= f.machine.told_ns);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(f.energies[i].energy_uj, f.machine.told_ns - begin_ns);
        assert_int_equal(f.energies[i].uncertainty_uj, 62);
        assert_int_equal(f.counts[i], f.machine.told_ns - begin_ns);
        assert_int_equal(f.enabled_ns[i], t1_ns - t0_ns);
        assert_int_equal(f.running_ns[i], t1_ns - t0_ns);
    }
    f.moment = cb_moment_close(f.moment);
}

static void a_machine_that_is_always_slow_is_read_once(void **state)
{
    struct fixture f;
    uint64_t t0_ns;

    (void)state;
    t0_ns = set_up(&f);
    f.moment = cb_moment_close(f.moment);
    for (size_t i = 0; i < 8; i++)
        f.machine.slow_ms[i] = 5;
    f.machine.readings = 0;
    f.moment = cb_moment_open(&(struct cb_moment_options){
        .n_energies = N, .n_counts = N, .n_times = N, .read = read_machine, .context = &f.machine});
    assert_non_null(f.moment);
    for (int i = 0; i < 4; i++)
        t0_ns = cb_moment_read(f.moment, t0_ns, &f.reading);
    assert_in_range(f.machine.readings, 4, 5); /* the first is no reason: it is the best so far */
    f.moment = cb_moment_close(f.moment);
}

static void it_gives_up_after_two_more(void **state)
{
    struct fixture f;
    uint64_t t0_ns = set_up(&f);

    (void)state;
    for (size_t i = 1; i < 8; i++)
        f.machine.slow_ms[i] = 20;
    (void)cb_moment_read(f.moment, t0_ns, &f.reading);
    assert_int_equal(f.machine.readings, 4);
    f.moment = cb_moment_close(f.moment);
}

static void what_is_not_whole_is_not_read_again(void **state)
{
    struct fixture f;
    uint64_t t0_ns = set_up(&f);

    (void)state;
    f.machine.slow_ms[1] = 20;
    f.machine.whole = false;
    (void)cb_moment_read(f.moment, t0_ns, &f.reading);
    assert_int_equal(f.machine.readings, 2);
    f.moment = cb_moment_close(f.moment);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quick_reading_is_made_once),
        cmocka_unit_test(a_late_reading_is_made_again_and_nothing_is_lost_or_counted_twice),
        cmocka_unit_test(a_machine_that_is_always_slow_is_read_once),
        cmocka_unit_test(it_gives_up_after_two_more),
        cmocka_unit_test(what_is_not_whole_is_not_read_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
