/* SPDX-License-Identifier: Apache-2.0 */
/* recap_build.c - recaps from the store. See recap.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formula/map.h"
#include "formula/recap.h"
#include "lib/err.h"
#include "lib/log.h"

struct builder {
    struct cb_store *store;
    struct cb_recap *recap;
    struct cb_result result;
    struct cb_map whose; /* (start, target) to CB_RECAP_MINE or an index of others */
    size_t *row;
    size_t row_capacity;
    int64_t wall_offset_ns; /* REALTIME - BOOTTIME at the last frame */
    bool has_wall;
    cb_recap_each_tick *each; /* NULL: sum up */
    void *context;
};

static int look_up(struct builder *b, int64_t start, uint32_t id, size_t *ret_whose,
                   struct cb_err *err)
{
    struct cb_store_target target = {.start = start, .target = id};
    size_t whose = CB_RECAP_MINE;
    uint64_t known;
    int r;

    if (cb_map_get(&b->whose, cb_map_target_key(start, id), &known)) {
        *ret_whose = (size_t)known;
        return 0;
    }
    r = cb_store_target(b->store, start, id, &target, err);
    if (r < 0 && r != -ENOENT)
        return r;
    if (strcmp(target.container_id, b->recap->test.container_id) != 0 || !target.container_id[0]) {
        r = cb_recap_other(b->recap, &target, &whose, err);
        if (r < 0)
            return r;
    }
    *ret_whose = whose;
    if (cb_map_put(&b->whose, cb_map_target_key(start, id), whose) < 0)
        return cb_err_set(err, ENOMEM, "out of memory for a recap");
    return 0;
}

/* The recap holds one frame's part now: tell it. */
static int tell_tick(struct builder *b, const struct cb_store_frame *frame, struct cb_err *err)
{
    const struct cb_store_test *test = &b->recap->test;
    uint64_t end = frame->t1_ns < test->end_ns ? frame->t1_ns : test->end_ns;

    b->recap->end_wall_ns = frame->wall_ns - (frame->t1_ns - end);
    return b->each(b->context, b->recap, err);
}

/* What cb_wall_to_boot() made of the wall time of a mark, undone. */
static void find_wall_times(struct cb_recap *recap, const struct cb_store_frame *frame)
{
    for (size_t i = 0; i < recap->n_phases; i++) {
        struct cb_recap_phase *phase = &recap->phases[i];

        if (phase->begin_wall_ns == 0 && frame->t1_ns >= phase->begin_ns)
            phase->begin_wall_ns = frame->wall_ns - (frame->t1_ns - phase->begin_ns);
    }
}

static int add_frame(void *context, const struct cb_store_frame *frame, struct cb_err *err)
{
    struct builder *b = context;
    struct cb_err why = {0};
    int r = cb_result_unpack(frame->result, frame->result_size, &b->result, &why);

    b->wall_offset_ns = (int64_t)(frame->wall_ns - frame->t1_ns);
    b->has_wall = true;
    if (b->recap->test.end_wall_ns)
        find_wall_times(b->recap, frame);
    if (r == -EBADMSG) { /* waiting does not cure it */
        b->recap->n_damaged++;
        cb_log_debug("frame %lld is damaged: %s", (long long)frame->id, why.text);
        return 0;
    }
    if (r < 0)
        return cb_err_set(err, -r, "frame %lld: %s", (long long)frame->id, why.text);
    if (b->result.n_targets > b->row_capacity) {
        size_t *row = realloc(b->row, b->result.n_targets * sizeof(*row));

        if (!row)
            return cb_err_set(err, ENOMEM, "out of memory for a recap");
        b->row = row;
        b->row_capacity = b->result.n_targets;
    }
    if (b->each)
        cb_recap_empty(b->recap);
    for (size_t i = 0; i < b->result.n_targets && r == 0; i++)
        r = look_up(b, frame->start, b->result.target_ids[i], &b->row[i], err);
    if (r == 0)
        r = cb_recap_add(b->recap, &b->result, b->row, err);
    if (r == 0 && b->each)
        r = tell_tick(b, frame, err);
    return r;
}

static int by_energy(const void *a, const void *b)
{
    const struct cb_recap_other *x = a;
    const struct cb_recap_other *y = b;

    return x->dynamic_uj < y->dynamic_uj ? 1 : x->dynamic_uj > y->dynamic_uj ? -1 : 0;
}

/* As told: not a rounding different. Marks that no frame covers go by @offset; whatever the clock
 * did, each phase ends where the next one begins. */
static void set_told_times(struct cb_recap *recap, int64_t offset)
{
    uint64_t next;

    recap->begin_wall_ns = recap->test.begin_wall_ns;
    recap->end_wall_ns = next = recap->test.end_wall_ns;
    for (size_t i = recap->n_phases; i-- > 0;) {
        struct cb_recap_phase *phase = &recap->phases[i];
        uint64_t begin = phase->begin_wall_ns;

        if (begin == 0)
            begin = phase->begin_ns + (uint64_t)offset;
        if (begin < recap->begin_wall_ns || phase->begin_ns == recap->test.begin_ns)
            begin = recap->begin_wall_ns;
        phase->begin_wall_ns = begin < next ? begin : next;
        phase->end_wall_ns = next;
        next = phase->begin_wall_ns;
    }
}

/* BOOTTIME to REALTIME by the frame that covers the end, else by when the end was told or, of a test
 * told by wall times, by which time was told. */
static void set_wall_times(struct cb_recap *recap, const struct builder *b)
{
    const struct cb_store_test *test = &recap->test;
    uint64_t end = test->end_wall_ns ? test->end_wall_ns : test->ended_wall_ns;
    int64_t offset = b->has_wall ? b->wall_offset_ns : (int64_t)(end - test->end_ns);

    if (test->end_wall_ns) {
        set_told_times(recap, offset);
        return;
    }
    recap->begin_wall_ns = test->begin_ns + (uint64_t)offset;
    recap->end_wall_ns = test->end_ns + (uint64_t)offset;
}

static void clear_builder(struct builder *b)
{
    cb_result_clear(&b->result);
    cb_map_clear(&b->whose);
    free(b->row);
}

int cb_recap_build(struct cb_store *store, const struct cb_store_test *test,
                   struct cb_recap *ret_recap, struct cb_err *err)
{
    struct cb_recap recap;
    struct builder b = {.store = store, .recap = &recap};
    int r;

    cb_recap_init(&recap, test);
    r = cb_store_frames(store, test->boot, test->begin_ns, test->end_ns, add_frame, &b, err);
    if (r == 0) {
        set_wall_times(&recap, &b);
        if (recap.n_others)
            qsort(recap.others, recap.n_others, sizeof(*recap.others), by_energy);
        *ret_recap = recap;
    } else {
        cb_recap_clear(&recap);
    }
    clear_builder(&b);
    return r;
}

int cb_recap_ticks(struct cb_store *store, const struct cb_store_test *test,
                   cb_recap_each_tick *each, void *context, struct cb_err *err)
{
    struct cb_recap recap;
    struct builder b = {.store = store, .recap = &recap, .each = each, .context = context};
    int r;

    cb_recap_init(&recap, test);
    r = cb_store_frames(store, test->boot, test->begin_ns, test->end_ns, add_frame, &b, err);
    cb_recap_clear(&recap);
    clear_builder(&b);
    return r;
}

int cb_recap_finish(struct cb_store *store, const struct cb_store_test *test,
                    const char *const *sinks, size_t n_sinks, struct cb_err *err)
{
    struct cb_recap recap;
    char *text = NULL;
    json_t *json;
    int r = cb_recap_build(store, test, &recap, err);

    if (r < 0)
        return r;
    if (recap.n_damaged)
        cb_log_warn("the recap of test %s does without %zu damaged frames: their time counts as "
                    "not covered",
                    test->id, recap.n_damaged);
    json = cb_recap_to_json(&recap);
    if (json)
        text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(json);
    if (text)
        r = cb_store_put_recap(store, test, recap.begin_wall_ns, text, sinks, n_sinks, err);
    else
        r = cb_err_set(err, ENOMEM, "out of memory for a recap");
    free(text);
    cb_recap_clear(&recap);
    return r;
}
