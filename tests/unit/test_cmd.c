/* SPDX-License-Identifier: Apache-2.0 */
/* test_cmd.c - cbformula's commands over a database: what they print, what they refuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formula/cmd.h"
#include "formula/recap.h"
#include "formula/usage.h"
#include "lib/clock.h"
#include "lib/defaults.h"
#include "lib/err.h"
#include "tests/support/capture.h"
#include "tests/support/store_fixture.h"

#define SECOND UINT64_C(1000000000)
#define DASH_KEY "-BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"
#define KEY "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

/* A state directory with a database of three frames of a second, and one recap. */
struct bench {
    struct fake_root *root;
    char out[16384];
    char err[4096];
    uint64_t energy_uj; /* of all frames, sockets and domains */
};

/* Of the first frame: alpha's memory, beta's reads. */
static void fill_usage(struct cb_store *store, const struct cb_store_start *start)
{
    uint32_t ids[] = {1, 2};
    uint64_t values[] = {4096, CB_STAT_ABSENT, CB_STAT_ABSENT, 17};
    const struct cb_usage usage = {
        .n_columns = 2, .n_targets = 2, .targets = ids, .values = values};
    struct cb_store_usage row = {.frame = 1,
                                 .start = start->id,
                                 .boot = start->boot,
                                 .t0_ns = SECOND,
                                 .t1_ns = 2 * SECOND,
                                 .wall_ns = 2 * SECOND + FIXTURE_WALL_OFFSET,
                                 .names = "memory_bytes,io_read_bytes"};
    uint8_t *bytes = NULL;

    assert_int_equal(cb_usage_pack(&usage, &bytes, &row.size, NULL), 0);
    row.bytes = bytes;
    assert_int_equal(cb_store_put_usage(store, &row, 1, NULL), 0);
    free(bytes);
}

static void fill(struct bench *b, struct cb_store *store)
{
    struct cb_store_start start = store_fixture_start(store);
    struct cb_store_test test = {.boot = start.boot, .id = "t1"};
    struct cb_result result = {0};
    uint64_t seed = 3;

    for (uint64_t i = 1; i <= 3; i++) {
        fixture_result(&result, &seed, i * SECOND, (i + 1) * SECOND, 2, 2);
        for (size_t d = 0; d < 2; d++)
            b->energy_uj += result.domains[d].energy_uj;
        fixture_put(store, &start, i, &result);
    }
    fill_usage(store, &start);
    (void)snprintf(test.name, sizeof(test.name), "a, \"quoted\" name");
    assert_int_equal(cb_store_put_test(store, &test, "[]", NULL), 0);
    (void)snprintf(test.container_id, sizeof(test.container_id), FIXTURE_ID_A);
    test.begin_ns = SECOND;
    test.end_ns = 4 * SECOND;
    assert_int_equal(cb_store_end_test(store, &test, NULL), 0);
    assert_int_equal(cb_store_test(store, "t1", &test, NULL), 0);
    assert_int_equal(cb_recap_finish(store, &test, NULL, 0, NULL), 0);
    cb_result_clear(&result);
}

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    struct cb_store *store = NULL;
    char path[128];
    void *root = NULL;

    assert_non_null(b);
    assert_int_equal(fake_root_setup(&root), 0);
    b->root = root;
    (void)snprintf(path, sizeof(path), "%s/" CB_FILE_DATABASE, b->root->dir);
    assert_int_equal(cb_store_open(path, CB_STORE_OWNER, &store, NULL), 0);
    fill(b, store);
    store = cb_store_close(store);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    void *root = b->root;

    free(b);
    return fake_root_teardown(&root);
}

/* Run a command with "--state-dir DIR" in front; its output goes to b->out and b->err. */
static int run(struct bench *b, int (*command)(int, char **), const char *const *args)
{
    char *argv[16] = {(char *)(uintptr_t) "cbformula", (char *)(uintptr_t) "--state-dir",
                      b->root->dir};
    struct capture capture;
    int argc = 3;
    int r;

    for (; *args; args++)
        argv[argc++] = (char *)(uintptr_t)*args;
    capture_begin(&capture, b->root);
    r = command(argc, argv);
    capture_end(&capture, b->out, sizeof(b->out), b->err, sizeof(b->err));
    return r;
}

#define RUN(b, command, ...) run((b), (command), (const char *const[]){__VA_ARGS__ NULL})

/* Sum of the n-th column (from 0) of CSV without quotes in front of it. */
static uint64_t sum_column(const char *text, int column, size_t *ret_rows)
{
    uint64_t sum = 0;

    *ret_rows = 0;
    for (text = strchr(text, '\n') + 1; *text; text = strchr(text, '\n') + 1) {
        const char *field = text;

        for (int i = 0; i < column; i++)
            field = strchr(field, ',') + 1;
        sum += strtoull(field, NULL, 10);
        (*ret_rows)++;
    }
    return sum;
}

static void the_rows_of_a_query_sum_to_what_was_counted(void **state)
{
    struct bench *b = *state;
    size_t rows;

    assert_int_equal(RUN(b, cb_cmd_query, "--from", "1700000000", "--to", "1700000100", "--csv", ),
                     0);
    assert_int_equal(sum_column(b->out, 9, &rows), b->energy_uj);
    assert_int_equal(rows, 3 * 2 * 5); /* frames, domains; two containers and three others */
    assert_string_equal(b->err, "");
    assert_int_equal(RUN(b, cb_cmd_query, "--from", "2023-11-14T22:13:20Z", "--to",
                         "2023-11-14 22:13:23", "--container", "alpha", "--csv", ),
                     0);
    (void)sum_column(b->out, 9, &rows);
    assert_int_equal(rows, 2); /* wall times are the ends of frames: 22, 23 and 24; half-open */
}

static void a_query_tells_json_and_shares_idle_when_asked(void **state)
{
    struct bench *b = *state;
    json_int_t shares = 0;
    const json_t *row;
    json_t *json;
    size_t i;

    assert_int_equal(RUN(b, cb_cmd_query, "--from", "1700000000", "--to", "1700000100", "--json",
                         "--idle", "equal", ),
                     0);
    json = json_loads(b->out, 0, NULL);
    assert_int_equal(json_array_size(json), 30);
    json_array_foreach(json, i, row) shares +=
        json_integer_value(json_object_get(row, "idle_share_uj"));
    assert_true(shares > 0);
    json_decref(json);
    assert_int_equal(RUN(b, cb_cmd_query, "--last", "1s", "--json", ), 0);
    assert_string_equal(b->out, "[]\n");
    assert_int_equal(RUN(b, cb_cmd_query, "--from", "1700000000", "--to", "1700000100", ), 0);
    assert_non_null(strstr(b->out, "alpha"));
}

static void a_query_says_what_is_wrong(void **state)
{
    struct bench *b = *state;

    assert_int_equal(RUN(b, cb_cmd_query, "--from", "yesterday", ), 2);
    assert_non_null(strstr(b->err, "--from"));
    assert_int_equal(RUN(b, cb_cmd_query, "--from", "5", "--to", "4", ), 2);
    assert_int_equal(RUN(b, cb_cmd_recap, "--from", "5", "--to", "4", ), 2);
    assert_int_equal(RUN(b, cb_cmd_power, "--from", "5", "--to", "4", ), 2);
    assert_int_equal(RUN(b, cb_cmd_query, "--csv", "--json", ), 2);
    assert_int_equal(RUN(b, cb_cmd_recap, "--csv", "--json", ), 2);
    assert_int_equal(RUN(b, cb_cmd_energy, "a", "--csv", "--json", ), 2);
    assert_non_null(strstr(b->err, "--csv and --json"));
    assert_int_equal(RUN(b, cb_cmd_power, "nobody", "--json", ), 1);
    assert_int_equal(RUN(b, cb_cmd_query, "--container", "nobody", "--json", ), 1);
    assert_string_equal(b->out, "");
    assert_non_null(strstr(b->err, "no container 'nobody'"));
    assert_int_equal(RUN(b, cb_cmd_query, "--idle", "some", ), 2);
    assert_int_equal(RUN(b, cb_cmd_query, "--nope", ), 2);
    assert_int_equal(RUN(b, cb_cmd_query, "extra", ), 2);
    assert_int_equal(RUN(b, cb_cmd_query, "--machine", "other", ), 1);
    assert_non_null(strstr(b->err, "other"));
    assert_int_equal(RUN(b, cb_cmd_query, "--state-dir", "/nonexistent", ), 1);
    assert_non_null(strstr(b->err, "--state-dir"));
}

static void recaps_are_listed_as_csv_json_and_a_table(void **state)
{
    struct bench *b = *state;
    json_t *json;

    assert_int_equal(RUN(b, cb_cmd_recap, "--csv", ), 0);
    assert_non_null(strstr(b->out, ",\"a, \"\"quoted\"\" name\",node1," FIXTURE_ID_A ","));
    assert_int_equal(RUN(b, cb_cmd_recap, "node1", "--json", "--idle", "proportional", ), 0);
    json = json_loads(b->out, 0, NULL);
    assert_int_equal(json_array_size(json), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(json, 0), "idle_policy")),
                        "proportional");
    json_decref(json);
    assert_int_equal(RUN(b, cb_cmd_recap, "--json", "node2", ), 0);
    assert_string_equal(b->out, "[]\n");
    assert_int_equal(RUN(b, cb_cmd_recap, ), 0);
    assert_non_null(strstr(b->out, "execution"));
    assert_int_equal(RUN(b, cb_cmd_recap, "node1", "more", ), 2);
}

/* Microjoules of every member "<what>_<D>_<socket>" of an array's objects. */
static uint64_t sum_members(const char *text, const char *what)
{
    json_t *rows = json_loads(text, 0, NULL);
    uint64_t sum = 0;
    json_t *row;
    size_t i;

    if (!rows)
        fail_msg("no JSON: %s", text);
    json_array_foreach(rows, i, row)
    {
        const char *key;
        json_t *value;

        json_object_foreach(row, key, value)
        {
            size_t n = strlen(what);

            if (strncmp(key, what, n) == 0 && key[n] == '_' && key[n + 1] <= 'Z')
                sum += (uint64_t)(json_real_value(value) * 1e6 + 0.5);
        }
    }
    json_decref(rows);
    return sum;
}

/* 22 recaps with the first: more than a table shows unasked. */
static void add_recaps(struct bench *b)
{
    struct cb_store *store = NULL;
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/" CB_FILE_DATABASE, b->root->dir);
    assert_int_equal(cb_store_open(path, CB_STORE_OWNER, &store, NULL), 0);
    for (int i = 0; i < 21; i++) {
        struct cb_store_test test = {.boot = 1};

        (void)snprintf(test.id, sizeof(test.id), "m%d", i);
        assert_int_equal(cb_store_put_recap(store, &test, 1, "{\"phases\":[]}", NULL, 0, NULL), 0);
    }
    store = cb_store_close(store);
}

static void what_is_for_a_program_has_all_recaps(void **state)
{
    struct bench *b = *state;
    json_t *json;

    add_recaps(b);
    assert_int_equal(RUN(b, cb_cmd_recap, "--json", ), 0);
    json = json_loads(b->out, 0, NULL);
    assert_int_equal(json_array_size(json), 22);
    assert_string_equal(b->err, "");
    json_decref(json);
    assert_int_equal(RUN(b, cb_cmd_recap, "--json", "--last", "3", ), 0);
    json = json_loads(b->out, 0, NULL);
    assert_int_equal(json_array_size(json), 3);
    assert_non_null(strstr(b->err, "there are more, see --last"));
    json_decref(json);
    assert_int_equal(run(b, cb_cmd_recap, (const char *const[]){NULL}), 0);
    assert_non_null(strstr(b->err, "there are more, see --last"));
    assert_int_equal(RUN(b, cb_cmd_recap, "--last", "22", ), 0);
    assert_string_equal(b->err, "");
    assert_int_equal(RUN(b, cb_cmd_recap, "--to", "1900000000", ), 0);
    assert_string_equal(b->err, "");
    assert_int_equal(RUN(b, cb_cmd_recap, "--last", "0", ), 2);
}

static void recaps_are_told_under_the_listeners_names_and_between_times(void **state)
{
    struct bench *b = *state;
    char *line;

    assert_int_equal(RUN(b, cb_cmd_recap, "node1", "--flat", "--csv", ), 0);
    line = strchr(b->out, '\n');
    assert_non_null(line);
    *line = '\0';
    assert_non_null(strstr(b->out, "name,id,begin,beginwarmup,beginexecution,end,warmup time,"));
    assert_non_null(strstr(b->out, ",execution_powers_PKG_0,"));
    assert_non_null(strstr(line + 1, FIXTURE_ID_A ",2023-11-14T22:13:21.000Z,"));
    assert_int_equal(RUN(b, cb_cmd_recap, "node1", "--flat", "--json", ), 0);
    assert_int_equal(sum_members(b->out, "execution_powers"), b->energy_uj);
    assert_int_equal(RUN(b, cb_cmd_recap, "--flat", ), 2);
    assert_int_equal(RUN(b, cb_cmd_recap, "--from", "1700000001.5", "--json", ), 0);
    assert_string_equal(b->out, "[]\n");
    assert_int_equal(RUN(b, cb_cmd_recap, "--to", "1700000001.5", "--json", ), 0);
    assert_non_null(strstr(b->out, "node1"));
    assert_int_equal(RUN(b, cb_cmd_recap, "--to", "tomorrow", ), 2);
    assert_non_null(strstr(b->err, "--to"));
}

static void power_and_energy_are_those_of_the_recap(void **state)
{
    struct bench *b = *state;
    const char *name = "a, \"quoted\" name";
    uint64_t container_uj;

    assert_int_equal(RUN(b, cb_cmd_energy, name, "--json", ), 0);
    assert_int_equal(sum_members(b->out, "powers"), b->energy_uj);
    container_uj = sum_members(b->out, "container");
    assert_true(container_uj > 0 && container_uj < b->energy_uj);
    assert_int_equal(RUN(b, cb_cmd_power, name, "--json", ), 0);
    assert_int_equal(sum_members(b->out, "powers"), b->energy_uj);
    assert_int_equal(sum_members(b->out, "container"), container_uj);
    assert_int_equal(sum_members(b->out, "container_idle"), 0);
    assert_int_equal(RUN(b, cb_cmd_power, name, "--json", "--idle", "equal", ), 0);
    assert_true(sum_members(b->out, "container_idle") > 0);
    assert_int_equal(RUN(b, cb_cmd_power, name, "--csv", ), 0);
    assert_non_null(strstr(b->out, "timestamp,name,machine,seconds,source,powers_PKG_0,"
                                   "powers_DRAM_0,container_PKG_0,container_DRAM_0,"));
    /* the container itself, by its name and by its id */
    assert_int_equal(RUN(b, cb_cmd_energy, "alpha", "--json", ), 0);
    assert_int_equal(sum_members(b->out, "container"), container_uj);
    assert_int_equal(RUN(b, cb_cmd_energy, "aaaaaaaa", "--csv", ), 0);
    assert_non_null(strstr(b->out, "\nalpha,node1,," FIXTURE_ID_A));
    assert_int_equal(RUN(b, cb_cmd_energy, name, ), 0);
    assert_non_null(strstr(b->out, "package/0"));
    assert_int_equal(RUN(b, cb_cmd_energy, "nobody", ), 1);
    assert_non_null(strstr(b->err, "nobody"));
    assert_int_equal(RUN(b, cb_cmd_power, ), 2);
    assert_int_equal(RUN(b, cb_cmd_power, name, "--machine", "other", ), 1);
}

static void intervals_that_touch_sum_to_the_whole(void **state)
{
    static const char *const borders[] = {"1700000001.1", "1700000002", "1700000002.000000001",
                                          "1700000003.987654321"};
    struct bench *b = *state;

    for (size_t i = 0; i < sizeof(borders) / sizeof(borders[0]); i++) {
        const char *const names[] = {NULL, "alpha"};

        for (size_t n = 0; n < 2; n++) {
            const char *what = n ? "container" : "powers";
            uint64_t whole;
            uint64_t sum;

            assert_int_equal(RUN(b, cb_cmd_energy, "--json", "--from", "1700000000", "--to",
                                 "1700000009", names[n], ),
                             0);
            whole = sum_members(b->out, what);
            assert_int_equal(RUN(b, cb_cmd_energy, "--json", "--to", borders[i], names[n], ), 0);
            sum = sum_members(b->out, what);
            assert_int_equal(RUN(b, cb_cmd_power, "--json", "--from", borders[i], names[n], ), 0);
            sum += sum_members(b->out, what);
            assert_int_equal(sum, whole);
            assert_true(n || whole == b->energy_uj);
        }
    }
}

static void a_query_tells_what_containers_use(void **state)
{
    struct bench *b = *state;

    assert_int_equal(
        RUN(b, cb_cmd_query, "--metrics", "--from", "1700000000", "--to", "1700000100", ), 0);
    assert_non_null(strstr(b->out, "time,machine,seconds,container_id,name,cpu_usage_ns,"));
    assert_non_null(strstr(b->out, ",node1,1.000000000," FIXTURE_ID_A ",alpha,"));
    assert_non_null(strstr(b->out, ",4096,"));
    assert_int_equal(RUN(b, cb_cmd_query, "--metrics", "--from", "1700000000", "--to", "1700000100",
                         "--json", "--container", "beta", ),
                     0);
    assert_non_null(strstr(b->out, "\"name\":\"beta\",\"io_read_bytes\":17}"));
    assert_null(strstr(b->out, "alpha"));
}

static void keys_are_added_listed_and_revoked(void **state)
{
    struct bench *b = *state;

    assert_int_equal(RUN(b, cb_cmd_keys, "add", "node1", KEY, ), 0);
    assert_int_equal(RUN(b, cb_cmd_keys, "list", ), 0);
    assert_string_equal(b->out, "node1 " KEY "\n");
    assert_int_equal(RUN(b, cb_cmd_keys, "add", "node1", "BBBB", ), 1);
    assert_int_equal(RUN(b, cb_cmd_keys, "revoke", "node1", ), 0);
    assert_int_equal(RUN(b, cb_cmd_keys, "revoke", "node1", ), 1);
    assert_non_null(strstr(b->err, "keys list"));
    assert_int_equal(RUN(b, cb_cmd_keys, "add", "node1", ), 2);
    assert_int_equal(RUN(b, cb_cmd_keys, ), 2);
    assert_int_equal(RUN(b, cb_cmd_keys, "forget", "node1", ), 2);
    /* Options behind the verb, and a key that looks like one. */
    assert_int_equal(RUN(b, cb_cmd_keys, "add", "node2", DASH_KEY, "--state-dir", b->root->dir, ),
                     0);
    assert_int_equal(RUN(b, cb_cmd_keys, "list", "--state-dir", b->root->dir, ), 0);
    assert_string_equal(b->out, "node2 " DASH_KEY "\n");
    assert_int_equal(RUN(b, cb_cmd_keys, "list", "--state-dir", "/nonexistent", ), 1);
    assert_int_equal(RUN(b, cb_cmd_keys, "list", "too", "many", "of", "them", ), 2);
}

static void a_server_refuses_in_one_line_before_it_runs(void **state)
{
    static const char *const bad[][4] = {
        {"--model", "moon", "cputime"},     {"--retention", "5m", "1h"},
        {"--log-level", "all", "debug"},    {"--mongodb", "http://x", "mongodb://"},
        {"--listen", "banana", "--listen"}, {"--http", "banana", "--http"},
    };
    struct bench *b = *state;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int r = RUN(b, cb_cmd_serve, "--listen", "tcp://127.0.0.1:*", "--http", "127.0.0.1:0",
                    bad[i][0], bad[i][1], );

        assert_true(r == CB_CMD_USAGE || r == CB_CMD_FAILED);
        if (!strstr(b->err, bad[i][2]))
            fail_msg("no '%s' in: %s", bad[i][2], b->err);
        assert_ptr_equal(strchr(b->err, '\n'), b->err + strlen(b->err) - 1);
        assert_string_equal(b->out, "");
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_rows_of_a_query_sum_to_what_was_counted),
        TEST(a_query_tells_json_and_shares_idle_when_asked),
        TEST(a_query_says_what_is_wrong),
        TEST(recaps_are_listed_as_csv_json_and_a_table),
        TEST(what_is_for_a_program_has_all_recaps),
        TEST(recaps_are_told_under_the_listeners_names_and_between_times),
        TEST(power_and_energy_are_those_of_the_recap),
        TEST(intervals_that_touch_sum_to_the_whole),
        TEST(a_query_tells_what_containers_use),
        TEST(keys_are_added_listed_and_revoked),
        TEST(a_server_refuses_in_one_line_before_it_runs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
