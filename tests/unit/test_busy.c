/* SPDX-License-Identifier: Apache-2.0 */
/* test_busy.c - sensor/busy.c against made-up cpuacct and /proc/stat files. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "sensor/busy.h"
#include "tests/support/fake_root.h"
#include "tests/support/fault.h"

#define PERCPU "sys/fs/cgroup/cpuacct/cpuacct.usage_percpu"
#define TABLE                                                                                      \
    "33 31 0:30 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct\n" /* the build machine */

/* CPUs 0 and 2 on socket 0, CPU 3 on socket 1, CPU 1 offline */
static uint32_t cpus[] = {0, 2, 3};
static uint16_t sockets[] = {0, 0, 1};
static const struct cb_topology topology = {
    .n_cpus = 3, .n_sockets = 2, .cpu_limit = 4, .cpus = cpus, .socket = sockets};

static void put_percpu(const struct fake_root *root, const char *text)
{
    fake_root_put(root, "proc/1/mountinfo", TABLE);
    fake_root_put(root, PERCPU, "%s", text);
}

static struct cb_busy *open_busy(const struct fake_root *root)
{
    struct cb_busy *busy = NULL;

    assert_int_equal(cb_busy_open(root->fd, &topology, &busy, NULL), 0);
    return busy;
}

static void adds_up_cpuacct_by_socket(void **state)
{
    struct fake_root *root = *state;
    struct cb_busy *busy;
    uint64_t ns[2] = {77, 77};

    put_percpu(root, "1000 5 2000 4000 \n");
    busy = open_busy(root);
    assert_string_equal(cb_busy_source(busy), "/" PERCPU);
    assert_int_equal(cb_busy_read(busy, ns, NULL), 0);
    assert_int_equal(ns[0], 0);
    put_percpu(root, "1100 5 2010 4001 \n");
    assert_int_equal(cb_busy_read(busy, ns, NULL), 0);
    assert_int_equal(ns[0], 110);
    assert_int_equal(ns[1], 1);
    busy = cb_busy_close(busy);
}

static void never_goes_back(void **state)
{
    struct fake_root *root = *state;
    struct cb_busy *busy;
    uint64_t ns[2];

    put_percpu(root, "1000 0 2000 4000 \n");
    busy = open_busy(root);
    put_percpu(root, "1500 0 2000 4000 \n");
    assert_int_equal(cb_busy_read(busy, ns, NULL), 0);
    assert_int_equal(ns[0], 500);
    put_percpu(root, "10 0 2000 4000 \n");
    assert_int_equal(cb_busy_read(busy, ns, NULL), 0);
    assert_int_equal(ns[0], 500);
    busy = cb_busy_close(busy);
}

static void put_stat(const struct fake_root *root, uint64_t idle)
{
    fake_root_put(root, "proc/stat",
                  "cpu  9 9 9 9 9 0 0 0 0 0\n"
                  "cpu0 1 2 3 %" PRIu64 " 7 0 0 0 0 0\n"
                  "cpu2 1 2 3 100 0 0 0 0 0 0\n"
                  "cpu3 1 2 3 100 0 0 0 0 0 0\n"
                  "intr 12 0 0\nctxt 5\n",
                  idle);
}

static void takes_the_time_that_is_not_idle_from_proc_stat(void **state)
{
    struct fake_root *root = *state;
    struct cb_busy *busy;
    uint64_t before_ns[2];
    uint64_t ns[2];

    put_stat(root, 100);
    busy = open_busy(root);
    assert_string_equal(cb_busy_source(busy), "/proc/stat");
    assert_int_equal(cb_busy_read(busy, before_ns, NULL), 0);
    /* CPUs 0, 2 and 3 were never idle since: each was busy for all of the time */
    assert_true(before_ns[0] == 2 * before_ns[1]);
    put_stat(root, 1000000); /* CPU 0 idle for longer than the test can run */
    assert_int_equal(cb_busy_read(busy, ns, NULL), 0);
    assert_true(ns[0] >= before_ns[0] && ns[1] >= before_ns[1]);
    assert_true(ns[0] < 2 * ns[1] || ns[1] == before_ns[1]);
    busy = cb_busy_close(busy);
}

/* cpu 3 with @idle3 hundredths of a second, or offline (NULL) */
static void put_one(const struct fake_root *root, const char *idle3)
{
    fake_root_put(root, "proc/stat",
                  "cpu  9 9 9 9 9 0 0 0 0 0\n"
                  "cpu0 1 2 3 4 0 0 0 0 0 0\n"
                  "cpu2 1 2 3 4 0 0 0 0 0 0\n%s%s%s",
                  idle3 ? "cpu3 0 0 0 " : "", idle3 ? idle3 : "", idle3 ? " 0 0 0 0 0 0\n" : "");
}

static void a_cpu_that_is_offline_is_not_busy(void **state)
{
    const struct timespec pause = {.tv_nsec = 20000000};
    bool online[] = {true, true, true};
    struct cb_topology t = topology;
    struct fake_root *root = *state;
    struct cb_busy *busy = NULL;
    uint64_t ns[2], before_ns;

    t.online = online;
    put_one(root, "100");
    assert_int_equal(cb_busy_open(root->fd, &t, &busy, NULL), 0);
    assert_int_equal(cb_busy_read(busy, ns, NULL), 0);
    before_ns = ns[1];
    put_one(root, NULL); /* gone between two looks at the topology */
    (void)nanosleep(&pause, NULL);
    assert_int_equal(cb_busy_read(busy, ns, NULL), 0);
    assert_int_equal(ns[1], before_ns);
    online[2] = false;
    put_one(root, "100"); /* its last value, or whatever is there */
    (void)nanosleep(&pause, NULL);
    assert_int_equal(cb_busy_read(busy, ns, NULL), 0);
    online[2] = true; /* back: counted from the next reading on */
    assert_int_equal(cb_busy_read(busy, ns, NULL), 0);
    assert_int_equal(ns[1], before_ns);
    (void)nanosleep(&pause, NULL);
    assert_int_equal(cb_busy_read(busy, ns, NULL), 0);
    assert_in_range(ns[1] - before_ns, 20000000, 2000000000);
    busy = cb_busy_close(busy);
}

static void refuses_files_of_another_form(void **state)
{
    static const char *const bad_percpu[] = {"", "x", "1 2 y", "99999999999999999999999"};
    static const char *const bad_stat[] = {"", "intr 5\n", "cpu0 1 2 3\n", "cpux 1 2 3 4 5\n"};
    uint64_t values[4];

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(cb_busy_parse_percpu(bad_percpu[i], 4, values), -EINVAL);
        assert_int_equal(cb_busy_parse_stat(bad_stat[i], 10, 4, values), -EINVAL);
    }
}

static void leaves_out_cpus_beyond_the_table(void **state)
{
    uint64_t values[2];

    (void)state;
    assert_int_equal(cb_busy_parse_percpu("1 2 3\n", 2, values), 0);
    assert_int_equal(values[1], 2);
    assert_int_equal(cb_busy_parse_stat("cpu1 0 0 0 4 5\ncpu9 0 0 0 1 1\n", 10, 2, values), 0);
    assert_true(values[0] == CB_BUSY_ABSENT);
    assert_int_equal(values[1], 90);
}

static void a_bad_read_changes_nothing(void **state)
{
    struct fake_root *root = *state;
    struct cb_busy *busy;
    struct cb_err err = {0};
    uint64_t ns[2] = {77, 78};

    put_percpu(root, "1000 0 2000 4000 \n");
    busy = open_busy(root);
    put_percpu(root, "rubbish\n");
    assert_int_equal(cb_busy_read(busy, ns, &err), -EINVAL);
    assert_non_null(strstr(err.text, PERCPU));
    assert_int_equal(ns[0], 77);
    assert_int_equal(ns[1], 78);
    busy = cb_busy_close(busy);
}

/* Fail the first call, then the second, ... and at last none. */
static void every_failure_is_clean(void **state)
{
    struct fake_root *root = *state;
    int fds_before = count_open_fds();
    int k;

    fake_root_put(root, "proc/1/mountinfo", "1 1 0:1 / / rw - ext4 x rw\n");
    put_stat(root, 100);
    for (k = 0; k < 32; k++) {
        struct cb_busy *busy = NULL;
        struct cb_err err = {0};
        int r;

        fault_arm(k);
        r = cb_busy_open(root->fd, &topology, &busy, &err);
        fault_disarm();
        if (r < 0) {
            assert_int_equal(r, -err.code);
            assert_null(busy);
        }
        busy = cb_busy_close(busy);
        assert_int_equal(count_open_fds(), fds_before);
        if (r == 0 && k > 8)
            break;
    }
    assert_in_range(k, 7, 31);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_root_setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        TEST(adds_up_cpuacct_by_socket),
        TEST(never_goes_back),
        TEST(takes_the_time_that_is_not_idle_from_proc_stat),
        cmocka_unit_test(refuses_files_of_another_form),
        cmocka_unit_test(leaves_out_cpus_beyond_the_table),
        TEST(a_cpu_that_is_offline_is_not_busy),
        TEST(a_bad_read_changes_nothing),
        TEST(every_failure_is_clean),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
