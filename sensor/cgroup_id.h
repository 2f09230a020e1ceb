/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup_id.h - what a cgroup's path alone says: is it a container, a guest, whose is it? Pure.
 *
 * Containers, HEX being the 64 lower-case hex digits of the container id:
 *   HEX                                   Docker, containerd and Kubernetes with cgroupfs
 *   docker-HEX.scope                      Docker with systemd
 *   libpod-HEX[.scope], libpod-payload-HEX[.scope]      Podman (its conmon is not the container)
 *   cri-containerd-HEX.scope, crio-HEX.scope            Kubernetes with systemd
 *   anything:cri-containerd:HEX           containerd with a systemd-style parent under cgroupfs
 * A pod of Podman with cgroupfs, libpod_parent/HEX, is none: its containers are libpod-HEX in it.
 * With a parent of its own it is PARENT/HEX, as Docker's container with that parent; what is in it
 * tells them apart (cgroup.h).
 * Guests, which have a name and no id; UNIT being systemd's escaped name ("\x2d" for '-'):
 *   lxc.payload.NAME, lxc.payload/NAME, lxc/NAME        LXC, LXD (4, 3.1, older)
 *   machine.slice/machine-qemu\x2dN\x2dUNIT.scope       libvirt with systemd (N: a number)
 *   machine/qemu-N-NAME.libvirt-qemu                    libvirt without
 *   machine.slice/machine-lxc\x2dN\x2dUNIT.scope, machine/lxc-N-NAME.libvirt-lxc
 *   machine.slice/systemd-nspawn@UNIT.service, machine.slice/machine-UNIT.scope
 */
#ifndef CB_SENSOR_CGROUP_ID_H
#define CB_SENSOR_CGROUP_ID_H

#include <stdbool.h>

#define CB_CONTAINER_ID_SIZE 65 /* 64 hex digits and the NUL */
#define CB_GUEST_NAME_SIZE 256
#define CB_POD_UID_SIZE 64

/* @name is one path component. *@ret_id is written on true only. */
bool cb_cgroup_id_parse(const char *name, char ret_id[CB_CONTAINER_ID_SIZE]);

/* The same of a cgroup whose parents are known, @path as below: a pod of Podman is none. */
bool cb_cgroup_id_container(const char *path, char ret_id[CB_CONTAINER_ID_SIZE]);

/* Could the container @path be a pod? */
bool cb_cgroup_id_may_be_pod(const char *path);

/* What is in a pod of Podman with cgroupfs: one of its containers, or their monitors. */
bool cb_cgroup_id_is_in_pod(const char *name, bool *ret_container);

/* Its name, and its runtime as a static string ("lxc", "libvirt", "nspawn"); NULL: no guest.
 * @path is a cgroup's below the hierarchy: "/lxc.payload.web". */
const char *cb_cgroup_id_guest(const char *path, char ret_name[CB_GUEST_NAME_SIZE]);

/* The Kubernetes pod ("pod" and a UID in some component, "_" for "-" with systemd). */
bool cb_cgroup_id_pod(const char *path, char ret_uid[CB_POD_UID_SIZE]);

/* The user whose rootless runtime it is ("user-1000.slice" in some component), or -1. */
long cb_cgroup_id_user(const char *path);

#endif
