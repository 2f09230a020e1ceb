/* SPDX-License-Identifier: Apache-2.0 */
/* ingest_machine.c - what ingest keeps of a machine: engine, sensor starts, key. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formula/ingest_private.h"
#include "lib/err.h"

void cb_ingest_machine_free(struct machine *machine)
{
    if (!machine)
        return;
    for (size_t i = 0; i < machine->n_starts; i++)
        free(machine->starts[i].seen);
    machine->engine = cb_engine_free(machine->engine);
    free(machine);
}

static int append(struct cb_ingest *ingest, struct machine *machine, struct cb_err *err)
{
    if (ingest->n_machines == ingest->machine_capacity) {
        size_t larger = ingest->machine_capacity ? 2 * ingest->machine_capacity : 16;
        struct machine **moved = realloc(ingest->machines, larger * sizeof(struct machine *));

        if (!moved)
            return cb_err_set(err, ENOMEM, "out of memory");
        ingest->machines = moved;
        ingest->machine_capacity = larger;
    }
    ingest->machines[ingest->n_machines++] = machine;
    return 0;
}

int cb_ingest_machine(struct cb_ingest *ingest, const char *name, struct machine **ret_machine,
                      struct cb_err *err)
{
    struct cb_store_machine row;
    struct machine *machine;
    int r;

    for (size_t i = 0; i < ingest->n_machines; i++)
        if (strcmp(ingest->machines[i]->name, name) == 0) {
            *ret_machine = ingest->machines[i];
            return 0;
        }
    r = cb_store_machine(ingest->o.store, name, &row, err);
    if (r < 0)
        return r;
    machine = calloc(1, sizeof(*machine));
    if (!machine)
        return cb_err_set(err, ENOMEM, "out of memory");
    machine->id = row.id;
    memcpy(machine->name, row.name, sizeof(machine->name));
    memcpy(machine->key, row.key, sizeof(machine->key));
    machine->heard_wall_ns[strncmp(row.boot_id, CB_INGEST_LOCAL_BOOT,
                                   strlen(CB_INGEST_LOCAL_BOOT)) == 0] = row.heard_wall_ns;
    r = append(ingest, machine, err);
    if (r < 0)
        cb_ingest_machine_free(machine);
    else
        *ret_machine = machine;
    return r;
}

/* A snapshot this program cannot use is no reason to stop: the model starts anew. */
static int restore(struct cb_ingest *ingest, struct machine *machine, struct cb_engine *engine,
                   struct cb_err *err)
{
    cb_auto_free uint8_t *bytes = NULL;
    struct cb_err why = {0};
    size_t size = 0;
    int r = cb_store_snapshot(ingest->o.store, machine->id, &bytes, &size, err);

    if (r < 0)
        return r == -ENOENT ? 0 : r;
    r = cb_engine_restore(engine, bytes, size, &why);
    if (r < 0)
        cb_log_warn("machine %s: the stored model is not used (%s); it learns anew", machine->name,
                    why.text);
    return 0;
}

int cb_ingest_engine(struct cb_ingest *ingest, struct machine *machine, struct cb_err *err)
{
    struct cb_engine_options options = {.model = ingest->o.model};
    struct cb_engine *engine = NULL;
    int r;

    if (machine->engine)
        return 0;
    r = cb_engine_new(&options, &engine, err);
    if (r == 0)
        r = restore(ingest, machine, engine, err);
    if (r < 0)
        engine = cb_engine_free(engine);
    machine->engine = engine;
    machine->recorded = 0;
    return r;
}

/* A free place, or that of the start that was not used for the longest time. */
static struct start *place(struct machine *machine)
{
    struct start *oldest = &machine->starts[0];

    if (machine->n_starts < STARTS_KEPT)
        return &machine->starts[machine->n_starts++];
    for (size_t i = 1; i < STARTS_KEPT; i++)
        if (machine->starts[i].used < oldest->used)
            oldest = &machine->starts[i];
    free(oldest->seen);
    return oldest;
}

int cb_ingest_start(struct cb_ingest *ingest, struct machine *machine, const char *boot_id,
                    const char *start_id, uint64_t now_wall_ns, struct start **ret_start,
                    struct cb_err *err)
{
    struct cb_store_start row;
    struct start *start;
    int r;

    for (size_t i = 0; i < machine->n_starts; i++) {
        start = &machine->starts[i];
        if (strcmp(start->start_id, start_id) == 0 && strcmp(start->boot_id, boot_id) == 0) {
            start->used = ++ingest->uses;
            *ret_start = start;
            return 0;
        }
    }
    r = cb_store_start(ingest->o.store, machine->id, boot_id, start_id, now_wall_ns, &row, err);
    if (r < 0)
        return r;
    start = place(machine);
    *start = (struct start){.row = row, .pending_seq = row.last_seq, .used = ++ingest->uses};
    (void)snprintf(start->start_id, sizeof(start->start_id), "%s", start_id);
    (void)snprintf(start->boot_id, sizeof(start->boot_id), "%s", boot_id);
    *ret_start = start;
    return 0;
}

int cb_ingest_check_kind(struct machine *machine, bool local, uint64_t now_wall_ns,
                         struct cb_err *err)
{
    uint64_t other_ns = machine->heard_wall_ns[!local];

    if (other_ns > 0 && now_wall_ns < other_ns + CB_INGEST_OTHER_NS)
        return cb_err_set(err, EACCES,
                          "the name '%.100s' belongs to a sensor of %s, heard less than 10 minutes "
                          "ago: give one of them another name",
                          machine->name, local ? "cbwatts" : "PowerAPI");
    machine->heard_wall_ns[local] = now_wall_ns;
    return 0;
}

int cb_ingest_check_name(const struct cb_ingest *ingest, const char *name, const char *key,
                         struct cb_err *err)
{
    const struct cb_known_entry *by_name;
    const struct cb_known_entry *by_key;

    if (!ingest->o.known)
        return 0;
    by_name = cb_known_by_name(ingest->o.known, name);
    if (by_name && strcmp(by_name->key, key) == 0)
        return 0;
    by_key = cb_known_by_key(ingest->o.known, key);
    return cb_err_set(
        err, EACCES,
        "this sensor says it is '%.50s', %sits key was added as '%.50s': start it with "
        "that --name, or 'cbformula keys revoke' the old entries, then 'cbformula keys "
        "add NAME KEY'",
        name, by_name ? "a name with another key; " : "", by_key ? by_key->name : "");
}

int cb_ingest_check_frame(const struct cb_ingest *ingest, const char *name, const char *key,
                          struct cb_err *err)
{
    struct cb_store_machine row;
    struct cb_err why = {0};
    int r = cb_ingest_check_name(ingest, name, key, err);

    if (r != -EACCES)
        return r;
    if (cb_known_by_name(ingest->o.known, name))
        return -EBADMSG;
    r = cb_store_find_machine(ingest->o.store, name, &row, &why);
    if (r == 0)
        return strcmp(row.key, key) == 0 ? 0 : -EBADMSG;
    if (r == -ENOENT)
        return -EBADMSG;
    return cb_err_set(err, -r, "%s", why.text);
}

int cb_ingest_bind_key(struct cb_ingest *ingest, struct machine *machine, const char *key,
                       struct cb_err *err)
{
    int r;

    if (!ingest->o.known || strcmp(machine->key, key) == 0)
        return 0;
    r = cb_store_bind_key(ingest->o.store, machine->id, key, err);
    if (r == 0)
        (void)snprintf(machine->key, sizeof(machine->key), "%s", key);
    return r;
}
