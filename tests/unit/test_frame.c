/* SPDX-License-Identifier: Apache-2.0 */
/* test_frame.c - lib/frame: what is encoded is decoded again, and nothing else is. */
#include <bson/bson.h>
#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/err.h"
#include "lib/frame.h"
#include "tests/support/fault.h"
#include "tests/support/random_frame.h"

static const struct random_frame_size small = {.max_sockets = 3, .max_targets = 6, .max_events = 5};

static struct cb_frame_encoder *encoder;

static int setup(void **state)
{
    (void)state;
    encoder = cb_frame_encoder_new();
    return encoder ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    encoder = cb_frame_encoder_free(encoder);
    return 0;
}

/* A copy of the encoded frame in a block of its own, so that a read past it is seen. */
static uint8_t *encoded(const struct cb_frame *frame, size_t *ret_size)
{
    const uint8_t *bytes;
    struct cb_err err = {0};
    uint8_t *copy;

    if (cb_frame_encode(encoder, frame, &bytes, ret_size, &err) != 0)
        fail_msg("%s", err.text);
    copy = malloc(*ret_size);
    assert_non_null(copy);
    memcpy(copy, bytes, *ret_size);
    return copy;
}

/* The bound holds, and each row and each text has its part in it. */
static void check_bound(struct cb_frame *frame, size_t size)
{
    size_t bound = cb_frame_bound(frame);
    size_t n = frame->n_targets;

    assert_in_range(bound, size, CB_FRAME_MAX_BYTES);
    for (size_t i = 0; i < frame->n_targets; i++) {
        size_t with;

        frame->targets[i].flags ^= CB_TARGET_TEXT;
        with = cb_frame_bound(frame);
        frame->targets[i].flags ^= CB_TARGET_TEXT;
        assert_int_equal(with > bound ? with - bound : bound - with,
                         cb_frame_text_bound(&frame->targets[i]));
    }
    for (size_t i = 0; i < frame->n_targets; i++)
        if (frame->targets[i].flags & CB_TARGET_TEXT)
            bound -= cb_frame_text_bound(&frame->targets[i]);
    frame->n_targets = 0;
    assert_int_equal(bound - cb_frame_bound(frame), n * cb_frame_row_bound(frame));
    frame->n_targets = n;
}

static void random_frames_come_back_as_they_were(void **state)
{
    static const struct random_frame_size large = {
        .max_sockets = 8, .max_targets = 400, .max_events = 40};

    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct cb_frame *frame = random_frame_new(seed, seed % 10 ? &small : &large);
        struct cb_frame back;
        struct cb_err err = {0};
        size_t size;
        size_t again;
        uint8_t *bytes = encoded(frame, &size);
        uint8_t *repeat;

        if (cb_frame_decode(bytes, size, &back, &err) != 0)
            fail_msg("seed %u: %s", (unsigned)seed, err.text);
        assert_true(frames_equal(frame, &back));
        repeat = encoded(&back, &again);
        assert_int_equal(again, size);
        assert_memory_equal(repeat, bytes, size);
        check_bound(frame, size);
        cb_frame_clear(&back);
        assert_null(back.arena);
        free(repeat);
        free(bytes);
        random_frame_free(frame);
    }
}

static void the_smallest_frame_is_one(void **state)
{
    struct cb_frame frame = {
        .sensor = "a",
        .boot_id = "0b0b0b0b-1111-2222-3333-444444444444",
        .start_id = "00000000000000000000000000000000",
        .seq = 1,
        .t1_ns = 1,
        .version = "",
        .n_sockets = 1,
        .n_cpus = 1,
    };
    struct cb_frame back;
    size_t size;
    uint8_t *bytes = encoded(&frame, &size);

    (void)state;
    assert_int_equal(cb_frame_decode(bytes, size, &back, NULL), 0);
    assert_true(frames_equal(&frame, &back));
    cb_frame_clear(&back);
    cb_frame_clear(&back);
    free(bytes);
}

/* Decode a block that ends where it ends; either a frame or a failure that says what is wrong. */
static int decode_exact(const uint8_t *bytes, size_t size)
{
    uint8_t *block = malloc(size ? size : 1);
    struct cb_frame back = {.seq = 77};
    struct cb_err err = {0};
    int r;

    assert_non_null(block);
    memcpy(block, bytes, size);
    r = cb_frame_decode(block, size, &back, &err);
    if (r == 0) {
        const uint8_t *repeat;
        size_t again;

        assert_int_equal(cb_frame_encode(encoder, &back, &repeat, &again, NULL), 0);
        assert_int_equal(again, size);
        assert_memory_equal(repeat, block, size);
        cb_frame_clear(&back);
    } else {
        assert_true(r == -EBADMSG || r == -EPROTONOSUPPORT || r == -EMSGSIZE);
        assert_int_equal(err.code, -r);
        assert_int_equal(strncmp(err.text, "frame: ", 7), 0);
        assert_int_equal(back.seq, 77);
    }
    free(block);
    return r;
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 5; seed++) {
        struct cb_frame *frame = random_frame_new(seed, &small);
        size_t size;
        uint8_t *bytes = encoded(frame, &size);

        for (size_t cut = 0; cut < size; cut++) {
            assert_int_equal(decode_exact(bytes, cut), -EBADMSG);
            if (cut >= 5) { /* the same with a length that fits */
                uint32_t length = (uint32_t)cut;

                memcpy(bytes, &length, 4);
                assert_true(decode_exact(bytes, cut) < 0);
                length = (uint32_t)size;
                memcpy(bytes, &length, 4);
            }
        }
        free(bytes);
        random_frame_free(frame);
    }
}

static void a_changed_frame_is_a_frame_or_refused(void **state)
{
    uint64_t seed = 42;

    (void)state;
    for (int i = 0; i < 40; i++) {
        struct cb_frame *frame = random_frame_new((uint64_t)i, &small);
        size_t size;
        uint8_t *bytes = encoded(frame, &size);

        for (int k = 0; k < 5000; k++) {
            size_t at[3];
            uint8_t old[3];
            int n = 1 + (int)random_below(&seed, 3);

            for (int j = 0; j < n; j++) {
                at[j] = random_below(&seed, size);
                old[j] = bytes[at[j]];
                bytes[at[j]] = random_below(&seed, 2) ? (uint8_t)random_next(&seed)
                                                      : (uint8_t)(old[j] ^ 1u << (k % 8));
            }
            (void)decode_exact(bytes, size);
            while (n-- > 0)
                bytes[at[n]] = old[n];
        }
        assert_int_equal(decode_exact(bytes, size), 0);
        free(bytes);
        random_frame_free(frame);
    }
}

/* Copy @bytes, a frame, field by field; the field @key is left out, doubled, or followed by one
 * that no frame has. */
static int decode_with_field(const uint8_t *bytes, size_t size, const char *key, int copies,
                             bool stranger, struct cb_err *err)
{
    bson_t old;
    bson_t new;
    bson_iter_t iter;
    struct cb_frame back;
    int r;

    assert_true(bson_init_static(&old, bytes, size));
    assert_true(bson_iter_init(&iter, &old));
    bson_init(&new);
    while (bson_iter_next(&iter)) {
        int n = strcmp(bson_iter_key(&iter), key) == 0 ? copies : 1;

        while (n-- > 0)
            (void)bson_append_iter(&new, NULL, 0, &iter);
        if (strcmp(bson_iter_key(&iter), key) == 0 && stranger)
            (void)bson_append_int32(&new, "x", -1, 1);
    }
    r = cb_frame_decode(bson_get_data(&new), new.len, &back, err);
    bson_destroy(&new);
    return r;
}

static void a_missing_doubled_or_unknown_field_is_named(void **state)
{
    struct cb_frame *frame = random_frame_new(7, &small);
    size_t size;
    uint8_t *bytes = encoded(frame, &size);
    bson_t doc;
    bson_iter_t iter;
    int fields = 0;

    (void)state;
    assert_true(bson_init_static(&doc, bytes, size));
    assert_true(bson_iter_init(&iter, &doc));
    while (bson_iter_next(&iter)) {
        const char *key = bson_iter_key(&iter);
        struct cb_err err = {0};
        char quoted[64];

        (void)snprintf(quoted, sizeof(quoted), "'%s'", key);
        assert_int_equal(decode_with_field(bytes, size, key, 0, false, &err), -EBADMSG);
        assert_non_null(strstr(err.text, quoted));
        assert_int_equal(decode_with_field(bytes, size, key, 2, false, &err), -EBADMSG);
        assert_non_null(strstr(err.text, quoted));
        assert_int_equal(decode_with_field(bytes, size, key, 1, true, &err), -EBADMSG);
        fields++;
    }
    assert_int_equal(fields, 31);
    free(bytes);
    random_frame_free(frame);
}

static struct cb_frame *full_frame(void);

/* Copy a document; the one that is number *@left, counted in depth, gets a member more, and the
 * array @longer an entry more. */
static void copy_with_more(bson_iter_t *from, bson_t *to, int *left, const char *longer)
{
    bool grow = (*left)-- == 0;

    while (bson_iter_next(from)) {
        const char *key = bson_iter_key(from);
        bson_iter_t inner;
        bson_t child;
        bson_t bare;

        if (BSON_ITER_HOLDS_DOCUMENT(from)) {
            assert_true(bson_iter_recurse(from, &inner));
            (void)bson_append_document_begin(to, key, -1, &child);
            copy_with_more(&inner, &child, left, longer);
            (void)bson_append_document_end(to, &child);
        } else if (BSON_ITER_HOLDS_ARRAY(from)) {
            int kept = *left + 1; /* arrays are not counted */

            assert_true(bson_iter_recurse(from, &inner));
            (void)bson_append_array_begin(to, key, -1, &child);
            (*left) = kept > 0 ? kept : -1;
            copy_with_more(&inner, &child, left, longer);
            if (strcmp(key, longer) == 0) {
                char index[16];

                (void)snprintf(index, sizeof(index), "%u", bson_count_keys(&child));
                bson_init(&bare);
                if (strcmp(key, "counter_names") == 0)
                    (void)bson_append_utf8(&child, index, -1, "one more", -1);
                else
                    (void)bson_append_document(&child, index, -1, &bare);
                bson_destroy(&bare);
            }
            (void)bson_append_array_end(to, &child);
        } else {
            (void)bson_append_iter(to, NULL, 0, from);
        }
    }
    if (grow)
        (void)bson_append_int32(to, "x", -1, 1);
}

static int decode_with_more(const uint8_t *bytes, size_t size, int *left, const char *longer)
{
    bson_t old;
    bson_t new;
    bson_iter_t iter;
    struct cb_frame back;
    int r;

    assert_true(bson_init_static(&old, bytes, size));
    assert_true(bson_iter_init(&iter, &old));
    bson_init(&new);
    copy_with_more(&iter, &new, left, longer);
    r = cb_frame_decode(bson_get_data(&new), new.len, &back, NULL);
    if (r == 0)
        cb_frame_clear(&back);
    bson_destroy(&new);
    return r;
}

static void a_nested_member_or_entry_too_many_is_refused(void **state)
{
    struct cb_frame *frame = full_frame();
    size_t size;
    uint8_t *bytes = encoded(frame, &size);
    int left = -1;
    int documents = 0;

    (void)state;
    assert_int_equal(decode_with_more(bytes, size, &left, ""), 0); /* the copy is a frame */
    for (left = 0; left <= 0; documents++) {
        int r;

        left = documents;
        r = decode_with_more(bytes, size, &left, "");
        if (left >= 0) {
            assert_int_equal(r, 0);
            break;
        }
        assert_int_equal(r, -EBADMSG);
    }
    assert_true(documents >= 1 + 2 + 1 + 2); /* the frame, its events, a text, its gaps */
    left = -1;
    assert_int_equal(decode_with_more(bytes, size, &left, "counter_names"), -EBADMSG);
    left = -1;
    assert_int_equal(decode_with_more(bytes, size, &left, "target_texts"), -EBADMSG);
    free(bytes);
    random_frame_free(frame);
}

/* The bytes as they were written once (tests/fixtures/frames). With a format 2 this stays: it is
 * the one before. */
static void the_bytes_of_format_1_are_read(void **state)
{
    FILE *file = fopen("tests/fixtures/frames/format-1.bson", "re");
    uint8_t bytes[4096];
    struct cb_frame frame;
    struct cb_err err = {0};
    uint64_t counts = 0, energy_uj = 0;
    size_t size;

    (void)state;
    assert_non_null(file);
    size = fread(bytes, 1, sizeof(bytes), file);
    (void)fclose(file);
    assert_int_equal(size, 1993);
    assert_int_equal(bytes[4 + 1 + sizeof("format")], 1);
    if (cb_frame_decode(bytes, size, &frame, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(frame.seq, 995206547);
    assert_true(frame.t0_ns == 900265793242472 && frame.t1_ns == 900266416123556);
    assert_true(frame.n_sockets == 1 && frame.n_events == 4 && frame.n_targets == 4);
    for (size_t i = 0; i < (frame.n_targets + 1) * frame.n_sockets * frame.n_events; i++)
        counts ^= frame.counts[i];
    assert_true(counts == 12588875051425797);
    for (size_t i = 0; i < frame.n_energies; i++)
        energy_uj ^= frame.energies[i].energy_uj;
    assert_true(frame.n_energies == 4 && energy_uj == 4832026551540076716);
    assert_int_equal(frame.lost_frames, 2);
    cb_frame_clear(&frame);
}

static void another_format_version_is_refused_by_name(void **state)
{
    struct cb_frame *frame = random_frame_new(7, &small);
    struct cb_frame back;
    struct cb_err err = {0};
    size_t size;
    uint8_t *bytes = encoded(frame, &size);

    (void)state;
    bytes[4 + 1 + sizeof("format")] = CB_FRAME_VERSION + 1;
    assert_int_equal(cb_frame_decode(bytes, size, &back, &err), -EPROTONOSUPPORT);
    assert_non_null(strstr(err.text, "format 2"));
    free(bytes);
    random_frame_free(frame);
}

/* Breaks one rule of a good frame. */
struct breach {
    const char *field;
    int code;
    void (*make)(struct cb_frame *frame);
};

#define BREACH(name, statement)                                                                    \
    static void name(struct cb_frame *f)                                                           \
    {                                                                                              \
        statement;                                                                                 \
    }
BREACH(no_sensor, f->sensor = NULL)
BREACH(empty_sensor, f->sensor = "")
BREACH(not_utf8, f->version = "\xff")
BREACH(overlong, f->version = "\xc0\x80")
BREACH(short_boot_id, f->boot_id = "0b0b")
BREACH(upper_start_id, f->start_id = "0000000000000000000000000000000G")
BREACH(seq_zero, f->seq = 0)
BREACH(seq_huge, f->seq = UINT64_MAX)
BREACH(no_time, f->t1_ns = f->t0_ns)
BREACH(no_socket, f->n_sockets = 0)
BREACH(sockets, f->n_sockets = CB_FRAME_MAX_SOCKETS + 1)
BREACH(cpus, f->n_cpus = CB_FRAME_MAX_CPUS + 1)
BREACH(targets, f->n_targets = CB_FRAME_MAX_TARGETS + 1)
BREACH(events, f->n_events = CB_FRAME_MAX_EVENTS + 1)
BREACH(groups, f->n_groups = CB_FRAME_MAX_GROUPS + 1)
BREACH(energy_socket, f->energies[0].socket = (uint16_t)f->n_sockets)
BREACH(energy_domain, f->energies[0].domain = CB_DOMAIN_COUNT)
BREACH(energy_source, f->energies[0].source = CB_SOURCE_COUNT)
BREACH(energy_twice, f->energies[1] = f->energies[0])
BREACH(counter_socket, f->counters[0].socket = (uint16_t)f->n_sockets)
BREACH(counter_twice, f->counters[1] = f->counters[0])
BREACH(event_group, f->events[0].group = (uint8_t)f->n_groups)
BREACH(event_twice, f->events[1] = f->events[0])
BREACH(machine_row, f->has_machine_row = false; f->counts[0] = 1)
BREACH(target_id, f->targets[0].id = 0)
BREACH(target_twice, f->targets[0].id = f->targets[2].id)
BREACH(target_kind, f->targets[0].kind = 2)
BREACH(target_flags, f->targets[0].flags |= 4)
BREACH(target_text, f->dictionary = true; f->targets[0].flags = 0)
BREACH(stat_twice, f->stat_names[1] = f->stat_names[0])
BREACH(gap_source, f->gaps[0].source = "")

static const struct breach breaches[] = {
    {"sensor", EINVAL, no_sensor},
    {"sensor", EINVAL, empty_sensor},
    {"version", EINVAL, not_utf8},
    {"version", EINVAL, overlong},
    {"boot_id", EINVAL, short_boot_id},
    {"start_id", EINVAL, upper_start_id},
    {"seq", EINVAL, seq_zero},
    {"seq", EINVAL, seq_huge},
    {"t1_ns", EINVAL, no_time},
    {"n_sockets", EINVAL, no_socket},
    {"n_sockets", EMSGSIZE, sockets},
    {"n_cpus", EMSGSIZE, cpus},
    {"targets", EMSGSIZE, targets},
    {"events", EMSGSIZE, events},
    {"n_groups", EMSGSIZE, groups},
    {"energies", EINVAL, energy_socket},
    {"energies", EINVAL, energy_domain},
    {"energies", EINVAL, energy_source},
    {"energies", EINVAL, energy_twice},
    {"counters", EINVAL, counter_socket},
    {"counters", EINVAL, counter_twice},
    {"events.group", EINVAL, event_group},
    {"events", EINVAL, event_twice},
    {"counts", EINVAL, machine_row},
    {"target_ids", EINVAL, target_id},
    {"target_ids", EINVAL, target_twice},
    {"target_kinds", EINVAL, target_kind},
    {"target_flags", EINVAL, target_flags},
    {"dictionary", EINVAL, target_text},
    {"stat_names", EINVAL, stat_twice},
    {"gaps.source", EINVAL, gap_source},
};

/* A frame that has at least two of everything. */
static struct cb_frame *full_frame(void)
{
    for (uint64_t seed = 0;; seed++) {
        struct cb_frame *f = random_frame_new(seed, &small);

        if (f->n_energies > 1 && f->n_counters > 1 && f->n_events > 1 && f->n_groups <= 3 &&
            f->n_targets > 3 && f->n_stats > 1 && f->n_gaps > 1)
            return f;
        random_frame_free(f);
    }
}

static void the_encoder_refuses_each_breach_and_names_the_field(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(breaches) / sizeof(breaches[0]); i++) {
        struct cb_frame *good = full_frame();
        struct cb_frame f = *good;
        /* arrays of its own, so that a breach does not lose what must be freed */
        struct cb_frame_energy *energies = calloc(good->n_energies, sizeof(*energies));
        struct cb_frame_counter *counters = calloc(good->n_counters, sizeof(*counters));
        struct cb_frame_event *ev = calloc(good->n_events, sizeof(*ev));
        struct cb_frame_target *tg = calloc(good->n_targets, sizeof(*tg));
        struct cb_frame_gap *gaps = calloc(good->n_gaps, sizeof(*gaps));
        const char **names = calloc(good->n_stats, sizeof(*names));
        const uint8_t *bytes = NULL;
        size_t size;
        struct cb_err err = {0};
        char quoted[64];

        f.energies = memcpy(energies, good->energies, good->n_energies * sizeof(*energies));
        f.counters = memcpy(counters, good->counters, good->n_counters * sizeof(*counters));
        f.events = memcpy(ev, good->events, good->n_events * sizeof(*ev));
        f.targets = memcpy(tg, good->targets, good->n_targets * sizeof(*tg));
        f.gaps = memcpy(gaps, good->gaps, good->n_gaps * sizeof(*gaps));
        f.stat_names = memcpy(names, good->stat_names, good->n_stats * sizeof(*names));
        assert_int_equal(cb_frame_encode(encoder, &f, &bytes, &size, &err), 0);
        bytes = NULL;
        breaches[i].make(&f);
        (void)snprintf(quoted, sizeof(quoted), "'%s'", breaches[i].field);
        assert_int_equal(cb_frame_encode(encoder, &f, &bytes, &size, &err), -breaches[i].code);
        if (!strstr(err.text, quoted))
            fail_msg("breach %zu: '%s' does not name %s", i, err.text, quoted);
        assert_null(bytes);
        free(energies);
        free(counters);
        free(ev);
        free(tg);
        free(gaps);
        free(names);
        random_frame_free(good);
    }
}

static void limits_of_size_hold(void **state)
{
    struct cb_frame *f = full_frame();
    const char *version = f->version;
    char *text = malloc(CB_FRAME_MAX_TEXT + 2);
    const uint8_t *bytes;
    size_t size;
    struct cb_frame back;

    (void)state;
    memset(text, 'x', CB_FRAME_MAX_TEXT + 1);
    text[CB_FRAME_MAX_TEXT + 1] = '\0';
    f->version = text;
    assert_int_equal(cb_frame_encode(encoder, f, &bytes, &size, NULL), -EMSGSIZE);
    text[CB_FRAME_MAX_TEXT] = '\0';
    assert_int_equal(cb_frame_encode(encoder, f, &bytes, &size, NULL), 0);
    assert_int_equal(cb_frame_decode(bytes, size, &back, NULL), 0);
    cb_frame_clear(&back);
    f->version = version;
    free(text);
    random_frame_free(f);

    uint8_t *huge = calloc(1, CB_FRAME_MAX_BYTES + 1);
    uint32_t length = CB_FRAME_MAX_BYTES + 1;

    memcpy(huge, &length, 4);
    assert_int_equal(cb_frame_decode(huge, length, &back, NULL), -EMSGSIZE);
    assert_int_equal(cb_frame_decode(NULL, 0, &back, NULL), -EBADMSG);
    free(huge);
}

static void a_frame_above_the_size_limit_is_not_encoded(void **state)
{
    size_t n = 20000;
    size_t cells = (1 + n) * 2;
    struct cb_frame *f = full_frame();
    struct cb_frame big = *f;
    const uint8_t *bytes;
    size_t size;
    struct cb_err err = {0};

    (void)state;
    big.n_sockets = 2;
    big.n_targets = n;
    big.n_events = 32;
    big.n_energies = big.n_counters = big.n_stats = big.n_gaps = 0;
    big.n_groups = 1;
    big.dictionary = false;
    big.has_machine_row = true;
    big.targets = calloc(n, sizeof(*big.targets));
    big.events = calloc(32, sizeof(*big.events));
    big.counts = calloc(cells * 32, 8);
    big.enabled_ns = calloc(cells, 8);
    big.running_ns = calloc(cells, 8);
    for (size_t i = 0; i < n; i++)
        big.targets[i].id = (uint32_t)i + 1;
    for (size_t i = 0; i < 32; i++) {
        big.events[i].name = "cycles";
        big.events[i].pmu = f->events[0].pmu;
    }
    char names[32][4];

    for (size_t i = 0; i < 32; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "e%zu", i);
        big.events[i].name = names[i];
    }
    assert_int_equal(cb_frame_encode(encoder, &big, &bytes, &size, &err), -EMSGSIZE);
    big.n_events = 16;
    assert_int_equal(cb_frame_encode(encoder, &big, &bytes, &size, &err), 0);
    free(big.targets);
    free(big.events);
    free(big.counts);
    free(big.enabled_ns);
    free(big.running_ns);
    random_frame_free(f);
}

static void the_encoder_allocates_nothing_once_it_has_grown(void **state)
{
    struct cb_frame *f = full_frame();
    const uint8_t *bytes;
    const uint8_t *before;
    size_t size;

    (void)state;
    assert_int_equal(cb_frame_encode(encoder, f, &before, &size, NULL), 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    struct mallinfo2 old = mallinfo2();
#endif
    for (int i = 0; i < 100; i++) {
        assert_int_equal(cb_frame_encode(encoder, f, &bytes, &size, NULL), 0);
        assert_ptr_equal(bytes, before);
    }
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    struct mallinfo2 new = mallinfo2();

    assert_int_equal(new.uordblks, old.uordblks);
#endif
    random_frame_free(f);
}

static void every_failed_allocation_of_the_decoder_is_clean(void **state)
{
    struct cb_frame *f = full_frame();
    struct cb_frame back = {.seq = 77};
    size_t size;
    uint8_t *bytes;
    int r = -ENOMEM;
    int k;

    (void)state;
    if (f->targets[0].id < f->targets[1].id) { /* so that the check of the ids allocates too */
        struct cb_frame_target t = f->targets[0];

        f->targets[0] = f->targets[1];
        f->targets[1] = t;
    }
    bytes = encoded(f, &size);
    for (k = 0; k < 10 && r < 0; k++) {
        struct cb_err err = {0};

        fault_arm(k);
        r = cb_frame_decode(bytes, size, &back, &err);
        fault_disarm();
        if (r < 0) {
            assert_int_equal(r, -ENOMEM);
            assert_int_equal(err.code, ENOMEM);
            assert_int_equal(back.seq, 77);
        }
    }
    assert_int_equal(r, 0);
    assert_int_equal(k, 3);
    cb_frame_clear(&back);
    free(bytes);
    random_frame_free(f);
}

static void names_of_domains_and_sources_come_back(void **state)
{
    enum cb_domain domain;
    enum cb_source source;

    (void)state;
    for (int i = 0; i < CB_DOMAIN_COUNT; i++) {
        assert_int_equal(cb_domain_parse(cb_domain_name((enum cb_domain)i), &domain), 0);
        assert_int_equal(domain, i);
    }
    for (int i = 0; i < CB_SOURCE_COUNT; i++) {
        assert_int_equal(cb_source_parse(cb_source_name((enum cb_source)i), &source), 0);
        assert_int_equal(source, i);
    }
    assert_int_equal(cb_domain_parse("Package", &domain), -EINVAL);
    assert_int_equal(cb_source_parse("", &source), -EINVAL);
    assert_string_equal(cb_domain_name(CB_DOMAIN_COUNT), "unknown");
    assert_true(cb_domain_is_top(CB_DOMAIN_PACKAGE) && cb_domain_is_top(CB_DOMAIN_DRAM));
    assert_false(cb_domain_is_top(CB_DOMAIN_CORE) || cb_domain_is_top(CB_DOMAIN_UNCORE) ||
                 cb_domain_is_top(CB_DOMAIN_PSYS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_frames_come_back_as_they_were),
        cmocka_unit_test(the_smallest_frame_is_one),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(a_changed_frame_is_a_frame_or_refused),
        cmocka_unit_test(a_missing_doubled_or_unknown_field_is_named),
        cmocka_unit_test(a_nested_member_or_entry_too_many_is_refused),
        cmocka_unit_test(the_bytes_of_format_1_are_read),
        cmocka_unit_test(another_format_version_is_refused_by_name),
        cmocka_unit_test(the_encoder_refuses_each_breach_and_names_the_field),
        cmocka_unit_test(limits_of_size_hold),
        cmocka_unit_test(a_frame_above_the_size_limit_is_not_encoded),
        cmocka_unit_test(the_encoder_allocates_nothing_once_it_has_grown),
        cmocka_unit_test(every_failed_allocation_of_the_decoder_is_clean),
        cmocka_unit_test(names_of_domains_and_sources_come_back),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
