/* SPDX-License-Identifier: Apache-2.0 */
/* test_netdev.c - sensor/netdev.c over made-up cgroups and processes. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "sensor/netdev.h"
#include "tests/support/fake_root.h"
#include "tests/support/fault.h"

static int setup(void **state)
{
    int r = fake_root_setup(state);

    fake_root_put(*state, "proc/1/net/dev", "1");
    return r;
}

/* A process in the cgroup, in a network of its own that is called like it. */
static void put_process(const struct fake_root *root, const char *cgroup, unsigned pid)
{
    char path[300];

    (void)snprintf(path, sizeof(path), "c/%s/cgroup.procs", cgroup);
    fake_root_put(root, path, "%u\n%u\n", pid, pid + 1);
    (void)snprintf(path, sizeof(path), "proc/%u/net/dev", pid);
    fake_root_put(root, path, "%u", pid);
}

static void put_in_the_hosts_network(const struct fake_root *root, const char *cgroup, unsigned pid)
{
    char path[300];

    put_process(root, cgroup, pid);
    (void)snprintf(path, sizeof(path), "proc/%u/net/dev", pid);
    assert_int_equal(unlinkat(root->fd, path, 0), 0);
    assert_int_equal(linkat(root->fd, "proc/1/net/dev", root->fd, path, 0), 0);
}

static void put_empty(const struct fake_root *root, const char *cgroup)
{
    char path[300];

    (void)snprintf(path, sizeof(path), "c/%s/cgroup.procs", cgroup);
    fake_root_put(root, path, "%s", "");
}

/* Whose network it is: the process, or 0. */
static unsigned network_of(const struct fake_root *root, const char *cgroup, bool *ret_any)
{
    cb_auto_close int hierarchy = openat(root->fd, "c", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cb_auto_close int fd =
        cb_netdev_open(root->fd, cb_netdev_host(root->fd), hierarchy, cgroup, ret_any);
    char text[16] = "";
    unsigned pid = 0;

    if (fd >= 0) {
        assert_true(read(fd, text, sizeof(text) - 1) > 0);
        assert_int_equal(sscanf(text, "%u", &pid), 1);
    }
    return pid;
}

static void takes_the_process_of_the_cgroup_itself(void **state)
{
    bool any;

    put_process(*state, "box", 7);
    put_process(*state, "box/below", 8);
    assert_int_equal(network_of(*state, "box", &any), 7);
    assert_true(any);
    assert_int_equal(network_of(*state, "nobody", &any), 0);
    assert_false(any);
}

static void looks_below_where_the_cgroup_is_empty(void **state)
{
    bool any;

    put_empty(*state, "box");
    put_process(*state, "box/container", 7);
    assert_int_equal(network_of(*state, "box", &any), 7);
    put_empty(*state, "deep");
    put_process(*state, "deep/1/2/3/4", 8);
    assert_int_equal(network_of(*state, "deep", &any), 8);
    put_empty(*state, "deeper");
    put_process(*state, "deeper/1/2/3/4/5", 9);
    assert_int_equal(network_of(*state, "deeper", &any), 0);
    assert_false(any);
}

static void the_first_process_goes_before_services(void **state)
{
    bool any;

    put_empty(*state, "lxc");
    for (unsigned i = 0; i < 8; i++) {
        char path[64];

        (void)snprintf(path, sizeof(path), "lxc/%u.service", i);
        put_process(*state, path, 20 + i);
    }
    put_process(*state, "lxc/init.scope", 7);
    assert_int_equal(network_of(*state, "lxc", &any), 7);
}

/* nspawn's own process lies beside its container's. */
static void who_is_in_the_hosts_network_is_passed_over(void **state)
{
    bool any;

    put_empty(*state, "nspawn");
    put_in_the_hosts_network(*state, "nspawn/supervisor", 6);
    put_process(*state, "nspawn/payload/init.scope", 7);
    put_in_the_hosts_network(*state, "nspawn/another", 8);
    assert_int_equal(network_of(*state, "nspawn", &any), 7);
    put_in_the_hosts_network(*state, "host", 9);
    assert_int_equal(network_of(*state, "host", &any), 0);
    assert_true(any);
}

static void so_many_cgroups_are_looked_into_and_no_more(void **state)
{
    struct fake_root *root = *state;
    bool any;

    put_empty(root, "wide");
    for (unsigned i = 0; i < 100; i++) {
        char path[64];

        (void)snprintf(path, sizeof(path), "wide/%u", i);
        put_empty(root, path);
    }
    /* the next one fails: two are of network_of() itself, three look into each cgroup and for its
     * init.scope, but for the last one's */
    fault_arm(2 + 3 * (1 + 64) - 1);
    assert_int_equal(network_of(root, "wide", &any), 0);
    assert_int_equal(openat(root->fd, "c", O_RDONLY | O_CLOEXEC), -1);
    assert_int_equal(errno, EMFILE);
    fault_disarm();
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        TEST(takes_the_process_of_the_cgroup_itself),
        TEST(looks_below_where_the_cgroup_is_empty),
        TEST(the_first_process_goes_before_services),
        TEST(who_is_in_the_hosts_network_is_passed_over),
        TEST(so_many_cgroups_are_looked_into_and_no_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
