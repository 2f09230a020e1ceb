/* SPDX-License-Identifier: Apache-2.0 */
/* doctor.c - see doctor.h. */
#include "sensor/doctor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <linux/perf_event.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <zlib.h>

#include "lib/err.h"
#include "lib/parse.h"
#include "sensor/count.h"
#include "sensor/energy.h"
#include "sensor/fsread.h"
#include "sensor/machine.h"
#include "sensor/mounts.h"
#include "sensor/place.h"
#include "sensor/uncore.h"

#define PARANOID "proc/sys/kernel/perf_event_paranoid"
#define TYPICAL_EVENTS 5 /* the default set and cpu-clock */

struct patient {
    int root_fd;
    const char *docker_host;
    struct cb_topology topology;
    bool is_vm;
    char *config; /* the kernel's, or NULL */
    uint64_t caps;
};

const char *cb_finding_state_name(enum cb_finding_state state)
{
    static const char *const names[] = {"ok", "limited", "missing"};

    return names[state];
}

/* ---- writing a finding ---- */

__attribute__((format(printf, 3, 4))) static void add(char *text, size_t size, const char *fmt, ...)
{
    size_t n = strlen(text);
    va_list ap;

    if (n > 0 && n + 2 < size) {
        memcpy(text + n, "; ", 3);
        n += 2;
    }
    va_start(ap, fmt);
    (void)vsnprintf(text + n, size - n, fmt, ap);
    va_end(ap);
}

#define say(f, ...) add((f)->found, sizeof((f)->found), __VA_ARGS__)
#define advise(f, ...) add((f)->remedy, sizeof((f)->remedy), __VA_ARGS__)

/* ---- what explains the rest ---- */

static bool has_file(const struct patient *p, const char *path)
{
    return faccessat(p->root_fd, path, F_OK, 0) == 0;
}

static bool has_cap(const struct patient *p, unsigned cap)
{
    return p->caps >> cap & 1;
}

/* A hypervisor tells itself in the CPU's flags. */
static bool is_vm(int root_fd)
{
    cb_auto_free char *text = NULL;

    return cb_fsread_all(root_fd, "proc/cpuinfo", 16 << 20, &text, NULL) == 0 &&
           strstr(text, " hypervisor");
}

/* The kernel's configuration, packed in /proc or plain in /boot. */
static char *read_config(int root_fd)
{
    enum { LIMIT = 1 << 20 };
    cb_auto_free char *text = malloc(LIMIT);
    struct utsname name;
    char path[128];
    gzFile file;
    int fd = openat(root_fd, "proc/config.gz", O_RDONLY | O_CLOEXEC);
    int n;

    if (fd < 0 && uname(&name) == 0) {
        (void)snprintf(path, sizeof(path), "boot/config-%s", name.release);
        fd = openat(root_fd, path, O_RDONLY | O_CLOEXEC);
    }
    file = fd < 0 ? NULL : gzdopen(fd, "r");
    if (!file) {
        if (fd >= 0)
            (void)close(fd);
        return NULL;
    }
    n = text ? gzread(file, text, LIMIT - 1) : -1;
    (void)gzclose(file);
    if (n <= 0)
        return NULL;
    text[n] = '\0';
    return cb_take(text);
}

/* Is the kernel known to be built without @option? */
static bool lacks(const struct patient *p, const char *option)
{
    char line[96];

    (void)snprintf(line, sizeof(line), "\n%s=", option);
    return p->config && !strstr(p->config, line);
}

/* CapEff of ourselves. */
static uint64_t read_caps(void)
{
    cb_auto_close int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    char text[4096];
    const char *line;

    if (fd < 0 || cb_fsread_again(fd, text, sizeof(text)) < 0)
        return 0;
    line = strstr(text, "\nCapEff:");
    return line ? strtoull(line + 8, NULL, 16) : 0;
}

static int64_t read_paranoid(const struct patient *p)
{
    char text[32];

    if (cb_fsread_line(p->root_fd, PARANOID, text, sizeof(text), NULL) < 0)
        return 2;
    return strtoll(text, NULL, 10);
}

/* ---- energy ---- */

static int try_energy(const struct patient *p, const char *source, struct cb_err *err)
{
    const struct cb_energy_options options = {
        .root_fd = p->root_fd, .topology = &p->topology, .wanted = source};
    struct cb_energy *energy = NULL;
    int r = cb_energy_open(&options, &energy, err);
    int n = r < 0 ? r : (int)cb_energy_n(energy);

    energy = cb_energy_close(energy);
    return n;
}

static void remedy_energy(const struct patient *p, struct cb_finding *f, bool denied)
{
    if (denied)
        advise(f, "run as root, or give the program CAP_PERFMON and CAP_DAC_READ_SEARCH");
    else if (p->is_vm)
        advise(f, "none from inside: hypervisors do not pass RAPL on; measure on the host, or live "
                  "with the estimate (--estimate-idle-watts and --estimate-max-watts narrow it)");
    else if (lacks(p, "CONFIG_POWERCAP") && lacks(p, "CONFIG_PERF_EVENTS_INTEL_RAPL"))
        advise(f, "a kernel with CONFIG_PERF_EVENTS_INTEL_RAPL or CONFIG_INTEL_RAPL");
    else
        advise(f, "modprobe rapl (perf's power PMU) or intel_rapl_msr (powercap) or msr; a CPU "
                  "without RAPL leaves the estimate");
}

static void check_energy(const struct patient *p, struct cb_finding *f)
{
    static const char *const sources[] = {"perf", "powercap", "msr"};
    bool denied = false;
    bool any = false;

    f->name = "energy";
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        struct cb_err err = {0};
        int n = try_energy(p, sources[i], &err);

        any = any || n > 0;
        denied = denied || n == -EACCES || n == -EPERM;
        if (n > 0)
            say(f, "%s: %d counters", sources[i], n);
        else /* without "energy source 'perf': " */
            say(f, "%s: %s", sources[i],
                strstr(err.text, "': ") ? strstr(err.text, "': ") + 3 : err.text);
    }
    if (any)
        return;
    f->state = CB_FINDING_MISSING;
    if (p->is_vm)
        say(f, "this is a virtual machine");
    if (lacks(p, "CONFIG_POWERCAP"))
        say(f, "this kernel is built without CONFIG_POWERCAP");
    say(f, "what is left is an estimate, labelled as one");
    remedy_energy(p, f, denied);
}

/* ---- counters ---- */

static int open_cycles(const struct patient *p)
{
    struct perf_event_attr attr = {
        .size = sizeof(attr), .type = PERF_TYPE_HARDWARE, .config = PERF_COUNT_HW_CPU_CYCLES};
    long fd =
        syscall(SYS_perf_event_open, &attr, -1, (int)p->topology.cpus[0], -1, PERF_FLAG_FD_CLOEXEC);
    int r = fd < 0 ? -errno : 0;

    if (fd >= 0)
        (void)close((int)fd);
    return r;
}

static void check_counters(const struct patient *p, struct cb_finding *f)
{
    int r = open_cycles(p);

    f->name = "counters";
    if (r == 0) {
        say(f, "the CPU's cycles, instructions and cache misses can be counted");
        return;
    }
    f->state = CB_FINDING_MISSING;
    say(f, "cycles cannot be counted: %s", strerror(-r));
    if (r == -EACCES || r == -EPERM) {
        advise(f, "see rights");
        return;
    }
    f->state = CB_FINDING_LIMITED;
    if (p->is_vm) {
        say(f, "the hypervisor gives this virtual machine no PMU");
        advise(f, "switch a virtual PMU on in the hypervisor (QEMU/libvirt: -cpu host,pmu=on), "
                  "where it has one");
    } else {
        advise(f, "switch the performance counters on in the firmware; another program may hold "
                  "all of them");
    }
    say(f, "software events are left: CPU time, context switches%s",
        has_file(p, "sys/bus/event_source/devices/msr") ? ", the time stamp counter" : "");
}

static void check_clocks(const struct patient *p, struct cb_finding *f)
{
    struct cb_machine *machine = NULL;
    struct cb_err err = {0};
    int r = cb_machine_open(p->root_fd, &p->topology, &machine, &err);
    size_t n = r < 0 ? 0 : cb_machine_n_clocks(machine);

    machine = cb_machine_close(machine);
    f->name = "clocks";
    if (r < 0) {
        f->state = CB_FINDING_MISSING;
        say(f, "%s", err.text);
        advise(f, "see rights");
    } else if (n == 0) {
        f->state = CB_FINDING_MISSING;
        say(f, "no msr PMU: neither TSC nor APERF and MPERF, the CPUs' real frequency is unknown");
    } else if (n < 3) {
        f->state = CB_FINDING_LIMITED;
        say(f, "%zu of TSC, APERF and MPERF: the CPUs' real frequency is unknown%s", n,
            p->is_vm ? ", as in most virtual machines" : "");
    } else {
        say(f, "TSC, APERF, MPERF");
    }
}

/* What only some of Intel's servers have, and the model does not need. */
static void check_uncore(const struct patient *p, struct cb_finding *f)
{
    struct cb_uncore *uncore = NULL;
    struct cb_err err = {0};

    f->name = "uncore";
    if (cb_uncore_open(p->root_fd, &p->topology, &uncore, &err) < 0) {
        say(f, "%s", err.text);
        return;
    }
    say(f, "%s",
        cb_uncore_has(uncore, "pcu_clockticks")
            ? "residency in core C-states (uncore_pcu)"
            : "no residency in core C-states (no uncore_pcu PMU that can be opened)");
    say(f, "%s",
        cb_uncore_has(uncore, "imc_read_bytes")
            ? "memory traffic (uncore_imc)"
            : "no memory traffic (no uncore_imc PMU that can be opened)");
    uncore = cb_uncore_close(uncore);
}

/* ---- rights ---- */

static void check_rights(const struct patient *p, struct cb_finding *f)
{
    int64_t paranoid = read_paranoid(p);
    bool admin = has_cap(p, CAP_SYS_ADMIN);

    f->name = "rights";
    say(f,
        "uid %u, %sCAP_PERFMON, %sCAP_SYS_ADMIN, %sCAP_DAC_READ_SEARCH, %sCAP_BPF, "
        "kernel.perf_event_paranoid %" PRId64,
        (unsigned)geteuid(), has_cap(p, CAP_PERFMON) ? "" : "no ", admin ? "" : "no ",
        has_cap(p, CAP_DAC_READ_SEARCH) ? "" : "no ", has_cap(p, CAP_BPF) ? "" : "no ", paranoid);
    if (!has_cap(p, CAP_PERFMON) && !admin && paranoid > 0) {
        f->state = CB_FINDING_MISSING;
        advise(f, "run as root, or setcap cap_perfmon,cap_dac_read_search+ep cbsensor, or sysctl "
                  "kernel.perf_event_paranoid=0");
    } else if (paranoid > 2) {
        f->state = CB_FINDING_LIMITED;
        say(f, "above 2 the kernels of some distributions want CAP_SYS_ADMIN for every counter, "
               "CAP_PERFMON is not enough: cbsensor keeps it there");
        advise(f, "sysctl kernel.perf_event_paranoid=2");
    } else if (!has_cap(p, CAP_DAC_READ_SEARCH)) {
        f->state = CB_FINDING_LIMITED;
        advise(f, "CAP_DAC_READ_SEARCH lets it read powercap and the runtimes' files");
    }
}

static void check_lockdown(const struct patient *p, struct cb_finding *f)
{
    char text[128] = "";

    f->name = "lockdown";
    if (cb_fsread_line(p->root_fd, "sys/kernel/security/lockdown", text, sizeof(text), NULL) < 0)
        say(f, "not in force, or securityfs is not mounted");
    else
        say(f, "%s", text);
    if (strstr(text, "[confidentiality]")) {
        f->state = CB_FINDING_MISSING;
        say(f, "it forbids BPF to read the kernel, and counters of the kernel");
        advise(f, "boot with lockdown=integrity or none");
    }
}

/* ---- cgroups ---- */

static int open_point(const struct patient *p, const struct cb_mount *mount)
{
    return openat(p->root_fd, mount->point[1] ? mount->point + 1 : ".",
                  O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Some cgroup below the root, or -1: the root alone can always be counted. */
static int open_child(int dir_fd)
{
    int copy = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    int fd = -1;

    if (!dir) {
        if (copy >= 0)
            (void)close(copy);
        return -1;
    }
    for (struct dirent *e; fd < 0 && (e = readdir(dir));)
        if (e->d_type == DT_DIR && e->d_name[0] != '.')
            fd = openat(dir_fd, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    (void)closedir(dir);
    return fd;
}

/* "" when it cannot be read. */
static void read_subtree_control(int dir_fd, char *words, size_t size)
{
    if (cb_fsread_line(dir_fd, "cgroup.subtree_control", words, size, NULL) < 0)
        words[0] = '\0';
}

static void advise_write(const struct cb_mount *mount, int dir_fd, struct cb_finding *f)
{
    char word[CB_PLACE_WORD_SIZE];
    bool is_new;
    struct cb_err err = {0};

    if (cb_place_pick_controller(dir_fd, word, &is_new, &err) < 0)
        advise(f, "%s: count in cgroup v1 (--hierarchy mount)", err.text);
    else
        advise(f,
               "cbsensor does it when it starts as root (as systemd does); else: echo %s "
               "> %.200s/cgroup.subtree_control",
               word, mount->point);
}

static void check_v2(const struct patient *p, const struct cb_mount *mount, struct cb_finding *f)
{
    cb_auto_close int dir = open_point(p, mount);
    cb_auto_close int child = dir < 0 ? -1 : open_child(dir);
    struct cb_err err = {0};
    char words[256] = "";
    int r = child < 0 ? 0 : cb_perf_probe(child, p->topology.cpus[0], &err);

    if (dir >= 0)
        read_subtree_control(dir, words, sizeof(words));
    say(f, "counted in cgroup v2 at %.200s, whose root has '%s' in cgroup.subtree_control",
        mount->point, words);
    if (child < 0) {
        say(f, "not tried: no cgroup there yet");
    } else if (r == -EACCES) {
        f->state = CB_FINDING_MISSING;
        advise(f, "see rights");
    } else if (r < 0) {
        f->state = CB_FINDING_LIMITED;
        say(f, "its children cannot be counted before something was written there once");
        advise_write(mount, dir, f);
    }
}

static void check_cgroups(const struct patient *p, struct cb_finding *f)
{
    struct cb_mount mount;

    f->name = "cgroups";
    if (cb_mounts_find_cgroup(p->root_fd, "perf_event", &mount, NULL) == 0) {
        say(f,
            "counted in cgroup v1: perf_event is mounted at %.200s; containers that were "
            "started before the mount are not in it",
            mount.point);
        return;
    }
    if (cb_mounts_find_cgroup(p->root_fd, NULL, &mount, NULL) == 0) {
        check_v2(p, &mount, f);
        return;
    }
    f->state = has_cap(p, CAP_SYS_ADMIN) ? CB_FINDING_LIMITED : CB_FINDING_MISSING;
    say(f, "neither v1's perf_event nor cgroup v2 is mounted");
    advise(f, "cbsensor mounts perf_event itself as root; else, before the containers start: mkdir "
              "/sys/fs/cgroup/perf_event && mount -t cgroup -o perf_event cgroup "
              "/sys/fs/cgroup/perf_event");
}

/* Where each statistic of a container comes from. */
static void check_statistics(const struct patient *p, struct cb_finding *f)
{
    static const char *const controllers[] = {"cpuacct", "memory", "blkio", "pids"};
    static const char *const v2_names[] = {"cpu", "memory", "io", "pids"};
    struct cb_mount mount;
    bool has_v2 = cb_mounts_find_cgroup(p->root_fd, NULL, &mount, NULL) == 0;
    cb_auto_close int dir = has_v2 ? open_point(p, &mount) : -1;
    char words[256] = "";

    f->name = "statistics";
    if (dir >= 0)
        read_subtree_control(dir, words, sizeof(words));
    for (size_t i = 0; i < sizeof(controllers) / sizeof(controllers[0]); i++) {
        if (cb_mounts_find_cgroup(p->root_fd, controllers[i], &mount, NULL) == 0) {
            say(f, "%s: v1", v2_names[i]);
        } else if (strstr(words, v2_names[i]) || (has_v2 && i == 0)) {
            say(f, "%s: v2", v2_names[i]);
        } else {
            f->state = CB_FINDING_LIMITED;
            say(f, "%s: not to be had", v2_names[i]);
            advise(f, "enable %s in cgroup.subtree_control", v2_names[i]);
        }
    }
    if (cb_mounts_find_cgroup(p->root_fd, "blkio", &mount, NULL) == 0)
        say(f, "recent kernels count v1's disk use only for devices with a limit");
    say(f, "pressure: %s",
        !has_v2                            ? "not to be had in v1"
        : has_file(p, "proc/pressure/cpu") ? "v2"
                                           : "not in this kernel (psi=1)");
}

/* ---- limits, BPF, Docker ---- */

static void check_descriptors(const struct patient *p, struct cb_finding *f)
{
    uint64_t limit = cb_perf_raise_limit();
    uint64_t containers = limit / 4 * 3 / ((uint64_t)p->topology.n_cpus * TYPICAL_EVENTS);

    f->name = "descriptors";
    say(f, "%" PRIu64 " may be open: enough for %" PRIu64 " containers with %d events on %u CPUs",
        limit, containers, TYPICAL_EVENTS, p->topology.n_cpus);
    if (containers >= 1000)
        return;
    f->state = CB_FINDING_LIMITED;
    advise(f, "LimitNOFILE= or ulimit -Hn (CAP_SYS_RESOURCE); beyond that BPF counts (--count "
              "auto), else "
              "fewer events are counted, at last CPU time alone");
}

static int try_bpf(const struct patient *p, struct cb_err *err)
{
    static const char *const list[] = {"cpu-clock"};
    const struct cb_perf_options perf_options = {
        .root_fd = p->root_fd, .topology = &p->topology, .n_lists = 1, .lists = list};
    struct cb_count_options options = {
        .root_fd = p->root_fd, .topology = &p->topology, .wanted = "bpf"};
    struct cb_count *count = NULL;
    struct cb_mount mount;
    cb_auto_close int dir = -1;
    int r = cb_mounts_find_cgroup(p->root_fd, "perf_event", &mount, NULL);

    if (r < 0)
        r = cb_mounts_find_cgroup(p->root_fd, NULL, &mount, err);
    if (r < 0)
        return r;
    dir = open_point(p, &mount);
    options.counting_fd = dir;
    r = cb_perf_open(&perf_options, &options.perf, err);
    if (r == 0)
        r = cb_count_open(&options, &count, err);
    count = cb_count_close(count);
    options.perf = cb_perf_close(options.perf);
    return r;
}

static void check_bpf(const struct patient *p, struct cb_finding *f)
{
    struct cb_err err = {0};
    int r = try_bpf(p, &err);

    f->name = "bpf";
    if (r == 0) {
        say(f, "cgroups can be counted with BPF (--count bpf)");
        return;
    }
    f->state = CB_FINDING_MISSING;
    say(f, "%s", err.text);
    if (r == -ENOTSUP)
        advise(f, "build it where clang, bpftool and libbpf-dev are installed");
    else if (!has_file(p, "sys/kernel/btf/vmlinux"))
        advise(f, "a kernel with CONFIG_DEBUG_INFO_BTF");
    else if (r == -EACCES || r == -EPERM)
        advise(f, "see rights");
    say(f, "counting by perf does not need it");
}

static void check_docker(const struct patient *p, struct cb_finding *f)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    cb_auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const char *path = p->docker_host;

    f->name = "docker";
    if (strncmp(path, "unix://", 7) != 0 || strlen(path + 7) >= sizeof(address.sun_path)) {
        f->state = CB_FINDING_LIMITED;
        say(f, "no unix socket is given ('%.100s'): names come from files only", path);
        return;
    }
    path += 7;
    memcpy(address.sun_path, path, strlen(path) + 1);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0) {
        say(f, "an engine answers at %s", path);
        return;
    }
    f->state = CB_FINDING_LIMITED;
    say(f, "%s: %s: containers are counted all the same, their names come from files", path,
        strerror(errno));
    if (errno == EACCES)
        advise(f, "start as root or in the group of the socket (docker)");
    else
        advise(f, "start the engine, or give its socket with --docker-host (DOCKER_HOST); for "
                  "Podman: systemctl start podman.socket");
}

int cb_doctor_examine(const struct cb_doctor_options *options, struct cb_finding *findings,
                      struct cb_err *err)
{
    static void (*const checks[])(const struct patient *, struct cb_finding *) = {
        check_energy,      check_counters, check_clocks,  check_uncore,
        check_rights,      check_lockdown, check_cgroups, check_statistics,
        check_descriptors, check_bpf,      check_docker,
    };
    enum { N = sizeof(checks) / sizeof(checks[0]) };
    struct patient p = {.root_fd = options->root_fd, .docker_host = options->docker_host};
    int r = cb_topology_init(&p.topology, options->root_fd, err);

    if (r < 0)
        return r;
    p.is_vm = is_vm(p.root_fd);
    p.config = read_config(p.root_fd);
    p.caps = read_caps();
    for (size_t i = 0; i < N; i++) {
        findings[i] = (struct cb_finding){.state = CB_FINDING_OK};
        checks[i](&p, &findings[i]);
    }
    cb_topology_fini(&p.topology);
    free(p.config);
    return N;
}
