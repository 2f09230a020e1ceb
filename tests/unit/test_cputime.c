/* SPDX-License-Identifier: Apache-2.0 */
/* test_cputime.c - sensor/cputime.c against made-up v1 and v2 files. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/err.h"
#include "sensor/cputime.h"
#include "tests/support/fake_root.h"

static void reads_cpu_stat_of_v2(void **state)
{
    struct fake_root *root = *state;
    struct cb_cputime cputime;
    uint64_t ns = 0;

    cb_cputime_init(&cputime, root->fd, root->fd);
    fake_root_put(root, "docker/ab/cpu.stat", "usage_usec 1500\nuser_usec 1000\n");
    assert_int_equal(cb_cputime_read(&cputime, "/docker/ab", &ns, NULL), 0);
    assert_int_equal(ns, 1500000);
    assert_int_equal(cb_cputime_read(&cputime, "/docker/cd", &ns, NULL), -ENOENT);
    assert_int_equal(ns, 1500000);
    cb_cputime_fini(&cputime);
}

static void reads_cpuacct_usage_of_v1(void **state)
{
    struct fake_root *root = *state;
    int fds_before = count_open_fds();
    struct cb_cputime cputime;
    struct cb_err err = {0};
    uint64_t ns = 0;

    fake_root_put(root, "proc/1/mountinfo",
                  "33 31 0:30 / /cg/cpuacct rw - cgroup cgroup rw,cpuacct\n");
    fake_root_put(root, "cg/cpuacct/docker/ab/cpuacct.usage", "123456789\n");
    cb_cputime_init(&cputime, root->fd, root->fd);
    assert_int_equal(cb_cputime_read(&cputime, "/docker/ab", &ns, NULL), 0);
    assert_int_equal(ns, 123456789);
    fake_root_put(root, "cg/cpuacct/docker/ab/cpuacct.usage", "x\n");
    assert_int_equal(cb_cputime_read(&cputime, "/docker/ab", &ns, &err), -EINVAL);
    cb_cputime_fini(&cputime);
    assert_int_equal(count_open_fds(), fds_before);
}

static void finds_the_line_wherever_it_is(void **state)
{
    uint64_t ns = 0;

    (void)state;
    assert_int_equal(cb_cputime_parse_stat("nr_periods 5\nusage_usec 7\n", &ns), 0);
    assert_int_equal(ns, 7000);
    assert_int_equal(cb_cputime_parse_stat("usage_usec 8", &ns), 0);
    assert_int_equal(ns, 8000);
    assert_int_equal(cb_cputime_parse_stat("", &ns), -EINVAL);
    assert_int_equal(cb_cputime_parse_stat("xusage_usec 8\n", &ns), -EINVAL);
    assert_int_equal(cb_cputime_parse_stat("usage_usec -8\n", &ns), -EINVAL);
    assert_int_equal(cb_cputime_parse_stat("usage_usec 18446744073709551615\n", &ns), -EINVAL);
    assert_int_equal(ns, 8000);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_root_setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        TEST(reads_cpu_stat_of_v2),
        TEST(reads_cpuacct_usage_of_v1),
        cmocka_unit_test(finds_the_line_wherever_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
