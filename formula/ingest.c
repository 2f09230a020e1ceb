/* SPDX-License-Identifier: Apache-2.0 */
/* ingest.c - taking messages. See ingest.h. */
#include "formula/ingest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formula/ingest_private.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/frame.h"

#define REFUSAL_LOG_NS (10 * CB_NS_PER_S)
#define TWIN_LOG_NS (600 * CB_NS_PER_S)

struct opener {
    struct cb_ingest *ingest;
    struct cb_err *err;
};

static int load_totals(void *context, const struct cb_store_machine *row)
{
    struct opener *opener = context;

    return cb_totals_load(opener->ingest->o.totals, opener->ingest->o.store, row, opener->err);
}

int cb_ingest_open(const struct cb_ingest_options *options, struct cb_ingest **ret_ingest,
                   struct cb_err *err)
{
    struct cb_ingest *ingest = calloc(1, sizeof(*ingest));
    struct opener opener = {.ingest = ingest, .err = err};
    int r;

    if (!ingest)
        return cb_err_set(err, ENOMEM, "out of memory");
    ingest->o = *options;
    ingest->batch_due_ns = UINT64_MAX;
    r = cb_store_machines(ingest->o.store, load_totals, &opener, err);
    if (r < 0)
        cb_ingest_abandon(ingest);
    else
        *ret_ingest = ingest;
    return r;
}

void cb_ingest_abandon(struct cb_ingest *ingest)
{
    if (!ingest)
        return;
    for (size_t i = 0; i < ingest->n_frames; i++)
        cb_ingest_pending_clear(&ingest->frames[i]);
    for (size_t i = 0; i < ingest->n_machines; i++)
        cb_ingest_machine_free(ingest->machines[i]);
    free(ingest->machines);
    cb_result_clear(&ingest->result);
    cb_result_clear(&ingest->scratch);
    free(ingest);
}

uint64_t cb_ingest_due_ns(const struct cb_ingest *ingest)
{
    return ingest->batch_due_ns;
}

/* About what has no machine. One sensor that is misnamed must not hide another. */
static void log_refusal(struct cb_ingest *ingest, const struct cb_link_message *message,
                        const char *text)
{
    struct cb_log_limit *limit = &ingest->misnamed;

    if (message->kind != CB_LINK_MSG_HELLO) {
        cb_log_limited(&ingest->malformed, REFUSAL_LOG_NS, CB_LOG_WARN, "refused frame %llu: %s",
                       (unsigned long long)message->seq, text);
        return;
    }
    if (ingest->o.known)
        limit = cb_known_stranger(ingest->o.known, message->key, cb_clock_boot_ns());
    cb_log_limited(limit, REFUSAL_LOG_NS, CB_LOG_WARN, "refused sensor %.100s: %s", message->sensor,
                   text);
}

/* A frame that is malformed, or counted already, will never be taken: the sensor puts it aside. For
 * any other reason (@code: a positive errno) the sensor keeps its frames and asks again: seq 0. */
static void refuse(struct cb_ingest *ingest, struct machine *machine,
                   const struct cb_link_message *message, int code, const char *text)
{
    bool never = code == EBADMSG || code == EMSGSIZE || code == EALREADY;

    atomic_fetch_add(&ingest->o.stats->refused_total, 1);
    if (machine) {
        machine->counts.refused++;
        cb_log_limited(&machine->refusals, REFUSAL_LOG_NS, CB_LOG_WARN,
                       "machine %s: refused %s %llu: %s", machine->name,
                       message->kind == CB_LINK_MSG_HELLO ? "hello" : "frame",
                       (unsigned long long)message->seq, text);
    } else {
        log_refusal(ingest, message, text);
    }
    if (cb_ingest_is_local(message))
        return;
    ingest->o.answers.refuse(ingest->o.answers.context, &message->peer, message->start_id,
                             never && message->kind == CB_LINK_MSG_FRAME ? message->seq : 0, text);
}

/* ---- hello ---- */

/* Two names for one boot are two sensors on one machine, or one that was renamed. */
static void warn_of_twin(struct cb_ingest *ingest, struct machine *machine, const char *boot_id)
{
    for (size_t i = 0; i < ingest->n_machines; i++) {
        const struct machine *other = ingest->machines[i];

        for (size_t j = 0; other != machine && j < other->n_starts; j++)
            if (strcmp(other->starts[j].boot_id, boot_id) == 0) {
                cb_log_limited(&machine->twins, TWIN_LOG_NS, CB_LOG_WARN,
                               "machines '%s' and '%s' have the same boot id: if both sensors run, "
                               "the energy of one machine is counted under two names; stop one of "
                               "them",
                               other->name, machine->name);
                return;
            }
    }
}

static int greet(struct cb_ingest *ingest, struct machine *machine,
                 const struct cb_link_message *message, uint64_t now_wall_ns, struct cb_err *err)
{
    struct start *start;
    int r = cb_ingest_bind_key(ingest, machine, message->key, err);

    if (r == 0)
        r = cb_ingest_check_kind(machine, false, now_wall_ns, err);
    if (r == 0)
        r = cb_ingest_start(ingest, machine, message->boot_id, message->start_id, now_wall_ns,
                            &start, err);
    if (r == 0) {
        warn_of_twin(ingest, machine, message->boot_id);
        cb_log_info("machine %s: its sensor (version %s) is connected", machine->name,
                    message->version);
        ingest->o.answers.welcome(ingest->o.answers.context, &message->peer);
    }
    return r;
}

static int take_hello(struct cb_ingest *ingest, const struct cb_link_message *message,
                      uint64_t now_wall_ns, struct cb_err *err)
{
    struct machine *machine = NULL;
    struct cb_err why = {0};
    int r;

    if (!cb_known_is_name(message->sensor)) {
        refuse(ingest, NULL, message, EINVAL,
               "this is no name for a sensor: printable, without blanks");
        return 0;
    }
    r = cb_ingest_check_name(ingest, message->sensor, message->key, &why);
    if (r == 0)
        r = cb_ingest_machine(ingest, message->sensor, &machine, &why);
    if (r == 0)
        r = greet(ingest, machine, message, now_wall_ns, &why);
    if (r == -EACCES || r == -EEXIST || r == -EDQUOT) {
        refuse(ingest, machine, message, -r, why.text);
        return 0;
    }
    if (r < 0 && err)
        *err = why;
    return r;
}

/* ---- frames ---- */

static int attribute(struct cb_ingest *ingest, struct machine *machine,
                     const struct cb_frame *frame, struct pending_frame *pending,
                     struct cb_err *err)
{
    int r = cb_engine_frame(machine->engine, frame, &ingest->result, err);

    if (r == 0)
        r = cb_result_pack(&ingest->result, &pending->bytes, &pending->frame.result_size, err);
    if (r < 0) {
        /* It may have learnt from a frame that is going to come again: back to what is saved. */
        machine->engine = cb_engine_free(machine->engine);
        return r;
    }
    pending->frame.result = pending->bytes;
    machine->counts.violations += cb_result_violations(&ingest->result);
    machine->learnt = true;
    return 0;
}

/* Keep what is to be recorded after the commit: the frame as it came, and before the machine's
 * first one in a recording's file what its model knows. */
static int keep_to_record(struct cb_ingest *ingest, struct machine *machine,
                          const struct cb_link_message *message, struct pending_frame *pending,
                          struct cb_err *err)
{
    uint64_t segment = ingest->o.recorder ? cb_recorder_segment(ingest->o.recorder) : 0;
    int r = 0;

    if (segment == 0)
        return 0;
    pending->encoded = malloc(message->size);
    if (!pending->encoded)
        return cb_err_set(err, ENOMEM, "out of memory");
    memcpy(pending->encoded, message->bytes, message->size);
    pending->encoded_size = message->size;
    if (machine->recorded != segment)
        r = cb_engine_save(machine->engine, &pending->snapshot, &pending->snapshot_size, err);
    if (r == 0)
        machine->recorded = segment;
    return r;
}

/* Everything that can fail comes before the engine learns. */
static int add_frame(struct cb_ingest *ingest, struct machine *machine, struct start *start,
                     const struct cb_link_message *message, const struct cb_frame *frame,
                     struct cb_err *err)
{
    struct pending_frame *pending = &ingest->frames[ingest->n_frames];
    int r;

    *pending = (struct pending_frame){
        .machine = machine,
        .frame = {.start = start->row.id,
                  .boot = start->row.boot,
                  .seq = frame->seq,
                  .t0_ns = frame->t0_ns,
                  .t1_ns = frame->t1_ns,
                  .wall_ns = frame->wall_ns,
                  .lost_frames = frame->lost_frames,
                  .missed_ticks = frame->missed_ticks},
    };
    r = cb_ingest_engine(ingest, machine, err);
    if (r == 0)
        r = cb_ingest_targets(ingest, start, frame, pending, err);
    if (r == 0)
        r = cb_ingest_usage(frame, pending, err);
    if (r == 0)
        r = keep_to_record(ingest, machine, message, pending, err);
    if (r == 0)
        r = attribute(ingest, machine, frame, pending, err);
    if (r < 0) {
        machine->recorded = 0;
        start->n_seen = 0; /* what it said of new targets is not in the batch */
        cb_ingest_pending_clear(pending);
        return r;
    }
    start->pending_seq = frame->seq;
    if (start->t1_ns == 0 || frame->t0_ns < start->t0_ns)
        start->t0_ns = frame->t0_ns;
    start->t1_ns = frame->t1_ns > start->t1_ns ? frame->t1_ns : start->t1_ns;
    machine->counts.frames++;
    machine->counts.self_cpu_ns += frame->self_cpu_ns;
    machine->counts.self_uj += cb_result_by_cpu_uj(&ingest->result, frame->self_cpu_ns);
    cb_unreadable_of_frame(frame, &machine->unreadable);
    ingest->n_frames++;
    ingest->batch_bytes += pending->frame.result_size + pending->usage.size +
                           pending->n_targets * sizeof(*pending->targets);
    return 0;
}

/* A sensor that has used up half of its credit has more to send than an acknowledgement every
 * commit_ns lets pass: it is coming back with a full spool, or ticks every millisecond. */
static void set_due(struct cb_ingest *ingest, const struct start *start, uint64_t now_ns)
{
    if (ingest->batch_due_ns == UINT64_MAX)
        ingest->batch_due_ns = now_ns + ingest->o.commit_ns;
    if (ingest->n_frames == BATCH_FRAMES || ingest->batch_bytes >= BATCH_BYTES ||
        start->pending_seq >= start->row.last_seq + CB_LINK_CREDIT / 2)
        ingest->batch_due_ns = now_ns;
}

/* A sensor is alone with its state directory, so another start of this boot has counted another
 * time - unless that directory was copied and two count the same joules. */
static bool is_counted(const struct machine *machine, const struct start *start,
                       const struct cb_frame *frame)
{
    for (size_t i = 0; i < machine->n_starts; i++) {
        const struct start *other = &machine->starts[i];

        if (other != start && other->row.boot == start->row.boot && frame->t0_ns < other->t1_ns &&
            frame->t1_ns > other->t0_ns)
            return true;
    }
    return false;
}

static int take_new_frame(struct cb_ingest *ingest, struct machine *machine, struct start *start,
                          const struct cb_link_message *message, const struct cb_frame *frame,
                          uint64_t now_ns, struct cb_err *err)
{
    int r = 0;

    if (frame->seq <= start->row.last_seq) {
        machine->counts.duplicates++;
        if (cb_ingest_is_local(message))
            return 0;
        ingest->o.answers.ack(ingest->o.answers.context, &message->peer, message->start_id,
                              frame->seq);
        return 0;
    }
    if (frame->seq <= start->pending_seq) {
        machine->counts.duplicates++;
    } else if (!cb_ingest_is_local(message) && is_counted(machine, start, frame)) {
        refuse(ingest, machine, message, EALREADY,
               "another sensor with this name and key counts this machine: stop one of them");
        return 0;
    } else {
        r = add_frame(ingest, machine, start, message, frame, err);
    }
    if (r == 0) {
        if (!cb_ingest_is_local(message))
            cb_ingest_add_ack(ingest, &message->peer, message->start_id, frame->seq);
        set_due(ingest, start, now_ns);
    }
    return r;
}

/* A frame must be what its envelope says. */
static int check_envelope(const struct cb_link_message *message, const struct cb_frame *frame,
                          struct cb_err *err)
{
    if (strcmp(frame->start_id, message->start_id) != 0 || frame->seq != message->seq)
        return cb_err_set(err, EBADMSG, "start_id, seq: not what the envelope says");
    if (!cb_known_is_name(frame->sensor))
        return cb_err_set(err, EBADMSG, "sensor: not a name");
    return 0;
}

static int take_decoded(struct cb_ingest *ingest, const struct cb_link_message *message,
                        const struct cb_frame *frame, uint64_t now_ns, uint64_t now_wall_ns,
                        struct cb_err *err)
{
    struct machine *machine = NULL;
    struct start *start = NULL;
    struct cb_err why = {0};
    int r = check_envelope(message, frame, &why);

    if (r == 0 && !cb_ingest_is_local(message))
        r = cb_ingest_check_frame(ingest, frame->sensor, message->key, &why);
    if (r == 0)
        r = cb_ingest_machine(ingest, frame->sensor, &machine, &why);
    if (r == 0 && !cb_ingest_is_local(message))
        r = cb_ingest_bind_key(ingest, machine, message->key, &why);
    if (r == 0)
        r = cb_ingest_check_kind(machine, cb_ingest_is_local(message), now_wall_ns, &why);
    if (r == 0)
        r = cb_ingest_start(ingest, machine, frame->boot_id, frame->start_id, now_wall_ns, &start,
                            &why);
    if (r == -EBADMSG || r == -EACCES || r == -EEXIST || r == -EDQUOT) {
        refuse(ingest, machine, message, -r, why.text);
        return 0;
    }
    if (r == 0)
        return take_new_frame(ingest, machine, start, message, frame, now_ns, err);
    if (err)
        *err = why;
    return r;
}

static int take_frame(struct cb_ingest *ingest, const struct cb_link_message *message,
                      uint64_t now_ns, uint64_t now_wall_ns, struct cb_err *err)
{
    struct cb_frame frame;
    struct cb_err why = {0};
    int r = cb_frame_decode(message->bytes, message->size, &frame, &why);

    if (r == -ENOMEM)
        return cb_err_set(err, ENOMEM, "%s", why.text);
    if (r < 0) {
        refuse(ingest, NULL, message, -r, why.text);
        return 0;
    }
    r = take_decoded(ingest, message, &frame, now_ns, now_wall_ns, err);
    cb_frame_clear(&frame);
    return r;
}

/* A key that was revoked while its sensor is connected gets silence, as a stranger does. */
static bool is_let_in(struct cb_ingest *ingest, const struct cb_link_message *message)
{
    struct cb_err err = {0};

    if (!ingest->o.known || cb_ingest_is_local(message))
        return true;
    if (cb_known_refresh(ingest->o.known, &err) < 0)
        cb_log_limited(&ingest->strangers, REFUSAL_LOG_NS, CB_LOG_ERR,
                       "%s: the old list of known sensors stays in force", err.text);
    if (cb_known_by_key(ingest->o.known, message->key))
        return true;
    atomic_fetch_add(&ingest->o.stats->ignored_total, 1);
    if (ingest->o.answers.forget)
        ingest->o.answers.forget(ingest->o.answers.context, &message->peer);
    return false;
}

int cb_ingest_message(struct cb_ingest *ingest, const struct cb_link_message *message,
                      uint64_t now_ns, uint64_t now_wall_ns, struct cb_err *err)
{
    int r;

    if (message->kind == CB_LINK_MSG_NONE || !is_let_in(ingest, message))
        return 0;
    if (message->kind == CB_LINK_MSG_HELLO)
        return take_hello(ingest, message, now_wall_ns, err);
    if (ingest->n_frames == BATCH_FRAMES || ingest->n_acks == BATCH_FRAMES) {
        r = cb_ingest_commit(ingest, now_ns, now_wall_ns, err);
        if (r < 0)
            return r;
    }
    return take_frame(ingest, message, now_ns, now_wall_ns, err);
}
