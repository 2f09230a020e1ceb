/* SPDX-License-Identifier: Apache-2.0 */
/* test_recording.c - frames in a file and back, through infile.c; and a replay of them. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

#include "formula/infile.h"
#include "formula/recorder.h"
#include "formula/recording.h"
#include "formula/replay.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "tests/support/synth.h"

struct scratch {
    char directory[64];
    char path[128];
};

static int setup(void **state)
{
    struct scratch *scratch = calloc(1, sizeof(*scratch));

    if (!scratch)
        return -1;
    (void)snprintf(scratch->directory, sizeof(scratch->directory), "/tmp/cbw-recording-XXXXXX");
    if (!mkdtemp(scratch->directory))
        return -1;
    (void)snprintf(scratch->path, sizeof(scratch->path), "%s/a.cbrec", scratch->directory);
    *state = scratch;
    return 0;
}

static int teardown(void **state)
{
    struct scratch *scratch = *state;

    (void)unlink(scratch->path);
    (void)rmdir(scratch->directory);
    free(scratch);
    return 0;
}

static struct cb_recording_reader *open_recording(const char *path, FILE **ret_file)
{
    struct cb_recording_reader *reader = NULL;

    assert_int_equal(cb_infile_open(path, ret_file, NULL), 0);
    assert_int_equal(cb_recording_open(*ret_file, path, &reader, NULL), 0);
    return reader;
}

static void what_is_recorded_is_read_again(void **state)
{
    const struct scratch *scratch = *state;
    struct cb_recording_writer *writer = NULL;
    struct cb_recording_reader *reader;
    struct cb_recording_record record;
    FILE *file = NULL;

    assert_int_equal(cb_recording_create(scratch->path, &writer, NULL), 0);
    assert_int_equal(cb_recording_snapshot(writer, "m", (const uint8_t *)"xyz", 3, NULL), 0);
    assert_int_equal(cb_recording_frame(writer, (const uint8_t *)"first", 5, NULL), 0);
    assert_int_equal(cb_recording_flush(writer, NULL), 0);
    assert_int_equal(cb_recording_frame(writer, (const uint8_t *)"second", 6, NULL), 0);
    assert_int_equal(cb_recording_close(writer, NULL), 0);
    assert_int_equal(cb_recording_create(scratch->path, &writer, NULL), -EEXIST);

    reader = open_recording(scratch->path, &file);
    assert_int_equal(cb_recording_next(reader, &record, NULL), 0);
    assert_int_equal(record.kind, CB_RECORDING_SNAPSHOT);
    assert_string_equal(record.machine, "m");
    assert_int_equal(record.size, 3);
    assert_memory_equal(record.bytes, "xyz", 3);
    assert_int_equal(cb_recording_next(reader, &record, NULL), 0);
    assert_int_equal(record.kind, CB_RECORDING_FRAME);
    assert_memory_equal(record.bytes, "first", 5);
    assert_int_equal(cb_recording_next(reader, &record, NULL), 0);
    assert_memory_equal(record.bytes, "second", 6);
    assert_int_equal(cb_recording_next(reader, &record, NULL), 0);
    assert_int_equal(record.kind, 0);
    reader = cb_recording_free(reader);
    (void)fclose(file);
}

static void recordings_one_behind_the_other_are_one_with_their_targets_names(void **state)
{
    const struct scratch *scratch = *state;
    struct cb_recording_writer *writer = NULL;
    struct cb_recording_reader *reader;
    struct cb_recording_record record;
    char bytes[4096];
    FILE *file = NULL;
    size_t n;

    assert_int_equal(cb_recording_create(scratch->path, &writer, NULL), 0);
    assert_int_equal(cb_recording_target(writer, "m", "ab12", 7, "web", NULL), 0);
    assert_int_equal(cb_recording_write(writer, NULL), 0);
    assert_true(cb_recording_size(writer) > 0);
    assert_int_equal(cb_recording_close(writer, NULL), 0);
    file = fopen(scratch->path, "r+");
    assert_non_null(file);
    n = fread(bytes, 1, sizeof(bytes), file);
    (void)fseek(file, 0, SEEK_END);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    (void)fclose(file);
    reader = open_recording(scratch->path, &file);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(cb_recording_next(reader, &record, NULL), 0);
        assert_int_equal(record.kind, CB_RECORDING_TARGET);
        assert_string_equal(record.machine, "m");
        assert_string_equal(record.start_id, "ab12");
        assert_int_equal(record.target, 7);
        assert_string_equal(record.name, "web");
    }
    assert_int_equal(cb_recording_next(reader, &record, NULL), 0);
    assert_int_equal(record.kind, 0);
    reader = cb_recording_free(reader);
    (void)fclose(file);
}

static unsigned count_recordings(const char *directory, bool drop)
{
    DIR *in = opendir(directory);
    const struct dirent *entry;
    unsigned n = 0;

    assert_non_null(in);
    while ((entry = readdir(in))) {
        if (strncmp(entry->d_name, "cbwatts-", 8) != 0)
            continue;
        n++;
        if (drop)
            assert_int_equal(unlinkat(dirfd(in), entry->d_name, 0), 0);
    }
    (void)closedir(in);
    return n;
}

static void a_recorder_begins_new_files_and_drops_the_oldest(void **state)
{
    const struct scratch *scratch = *state;
    const uint64_t hour_ns = 3600 * CB_NS_PER_S;
    struct cb_recorder *recorder = NULL;
    uint8_t noise[8192];
    uint64_t now_ns = cb_clock_boot_ns(), wall_ns = cb_clock_wall_ns();
    char directory[128];

    (void)snprintf(directory, sizeof(directory), "%s/kept", scratch->directory);
    assert_int_equal(cb_recorder_open(directory, 20000, &recorder, NULL), 0);
    assert_int_equal(cb_recorder_segment(recorder), 1);
    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (uint8_t)(i * i * 31 >> 3 ^ i * 7919 >> 5);
    for (unsigned i = 1; i <= 20; i++) {
        cb_recorder_put(recorder, NULL, "m", 1, NULL, 0, noise, sizeof(noise));
        cb_recorder_settle(recorder, now_ns + i * hour_ns, wall_ns + i * hour_ns);
        assert_int_equal(cb_recorder_segment(recorder), 1 + i);
    }
    recorder = cb_recorder_close(recorder);
    assert_in_range(count_recordings(directory, true), 2, 20);
    assert_int_equal(rmdir(directory), 0);
}

static void a_recording_that_is_cut_off_says_so_after_what_is_whole(void **state)
{
    const struct scratch *scratch = *state;
    struct cb_recording_writer *writer = NULL;
    struct cb_recording_reader *reader;
    struct cb_recording_record record;
    struct cb_err err = {0};
    FILE *file = NULL;
    off_t whole;

    assert_int_equal(cb_recording_create(scratch->path, &writer, NULL), 0);
    assert_int_equal(cb_recording_frame(writer, (const uint8_t *)"first", 5, NULL), 0);
    assert_int_equal(cb_recording_flush(writer, NULL), 0);
    file = fopen(scratch->path, "r");
    assert_non_null(file);
    (void)fseek(file, 0, SEEK_END);
    whole = ftell(file);
    (void)fclose(file);
    assert_int_equal(cb_recording_frame(writer, (const uint8_t *)"second", 6, NULL), 0);
    assert_int_equal(cb_recording_close(writer, NULL), 0);
    assert_int_equal(truncate(scratch->path, whole + 7), 0);

    reader = open_recording(scratch->path, &file);
    assert_int_equal(cb_recording_next(reader, &record, NULL), 0);
    assert_memory_equal(record.bytes, "first", 5);
    assert_int_equal(cb_recording_next(reader, &record, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "cut off"));
    reader = cb_recording_free(reader);
    (void)fclose(file);
}

static void another_file_is_no_recording(void **state)
{
    const struct scratch *scratch = *state;
    struct cb_recording_reader *reader = NULL;
    FILE *file = fopen(scratch->path, "w");

    assert_non_null(file);
    (void)fputs("{\"timestamp\":1}\n", file);
    (void)fclose(file);
    assert_int_equal(cb_infile_open(scratch->path, &file, NULL), 0);
    assert_int_equal(cb_recording_open(file, "f", &reader, NULL), -EBADMSG);
    (void)fclose(file);
}

static void gzip_members_one_behind_the_other_are_one_file(void **state)
{
    const struct scratch *scratch = *state;
    char text[16] = "";
    FILE *file = NULL;

    for (int i = 0; i < 2; i++) {
        gzFile out = gzopen(scratch->path, "ab");

        assert_non_null(out);
        assert_true(gzputs(out, i ? "two\n" : "one\n") > 0);
        assert_int_equal(gzclose(out), Z_OK);
    }
    assert_int_equal(cb_infile_open(scratch->path, &file, NULL), 0);
    assert_int_equal(fread(text, 1, sizeof(text), file), 8);
    assert_string_equal(text, "one\ntwo\n");
    assert_false(ferror(file));
    (void)fclose(file);
}

static void a_gzip_file_that_is_cut_off_is_an_error(void **state)
{
    const struct scratch *scratch = *state;
    gzFile out = gzopen(scratch->path, "wb");
    char text[16];
    FILE *file = NULL;

    assert_non_null(out);
    assert_true(gzputs(out, "one\n") > 0);
    assert_int_equal(gzclose(out), Z_OK);
    assert_int_equal(truncate(scratch->path, 15), 0);
    assert_int_equal(cb_infile_open(scratch->path, &file, NULL), 0);
    (void)fread(text, 1, sizeof(text), file);
    assert_true(ferror(file));
    (void)fclose(file);
    assert_int_equal(cb_infile_open("/nonexistent/file", &file, NULL), -ENOENT);
}

/* --- replay --- */

#define TICKS 60

struct expected {
    struct cb_engine *engine;
    struct synth synth;
    size_t n;
};

static int same_as_live(void *context, const struct cb_replay_tick *tick, struct cb_err *err)
{
    struct expected *expected = context;
    struct cb_result live = {0};
    uint8_t *a = NULL, *b = NULL;
    size_t size_a, size_b;

    (void)err;
    synth_tick(&expected->synth);
    assert_int_equal(cb_engine_frame(expected->engine, &expected->synth.frame, &live, NULL), 0);
    assert_int_equal(cb_result_pack(&live, &a, &size_a, NULL), 0);
    assert_int_equal(cb_result_pack(tick->result, &b, &size_b, NULL), 0);
    assert_int_equal(size_a, size_b);
    assert_memory_equal(a, b, size_a);
    assert_true(tick->from_frames);
    expected->n++;
    free(a);
    free(b);
    cb_result_clear(&live);
    return 0;
}

static void write_frames(const char *path, struct synth *synth, struct cb_engine *engine)
{
    struct cb_frame_encoder *encoder = cb_frame_encoder_new();
    struct cb_recording_writer *writer = NULL;
    uint8_t *snapshot = NULL;
    const uint8_t *bytes = NULL;
    size_t size;

    assert_int_equal(cb_recording_create(path, &writer, NULL), 0);
    assert_int_equal(cb_engine_save(engine, &snapshot, &size, NULL), 0);
    assert_int_equal(cb_recording_snapshot(writer, "synthetic", snapshot, size, NULL), 0);
    free(snapshot);
    for (int tick = 0; tick < TICKS; tick++) {
        synth_tick(synth);
        assert_int_equal(cb_frame_encode(encoder, &synth->frame, &bytes, &size, NULL), 0);
        assert_int_equal(cb_recording_frame(writer, bytes, size, NULL), 0);
    }
    assert_int_equal(cb_recording_close(writer, NULL), 0);
    encoder = cb_frame_encoder_free(encoder);
}

/* A model that has learnt, its snapshot, and frames after it: the same bits live and replayed. */
static void a_replay_goes_on_from_its_snapshot_to_the_same_bits(void **state)
{
    static struct expected expected;
    static struct synth ahead;
    const struct scratch *scratch = *state;
    const struct cb_engine_options cbwatts = {.model = CB_MODEL_CBWATTS};
    char input[160];
    struct cb_replay_options options = {.input = input, .model = CB_MODEL_CBWATTS};
    struct cb_replay_counts counts = {0};
    struct cb_result result = {0};

    assert_int_equal(cb_engine_new(&cbwatts, &expected.engine, NULL), 0);
    synth_init(&expected.synth, &(struct synth_options){.seed = 7});
    synth_init(&ahead, &(struct synth_options){.seed = 7});
    for (int tick = 0; tick < TICKS; tick++) {
        synth_tick(&expected.synth);
        synth_tick(&ahead);
        assert_int_equal(cb_engine_frame(expected.engine, &expected.synth.frame, &result, NULL), 0);
    }
    write_frames(scratch->path, &ahead, expected.engine);
    (void)snprintf(input, sizeof(input), "frames:%s", scratch->path);
    assert_int_equal(cb_replay(&options, same_as_live, &expected, &counts, NULL), 0);
    assert_int_equal(expected.n, TICKS);
    assert_int_equal(counts.ticks, TICKS);
    cb_result_clear(&result);
    expected.engine = cb_engine_free(expected.engine);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_is_recorded_is_read_again),
        TEST(recordings_one_behind_the_other_are_one_with_their_targets_names),
        TEST(a_recorder_begins_new_files_and_drops_the_oldest),
        TEST(a_recording_that_is_cut_off_says_so_after_what_is_whole),
        TEST(another_file_is_no_recording),
        TEST(gzip_members_one_behind_the_other_are_one_file),
        TEST(a_gzip_file_that_is_cut_off_is_an_error),
        TEST(a_replay_goes_on_from_its_snapshot_to_the_same_bits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
