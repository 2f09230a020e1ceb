/* SPDX-License-Identifier: Apache-2.0 */
/* test_place.c - sensor/place.c: which hierarchy is counted in. The mount itself is tested with a
 * real engine in tests/integration/. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/err.h"
#include "sensor/place.h"
#include "tests/support/fake_root.h"

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define C "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static int try_place(int root_fd, const char *wanted, struct cb_err *err)
{
    struct cb_place *place = NULL;
    int r = cb_place_open(root_fd, wanted, 0, &place, err);

    if (r < 0)
        assert_null(place);
    else
        assert_int_equal(cb_place_close(place, NULL), 0);
    return r;
}

static void says_what_was_tried(void **state)
{
    struct fake_root *root = *state;
    int fds_before = count_open_fds();
    struct cb_err err = {0};

    fake_root_put(root, "proc/1/mountinfo", "1 1 0:1 / / rw - ext4 x rw\n");
    assert_int_equal(try_place(root->fd, "v1", &err), -ENOENT);
    assert_non_null(strstr(err.text, "no cgroup v1 hierarchy with 'perf_event' is mounted"));
    assert_int_equal(try_place(root->fd, "v2", &err), -ENOENT);
    assert_non_null(strstr(err.text, "no cgroup v2 hierarchy is mounted"));
    assert_int_equal(try_place(root->fd, "sideways", &err), -EINVAL);
    assert_non_null(strstr(err.text, "'sideways'"));
    assert_int_equal(count_open_fds(), fds_before);
}

static void a_directory_that_is_no_hierarchy_cannot_be_counted(void **state)
{
    struct fake_root *root = *state;
    int fds_before = count_open_fds();
    struct cb_err err = {0};

    fake_root_put(root, "proc/1/mountinfo", "1 1 0:1 / /cg rw - cgroup2 x rw\n");
    fake_root_put(root, "cg/docker/cgroup.procs", "\n");
    assert_true(try_place(root->fd, "v2", &err) < 0);
    assert_true(err.text[0] != '\0');
    assert_int_equal(count_open_fds(), fds_before);
}

static void finds_where_this_machine_can_be_counted(void **state)
{
    struct cb_place *place = NULL;
    struct cb_err err = {0};
    int root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    int r = cb_place_open(root_fd, "v2", 0, &place, &err);

    (void)state;
    if (r < 0) /* v1 perf_event is mounted, or the rights are missing */
        r = cb_place_open(root_fd, "v1", 0, &place, &err);
    if (r < 0) {
        (void)close(root_fd);
        print_message("%s\n", err.text);
        skip();
    }
    assert_false(cb_place_is_mounted_by_us(place));
    assert_int_equal(fstat(cb_place_dir_fd(place), &st), 0);
    assert_non_null(strstr(cb_place_how(place), cb_place_path(place)));
    assert_int_equal(cb_place_close(place, NULL), 0);
    (void)close(root_fd);
}

static void seen(void *context, const char *id, const char *path)
{
    char *found = context;
    size_t n = strlen(found);

    (void)snprintf(found + n, 1024 - n, "%.1s:%.40s ", id, path);
}

static void lists_the_containers_of_the_other_hierarchies(void **state)
{
    struct fake_root *root = *state;
    int real_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct cb_place *place = NULL;
    char found[1024] = "";
    char own[300];
    int r = cb_place_open(real_fd, "v2", 0, &place, NULL);

    if (r < 0)
        r = cb_place_open(real_fd, "v1", 0, &place, NULL);
    if (r < 0) {
        (void)close(real_fd);
        print_message("nothing can be counted here\n");
        skip();
    }
    fake_root_put(root, "proc/1/mountinfo",
                  "1 1 0:1 / /cg/cpu rw - cgroup x rw,cpu\n"
                  "2 1 0:2 / %s rw - cgroup2 x rw\n" /* ours: not one of the others */
                  "3 1 0:3 / /elsewhere rw - tmpfs x rw\n",
                  cb_place_path(place));
    fake_root_put(root, "cg/cpu/docker/" A "/cgroup.procs", "1\n2\n");
    fake_root_put(root, "cg/cpu/docker/" A "/docker/" B "/cgroup.procs", "3\n");
    fake_root_put(root, "cg/cpu/k/p/" B "/cgroup.procs", "%s", "");
    fake_root_put(root, "cg/cpu/k/p/" B "/init/cgroup.procs", "4\n");
    fake_root_put(root, "cg/cpu/docker/" C "/cgroup.procs", "%s", ""); /* left behind */
    fake_root_put(root, "cg/cpu/docker/" C "/init/cgroup.procs", "%s", "");
    fake_root_put(root, "elsewhere/docker/" B "/cgroup.procs", "5\n");
    (void)snprintf(own, sizeof(own), "%.200s/docker/" C "/cgroup.procs", cb_place_path(place) + 1);
    fake_root_put(root, own, "6\n");
    cb_place_each_container(root->fd, place, seen, found);
    assert_non_null(strstr(found, "a:/docker/aaaa"));
    assert_non_null(strstr(found, "b:/k/p/bbbb"));
    assert_int_equal(strlen(found), strlen("a:") + 40 + 1 + strlen("b:") + 40 + 1);
    assert_int_equal(cb_place_close(place, NULL), 0);
    (void)close(real_fd);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_root_setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        TEST(says_what_was_tried),
        TEST(a_directory_that_is_no_hierarchy_cannot_be_counted),
        cmocka_unit_test(finds_where_this_machine_can_be_counted),
        TEST(lists_the_containers_of_the_other_hierarchies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
