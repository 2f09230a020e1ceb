/* SPDX-License-Identifier: Apache-2.0 */
/* test_mounts.c - sensor/mounts.c against recorded and made-up mount tables. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/err.h"
#include "sensor/mounts.h"
#include "tests/support/fake_root.h"

/* the build machine's own table, cut to three lines (2026-11-22, Linux 6.18, hybrid cgroups) */
#define HYBRID                                                                                     \
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"                          \
    "33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct\n"                 \
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"

static void put_table(const struct fake_root *root, const char *text)
{
    fake_root_put(root, "proc/1/mountinfo", "%s", text);
}

static void reads_a_line_with_and_without_optional_fields(void **state)
{
    const char *text = "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:2 - ext3 /dev/root "
                       "rw,errors=continue\n"
                       "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
    struct cb_mount mount;

    (void)state;
    assert_true(cb_mounts_next(&text, &mount));
    assert_string_equal(mount.root, "/mnt1");
    assert_string_equal(mount.point, "/mnt 2");
    assert_string_equal(mount.type, "ext3");
    assert_string_equal(mount.options, "rw,errors=continue");
    assert_true(cb_mounts_next(&text, &mount));
    assert_string_equal(mount.type, "cgroup2");
    assert_false(cb_mounts_next(&text, &mount));
}

static void passes_over_malformed_lines(void **state)
{
    const char *text = "\n36\n36 35 98:0 / /x rw no dash here\n"
                       "36 35 98:0 / /x rw -\n36 35 98:0 / /x rw - ext4\n"
                       "1 2 0:3 / /good rw - tmpfs none rw\n";
    struct cb_mount mount;

    (void)state;
    assert_true(cb_mounts_next(&text, &mount));
    assert_string_equal(mount.point, "/good");
    assert_false(cb_mounts_next(&text, &mount));
}

static void finds_an_option_as_a_whole_word(void **state)
{
    struct cb_mount mount = {.options = "rw,cpuacct,perf_event"};

    (void)state;
    assert_true(cb_mount_has_option(&mount, "perf_event"));
    assert_true(cb_mount_has_option(&mount, "rw"));
    assert_false(cb_mount_has_option(&mount, "cpu"));
    assert_false(cb_mount_has_option(&mount, "perf"));
    assert_false(cb_mount_has_option(&mount, "event"));
}

static void finds_the_hierarchies_of_a_hybrid_machine(void **state)
{
    struct fake_root *root = *state;
    struct cb_err err = {0};
    struct cb_mount mount;

    put_table(root, HYBRID);
    assert_int_equal(cb_mounts_find_cgroup(root->fd, NULL, &mount, NULL), 0);
    assert_string_equal(mount.point, "/sys/fs/cgroup/unified");
    assert_int_equal(cb_mounts_find_cgroup(root->fd, "cpuacct", &mount, NULL), 0);
    assert_string_equal(mount.point, "/sys/fs/cgroup/cpuacct");
    assert_int_equal(cb_mounts_find_cgroup(root->fd, "perf_event", &mount, &err), -ENOENT);
    assert_string_equal(err.text, "no cgroup v1 hierarchy with 'perf_event' is mounted");
}

static void prefers_a_whole_hierarchy_to_a_part_of_it(void **state)
{
    struct fake_root *root = *state;
    struct cb_mount mount;

    put_table(root, "50 1 0:9 /docker/ab /in/container ro - cgroup cgroup rw,perf_event\n"
                    "51 1 0:9 / /whole rw - cgroup cgroup rw,perf_event\n"
                    "52 1 0:9 / /second rw - cgroup cgroup rw,perf_event\n");
    assert_int_equal(cb_mounts_find_cgroup(root->fd, "perf_event", &mount, NULL), 0);
    assert_string_equal(mount.point, "/whole");
    put_table(root, "50 1 0:9 /docker/ab /in/container ro - cgroup cgroup rw,perf_event\n");
    assert_int_equal(cb_mounts_find_cgroup(root->fd, "perf_event", &mount, NULL), 0);
    assert_string_equal(mount.point, "/in/container");
    put_table(root, "50 1 0:9 /docker/ab /first ro - cgroup cgroup rw,perf_event\n"
                    "51 1 0:9 /docker/cd /other ro - cgroup cgroup rw,perf_event\n");
    assert_int_equal(cb_mounts_find_cgroup(root->fd, "perf_event", &mount, NULL), 0);
    assert_string_equal(mount.point, "/first");
}

static void takes_its_own_table_where_process_1_has_none(void **state)
{
    struct fake_root *root = *state;
    struct cb_err err = {0};
    struct cb_mount mount;

    assert_int_equal(cb_mounts_find_cgroup(root->fd, NULL, &mount, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/proc/self/mountinfo"));
    fake_root_put(root, "proc/self/mountinfo", "%s", HYBRID);
    assert_int_equal(cb_mounts_find_cgroup(root->fd, NULL, &mount, NULL), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_root_setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_line_with_and_without_optional_fields),
        cmocka_unit_test(passes_over_malformed_lines),
        cmocka_unit_test(finds_an_option_as_a_whole_word),
        TEST(finds_the_hierarchies_of_a_hybrid_machine),
        TEST(prefers_a_whole_hierarchy_to_a_part_of_it),
        TEST(takes_its_own_table_where_process_1_has_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
