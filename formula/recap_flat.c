/* SPDX-License-Identifier: Apache-2.0 */
/* recap_flat.c - see recap_flat.h. */
#include "formula/recap_flat.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/err.h"

#define KEY_SIZE 128

static const char *const domain_names[CB_DOMAIN_COUNT] = {
    [CB_DOMAIN_PACKAGE] = "PKG", [CB_DOMAIN_DRAM] = "DRAM", [CB_DOMAIN_CORE] = "CORES",
    [CB_DOMAIN_UNCORE] = "GPU",  [CB_DOMAIN_PSYS] = "PSYS",
};

static const char *const dates[] = {"begin", "beginwarmup", "beginexecution", "end"};

const char *cb_flat_domain(enum cb_domain domain)
{
    return domain_names[domain];
}

bool cb_flat_is_date(const char *key)
{
    for (size_t i = 0; i < sizeof(dates) / sizeof(dates[0]); i++)
        if (strcmp(dates[i], key) == 0)
            return true;
    return false;
}

static int64_t int_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* Set a new member; false: out of memory (also when @value is NULL). */
static bool set(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) == 0;
}

static bool set_text(json_t *flat, const char *key, const json_t *object, const char *from)
{
    const char *text = json_string_value(json_object_get(object, from));

    return set(flat, key, json_string(text ? text : ""));
}

static bool set_date(json_t *flat, const char *key, int64_t wall_ns)
{
    return set(flat, key, json_integer((wall_ns + 500000) / 1000000));
}

/* ---- phases ---- */

static bool set_joules(json_t *flat, const char *phase, const char *what, const char *suffix,
                       const json_t *domain, const char *from)
{
    char key[KEY_SIZE];

    (void)snprintf(key, sizeof(key), "%s_%s_%s", phase, what, suffix);
    return set(flat, key, json_real((double)int_of(domain, from) / 1e6));
}

static bool set_domain(json_t *flat, const char *phase, const json_t *domain)
{
    static const struct {
        const char *what, *from;
    } parts[] = {
        {"powers", "energy_uj"},
        {"container_dynamic", "dynamic_uj"},
        {"container_uncertainty", "uncertainty_uj"},
        {"others", "others_uj"},
        {"system", "system_uj"},
        {"idle", "idle_uj"},
        {"unattributed", "unattributed_uj"},
    };
    const char *name = json_string_value(json_object_get(domain, "domain"));
    const json_t *shares = json_object_get(domain, "idle_shares_uj"); /* not told yet */
    enum cb_domain which;
    char suffix[32];
    char key[KEY_SIZE];
    bool ok = true;

    if (!name || cb_domain_parse(name, &which) < 0)
        return false;
    (void)snprintf(suffix, sizeof(suffix), "%s_%" PRId64, domain_names[which],
                   int_of(domain, "socket"));
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        ok = ok && set_joules(flat, phase, parts[i].what, suffix, domain, parts[i].from);
    if (shares) {
        ok = ok &&
             set_joules(flat, phase, "container_idle_proportional", suffix, shares, "proportional");
        ok = ok && set_joules(flat, phase, "container_idle_equal", suffix, shares, "equal");
    } else {
        ok = ok && set_joules(flat, phase, "container_idle", suffix, domain, "idle_share_uj");
    }
    (void)snprintf(key, sizeof(key), "%s_source_%s", phase, suffix);
    return ok && set_text(flat, key, domain, "source");
}

static bool set_seconds(json_t *flat, const char *phase, const char *what, const json_t *object)
{
    const json_t *value = json_object_get(object, what);
    char key[KEY_SIZE];

    (void)snprintf(key, sizeof(key), "%s_%s", phase, what);
    return !json_is_number(value) || set(flat, key, json_real(json_number_value(value)));
}

static bool set_phase(json_t *flat, const json_t *phase)
{
    const char *name = json_string_value(json_object_get(phase, "phase"));
    const json_t *domain;
    bool ok = name != NULL;
    size_t i;

    json_array_foreach(json_object_get(phase, "domains"), i, domain) ok =
        ok && set_domain(flat, name, domain);
    ok = ok && set_seconds(flat, name, "cpu_seconds", phase);
    return ok && set_seconds(flat, name, "covered_seconds", phase);
}

/* ---- the head ---- */

static const json_t *find_phase(const json_t *recap, const char *name)
{
    const json_t *phase;
    size_t i;

    json_array_foreach(json_object_get(recap, "phases"), i, phase)
    {
        const char *text = json_string_value(json_object_get(phase, "phase"));

        if (text && strcmp(text, name) == 0)
            return phase;
    }
    return NULL;
}

/* As told, else by the begin's difference of the clocks. */
static int64_t wall_of(const json_t *recap, const json_t *phase)
{
    const json_t *told = json_object_get(phase, "begin_wall_ns");

    return told ? json_integer_value(told)
                : int_of(phase, "begin_ns") - int_of(recap, "begin_ns") +
                      int_of(recap, "begin_wall_ns");
}

static bool set_times(json_t *flat, const json_t *recap)
{
    const json_t *warmup = find_phase(recap, "warmup");
    const json_t *execution = find_phase(recap, "execution");
    int64_t begin = int_of(recap, "begin_wall_ns");
    int64_t end = int_of(recap, "end_wall_ns");
    int64_t begin_warmup = warmup ? wall_of(recap, warmup) : begin;
    int64_t begin_execution = execution ? wall_of(recap, execution) : begin;
    int64_t executed =
        execution || !warmup ? begin_execution : end; /* never, where only warmed up */
    bool ok = set_date(flat, "begin", begin);

    ok = ok && set_date(flat, "beginwarmup", begin_warmup);
    ok = ok && set_date(flat, "beginexecution", begin_execution);
    ok = ok && set_date(flat, "end", end);
    ok = ok && set(flat, "warmup time", json_real((double)(executed - begin_warmup) / 1e9));
    return ok && set(flat, "execution time", json_real((double)(end - executed) / 1e9));
}

static bool set_head(json_t *flat, const json_t *recap)
{
    const json_t *exit_code = json_object_get(recap, "exit_code");
    bool ok = set_text(flat, "name", recap, "name");

    ok = ok && set_text(flat, "id", recap, "id");
    ok = ok && set_times(flat, recap);
    ok = ok && set_text(flat, "test", recap, "test");
    ok = ok && set_text(flat, "machine", recap, "machine");
    ok = ok && set_text(flat, "boot_id", recap, "boot_id");
    ok = ok && set_text(flat, "image", recap, "image");
    if (json_is_integer(exit_code))
        ok = ok && set(flat, "exit_code", json_integer(json_integer_value(exit_code)));
    return ok && set_text(flat, "source", recap, "source");
}

int cb_flat_recap(const json_t *recap, json_t **ret_flat, struct cb_err *err)
{
    json_t *flat = json_object();
    const json_t *phase;
    size_t i;
    bool ok = json_is_integer(json_object_get(recap, "begin_wall_ns")) &&
              json_is_array(json_object_get(recap, "phases")) && set_head(flat, recap);

    json_array_foreach(json_object_get(recap, "phases"), i, phase) ok =
        ok && set_phase(flat, phase);
    if (!ok) {
        json_decref(flat);
        return cb_err_set(err, EBADMSG, "not a stored recap, or out of memory");
    }
    *ret_flat = flat;
    return 0;
}

int cb_flat_dates_to_text(json_t *flat, struct cb_err *err)
{
    for (size_t i = 0; i < sizeof(dates) / sizeof(dates[0]); i++) {
        char text[32];

        cb_clock_format_utc((uint64_t)int_of(flat, dates[i]) * 1000000, text);
        if (!set(flat, dates[i], json_string(text)))
            return cb_err_set(err, ENOMEM, "out of memory");
    }
    return 0;
}
