/* SPDX-License-Identifier: Apache-2.0 */
/* docker_spec.c - see docker_spec.h. */
#include "tester/docker_spec.h"

#include <errno.h>
#include <jansson.h>

#include "lib/err.h"

/* NULL: a text that is not UTF-8, or out of memory. */
static json_t *text_array(const char *const *texts, size_t n)
{
    json_t *array = json_array();

    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(array, json_string(texts[i])) < 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

static json_t *label_object(const struct cb_docker_client_spec *spec)
{
    json_t *object = json_object();

    for (size_t i = 0; i < spec->n_labels; i++)
        if (json_object_set_new(object, spec->labels[i].key, json_string(spec->labels[i].value)) <
            0) {
            json_decref(object);
            return NULL;
        }
    return object;
}

/* AutoRemove stays off: the engine must not take the output away before it was read. */
static json_t *host_config(const struct cb_docker_client_spec *spec)
{
    json_t *host =
        json_pack("{s:b, s:o?}", "AutoRemove", 0, "Binds", text_array(spec->binds, spec->n_binds));
    int r = 0;

    if (!host || !json_is_array(json_object_get(host, "Binds"))) {
        json_decref(host);
        return NULL;
    }
    if (spec->network)
        r |= json_object_set_new(host, "NetworkMode", json_string(spec->network));
    if (spec->cpuset_cpus)
        r |= json_object_set_new(host, "CpusetCpus", json_string(spec->cpuset_cpus));
    if (spec->nano_cpus)
        r |= json_object_set_new(host, "NanoCpus", json_integer((json_int_t)spec->nano_cpus));
    if (spec->memory_bytes)
        r |= json_object_set_new(host, "Memory", json_integer((json_int_t)spec->memory_bytes));
    if (r != 0) {
        json_decref(host);
        return NULL;
    }
    return host;
}

int cb_docker_spec_format(const struct cb_docker_client_spec *spec, char **ret_json,
                          struct cb_err *err)
{
    json_t *json = json_object();
    char *text = NULL;
    int r = 0;

    r |= json_object_set_new(json, "Image", json_string(spec->image));
    if (spec->n_args > 0)
        r |= json_object_set_new(json, "Cmd",
                                 text_array((const char *const *)spec->args, spec->n_args));
    r |= json_object_set_new(json, "Env", text_array(spec->env, spec->n_env));
    r |= json_object_set_new(json, "Labels", label_object(spec));
    r |= json_object_set_new(json, "Tty", json_boolean(spec->tty));
    r |= json_object_set_new(json, "AttachStdout", json_true());
    r |= json_object_set_new(json, "AttachStderr", json_true());
    r |= json_object_set_new(json, "HostConfig", host_config(spec));
    if (r == 0)
        text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    if (!text)
        return cb_err_set(err, EINVAL, "an argument, -e or -v is not UTF-8 text");
    *ret_json = text;
    return 0;
}
