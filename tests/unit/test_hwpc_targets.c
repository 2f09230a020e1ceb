/* SPDX-License-Identifier: Apache-2.0 */
/* test_hwpc_targets.c - sensor/hwpc_leaves.c, hwpc_targets.c and hwpc_set.c: which cgroups have
 * reports, and what is in them. Software events of the machine stand for those of cgroups. */
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/err.h"
#include "sensor/hwpc_leaves.h"
#include "sensor/hwpc_set.h"
#include "sensor/hwpc_targets.h"
#include "sensor/perf.h"
#include "tests/support/fake_root.h"
#include "tests/support/fault.h"
#include "tests/support/hybrid.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void make_dir(const struct fake_root *root, const char *path)
{
    char file[256];

    (void)snprintf(file, sizeof(file), "%s/cgroup.procs", path);
    fake_root_put(root, file, "\n");
}

static void leaves_are_directories_without_directories(void **state)
{
    struct fake_root *root = *state;
    struct cb_hwpc_leaves leaves;

    assert_int_equal(cb_hwpc_leaves_find(root->fd, &leaves, NULL), 0);
    assert_int_equal(leaves.n, 0); /* the base itself is none */
    make_dir(root, "system.slice/b.service");
    make_dir(root, "system.slice/a.service");
    make_dir(root, "docker/" ID "/init");
    make_dir(root, "empty");
    assert_int_equal(symlinkat("empty", root->fd, "link"), 0);
    cb_hwpc_leaves_fini(&leaves);
    assert_int_equal(cb_hwpc_leaves_find(root->fd, &leaves, NULL), 0);
    assert_int_equal(leaves.n, 4);
    assert_string_equal(leaves.at[0].path, "/docker/" ID "/init");
    assert_string_equal(leaves.at[1].path, "/empty");
    assert_string_equal(leaves.at[2].path, "/system.slice/a.service");
    assert_string_equal(leaves.at[3].path, "/system.slice/b.service");
    assert_true(leaves.at[2].inode != leaves.at[3].inode);
    cb_hwpc_leaves_fini(&leaves);
}

static void a_tree_without_end_is_refused(void **state)
{
    struct fake_root *root = *state;
    struct cb_hwpc_leaves leaves;
    struct cb_err err = {0};
    int fds = count_open_fds();
    int fd = dup(root->fd);

    for (int depth = 0; depth < 70; depth++) {
        int next;

        assert_int_equal(mkdirat(fd, "d", 0755), 0);
        next = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        (void)close(fd);
        fd = next;
    }
    (void)close(fd);
    assert_int_equal(cb_hwpc_leaves_find(root->fd, &leaves, &err), -ELOOP);
    assert_int_equal(leaves.n, 0);
    assert_int_equal(count_open_fds(), fds);
}

static void dockers_name_comes_from_its_file(void **state)
{
    struct fake_root *root = *state;
    char *name;

    fake_root_put(root, "var/lib/docker/containers/" ID "/config.v2.json",
                  "{\"ID\":\"" ID "\",\"Name\":\"/web\",\"Config\":{\"Image\":\"x\"}}");
    name = cb_hwpc_docker_name(root->fd, "/system.slice/docker-" ID ".scope");
    assert_string_equal(name, "web");
    free(name);
    assert_null(cb_hwpc_docker_name(root->fd, "/system.slice/ssh.service"));
    assert_null(cb_hwpc_docker_name(root->fd, "/docker/f" ID));
}

/* ---- counting, with what every machine has ---- */

static struct cb_topology topology;

static int open_set(const struct cb_hwpc_groups *groups, bool machine, struct cb_hwpc_set **set,
                    struct cb_err *err)
{
    int root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r;

    assert_int_equal(cb_topology_init(&topology, root_fd, NULL), 0);
    r = cb_hwpc_set_open(root_fd, &topology, groups, machine, set, err);
    (void)close(root_fd);
    return r;
}

static char e_clock[] = "cpu-clock", e_switches[] = "context-switches", e_none[] = "NO_SUCH_EVENT",
            e_instructions[] = "instructions", e_two[] = "cpu-clock,page-faults", g_all[] = "all",
            g_one[] = "one";

static bool may_count(void)
{
    struct cb_hwpc_groups groups = {.n = 1,
                                    .at = {{.name = g_all, .n_events = 1, .events = {e_clock}}}};
    struct cb_hwpc_set *set = NULL;
    struct cb_err err = {0};
    int r = open_set(&groups, true, &set, &err);

    set = cb_hwpc_set_close(set);
    cb_topology_fini(&topology);
    if (r < 0)
        print_message("%s\n", err.text);
    assert_true(r == 0 || r == -EACCES || r == -EPERM); /* a right that is missing, no fault */
    return r == 0;
}

static void a_set_has_every_cpu_or_one_of_each_package(void **state)
{
    struct cb_hwpc_groups groups = {
        .n = 2,
        .at = {{.name = g_all, .n_events = 2, .events = {e_switches, e_clock}},
               {.name = g_one, .one_cpu = true, .n_events = 1, .events = {e_clock}}}};
    struct cb_hwpc_set *set = NULL;
    struct cb_hwpc_target *target = NULL;
    const struct cb_hwpc_form *form;
    uint64_t *values;

    (void)state;
    if (!may_count())
        skip();
    assert_int_equal(open_set(&groups, true, &set, NULL), 0);
    form = cb_hwpc_set_form(set);
    assert_int_equal(form->n_groups, 2);
    assert_int_equal(form->groups[0].n_cpus, topology.n_cpus);
    assert_int_equal(form->groups[0].n_names, 4);
    assert_string_equal(form->groups[0].names[0], "context-switches");
    assert_string_equal(form->groups[0].names[1], "cpu-clock");
    assert_string_equal(form->groups[0].names[2], "time_enabled");
    assert_string_equal(form->groups[0].names[3], "time_running");
    assert_int_equal(form->groups[1].n_cpus, topology.n_sockets);
    assert_int_equal(form->n_values, 4 * topology.n_cpus + 3 * topology.n_sockets);
    assert_int_equal(cb_hwpc_target_open(set, -1, &target, NULL), 0);
    values = calloc(form->n_values, sizeof(*values));
    assert_int_equal(cb_hwpc_target_read(set, target, UINT64_MAX, values, NULL), 0);
    (void)usleep(50000);
    assert_int_equal(cb_hwpc_target_read(set, target, UINT64_MAX, values, NULL), 0);
    for (size_t c = 0; c < topology.n_cpus; c++) { /* a CPU's clock goes on in idle, too */
        const uint64_t *row = values + c * 4;

        assert_in_range(row[1], 40 * 1000 * 1000, 5000ull * 1000 * 1000);
        assert_in_range(row[2], row[1] / 100 * 95, row[1] / 100 * 105);
        assert_int_equal(row[2], row[3]);
    }
    free(values);
    target = cb_hwpc_target_close(set, target);
    set = cb_hwpc_set_close(set);
    cb_topology_fini(&topology);
}

/* Each CPU of the machine is our first, and every event its clock. */
static long open_hybrid(long number, const long args[6])
{
    struct perf_event_attr attr;
    long real[6];

    if (number != SYS_perf_event_open)
        return fault_real_syscall(number, args);
    memcpy(&attr, (const void *)args[0], sizeof(attr));
    if (hybrid_refuses(&attr, args[2])) {
        errno = EINVAL;
        return -1;
    }
    attr.type = PERF_TYPE_SOFTWARE;
    attr.config = PERF_COUNT_SW_CPU_CLOCK;
    memcpy(real, args, sizeof(real));
    real[0] = (long)&attr;
    real[2] = 0;
    return fault_real_syscall(number, real);
}

static void two_groups_on_a_cpu_have_the_time_of_one(void **state)
{
    struct cb_hwpc_groups groups = {
        .n = 1, .at = {{.name = g_all, .n_events = 2, .events = {e_instructions, e_clock}}}};
    int root_fd = open("tests/fixtures/hybrid", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct cb_hwpc_target *target = NULL;
    struct cb_hwpc_set *set = NULL;
    const struct cb_hwpc_form *form;
    uint64_t *values;

    (void)state;
    if (!may_count())
        skip();
    assert_int_equal(cb_topology_init(&topology, root_fd, NULL), 0);
    fault_syscall = open_hybrid;
    assert_int_equal(cb_hwpc_set_open(root_fd, &topology, &groups, false, &set, NULL), 0);
    assert_int_equal(cb_hwpc_target_open(set, -1, &target, NULL), 0);
    fault_syscall = NULL;
    form = cb_hwpc_set_form(set);
    assert_int_equal(form->n_values, 4 * topology.n_cpus);
    values = calloc(form->n_values, sizeof(*values));
    assert_int_equal(cb_hwpc_target_read(set, target, UINT64_MAX, values, NULL), 0);
    (void)usleep(50000);
    assert_int_equal(cb_hwpc_target_read(set, target, UINT64_MAX, values, NULL), 0);
    for (size_t c = 0; c < topology.n_cpus; c++) {
        const uint64_t *row = values + c * 4; /* cpu-clock, instructions, enabled, running */

        assert_in_range(row[0], 40 * 1000 * 1000, 5000ull * 1000 * 1000);
        assert_in_range(row[2], row[0] / 100 * 90, row[0] / 100 * 110);
        assert_int_equal(row[2], row[3]);
    }
    free(values);
    target = cb_hwpc_target_close(set, target);
    set = cb_hwpc_set_close(set);
    cb_topology_fini(&topology);
    (void)close(root_fd);
}

static void an_event_that_cannot_be_counted_is_an_error(void **state)
{
    static const struct {
        char *event;
        const char *text;
    } bad[] = {{e_none, "NO_SUCH_EVENT"}, {e_two, "an -e of its own"}};

    (void)state;
    if (!may_count())
        skip();
    for (size_t i = 0; i < 2; i++) {
        struct cb_hwpc_groups groups = {
            .n = 1, .at = {{.name = g_one, .n_events = 2, .events = {e_clock, bad[i].event}}}};
        struct cb_hwpc_set *set = NULL;
        struct cb_err err = {0};
        int fds = count_open_fds();

        assert_true(open_set(&groups, false, &set, &err) < 0);
        assert_non_null(strstr(err.text, "group 'one'"));
        assert_non_null(strstr(err.text, bad[i].text));
        assert_int_equal(count_open_fds(), fds);
        cb_topology_fini(&topology);
    }
}

/* A directory that is no cgroup cannot be counted: it has no reports, and nothing stops. */
static void what_cannot_be_counted_is_left_out(void **state)
{
    struct fake_root *root = *state;
    struct cb_hwpc_groups groups = {.n = 1,
                                    .at = {{.name = g_all, .n_events = 1, .events = {e_clock}}}};
    struct cb_hwpc_targets *targets = NULL;
    struct cb_hwpc_batch batch = {0};
    struct cb_hwpc_set *set = NULL;
    struct cb_hwpc_targets_options options = {.root_fd = root->fd, .base_fd = root->fd};

    if (!may_count())
        skip();
    make_dir(root, "a");
    make_dir(root, "b");
    assert_int_equal(open_set(&groups, false, &set, NULL), 0);
    options.set = set;
    assert_int_equal(cb_hwpc_targets_open(&options, &targets, NULL), 0);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(cb_hwpc_targets_discover(targets, NULL), 0);
        assert_int_equal(cb_hwpc_targets_n(targets), 2);
        assert_int_equal(cb_hwpc_targets_read(targets, 1000, &batch), 0);
        assert_int_equal(batch.n, 0);
    }
    assert_int_equal(unlinkat(root->fd, "b/cgroup.procs", 0), 0);
    assert_int_equal(unlinkat(root->fd, "b", AT_REMOVEDIR), 0);
    assert_int_equal(cb_hwpc_targets_discover(targets, NULL), 0);
    assert_int_equal(cb_hwpc_targets_read(targets, 1000, &batch), 0);
    assert_int_equal(cb_hwpc_targets_n(targets), 1);
    targets = cb_hwpc_targets_close(targets);
    set = cb_hwpc_set_close(set);
    cb_topology_fini(&topology);
    cb_hwpc_batch_fini(&batch);
}

static int too_many_files;

/* Cgroups are counted by the machine's counters, while there are descriptors. */
static long open_for_the_machine(long number, const long args[6])
{
    long machine[6];

    if (number != SYS_perf_event_open)
        return fault_real_syscall(number, args);
    if (too_many_files) {
        errno = EMFILE;
        return -1;
    }
    memcpy(machine, args, sizeof(machine));
    machine[1] = -1;
    machine[4] &= ~(long)PERF_FLAG_PID_CGROUP;
    return fault_real_syscall(number, machine);
}

static void what_had_no_descriptors_is_counted_when_there_are_some(void **state)
{
    struct fake_root *root = *state;
    struct cb_hwpc_groups groups = {.n = 1,
                                    .at = {{.name = g_all, .n_events = 1, .events = {e_clock}}}};
    struct cb_hwpc_targets *targets = NULL;
    struct cb_hwpc_batch batch = {0};
    struct cb_hwpc_set *set = NULL;
    struct cb_hwpc_targets_options options = {.root_fd = root->fd, .base_fd = root->fd};

    if (!may_count())
        skip();
    make_dir(root, "a");
    assert_int_equal(open_set(&groups, false, &set, NULL), 0);
    options.set = set;
    assert_int_equal(cb_hwpc_targets_open(&options, &targets, NULL), 0);
    fault_syscall = open_for_the_machine;
    for (too_many_files = 1; too_many_files >= 0; too_many_files--) {
        assert_int_equal(cb_hwpc_targets_discover(targets, NULL), 0);
        cb_hwpc_batch_reset(&batch, "s", 1);
        assert_int_equal(cb_hwpc_targets_read(targets, 1000, &batch), 0);
        assert_int_equal(batch.n, !too_many_files);
    }
    fault_syscall = NULL;
    targets = cb_hwpc_targets_close(targets);
    set = cb_hwpc_set_close(set);
    cb_topology_fini(&topology);
    cb_hwpc_batch_fini(&batch);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_root_setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        TEST(leaves_are_directories_without_directories),
        TEST(a_tree_without_end_is_refused),
        TEST(dockers_name_comes_from_its_file),
        cmocka_unit_test(a_set_has_every_cpu_or_one_of_each_package),
        cmocka_unit_test(two_groups_on_a_cpu_have_the_time_of_one),
        cmocka_unit_test(an_event_that_cannot_be_counted_is_an_error),
        TEST(what_cannot_be_counted_is_left_out),
        TEST(what_had_no_descriptors_is_counted_when_there_are_some),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
