/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame_decode.c - see frame.h. Two passes: the first finds every field in its place and measures
 * it, then one allocation, the second copies. The rules are those of cb_frame_check().
 */
#include <bson/bson.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "lib/frame.h"
#include "lib/frame_private.h"

struct column {
    const uint8_t *bytes;
    size_t size;
};

/* The fields are taken in order; after a first failure (r < 0) nothing more is taken. */
struct decoder {
    bson_iter_t iter;
    int r;
    struct cb_err *err;
};

/* What the first pass found. */
struct found {
    struct column counter_names, events, texts, stat_names, gaps; /* BSON arrays */
    struct column energies, counters, ids, kinds, flags, counts, enabled, running, stats;
};

/* ---- single fields ---- */

/* libbson has the text of a field followed by a NUL; another NUL inside makes it two texts. */
static const char *text_of(const bson_iter_t *iter)
{
    uint32_t size;
    const char *text = bson_iter_utf8(iter, &size);

    return text && strlen(text) == size ? text : NULL;
}

static bool take(struct decoder *d, const char *key, bson_type_t type)
{
    if (d->r < 0)
        return false;
    if (!bson_iter_next(&d->iter))
        d->r = cb_err_set(d->err, EBADMSG, "frame: field '%s': missing or cut off", key);
    else if (strcmp(bson_iter_key(&d->iter), key) != 0)
        d->r = cb_err_set(
            d->err, EBADMSG, "frame: field '%s' expected, found '%.60s'", key,
            bson_utf8_validate(bson_iter_key(&d->iter), strlen(bson_iter_key(&d->iter)), false)
                ? bson_iter_key(&d->iter)
                : "(not UTF-8)");
    else if (bson_iter_type(&d->iter) != type)
        d->r = cb_err_set(d->err, EBADMSG, "frame: field '%s': BSON type %d, expected %d", key,
                          (int)bson_iter_type(&d->iter), (int)type);
    return d->r == 0;
}

static const char *take_text(struct decoder *d, const char *key)
{
    const char *text = NULL;

    if (take(d, key, BSON_TYPE_UTF8)) {
        text = text_of(&d->iter);
        if (!text)
            d->r = cb_err_set(d->err, EBADMSG, "frame: field '%s': a NUL inside", key);
    }
    return text;
}

static uint64_t take_u64(struct decoder *d, const char *key)
{
    int64_t value;

    if (!take(d, key, BSON_TYPE_INT64))
        return 0;
    value = bson_iter_int64(&d->iter);
    if (value < 0)
        d->r = cb_err_set(d->err, EBADMSG, "frame: field '%s': %" PRId64, key, value);
    return (uint64_t)value;
}

static uint32_t take_u32(struct decoder *d, const char *key)
{
    int32_t value;

    if (!take(d, key, BSON_TYPE_INT32))
        return 0;
    value = bson_iter_int32(&d->iter);
    if (value < 0)
        d->r = cb_err_set(d->err, EBADMSG, "frame: field '%s': %" PRId32, key, value);
    return (uint32_t)value;
}

static bool take_bool(struct decoder *d, const char *key)
{
    return take(d, key, BSON_TYPE_BOOL) && bson_iter_bool(&d->iter);
}

static struct column take_column(struct decoder *d, const char *key)
{
    struct column column = {0};
    bson_subtype_t subtype;
    uint32_t size;

    if (!take(d, key, BSON_TYPE_BINARY))
        return column;
    bson_iter_binary(&d->iter, &subtype, &size, &column.bytes);
    if (subtype != BSON_SUBTYPE_BINARY || !column.bytes)
        d->r = cb_err_set(d->err, EBADMSG, "frame: field '%s': binary subtype %d, expected 0", key,
                          (int)subtype);
    column.size = size;
    return column;
}

/* A column of @n entries of @entry bytes. Neither product can overflow: @n is within the limits. */
static struct column take_sized(struct decoder *d, const char *key, size_t n, size_t entry)
{
    struct column column = take_column(d, key);

    if (d->r == 0 && column.size != n * entry)
        d->r = cb_err_set(d->err, EBADMSG, "frame: field '%s': %zu bytes, expected %zu", key,
                          column.size, n * entry);
    return column;
}

/* A column that says itself how many entries it has. */
static struct column take_counted(struct decoder *d, const char *key, size_t entry, size_t *ret_n)
{
    struct column column = take_column(d, key);

    if (d->r == 0 && column.size % entry != 0)
        d->r = cb_err_set(d->err, EBADMSG, "frame: field '%s': %zu bytes, not a multiple of %zu",
                          key, column.size, entry);
    *ret_n = column.size / entry;
    return column;
}

/* Enter the document or array at @iter. libbson looks neither at its size nor at the NUL that ends
 * it. */
static bool recurse(const bson_iter_t *iter, bson_iter_t *ret_child)
{
    return bson_iter_recurse(iter, ret_child) && ret_child->len >= 5 &&
           ret_child->raw[ret_child->len - 1] == '\0';
}

/* A walk over an array that take_array() found. */
static bson_iter_t walk(const struct column *array)
{
    bson_iter_t iter = {0};

    (void)bson_iter_init_from_data(&iter, array->bytes, array->size);
    return iter;
}

/* An array whose entries are all of @type with the keys "0", "1", ... */
static struct column take_array(struct decoder *d, const char *key, bson_type_t type, size_t *ret_n)
{
    struct column array = {0};
    bson_iter_t iter;
    uint32_t n = 0;

    *ret_n = 0;
    if (!take(d, key, BSON_TYPE_ARRAY))
        return array;
    if (!recurse(&d->iter, &iter)) {
        d->r = cb_err_set(d->err, EBADMSG, "frame: field '%s': not an array", key);
        return array;
    }
    array = (struct column){.bytes = iter.raw, .size = iter.len};
    for (; bson_iter_next(&iter); n++) {
        char text[16];
        const char *index;

        (void)bson_uint32_to_string(n, &index, text, sizeof(text));
        if (strcmp(bson_iter_key(&iter), index) == 0 && bson_iter_type(&iter) == type)
            continue;
        d->r = cb_err_set(d->err, EBADMSG, "frame: field '%s': entry %u is not one", key, n);
        return array;
    }
    if (iter.err_off)
        d->r = cb_err_set(d->err, EBADMSG, "frame: field '%s': cut off in entry %u", key, n);
    *ret_n = n;
    return array;
}

/* ---- first pass ---- */

static void take_head(struct decoder *d, struct cb_frame *f)
{
    uint32_t format = take_u32(d, "format");

    if (d->r == 0 && format != CB_FRAME_VERSION)
        d->r = cb_err_set(d->err, EPROTONOSUPPORT, "frame: format %u, this program reads %d",
                          format, CB_FRAME_VERSION);
    f->sensor = take_text(d, "sensor");
    f->boot_id = take_text(d, "boot_id");
    f->start_id = take_text(d, "start_id");
    f->seq = take_u64(d, "seq");
    f->t0_ns = take_u64(d, "t0_ns");
    f->t1_ns = take_u64(d, "t1_ns");
    f->wall_ns = take_u64(d, "wall_ns");
    f->dictionary = take_bool(d, "dictionary");
    f->version = take_text(d, "version");
    f->n_sockets = take_u32(d, "n_sockets");
    f->n_cpus = take_u32(d, "n_cpus");
}

static void check_limits(struct decoder *d, const struct cb_frame *f)
{
    if (d->r == 0)
        d->r = cb_frame_check_limits(f, d->err);
}

static void expect(struct decoder *d, const char *key, size_t n, size_t expected)
{
    if (d->r == 0 && n != expected)
        d->r = cb_err_set(d->err, EBADMSG, "frame: field '%s': %zu entries, expected %zu", key, n,
                          expected);
}

static size_t count_texts(const struct column *flags)
{
    size_t n = 0;

    for (size_t i = 0; i < flags->size; i++)
        n += (flags->bytes[i] & CB_TARGET_TEXT) != 0;
    return n;
}

static void take_body(struct decoder *d, struct cb_frame *f, struct found *found)
{
    size_t n;
    size_t cells;

    found->energies = take_counted(d, "energies", CB_FRAME_ENERGY_BYTES, &f->n_energies);
    found->counters = take_counted(d, "counters", CB_FRAME_COUNTER_BYTES, &f->n_counters);
    found->counter_names = take_array(d, "counter_names", BSON_TYPE_UTF8, &n);
    expect(d, "counter_names", n, f->n_counters);
    f->has_machine_row = take_bool(d, "has_machine_row");
    f->n_groups = take_u32(d, "n_groups");
    found->events = take_array(d, "events", BSON_TYPE_DOCUMENT, &f->n_events);
    found->ids = take_counted(d, "target_ids", sizeof(uint32_t), &f->n_targets);
    check_limits(d, f);
    found->kinds = take_sized(d, "target_kinds", f->n_targets, 1);
    found->flags = take_sized(d, "target_flags", f->n_targets, 1);
    found->texts = take_array(d, "target_texts", BSON_TYPE_DOCUMENT, &n);
    if (d->r == 0)
        expect(d, "target_texts", n, count_texts(&found->flags));
    cells = d->r == 0 ? (1 + f->n_targets) * f->n_sockets : 0;
    found->counts = take_sized(d, "counts", cells, f->n_events * sizeof(uint64_t));
    found->enabled = take_sized(d, "enabled_ns", cells, f->n_groups * sizeof(uint64_t));
    found->running = take_sized(d, "running_ns", cells, f->n_groups * sizeof(uint64_t));
    found->stat_names = take_array(d, "stat_names", BSON_TYPE_UTF8, &f->n_stats);
    check_limits(d, f);
    found->stats = take_sized(d, "stats", (1 + f->n_targets), f->n_stats * sizeof(uint64_t));
    found->gaps = take_array(d, "gaps", BSON_TYPE_DOCUMENT, &f->n_gaps);
    f->lost_frames = take_u64(d, "lost_frames");
    f->missed_ticks = take_u64(d, "missed_ticks");
    f->self_cpu_ns = take_u64(d, "self_cpu_ns");
    check_limits(d, f);
    if (d->r == 0 && (bson_iter_next(&d->iter) || d->iter.err_off))
        d->r = cb_err_set(d->err, EBADMSG, "frame: unknown bytes after field 'self_cpu_ns'");
}

/* ---- one allocation ---- */

static void *carve(uint8_t **arena, size_t n, size_t size)
{
    void *p = *arena;

    *arena += n * size;
    return p;
}

/* Every element size is a multiple of 8, so every array is aligned. */
static int allocate(struct cb_frame *f, const struct found *found, struct cb_err *err)
{
    size_t numbers =
        found->counts.size + found->enabled.size + found->running.size + found->stats.size;
    size_t size = numbers + f->n_energies * sizeof(*f->energies) +
                  f->n_counters * sizeof(*f->counters) + f->n_events * sizeof(*f->events) +
                  f->n_targets * sizeof(*f->targets) + f->n_stats * sizeof(*f->stat_names) +
                  f->n_gaps * sizeof(*f->gaps);
    uint8_t *p = calloc(1, size + 8);

    if (!p)
        return cb_err_set(err, ENOMEM, "frame: out of memory");
    f->arena = p;
    f->counts = carve(&p, 1, found->counts.size);
    f->enabled_ns = carve(&p, 1, found->enabled.size);
    f->running_ns = carve(&p, 1, found->running.size);
    f->stats = carve(&p, 1, found->stats.size);
    f->energies = carve(&p, f->n_energies, sizeof(*f->energies));
    f->counters = carve(&p, f->n_counters, sizeof(*f->counters));
    f->events = carve(&p, f->n_events, sizeof(*f->events));
    f->targets = carve(&p, f->n_targets, sizeof(*f->targets));
    f->stat_names = carve(&p, f->n_stats, sizeof(*f->stat_names));
    f->gaps = carve(&p, f->n_gaps, sizeof(*f->gaps));
    return 0;
}

_Static_assert(sizeof(struct cb_frame_energy) % 8 == 0 &&
                   sizeof(struct cb_frame_counter) % 8 == 0 &&
                   sizeof(struct cb_frame_event) % 8 == 0 &&
                   sizeof(struct cb_frame_target) % 8 == 0 &&
                   sizeof(struct cb_frame_gap) % 8 == 0 && sizeof(char *) == 8,
               "arrays of the arena are aligned by their sizes");

/* ---- second pass ---- */

static void copy_column(uint64_t *to, const struct column *column)
{
    if (column->size)
        memcpy(to, column->bytes, column->size);
}

static void fill_columns(struct cb_frame *f, const struct found *found)
{
    const uint8_t *p = found->energies.bytes;

    for (size_t i = 0; i < f->n_energies; i++, p += CB_FRAME_ENERGY_BYTES) {
        memcpy(&f->energies[i].socket, p, 2);
        f->energies[i].domain = p[2];
        f->energies[i].source = p[3];
        memcpy(&f->energies[i].energy_uj, p + 4, 8);
        memcpy(&f->energies[i].uncertainty_uj, p + 12, 8);
    }
    p = found->counters.bytes;
    for (size_t i = 0; i < f->n_counters; i++, p += CB_FRAME_COUNTER_BYTES) {
        memcpy(&f->counters[i].socket, p, 2);
        memcpy(&f->counters[i].value, p + 2, 8);
    }
    for (size_t i = 0; i < f->n_targets; i++) {
        memcpy(&f->targets[i].id, found->ids.bytes + 4 * i, 4);
        f->targets[i].kind = found->kinds.bytes[i];
        f->targets[i].flags = found->flags.bytes[i];
    }
    copy_column(f->counts, &found->counts);
    copy_column(f->enabled_ns, &found->enabled);
    copy_column(f->running_ns, &found->running);
    copy_column(f->stats, &found->stats);
}

/* The next entry of an array of texts. */
static const char *next_text(struct decoder *d, bson_iter_t *array, const char *key)
{
    const char *text;

    if (d->r < 0 || !bson_iter_next(array))
        return NULL;
    text = text_of(array);
    if (!text)
        d->r = cb_err_set(d->err, EBADMSG, "frame: field '%s': a NUL inside", key);
    return text;
}

/* A decoder for the members of the next entry of an array of documents. */
static struct decoder enter(const struct decoder *d, bson_iter_t *array)
{
    struct decoder entry = {.r = d->r, .err = d->err};

    if (d->r == 0 && (!bson_iter_next(array) || !recurse(array, &entry.iter)))
        entry.r = cb_err_set(d->err, EBADMSG, "frame: an entry is not a document");
    return entry;
}

static void leave(struct decoder *d, struct decoder *entry, const char *key)
{
    if (entry->r == 0 && (bson_iter_next(&entry->iter) || entry->iter.err_off))
        entry->r = cb_err_set(d->err, EBADMSG, "frame: field '%s': unknown members", key);
    d->r = entry->r;
}

static void fill_targets(struct decoder *d, struct cb_frame *f, const struct found *found)
{
    bson_iter_t texts = walk(&found->texts);

    for (size_t i = 0; d->r == 0 && i < f->n_targets; i++) {
        struct cb_frame_target *t = &f->targets[i];
        struct decoder entry;

        if (!(t->flags & CB_TARGET_TEXT))
            continue;
        entry = enter(d, &texts);
        t->cgroup = take_text(&entry, "cgroup");
        t->container_id = take_text(&entry, "container_id");
        t->name = take_text(&entry, "name");
        t->image = take_text(&entry, "image");
        t->labels = take_text(&entry, "labels");
        leave(d, &entry, "target_texts");
    }
}

static void fill_entries(struct decoder *d, struct cb_frame *f, const struct found *found)
{
    bson_iter_t counter_names = walk(&found->counter_names);
    bson_iter_t stat_names = walk(&found->stat_names);
    bson_iter_t events = walk(&found->events);
    bson_iter_t gaps = walk(&found->gaps);

    for (size_t i = 0; i < f->n_counters; i++)
        f->counters[i].name = next_text(d, &counter_names, "counter_names");
    for (size_t i = 0; i < f->n_stats; i++)
        f->stat_names[i] = next_text(d, &stat_names, "stat_names");
    for (size_t i = 0; d->r == 0 && i < f->n_events; i++) {
        struct decoder entry = enter(d, &events);
        uint32_t group;

        f->events[i].name = take_text(&entry, "name");
        f->events[i].pmu = take_text(&entry, "pmu");
        group = take_u32(&entry, "group");
        leave(d, &entry, "events");
        if (d->r == 0 && group >= f->n_groups)
            d->r = cb_err_set(d->err, EBADMSG, "frame: field 'events.group': %u of %zu", group,
                              f->n_groups);
        f->events[i].group = (uint8_t)group;
    }
    for (size_t i = 0; d->r == 0 && i < f->n_gaps; i++) {
        struct decoder entry = enter(d, &gaps);

        f->gaps[i].source = take_text(&entry, "source");
        f->gaps[i].reason = take_text(&entry, "reason");
        leave(d, &entry, "gaps");
    }
    fill_targets(d, f, found);
}

int cb_frame_decode(const uint8_t *bytes, size_t size, struct cb_frame *ret_frame,
                    struct cb_err *err)
{
    struct decoder d = {.err = err};
    struct found found = {0};
    struct cb_frame f = {0};

    if (size > CB_FRAME_MAX_BYTES)
        return cb_err_set(err, EMSGSIZE, "frame: %zu bytes, above the limit of %u", size,
                          CB_FRAME_MAX_BYTES);
    /* no bytes at all are no pointer perhaps, which libbson aborts on */
    if (size == 0 || !bson_iter_init_from_data(&d.iter, bytes, size))
        return cb_err_set(err, EBADMSG, "frame: not a BSON document of %zu bytes", size);
    take_head(&d, &f);
    take_body(&d, &f, &found);
    if (d.r == 0)
        d.r = allocate(&f, &found, err);
    if (d.r == 0) {
        fill_columns(&f, &found);
        fill_entries(&d, &f, &found);
    }
    if (d.r == 0)
        d.r = cb_frame_check(&f, EBADMSG, err);
    if (d.r < 0)
        cb_frame_clear(&f);
    else
        *ret_frame = f;
    return d.r;
}
