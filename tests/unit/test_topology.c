/* SPDX-License-Identifier: Apache-2.0 */
/* test_topology.c - sensor/topology.c against a made-up /sys. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/err.h"
#include "sensor/topology.h"
#include "tests/support/fake_root.h"
#include "tests/support/fault.h"

#define ONLINE "sys/devices/system/cpu/online"
#define POSSIBLE "sys/devices/system/cpu/possible"

static void put_package(const struct fake_root *root, int cpu, const char *id)
{
    char path[96];

    (void)snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%d/topology/physical_package_id",
                   cpu);
    fake_root_put(root, path, "%s\n", id);
}

/* two sockets whose CPUs alternate and whose ids are 1 and 3, CPU 2 offline */
static void put_two_sockets(const struct fake_root *root)
{
    fake_root_put(root, ONLINE, "0-1,3-4\n");
    fake_root_put(root, POSSIBLE, "0-7\n");
    put_package(root, 0, "3");
    put_package(root, 1, "1");
    put_package(root, 3, "1");
    put_package(root, 4, "3");
    fake_root_put(root, "proc/cpuinfo", "processor\t: 0\nvendor_id\t: AuthenticAMD\n");
}

static void numbers_sockets_by_their_physical_id(void **state)
{
    struct fake_root *root = *state;
    struct cb_topology t;

    put_two_sockets(root);
    assert_int_equal(cb_topology_init(&t, root->fd, NULL), 0);
    assert_int_equal(t.n_cpus, 4);
    assert_int_equal(t.n_sockets, 2);
    assert_int_equal(t.cpu_limit, 8);
    assert_int_equal(t.vendor, CB_CPU_AMD);
    assert_int_equal(cb_topology_socket_of_cpu(&t, 0), 1);
    assert_int_equal(cb_topology_socket_of_cpu(&t, 1), 0);
    assert_int_equal(cb_topology_socket_of_cpu(&t, 4), 1);
    assert_int_equal(cb_topology_socket_of_cpu(&t, 2), -ENOENT);
    assert_int_equal(cb_topology_socket_of_id(&t, 1), 0);
    assert_int_equal(cb_topology_socket_of_id(&t, 3), 1);
    assert_int_equal(cb_topology_socket_of_id(&t, 0), -ENOENT);
    assert_int_equal(t.socket_cpus[0], 2);
    assert_int_equal(t.socket_cpus[1], 2);
    cb_topology_fini(&t);
}

static void takes_one_socket_where_none_is_told(void **state)
{
    struct fake_root *root = *state;
    struct cb_topology t;

    fake_root_put(root, ONLINE, "0-1\n");
    put_package(root, 1, "-1");
    assert_int_equal(cb_topology_init(&t, root->fd, NULL), 0);
    assert_int_equal(t.n_sockets, 1);
    assert_int_equal(t.socket_cpus[0], 2);
    assert_int_equal(t.vendor, CB_CPU_OTHER);
    cb_topology_fini(&t);
}

static void refuses_what_is_not_a_topology(void **state)
{
    struct fake_root *root = *state;
    struct cb_err err = {0};
    struct cb_topology t;

    assert_int_equal(cb_topology_init(&t, root->fd, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/" ONLINE));
    fake_root_put(root, ONLINE, "\n");
    assert_int_equal(cb_topology_init(&t, root->fd, &err), -EINVAL);
    fake_root_put(root, ONLINE, "0-\n");
    assert_int_equal(cb_topology_init(&t, root->fd, &err), -EINVAL);
    fake_root_put(root, ONLINE, "0-9999\n");
    assert_int_equal(cb_topology_init(&t, root->fd, &err), -ERANGE);
    fake_root_put(root, ONLINE, "0\n");
    put_package(root, 0, "x");
    assert_int_equal(cb_topology_init(&t, root->fd, &err), -EINVAL);
    assert_non_null(strstr(err.text, "physical_package_id"));
}

static void refresh(const struct fake_root *root, struct cb_topology *t, const char *online,
                    int expected)
{
    struct cb_err err = {0};

    fake_root_put(root, ONLINE, "%s\n", online);
    assert_int_equal(cb_topology_refresh(t, root->fd, &err), expected);
}

static void follows_cpus_that_come_and_go(void **state)
{
    struct fake_root *root = *state;
    struct cb_topology t;

    put_two_sockets(root);
    assert_int_equal(cb_topology_init(&t, root->fd, NULL), 0);
    refresh(root, &t, "0-1,3-4", 0);
    refresh(root, &t, "0-1,3", 1); /* 4 goes: nobody else's index changes */
    assert_int_equal(t.n_cpus, 4);
    assert_int_equal(cb_topology_n_online(&t), 3);
    assert_false(cb_topology_is_online(&t, 3));
    assert_int_equal(cb_topology_socket_of_cpu(&t, 4), -ENOENT);
    assert_int_equal(t.socket_cpus[1], 1);
    put_package(root, 2, "1");
    refresh(root, &t, "0-4", 1); /* 4 is back, 2 is new */
    assert_int_equal(t.n_cpus, 5);
    assert_int_equal(t.cpus[4], 2);
    assert_int_equal(t.socket[4], 0);
    assert_true(cb_topology_is_online(&t, 3));
    assert_int_equal(t.socket_cpus[0], 3);
    assert_int_equal(t.socket_cpus[1], 2);
    refresh(root, &t, "0-4", 0);
    cb_topology_fini(&t);
}

static void leaves_out_a_socket_that_comes_later(void **state)
{
    struct fake_root *root = *state;
    struct cb_topology t;

    put_two_sockets(root);
    assert_int_equal(cb_topology_init(&t, root->fd, NULL), 0);
    put_package(root, 5, "9");
    refresh(root, &t, "0-1,3-5", 0);
    assert_int_equal(t.n_cpus, 4);
    assert_int_equal(t.n_strange, 1);
    refresh(root, &t, "none", -EINVAL);
    assert_int_equal(cb_topology_n_online(&t), 4);
    cb_topology_fini(&t);
}

/* Fail the first call, then the second, ... and at last none. */
static void every_failure_is_clean(void **state)
{
    struct fake_root *root = *state;
    int fds_before = count_open_fds();
    int k;

    put_two_sockets(root);
    for (k = 0; k < 64; k++) {
        struct cb_err err = {0};
        struct cb_topology t;
        int r;

        fault_arm(k);
        r = cb_topology_init(&t, root->fd, &err);
        fault_disarm();
        assert_int_equal(count_open_fds(), fds_before);
        if (r == 0 && t.vendor == CB_CPU_AMD && t.cpu_limit == 8) {
            cb_topology_fini(&t);
            break;
        }
        if (r == 0) { /* vendor and limit are a help, not a need */
            assert_int_equal(t.n_sockets, 2);
            cb_topology_fini(&t);
            continue;
        }
        assert_int_equal(r, -err.code);
        assert_true(err.text[0] != '\0');
        assert_null(t.cpus);
    }
    assert_in_range(k, 10, 63);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_root_setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        TEST(numbers_sockets_by_their_physical_id), TEST(takes_one_socket_where_none_is_told),
        TEST(refuses_what_is_not_a_topology),       TEST(follows_cpus_that_come_and_go),
        TEST(leaves_out_a_socket_that_comes_later), TEST(every_failure_is_clean),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
