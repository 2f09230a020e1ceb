/* SPDX-License-Identifier: Apache-2.0 */
/* test_doctor.c - sensor/doctor.c on made-up machines, and on this one. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/err.h"
#include "sensor/cmd_doctor.h"
#include "sensor/doctor.h"
#include "tests/support/fake_root.h"

#define V2_LINE "21 30 0:19 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"

static struct cb_finding findings[CB_DOCTOR_MAX_FINDINGS];
static int n_findings;

static void examine(int root_fd, const char *docker_host)
{
    const struct cb_doctor_options options = {.root_fd = root_fd, .docker_host = docker_host};
    struct cb_err err = {0};

    n_findings = cb_doctor_examine(&options, findings, &err);
    if (n_findings < 0)
        fail_msg("%s", err.text);
}

static const struct cb_finding *get(const char *name)
{
    for (int i = 0; i < n_findings; i++)
        if (strcmp(findings[i].name, name) == 0)
            return &findings[i];
    fail_msg("there is no finding '%s'", name);
    return NULL;
}

static void check(const char *name, enum cb_finding_state state, const char *found,
                  const char *remedy)
{
    const struct cb_finding *f = get(name);

    if (f->state != state || !strstr(f->found, found) || !strstr(f->remedy, remedy))
        fail_msg("%s is %s: '%s', remedy '%s'", name, cb_finding_state_name(f->state), f->found,
                 f->remedy);
}

static int setup(void **state)
{
    int r = fake_root_setup(state);

    fake_root_put(*state, "sys/devices/system/cpu/online", "0\n");
    fake_root_put(
        *state, "proc/cpuinfo",
        "vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 85\nflags\t\t: fpu vme\n");
    fake_root_put(*state, "proc/1/mountinfo", "%s", V2_LINE);
    fake_root_put(*state, "sys/fs/cgroup/cgroup.subtree_control", "cpu memory pids\n");
    fake_root_put(*state, "proc/sys/kernel/perf_event_paranoid", "2\n");
    fake_root_put(*state, "proc/config.gz", "CONFIG_X=y\nCONFIG_POWERCAP=m\n");
    return r;
}

static int fd_of(void **state)
{
    return ((struct fake_root *)*state)->fd;
}

static void a_machine_with_powercap_can_measure_energy(void **state)
{
    fake_root_put(*state, "sys/class/powercap/intel-rapl:0/name", "package-0\n");
    fake_root_put(*state, "sys/class/powercap/intel-rapl:0/max_energy_range_uj", "262143328850\n");
    fake_root_put(*state, "sys/class/powercap/intel-rapl:0/energy_uj", "5\n");
    examine(fd_of(state), "");
    check("energy", CB_FINDING_OK, "powercap: 1 counters", "");
}

static void a_machine_without_rapl_modules_is_told_to_load_them(void **state)
{
    examine(fd_of(state), "");
    check("energy", CB_FINDING_MISSING, "an estimate, labelled as one", "modprobe");
}

static void a_virtual_machine_is_told_that_nothing_helps(void **state)
{
    fake_root_put(*state, "proc/cpuinfo",
                  "vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 85\n"
                  "flags\t\t: fpu vme hypervisor lahf_lm\n");
    examine(fd_of(state), "");
    check("energy", CB_FINDING_MISSING, "virtual machine", "none from inside");
}

static void a_kernel_without_powercap_is_named(void **state)
{
    fake_root_put(*state, "proc/config.gz", "CONFIG_X=y\n# CONFIG_POWERCAP is not set\n");
    examine(fd_of(state), "");
    check("energy", CB_FINDING_MISSING, "built without CONFIG_POWERCAP", "CONFIG_INTEL_RAPL");
}

static void a_high_paranoid_level_is_explained(void **state)
{
    fake_root_put(*state, "proc/sys/kernel/perf_event_paranoid", "3\n");
    examine(fd_of(state), "");
    assert_int_not_equal(get("rights")->state, CB_FINDING_OK);
    assert_non_null(strstr(get("rights")->remedy, "kernel.perf_event_paranoid="));
}

static void confidentiality_lockdown_is_explained(void **state)
{
    fake_root_put(*state, "sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
    examine(fd_of(state), "");
    check("lockdown", CB_FINDING_OK, "[integrity]", "");
    fake_root_put(*state, "sys/kernel/security/lockdown", "none integrity [confidentiality]\n");
    examine(fd_of(state), "");
    check("lockdown", CB_FINDING_MISSING, "forbids BPF", "lockdown=integrity");
}

static void a_v2_root_that_was_never_written_is_explained(void **state)
{
    fake_root_put(*state, "sys/fs/cgroup/cgroup.subtree_control", "%s", "");
    fake_root_put(*state, "sys/fs/cgroup/cgroup.controllers", "cpu hugetlb pids\n");
    fake_root_put(*state, "sys/fs/cgroup/a/cgroup.procs", "%s", "");
    examine(fd_of(state), "");
    check("cgroups", CB_FINDING_LIMITED, "before something was written", "echo +pids > /sys/fs/");
    fake_root_put(*state, "sys/fs/cgroup/cgroup.controllers", "hugetlb\n");
    examine(fd_of(state), "");
    check("cgroups", CB_FINDING_LIMITED, "before something was written", "echo +hugetlb > /sys");
    fake_root_put(*state, "sys/fs/cgroup/cgroup.controllers", "\n");
    examine(fd_of(state), "");
    check("cgroups", CB_FINDING_LIMITED, "before something was written", "has no controller");
    check("statistics", CB_FINDING_LIMITED, "memory: not to be had", "enable memory");
}

static void a_v2_root_without_cgroups_is_not_judged(void **state)
{
    fake_root_put(*state, "sys/fs/cgroup/cgroup.subtree_control", "%s", "");
    fake_root_put(*state, "sys/fs/cgroup/cgroup.controllers", "hugetlb\n");
    examine(fd_of(state), "");
    check("cgroups", CB_FINDING_OK, "not tried: no cgroup there yet", "");
    assert_string_equal(get("cgroups")->remedy, "");
}

static void a_v1_mount_leaves_older_containers_out(void **state)
{
    fake_root_put(*state, "proc/1/mountinfo",
                  V2_LINE "40 30 0:40 / /sys/fs/cgroup/pe rw - cgroup cgroup rw,perf_event\n"
                          "41 30 0:41 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    examine(fd_of(state), "");
    check("cgroups", CB_FINDING_OK, "/sys/fs/cgroup/pe; containers that were started before", "");
    check("statistics", CB_FINDING_LIMITED, "memory: v1; io: not to be had; pids: v2", "enable io");
}

static void no_cgroups_at_all_has_a_remedy(void **state)
{
    fake_root_put(*state, "proc/1/mountinfo", "21 30 0:19 / /proc rw - proc proc rw\n");
    examine(fd_of(state), "");
    assert_int_not_equal(get("cgroups")->state, CB_FINDING_OK);
    assert_non_null(strstr(get("cgroups")->remedy, "mount -t cgroup -o perf_event"));
    assert_int_equal(get("bpf")->state, CB_FINDING_MISSING);
}

static void an_engine_is_found_by_its_socket(void **state)
{
    const struct fake_root *root = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char host[128];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/docker.sock", root->dir);
    (void)snprintf(host, sizeof(host), "unix://%s/docker.sock", root->dir);
    examine(root->fd, host);
    check("docker", CB_FINDING_LIMITED, "No such file", "--docker-host");
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    examine(root->fd, host);
    check("docker", CB_FINDING_OK, "an engine answers", "");
    (void)close(fd);
    examine(root->fd, "tcp://127.0.0.1:2375");
    check("docker", CB_FINDING_LIMITED, "from files only", "");
}

/* The build machine: a virtual machine without RAPL and without a PMU. */
static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

/* Whatever machine this is: what is missing is explained. */
static void explains_this_machine(void **state)
{
    cb_auto_close int root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool has_rapl = exists("/sys/class/powercap/intel-rapl:0") || exists("/dev/cpu/0/msr") ||
                    exists("/sys/bus/event_source/devices/power");

    (void)state;
    examine(root_fd, "");
    assert_in_range(n_findings, 8, CB_DOCTOR_MAX_FINDINGS);
    for (int i = 0; i < n_findings; i++) {
        assert_true(findings[i].found[0]);
        if (findings[i].state == CB_FINDING_MISSING)
            assert_true(findings[i].remedy[0]);
    }
    if (!has_rapl)
        check("energy", CB_FINDING_MISSING, "perf: no power PMU", "");
    if (!exists("/sys/class/powercap"))
        assert_non_null(strstr(get("energy")->found, "powercap: no powercap zones"));
    if (geteuid() == 0) {
        check("rights", CB_FINDING_OK, "uid 0", "");
        if (!exists("/sys/bus/event_source/devices/cpu"))
            check("counters", CB_FINDING_LIMITED, "software events are left", "");
    }
}

#define made_up(test) cmocka_unit_test_setup_teardown(test, setup, fake_root_teardown)

static void a_wrong_command_line_exits_with_2(void **state)
{
    char program[] = "doctor";
    char bogus[] = "--bogus";
    char stray[] = "stray";
    char root[] = "--root=/nonexistent";

    (void)state;
    assert_int_equal(cb_cmd_doctor(2, (char *[]){program, bogus, NULL}), 2);
    assert_int_equal(cb_cmd_doctor(2, (char *[]){program, stray, NULL}), 2);
    assert_int_equal(cb_cmd_doctor(2, (char *[]){program, root, NULL}), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        made_up(a_machine_with_powercap_can_measure_energy),
        made_up(a_machine_without_rapl_modules_is_told_to_load_them),
        made_up(a_virtual_machine_is_told_that_nothing_helps),
        made_up(a_kernel_without_powercap_is_named),
        made_up(a_high_paranoid_level_is_explained),
        made_up(confidentiality_lockdown_is_explained),
        made_up(a_v2_root_that_was_never_written_is_explained),
        made_up(a_v2_root_without_cgroups_is_not_judged),
        made_up(a_v1_mount_leaves_older_containers_out),
        made_up(no_cgroups_at_all_has_a_remedy),
        made_up(an_engine_is_found_by_its_socket),
        cmocka_unit_test(explains_this_machine),
        cmocka_unit_test(a_wrong_command_line_exits_with_2),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
