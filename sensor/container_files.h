/* SPDX-License-Identifier: Apache-2.0 */
/*
 * container_files.h - look a container up in the files of the runtimes, for want of an engine that
 * answers: Docker, Podman, CRI-O and containerd, the system's and a user's (rootless).
 *
 * Source   below the root, D being /var/lib or a user's ~/.local/share, R being /run:
 *            D/docker/containers/<id>/config.v2.json
 *            R/containerd/io.containerd.runtime.v2.task/{k8s.io,default,moby}/<id>/config.json
 *            R/{k3s,k0s}/containerd/io.containerd.runtime.v2.task/k8s.io/<id>/config.json (K3s and
 *            RKE2, k0s)
 *            S/{overlay,vfs,btrfs,zfs}-containers/<id>/userdata/config.json (CRI-O's annotations)
 *            S/{overlay,...}-containers/[volatile-]containers.json, S being D/containers/storage
 *          The user is the one in the cgroup's path, his home the one in /etc/passwd.
 * Threads  none of its own; any thread.
 */
#ifndef CB_SENSOR_CONTAINER_FILES_H
#define CB_SENSOR_CONTAINER_FILES_H

#include "lib/cleanup.h"
#include "sensor/container_text.h"

struct cb_err;

/* @root_fd stands for "/". @cgroup is its path below the hierarchy. -ENOENT: nobody knows it. */
int cb_container_files_look_up(int root_fd, const char *id, const char *cgroup,
                               struct cb_container_text *ret_text,
                               struct cb_err *err) cb_must_check;

#endif
