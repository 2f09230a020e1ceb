/* SPDX-License-Identifier: Apache-2.0 */
/* powerapi.c - see powerapi.h. */
#include "formula/powerapi.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "formula/ingest.h"
#include "formula/known.h"
#include "formula/map.h"
#include "lib/err.h"
#include "lib/fnv.h"
#include "lib/log.h"

#define MAX_WAITING 4000000 /* counts, of all sensors together */
#define WRONG_CLOCK_MS 60000
#define LOG_EVERY_NS (30 * CB_NS_PER_S)

struct sensor {
    char name[CB_NAME_SIZE];
    char boot_id[CB_BOOT_ID_SIZE];
    char start_id[CB_START_ID_SIZE];
    enum cb_powerapi_input input; /* CB_POWERAPI_NONE: not heard by this process */
    int64_t stored_ms;            /* of the last tick that an earlier process stored; -1: none */
    int64_t last_ms;              /* of the last tick that is stored or in the inbox; -1: none */
    uint64_t seq;
    uint32_t told_id; /* targets up to this id have told their text */
    struct cb_hwpc_join *join;
};

struct cb_powerapi {
    pthread_mutex_t lock;
    struct cb_powerapi_options o;
    struct cb_powerapi_counts counts; /* `join`: of joins that are gone */
    struct cb_frame_encoder *encoder;
    bool stopped;   /* a frame found no room and nobody waits: nothing may follow it */
    size_t waiting; /* counts in all joins */
    size_t n_sensors, room;
    struct sensor **sensors;
    struct cb_map index; /* hash of the name to the place in `sensors` */
    struct cb_log_limit bad_log, refused_log, late_log, frame_log;
};

static const char *const input_names[CB_POWERAPI_INPUTS] = {"PowerAPI input", "PowerAPI socket",
                                                            "PowerAPI MongoDB", "PowerAPI CSV"};

/* --- sensors --- */

/* The boot that begins at @begin_ms; the first of all at 0. */
static void begin_boot(struct sensor *sensor, int64_t begin_ms)
{
    uint64_t h = cb_fnv_text(CB_FNV_BEGIN, sensor->name);

    (void)snprintf(sensor->boot_id, sizeof(sensor->boot_id),
                   CB_INGEST_LOCAL_BOOT "%04x-8%03x-8%03x-%012" PRIx64, (unsigned)(h & 0xffff),
                   (unsigned)(h >> 16 & 0xfff), (unsigned)(h >> 28 & 0xfff),
                   (uint64_t)begin_ms & UINT64_C(0xffffffffffff));
}

static int begin_start(struct sensor *sensor, struct cb_err *err)
{
    uint64_t random[2];

    if (getrandom(random, sizeof(random), 0) != sizeof(random))
        return cb_err_set(err, errno, "cannot get random bytes");
    (void)snprintf(sensor->start_id, sizeof(sensor->start_id), "%016" PRIx64 "%016" PRIx64,
                   random[0], random[1]);
    sensor->seq = 0;
    sensor->told_id = 0;
    return 0;
}

static struct sensor *find_sensor(const struct cb_powerapi *powerapi, const char *name,
                                  uint64_t *ret_key)
{
    uint64_t key = cb_fnv_text(CB_FNV_BEGIN, name), index;

    for (; cb_map_get(&powerapi->index, key, &index); key++) {
        if (strcmp(powerapi->sensors[index]->name, name) == 0)
            return powerapi->sensors[index];
    }
    *ret_key = key;
    return NULL;
}

static int add_sensor(struct cb_powerapi *powerapi, const char *name, uint64_t key,
                      struct sensor **ret_sensor, struct cb_err *err)
{
    struct sensor *sensor = calloc(1, sizeof(*sensor));
    int r = sensor ? 0 : -ENOMEM;

    if (r == 0 && powerapi->n_sensors == powerapi->room) {
        size_t room = powerapi->room ? powerapi->room * 2 : 16;
        struct sensor **sensors = realloc(powerapi->sensors, room * sizeof(struct sensor *));

        if (sensors) {
            powerapi->sensors = sensors;
            powerapi->room = room;
        }
        r = sensors ? 0 : -ENOMEM;
    }
    if (r == 0)
        r = cb_map_put(&powerapi->index, key, powerapi->n_sensors);
    if (r < 0) {
        free(sensor);
        return cb_err_set(err, ENOMEM, "out of memory for a sensor");
    }
    (void)snprintf(sensor->name, sizeof(sensor->name), "%s", name);
    sensor->stored_ms = sensor->last_ms = -1;
    begin_boot(sensor, 0);
    powerapi->sensors[powerapi->n_sensors++] = sensor;
    *ret_sensor = sensor;
    return 0;
}

struct loader {
    struct cb_powerapi *powerapi;
    struct cb_err *err;
};

/* Where the store stands with this machine. After a boot of our own sensor under the same name only
 * what is younger is news. */
static int load_sensor(void *context, const struct cb_store_machine *row)
{
    struct loader *loader = context;
    bool local = strncmp(row->boot_id, CB_INGEST_LOCAL_BOOT, strlen(CB_INGEST_LOCAL_BOOT)) == 0;
    struct sensor *sensor;
    uint64_t key;
    int r;

    if (!row->boot_id[0] || find_sensor(loader->powerapi, row->name, &key))
        return 0;
    r = add_sensor(loader->powerapi, row->name, key, &sensor, loader->err);
    if (r < 0)
        return r;
    sensor->stored_ms = (int64_t)((local ? row->last_t1_ns : row->last_wall_ns) / 1000000);
    sensor->last_ms = sensor->stored_ms;
    if (local)
        memcpy(sensor->boot_id, row->boot_id, sizeof(sensor->boot_id));
    else
        begin_boot(sensor, sensor->last_ms);
    return 0;
}

int cb_powerapi_new(const struct cb_powerapi_options *options, struct cb_store *store,
                    struct cb_powerapi **ret_powerapi, struct cb_err *err)
{
    struct cb_powerapi *powerapi = calloc(1, sizeof(*powerapi));
    struct loader loader = {powerapi, err};
    int r;

    if (!powerapi)
        return cb_err_set(err, ENOMEM, "out of memory");
    (void)pthread_mutex_init(&powerapi->lock, NULL);
    powerapi->o = *options;
    powerapi->o.join.strict = true;
    powerapi->encoder = cb_frame_encoder_new();
    r = powerapi->encoder ? cb_store_machines(store, load_sensor, &loader, err)
                          : cb_err_set(err, ENOMEM, "out of memory");
    if (r < 0) {
        powerapi = cb_powerapi_free(powerapi);
        return r;
    }
    *ret_powerapi = powerapi;
    return 0;
}

struct cb_powerapi *cb_powerapi_free(struct cb_powerapi *powerapi)
{
    if (!powerapi)
        return NULL;
    for (size_t i = 0; i < powerapi->n_sensors; i++) {
        (void)cb_hwpc_join_free(powerapi->sensors[i]->join);
        free(powerapi->sensors[i]);
    }
    free(powerapi->sensors);
    cb_map_clear(&powerapi->index);
    powerapi->encoder = cb_frame_encoder_free(powerapi->encoder);
    (void)pthread_mutex_destroy(&powerapi->lock);
    free(powerapi);
    return NULL;
}

/* --- frames --- */

static void add_counts(struct cb_hwpc_join_counts *to, const struct cb_hwpc_join_counts *from)
{
    to->duplicates += from->duplicates;
    to->late += from->late;
    to->too_many += from->too_many;
    to->no_all += from->no_all;
}

/* A target tells its text once; ids rise in the order of their first appearance. */
static void tell_texts(const struct sensor *sensor, const struct cb_frame *frame,
                       uint32_t *ret_told_id)
{
    uint32_t told_id = sensor->told_id;

    for (size_t i = 0; i < frame->n_targets; i++) {
        struct cb_frame_target *target = &frame->targets[i];

        if (target->id <= sensor->told_id)
            target->flags &= (uint8_t)~CB_TARGET_TEXT;
        else if (target->id > told_id)
            told_id = target->id;
    }
    *ret_told_id = told_id;
}

static int put_frame(struct cb_powerapi *powerapi, struct sensor *sensor,
                     const struct cb_frame *joined, struct cb_err *err)
{
    struct cb_frame frame = *joined;
    struct cb_err why = {0};
    const uint8_t *bytes;
    uint32_t told_id;
    size_t size;
    int r;

    frame.boot_id = sensor->boot_id;
    frame.start_id = sensor->start_id;
    frame.seq = sensor->seq + 1;
    tell_texts(sensor, &frame, &told_id);
    r = cb_frame_encode(powerapi->encoder, &frame, &bytes, &size, &why);
    if (r == -ENOMEM)
        return cb_err_set(err, ENOMEM, "%s", why.text);
    if (r < 0) { /* names that no frame may have: this tick is lost, and said */
        powerapi->counts.refused++;
        cb_log_limited(&powerapi->frame_log, LOG_EVERY_NS, CB_LOG_WARN,
                       "machine %s: a tick is not stored: %s", sensor->name, why.text);
        return 0;
    }
    r = powerapi->stopped
            ? cb_err_set(err, ECANCELED, "the server stops")
            : cb_inbox_put(powerapi->o.inbox, frame.start_id, frame.seq, bytes, size, err);
    if (r < 0) {
        powerapi->stopped = true;
        return r;
    }
    sensor->seq++;
    sensor->told_id = told_id;
    sensor->last_ms = (int64_t)(frame.wall_ns / 1000000);
    powerapi->counts.frames++;
    return 0;
}

/* Up to @limit ticks that are due, or, with @flush, whatever waits. */
static int give_sensor(struct cb_powerapi *powerapi, struct sensor *sensor, bool flush,
                       size_t limit, struct cb_err *err)
{
    const struct cb_frame *frame = NULL;
    size_t before = cb_hwpc_join_waiting(sensor->join);
    int r = 0;

    for (size_t i = 0; i < limit && r == 0; i++) {
        r = cb_hwpc_join_next(sensor->join, flush, &frame, err);
        if (r < 0 || !frame)
            break;
        r = put_frame(powerapi, sensor, frame, err);
    }
    powerapi->waiting -= before - cb_hwpc_join_waiting(sensor->join);
    return r;
}

/* --- reports --- */

static int begin_sensor(struct cb_powerapi *powerapi, struct sensor *sensor,
                        enum cb_powerapi_input input, struct cb_err *err)
{
    int r = cb_hwpc_join_new(&powerapi->o.join, &sensor->join, err);

    if (r == 0)
        r = begin_start(sensor, err);
    if (r < 0) {
        sensor->join = cb_hwpc_join_free(sensor->join);
        return r;
    }
    sensor->input = input;
    cb_log_info("machine %s: reports come from its sensor of PowerAPI (%s)", sensor->name,
                input_names[input]);
    return 0;
}

/* What is stored lies in the future, and what comes does not: that clock was wrong. */
static int set_clock_back(struct cb_powerapi *powerapi, struct sensor *sensor, int64_t report_ms,
                          uint64_t wall_ns, struct cb_err *err)
{
    int64_t limit_ms = (int64_t)(wall_ns / 1000000) + WRONG_CLOCK_MS;
    int r;

    if (sensor->last_ms <= limit_ms || report_ms > limit_ms)
        return 0;
    r = give_sensor(powerapi, sensor, true, SIZE_MAX, err);
    if (r < 0)
        return r;
    cb_log_warn("machine %s: its clock was set back by %" PRId64 " s", sensor->name,
                (sensor->last_ms - report_ms) / 1000);
    add_counts(&powerapi->counts.join, cb_hwpc_join_counted(sensor->join));
    sensor->join = cb_hwpc_join_free(sensor->join);
    sensor->stored_ms = sensor->last_ms = -1;
    begin_boot(sensor, report_ms);
    return begin_sensor(powerapi, sensor, sensor->input, err);
}

static int refuse(struct cb_powerapi *powerapi, const struct cb_hwpc_report *report,
                  const char *text)
{
    powerapi->counts.refused++;
    cb_log_limited(&powerapi->refused_log, LOG_EVERY_NS, CB_LOG_WARN,
                   "PowerAPI sensor '%.100s': %s, dropped", report->sensor, text);
    return 0;
}

/* *@ret_sensor stays NULL when the report is not wanted. */
static int sensor_of(struct cb_powerapi *powerapi, enum cb_powerapi_input input,
                     const struct cb_hwpc_report *report, uint64_t wall_ns,
                     struct sensor **ret_sensor, struct cb_err *err)
{
    struct sensor *sensor;
    uint64_t key;
    int r = 0;

    if (!cb_known_is_name(report->sensor)) {
        powerapi->counts.bad++;
        cb_log_limited(&powerapi->bad_log, LOG_EVERY_NS, CB_LOG_WARN,
                       "%s: '%.60s' is no name for a sensor: printable, without blanks",
                       input_names[input], report->sensor);
        return 0;
    }
    if (strlen(report->target) > CB_FRAME_MAX_TEXT)
        return refuse(powerapi, report, "the name of a target is too long");
    sensor = find_sensor(powerapi, report->sensor, &key);
    if (!sensor && powerapi->n_sensors >= CB_STORE_MAX_MACHINES)
        return refuse(powerapi, report, "there are too many sensors");
    if (!sensor)
        r = add_sensor(powerapi, report->sensor, key, &sensor, err);
    if (r == 0 && !sensor->join)
        r = begin_sensor(powerapi, sensor, input, err);
    if (r == 0 && sensor->input != input)
        return refuse(powerapi, report, "it speaks through another input, too");
    if (r == 0)
        r = set_clock_back(powerapi, sensor, report->timestamp_ms, wall_ns, err);
    if (r == 0)
        *ret_sensor = sensor;
    return r;
}

static int take(struct cb_powerapi *powerapi, struct sensor *sensor, struct cb_hwpc_report *report,
                uint64_t now_ns, struct cb_err *err)
{
    const struct cb_hwpc_join_counts *counts = cb_hwpc_join_counted(sensor->join);
    uint64_t late = counts->late, duplicates = counts->duplicates;
    size_t before = cb_hwpc_join_waiting(sensor->join);
    int r;

    powerapi->counts.reports++;
    cb_hwpc_join_clock(sensor->join, now_ns);
    r = cb_hwpc_join_add(sensor->join, report, err);
    cb_hwpc_join_clock(sensor->join,
                       0); /* what the same reading still has may belong to its tick */
    if (r < 0)
        return r;
    powerapi->waiting += cb_hwpc_join_waiting(sensor->join) - before;
    if (counts->late > late || counts->duplicates > duplicates)
        cb_log_limited(&powerapi->late_log, LOG_EVERY_NS, CB_LOG_WARN, "machine %s: %s, dropped",
                       sensor->name,
                       counts->late > late ? "a report came after its tick was done"
                                           : "a report came twice for its tick and target");
    r = give_sensor(powerapi, sensor, false, SIZE_MAX, err);
    if (r == 0 && powerapi->waiting > MAX_WAITING)
        r = give_sensor(powerapi, sensor, true, 1, err);
    return r;
}

int cb_powerapi_add(struct cb_powerapi *powerapi, enum cb_powerapi_input input,
                    struct cb_hwpc_report *report, uint64_t now_ns, uint64_t wall_ns,
                    struct cb_err *err)
{
    struct sensor *sensor = NULL;
    int r;

    (void)pthread_mutex_lock(&powerapi->lock);
    r = sensor_of(powerapi, input, report, wall_ns, &sensor, err);
    if (r == 0 && sensor && report->timestamp_ms <= sensor->stored_ms)
        powerapi->counts.stored++;
    else if (r == 0 && sensor)
        r = take(powerapi, sensor, cb_take(report), now_ns, err);
    (void)pthread_mutex_unlock(&powerapi->lock);
    report = cb_hwpc_report_free(report);
    return r;
}

int cb_powerapi_give(struct cb_powerapi *powerapi, enum cb_powerapi_input input, uint64_t now_ns,
                     struct cb_err *err)
{
    int r = 0;

    (void)pthread_mutex_lock(&powerapi->lock);
    for (size_t i = 0; i < powerapi->n_sensors && r == 0; i++) {
        struct sensor *sensor = powerapi->sensors[i];

        if (!sensor->join || sensor->input != input || cb_hwpc_join_waiting(sensor->join) == 0)
            continue;
        cb_hwpc_join_clock(sensor->join, now_ns);
        r = give_sensor(powerapi, sensor, false, SIZE_MAX, err);
        cb_hwpc_join_clock(sensor->join, 0);
    }
    (void)pthread_mutex_unlock(&powerapi->lock);
    return r;
}

int cb_powerapi_flush(struct cb_powerapi *powerapi, enum cb_powerapi_input input,
                      struct cb_err *err)
{
    int r = 0;

    (void)pthread_mutex_lock(&powerapi->lock);
    for (size_t i = 0; i < powerapi->n_sensors && r == 0; i++) {
        if (powerapi->sensors[i]->join && powerapi->sensors[i]->input == input)
            r = give_sensor(powerapi, powerapi->sensors[i], true, SIZE_MAX, err);
    }
    (void)pthread_mutex_unlock(&powerapi->lock);
    return r;
}

void cb_powerapi_bad(struct cb_powerapi *powerapi, enum cb_powerapi_input input, uint64_t n,
                     const char *where, const char *text)
{
    (void)pthread_mutex_lock(&powerapi->lock);
    powerapi->counts.bad += n;
    cb_log_limited(&powerapi->bad_log, LOG_EVERY_NS, CB_LOG_WARN, "%s %.100s: %.200s, skipped",
                   input_names[input], where, text);
    (void)pthread_mutex_unlock(&powerapi->lock);
}

void cb_powerapi_walk(struct cb_powerapi *powerapi, cb_powerapi_each *each, void *context)
{
    (void)pthread_mutex_lock(&powerapi->lock);
    for (size_t i = 0; i < powerapi->n_sensors; i++)
        each(context, powerapi->sensors[i]->name, powerapi->sensors[i]->input,
             powerapi->sensors[i]->last_ms);
    (void)pthread_mutex_unlock(&powerapi->lock);
}

void cb_powerapi_counted(struct cb_powerapi *powerapi, struct cb_powerapi_counts *ret_counts)
{
    (void)pthread_mutex_lock(&powerapi->lock);
    *ret_counts = powerapi->counts;
    for (size_t i = 0; i < powerapi->n_sensors; i++) {
        if (powerapi->sensors[i]->join)
            add_counts(&ret_counts->join, cb_hwpc_join_counted(powerapi->sensors[i]->join));
    }
    (void)pthread_mutex_unlock(&powerapi->lock);
}
