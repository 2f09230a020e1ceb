/* SPDX-License-Identifier: Apache-2.0 */
/* test_powerapi.c - PowerAPI's reports, live: documents out of bytes, ticks into the inbox, each
 * once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "formula/infile.h"
#include "formula/ingest.h"
#include "formula/powerapi.h"
#include "formula/powerapi_lines.h"
#include "formula/powerapi_tcp.h"
#include "lib/err.h"
#include "lib/log.h"
#include "tests/support/store_fixture.h"

#define S UINT64_C(1000000000)
#define NOW_MS INT64_C(1700000000000)

/* --- documents out of bytes --- */

/* Every document of @text read @step bytes at a time, each followed by '|'. */
static uint64_t documents(const char *text, size_t step, char *ret_documents)
{
    struct cb_powerapi_lines lines = {0};
    size_t size = strlen(text), n;
    uint64_t bad;

    *ret_documents = '\0';
    for (size_t at = 0; at < size; at += n) {
        const char *document;
        size_t room, length;
        char *to;

        assert_int_equal(cb_powerapi_lines_room(&lines, &to, &room), 0);
        n = size - at < step ? size - at : step;
        memcpy(to, text + at, n);
        cb_powerapi_lines_added(&lines, n);
        while (cb_powerapi_lines_next(&lines, &document, &length)) {
            (void)strncat(ret_documents, document, length);
            (void)strncat(ret_documents, "|", 2);
        }
    }
    bad = lines.bad;
    cb_powerapi_lines_clear(&lines);
    return bad;
}

static void finds_documents_with_and_without_newlines(void **state)
{
    static const struct {
        const char *text, *documents;
        uint64_t bad;
    } cases[] = {
        {"{\"a\":1}\n{\"b\":{}}\n", "{\"a\":1}|{\"b\":{}}|", 0},
        {"{\"a\":1}{\"b\":2} \r\n\n{}", "{\"a\":1}|{\"b\":2}|{}|", 0},
        {"{\"}\\\"{\":1}{}", "{\"}\\\"{\":1}|{}|", 0},
        {"{\"cut\":\n{\"a\":1}\n", "{\"a\":1}|", 1},
        {"GET / HTTP/1.1\n[1]\n{}}\n{}", "{}|{}|", 3},
        {"x{}\n{\"open", "", 1},
    };
    char found[256];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t step = 1; step < 40; step += 3) {
            assert_int_equal(documents(cases[i].text, step, found), cases[i].bad);
            assert_string_equal(found, cases[i].documents);
        }
    }
}

static void a_document_without_an_end_is_refused_in_time(void **state)
{
    struct cb_powerapi_lines lines = {0};
    const char *document;
    size_t room, size, sum = 0;
    char *to;
    int r;

    (void)state;
    while ((r = cb_powerapi_lines_room(&lines, &to, &room)) == 0) {
        memset(to, sum ? 'x' : '{', 1);
        memset(to + 1, 'x', room - 1);
        cb_powerapi_lines_added(&lines, room);
        assert_false(cb_powerapi_lines_next(&lines, &document, &size));
        sum += room;
        assert_true(sum <= 4 * CB_POWERAPI_DOCUMENT);
    }
    assert_int_equal(r, -EMSGSIZE);
    assert_true(sum > CB_POWERAPI_DOCUMENT);
    cb_powerapi_lines_clear(&lines);
}

/* --- the inbox --- */

static void the_inbox_is_readable_while_something_is_in(void **state)
{
    struct cb_inbox *inbox = NULL;
    struct cb_inbox_item *item;
    struct pollfd fd = {.events = POLLIN};

    (void)state;
    assert_int_equal(cb_inbox_new(&inbox, NULL), 0);
    fd.fd = cb_inbox_fd(inbox);
    assert_int_equal(poll(&fd, 1, 0), 0);
    assert_int_equal(cb_inbox_put(inbox, "a", 1, (const uint8_t *)"one", 3, NULL), 0);
    assert_int_equal(cb_inbox_put(inbox, "a", 2, (const uint8_t *)"three", 5, NULL), 0);
    assert_int_equal(poll(&fd, 1, 0), 1);
    item = cb_inbox_take(inbox);
    assert_int_equal(item->seq, 1);
    assert_memory_equal(item->bytes, "one", 3);
    free(item);
    assert_int_equal(poll(&fd, 1, 0), 1);
    free(cb_inbox_take(inbox));
    assert_int_equal(poll(&fd, 1, 0), 0);
    assert_null(cb_inbox_take(inbox));
    inbox = cb_inbox_free(inbox);
}

static void a_full_inbox_that_is_closed_refuses(void **state)
{
    struct cb_inbox *inbox = NULL;
    uint8_t *bytes = calloc(1, CB_INBOX_BYTES);

    (void)state;
    assert_non_null(bytes);
    assert_int_equal(cb_inbox_new(&inbox, NULL), 0);
    cb_inbox_close(inbox);
    assert_int_equal(cb_inbox_put(inbox, "a", 1, bytes, CB_INBOX_BYTES, NULL), 0);
    assert_int_equal(cb_inbox_put(inbox, "a", 2, bytes, 1, NULL), -ECANCELED);
    free(cb_inbox_take(inbox));
    assert_int_equal(cb_inbox_put(inbox, "a", 3, bytes, 1, NULL), 0);
    inbox = cb_inbox_free(inbox);
    free(bytes);
}

/* --- ticks --- */

struct live {
    struct store_fixture *f;
    struct cb_inbox *inbox;
    struct cb_powerapi *powerapi;
    uint64_t now_ns;
};

static void open_live(struct live *live)
{
    struct cb_powerapi_options options = {
        .join = {.nominal_ns = S, .deadline_ns = 2 * S, .package_event = "RAPL_ENERGY_PKG"}};

    assert_int_equal(cb_inbox_new(&live->inbox, NULL), 0);
    options.inbox = live->inbox;
    assert_int_equal(cb_powerapi_new(&options, live->f->store, &live->powerapi, NULL), 0);
    live->now_ns = S;
}

static void close_live(struct live *live)
{
    live->powerapi = cb_powerapi_free(live->powerapi);
    live->inbox = cb_inbox_free(live->inbox);
}

static int setup(void **state)
{
    struct live *live = calloc(1, sizeof(*live));
    void *f = NULL;

    assert_non_null(live);
    cb_log_init("test", CB_LOG_ERR, false);
    assert_int_equal(store_fixture_setup(&f), 0);
    live->f = f;
    open_live(live);
    *state = live;
    return 0;
}

static int teardown(void **state)
{
    struct live *live = *state;
    void *f = live->f;

    close_live(live);
    free(live);
    return store_fixture_teardown(&f);
}

static void add_from(struct live *live, enum cb_powerapi_input input, const char *sensor,
                     const char *target, int64_t ms)
{
    bool all = strcmp(target, "all") == 0;
    struct cb_hwpc_report *report = NULL;
    char text[512];
    size_t used;

    (void)snprintf(text, sizeof(text),
                   "{\"timestamp\":%lld,\"sensor\":\"%s\",\"target\":\"%s\",\"groups\":{\"%s\":{"
                   "\"0\":{\"0\":{\"%s\":4294967296}}}}}",
                   (long long)ms, sensor, target, all ? "rapl" : "core",
                   all ? "RAPL_ENERGY_PKG" : "CYCLES");
    assert_int_equal(cb_hwpc_parse(text, strlen(text), &report, &used, NULL), 0);
    assert_int_equal(cb_powerapi_add(live->powerapi, input, report, live->now_ns,
                                     (uint64_t)NOW_MS * 1000000, NULL),
                     0);
}

static void add(struct live *live, const char *target, int64_t ms)
{
    add_from(live, CB_POWERAPI_TCP, "s", target, ms);
}

/* The next frame's wall time in ms, and its boot; 0: there is none. */
static int64_t take(struct live *live, char ret_boot_id[CB_BOOT_ID_SIZE], size_t *ret_texts)
{
    struct cb_inbox_item *item = cb_inbox_take(live->inbox);
    struct cb_frame frame;
    int64_t ms;

    if (!item)
        return 0;
    assert_int_equal(cb_frame_decode(item->bytes, item->size, &frame, NULL), 0);
    assert_int_equal(frame.seq, item->seq);
    assert_string_equal(frame.start_id, item->start_id);
    ms = (int64_t)(frame.wall_ns / 1000000);
    if (ret_boot_id)
        (void)snprintf(ret_boot_id, CB_BOOT_ID_SIZE, "%s", frame.boot_id);
    if (ret_texts) {
        *ret_texts = 0;
        for (size_t i = 0; i < frame.n_targets; i++)
            *ret_texts += (frame.targets[i].flags & CB_TARGET_TEXT) != 0;
    }
    cb_frame_clear(&frame);
    free(item);
    return ms;
}

static struct cb_powerapi_counts counted(struct live *live)
{
    struct cb_powerapi_counts counts;

    cb_powerapi_counted(live->powerapi, &counts);
    return counts;
}

static void give(struct live *live)
{
    assert_int_equal(cb_powerapi_give(live->powerapi, CB_POWERAPI_TCP, live->now_ns, NULL), 0);
}

static void a_tick_is_given_out_by_the_stream_or_by_the_clock(void **state)
{
    struct live *live = *state;
    size_t texts;

    add(live, "all", NOW_MS);
    add(live, "a", NOW_MS);
    add(live, "a", NOW_MS); /* twice */
    assert_int_equal(take(live, NULL, NULL), 0);
    add(live, "a", NOW_MS + 2000);
    assert_int_equal(take(live, NULL, &texts), NOW_MS);
    assert_int_equal(texts, 1);
    add(live, "all", NOW_MS); /* late */
    live->now_ns += 2 * S - 1;
    give(live);
    assert_int_equal(take(live, NULL, NULL), 0);
    live->now_ns += 1;
    give(live);
    assert_int_equal(take(live, NULL, &texts), NOW_MS + 2000);
    assert_int_equal(texts, 0); /* it was told */
    assert_int_equal(counted(live).join.duplicates, 1);
    assert_int_equal(counted(live).join.late, 1);
    assert_int_equal(counted(live).frames, 2);
}

/* What a poll reads may go on with the tick that is due by the clock. */
static void a_tick_that_is_being_read_waits(void **state)
{
    struct live *live = *state;

    add(live, "all", NOW_MS);
    live->now_ns += 5 * S;
    add(live, "a", NOW_MS);
    assert_int_equal(take(live, NULL, NULL), 0);
    give(live);
    assert_int_equal(take(live, NULL, NULL), NOW_MS);
    assert_int_equal(counted(live).join.late, 0);
}

/* The store's row of what was taken from the inbox. */
static void store_tick(struct live *live, const char *boot_id, int64_t ms)
{
    struct cb_store_machine machine;
    struct cb_store_start start;
    struct cb_result result = {0};
    uint64_t seed = 3, t1_ns = (uint64_t)ms * 1000000;
    uint8_t *bytes = NULL;
    struct cb_store_frame frame = {.seq = 1, .t0_ns = t1_ns - S, .t1_ns = t1_ns, .wall_ns = t1_ns};

    assert_int_equal(cb_store_machine(live->f->store, "s", &machine, NULL), 0);
    assert_int_equal(
        cb_store_start(live->f->store, machine.id, boot_id, FIXTURE_START, t1_ns, &start, NULL), 0);
    fixture_result(&result, &seed, frame.t0_ns, frame.t1_ns, 1, 1);
    assert_int_equal(cb_result_pack(&result, &bytes, &frame.result_size, NULL), 0);
    frame.result = bytes;
    frame.start = start.id;
    frame.boot = start.boot;
    assert_int_equal(cb_store_begin(live->f->store, NULL), 0);
    assert_int_equal(cb_store_put_frame(live->f->store, &frame, t1_ns, NULL, NULL), 0);
    assert_int_equal(cb_store_commit(live->f->store, NULL), 0);
    free(bytes);
    cb_result_clear(&result);
}

static void what_is_stored_is_not_taken_again_after_a_restart(void **state)
{
    struct live *live = *state;
    char before[CB_BOOT_ID_SIZE], after[CB_BOOT_ID_SIZE];

    add(live, "all", NOW_MS);
    assert_int_equal(cb_powerapi_flush(live->powerapi, CB_POWERAPI_TCP, NULL), 0);
    assert_int_equal(take(live, before, NULL), NOW_MS);
    assert_memory_equal(before, CB_INGEST_LOCAL_BOOT, strlen(CB_INGEST_LOCAL_BOOT));
    store_tick(live, before, NOW_MS);
    close_live(live);
    open_live(live);
    for (int64_t i = 0; i < 8; i++) /* rising, as if a clock had been set back */
        add(live, "all", NOW_MS - 7000 + i * 1000);
    add(live, "all", NOW_MS + 1000);
    assert_int_equal(cb_powerapi_flush(live->powerapi, CB_POWERAPI_TCP, NULL), 0);
    assert_int_equal(take(live, after, NULL), NOW_MS + 1000);
    assert_string_equal(after, before);
    assert_int_equal(take(live, NULL, NULL), 0);
    assert_int_equal(counted(live).stored, 8);
}

static void a_clock_that_was_wrong_begins_a_new_boot(void **state)
{
    struct live *live = *state;
    char before[CB_BOOT_ID_SIZE], after[CB_BOOT_ID_SIZE];

    add(live, "all", NOW_MS + 3600000);
    add(live, "all", NOW_MS + 3610000);
    assert_int_equal(take(live, before, NULL), NOW_MS + 3600000);
    add(live, "all", NOW_MS);
    assert_int_equal(take(live, before, NULL), NOW_MS + 3610000); /* what waited comes first */
    add(live, "all", NOW_MS + 5000);
    assert_int_equal(take(live, after, NULL), NOW_MS);
    assert_string_not_equal(after, before);
}

static void a_sensor_speaks_through_one_input_and_has_a_name(void **state)
{
    struct live *live = *state;

    add(live, "all", NOW_MS);
    add_from(live, CB_POWERAPI_CSV, "s", "a", NOW_MS);
    assert_int_equal(counted(live).refused, 1);
    add_from(live, CB_POWERAPI_TCP, "no name", "all", NOW_MS);
    assert_int_equal(counted(live).bad, 1);
    assert_int_equal(cb_powerapi_flush(live->powerapi, CB_POWERAPI_TCP, NULL), 0);
    assert_int_equal(take(live, NULL, NULL), NOW_MS);
    assert_int_equal(take(live, NULL, NULL), 0);
}

/* --- files --- */

static void a_pipe_may_bring_the_first_byte_alone(void **state)
{
    static const uint8_t gzip[] = {0x1f, 0x8b, 8, 0, 0,    0,    0,    0, 0, 3, 0xcb,
                                   0xe7, 2,    0, 1, 0x93, 0x87, 0x1d, 2, 0, 0, 0};
    char path[64], text[8] = {0};
    FILE *file = NULL;
    int ends[2];
    pid_t child;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    child = fork();
    if (child == 0) {
        bool ok = write(ends[1], gzip, 1) == 1;

        (void)poll(NULL, 0, 50);
        ok = ok && write(ends[1], gzip + 1, sizeof(gzip) - 1) == (ssize_t)sizeof(gzip) - 1;
        _exit(ok ? 0 : 1);
    }
    (void)close(ends[1]);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[0]);
    assert_int_equal(cb_infile_open(path, &file, NULL), 0);
    (void)fread(text, 1, sizeof(text), file);
    assert_memory_not_equal(text, gzip, 2); /* it was known as gzip */
    (void)fclose(file);
    (void)close(ends[0]);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

static void an_address_is_one_or_is_refused(void **state)
{
    static const char *const wrong[] = {"",
                                        "99999",
                                        "127.0.0.1:99999",
                                        "127.0.0.1:",
                                        ":9080",
                                        "127.0.0.1:-1",
                                        "127.0.0.1:9o80",
                                        "[::1]",
                                        "65536000",
                                        "18446744073709551616"};
    struct cb_powerapi_tcp *tcp = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(cb_powerapi_tcp_listen(wrong[i], NULL, &tcp, NULL), -EINVAL);
    assert_null(tcp);
    assert_int_equal(cb_powerapi_tcp_listen("0", NULL, &tcp, NULL), 0);
    assert_true(cb_powerapi_tcp_is_loopback(tcp));
    tcp = cb_powerapi_tcp_stop(tcp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_documents_with_and_without_newlines),
        cmocka_unit_test(a_document_without_an_end_is_refused_in_time),
        cmocka_unit_test(the_inbox_is_readable_while_something_is_in),
        cmocka_unit_test(a_full_inbox_that_is_closed_refuses),
        cmocka_unit_test_setup_teardown(a_tick_is_given_out_by_the_stream_or_by_the_clock, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_tick_that_is_being_read_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_stored_is_not_taken_again_after_a_restart, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_clock_that_was_wrong_begins_a_new_boot, setup, teardown),
        cmocka_unit_test_setup_teardown(a_sensor_speaks_through_one_input_and_has_a_name, setup,
                                        teardown),
        cmocka_unit_test(an_address_is_one_or_is_refused),
        cmocka_unit_test(a_pipe_may_bring_the_first_byte_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
