/* SPDX-License-Identifier: Apache-2.0 */
/*
 * judge.c - is every frame that was spooled in the store exactly once, with its joules?
 *
 * usage: judge DATABASE DIR [NAME...]
 * DIR holds for each sensor NAME.ledger, what it has read (sensor/synthetic.h), and NAME.spooled,
 * what its spool held whenever it was killed (list_spool). The sensors NAME had a spool on a disk
 * that was full from time to time: what is kept in memory then ends with the process.
 *
 * Rules
 *  - Every stored frame is in a ledger, is there once, and its interval, its energy and the sum of
 *    its parts are the ledger's, to the microjoule.
 *  - Every frame that was in a spool when its sensor was killed, or that the sensor knew to be
 *    spooled, is stored.
 *  - What is missing was read in the last moment before a kill: it is the end of its start.
 * Output: "machine NAME frames N uj N gap_ms N" each (the time between its frames that none
 * covers), then the sums; what is wrong on stderr. 1: something is.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "formula/result.h"
#include "lib/err.h"

#define MAX_STARTS 100000

struct entry {
    uint64_t t0_ns, t1_ns, uj;
    bool stored, spooled;
};

struct start {
    char id[CB_START_ID_SIZE];
    size_t sensor;
    uint64_t spooled; /* so many were known to be */
    uint64_t highest; /* stored */
    size_t n, capacity;
    struct entry *entries; /* [seq - 1] */
};

struct sensor {
    char name[CB_NAME_SIZE];
    bool small_disk;
    uint64_t stored, stored_uj;
    uint64_t first_t0_ns, last_t1_ns, covered_ns;
};

struct judge {
    size_t n_sensors, n_starts;
    struct sensor sensors[1000];
    struct start *starts;
    uint64_t read, read_uj, stored, stored_uj, scanned, missing, missing_uj, memory, memory_uj;
    uint64_t wrong;
};

#define WRONG(judge, ...)                                                                          \
    do {                                                                                           \
        if ((judge)->wrong++ < 20) {                                                               \
            (void)fprintf(stderr, "judge: " __VA_ARGS__);                                          \
            (void)fputc('\n', stderr);                                                             \
        }                                                                                          \
    } while (0)

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct start *)a)->id, ((const struct start *)b)->id);
}

static struct start *find(struct judge *judge, const char *id)
{
    struct start key;

    (void)snprintf(key.id, sizeof(key.id), "%s", id);
    return bsearch(&key, judge->starts, judge->n_starts, sizeof(key), by_id);
}

static struct entry *entry_at(struct start *start, uint64_t seq)
{
    return start && seq > 0 && seq <= start->n ? &start->entries[seq - 1] : NULL;
}

/* ---- ledgers ---- */

static void add_entry(struct judge *judge, size_t sensor, const char *id, uint64_t seq,
                      uint64_t spooled, const struct entry *entry)
{
    struct start *start = judge->n_starts ? &judge->starts[judge->n_starts - 1] : NULL;

    if (!start || strcmp(start->id, id) != 0) {
        if (judge->n_starts == MAX_STARTS)
            abort();
        start = &judge->starts[judge->n_starts++];
        *start = (struct start){.sensor = sensor};
        (void)snprintf(start->id, sizeof(start->id), "%s", id);
    }
    if (start->n == start->capacity) {
        start->capacity = start->capacity ? 2 * start->capacity : 256;
        start->entries = realloc(start->entries, start->capacity * sizeof(*entry));
        if (!start->entries)
            abort();
    }
    if (seq != start->n + 1)
        WRONG(judge, "ledger of %s: seq %" PRIu64 " after %zu", id, seq, start->n);
    start->entries[start->n++] = *entry;
    start->spooled = spooled;
    judge->read++;
    judge->read_uj += entry->uj;
}

static void read_ledger(struct judge *judge, size_t sensor, FILE *file)
{
    struct entry entry = {0};
    uint64_t seq;
    uint64_t spooled;
    char id[CB_START_ID_SIZE];

    while (fscanf(file, "%32s %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %*[0-9]",
                  id, &seq, &entry.t0_ns, &entry.t1_ns, &spooled, &entry.uj) == 6)
        add_entry(judge, sensor, id, seq, spooled, &entry);
    if (!feof(file))
        WRONG(judge, "ledger of %s: a line that is none", judge->sensors[sensor].name);
}

static void read_spooled(struct judge *judge, FILE *file)
{
    char id[CB_START_ID_SIZE];
    uint64_t seq;

    while (fscanf(file, "%32s %" SCNu64, id, &seq) == 2) {
        struct entry *entry = entry_at(find(judge, id), seq);

        if (!entry)
            WRONG(judge, "%s %" PRIu64 " was in a spool and in no ledger", id, seq);
        else if (!entry->spooled)
            judge->scanned++;
        if (entry)
            entry->spooled = true;
    }
}

static FILE *open_in(const char *dir, const char *name, const char *suffix)
{
    char path[4096];

    (void)snprintf(path, sizeof(path), "%s/%s%s", dir, name, suffix);
    return fopen(path, "re");
}

static void read_all(struct judge *judge, const char *path, int n_small, char **small)
{
    DIR *dir = opendir(path);

    for (const struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir)) {
        const char *dot = strrchr(e->d_name, '.');
        struct sensor *sensor = &judge->sensors[judge->n_sensors];
        FILE *file;

        if (!dot || strcmp(dot, ".ledger") != 0 || judge->n_sensors == 1000)
            continue;
        (void)snprintf(sensor->name, sizeof(sensor->name), "%.*s", (int)(dot - e->d_name),
                       e->d_name);
        for (int i = 0; i < n_small; i++)
            sensor->small_disk = sensor->small_disk || strcmp(small[i], sensor->name) == 0;
        file = open_in(path, sensor->name, ".ledger");
        if (file) {
            read_ledger(judge, judge->n_sensors++, file);
            (void)fclose(file);
        }
    }
    if (dir)
        (void)closedir(dir);
    qsort(judge->starts, judge->n_starts, sizeof(*judge->starts), by_id);
    for (size_t i = 0; i < judge->n_sensors; i++) {
        FILE *file = open_in(path, judge->sensors[i].name, ".spooled");

        if (file) {
            read_spooled(judge, file);
            (void)fclose(file);
        }
    }
}

/* ---- the store ---- */

static uint64_t energy_of(struct judge *judge, const char *id, uint64_t seq,
                          const struct cb_result *result)
{
    uint64_t uj = 0;

    if (cb_result_violations(result) > 0)
        WRONG(judge, "%s %" PRIu64 ": its parts are not its energy", id, seq);
    for (size_t d = 0; d < result->n_domains; d++)
        uj += result->domains[d].energy_uj;
    return uj;
}

static void take_stored(struct judge *judge, const char *id, uint64_t seq, const char *machine,
                        const struct cb_result *result)
{
    struct start *start = find(judge, id);
    struct entry *entry = entry_at(start, seq);
    uint64_t uj = energy_of(judge, id, seq, result);
    struct sensor *sensor;

    judge->stored++;
    judge->stored_uj += uj;
    if (!entry) {
        WRONG(judge, "%s %" PRIu64 " is stored and in no ledger", id, seq);
        return;
    }
    sensor = &judge->sensors[start->sensor];
    sensor->stored++;
    sensor->stored_uj += uj;
    sensor->covered_ns += result->t1_ns - result->t0_ns;
    if (sensor->stored == 1 || result->t0_ns < sensor->first_t0_ns)
        sensor->first_t0_ns = result->t0_ns;
    if (result->t1_ns > sensor->last_t1_ns)
        sensor->last_t1_ns = result->t1_ns;
    start->highest = seq > start->highest ? seq : start->highest;
    if (strcmp(sensor->name, machine) != 0)
        WRONG(judge, "%s %" PRIu64 " of %s is stored for %s", id, seq, sensor->name, machine);
    if (entry->stored)
        WRONG(judge, "%s %" PRIu64 " is stored twice", id, seq);
    if (entry->t0_ns != result->t0_ns || entry->t1_ns != result->t1_ns || entry->uj != uj)
        WRONG(judge,
              "%s %" PRIu64 ": stored %" PRIu64 " uJ of %" PRIu64 " to %" PRIu64 ", read %" PRIu64
              " uJ of %" PRIu64 " to %" PRIu64,
              id, seq, uj, result->t0_ns, result->t1_ns, entry->uj, entry->t0_ns, entry->t1_ns);
    entry->stored = true;
}

static int read_store(struct judge *judge, const char *path)
{
    static const char sql[] = "SELECT starts.start_id, frames.seq, machines.name, frames.result "
                              "FROM frames JOIN starts ON starts.id = frames.start "
                              "JOIN machines ON machines.id = starts.machine";
    struct cb_result result = {0};
    struct cb_err err = {0};
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    int step = SQLITE_DONE;
    int r = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL);

    if (r == SQLITE_OK)
        r = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    while (r == SQLITE_OK && (step = sqlite3_step(stmt)) == SQLITE_ROW) {
        const char *id = (const char *)sqlite3_column_text(stmt, 0);
        uint64_t seq = (uint64_t)sqlite3_column_int64(stmt, 1);

        if (cb_result_unpack(sqlite3_column_blob(stmt, 3), (size_t)sqlite3_column_bytes(stmt, 3),
                             &result, &err) < 0)
            WRONG(judge, "%s %" PRIu64 ": %s", id, seq, err.text);
        else
            take_stored(judge, id, seq, (const char *)sqlite3_column_text(stmt, 2), &result);
    }
    if (r != SQLITE_OK || step != SQLITE_DONE)
        WRONG(judge, "%s: %s", path, sqlite3_errmsg(db));
    cb_result_clear(&result);
    (void)sqlite3_finalize(stmt);
    (void)sqlite3_close(db);
    return judge->wrong ? -EBADMSG : 0;
}

/* ---- what is missing ---- */

static void judge_missing(struct judge *judge, const struct start *start, uint64_t seq)
{
    const struct entry *entry = &start->entries[seq - 1];
    const struct sensor *sensor = &judge->sensors[start->sensor];

    if (entry->spooled)
        WRONG(judge, "%s: %s %" PRIu64 " was in the spool at a kill and is not stored",
              sensor->name, start->id, seq);
    else if (seq <= start->spooled)
        WRONG(judge, "%s: %s %" PRIu64 " was spooled and is not stored", sensor->name, start->id,
              seq);
    else if (sensor->small_disk) {
        judge->memory++;
        judge->memory_uj += entry->uj;
        return;
    } else if (seq < start->highest)
        WRONG(judge, "%s: %s %" PRIu64 " is a hole", sensor->name, start->id, seq);
    judge->missing++;
    judge->missing_uj += entry->uj;
}

static void report(const struct judge *judge)
{
    uint64_t gap_ns = 0;

    for (size_t i = 0; i < judge->n_sensors; i++) {
        const struct sensor *s = &judge->sensors[i];
        uint64_t ns = s->last_t1_ns - s->first_t0_ns - s->covered_ns;

        gap_ns += ns;
        (void)printf("machine %s frames %" PRIu64 " uj %" PRIu64 " gap_ms %.0f\n", s->name,
                     s->stored, s->stored_uj, (double)ns / 1e6);
    }
    (void)printf("sensors=%zu starts=%zu read_frames=%" PRIu64 " read_uj=%" PRIu64
                 " stored_frames=%" PRIu64 " stored_uj=%" PRIu64 "\n",
                 judge->n_sensors, judge->n_starts, judge->read, judge->read_uj, judge->stored,
                 judge->stored_uj);
    (void)printf("seen_in_spools=%" PRIu64 " cut_off_before_the_spool=%" PRIu64
                 " cut_off_uj=%" PRIu64 " ended_in_memory=%" PRIu64 " ended_in_memory_uj=%" PRIu64
                 " in_no_frame_s=%.1f wrong=%" PRIu64 "\n",
                 judge->scanned, judge->missing, judge->missing_uj, judge->memory, judge->memory_uj,
                 (double)gap_ns / 1e9, judge->wrong);
}

int main(int argc, char **argv)
{
    static struct judge judge;

    if (argc < 3) {
        (void)fprintf(stderr, "usage: judge DATABASE DIR [NAME...]\n");
        return 2;
    }
    judge.starts = calloc(MAX_STARTS, sizeof(*judge.starts));
    if (!judge.starts)
        return 2;
    read_all(&judge, argv[2], argc - 3, argv + 3);
    if (judge.read == 0)
        WRONG(&judge, "no ledger in %s", argv[2]);
    (void)read_store(&judge, argv[1]);
    for (size_t i = 0; i < judge.n_starts; i++)
        for (uint64_t seq = 1; seq <= judge.starts[i].n; seq++)
            if (!judge.starts[i].entries[seq - 1].stored)
                judge_missing(&judge, &judge.starts[i], seq);
    if (judge.stored_uj + judge.missing_uj + judge.memory_uj != judge.read_uj)
        WRONG(&judge, "the joules do not add up");
    report(&judge);
    for (size_t i = 0; i < judge.n_starts; i++)
        free(judge.starts[i].entries);
    free(judge.starts);
    return judge.wrong > 0;
}
