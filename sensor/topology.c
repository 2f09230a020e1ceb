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

static enum cb_cpu_vendor read_vendor(int root_fd)
{
    char text[256];
    cb_auto_close int fd = cb_fsread_open(root_fd, "proc/cpuinfo", NULL);

    if (fd < 0 || cb_fsread_again(fd, text, sizeof(text)) < 0)
        return CB_CPU_OTHER;
    if (strstr(text, "GenuineIntel"))
        return CB_CPU_INTEL;
    return strstr(text, "AuthenticAMD") || strstr(text, "HygonGenuine") ? CB_CPU_AMD : CB_CPU_OTHER;
}

static int add_cpus(struct cb_topology *t, const uint8_t *online, struct cb_err *err)
{
    size_t n = 0;

    t->cpus = calloc(t->n_cpus, sizeof(*t->cpus));
    t->socket = calloc(t->n_cpus, sizeof(*t->socket));
    t->socket_cpus = calloc(CB_FRAME_MAX_SOCKETS, sizeof(*t->socket_cpus));
    t->socket_ids = calloc(CB_FRAME_MAX_SOCKETS, sizeof(*t->socket_ids));
    if (!t->cpus || !t->socket || !t->socket_cpus || !t->socket_ids)
        return cb_err_set(err, ENOMEM, "out of memory");
    for (uint32_t cpu = 0; cpu < CB_FRAME_MAX_CPUS; cpu++)
        if (online[cpu])
            t->cpus[n++] = cpu;
    t->cpu_limit = t->cpus[n - 1] + 1;
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
    char text[4096];
    size_t count;
    int r;

    if (!online)
        return cb_err_set(err, ENOMEM, "out of memory");
    r = cb_fsread_text(root_fd, ONLINE, text, sizeof(text), err);
    if (r < 0)
        return r;
    r = cb_parse_cpulist(text, online, CB_FRAME_MAX_CPUS, &count);
    if (r < 0)
        return cb_err_set(err, -r, "'/" ONLINE "' is not a list of CPUs: '%.40s'", text);
    if (count == 0)
        return cb_err_set(err, EINVAL, "'/" ONLINE "' names no CPU");
    t->n_cpus = (uint32_t)count;
    r = add_cpus(t, online, err);
    if (r == 0)
        r = add_packages(t, root_fd, err);
    if (r == 0)
        t->vendor = read_vendor(root_fd);
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
    free(topology->socket_cpus);
    free(topology->socket_ids);
    *topology = (struct cb_topology){0};
}

int cb_topology_socket_of_cpu(const struct cb_topology *topology, uint64_t cpu)
{
    for (uint32_t i = 0; i < topology->n_cpus; i++)
        if (topology->cpus[i] == cpu)
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
