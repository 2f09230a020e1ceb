/* SPDX-License-Identifier: Apache-2.0 */
/* test_spool.c - sensor/spool: first in, first out, through crashes, damage and full disks. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/err.h"
#include "sensor/spool.h"
#include "tests/support/fake_root.h"
#include "tests/support/fault.h"
#include "tests/support/random_frame.h"

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define FRAME 1000 /* bytes of a test's frame */
#define RECORD (FRAME + CB_SPOOL_RECORD_HEADER)

static const struct cb_spool_options *options_of(const struct fake_root *root, uint64_t max,
                                                 uint64_t segment)
{
    static struct cb_spool_options options;

    options = (struct cb_spool_options){
        .dir_fd = root ? root->fd : -1, .max_bytes = max, .segment_bytes = segment};
    return &options;
}

static struct cb_spool *open_spool(const struct fake_root *root, uint64_t max, uint64_t segment)
{
    struct cb_spool *spool = NULL;
    struct cb_err err = {0};

    if (cb_spool_open(options_of(root, max, segment), &spool, &err) != 0)
        fail_msg("%s", err.text);
    return spool;
}

/* A frame's bytes follow from its number. */
static void fill(uint8_t *bytes, const char *start_id, uint64_t seq)
{
    uint64_t seed = seq * 31 + (uint8_t)start_id[0];

    for (size_t i = 0; i < FRAME; i++)
        bytes[i] = (uint8_t)random_next(&seed);
}

static void append(struct cb_spool *spool, const char *start_id, uint64_t first, uint64_t last)
{
    for (uint64_t seq = first; seq <= last; seq++) {
        uint8_t bytes[FRAME];
        struct cb_err err = {0};

        fill(bytes, start_id, seq);
        if (cb_spool_append(spool, start_id, seq, bytes, sizeof(bytes), &err) != 0)
            fail_msg("%s", err.text);
    }
}

static void expect(struct cb_spool *spool, const char *start_id, uint64_t first, uint64_t last)
{
    for (uint64_t seq = first; seq <= last; seq++) {
        struct cb_spool_record record;
        uint8_t bytes[FRAME];

        assert_int_equal(cb_spool_next(spool, &record, NULL), 1);
        assert_string_equal(record.start_id, start_id);
        assert_int_equal(record.seq, seq);
        assert_int_equal(record.size, FRAME);
        fill(bytes, start_id, seq);
        assert_memory_equal(record.bytes, bytes, FRAME);
    }
}

static void expect_none(struct cb_spool *spool)
{
    struct cb_spool_record record;

    assert_int_equal(cb_spool_next(spool, &record, NULL), 0);
}

static size_t count_files(const struct fake_root *root, const char *suffix)
{
    DIR *dir = opendir(root->dir);
    const struct dirent *entry;
    size_t n = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        size_t len = strlen(entry->d_name);

        n += len >= strlen(suffix) && strcmp(entry->d_name + len - strlen(suffix), suffix) == 0;
    }
    (void)closedir(dir);
    return n;
}

static void frames_come_out_as_they_went_in(void **state)
{
    const struct fake_root *roots[] = {*state, NULL}; /* on disk and in memory */

    for (size_t i = 0; i < 2; i++) {
        struct cb_spool *spool = open_spool(roots[i], 1 << 20, 10 * RECORD);

        expect_none(spool);
        append(spool, A, 1, 35);
        assert_int_equal(cb_spool_held_frames(spool), 35);
        expect(spool, A, 1, 12);
        assert_int_equal(cb_spool_in_flight(spool), 12);
        assert_int_equal(cb_spool_in_flight_bytes(spool), 12 * FRAME);
        assert_int_equal(cb_spool_ack(spool, A, 5), 5);
        assert_int_equal(cb_spool_held_frames(spool), 30);
        cb_spool_rewind(spool);
        expect(spool, A, 6, 35);
        expect_none(spool);
        append(spool, A, 36, 36);
        expect(spool, A, 36, 36);
        cb_spool_unget(spool);
        expect(spool, A, 36, 36);
        assert_int_equal(cb_spool_ack(spool, B, 100), 0);
        assert_int_equal(cb_spool_ack(spool, A, 36), 31);
        assert_int_equal(cb_spool_held_frames(spool), 0);
        assert_int_equal(cb_spool_held_bytes(spool), 0);
        assert_int_equal(cb_spool_lost_frames(spool), 0);
        append(spool, A, 37, 38);
        expect(spool, A, 37, 38);
        expect_none(spool);
        spool = cb_spool_close(spool);
    }
}

static void what_is_delivered_leaves_no_file(void **state)
{
    struct cb_spool *spool = open_spool(*state, 1 << 20, 10 * RECORD);
    struct stat st;

    append(spool, A, 1, 35);
    assert_int_equal(count_files(*state, ".spool"), 4);
    expect(spool, A, 1, 35);
    (void)cb_spool_ack(spool, A, 20);
    assert_int_equal(count_files(*state, ".spool"), 2);
    (void)cb_spool_ack(spool, A, 35);
    assert_int_equal(count_files(*state, ".spool"), 1);
    assert_false(cb_spool_is_dirty(spool)); /* nothing to sync either */
    assert_int_equal(fstatat(((struct fake_root *)*state)->fd, "0000000000000004.spool", &st, 0),
                     0);
    assert_int_equal(st.st_size, CB_SPOOL_SEGMENT_HEADER);
    assert_int_equal(st.st_mode & 07777, 0600);
    spool = cb_spool_close(spool);
    assert_int_equal(count_files(*state, ".spool"), 0);
}

static void an_earlier_start_comes_first(void **state)
{
    struct cb_spool *spool = open_spool(*state, 1 << 20, 10 * RECORD);

    append(spool, A, 1, 15);
    expect(spool, A, 1, 11);
    (void)cb_spool_ack(spool, A, 11); /* the first segment is gone, 11 stands in the second */
    spool = cb_spool_close(spool);
    spool = open_spool(*state, 1 << 20, 10 * RECORD);
    assert_int_equal(cb_spool_held_frames(spool), 5);
    append(spool, B, 1, 3);
    expect(spool, A, 11, 15);
    expect(spool, B, 1, 3);
    expect_none(spool);
    assert_int_equal(cb_spool_ack(spool, B, 3), 3); /* B's ack says nothing of A */
    assert_int_equal(cb_spool_held_frames(spool), 8);
    cb_spool_rewind(spool);
    expect(spool, A, 11, 15);
    assert_int_equal(cb_spool_ack(spool, A, 15), 5);
    expect(spool, B, 1, 3);
    assert_int_equal(cb_spool_ack(spool, B, 3), 3);
    assert_int_equal(cb_spool_held_frames(spool), 0);
    assert_int_equal(cb_spool_lost_frames(spool), 0);
    spool = cb_spool_close(spool);
}

static void a_full_spool_drops_its_oldest_segment_and_counts(void **state)
{
    const struct fake_root *roots[] = {*state, NULL};

    for (size_t i = 0; i < 2; i++) {
        struct cb_spool *spool = open_spool(roots[i], 40 * RECORD, 10 * RECORD);

        append(spool, A, 1, 40);
        assert_int_equal(cb_spool_lost_frames(spool), 0);
        append(spool, A, 41, 41);
        assert_int_equal(cb_spool_lost_frames(spool), 10);
        assert_int_equal(cb_spool_held_frames(spool), 31);
        assert_true(cb_spool_held_bytes(spool) <= 40 * RECORD);
        expect(spool, A, 11, 25);
        append(spool, A, 42, 61); /* drops 11 to 30: 15 of them are in flight */
        assert_int_equal(cb_spool_lost_frames(spool), 15);
        assert_int_equal(cb_spool_ack(spool, A, 20), 10); /* 10 were delivered after all */
        cb_spool_rewind(spool);
        assert_int_equal(cb_spool_lost_frames(spool), 20); /* the other 5 were not */
        assert_int_equal(cb_spool_held_frames(spool), 31);
        expect(spool, A, 31, 61);
        expect_none(spool);
        assert_int_equal(cb_spool_ack(spool, A, 61), 31);
        assert_int_equal(cb_spool_held_frames(spool), 0);
        assert_int_equal(cb_spool_held_bytes(spool), 0);
        spool = cb_spool_close(spool);
    }
}

static void a_spool_of_one_segment_drops_it_and_goes_on(void **state)
{
    struct cb_spool *spool = open_spool(*state, 3 * RECORD, 10 * RECORD);
    uint8_t big[4 * RECORD] = {0};

    append(spool, A, 1, 4);
    assert_int_equal(cb_spool_lost_frames(spool), 3);
    expect(spool, A, 4, 4);
    assert_int_equal(cb_spool_append(spool, A, 5, big, sizeof(big), NULL), -EINVAL);
    assert_int_equal(cb_spool_lost_frames(spool), 4);
    append(spool, A, 6, 6);
    expect(spool, A, 6, 6);
    spool = cb_spool_close(spool);
    spool = open_spool(*state, RECORD, 10 * RECORD); /* a lower limit than before */
    assert_int_equal(cb_spool_held_frames(spool), 0);
    assert_int_equal(cb_spool_lost_frames(spool), 2);
    spool = cb_spool_close(spool);
}

static void a_refused_frame_is_put_aside(void **state)
{
    struct cb_spool *spool = open_spool(*state, 1 << 20, 10 * RECORD);
    struct fake_root *root = *state;
    struct cb_spool_record record;
    struct stat st;
    uint8_t bytes[4 * RECORD];
    uint8_t expected[FRAME];
    int fd;

    append(spool, A, 1, 5);
    expect(spool, A, 1, 5);
    assert_false(cb_spool_refuse(spool, A, 6));
    assert_true(cb_spool_refuse(spool, A, 3));
    assert_false(cb_spool_refuse(spool, A, 3));
    assert_int_equal(cb_spool_refused_frames(spool), 1);
    assert_int_equal(cb_spool_lost_frames(spool), 0);
    assert_int_equal(cb_spool_ack(spool, A, 5), 4);
    assert_int_equal(cb_spool_held_frames(spool), 0);
    spool = cb_spool_close(spool);

    fd = openat(root->fd, "refused", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, CB_SPOOL_SEGMENT_HEADER + RECORD);
    assert_int_equal(pread(fd, bytes, sizeof(bytes), 0), st.st_size);
    assert_int_equal(cb_spool_take_record(bytes + CB_SPOOL_SEGMENT_HEADER, RECORD, &record), 0);
    assert_int_equal(record.seq, 3);
    fill(expected, A, 3);
    assert_memory_equal(record.bytes, expected, FRAME);
    (void)close(fd);
    spool = open_spool(root, 1 << 20, 10 * RECORD); /* and does not come again */
    expect_none(spool);
    spool = cb_spool_close(spool);
}

static void a_directory_belongs_to_one_process(void **state)
{
    struct cb_spool *spool = open_spool(*state, 1 << 20, 0);
    struct cb_spool *second = NULL;
    struct cb_err err = {0};

    assert_int_equal(cb_spool_open(options_of(*state, 1 << 20, 0), &second, &err), -EBUSY);
    assert_non_null(strstr(err.text, "another cbsensor"));
    assert_null(second);
    spool = cb_spool_close(spool);
    spool = open_spool(*state, 1 << 20, 0);
    spool = cb_spool_close(spool);
}

/* ---- crashes: the directory is copied at some moment and opened elsewhere ---- */

static void copy_file(int from_dir, int to_dir, const char *name, off_t size)
{
    int from = openat(from_dir, name, O_RDONLY | O_CLOEXEC);
    int to = openat(to_dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    char *bytes = malloc((size_t)size + 1);

    assert_true(from >= 0 && to >= 0 && bytes);
    assert_int_equal(pread(from, bytes, (size_t)size, 0), size);
    assert_int_equal(write(to, bytes, (size_t)size), size);
    free(bytes);
    (void)close(from);
    (void)close(to);
}

static void copy_dir(const struct fake_root *from, const struct fake_root *to)
{
    DIR *dir = opendir(from->dir);
    const struct dirent *entry;
    struct stat st;

    while ((entry = readdir(dir))) {
        if (!strstr(entry->d_name, ".spool"))
            continue;
        assert_int_equal(fstatat(from->fd, entry->d_name, &st, 0), 0);
        copy_file(from->fd, to->fd, entry->d_name, st.st_size);
    }
    (void)closedir(dir);
}

static void clear_dir(const struct fake_root *root)
{
    DIR *dir = opendir(root->dir);
    const struct dirent *entry;

    while ((entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            (void)unlinkat(root->fd, entry->d_name, 0);
    (void)closedir(dir);
}

static struct fake_root *new_root(void)
{
    void *root;

    assert_int_equal(fake_root_setup(&root), 0);
    return root;
}

static void free_root(struct fake_root *root)
{
    void *state = root;

    (void)fake_root_teardown(&state);
}

/* Random appends, deliveries, acks, rewinds and syncs. Whenever the process is killed, what stands
 * in the files is every frame that was appended and not acked, in order, without a hole. */
static void a_kill_at_any_moment_loses_and_disorders_nothing(void **state)
{
    struct fake_root *copy = new_root();

    for (uint64_t seed = 1; seed <= 20; seed++) {
        uint64_t random = seed;
        struct cb_spool *spool = open_spool(*state, 1 << 20, 7 * RECORD);
        uint64_t appended = 0;
        uint64_t sent = 0;
        uint64_t acked = 0;

        for (int step = 0; step < 60; step++) {
            uint64_t n = random_below(&random, 5);

            switch (random_below(&random, 4)) {
            case 0:
            case 1:
                append(spool, A, appended + 1, appended + n);
                appended += n;
                break;
            case 2:
                n = n < appended - sent ? n : appended - sent;
                expect(spool, A, sent + 1, sent + n);
                sent += n;
                break;
            default:
                if (random_below(&random, 4) == 0) {
                    cb_spool_rewind(spool);
                    sent = acked;
                } else {
                    acked += random_below(&random, sent - acked + 1);
                    (void)cb_spool_ack(spool, A, acked);
                }
            }
            assert_int_equal(cb_spool_held_frames(spool), appended - acked);
            if (step % 5 == 0) {
                struct cb_spool *other;
                struct cb_spool_record record;
                uint64_t first = 0;
                uint64_t last = 0;

                clear_dir(copy);
                copy_dir(*state, copy);
                other = open_spool(copy, 1 << 20, 7 * RECORD);
                while (cb_spool_next(other, &record, NULL) == 1) {
                    assert_true(last == 0 || record.seq == last + 1);
                    first = first ? first : record.seq;
                    last = record.seq;
                }
                if (appended > acked) {
                    assert_true(first <= acked + 1);
                    assert_int_equal(last, appended);
                }
                assert_int_equal(cb_spool_lost_frames(other), 0);
                other = cb_spool_close(other);
            }
        }
        spool = cb_spool_close(spool);
        clear_dir(*state);
    }
    free_root(copy);
}

/* A power cut leaves the last file shorter than it was: every length is tried. */
static void a_file_cut_at_any_byte_gives_every_whole_record_before(void **state)
{
    struct cb_spool *spool = open_spool(*state, 1 << 20, 100 * RECORD);
    struct fake_root *root = *state;
    struct fake_root *copy = new_root();
    const char *name = "0000000000000001.spool";

    append(spool, A, 1, 3);
    for (off_t size = 0; size <= CB_SPOOL_SEGMENT_HEADER + 3 * RECORD; size++) {
        size_t whole =
            size < CB_SPOOL_SEGMENT_HEADER ? 0 : (size_t)(size - CB_SPOOL_SEGMENT_HEADER) / RECORD;
        bool torn = size > 0 && size != (off_t)(CB_SPOOL_SEGMENT_HEADER + whole * RECORD);
        struct cb_spool *other;

        clear_dir(copy);
        copy_file(root->fd, copy->fd, name, size);
        other = open_spool(copy, 1 << 20, 100 * RECORD);
        assert_int_equal(cb_spool_held_frames(other), whole);
        assert_int_equal(cb_spool_lost_frames(other), torn);
        append(other, B, 1, 1);
        if (whole)
            expect(other, A, 1, whole);
        expect(other, B, 1, 1);
        expect_none(other);
        assert_int_equal(cb_spool_ack(other, A, 3), whole);
        assert_int_equal(cb_spool_ack(other, B, 1), 1);
        other = cb_spool_close(other);
        assert_int_equal(count_files(copy, ".spool"), 0);
    }
    spool = cb_spool_close(spool);
    free_root(copy);
}

static void a_torn_record_is_counted_once_whatever_follows_it(void **state)
{
    struct fake_root *root = *state;
    struct cb_spool *spool = open_spool(root, 1 << 20, 10 * RECORD);
    const char *names[] = {"0000000000000001.spool", "0000000000000002.spool"};

    append(spool, A, 1, 13); /* torn: 10, before frames of the same start, and 13 before others */
    spool = cb_spool_close(spool);
    spool = open_spool(root, 1 << 20, 10 * RECORD);
    append(spool, B, 1, 2);
    spool = cb_spool_close(spool);
    for (size_t i = 0; i < 2; i++) {
        struct stat st;
        int fd = openat(root->fd, names[i], O_RDWR | O_CLOEXEC);

        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(ftruncate(fd, st.st_size - 7), 0);
        (void)close(fd);
    }
    spool = open_spool(root, 1 << 20, 10 * RECORD);
    assert_int_equal(cb_spool_held_frames(spool), 13);
    assert_int_equal(cb_spool_lost_frames(spool), 2);
    spool = cb_spool_close(spool);
    spool = open_spool(root, 1 << 20, 10 * RECORD);
    assert_int_equal(cb_spool_lost_frames(spool), 0);
    expect(spool, A, 1, 9);
    expect(spool, A, 11, 12);
    expect(spool, B, 1, 2);
    spool = cb_spool_close(spool);
}

/* ---- sync ---- */

static void appended_frames_are_synced_once_and_delivered_ones_never(void **state)
{
    struct cb_spool *spool = open_spool(*state, 1 << 20, 10 * RECORD);
    int before = fault_fdatasyncs();
    struct cb_err err = {0};

    assert_int_equal(cb_spool_sync(spool, NULL), 0);
    assert_int_equal(fault_fdatasyncs(), before);
    append(spool, A, 1, 3);
    assert_true(cb_spool_is_dirty(spool));
    assert_int_equal(cb_spool_sync(spool, NULL), 0);
    assert_int_equal(cb_spool_sync(spool, NULL), 0);
    assert_int_equal(fault_fdatasyncs(), before + 1);
    append(spool, A, 4, 11); /* 4 to 10 are synced when their segment is full */
    assert_int_equal(fault_fdatasyncs(), before + 2);
    expect(spool, A, 1, 11);
    assert_int_equal(cb_spool_ack(spool, A, 11), 11);
    assert_int_equal(cb_spool_sync(spool, NULL), 0);
    assert_int_equal(fault_fdatasyncs(), before + 2);
    append(spool, A, 12, 12);
    fault_arm(0);
    assert_int_equal(cb_spool_sync(spool, &err), -EIO);
    fault_disarm();
    assert_true(err.text[0]);
    assert_int_equal(cb_spool_trouble(spool), EIO);
    append(spool, A, 13, 13);
    assert_int_equal(cb_spool_trouble(spool), 0);
    expect(spool, A, 12, 13);
    spool = cb_spool_close(spool);
}

static void damage_in_the_middle_costs_the_damaged_frames_only(void **state)
{
    struct cb_spool *spool = open_spool(*state, 1 << 20, 10 * RECORD);
    struct fake_root *root = *state;
    struct fake_root *copy = new_root();
    uint64_t random = 9;

    append(spool, A, 1, 25);
    for (int i = 0; i < 300; i++) {
        const char *name =
            random_below(&random, 2) ? "0000000000000001.spool" : "0000000000000002.spool";
        off_t at = (off_t)random_below(&random, CB_SPOOL_SEGMENT_HEADER + 10 * RECORD);
        uint64_t hit = at < CB_SPOOL_SEGMENT_HEADER
                           ? 0
                           : 1 + (uint64_t)(at - CB_SPOOL_SEGMENT_HEADER) / RECORD;
        struct cb_spool_record record;
        struct cb_spool *other;
        uint8_t byte;
        int fd;

        if (hit && name[15] == '2')
            hit += 10;
        clear_dir(copy);
        copy_dir(root, copy);
        fd = openat(copy->fd, name, O_RDWR | O_CLOEXEC);
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= (uint8_t)(1u << random_below(&random, 8));
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        (void)close(fd);
        other = open_spool(copy, 1 << 20, 10 * RECORD);
        for (uint64_t seq = 1; seq <= 25; seq++) {
            if (seq == hit)
                continue;
            assert_int_equal(cb_spool_next(other, &record, NULL), 1);
            assert_int_equal(record.seq, seq);
        }
        expect_none(other);
        assert_int_equal(cb_spool_lost_frames(other), hit != 0);
        assert_int_equal(cb_spool_ack(other, A, 25), hit ? 24 : 25);
        assert_int_equal(cb_spool_held_frames(other), 0);
        other = cb_spool_close(other);
    }
    spool = cb_spool_close(spool);
    free_root(copy);
}

static void damage_that_comes_while_running_is_skipped_and_counted(void **state)
{
    struct cb_spool *spool = open_spool(*state, 1 << 20, 10 * RECORD);
    struct fake_root *root = *state;
    int fd;

    append(spool, A, 1, 25);
    fd = openat(root->fd, "0000000000000001.spool", O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "damage", 6, CB_SPOOL_SEGMENT_HEADER + 3 * RECORD + 100), 6);
    (void)close(fd);
    assert_int_equal(unlinkat(root->fd, "0000000000000002.spool", 0), 0);
    expect(spool, A, 1, 3);
    expect(spool, A, 5, 10);
    expect(spool, A, 21, 25);
    expect_none(spool);
    assert_int_equal(cb_spool_lost_frames(spool), 11);
    cb_spool_rewind(spool);
    expect(spool, A, 1, 3);
    expect(spool, A, 5, 10);
    expect(spool, A, 21, 25);
    assert_int_equal(cb_spool_lost_frames(spool), 11);
    assert_int_equal(cb_spool_ack(spool, A, 25), 14);
    assert_int_equal(cb_spool_held_frames(spool), 0);
    assert_int_equal(cb_spool_held_bytes(spool), 0);
    spool = cb_spool_close(spool);
}

static void foreign_files_are_left_alone(void **state)
{
    struct fake_root *root = *state;
    struct cb_spool *spool;

    fake_root_put(root, "notes.txt", "mine");
    fake_root_put(root, "0000000000000001.spool.bak", "mine");
    fake_root_put(root, "000000000000000G.spool", "mine");
    fake_root_put(root, "0000000000000007.spool", "%s", "");
    spool = open_spool(root, 1 << 20, 0);
    expect_none(spool);
    append(spool, A, 1, 1);
    assert_int_equal(faccessat(root->fd, "0000000000000008.spool", F_OK, 0), 0);
    spool = cb_spool_close(spool);
    assert_int_equal(faccessat(root->fd, "notes.txt", F_OK, 0), 0);
    assert_int_equal(faccessat(root->fd, "0000000000000001.spool.bak", F_OK, 0), 0);
    assert_int_equal(faccessat(root->fd, "000000000000000G.spool", F_OK, 0), 0);
}

/* ---- a disk that fails ---- */

static void limit_file_size(rlim_t bytes)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_full_disk_is_bridged_by_memory(void **state)
{
    struct cb_spool *spool = open_spool(*state, 1 << 20, 100 * RECORD);
    struct fake_root *copy = new_root();
    struct cb_spool *other;

    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    append(spool, A, 1, 2);
    assert_int_equal(cb_spool_trouble(spool), 0);
    limit_file_size(CB_SPOOL_SEGMENT_HEADER + 2 * RECORD + RECORD / 2); /* cuts a record in two */
    append(spool, A, 3, 10);
    limit_file_size(RLIM_INFINITY);
    assert_int_not_equal(cb_spool_trouble(spool), 0);
    assert_int_equal(cb_spool_held_frames(spool), 10);
    assert_int_equal(cb_spool_memory_frames(spool), 8);
    assert_int_equal(cb_spool_lost_frames(spool), 0);
    copy_dir(*state, copy); /* the half record was cut off again */
    other = open_spool(copy, 1 << 20, 100 * RECORD);
    assert_int_equal(cb_spool_held_frames(other), 2);
    assert_int_equal(cb_spool_lost_frames(other), 0);
    other = cb_spool_close(other);
    free_root(copy);
    expect(spool, A, 1, 10);
    expect_none(spool);
    cb_spool_rewind(spool);
    expect(spool, A, 1, 10);
    assert_int_equal(cb_spool_ack(spool, A, 10), 10);
    assert_int_equal(cb_spool_held_frames(spool), 0);
    assert_int_equal(cb_spool_memory_frames(spool), 0);
    assert_int_equal(cb_spool_held_bytes(spool), 0);
    spool = cb_spool_close(spool);
    spool = open_spool(*state, 1 << 20, 100 * RECORD);
    assert_int_equal(cb_spool_lost_frames(spool), 0);
    spool = cb_spool_close(spool);
}

static void a_disk_that_works_again_is_used_again(void **state)
{
    struct cb_spool *spool = open_spool(*state, 6 * RECORD, 2 * RECORD);

    fault_arm(1); /* the first segment cannot be made: calloc() works, openat() does not */
    append(spool, A, 1, 1);
    fault_disarm();
    assert_int_equal(cb_spool_trouble(spool), EMFILE);
    append(spool, A, 2, 6);
    assert_int_equal(count_files(*state, ".spool"), 0);
    expect(spool, A, 1, 6);
    assert_int_equal(cb_spool_ack(spool, A, 6), 6);
    spool = cb_spool_close(spool);

    spool = open_spool(*state, 3 * RECORD, 2 * RECORD);
    append(spool, A, 1, 2);
    fault_arm(2);
    append(spool, A, 3, 3); /* in memory: calloc() and fdatasync() work, openat() does not */
    fault_disarm();
    assert_int_equal(count_files(*state, ".spool"), 1);
    append(spool, A, 4, 4); /* drops the file, so there is room on the disk */
    assert_int_equal(cb_spool_trouble(spool), 0);
    assert_int_equal(cb_spool_lost_frames(spool), 2);
    expect(spool, A, 3, 4);
    expect_none(spool);
    spool = cb_spool_close(spool);
}

static void a_descriptor_that_cannot_be_had_now_costs_nothing(void **state)
{
    struct cb_spool *spool = open_spool(*state, 1 << 20, 10 * RECORD);
    struct cb_spool_record record;
    struct cb_err err = {0};

    append(spool, A, 1, 15);
    fault_arm(0);
    assert_int_equal(cb_spool_next(spool, &record, &err), -EMFILE);
    fault_disarm();
    assert_true(err.text[0]);
    expect(spool, A, 1, 15);
    assert_int_equal(cb_spool_lost_frames(spool), 0);
    spool = cb_spool_close(spool);
}

static void every_failure_of_open_is_clean(void **state)
{
    int fds = count_open_fds();
    struct cb_spool *spool = open_spool(*state, 1 << 20, 10 * RECORD);
    int r = -1;

    append(spool, A, 1, 15);
    spool = cb_spool_close(spool);
    for (int k = 0; k < 12; k++) {
        struct cb_err err = {0};

        fault_arm(k);
        r = cb_spool_open(options_of(*state, 1 << 20, 10 * RECORD), &spool, &err);
        fault_disarm();
        if (r == 0) {
            spool = cb_spool_close(spool);
        } else {
            assert_null(spool);
            assert_int_equal(err.code, -r);
            assert_true(err.text[0]);
        }
        assert_int_equal(count_open_fds(), fds);
    }
    spool = open_spool(*state, 1 << 20, 10 * RECORD); /* and cost no frame */
    expect(spool, A, 1, 15);
    spool = cb_spool_close(spool);
}

static void every_failure_of_append_keeps_the_count(void **state)
{
    for (int k = 0; k < 6; k++) {
        struct cb_spool *spool = open_spool(*state, 1 << 20, 2 * RECORD);
        uint8_t bytes[FRAME] = {1};
        struct cb_err err = {0};
        uint64_t failed = 0;
        uint64_t n = 0;
        struct cb_spool_record record;

        fault_arm(k);
        for (uint64_t seq = 1; seq <= 8; seq++)
            failed += cb_spool_append(spool, A, seq, bytes, sizeof(bytes), &err) < 0;
        fault_disarm();
        assert_int_equal(cb_spool_held_frames(spool), 8 - failed);
        assert_int_equal(cb_spool_lost_frames(spool), failed);
        while (cb_spool_next(spool, &record, NULL) == 1)
            n++;
        assert_int_equal(n, 8 - failed);
        (void)cb_spool_ack(spool, A, 8);
        assert_int_equal(cb_spool_held_frames(spool), 0);
        spool = cb_spool_close(spool);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_root_setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        TEST(frames_come_out_as_they_went_in),
        TEST(what_is_delivered_leaves_no_file),
        TEST(an_earlier_start_comes_first),
        TEST(a_full_spool_drops_its_oldest_segment_and_counts),
        TEST(a_spool_of_one_segment_drops_it_and_goes_on),
        TEST(a_refused_frame_is_put_aside),
        TEST(a_directory_belongs_to_one_process),
        TEST(a_kill_at_any_moment_loses_and_disorders_nothing),
        TEST(a_file_cut_at_any_byte_gives_every_whole_record_before),
        TEST(a_torn_record_is_counted_once_whatever_follows_it),
        TEST(appended_frames_are_synced_once_and_delivered_ones_never),
        TEST(damage_in_the_middle_costs_the_damaged_frames_only),
        TEST(damage_that_comes_while_running_is_skipped_and_counted),
        TEST(foreign_files_are_left_alone),
        TEST(a_full_disk_is_bridged_by_memory),
        TEST(a_disk_that_works_again_is_used_again),
        TEST(a_descriptor_that_cannot_be_had_now_costs_nothing),
        TEST(every_failure_of_open_is_clean),
        TEST(every_failure_of_append_keeps_the_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
