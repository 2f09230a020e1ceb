/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc.c - one report as JSON; see hwpc.h. The files of reports are in hwpc_reader.c. */
#include "lib/hwpc.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "lib/err.h"
#include "lib/hwpc_private.h"
#include "lib/parse.h"

#define EXACT_DOUBLE 9007199254740992.0 /* 2^53: above it doubles skip integers */

/* --- time --- */

/* Days since 1970-01-01 of a proleptic Gregorian date (month 1..12). */
static int64_t days_from_civil(int64_t year, unsigned month, unsigned day)
{
    static const unsigned before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    int64_t y = year - 1;

    return 365 * (year - 1970) + (y / 4 - 492) - (y / 100 - 19) + (y / 400 - 4) +
           (int64_t)before[month - 1] + (leap && month > 2) + day - 1;
}

/* Exactly @n digits at *@at, which moves behind them. */
static bool take_digits(const char **at, int n, unsigned *ret_value)
{
    unsigned value = 0;

    for (int i = 0; i < n; i++, (*at)++) {
        if (**at < '0' || **at > '9')
            return false;
        value = value * 10 + (unsigned)(**at - '0');
    }
    *ret_value = value;
    return true;
}

static bool take_char(const char **at, char c)
{
    if (**at != c)
        return false;
    (*at)++;
    return true;
}

/* Any number of digits after the '.', to milliseconds (the rest is cut off). */
static bool take_fraction(const char **at, unsigned *ret_ms)
{
    unsigned ms = 0, scale = 100;
    bool any = false;

    for (; **at >= '0' && **at <= '9'; (*at)++, scale /= 10) {
        ms += (unsigned)(**at - '0') * scale;
        any = true;
    }
    *ret_ms = ms;
    return any;
}

static bool take_zone(const char *at, int64_t *ret_offset_s)
{
    int64_t sign = *at == '-' ? -1 : 1;
    unsigned hours = 0, minutes = 0;

    *ret_offset_s = 0;
    if (*at == '\0' || strcmp(at, "Z") == 0)
        return true;
    if (*at != '+' && *at != '-')
        return false;
    at++;
    if (!take_digits(&at, 2, &hours))
        return false;
    (void)take_char(&at, ':');
    if (*at != '\0' && (!take_digits(&at, 2, &minutes) || *at != '\0'))
        return false;
    *ret_offset_s = sign * (int64_t)(hours * 3600 + minutes * 60);
    return hours < 24 && minutes < 60;
}

int cb_hwpc_parse_time(const char *text, int64_t *ret_ms)
{
    unsigned year, month, day, hour, minute, second, ms = 0;
    int64_t offset_s;
    uint64_t digits;
    const char *at = text;

    if (cb_parse_u64(text, &digits) == 0) {
        if (digits > HWPC_MAX_MS)
            return -ERANGE;
        *ret_ms = (int64_t)digits;
        return 0;
    }
    if (!take_digits(&at, 4, &year) || !take_char(&at, '-') || !take_digits(&at, 2, &month) ||
        !take_char(&at, '-') || !take_digits(&at, 2, &day) ||
        !(take_char(&at, 'T') || take_char(&at, ' ')) || !take_digits(&at, 2, &hour) ||
        !take_char(&at, ':') || !take_digits(&at, 2, &minute) || !take_char(&at, ':') ||
        !take_digits(&at, 2, &second))
        return -EINVAL;
    if (take_char(&at, '.') && !take_fraction(&at, &ms))
        return -EINVAL;
    if (!take_zone(at, &offset_s) || year < 1970 || month < 1 || month > 12 || day < 1 ||
        day > 31 || hour > 23 || minute > 59 || second > 60)
        return -EINVAL;
    *ret_ms = ((days_from_civil(year, month, day) * 24 + hour) * 60 + minute) * 60000 +
              (int64_t)second * 1000 + ms - offset_s * 1000;
    return *ret_ms >= 0 ? 0 : -EINVAL;
}

/* --- one report --- */

static int bad(struct cb_err *err, const char *what)
{
    return cb_err_set(err, EBADMSG, "%s", what);
}

/* An integer, a digit string, ISO 8601, or MongoDB's {"$date": one of those or $numberLong}. */
static int parse_timestamp(const json_t *value, struct cb_err *err, int64_t *ret_ms)
{
    const json_t *inner = json_object_get(value, "$date");

    if (!inner)
        inner = json_object_get(value, "$numberLong");
    if (inner && !json_is_object(value))
        inner = NULL;
    if (inner && json_object_get(inner, "$numberLong"))
        inner = json_object_get(inner, "$numberLong");
    if (inner)
        value = inner;
    if (json_is_number(value)) {
        double ms = json_number_value(value);

        if (!(ms >= 0) || ms > (double)HWPC_MAX_MS)
            return bad(err, "'timestamp' is out of range");
        *ret_ms = (int64_t)ms;
        return 0;
    }
    if (!json_is_string(value) || cb_hwpc_parse_time(json_string_value(value), ret_ms) < 0)
        return bad(err, "'timestamp' is neither milliseconds nor ISO 8601");
    return 0;
}

static int parse_text(const json_t *document, const char *key, const char **ret_text,
                      struct cb_err *err)
{
    const char *text = json_string_value(json_object_get(document, key));

    if (!text || !*text)
        return cb_err_set(err, EBADMSG, "'%s' is missing or no text", key);
    *ret_text = text;
    return 0;
}

static int add_count(struct cb_hwpc_report *report, size_t *room, struct cb_hwpc_count count,
                     const json_t *value, struct cb_err *err)
{
    const json_t *number = json_is_object(value) ? json_object_get(value, "$numberLong") : NULL;

    count.value = json_number_value(value);
    if (number && json_is_string(number)) {
        if (cb_parse_double(json_string_value(number), &count.value) < 0)
            return cb_err_set(err, EBADMSG, "'%.64s' of '%.64s' is no number", count.event,
                              count.group);
    } else if (!json_is_number(value)) {
        return cb_err_set(err, EBADMSG, "'%.64s' of '%.64s' is no number", count.event,
                          count.group);
    }
    if (!(count.value >= 0) || !isfinite(count.value))
        return cb_err_set(err, EBADMSG, "'%.64s' of '%.64s' is negative", count.event, count.group);
    if (report->n_counts == *room) {
        size_t more = *room ? *room * 2 : 64;
        struct cb_hwpc_count *counts;

        if (report->n_counts == CB_HWPC_MAX_COUNTS)
            return bad(err, "too many counts in one report");
        counts = realloc(report->counts, more * sizeof(*counts));
        if (!counts)
            return cb_err_set(err, ENOMEM, "out of memory for a report");
        report->counts = counts;
        *room = more;
    }
    report->counts[report->n_counts++] = count;
    return 0;
}

static int parse_socket(struct cb_hwpc_report *report, size_t *room, const char *group,
                        const char *socket, json_t *cpus, struct cb_err *err)
{
    const char *cpu, *event;
    json_t *events, *value;
    int r;

    json_object_foreach(cpus, cpu, events)
    {
        if (!json_is_object(events))
            return cb_err_set(err, EBADMSG, "group '%.64s': CPU '%.64s' is no object", group, cpu);
        json_object_foreach(events, event, value)
        {
            r = add_count(report, room, (struct cb_hwpc_count){group, socket, cpu, event, 0}, value,
                          err);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

static int parse_groups(struct cb_hwpc_report *report, json_t *groups, struct cb_err *err)
{
    const char *group, *socket;
    json_t *sockets, *cpus;
    size_t room = 0;
    int r;

    if (!json_is_object(groups))
        return bad(err, "'groups' is missing or no object");
    json_object_foreach(groups, group, sockets)
    {
        if (!json_is_object(sockets))
            return cb_err_set(err, EBADMSG, "group '%.64s' is no object", group);
        json_object_foreach(sockets, socket, cpus)
        {
            if (!json_is_object(cpus))
                return cb_err_set(err, EBADMSG, "group '%.64s': socket '%.64s' is no object", group,
                                  socket);
            r = parse_socket(report, &room, group, socket, cpus, err);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

/* An object; whatever else is there is no metadata. */
static const struct cb_hwpc_metadata *metadata_of(const json_t *document)
{
    const json_t *metadata = json_object_get(document, "metadata");

    return json_is_object(metadata) ? (const struct cb_hwpc_metadata *)metadata : NULL;
}

static void release_json(void *owner)
{
    json_decref(owner);
}

int cb_hwpc_from_json(void *document, struct cb_hwpc_report **ret_report, struct cb_err *err)
{
    struct cb_hwpc_report *report;
    int r;

    if (!json_is_object((json_t *)document))
        return bad(err, "a report is a JSON object");
    report = calloc(1, sizeof(*report));
    if (!report)
        return cb_err_set(err, ENOMEM, "out of memory for a report");
    report->owner = json_incref(document);
    report->release = release_json;
    report->metadata = metadata_of(document);
    r = parse_timestamp(json_object_get(document, "timestamp"), err, &report->timestamp_ms);
    if (r == 0)
        r = parse_text(document, "sensor", &report->sensor, err);
    if (r == 0)
        r = parse_text(document, "target", &report->target, err);
    if (r == 0)
        r = parse_groups(report, json_object_get(document, "groups"), err);
    if (r < 0) {
        report = cb_hwpc_report_free(report);
        return r;
    }
    *ret_report = report;
    return 0;
}

int cb_hwpc_parse(const char *text, size_t size, struct cb_hwpc_report **ret_report,
                  size_t *ret_used, struct cb_err *err)
{
    json_error_t error;
    json_t *document;
    int r;

    document = json_loadb(text, size, JSON_DISABLE_EOF_CHECK | JSON_DECODE_INT_AS_REAL, &error);
    if (!document)
        return cb_err_set(err, EBADMSG, "malformed JSON at byte %d: %.200s", error.position,
                          error.text);
    *ret_used = (size_t)error.position;
    r = cb_hwpc_from_json(document, ret_report, err);
    json_decref(document);
    return r;
}

struct cb_hwpc_report *cb_hwpc_report_free(struct cb_hwpc_report *report)
{
    if (report) {
        free(report->counts);
        if (report->release)
            report->release(report->owner);
        free(report);
    }
    return NULL;
}

/* --- writing --- */

/* The object @key of @parent, made when it is not there. NULL: out of memory. */
static json_t *child(json_t *parent, const char *key)
{
    json_t *object = json_object_get(parent, key);

    if (!object && json_object_set_new(parent, key, json_object()) == 0)
        object = json_object_get(parent, key);
    return object;
}

void *cb_hwpc_number(double value)
{
    if (fabs(value) < EXACT_DOUBLE && value == floor(value))
        return json_integer((json_int_t)value);
    return json_real(value);
}

static json_t *to_json(const struct cb_hwpc_report *report)
{
    json_t *groups = json_object();
    bool ok = groups != NULL;

    for (size_t i = 0; ok && i < report->n_counts; i++) {
        const struct cb_hwpc_count *count = &report->counts[i];
        json_t *object = child(groups, count->group);

        object = object ? child(object, count->socket) : NULL;
        object = object ? child(object, count->cpu) : NULL;
        ok = object && json_object_set_new(object, count->event, cb_hwpc_number(count->value)) == 0;
    }
    if (!ok) {
        json_decref(groups);
        return NULL;
    }
    return json_pack("{s:I,s:s,s:s,s:o}", "timestamp", (json_int_t)report->timestamp_ms, "sensor",
                     report->sensor, "target", report->target, "groups", groups);
}

int cb_hwpc_write(FILE *out, const struct cb_hwpc_report *report, struct cb_err *err)
{
    json_t *document = to_json(report);
    int r;

    if (!document)
        return cb_err_set(err, ENOMEM, "out of memory for a report");
    r = json_dumpf(document, out, JSON_COMPACT);
    json_decref(document);
    if (r < 0 || fputc('\n', out) == EOF)
        return cb_err_set(err, EIO, "cannot write a report");
    return 0;
}
