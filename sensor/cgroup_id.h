/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup_id.h - is this cgroup a container, by its name? Pure.
 *
 * The runtimes' forms, HEX being the 64 lower-case hex digits of the container id:
 *   HEX                                   Docker, containerd and Kubernetes with cgroupfs
 *   docker-HEX.scope                      Docker with systemd
 *   libpod-HEX[.scope], libpod-payload-HEX[.scope]      Podman (its conmon is not the container)
 *   cri-containerd-HEX.scope, crio-HEX.scope            Kubernetes with systemd
 *   anything:cri-containerd:HEX           containerd with a systemd-style parent under cgroupfs
 */
#ifndef CB_SENSOR_CGROUP_ID_H
#define CB_SENSOR_CGROUP_ID_H

#include <stdbool.h>

#define CB_CONTAINER_ID_SIZE 65 /* 64 hex digits and the NUL */

/* @name is one path component. *@ret_id is written on true only. */
bool cb_cgroup_id_parse(const char *name, char ret_id[CB_CONTAINER_ID_SIZE]);

#endif
