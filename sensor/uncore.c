/* SPDX-License-Identifier: Apache-2.0 */
/* uncore.c - see uncore.h. */
#include "sensor/uncore.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/err.h"
#include "lib/parse.h"
#include "sensor/fsread.h"
#include "sensor/perf_private.h"

#define DEVICES "sys/bus/event_source/devices"
#define PCU "uncore_pcu"
#define IMC "uncore_imc"
#define PATH_SIZE 160
#define BOX_EVENTS 4 /* as many as a box has counters */

static const struct counter {
    const char *name;
    const char *pmu;
    const char *event;
    bool is_bytes;
} counters[] = {
    {"pcu_clockticks", PCU, "UNC_P_CLOCKTICKS", false},
    {"pcu_c0", PCU, "UNC_P_POWER_STATE_OCCUPANCY:CORES_C0", false},
    {"pcu_c3", PCU, "UNC_P_POWER_STATE_OCCUPANCY:CORES_C3", false},
    {"pcu_c6", PCU, "UNC_P_POWER_STATE_OCCUPANCY:CORES_C6", false},
    {"imc_read_bytes", IMC, "cas_count_read", true},
    {"imc_write_bytes", IMC, "cas_count_write", true},
};
#define N_COUNTERS (sizeof(counters) / sizeof(counters[0]))

/* One PMU's group on one CPU. */
struct box {
    uint16_t socket;
    size_t n;
    int fds[BOX_EVENTS];        /* the first is the leader */
    size_t counter[BOX_EVENTS]; /* index into counters[] */
    double factor[BOX_EVENTS];  /* from counts to the counter's unit */
    struct cb_perf_reading before;
};

/* One counter of one socket. */
struct sum {
    bool exists; /* at all */
    bool failed; /* in this read */
    double value;
};

struct cb_uncore {
    size_t n_sockets;
    size_t n;         /* sums that exist */
    struct sum *sums; /* [socket * N_COUNTERS + counter] */
    size_t n_boxes;
    struct box *boxes;
};

/* ---- opening ---- */

/* "uncore_imc" or "uncore_imc_12", not "uncore_imc_free_running_0". */
static bool is_pmu(const char *name, const char *pmu)
{
    size_t n = strlen(pmu);

    if (strncmp(name, pmu, n) != 0)
        return false;
    return name[n] == '\0' ||
           (name[n] == '_' && name[n + 1] && !name[n + 1 + strspn(name + n + 1, "0123456789")]);
}

/* Bytes for each count; 0: its files do not tell. */
static double bytes_per_count(int root_fd, const char *pmu, const char *event)
{
    char path[PATH_SIZE];
    char text[64];
    double scale;

    (void)snprintf(path, sizeof(path), DEVICES "/%s/events/%s.unit", pmu, event);
    if (cb_fsread_line(root_fd, path, text, sizeof(text), NULL) < 0 || strcmp(text, "MiB") != 0)
        return 0;
    (void)snprintf(path, sizeof(path), DEVICES "/%s/events/%s.scale", pmu, event);
    if (cb_fsread_line(root_fd, path, text, sizeof(text), NULL) < 0 ||
        cb_parse_double(text, &scale) < 0 || !(scale > 0))
        return 0;
    return scale * 1048576;
}

/* The first encoding that opens. */
static void add_event(struct box *box, int root_fd, enum cb_cpu_vendor vendor, const char *pmu,
                      uint32_t cpu, size_t k)
{
    const struct counter *c = &counters[k];
    double factor = c->is_bytes ? bytes_per_count(root_fd, pmu, c->event) : 1;
    char name[CB_EVENT_NAME_SIZE];
    struct cb_event event;
    int fd = -1;

    if (box->n == BOX_EVENTS || factor == 0)
        return;
    (void)snprintf(name, sizeof(name), c->is_bytes ? "%.40s/%s/" : "%.0s%s", pmu, c->event);
    for (unsigned i = 0;
         fd < 0 && cb_event_resolve_machine(root_fd, vendor, name, i, &event, NULL) == 0; i++)
        if (strcmp(event.pmu, pmu) == 0)
            fd = cb_perf_event_open(&event, -1, cpu, box->n ? box->fds[0] : -1);
    if (fd < 0)
        return;
    box->fds[box->n] = fd;
    box->counter[box->n] = k;
    box->factor[box->n++] = factor;
}

static void close_box(const struct box *box)
{
    for (size_t i = box->n; i-- > 0;)
        (void)close(box->fds[i]);
}

/* Take @box in when it counts. */
static int keep_box(struct cb_uncore *u, const struct box *box, struct cb_err *err)
{
    struct box *more;

    if (box->n == 0 || ioctl(box->fds[0], PERF_EVENT_IOC_ENABLE, 0) < 0) {
        close_box(box);
        return 0;
    }
    more = realloc(u->boxes, (u->n_boxes + 1) * sizeof(*more));
    if (!more) {
        close_box(box);
        return cb_err_set(err, ENOMEM, "out of memory");
    }
    u->boxes = more;
    more[u->n_boxes++] = *box;
    for (size_t i = 0; i < box->n; i++) {
        struct sum *sum = &u->sums[box->socket * N_COUNTERS + box->counter[i]];

        u->n += !sum->exists;
        sum->exists = true;
    }
    return 0;
}

static int add_pmu(struct cb_uncore *u, int root_fd, const struct cb_topology *t, const char *pmu,
                   uint8_t *mask, struct cb_err *err)
{
    char path[PATH_SIZE];
    char text[4096];
    size_t count;
    int r = 0;

    if ((!is_pmu(pmu, PCU) && !is_pmu(pmu, IMC)) || strlen(pmu) >= CB_EVENT_PMU_SIZE)
        return 0;
    (void)snprintf(path, sizeof(path), DEVICES "/%s/cpumask", pmu);
    memset(mask, 0, CB_FRAME_MAX_CPUS);
    if (cb_fsread_text(root_fd, path, text, sizeof(text), NULL) < 0 ||
        cb_parse_cpulist(text, mask, CB_FRAME_MAX_CPUS, &count) < 0)
        return 0;
    for (uint32_t i = 0; r == 0 && i < t->n_cpus; i++) {
        struct box box = {.socket = t->socket[i]};

        if (!mask[t->cpus[i]])
            continue;
        for (size_t k = 0; k < N_COUNTERS; k++)
            if (is_pmu(pmu, counters[k].pmu))
                add_event(&box, root_fd, t->vendor, pmu, t->cpus[i], k);
        r = keep_box(u, &box, err);
    }
    return r;
}

static int add_pmus(struct cb_uncore *u, int root_fd, const struct cb_topology *t,
                    struct cb_err *err)
{
    cb_auto_free uint8_t *mask = calloc(CB_FRAME_MAX_CPUS, 1);
    cb_auto_close int fd = openat(root_fd, DEVICES, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 || !mask ? NULL : fdopendir(fd);
    int r = 0;

    if (!mask)
        return cb_err_set(err, ENOMEM, "out of memory");
    if (!dir)
        return 0;
    (void)cb_take_fd(fd);
    for (struct dirent *e; r == 0 && (e = readdir(dir));)
        r = add_pmu(u, root_fd, t, e->d_name, mask, err);
    (void)closedir(dir);
    return r;
}

int cb_uncore_open(int root_fd, const struct cb_topology *topology, struct cb_uncore **ret_uncore,
                   struct cb_err *err)
{
    struct cb_uncore *u = calloc(1, sizeof(*u));
    int r = 0;

    if (u) {
        u->n_sockets = topology->n_sockets;
        u->sums = calloc(u->n_sockets * N_COUNTERS, sizeof(*u->sums));
    }
    if (!u || !u->sums)
        r = cb_err_set(err, ENOMEM, "out of memory");
    if (r == 0)
        r = add_pmus(u, root_fd, topology, err);
    if (r < 0)
        (void)cb_uncore_close(u);
    else
        *ret_uncore = u;
    return r;
}

struct cb_uncore *cb_uncore_close(struct cb_uncore *uncore)
{
    if (!uncore)
        return NULL;
    for (size_t i = 0; i < uncore->n_boxes; i++)
        close_box(&uncore->boxes[i]);
    free(uncore->boxes);
    free(uncore->sums);
    free(uncore);
    return NULL;
}

bool cb_uncore_has(const struct cb_uncore *uncore, const char *name)
{
    for (size_t i = 0; i < uncore->n_sockets * N_COUNTERS; i++)
        if (uncore->sums[i].exists && strcmp(counters[i % N_COUNTERS].name, name) == 0)
            return true;
    return false;
}

size_t cb_uncore_n(const struct cb_uncore *uncore)
{
    return uncore->n;
}

/* ---- reading ---- */

/* 0, or -errno: its counters' sums are then incomplete. */
static int add_box(struct cb_uncore *u, struct box *box)
{
    struct sum *sums = &u->sums[box->socket * N_COUNTERS];
    struct cb_perf_reading now;
    uint64_t counts[BOX_EVENTS] = {0};
    uint64_t enabled_ns = 0;
    uint64_t running_ns = 0;
    int r = cb_perf_read_group(box->fds[0], box->n, &now);

    if (r == 0) {
        /* the times are of no interest here, so the tick's length is neither */
        cb_perf_add_delta(&box->before, &now, UINT64_MAX, counts, &enabled_ns, &running_ns);
        memcpy(&box->before, &now, offsetof(struct cb_perf_reading, values[BOX_EVENTS]));
    }
    for (size_t i = 0; i < box->n; i++) {
        struct sum *sum = &sums[box->counter[i]];

        sum->failed = sum->failed || r < 0 || (enabled_ns > 0 && running_ns == 0);
        sum->value += (double)counts[i] * box->factor[i];
    }
    return r;
}

size_t cb_uncore_read(struct cb_uncore *u, struct cb_frame_counter *ret_counters,
                      struct cb_gaps *gaps)
{
    size_t n = 0;

    for (size_t i = 0; i < u->n_sockets * N_COUNTERS; i++) {
        u->sums[i].failed = false;
        u->sums[i].value = 0;
    }
    for (size_t i = 0; i < u->n_boxes; i++) {
        int r = add_box(u, &u->boxes[i]);

        if (r < 0)
            cb_gaps_add(gaps, "uncore", "%s of socket %u: %s", counters[u->boxes[i].counter[0]].pmu,
                        u->boxes[i].socket, strerror(-r));
    }
    for (size_t s = 0; s < u->n_sockets; s++)
        for (size_t k = 0; k < N_COUNTERS; k++) {
            const struct sum *sum = &u->sums[s * N_COUNTERS + k];

            if (sum->exists && !sum->failed)
                ret_counters[n++] =
                    (struct cb_frame_counter){.name = counters[k].name,
                                              .socket = (uint16_t)s,
                                              .value = (uint64_t)llround(sum->value)};
        }
    return n;
}
