/* SPDX-License-Identifier: Apache-2.0 */
/* test_hwpc_hotplug.c - sensor/hwpc_{run,hotplug,cpus}.c on CPUs that a tree of our own says are
 * online: the reports of a run, as CSV. */
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/err.h"
#include "lib/log.h"
#include "sensor/hwpc_cpus.h"
#include "sensor/hwpc_run.h"
#include "sensor/hwpc_set.h"
#include "sensor/mounts.h"
#include "sensor/perf.h"
#include "tests/support/fake_root.h"
#include "tests/support/fault.h"

#define CPUS "sys/devices/system/cpu/"
#define MASK "sys/bus/event_source/devices/power/cpumask"
#define WAIT_S 20

static char e_clock[] = "cpu-clock", g_all[] = "all", g_one[] = "one", g_core[] = "core";

/* A run of the machine's groups "all" and "one" (-o), and of "core" in a cgroup. */
struct lab {
    struct fake_root *root;
    struct cb_topology topology;
    struct cb_hwpc_options options;
    struct cb_hwpc_run *run;
    char out[80];
    int stop_fd;
    char base[4200]; /* cgroup; "": none can be made */
    int base_fd;
    pid_t busy; /* on CPU 1, in the cgroup's leaf */
    pthread_t thread;
};

static bool has_two_cpus(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_ISSET(0, &set) && CPU_ISSET(1, &set);
}

static void spin_on_cpu_1(const char *leaf)
{
    char path[4300];
    cpu_set_t set;
    FILE *file;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)snprintf(path, sizeof(path), "%s/cgroup.procs", leaf);
    file = fopen(path, "we");
    CPU_ZERO(&set);
    CPU_SET(1, &set);
    if (!file || fputs("0", file) == EOF || fclose(file) != 0 ||
        sched_setaffinity(0, sizeof(set), &set) < 0)
        _exit(1);
    for (;;)
        continue;
}

static void make_cgroup(struct lab *lab)
{
    cb_auto_close int root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct cb_mount mount;
    char leaf[4250];

    lab->base_fd = -1;
    if (cb_mounts_find_cgroup(root_fd, "perf_event", &mount, NULL) < 0 &&
        cb_mounts_find_cgroup(root_fd, NULL, &mount, NULL) < 0)
        return;
    (void)snprintf(lab->base, sizeof(lab->base), "%s/cbtest.%d", mount.point, (int)getpid());
    (void)snprintf(leaf, sizeof(leaf), "%s/leaf", lab->base);
    if (mkdir(lab->base, 0755) < 0 || mkdir(leaf, 0755) < 0) {
        lab->base[0] = '\0';
        return;
    }
    lab->base_fd = open(lab->base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(lab->base_fd >= 0);
    lab->busy = fork();
    assert_true(lab->busy >= 0);
    if (lab->busy == 0)
        spin_on_cpu_1(leaf);
    lab->options.cgroups = (struct cb_hwpc_groups){
        .n = 1, .at = {{.name = g_core, .n_events = 1, .events = {e_clock}}}};
}

static void remove_cgroup(struct lab *lab)
{
    char leaf[4250];
    int tries = 0;

    if (!lab->base[0])
        return;
    (void)kill(lab->busy, SIGKILL);
    (void)waitpid(lab->busy, NULL, 0);
    (void)close(lab->base_fd);
    (void)snprintf(leaf, sizeof(leaf), "%s/leaf", lab->base);
    while (rmdir(leaf) < 0 && errno == EBUSY && ++tries < 100)
        (void)usleep(10000);
    assert_int_equal(rmdir(lab->base), 0);
}

static void *run(void *context)
{
    struct lab *lab = context;
    struct cb_err err = {0};

    if (cb_hwpc_run(lab->run, &err) < 0)
        (void)fprintf(stderr, "%s\n", err.text);
    return NULL;
}

static bool lab_open(struct lab *lab, struct fake_root *root, const char *online)
{
    static char name[] = "s";
    struct cb_err err = {0};

    *lab = (struct lab){.root = root, .stop_fd = eventfd(0, EFD_CLOEXEC)};
    lab->options = (struct cb_hwpc_options){
        .tick_ns = 20000000,
        .discovery_ns = 1000000000,
        .storage = CB_HWPC_CSV,
        .where = lab->out,
        .system = {.n = 2,
                   .at = {{.name = g_all, .n_events = 1, .events = {e_clock}},
                          {.name = g_one, .one_cpu = true, .n_events = 1, .events = {e_clock}}}}};
    (void)snprintf(lab->out, sizeof(lab->out), "%s/out", root->dir);
    cb_log_init("test", CB_LOG_WARN, false);
    fake_root_put(root, CPUS "online", "%s\n", online);
    fake_root_put(root, CPUS "possible", "0-1\n");
    assert_int_equal(cb_topology_init(&lab->topology, root->fd, NULL), 0);
    make_cgroup(lab);
    if (!has_two_cpus() ||
        cb_hwpc_run_open(&(struct cb_hwpc_run_options){.root_fd = root->fd,
                                                       .topology = &lab->topology,
                                                       .options = &lab->options,
                                                       .name = name,
                                                       .base_fd = lab->base_fd,
                                                       .leading_slash = true,
                                                       .signal_fd = lab->stop_fd},
                         &lab->run, &err) < 0) {
        print_message("needs two CPUs and the right to count: %s\n", err.text);
        remove_cgroup(lab);
        cb_topology_fini(&lab->topology);
        (void)close(lab->stop_fd);
        return false;
    }
    assert_int_equal(pthread_create(&lab->thread, NULL, run, lab), 0);
    return true;
}

static void lab_close(struct lab *lab)
{
    assert_int_equal(eventfd_write(lab->stop_fd, 1), 0);
    assert_int_equal(pthread_join(lab->thread, NULL), 0);
    assert_int_equal(cb_hwpc_run_close(lab->run, NULL), 0);
    remove_cgroup(lab);
    cb_topology_fini(&lab->topology);
    (void)close(lab->stop_fd);
}

/* What the newest tick of a group says that CPU @cpu counted: its rows' cpu-clock; -1: no row. */
static long long newest(const struct lab *lab, const char *group, const char *cpu)
{
    char path[128], line[256];
    long long newest_ms = 0, value = -1;
    FILE *in;

    (void)snprintf(path, sizeof(path), "%s/%s.csv", lab->out, group);
    in = fopen(path, "re");
    assert_non_null(in);
    while (fgets(line, sizeof(line), in)) {
        char of[16];
        long long ms, count;

        if (!strchr(line, '\n') ||
            sscanf(line, "%lld,s,%*[^,],%*[^,],%15[^,],%lld,", &ms, of, &count) != 3)
            continue;
        if (ms > newest_ms)
            value = -1;
        newest_ms = ms;
        if (strcmp(of, cpu) == 0)
            value = count;
    }
    (void)fclose(in);
    return value;
}

enum is { NOT_THERE, ZERO, COUNTING };

static void wait_until(const struct lab *lab, const char *group, const char *cpu, enum is wanted)
{
    for (int i = 0; i < WAIT_S * 50; i++) {
        long long value = newest(lab, group, cpu);

        if ((value < 0 ? NOT_THERE : value == 0 ? ZERO : COUNTING) == wanted)
            return;
        (void)usleep(20000);
    }
    fail_msg("CPU %s of group %s is still not %d", cpu, group, wanted);
}

/* Of the machine, and of a cgroup where there is one to count. */
static void wait_until_all(const struct lab *lab, const char *cpu, enum is wanted)
{
    wait_until(lab, "all", cpu, wanted);
    if (lab->base[0])
        wait_until(lab, "core", cpu, wanted);
}

static void set_online(const struct lab *lab, const char *list)
{
    fake_root_put(lab->root, CPUS "online", "%s\n", list);
}

static void a_cpu_that_goes_has_zeros_and_counts_again_when_it_is_back(void **state)
{
    struct lab lab;

    if (!lab_open(&lab, *state, "0-1"))
        skip();
    for (int round = 0; round < 2; round++) {
        wait_until_all(&lab, "1", COUNTING);
        set_online(&lab, "0");
        wait_until_all(&lab, "1", ZERO);
        wait_until(&lab, "all", "0", COUNTING);
        set_online(&lab, "0-1");
    }
    wait_until_all(&lab, "1", COUNTING);
    lab_close(&lab);
}

static void a_cpu_that_was_not_there_has_rows_from_then_on(void **state)
{
    struct lab lab;

    if (!lab_open(&lab, *state, "0"))
        skip();
    wait_until(&lab, "all", "0", COUNTING);
    wait_until(&lab, "all", "1", NOT_THERE);
    set_online(&lab, "0-1");
    wait_until_all(&lab, "1", COUNTING);
    wait_until(&lab, "one", "1", NOT_THERE);
    lab_close(&lab);
}

static void another_cpu_stands_for_a_package_whose_first_is_gone(void **state)
{
    struct lab lab;

    if (!lab_open(&lab, *state, "0-1"))
        skip();
    wait_until(&lab, "one", "0", COUNTING);
    set_online(&lab, "1");
    wait_until(&lab, "all", "0", ZERO);
    wait_until(&lab, "one", "0", COUNTING); /* its row keeps its name */
    wait_until(&lab, "one", "1", NOT_THERE);
    lab_close(&lab);
}

/* What the kernel does with the counters of a CPU that is offline and back between two looks. */
static void stop_all_counters(void)
{
    for (int fd = 3; fd < 256; fd++) {
        char path[32], what[64];
        ssize_t n;

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        n = readlink(path, what, sizeof(what) - 1);
        what[n < 0 ? 0 : n] = '\0';
        if (strstr(what, "perf_event"))
            assert_int_equal(ioctl(fd, PERF_EVENT_IOC_DISABLE, 0), 0);
    }
}

static void counters_that_stand_still_are_opened_anew(void **state)
{
    struct lab lab;

    if (!lab_open(&lab, *state, "0-1"))
        skip();
    wait_until(&lab, "all", "1", COUNTING);
    stop_all_counters();
    (void)usleep(300000);
    wait_until(&lab, "all", "0", COUNTING);
    wait_until_all(&lab, "1", COUNTING);
    lab_close(&lab);
}

/* The next that are to be opened on CPU 1 are not. */
static atomic_int refused;

static long refuse_cpu_1(long number, const long args[6])
{
    int left = refused;

    if (number == SYS_perf_event_open && args[2] == 1 && left > 0) {
        refused = left - 1;
        errno = EMFILE;
        return -1;
    }
    return fault_real_syscall(number, args);
}

static void a_cpu_that_could_not_be_counted_is_tried_again(void **state)
{
    struct lab lab;

    fault_syscall = refuse_cpu_1;
    if (lab_open(&lab, *state, "0-1")) {
        wait_until_all(&lab, "1", COUNTING);
        set_online(&lab, "0");
        wait_until_all(&lab, "1", ZERO);
        refused = 5; /* all when it comes, and some of the second try */
        set_online(&lab, "0-1");
        wait_until_all(&lab, "1", COUNTING);
        assert_int_equal(refused, 0);
        lab_close(&lab);
        fault_syscall = NULL;
    } else {
        fault_syscall = NULL;
        skip();
    }
}

static uint64_t sum(const uint64_t *values, size_t n)
{
    uint64_t total = 0;

    for (size_t i = 0; i < n; i++)
        total += values[i];
    return total;
}

/* CPU 1 came; a target that was opened since counts on it, one from before not yet. */
static void a_target_has_no_counts_of_another_one(void **state)
{
    static const struct cb_hwpc_groups groups = {
        .n = 1, .at = {{.name = g_all, .n_events = 1, .events = {e_clock}}}};
    struct fake_root *root = *state;
    struct cb_hwpc_target *targets[2] = {NULL, NULL};
    struct cb_hwpc_set *set = NULL;
    struct cb_topology topology;
    struct cb_err err = {0};
    uint64_t values[2 * 3];

    fake_root_put(root, CPUS "online", "0\n");
    fake_root_put(root, CPUS "possible", "0-1\n");
    assert_int_equal(cb_topology_init(&topology, root->fd, NULL), 0);
    if (!has_two_cpus() || cb_hwpc_set_open(root->fd, &topology, &groups, true, &set, &err) < 0) {
        print_message("needs two CPUs and the right to count: %s\n", err.text);
        cb_topology_fini(&topology);
        skip();
    }
    assert_int_equal(cb_hwpc_target_open(set, -1, &targets[0], NULL), 0);
    fake_root_put(root, CPUS "online", "0-1\n");
    assert_int_equal(cb_topology_refresh(&topology, root->fd, NULL), 1);
    assert_int_equal(cb_hwpc_set_look(set, root->fd, NULL), 0);
    assert_int_equal(cb_hwpc_target_open(set, -1, &targets[1], NULL), 0);
    assert_int_equal(cb_hwpc_set_form(set)->n_values, 2 * 3);
    (void)usleep(10000);
    assert_int_equal(cb_hwpc_target_read(set, targets[1], UINT64_MAX, values, NULL), 0);
    assert_true(sum(values, 3) > 0 && sum(values + 3, 3) > 0);
    assert_int_equal(cb_hwpc_target_read(set, targets[0], UINT64_MAX, values, NULL), 0);
    assert_true(sum(values, 3) > 0);
    assert_int_equal(sum(values + 3, 3), 0);
    for (int i = 0; i < 2; i++)
        targets[i] = cb_hwpc_target_close(set, targets[i]);
    set = cb_hwpc_set_close(set);
    cb_topology_fini(&topology);
}

/* ---- which CPUs ---- */

static void assert_online(const struct cb_hwpc_cpus *cpus, const char *wanted)
{
    const struct cb_topology *t = cb_hwpc_cpus_topology(cpus);
    char text[64] = "";

    for (uint32_t i = 0; i < t->n_cpus; i++)
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%u%s", i ? " " : "",
                       t->cpus[i], t->online[i] ? "" : "-");
    assert_string_equal(text, wanted);
}

/* Two packages of two CPUs; the group is of RAPL, whose PMU says where it is read. */
static void the_pmu_says_where_a_package_is_read_now(void **state)
{
    static char e_energy[] = "power/energy-pkg/";
    static const struct cb_hwpc_group group = {
        .name = g_one, .one_cpu = true, .n_events = 1, .events = {e_energy}};
    struct fake_root *root = *state;
    struct cb_hwpc_cpus *cpus = NULL;
    struct cb_hwpc_rows rows;
    struct cb_topology all;

    for (int i = 0; i < 4; i++) {
        char path[80];

        (void)snprintf(path, sizeof(path), CPUS "cpu%d/topology/physical_package_id", i);
        fake_root_put(root, path, "%d\n", i / 2);
    }
    fake_root_put(root, "sys/bus/event_source/devices/power/type", "20\n");
    fake_root_put(root, "sys/bus/event_source/devices/power/events/energy-pkg", "event=0x02\n");
    fake_root_put(root, "sys/bus/event_source/devices/power/format/event", "config:0-7\n");
    fake_root_put(root, MASK, "0,2\n");
    fake_root_put(root, CPUS "online", "0-3\n");
    assert_int_equal(cb_topology_init(&all, root->fd, NULL), 0);
    assert_int_equal(cb_hwpc_cpus_open(root->fd, &all, &group, &cpus, NULL), 0);
    assert_online(cpus, "0 2");
    fake_root_put(root, MASK, "0,3\n");
    fake_root_put(root, CPUS "online", "0-1,3\n");
    assert_int_equal(cb_topology_refresh(&all, root->fd, NULL), 1);
    assert_int_equal(cb_hwpc_cpus_look(cpus, root->fd, NULL), 0);
    assert_online(cpus, "0 2- 3");
    assert_int_equal(cb_hwpc_rows_init(&rows, cpus), 0);
    assert_int_equal(rows.n, 2);
    assert_string_equal(rows.names[1].package, "1");
    assert_string_equal(rows.names[1].cpu, "2");
    assert_int_equal(rows.of_cpu[1], 1);
    assert_int_equal(rows.of_cpu[2], 1);
    cb_hwpc_rows_fini(&rows);
    fake_root_put(root, MASK, "x\n");
    assert_int_equal(cb_hwpc_cpus_look(cpus, root->fd, NULL), -EPROTO);
    assert_online(cpus, "0 2- 3");
    cpus = cb_hwpc_cpus_close(cpus);
    cb_topology_fini(&all);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_root_setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_cpu_that_goes_has_zeros_and_counts_again_when_it_is_back),
        TEST(a_cpu_that_was_not_there_has_rows_from_then_on),
        TEST(another_cpu_stands_for_a_package_whose_first_is_gone),
        TEST(counters_that_stand_still_are_opened_anew),
        TEST(a_cpu_that_could_not_be_counted_is_tried_again),
        TEST(a_target_has_no_counts_of_another_one),
        TEST(the_pmu_says_where_a_package_is_read_now),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
