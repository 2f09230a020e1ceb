/* SPDX-License-Identifier: Apache-2.0 */
/* dump.c - see dump.h. */
#include "sensor/dump.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "lib/err.h"

/* Every json_*_set_new() and json_*_append_new() takes its value over, also when it fails; what
 * could not be allocated is missing from the line and found by json_dumpf() at the latest. */
static void put_number(json_t *object, const char *key, uint64_t value)
{
    (void)json_object_set_new(object, key, json_integer((json_int_t)value));
}

/* On a hybrid CPU each kind of core has an event of that name. */
static void add_number(json_t *object, const char *key, uint64_t value)
{
    put_number(object, key, value + (uint64_t)json_integer_value(json_object_get(object, key)));
}

static void put_text(json_t *object, const char *key, const char *value)
{
    if (value && *value)
        (void)json_object_set_new(object, key, json_string(value));
}

static json_t *dump_energies(const struct cb_frame *f)
{
    json_t *list = json_array();

    for (size_t i = 0; i < f->n_energies; i++) {
        const struct cb_frame_energy *e = &f->energies[i];
        json_t *one = json_object();

        put_number(one, "socket", e->socket);
        put_text(one, "domain", cb_domain_name(e->domain));
        put_text(one, "source", cb_source_name(e->source));
        put_number(one, "energy_uj", e->energy_uj);
        put_number(one, "uncertainty_uj", e->uncertainty_uj);
        (void)json_array_append_new(list, one);
    }
    return list;
}

static json_t *dump_counters(const struct cb_frame *f)
{
    json_t *list = json_array();

    for (size_t i = 0; i < f->n_counters; i++) {
        json_t *one = json_object();

        put_text(one, "name", f->counters[i].name);
        put_number(one, "socket", f->counters[i].socket);
        put_number(one, "value", f->counters[i].value);
        (void)json_array_append_new(list, one);
    }
    return list;
}

static void put_row(json_t *object, const struct cb_frame *f, size_t row)
{
    json_t *counts = json_object();
    json_t *stats = json_object();
    uint64_t enabled_ns = 0;
    uint64_t running_ns = 0;

    for (size_t e = 0; e < f->n_events; e++) {
        uint64_t sum = 0;

        for (size_t socket = 0; socket < f->n_sockets; socket++)
            sum += cb_frame_count(f, row, socket, e);
        add_number(counts, f->events[e].name, sum);
    }
    for (size_t i = 0; i < f->n_sockets * f->n_groups; i++) {
        enabled_ns += f->enabled_ns[row * f->n_sockets * f->n_groups + i];
        running_ns += f->running_ns[row * f->n_sockets * f->n_groups + i];
    }
    for (size_t i = 0; i < f->n_stats; i++)
        if (f->stats[row * f->n_stats + i] != CB_STAT_ABSENT)
            put_number(stats, f->stat_names[i], f->stats[row * f->n_stats + i]);
    (void)json_object_set_new(object, "counts", counts);
    (void)json_object_set_new(object, "stats", stats);
    put_number(object, "enabled_ns", enabled_ns);
    put_number(object, "running_ns", running_ns);
}

static json_t *dump_targets(const struct cb_frame *f)
{
    json_t *list = json_array();

    for (size_t i = 0; i < f->n_targets; i++) {
        const struct cb_frame_target *t = &f->targets[i];
        json_t *one = json_object();

        put_number(one, "id", t->id);
        put_text(one, "kind", t->kind == CB_TARGET_CONTAINER ? "container" : "cgroup");
        (void)json_object_set_new(one, "gone", json_boolean(t->flags & CB_TARGET_GONE));
        if (t->flags & CB_TARGET_TEXT) {
            put_text(one, "cgroup", t->cgroup);
            put_text(one, "container_id", t->container_id);
            put_text(one, "name", t->name);
            put_text(one, "image", t->image);
            put_text(one, "labels", t->labels);
        }
        put_row(one, f, i + 1);
        (void)json_array_append_new(list, one);
    }
    return list;
}

static json_t *dump_gaps(const struct cb_frame *f)
{
    json_t *list = json_array();

    for (size_t i = 0; i < f->n_gaps; i++) {
        json_t *one = json_object();

        put_text(one, "source", f->gaps[i].source);
        put_text(one, "reason", f->gaps[i].reason);
        (void)json_array_append_new(list, one);
    }
    return list;
}

int cb_dump_frame(FILE *out, const struct cb_frame *f, struct cb_err *err)
{
    json_t *root = json_object();
    json_t *machine = json_object();
    int r;

    put_text(root, "sensor", f->sensor);
    put_text(root, "boot_id", f->boot_id);
    put_text(root, "start_id", f->start_id);
    put_number(root, "seq", f->seq);
    put_number(root, "t0_ns", f->t0_ns);
    put_number(root, "t1_ns", f->t1_ns);
    put_number(root, "wall_ns", f->wall_ns);
    (void)json_object_set_new(root, "dictionary", json_boolean(f->dictionary));
    put_number(root, "n_sockets", f->n_sockets);
    put_number(root, "n_cpus", f->n_cpus);
    (void)json_object_set_new(root, "energies", dump_energies(f));
    (void)json_object_set_new(root, "counters", dump_counters(f));
    put_row(machine, f, 0);
    (void)json_object_set_new(root, "machine", machine);
    (void)json_object_set_new(root, "targets", dump_targets(f));
    (void)json_object_set_new(root, "gaps", dump_gaps(f));
    put_number(root, "lost_frames", f->lost_frames);
    put_number(root, "missed_ticks", f->missed_ticks);
    put_number(root, "self_cpu_ns", f->self_cpu_ns);
    r = json_dumpf(root, out, JSON_COMPACT);
    json_decref(root);
    if (r < 0 || fputc('\n', out) == EOF || fflush(out) == EOF)
        return cb_err_set(err, errno ? errno : EIO, "cannot write the output: %s",
                          strerror(errno ? errno : EIO));
    return 0;
}
