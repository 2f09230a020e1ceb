/* SPDX-License-Identifier: Apache-2.0 */
/* event.c - see event.h. */
#include "sensor/event.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <perfmon/pfmlib.h>
#include <perfmon/pfmlib_perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "lib/err.h"
#include "lib/parse.h"
#include "sensor/fsread.h"

#define DEVICES "sys/bus/event_source/devices"

static const char *const core_pmus[] = {"cpu", "cpu_core", "armv8_pmuv3_0"};

int cb_event_next_name(const char **list, char ret_name[CB_EVENT_NAME_SIZE])
{
    const char *p = *list;
    bool in_pmu = false;
    size_t n = 0;

    if (*p == '\0')
        return 0;
    for (; *p && (*p != ',' || in_pmu); p++) {
        if (*p == '/')
            in_pmu = !in_pmu;
        if (n + 1 >= CB_EVENT_NAME_SIZE)
            return -EINVAL;
        ret_name[n++] = *p;
    }
    if (n == 0 || (*p == ',' && p[1] == '\0'))
        return -EINVAL;
    ret_name[n] = '\0';
    *list = *p ? p + 1 : p;
    return 1;
}

/* Hexadecimal with or without 0x, or decimal when @plain is 10. */
static int parse_number(const char *text, size_t n, int plain, uint64_t *ret_value)
{
    char buf[32];
    char *end;

    if (n == 0 || n >= sizeof(buf))
        return -EINVAL;
    memcpy(buf, text, n);
    buf[n] = '\0';
    if (!isxdigit((unsigned char)buf[0]))
        return -EINVAL;
    errno = 0;
    *ret_value = strtoull(buf, &end, strncasecmp(buf, "0x", 2) == 0 ? 16 : plain);
    if (errno == ERANGE)
        return -ERANGE;
    return *end ? -EINVAL : 0;
}

static uint64_t *word_of(const char *format, size_t n, struct cb_event *event)
{
    if (n == 6 && memcmp(format, "config", 6) == 0)
        return &event->config;
    if (n == 7 && memcmp(format, "config1", 7) == 0)
        return &event->config1;
    if (n == 7 && memcmp(format, "config2", 7) == 0)
        return &event->config2;
    return NULL;
}

int cb_event_apply_format(const char *format, uint64_t value, struct cb_event *event)
{
    size_t n = strcspn(format, ":");
    uint64_t *word = word_of(format, n, event);
    uint64_t bits = 0;
    const char *p = format + n;

    if (!word || *p != ':')
        return -EINVAL;
    do {
        uint64_t first;
        uint64_t last;
        size_t digits = strspn(++p, "0123456789");

        if (parse_number(p, digits, 10, &first) < 0)
            return -EINVAL;
        p += digits;
        last = first;
        if (*p == '-') {
            digits = strspn(++p, "0123456789");
            if (parse_number(p, digits, 10, &last) < 0)
                return -EINVAL;
            p += digits;
        }
        if (last < first || last > 63)
            return -EINVAL;
        for (uint64_t bit = first; bit <= last; bit++) {
            bits |= (value & 1) << bit;
            value >>= 1;
        }
    } while (*p == ',');
    if (*p != '\0' && strcmp(p, "\n") != 0)
        return -EINVAL;
    if (value)
        return -ERANGE;
    *word |= bits;
    return 0;
}

/* One term of "event=0x3c,umask=1,any": a field of format/ or a whole config word. */
static int apply_term(int root_fd, const char *pmu, const char *term, size_t n,
                      struct cb_event *event, struct cb_err *err)
{
    size_t key = 0;
    uint64_t value = 1;
    uint64_t *word;
    char path[256];
    char format[128];
    int r = 0;

    while (key < n && term[key] != '=')
        key++;
    if (key < n)
        r = parse_number(term + key + 1, n - key - 1, 10, &value);
    if (r < 0 || key == 0 || memchr(term, '/', n) || term[0] == '.')
        return cb_err_set(err, EINVAL, "'%.*s' is not a term of an event", (int)n, term);
    word = word_of(term, key, event);
    if (word) {
        *word |= value;
        return 0;
    }
    (void)snprintf(path, sizeof(path), DEVICES "/%s/format/%.*s", pmu, (int)key, term);
    r = cb_fsread_line(root_fd, path, format, sizeof(format), err);
    if (r < 0)
        return r;
    r = cb_event_apply_format(format, value, event);
    if (r < 0)
        return cb_err_set(err, -r, "'%.*s' does not fit the format '%s'", (int)n, term, format);
    return 0;
}

static int apply_terms(int root_fd, const char *pmu, const char *terms, struct cb_event *event,
                       struct cb_err *err)
{
    for (;;) {
        size_t n = strcspn(terms, ",\n");
        int r = apply_term(root_fd, pmu, terms, n, event, err);

        if (r < 0)
            return r;
        if (terms[n] != ',')
            return 0;
        terms += n + 1;
    }
}

static bool counts_a_socket(int root_fd, const char *pmu)
{
    char path[256];
    struct stat st;

    (void)snprintf(path, sizeof(path), DEVICES "/%s/cpumask", pmu);
    return fstatat(root_fd, path, &st, 0) == 0;
}

/* Where to look, and for whom. */
struct lookup {
    int root_fd;
    enum cb_cpu_vendor vendor;
    bool machine; /* PMUs that count a whole socket will do */
};

static int not_for_cgroups(const char *pmu, struct cb_err *err)
{
    return cb_err_set(err, EINVAL, "PMU '%s' counts a whole socket, not a cgroup", pmu);
}

static int read_type(const struct lookup *l, const char *pmu, struct cb_event *event,
                     struct cb_err *err)
{
    char path[256];
    uint64_t type;
    int r;

    (void)snprintf(path, sizeof(path), DEVICES "/%s/type", pmu);
    r = cb_fsread_u64(l->root_fd, path, &type, err);
    if (r < 0)
        return r;
    event->type = (uint32_t)type;
    event->per_socket = counts_a_socket(l->root_fd, pmu);
    return event->per_socket && !l->machine ? not_for_cgroups(pmu, err) : 0;
}

/* An event of one PMU: a name in its events/, or terms. */
static int from_pmu(const struct lookup *l, const char *pmu, const char *body,
                    struct cb_event *event, struct cb_err *err)
{
    char path[256];
    char terms[256];
    int r = read_type(l, pmu, event, err);

    if (r < 0)
        return r;
    (void)snprintf(event->pmu, sizeof(event->pmu), "%s", pmu);
    event->ticks_in_idle = strcmp(pmu, "msr") == 0 && strcmp(body, "tsc") == 0;
    if (strpbrk(body, "=,"))
        return apply_terms(l->root_fd, pmu, body, event, err);
    (void)snprintf(path, sizeof(path), DEVICES "/%s/events/%s", pmu, body);
    r = cb_fsread_line(l->root_fd, path, terms, sizeof(terms), err);
    if (r < 0)
        return r;
    return apply_terms(l->root_fd, pmu, terms, event, err);
}

static int from_sysfs(const struct lookup *l, const char *name, struct cb_event *event,
                      struct cb_err *err)
{
    const char *slash = strchr(name, '/');
    char pmu[CB_EVENT_PMU_SIZE];
    char body[CB_EVENT_NAME_SIZE];
    size_t n = strlen(name);

    if (!slash) {
        for (size_t i = 0; i < sizeof(core_pmus) / sizeof(core_pmus[0]); i++) {
            int r = from_pmu(l, core_pmus[i], name, event, err);

            if (r != -ENOENT)
                return r;
        }
        return cb_err_set(err, ENOENT, "no core PMU has an event '%s'", name);
    }
    if (slash == name || (size_t)(slash - name) >= sizeof(pmu) || name[n - 1] != '/' ||
        slash == name + n - 1 || name[0] == '.')
        return cb_err_set(err, EINVAL, "'%s' is not of the form pmu/event/", name);
    memcpy(pmu, name, (size_t)(slash - name));
    pmu[slash - name] = '\0';
    (void)snprintf(body, sizeof(body), "%.*s", (int)(n - 2 - (size_t)(slash - name)), slash + 1);
    if (!*body || strchr(body, '/'))
        return cb_err_set(err, EINVAL, "'%s' is not of the form pmu/event/", name);
    return from_pmu(l, pmu, body, event, err);
}

/* The PMU's name in sysfs for a perf type; "cpu" for the generic ones. */
static void name_pmu(int root_fd, struct cb_event *event)
{
    cb_auto_close int fd = -1;
    DIR *dir;

    (void)snprintf(event->pmu, sizeof(event->pmu), "%s",
                   event->type == PERF_TYPE_SOFTWARE     ? "software"
                   : event->type == PERF_TYPE_TRACEPOINT ? "tracepoint"
                                                         : "cpu");
    if (event->type <= PERF_TYPE_RAW)
        return;
    fd = openat(root_fd, DEVICES, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir)
        return;
    (void)cb_take_fd(fd);
    for (struct dirent *e; (e = readdir(dir));) {
        char path[512];
        uint64_t type;

        (void)snprintf(path, sizeof(path), DEVICES "/%s/type", e->d_name);
        if (e->d_name[0] != '.' && cb_fsread_u64(root_fd, path, &type, NULL) == 0 &&
            type == event->type)
            (void)snprintf(event->pmu, sizeof(event->pmu), "%.31s", e->d_name);
    }
    (void)closedir(dir);
}

static int from_libpfm(const struct lookup *l, const char *name, struct cb_event *event,
                       struct cb_err *err)
{
    struct perf_event_attr attr = {.size = sizeof(attr)};
    pfm_perf_encode_arg_t arg = {.size = sizeof(arg), .attr = &attr};
    int r = pfm_initialize(); /* again and again is fine: it does nothing after the first */

    if (r == PFM_SUCCESS)
        r = pfm_get_os_event_encoding(name, PFM_PLM0 | PFM_PLM3, PFM_OS_PERF_EVENT_EXT, &arg);
    if (r != PFM_SUCCESS)
        return cb_err_set(err, ENOENT, "libpfm4 does not know '%s' here: %s", name,
                          pfm_strerror(r));
    event->type = attr.type;
    event->config = attr.config;
    event->config1 = attr.config1;
    event->config2 = attr.config2;
    event->ticks_in_idle =
        attr.type == PERF_TYPE_SOFTWARE &&
        (attr.config == PERF_COUNT_SW_CPU_CLOCK || attr.config == PERF_COUNT_SW_TASK_CLOCK);
    name_pmu(l->root_fd, event);
    event->per_socket = counts_a_socket(l->root_fd, event->pmu);
    return event->per_socket && !l->machine ? not_for_cgroups(event->pmu, err) : 0;
}

static int from_raw(const char *name, struct cb_event *event, struct cb_err *err)
{
    if ((name[0] != 'r' && name[0] != 'R') || strncasecmp(name + 1, "0x", 2) == 0 ||
        parse_number(name + 1, strlen(name) - 1, 16, &event->config) < 0)
        return cb_err_set(err, ENOENT, "'%s' is not a raw event (rUUEE)", name);
    event->type = PERF_TYPE_RAW;
    (void)snprintf(event->pmu, sizeof(event->pmu), "cpu");
    return 0;
}

/* Names of hwpc-sensor's users for core events. The raw codes are the vendors' architectural ones
 * (Intel SDM vol. 3, "Pre-defined architectural performance events"; AMD PPR, "Core performance
 * monitor counters"). */
static const struct {
    const char *name;
    enum cb_cpu_vendor vendor; /* CB_CPU_OTHER: any */
    uint32_t type;
    uint64_t config;
} core_names[] = {
    {"LLC_MISSES", CB_CPU_INTEL, PERF_TYPE_RAW, 0x412e},
    {"LLC_MISSES", CB_CPU_OTHER, PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_MISSES},
    {"INSTRUCTIONS_RETIRED", CB_CPU_OTHER, PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS},
    {"UNHALTED_CORE_CYCLES", CB_CPU_OTHER, PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES},
    {"UNHALTED_REFERENCE_CYCLES", CB_CPU_OTHER, PERF_TYPE_HARDWARE, PERF_COUNT_HW_REF_CPU_CYCLES},
    {"CPU_CLK_UNHALTED:THREAD_P", CB_CPU_INTEL, PERF_TYPE_RAW, 0x003c},
    {"CPU_CLK_THREAD_UNHALTED:THREAD_P", CB_CPU_INTEL, PERF_TYPE_RAW, 0x003c},
    {"CPU_CLK_UNHALTED:REF_P", CB_CPU_INTEL, PERF_TYPE_RAW, 0x013c},
    {"CPU_CLK_THREAD_UNHALTED:REF_P", CB_CPU_INTEL, PERF_TYPE_RAW, 0x013c},
    {"CYCLES_NOT_IN_HALT", CB_CPU_AMD, PERF_TYPE_RAW, 0x76},
    {"RETIRED_INSTRUCTIONS", CB_CPU_AMD, PERF_TYPE_RAW, 0xc0},
    {"RETIRED_UOPS", CB_CPU_AMD, PERF_TYPE_RAW, 0xc1},
    {"RETIRED_OPS", CB_CPU_AMD, PERF_TYPE_RAW, 0xc1},
};

/* And for what sysfs has under a name of its own. */
static const struct {
    const char *name;
    const char *pmu, *body;
} sysfs_names[] = {
    {"RAPL_ENERGY_PKG", "power", "energy-pkg"},
    {"RAPL_ENERGY_DRAM", "power", "energy-ram"},
    {"RAPL_ENERGY_CORES", "power", "energy-cores"},
    {"RAPL_ENERGY_GPU", "power", "energy-gpu"},
    {"RAPL_ENERGY_PSYS", "power", "energy-psys"},
    {"TSC", "msr", "tsc"},
    {"APERF", "msr", "aperf"},
    {"MPERF", "msr", "mperf"},
    {"PPERF", "msr", "pperf"},
    {"SMI", "msr", "smi"},
    {"PTSC", "msr", "ptsc"},
    {"IRPERF", "msr", "irperf"},
    {"CPU_THERMAL_MARGIN", "msr", "cpu_thermal_margin"},
    {"UNC_P_CLOCKTICKS", "uncore_pcu", "event=0"},
    {"UNC_P_POWER_STATE_OCCUPANCY:CORES_C0", "uncore_pcu", "event=0x80,occ_sel=1"},
    {"UNC_P_POWER_STATE_OCCUPANCY:CORES_C3", "uncore_pcu", "event=0x80,occ_sel=2"},
    {"UNC_P_POWER_STATE_OCCUPANCY:CORES_C6", "uncore_pcu", "event=0x80,occ_sel=3"},
};

/* Not there: is it the PMU, or only the event? */
static int not_in_sysfs(const struct lookup *l, const char *name, const char *pmu, int r,
                        struct cb_err *err)
{
    char path[256];
    struct stat st;

    (void)snprintf(path, sizeof(path), DEVICES "/%s", pmu);
    if (fstatat(l->root_fd, path, &st, 0) < 0)
        return cb_err_set(
            err, ENOENT, "no %s PMU on this machine ('%s' is its): see cbsensor doctor", pmu, name);
    return cb_err_set(err, ENOENT, "this machine's %s PMU has no '%s' (%s)", pmu, name,
                      strerror(-r));
}

static int from_known(const struct lookup *l, const char *name, struct cb_event *event,
                      struct cb_err *err)
{
    for (size_t i = 0; i < sizeof(core_names) / sizeof(core_names[0]); i++) {
        if (strcasecmp(name, core_names[i].name) != 0 ||
            (core_names[i].vendor != CB_CPU_OTHER && core_names[i].vendor != l->vendor))
            continue;
        event->type = core_names[i].type;
        event->config = core_names[i].config;
        (void)snprintf(event->pmu, sizeof(event->pmu), "cpu");
        return 0;
    }
    for (size_t i = 0; i < sizeof(sysfs_names) / sizeof(sysfs_names[0]); i++)
        if (strcasecmp(name, sysfs_names[i].name) == 0) {
            int r = from_pmu(l, sysfs_names[i].pmu, sysfs_names[i].body, event, err);

            return r == 0 || (r == -EINVAL && event->per_socket)
                       ? r
                       : not_in_sysfs(l, name, sysfs_names[i].pmu, r, err);
        }
    return cb_err_set(err, ENOENT, "unknown event '%s'", name);
}

static int resolve_by(const struct lookup *l, const char *name, int kind, struct cb_event *event,
                      struct cb_err *err)
{
    switch (kind) {
    case 0:
        return from_libpfm(l, name, event, err);
    case 1:
        return from_sysfs(l, name, event, err);
    case 2:
        return from_raw(name, event, err);
    default:
        return from_known(l, name, event, err);
    }
}

static int resolve(const struct lookup *l, const char *name, unsigned attempt,
                   struct cb_event *ret_event, struct cb_err *err)
{
    struct cb_event event;
    bool by_pmu = strchr(name, '/') != NULL;
    unsigned found = 0;
    int r = -ENOENT;

    if (strlen(name) >= CB_EVENT_NAME_SIZE)
        return cb_err_set(err, EINVAL, "the event name '%.40s...' is too long", name);
    /* only sysfs can explain what is wrong with pmu/event/ */
    for (int kind = by_pmu ? 1 : 0; kind < (by_pmu ? 2 : 4); kind++) {
        event = (struct cb_event){0};
        r = resolve_by(l, name, kind, &event, err);
        if (r == -EINVAL && event.per_socket)
            return r; /* known, and never for a cgroup */
        if (r < 0 || found++ < attempt)
            continue;
        (void)snprintf(event.name, sizeof(event.name), "%s", name);
        *ret_event = event;
        return 0;
    }
    if (r == 0)
        return cb_err_set(err, ENOENT, "'%s' has no further encoding", name);
    return r;
}

int cb_event_resolve(int root_fd, enum cb_cpu_vendor vendor, const char *name, unsigned attempt,
                     struct cb_event *ret_event, struct cb_err *err)
{
    const struct lookup l = {.root_fd = root_fd, .vendor = vendor};

    return resolve(&l, name, attempt, ret_event, err);
}

int cb_event_resolve_machine(int root_fd, enum cb_cpu_vendor vendor, const char *name,
                             unsigned attempt, struct cb_event *ret_event, struct cb_err *err)
{
    const struct lookup l = {.root_fd = root_fd, .vendor = vendor, .machine = true};

    return resolve(&l, name, attempt, ret_event, err);
}

/* ---- hybrid CPUs ---- */

/* What sysfs calls the kernel's generic events, where that is another name. */
static const char *sysfs_name(const char *name)
{
    if (strcasecmp(name, "cycles") == 0)
        return "cpu-cycles";
    return strcasecmp(name, "branches") == 0 ? "branch-instructions" : name;
}

/* Bring an event of "the CPU" to one of its PMUs: generic ones carry its type beside their number
 * (PERF_PMU_CAP_EXTENDED_HW_TYPE, Linux 5.13), raw ones are its own. */
static int move_to_pmu(const struct lookup *l, const char *pmu, struct cb_event *event,
                       struct cb_err *err)
{
    struct cb_event on = {0};
    int r;

    if (event->type != PERF_TYPE_HARDWARE && event->type != PERF_TYPE_HW_CACHE &&
        event->type != PERF_TYPE_RAW)
        return cb_err_set(err, EXDEV, "it is not an event of core PMUs");
    r = read_type(l, pmu, &on, err);
    if (r < 0)
        return r;
    if (event->type == PERF_TYPE_RAW)
        event->type = on.type;
    else
        event->config |= (uint64_t)on.type << 32;
    (void)snprintf(event->pmu, sizeof(event->pmu), "%s", pmu);
    return 0;
}

static int resolve_core_by(const struct lookup *l, const char *pmu, const char *name, int kind,
                           struct cb_event *event, struct cb_err *err)
{
    int r;

    if (kind == 0)
        return from_pmu(l, pmu, sysfs_name(name), event, err);
    r = kind == 1   ? from_raw(name, event, err)
        : kind == 2 ? from_known(l, name, event, err)
                    : from_libpfm(l, name, event, err);
    return r < 0 ? r : move_to_pmu(l, pmu, event, err);
}

int cb_event_resolve_core(int root_fd, enum cb_cpu_vendor vendor, const char *pmu, const char *name,
                          unsigned attempt, struct cb_event *ret_event, struct cb_err *err)
{
    const struct lookup l = {.root_fd = root_fd, .vendor = vendor};
    bool by_pmu = strchr(name, '/') != NULL;
    size_t n = strlen(pmu);
    unsigned found = 0;

    if (strlen(name) >= CB_EVENT_NAME_SIZE)
        return cb_err_set(err, EINVAL, "the event name '%.40s...' is too long", name);
    if (by_pmu && (strncmp(name, pmu, n) != 0 || name[n] != '/'))
        return cb_err_set(err, EXDEV, "'%s' is of another PMU", name);
    if (by_pmu)
        return resolve(&l, name, attempt, ret_event, err);
    for (int kind = 0; kind < 4; kind++) {
        struct cb_event event = {0};
        int r = resolve_core_by(&l, pmu, name, kind, &event, err);

        if (r == -EXDEV)
            return r;
        if (r < 0 || found++ < attempt)
            continue;
        (void)snprintf(event.name, sizeof(event.name), "%s", name);
        *ret_event = event;
        return 0;
    }
    return cb_err_set(err, ENOENT, "%s '%s'", found ? "no further encoding of" : "unknown event",
                      name);
}

bool cb_event_is_core(int root_fd, enum cb_cpu_vendor vendor, const struct cb_event_core_pmus *pmus,
                      const char *name)
{
    for (size_t i = 0; i < pmus->n; i++) {
        struct cb_event event;

        if (cb_event_resolve_core(root_fd, vendor, pmus->at[i].name, name, 0, &event, NULL) !=
            -EXDEV)
            return true;
    }
    return false;
}

/* Puts it into the list when it counts some of the CPUs only. */
static int add_core_pmu(int root_fd, const char *name, struct cb_event_core_pmus *pmus)
{
    char path[512];
    char text[4096];
    size_t count;
    uint8_t *cpus;

    (void)snprintf(path, sizeof(path), DEVICES "/%s/cpus", name);
    if (pmus->n == CB_EVENT_MAX_CORE_PMUS || strlen(name) >= CB_EVENT_PMU_SIZE ||
        cb_fsread_text(root_fd, path, text, sizeof(text), NULL) < 0)
        return 0;
    cpus = calloc(CB_FRAME_MAX_CPUS, 1);
    if (!cpus)
        return -ENOMEM;
    if (cb_parse_cpulist(text, cpus, CB_FRAME_MAX_CPUS, &count) < 0 || count == 0) {
        free(cpus);
        return 0;
    }
    (void)snprintf(pmus->at[pmus->n].name, sizeof(pmus->at[0].name), "%s", name);
    pmus->at[pmus->n++].cpus = cpus;
    return 0;
}

static uint32_t first_cpu(const uint8_t *cpus)
{
    uint32_t cpu = 0;

    while (cpu < CB_FRAME_MAX_CPUS && !cpus[cpu])
        cpu++;
    return cpu;
}

static int by_first_cpu(const void *a, const void *b)
{
    const struct cb_event_core_pmu *x = a;
    const struct cb_event_core_pmu *y = b;
    uint32_t i = first_cpu(x->cpus);
    uint32_t k = first_cpu(y->cpus);

    return i < k ? -1 : i > k;
}

void cb_event_core_pmus_fini(struct cb_event_core_pmus *pmus)
{
    for (size_t i = 0; i < pmus->n; i++)
        free(pmus->at[i].cpus);
    pmus->n = 0;
}

int cb_event_core_pmus(int root_fd, struct cb_event_core_pmus *ret_pmus, struct cb_err *err)
{
    cb_auto_close int fd = openat(root_fd, DEVICES, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    int r = 0;

    ret_pmus->n = 0;
    if (!dir)
        return 0; /* then there is nothing to choose from */
    (void)cb_take_fd(fd);
    for (struct dirent *e; r >= 0 && (e = readdir(dir));)
        r = e->d_name[0] == '.' ? 0 : add_core_pmu(root_fd, e->d_name, ret_pmus);
    (void)closedir(dir);
    if (r < 0 || ret_pmus->n < 2)
        cb_event_core_pmus_fini(ret_pmus);
    if (r < 0)
        return cb_err_set(err, ENOMEM, "out of memory");
    qsort(ret_pmus->at, ret_pmus->n, sizeof(ret_pmus->at[0]), by_first_cpu);
    return 0;
}
