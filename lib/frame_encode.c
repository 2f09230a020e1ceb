/* SPDX-License-Identifier: Apache-2.0 */
/* frame_encode.c - see frame.h. The order of the fields is part of the format (docs/frame.md). */
#include <assert.h>
#include <bson/bson.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "lib/frame.h"
#include "lib/frame_private.h"

/* Upper bounds of what BSON adds: to the scalar fields with their keys, to one entry of an array
 * of texts (type, index, length, NUL), and to one of documents with up to five keyed members. */
#define HEAD_BYTES 1024
#define TEXT_BYTES 16
#define ENTRY_BYTES 128
#define ROW_BYTES 6 /* u32 id, u8 kind, u8 flags */

struct cb_frame_encoder {
    uint8_t *buffer; /* what libbson writes to; made large enough before, so it never grows it */
    size_t buffer_size;
    uint8_t *scratch; /* one packed column */
    size_t scratch_size;
    bson_t *bson; /* lies on `buffer` */
};

/* libbson asks for more memory only if cb_frame_bound() is wrong. */
static void *never_grows(void *memory, size_t size, void *context)
{
    (void)memory;
    (void)size;
    (void)context;
    abort();
}

struct cb_frame_encoder *cb_frame_encoder_free(struct cb_frame_encoder *encoder)
{
    if (encoder) {
        if (encoder->bson)
            bson_destroy(encoder->bson);
        free(encoder->buffer);
        free(encoder->scratch);
        free(encoder);
    }
    return NULL;
}

static int reserve(uint8_t **memory, size_t *size, size_t want)
{
    size_t grown = *size ? *size : 4096;
    uint8_t *more;

    if (want <= *size)
        return 0;
    while (grown < want)
        grown *= 2;
    more = realloc(*memory, grown);
    if (!more)
        return -ENOMEM;
    *memory = more;
    *size = grown;
    return 0;
}

struct cb_frame_encoder *cb_frame_encoder_new(void)
{
    struct cb_frame_encoder *encoder = calloc(1, sizeof(*encoder));

    if (!encoder)
        return NULL;
    if (reserve(&encoder->buffer, &encoder->buffer_size, 4096) < 0 ||
        reserve(&encoder->scratch, &encoder->scratch_size, 4096) < 0)
        return cb_frame_encoder_free(encoder);
    memcpy(encoder->buffer, "\5\0\0\0", 5); /* an empty document */
    encoder->bson =
        bson_new_from_buffer(&encoder->buffer, &encoder->buffer_size, never_grows, NULL);
    return encoder->bson ? encoder : cb_frame_encoder_free(encoder);
}

static size_t text_size(const char *text)
{
    return text ? strlen(text) : 0;
}

static size_t times_size(const struct cb_frame *f)
{
    return (1 + f->n_targets) * f->n_sockets * f->n_groups * sizeof(uint64_t);
}

static size_t counts_size(const struct cb_frame *f)
{
    return (1 + f->n_targets) * f->n_sockets * f->n_events * sizeof(uint64_t);
}

static size_t stats_size(const struct cb_frame *f)
{
    return (1 + f->n_targets) * f->n_stats * sizeof(uint64_t);
}

size_t cb_frame_row_bound(const struct cb_frame *f)
{
    size_t words = f->n_sockets * (f->n_events + 2 * f->n_groups) + f->n_stats;

    return words * sizeof(uint64_t) + ROW_BYTES;
}

size_t cb_frame_text_bound(const struct cb_frame_target *t)
{
    return ENTRY_BYTES + text_size(t->cgroup) + text_size(t->container_id) + text_size(t->name) +
           text_size(t->image) + text_size(t->labels);
}

/* No product or sum can overflow: every factor is within its limit by now. */
size_t cb_frame_bound(const struct cb_frame *f)
{
    size_t n = HEAD_BYTES + text_size(f->sensor) + text_size(f->version);

    n += (1 + f->n_targets) * cb_frame_row_bound(f);
    n += f->n_energies * CB_FRAME_ENERGY_BYTES + f->n_counters * CB_FRAME_COUNTER_BYTES;
    for (size_t i = 0; i < f->n_counters; i++)
        n += TEXT_BYTES + text_size(f->counters[i].name);
    for (size_t i = 0; i < f->n_events; i++)
        n += ENTRY_BYTES + text_size(f->events[i].name) + text_size(f->events[i].pmu);
    for (size_t i = 0; i < f->n_stats; i++)
        n += TEXT_BYTES + text_size(f->stat_names[i]);
    for (size_t i = 0; i < f->n_gaps; i++)
        n += ENTRY_BYTES + text_size(f->gaps[i].source) + text_size(f->gaps[i].reason);
    for (size_t i = 0; i < f->n_targets; i++)
        if (f->targets[i].flags & CB_TARGET_TEXT)
            n += cb_frame_text_bound(&f->targets[i]);
    return n;
}

/* ---- fields ---- */

static bool put_text(bson_t *b, const char *key, const char *text)
{
    return bson_append_utf8(b, key, -1, text ? text : "", -1);
}

static bool put_u64(bson_t *b, const char *key, uint64_t value)
{
    return bson_append_int64(b, key, -1, (int64_t)value);
}

static bool put_u32(bson_t *b, const char *key, size_t value)
{
    return bson_append_int32(b, key, -1, (int32_t)value);
}

static bool put_column(bson_t *b, const char *key, const void *bytes, size_t size)
{
    return bson_append_binary(b, key, -1, BSON_SUBTYPE_BINARY, size ? bytes : (const void *)"",
                              (uint32_t)size);
}

static bool put_head(bson_t *b, const struct cb_frame *f)
{
    return put_u32(b, "format", CB_FRAME_VERSION) && put_text(b, "sensor", f->sensor) &&
           put_text(b, "boot_id", f->boot_id) && put_text(b, "start_id", f->start_id) &&
           put_u64(b, "seq", f->seq) && put_u64(b, "t0_ns", f->t0_ns) &&
           put_u64(b, "t1_ns", f->t1_ns) && put_u64(b, "wall_ns", f->wall_ns) &&
           bson_append_bool(b, "dictionary", -1, f->dictionary) &&
           put_text(b, "version", f->version) && put_u32(b, "n_sockets", f->n_sockets) &&
           put_u32(b, "n_cpus", f->n_cpus);
}

static bool put_energies(bson_t *b, const struct cb_frame *f, uint8_t *scratch)
{
    uint8_t *p = scratch;

    for (size_t i = 0; i < f->n_energies; i++, p += CB_FRAME_ENERGY_BYTES) {
        const struct cb_frame_energy *e = &f->energies[i];

        memcpy(p, &e->socket, 2);
        p[2] = e->domain;
        p[3] = e->source;
        memcpy(p + 4, &e->energy_uj, 8);
        memcpy(p + 12, &e->uncertainty_uj, 8);
    }
    return put_column(b, "energies", scratch, f->n_energies * CB_FRAME_ENERGY_BYTES);
}

static bool put_counters(bson_t *b, const struct cb_frame *f, uint8_t *scratch)
{
    uint8_t *p = scratch;
    bson_t names;
    bool ok;

    for (size_t i = 0; i < f->n_counters; i++, p += CB_FRAME_COUNTER_BYTES) {
        memcpy(p, &f->counters[i].socket, 2);
        memcpy(p + 2, &f->counters[i].value, 8);
    }
    ok = put_column(b, "counters", scratch, f->n_counters * CB_FRAME_COUNTER_BYTES) &&
         bson_append_array_begin(b, "counter_names", -1, &names);
    for (size_t i = 0; ok && i < f->n_counters; i++) {
        char text[16];
        const char *key;

        (void)bson_uint32_to_string((uint32_t)i, &key, text, sizeof(text));
        ok = put_text(&names, key, f->counters[i].name);
    }
    return ok && bson_append_array_end(b, &names);
}

static bool put_events(bson_t *b, const struct cb_frame *f)
{
    bson_t events;
    bool ok = bson_append_bool(b, "has_machine_row", -1, f->has_machine_row) &&
              put_u32(b, "n_groups", f->n_groups) &&
              bson_append_array_begin(b, "events", -1, &events);

    for (size_t i = 0; ok && i < f->n_events; i++) {
        char text[16];
        const char *key;
        bson_t entry;

        (void)bson_uint32_to_string((uint32_t)i, &key, text, sizeof(text));
        ok = bson_append_document_begin(&events, key, -1, &entry) &&
             put_text(&entry, "name", f->events[i].name) &&
             put_text(&entry, "pmu", f->events[i].pmu) &&
             put_u32(&entry, "group", f->events[i].group) &&
             bson_append_document_end(&events, &entry);
    }
    return ok && bson_append_array_end(b, &events);
}

static bool put_target_columns(bson_t *b, const struct cb_frame *f, uint8_t *scratch)
{
    size_t n = f->n_targets;

    for (size_t i = 0; i < n; i++) {
        memcpy(scratch + 4 * i, &f->targets[i].id, 4);
        scratch[4 * n + i] = f->targets[i].kind;
        scratch[5 * n + i] = f->targets[i].flags;
    }
    return put_column(b, "target_ids", scratch, 4 * n) &&
           put_column(b, "target_kinds", scratch + 4 * n, n) &&
           put_column(b, "target_flags", scratch + 5 * n, n);
}

static bool put_target_texts(bson_t *b, const struct cb_frame *f)
{
    bson_t texts;
    bool ok = bson_append_array_begin(b, "target_texts", -1, &texts);
    uint32_t n = 0;

    for (size_t i = 0; ok && i < f->n_targets; i++) {
        const struct cb_frame_target *t = &f->targets[i];
        char text[16];
        const char *key;
        bson_t entry;

        if (!(t->flags & CB_TARGET_TEXT))
            continue;
        (void)bson_uint32_to_string(n++, &key, text, sizeof(text));
        ok = bson_append_document_begin(&texts, key, -1, &entry) &&
             put_text(&entry, "cgroup", t->cgroup) &&
             put_text(&entry, "container_id", t->container_id) &&
             put_text(&entry, "name", t->name) && put_text(&entry, "image", t->image) &&
             put_text(&entry, "labels", t->labels) && bson_append_document_end(&texts, &entry);
    }
    return ok && bson_append_array_end(b, &texts);
}

static bool put_stats(bson_t *b, const struct cb_frame *f)
{
    bson_t names;
    bool ok = bson_append_array_begin(b, "stat_names", -1, &names);

    for (size_t i = 0; ok && i < f->n_stats; i++) {
        char text[16];
        const char *key;

        (void)bson_uint32_to_string((uint32_t)i, &key, text, sizeof(text));
        ok = put_text(&names, key, f->stat_names[i]);
    }
    return ok && bson_append_array_end(b, &names) &&
           put_column(b, "stats", f->stats, stats_size(f));
}

static bool put_gaps(bson_t *b, const struct cb_frame *f)
{
    bson_t gaps;
    bool ok = bson_append_array_begin(b, "gaps", -1, &gaps);

    for (size_t i = 0; ok && i < f->n_gaps; i++) {
        char text[16];
        const char *key;
        bson_t entry;

        (void)bson_uint32_to_string((uint32_t)i, &key, text, sizeof(text));
        ok = bson_append_document_begin(&gaps, key, -1, &entry) &&
             put_text(&entry, "source", f->gaps[i].source) &&
             put_text(&entry, "reason", f->gaps[i].reason) &&
             bson_append_document_end(&gaps, &entry);
    }
    return ok && bson_append_array_end(b, &gaps);
}

static bool put_frame(bson_t *b, const struct cb_frame *f, uint8_t *scratch)
{
    return put_head(b, f) && put_energies(b, f, scratch) && put_counters(b, f, scratch) &&
           put_events(b, f) && put_target_columns(b, f, scratch) && put_target_texts(b, f) &&
           put_column(b, "counts", f->counts, counts_size(f)) &&
           put_column(b, "enabled_ns", f->enabled_ns, times_size(f)) &&
           put_column(b, "running_ns", f->running_ns, times_size(f)) && put_stats(b, f) &&
           put_gaps(b, f) && put_u64(b, "lost_frames", f->lost_frames) &&
           put_u64(b, "missed_ticks", f->missed_ticks) && put_u64(b, "self_cpu_ns", f->self_cpu_ns);
}

static size_t scratch_bound(const struct cb_frame *f)
{
    size_t n = ROW_BYTES * f->n_targets;

    if (n < f->n_energies * CB_FRAME_ENERGY_BYTES)
        n = f->n_energies * CB_FRAME_ENERGY_BYTES;
    if (n < f->n_counters * CB_FRAME_COUNTER_BYTES)
        n = f->n_counters * CB_FRAME_COUNTER_BYTES;
    return n;
}

int cb_frame_encode(struct cb_frame_encoder *encoder, const struct cb_frame *frame,
                    const uint8_t **ret_bytes, size_t *ret_size, struct cb_err *err)
{
    int r = cb_frame_check_limits(frame, err);
    size_t bound;

    if (r == 0)
        r = cb_frame_check(frame, EINVAL, err);
    if (r < 0)
        return r;
    bound = cb_frame_bound(frame);
    if (bound > CB_FRAME_MAX_BYTES)
        return cb_err_set(err, EMSGSIZE, "frame: about %zu bytes, above the limit of %u", bound,
                          CB_FRAME_MAX_BYTES);
    if (reserve(&encoder->buffer, &encoder->buffer_size, bound) < 0 ||
        reserve(&encoder->scratch, &encoder->scratch_size, scratch_bound(frame)) < 0)
        return cb_err_set(err, ENOMEM, "frame: out of memory");
    bson_reinit(encoder->bson);
    if (!put_frame(encoder->bson, frame, encoder->scratch))
        return cb_err_set(err, EMSGSIZE, "frame: too large for BSON");
    *ret_bytes = bson_get_data(encoder->bson);
    *ret_size = encoder->bson->len;
    return 0;
}
