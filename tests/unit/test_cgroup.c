/* SPDX-License-Identifier: Apache-2.0 */
/* test_cgroup.c - sensor/cgroup.c over plain directories: inotify does not care. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/err.h"
#include "sensor/cgroup.h"
#include "tests/support/fake_root.h"
#include "tests/support/fault.h"

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

/* What the watcher told: "+/docker/aa", "-/docker/aa", ...; "-" of one that was refused. */
static struct {
    bool full; /* what comes is refused */
    size_t n;
    char lines[64][300];
    enum cb_target_kind kind;
    char id[CB_CONTAINER_ID_SIZE];
    int opened_fd; /* inotify, of what must not have been opened yet; 0: none */
} told;

static void *born(void *context, const struct cb_cgroup_found *found)
{
    struct stat st;

    assert_ptr_equal(context, &told);
    assert_int_equal(fstat(found->dir_fd, &st), 0);
    assert_in_range(told.n, 0, 63);
    (void)snprintf(told.lines[told.n++], 300, "+%s", found->path);
    if (told.opened_fd) {
        char events[256];

        assert_int_equal(read(told.opened_fd, events, sizeof(events)), -1);
        assert_int_equal(errno, EAGAIN);
    }
    told.kind = found->kind;
    memcpy(told.id, found->container_id, sizeof(told.id));
    return told.full ? NULL : strdup(found->path);
}

static void gone(void *context, void *cookie)
{
    assert_ptr_equal(context, &told);
    (void)snprintf(told.lines[told.n++], 300, "-%s", cookie ? (char *)cookie : "");
    free(cookie);
}

static bool was_told(const char *line)
{
    for (size_t i = 0; i < told.n; i++)
        if (strcmp(told.lines[i], line) == 0)
            return true;
    return false;
}

static void make(const struct fake_root *root, const char *path)
{
    char full[300];

    (void)snprintf(full, sizeof(full), "%s/%s", root->dir, path);
    for (char *p = full + strlen(root->dir) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        (void)mkdir(full, 0755);
        *p = '/';
    }
    assert_int_equal(mkdir(full, 0755), 0);
}

static void unmake(const struct fake_root *root, const char *path)
{
    assert_int_equal(unlinkat(root->fd, path, AT_REMOVEDIR), 0);
}

static struct cb_cgroup_watch *open_watch(const struct fake_root *root, size_t n,
                                          const char *const *patterns)
{
    const struct cb_cgroup_options options = {
        .dir_fd = root->fd,
        .n_patterns = n,
        .patterns = patterns,
        .born = born,
        .gone = gone,
        .context = &told,
    };
    struct cb_cgroup_watch *watch = NULL;

    told.n = 0;
    assert_int_equal(cb_cgroup_watch_open(&options, &watch, NULL), 0);
    return watch;
}

/* Let go of everything; the cookies come back by gone(). */
static void close_watch(const struct fake_root *root, struct cb_cgroup_watch *watch)
{
    char command[200];

    (void)snprintf(command, sizeof(command), "find %s -mindepth 1 -delete", root->dir);
    assert_int_equal(system(command), 0);
    (void)cb_cgroup_watch_rescan(watch);
    watch = cb_cgroup_watch_close(watch);
}

static void finds_what_is_there_and_what_comes(void **state)
{
    struct fake_root *root = *state;
    struct cb_cgroup_watch *watch;

    make(root, "docker/" A);
    watch = open_watch(root, 0, NULL);
    assert_int_equal(told.n, 1);
    assert_string_equal(told.lines[0], "+/docker/" A);
    assert_string_equal(told.id, A);
    assert_int_equal(told.kind, CB_TARGET_CONTAINER);
    assert_false(cb_cgroup_watch_process(watch));
    make(root, "docker/" B);
    assert_true(cb_cgroup_watch_process(watch));
    assert_true(was_told("+/docker/" B));
    assert_false(cb_cgroup_watch_process(watch));
    unmake(root, "docker/" A);
    assert_true(cb_cgroup_watch_process(watch));
    assert_true(was_told("-/docker/" A));
    assert_int_equal(told.n, 3);
    close_watch(root, watch);
}

static void finds_a_container_below_parents_that_are_new_too(void **state)
{
    struct fake_root *root = *state;
    struct cb_cgroup_watch *watch = open_watch(root, 0, NULL);

    make(root, "kubepods/burstable/pod-1/" A);
    assert_true(cb_cgroup_watch_process(watch));
    assert_true(was_told("+/kubepods/burstable/pod-1/" A));
    make(root, "my-parent/" B); /* docker run --cgroup-parent */
    assert_true(cb_cgroup_watch_process(watch));
    assert_true(was_told("+/my-parent/" B));
    close_watch(root, watch);
}

static void takes_the_topmost_cgroup_of_a_container_only(void **state)
{
    struct fake_root *root = *state;
    struct cb_cgroup_watch *watch;

    make(root, "libpod-" A ".scope/container");
    make(root, "docker/" B "/docker/" A);
    watch = open_watch(root, 0, NULL);
    assert_int_equal(told.n, 2);
    make(root, "docker/" B "/init");
    assert_false(cb_cgroup_watch_process(watch));
    close_watch(root, watch);
    assert_int_equal(told.n, 4);
}

/* The layouts of tests/fixtures/runtimes/PROVENANCE.md, all on one machine. */
static void finds_the_containers_and_guests_of_every_runtime_once(void **state)
{
#define POD "8c8e3b52_1f0a_4f9e_9d6b_0d7f6f5a4c3b"
    static const char *const targets[] = {
        "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" POD
        ".slice/cri-containerd-" A ".scope",
        "kubepods.slice/kubepods-pod" POD ".slice/crio-" B ".scope",
        "machine.slice/libpod-" A ".scope",
        "user.slice/user-1000.slice/user@1000.service/user.slice/docker-" A ".scope",
        "system.slice/docker-" B ".scope",
        "k8s.io/" A,
        "libpod_parent/" A "/libpod-" B,
        "lxc.payload.web",
        "lxc.payload/db",
        "machine.slice/machine-qemu\\x2d3\\x2dvm.scope",
        "machine/qemu-1-vm.libvirt-qemu",
    };
    static const char *const others[] = {
        "kubepods.slice/kubepods-pod" POD ".slice/crio-conmon-" B ".scope",
        "machine.slice/libpod-conmon-" A ".scope",
        "lxc.monitor.web",
        "lxc.monitor/db",
        "lxc.pivot",
        "system.slice/ssh.service",
        "user.slice/user-1000.slice/session-1.scope",
    };
    static const char *const below[] = {
        "machine.slice/libpod-" A ".scope/container",
        "lxc.payload.web/.lxc",
        "lxc.payload.web/docker/" B,
        "machine.slice/machine-qemu\\x2d3\\x2dvm.scope/libvirt/vcpu0",
    };
    const size_t n = sizeof(targets) / sizeof(targets[0]);
    struct fake_root *root = *state;
    struct cb_cgroup_watch *watch;

    for (size_t i = 0; i < n / 2; i++)
        make(root, targets[i]);
    watch = open_watch(root, 0, NULL);
    for (size_t i = n / 2; i < n; i++)
        make(root, targets[i]);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        make(root, others[i]);
    for (size_t i = 0; i < sizeof(below) / sizeof(below[0]); i++)
        make(root, below[i]);
    (void)cb_cgroup_watch_process(watch);
    for (size_t i = 0; i < n; i++) {
        char line[300];

        (void)snprintf(line, sizeof(line), "+/%s", targets[i]);
        assert_true(was_told(line));
    }
    assert_int_equal(told.n, n);
    assert_false(cb_cgroup_watch_rescan(watch));
    close_watch(root, watch);
}

/* ---- pods with a parent of their own ---- */

static void make_with_procs(const struct fake_root *root, const char *path, const char *procs)
{
    char file[300];

    (void)snprintf(file, sizeof(file), "%s/cgroup.procs", path);
    fake_root_put(root, file, "%s", procs);
}

static void a_pod_that_is_there_is_none(void **state)
{
    struct fake_root *root = *state;
    struct cb_cgroup_watch *watch;

    make_with_procs(root, "my/" A, "");
    make(root, "my/" A "/conmon");
    make(root, "my/" A "/libpod-" B);
    watch = open_watch(root, 0, NULL);
    assert_int_equal(told.n, 1);
    assert_string_equal(told.lines[0], "+/my/" A "/libpod-" B);
    make(root, "my/" A "/libpod-" A);
    assert_true(cb_cgroup_watch_process(watch));
    assert_string_equal(told.lines[1], "+/my/" A "/libpod-" A);
    assert_int_equal(told.n, 2);
    close_watch(root, watch);
}

/* Podman makes the pod first, and its containers when it is started. */
static void a_pod_is_one_from_its_first_container_on(void **state)
{
    struct fake_root *root = *state;
    struct cb_cgroup_watch *watch = open_watch(root, 0, NULL);

    make_with_procs(root, "my/" A, "");
    (void)cb_cgroup_watch_process(watch);
    assert_int_equal(told.n, 1);
    assert_string_equal(told.lines[0], "+/my/" A);
    make(root, "my/" A "/conmon");
    assert_false(cb_cgroup_watch_process(watch));
    assert_false(cb_cgroup_watch_rescan(watch));
    make(root, "my/" A "/libpod-" B);
    assert_true(cb_cgroup_watch_process(watch));
    assert_int_equal(told.n, 3);
    assert_string_equal(told.lines[1], "-/my/" A);
    assert_string_equal(told.lines[2], "+/my/" A "/libpod-" B);
    assert_false(cb_cgroup_watch_rescan(watch));

    make_with_procs(root, "my/" B, "");
    (void)cb_cgroup_watch_process(watch);
    make(root, "my/" B "/libpod-" A);
    assert_true(cb_cgroup_watch_rescan(watch)); /* no event told */
    assert_int_equal(told.n, 6);
    assert_string_equal(told.lines[4], "-/my/" B);
    assert_string_equal(told.lines[5], "+/my/" B "/libpod-" A);
    close_watch(root, watch);
}

/* It may do all its work in milliseconds: what it is can be seen after that. */
static void a_young_container_is_told_before_it_is_looked_at(void **state)
{
    struct fake_root *root = *state;
    struct cb_cgroup_watch *watch = open_watch(root, 0, NULL);
    char procs[300], events[256];
    struct stat st;

    if (fstat(root->fd, &st) < 0 || st.st_nlink < 2) {
        print_message("this file system does not tell how many directories are in one\n");
        close_watch(root, watch);
        skip();
    }
    make_with_procs(root, "my/" A, "");
    (void)snprintf(procs, sizeof(procs), "%s/my/" A "/cgroup.procs", root->dir);
    told.opened_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    assert_true(inotify_add_watch(told.opened_fd, procs, IN_OPEN) >= 0);
    assert_true(cb_cgroup_watch_process(watch));
    assert_string_equal(told.lines[0], "+/my/" A);
    assert_true(read(told.opened_fd, events, sizeof(events)) > 0);
    (void)close(told.opened_fd);
    told.opened_fd = 0;
    close_watch(root, watch);
}

static void a_pod_that_was_asked_for_is_a_target(void **state)
{
    static const char *const patterns[] = {"my/*"};
    struct fake_root *root = *state;
    struct cb_cgroup_watch *watch;

    make_with_procs(root, "my/" A, "");
    make(root, "my/" A "/libpod-" B);
    watch = open_watch(root, 1, patterns);
    assert_int_equal(told.n, 1);
    assert_string_equal(told.lines[0], "+/my/" A);
    assert_false(cb_cgroup_watch_rescan(watch));
    close_watch(root, watch);
}

static void a_container_with_podman_in_it_is_no_pod(void **state)
{
    struct fake_root *root = *state;
    struct cb_cgroup_watch *watch;

    make_with_procs(root, "docker/" A, "12\n34\n56\n78\n90\n123\n456\n");
    make(root, "docker/" A "/libpod-" B);
    make_with_procs(root, "docker/" B, "");
    make(root, "docker/" B "/init");
    make(root, "docker/" B "/libpod-" A);
    make_with_procs(root, "other/" A, "");
    make(root, "other/" A "/libpod-payload-" B);
    watch = open_watch(root, 0, NULL);
    make_with_procs(root, "other/" B, "");
    (void)cb_cgroup_watch_process(watch);
    assert_int_equal(told.n, 4);
    assert_true(was_told("+/docker/" A) && was_told("+/docker/" B));
    assert_true(was_told("+/other/" A) && was_told("+/other/" B));
    make_with_procs(root, "other/" B, "12\n"); /* only now is there somebody */
    make(root, "other/" B "/libpod-" A);
    assert_false(cb_cgroup_watch_process(watch));
    make_with_procs(root, "other/" B, ""); /* and that is settled */
    make(root, "other/" B "/libpod-" B);
    assert_false(cb_cgroup_watch_process(watch));
    assert_false(cb_cgroup_watch_rescan(watch));
    assert_int_equal(told.n, 4);
    assert_int_equal(cb_cgroup_watch_unwatched(watch), 0);
    close_watch(root, watch);
}

/* One call after the other fails: three of the look, then one of the scan. */
static void what_cannot_be_looked_at_is_looked_at_again(void **state)
{
    struct fake_root *root = *state;
    struct cb_cgroup_watch *watch = open_watch(root, 0, NULL);
    int k;

    make_with_procs(root, "my/" A, "");
    make(root, "my/" A "/conmon");
    (void)cb_cgroup_watch_process(watch);
    make(root, "my/" A "/libpod-" B);
    for (k = 0; told.n == 1 && k < 8; k++) {
        fault_arm(k);
        (void)cb_cgroup_watch_process(watch);
        fault_disarm();
        assert_int_equal(cb_cgroup_watch_unread(watch), k + 1);
        if (k % 2)
            make(root, "my/" A "/conmon"); /* another event */
        else
            unmake(root, "my/" A "/conmon");
    }
    assert_int_equal(k, 4);
    assert_int_equal(told.n, 2);
    assert_string_equal(told.lines[1], "-/my/" A);
    assert_true(cb_cgroup_watch_rescan(watch));
    assert_int_equal(told.n, 3);
    assert_string_equal(told.lines[2], "+/my/" A "/libpod-" B);
    close_watch(root, watch);
}

static void counts_plain_cgroups_that_match_a_pattern(void **state)
{
    static const char *const patterns[] = {"work/*", "system.slice/*.service"};
    struct fake_root *root = *state;
    struct cb_cgroup_watch *watch = open_watch(root, 2, patterns);

    make(root, "work/a");
    make(root, "work/a/b");
    make(root, "system.slice/cron.service");
    make(root, "system.slice/x.mount");
    assert_true(cb_cgroup_watch_process(watch));
    assert_true(was_told("+/work/a"));
    assert_true(was_told("+/system.slice/cron.service"));
    assert_int_equal(told.n, 2);
    assert_int_equal(told.kind, CB_TARGET_CGROUP);
    assert_string_equal(told.id, "");
    close_watch(root, watch);
}

static void tells_a_directory_made_anew_from_the_old_one(void **state)
{
    struct fake_root *root = *state;
    struct cb_cgroup_watch *watch = open_watch(root, 0, NULL);

    make(root, "docker/" A);
    (void)cb_cgroup_watch_process(watch);
    unmake(root, "docker/" A);
    make(root, "docker/" B); /* takes the inode, so that A gets another one */
    make(root, "docker/" A);
    assert_true(cb_cgroup_watch_process(watch));
    assert_string_equal(told.lines[0], "+/docker/" A);
    assert_string_equal(told.lines[1], "-/docker/" A);
    assert_true(was_told("+/docker/" B));
    assert_int_equal(told.n, 4);
    close_watch(root, watch);
}

static void one_that_was_refused_is_offered_again_by_a_rescan(void **state)
{
    static const char *const patterns[] = {"work/*"};
    struct fake_root *root = *state;
    struct cb_cgroup_watch *watch = open_watch(root, 1, patterns);

    told.full = true;
    make(root, "docker/" A);
    make(root, "work/a");
    (void)cb_cgroup_watch_process(watch);
    assert_int_equal(told.n, 2);
    assert_false(cb_cgroup_watch_rescan(watch));
    assert_int_equal(told.n, 6); /* each is gone, and there again */
    unmake(root, "docker/" A);
    (void)cb_cgroup_watch_process(watch);
    assert_string_equal(told.lines[6], "-");
    told.full = false;
    assert_true(cb_cgroup_watch_rescan(watch));
    assert_int_equal(told.n, 9);
    assert_string_equal(told.lines[7], "-");
    assert_string_equal(told.lines[8], "+/work/a");
    assert_int_equal(told.kind, CB_TARGET_CGROUP);
    assert_false(cb_cgroup_watch_rescan(watch));
    assert_int_equal(told.n, 9);
    close_watch(root, watch);
}

static void a_short_life_leaves_nothing_behind(void **state)
{
    struct fake_root *root = *state;
    struct cb_cgroup_watch *watch = open_watch(root, 0, NULL);

    for (int i = 0; i < 100; i++) {
        make(root, "docker/x/y/" A);
        unmake(root, "docker/x/y/" A);
        unmake(root, "docker/x/y");
        unmake(root, "docker/x");
        unmake(root, "docker");
        (void)cb_cgroup_watch_process(watch);
    }
    (void)cb_cgroup_watch_rescan(watch);
    assert_true(told.n % 2 == 0);
    assert_int_equal(cb_cgroup_watch_unwatched(watch), 0);
    close_watch(root, watch);
}

static void a_rescan_finds_what_no_event_told(void **state)
{
    struct fake_root *root = *state;
    struct cb_cgroup_watch *watch;

    make(root, "docker/" A);
    watch = open_watch(root, 0, NULL);
    make(root, "docker/" B);
    unmake(root, "docker/" A);
    make(root, "other/" A);
    /* nothing processed: as if the queue had overflowed */
    assert_true(cb_cgroup_watch_rescan(watch));
    assert_true(was_told("+/docker/" B));
    assert_true(was_told("-/docker/" A));
    assert_true(was_told("+/other/" A));
    assert_int_equal(told.n, 4);
    /* the events that come late change nothing any more */
    assert_false(cb_cgroup_watch_process(watch));
    assert_false(cb_cgroup_watch_rescan(watch));
    assert_int_equal(told.n, 4);
    close_watch(root, watch);
}

static void follows_a_rename(void **state)
{
    struct fake_root *root = *state;
    struct cb_cgroup_watch *watch;

    make(root, "docker/" A);
    watch = open_watch(root, 0, NULL);
    assert_int_equal(renameat(root->fd, "docker/" A, root->fd, "docker/" B), 0);
    assert_true(cb_cgroup_watch_process(watch));
    assert_true(was_told("-/docker/" A));
    assert_true(was_told("+/docker/" B));
    close_watch(root, watch);
}

/* Fail the first call, then the second, ... and at last none: what is missed is found later. */
static void every_failure_is_made_good_by_a_rescan(void **state)
{
    struct fake_root *root = *state;
    int fds_before = count_open_fds();
    int k;

    make(root, "docker/" A);
    for (k = 0; k < 32; k++) {
        const struct cb_cgroup_options options = {
            .dir_fd = root->fd, .born = born, .gone = gone, .context = &told};
        struct cb_cgroup_watch *watch = NULL;
        struct cb_err err = {0};
        size_t at_once;
        int r;

        told.n = 0;
        fault_arm(k);
        r = cb_cgroup_watch_open(&options, &watch, &err);
        fault_disarm();
        at_once = told.n;
        if (r == 0) {
            (void)cb_cgroup_watch_rescan(watch);
            assert_int_equal(told.n, 1);
            unmake(root, "docker/" A);
            (void)cb_cgroup_watch_process(watch);
            assert_int_equal(told.n, 2);
            make(root, "docker/" A);
        } else {
            assert_int_equal(r, -err.code);
        }
        watch = cb_cgroup_watch_close(watch);
        assert_int_equal(count_open_fds(), fds_before);
        if (at_once == 1 && k > 6)
            break;
    }
    assert_in_range(k, 6, 31);
}

/* One call of a rescan fails after the other. */
static void a_rescan_that_fails_ends_nobody(void **state)
{
    struct fake_root *root = *state;
    struct cb_cgroup_watch *watch;
    bool any = true;
    int k;

    make(root, "docker/" A);
    make(root, "a.slice/b.slice/docker-" B ".scope");
    watch = open_watch(root, 0, NULL);
    for (k = 0; k < 32 && any; k++) {
        fault_arm(k);
        assert_false(cb_cgroup_watch_rescan(watch));
        fault_disarm();
        any = cb_cgroup_watch_unread(watch) > 0;
        assert_int_equal(told.n, 2);
    }
    assert_in_range(k, 6, 31); /* two opens in each of four directories */
    make(root, "docker/" B);
    fault_arm(0);
    assert_false(cb_cgroup_watch_process(watch));
    fault_disarm();
    assert_int_equal(cb_cgroup_watch_unread(watch), 1);
    assert_int_equal(told.n, 2);
    assert_true(cb_cgroup_watch_rescan(watch));
    assert_int_equal(cb_cgroup_watch_unread(watch), 0);
    assert_true(was_told("+/docker/" B));
    close_watch(root, watch);
}

static void without_descriptors_an_end_is_seen_all_the_same(void **state)
{
    struct fake_root *root = *state;
    struct cb_cgroup_watch *watch;
    struct rlimit before;
    struct rlimit none;

    make(root, "docker/" A);
    make(root, "docker/" B);
    watch = open_watch(root, 0, NULL);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){.rlim_cur = 3, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    unmake(root, "docker/" A);
    assert_true(cb_cgroup_watch_process(watch));
    assert_true(was_told("-/docker/" A));
    unmake(root, "docker/" B);
    assert_true(cb_cgroup_watch_rescan(watch));
    assert_true(was_told("-/docker/" B));
    assert_int_equal(told.n, 4);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    close_watch(root, watch);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_root_setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        TEST(finds_what_is_there_and_what_comes),
        TEST(finds_a_container_below_parents_that_are_new_too),
        TEST(takes_the_topmost_cgroup_of_a_container_only),
        TEST(finds_the_containers_and_guests_of_every_runtime_once),
        TEST(a_pod_that_is_there_is_none),
        TEST(a_pod_is_one_from_its_first_container_on),
        TEST(a_young_container_is_told_before_it_is_looked_at),
        TEST(a_pod_that_was_asked_for_is_a_target),
        TEST(a_container_with_podman_in_it_is_no_pod),
        TEST(what_cannot_be_looked_at_is_looked_at_again),
        TEST(counts_plain_cgroups_that_match_a_pattern),
        TEST(tells_a_directory_made_anew_from_the_old_one),
        TEST(one_that_was_refused_is_offered_again_by_a_rescan),
        TEST(a_short_life_leaves_nothing_behind),
        TEST(a_rescan_finds_what_no_event_told),
        TEST(follows_a_rename),
        TEST(every_failure_is_made_good_by_a_rescan),
        TEST(a_rescan_that_fails_ends_nobody),
        TEST(without_descriptors_an_end_is_seen_all_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
