/* SPDX-License-Identifier: Apache-2.0 */
/* ingest_batch.c - the batch of frames that is committed at once, and what follows a commit. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formula/ingest_private.h"
#include "formula/usage.h"
#include "lib/err.h"

/* ---- the dictionary entries of a frame ---- */

/* What does not fit is cut, never within a UTF-8 character: JSON and Prometheus would refuse it. */
static void copy(char *to, size_t size, const char *from)
{
    size_t n = from ? strlen(from) : 0;

    if (n >= size)
        for (n = size - 1; n > 0 && ((unsigned char)from[n] & 0xc0) == 0x80;)
            n--;
    if (n)
        memcpy(to, from, n);
    to[n] = '\0';
}

static int add_target(struct pending_frame *pending, int64_t start,
                      const struct cb_frame_target *from, struct cb_err *err)
{
    struct pending_target *to = &pending->targets[pending->n_targets];
    bool text = (from->flags & CB_TARGET_TEXT) != 0;

    *to = (struct pending_target){
        .target = {.start = start, .target = from->id, .kind = from->kind, .known = text},
        .has_text = text,
        .gone = (from->flags & CB_TARGET_GONE) != 0,
    };
    if (text) {
        copy(to->target.container_id, sizeof(to->target.container_id), from->container_id);
        copy(to->target.name, sizeof(to->target.name), from->name);
        copy(to->target.image, sizeof(to->target.image), from->image);
        copy(to->target.cgroup, sizeof(to->target.cgroup), from->cgroup);
        if (from->labels && from->labels[0]) {
            to->labels = strdup(from->labels);
            if (!to->labels)
                return cb_err_set(err, ENOMEM, "out of memory");
        }
    } else {
        (void)snprintf(to->target.name, sizeof(to->target.name), "target %u", from->id);
    }
    pending->n_targets++;
    return 0;
}

static int by_id(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static bool was_seen(const struct start *start, uint32_t id)
{
    return start->n_seen && bsearch(&id, start->seen, start->n_seen, sizeof(id), by_id);
}

/* Targets whose text came, that go, or that nothing is known of. */
static size_t count_changed(const struct start *start, const struct cb_frame *frame)
{
    size_t n = 0;

    for (size_t i = 0; i < frame->n_targets; i++)
        n += frame->targets[i].flags != 0 || !was_seen(start, frame->targets[i].id);
    return n;
}

static int remember(struct start *start, const struct cb_frame *frame, struct cb_err *err)
{
    uint32_t *seen;

    if (frame->n_targets == 0) {
        start->n_seen = 0;
        return 0;
    }
    seen = realloc(start->seen, frame->n_targets * sizeof(*seen));
    if (!seen)
        return cb_err_set(err, ENOMEM, "out of memory");
    start->seen = seen;
    start->n_seen = frame->n_targets;
    for (size_t i = 0; i < frame->n_targets; i++)
        seen[i] = frame->targets[i].id;
    qsort(seen, start->n_seen, sizeof(*seen), by_id);
    return 0;
}

int cb_ingest_targets(struct cb_ingest *ingest, struct start *start, const struct cb_frame *frame,
                      struct pending_frame *pending, struct cb_err *err)
{
    size_t n = count_changed(start, frame);
    int r = 0;

    (void)ingest;
    if (n) {
        pending->targets = calloc(n, sizeof(*pending->targets));
        if (!pending->targets)
            return cb_err_set(err, ENOMEM, "out of memory");
    }
    for (size_t i = 0; i < frame->n_targets && r == 0; i++)
        if (frame->targets[i].flags != 0 || !was_seen(start, frame->targets[i].id))
            r = add_target(pending, start->row.id, &frame->targets[i], err);
    return r < 0 ? r : remember(start, frame, err);
}

int cb_ingest_usage(const struct cb_frame *frame, struct pending_frame *pending, struct cb_err *err)
{
    struct cb_usage usage = {0};
    char names[CB_USAGE_NAMES_SIZE];
    uint8_t *bytes = NULL;
    size_t size = 0;
    int r;

    if (frame->n_stats < 2) /* the CPU time that is in the result */
        return 0;
    r = cb_usage_of_frame(frame, &usage, names, err);
    if (r == 0 && usage.n_targets)
        r = cb_usage_pack(&usage, &bytes, &size, err);
    cb_usage_clear(&usage);
    if (r < 0 || !bytes)
        return r;
    pending->usage = (struct cb_store_usage){.start = pending->frame.start,
                                             .boot = pending->frame.boot,
                                             .t0_ns = frame->t0_ns,
                                             .t1_ns = frame->t1_ns,
                                             .wall_ns = frame->wall_ns,
                                             .names = strdup(names),
                                             .bytes = bytes,
                                             .size = size};
    return pending->usage.names ? 0 : cb_err_set(err, ENOMEM, "out of memory");
}

void cb_ingest_pending_clear(struct pending_frame *pending)
{
    for (size_t i = 0; i < pending->n_targets; i++)
        free(pending->targets[i].labels);
    free(pending->targets);
    free(pending->bytes);
    free((void *)(uintptr_t)pending->usage.names);
    free((void *)(uintptr_t)pending->usage.bytes);
    free(pending->encoded);
    free(pending->snapshot);
    *pending = (struct pending_frame){0};
}

/* An acknowledgement covers every lower seq of its start: one for each peer and start will do.
 * There is room: cb_ingest_message() commits a full batch first. */
void cb_ingest_add_ack(struct cb_ingest *ingest, const struct cb_link_peer *peer,
                       const char *start_id, uint64_t seq)
{
    struct pending_ack *ack;

    for (size_t i = 0; i < ingest->n_acks; i++) {
        ack = &ingest->acks[i];
        if (ack->peer.size == peer->size && memcmp(ack->peer.id, peer->id, peer->size) == 0 &&
            strcmp(ack->start_id, start_id) == 0) {
            if (ack->seq < seq)
                ack->seq = seq;
            return;
        }
    }
    ack = &ingest->acks[ingest->n_acks++];
    ack->peer = *peer;
    (void)snprintf(ack->start_id, sizeof(ack->start_id), "%s", start_id);
    ack->seq = seq;
}

/* ---- commit ---- */

static int write_targets(struct cb_ingest *ingest, const struct pending_frame *pending,
                         uint64_t now_wall_ns, struct cb_err *err)
{
    int r = 0;

    for (size_t i = 0; i < pending->n_targets && r == 0; i++) {
        const struct pending_target *one = &pending->targets[i];

        r = cb_store_put_target(ingest->o.store, &one->target, one->labels, err);
        if (r == 0 && one->gone)
            r = cb_store_target_gone(ingest->o.store, one->target.start, one->target.target,
                                     now_wall_ns, err);
    }
    return r;
}

static int write_frame(struct cb_ingest *ingest, struct pending_frame *pending,
                       uint64_t now_wall_ns, struct cb_err *err)
{
    int r = write_targets(ingest, pending, now_wall_ns, err);

    if (r == 0)
        r = cb_store_put_frame(ingest->o.store, &pending->frame, now_wall_ns, &pending->frame.id,
                               err);
    pending->stored = r == 0;
    pending->usage.frame = pending->frame.id;
    if (r == 0 && pending->usage.names)
        r = cb_store_put_usage(ingest->o.store, &pending->usage, now_wall_ns, err);
    return r == -EEXIST ? 0 : r;
}

static int write_snapshot(struct cb_ingest *ingest, struct machine *machine, struct cb_err *err)
{
    cb_auto_free uint8_t *bytes = NULL;
    size_t size = 0;
    int r = cb_engine_save(machine->engine, &bytes, &size, err);

    return r < 0 ? r : cb_store_put_snapshot(ingest->o.store, machine->id, bytes, size, err);
}

static bool wants_snapshot(const struct machine *machine, uint64_t now_ns, bool last)
{
    return machine->engine && machine->learnt &&
           (last || now_ns >= machine->snapshot_ns + SNAPSHOT_NS);
}

static bool wants_totals(const struct machine *machine, uint64_t now_ns, bool last)
{
    return machine->engine && (last || now_ns >= machine->totals_ns + TOTALS_NS);
}

static int write_machine(struct cb_ingest *ingest, struct machine *machine, uint64_t now_ns,
                         bool last, struct cb_err *err)
{
    const struct cb_store_counts *counts = &machine->counts;
    int r = 0;

    if (counts->frames || counts->duplicates || counts->refused || counts->violations)
        r = cb_store_add_counts(ingest->o.store, machine->id, counts, err);
    if (r == 0 && wants_snapshot(machine, now_ns, last))
        r = write_snapshot(ingest, machine, err);
    if (r == 0 && wants_totals(machine, now_ns, last))
        r = cb_totals_save(ingest->o.totals, ingest->o.store, machine->name, machine->id, err);
    return r;
}

static int write_all(struct cb_ingest *ingest, uint64_t now_ns, uint64_t now_wall_ns, bool last,
                     struct cb_err *err)
{
    int r = cb_store_begin(ingest->o.store, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < ingest->n_frames && r == 0; i++)
        r = write_frame(ingest, &ingest->frames[i], now_wall_ns, err);
    for (size_t i = 0; i < ingest->n_machines && r == 0; i++)
        r = write_machine(ingest, ingest->machines[i], now_ns, last, err);
    if (r == 0)
        r = cb_store_commit(ingest->o.store, err);
    if (r < 0)
        cb_store_rollback(ingest->o.store);
    return r;
}

static void settle_machine(struct cb_ingest *ingest, struct machine *machine, uint64_t now_ns,
                           bool last)
{
    machine->counts = (struct cb_store_counts){0};
    if (wants_snapshot(machine, now_ns, last)) {
        machine->learnt = false;
        machine->snapshot_ns = now_ns;
    }
    if (wants_totals(machine, now_ns, last)) {
        cb_totals_saved(ingest->o.totals, machine->name);
        machine->totals_ns = now_ns;
    }
    for (size_t i = 0; i < machine->n_starts; i++)
        machine->starts[i].row.last_seq = machine->starts[i].pending_seq;
}

static void add_to_totals(struct cb_ingest *ingest, const struct pending_frame *pending)
{
    const struct cb_store_frame *frame = &pending->frame;
    struct cb_err err = {0};
    int r;

    for (size_t i = 0; i < pending->n_targets; i++)
        if (pending->targets[i].has_text)
            cb_totals_renamed(ingest->o.totals, pending->machine->name, frame->start,
                              pending->targets[i].target.target);
    r = cb_result_unpack(frame->result, frame->result_size, &ingest->scratch, &err);
    if (r == 0)
        r = cb_totals_add(ingest->o.totals, ingest->o.store, pending->machine->name, frame->start,
                          frame->id, &ingest->scratch, &err);
    if (r < 0)
        cb_log_warn("machine %s: /metrics lacks frame %lld until the next start: %s",
                    pending->machine->name, (long long)frame->id, err.text);
}

static void record(struct cb_ingest *ingest, const struct pending_frame *pending)
{
    if (pending->encoded)
        cb_recorder_put(ingest->o.recorder, ingest->o.store, pending->machine->name,
                        pending->frame.start, pending->snapshot, pending->snapshot_size,
                        pending->encoded, pending->encoded_size);
}

/* Totals are saved before the batch's frames are added to them: they hold what was committed
 * before, and the id they carry says so. */
static void settle(struct cb_ingest *ingest, uint64_t now_ns, uint64_t now_wall_ns, bool last)
{
    for (size_t i = 0; i < ingest->n_machines; i++)
        settle_machine(ingest, ingest->machines[i], now_ns, last);
    for (size_t i = 0; i < ingest->n_frames; i++) {
        if (ingest->frames[i].stored) {
            add_to_totals(ingest, &ingest->frames[i]);
            record(ingest, &ingest->frames[i]);
        }
        cb_totals_unreadable(ingest->o.totals, ingest->frames[i].machine->name,
                             &ingest->frames[i].machine->unreadable);
        cb_ingest_pending_clear(&ingest->frames[i]);
    }
    for (size_t i = 0; i < ingest->n_acks; i++)
        ingest->o.answers.ack(ingest->o.answers.context, &ingest->acks[i].peer,
                              ingest->acks[i].start_id, ingest->acks[i].seq);
    ingest->n_frames = 0;
    ingest->n_acks = 0;
    ingest->batch_bytes = 0;
    ingest->batch_due_ns = UINT64_MAX;
    if (ingest->o.recorder)
        cb_recorder_settle(ingest->o.recorder, now_ns, now_wall_ns);
}

static int commit(struct cb_ingest *ingest, uint64_t now_ns, uint64_t now_wall_ns, bool last,
                  struct cb_err *err)
{
    int r = write_all(ingest, now_ns, now_wall_ns, last, err);

    if (r < 0) {
        atomic_fetch_add(&ingest->o.stats->commit_failures_total, 1);
        return r;
    }
    atomic_fetch_add(&ingest->o.stats->commits_total, 1);
    settle(ingest, now_ns, now_wall_ns, last);
    cb_notify_bump(ingest->o.notify);
    return 0;
}

int cb_ingest_commit(struct cb_ingest *ingest, uint64_t now_ns, uint64_t now_wall_ns,
                     struct cb_err *err)
{
    return commit(ingest, now_ns, now_wall_ns, false, err);
}

int cb_ingest_close(struct cb_ingest *ingest, uint64_t now_ns, uint64_t now_wall_ns,
                    struct cb_err *err)
{
    int r;

    if (!ingest)
        return 0;
    r = commit(ingest, now_ns, now_wall_ns, false, err);
    if (r == 0)
        r = commit(ingest, now_ns, now_wall_ns, true, err);
    cb_ingest_abandon(ingest);
    return r;
}
