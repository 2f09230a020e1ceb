/* SPDX-License-Identifier: Apache-2.0 */
/*
 * container_text.h - name, image and labels of a container out of what its runtime says of it:
 * Docker's API and file, containers/storage (Podman, CRI-O), an OCI bundle's annotations
 * (containerd, CRI-O). Pure.
 *
 * Text     What has another form than expected, or is too long for a frame, stays NULL. Labels that
 *          are too long together are all left out, and that is told.
 * Pods     A container of Kubernetes is called namespace/pod/container, "POD" being its sandbox,
 *          and has the labels io.kubernetes.pod.name, .pod.namespace, .pod.uid, .container.name.
 */
#ifndef CB_SENSOR_CONTAINER_TEXT_H
#define CB_SENSOR_CONTAINER_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/cleanup.h"

struct cb_err;

struct cb_container_text {
    char *name, *image, *labels; /* the owner frees them; NULL: unknown. labels: a JSON object */
    bool labels_cut;             /* it has more labels than a frame takes */
};

void cb_container_text_fini(struct cb_container_text *text);

/* GET /containers/<id>/json of the Docker Engine API (Podman's answers the same), or Docker's
 * config.v2.json. -EINVAL: not a JSON object. */
int cb_container_text_docker(const char *json, size_t size, struct cb_container_text *ret_text,
                             struct cb_err *err) cb_must_check;

/* The entry of @id in a containers.json of containers/storage. -EINVAL: not a JSON array; -ENOENT:
 * it is not in there. */
int cb_container_text_storage(const char *json, size_t size, const char *id,
                              struct cb_container_text *ret_text, struct cb_err *err) cb_must_check;

/* The annotations of an OCI bundle's config.json. -EINVAL: not a JSON object; -ENOENT: none that
 * says who it is. */
int cb_container_text_oci(const char *json, size_t size, struct cb_container_text *ret_text,
                          struct cb_err *err) cb_must_check;

/* Make {"@key":"@value"} one of the labels, unless the key is there. */
void cb_container_text_add_label(struct cb_container_text *text, const char *key,
                                 const char *value);

#endif
