/* SPDX-License-Identifier: Apache-2.0 */
/* dictionary.c - see dictionary.h. */
#include "formula/dictionary.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formula/map.h"
#include "lib/err.h"

struct machine {
    char *name;
    char start_id[CB_START_ID_SIZE];
    struct cb_map ids; /* to index in names */
    size_t n_names, room;
    char **names;
};

struct cb_dictionary {
    size_t n_machines;
    struct machine *machines;
    size_t room;
    const char **frame; /* names of the last frame's targets */
};

static int out_of_memory(struct cb_err *err)
{
    return cb_err_set(err, ENOMEM, "out of memory for a dictionary");
}

static void forget(struct machine *machine)
{
    for (size_t i = 0; i < machine->n_names; i++)
        free(machine->names[i]);
    machine->n_names = 0;
    cb_map_clear(&machine->ids);
}

int cb_dictionary_new(struct cb_dictionary **ret_dictionary, struct cb_err *err)
{
    *ret_dictionary = calloc(1, sizeof(struct cb_dictionary));
    return *ret_dictionary ? 0 : out_of_memory(err);
}

struct cb_dictionary *cb_dictionary_free(struct cb_dictionary *dictionary)
{
    if (dictionary) {
        for (size_t i = 0; i < dictionary->n_machines; i++) {
            forget(&dictionary->machines[i]);
            free(dictionary->machines[i].names);
            free(dictionary->machines[i].name);
        }
        free(dictionary->machines);
        free(dictionary->frame);
        free(dictionary);
    }
    return NULL;
}

static int find_machine(struct cb_dictionary *dictionary, const char *name,
                        struct machine **ret_machine, struct cb_err *err)
{
    struct machine *machines, *machine;

    for (size_t i = 0; i < dictionary->n_machines; i++) {
        if (strcmp(dictionary->machines[i].name, name) == 0) {
            *ret_machine = &dictionary->machines[i];
            return 0;
        }
    }
    machines = realloc(dictionary->machines, (dictionary->n_machines + 1) * sizeof(*machines));
    if (!machines)
        return out_of_memory(err);
    dictionary->machines = machines;
    machine = &machines[dictionary->n_machines];
    *machine = (struct machine){.name = strdup(name)};
    if (!machine->name)
        return out_of_memory(err);
    dictionary->n_machines++;
    *ret_machine = machine;
    return 0;
}

/* The machine @name as of this sensor start: of one before nothing is known any more. */
static int begin(struct cb_dictionary *dictionary, const char *name, const char *start_id,
                 struct machine **ret_machine, struct cb_err *err)
{
    int r = find_machine(dictionary, name, ret_machine, err);

    if (r == 0 && strcmp((*ret_machine)->start_id, start_id) != 0) {
        forget(*ret_machine);
        (void)snprintf((*ret_machine)->start_id, CB_START_ID_SIZE, "%s", start_id);
    }
    return r;
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

int cb_dictionary_put(struct cb_dictionary *dictionary, const char *machine, const char *start_id,
                      uint32_t id, const char *name, struct cb_err *err)
{
    struct machine *of = NULL;
    const char *ignored;
    int r = begin(dictionary, machine, start_id, &of, err);

    return r < 0 ? r : set_name(of, id, name, &ignored, err);
}

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

static int reserve(struct cb_dictionary *dictionary, size_t n, struct cb_err *err)
{
    const char **names;

    if (n <= dictionary->room)
        return 0;
    names = realloc(dictionary->frame, 2 * n * sizeof(char *));
    if (!names)
        return out_of_memory(err);
    dictionary->frame = names;
    dictionary->room = 2 * n;
    return 0;
}

int cb_dictionary_names(struct cb_dictionary *dictionary, const struct cb_frame *frame,
                        const char *const **ret_names, struct cb_err *err)
{
    struct machine *machine = NULL;
    int r = begin(dictionary, frame->sensor, frame->start_id, &machine, err);

    if (r == 0)
        r = reserve(dictionary, frame->n_targets, err);
    for (size_t i = 0; i < frame->n_targets && r == 0; i++)
        r = name_target(machine, &frame->targets[i], &dictionary->frame[i], err);
    if (r == 0)
        *ret_names = dictionary->frame;
    return r;
}
