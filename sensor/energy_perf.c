/* SPDX-License-Identifier: Apache-2.0 */
/*
 * energy_perf.c - RAPL through the kernel's perf `power` PMU.
 *
 * Source   /sys/bus/event_source/devices/power/{type,cpumask,events/energy-*{,.scale,.unit}}.
 *          Counts are 64 bits, wraps are the kernel's business; a count that goes back or leaps
 *          further than energy can is none (energy_step.h). Scale and unit are read, never
 *          assumed; a unit other than Joules is refused.
 * Dies     One CPU of the mask per die. On Intel the dies of a package have counters of their own
 *          and are added up; on AMD each shows the whole package, and the first one stands for all.
 * Cores    AMD's core counters belong to a core. Since Linux 6.14 the PMU `power_core` has them,
 *          with one CPU of each core in its mask: they are added up. While that CPU is offline
 *          the kernel counts on the core's other one, if any; when it is back it is opened anew.
 * Steps    The hardware's own step is finer than or equal to CB_RAPL_STEP_UJ.
 */
#include <errno.h>
#include <linux/perf_event.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/err.h"
#include "lib/parse.h"
#include "sensor/energy_driver.h"
#include "sensor/energy_step.h"
#include "sensor/event.h"
#include "sensor/fsread.h"

#define DEVICES "sys/bus/event_source/devices"
#define EVENT_PATH_SIZE 128

static const struct known {
    const char *pmu;
    const char *event;
    enum cb_domain domain;
} known[] = {
    {"power", "energy-pkg", CB_DOMAIN_PACKAGE}, {"power", "energy-ram", CB_DOMAIN_DRAM},
    {"power", "energy-cores", CB_DOMAIN_CORE},  {"power", "energy-gpu", CB_DOMAIN_UNCORE},
    {"power", "energy-psys", CB_DOMAIN_PSYS},   {"power_core", "energy-core", CB_DOMAIN_CORE},
};
#define N_KNOWN (sizeof(known) / sizeof(known[0]))

struct source {
    int fd;
    size_t counter;
    uint32_t cpu;
    bool of_core; /* and of nothing else */
    bool away;    /* its CPU is offline */
    uint32_t type;
    uint64_t config;
    struct cb_energy_steps steps;
    uint64_t total; /* counts since open */
};

struct perf_energy {
    const struct cb_topology *topology;
    size_t n_counters;
    struct cb_energy_counter counters[CB_ENERGY_MAX_COUNTERS];
    double uj_per_count[CB_ENERGY_MAX_COUNTERS];
    size_t n_sources;
    struct source *sources; /* [N_KNOWN * n_cpus] */
};

static int event_config(int root_fd, const struct known *what, uint64_t *ret_config,
                        struct cb_err *err)
{
    struct cb_event event = {0};
    char path[EVENT_PATH_SIZE];
    char text[64];
    char format[64] = "config:0-7";
    unsigned long long code;
    char tail;
    int r;

    (void)snprintf(path, sizeof(path), DEVICES "/%s/format/event", what->pmu);
    r = cb_fsread_line(root_fd, path, format, sizeof(format), err);
    if (r < 0 && r != -ENOENT)
        return r;
    (void)snprintf(path, sizeof(path), DEVICES "/%s/events/%s", what->pmu, what->event);
    r = cb_fsread_line(root_fd, path, text, sizeof(text), err);
    if (r < 0)
        return r;
    if (sscanf(text, "event=%llx%c", &code, &tail) != 1)
        return cb_err_set(err, EINVAL, "'/%s' is not an event: '%s'", path, text);
    r = cb_event_apply_format(format, code, &event);
    if (r < 0)
        return cb_err_set(err, -r, "'/%s': '%s' does not fit the format '%s'", path, text, format);
    *ret_config = event.config;
    return 0;
}

static int event_scale(int root_fd, const struct known *what, double *ret_uj, struct cb_err *err)
{
    char path[EVENT_PATH_SIZE];
    char text[64];
    double scale;
    int r;

    (void)snprintf(path, sizeof(path), DEVICES "/%s/events/%s.unit", what->pmu, what->event);
    r = cb_fsread_line(root_fd, path, text, sizeof(text), err);
    if (r < 0)
        return r;
    if (strcmp(text, "Joules") != 0)
        return cb_err_set(err, EINVAL, "'/%s' is '%s', not Joules", path, text);
    (void)snprintf(path, sizeof(path), DEVICES "/%s/events/%s.scale", what->pmu, what->event);
    r = cb_fsread_line(root_fd, path, text, sizeof(text), err);
    if (r < 0)
        return r;
    if (cb_parse_double(text, &scale) < 0 || !(scale > 0))
        return cb_err_set(err, EINVAL, "'/%s' is not a scale: '%s'", path, text);
    *ret_uj = scale * 1e6;
    return 0;
}

static int open_on_cpu(uint32_t type, uint64_t config, uint32_t cpu, struct cb_err *err)
{
    struct perf_event_attr attr = {.size = sizeof(attr), .type = type, .config = config};
    long fd = syscall(SYS_perf_event_open, &attr, -1, (int)cpu, -1, PERF_FLAG_FD_CLOEXEC);

    if (fd < 0 && (errno == EACCES || errno == EPERM))
        return cb_err_set(err, EACCES,
                          "no right to open the power PMU: run as root or with "
                          "CAP_PERFMON, or set kernel.perf_event_paranoid to 0");
    if (fd < 0)
        return cb_err_set(err, errno, "perf_event_open of the power PMU on CPU %u: %s", cpu,
                          strerror(errno));
    return (int)fd;
}

static size_t counter_of(struct perf_energy *p, uint16_t socket, const struct known *what,
                         double uj_per_count)
{
    size_t i = 0;

    while (i < p->n_counters &&
           (p->counters[i].socket != socket || p->counters[i].domain != (uint8_t)what->domain))
        i++;
    if (i < p->n_counters || i == CB_ENERGY_MAX_COUNTERS)
        return i;
    p->n_counters++;
    p->counters[i] = (struct cb_energy_counter){.socket = socket, .domain = (uint8_t)what->domain};
    (void)snprintf(p->counters[i].name, sizeof(p->counters[i].name), "%s of socket %u", what->event,
                   socket);
    p->uj_per_count[i] = uj_per_count;
    return i;
}

static int read_count(int fd, uint64_t *ret_count, struct cb_err *err)
{
    if (read(fd, ret_count, sizeof(*ret_count)) != (ssize_t)sizeof(*ret_count))
        return cb_err_set(err, EIO, "cannot read the power PMU (CPU offline?)");
    return 0;
}

/* Open it on its CPU, in place of what was open; it counts from now on. */
static int start(struct source *s, struct cb_err *err)
{
    cb_auto_close int fd = open_on_cpu(s->type, s->config, s->cpu, err);
    int r = fd < 0 ? fd : read_count(fd, &s->steps.last, err);

    if (r < 0)
        return r;
    s->steps.at = cb_energy_moment();
    if (s->fd >= 0)
        (void)close(s->fd);
    s->fd = cb_take_fd(fd);
    return 0;
}

static int add_source(struct perf_energy *p, const struct known *what, const struct source *like,
                      uint16_t socket, double uj_per_count, struct cb_err *err)
{
    struct source *s = &p->sources[p->n_sources];
    int r;

    *s = *like;
    s->counter = counter_of(p, socket, what, uj_per_count);
    if (s->counter == CB_ENERGY_MAX_COUNTERS)
        return cb_err_set(err, ERANGE, "more than %d energy counters", CB_ENERGY_MAX_COUNTERS);
    s->steps.uj_per_count = uj_per_count;
    s->steps.max_w = cb_energy_max_w(what->domain, p->topology->n_sockets);
    s->steps.sustained_w = s->steps.max_w;
    r = start(s, err);
    if (r < 0)
        return r;
    if (s->of_core || p->counters[s->counter].step_uj == 0)
        p->counters[s->counter].step_uj += CB_RAPL_STEP_UJ;
    p->n_sources++;
    return 0;
}

/* The PMU's type and the CPUs it is to be opened on. */
static int find_pmu(int root_fd, const char *pmu, uint64_t *ret_type, uint8_t *mask,
                    struct cb_err *err)
{
    char path[EVENT_PATH_SIZE];
    char text[4096];
    size_t count;
    int r;

    (void)snprintf(path, sizeof(path), DEVICES "/%s/type", pmu);
    r = cb_fsread_u64(root_fd, path, ret_type, err);
    if (r < 0)
        return r;
    (void)snprintf(path, sizeof(path), DEVICES "/%s/cpumask", pmu);
    r = cb_fsread_text(root_fd, path, text, sizeof(text), err);
    if (r < 0)
        return r;
    if (cb_parse_cpulist(text, mask, CB_FRAME_MAX_CPUS, &count) < 0 || count == 0)
        return cb_err_set(err, EPROTO, "'/%s' is not a list of CPUs: '%.40s'", path, text);
    return 0;
}

static int open_event(struct perf_energy *p, int root_fd, const struct known *what, uint8_t *mask,
                      struct cb_err *err)
{
    const struct cb_topology *t = p->topology;
    bool amd = t->vendor == CB_CPU_AMD;
    struct source like = {.fd = -1, .of_core = strcmp(what->pmu, "power_core") == 0};
    uint8_t seen[CB_FRAME_MAX_SOCKETS] = {0};
    double uj_per_count = 0;
    uint64_t type = 0;
    int r;

    if (amd && what->domain == CB_DOMAIN_CORE && !like.of_core)
        return -ENOENT; /* it would be one core's */
    memset(mask, 0, CB_FRAME_MAX_CPUS);
    r = find_pmu(root_fd, what->pmu, &type, mask, err);
    if (r == 0)
        r = event_config(root_fd, what, &like.config, err);
    if (r == 0)
        r = event_scale(root_fd, what, &uj_per_count, err);
    like.type = (uint32_t)type;
    for (uint32_t i = 0; r == 0 && i < t->n_cpus; i++) {
        uint16_t socket = t->socket[i];

        if (!mask[t->cpus[i]] || (amd && !like.of_core && seen[socket]))
            continue;
        seen[socket] = 1;
        like.cpu = t->cpus[i];
        r = add_source(p, what, &like, socket, uj_per_count, err);
    }
    return r;
}

static int open_events(struct perf_energy *p, int root_fd, struct cb_err *err)
{
    cb_auto_free uint8_t *mask = calloc(CB_FRAME_MAX_CPUS, 1);
    uint64_t type;

    p->sources = calloc(N_KNOWN * p->topology->n_cpus, sizeof(*p->sources));
    if (!mask || !p->sources)
        return cb_err_set(err, ENOMEM, "out of memory");
    if (cb_fsread_u64(root_fd, DEVICES "/power/type", &type, err) == -ENOENT)
        return cb_err_set(err, ENOENT, "no power PMU (no RAPL here, as in most virtual machines)");
    for (size_t k = 0; k < N_KNOWN; k++) {
        int r = open_event(p, root_fd, &known[k], mask, err);

        if (r == -EINVAL)
            r = -EPROTO; /* a file that is not as the kernel promises: the next source may do */
        if (r < 0 && r != -ENOENT)
            return r;
    }
    if (p->n_sources == 0)
        return cb_err_set(err, ENOENT, "the power PMU has no events");
    return 0;
}

static void perf_close(void *state)
{
    struct perf_energy *p = state;

    for (size_t i = 0; i < p->n_sources; i++)
        (void)close(p->sources[i].fd);
    free(p->sources);
    free(p);
}

static int perf_open(const struct cb_energy_options *options, void **ret_state,
                     const struct cb_energy_counter **ret_counters, size_t *ret_n,
                     struct cb_err *err)
{
    struct perf_energy *p = calloc(1, sizeof(*p));
    int r;

    if (!p)
        return cb_err_set(err, ENOMEM, "out of memory");
    p->topology = options->topology;
    r = open_events(p, options->root_fd, err);
    if (r < 0) {
        perf_close(p);
        return r;
    }
    *ret_state = p;
    *ret_counters = p->counters;
    *ret_n = p->n_counters;
    return 0;
}

static int advance(const struct perf_energy *p, struct source *s, struct cb_err *err)
{
    bool offline = s->of_core && cb_topology_socket_of_cpu(p->topology, s->cpu) < 0;
    uint64_t now = 0;
    uint64_t counts = 0;
    struct cb_energy_moment at;
    int r;

    if (s->away && !offline) {
        r = start(s, err);
        s->away = r < 0;
        return r;
    }
    s->away = offline;
    r = read_count(s->fd, &now, err);
    if (r < 0 && offline)
        return 0;
    at = cb_energy_moment();
    if (r == 0)
        r = cb_energy_step(&s->steps, now, &at, &counts, err);
    s->total += counts;
    return r;
}

static int perf_read(void *state, size_t counter, const struct cb_energy_interval *interval,
                     uint64_t *ret_total_uj, struct cb_err *err)
{
    struct perf_energy *p = state;
    uint64_t counts = 0;
    int result = 0;

    (void)interval;
    for (size_t i = 0; i < p->n_sources; i++) {
        struct cb_err why = {0};

        if (p->sources[i].counter != counter)
            continue;
        result = cb_energy_worse(result, advance(p, &p->sources[i], &why), &why, err);
        counts += p->sources[i].total;
    }
    *ret_total_uj = (uint64_t)floorl((long double)counts * p->uj_per_count[counter]);
    return result;
}

const struct cb_energy_driver cb_energy_perf = {
    .name = "perf",
    .source = CB_SOURCE_PERF,
    .open = perf_open,
    .read = perf_read,
    .close = perf_close,
};
