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

#define POWER "sys/bus/event_source/devices/power"

static const struct {
    const char *event;
    enum cb_domain domain;
} known[] = {
    {"energy-pkg", CB_DOMAIN_PACKAGE}, {"energy-ram", CB_DOMAIN_DRAM},
    {"energy-cores", CB_DOMAIN_CORE},  {"energy-gpu", CB_DOMAIN_UNCORE},
    {"energy-psys", CB_DOMAIN_PSYS},
};
#define N_KNOWN (sizeof(known) / sizeof(known[0]))

struct source {
    int fd;
    size_t counter;
    struct cb_energy_steps steps;
    uint64_t total; /* counts since open */
};

struct perf_energy {
    size_t n_counters;
    struct cb_energy_counter counters[CB_ENERGY_MAX_COUNTERS];
    double uj_per_count[CB_ENERGY_MAX_COUNTERS];
    size_t n_sources;
    struct source sources[CB_ENERGY_MAX_COUNTERS];
};

static int event_config(int root_fd, size_t k, uint64_t *ret_config, struct cb_err *err)
{
    struct cb_event event = {0};
    char path[128];
    char text[64];
    char format[64] = "config:0-7";
    unsigned long long code;
    char tail;
    int r;

    (void)snprintf(path, sizeof(path), POWER "/events/%s", known[k].event);
    r = cb_fsread_line(root_fd, path, text, sizeof(text), err);
    if (r < 0)
        return r;
    if (sscanf(text, "event=%llx%c", &code, &tail) != 1)
        return cb_err_set(err, EINVAL, "'/%s' is not an event: '%s'", path, text);
    r = cb_fsread_line(root_fd, POWER "/format/event", format, sizeof(format), NULL);
    if (r < 0 && r != -ENOENT)
        return cb_err_set(err, -r, "cannot read '/" POWER "/format/event'");
    r = cb_event_apply_format(format, code, &event);
    if (r < 0)
        return cb_err_set(err, -r, "'/%s': '%s' does not fit the format '%s'", path, text, format);
    *ret_config = event.config;
    return 0;
}

static int event_scale(int root_fd, size_t k, double *ret_uj, struct cb_err *err)
{
    char path[128];
    char text[64];
    double scale;
    int r;

    (void)snprintf(path, sizeof(path), POWER "/events/%s.unit", known[k].event);
    r = cb_fsread_line(root_fd, path, text, sizeof(text), err);
    if (r < 0)
        return r;
    if (strcmp(text, "Joules") != 0)
        return cb_err_set(err, EINVAL, "'/%s' is '%s', not Joules", path, text);
    (void)snprintf(path, sizeof(path), POWER "/events/%s.scale", known[k].event);
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

static size_t counter_of(struct perf_energy *p, uint16_t socket, size_t k, double uj_per_count)
{
    size_t i = 0;

    while (i < p->n_counters &&
           (p->counters[i].socket != socket || p->counters[i].domain != (uint8_t)known[k].domain))
        i++;
    if (i < p->n_counters || i == CB_ENERGY_MAX_COUNTERS)
        return i;
    p->n_counters++;
    p->counters[i] = (struct cb_energy_counter){
        .socket = socket, .domain = (uint8_t)known[k].domain, .step_uj = CB_RAPL_STEP_UJ};
    (void)snprintf(p->counters[i].name, sizeof(p->counters[i].name), "%s of socket %u",
                   known[k].event, socket);
    p->uj_per_count[i] = uj_per_count;
    return i;
}

static int add_source(struct perf_energy *p, size_t counter, int fd, uint32_t n_sockets,
                      struct cb_err *err)
{
    struct cb_energy_steps steps = {0};

    if (counter == CB_ENERGY_MAX_COUNTERS || p->n_sources == CB_ENERGY_MAX_COUNTERS) {
        (void)close(fd);
        return cb_err_set(err, ERANGE, "more than %d energy counters", CB_ENERGY_MAX_COUNTERS);
    }
    if (read(fd, &steps.last, sizeof(steps.last)) != (ssize_t)sizeof(steps.last)) {
        (void)close(fd);
        return cb_err_set(err, EIO, "cannot read the power PMU");
    }
    steps.uj_per_count = p->uj_per_count[counter];
    steps.max_w = cb_energy_max_w(p->counters[counter].domain, n_sockets);
    steps.at = cb_energy_moment();
    p->sources[p->n_sources++] = (struct source){.fd = fd, .counter = counter, .steps = steps};
    return 0;
}

static int open_event(struct perf_energy *p, const struct cb_energy_options *options, size_t k,
                      uint32_t type, const uint8_t *mask, struct cb_err *err)
{
    const struct cb_topology *t = options->topology;
    uint8_t seen[CB_FRAME_MAX_SOCKETS] = {0};
    uint64_t config = 0;
    double uj_per_count = 0;
    int r = event_config(options->root_fd, k, &config, err);

    if (r == 0)
        r = event_scale(options->root_fd, k, &uj_per_count, err);
    for (uint32_t i = 0; r == 0 && i < t->n_cpus; i++) {
        uint16_t socket = t->socket[i];
        int fd;

        if (!mask[t->cpus[i]] || (t->vendor == CB_CPU_AMD && seen[socket]))
            continue;
        seen[socket] = 1;
        fd = open_on_cpu(type, config, t->cpus[i], err);
        if (fd < 0)
            return fd;
        r = add_source(p, counter_of(p, socket, k, uj_per_count), fd, t->n_sockets, err);
    }
    return r;
}

static int open_events(struct perf_energy *p, const struct cb_energy_options *options,
                       struct cb_err *err)
{
    cb_auto_free uint8_t *mask = calloc(CB_FRAME_MAX_CPUS, 1);
    char text[1024];
    uint64_t type;
    size_t count;
    int r;

    if (!mask)
        return cb_err_set(err, ENOMEM, "out of memory");
    r = cb_fsread_u64(options->root_fd, POWER "/type", &type, err);
    if (r == -ENOENT)
        return cb_err_set(err, ENOENT, "no power PMU (no RAPL here, as in most virtual machines)");
    if (r == 0)
        r = cb_fsread_text(options->root_fd, POWER "/cpumask", text, sizeof(text), err);
    if (r < 0)
        return r;
    if (cb_parse_cpulist(text, mask, CB_FRAME_MAX_CPUS, &count) < 0 || count == 0)
        return cb_err_set(err, EPROTO, "'/" POWER "/cpumask' is not a list of CPUs: '%.40s'", text);
    for (size_t k = 0; k < N_KNOWN; k++) {
        r = open_event(p, options, k, (uint32_t)type, mask, err);
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
    r = open_events(p, options, err);
    if (r < 0) {
        perf_close(p);
        return r;
    }
    *ret_state = p;
    *ret_counters = p->counters;
    *ret_n = p->n_counters;
    return 0;
}

static int advance(struct source *s, struct cb_err *err)
{
    uint64_t now;
    uint64_t counts = 0;
    ssize_t n = read(s->fd, &now, sizeof(now));
    struct cb_energy_moment at = cb_energy_moment();
    int r;

    if (n != (ssize_t)sizeof(now))
        return cb_err_set(err, EIO, "cannot read the power PMU (CPU offline?)");
    r = cb_energy_step(&s->steps, now, &at, &counts, err);
    s->total += counts;
    return r;
}

static int perf_read(void *state, size_t counter, const struct cb_energy_interval *interval,
                     uint64_t *ret_total_uj, struct cb_err *err)
{
    struct perf_energy *p = state;
    uint64_t counts = 0;

    (void)interval;
    for (size_t i = 0; i < p->n_sources; i++) {
        int r;

        if (p->sources[i].counter != counter)
            continue;
        r = advance(&p->sources[i], err);
        if (r < 0)
            return r;
        counts += p->sources[i].total;
    }
    *ret_total_uj = (uint64_t)floorl((long double)counts * p->uj_per_count[counter]);
    return 0;
}

const struct cb_energy_driver cb_energy_perf = {
    .name = "perf",
    .source = CB_SOURCE_PERF,
    .open = perf_open,
    .read = perf_read,
    .close = perf_close,
};
