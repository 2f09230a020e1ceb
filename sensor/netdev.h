/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netdev.h - the interfaces of a cgroup's own network.
 *
 * Source   /proc/<pid>/net/dev of a process in the cgroup. Which one is said by cgroup.procs, its
 *          own or, where that is empty, one of a cgroup below: libpod-ID.scope/container, init.scope
 *          of a systemd in LXC, nspawn or Docker (before its siblings, for a service may have a
 *          network of its own).
 * Limits   4 levels and 64 cgroups below are looked into.
 * Host     Each network namespace has a net/dev of its own: its inode tells them apart, and needs
 *          none of the rights that /proc/<pid>/ns/net does. A process in the host's is passed over.
 * Memory   allocates nothing. Threads: no shared state.
 */
#ifndef CB_SENSOR_NETDEV_H
#define CB_SENSOR_NETDEV_H

#include <stdbool.h>
#include <stdint.h>

/* Inode of the host's net/dev below @root_fd; 0: unknown. */
uint64_t cb_netdev_host(int root_fd);

/* The net/dev of the cgroup @path below @hierarchy_fd as a descriptor, the caller's from then on.
 * -1: there is none (yet: a container starts in the host's). *@ret_any: a process was found, so that
 * there is no need to look in another hierarchy. */
int cb_netdev_open(int root_fd, uint64_t host, int hierarchy_fd, const char *path, bool *ret_any);

#endif
