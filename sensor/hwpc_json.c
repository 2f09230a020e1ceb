/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_json.c - the JSON file of hwpc-sensor (-x); see hwpc_options.h. Keys are case-insensitive,
 * an unknown one is an error. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <jansson.h>

#include "lib/err.h"
#include "sensor/hwpc_options.h"

static int wrong(const char *path, const char *key, const char *wanted, struct cb_err *err)
{
    return cb_err_set(err, EINVAL, "%s'%.60s' is not %s", path, key, wanted);
}

static int unknown(const char *path, const char *key, const char *known, struct cb_err *err)
{
    return cb_err_set(err, EINVAL, "%sunknown key '%.60s'; there are %s", path, key, known);
}

static int set_text(char **to, const char *path, const char *key, const json_t *value,
                    struct cb_err *err)
{
    return json_is_string(value) ? cb_hwpc_options_text(to, json_string_value(value), err)
                                 : wrong(path, key, "text", err);
}

static int set_period(uint64_t *to, const char *key, const json_t *value, struct cb_err *err)
{
    char what[80];

    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return wrong("", key, "a number of milliseconds", err);
    (void)snprintf(what, sizeof(what), "'%.60s'", key);
    return cb_hwpc_options_period(what, (uint64_t)json_integer_value(value), to, err);
}

static bool is(const char *key, const char *name)
{
    return strcasecmp(key, name) == 0;
}

static int set_mode(struct cb_hwpc_group *group, const char *path, const char *key,
                    const json_t *value, struct cb_err *err)
{
    const char *text = json_string_value(value);

    if (text && strncasecmp(text, "MONITOR_", 8) == 0)
        text += 8;
    if (!text || (!is(text, "ONE_CPU_PER_SOCKET") && !is(text, "ALL_CPU_PER_SOCKET")))
        return wrong(path, key, "MONITOR_ONE_CPU_PER_SOCKET or MONITOR_ALL_CPU_PER_SOCKET", err);
    group->one_cpu = is(text, "ONE_CPU_PER_SOCKET");
    return 0;
}

static int set_events(struct cb_hwpc_group *group, const char *path, const char *key,
                      const json_t *value, struct cb_err *err)
{
    size_t i;
    json_t *event;

    if (!json_is_array(value))
        return wrong(path, key, "a list of events", err);
    json_array_foreach(value, i, event)
    {
        int r = json_is_string(event) ? cb_hwpc_options_event(group, json_string_value(event), err)
                                      : wrong(path, key, "a list of names", err);

        if (r < 0)
            return r;
    }
    return 0;
}

static int read_group(struct cb_hwpc_groups *groups, const char *kind, const char *name,
                      json_t *value, struct cb_err *err)
{
    struct cb_hwpc_group *group = NULL;
    char path[160];
    const char *key;
    json_t *member;
    int r;

    (void)snprintf(path, sizeof(path), "%.60s.%.60s: ", kind, name);
    if (!json_is_object(value))
        return wrong("", name, "an object with 'events'", err);
    r = cb_hwpc_options_group(groups, name, &group, err);
    json_object_foreach(value, key, member)
    {
        if (r < 0)
            break;
        if (is(key, "events"))
            r = set_events(group, path, key, member, err);
        else if (is(key, "monitoring_type") || is(key, "mode"))
            r = set_mode(group, path, key, member, err);
        else
            r = unknown(path, key, "events and monitoring_type", err);
    }
    return r;
}

static int read_groups(struct cb_hwpc_groups *groups, const char *kind, json_t *value,
                       struct cb_err *err)
{
    const char *name;
    json_t *group;
    int r = 0;

    if (!json_is_object(value))
        return wrong("", kind, "an object of groups", err);
    json_object_foreach(value, name, group)
    {
        r = read_group(groups, kind, name, group, err);
        if (r < 0)
            break;
    }
    return r;
}

/* The port may be a number, too. */
static int set_port(struct cb_hwpc_options *o, const char *key, const json_t *value,
                    struct cb_err *err)
{
    char text[24];

    if (!json_is_integer(value))
        return set_text(&o->port, "output: ", key, value, err);
    (void)snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(value));
    return cb_hwpc_options_text(&o->port, text, err);
}

static int set_parameter(struct cb_hwpc_options *o, const char *key, const json_t *value,
                         struct cb_err *err)
{
    static const struct {
        enum cb_hwpc_storage storage;
        const char *key;
        size_t at;
    } known[] = {
        {CB_HWPC_CSV, "directory", offsetof(struct cb_hwpc_options, where)},
        {CB_HWPC_CSV, "outdir", offsetof(struct cb_hwpc_options, where)},
        {CB_HWPC_SOCKET, "uri", offsetof(struct cb_hwpc_options, where)},
        {CB_HWPC_SOCKET, "host", offsetof(struct cb_hwpc_options, where)},
        {CB_HWPC_MONGODB, "uri", offsetof(struct cb_hwpc_options, where)},
        {CB_HWPC_MONGODB, "database", offsetof(struct cb_hwpc_options, database)},
        {CB_HWPC_MONGODB, "collection", offsetof(struct cb_hwpc_options, collection)},
    };

    if (is(key, "type") || o->storage == CB_HWPC_NULL)
        return 0;
    if (o->storage == CB_HWPC_SOCKET && is(key, "port"))
        return set_port(o, key, value, err);
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].storage == o->storage && is(key, known[i].key))
            return set_text((char **)((char *)o + known[i].at), "output: ", key, value, err);
    return cb_err_set(err, EINVAL, "output: unknown key '%.60s' for the storage '%s'", key,
                      cb_hwpc_storage_name(o->storage));
}

static int read_output(struct cb_hwpc_options *o, const char *name, json_t *value,
                       struct cb_err *err)
{
    const char *key, *type = NULL;
    json_t *member;
    int r;

    json_object_foreach(value, key, member) if (is(key, "type")) type = json_string_value(member);
    if (!json_is_object(value) || !type)
        return wrong("", name, "an object with 'type'", err);
    r = cb_hwpc_options_storage(o, type, err);
    json_object_foreach(value, key, member)
    {
        if (r < 0)
            break;
        r = set_parameter(o, key, member, err);
    }
    return r;
}

static int read_member(struct cb_hwpc_options *o, const char *key, json_t *value,
                       struct cb_err *err)
{
    if (is(key, "verbose")) {
        if (!json_is_boolean(value) && !json_is_integer(value))
            return wrong("", key, "true or false", err);
        o->verbose = json_is_true(value) || json_integer_value(value) > 0;
        return 0;
    }
    if (is(key, "name") || is(key, "sensor-name"))
        return set_text(&o->name, "", key, value, err);
    if (is(key, "cgroup_basepath") || is(key, "cgroup-basepath"))
        return set_text(&o->base_path, "", key, value, err);
    if (is(key, "frequency") || is(key, "perf-sampling-interval"))
        return set_period(&o->tick_ns, key, value, err);
    if (is(key, "cgroup-discovery-interval"))
        return set_period(&o->discovery_ns, key, value, err);
    if (is(key, "output") || is(key, "storage"))
        return read_output(o, key, value, err);
    if (is(key, "system") || is(key, "global"))
        return read_groups(&o->system, key, value, err);
    if (is(key, "container") || is(key, "cgroups"))
        return read_groups(&o->cgroups, key, value, err);
    return unknown("", key,
                   "verbose, name, cgroup_basepath, frequency, cgroup-discovery-interval, output, "
                   "system and container",
                   err);
}

int cb_hwpc_options_json(const char *text, size_t size, const char *where,
                         struct cb_hwpc_options *options, struct cb_err *err)
{
    json_error_t error;
    json_t *document = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    const char *key;
    json_t *value;
    int r = 0;

    if (!document)
        return cb_err_set(err, EINVAL, "%s:%d: malformed JSON: %.160s", where, error.line,
                          error.text);
    if (!json_is_object(document))
        r = cb_err_set(err, EINVAL, "%s: not a JSON object", where);
    json_object_foreach(document, key, value)
    {
        if (r < 0)
            break;
        r = read_member(options, key, value, err);
        if (r < 0)
            r = cb_err_prefix(err, r, "%s", where);
    }
    json_decref(document);
    return r;
}
