/* SPDX-License-Identifier: Apache-2.0 */
/* test_event.c - sensor/event.c: names of events to what the kernel wants. The sysfs files are
 * written after the kernel's Documentation/ABI/testing/sysfs-bus-event_source-devices-format. */
#include <errno.h>
#include <linux/perf_event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/err.h"
#include "sensor/event.h"
#include "tests/support/fake_root.h"

#define DEVICES "sys/bus/event_source/devices/"

static void splits_a_list_outside_the_slashes(void **state)
{
    const char *list = "cycles,cpu/event=0x3c,umask=0x1/,r412e";
    char name[CB_EVENT_NAME_SIZE];

    (void)state;
    assert_int_equal(cb_event_next_name(&list, name), 1);
    assert_string_equal(name, "cycles");
    assert_int_equal(cb_event_next_name(&list, name), 1);
    assert_string_equal(name, "cpu/event=0x3c,umask=0x1/");
    assert_int_equal(cb_event_next_name(&list, name), 1);
    assert_string_equal(name, "r412e");
    assert_int_equal(cb_event_next_name(&list, name), 0);
}

static void refuses_lists_with_holes(void **state)
{
    static const char *const bad[] = {",", ",a", "a,", "a,,b"};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *list = bad[i];
        char name[CB_EVENT_NAME_SIZE];
        int r;

        do
            r = cb_event_next_name(&list, name);
        while (r > 0);
        assert_int_equal(r, -EINVAL);
    }
}

static void puts_bits_where_the_format_says(void **state)
{
    struct cb_event event = {0};

    (void)state;
    assert_int_equal(cb_event_apply_format("config:0-7,32-35", 0xabc, &event), 0);
    assert_int_equal(event.config, UINT64_C(0xa000000bc));
    assert_int_equal(cb_event_apply_format("config1:63", 1, &event), 0);
    assert_true(event.config1 == UINT64_C(1) << 63);
    assert_int_equal(cb_event_apply_format("config2:0-63", UINT64_MAX, &event), 0);
    assert_true(event.config2 == UINT64_MAX);
}

static void refuses_formats_and_values_that_do_not_fit(void **state)
{
    static const struct {
        const char *format;
        uint64_t value;
        int code;
    } bad[] = {
        {"", 0, EINVAL},          {"config", 0, EINVAL},       {"config:", 0, EINVAL},
        {"config3:0", 0, EINVAL}, {"config:7-0", 0, EINVAL},   {"config:64", 0, EINVAL},
        {"config:0,", 0, EINVAL}, {"config:0-7x", 0, EINVAL},  {"config:0-", 0, EINVAL},
        {"config:0", 2, ERANGE},  {"config:0-7", 256, ERANGE}, {"config:-1", 0, EINVAL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct cb_event event = {0};

        assert_int_equal(cb_event_apply_format(bad[i].format, bad[i].value, &event), -bad[i].code);
        assert_true(event.config == 0 && event.config1 == 0);
    }
}

static void reads_an_event_of_a_pmu_from_sysfs(void **state)
{
    struct fake_root *root = *state;
    struct cb_event event;

    fake_root_put(root, DEVICES "cpu/type", "4\n");
    fake_root_put(root, DEVICES "cpu/format/event", "config:0-7,32-35\n");
    fake_root_put(root, DEVICES "cpu/format/umask", "config:8-15\n");
    fake_root_put(root, DEVICES "cpu/format/any", "config:21\n");
    fake_root_put(root, DEVICES "cpu/events/mem-loads", "event=0xcd,umask=0x1,any\n");
    assert_int_equal(cb_event_resolve(root->fd, CB_CPU_INTEL, "cpu/mem-loads/", 0, &event, NULL),
                     0);
    assert_int_equal(event.type, 4);
    assert_int_equal(event.config, 0x2001cd);
    assert_string_equal(event.name, "cpu/mem-loads/");
    assert_string_equal(event.pmu, "cpu");
    assert_int_equal(cb_event_resolve(root->fd, CB_CPU_INTEL, "cpu/event=0x3c,umask=2,config1=7/",
                                      0, &event, NULL),
                     0);
    assert_int_equal(event.config, 0x23c);
    assert_int_equal(event.config1, 7);
    /* a bare name is looked up in the core PMU */
    assert_int_equal(cb_event_resolve(root->fd, CB_CPU_INTEL, "mem-loads", 0, &event, NULL), 0);
    assert_int_equal(event.config, 0x2001cd);
}

static void says_what_is_wrong_with_an_event_of_a_pmu(void **state)
{
    static const struct {
        const char *name;
        int code;
        const char *text;
    } bad[] = {
        {"cpu/nosuch/", ENOENT, "nosuch"},     {"nopmu/x/", ENOENT, "nopmu"},
        {"cpu/event=zz/", EINVAL, "event=zz"}, {"cpu/event=0x100/", ERANGE, "0x100"},
        {"cpu/x", EINVAL, "pmu/event/"},       {"cpu//", EINVAL, "pmu/event/"},
        {"/x/", EINVAL, "pmu/event/"},         {"cpu/a/b/", EINVAL, "pmu/event/"},
        {"../cpu/x/", EINVAL, "pmu/event/"},   {"uncore_imc/x/", EINVAL, "whole socket"},
    };
    struct fake_root *root = *state;

    fake_root_put(root, DEVICES "cpu/type", "4\n");
    fake_root_put(root, DEVICES "cpu/format/event", "config:0-7\n");
    fake_root_put(root, DEVICES "uncore_imc/type", "12\n");
    fake_root_put(root, DEVICES "uncore_imc/cpumask", "0\n");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct cb_event event = {.type = 77};
        struct cb_err err = {0};

        assert_int_equal(cb_event_resolve(root->fd, CB_CPU_INTEL, bad[i].name, 0, &event, &err),
                         -bad[i].code);
        assert_non_null(strstr(err.text, bad[i].text));
        assert_int_equal(event.type, 77);
    }
}

static void knows_the_names_of_libpfm(void **state)
{
    struct fake_root *root = *state;
    struct cb_event event;

    assert_int_equal(cb_event_resolve(root->fd, CB_CPU_AMD, "cycles", 0, &event, NULL), 0);
    assert_int_equal(event.type, PERF_TYPE_HARDWARE);
    assert_int_equal(event.config, PERF_COUNT_HW_CPU_CYCLES);
    assert_string_equal(event.pmu, "cpu");
    assert_false(event.ticks_in_idle);
    assert_int_equal(cb_event_resolve(root->fd, CB_CPU_AMD, "cpu-clock", 0, &event, NULL), 0);
    assert_int_equal(event.type, PERF_TYPE_SOFTWARE);
    assert_string_equal(event.pmu, "software");
    assert_true(event.ticks_in_idle);
}

static void knows_raw_events_and_llc_misses(void **state)
{
    struct fake_root *root = *state;
    struct cb_event event;

    assert_int_equal(cb_event_resolve(root->fd, CB_CPU_INTEL, "r412e", 0, &event, NULL), 0);
    assert_int_equal(event.type, PERF_TYPE_RAW);
    assert_int_equal(event.config, 0x412e);
    assert_int_equal(cb_event_resolve(root->fd, CB_CPU_INTEL, "LLC_MISSES", 0, &event, NULL), 0);
    assert_int_equal(event.type, PERF_TYPE_RAW);
    assert_int_equal(event.config, 0x412e);
    assert_string_equal(event.name, "LLC_MISSES");
    assert_int_equal(cb_event_resolve(root->fd, CB_CPU_AMD, "LLC_MISSES", 0, &event, NULL), 0);
    assert_int_equal(event.type, PERF_TYPE_HARDWARE);
    assert_int_equal(event.config, PERF_COUNT_HW_CACHE_MISSES);
}

static void gives_a_second_encoding_where_there_is_one(void **state)
{
    struct fake_root *root = *state;
    struct cb_event event;
    struct cb_err err = {0};

    fake_root_put(root, DEVICES "cpu/type", "4\n");
    fake_root_put(root, DEVICES "cpu/format/event", "config:0-7\n");
    fake_root_put(root, DEVICES "cpu/events/instructions", "event=0xc0\n");
    assert_int_equal(cb_event_resolve(root->fd, CB_CPU_INTEL, "instructions", 0, &event, NULL), 0);
    assert_int_equal(event.type, PERF_TYPE_HARDWARE);
    assert_int_equal(cb_event_resolve(root->fd, CB_CPU_INTEL, "instructions", 1, &event, NULL), 0);
    assert_int_equal(event.type, 4);
    assert_int_equal(event.config, 0xc0);
    assert_int_equal(cb_event_resolve(root->fd, CB_CPU_INTEL, "instructions", 2, &event, &err),
                     -ENOENT);
    assert_int_equal(cb_event_resolve(root->fd, CB_CPU_INTEL, "nosuch", 0, &event, &err), -ENOENT);
    assert_string_equal(err.text, "unknown event 'nosuch'");
}

static void a_known_name_without_its_pmu_is_not_called_unknown(void **state)
{
    struct fake_root *root = *state;
    struct cb_event event;
    struct cb_err err = {0};

    assert_int_equal(
        cb_event_resolve_machine(root->fd, CB_CPU_INTEL, "RAPL_ENERGY_PKG", 0, &event, &err),
        -ENOENT);
    assert_non_null(strstr(err.text, "no power PMU on this machine ('RAPL_ENERGY_PKG'"));
    assert_non_null(strstr(err.text, "cbsensor doctor"));
    fake_root_put(root, DEVICES "msr/type", "25\n");
    assert_int_equal(cb_event_resolve(root->fd, CB_CPU_INTEL, "APERF", 0, &event, &err), -ENOENT);
    assert_non_null(strstr(err.text, "this machine's msr PMU has no 'APERF'"));
}

/* The encodings are those of libpfm4 4.13 for Haswell and of the kernel's msr and power PMUs. */
static void knows_the_names_of_hwpc_sensors_users_where_libpfm_lacks_them(void **state)
{
    static const struct {
        const char *name;
        enum cb_cpu_vendor vendor;
        uint32_t type;
        uint64_t config;
    } known[] = {
        {"LLC_MISSES", CB_CPU_INTEL, PERF_TYPE_RAW, 0x412e},
        {"llc_misses", CB_CPU_AMD, PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_MISSES},
        {"CPU_CLK_THREAD_UNHALTED:REF_P", CB_CPU_INTEL, PERF_TYPE_RAW, 0x013c},
        {"CPU_CLK_THREAD_UNHALTED:THREAD_P", CB_CPU_INTEL, PERF_TYPE_RAW, 0x003c},
        {"CPU_CLK_UNHALTED:THREAD_P", CB_CPU_INTEL, PERF_TYPE_RAW, 0x003c},
        {"INSTRUCTIONS_RETIRED", CB_CPU_OTHER, PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS},
        {"CYCLES_NOT_IN_HALT", CB_CPU_AMD, PERF_TYPE_RAW, 0x76},
        {"RETIRED_OPS", CB_CPU_AMD, PERF_TYPE_RAW, 0xc1},
        {"RAPL_ENERGY_PKG", CB_CPU_INTEL, 24, 2},
        {"RAPL_ENERGY_DRAM", CB_CPU_INTEL, 24, 3},
        {"TSC", CB_CPU_OTHER, 25, 0},
        {"MPERF", CB_CPU_OTHER, 25, 2},
        {"UNC_P_CLOCKTICKS", CB_CPU_INTEL, 26, 0},
        {"UNC_P_POWER_STATE_OCCUPANCY:CORES_C0", CB_CPU_INTEL, 26, 0x4080},
        {"UNC_P_POWER_STATE_OCCUPANCY:CORES_C6", CB_CPU_INTEL, 26, 0xc080},
    };
    struct fake_root *root = *state;

    fake_root_put(root, DEVICES "power/type", "24\n");
    fake_root_put(root, DEVICES "power/cpumask", "0\n");
    fake_root_put(root, DEVICES "power/format/event", "config:0-7\n");
    fake_root_put(root, DEVICES "power/events/energy-pkg", "event=0x02\n");
    fake_root_put(root, DEVICES "power/events/energy-ram", "event=0x03\n");
    fake_root_put(root, DEVICES "msr/type", "25\n");
    fake_root_put(root, DEVICES "msr/format/event", "config:0-63\n");
    fake_root_put(root, DEVICES "msr/events/tsc", "event=0x00\n");
    fake_root_put(root, DEVICES "msr/events/mperf", "event=0x02\n");
    fake_root_put(root, DEVICES "uncore_pcu/type", "26\n");
    fake_root_put(root, DEVICES "uncore_pcu/cpumask", "0\n");
    fake_root_put(root, DEVICES "uncore_pcu/format/event", "config:0-7\n");
    fake_root_put(root, DEVICES "uncore_pcu/format/occ_sel", "config:14-15\n");
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        struct cb_event event = {0}, last = {0};
        unsigned attempt = 0;

        /* libpfm may know it too, on this machine: ours is the last encoding */
        while (cb_event_resolve_machine(root->fd, known[i].vendor, known[i].name, attempt, &event,
                                        NULL) == 0) {
            last = event;
            attempt++;
        }
        assert_true(attempt > 0);
        assert_string_equal(last.name, known[i].name);
        assert_int_equal(last.type, known[i].type);
        assert_int_equal(last.config, known[i].config);
    }
    assert_int_equal(
        cb_event_resolve_machine(root->fd, CB_CPU_INTEL, "APERF", 0, &(struct cb_event){0}, NULL),
        -ENOENT);
}

static void a_socket_is_for_the_machine_only(void **state)
{
    static const char *const names[] = {"power/energy-pkg/", "RAPL_ENERGY_PKG"};
    struct fake_root *root = *state;

    fake_root_put(root, DEVICES "power/type", "24\n");
    fake_root_put(root, DEVICES "power/cpumask", "0\n");
    fake_root_put(root, DEVICES "power/format/event", "config:0-7\n");
    fake_root_put(root, DEVICES "power/events/energy-pkg", "event=0x02\n");
    for (size_t i = 0; i < 2; i++) {
        struct cb_event event = {0};
        struct cb_err err = {0};

        assert_int_equal(
            cb_event_resolve_machine(root->fd, CB_CPU_INTEL, names[i], 0, &event, NULL), 0);
        assert_true(event.per_socket);
        assert_int_equal(event.config, 2);
        assert_int_equal(cb_event_resolve(root->fd, CB_CPU_INTEL, names[i], 0, &event, &err),
                         -EINVAL);
        assert_non_null(strstr(err.text, "'power' counts a whole socket"));
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_root_setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits_a_list_outside_the_slashes),
        cmocka_unit_test(refuses_lists_with_holes),
        cmocka_unit_test(puts_bits_where_the_format_says),
        cmocka_unit_test(refuses_formats_and_values_that_do_not_fit),
        TEST(reads_an_event_of_a_pmu_from_sysfs),
        TEST(says_what_is_wrong_with_an_event_of_a_pmu),
        TEST(knows_the_names_of_libpfm),
        TEST(knows_raw_events_and_llc_misses),
        TEST(gives_a_second_encoding_where_there_is_one),
        TEST(a_known_name_without_its_pmu_is_not_called_unknown),
        TEST(knows_the_names_of_hwpc_sensors_users_where_libpfm_lacks_them),
        TEST(a_socket_is_for_the_machine_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
