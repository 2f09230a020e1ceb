/* SPDX-License-Identifier: Apache-2.0 */
/* report.c - see report.h. */
#include "tester/report.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>

#include "lib/err.h"

/* What a microjoule count may be: five of them still add up in 64 bits. */
#define UJ_MAX (INT64_MAX / 8)

static int get_uj(const json_t *from, const char *key, uint64_t *ret, struct cb_err *err)
{
    const json_t *value = json_object_get(from, key);
    json_int_t uj = json_integer_value(value);

    if (!json_is_integer(value) || uj < 0 || uj > UJ_MAX)
        return cb_err_set(err, EBADMSG, "%s is not a number of microjoules", key);
    *ret = (uint64_t)uj;
    return 0;
}

static int get_text(const json_t *from, const char *key, const char **ret, struct cb_err *err)
{
    const char *text = json_string_value(json_object_get(from, key));

    if (!text)
        return cb_err_set(err, EBADMSG, "%s is not a text", key);
    *ret = text;
    return 0;
}

static int get_seconds(const json_t *from, const char *key, double *ret, struct cb_err *err)
{
    const json_t *value = json_object_get(from, key);
    double seconds = json_number_value(value);

    if (!json_is_number(value) || !(seconds >= 0))
        return cb_err_set(err, EBADMSG, "%s is not a number of seconds", key);
    *ret = seconds;
    return 0;
}

/* Absent or null: not known. */
static int get_known_seconds(const json_t *from, const char *key, double *ret, struct cb_err *err)
{
    const json_t *value = json_object_get(from, key);

    if (!value || json_is_null(value)) {
        *ret = NAN;
        return 0;
    }
    return get_seconds(from, key, ret, err);
}

static int check_sum(const struct cb_report_domain *d, struct cb_err *err)
{
    uint64_t sum = d->dynamic_uj + d->others_uj + d->system_uj + d->idle_uj + d->unattributed_uj;

    if (sum != d->energy_uj)
        return cb_err_set(err, EBADMSG, "the parts sum to %llu uJ, not to energy_uj %llu",
                          (unsigned long long)sum, (unsigned long long)d->energy_uj);
    if (d->idle_share_uj > d->idle_uj)
        return cb_err_set(err, EBADMSG, "idle_share_uj is above idle_uj");
    return 0;
}

static int take_domain(const json_t *from, struct cb_report_domain *ret, struct cb_err *err)
{
    struct cb_report_domain d = {.domain = "", .source = ""};
    const struct {
        const char *key;
        uint64_t *to;
    } members[] = {
        {"energy_uj", &d.energy_uj},
        {"dynamic_uj", &d.dynamic_uj},
        {"others_uj", &d.others_uj},
        {"system_uj", &d.system_uj},
        {"idle_uj", &d.idle_uj},
        {"unattributed_uj", &d.unattributed_uj},
        {"uncertainty_uj", &d.uncertainty_uj},
    };
    const json_t *socket = json_object_get(from, "socket");
    int r = 0;

    if (!json_is_integer(socket) || json_integer_value(socket) < 0 ||
        json_integer_value(socket) > UINT16_MAX)
        return cb_err_set(err, EBADMSG, "socket is not a socket's number");
    d.socket = (unsigned)json_integer_value(socket);
    if (get_text(from, "domain", &d.domain, err) < 0 ||
        get_text(from, "source", &d.source, err) < 0)
        return -EBADMSG;
    d.is_top = strcmp(d.domain, "package") == 0 || strcmp(d.domain, "dram") == 0;
    d.is_estimate = strcmp(d.source, "estimate") == 0;
    for (size_t i = 0; r == 0 && i < sizeof(members) / sizeof(members[0]); i++)
        r = get_uj(from, members[i].key, members[i].to, err);
    if (r == 0 && json_object_get(from, "idle_share_uj"))
        r = get_uj(from, "idle_share_uj", &d.idle_share_uj, err);
    if (r == 0)
        r = check_sum(&d, err);
    if (r < 0)
        return cb_err_prefix(err, r, "%.20s of socket %u", d.domain, d.socket);
    *ret = d;
    return 0;
}

static int take_phase(const json_t *from, struct cb_report_phase *to, struct cb_err *err)
{
    const json_t *domains = json_object_get(from, "domains");
    size_t n = json_array_size(domains);
    int r = get_text(from, "phase", &to->phase, err);

    if (r == 0)
        r = get_seconds(from, "seconds", &to->seconds, err);
    to->covered_seconds = to->seconds;
    if (r == 0 && json_object_get(from, "covered_seconds"))
        r = get_seconds(from, "covered_seconds", &to->covered_seconds, err);
    if (r == 0)
        r = get_known_seconds(from, "cpu_seconds", &to->cpu_seconds, err);
    if (r == 0)
        r = get_known_seconds(from, "machine_cpu_seconds", &to->machine_cpu_seconds, err);
    if (r == 0 && !json_is_array(domains))
        r = cb_err_set(err, EBADMSG, "domains is not a list");
    if (r < 0)
        return r;
    to->domains = calloc(n ? n : 1, sizeof(*to->domains));
    if (!to->domains)
        return cb_err_set(err, ENOMEM, "out of memory");
    for (size_t i = 0; r == 0 && i < n; i++)
        r = take_domain(json_array_get(domains, i), &to->domains[i], err);
    to->n_domains = n;
    return r < 0 ? cb_err_prefix(err, r, "phase %.20s", to->phase) : 0;
}

static int take_phases(const json_t *from, struct cb_report *report, struct cb_err *err)
{
    const json_t *phases = json_object_get(from, "phases");
    size_t n = json_array_size(phases);
    int r = 0;

    if (!json_is_array(phases))
        return cb_err_set(err, EBADMSG, "phases is not a list");
    report->phases = calloc(n ? n : 1, sizeof(*report->phases));
    if (!report->phases)
        return cb_err_set(err, ENOMEM, "out of memory");
    for (; r == 0 && report->n_phases < n; report->n_phases++)
        r = take_phase(json_array_get(phases, report->n_phases), &report->phases[report->n_phases],
                       err);
    return r;
}

static int take_others(const json_t *from, struct cb_report *report, struct cb_err *err)
{
    const json_t *others = json_object_get(from, "others");
    size_t n = json_array_size(others);

    report->others = calloc(n ? n : 1, sizeof(*report->others));
    if (!report->others)
        return cb_err_set(err, ENOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) {
        const json_t *other = json_array_get(others, i);
        struct cb_report_other *to = &report->others[report->n_others++];
        const char *id = json_string_value(json_object_get(other, "id"));

        to->id = id ? id : "";
        if (get_text(other, "name", &to->name, err) < 0 ||
            get_uj(other, "dynamic_uj", &to->dynamic_uj, err) < 0)
            return cb_err_prefix(err, -EBADMSG, "others");
    }
    return 0;
}

static int take_report(json_t *from, struct cb_report *ret_report, struct cb_err *err)
{
    struct cb_report report = {.json = json_incref(from)};
    const struct {
        const char *key;
        const char **to;
        bool optional;
    } texts[] = {
        {"name", &report.name, false},
        {"id", &report.id, true},
        {"image", &report.image, true},
        {"machine", &report.machine, true},
        {"begin", &report.begin, true},
        {"source", &report.source, true},
        {"idle_policy", &report.idle_policy, true},
    };
    const json_t *code = json_object_get(from, "exit_code");
    const char *refusal = json_string_value(json_object_get(from, "error"));
    int r = refusal ? cb_err_set(err, EBADMSG, "cbformula says: %s", refusal) : 0;

    for (size_t i = 0; r == 0 && i < sizeof(texts) / sizeof(texts[0]); i++) {
        const json_t *value = json_object_get(from, texts[i].key);

        *texts[i].to = "";
        if (!texts[i].optional || (value && !json_is_null(value)))
            r = get_text(from, texts[i].key, texts[i].to, err);
    }
    report.exit_code = json_is_null(code) ? CB_REPORT_NO_EXIT : (int)json_integer_value(code);
    if (r == 0 && !json_is_null(code) &&
        (!json_is_integer(code) || json_integer_value(code) < 0 || json_integer_value(code) > 255))
        r = cb_err_set(err, EBADMSG, "exit_code is not an exit code");
    if (r == 0)
        r = take_phases(from, &report, err);
    if (r == 0)
        r = take_others(from, &report, err);
    if (r < 0) {
        cb_report_clear(&report);
        return cb_err_prefix(err, r, "not a recap");
    }
    *ret_report = report;
    return 0;
}

static json_t *load(const char *text, size_t size, struct cb_err *err)
{
    json_error_t error;
    json_t *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);

    if (!json)
        (void)cb_err_set(err, EBADMSG, "not JSON, line %d: %s", error.line, error.text);
    return json;
}

int cb_report_parse(const char *text, size_t size, struct cb_report *ret_report, struct cb_err *err)
{
    json_t *json = load(text, size, err);
    int r;

    if (!json)
        return -EBADMSG;
    r = take_report(json, ret_report, err);
    json_decref(json);
    return r;
}

void cb_report_clear(struct cb_report *report)
{
    for (size_t i = 0; i < report->n_phases; i++)
        free(report->phases[i].domains);
    free(report->phases);
    free(report->others);
    json_decref(report->json);
    *report = (struct cb_report){0};
}

static int append(struct cb_report_list *list, json_t *from, struct cb_err *err)
{
    struct cb_report *more = realloc(list->reports, (list->n + 1) * sizeof(*more));
    int r;

    if (!more)
        return cb_err_set(err, ENOMEM, "out of memory");
    list->reports = more;
    r = take_report(from, &list->reports[list->n], err);
    if (r == 0)
        list->n++;
    return r;
}

int cb_report_list_parse(struct cb_report_list *list, const char *text, size_t size,
                         struct cb_err *err)
{
    json_t *json = load(text, size, err);
    json_t *recaps = json_is_object(json) ? json_object_get(json, "recaps") : json;
    json_t *item;
    size_t i;
    int r = 0;

    if (!json)
        return -EBADMSG;
    if (json_is_array(recaps)) {
        json_array_foreach(recaps, i, item)
        {
            if (r == 0)
                r = append(list, item, err);
        }
    } else {
        r = append(list, json, err);
    }
    json_decref(json);
    return r;
}

void cb_report_list_clear(struct cb_report_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        cb_report_clear(&list->reports[i]);
    free(list->reports);
    *list = (struct cb_report_list){0};
}
