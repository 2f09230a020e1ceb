/* SPDX-License-Identifier: Apache-2.0 */
/* replay.c - see replay.h. */
#include "formula/replay.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formula/infile.h"
#include "formula/map.h"
#include "formula/recording.h"
#include "lib/err.h"

struct machine {
    char *name;
    struct cb_engine *engine;
    /* the dictionary of a recording: target id of the present start to name */
    char start_id[CB_START_ID_SIZE];
    struct cb_map ids; /* to index in names */
    size_t n_names, room;
    char **names;
};

struct replay {
    const struct cb_replay_options *options;
    cb_replay_each *each;
    void *context;
    struct cb_replay_counts counts;
    size_t n_machines;
    struct machine *machines;
    struct cb_result result;
    size_t room;
    const char **target_names;
};

static void clear_dictionary(struct machine *machine)
{
    for (size_t i = 0; i < machine->n_names; i++)
        free(machine->names[i]);
    machine->n_names = 0;
    cb_map_clear(&machine->ids);
}

static void clear(struct replay *replay)
{
    for (size_t i = 0; i < replay->n_machines; i++) {
        struct machine *machine = &replay->machines[i];

        clear_dictionary(machine);
        free(machine->names);
        machine->engine = cb_engine_free(machine->engine);
        free(machine->name);
    }
    free(replay->machines);
    free(replay->target_names);
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
                bool from_frames, struct cb_err *err)
{
    struct cb_replay_tick tick = {
        .machine = machine->name,
        .frame = frame,
        .result = &replay->result,
        .target_names = replay->target_names,
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

int cb_replay_reports(const char *input, bool skip_bad, bool last_wins, cb_replay_each_report *each,
                      void *context, struct cb_replay_reading *ret_reading, struct cb_err *err)
{
    struct cb_hwpc_reader *reader = NULL;
    struct cb_hwpc_report *report = NULL;
    FILE *file = NULL;
    int r;

    if (strncmp(input, "hwpc-csv:", 9) == 0) {
        r = cb_hwpc_reader_csv(input + 9, skip_bad, last_wins, &reader, err);
    } else if (strncmp(input, "hwpc-json:", 10) == 0) {
        r = cb_infile_open(input + 10, &file, err);
        if (r == 0)
            r = cb_hwpc_reader_json(file, input + 10, skip_bad, &reader, err);
    } else {
        r = cb_err_set(err, EINVAL,
                       "--in '%.100s': use hwpc-json:FILE, hwpc-csv:DIR or frames:FILE", input);
    }
    while (r == 0) {
        r = cb_hwpc_reader_next(reader, &report, err);
        if (r < 0 || !report)
            break;
        r = each(context, report, err);
    }
    if (reader)
        *ret_reading = (struct cb_replay_reading){.skipped = cb_hwpc_reader_skipped(reader),
                                                  .duplicates = cb_hwpc_reader_duplicates(reader)};
    reader = cb_hwpc_reader_free(reader);
    if (file)
        (void)fclose(file);
    return r;
}

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
        r = give(joining->replay, machine, frame, false, err);
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

/* A container's name, else its id, else its cgroup; without a dictionary entry the number. */
static const char *text_of(const struct cb_frame_target *target, char *buffer, size_t size)
{
    if (target->name && *target->name)
        return target->name;
    if (target->container_id && *target->container_id)
        return target->container_id;
    if (target->cgroup && *target->cgroup)
        return target->cgroup;
    (void)snprintf(buffer, size, "#%" PRIu32, target->id);
    return buffer;
}

static int set_name(struct machine *machine, uint32_t id, const char *name, const char **ret_name,
                    struct cb_err *err)
{
    uint64_t index;

    if (!cb_map_get(&machine->ids, id, &index)) {
        index = machine->n_names;
        if (machine->n_names == machine->room) {
            size_t room = machine->room ? machine->room * 2 : 16;
            char **names = realloc(machine->names, room * sizeof(char *));

            if (!names)
                return out_of_memory(err);
            machine->names = names;
            machine->room = room;
        }
        machine->names[index] = NULL;
        machine->n_names++;
        if (cb_map_put(&machine->ids, id, index) < 0)
            return out_of_memory(err);
    }
    free(machine->names[index]);
    machine->names[index] = strdup(name);
    if (!machine->names[index])
        return out_of_memory(err);
    *ret_name = machine->names[index];
    return 0;
}

static int name_target(struct machine *machine, const struct cb_frame_target *target,
                       const char **ret_name, struct cb_err *err)
{
    char buffer[16];
    uint64_t index;

    if (cb_map_get(&machine->ids, target->id, &index) && !(target->flags & CB_TARGET_TEXT)) {
        *ret_name = machine->names[index];
        return 0;
    }
    return set_name(machine, target->id, text_of(target, buffer, sizeof(buffer)), ret_name, err);
}

/* The dictionary is that of one sensor start. */
static void begin_start(struct machine *machine, const char *start_id)
{
    if (strcmp(machine->start_id, start_id) == 0)
        return;
    clear_dictionary(machine);
    (void)snprintf(machine->start_id, sizeof(machine->start_id), "%s", start_id);
}

static int give_frame(struct replay *replay, const struct cb_frame *frame, struct cb_err *err)
{
    struct machine *machine = NULL;
    int r = find_machine(replay, frame->sensor, &machine, err);

    if (r == 0)
        r = reserve_names(replay, frame->n_targets, err);
    if (r < 0)
        return r;
    begin_start(machine, frame->start_id);
    for (size_t i = 0; i < frame->n_targets && r == 0; i++)
        r = name_target(machine, &frame->targets[i], &replay->target_names[i], err);
    return r < 0 ? r : give(replay, machine, frame, true, err);
}

static int give_record(struct replay *replay, const struct cb_recording_record *record,
                       struct cb_err *err)
{
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
    r = find_machine(replay, record->machine, &machine, err);
    if (r == 0 && record->kind == CB_RECORDING_TARGET) {
        const char *ignored;

        begin_start(machine, record->start_id);
        return set_name(machine, record->target, record->name, &ignored, err);
    }
    if (r == 0)
        r = cb_engine_restore(machine->engine, record->bytes, record->size, err);
    if (r != -EPROTONOSUPPORT)
        return r;
    replay->counts.other_models++; /* of another model or version: this one learns anew */
    return 0;
}

static int replay_frames(struct replay *replay, const char *path, struct cb_err *err)
{
    struct cb_recording_reader *reader = NULL;
    struct cb_recording_record record;
    FILE *file = NULL;
    int r = cb_infile_open(path, &file, err);

    if (r == 0)
        r = cb_recording_open(file, path, &reader, err);
    while (r == 0) {
        r = cb_recording_next(reader, &record, err);
        if (r < 0 || record.kind == 0)
            break;
        r = give_record(replay, &record, err);
        if ((r == -EBADMSG || r == -EPROTONOSUPPORT) && replay->options->skip_bad) {
            replay->counts.skipped++;
            r = 0;
        } else if (r < 0) {
            r = cb_err_prefix(err, r, "%s:%" PRIu64, path, replay->counts.ticks + 1);
        }
    }
    reader = cb_recording_free(reader);
    if (file)
        (void)fclose(file);
    return r;
}

int cb_replay(const struct cb_replay_options *options, cb_replay_each *each, void *context,
              struct cb_replay_counts *ret_counts, struct cb_err *err)
{
    struct replay replay = {.options = options, .each = each, .context = context};
    int r;

    if (strncmp(options->input, "frames:", 7) == 0)
        r = replay_frames(&replay, options->input + 7, err);
    else
        r = replay_reports(&replay, err);
    *ret_counts = replay.counts;
    clear(&replay);
    return r;
}
