/* SPDX-License-Identifier: Apache-2.0 */
/* container_text.c - see container_text.h. */
#include "sensor/container_text.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "lib/frame.h"

#define POD_NAME "io.kubernetes.pod.name"
#define POD_NAMESPACE "io.kubernetes.pod.namespace"
#define POD_UID "io.kubernetes.pod.uid"
#define CONTAINER_NAME "io.kubernetes.container.name"

void cb_container_text_fini(struct cb_container_text *text)
{
    free(text->name);
    free(text->image);
    free(text->labels);
    *text = (struct cb_container_text){0};
}

static char *copy(const char *text)
{
    return text && *text && strlen(text) < CB_FRAME_MAX_TEXT ? strdup(text) : NULL;
}

static const char *string_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

/* Those of the labels that are strings, as compact JSON. NULL: none, or *@ret_cut. */
static char *copy_labels(json_t *labels, bool *ret_cut)
{
    cb_auto_free char *text = NULL;
    json_t *strings = json_object();
    const char *key;
    json_t *value;

    json_object_foreach(labels, key, value)
    {
        if (json_is_string(value))
            (void)json_object_set(strings, key, value);
    }
    if (json_object_size(strings) > 0)
        text = json_dumps(strings, JSON_COMPACT);
    json_decref(strings);
    *ret_cut = text && strlen(text) >= CB_FRAME_MAX_LABELS;
    return *ret_cut ? NULL : cb_take(text);
}

static json_t *load(const char *json, size_t size, bool is_array, struct cb_err *err)
{
    json_error_t where;
    /* of numbers there is no need, and some are too large for an integer */
    json_t *root = json_loadb(json, size, JSON_DECODE_INT_AS_REAL, &where);

    if (is_array ? json_is_array(root) : json_is_object(root))
        return root;
    (void)cb_err_set(err, EINVAL, "not a JSON %s: %s", is_array ? "array" : "object",
                     root ? "it is something else" : where.text);
    json_decref(root);
    return NULL;
}

int cb_container_text_docker(const char *json, size_t size, struct cb_container_text *ret_text,
                             struct cb_err *err)
{
    json_t *root = load(json, size, false, err);
    const json_t *config = json_object_get(root, "Config");
    const char *name = string_of(root, "Name");

    if (!root)
        return -EINVAL;
    ret_text->name = copy(name && *name == '/' ? name + 1 : name);
    ret_text->image = copy(string_of(config, "Image"));
    ret_text->labels = copy_labels(json_object_get(config, "Labels"), &ret_text->labels_cut);
    json_decref(root);
    return 0;
}

/* ---- Kubernetes ---- */

struct pod {
    const char *namespace, *name, *uid, *container, *image;
};

static void put_label(json_t *labels, const char *key, const char *value)
{
    if (value)
        (void)json_object_set_new(labels, key, json_string(value));
}

static int take_pod(const struct pod *pod, struct cb_container_text *ret_text)
{
    char name[CB_FRAME_MAX_TEXT];
    json_t *labels = json_object();
    int n = snprintf(name, sizeof(name), "%s/%s/%s", pod->namespace, pod->name, pod->container);

    put_label(labels, POD_NAME, pod->name);
    put_label(labels, POD_NAMESPACE, pod->namespace);
    put_label(labels, POD_UID, pod->uid);
    put_label(labels, CONTAINER_NAME, pod->container);
    ret_text->name = n > 0 && (size_t)n < sizeof(name) ? copy(name) : NULL;
    ret_text->image = copy(pod->image);
    ret_text->labels = copy_labels(labels, &ret_text->labels_cut);
    json_decref(labels);
    return 0;
}

static bool is_sandbox(const char *type)
{
    return type && strcmp(type, "sandbox") == 0;
}

int cb_container_text_oci(const char *json, size_t size, struct cb_container_text *ret_text,
                          struct cb_err *err)
{
    json_t *root = load(json, size, false, err);
    const json_t *a = json_object_get(root, "annotations");
    struct pod cri = {.namespace = string_of(a, "io.kubernetes.cri.sandbox-namespace"),
                      .name = string_of(a, "io.kubernetes.cri.sandbox-name"),
                      .uid = string_of(a, "io.kubernetes.cri.sandbox-uid"),
                      .container = string_of(a, "io.kubernetes.cri.container-name"),
                      .image = string_of(a, "io.kubernetes.cri.image-name")};
    struct pod crio = {.namespace = string_of(a, POD_NAMESPACE),
                       .name = string_of(a, POD_NAME),
                       .uid = string_of(a, POD_UID),
                       .container = string_of(a, CONTAINER_NAME),
                       .image = string_of(a, "io.kubernetes.cri-o.ImageName")};
    int r;

    if (!root)
        return -EINVAL;
    if (is_sandbox(string_of(a, "io.kubernetes.cri.container-type")))
        cri.container = "POD";
    if (is_sandbox(string_of(a, "io.kubernetes.cri-o.ContainerType")))
        crio.container = "POD";
    if (cri.namespace && cri.name && cri.container)
        r = take_pod(&cri, ret_text);
    else if (crio.namespace && crio.name && crio.container)
        r = take_pod(&crio, ret_text);
    else
        r = cb_err_set(err, ENOENT, "no annotation says what it is");
    json_decref(root);
    return r;
}

/* ---- containers/storage ---- */

static void take_storage(const json_t *entry, struct cb_container_text *ret_text)
{
    const char *text = string_of(entry, "metadata");
    json_t *metadata = text ? json_loads(text, 0, NULL) : NULL;
    const char *name = json_string_value(json_array_get(json_object_get(entry, "names"), 0));

    ret_text->name = copy(name ? name : string_of(metadata, "name"));
    ret_text->image = copy(string_of(metadata, "image-name"));
    json_decref(metadata);
}

int cb_container_text_storage(const char *json, size_t size, const char *id,
                              struct cb_container_text *ret_text, struct cb_err *err)
{
    json_t *root = load(json, size, true, err);
    size_t i;
    const json_t *entry;

    if (!root)
        return -EINVAL;
    json_array_foreach(root, i, entry)
    {
        const char *entry_id = string_of(entry, "id");

        if (!entry_id || strcmp(entry_id, id) != 0)
            continue;
        take_storage(entry, ret_text);
        json_decref(root);
        return 0;
    }
    json_decref(root);
    return cb_err_set(err, ENOENT, "no entry of that id");
}

void cb_container_text_add_label(struct cb_container_text *text, const char *key, const char *value)
{
    json_t *labels = text->labels ? json_loads(text->labels, 0, NULL) : json_object();
    bool cut = false;
    char *more;

    if (!json_object_get(labels, key)) {
        put_label(labels, key, value);
        more = copy_labels(labels, &cut);
        text->labels_cut = text->labels_cut || cut;
        if (more) {
            free(text->labels);
            text->labels = more;
        }
    }
    json_decref(labels);
}
