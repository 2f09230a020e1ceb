/* SPDX-License-Identifier: Apache-2.0 */
/*
 * topology.h - the online CPUs and the sockets they sit on.
 *
 * Source   /sys/devices/system/cpu/{online,possible}, cpuN/topology/physical_package_id,
 *          /proc/cpuinfo (vendor). A machine that does not tell the package has one socket.
 * Hotplug  cb_topology_refresh() takes up what changed: a CPU keeps its index for good, one that
 *          goes is marked, a new one comes at the end. Sockets are those of the start.
 * Sockets  are numbered 0, 1, ... in the order of their physical ids: that number is the `socket`
 *          of a frame.
 * Errors   -ENOENT and others of reading; -EINVAL a malformed file; -ERANGE more than
 *          CB_FRAME_MAX_CPUS or CB_FRAME_MAX_SOCKETS; -ENOMEM.
 */
#ifndef CB_SENSOR_TOPOLOGY_H
#define CB_SENSOR_TOPOLOGY_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/frame.h"

struct cb_err;

enum cb_cpu_vendor { CB_CPU_OTHER, CB_CPU_INTEL, CB_CPU_AMD };

struct cb_topology {
    uint32_t n_cpus;    /* that are or have been online */
    uint32_t n_sockets; /* with an online CPU at the start */
    uint32_t cpu_limit; /* highest CPU number that can come + 1 */
    uint32_t n_strange; /* online CPUs of other sockets, which are left out */
    enum cb_cpu_vendor vendor;
    uint32_t family;       /* as the vendor counts them; 0: unknown */
    uint32_t *cpus;        /* [n_cpus] CPU numbers, those of the start ascending */
    uint16_t *socket;      /* [n_cpus] socket of cpus[i] */
    bool *online;          /* [n_cpus] cpus[i] is; NULL: all are (cb_topology_is_online) */
    uint32_t *socket_cpus; /* [n_sockets] how many are online */
    int32_t *socket_ids;   /* [n_sockets] physical id */
};

int cb_topology_init(struct cb_topology *topology, int root_fd, struct cb_err *err) cb_must_check;
void cb_topology_fini(struct cb_topology *topology);

/* Look again: 1 when CPUs came or went, 0 when none did. After an error nothing has changed. */
int cb_topology_refresh(struct cb_topology *topology, int root_fd,
                        struct cb_err *err) cb_must_check;

static inline bool cb_topology_is_online(const struct cb_topology *topology, uint32_t index)
{
    return !topology->online || topology->online[index];
}

uint32_t cb_topology_n_online(const struct cb_topology *topology);

/* The socket of a CPU number, or -ENOENT for one that is not online. */
int cb_topology_socket_of_cpu(const struct cb_topology *topology, uint64_t cpu);

/* The socket with that physical id, or -ENOENT. */
int cb_topology_socket_of_id(const struct cb_topology *topology, uint64_t id);

#endif
