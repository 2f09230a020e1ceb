/* SPDX-License-Identifier: Apache-2.0 */
/* frame.c - see frame.h: names, and the rules that hold for an encoded and for a decoded frame. */
#include "lib/frame.h"

#include <bson/bson.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "lib/frame_private.h"

static const char *const domain_names[CB_DOMAIN_COUNT] = {
    [CB_DOMAIN_PACKAGE] = "package", [CB_DOMAIN_DRAM] = "dram", [CB_DOMAIN_CORE] = "core",
    [CB_DOMAIN_UNCORE] = "uncore",   [CB_DOMAIN_PSYS] = "psys",
};

static const char *const source_names[CB_SOURCE_COUNT] = {
    [CB_SOURCE_PERF] = "perf",
    [CB_SOURCE_POWERCAP] = "powercap",
    [CB_SOURCE_MSR] = "msr",
    [CB_SOURCE_ESTIMATE] = "estimate",
};

const char *cb_domain_name(enum cb_domain domain)
{
    return (unsigned)domain < CB_DOMAIN_COUNT ? domain_names[domain] : "unknown";
}

const char *cb_source_name(enum cb_source source)
{
    return (unsigned)source < CB_SOURCE_COUNT ? source_names[source] : "unknown";
}

int cb_domain_parse(const char *name, enum cb_domain *ret_domain)
{
    for (unsigned i = 0; i < CB_DOMAIN_COUNT; i++)
        if (strcmp(name, domain_names[i]) == 0) {
            *ret_domain = (enum cb_domain)i;
            return 0;
        }
    return -EINVAL;
}

int cb_source_parse(const char *name, enum cb_source *ret_source)
{
    for (unsigned i = 0; i < CB_SOURCE_COUNT; i++)
        if (strcmp(name, source_names[i]) == 0) {
            *ret_source = (enum cb_source)i;
            return 0;
        }
    return -EINVAL;
}

bool cb_domain_is_top(enum cb_domain domain)
{
    return domain == CB_DOMAIN_PACKAGE || domain == CB_DOMAIN_DRAM;
}

void cb_frame_clear(struct cb_frame *frame)
{
    free(frame->arena);
    memset(frame, 0, sizeof(*frame));
}

/* ---- the rules ---- */

int cb_frame_check_limits(const struct cb_frame *frame, struct cb_err *err)
{
    const struct {
        const char *field;
        size_t n;
        size_t max;
    } limits[] = {
        {"n_sockets", frame->n_sockets, CB_FRAME_MAX_SOCKETS},
        {"n_cpus", frame->n_cpus, CB_FRAME_MAX_CPUS},
        {"energies", frame->n_energies, CB_FRAME_MAX_ENERGIES},
        {"counters", frame->n_counters, CB_FRAME_MAX_MACHINE_COUNTERS},
        {"events", frame->n_events, CB_FRAME_MAX_EVENTS},
        {"n_groups", frame->n_groups, CB_FRAME_MAX_GROUPS},
        {"targets", frame->n_targets, CB_FRAME_MAX_TARGETS},
        {"stat_names", frame->n_stats, CB_FRAME_MAX_STATS},
        {"gaps", frame->n_gaps, CB_FRAME_MAX_GAPS},
    };

    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
        if (limits[i].n > limits[i].max)
            return cb_err_set(err, EMSGSIZE, "frame: field '%s': %zu is above the limit of %zu",
                              limits[i].field, limits[i].n, limits[i].max);
    return 0;
}

/* libbson goes character by character; most texts are ASCII, which eight bytes at a time show. */
static bool is_utf8(const char *text, size_t n)
{
    uint64_t high = 0;
    size_t i = 0;

    for (; i + sizeof(uint64_t) <= n; i += sizeof(uint64_t)) {
        uint64_t word;

        memcpy(&word, text + i, sizeof(word));
        high |= word;
    }
    for (; i < n; i++)
        high |= (unsigned char)text[i];
    return !(high & UINT64_C(0x8080808080808080)) || bson_utf8_validate(text, n, false);
}

static int check_text(const char *text, size_t max, const char *field, int code, struct cb_err *err)
{
    size_t n;

    if (!text)
        return cb_err_set(err, code, "frame: field '%s': no text", field);
    n = strnlen(text, max + 1);
    if (n > max)
        return cb_err_set(err, EMSGSIZE, "frame: field '%s': longer than %zu bytes", field, max);
    if (!is_utf8(text, n))
        return cb_err_set(err, code, "frame: field '%s': not UTF-8", field);
    return 0;
}

/* A text that must not be empty. */
static int check_name(const char *text, size_t max, const char *field, int code, struct cb_err *err)
{
    int r = check_text(text, max, field, code, err);

    if (r == 0 && !*text)
        return cb_err_set(err, code, "frame: field '%s': empty", field);
    return r;
}

/* Exactly @size characters of @set. */
static int check_id(const char *text, size_t size, const char *set, const char *field, int code,
                    struct cb_err *err)
{
    if (!text || strnlen(text, size + 1) != size || strspn(text, set) != size)
        return cb_err_set(err, code, "frame: field '%s': not %zu characters of '%s'", field, size,
                          set);
    return 0;
}

static int check_number(uint64_t value, const char *field, int code, struct cb_err *err)
{
    if (value > INT64_MAX)
        return cb_err_set(err, code, "frame: field '%s': %" PRIu64 " is above 2^63 - 1", field,
                          value);
    return 0;
}

static int check_head(const struct cb_frame *frame, int code, struct cb_err *err)
{
    const struct {
        const char *field;
        uint64_t value;
    } numbers[] = {
        {"seq", frame->seq},
        {"t0_ns", frame->t0_ns},
        {"t1_ns", frame->t1_ns},
        {"wall_ns", frame->wall_ns},
        {"lost_frames", frame->lost_frames},
        {"missed_ticks", frame->missed_ticks},
        {"self_cpu_ns", frame->self_cpu_ns},
    };
    int r = check_name(frame->sensor, CB_NAME_SIZE - 1, "sensor", code, err);

    if (r == 0)
        r = check_id(frame->boot_id, CB_BOOT_ID_SIZE - 1, "0123456789abcdef-", "boot_id", code,
                     err);
    if (r == 0)
        r = check_id(frame->start_id, CB_START_ID_SIZE - 1, "0123456789abcdef", "start_id", code,
                     err);
    if (r == 0)
        r = check_text(frame->version, CB_FRAME_MAX_TEXT, "version", code, err);
    for (size_t i = 0; r == 0 && i < sizeof(numbers) / sizeof(numbers[0]); i++)
        r = check_number(numbers[i].value, numbers[i].field, code, err);
    if (r < 0)
        return r;
    if (frame->seq == 0)
        return cb_err_set(err, code, "frame: field 'seq': 0, the first is 1");
    if (frame->t0_ns >= frame->t1_ns)
        return cb_err_set(err, code, "frame: field 't1_ns': not after t0_ns");
    if (frame->n_sockets == 0)
        return cb_err_set(err, code, "frame: field 'n_sockets': 0");
    return 0;
}

static int check_energies(const struct cb_frame *frame, int code, struct cb_err *err)
{
    bool seen[CB_FRAME_MAX_SOCKETS][CB_DOMAIN_COUNT] = {0};

    for (size_t i = 0; i < frame->n_energies; i++) {
        const struct cb_frame_energy *e = &frame->energies[i];

        if (e->socket >= frame->n_sockets)
            return cb_err_set(err, code, "frame: field 'energies': socket %u of %u", e->socket,
                              frame->n_sockets);
        if (e->domain >= CB_DOMAIN_COUNT)
            return cb_err_set(err, code, "frame: field 'energies': unknown domain %u", e->domain);
        if (e->source >= CB_SOURCE_COUNT)
            return cb_err_set(err, code, "frame: field 'energies': unknown source %u", e->source);
        if (seen[e->socket][e->domain])
            return cb_err_set(err, code, "frame: field 'energies': socket %u has %s twice",
                              e->socket, domain_names[e->domain]);
        seen[e->socket][e->domain] = true;
    }
    return 0;
}

static int check_counters(const struct cb_frame *frame, int code, struct cb_err *err)
{
    for (size_t i = 0; i < frame->n_counters; i++) {
        const struct cb_frame_counter *c = &frame->counters[i];
        int r = check_name(c->name, CB_FRAME_MAX_TEXT, "counter_names", code, err);

        if (r < 0)
            return r;
        if (c->socket >= frame->n_sockets)
            return cb_err_set(err, code, "frame: field 'counters': socket %u of %u", c->socket,
                              frame->n_sockets);
        for (size_t k = 0; k < i; k++)
            if (frame->counters[k].socket == c->socket &&
                strcmp(frame->counters[k].name, c->name) == 0)
                return cb_err_set(err, code, "frame: field 'counters': socket %u has %.60s twice",
                                  c->socket, c->name);
    }
    return 0;
}

static bool all_zero(const uint64_t *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (values[i])
            return false;
    return true;
}

static int check_events(const struct cb_frame *frame, int code, struct cb_err *err)
{
    for (size_t i = 0; i < frame->n_events; i++) {
        const struct cb_frame_event *e = &frame->events[i];
        int r = check_name(e->name, CB_FRAME_MAX_TEXT, "events.name", code, err);

        if (r == 0)
            r = check_name(e->pmu, CB_FRAME_MAX_TEXT, "events.pmu", code, err);
        if (r < 0)
            return r;
        if (e->group >= frame->n_groups)
            return cb_err_set(err, code, "frame: field 'events.group': %u of %zu", e->group,
                              frame->n_groups);
        for (size_t k = 0; k < i; k++)
            if (strcmp(frame->events[k].name, e->name) == 0 &&
                strcmp(frame->events[k].pmu, e->pmu) == 0)
                return cb_err_set(err, code, "frame: field 'events': %.60s of %.60s twice", e->name,
                                  e->pmu);
    }
    if (!frame->has_machine_row &&
        (!all_zero(frame->counts, frame->n_sockets * frame->n_events) ||
         !all_zero(frame->enabled_ns, frame->n_sockets * frame->n_groups) ||
         !all_zero(frame->running_ns, frame->n_sockets * frame->n_groups)))
        return cb_err_set(err, code, "frame: field 'counts': row 0 without has_machine_row");
    return 0;
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

/* Ascending ids, as the sensor gives them, need no sorting. */
static int check_target_ids(const struct cb_frame *frame, int code, struct cb_err *err)
{
    cb_auto_free uint32_t *sorted = NULL;
    bool ascending = true;
    size_t n = frame->n_targets;

    for (size_t i = 0; i < n; i++) {
        if (frame->targets[i].id == 0)
            return cb_err_set(err, code, "frame: field 'target_ids': 0, the first is 1");
        ascending = ascending && (i == 0 || frame->targets[i - 1].id < frame->targets[i].id);
    }
    if (ascending)
        return 0;
    sorted = calloc(n, sizeof(*sorted));
    if (!sorted)
        return cb_err_set(err, ENOMEM, "frame: out of memory");
    for (size_t i = 0; i < n; i++)
        sorted[i] = frame->targets[i].id;
    qsort(sorted, n, sizeof(*sorted), compare_u32);
    for (size_t i = 1; i < n; i++)
        if (sorted[i] == sorted[i - 1])
            return cb_err_set(err, code, "frame: field 'target_ids': %u twice", sorted[i]);
    return 0;
}

static int check_target_texts(const struct cb_frame_target *t, int code, struct cb_err *err)
{
    const struct {
        const char *field;
        const char *text;
        size_t max;
    } texts[] = {
        {"target_texts.cgroup", t->cgroup, CB_FRAME_MAX_TEXT},
        {"target_texts.container_id", t->container_id, CB_FRAME_MAX_TEXT},
        {"target_texts.name", t->name, CB_FRAME_MAX_TEXT},
        {"target_texts.image", t->image, CB_FRAME_MAX_TEXT},
        {"target_texts.labels", t->labels, CB_FRAME_MAX_LABELS},
    };
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof(texts) / sizeof(texts[0]); i++)
        if (texts[i].text)
            r = check_text(texts[i].text, texts[i].max, texts[i].field, code, err);
    return r;
}

static int check_targets(const struct cb_frame *frame, int code, struct cb_err *err)
{
    for (size_t i = 0; i < frame->n_targets; i++) {
        const struct cb_frame_target *t = &frame->targets[i];
        int r = 0;

        if (t->kind > CB_TARGET_CGROUP)
            return cb_err_set(err, code, "frame: field 'target_kinds': unknown kind %u", t->kind);
        if (t->flags & ~(CB_TARGET_TEXT | CB_TARGET_GONE))
            return cb_err_set(err, code, "frame: field 'target_flags': unknown flags %u", t->flags);
        if (t->flags & CB_TARGET_TEXT)
            r = check_target_texts(t, code, err);
        else if (frame->dictionary)
            r = cb_err_set(err, code, "frame: field 'dictionary': target %u has no text", t->id);
        if (r < 0)
            return r;
    }
    return check_target_ids(frame, code, err);
}

static int check_stats_and_gaps(const struct cb_frame *frame, int code, struct cb_err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < frame->n_stats; i++) {
        r = check_name(frame->stat_names[i], CB_FRAME_MAX_TEXT, "stat_names", code, err);
        for (size_t k = 0; r == 0 && k < i; k++)
            if (strcmp(frame->stat_names[k], frame->stat_names[i]) == 0)
                r = cb_err_set(err, code, "frame: field 'stat_names': %.60s twice",
                               frame->stat_names[i]);
    }
    for (size_t i = 0; r == 0 && i < frame->n_gaps; i++) {
        r = check_name(frame->gaps[i].source, CB_FRAME_MAX_TEXT, "gaps.source", code, err);
        if (r == 0)
            r = check_text(frame->gaps[i].reason, CB_FRAME_MAX_TEXT, "gaps.reason", code, err);
    }
    return r;
}

int cb_frame_check(const struct cb_frame *frame, int code, struct cb_err *err)
{
    int r = check_head(frame, code, err);

    if (r == 0)
        r = check_energies(frame, code, err);
    if (r == 0)
        r = check_counters(frame, code, err);
    if (r == 0)
        r = check_events(frame, code, err);
    if (r == 0)
        r = check_targets(frame, code, err);
    if (r == 0)
        r = check_stats_and_gaps(frame, code, err);
    return r;
}
