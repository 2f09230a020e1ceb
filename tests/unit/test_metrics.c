/* SPDX-License-Identifier: Apache-2.0 */
/* test_metrics.c - sensor/metrics.c against recorded cgroups (tests/fixtures/metrics/PROVENANCE.md)
 * and made-up ones. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/err.h"
#include "sensor/metrics.h"
#include "sensor/metrics_parse.h"
#include "tests/support/fake_root.h"
#include "tests/support/fault.h"

#define V2_LINE "21 30 0:19 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"
#define BOX "sys/fs/cgroup/box/"

struct expected {
    enum cb_metric metric;
    uint64_t value;
};

static int open_fixture(const char *name)
{
    char path[64];
    int fd;

    (void)snprintf(path, sizeof(path), "tests/fixtures/metrics/%s", name);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void read_once(int root_fd, const char *path, size_t max_fds, uint64_t *values)
{
    struct cb_metrics *m = NULL;
    struct cb_metrics_target *t = NULL;

    assert_int_equal(cb_metrics_open(root_fd, max_fds, &m, NULL), 0);
    assert_int_equal(cb_metrics_target_open(m, path, true, &t, NULL), 0);
    cb_metrics_target_read(m, t, values);
    assert_true(cb_metrics_n_fds(m) <= max_fds);
    t = cb_metrics_target_close(m, t);
    assert_int_equal(cb_metrics_n_fds(m), 0);
    m = cb_metrics_close(m);
}

static void check(const uint64_t *values, const struct expected *expected, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (values[expected[i].metric] != expected[i].value)
            fail_msg("%s is %" PRIu64 ", not %" PRIu64, cb_metric_name(expected[i].metric),
                     values[expected[i].metric], expected[i].value);
}

#define check_all(values, expected) check(values, expected, sizeof(expected) / sizeof(expected[0]))

static void the_columns_are_those_of_the_schema(void **state)
{
    (void)state;
    assert_true(CB_METRIC_COUNT < CB_FRAME_MAX_STATS);
    assert_string_equal(cb_metric_name(CB_METRIC_CPU_USAGE), "cpu_usage_ns");
    assert_string_equal(cb_metric_name(CB_METRIC_MEMORY_LIMIT), "memory_limit_bytes");
    assert_string_equal(cb_metric_name(CB_METRIC_NET_RX_BYTES), "net_rx_bytes");
    assert_string_equal(cb_metric_name(CB_METRIC_IO_PRESSURE_FULL), "io_pressure_full_ns");
    assert_true(cb_metric_is_counter(CB_METRIC_CPU_USAGE));
    assert_true(cb_metric_is_counter(CB_METRIC_MEMORY_OOM_KILLS));
    assert_false(cb_metric_is_counter(CB_METRIC_MEMORY_PEAK));
    assert_false(cb_metric_is_counter(CB_METRIC_PIDS));
}

static const struct expected hybrid[] = {
    {CB_METRIC_CPU_USAGE, 1330730011},
    {CB_METRIC_CPU_USER, 1227754665},
    {CB_METRIC_CPU_SYSTEM, 255915194},
    {CB_METRIC_MEMORY, 778240},
    {CB_METRIC_MEMORY_PEAK, 8196096},
    {CB_METRIC_MEMORY_ANON, 192512},
    {CB_METRIC_MEMORY_FILE, 151552},
    {CB_METRIC_MEMORY_SWAP, 0},
    {CB_METRIC_MEMORY_LIMIT, 99999744},
    {CB_METRIC_MEMORY_OOM_KILLS, 0},
    {CB_METRIC_IO_READ_BYTES, 1785856},
    {CB_METRIC_IO_WRITE_BYTES, 4194304},
    {CB_METRIC_IO_READ_OPS, 79},
    {CB_METRIC_IO_WRITE_OPS, 64},
    {CB_METRIC_PIDS, 2},
    {CB_METRIC_CPU_PRESSURE, 4399396000},
    {CB_METRIC_MEMORY_PRESSURE, 0},
    {CB_METRIC_MEMORY_PRESSURE_FULL, 0},
    {CB_METRIC_IO_PRESSURE, 10586000},
    {CB_METRIC_IO_PRESSURE_FULL, 10586000},
};

static void reads_a_cgroup_of_a_hybrid_machine(void **state)
{
    cb_auto_close int fd = open_fixture("hybrid");
    uint64_t values[CB_METRIC_COUNT];

    (void)state;
    read_once(fd, "/cbw-rec", 100, values);
    check_all(values, hybrid);
    assert_int_equal(values[CB_METRIC_CPU_THROTTLED], UINT64_C(4659061203));
}

static void reads_a_cgroup_of_version_2(void **state)
{
    static const struct expected expected[] = {
        {CB_METRIC_CPU_USAGE, 1743872000},    {CB_METRIC_CPU_USER, 1435653000},
        {CB_METRIC_CPU_SYSTEM, 308219000},    {CB_METRIC_CPU_THROTTLED, 6740804000},
        {CB_METRIC_MEMORY, 24821760},         {CB_METRIC_MEMORY_PEAK, 24903680},
        {CB_METRIC_MEMORY_ANON, 12288},       {CB_METRIC_MEMORY_FILE, 24211456},
        {CB_METRIC_MEMORY_SWAP, 0},           {CB_METRIC_MEMORY_LIMIT, 99999744},
        {CB_METRIC_MEMORY_OOM_KILLS, 0},      {CB_METRIC_IO_READ_BYTES, 1638400},
        {CB_METRIC_IO_WRITE_BYTES, 4194304},  {CB_METRIC_IO_READ_OPS, 50},
        {CB_METRIC_IO_WRITE_OPS, 64},         {CB_METRIC_PIDS, 1},
        {CB_METRIC_CPU_PRESSURE, 5845267000}, {CB_METRIC_MEMORY_PRESSURE, 0},
        {CB_METRIC_IO_PRESSURE, 61520000},    {CB_METRIC_IO_PRESSURE_FULL, 61520000},
    };
    cb_auto_close int fd = open_fixture("v2");
    uint64_t values[CB_METRIC_COUNT];

    (void)state;
    read_once(fd, "/box/web", 100, values);
    check_all(values, expected);
}

/* but for the network, which is in no cgroup file */
static void both_versions_fill_the_same_columns(void **state)
{
    cb_auto_close int v1 = open_fixture("hybrid");
    cb_auto_close int v2 = open_fixture("v2");
    uint64_t a[CB_METRIC_COUNT];
    uint64_t b[CB_METRIC_COUNT];

    (void)state;
    read_once(v1, "/cbw-rec", 100, a);
    read_once(v2, "/box/web", 100, b);
    for (size_t i = 0; i < CB_METRIC_COUNT; i++)
        if ((i < CB_METRIC_NET_RX_BYTES || i > CB_METRIC_NET_TX_PACKETS) &&
            (a[i] == CB_STAT_ABSENT) != (b[i] == CB_STAT_ABSENT))
            fail_msg("%s: only one version has it", cb_metric_name(i));
}

static void the_budget_of_descriptors_changes_nothing_but_their_number(void **state)
{
    cb_auto_close int fd = open_fixture("hybrid");
    uint64_t values[CB_METRIC_COUNT];

    (void)state;
    for (size_t max_fds = 0; max_fds < 4; max_fds++) {
        read_once(fd, "/cbw-rec", max_fds, values);
        check_all(values, hybrid);
    }
}

static void the_network_counts_from_the_first_read(void **state)
{
    cb_auto_close int fd = open_fixture("hybrid");
    uint64_t values[CB_METRIC_COUNT];

    (void)state;
    read_once(fd, "/cbw-rec", 100, values); /* a second read of the same numbers */
    assert_int_equal(values[CB_METRIC_NET_RX_BYTES], 0);
    assert_int_equal(values[CB_METRIC_NET_TX_PACKETS], 0);
}

/* The cgroup itself has no process: they are below it. */
static void the_network_is_found_in_a_cgroup_below(void **state)
{
    static const char *const paths[] = {
        "/machine.slice/"
        "libpod-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.scope",
        "/lxc.payload.web",
    };
    cb_auto_close int fd = open_fixture("nested");
    uint64_t values[CB_METRIC_COUNT];

    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        read_once(fd, paths[i], 100, values);
        assert_int_equal(values[CB_METRIC_NET_RX_BYTES], 0); /* none since the first read */
        assert_int_equal(values[CB_METRIC_NET_TX_PACKETS], 0);
    }
}

/* ---- made-up cgroups ---- */

static int setup(void **state)
{
    int r = fake_root_setup(state);

    fake_root_put(*state, "proc/1/mountinfo", V2_LINE);
    fake_root_put(*state, BOX "cpu.stat", "usage_usec 5\nuser_usec 3\nsystem_usec 2\n");
    fake_root_put(*state, BOX "memory.current", "4096\n");
    return r;
}

struct opened {
    struct cb_metrics *m;
    struct cb_metrics_target *t;
    uint64_t values[CB_METRIC_COUNT];
};

static struct opened open_box(const struct fake_root *root, bool is_new)
{
    struct opened o = {0};

    assert_int_equal(cb_metrics_open(root->fd, 100, &o.m, NULL), 0);
    assert_int_equal(cb_metrics_target_open(o.m, "/box", is_new, &o.t, NULL), 0);
    return o;
}

static void close_box(struct opened *o)
{
    o->t = cb_metrics_target_close(o->m, o->t);
    o->m = cb_metrics_close(o->m);
}

static void counters_are_deltas_and_gauges_are_not(void **state)
{
    struct opened o = open_box(*state, false);

    fake_root_put(*state, BOX "cpu.stat", "usage_usec 12\n");
    cb_metrics_target_read(o.m, o.t, o.values);
    assert_int_equal(o.values[CB_METRIC_CPU_USAGE], 7000);
    assert_int_equal(o.values[CB_METRIC_MEMORY], 4096);
    cb_metrics_target_read(o.m, o.t, o.values);
    assert_int_equal(o.values[CB_METRIC_CPU_USAGE], 0);
    assert_int_equal(o.values[CB_METRIC_MEMORY], 4096);
    close_box(&o);
}

static void a_new_cgroup_counts_from_its_beginning(void **state)
{
    struct opened o = open_box(*state, true);

    cb_metrics_target_read(o.m, o.t, o.values);
    assert_int_equal(o.values[CB_METRIC_CPU_USAGE], 5000);
    close_box(&o);
}

static void a_counter_that_goes_back_is_absent_once(void **state)
{
    struct opened o = open_box(*state, false);

    fake_root_put(*state, BOX "cpu.stat", "usage_usec 1\n");
    cb_metrics_target_read(o.m, o.t, o.values);
    assert_true(o.values[CB_METRIC_CPU_USAGE] == CB_STAT_ABSENT);
    fake_root_put(*state, BOX "cpu.stat", "usage_usec 3\n");
    cb_metrics_target_read(o.m, o.t, o.values);
    assert_int_equal(o.values[CB_METRIC_CPU_USAGE], 2000);
    close_box(&o);
}

static void what_the_machine_lacks_is_absent(void **state)
{
    struct opened o = open_box(*state, true);

    cb_metrics_target_read(o.m, o.t, o.values);
    assert_true(o.values[CB_METRIC_IO_READ_BYTES] == CB_STAT_ABSENT);
    assert_true(o.values[CB_METRIC_NET_RX_BYTES] == CB_STAT_ABSENT);
    assert_true(o.values[CB_METRIC_PIDS] == CB_STAT_ABSENT);
    close_box(&o);
}

static void a_cgroup_that_nobody_has_is_absent_throughout(void **state)
{
    uint64_t values[CB_METRIC_COUNT];

    read_once(((struct fake_root *)*state)->fd, "/nobody", 10, values);
    for (size_t i = 0; i < CB_METRIC_COUNT; i++)
        assert_true(values[i] == CB_STAT_ABSENT);
}

static void no_limit_is_absent(void **state)
{
    static const char *const none[] = {"max\n", "9223372036854771712\n"};
    struct opened o = open_box(*state, true);

    for (size_t i = 0; i < 2; i++) {
        fake_root_put(*state, BOX "memory.max", "%s", none[i]);
        cb_metrics_target_read(o.m, o.t, o.values);
        assert_true(o.values[CB_METRIC_MEMORY_LIMIT] == CB_STAT_ABSENT);
        fake_root_put(*state, BOX "memory.max", "0\n");
        cb_metrics_target_read(o.m, o.t, o.values);
        assert_int_equal(o.values[CB_METRIC_MEMORY_LIMIT], 0);
    }
    close_box(&o);
}

#define NET_HEAD "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets\n"

static void the_network_is_that_of_all_interfaces_but_the_loopback(void **state)
{
    struct opened o;

    fake_root_put(*state, "proc/1/net/dev", "the host's\n");
    fake_root_put(*state, BOX "cgroup.procs", "77\n");
    fake_root_put(*state, "proc/77/net/dev", NET_HEAD "lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n");
    o = open_box(*state, true);
    fake_root_put(*state, "proc/77/net/dev",
                  NET_HEAD "    lo: 900 9 0 0 0 0 0 0 900 9 0 0 0 0 0 0\n"
                           "  eth0:     100       1    0 0 0 0 0 0  1000 2 0 0 0 0 0 0\n"
                           "eth1:10 3 0 0 0 0 0 0 20 4 0 0 0 0 0 0\n");
    cb_metrics_target_read(o.m, o.t, o.values);
    assert_int_equal(o.values[CB_METRIC_NET_RX_BYTES], 110);
    assert_int_equal(o.values[CB_METRIC_NET_RX_PACKETS], 4);
    assert_int_equal(o.values[CB_METRIC_NET_TX_BYTES], 1020);
    assert_int_equal(o.values[CB_METRIC_NET_TX_PACKETS], 6);
    close_box(&o);
}

static void the_hosts_network_is_not_a_containers(void **state)
{
    const struct fake_root *root = *state;
    struct opened o;

    fake_root_put(root, "proc/1/net/dev", NET_HEAD "eth0: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n");
    fake_root_put(root, "proc/77/net/made", " ");
    assert_int_equal(linkat(root->fd, "proc/1/net/dev", root->fd, "proc/77/net/dev", 0), 0);
    fake_root_put(root, BOX "cgroup.procs", "77\n");
    o = open_box(root, true);
    cb_metrics_target_read(o.m, o.t, o.values);
    assert_true(o.values[CB_METRIC_NET_RX_BYTES] == CB_STAT_ABSENT);

    /* runc's first process leaves the host's namespace a moment after it joined the cgroup */
    assert_int_equal(unlinkat(root->fd, "proc/77/net/dev", 0), 0);
    fake_root_put(root, "proc/77/net/dev", NET_HEAD "eth0: 5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n");
    cb_metrics_target_read(o.m, o.t, o.values);
    cb_metrics_target_read(o.m, o.t, o.values);
    assert_int_equal(o.values[CB_METRIC_NET_RX_BYTES], 0);
    close_box(&o);
}

/* It costs much where there are many, at each read. */
static void a_cgroup_without_processes_is_not_searched_for_a_network(void **state)
{
    struct opened o;

    fake_root_put(*state, "proc/1/net/dev", "the host's\n");
    fake_root_put(*state, BOX "cgroup.procs", "77\n"); /* one that has just come */
    fake_root_put(*state, "proc/77/net/dev", NET_HEAD "eth0: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n");
    fake_root_put(*state, BOX "pids.current", "0\n");
    o = open_box(*state, true);
    cb_metrics_target_read(o.m, o.t, o.values);
    assert_true(o.values[CB_METRIC_NET_RX_BYTES] == CB_STAT_ABSENT);
    fake_root_put(*state, BOX "pids.current", "1\n");
    cb_metrics_target_read(o.m, o.t, o.values);
    cb_metrics_target_read(o.m, o.t, o.values);
    assert_int_equal(o.values[CB_METRIC_NET_RX_BYTES], 0);
    close_box(&o);
}

static void a_machine_without_cgroups_is_an_error(void **state)
{
    struct cb_metrics *m = NULL;
    struct cb_err err = {0};

    fake_root_put(*state, "proc/1/mountinfo", "21 30 0:19 / /proc rw - proc proc rw\n");
    assert_int_equal(cb_metrics_open(((struct fake_root *)*state)->fd, 1, &m, &err), -ENOENT);
    assert_non_null(strstr(err.text, "no cgroup"));
    assert_null(m);
}

static void every_failing_call_is_survived(void **state)
{
    const struct fake_root *root = *state;
    int before = count_open_fds();
    int succeeded = 0;

    for (int k = 0; k < 2000 && succeeded < 2; k++) {
        struct opened o = {0};
        struct cb_err err = {0};
        int r;

        fault_arm(k);
        r = cb_metrics_open(root->fd, 100, &o.m, &err);
        if (r == 0)
            r = cb_metrics_target_open(o.m, "/box", true, &o.t, &err);
        if (r == 0) {
            cb_metrics_target_read(o.m, o.t, o.values);
            cb_metrics_target_read(o.m, o.t, o.values);
        }
        fault_disarm();
        if (r < 0)
            assert_true(err.text[0] && err.code == -r);
        else if (o.values[CB_METRIC_MEMORY] != CB_STAT_ABSENT)
            assert_int_equal(o.values[CB_METRIC_MEMORY], 4096);
        succeeded += r == 0 && k > 500;
        close_box(&o);
        assert_int_equal(count_open_fds(), before);
    }
    assert_int_equal(succeeded, 2);
}

/* ---- the forms ---- */

static const struct cb_metrics_key two_keys[] = {{"a", 10, 0}, {"b", 1, 1}, {0}};

static void lines_that_are_not_of_the_form_are_passed_over(void **state)
{
    static const struct {
        cb_metrics_parser *parse;
        const char *text;
        uint64_t a, b;
    } rows[] = {
        {cb_metrics_parse_keyed, "aa 1\nb\na x\nb 2x\n", 77, 77},
        {cb_metrics_parse_keyed, "a 18446744073709551616\nb 3", 77, 3},
        {cb_metrics_parse_nested, "", 0, 0},
        {cb_metrics_parse_nested, "8:0 a=1 b=2\n8:1 a=2 ab=9 b=x\n\n8:2\n", 30, 2},
        {cb_metrics_parse_blkio, "Total 0\n", 77, 77},
        {cb_metrics_parse_blkio, "8:0 a 1\n8:1 a 2\n8:1 b\nTotal 3\na 4\n", 30, 0},
        {cb_metrics_parse_pressure, "a avg10=0.00 total=5\nb avg10=1 total=\n", 50, 77},
        {cb_metrics_parse_pressure, "a total=x\nb x\n total=6\n", 77, 77},
        {cb_metrics_parse_number, "7\n", 70, 77},
        {cb_metrics_parse_number, "-1\n", 77, 77},
        {cb_metrics_parse_number, "9223372036854771712\n", 77, 77},
        {cb_metrics_parse_number, "max\n", 77, 77},
        {cb_metrics_parse_number, "", 77, 77},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t values[2] = {77, 77};

        rows[i].parse(rows[i].text, two_keys, values);
        if (values[0] != rows[i].a || values[1] != rows[i].b)
            fail_msg("'%s' gives %" PRIu64 " and %" PRIu64, rows[i].text, values[0], values[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_columns_are_those_of_the_schema),
        cmocka_unit_test(reads_a_cgroup_of_a_hybrid_machine),
        cmocka_unit_test(reads_a_cgroup_of_version_2),
        cmocka_unit_test(both_versions_fill_the_same_columns),
        cmocka_unit_test(the_budget_of_descriptors_changes_nothing_but_their_number),
        cmocka_unit_test(the_network_counts_from_the_first_read),
        cmocka_unit_test(the_network_is_found_in_a_cgroup_below),
        cmocka_unit_test_setup_teardown(counters_are_deltas_and_gauges_are_not, setup,
                                        fake_root_teardown),
        cmocka_unit_test_setup_teardown(a_new_cgroup_counts_from_its_beginning, setup,
                                        fake_root_teardown),
        cmocka_unit_test_setup_teardown(a_counter_that_goes_back_is_absent_once, setup,
                                        fake_root_teardown),
        cmocka_unit_test_setup_teardown(what_the_machine_lacks_is_absent, setup,
                                        fake_root_teardown),
        cmocka_unit_test_setup_teardown(a_cgroup_that_nobody_has_is_absent_throughout, setup,
                                        fake_root_teardown),
        cmocka_unit_test_setup_teardown(no_limit_is_absent, setup, fake_root_teardown),
        cmocka_unit_test_setup_teardown(the_network_is_that_of_all_interfaces_but_the_loopback,
                                        setup, fake_root_teardown),
        cmocka_unit_test_setup_teardown(the_hosts_network_is_not_a_containers, setup,
                                        fake_root_teardown),
        cmocka_unit_test_setup_teardown(a_cgroup_without_processes_is_not_searched_for_a_network,
                                        setup, fake_root_teardown),
        cmocka_unit_test_setup_teardown(a_machine_without_cgroups_is_an_error, setup,
                                        fake_root_teardown),
        cmocka_unit_test_setup_teardown(every_failing_call_is_survived, setup, fake_root_teardown),
        cmocka_unit_test(lines_that_are_not_of_the_form_are_passed_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
