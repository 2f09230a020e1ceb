/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_energy.c - the choice of an energy source, and powercap and the estimate against a made-up
 * /sys. The trees are written after the kernel's Documentation/power/powercap/powercap.rst; each
 * trap names the public report it stands for. No RAPL was read for them: the build machine has
 * none.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/err.h"
#include "sensor/energy.h"
#include "sensor/energy_driver.h"
#include "tests/support/fake_root.h"
#include "tests/support/fault.h"
#include "tests/support/two_sockets.h"

#define RANGE_UJ UINT64_C(262143328850) /* 2^32 - 1 steps of 61.035 uJ */
#define POWER "sys/bus/event_source/devices/power"
#define TICK_NS UINT64_C(1000000000)

static struct cb_topology two_sockets;

static int setup(void **state)
{
    two_sockets = two_sockets_topology();
    return fake_root_setup(state);
}

static void put_zone(const struct fake_root *root, const char *zone, const char *name, uint64_t uj)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "sys/class/powercap/%s/name", zone);
    fake_root_put(root, path, "%s\n", name);
    (void)snprintf(path, sizeof(path), "sys/class/powercap/%s/max_energy_range_uj", zone);
    fake_root_put(root, path, "%" PRIu64 "\n", RANGE_UJ);
    (void)snprintf(path, sizeof(path), "sys/class/powercap/%s/energy_uj", zone);
    fake_root_put(root, path, "%" PRIu64 "\n", uj);
}

static void put_text(const struct fake_root *root, const char *zone, const char *text)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "sys/class/powercap/%s/energy_uj", zone);
    fake_root_put(root, path, "%s", text);
}

static struct cb_energy *open_energy(const struct fake_root *root, const char *wanted)
{
    const struct cb_energy_options options = {
        .root_fd = root->fd, .topology = &two_sockets, .wanted = wanted};
    struct cb_energy *energy = NULL;

    assert_int_equal(cb_energy_open(&options, &energy, NULL), 0);
    return energy;
}

struct reading {
    size_t n;
    struct cb_frame_energy at[16];
    struct cb_gaps gaps;
};

static struct reading reading;

static void read_energy(struct cb_energy *energy)
{
    const uint64_t busy_ns[] = {TICK_NS, 0};

    assert_in_range(cb_energy_n(energy), 0, 16);
    reading.gaps = (struct cb_gaps){0};
    reading.n = cb_energy_read(energy, TICK_NS, busy_ns, reading.at, &reading.gaps);
}

/* The energy of one socket's domain in the last reading; UINT64_MAX: it is not there. */
static uint64_t energy_of(unsigned socket, enum cb_domain domain)
{
    uint64_t found = UINT64_MAX;

    for (size_t i = 0; i < reading.n; i++)
        if (reading.at[i].socket == socket && reading.at[i].domain == domain) {
            assert_true(found == UINT64_MAX); /* never twice */
            found = reading.at[i].energy_uj;
        }
    return found;
}

static void gives_the_difference_of_the_counters(void **state)
{
    struct fake_root *root = *state;
    struct cb_energy *energy;

    put_zone(root, "intel-rapl:0", "package-0", 1000);
    put_zone(root, "intel-rapl:0:0", "core", 10);
    put_zone(root, "intel-rapl:0:1", "dram", 20);
    put_zone(root, "intel-rapl:1", "package-1", 5000);
    energy = open_energy(root, "auto");
    assert_string_equal(cb_energy_name(energy), "powercap");
    assert_non_null(strstr(cb_energy_reason(energy), "perf: no power PMU"));
    put_zone(root, "intel-rapl:0", "package-0", 1500);
    put_zone(root, "intel-rapl:0:1", "dram", 23);
    put_zone(root, "intel-rapl:1", "package-1", 5001);
    read_energy(energy);
    assert_int_equal(reading.n, 4);
    assert_int_equal(energy_of(0, CB_DOMAIN_PACKAGE), 500);
    assert_int_equal(energy_of(0, CB_DOMAIN_CORE), 0);
    assert_int_equal(energy_of(0, CB_DOMAIN_DRAM), 3);
    assert_int_equal(energy_of(1, CB_DOMAIN_PACKAGE), 1);
    assert_int_equal(reading.at[0].source, CB_SOURCE_POWERCAP);
    assert_int_equal(reading.at[0].uncertainty_uj, CB_RAPL_STEP_UJ);
    assert_int_equal(reading.gaps.n, 0);
    read_energy(energy);
    assert_int_equal(energy_of(0, CB_DOMAIN_PACKAGE), 0);
    energy = cb_energy_close(energy);
}

/* papi PR 53: zone 1 may be psys, and socket 1 stands at 2 */
static void goes_by_the_names_of_the_zones_not_their_numbers(void **state)
{
    struct fake_root *root = *state;
    struct cb_energy *energy;

    put_zone(root, "intel-rapl:0", "package-1", 0);
    put_zone(root, "intel-rapl:0:0", "dram", 0);
    put_zone(root, "intel-rapl:1", "psys", 0);
    put_zone(root, "intel-rapl:2", "package-0", 0);
    energy = open_energy(root, "powercap");
    put_zone(root, "intel-rapl:0", "package-1", 111);
    put_zone(root, "intel-rapl:0:0", "dram", 44);
    put_zone(root, "intel-rapl:1", "psys", 999);
    put_zone(root, "intel-rapl:2", "package-0", 222);
    read_energy(energy);
    assert_int_equal(energy_of(1, CB_DOMAIN_PACKAGE), 111);
    assert_int_equal(energy_of(1, CB_DOMAIN_DRAM), 44);
    assert_int_equal(energy_of(0, CB_DOMAIN_PACKAGE), 222);
    assert_int_equal(energy_of(0, CB_DOMAIN_PSYS), 999);
    assert_false(cb_domain_is_top(CB_DOMAIN_PSYS));
    energy = cb_energy_close(energy);
}

/* codecarbon 1274: on AMD Zen 1 and 2 every die of a package shows the same counter */
static void counts_the_dies_of_an_amd_package_once(void **state)
{
    struct fake_root *root = *state;
    struct cb_energy *energy;

    two_sockets.vendor = CB_CPU_AMD;
    put_zone(root, "intel-rapl:0", "package-0-die-0", 0);
    put_zone(root, "intel-rapl:1", "package-0-die-1", 0);
    energy = open_energy(root, "powercap");
    put_zone(root, "intel-rapl:0", "package-0-die-0", 700);
    put_zone(root, "intel-rapl:1", "package-0-die-1", 700);
    read_energy(energy);
    assert_int_equal(reading.n, 1);
    assert_int_equal(energy_of(0, CB_DOMAIN_PACKAGE), 700);
    energy = cb_energy_close(energy);
}

/* Linux's powercap zone "core" of AMD is the register of the package's first CPU */
static void one_core_of_amd_is_not_taken_for_all(void **state)
{
    struct fake_root *root = *state;
    struct cb_energy *energy;

    two_sockets.vendor = CB_CPU_AMD;
    put_zone(root, "intel-rapl:0", "package-0", 0);
    put_zone(root, "intel-rapl:0:0", "core", 0);
    energy = open_energy(root, "powercap");
    put_zone(root, "intel-rapl:0", "package-0", 20000000);
    put_zone(root, "intel-rapl:0:0", "core", 900000);
    read_energy(energy);
    assert_int_equal(reading.n, 1);
    assert_int_equal(energy_of(0, CB_DOMAIN_PACKAGE), 20000000);
    energy = cb_energy_close(energy);
}

/* Cascade Lake-AP: each die has a counter of its own */
static void adds_up_the_dies_of_an_intel_package(void **state)
{
    struct fake_root *root = *state;
    struct cb_energy *energy;

    put_zone(root, "intel-rapl:0", "package-0-die-0", 0);
    put_zone(root, "intel-rapl:1", "package-0-die-1", 0);
    energy = open_energy(root, "powercap");
    put_zone(root, "intel-rapl:0", "package-0-die-0", 700);
    put_zone(root, "intel-rapl:1", "package-0-die-1", 50);
    read_energy(energy);
    assert_int_equal(reading.n, 1);
    assert_int_equal(energy_of(0, CB_DOMAIN_PACKAGE), 750);
    energy = cb_energy_close(energy);
}

/* codecarbon PR 950 */
static void leaves_the_mmio_twin_out(void **state)
{
    struct fake_root *root = *state;
    struct cb_energy *energy;

    put_zone(root, "intel-rapl:0", "package-0", 0);
    put_zone(root, "intel-rapl-mmio:0", "package-0", 0);
    energy = open_energy(root, "powercap");
    put_zone(root, "intel-rapl:0", "package-0", 5);
    put_zone(root, "intel-rapl-mmio:0", "package-0", 5);
    read_energy(energy);
    assert_int_equal(reading.n, 1);
    assert_int_equal(energy_of(0, CB_DOMAIN_PACKAGE), 5);
    energy = cb_energy_close(energy);
}

static void adds_the_range_back_after_a_wrap(void **state)
{
    struct fake_root *root = *state;
    struct cb_energy *energy;

    put_zone(root, "intel-rapl:0", "package-0", RANGE_UJ - 7);
    energy = open_energy(root, "powercap");
    put_zone(root, "intel-rapl:0", "package-0", 4);
    read_energy(energy);
    assert_int_equal(energy_of(0, CB_DOMAIN_PACKAGE), 11);
    /* benchexec PR 1283: the same value again is no wrap */
    read_energy(energy);
    assert_int_equal(energy_of(0, CB_DOMAIN_PACKAGE), 0);
    energy = cb_energy_close(energy);
}

static void takes_a_reset_for_what_it_is(void **state)
{
    struct fake_root *root = *state;
    struct cb_energy *energy;

    put_zone(root, "intel-rapl:0", "package-0", 100000000);
    energy = open_energy(root, "powercap");
    put_zone(root, "intel-rapl:0", "package-0", 3); /* as a wrap it would be 262 kJ at once */
    read_energy(energy);
    assert_int_equal(reading.n, 0);
    assert_int_equal(reading.gaps.n, 1);
    assert_non_null(strstr(reading.gaps.reason[0], "reset"));
    /* and counts from there */
    put_zone(root, "intel-rapl:0", "package-0", 8);
    read_energy(energy);
    assert_int_equal(energy_of(0, CB_DOMAIN_PACKAGE), 5);
    assert_int_equal(reading.gaps.n, 0);
    energy = cb_energy_close(energy);
}

/* One die is reset, then cannot be read at all: the other one's energy is in no other interval. */
static void a_die_that_fails_leaves_the_others_in_step(void **state)
{
    struct fake_root *root = *state;
    struct cb_energy *energy;

    put_zone(root, "intel-rapl:0", "package-0-die-0", 100000000);
    put_zone(root, "intel-rapl:1", "package-0-die-1", 0);
    energy = open_energy(root, "powercap");
    put_zone(root, "intel-rapl:0", "package-0-die-0", 3);
    put_zone(root, "intel-rapl:1", "package-0-die-1", 500);
    read_energy(energy);
    assert_int_equal(reading.n, 0);
    assert_non_null(strstr(reading.gaps.reason[0], "reset"));
    put_zone(root, "intel-rapl:0", "package-0-die-0", 13);
    put_zone(root, "intel-rapl:1", "package-0-die-1", 520);
    read_energy(energy);
    assert_int_equal(energy_of(0, CB_DOMAIN_PACKAGE), 30);
    put_zone(root, "intel-rapl:0", "package-0-die-0", 3); /* a reset, and an error worse than it */
    put_text(root, "intel-rapl:1", "x\n");
    read_energy(energy);
    assert_int_equal(reading.n, 0);
    assert_int_equal(reading.gaps.n, 1);
    assert_non_null(strstr(reading.gaps.reason[0], "not a counter"));
    put_zone(root, "intel-rapl:1", "package-0-die-1", 600);
    read_energy(energy);
    assert_int_equal(reading.n, 0);
    assert_non_null(strstr(reading.gaps.reason[0], "readable again"));
    put_zone(root, "intel-rapl:0", "package-0-die-0", 4);
    put_zone(root, "intel-rapl:1", "package-0-die-1", 601);
    read_energy(energy);
    assert_int_equal(energy_of(0, CB_DOMAIN_PACKAGE), 2);
    energy = cb_energy_close(energy);
}

static void put_limit(const struct fake_root *root, const char *zone, uint64_t uw)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "sys/class/powercap/%s/constraint_0_max_power_uw", zone);
    fake_root_put(root, path, "%" PRIu64 "\n", uw);
}

static void a_reset_near_the_range_is_told_from_a_wrap_by_the_zones_power(void **state)
{
    struct fake_root *root = *state;
    struct cb_energy *energy;

    put_zone(root, "intel-rapl:0", "package-0", RANGE_UJ - 1500000000);
    put_zone(root, "intel-rapl:0:0", "dram", RANGE_UJ - 300000000);
    put_zone(root, "intel-rapl:1", "package-1", RANGE_UJ - 1500000000);
    put_limit(root, "intel-rapl:0:0", 20000000);
    put_limit(root, "intel-rapl:1", 700000000);
    energy = open_energy(root, "powercap");
    put_zone(root, "intel-rapl:0", "package-0", 0);
    put_zone(root, "intel-rapl:0:0", "dram", 0);
    put_zone(root, "intel-rapl:1", "package-1", 0);
    read_energy(energy);
    assert_int_equal(energy_of(0, CB_DOMAIN_PACKAGE), UINT64_MAX); /* above 1 kW */
    assert_int_equal(energy_of(0, CB_DOMAIN_DRAM), UINT64_MAX);    /* above 250 W */
    assert_int_equal(energy_of(1, CB_DOMAIN_PACKAGE), 1500000000); /* below 4 x 700 W */
    assert_int_equal(reading.gaps.n, 2);
    assert_non_null(strstr(reading.gaps.reason[0], "package-0: the counter was reset"));
    energy = cb_energy_close(energy);
}

/* Firmware may tell any limit; none sustains it. 2 kJ are 2 s at 1 kW and 0.5 ms at 4 x 1 MW. */
static void a_limit_that_is_no_limit_makes_no_tick_too_long(void **state)
{
    struct fake_root *root = *state;
    struct cb_energy *energy;

    put_zone(root, "intel-rapl:0", "package-0", 0);
    fake_root_put(root, "sys/class/powercap/intel-rapl:0/max_energy_range_uj", "2000000000\n");
    put_limit(root, "intel-rapl:0", UINT64_C(1000000000000));
    energy = open_energy(root, "powercap");
    put_text(root, "intel-rapl:0", "500\n");
    (void)usleep(20000);
    read_energy(energy);
    assert_int_equal(energy_of(0, CB_DOMAIN_PACKAGE), 500);
    energy = cb_energy_close(energy);
}

static void a_counter_that_vanishes_makes_a_gap_and_no_jump(void **state)
{
    static const char *const bad[] = {"", "x\n", "-1\n", "262143328851\n"};
    struct fake_root *root = *state;
    struct cb_energy *energy;

    put_zone(root, "intel-rapl:0", "package-0", 100);
    put_zone(root, "intel-rapl:0:0", "dram", 100);
    energy = open_energy(root, "powercap");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t base = 1000 * (i + 1);

        put_text(root, "intel-rapl:0", bad[i]);
        read_energy(energy);
        assert_int_equal(energy_of(0, CB_DOMAIN_PACKAGE), UINT64_MAX);
        assert_int_equal(energy_of(0, CB_DOMAIN_DRAM), 0);
        assert_int_equal(reading.gaps.n, 1);
        assert_string_equal(reading.gaps.source[0], "energy");
        put_zone(root, "intel-rapl:0", "package-0", base);
        read_energy(energy); /* belongs to a longer interval */
        assert_int_equal(energy_of(0, CB_DOMAIN_PACKAGE), UINT64_MAX);
        assert_int_equal(reading.gaps.n, 1);
        put_zone(root, "intel-rapl:0", "package-0", base + 9);
        read_energy(energy);
        assert_int_equal(energy_of(0, CB_DOMAIN_PACKAGE), 9);
        assert_int_equal(reading.gaps.n, 0);
    }
    energy = cb_energy_close(energy);
}

static void estimates_where_nothing_can_be_measured(void **state)
{
    struct fake_root *root = *state;
    struct cb_energy *energy = open_energy(root, "auto");

    assert_string_equal(cb_energy_name(energy), "estimate");
    assert_non_null(strstr(cb_energy_reason(energy), "powercap: no powercap zones"));
    assert_non_null(strstr(cb_energy_reason(energy), "not a measurement"));
    read_energy(energy); /* socket 0: one of two CPUs busy; socket 1: idle */
    assert_int_equal(reading.n, 2);
    assert_int_equal(energy_of(0, CB_DOMAIN_PACKAGE), 2 * 1300000 + 5100000);
    assert_int_equal(energy_of(1, CB_DOMAIN_PACKAGE), 2 * 1300000);
    assert_int_equal(reading.at[0].source, CB_SOURCE_ESTIMATE);
    assert_in_range(reading.at[0].uncertainty_uj, 8470000, 8470001); /* 110 % */
    energy = cb_energy_close(energy);
}

static void estimates_with_the_users_own_watts(void **state)
{
    struct fake_root *root = *state;
    const struct cb_energy_options options = {
        .root_fd = root->fd,
        .topology = &two_sockets,
        .wanted = "estimate",
        .idle_watts = 40,
        .max_watts = 120,
    };
    struct cb_energy *energy = NULL;

    assert_int_equal(cb_energy_open(&options, &energy, NULL), 0);
    read_energy(energy);
    assert_int_equal(energy_of(0, CB_DOMAIN_PACKAGE), 20000000 + 20000000);
    assert_int_equal(energy_of(1, CB_DOMAIN_PACKAGE), 20000000);
    assert_in_range(reading.at[0].uncertainty_uj, 26000000, 26000001); /* 65 % */
    energy = cb_energy_close(energy);
}

static void the_estimate_needs_the_cpus_use(void **state)
{
    struct fake_root *root = *state;
    struct cb_energy *energy = open_energy(root, "estimate");

    reading.gaps = (struct cb_gaps){0};
    reading.n = cb_energy_read(energy, TICK_NS, NULL, reading.at, &reading.gaps);
    assert_int_equal(reading.n, 0);
    assert_int_equal(reading.gaps.n, 2);
    read_energy(energy); /* and that is a gap of that tick alone */
    assert_int_equal(energy_of(1, CB_DOMAIN_PACKAGE), 2 * 1300000);
    assert_int_equal(reading.gaps.n, 0);
    energy = cb_energy_close(energy);
}

static int try_open(const struct fake_root *root, const char *wanted, bool no_estimate,
                    double idle_watts, double max_watts, struct cb_err *err)
{
    const struct cb_energy_options options = {
        .root_fd = root->fd,
        .topology = &two_sockets,
        .wanted = wanted,
        .no_estimate = no_estimate,
        .idle_watts = idle_watts,
        .max_watts = max_watts,
    };
    struct cb_energy *energy = NULL;
    int r = cb_energy_open(&options, &energy, err);

    energy = cb_energy_close(energy);
    return r;
}

static void gives_nothing_rather_than_an_estimate_when_told_so(void **state)
{
    const struct fake_root *root = *state;
    const struct cb_energy_options options = {
        .root_fd = root->fd, .topology = &two_sockets, .wanted = "auto", .no_estimate = true};
    struct cb_energy *energy = NULL;
    struct cb_err err = {0};

    assert_int_equal(cb_energy_open(&options, &energy, NULL), 0);
    assert_int_equal(cb_energy_n(energy), 0);
    assert_string_equal(cb_energy_name(energy), "none");
    energy = cb_energy_close(energy);
    assert_int_equal(try_open(root, "estimate", true, 0, 0, &err), -EINVAL);
}

static void refuses_what_cannot_be(void **state)
{
    struct fake_root *root = *state;
    struct cb_err err = {0};

    assert_int_equal(try_open(root, "sun", false, 0, 0, &err), -EINVAL);
    assert_non_null(strstr(err.text, "'sun'"));
    assert_int_equal(try_open(root, "powercap", false, 0, 0, &err), -ENOENT);
    assert_non_null(strstr(err.text, "powercap"));
    assert_int_equal(try_open(root, "perf", false, 0, 0, &err), -ENOENT);
    assert_int_equal(try_open(root, "estimate", false, 9, 4, &err), -EINVAL);
    assert_non_null(strstr(err.text, "--estimate-max-watts"));
    put_zone(root, "intel-rapl:0", "package-0", 0);
    fake_root_put(root, "sys/class/powercap/intel-rapl:0/max_energy_range_uj", "0\n");
    assert_true(try_open(root, "powercap", false, 0, 0, &err) < 0);
}

/* The power PMU's files with the type of the kernel's software events: "energy" is then the time
 * that passes on a CPU, which this test can read on any machine. */
static void put_power_pmu(const struct fake_root *root, const char *scale, const char *unit)
{
    fake_root_put(root, POWER "/type", "1\n");
    fake_root_put(root, POWER "/cpumask", "0\n");
    fake_root_put(root, POWER "/format/event", "config:0-7\n");
    fake_root_put(root, POWER "/events/energy-pkg", "event=0x00\n"); /* cpu-clock */
    fake_root_put(root, POWER "/events/energy-pkg.scale", "%s\n", scale);
    fake_root_put(root, POWER "/events/energy-pkg.unit", "%s\n", unit);
}

static void reads_scale_and_unit_of_the_power_pmu(void **state)
{
    struct fake_root *root = *state;
    struct cb_energy *energy;
    struct cb_err err = {0};
    uint64_t first_uj;

    put_zone(root, "intel-rapl:0", "package-0", 0);
    put_power_pmu(root, "1.0e-9", "Joules"); /* a nanosecond is a nanojoule: one watt */
    if (try_open(root, "perf", false, 0, 0, &err) == -EACCES) {
        print_message("no right to open machine-wide events\n");
        skip();
    }
    energy = open_energy(root, "auto");
    assert_string_equal(cb_energy_name(energy), "perf");
    (void)usleep(20000);
    read_energy(energy);
    assert_int_equal(reading.n, 1);
    assert_int_equal(reading.at[0].source, CB_SOURCE_PERF);
    first_uj = energy_of(0, CB_DOMAIN_PACKAGE);
    assert_in_range(first_uj, 20000, 5000000);
    energy = cb_energy_close(energy);
}

/* A kernel with four CPUs: what is opened on any is the clock of ours. */
static bool opened_on[4];

static long open_on_any_cpu(long number, const long args[6])
{
    long real[6];

    if (number != SYS_perf_event_open)
        return fault_real_syscall(number, args);
    memcpy(real, args, sizeof(real));
    assert_in_range(args[2], 0, 3);
    opened_on[args[2]] = true;
    real[2] = 0;
    return fault_real_syscall(number, real);
}

/* A power PMU whose counter a test sets: a file with 64 bits. */
static int count_fd;

static long open_count_file(long number, const long args[6])
{
    return number == SYS_perf_event_open ? dup(count_fd) : fault_real_syscall(number, args);
}

static void set_count(uint64_t count)
{
    assert_int_equal(pwrite(count_fd, &count, sizeof(count), 0), sizeof(count));
    assert_int_equal(lseek(count_fd, 0, SEEK_SET), 0); /* shared by the descriptors */
}

static void a_power_pmu_that_leaps_or_goes_back_makes_no_joules(void **state)
{
    struct fake_root *root = *state;
    struct cb_energy *energy;

    fake_root_put(root, "count", " ");
    count_fd = openat(root->fd, "count", O_RDWR | O_CLOEXEC);
    assert_true(count_fd >= 0);
    put_power_pmu(root, "1.0e-6", "Joules");
    set_count(1000);
    fault_syscall = open_count_file;
    energy = open_energy(root, "perf");
    fault_syscall = NULL;
    set_count(1500);
    read_energy(energy);
    assert_int_equal(energy_of(0, CB_DOMAIN_PACKAGE), 500);
    for (int i = 0; i < 2; i++) {
        uint64_t count = i == 0 ? 5 : UINT64_C(262000000000);

        set_count(count);
        read_energy(energy);
        assert_int_equal(reading.n, 0);
        assert_int_equal(reading.gaps.n, 1);
        assert_non_null(strstr(reading.gaps.reason[0], i == 0 ? "was reset" : "leapt by"));
        set_count(count + 7);
        read_energy(energy);
        assert_int_equal(energy_of(0, CB_DOMAIN_PACKAGE), 7);
        assert_int_equal(reading.gaps.n, 0);
    }
    energy = cb_energy_close(energy);
    (void)close(count_fd);
}

#define POWER_CORE "sys/bus/event_source/devices/power_core"

/* What power_core shows on each CPU; elsewhere the count file. */
static uint64_t core_counts[4];
static bool opened_core[4];

static long open_core_file(long number, const long args[6])
{
    const struct {
        uint32_t type;
    } *attr = (const void *)args[0];
    char name[] = "/tmp/cb-count-XXXXXX";
    int fd;

    if (number != SYS_perf_event_open)
        return fault_real_syscall(number, args);
    if (attr->type == 1)
        return dup(count_fd);
    assert_int_equal(attr->type, 77);
    assert_in_range(args[2], 0, 3);
    opened_core[args[2]] = true;
    fd = mkstemp(name);
    assert_true(fd >= 0 && unlink(name) == 0);
    /* a read each: 0, 1 J, 2 J, ... times the CPU; CPU 3 then shows nothing any more */
    for (int i = 0; i < (args[2] == 3 ? 3 : 8); i++) {
        uint64_t count = core_counts[args[2]] + (uint64_t)i * 2000000 * (uint64_t)args[2];

        assert_int_equal(write(fd, &count, sizeof(count)), sizeof(count));
    }
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static void put_core_pmu(const struct fake_root *root)
{
    fake_root_put(root, POWER_CORE "/type", "77\n");
    fake_root_put(root, POWER_CORE "/cpumask", "1-3\n");
    fake_root_put(root, POWER_CORE "/format/event", "config:0-7\n");
    fake_root_put(root, POWER_CORE "/events/energy-core", "event=0x01\n");
    fake_root_put(root, POWER_CORE "/events/energy-core.scale", "0.5e-6\n");
    fake_root_put(root, POWER_CORE "/events/energy-core.unit", "Joules\n");
}

static void the_cores_of_amd_are_added_up_where_perf_shows_them(void **state)
{
    static bool online[] = {true, true, true, true};
    struct fake_root *root = *state;
    struct cb_energy *energy;

    two_sockets.vendor = CB_CPU_AMD;
    two_sockets.online = online;
    fake_root_put(root, "count", " ");
    count_fd = openat(root->fd, "count", O_RDWR | O_CLOEXEC);
    put_power_pmu(root, "1.0e-6", "Joules");
    fake_root_put(root, POWER "/events/energy-cores", "event=0x01\n"); /* one core's: not used */
    fake_root_put(root, POWER "/events/energy-cores.scale", "1.0e-6\n");
    fake_root_put(root, POWER "/events/energy-cores.unit", "Joules\n");
    put_core_pmu(root);
    set_count(0);
    fault_syscall = open_core_file;
    energy = open_energy(root, "auto");
    assert_string_equal(cb_energy_name(energy), "perf");
    assert_true(!opened_core[0] && opened_core[1] && opened_core[2] && opened_core[3]);
    set_count(0);
    read_energy(energy);
    assert_int_equal(reading.n, 3); /* the package of one, the cores of both */
    assert_int_equal(energy_of(0, CB_DOMAIN_CORE), 1000000);
    assert_int_equal(energy_of(1, CB_DOMAIN_CORE), 2000000 + 3000000);
    assert_int_equal(reading.at[0].source, CB_SOURCE_PERF);
    online[3] = false;
    for (uint64_t last_uj = 3000000;; last_uj = 0) { /* its sibling goes on, then goes, too */
        set_count(0);
        read_energy(energy);
        assert_int_equal(reading.gaps.n, 0);
        assert_int_equal(energy_of(1, CB_DOMAIN_CORE), 2000000 + last_uj);
        if (last_uj == 0)
            break;
    }
    /* back again: opened anew, and counted from then on */
    online[3] = true;
    set_count(0);
    read_energy(energy);
    assert_int_equal(energy_of(1, CB_DOMAIN_CORE), 2000000);
    set_count(0);
    read_energy(energy);
    assert_int_equal(energy_of(1, CB_DOMAIN_CORE), 2000000 + 3000000);
    fault_syscall = NULL;
    energy = cb_energy_close(energy);
    (void)close(count_fd);
}

/* Open on three dies, two of them of socket 0: how often its energy is that of socket 1. */
static double dies_counted(const struct fake_root *root)
{
    struct cb_energy *energy = NULL;
    struct cb_err err = {0};
    double ratio;
    int r;

    put_power_pmu(root, "1.0e-9", "Joules");
    fake_root_put(root, POWER "/cpumask", "0-2\n");
    memset(opened_on, 0, sizeof(opened_on));
    fault_syscall = open_on_any_cpu;
    r = try_open(root, "perf", false, 0, 0, &err);
    if (r == -EACCES) {
        fault_syscall = NULL;
        print_message("no right to open machine-wide events\n");
        skip();
    }
    memset(opened_on, 0, sizeof(opened_on));
    energy = open_energy(root, "perf");
    fault_syscall = NULL;
    (void)usleep(50000);
    read_energy(energy);
    assert_int_equal(reading.n, 2);
    ratio = (double)energy_of(0, CB_DOMAIN_PACKAGE) / (double)energy_of(1, CB_DOMAIN_PACKAGE);
    energy = cb_energy_close(energy);
    return ratio;
}

static void the_power_pmu_is_opened_on_the_cpus_of_its_mask(void **state)
{
    double ratio = dies_counted(*state);

    assert_true(opened_on[0] && opened_on[1] && opened_on[2] && !opened_on[3]);
    assert_true(ratio > 1.7 && ratio < 2.3); /* Intel: each die has a counter of its own */
}

static void the_power_pmu_of_amd_shows_the_package_on_every_die(void **state)
{
    double ratio;

    two_sockets.vendor = CB_CPU_AMD;
    ratio = dies_counted(*state);
    assert_true(opened_on[0] && !opened_on[1] && opened_on[2] && !opened_on[3]);
    assert_true(ratio > 0.8 && ratio < 1.2);
}

static void an_equal_reading_is_no_wrap(void **state)
{
    struct fake_root *root = *state;
    struct cb_energy *energy;

    put_zone(root, "intel-rapl:0", "package-0", RANGE_UJ - 1);
    energy = open_energy(root, "powercap");
    for (int i = 0; i < 3; i++) {
        read_energy(energy);
        assert_int_equal(energy_of(0, CB_DOMAIN_PACKAGE), 0);
    }
    energy = cb_energy_close(energy);
}

static void falls_back_when_the_power_pmu_is_not_as_promised(void **state)
{
    struct fake_root *root = *state;
    struct cb_energy *energy;

    put_zone(root, "intel-rapl:0", "package-0", 0);
    put_power_pmu(root, "1.0e-9", "Calories");
    energy = open_energy(root, "auto");
    assert_string_equal(cb_energy_name(energy), "powercap");
    assert_non_null(strstr(cb_energy_reason(energy), "Calories"));
    energy = cb_energy_close(energy);
    put_power_pmu(root, "-1", "Joules");
    energy = open_energy(root, "auto");
    assert_string_equal(cb_energy_name(energy), "powercap");
    energy = cb_energy_close(energy);
}

/* Fail the first call, then the second, ... and at last none. What may be missing (a limit) stops
 * nothing. */
static void every_failure_is_clean(void **state)
{
    struct fake_root *root = *state;
    int fds_before = count_open_fds();
    int failures = 0;
    int r = -1;

    put_zone(root, "intel-rapl:0", "package-0", 1000);
    put_zone(root, "intel-rapl:0:0", "dram", 10);
    for (int k = 0; k < 64; k++) {
        const struct cb_energy_options options = {
            .root_fd = root->fd, .topology = &two_sockets, .wanted = "powercap"};
        struct cb_energy *energy = NULL;
        struct cb_err err = {0};

        fault_arm(k);
        r = cb_energy_open(&options, &energy, &err);
        fault_disarm();
        failures += r < 0;
        if (r < 0) {
            assert_int_equal(r, -err.code);
            assert_true(err.text[0] != '\0');
            assert_null(energy);
        }
        energy = cb_energy_close(energy);
        assert_int_equal(count_open_fds(), fds_before);
    }
    assert_int_equal(r, 0);
    assert_in_range(failures, 10, 63);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        TEST(gives_the_difference_of_the_counters),
        TEST(goes_by_the_names_of_the_zones_not_their_numbers),
        TEST(counts_the_dies_of_an_amd_package_once),
        TEST(one_core_of_amd_is_not_taken_for_all),
        TEST(adds_up_the_dies_of_an_intel_package),
        TEST(leaves_the_mmio_twin_out),
        TEST(adds_the_range_back_after_a_wrap),
        TEST(takes_a_reset_for_what_it_is),
        TEST(a_die_that_fails_leaves_the_others_in_step),
        TEST(a_reset_near_the_range_is_told_from_a_wrap_by_the_zones_power),
        TEST(a_limit_that_is_no_limit_makes_no_tick_too_long),
        TEST(a_counter_that_vanishes_makes_a_gap_and_no_jump),
        TEST(estimates_where_nothing_can_be_measured),
        TEST(estimates_with_the_users_own_watts),
        TEST(the_estimate_needs_the_cpus_use),
        TEST(gives_nothing_rather_than_an_estimate_when_told_so),
        TEST(refuses_what_cannot_be),
        TEST(reads_scale_and_unit_of_the_power_pmu),
        TEST(a_power_pmu_that_leaps_or_goes_back_makes_no_joules),
        TEST(the_cores_of_amd_are_added_up_where_perf_shows_them),
        TEST(the_power_pmu_is_opened_on_the_cpus_of_its_mask),
        TEST(the_power_pmu_of_amd_shows_the_package_on_every_die),
        TEST(an_equal_reading_is_no_wrap),
        TEST(falls_back_when_the_power_pmu_is_not_as_promised),
        TEST(every_failure_is_clean),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
