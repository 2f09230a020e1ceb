/* SPDX-License-Identifier: Apache-2.0 */
/* http_power.c - the machines, and their recent power. See http_private.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formula/http_private.h"
#include "formula/pages.h"
#include "formula/power.h"
#include "lib/clock.h"
#include "lib/err.h"

#define LAST_DEFAULT_S 60
#define LAST_MAX_S 86400

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

/* ---- machines ---- */

struct machine_list {
    struct cb_store *store;
    struct cb_names names;
    struct cb_result result;
    json_t *machines;
    const char *source;
    size_t containers;
    struct cb_err *err;
};

static int look_at_last(void *context, const struct cb_store_frame *frame, struct cb_err *err)
{
    struct machine_list *list = context;
    int r = cb_result_unpack(frame->result, frame->result_size, &list->result, err);

    for (size_t i = 0; i < list->result.n_targets && r == 0; i++) {
        const struct cb_store_target *target;

        r = cb_names_get(&list->names, frame->start, list->result.target_ids[i], &target, err);
        if (r == 0)
            list->containers += target->kind == CB_TARGET_CONTAINER;
    }
    for (size_t d = 0; d < list->result.n_domains && r == 0; d++) {
        enum cb_source source = (enum cb_source)list->result.domains[d].source;

        if (d == 0 || source == CB_SOURCE_ESTIMATE)
            list->source = cb_source_name(source);
    }
    return r;
}

static int add_machine(void *context, const struct cb_store_machine *machine)
{
    struct machine_list *list = context;
    json_t *json;
    int r = 0;

    list->source = "none";
    list->containers = 0;
    if (machine->last_t1_ns)
        r = cb_store_last_frame(list->store, machine->boot, look_at_last, list, list->err);
    if (r < 0 && r != -ENOENT)
        return r;
    json = json_pack("{s:s, s:s, s:I, s:I, s:I, s:s, s:I, s:f, s:f}", "machine", machine->name,
                     "boot_id", machine->boot_id, "last_t1_ns", (json_int_t)machine->last_t1_ns,
                     "last_wall_ns", (json_int_t)machine->last_wall_ns, "frames",
                     (json_int_t)machine->frames, "source", list->source, "containers",
                     (json_int_t)list->containers, "covered_s", (double)machine->covered_ns / 1e9,
                     "gap_s", (double)machine->gap_ns / 1e9);
    if (!json || json_array_append_new(list->machines, json) < 0)
        return cb_err_set(list->err, ENOMEM, "out of memory");
    return 0;
}

int cb_http_machines(struct cb_http *http, const struct request *request, struct reply *ret_reply,
                     struct cb_err *err)
{
    struct machine_list list = {.machines = json_array(), .err = err};
    int r = cb_http_take_store(http, &list.store, err);

    (void)request;
    if (r == 0) {
        list.names.store = list.store;
        r = list.machines ? cb_pages_machines(list.store, add_machine, &list, err)
                          : cb_err_set(err, ENOMEM, "out of memory");
        cb_http_give_store(http, list.store);
    }
    cb_names_clear(&list.names);
    cb_result_clear(&list.result);
    if (r < 0) {
        json_decref(list.machines);
        return r;
    }
    return cb_http_reply_json(ret_reply, MHD_HTTP_OK, json_pack("{s:o}", "machines", list.machines),
                              err);
}

/* ---- power ---- */

struct ticks {
    struct cb_names names;
    struct cb_result result;
    const char *container; /* NULL: all */
    enum cb_idle_policy policy;
    FILE *out;
    size_t n;
};

static json_t *target_to_json(const struct ticks *ticks, size_t d, size_t i,
                              const struct cb_store_target *target)
{
    const struct cb_result *result = &ticks->result;
    const struct cb_share *share = &result->shares[d * result->n_targets + i];

    return json_pack("{s:I, s:s, s:s, s:I, s:I, s:I}", "id", (json_int_t)result->target_ids[i],
                     "container_id", target->container_id, "name", target->name, "dynamic_uj",
                     (json_int_t)share->dynamic_uj, "uncertainty_uj",
                     (json_int_t)cb_share_uncertainty(&result->domains[d], share), "idle_share_uj",
                     (json_int_t)cb_share_idle(ticks->policy, result, d, i));
}

/* The targets of one domain that are asked for; NULL with a text in @err. */
static json_t *targets_to_json(struct ticks *ticks, int64_t start, size_t d, struct cb_err *err)
{
    json_t *array = json_array();
    int r = array ? 0 : cb_err_set(err, ENOMEM, "out of memory");

    for (size_t i = 0; i < ticks->result.n_targets && r == 0; i++) {
        const struct cb_store_target *target;

        r = cb_names_get(&ticks->names, start, ticks->result.target_ids[i], &target, err);
        if (r < 0 || (ticks->container && !cb_names_match(target, ticks->container)))
            continue;
        if (json_array_append_new(array, target_to_json(ticks, d, i, target)) < 0)
            r = cb_err_set(err, ENOMEM, "out of memory");
    }
    if (r == 0)
        return array;
    json_decref(array);
    return NULL;
}

static json_t *domain_to_json(const struct cb_result_domain *domain, json_t *targets)
{
    return json_pack("{s:i, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "socket", domain->socket,
                     "domain", cb_domain_name((enum cb_domain)domain->domain), "source",
                     cb_source_name((enum cb_source)domain->source), "energy_uj",
                     number(domain->energy_uj), "idle_uj", number(domain->idle_uj), "system_uj",
                     number(domain->system_uj), "unattributed_uj", number(domain->unattributed_uj),
                     "uncertainty_uj", number(domain->source_uncertainty_uj), "targets", targets);
}

static int add_domains(struct ticks *ticks, int64_t start, json_t *domains, size_t *ret_targets,
                       struct cb_err *err)
{
    *ret_targets = 0;
    for (size_t d = 0; d < ticks->result.n_domains; d++) {
        json_t *targets = targets_to_json(ticks, start, d, err);

        if (!targets)
            return -ENOMEM;
        *ret_targets += json_array_size(targets);
        if (json_array_append_new(domains, domain_to_json(&ticks->result.domains[d], targets)) < 0)
            return cb_err_set(err, ENOMEM, "out of memory");
    }
    return 0;
}

static int write_tick(struct ticks *ticks, json_t *domains, struct cb_err *err)
{
    const struct cb_result *result = &ticks->result;
    json_t *tick =
        json_pack("{s:o, s:o, s:o, s:O}", "t0_ns", number(result->t0_ns), "t1_ns",
                  number(result->t1_ns), "wall_ns", number(result->wall_ns), "domains", domains);
    int r = 0;

    if (ticks->n++)
        (void)fputc(',', ticks->out);
    if (!tick || json_dumpf(tick, ticks->out, JSON_COMPACT) < 0)
        r = cb_err_set(err, ENOMEM, "out of memory");
    else if (ftell(ticks->out) > (long)CB_HTTP_ANSWER_MAX)
        r = cb_err_set(err, EINVAL,
                       "the answer is above %u MiB: ask for less time (last=) or for "
                       "one container (container=)",
                       CB_HTTP_ANSWER_MAX >> 20);
    json_decref(tick);
    return r;
}

static int add_tick(void *context, const struct cb_store_frame *frame, struct cb_err *err)
{
    struct ticks *ticks = context;
    json_t *domains = json_array();
    size_t n_targets = 0;
    int r = cb_result_unpack(frame->result, frame->result_size, &ticks->result, err);

    if (r == 0 && !domains)
        r = cb_err_set(err, ENOMEM, "out of memory");
    if (r == 0)
        r = add_domains(ticks, frame->start, domains, &n_targets, err);
    if (r == 0 && (!ticks->container || n_targets))
        r = write_tick(ticks, domains, err);
    json_decref(domains);
    return r;
}

struct choice {
    const char *name; /* NULL: the only one */
    size_t n;
    struct cb_store_machine machine;
};

static int choose(void *context, const struct cb_store_machine *machine)
{
    struct choice *choice = context;

    if (machine->last_t1_ns && (!choice->name || strcmp(choice->name, machine->name) == 0)) {
        choice->n++;
        choice->machine = *machine;
    }
    return 0;
}

int cb_http_find_machine(struct cb_store *store, const char *name,
                         struct cb_store_machine *ret_machine, struct cb_err *err)
{
    struct choice choice = {.name = name};
    int r = cb_store_machines(store, choose, &choice, err);

    if (r < 0)
        return r;
    if (choice.n == 0)
        return cb_err_set(err, ENOENT,
                          name ? "no frames of a machine '%.60s'" : "no frames yet%.0s",
                          name ? name : "");
    if (choice.n > 1)
        return cb_err_set(err, EINVAL, "%zu machines report: name one with machine=", choice.n);
    *ret_machine = choice.machine;
    return 0;
}

static int write_power(struct cb_store *store, const struct request *request, struct ticks *ticks,
                       struct cb_err *err)
{
    struct cb_store_machine machine;
    json_t *name;
    uint64_t last_ns;
    int r = cb_http_arg_number(request, "last", LAST_DEFAULT_S, LAST_MAX_S, &last_ns, err);

    last_ns *= CB_NS_PER_S;
    if (r == 0)
        r = cb_http_arg_idle(request, &ticks->policy, err);
    if (r == 0)
        r = cb_http_find_machine(store, cb_http_arg(request, "machine"), &machine, err);
    if (r < 0)
        return r;
    (void)fputs("{\"machine\":", ticks->out);
    name = json_string(machine.name);
    (void)json_dumpf(name, ticks->out, JSON_ENCODE_ANY);
    json_decref(name);
    (void)fprintf(ticks->out, ",\"boot_id\":\"%s\",\"idle_policy\":\"%s\",\"ticks\":[",
                  machine.boot_id, cb_idle_name(ticks->policy));
    r = cb_store_frames(store, machine.boot,
                        machine.last_t1_ns > last_ns ? machine.last_t1_ns - last_ns : 0,
                        machine.last_t1_ns, add_tick, ticks, err);
    (void)fputs("]}", ticks->out);
    return r;
}

int cb_http_power(struct cb_http *http, const struct request *request, struct reply *ret_reply,
                  struct cb_err *err)
{
    struct ticks ticks = {.container = cb_http_arg(request, "container")};
    char *text = NULL;
    size_t size = 0;
    struct cb_store *store = NULL;
    int r = cb_http_take_store(http, &store, err);

    if (r < 0)
        return r;
    ticks.names.store = store;
    ticks.out = open_memstream(&text, &size);
    r = ticks.out ? write_power(store, request, &ticks, err)
                  : cb_err_set(err, ENOMEM, "out of memory");
    if (ticks.out && fclose(ticks.out) != 0 && r == 0)
        r = cb_err_set(err, ENOMEM, "out of memory");
    cb_http_give_store(http, store);
    cb_names_clear(&ticks.names);
    cb_result_clear(&ticks.result);
    if (r < 0) {
        free(text);
        return r;
    }
    *ret_reply = (struct reply){
        .status = MHD_HTTP_OK, .text = text, .size = size, .type = "application/json"};
    return 0;
}
