/* SPDX-License-Identifier: Apache-2.0 */
/* topology.c - see topology.h. */
#include "sensor/topology.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "lib/parse.h"
#include "sensor/fsread.h"

#define ONLINE "sys/devices/system/cpu/online"
#define POSSIBLE "sys/devices/system/cpu/possible"

/* -1, as kernels without the knowledge write it, and a missing file are package 0. */
static int read_package(int root_fd, uint32_t cpu, int32_t *ret_id, struct cb_err *err)
{
    char path[96];
    char text[32];
    uint64_t id = 0;
    int r;

    (void)snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%u/topology/physical_package_id",
                   cpu);
    r = cb_fsread_line(root_fd, path, text, sizeof(text), err);
    if (r == -ENOENT || (r == 0 && strcmp(text, "-1") == 0)) {
        *ret_id = 0;
        return 0;
    }
    if (r < 0)
        return r;
    r = cb_parse_u64(text, &id);
    if (r == 0 && id > INT32_MAX)
        r = -ERANGE;
    if (r < 0)
        return cb_err_set(err, -r, "'/%s' does not hold a package: '%s'", path, text);
    *ret_id = (int32_t)id;
    return 0;
}

/* The number after "cpu family", which the first CPU tells for all; 0 where there is none. */
static uint32_t parse_family(const char *cpuinfo)
{
    const char *p = strstr(cpuinfo, "cpu family");

    p = p ? strchr(p, ':') : NULL;
    return p ? (uint32_t)strtoul(p + 1, NULL, 10) : 0;
}

static void read_model(struct cb_topology *t, int root_fd)
{
    char text[512];
    cb_auto_close int fd = cb_fsread_open(root_fd, "proc/cpuinfo", NULL);

    if (fd < 0 || cb_fsread_again(fd, text, sizeof(text)) < 0)
        return;
    if (strstr(text, "GenuineIntel"))
        t->vendor = CB_CPU_INTEL;
    else if (strstr(text, "AuthenticAMD") || strstr(text, "HygonGenuine"))
        t->vendor = CB_CPU_AMD;
    t->family = parse_family(text);
}

static int read_list(int root_fd, const char *path, uint8_t *online, size_t *ret_count,
                     struct cb_err *err)
{
    char text[4096];
    int r = cb_fsread_text(root_fd, path, text, sizeof(text), err);

    if (r < 0)
        return r;
    r = cb_parse_cpulist(text, online, CB_FRAME_MAX_CPUS, ret_count);
    return r < 0 ? cb_err_set(err, -r, "'/%s' is not a list of CPUs: '%.40s'", path, text) : 0;
}

/* CPU numbers are below it for as long as the machine runs. */
static uint32_t find_limit(int root_fd, uint32_t highest)
{
    cb_auto_free uint8_t *possible = calloc(CB_FRAME_MAX_CPUS, 1);
    size_t count = 0;

    if (!possible || read_list(root_fd, POSSIBLE, possible, &count, NULL) < 0)
        return highest + 1;
    for (uint32_t cpu = CB_FRAME_MAX_CPUS; cpu-- > highest + 1;)
        if (possible[cpu])
            return cpu + 1;
    return highest + 1;
}

static int add_cpus(struct cb_topology *t, int root_fd, const uint8_t *online, struct cb_err *err)
{
    size_t n = 0;

    t->cpus = calloc(t->n_cpus, sizeof(*t->cpus));
    t->socket = calloc(t->n_cpus, sizeof(*t->socket));
    t->online = calloc(t->n_cpus, sizeof(*t->online));
    t->socket_cpus = calloc(CB_FRAME_MAX_SOCKETS, sizeof(*t->socket_cpus));
    t->socket_ids = calloc(CB_FRAME_MAX_SOCKETS, sizeof(*t->socket_ids));
    if (!t->cpus || !t->socket || !t->online || !t->socket_cpus || !t->socket_ids)
        return cb_err_set(err, ENOMEM, "out of memory");
    for (uint32_t cpu = 0; cpu < CB_FRAME_MAX_CPUS; cpu++)
        if (online[cpu])
            t->cpus[n++] = cpu;
    for (size_t i = 0; i < n; i++)
        t->online[i] = true;
    t->cpu_limit = find_limit(root_fd, t->cpus[n - 1]);
    return 0;
}

/* Insert a package id into the ascending list of sockets. */
static int add_socket(struct cb_topology *t, int32_t id, struct cb_err *err)
{
    uint32_t at = 0;

    while (at < t->n_sockets && t->socket_ids[at] < id)
        at++;
    if (at < t->n_sockets && t->socket_ids[at] == id)
        return 0;
    if (t->n_sockets == CB_FRAME_MAX_SOCKETS)
        return cb_err_set(err, ERANGE, "more than %d sockets", CB_FRAME_MAX_SOCKETS);
    memmove(&t->socket_ids[at + 1], &t->socket_ids[at],
            (t->n_sockets - at) * sizeof(*t->socket_ids));
    t->socket_ids[at] = id;
    t->n_sockets++;
    return 0;
}

static int add_packages(struct cb_topology *t, int root_fd, struct cb_err *err)
{
    cb_auto_free int32_t *ids = calloc(t->n_cpus, sizeof(*ids));

    if (!ids)
        return cb_err_set(err, ENOMEM, "out of memory");
    for (uint32_t i = 0; i < t->n_cpus; i++) {
        int r = read_package(root_fd, t->cpus[i], &ids[i], err);

        if (r == 0)
            r = add_socket(t, ids[i], err);
        if (r < 0)
            return r;
    }
    for (uint32_t i = 0; i < t->n_cpus; i++) {
        int socket = cb_topology_socket_of_id(t, (uint64_t)ids[i]);

        t->socket[i] = (uint16_t)socket;
        t->socket_cpus[socket]++;
    }
    return 0;
}

static int fill(struct cb_topology *t, int root_fd, struct cb_err *err)
{
    cb_auto_free uint8_t *online = calloc(CB_FRAME_MAX_CPUS, 1);
    size_t count;
    int r;

    if (!online)
        return cb_err_set(err, ENOMEM, "out of memory");
    r = read_list(root_fd, ONLINE, online, &count, err);
    if (r < 0)
        return r;
    if (count == 0)
        return cb_err_set(err, EINVAL, "'/" ONLINE "' names no CPU");
    t->n_cpus = (uint32_t)count;
    r = add_cpus(t, root_fd, online, err);
    if (r == 0)
        r = add_packages(t, root_fd, err);
    if (r == 0)
        read_model(t, root_fd);
    return r;
}

int cb_topology_init(struct cb_topology *topology, int root_fd, struct cb_err *err)
{
    int r;

    *topology = (struct cb_topology){0};
    r = fill(topology, root_fd, err);
    if (r < 0)
        cb_topology_fini(topology);
    return r;
}

void cb_topology_fini(struct cb_topology *topology)
{
    free(topology->cpus);
    free(topology->socket);
    free(topology->online);
    free(topology->socket_cpus);
    free(topology->socket_ids);
    *topology = (struct cb_topology){0};
}

/* ---- hotplug ---- */

static int grow(void *at, size_t n, size_t size)
{
    void **array = at;
    void *more = realloc(*array, n * size);

    if (!more)
        return -ENOMEM;
    *array = more;
    return 0;
}

static int append_cpu(struct cb_topology *t, uint32_t cpu, uint16_t socket)
{
    size_t n = t->n_cpus + 1;

    if (grow(&t->cpus, n, sizeof(*t->cpus)) < 0 || grow(&t->socket, n, sizeof(*t->socket)) < 0 ||
        grow(&t->online, n, sizeof(*t->online)) < 0)
        return -ENOMEM;
    t->cpus[n - 1] = cpu;
    t->socket[n - 1] = socket;
    t->online[n - 1] = true;
    t->socket_cpus[socket]++;
    t->n_cpus++;
    return 0;
}

/* Those we know: @online keeps the others. True when one came or went. */
static bool mark_known(struct cb_topology *t, uint8_t *online)
{
    bool changed = false;

    for (uint32_t i = 0; i < t->n_cpus; i++) {
        bool is = online[t->cpus[i]];

        online[t->cpus[i]] = 0;
        if (is == t->online[i])
            continue;
        t->online[i] = is;
        t->socket_cpus[t->socket[i]] += is ? 1u : UINT32_MAX;
        changed = true;
    }
    return changed;
}

int cb_topology_refresh(struct cb_topology *t, int root_fd, struct cb_err *err)
{
    cb_auto_free uint8_t *online = calloc(CB_FRAME_MAX_CPUS, 1);
    uint32_t strange = 0;
    size_t count = 0;
    bool changed;
    int r = online ? read_list(root_fd, ONLINE, online, &count, err)
                   : cb_err_set(err, ENOMEM, "out of memory");

    if (r == 0 && count == 0)
        r = cb_err_set(err, EINVAL, "'/" ONLINE "' names no CPU");
    if (r < 0)
        return r;
    changed = mark_known(t, online);
    for (uint32_t cpu = 0; cpu < CB_FRAME_MAX_CPUS; cpu++) {
        int32_t id = 0;
        int socket;

        if (!online[cpu])
            continue;
        /* its directory may come a moment after it: then the next look finds it */
        socket = read_package(root_fd, cpu, &id, NULL) < 0
                     ? -ENOENT
                     : cb_topology_socket_of_id(t, (uint64_t)id);
        if (socket < 0 || cpu >= t->cpu_limit || append_cpu(t, cpu, (uint16_t)socket) < 0)
            strange++;
        else
            changed = true;
    }
    t->n_strange = strange;
    return changed;
}

uint32_t cb_topology_n_online(const struct cb_topology *t)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < t->n_cpus; i++)
        n += cb_topology_is_online(t, i);
    return n;
}

int cb_topology_socket_of_cpu(const struct cb_topology *topology, uint64_t cpu)
{
    for (uint32_t i = 0; i < topology->n_cpus; i++)
        if (topology->cpus[i] == cpu && cb_topology_is_online(topology, i))
            return topology->socket[i];
    return -ENOENT;
}

int cb_topology_socket_of_id(const struct cb_topology *topology, uint64_t id)
{
    for (uint32_t i = 0; i < topology->n_sockets; i++)
        if ((uint64_t)topology->socket_ids[i] == id)
            return (int)i;
    return -ENOENT;
}
