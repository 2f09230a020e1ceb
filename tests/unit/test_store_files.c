/* SPDX-License-Identifier: Apache-2.0 */
/* test_store_files.c - rows in files: once, whatever a kill left behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formula/store_files.h"
#include "lib/err.h"
#include "lib/log.h"
#include "tests/support/fake_root.h"
#include "tests/support/stream_fixture.h"

struct bench {
    struct fake_root *root;
    char dir[256];
    struct cb_files_config config;
    char place[CB_STREAM_PLACE_SIZE];
};

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    void *root = NULL;

    if (!b || fake_root_setup(&root) != 0)
        return -1;
    cb_log_init("test", CB_LOG_ERR, false);
    b->root = root;
    (void)snprintf(b->dir, sizeof(b->dir), "%s/out", b->root->dir);
    b->config = (struct cb_files_config){
        .dir = b->dir, .rotate_bytes = 1 << 20, .rotate_ns = 3600 * CB_NS_PER_S};
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

static const struct cb_stream_ops *ops_of(const struct bench *b)
{
    return b->config.csv ? &cb_stream_csv : &cb_stream_jsonl;
}

/* As the stream does: the place is kept with the row taken. @keep false: killed before that. */
static int deliver(struct bench *b, const char *text, bool keep)
{
    struct cb_stream_delivery delivery = {
        .bytes = text, .size = strlen(text), .rows = 1, .place = b->place};
    struct cb_stream_answer answer = {0};
    struct cb_err err = {0};
    void *files = NULL;
    int r;

    assert_int_equal(ops_of(b)->open(&b->config, &files, &err), 0);
    (void)snprintf(answer.place, sizeof(answer.place), "%s", b->place);
    r = ops_of(b)->send(files, &delivery, &answer, &err);
    if (r == -EAGAIN) {
        (void)snprintf(b->place, sizeof(b->place), "%s", answer.place);
        r = ops_of(b)->send(files, &delivery, &answer, &err);
    }
    ops_of(b)->close(files);
    if (r == 0 && keep)
        (void)snprintf(b->place, sizeof(b->place), "%s", answer.place);
    return r;
}

static void path_of(const struct bench *b, const char *name, char ret_path[512])
{
    (void)snprintf(ret_path, 512, "%s/%s", b->dir, name);
}

static void assert_file(const struct bench *b, const char *name, const char *want)
{
    char path[512];
    char text[4096] = "";
    FILE *file;

    path_of(b, name, path);
    file = fopen(path, "re");
    if (!file)
        fail_msg("no file %s", path);
    (void)fread(text, 1, sizeof(text) - 1, file);
    (void)fclose(file);
    assert_string_equal(text, want);
}

static void put_file(const struct bench *b, const char *name, const char *text)
{
    char path[512];
    FILE *file;

    path_of(b, name, path);
    file = fopen(path, "ae");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static bool exists(const struct bench *b, const char *name)
{
    char path[512];

    path_of(b, name, path);
    return access(path, F_OK) == 0;
}

static void a_delivery_that_was_not_kept_is_written_over(void **state)
{
    struct bench *b = *state;

    assert_int_equal(deliver(b, "one\n", false), 0); /* the very first one, too */
    assert_int_equal(deliver(b, "one\n", true), 0);
    assert_int_equal(deliver(b, "two\n", false), 0);
    put_file(b, "energy.jsonl", "thr"); /* half a line */
    assert_int_equal(deliver(b, "two\n", true), 0);
    assert_file(b, "energy.jsonl", "one\ntwo\n");
    assert_false(exists(b, "energy-000001.jsonl"));
}

static void a_file_is_finished_by_its_size_and_its_age(void **state)
{
    struct bench *b = *state;

    b->config.rotate_bytes = 6;
    assert_int_equal(deliver(b, "one\n", true), 0);
    assert_int_equal(deliver(b, "two\n", true), 0);
    assert_int_equal(deliver(b, "three\n", true), 0);
    assert_file(b, "energy-000001.jsonl", "one\ntwo\n");
    assert_file(b, "energy.jsonl", "three\n");
    b->config.rotate_bytes = 1000;
    b->config.rotate_ns = 1;
    assert_int_equal(deliver(b, "four\n", true), 0);
    assert_file(b, "energy-000002.jsonl", "three\n");
    assert_file(b, "energy.jsonl", "four\n");
}

static void a_kill_after_the_rename_loses_and_doubles_nothing(void **state)
{
    struct bench *b = *state;

    assert_int_equal(deliver(b, "one\n", true), 0);
    b->config.rotate_bytes = 1;
    assert_int_equal(deliver(b, "two\n", false), 0); /* renamed, written, killed */
    assert_int_equal(deliver(b, "two\n", true), 0);
    assert_file(b, "energy-000001.jsonl", "one\n");
    assert_file(b, "energy.jsonl", "two\n");
    assert_false(exists(b, "energy-000002.jsonl"));
}

static void only_so_many_finished_files_are_kept(void **state)
{
    struct bench *b = *state;

    b->config.rotate_bytes = 1;
    b->config.keep = 2;
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(deliver(b, "x\n", true), 0);
    assert_false(exists(b, "energy-000003.jsonl"));
    assert_true(exists(b, "energy-000004.jsonl"));
    assert_true(exists(b, "energy-000005.jsonl"));
}

static void what_another_database_wrote_is_not_touched(void **state)
{
    struct bench *b = *state;

    assert_int_equal(deliver(b, "mine\n", true), 0);
    b->place[0] = '\0'; /* a new database */
    assert_int_equal(deliver(b, "new\n", true), 0);
    assert_file(b, "energy-000001.jsonl", "mine\n");
    assert_file(b, "energy.jsonl", "new\n");
}

static void a_file_that_was_taken_away_is_begun_anew(void **state)
{
    struct bench *b = *state;
    char path[512];

    assert_int_equal(deliver(b, "one\n", true), 0);
    path_of(b, "energy.jsonl", path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(deliver(b, "two\n", true), 0);
    assert_file(b, "energy.jsonl", "two\n");
}

static void one_writer_at_a_time(void **state)
{
    struct bench *b = *state;
    struct cb_err err = {0};
    void *first = NULL;
    void *second = NULL;

    assert_int_equal(cb_stream_jsonl.open(&b->config, &first, &err), 0);
    assert_int_equal(cb_stream_jsonl.open(&b->config, &second, &err), -EBUSY);
    assert_non_null(strstr(err.text, b->dir));
    cb_stream_jsonl.close(first);
}

/* ---- rows ---- */

static void a_json_line_is_json_whatever_the_names_are(void **state)
{
    struct stream_fixture fixture;
    struct cb_batch batch = {0};
    char *save = NULL;
    unsigned lines = 0;

    (void)state;
    stream_fixture_init(&fixture);
    cb_files_pack_jsonl(&fixture.bin, &batch);
    cb_batch_add(&batch, "", 1);
    assert_int_equal(batch.rows, 3);
    for (char *line = strtok_r(batch.bytes, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        json_t *json = json_loads(line, 0, NULL);
        const char *row = json_string_value(json_object_get(json, "row"));

        assert_non_null(row);
        lines++;
        assert_string_equal(json_string_value(json_object_get(json, "machine")), "node 1");
        assert_string_equal(json_string_value(json_object_get(json, "time")),
                            "2023-11-14T22:13:20.000Z");
        if (strcmp(row, "cb_node") == 0) {
            assert_int_equal(json_integer_value(json_object_get(json, "energy_uj")), 100);
            assert_string_equal(json_string_value(json_object_get(json, "source")), "estimate");
        } else {
            assert_string_equal(json_string_value(json_object_get(json, "container_name")),
                                "a,\"b\"\n");
        }
        if (strcmp(row, "cb_container") == 0)
            assert_int_equal(json_integer_value(json_object_get(json, "dynamic_uj")), 49);
        if (strcmp(row, "cb_usage") == 0) {
            assert_int_equal(json_integer_value(json_object_get(json, "pids")), 12);
            assert_null(json_object_get(json, "memory_bytes")); /* not known */
        }
        json_decref(json);
    }
    assert_int_equal(lines, 3);
    cb_batch_clear(&batch);
}

static unsigned commas(const char *line)
{
    bool quoted = false;
    unsigned n = 0;

    for (; *line; line++) {
        quoted ^= *line == '"';
        n += *line == ',' && !quoted;
    }
    return n;
}

static void every_csv_line_has_the_columns_of_the_head(void **state)
{
    struct stream_fixture fixture;
    struct cb_batch batch = {0};
    char *save = NULL;
    const char *head;

    (void)state;
    stream_fixture_init(&fixture);
    cb_files_csv_head(&batch);
    cb_files_pack_csv(&fixture.bin, &batch);
    cb_batch_add(&batch, "", 1);
    head = strtok_r(batch.bytes, "\n", &save);
    for (unsigned i = 0; i < 3; i++) {
        const char *line = strtok_r(NULL, "\n", &save);

        assert_non_null(line);
        assert_int_equal(commas(line), commas(head));
        if (i == 1)
            assert_non_null(strstr(line, ",c0ffee,\"a,\"\"b\"\" \",img=1,1,dram,estimate,"));
    }
    assert_null(strtok_r(NULL, "\n", &save));
    cb_batch_clear(&batch);
}

static void each_csv_file_begins_with_the_head(void **state)
{
    struct bench *b = *state;
    struct cb_batch head = {0};

    b->config.csv = true;
    b->config.rotate_bytes = 1;
    assert_int_equal(deliver(b, "", true), 0);
    assert_int_equal(deliver(b, "", true), 0);
    cb_files_csv_head(&head);
    cb_batch_add(&head, "", 1);
    assert_file(b, "energy-000001.csv", head.bytes);
    assert_file(b, "energy.csv", head.bytes);
    cb_batch_clear(&head);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_delivery_that_was_not_kept_is_written_over),
        TEST(a_file_is_finished_by_its_size_and_its_age),
        TEST(a_kill_after_the_rename_loses_and_doubles_nothing),
        TEST(only_so_many_finished_files_are_kept),
        TEST(what_another_database_wrote_is_not_touched),
        TEST(a_file_that_was_taken_away_is_begun_anew),
        TEST(one_writer_at_a_time),
        TEST(a_json_line_is_json_whatever_the_names_are),
        TEST(every_csv_line_has_the_columns_of_the_head),
        TEST(each_csv_file_begins_with_the_head),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
