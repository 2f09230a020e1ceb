/* SPDX-License-Identifier: Apache-2.0 */
/* replay.c - see replay.h. */
#include "formula/replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formula/dictionary.h"
#include "formula/replay_input.h"
#include "lib/err.h"

struct machine {
    char *name;
    struct cb_engine *engine;
};

struct replay {
    const struct cb_replay_options *options;
    cb_replay_each *each;
    void *context;
    struct cb_replay_counts counts;
    size_t n_machines;
    struct machine *machines;
    struct cb_result result;
    struct cb_dictionary *dictionary; /* of a recording */
    size_t room;
    const char **target_names; /* of reports */
};

static void clear(struct replay *replay)
{
    for (size_t i = 0; i < replay->n_machines; i++) {
        struct machine *machine = &replay->machines[i];

        machine->engine = cb_engine_free(machine->engine);
        free(machine->name);
    }
    free(replay->machines);
    free(replay->target_names);
    replay->dictionary = cb_dictionary_free(replay->dictionary);
    cb_result_clear(&replay->result);
}

static int out_of_memory(struct cb_err *err)
{
    return cb_err_set(err, ENOMEM, "out of memory for a replay");
}

static int find_machine(struct replay *replay, const char *name, struct machine **ret_machine,
                        struct cb_err *err)
{
    struct cb_engine_options options = {.model = replay->options->model};
    struct machine *machines, *machine;
    int r;

    for (size_t i = 0; i < replay->n_machines; i++) {
        if (strcmp(replay->machines[i].name, name) == 0) {
            *ret_machine = &replay->machines[i];
            return 0;
        }
    }
    machines = realloc(replay->machines, (replay->n_machines + 1) * sizeof(*machines));
    if (!machines)
        return out_of_memory(err);
    replay->machines = machines;
    machine = &machines[replay->n_machines];
    *machine = (struct machine){.name = strdup(name)};
    if (!machine->name)
        return out_of_memory(err);
    r = cb_engine_new(&options, &machine->engine, err);
    if (r < 0) {
        free(machine->name);
        return r;
    }
    replay->n_machines++;
    *ret_machine = machine;
    return 0;
}

static int reserve_names(struct replay *replay, size_t n, struct cb_err *err)
{
    const char **names;

    if (n <= replay->room)
        return 0;
    names = realloc(replay->target_names, 2 * n * sizeof(char *));
    if (!names)
        return out_of_memory(err);
    replay->target_names = names;
    replay->room = 2 * n;
    return 0;
}

static int give(struct replay *replay, struct machine *machine, const struct cb_frame *frame,
                const char *const *names, bool from_frames, struct cb_err *err)
{
    struct cb_replay_tick tick = {
        .machine = machine->name,
        .frame = frame,
        .result = &replay->result,
        .target_names = names,
        .from_frames = from_frames,
    };
    int r = cb_engine_frame(machine->engine, frame, &replay->result, err);

    if (r < 0)
        return r;
    tick.weight = cb_engine_weight(machine->engine);
    replay->counts.ticks++;
    return replay->each(replay->context, &tick, err);
}

/* --- PowerAPI reports --- */

struct joining {
    struct replay *replay;
    struct cb_hwpc_join *join;
};

static int give_joined(struct joining *joining, bool flush, struct cb_err *err)
{
    const struct cb_frame *frame = NULL;
    int r;

    for (;;) {
        struct machine *machine = NULL;

        r = cb_hwpc_join_next(joining->join, flush, &frame, err);
        if (r < 0 || !frame)
            return r;
        r = find_machine(joining->replay, frame->sensor, &machine, err);
        if (r == 0)
            r = reserve_names(joining->replay, frame->n_targets, err);
        if (r < 0)
            return r;
        for (size_t i = 0; i < frame->n_targets; i++)
            joining->replay->target_names[i] = frame->targets[i].name;
        r = give(joining->replay, machine, frame, joining->replay->target_names, false, err);
        if (r < 0)
            return r;
    }
}

static int join_report(void *context, struct cb_hwpc_report *report, struct cb_err *err)
{
    struct joining *joining = context;
    int r = cb_hwpc_join_add(joining->join, report, err);

    return r < 0 ? r : give_joined(joining, false, err);
}

static int replay_reports(struct replay *replay, struct cb_err *err)
{
    struct joining joining = {.replay = replay};
    struct cb_replay_reading reading = {0};
    int r = cb_hwpc_join_new(&replay->options->join, &joining.join, err);

    if (r < 0)
        return r;
    r = cb_replay_reports(replay->options->input, replay->options->skip_bad, false, join_report,
                          &joining, &reading, err);
    if (r == 0)
        r = give_joined(&joining, true, err);
    replay->counts.skipped = reading.skipped;
    replay->counts.join = *cb_hwpc_join_counted(joining.join);
    replay->counts.join.duplicates += reading.duplicates;
    joining.join = cb_hwpc_join_free(joining.join);
    return r;
}

/* --- recordings --- */

static int give_frame(struct replay *replay, const struct cb_frame *frame, struct cb_err *err)
{
    struct machine *machine = NULL;
    const char *const *names = NULL;
    int r = find_machine(replay, frame->sensor, &machine, err);

    if (r == 0)
        r = cb_dictionary_names(replay->dictionary, frame, &names, err);
    return r < 0 ? r : give(replay, machine, frame, names, true, err);
}

static int give_record(void *context, const struct cb_recording_record *record, struct cb_err *err)
{
    struct replay *replay = context;
    struct cb_frame frame;
    struct machine *machine = NULL;
    int r;

    if (record->kind == CB_RECORDING_FRAME) {
        r = cb_frame_decode(record->bytes, record->size, &frame, err);
        if (r < 0)
            return r;
        r = give_frame(replay, &frame, err);
        cb_frame_clear(&frame);
        return r;
    }
    if (record->kind == CB_RECORDING_TARGET)
        return cb_dictionary_put(replay->dictionary, record->machine, record->start_id,
                                 record->target, record->name, err);
    r = find_machine(replay, record->machine, &machine, err);
    if (r == 0)
        r = cb_engine_restore(machine->engine, record->bytes, record->size, err);
    if (r != -EPROTONOSUPPORT)
        return r;
    replay->counts.other_models++; /* of another model or version: this one learns anew */
    return 0;
}

static int replay_frames(struct replay *replay, const char *path, struct cb_err *err)
{
    int r = cb_dictionary_new(&replay->dictionary, err);

    return r < 0 ? r
                 : cb_replay_records(path, replay->options->skip_bad, give_record, replay,
                                     &replay->counts.skipped, err);
}

int cb_replay(const struct cb_replay_options *options, cb_replay_each *each, void *context,
              struct cb_replay_counts *ret_counts, struct cb_err *err)
{
    struct replay replay = {.options = options, .each = each, .context = context};
    const char *recording = cb_replay_recording(options->input);
    int r = recording ? replay_frames(&replay, recording, err) : replay_reports(&replay, err);

    *ret_counts = replay.counts;
    clear(&replay);
    return r;
}
