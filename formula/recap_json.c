/* SPDX-License-Identifier: Apache-2.0 */
/* recap_json.c - a recap as JSON: the form that is stored and the form that is told. See recap.h.
 */
#include <errno.h>
#include <string.h>

#include "formula/recap.h"
#include "lib/err.h"

/* After the largest, this many others are listed by name; docs/design.md says nothing of a limit,
 * but a recap must stay a document. The rest is one entry. */
#define OTHERS_LISTED 1000

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *seconds(uint64_t ns)
{
    return ns == CB_STAT_ABSENT ? json_null() : json_real((double)ns / 1e9);
}

/* Set a new member; false: out of memory (also when @value is NULL). */
static bool set(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) == 0;
}

static json_t *domain_to_json(const struct cb_recap_domain *domain)
{
    json_t *object = json_object();
    json_t *shares = json_object();
    bool ok = object && shares;

    ok = ok && set(object, "socket", number(domain->socket));
    ok = ok && set(object, "domain", json_string(cb_domain_name((enum cb_domain)domain->domain)));
    ok = ok && set(object, "source", json_string(cb_source_name((enum cb_source)domain->source)));
    ok = ok && set(object, "energy_uj", number(domain->energy_uj));
    ok = ok && set(object, "dynamic_uj", number(domain->dynamic_uj));
    ok = ok && set(object, "others_uj", number(domain->others_uj));
    ok = ok && set(object, "system_uj", number(domain->system_uj));
    ok = ok && set(object, "idle_uj", number(domain->idle_uj));
    ok = ok && set(object, "unattributed_uj", number(domain->unattributed_uj));
    ok = ok && set(object, "uncertainty_uj", number(cb_recap_uncertainty(domain)));
    ok = ok && set(object, "idle_share_uj", number(0));
    ok = ok && set(shares, "proportional", number(domain->idle_proportional_uj));
    ok = ok && set(shares, "equal", number(domain->idle_equal_uj));
    ok = ok && json_object_set(object, "idle_shares_uj", shares) == 0;
    json_decref(shares);
    if (ok)
        return object;
    json_decref(object);
    return NULL;
}

static json_t *phase_to_json(const struct cb_recap_phase *phase)
{
    json_t *object = json_object();
    json_t *domains = json_array();
    bool ok = object && domains;

    for (size_t i = 0; i < phase->n_domains && ok; i++)
        ok = json_array_append_new(domains, domain_to_json(&phase->domains[i])) == 0;
    ok = ok && set(object, "phase", json_string(phase->name));
    if (phase->end_wall_ns) {
        ok = ok && set(object, "seconds", seconds(phase->end_wall_ns - phase->begin_wall_ns));
        ok = ok && set(object, "begin_wall_ns", number(phase->begin_wall_ns));
        ok = ok && set(object, "end_wall_ns", number(phase->end_wall_ns));
    } else {
        ok = ok && set(object, "seconds", seconds(phase->end_ns - phase->begin_ns));
    }
    ok = ok && set(object, "begin_ns", number(phase->begin_ns));
    ok = ok && set(object, "end_ns", number(phase->end_ns));
    ok = ok && set(object, "cpu_seconds", seconds(phase->cpu_ns));
    ok = ok && set(object, "machine_cpu_seconds", seconds(phase->machine_cpu_ns));
    ok = ok && set(object, "covered_seconds", seconds(phase->covered_ns));
    ok = ok && json_object_set(object, "domains", domains) == 0;
    json_decref(domains);
    if (ok)
        return object;
    json_decref(object);
    return NULL;
}

static json_t *other_to_json(const char *name, const char *identity, uint64_t dynamic_uj)
{
    json_t *object = json_object();
    bool ok = object != NULL;

    ok = ok && set(object, "name", json_string(name));
    ok = ok && set(object, "id", json_string(identity));
    ok = ok && set(object, "dynamic_uj", number(dynamic_uj));
    if (ok)
        return object;
    json_decref(object);
    return NULL;
}

static json_t *others_to_json(const struct cb_recap *recap)
{
    json_t *array = json_array();
    uint64_t rest_uj = 0;
    size_t n_rest = recap->n_lumped;
    bool ok = array != NULL;

    for (size_t i = 0; i < recap->n_others && ok; i++) {
        const struct cb_recap_other *other = &recap->others[i];

        if (i < OTHERS_LISTED && other->identity[0]) {
            ok = json_array_append_new(
                     array, other_to_json(other->name, other->identity, other->dynamic_uj)) == 0;
        } else {
            rest_uj += other->dynamic_uj;
            n_rest += other->identity[0] != '\0';
        }
    }
    if (ok && n_rest) {
        char name[64];

        (void)snprintf(name, sizeof(name), "(%zu more)", n_rest);
        ok = json_array_append_new(array, other_to_json(name, "", rest_uj)) == 0;
    }
    if (ok)
        return array;
    json_decref(array);
    return NULL;
}

static bool set_head(json_t *object, const struct cb_recap *recap)
{
    const struct cb_store_test *test = &recap->test;
    char begin[32];
    char end[32];
    bool ok = true;

    cb_clock_format_utc(recap->begin_wall_ns, begin);
    cb_clock_format_utc(recap->end_wall_ns, end);
    ok = ok && set(object, "test", json_string(test->id));
    ok = ok && set(object, "name", json_string(test->name));
    ok = ok && set(object, "id", json_string(test->container_id));
    ok = ok && set(object, "image", json_string(test->image));
    ok = ok && set(object, "machine", json_string(test->machine));
    ok = ok && set(object, "boot_id", json_string(test->boot_id));
    ok = ok &&
         set(object, "exit_code", test->end_wall_ns ? json_null() : json_integer(test->exit_code));
    ok = ok && set(object, "begin", json_string(begin));
    ok = ok && set(object, "end", json_string(end));
    ok = ok && set(object, "begin_ns", number(test->begin_ns));
    ok = ok && set(object, "end_ns", number(test->end_ns));
    ok = ok && set(object, "begin_wall_ns", number(recap->begin_wall_ns));
    ok = ok && set(object, "end_wall_ns", number(recap->end_wall_ns));
    ok = ok && set(object, "source", json_string(cb_recap_source(recap)));
    return ok && set(object, "idle_policy", json_string("none"));
}

json_t *cb_recap_to_json(const struct cb_recap *recap)
{
    json_t *object = json_object();
    json_t *phases = json_array();
    bool ok = object && phases && set_head(object, recap);

    for (size_t i = 0; i < recap->n_phases && ok; i++)
        ok = json_array_append_new(phases, phase_to_json(&recap->phases[i])) == 0;
    ok = ok && json_object_set(object, "phases", phases) == 0;
    ok = ok && set(object, "others", others_to_json(recap));
    json_decref(phases);
    if (ok)
        return object;
    json_decref(object);
    return NULL;
}

int cb_recap_tell(json_t *stored, enum cb_idle_policy policy, struct cb_err *err)
{
    const json_t *phases = json_object_get(stored, "phases");
    const json_t *phase;
    size_t i;

    json_array_foreach(phases, i, phase)
    {
        json_t *domain;
        size_t d;

        json_array_foreach(json_object_get(phase, "domains"), d, domain)
        {
            json_t *share =
                json_object_get(json_object_get(domain, "idle_shares_uj"), cb_idle_name(policy));

            if (share && json_object_set(domain, "idle_share_uj", share) < 0)
                return cb_err_set(err, ENOMEM, "out of memory");
            (void)json_object_del(domain, "idle_shares_uj");
        }
    }
    if (!set(stored, "idle_policy", json_string(cb_idle_name(policy))))
        return cb_err_set(err, ENOMEM, "out of memory");
    return 0;
}
