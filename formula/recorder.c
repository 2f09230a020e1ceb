/* SPDX-License-Identifier: Apache-2.0 */
/* recorder.c - see recorder.h. */
#include "formula/recorder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formula/recording.h"
#include "formula/store.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/log.h"

#define MAX_SEGMENT (64u << 20)
#define SEGMENT_NS (3600 * CB_NS_PER_S)
#define WRITE_NS (CB_NS_PER_S / 2)
#define RETRY_NS (10 * CB_NS_PER_S)
#define LOG_EVERY_NS (60 * CB_NS_PER_S)
#define SUFFIX ".cbrec"
#define PREFIX "cbwatts-"

struct cb_recorder {
    char directory[PATH_MAX - 64];
    uint64_t keep_bytes, segments, begun_ns, written_ns, retry_ns;
    struct cb_recording_writer *writer; /* NULL: the last try failed */
    struct cb_log_limit log;
};

static int begin(struct cb_recorder *recorder, uint64_t now_ns, uint64_t now_wall_ns,
                 struct cb_err *err)
{
    char utc[32], path[PATH_MAX];
    size_t n = 0;
    int r = 0;

    cb_clock_format_utc(now_wall_ns, utc);
    for (size_t i = 0; utc[i]; i++) /* 20261122T144923.123Z: sorts by time, no colon */
        if (utc[i] != ':' && utc[i] != '-')
            utc[n++] = utc[i];
    utc[n] = '\0';
    recorder->begun_ns = recorder->written_ns = now_ns;
    for (unsigned i = 0; i < 1000; i++) {
        (void)snprintf(path, sizeof(path), "%s/" PREFIX "%s-%u" SUFFIX, recorder->directory, utc,
                       i);
        r = cb_recording_create(path, &recorder->writer, err);
        if (r != -EEXIST)
            break;
    }
    if (r == 0)
        recorder->segments++;
    return r;
}

static int is_recording(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);

    return strncmp(entry->d_name, PREFIX, strlen(PREFIX)) == 0 && n > strlen(SUFFIX) &&
           strcmp(entry->d_name + n - strlen(SUFFIX), SUFFIX) == 0;
}

/* The oldest files go until the rest is within what is kept; the newest stays. */
static void drop_old(const struct cb_recorder *recorder)
{
    struct dirent **names = NULL;
    int n = scandir(recorder->directory, &names, is_recording, alphasort);
    uint64_t sum = 0;

    for (int i = n - 1; i >= 0; i--) {
        char path[PATH_MAX];
        struct stat status;

        if ((size_t)snprintf(path, sizeof(path), "%s/%s", recorder->directory, names[i]->d_name) <
                sizeof(path) &&
            stat(path, &status) == 0) {
            sum += (uint64_t)status.st_size;
            if (i < n - 1 && sum > recorder->keep_bytes)
                (void)unlink(path);
        }
        free(names[i]);
    }
    free(names);
}

int cb_recorder_open(const char *directory, uint64_t keep_bytes, struct cb_recorder **ret_recorder,
                     struct cb_err *err)
{
    struct cb_recorder *recorder = calloc(1, sizeof(*recorder));
    int r = 0;

    if (!recorder)
        return cb_err_set(err, ENOMEM, "out of memory");
    recorder->keep_bytes = keep_bytes;
    if ((size_t)snprintf(recorder->directory, sizeof(recorder->directory), "%s", directory) >=
        sizeof(recorder->directory))
        r = cb_err_set(err, ENAMETOOLONG, "--record '%.60s...': the name is too long", directory);
    else if (mkdir(directory, 0700) < 0 && errno != EEXIST)
        r = cb_err_set(err, errno, "--record '%.200s': %s", directory, strerror(errno));
    if (r == 0)
        r = begin(recorder, cb_clock_boot_ns(), cb_clock_wall_ns(), err);
    if (r < 0) {
        free(recorder);
        return r;
    }
    *ret_recorder = recorder;
    return 0;
}

/* What cannot be written ends the file; the next try is a new one. */
static void end(struct cb_recorder *recorder, int r, const struct cb_err *err)
{
    struct cb_err closing = {0};
    int closed = cb_recording_close(cb_take(recorder->writer), &closing);

    if (r < 0 || closed < 0)
        cb_log_limited(&recorder->log, LOG_EVERY_NS, CB_LOG_ERR,
                       "recording: %s; frames are stored, but not recorded for 10 s",
                       r < 0 ? err->text : closing.text);
}

struct cb_recorder *cb_recorder_close(struct cb_recorder *recorder)
{
    if (recorder) {
        end(recorder, 0, NULL);
        drop_old(recorder);
        free(recorder);
    }
    return NULL;
}

uint64_t cb_recorder_segment(const struct cb_recorder *recorder)
{
    return recorder->writer ? recorder->segments : 0;
}

/* --- frames --- */

static const char *text_of(const struct cb_store_target *target)
{
    if (target->name[0])
        return target->name;
    return target->container_id[0] ? target->container_id : target->cgroup;
}

/* The names of the targets that this frame does not tell itself. */
static int put_names(struct cb_recorder *recorder, struct cb_store *store, const char *machine,
                     int64_t start, const struct cb_frame *frame, struct cb_err *err)
{
    int r = 0;

    for (size_t i = 0; i < frame->n_targets && r == 0; i++) {
        struct cb_store_target target;

        if (frame->targets[i].flags & CB_TARGET_TEXT)
            continue;
        r = cb_store_target(store, start, frame->targets[i].id, &target, err);
        if (r == 0 && target.known)
            r = cb_recording_target(recorder->writer, machine, frame->start_id,
                                    frame->targets[i].id, text_of(&target), err);
        else if (r == -ENOENT)
            r = 0;
    }
    return r;
}

static int put_state(struct cb_recorder *recorder, struct cb_store *store, const char *machine,
                     int64_t start, const uint8_t *snapshot, size_t snapshot_size,
                     const uint8_t *bytes, size_t size, struct cb_err *err)
{
    struct cb_frame frame;
    int r = cb_recording_snapshot(recorder->writer, machine, snapshot, snapshot_size, err);

    if (r == 0)
        r = cb_frame_decode(bytes, size, &frame, err);
    if (r < 0)
        return r;
    r = put_names(recorder, store, machine, start, &frame, err);
    cb_frame_clear(&frame);
    return r;
}

void cb_recorder_put(struct cb_recorder *recorder, struct cb_store *store, const char *machine,
                     int64_t start, const uint8_t *snapshot, size_t snapshot_size,
                     const uint8_t *frame, size_t frame_size)
{
    struct cb_err err = {0};
    int r = 0;

    if (!recorder->writer)
        return;
    if (snapshot)
        r = put_state(recorder, store, machine, start, snapshot, snapshot_size, frame, frame_size,
                      &err);
    if (r == 0)
        r = cb_recording_frame(recorder->writer, frame, frame_size, &err);
    if (r < 0) {
        end(recorder, r, &err);
        recorder->retry_ns = cb_clock_boot_ns() + RETRY_NS;
    }
}

static bool is_full(const struct cb_recorder *recorder, uint64_t now_ns)
{
    uint64_t most = recorder->keep_bytes / 8 < MAX_SEGMENT ? recorder->keep_bytes / 8 : MAX_SEGMENT;

    return cb_recording_size(recorder->writer) >= most || now_ns - recorder->begun_ns >= SEGMENT_NS;
}

void cb_recorder_settle(struct cb_recorder *recorder, uint64_t now_ns, uint64_t now_wall_ns)
{
    struct cb_err err = {0};
    int r = 0;

    if (recorder->writer && now_ns - recorder->written_ns >= WRITE_NS) {
        r = cb_recording_write(recorder->writer, &err);
        recorder->written_ns = now_ns;
    }
    if (recorder->writer && (r < 0 || is_full(recorder, now_ns))) {
        end(recorder, r, &err);
        recorder->retry_ns = r < 0 ? now_ns + RETRY_NS : 0;
    }
    if (!recorder->writer && now_ns >= recorder->retry_ns) {
        drop_old(recorder);
        if (begin(recorder, now_ns, now_wall_ns, &err) < 0) {
            recorder->retry_ns = now_ns + RETRY_NS;
            cb_log_limited(&recorder->log, LOG_EVERY_NS, CB_LOG_ERR,
                           "recording: %s; trying again every 10 s", err.text);
        }
    }
}
