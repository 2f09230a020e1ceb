/* SPDX-License-Identifier: Apache-2.0 */
/* test_uncore.c - sensor/uncore.c and its way through machine.c: made-up PMUs, behind each event
 * the kernel's cpu-clock, which any machine has. */
#include <errno.h>
#include <linux/perf_event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/err.h"
#include "sensor/machine.h"
#include "sensor/uncore.h"
#include "tests/support/fake_root.h"
#include "tests/support/fault.h"
#include "tests/support/two_sockets.h"

#define DEVICES "sys/bus/event_source/devices"
#define PCU_TYPE 60
#define IMC_TYPE 70

static struct cb_topology two_sockets;

struct opened {
    uint32_t type;
    uint64_t config;
    long cpu;
    bool leads;
};
static struct opened opened[64];
static size_t n_opened;
static uint64_t missing_config; /* of the PCU: this CPU lacks it */
static bool no_rights;

static long open_clock(long number, const long args[6])
{
    struct perf_event_attr attr;
    long real[6];
    long fd;

    if (number != SYS_perf_event_open)
        return fault_real_syscall(number, args);
    memcpy(&attr, (const void *)args[0], sizeof(attr));
    memcpy(real, args, sizeof(real));
    if (attr.type < PCU_TYPE)
        return fault_real_syscall(number, args);
    if (attr.type == PCU_TYPE && attr.config == missing_config) {
        errno = EINVAL;
        return -1;
    }
    assert_true(n_opened < sizeof(opened) / sizeof(opened[0]));
    opened[n_opened++] = (struct opened){attr.type, attr.config, args[2], (int)args[3] == -1};
    attr.type = PERF_TYPE_SOFTWARE;
    attr.config = PERF_COUNT_SW_CPU_CLOCK;
    real[0] = (long)&attr;
    real[2] = 0;
    fd = fault_real_syscall(number, real);
    no_rights = fd < 0 && (errno == EACCES || errno == EPERM);
    return fd;
}

static void put(const struct fake_root *root, const char *pmu, const char *file, const char *text)
{
    char path[128];

    (void)snprintf(path, sizeof(path), DEVICES "/%s/%s", pmu, file);
    fake_root_put(root, path, "%s\n", text);
}

static void put_imc(const struct fake_root *root, const char *pmu, const char *mask)
{
    put(root, pmu, "type", "70");
    put(root, pmu, "cpumask", mask);
    put(root, pmu, "format/event", "config:0-7");
    put(root, pmu, "format/umask", "config:8-15");
    put(root, pmu, "events/cas_count_read", "event=0x04,umask=0x03");
    put(root, pmu, "events/cas_count_read.scale", "6.103515625e-5");
    put(root, pmu, "events/cas_count_read.unit", "MiB");
    put(root, pmu, "events/cas_count_write", "event=0x04,umask=0x0c");
    put(root, pmu, "events/cas_count_write.scale", "6.103515625e-5");
    put(root, pmu, "events/cas_count_write.unit", "MiB");
}

static int setup(void **state)
{
    int r = fake_root_setup(state);

    put(*state, "uncore_pcu", "type", "60");
    put(*state, "uncore_pcu", "cpumask", "0,2");
    put(*state, "uncore_pcu", "format/event", "config:0-7");
    put(*state, "uncore_pcu", "format/occ_sel", "config:14-15");
    two_sockets = two_sockets_topology();
    n_opened = 0;
    missing_config = UINT64_MAX;
    no_rights = false;
    return r;
}

static struct cb_uncore *open_uncore(const struct fake_root *root)
{
    struct cb_uncore *uncore = NULL;

    fault_syscall = open_clock;
    assert_int_equal(cb_uncore_open(root->fd, &two_sockets, &uncore, NULL), 0);
    fault_syscall = NULL;
    if (no_rights) {
        uncore = cb_uncore_close(uncore);
        print_message("no right to open machine-wide events\n");
        skip();
    }
    return uncore;
}

static struct cb_frame_counter at[64];

/* UINT64_MAX: it is not there. */
static uint64_t value_of(size_t n, const char *name, unsigned socket)
{
    uint64_t value = UINT64_MAX;

    for (size_t i = 0; i < n; i++)
        if (strcmp(at[i].name, name) == 0 && at[i].socket == socket) {
            assert_true(value == UINT64_MAX); /* never twice */
            value = at[i].value;
        }
    return value;
}

static size_t read_it(struct cb_uncore *uncore)
{
    static struct cb_gaps gaps;
    size_t n;

    cb_gaps_reset(&gaps);
    n = cb_uncore_read(uncore, at, &gaps);
    assert_int_equal(gaps.n, 0);
    assert_true(n <= cb_uncore_n(uncore));
    return n;
}

static void the_pcu_is_opened_once_a_socket_in_one_group(void **state)
{
    static const uint64_t configs[] = {0, 0x80 | 1 << 14, 0x80 | 2 << 14, 0x80 | 3 << 14};
    struct cb_uncore *uncore = open_uncore(*state);

    assert_int_equal(n_opened, 8);
    for (size_t i = 0; i < n_opened; i++) {
        assert_int_equal(opened[i].type, PCU_TYPE);
        assert_int_equal(opened[i].config, configs[i % 4]);
        assert_int_equal(opened[i].cpu, i < 4 ? 0 : 2);
        assert_int_equal(opened[i].leads, i % 4 == 0);
    }
    assert_int_equal(cb_uncore_n(uncore), 8);
    (void)read_it(uncore);
    (void)usleep(20000);
    assert_int_equal(read_it(uncore), 8);
    for (unsigned s = 0; s < 2; s++) {
        assert_in_range(value_of(8, "pcu_clockticks", s), 10000000, 5000000000);
        assert_in_range(value_of(8, "pcu_c0", s), 10000000, 5000000000);
        assert_in_range(value_of(8, "pcu_c3", s), 10000000, 5000000000);
        assert_in_range(value_of(8, "pcu_c6", s), 10000000, 5000000000);
    }
    assert_true(cb_uncore_has(uncore, "pcu_c6"));
    assert_false(cb_uncore_has(uncore, "imc_read_bytes"));
    uncore = cb_uncore_close(uncore);
}

static void what_the_pcu_lacks_is_left_out(void **state)
{
    struct cb_uncore *uncore;

    missing_config = 0x80 | 2 << 14;
    uncore = open_uncore(*state);
    assert_int_equal(cb_uncore_n(uncore), 6);
    assert_int_equal(value_of(read_it(uncore), "pcu_c3", 0), UINT64_MAX);
    uncore = cb_uncore_close(uncore);
}

static void memory_controllers_are_added_up_and_count_bytes(void **state)
{
    struct cb_uncore *uncore;
    double ratio;
    size_t n;

    put_imc(*state, "uncore_imc_0", "0,2");
    put_imc(*state, "uncore_imc_11", "0");
    put_imc(*state, "uncore_imc_free_running_0", "0,2"); /* the same traffic once more */
    put_imc(*state, "uncore_imc_2", "0,2");
    put(*state, "uncore_imc_2", "events/cas_count_read.unit", "Joules");
    put(*state, "uncore_imc_2", "events/cas_count_write.scale", "x");
    uncore = open_uncore(*state);
    assert_int_equal(n_opened, 8 + 4 + 2);
    assert_int_equal(cb_uncore_n(uncore), 8 + 4);
    (void)read_it(uncore);
    (void)usleep(50000);
    n = read_it(uncore);
    assert_in_range(value_of(n, "imc_read_bytes", 1), UINT64_C(25000000) * 64,
                    UINT64_C(5000000000) * 64);
    ratio = (double)value_of(n, "imc_write_bytes", 0) / (double)value_of(n, "imc_write_bytes", 1);
    assert_true(ratio > 1.7 && ratio < 2.3);
    ratio = (double)value_of(n, "imc_read_bytes", 1) / (double)value_of(n, "pcu_c0", 1);
    assert_true(ratio > 57 && ratio < 71); /* 64 bytes a count */
    uncore = cb_uncore_close(uncore);
}

static void a_machine_without_them_has_none(void **state)
{
    struct fake_root *root = *state;
    struct cb_uncore *uncore;

    assert_int_equal(unlinkat(root->fd, DEVICES "/uncore_pcu/cpumask", 0), 0);
    uncore = open_uncore(root);
    assert_int_equal(cb_uncore_n(uncore), 0);
    assert_int_equal(read_it(uncore), 0);
    uncore = cb_uncore_close(uncore);
}

static void the_machine_gives_them_among_its_counters(void **state)
{
    struct fake_root *root = *state;
    struct cb_topology one_cpu = two_sockets;
    struct cb_machine *machine = NULL;
    struct cb_gaps gaps = {0};
    size_t n;
    int r;

    one_cpu.n_cpus = one_cpu.n_sockets = one_cpu.cpu_limit = 1;
    fault_syscall = open_clock;
    r = cb_machine_open(root->fd, &one_cpu, &machine, NULL);
    fault_syscall = NULL;
    if (r == -EACCES || no_rights) {
        machine = cb_machine_close(machine);
        print_message("no right to open machine-wide events\n");
        skip();
    }
    assert_int_equal(r, 0);
    assert_int_equal(cb_machine_n_clocks(machine), 0);
    assert_int_equal(cb_machine_n(machine), 4);
    n = cb_machine_read(machine, at, &gaps);
    assert_int_equal(n, 4);
    assert_true(value_of(n, "pcu_clockticks", 0) != UINT64_MAX);
    machine = cb_machine_close(machine);
}

static void every_failure_is_clean(void **state)
{
    int fds_before = count_open_fds();
    int failures = 0;

    for (int k = 0; k < 40; k++) {
        struct fake_root *root = *state;
        struct cb_uncore *uncore = NULL;
        struct cb_err err = {0};
        int r;

        n_opened = 0;
        fault_syscall = open_clock;
        fault_arm(k);
        r = cb_uncore_open(root->fd, &two_sockets, &uncore, &err);
        fault_disarm();
        fault_syscall = NULL;
        failures += r < 0;
        assert_int_equal(r, -err.code);
        assert_true((r < 0) == !uncore);
        uncore = cb_uncore_close(uncore);
        assert_int_equal(count_open_fds(), fds_before);
    }
    assert_in_range(failures, 3, 39); /* the allocations: what cannot be opened is not there */
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_pcu_is_opened_once_a_socket_in_one_group),
        TEST(what_the_pcu_lacks_is_left_out),
        TEST(memory_controllers_are_added_up_and_count_bytes),
        TEST(a_machine_without_them_has_none),
        TEST(the_machine_gives_them_among_its_counters),
        TEST(every_failure_is_clean),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
